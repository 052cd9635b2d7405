//! `majordomo broker`: the role, from its first endpoint to its last request.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use majordomo::broker::Broker;
use majordomo::config::BrokerConfig;
use majordomo::transport::endpoint::Endpoint;

use crate::signals::Signals;

/// Runs a broker until it is told to stop.
pub(crate) fn run(config: BrokerConfig) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

/// SIGTERM and SIGINT drain; a second one stops at once.
async fn serve(config: BrokerConfig) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    let drain = config.broker.drain;
    let broker = Broker::bind_then(config, print_endpoints)?;
    signals.next().await;
    tracing::info!(?drain, "stopping; a second signal stops at once");
    tokio::select! {
        report = broker.shutdown(drain) => {
            Ok(if report.abandoned == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        () = signals.next() => Ok(ExitCode::FAILURE),
    }
}

fn print_endpoints(endpoints: &[Endpoint], http: Option<SocketAddr>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for endpoint in endpoints {
        writeln!(out, "{endpoint}")?;
    }
    if let Some(http) = http {
        writeln!(out, "http://{http}")?;
    }
    out.flush()
}
