//! `majordomo service ls|info|pause|resume|drain`.

use std::num::NonZeroU16;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::id::ServiceName;
use majordomo::wire::mjp::{AdminHeader, ServiceReport, StatusHeader, Verb, What};
use serde_json::{Value, json};

use super::{AskArgs, Desk, age, block_on, done, not_found, text, worker};
use crate::failure::CliError;
use crate::output::{Table, octets_json, print, print_json};

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceAction {
    /// List services that are offered or asked for
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// Show a service and its workers
    #[command(after_help = INFO_EXAMPLES)]
    Info(ServiceArgs),
    /// Let what comes for a service wait
    #[command(after_help = PAUSE_EXAMPLES)]
    Pause(ServiceArgs),
    /// End pause or drain
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(ServiceArgs),
    /// Refuse what comes for a service, and finish what waits
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain(ServiceArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo service ls
  majordomo service info thumbnail
  majordomo service pause thumbnail --endpoint ipc:///run/majordomo.sock

`pause`, `resume` and `drain` need the right `admin` (ipc://). Exit codes: 0 ok, 1 failed,
2 usage, 3 cannot connect, 4 timed out, 5 not allowed, 6 no such service";

const LS_EXAMPLES: &str = "\
Examples:
  majordomo service ls
  majordomo service ls --json";

const INFO_EXAMPLES: &str = "\
Examples:
  majordomo service info thumbnail
  majordomo service info thumbnail --json";

const PAUSE_EXAMPLES: &str = "\
Examples:
  majordomo service pause thumbnail --endpoint ipc:///run/majordomo.sock

Requests are accepted and wait; workers finish what they have and get nothing. It lasts until
`majordomo service resume`, or until the broker stops.";

const RESUME_EXAMPLES: &str = "\
Examples:
  majordomo service resume thumbnail --endpoint ipc:///run/majordomo.sock";

const DRAIN_EXAMPLES: &str = "\
Examples:
  majordomo service drain thumbnail --endpoint ipc:///run/majordomo.sock

New requests are refused (`draining`); stock MDP clients, who cannot be told, are not read. It lasts
until `majordomo service resume`, or until the broker stops.";

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// The service
    service: String,
    #[command(flatten)]
    ask: AskArgs,
}

impl ServiceAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Ls(args) => args.ask.json,
            Self::Info(args) | Self::Pause(args) | Self::Resume(args) | Self::Drain(args) => {
                args.ask.json
            }
        }
    }
}

pub(crate) fn run(action: ServiceAction) -> Result<ExitCode> {
    block_on(async {
        match action {
            ServiceAction::Ls(args) => list(&args).await,
            ServiceAction::Info(args) => info(&args).await,
            ServiceAction::Pause(args) => shut(&args, Verb::Pause, "paused").await,
            ServiceAction::Resume(args) => shut(&args, Verb::Resume, "resumed").await,
            ServiceAction::Drain(args) => shut(&args, Verb::Drain, "draining").await,
        }
    })
}

/// A service, as text for people and as JSON.
struct Row {
    cells: [String; 10],
    json: Value,
}

impl From<&ServiceReport<'_>> for Row {
    fn from(service: &ServiceReport<'_>) -> Self {
        let cells = [
            text(service.service),
            service.state.unwrap_or("open").to_owned(),
            service.workers.to_string(),
            service.waiting.to_string(),
            service.oldest.map(age).unwrap_or_default(),
            service.in_flight.to_string(),
            service.accepted.to_string(),
            service.replied.to_string(),
            service.failed.to_string(),
            service.dead.unwrap_or_default().to_string(),
        ];
        let json = json!({
            "service": octets_json(service.service), "state": service.state.unwrap_or("open"),
            "workers": service.workers, "waiting": service.waiting, "oldest_ms": service.oldest,
            "in_flight": service.in_flight, "accepted": service.accepted,
            "replied": service.replied, "failed": service.failed,
            "dead": service.dead.unwrap_or_default(),
        });
        Self { cells, json }
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new([
        "SERVICE",
        "STATE",
        "WORKERS",
        "WAITING",
        "OLDEST",
        "IN FLIGHT",
        "ACCEPTED",
        "REPLIED",
        "FAILED",
        "DEAD",
    ]);
    for row in rows {
        table.row(row.cells.each_ref().map(String::as_str));
    }
    table
}

/// All services, or one.
async fn look(desk: &Desk, service: Option<&[u8]>) -> Result<Vec<Row>, CliError> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let max = NonZeroU16::new(1000);
        let status = desk
            .client
            .status(&StatusHeader { what: What::Services, service, after, max })
            .await
            .map_err(|error| desk.trouble("the services", &error))?;
        let report = status.report();
        rows.extend(report.services.iter().flatten().map(Row::from));
        after = report.next;
        if after.is_none() {
            rows.sort_by(|one: &Row, other| one.cells.cmp(&other.cells));
            return Ok(rows);
        }
    }
}

async fn list(args: &LsArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let rows = look(&desk, None).await?;
    if args.ask.json {
        let services: Vec<_> = rows.into_iter().map(|row| row.json).collect();
        return print_json(json!({"v": 1, "services": services}));
    }
    print(table(&rows).to_string())?;
    Ok(ExitCode::SUCCESS)
}

async fn info(args: &ServiceArgs) -> Result<ExitCode> {
    let name = named(args)?;
    let desk = args.ask.connect().await?;
    let rows = look(&desk, Some(name)).await?;
    let Some(row) = rows.first() else {
        let error = not_found(&args.service, "nobody offers or asks for a service of that name");
        return Err(error.hint("`majordomo service ls` lists the services").into());
    };
    let says = AdminHeader { service: Some(name), ..AdminHeader::new(Verb::Workers) };
    let workers = worker::look(&desk, says).await?;
    if args.ask.json {
        let workers: Vec<_> = workers.into_iter().map(|row| row.json).collect();
        return print_json(json!({"v": 1, "service": row.json, "workers": workers}));
    }
    print(format!("{}\n{}", table(&rows), worker::table(&workers)))?;
    Ok(ExitCode::SUCCESS)
}

async fn shut(args: &ServiceArgs, verb: Verb, did: &'static str) -> Result<ExitCode> {
    let service = Some(named(args)?);
    let desk = args.ask.connect().await?;
    desk.tell(AdminHeader { service, ..AdminHeader::new(verb) }, &args.service).await?;
    done(&args.ask, did, &args.service)
}

/// The name, which has to be one.
fn named(args: &ServiceArgs) -> Result<&[u8], CliError> {
    let name = args.service.as_bytes();
    ServiceName::try_from(name)
        .map_err(|error| CliError::usage(format!("the service: {error}")))?;
    Ok(name)
}
