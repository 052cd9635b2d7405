//! Looking at a broker and changing how it runs: `job`, `service`, `worker`, `client`, `flow`, `dlq`,
//! `explain`, `events`.

pub(crate) mod client;
pub(crate) mod dlq;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod flow;
pub(crate) mod job;
pub(crate) mod service;
pub(crate) mod worker;

use std::num::NonZeroU16;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use majordomo::client::{CallError, Client, ClientBuilder};
use majordomo::config::{ClientConfig, Text};
use majordomo::wire::Protocol;
use majordomo::wire::mjp::{AdminHeader, AdminReport, Code};
use serde_json::json;

use crate::call::{cannot_connect, of_call};
use crate::connect::{ConnectArgs, some_time};
use crate::failure::{CliError, Exit};
use crate::output::{harmless, print, print_json};

/// How the broker is asked.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// How long each question may take [default: as the context says, or 30s]
    #[arg(long, short, value_name = "DURATION", value_parser = some_time)]
    timeout: Option<Duration>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// A broker that is asked.
pub(crate) struct Desk {
    pub(crate) client: Client,
    timeout: Duration,
}

/// Runs one of these commands.
pub(crate) fn block_on(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command)
}

impl AskArgs {
    pub(crate) async fn connect(&self) -> Result<Desk, CliError> {
        let target = self.connect.target()?;
        if target.protocol != Protocol::Mjp {
            let error = CliError::usage("MDP has no word for that");
            return Err(error.hint("leave --protocol out, or use --protocol mjp"));
        }
        let config = ClientConfig::default();
        let timeout = self.timeout.or(target.timeout).unwrap_or(config.timeout);
        let config = ClientConfig {
            endpoint: target.endpoint.clone(),
            curve: target.curve.clone(),
            timeout,
            connect_timeout: config.connect_timeout.min(timeout.max(Duration::from_millis(10))),
            ..config
        };
        let client = ClientBuilder::from(config).connect().await;
        let client = client.map_err(|error| cannot_connect(&target, &error))?;
        Ok(Desk { client, timeout })
    }
}

impl Desk {
    /// Has something done.
    pub(crate) async fn tell(&self, says: AdminHeader<'_>, what: &str) -> Result<(), CliError> {
        let done = self.client.admin(&says).await;
        done.map(drop).map_err(|error| self.trouble(what, &error))
    }

    /// Asks for one page after the other.
    pub(crate) async fn pages(
        &self,
        says: AdminHeader<'_>,
        what: &str,
        mut take: impl FnMut(&AdminReport<'_>),
    ) -> Result<(), CliError> {
        let mut says = AdminHeader { max: NonZeroU16::new(1000), ..says };
        loop {
            let answer = self.client.admin(&says).await;
            let answer = answer.map_err(|error| self.trouble(what, &error))?;
            let report = answer.report();
            take(&report);
            says.after = report.next;
            if says.after.is_none() {
                return Ok(());
            }
        }
    }

    /// Why there is no answer; `what` was asked about.
    pub(crate) fn trouble(&self, what: &str, error: &CallError) -> CliError {
        let CallError::Refused { code, message, .. } = error else {
            return of_call("ADMIN of the broker", self.timeout, error, false);
        };
        let what = harmless(what);
        match Code::from_name(code) {
            Some(Code::Denied) => {
                let message = format!("{what}: {}", harmless(message));
                CliError::new(Exit::NotAllowed, "denied", message).hint(
                    "say it at an endpoint such as ipc:///run/majordomo.sock, or ask for the right",
                )
            }
            Some(Code::NotFound) => not_found(&what, &harmless(message)),
            Some(Code::Unsupported) => {
                let message = format!("the broker cannot do that: {}", harmless(message));
                CliError::new(Exit::Failed, "unsupported", message)
                    .hint("it may be older than this command")
            }
            _ => of_call("ADMIN of the broker", self.timeout, error, false),
        }
    }
}

/// There is none of that name.
pub(crate) fn not_found(what: &str, why: &str) -> CliError {
    CliError::new(Exit::NotFound, "not_found", format!("{}: {why}", harmless(what)))
}

/// Says that something was done.
pub(crate) fn done(ask: &AskArgs, did: &'static str, what: &str) -> Result<ExitCode> {
    if ask.json {
        return print_json(json!({"v": 1, "done": did, "name": what}));
    }
    print(format!("{did} {}\n", harmless(what)))?;
    Ok(ExitCode::SUCCESS)
}

/// Whole seconds, or less than one.
pub(crate) fn age(ms: u64) -> String {
    let ms = if ms < 1000 { ms } else { ms / 1000 * 1000 };
    Duration::from_millis(ms).write()
}

/// A name as text, for people.
pub(crate) fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
