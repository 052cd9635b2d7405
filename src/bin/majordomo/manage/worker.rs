//! `majordomo worker ls|info|kick`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::wire::mjp::{AdminHeader, RegistrationReport, Verb};
use serde_json::{Value, json};

use super::{AskArgs, Desk, age, block_on, done, not_found, text};
use crate::failure::CliError;
use crate::output::{Table, octets_json, print, print_json};

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerAction {
    /// List workers
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// Show a worker
    #[command(after_help = INFO_EXAMPLES)]
    Info(WorkerArgs),
    /// Close the connection of a worker or a client; it may come again
    #[command(after_help = KICK_EXAMPLES)]
    Kick(WorkerArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo worker ls --service thumbnail
  majordomo worker info anna
  majordomo worker kick anna --endpoint ipc:///run/majordomo.sock

A worker without an identity goes by `~` and 16 digits. Only `kick` needs the right `admin`
(ipc://). Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed,
6 no such worker";

const LS_EXAMPLES: &str = "\
Examples:
  majordomo worker ls
  majordomo worker ls --service thumbnail --json";

const INFO_EXAMPLES: &str = "\
Examples:
  majordomo worker info anna
  majordomo worker info '~0000000100000003' --json";

const KICK_EXAMPLES: &str = "\
Examples:
  majordomo worker kick anna --endpoint ipc:///run/majordomo.sock

What it holds goes to other workers.";

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only workers of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The name of the worker
    name: String,
    #[command(flatten)]
    ask: AskArgs,
}

impl WorkerAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Ls(args) => args.ask.json,
            Self::Info(args) | Self::Kick(args) => args.ask.json,
        }
    }
}

pub(crate) fn run(action: WorkerAction) -> Result<ExitCode> {
    block_on(async {
        match action {
            WorkerAction::Ls(args) => list(&args).await,
            WorkerAction::Info(args) => info(&args).await,
            WorkerAction::Kick(args) => kick(&args).await,
        }
    })
}

/// A worker, as text for people and as JSON.
pub(super) struct Row {
    cells: [String; 6],
    pub(super) json: Value,
}

impl From<&RegistrationReport<'_>> for Row {
    fn from(worker: &RegistrationReport<'_>) -> Self {
        let cells = [
            worker.name.to_owned(),
            text(worker.service),
            worker.dialect.to_owned(),
            age(worker.registered),
            age(worker.hold_left),
            format!("{}/{}", worker.beats_heard, worker.beats_sent),
        ];
        let json = json!({
            "name": worker.name, "service": octets_json(worker.service),
            "speaks": worker.dialect, "registered_ms": worker.registered,
            "hold_left_ms": worker.hold_left, "beats_heard": worker.beats_heard,
            "beats_sent": worker.beats_sent,
        });
        Self { cells, json }
    }
}

pub(super) fn table(rows: &[Row]) -> Table {
    let mut table =
        Table::new(["WORKER", "SERVICE", "SPEAKS", "REGISTERED", "HOLD LEFT", "BEATS HEARD/SENT"]);
    for row in rows {
        table.row(row.cells.each_ref().map(String::as_str));
    }
    table
}

pub(super) async fn look(desk: &Desk, says: AdminHeader<'_>) -> Result<Vec<Row>, CliError> {
    let mut rows = Vec::new();
    desk.pages(says, "the workers", |report| {
        rows.extend(report.workers.iter().flatten().map(Row::from));
    })
    .await?;
    rows.sort_by(|one: &Row, other| one.cells.cmp(&other.cells));
    Ok(rows)
}

async fn list(args: &LsArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let service = args.service.as_ref().map(String::as_bytes);
    let says = AdminHeader { service, ..AdminHeader::new(Verb::Workers) };
    let rows = look(&desk, says).await?;
    if args.ask.json {
        let workers: Vec<_> = rows.into_iter().map(|row| row.json).collect();
        return print_json(json!({"v": 1, "workers": workers}));
    }
    print(table(&rows).to_string())?;
    Ok(ExitCode::SUCCESS)
}

async fn info(args: &WorkerArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let says = AdminHeader { name: Some(&args.name), ..AdminHeader::new(Verb::Workers) };
    let rows = look(&desk, says).await?;
    let Some(row) = rows.first() else {
        let error = not_found(&args.name, "no worker has that name");
        return Err(error.hint("`majordomo worker ls` lists the workers").into());
    };
    if args.ask.json {
        return print_json(json!({"v": 1, "worker": row.json}));
    }
    print(table(&rows).to_string())?;
    Ok(ExitCode::SUCCESS)
}

async fn kick(args: &WorkerArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let says = AdminHeader { name: Some(&args.name), ..AdminHeader::new(Verb::Kick) };
    desk.tell(says, &args.name).await?;
    done(&args.ask, "kicked", &args.name)
}
