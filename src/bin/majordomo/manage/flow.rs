//! `majordomo flow ls|peers`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use majordomo::config::Text;
use majordomo::wire::mjp::{AdminHeader, EndReport, FlowReport, Verb};
use serde_json::json;

use super::{AskArgs, age, text};
use crate::output::{Table, print, print_json};

pub(crate) const LS_EXAMPLES: &str = "\
Examples:
  majordomo flow ls
  majordomo flow ls --service writers --json

Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed";

pub(crate) const PEERS_EXAMPLES: &str = "\
Examples:
  majordomo flow peers
  majordomo flow peers --json

A peer without an identity goes by `~` and 16 digits; a CLIENT never has one. A connection of MJP/1
is one peer, with its flows as lanes.

Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed";

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only those of this flow service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

pub(crate) async fn list(args: &LsArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let (mut objects, mut rows) = (Vec::new(), Vec::new());
    let service = args.service.as_ref().map(String::as_bytes);
    let says = AdminHeader { service, ..AdminHeader::new(Verb::Flows) };
    desk.pages(says, "the flows", |report| {
        for flow in report.flows.iter().flatten() {
            objects.push(json!({
                "flow": flow.flow, "service": flow.service.map(text), "client": flow.client,
                "handler": flow.handler, "direction": flow.direction, "state": flow.state,
                "credit": flow.credit, "credit_bytes": flow.bytes, "messages": flow.messages,
                "octets": flow.octets,
                "age_ms": flow.age, "silent_ms": flow.silent,
            }));
            rows.push(flow_cells(flow));
        }
    })
    .await?;
    if args.ask.json {
        return print_json(json!({"v": 1, "flows": objects}));
    }
    let mut table = Table::new([
        "FLOW",
        "SERVICE",
        "CLIENT",
        "HANDLER",
        "DIRECTION",
        "STATE",
        "CREDIT",
        "MESSAGES",
        "OCTETS",
        "AGE",
        "SILENT",
    ]);
    for row in &rows {
        table.row(row.each_ref().map(String::as_str));
    }
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn peers(args: &PeersArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let (mut objects, mut rows) = (Vec::new(), Vec::new());
    desk.pages(AdminHeader::new(Verb::Ends), "the ends of flows", |report| {
        for end in report.ends.iter().flatten() {
            objects.push(json!({
                "name": end.name, "socket": end.socket, "state": end.state, "flow": end.flow,
                "lanes": end.lanes, "connected_ms": end.connected,
            }));
            rows.push(end_cells(end));
        }
    })
    .await?;
    if args.ask.json {
        return print_json(json!({"v": 1, "peers": objects}));
    }
    let mut table = Table::new(["PEER", "SOCKET", "STATE", "FLOW", "CONNECTED"]);
    for row in &rows {
        table.row(row.each_ref().map(String::as_str));
    }
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn flow_cells(flow: &FlowReport<'_>) -> [String; 11] {
    [
        flow.flow.to_string(),
        flow.service.map(text).unwrap_or_default(),
        flow.client.to_owned(),
        flow.handler.unwrap_or_default().to_owned(),
        flow.direction.to_owned(),
        flow.state.to_owned(),
        match flow.bytes.and_then(|bytes| usize::try_from(bytes).ok()) {
            Some(bytes) => format!("{}, {}", flow.credit, bytes.write()),
            None => flow.credit.to_string(),
        },
        flow.messages.to_string(),
        flow.octets.to_string(),
        age(flow.age),
        age(flow.silent),
    ]
}

fn end_cells(end: &EndReport<'_>) -> [String; 5] {
    [
        end.name.to_owned(),
        end.socket.to_owned(),
        end.lanes.map_or_else(|| end.state.to_owned(), |lanes| format!("{lanes} lanes")),
        end.flow.map(|flow| flow.to_string()).unwrap_or_default(),
        age(end.connected),
    ]
}
