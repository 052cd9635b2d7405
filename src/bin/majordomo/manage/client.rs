//! `majordomo client ls`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::wire::mjp::{AdminHeader, ClientReport, Verb};
use serde_json::json;

use super::{AskArgs, age, block_on};
use crate::output::{Table, print, print_json};

#[derive(Debug, Subcommand)]
pub(crate) enum ClientAction {
    /// List peers that ask for services
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo client ls

Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out";

const LS_EXAMPLES: &str = "\
Examples:
  majordomo client ls
  majordomo client ls --json

A client without an identity goes by `~` and 16 digits. This command is a client, too.";

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    ask: AskArgs,
}

impl ClientAction {
    pub(crate) fn json(&self) -> bool {
        let Self::Ls(args) = self;
        args.ask.json
    }
}

pub(crate) fn run(action: ClientAction) -> Result<ExitCode> {
    let ClientAction::Ls(args) = action;
    block_on(async move { list(&args).await })
}

async fn list(args: &LsArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let (mut objects, mut rows) = (Vec::new(), Vec::new());
    desk.pages(AdminHeader::new(Verb::Clients), "the clients", |report| {
        for client in report.clients.iter().flatten() {
            objects.push(json!({
                "name": client.name, "speaks": client.dialect, "connected_ms": client.connected,
                "silent_ms": client.silent, "requests": client.requests, "jobs": client.jobs,
                "admin": client.admin,
            }));
            rows.push(cells(client));
        }
    })
    .await?;
    if args.ask.json {
        return print_json(json!({"v": 1, "clients": objects}));
    }
    let mut table =
        Table::new(["CLIENT", "SPEAKS", "CONNECTED", "SILENT", "REQUESTS", "JOBS", "MAY CHANGE"]);
    for row in &rows {
        table.row(row.each_ref().map(String::as_str));
    }
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn cells(client: &ClientReport<'_>) -> [String; 7] {
    [
        client.name.to_owned(),
        client.dialect.to_owned(),
        age(client.connected),
        age(client.silent),
        client.requests.to_string(),
        client.jobs.to_string(),
        if client.admin { "yes" } else { "no" }.to_owned(),
    ]
}
