//! `majordomo store check|backup|compact`: a store that no broker has open.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::store::{Census, StoreError, backup, check, compact};
use serde_json::json;

use crate::failure::{CliError, Exit};
use crate::output::{Table, print, print_json};

#[derive(Debug, Subcommand)]
pub(crate) enum StoreAction {
    /// Read all of a store, and say what is in it or what is wrong with it
    #[command(after_help = CHECK_EXAMPLES)]
    Check(StoreArgs),
    /// Copy a store into a new directory
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup {
        #[command(flatten)]
        store: StoreArgs,
        /// The new directory
        #[arg(value_name = "TO")]
        to: PathBuf,
    },
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

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo broker --store /var/lib/majordomo
  majordomo store check /var/lib/majordomo
  majordomo store backup /var/lib/majordomo /srv/backup/today

The broker that has the store has to be stopped before.
Exit codes: 0 ok, 1 failed, 2 usage, 6 no store, 8 in use, 65 damaged, 74 the disk failed,
78 not to be used as it is";

const CHECK_EXAMPLES: &str = "\
Examples:
  majordomo store check /var/lib/majordomo
  majordomo store check /var/lib/majordomo --json";

const BACKUP_EXAMPLES: &str = "\
Examples:
  majordomo store backup /var/lib/majordomo /srv/backup/today";

const COMPACT_EXAMPLES: &str = "\
Examples:
  majordomo store compact /var/lib/majordomo";

impl StoreAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Check(args) | Self::Compact(args) | Self::Backup { store: args, .. } => args.json,
        }
    }
}

pub(crate) fn run(action: StoreAction) -> Result<ExitCode> {
    match action {
        StoreAction::Check(args) => tell(&args, &args.dir, check(&args.dir)),
        StoreAction::Backup { store, to } => tell(&store, &to, backup(&store.dir, &to)),
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

fn tell(args: &StoreArgs, dir: &Path, census: Result<Census, StoreError>) -> Result<ExitCode> {
    let census = census.map_err(of_store)?;
    let Census { requests, bodies, answers, waiting, outcomes, others, bytes, file, .. } = census;
    let dir = dir.display().to_string();
    if args.json {
        return print_json(json!({
            "v": 1, "store": dir, "ok": true, "requests": requests, "bodies": bodies,
            "answers": answers, "waiting": waiting, "outcomes": outcomes, "others": others, "bytes": bytes, "file": file,
        }));
    }
    let mut table = Table::new([
        "STORE", "TITANIC", "BODIES", "ANSWERS", "REQUESTS", "OUTCOMES", "OTHERS", "BYTES", "FILE",
    ]);
    let numbers = [requests, bodies, answers, waiting, outcomes, others, bytes, file];
    let numbers = numbers.map(|number| number.to_string());
    let [a, b, c, d, e, f, g, h] = &numbers;
    table.row([&dir, a, b, c, d, e, f, g, h]);
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
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
