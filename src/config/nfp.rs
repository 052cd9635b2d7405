//! `[nfp]`: NorFab's protocol.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proto::jobs::JobLimits;
use crate::proto::policy::{Keepalive, NfpSettings};
use crate::transport::endpoint::Endpoint;

use super::{LimitsSection, units};

/// `[nfp]`: NorFab's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NfpSection {
    /// Time between keepalives, both ways, 10 ms to 10 min. Default 2500 ms.
    #[serde(with = "units::text")]
    pub keepalive: Duration,
    /// Keepalives missed until a worker counts as gone, 1 to 100. Default 6.
    pub multiplier: u32,
    /// A client may name workers of other services than the one it asks for. Default false.
    pub cross_service: bool,
    /// How long a job is remembered after its end, 1 s to 30 d. Default 10 min.
    #[serde(with = "units::text")]
    pub job_ttl: Duration,
    /// Endpoints of `broker.bind` whose NFP peers are of the old era (up to 0.14.0). Default none.
    #[serde(with = "units::texts")]
    pub old: Vec<Endpoint>,
    /// Inventory of the workers, YAML or TOML. Default off.
    #[serde(with = "units::text")]
    pub inventory: Option<PathBuf>,
    /// Folder of the file service. Default off.
    #[serde(with = "units::text")]
    pub files: Option<PathBuf>,
}

impl Default for NfpSection {
    fn default() -> Self {
        let NfpSettings { keepalive, cross_service, jobs } = NfpSettings::default();
        Self {
            keepalive: keepalive.interval,
            multiplier: keepalive.liveness,
            cross_service,
            job_ttl: jobs.kept,
            old: Vec::new(),
            inventory: None,
            files: None,
        }
    }
}

impl NfpSection {
    /// What the core is told.
    pub(super) fn settings(&self, limits: &LimitsSection) -> NfpSettings {
        NfpSettings {
            keepalive: Keepalive { interval: self.keepalive, liveness: self.multiplier },
            cross_service: self.cross_service,
            jobs: JobLimits {
                jobs_max: limits.jobs,
                open_per_client_max: limits.jobs_per_client,
                targets_max: limits.job_targets,
                kept: self.job_ttl,
                ended_bytes_max: limits.jobs_ended,
            },
        }
    }
}
