//! `majordomo broker`: the role, from its first endpoint to its last request.

use std::process::ExitCode;

use anyhow::Result;
use majordomo::config::BrokerConfig;

/// Runs a broker until it is told to stop.
pub(crate) fn run(config: BrokerConfig) -> Result<ExitCode> {
    anyhow::bail!("this build has no broker to listen on {:?}", config.broker.bind)
}
