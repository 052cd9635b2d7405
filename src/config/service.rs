//! The policy of services: `[service]` for all, `[services."pattern"]` for some.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::units::maybe;
use crate::proto::dead::{Cause, Causes};
use crate::proto::policy::{Backoff, DeadPolicy, ServicePolicy, ServiceRule};
use crate::wire::mjp::Level;

/// What differs from another policy. `None` keeps what that one says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServicePatch {
    /// Requests in flight at one MDP worker, 1 to 65,535.
    pub prefetch: Option<u32>,
    /// Silence allowed to a worker that holds a request, 10 ms to 30 d; `Some(None)`: for ever.
    #[serde(with = "maybe")]
    pub busy_timeout: Option<Option<Duration>>,
    /// Solo deliveries of a suspect request, 1 to 100.
    pub attempts: Option<u32>,
    /// A request lost with its worker fails at once.
    pub at_most_once: Option<bool>,
    /// Deliver again although a PARTIAL has gone out.
    pub resend_after_partial: Option<bool>,
    /// Waiting requests, 1 to 100,000,000.
    pub queue_messages_max: Option<usize>,
    /// Memory of waiting requests, 1 KiB to 1 TiB.
    #[serde(with = "maybe")]
    pub queue_bytes_max: Option<usize>,
    /// Wait for a first worker, 10 ms to 30 d; `Some(None)`: for ever.
    #[serde(with = "maybe")]
    pub unserved_ttl: Option<Option<Duration>>,
    /// NFP jobs for any worker wait like requests.
    pub queue: Option<bool>,
    /// First back-off of a request that a worker failed for now, 1 ms to 1 d.
    #[serde(with = "maybe")]
    pub backoff: Option<Duration>,
    /// Each further one is so many times as long, 1 to 100.
    pub backoff_factor: Option<u32>,
    /// The longest one, 1 ms to 30 d.
    #[serde(with = "maybe")]
    pub backoff_max: Option<Duration>,
    /// Per cent of it that may be missing, 0 to 100.
    pub backoff_jitter: Option<u32>,
    /// How long a request may wait, 10 ms to 30 d; `Some(None)`: for ever.
    #[serde(with = "maybe")]
    pub ttl: Option<Option<Duration>>,
    /// The ends that make a dead letter.
    pub dead_letters: Option<Vec<String>>,
    /// Dead letters of one queue, 1 to 10,000,000.
    pub dead_letters_max: Option<usize>,
    /// How long a dead letter is kept, 1 s to 365 d; `Some(None)`: for ever.
    #[serde(with = "maybe")]
    pub dead_letters_ttl: Option<Option<Duration>>,
    /// The name of their queue; empty: that of the service.
    pub dead_letters_queue: Option<String>,
    /// What a request of MJP/1 survives that does not say: `memory`, `disk`.
    pub level: Option<Level>,
    /// Where its first key stands, which `explain` tells: a file and the line, a variable or a flag.
    #[serde(skip)]
    pub at: Option<Arc<str>>,
}

impl ServicePatch {
    /// The policy `base` with the differences put in.
    #[must_use]
    pub fn over(&self, base: &ServicePolicy) -> ServicePolicy {
        ServicePolicy {
            prefetch: self.prefetch.unwrap_or(base.prefetch),
            busy_timeout: self.busy_timeout.unwrap_or(base.busy_timeout),
            attempts: self.attempts.unwrap_or(base.attempts),
            at_most_once: self.at_most_once.unwrap_or(base.at_most_once),
            resend_after_partial: self.resend_after_partial.unwrap_or(base.resend_after_partial),
            queue_messages_max: self.queue_messages_max.unwrap_or(base.queue_messages_max),
            queue_bytes_max: self.queue_bytes_max.unwrap_or(base.queue_bytes_max),
            unserved_ttl: self.unserved_ttl.unwrap_or(base.unserved_ttl),
            queue: self.queue.unwrap_or(base.queue),
            backoff: Backoff {
                base: self.backoff.unwrap_or(base.backoff.base),
                factor: self.backoff_factor.unwrap_or(base.backoff.factor),
                max: self.backoff_max.unwrap_or(base.backoff.max),
                jitter: self.backoff_jitter.unwrap_or(base.backoff.jitter),
            },
            ttl: self.ttl.unwrap_or(base.ttl),
            dead: self.dead_over(&base.dead),
            level: self.level.unwrap_or(base.level),
        }
    }

    fn dead_over(&self, base: &DeadPolicy) -> DeadPolicy {
        let causes = |names: &Vec<String>| {
            names.iter().filter_map(|name| Cause::from_name(name)).collect::<Causes>()
        };
        let queue = |name: &String| Some(Arc::from(name.as_str())).filter(|_| !name.is_empty());
        DeadPolicy {
            causes: self.dead_letters.as_ref().map_or(base.causes, causes),
            letters_max: self.dead_letters_max.unwrap_or(base.letters_max),
            kept: self.dead_letters_ttl.unwrap_or(base.kept),
            queue: self.dead_letters_queue.as_ref().map_or_else(|| base.queue.clone(), queue),
        }
    }
}

impl From<&ServicePolicy> for ServicePatch {
    fn from(policy: &ServicePolicy) -> Self {
        Self {
            prefetch: Some(policy.prefetch),
            busy_timeout: Some(policy.busy_timeout),
            attempts: Some(policy.attempts),
            at_most_once: Some(policy.at_most_once),
            resend_after_partial: Some(policy.resend_after_partial),
            queue_messages_max: Some(policy.queue_messages_max),
            queue_bytes_max: Some(policy.queue_bytes_max),
            unserved_ttl: Some(policy.unserved_ttl),
            queue: Some(policy.queue),
            backoff: Some(policy.backoff.base),
            backoff_factor: Some(policy.backoff.factor),
            backoff_max: Some(policy.backoff.max),
            backoff_jitter: Some(policy.backoff.jitter),
            ttl: Some(policy.ttl),
            dead_letters: Some(policy.dead.causes.iter().map(|it| it.as_str().into()).collect()),
            dead_letters_max: Some(policy.dead.letters_max),
            dead_letters_ttl: Some(policy.dead.kept),
            dead_letters_queue: Some(policy.dead.queue.as_deref().unwrap_or_default().into()),
            level: Some(policy.level),
            at: None,
        }
    }
}

/// The rules in the order in which the core asks them: whole names, then prefixes, long to short.
pub(super) fn rules(
    patches: &BTreeMap<String, ServicePatch>,
    base: &ServicePolicy,
) -> Vec<ServiceRule> {
    let rule = |(pattern, patch): (&String, &ServicePatch)| ServiceRule {
        pattern: pattern.clone(),
        at: patch.at.clone(),
        policy: patch.over(base),
    };
    let mut rules: Vec<_> = patches.iter().map(rule).collect();
    rules.sort_by_key(|rule| (rule.pattern.ends_with('*'), Reverse(rule.pattern.len())));
    rules
}

/// `#[serde(with = "service")]`: a whole policy, written as a patch of the default one.
pub(super) fn serialize<S: Serializer>(policy: &ServicePolicy, to: S) -> Result<S::Ok, S::Error> {
    ServicePatch::from(policy).serialize(to)
}

/// The other way.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ServicePolicy, D::Error> {
    ServicePatch::deserialize(from).map(|patch| patch.over(&ServicePolicy::default()))
}
