//! `majordomo events --follow`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use majordomo::wire::mjp::AdminEvent;
use serde_json::json;

use super::{AskArgs, block_on, text};
use crate::failure::CliError;
use crate::output::{harmless, octets_json, print};

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only events that begin so, such as worker. or job.ended
    #[arg(default_value = "")]
    prefix: String,
    /// Go on until interrupted; there is nothing else that could be shown
    #[arg(long, short, required = true)]
    follow: bool,
    #[command(flatten)]
    ask: AskArgs,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo events --follow --endpoint ipc:///run/majordomo.sock
  majordomo events --follow job. --endpoint ipc:///run/majordomo.sock --json

An event is peer.joined, peer.left, worker.registered, worker.lost, job.started, job.ended,
service.paused, service.draining or service.resumed; `following` says that it begins. Each is told
once at most, and how many were missed before it. It needs the right `admin`, as at an ipc:// endpoint.
Exit codes: 0 ok, 2 usage, 3 cannot connect or connection lost, 4 timed out, 5 not allowed";

impl EventsArgs {
    pub(crate) fn json(&self) -> bool {
        self.ask.json
    }
}

pub(crate) fn run(args: &EventsArgs) -> Result<ExitCode> {
    block_on(follow(args))
}

async fn follow(args: &EventsArgs) -> Result<ExitCode> {
    if !args.follow {
        return Err(CliError::usage("write `majordomo events --follow`").into());
    }
    let desk = args.ask.connect().await?;
    let events = desk.client.follow(&args.prefix).await;
    let mut events = events.map_err(|error| desk.trouble("the events", &error))?;
    show(args, &AdminEvent { event: AdminEvent::FOLLOWING, ..AdminEvent::default() })?;
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| desk.trouble("the events", &error))?;
        show(args, &event.event())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &EventsArgs, event: &AdminEvent<'_>) -> Result<()> {
    let missed = event.missed.unwrap_or(0);
    if args.ask.json {
        let object = json!({
            "v": 1, "event": event.event, "missed": missed, "name": event.name,
            "service": event.service.map(octets_json), "uuid": event.uuid.map(octets_json),
            "owner": event.owner, "state": event.state, "speaks": event.dialect,
        });
        return print(format!("{object}\n"));
    }
    let service = event.service.map(text);
    let uuid = event.uuid.map(text);
    let words = [
        ("", event.name),
        ("", uuid.as_deref()),
        ("service=", service.as_deref()),
        ("client=", event.owner),
        ("state=", event.state),
        ("speaks=", event.dialect),
    ];
    let words =
        words.iter().filter_map(|(key, word)| Some(format!(" {key}{}", harmless((*word)?))));
    let missed = if missed > 0 { format!(" (missed {missed} before)") } else { String::new() };
    print(format!("{}{}{missed}\n", harmless(event.event), words.collect::<String>()))
}
