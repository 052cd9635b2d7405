//! `majordomo job ls|show|watch|cancel`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::wire::mjp::{AdminHeader, JobReport, TargetReport, Verb};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{AskArgs, Desk, age, block_on, done, not_found, text};
use crate::connect::some_time;
use crate::failure::CliError;
use crate::output::{Table, harmless, octets_json, print, print_json};

#[derive(Debug, Subcommand)]
pub(crate) enum JobAction {
    /// List jobs: what NFP clients posted, and scatters
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// Show a job, and how far each of its workers is
    #[command(after_help = SHOW_EXAMPLES)]
    Show(JobArgs),
    /// Say what becomes of a job until it has ended
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(WatchArgs),
    /// End a job as if its client had wanted that
    #[command(after_help = CANCEL_EXAMPLES)]
    Cancel(JobArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo job ls --state open
  majordomo job show 5d3f2c0a9b
  majordomo job cancel 5d3f2c0a9b --endpoint ipc:///run/majordomo.sock

Only `cancel` needs the right `admin` (ipc://). Exit codes: 0 ok, 1 failed, 2 usage,
3 cannot connect, 4 timed out, 5 not allowed, 6 no such job";

const LS_EXAMPLES: &str = "\
Examples:
  majordomo job ls
  majordomo job ls --state open --owner nornir-client --json

A state is open, ended, dispatched, accepted, started, waiting, replied, failed, refused, lost,
timed_out or cancelled.";

const SHOW_EXAMPLES: &str = "\
Examples:
  majordomo job show 5d3f2c0a9b
  majordomo job show 5d3f2c0a9b --json";

const WATCH_EXAMPLES: &str = "\
Examples:
  majordomo job watch 5d3f2c0a9b
  majordomo job watch 5d3f2c0a9b --interval 5s --json

Exit codes: as `job`, and 1 if the job ends otherwise than replied.";

const CANCEL_EXAMPLES: &str = "\
Examples:
  majordomo job cancel 5d3f2c0a9b --endpoint ipc:///run/majordomo.sock";

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only jobs of this client
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Only jobs that stand there
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    state: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

const STATES: [&str; 12] = [
    "open",
    "ended",
    "dispatched",
    "accepted",
    "started",
    "waiting",
    "replied",
    "failed",
    "refused",
    "lost",
    "timed_out",
    "cancelled",
];

#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The uuid of the job
    uuid: String,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Time between two looks
    #[arg(long, short, value_name = "DURATION", default_value = "1s", value_parser = some_time)]
    interval: Duration,
    #[command(flatten)]
    job: JobArgs,
}

impl JobAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Ls(args) => args.ask.json,
            Self::Show(args) | Self::Cancel(args) => args.ask.json,
            Self::Watch(args) => args.job.ask.json,
        }
    }
}

pub(crate) fn run(action: JobAction) -> Result<ExitCode> {
    block_on(async {
        match action {
            JobAction::Ls(args) => list(&args).await,
            JobAction::Show(args) => show(&args).await,
            JobAction::Watch(args) => watch(&args).await,
            JobAction::Cancel(args) => cancel(&args).await,
        }
    })
}

/// A job, as text for people and as JSON.
struct Row {
    cells: [String; 8],
    json: Value,
    state: String,
    ended: bool,
}

impl From<&JobReport<'_>> for Row {
    fn from(job: &JobReport<'_>) -> Self {
        let cells = [
            text(job.uuid),
            text(job.service),
            job.owner.to_owned(),
            job.state.to_owned(),
            format!("{}/{}", job.targets.saturating_sub(job.open), job.targets),
            age(job.age),
            job.ended.map(age).unwrap_or_default(),
            job.task.to_owned(),
        ];
        let json = json!({
            "uuid": octets_json(job.uuid), "service": octets_json(job.service),
            "owner": job.owner, "task": job.task, "state": job.state, "age_ms": job.age,
            "ended_ms": job.ended, "targets": job.targets, "open": job.open,
        });
        Self { cells, json, state: job.state.to_owned(), ended: job.ended.is_some() }
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table =
        Table::new(["JOB", "SERVICE", "CLIENT", "STATE", "DONE", "AGE", "ENDED", "TASK"]);
    for row in rows {
        table.row(row.cells.each_ref().map(String::as_str));
    }
    table
}

async fn list(args: &LsArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let (owner, state) = (args.owner.as_deref(), args.state.as_deref());
    let says = AdminHeader { owner, state, ..AdminHeader::new(Verb::Jobs) };
    let mut rows = Vec::new();
    desk.pages(says, "the jobs", |report| {
        rows.extend(report.jobs.iter().flatten().map(Row::from));
    })
    .await?;
    if args.ask.json {
        let jobs: Vec<_> = rows.into_iter().map(|row| row.json).collect();
        return print_json(json!({"v": 1, "jobs": jobs}));
    }
    print(table(&rows).to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// A job, and its workers with their states.
async fn look(desk: &Desk, uuid: &str) -> Result<(Row, Vec<(String, String)>), CliError> {
    let (mut job, mut targets) = (None, Vec::new());
    let says = AdminHeader { uuid: Some(uuid.as_bytes()), ..AdminHeader::new(Verb::Job) };
    desk.pages(says, uuid, |report| {
        job = job.take().or_else(|| report.jobs.iter().flatten().map(Row::from).next());
        let row = |target: &TargetReport<'_>| (target.name.to_owned(), target.state.to_owned());
        targets.extend(report.targets.iter().flatten().map(row));
    })
    .await?;
    Ok((job.ok_or_else(|| not_found(uuid, "the broker says nothing of it"))?, targets))
}

async fn show(args: &JobArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let (job, targets) = look(&desk, &args.uuid).await?;
    if args.ask.json {
        let of = |(name, state): &(String, String)| json!({"name": name, "state": state});
        let workers: Vec<_> = targets.iter().map(of).collect();
        return print_json(json!({"v": 1, "job": job.json, "workers": workers}));
    }
    let mut workers = Table::new(["WORKER", "STATE"]);
    for (name, state) in &targets {
        workers.row([name, state]);
    }
    print(format!("{}\n{workers}", table(&[job])))?;
    Ok(ExitCode::SUCCESS)
}

async fn watch(args: &WatchArgs) -> Result<ExitCode> {
    let desk = args.job.ask.connect().await?;
    let mut before = None;
    loop {
        let (job, targets) = look(&desk, &args.job.uuid).await?;
        let told = (job.state.clone(), targets);
        if before.as_ref() != Some(&told) {
            print(if args.job.ask.json {
                format!("{}\n", json!({"v": 1, "job": job.json}))
            } else {
                let [uuid, service, _, state, done, ..] = &job.cells;
                let (uuid, service) = (harmless(uuid), harmless(service));
                format!("{uuid} at {service}: {state}, {done} workers done\n")
            })?;
            before = Some(told);
        }
        if job.ended {
            let good = job.state == "replied";
            return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        sleep(args.interval).await;
    }
}

async fn cancel(args: &JobArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let uuid = Some(args.uuid.as_bytes());
    desk.tell(AdminHeader { uuid, ..AdminHeader::new(Verb::Cancel) }, &args.uuid).await?;
    done(&args.ask, "cancelled", &args.uuid)
}
