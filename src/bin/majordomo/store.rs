//! `majordomo store check|repair|backup|compact`: a store that no broker has open.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::store::{Census, Repair, StoreError, backup, check, compact, repair};
use majordomo::wire::mjp::BackupReport;
use serde_json::{Value, json};

use crate::failure::{CliError, Exit};
use crate::key::trouble::of_broker;
use crate::manage::{AskArgs, block_on};
use crate::output::{Table, print, print_json};

#[derive(Debug, Subcommand)]
pub(crate) enum StoreAction {
    /// Read all of a store, and say what is in it or what is wrong with it
    #[command(after_help = CHECK_EXAMPLES)]
    Check(StoreArgs),
    /// Save what can be read of a damaged store in a new directory
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair {
        #[command(flatten)]
        store: StoreArgs,
        /// The new directory
        #[arg(value_name = "TO")]
        to: PathBuf,
    },
    /// Copy a store into a new directory; that of a broker while it works, with --online
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArgs),
    /// Give back space that the file of a store does not need
    #[command(after_help = COMPACT_EXAMPLES)]
    Compact(StoreArgs),
}

/// A store.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// The directory of the store
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What to copy, and where to.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The directory of the store, and the new one; with --online only that
    #[arg(value_name = "DIR", num_args = 1..=2, required = true)]
    paths: Vec<PathBuf>,
    /// Have the broker copy the store that it uses, on its machine
    #[arg(long)]
    online: bool,
    #[command(flatten)]
    ask: AskArgs,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo broker --store /var/lib/majordomo
  majordomo store check /var/lib/majordomo
  majordomo store repair /var/lib/majordomo /var/lib/majordomo.saved
  majordomo store backup /var/lib/majordomo /srv/backup/today
  majordomo store backup --online /srv/backup/today --endpoint ipc:///run/majordomo.sock

The broker that has the store has to be stopped before, but for `backup --online`.
Exit codes: 0 ok, 1 failed, 2 usage, 6 no store, 8 in use, 65 damaged, 74 the disk failed,
78 not to be used as it is";

const CHECK_EXAMPLES: &str = "\
Examples:
  majordomo store check /var/lib/majordomo
  majordomo store check /var/lib/majordomo --json";

const REPAIR_EXAMPLES: &str = "\
Examples:
  majordomo store repair /var/lib/majordomo /var/lib/majordomo.saved
  majordomo store repair /var/lib/majordomo /var/lib/majordomo.saved --json

The damaged store is not changed. Each record whose checksum holds, and that a broker can read, is
in the new one; the others are listed. Exit code 65: something is lost.";

const BACKUP_EXAMPLES: &str = "\
Examples:
  majordomo store backup /var/lib/majordomo /srv/backup/today
  majordomo store backup --online /srv/backup/today --endpoint ipc:///run/majordomo.sock

With --online the broker goes on, and the copy is what one commit has left; the directory is one of
the broker's machine, from the root, and --timeout says how long to wait for it.";

const COMPACT_EXAMPLES: &str = "\
Examples:
  majordomo store compact /var/lib/majordomo";

impl StoreAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Check(args) | Self::Compact(args) | Self::Repair { store: args, .. } => args.json,
            Self::Backup(args) => args.ask.json,
        }
    }
}

pub(crate) fn run(action: StoreAction) -> Result<ExitCode> {
    match action {
        StoreAction::Check(args) => tell(args.json, &args.dir, check(&args.dir)),
        StoreAction::Repair { store, to } => {
            let repaired = repair(&store.dir, &to).map_err(of_store)?;
            tell_repair(&store, &to, &repaired)
        }
        StoreAction::Backup(args) => back_up(&args),
        StoreAction::Compact(args) => {
            let (before, after) = compact(&args.dir).map_err(of_store)?;
            if args.json {
                return print_json(json!({"v": 1, "before": before, "after": after}));
            }
            print(format!("{before} octets before, {after} now\n"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What is in a store, as one JSON object.
fn census_json(dir: &Path, census: &Census) -> Value {
    let Census { requests, bodies, answers, waiting, outcomes, letters, .. } = census;
    json!({
        "v": 1, "store": dir.display().to_string(), "ok": true, "requests": requests,
        "bodies": bodies, "answers": answers, "waiting": waiting, "outcomes": outcomes,
        "letters": letters, "others": census.others, "bytes": census.bytes, "file": census.file,
    })
}

fn census_table(dir: &Path, census: &Census) -> String {
    let mut table = Table::new([
        "STORE", "TITANIC", "BODIES", "ANSWERS", "REQUESTS", "OUTCOMES", "LETTERS", "OTHERS",
        "BYTES", "FILE",
    ]);
    let Census {
        requests, bodies, answers, waiting, outcomes, letters, others, bytes, file, ..
    } = census;
    let numbers = [requests, bodies, answers, waiting, outcomes, letters, others, bytes, file];
    let [a, b, c, d, e, f, g, h, i] = numbers.map(u64::to_string);
    table.row([&dir.display().to_string(), &a, &b, &c, &d, &e, &f, &g, &h, &i]);
    table.to_string()
}

fn back_up(args: &BackupArgs) -> Result<ExitCode> {
    match (&args.paths[..], args.online) {
        ([to], true) => back_up_online(&args.ask, to),
        ([dir, to], false) => tell(args.ask.json, to, backup(dir, to)),
        (_, true) => {
            Err(CliError::usage("with --online only the new directory is to be named").into())
        }
        (_, false) => Err(CliError::usage("the new directory is missing")
            .hint("name the store and the new directory, or use --online")
            .into()),
    }
}

fn back_up_online(ask: &AskArgs, to: &Path) -> Result<ExitCode> {
    let path = to.to_str().filter(|_| to.is_absolute());
    let path = path.ok_or_else(|| {
        CliError::usage("the new directory is one of the broker's machine: it begins with /")
    })?;
    block_on(async {
        let desk = ask.connect().await?;
        let copied = desk.client.back_up(path).await;
        let BackupReport { records, bytes, file } =
            copied.map_err(|error| of_broker(&desk, "store backup", &error))?;
        if ask.json {
            return print_json(json!({
                "v": 1, "store": path, "ok": true, "records": records, "bytes": bytes, "file": file,
            }));
        }
        print(format!("{records} records, {bytes} octets, are in {path}\n"))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn tell(json: bool, dir: &Path, census: Result<Census, StoreError>) -> Result<ExitCode> {
    let census = census.map_err(of_store)?;
    if json {
        return print_json(census_json(dir, &census));
    }
    print(census_table(dir, &census))?;
    Ok(ExitCode::SUCCESS)
}

fn tell_repair(args: &StoreArgs, to: &Path, repaired: &Repair) -> Result<ExitCode> {
    let Repair { saved, told, lost, gaps, .. } = repaired;
    let exit = if repaired.is_whole() { ExitCode::SUCCESS } else { Exit::Damaged.into() };
    if args.json {
        let mut all = census_json(to, saved);
        let lost = lost.iter().map(|it| json!({"key": it.key, "why": it.why}));
        let gaps = gaps.iter().map(|it| json!({"offset": it.offset, "why": it.why}));
        all["ok"] = repaired.is_whole().into();
        all["told"] = (*told).into();
        all["lost"] = lost.collect();
        all["gaps"] = gaps.collect();
        print_json(all)?;
        return Ok(exit);
    }
    print(census_table(to, saved))?;
    let mut table = Table::new(["LOST", "WHY"]);
    for it in lost {
        table.row([it.key.as_str(), it.why.as_str()]);
    }
    for it in gaps {
        table.row([format!("what was at octet {}", it.offset).as_str(), it.why]);
    }
    if !repaired.is_whole() {
        print(table.to_string())?;
    }
    let total = saved.total();
    print(format!("{total} records of {told} are saved\n"))?;
    Ok(exit)
}

/// What to exit with when a store cannot be used.
pub(crate) fn of_store(error: StoreError) -> CliError {
    let (exit, code) = match &error {
        StoreError::Locked { .. } => (Exit::Conflict, "in_use"),
        StoreError::Damaged { .. } | StoreError::Record { .. } => (Exit::Damaged, "damaged"),
        StoreError::Full { .. } | StoreError::Failed { .. } => (Exit::Store, "store"),
        StoreError::Open { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            (Exit::NotFound, "not_found")
        }
        StoreError::Thread(_) => (Exit::Failed, "failed"),
        _ => (Exit::Configuration, "configuration"),
    };
    CliError::new(exit, code, error.to_string())
}
