//! `majordomo explain request|service`.

use std::num::NonZeroU16;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::wire::mjp::{
    AdminHeader, ExplainReport, PolicyReport, StandReport, StateReport, Verb,
};
use serde_json::{Value, json};

use super::{AskArgs, age, block_on, text};
use crate::output::{Table, harmless, octets_json, print, print_json};

#[derive(Debug, Subcommand)]
pub(crate) enum ExplainAction {
    /// Tell where a request is, and why it is not at a worker
    #[command(after_help = REQUEST_EXAMPLES)]
    Request(RequestArgs),
    /// Tell how a service stands, its policy, and why its requests wait
    #[command(after_help = SERVICE_EXAMPLES)]
    Service(ServiceArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo explain service thumbnail --endpoint ipc:///run/majordomo.sock
  majordomo explain request 000000010000002a

They need the right `admin` (ipc://). Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect,
4 timed out, 5 not allowed, 6 no such request or service";

const REQUEST_EXAMPLES: &str = "\
Examples:
  majordomo explain request 000000010000002a
  majordomo explain request 000000010000002a --json

`explain service` lists ids; workers see them as the number of what they are given, and a dead
letter keeps that of the request.";

const SERVICE_EXAMPLES: &str = "\
Examples:
  majordomo explain service thumbnail
  majordomo explain service thumbnail --max 5 --json";

#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// The id of the request: 16 hexadecimal digits
    id: String,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// The service
    service: String,
    /// Requests that are listed at most
    #[arg(long, value_name = "COUNT", default_value = "10")]
    max: NonZeroU16,
    #[command(flatten)]
    ask: AskArgs,
}

impl ExplainAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Request(args) => args.ask.json,
            Self::Service(args) => args.ask.json,
        }
    }
}

pub(crate) fn run(action: ExplainAction) -> Result<ExitCode> {
    block_on(async {
        match action {
            ExplainAction::Request(args) => {
                let uuid = Some(args.id.as_bytes());
                let says = AdminHeader { uuid, ..AdminHeader::new(Verb::Explain) };
                explain(&args.ask, &says, &args.id).await
            }
            ExplainAction::Service(args) => {
                let (service, max) = (Some(args.service.as_bytes()), Some(args.max));
                let says = AdminHeader { service, max, ..AdminHeader::new(Verb::Explain) };
                explain(&args.ask, &says, &args.service).await
            }
        }
    })
}

async fn explain(ask: &AskArgs, says: &AdminHeader<'_>, what: &str) -> Result<ExitCode> {
    let desk = ask.connect().await?;
    let answer = desk.client.explain(says).await;
    let answer = answer.map_err(|error| desk.trouble(what, &error))?;
    let report = answer.report();
    if ask.json {
        return print_json(json_of(&report));
    }
    let mut said = String::new();
    if says.uuid.is_some() {
        for stand in report.requests.iter().flatten() {
            said += &request_text(stand);
        }
        for seen in report.seen.iter().flatten() {
            said += &format!("{} at {}, {} ago\n", seen.end, harmless(seen.worker), age(seen.ago));
        }
    }
    said += &report.service.as_ref().map(service_text).unwrap_or_default();
    said += &report.policy.as_ref().map(policy_text).unwrap_or_default();
    let mut table = Table::new(["ID", "STATE", "ATTEMPTS", "AGE", "WORKER", "BECAUSE"]);
    for stand in report.requests.iter().flatten().filter(|_| says.uuid.is_none()) {
        table.row([
            stand.uuid,
            stand.state,
            &stand.attempts.to_string(),
            &age(stand.age),
            stand.worker.unwrap_or_default(),
            stand.because.unwrap_or_default(),
        ]);
    }
    if !table.is_empty() {
        said += &table.to_string();
    }
    print(said)?;
    Ok(ExitCode::SUCCESS)
}

fn request_text(stand: &StandReport<'_>) -> String {
    let mut said = format!("{}: {}", stand.uuid, stand.state);
    if let Some(worker) = stand.worker {
        said += &format!(" at {}", harmless(worker));
    }
    if let Some(running) = stand.running.filter(|_| stand.state == "running") {
        said += &format!(" for {}", age(running));
    }
    said += &format!(", accepted {} ago, {} deliveries\n", age(stand.age), stand.attempts);
    if let Some(why) = stand.because {
        said += &format!("because: {}\n", harmless(why));
    }
    if let Some((ahead, clients)) = stand.ahead.zip(stand.clients) {
        said += &format!("place: {ahead} of its client before it, {clients} clients take turns\n");
    }
    for (what, ms) in [
        ("delivered not before", stand.wait),
        ("its caller waits for another", stand.left),
        ("expires in", stand.expires),
    ] {
        said += &ms.map(|ms| format!("{what} {}\n", age(ms))).unwrap_or_default();
    }
    if let Some(order) = stand.order {
        said += &format!("order: {}\n", harmless(&text(order)));
    }
    said
}

fn service_text(it: &StateReport<'_>) -> String {
    let mut said = format!(
        "{} is {}: {} workers, {} ready, credit {}; {} running, {} waiting, {} suspect, {} delayed, \
         {} behind, {} dead\n",
        harmless(&text(it.name)),
        it.state,
        it.workers,
        it.ready,
        it.credit,
        it.running,
        it.waiting,
        it.suspects,
        it.delayed,
        it.behind,
        it.dead
    );
    said += &it.because.map(|why| format!("because: {}\n", harmless(why))).unwrap_or_default();
    said
}

fn policy_text(it: &PolicyReport<'_>) -> String {
    let rule = it.pattern.map_or_else(
        || "policy: [service]".to_owned(),
        |pattern| format!("policy: [services.\"{}\"]", harmless(pattern)),
    );
    let at = it.at.map(|at| format!(" ({})", harmless(at))).unwrap_or_default();
    let once = if it.at_most_once { ", at most once" } else { "" };
    let ttl = it.ttl.map(|ms| format!(", ttl {}", age(ms))).unwrap_or_default();
    format!(
        "{rule}{at}: attempts {}, backoff {} x {} up to {}{ttl}{once}, queue {}, dead letters {}\n",
        it.attempts,
        age(it.backoff),
        it.backoff_factor,
        age(it.backoff_max),
        it.queue_messages_max,
        if it.dead_letters.is_empty() { "none" } else { it.dead_letters }
    )
}

fn json_of(report: &ExplainReport<'_>) -> Value {
    let requests: Vec<Value> = report.requests.iter().flatten().map(request_json).collect();
    let seen: Vec<Value> = report
        .seen
        .iter()
        .flatten()
        .map(|seen| json!({"worker": seen.worker, "end": seen.end, "ago_ms": seen.ago}))
        .collect();
    let service = report.service.as_ref().map(|it| {
        json!({
            "name": octets_json(it.name), "state": it.state, "because": it.because,
            "workers": it.workers, "ready": it.ready, "credit": it.credit,
            "running": it.running, "waiting": it.waiting, "suspects": it.suspects,
            "delayed": it.delayed, "behind": it.behind, "dead": it.dead,
        })
    });
    let policy = report.policy.as_ref().map(|it| {
        json!({
            "pattern": it.pattern, "at": it.at, "attempts": it.attempts,
            "backoff_ms": it.backoff, "backoff_factor": it.backoff_factor,
            "backoff_max_ms": it.backoff_max, "backoff_jitter": it.backoff_jitter,
            "ttl_ms": it.ttl, "at_most_once": it.at_most_once,
            "queue_messages_max": it.queue_messages_max,
            "queue_bytes_max": it.queue_bytes_max, "dead_letters": it.dead_letters,
        })
    });
    json!({
        "v": 1, "requests": requests, "seen": seen, "service": service, "policy": policy,
    })
}

fn request_json(it: &StandReport<'_>) -> Value {
    json!({
        "id": it.uuid, "state": it.state, "because": it.because, "ahead": it.ahead,
        "clients": it.clients, "wait_ms": it.wait, "left_ms": it.left,
        "expires_ms": it.expires, "age_ms": it.age, "attempts": it.attempts,
        "worker": it.worker, "running_ms": it.running,
        "order": it.order.map(octets_json), "behind": it.behind,
    })
}
