//! `majordomo broker`: the role, from its first endpoint to its last request.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use majordomo::broker::{AdminRequest, Around, Broker, BrokerError, LogLimits, LogRing};
use majordomo::config::{BrokerConfig, Loaded};
use majordomo::transport::endpoint::Endpoint;

use crate::failure::{CliError, Exit};
use crate::logging;
use crate::signals::Signals;
use crate::store::of_store;

/// How a broker has ended.
enum Ended {
    Exit(ExitCode),
    /// It is to be started anew.
    Restart,
}

/// Runs a broker until it is told to stop.
pub(crate) fn run(loaded: Loaded) -> Result<ExitCode> {
    // The file may be another one later, the next version: then a restart runs that.
    let program = std::env::current_exe();
    let log = &loaded.config.log;
    let limits = LogLimits { records_max: log.ring, bytes_max: log.ring_bytes };
    let ring = LogRing::new(limits);
    let records = logging::start(log, Some(ring.clone()))?;
    tracing::debug!(files = ?loaded.files, "configuration read");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(loaded.config, ring));
    // Who reads files again holds up no end.
    runtime.shutdown_background();
    match ended? {
        Ended::Exit(code) => Ok(code),
        Ended::Restart => {
            let program = program.context("cannot find out what program this is")?;
            tracing::info!(program = %program.display(), "restarting");
            drop(records);
            start_anew(&program)
        }
    }
}

/// Becomes the same program with the same arguments, in the same process.
fn start_anew(program: &Path) -> Result<ExitCode> {
    let mut words = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    let error = command.args(words).exec();
    Err(error).with_context(|| format!("cannot restart {}", program.display()))
}

/// SIGTERM, SIGINT and an administrator drain; another of these signals after that stops at once.
async fn serve(config: BrokerConfig, ring: LogRing) -> Result<Ended> {
    let mut signals = Signals::new()?;
    let drain = config.broker.drain;
    let around = Around { logs: Some(ring), ..Around::default() };
    let broker = Broker::bind_around(config, around, print_endpoints).map_err(why_not)?;
    let reload = async || broker.reload_aside().await;
    let asked = tokio::select! {
        () = signals.next_or(reload) => AdminRequest::Shutdown,
        asked = broker.asked() => asked,
        error = broker.failed() => {
            // Nothing is acknowledged any more; what was is found at the next start.
            return Err(CliError::new(Exit::Store, "store", error.to_string()).into());
        }
    };
    tracing::info!(?drain, "stopping; a second signal stops at once");
    tokio::select! {
        report = broker.shutdown(drain) => Ok(match asked {
            AdminRequest::Restart => Ended::Restart,
            _ if report.abandoned == 0 => Ended::Exit(ExitCode::SUCCESS),
            _ => Ended::Exit(ExitCode::FAILURE),
        }),
        () = signals.next() => Ok(Ended::Exit(ExitCode::FAILURE)),
    }
}

/// Files of keys are configuration: when they are wrong, a service manager need not try again.
fn why_not(error: BrokerError) -> anyhow::Error {
    match error {
        BrokerError::Guard(error) => {
            CliError::new(Exit::Configuration, "configuration", error.to_string()).into()
        }
        BrokerError::Store(error) => of_store(error).into(),
        error => error.into(),
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
