//! What an operator decides: intervals, limits, and the policy of each service.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::mjp::Level;
use crate::wire::{Limits, mjp};

use super::dead::{Causes, DeadLimits};
use super::flow::FlowSettings;
use super::group::GroupSettings;
use super::jobs::JobLimits;
use super::keys::KeyLimits;
use super::lease::LeaseLimits;

/// How often both sides show that they live, and how many misses end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Time between heartbeats. Default 2.5 s.
    pub interval: Duration,
    /// Silent intervals after which a peer counts as gone. Default 3.
    pub liveness: u32,
}

impl Keepalive {
    /// Silence that ends a peer.
    #[must_use]
    pub fn expiry(&self) -> Duration {
        self.interval.saturating_mul(self.liveness)
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { interval: Duration::from_millis(2500), liveness: 3 }
    }
}

/// How one service is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePolicy {
    /// Requests in flight at one MDP worker. Default 1, as RFC 7 has it.
    pub prefetch: u32,
    /// How long a worker may hold a request while it says nothing. `None`: for ever. Default 15 min.
    pub busy_timeout: Option<Duration>,
    /// Deliveries that count, until a request ends: those that a worker failed with the wish for
    /// another one, and those of a suspect (a request lost with two workers), each alone at a
    /// worker. Default 3, so that a request is delivered five times at most.
    pub attempts: u32,
    /// How long a request waits that a worker has failed so.
    pub backoff: Backoff,
    /// How long a request may wait for workers, from when it may be delivered. `None`: for ever.
    /// Default.
    pub ttl: Option<Duration>,
    /// A request that was lost with its worker is not delivered again. Default false.
    pub at_most_once: bool,
    /// Deliver again although a PARTIAL has already gone to the caller. Default false.
    pub resend_after_partial: bool,
    /// Waiting requests. Default 10,000.
    pub queue_messages_max: usize,
    /// Memory of waiting requests, octets. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// How long a request waits for a service that has no worker. `None`: for ever. Default 10 min.
    pub unserved_ttl: Option<Duration>,
    /// NFP jobs for any worker wait like requests, and are given to another one if theirs is lost.
    /// Default false: they go to a worker now or not at all.
    pub queue: bool,
    /// What becomes of requests that end without an answer.
    pub dead: DeadPolicy,
    /// What a request of MJP/1 survives that does not say. Default memory.
    pub level: Level,
}

/// How long a request waits before it is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure. Default 1 s.
    pub base: Duration,
    /// After each further one so many times as long. Default 2.
    pub factor: u32,
    /// At most. Default 1 min.
    pub max: Duration,
    /// Per cent of it that may be missing, so that not all come again at once. Default 20.
    pub jitter: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), factor: 2, max: Duration::from_secs(60), jitter: 20 }
    }
}

impl Backoff {
    /// How long to wait after the failure of that number, from 1. `seed` decides how much of the
    /// jitter it is.
    #[must_use]
    pub fn after(&self, failure: u32, seed: u64) -> Duration {
        let grown = self.factor.saturating_pow(failure.saturating_sub(1));
        let whole = self.base.saturating_mul(grown).min(self.max);
        let most = whole / 100 * self.jitter.min(100);
        // The upper half of a product is a number below one of its factors.
        let part = (u128::from(mix(seed)) * most.as_nanos()) >> 64;
        whole.saturating_sub(Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX)))
    }
}

/// All bits of a number depend on all of another one.
fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Which requests of a service become dead letters, and how they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadPolicy {
    /// The ends that make one. Default: `exhausted` and `poison`.
    pub causes: Causes,
    /// Letters of one queue; over it the oldest makes room. Default 10,000.
    pub letters_max: usize,
    /// How long one is kept. `None`: for ever. Default 7 d.
    pub kept: Option<Duration>,
    /// The name of the queue in which they are kept. `None`: that of the service. Default.
    pub queue: Option<Arc<str>>,
}

impl Default for DeadPolicy {
    fn default() -> Self {
        Self {
            causes: Causes::default(),
            letters_max: 10_000,
            kept: Some(Duration::from_secs(7 * 24 * 3600)),
            queue: None,
        }
    }
}

impl Default for ServicePolicy {
    fn default() -> Self {
        Self {
            prefetch: 1,
            busy_timeout: Some(Duration::from_secs(15 * 60)),
            attempts: 3,
            backoff: Backoff::default(),
            ttl: None,
            at_most_once: false,
            resend_after_partial: false,
            queue_messages_max: 10_000,
            queue_bytes_max: 64 << 20,
            unserved_ttl: Some(Duration::from_secs(10 * 60)),
            queue: false,
            dead: DeadPolicy::default(),
            level: Level::Memory,
        }
    }
}

/// A policy for the services whose names match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRule {
    /// A whole name, or a prefix followed by `*`.
    pub pattern: String,
    /// The policy of the services that match.
    pub policy: ServicePolicy,
    /// Where it stands, as `FILE:LINE`, if that is known.
    pub at: Option<Arc<str>>,
}

impl ServiceRule {
    /// Whether the rule speaks of the service `name`.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix.as_bytes()),
            None => name == self.pattern.as_bytes(),
        }
    }
}

/// What one client may have accepted and unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// Requests waiting or in flight. Default 1,024.
    pub requests_max: usize,
    /// Memory of those requests, octets. Default 32 MiB; an idle client may always send one message.
    pub bytes_max: usize,
    /// Services without a worker that are there because it asks for them. Default 256; an idle
    /// client may always ask for one.
    pub services_max: usize,
    /// How often a principal may ask, over all its connections. Default: as often as it likes.
    pub rate: Option<Rate>,
}

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Times in a second, in the long run; more than a million are as many as one likes.
    pub per_second: NonZeroU32,
    /// Times at once, after a pause.
    pub burst: NonZeroU32,
}

impl Rate {
    /// Time from one to the next in the long run.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.per_second.get()
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { requests_max: 1024, bytes_max: 32 << 20, services_max: 256, rate: None }
    }
}

/// What MJP peers may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MjpLimits {
    /// One header, octets. Default 16 KiB, and no more.
    pub header_bytes_max: usize,
    /// Requests that one worker may take at a time; one that says more is given no more. Default
    /// 65,535, which is all that it can say.
    pub credit_max: usize,
    /// Asks of a worker that are open in one request. Default 16.
    pub asks_max: usize,
}

impl Default for MjpLimits {
    fn default() -> Self {
        let credit_max = usize::from(u16::MAX);
        Self { header_bytes_max: mjp::HEADER_MAX, credit_max, asks_max: 16 }
    }
}

/// What NFP peers are promised and allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NfpSettings {
    /// Keepalives between the broker and its workers.
    pub keepalive: Keepalive,
    /// A client may name workers of other services than the one it asks for.
    pub cross_service: bool,
    /// What is remembered of jobs.
    pub jobs: JobLimits,
}

impl Default for NfpSettings {
    fn default() -> Self {
        Self {
            keepalive: Keepalive { interval: Duration::from_millis(2500), liveness: 6 },
            cross_service: false,
            jobs: JobLimits::default(),
        }
    }
}

/// What subscribers may make grow, and publishers may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimits {
    /// Subscriptions of all peers. Default 100,000.
    pub subscriptions_max: usize,
    /// Subscriptions of one peer. Default 10,000.
    pub per_peer_max: usize,
    /// What waits to be written to a subscriber when the next message for it is dropped, octets; an
    /// empty outbox takes any one. Default 8 MiB.
    pub outbox_bytes_max: usize,
    /// Subscriptions that one publication may be for. Default 10,000.
    pub fan_out_max: usize,
}

impl Default for TopicLimits {
    fn default() -> Self {
        Self {
            subscriptions_max: 100_000,
            per_peer_max: 10_000,
            outbox_bytes_max: 8 << 20,
            fan_out_max: 10_000,
        }
    }
}

/// Everything the core has to know before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Heartbeats between the broker and its workers; also the interval of ZMTP PINGs.
    pub mdp: Keepalive,
    /// Limits of MJP peers.
    pub mjp: MjpLimits,
    /// Idempotency keys.
    pub keys: KeyLimits,
    /// Limits of all dead letters.
    pub dead: DeadLimits,
    /// NFP.
    pub nfp: NfpSettings,
    /// Limits of publishing and subscribing.
    pub topics: TopicLimits,
    /// Flows.
    pub flow: FlowSettings,
    /// Limits of leases.
    pub lease: LeaseLimits,
    /// Groups.
    pub group: GroupSettings,
    /// Limits of all messages, which the shell holds and peers are told.
    pub wire: Limits,
    /// Rules by service name; the first that matches holds.
    pub rules: Vec<ServiceRule>,
    /// The policy where no rule matches.
    pub policy: ServicePolicy,
    /// Limits of each client.
    pub client: ClientLimits,
    /// Services at a time, offered or asked for. Default 65,536.
    pub services_max: usize,
    /// Frames of an answer that is put together from parts. Default 1,024.
    pub answer_frames_max: usize,
    /// Octets of such an answer. Default 32 MiB.
    pub answer_bytes_max: usize,
    /// Other machines reach the broker, and it does not know who they are: it says so. Default
    /// false.
    pub insecure: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mdp: Keepalive::default(),
            mjp: MjpLimits::default(),
            keys: KeyLimits::default(),
            dead: DeadLimits::default(),
            nfp: NfpSettings::default(),
            topics: TopicLimits::default(),
            flow: FlowSettings::default(),
            lease: LeaseLimits::default(),
            group: GroupSettings::default(),
            wire: Limits::default(),
            rules: Vec::new(),
            policy: ServicePolicy::default(),
            client: ClientLimits::default(),
            services_max: 65_536,
            answer_frames_max: 1024,
            answer_bytes_max: 32 << 20,
            insecure: false,
        }
    }
}

impl Settings {
    /// The policy of the service `name`.
    #[must_use]
    pub fn policy_of(&self, name: &[u8]) -> &ServicePolicy {
        let rule = self.rules.iter().find(|rule| rule.matches(name));
        rule.map_or(&self.policy, |rule| &rule.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_back_off_grows_to_its_cap_and_jitter_only_shortens_it() {
        let second = Duration::from_secs(1);
        let plain = Backoff { base: second, factor: 3, max: 20 * second, jitter: 0 };
        let waits = [1, 2, 3, 4, 100].map(|failure| plain.after(failure, 7).as_secs());
        assert_eq!(waits, [1, 3, 9, 20, 20]);
        let jittered = Backoff { jitter: 50, ..plain };
        let waits: Vec<_> = (0..1000).map(|seed| jittered.after(4, seed)).collect();
        assert!(waits.iter().all(|wait| (10 * second..=20 * second).contains(wait)));
        let (low, high) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*low < 11 * second && *high > 19 * second, "{low:?} to {high:?}");
        assert_eq!(jittered.after(4, 9), jittered.after(4, 9), "it depends on nothing else");
    }

    #[test]
    fn the_first_rule_that_matches_holds() {
        let rule = |pattern: &str, prefetch| ServiceRule {
            pattern: pattern.into(),
            at: None,
            policy: ServicePolicy { prefetch, ..ServicePolicy::default() },
        };
        let settings =
            Settings { rules: vec![rule("echo", 5), rule("e*", 7)], ..Settings::default() };
        assert_eq!(settings.policy_of(b"echo").prefetch, 5);
        assert_eq!(settings.policy_of(b"echo2").prefetch, 7);
        assert_eq!(settings.policy_of(b"other").prefetch, 1);
    }
}
