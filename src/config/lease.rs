//! `[lease]`: what leases may take, and how long they may last.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Check, ms};
use super::key::Key;
use super::units;
use crate::proto::lease::LeaseLimits;

/// `[lease]`: what leases may take, and how long they may last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseSection {
    /// Leases that are held, waited for or observed, 1 to 1,000,000. Default 10,000.
    pub leases: usize,
    /// Candidates in line for one lease, 1 to 100,000. Default 1,000.
    pub waiters: usize,
    /// Observers of one lease, 1 to 100,000. Default 1,000.
    pub observers: usize,
    /// Campaigns and observations that are open on one connection, 1 to 1,000,000. Default 1,000.
    pub per_peer: usize,
    /// What a holder says to its observers, 64 B to 12 KiB. Default 4 KiB.
    #[serde(with = "units::text")]
    pub value: usize,
    /// Shortest time to live, 10 ms to 1 min. Default 100 ms.
    #[serde(with = "units::text")]
    pub ttl_min: Duration,
    /// Longest time to live, grace and lock delay, 1 min to 1 d. Default 1 h.
    #[serde(with = "units::text")]
    pub ttl_max: Duration,
}

impl Default for LeaseSection {
    fn default() -> Self {
        let limits = LeaseLimits::default();
        Self {
            leases: limits.leases_max,
            waiters: limits.waiters_max,
            observers: limits.observers_max,
            per_peer: limits.per_peer_max,
            value: limits.value_bytes_max,
            ttl_min: limits.ttl_min,
            ttl_max: limits.ttl_max,
        }
    }
}

impl LeaseSection {
    pub(super) fn limits(&self) -> LeaseLimits {
        LeaseLimits {
            leases_max: self.leases,
            waiters_max: self.waiters,
            observers_max: self.observers,
            per_peer_max: self.per_peer,
            value_bytes_max: self.value,
            ttl_min: self.ttl_min,
            ttl_max: self.ttl_max,
        }
    }

    pub(super) fn check(&self, check: &mut Check) {
        let key = |name| Key::new("lease", name);
        check.count(key("leases"), self.leases, 1..=1_000_000);
        check.count(key("waiters"), self.waiters, 1..=100_000);
        check.count(key("observers"), self.observers, 1..=100_000);
        check.count(key("per_peer"), self.per_peer, 1..=1_000_000);
        check.text(key("value"), self.value, 64..=12 << 10);
        check.text(key("ttl_min"), self.ttl_min, ms(10)..=ms(60_000));
        check.text(key("ttl_max"), self.ttl_max, ms(60_000)..=ms(24 * 3_600_000));
    }
}
