//! `[store]`: what survives the broker.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proto::depot::DepotLimits;
use crate::proto::titanic::TitanicLimits;
use crate::store::StoreOptions;

use super::{LimitsSection, units};

/// `[store]`: what survives the broker, and Titanic (RFC 9), which needs that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// Directory of the store, of mode 0700. Default off.
    #[serde(with = "units::text")]
    pub path: Option<PathBuf>,
    /// Free space of its file system below which nothing new is taken, 1 MiB to 1 TiB. Default
    /// 256 MiB.
    #[serde(with = "units::text")]
    pub min_free: usize,
    /// Memory for pages of its file, 1 MiB to 64 GiB. Default 32 MiB.
    #[serde(with = "units::text")]
    pub cache: usize,
    /// Requests of level disk without an outcome, 1 to 100,000,000. Default 1,000,000.
    pub requests: usize,
    /// Octets of them, 1 MiB to 16 TiB. Default 4 GiB.
    #[serde(with = "units::text")]
    pub requests_bytes: usize,
    /// How long a request of level disk may take that does not say, 1 s to 30 d. Default 24 h.
    #[serde(with = "units::text")]
    pub requests_for: Duration,
    /// Outcomes of them that are kept for who asks again, 1 to 10,000,000. Default 100,000.
    pub outcomes: usize,
    /// Octets of those, 1 MiB to 1 TiB; one is kept in any case. Default 1 GiB.
    #[serde(with = "units::text")]
    pub outcomes_bytes: usize,
    /// How long each is kept, 1 s to 30 d. Default 24 h.
    #[serde(with = "units::text")]
    pub outcomes_for: Duration,
    /// Requests of Titanic that are kept, answered ones too, 1 to 10,000,000. Default 100,000.
    pub titanic_requests: usize,
    /// Their bodies and those of their answers, 1 MiB to 1 TiB. Default 1 GiB.
    #[serde(with = "units::text")]
    pub titanic_bytes: usize,
    /// Bodies of them that wait in memory; others are read when they are needed. 0 B to 1 TiB.
    /// Default 16 MiB.
    #[serde(with = "units::text")]
    pub titanic_window: usize,
    /// How long a request of Titanic is kept after its answer, or without one after it came, 1 s to
    /// 30 d. Default 24 h.
    #[serde(with = "units::text")]
    pub titanic_ttl: Duration,
}

impl Default for StoreSection {
    fn default() -> Self {
        let (titanic, depot) = (TitanicLimits::default(), DepotLimits::default());
        let octets = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            path: None,
            min_free: 256 << 20,
            cache: 32 << 20,
            requests: depot.requests_max,
            requests_bytes: octets(depot.bytes_max),
            requests_for: depot.waits,
            outcomes: depot.outcomes_max,
            outcomes_bytes: octets(depot.outcomes_bytes_max),
            outcomes_for: depot.outcomes_kept,
            titanic_requests: titanic.requests_max,
            titanic_bytes: octets(titanic.bytes_max),
            titanic_window: titanic.window_bytes_max,
            titanic_ttl: titanic.kept,
        }
    }
}

impl StoreSection {
    /// What the store is told, if there is to be one.
    #[must_use]
    pub fn options(&self) -> Option<StoreOptions> {
        let (min_free, cache) = (self.min_free as u64, self.cache);
        self.path.clone().map(|path| StoreOptions { path, min_free, cache })
    }

    /// What the core is told of requests of level disk.
    #[must_use]
    pub fn depot(&self, limits: &LimitsSection) -> DepotLimits {
        DepotLimits {
            requests_max: self.requests,
            bytes_max: self.requests_bytes as u64,
            in_memory_max: limits.stored_in_memory,
            waits: self.requests_for,
            outcomes_max: self.outcomes,
            outcomes_bytes_max: self.outcomes_bytes as u64,
            outcomes_kept: self.outcomes_for,
        }
    }

    /// What the core is told of Titanic.
    #[must_use]
    pub fn titanic(&self) -> TitanicLimits {
        TitanicLimits {
            requests_max: self.titanic_requests,
            bytes_max: self.titanic_bytes as u64,
            window_bytes_max: self.titanic_window,
            kept: self.titanic_ttl,
        }
    }
}
