//! `majordomo lease ls|campaign|watch`.

mod campaign;

use std::process::ExitCode;

use anyhow::Result;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use futures::StreamExt;
use futures::stream::select_all;
use majordomo::lease::{Coordinator, Lease, LeaseError, Row, Seen};
use serde_json::{Value, json};

use crate::etcd::InEtcdArgs;
use crate::failure::{CliError, Exit};
use crate::manage::{AskArgs, age, block_on};
use crate::output::{Table, complain, harmless, octets_json, print, print_json};
use campaign::CampaignArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum LeaseAction {
    /// List leases, who holds them, and how many wait
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// Wait for a lease, and hold it until interrupted, or as long as a command runs
    #[command(after_help = campaign::EXAMPLES)]
    Campaign(CampaignArgs),
    /// Print who holds a lease, now and whenever that changes
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(WatchArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo lease campaign billing -- ./charge-customers
  majordomo lease ls
  majordomo lease watch billing --json

A lease is a name that one holds at a time. Its epoch grows with each holder: the broker refuses
what comes with an old one, so that a holder that was stopped can do no harm when it goes on.
With --etcd the leases are those in etcd, below /majordomo/leases/; SPEC.md 9.14 has what is
otherwise there.
Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed, 8 another one
holds it, 9 overloaded";

const LS_EXAMPLES: &str = "\
Examples:
  majordomo lease ls
  majordomo lease ls bill --json";

const WATCH_EXAMPLES: &str = "\
Examples:
  majordomo lease watch billing
  majordomo lease watch billing shipping --json
  majordomo lease watch billing --count 1

Each line is the lease, `held` or `free`, the epoch, the name of the holder and what it says. It
goes on over lost connections, and says on standard error, or with --json in its place, that it does
not know who holds.";

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only leases whose names begin so
    prefix: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    store: InEtcdArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The leases
    #[arg(required = true, value_name = "LEASE", value_parser = NonEmptyStringValueParser::new())]
    leases: Vec<String>,
    /// End behind so many lines [default: go on until interrupted]
    #[arg(long, short = 'n', value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    store: InEtcdArgs,
}

impl LeaseAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Ls(args) => args.ask.json,
            Self::Campaign(args) => args.json(),
            Self::Watch(args) => args.ask.json,
        }
    }
}

pub(crate) fn run(action: LeaseAction) -> Result<ExitCode> {
    block_on(async {
        match action {
            LeaseAction::Ls(args) => list(&args).await,
            LeaseAction::Campaign(args) => campaign::run(&args).await,
            LeaseAction::Watch(args) => watch(&args).await,
        }
    })
}

async fn list(args: &LsArgs) -> Result<ExitCode> {
    #[cfg(feature = "etcd")]
    if let Some(etcd) = args.store.client()? {
        return list_of(args, &majordomo::engine::etcd::Leases::new(etcd)).await;
    }
    #[cfg(not(feature = "etcd"))]
    args.store.none()?;
    let desk = args.ask.connect().await?;
    list_of(args, &desk.client).await
}

async fn list_of<C: Coordinator>(args: &LsArgs, store: &C) -> Result<ExitCode> {
    let (prefix, mut after) = (args.prefix.as_deref().unwrap_or_default(), None);
    let mut rows = Vec::new();
    loop {
        let page = store.list(prefix, after.as_deref()).await;
        let mut page = page.map_err(|error| trouble("the leases", &error))?;
        rows.append(&mut page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if args.ask.json {
        let leases: Vec<_> = rows.iter().map(row_json).collect();
        return print_json(json!({"v": 1, "leases": leases}));
    }
    let mut table =
        Table::new(["LEASE", "EPOCH", "HOLDER", "HELD", "LEFT", "WAITING", "OBSERVERS"]);
    for row in &rows {
        let epoch = row.epoch.map_or_else(|| "free".into(), |epoch| epoch.to_string());
        let [held, left] = [ms(row.held), ms(row.left)].map(|it| it.map(age).unwrap_or_default());
        let (waiting, observers) = (row.waiting.to_string(), row.observers.to_string());
        let name = row.name.as_deref().unwrap_or_default();
        table.row([&row.lease, &epoch, name, &held, &left, &waiting, &observers]);
    }
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn ms(time: Option<std::time::Duration>) -> Option<u64> {
    time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn row_json(row: &Row) -> Value {
    json!({
        "lease": row.lease, "epoch": row.epoch, "name": row.name, "held_ms": ms(row.held),
        "left_ms": ms(row.left), "waiting": row.waiting, "observers": row.observers,
    })
}

async fn watch(args: &WatchArgs) -> Result<ExitCode> {
    #[cfg(feature = "etcd")]
    if let Some(etcd) = args.store.client()? {
        return watch_of(args, majordomo::engine::etcd::Leases::new(etcd)).await;
    }
    #[cfg(not(feature = "etcd"))]
    args.store.none()?;
    let desk = args.ask.connect().await?;
    watch_of(args, desk.client).await
}

async fn watch_of<C: Coordinator>(args: &WatchArgs, store: C) -> Result<ExitCode> {
    let mut all = Vec::new();
    for lease in &args.leases {
        let seen = Lease::new(store.clone(), lease).observe();
        let seen = seen.map_err(|error| trouble(lease, &error))?;
        all.push(seen.map(move |seen| (lease, seen)));
    }
    let (mut all, mut left) = (select_all(all), args.count);
    while left != Some(0)
        && let Some((lease, seen)) = all.next().await
    {
        show(args.ask.json, lease, &seen.map_err(|error| trouble(lease, &error))?)?;
        left = left.map(|left| left - 1);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(as_json: bool, lease: &str, seen: &Seen) -> Result<()> {
    if as_json {
        let said = match seen {
            Seen::Held { epoch, name, value } => json!({
                "v": 1, "event": "held", "lease": lease, "epoch": epoch, "name": name,
                "value": octets_json(value),
            }),
            Seen::Free { last } => {
                json!({"v": 1, "event": "free", "lease": lease, "epoch": last})
            }
            Seen::Unknown => json!({"v": 1, "event": "unknown", "lease": lease}),
        };
        return print(format!("{said}\n"));
    }
    let lease = harmless(lease);
    match seen {
        Seen::Held { epoch, name, value } => {
            let name = harmless(name.as_deref().unwrap_or_default());
            let value = harmless(&String::from_utf8_lossy(value));
            print(format!("{lease}\theld\t{epoch}\t{name}\t{value}\n"))
        }
        Seen::Free { last } => {
            let last = last.map(|epoch| epoch.to_string()).unwrap_or_default();
            print(format!("{lease}\tfree\t{last}\t\t\n"))
        }
        Seen::Unknown => {
            complain(&format_args!(
                "majordomo: {lease}: the connection is lost; who holds is unknown"
            ));
            Ok(())
        }
    }
}

/// Why a lease is not held, or not looked at.
fn trouble(lease: &str, error: &LeaseError) -> CliError {
    let lease = harmless(lease);
    let said = |exit, code: &str, hint: Option<&str>| {
        let message = format!("{lease}: {}", harmless(&error.to_string()));
        CliError { exit, code: code.into(), message, hint: hint.map(str::to_owned) }
    };
    match error {
        LeaseError::Held { .. } => said(Exit::Conflict, "held", None),
        LeaseError::Stale { .. } => said(Exit::Conflict, "stale_epoch", None),
        LeaseError::Denied { .. } => said(
            Exit::NotAllowed,
            "denied",
            Some("have the right given to your key: `majordomo key approve`, or its file"),
        ),
        LeaseError::Invalid { .. } => said(Exit::Usage, "usage", None),
        LeaseError::Refused { code, .. } => match &**code {
            "overloaded" | "draining" => said(Exit::Overloaded, code, Some("try again later")),
            "bad_request" => said(Exit::Usage, code, None),
            "unsupported" => {
                said(Exit::Failed, code, Some("the broker may be older than this command"))
            }
            code => said(Exit::Failed, code, None),
        },
        LeaseError::Unreachable { after: Some(_), .. } => said(Exit::TimedOut, "timeout", None),
        LeaseError::Unreachable { .. } | LeaseError::Closed => {
            said(Exit::CannotConnect, "disconnected", None)
        }
        LeaseError::Lost(_) => said(Exit::Failed, "lost", None),
        _ => said(Exit::Failed, "failed", None),
    }
}
