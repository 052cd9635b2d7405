//! `majordomo status`: the broker, its services and their workers, once or again and again.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use majordomo::client::{Client, ClientBuilder};
use majordomo::config::{ClientConfig, Text};
use majordomo::wire::Protocol;
use majordomo::wire::mjp::{
    FlowsReport, MemoryReport, Report, ServiceReport, StatusHeader, StoreReport, StoreState, What,
    WorkerReport,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::call::{cannot_connect, of_call};
use crate::connect::{ConnectArgs, Target, duration, some_time};
use crate::failure::{CliError, Exit};
use crate::output::{Table, complain, complain_of, harmless, octets_json, print};

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show only this service, with its workers [default: all services]
    service: Option<String>,
    /// Show the workers of all services, too
    #[arg(long)]
    workers: bool,
    /// Show it again and again, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Time over which rates are measured, and between two looks [default: 500ms, 2s with --watch]
    #[arg(long, short, value_name = "DURATION", value_parser = duration, hide_default_value = true)]
    #[arg(default_value = "500ms", default_value_if("watch", "true", "2s"))]
    interval: Duration,
    /// How long the broker may take to answer
    #[arg(long, short, value_name = "DURATION", default_value = "5s", value_parser = some_time)]
    timeout: Duration,
    /// Print one JSON object for each look
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo status
  majordomo status shout --watch
  majordomo status --json | jq '.services[] | select(.waiting > 100)'

CALLS/S is the rate of replies over --interval; with --interval 0s there is none. WAITING is the
depth of the queue, OLDEST the age of its head. It needs MJP/1, so a broker of this kind.";

/// What was seen in one look.
struct Look {
    at: Instant,
    /// The broker, as a text for people and as JSON.
    broker: (String, Value),
    services: Vec<Service>,
    workers: Vec<WorkerRow>,
}

struct Service {
    name: Vec<u8>,
    workers: u64,
    waiting: u64,
    in_flight: u64,
    oldest: Option<Duration>,
    accepted: u64,
    replied: u64,
    failed: u64,
    dead: u64,
}

struct WorkerRow {
    service: Vec<u8>,
    identity: Option<Vec<u8>>,
    dialect: String,
    credit: u64,
    in_flight: u64,
    ready: bool,
    version: Option<String>,
    labels: BTreeMap<String, String>,
}

pub(crate) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let target = args.connect.target()?;
    if target.protocol != Protocol::Mjp {
        let error = CliError::usage("MDP has no word for the status of a broker");
        return Err(error.hint("leave --protocol out, or use --protocol mjp").into());
    }
    if args.watch && args.interval.is_zero() {
        let error = CliError::usage("--watch without any --interval would never rest");
        return Err(error.hint("write such as --interval 1s").into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(show(args, &target))
}

async fn show(args: &StatusArgs, target: &Target) -> Result<ExitCode> {
    let config = ClientConfig {
        endpoint: target.endpoint.clone(),
        curve: target.curve.clone(),
        connect_timeout: args.timeout.max(Duration::from_millis(10)),
        timeout: args.timeout,
        ..ClientConfig::default()
    };
    let client = ClientBuilder::from(config).connect().await;
    let client = client.map_err(|error| cannot_connect(target, &error))?;
    let mut before = None;
    // The first look of a watch has no rates, and is there at once.
    if !args.watch && !args.interval.is_zero() {
        before = Some(look(&client, args).await?);
        sleep(args.interval).await;
    }
    loop {
        match look(&client, args).await {
            Ok(now) => {
                present(args, target, before.as_ref(), &now)?;
                before = Some(now);
            }
            // A broker that is started anew is watched again.
            Err(error) if args.watch => complain_of(&format!("majordomo: {error}")),
            Err(error) => return Err(error.into()),
        }
        if !args.watch {
            return Ok(ExitCode::SUCCESS);
        }
        sleep(args.interval).await;
    }
}

async fn look(client: &Client, args: &StatusArgs) -> Result<Look, CliError> {
    let at = Instant::now();
    let mut broker = (String::new(), Value::Null);
    pages(client, args, What::Broker, |report| {
        if let Some(said) = report.broker {
            let up = Duration::from_secs(said.uptime / 1000).write();
            let stops = if said.draining { ", stopping" } else { "" };
            let dead = said.dead.map(|dead| format!(", dead letters: {dead}"));
            let dead = dead.unwrap_or_default();
            let text = format!(
                "{}, up {up}{stops}; peers: {}, services: {}, workers: {}, open requests: {}, \
                 subscriptions: {}, keys: {}, leases: {}, groups: {}{dead}",
                harmless(said.agent),
                said.peers,
                said.services,
                said.workers,
                said.open,
                said.subscriptions,
                said.keys,
                said.leases,
                said.groups
            );
            let memory = said.memory.map(memory_line).unwrap_or_default();
            let store = said.store.map(store_line).unwrap_or_default();
            let flows = said.flows.map(flows_words).unwrap_or_default();
            let open = "\nINSECURE: other machines reach it, and nobody is authenticated";
            let open = if said.insecure { open } else { "" };
            broker = (text + &flows + &memory + &store + open, json!(said));
        }
    })
    .await?;
    let mut services = Vec::new();
    pages(client, args, What::Services, |report| {
        services.extend(report.services.iter().flatten().map(Service::from));
    })
    .await?;
    services.sort_by(|one, other| one.name.cmp(&other.name));
    if let (Some(name), true) = (&args.service, services.is_empty()) {
        let message = format!("nobody offers or calls `{}`", harmless(name));
        let error = CliError::new(Exit::NotFound, "no_service", message);
        return Err(error.hint("`majordomo status` lists the services"));
    }
    let mut workers = Vec::new();
    if args.workers || args.service.is_some() {
        pages(client, args, What::Workers, |report| {
            workers.extend(report.workers.iter().flatten().map(WorkerRow::from));
        })
        .await?;
        workers.sort_by(|one, other| one.service.cmp(&other.service));
    }
    Ok(Look { at, broker, services, workers })
}

fn size(octets: u64) -> String {
    format!("{:.1} MiB", octets as f64 / f64::from(1 << 20))
}

fn memory_line(memory: MemoryReport) -> String {
    format!(
        "\nmemory: {} of {}: requests {}, remembered {}, connections {}",
        size(memory.used),
        size(memory.limit),
        size(memory.requests),
        size(memory.remembered),
        size(memory.connections)
    )
}

fn flows_words(flows: FlowsReport) -> String {
    let FlowsReport { open, waiting, handlers } = flows;
    format!(", flows: {open} open, {waiting} waiting, {handlers} handlers")
}

fn store_line(store: StoreReport) -> String {
    let state = match store.state {
        StoreState::Ok => "",
        StoreState::Full => "; FULL: nothing new is taken",
        StoreState::Failed => "; FAILED: nothing is stored any more",
    };
    format!(
        "\nstore: {} requests ({}, {} in memory), {} outcomes ({}){state}",
        store.requests,
        size(store.bytes),
        store.in_memory,
        store.outcomes,
        size(store.outcomes_bytes)
    )
}

/// Asks for one page after the other.
async fn pages(
    client: &Client,
    args: &StatusArgs,
    what: What,
    mut take: impl FnMut(Report<'_>),
) -> Result<(), CliError> {
    let mut after = None;
    loop {
        let service = args.service.as_ref().map(|name| name.as_bytes());
        let service = service.filter(|_| what != What::Broker);
        let ask = StatusHeader { what, service, after, max: NonZeroU16::new(1000) };
        let status = client.status(&ask).await;
        let status =
            status.map_err(|error| of_call("STATUS of the broker", args.timeout, &error, false))?;
        let report = status.report();
        after = report.next;
        take(report);
        if after.is_none() {
            return Ok(());
        }
    }
}

fn present(args: &StatusArgs, target: &Target, before: Option<&Look>, now: &Look) -> Result<()> {
    if args.json {
        let services: Vec<_> =
            now.services.iter().map(|service| service.json(rate(before, now, service))).collect();
        let mut object = json!({
            "v": 1, "endpoint": target.endpoint.to_string(), "broker": now.broker.1,
            "services": services,
        });
        if args.workers || args.service.is_some() {
            object["workers"] = now.workers.iter().map(WorkerRow::json).collect();
        }
        return print(format!("{object}\n"));
    }
    // Home, and away with the rest: without the flicker of a clean screen.
    let clear = if args.watch && io::stdout().is_terminal() { "\u{1b}[H\u{1b}[J" } else { "" };
    let mut text = format!("{clear}{}\n", services_table(before, now));
    if now.services.is_empty() && io::stdout().is_terminal() {
        text += "no service yet; `majordomo work NAME -- COMMAND` offers one\n";
    }
    if args.workers || args.service.is_some() {
        text += &format!("{}\n", workers_table(now));
    }
    // Behind the tables for programs, and before them for people: it is no row.
    if io::stdout().is_terminal() {
        text.insert_str(clear.len(), &format!("{}  {}\n\n", target.endpoint, now.broker.0));
    } else {
        complain(&format_args!("{}  {}", target.endpoint, now.broker.0));
    }
    print(text.trim_end_matches('\n').to_owned() + "\n")
}

/// Replies a second since the look before. A broker that has been started anew begins anew.
fn rate(before: Option<&Look>, now: &Look, service: &Service) -> Option<f64> {
    let before = before?;
    let seconds = (now.at - before.at).as_secs_f64();
    let known = before.services.iter().find(|known| known.name == service.name);
    let replied = known.map_or(0, |known| known.replied);
    let replies = service.replied.checked_sub(replied)?;
    (seconds > 0.0).then(|| (replies as f64 / seconds * 10.0).round() / 10.0)
}

fn services_table(before: Option<&Look>, now: &Look) -> Table {
    let mut table = Table::new([
        "SERVICE",
        "WORKERS",
        "WAITING",
        "OLDEST",
        "IN FLIGHT",
        "CALLS/S",
        "ACCEPTED",
        "REPLIED",
        "FAILED",
        "DEAD",
    ]);
    for service in &now.services {
        let rate = rate(before, now, service);
        table.row([
            &String::from_utf8_lossy(&service.name),
            &service.workers.to_string(),
            &service.waiting.to_string(),
            &service.oldest.map(age).unwrap_or_default(),
            &service.in_flight.to_string(),
            &rate.map(|rate| format!("{rate:.1}")).unwrap_or_default(),
            &service.accepted.to_string(),
            &service.replied.to_string(),
            &service.failed.to_string(),
            &service.dead.to_string(),
        ]);
    }
    table
}

fn workers_table(now: &Look) -> Table {
    let mut table = Table::new([
        "WORKER OF",
        "IDENTITY",
        "SPEAKS",
        "CREDIT",
        "IN FLIGHT",
        "STATE",
        "VERSION",
        "LABELS",
    ]);
    for worker in &now.workers {
        let identity = worker.identity.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let labels: Vec<_> =
            worker.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        table.row([
            &String::from_utf8_lossy(&worker.service),
            &identity,
            &worker.dialect,
            &worker.credit.to_string(),
            &worker.in_flight.to_string(),
            if worker.ready { "ready" } else { "busy" },
            worker.version.as_deref().unwrap_or_default(),
            &labels.join(" "),
        ]);
    }
    table
}

/// Whole seconds, or less than one.
fn age(age: Duration) -> String {
    if age < Duration::from_secs(1) {
        age.write()
    } else {
        Duration::from_secs(age.as_secs()).write()
    }
}

impl From<&ServiceReport<'_>> for Service {
    fn from(report: &ServiceReport<'_>) -> Self {
        Self {
            name: report.service.to_vec(),
            workers: report.workers,
            waiting: report.waiting,
            in_flight: report.in_flight,
            oldest: report.oldest.map(Duration::from_millis),
            accepted: report.accepted,
            replied: report.replied,
            failed: report.failed,
            dead: report.dead.unwrap_or_default(),
        }
    }
}

impl Service {
    fn json(&self, rate: Option<f64>) -> Value {
        json!({
            "service": octets_json(&self.name),
            "workers": self.workers,
            "waiting": self.waiting,
            "in_flight": self.in_flight,
            "oldest_ms": self.oldest.map(|oldest| u64::try_from(oldest.as_millis()).ok()),
            "accepted": self.accepted,
            "replied": self.replied,
            "failed": self.failed,
            "dead": self.dead,
            "per_second": rate,
        })
    }
}

impl From<&WorkerReport<'_>> for WorkerRow {
    fn from(report: &WorkerReport<'_>) -> Self {
        let labels = report.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            service: report.service.to_vec(),
            identity: report.identity.map(<[u8]>::to_vec),
            dialect: report.dialect.to_owned(),
            credit: report.credit,
            in_flight: report.in_flight,
            ready: report.ready,
            version: report.version.map(str::to_owned),
            labels: labels.collect(),
        }
    }
}

impl WorkerRow {
    fn json(&self) -> Value {
        json!({
            "service": octets_json(&self.service),
            "identity": self.identity.as_deref().map(octets_json),
            "speaks": self.dialect,
            "credit": self.credit,
            "in_flight": self.in_flight,
            "ready": self.ready,
            "version": self.version,
            "labels": self.labels,
        })
    }
}
