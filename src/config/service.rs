//! The policy of services: `[service]` for all, `[services."pattern"]` for some.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::units::maybe;
use crate::proto::policy::{ServicePolicy, ServiceRule};
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
    /// What a request of MJP/1 survives that does not say: `memory`, `disk`.
    pub level: Option<Level>,
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
            level: self.level.unwrap_or(base.level),
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
            level: Some(policy.level),
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
