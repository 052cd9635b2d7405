//! `majordomo group send` and `majordomo group resign`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use majordomo::client::CallError;
use majordomo::group::GroupKind;
use majordomo::wire::mjp::{AdminHeader, Verb};
use serde_json::json;

use super::{LineArgs, MemberArgs};
use crate::call::body;
use crate::failure::{CliError, Exit};
use crate::manage::{AskArgs, done};
use crate::output::{harmless, print, print_json};

pub(super) const SEND_EXAMPLES: &str = "\
Examples:
  majordomo group send Escort.1 'here I am'
  majordomo group send Escort.1 @report.bin --to leader
  majordomo group send Escort.1 'wait' --to-member anna --json

It joins the group for that, and leaves it behind that. It says how many members it was for; what
finds no room at a slow one is dropped there, and counted.
Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed, 6 no such member";

pub(super) const RESIGN_EXAMPLES: &str = "\
Examples:
  majordomo group resign Escort.1 --endpoint ipc:///run/majordomo.sock
  majordomo group resign Escort.1 --to bert --endpoint ipc:///run/majordomo.sock

Needs the right `admin` (ipc://). Whoever leads loses that at once, stays a member, and is the last
one to lead again. Exit code 6: there is no such group, no leader, or no such member.";

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    member: MemberArgs,
    /// A frame of the body: text, `-` for standard input, `@FILE` for a file [default: one, empty]
    #[arg(allow_negative_numbers = true)]
    body: Vec<OsString>,
    /// Take each BODY as it is, also `-` and what begins with `@`
    #[arg(long)]
    literal: bool,
    /// For all members, or for the leader
    #[arg(long, value_name = "WHOM", default_value = "all")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(["all", "leader"]))]
    to: String,
    /// For that member
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    to_member: Option<String>,
    #[command(flatten)]
    pub(super) line: LineArgs,
}

pub(super) async fn run(args: &SendArgs) -> Result<ExitCode> {
    let body = body::read(&args.body, args.literal)?;
    let groups = args.line.connect().await?;
    let group = args.member.join(&groups, GroupKind::default(), false).await?;
    let ack = match &args.to_member {
        Some(member) => group.send_to_member(member.as_str(), body).await,
        None if args.to == "leader" => group.send_to_leader(body).await,
        None => group.send(body).await,
    };
    let ack = ack.map_err(|error| args.member.trouble(&error))?;
    // Whoever has gone needs no goodbye.
    let _ = group.leave().await;
    groups.close().await;
    if args.line.json {
        let said = json!({"v": 1, "group": group.name(), "seq": ack.seq, "members": ack.size});
        return print_json(said);
    }
    let plural = if ack.size == 1 { "" } else { "s" };
    print(format!("sent to {} member{plural}\n", ack.size))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Args)]
pub(crate) struct ResignArgs {
    /// The group
    group: String,
    /// The member that is to lead [default: who has been there for longest]
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    #[command(flatten)]
    pub(super) ask: AskArgs,
}

pub(super) async fn resign(args: &ResignArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let (name, owner) = (Some(args.group.as_str()), args.to.as_deref());
    let says = AdminHeader { name, owner, ..AdminHeader::new(Verb::Resign) };
    match desk.client.admin(&says).await {
        Ok(_) => done(&args.ask, "resigned", &args.group),
        Err(CallError::Refused { code, message, .. })
            if matches!(code.as_str(), "no_leader" | "not_member" | "not_coordinated") =>
        {
            let message = format!("{}: {}", harmless(&args.group), harmless(&message));
            let error = CliError::new(Exit::NotFound, code, message);
            Err(error.hint("`majordomo group info` lists the members").into())
        }
        Err(error) => Err(desk.trouble(&args.group, &error).into()),
    }
}
