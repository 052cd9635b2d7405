//! `majordomo group ls|info|watch|join|send|poll|resign`.

mod join;
mod kind;
mod look;
mod poll;
mod send;
mod show;
mod trouble;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::config::MemberConfig;
use majordomo::group::{Group, GroupError, GroupKind, Groups, GroupsBuilder};
use majordomo::wire::Protocol;

use crate::connect::{ConnectArgs, some_time};
use crate::failure::CliError;
use crate::manage::block_on;
use join::JoinArgs;
use look::{InfoArgs, LsArgs, WatchArgs};
use poll::PollArgs;
use send::{ResignArgs, SendArgs};
use trouble::{cannot_connect, of_group};

#[derive(Debug, Subcommand)]
pub(crate) enum GroupAction {
    /// List groups, who leads them, and how many members they have
    #[command(after_help = look::LS_EXAMPLES)]
    Ls(LsArgs),
    /// Show a group: what kind it is, its members and its leader
    #[command(after_help = look::INFO_EXAMPLES)]
    Info(InfoArgs),
    /// Print how a group changes, without being a member of it
    #[command(after_help = look::WATCH_EXAMPLES)]
    Watch(WatchArgs),
    /// Be a member, and print what happens, until interrupted
    #[command(after_help = join::EXAMPLES)]
    Join(JoinArgs),
    /// Say something to a group, to its leader or to a member
    #[command(after_help = send::SEND_EXAMPLES)]
    Send(SendArgs),
    /// Have a group decide about something, and print the result
    #[command(after_help = poll::EXAMPLES)]
    Poll(PollArgs),
    /// Have the leader of a group hand over
    #[command(after_help = send::RESIGN_EXAMPLES)]
    Resign(ResignArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo group join Escort.1 --member anna --leader
  majordomo group ls
  majordomo group send Escort.1 'here' --to leader
  majordomo group poll Escort.1 'north?' --timeout 2s

A group is a set of members that hear what is said in one order, have one leader at a time, and
decide by polls. Its name is its type, a `.` and its instance, by convention.
Exit codes: 0 ok, 1 failed or not decided by yes, 2 usage, 3 cannot connect, 4 timed out, 5 not
allowed, 6 no such group or member, 8 the name is taken or the group is of another kind,
9 overloaded";

/// How the broker is reached.
#[derive(Debug, Args)]
struct LineArgs {
    /// How long the broker may take for each answer [default: as the context says, or 5s]
    #[arg(long = "patience", value_name = "DURATION", value_parser = some_time)]
    patience: Option<Duration>,
    /// Print one JSON object, or one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl LineArgs {
    async fn connect(&self) -> Result<Groups, CliError> {
        let target = self.connect.target()?;
        if target.protocol != Protocol::Mjp {
            let error = CliError::usage("MDP has no word for groups");
            return Err(error.hint("leave --protocol out, or use --protocol mjp"));
        }
        let config = MemberConfig::default();
        let timeout = self.patience.or(target.timeout).unwrap_or(config.timeout);
        let config = MemberConfig {
            endpoint: target.endpoint.clone(),
            curve: target.curve.clone(),
            timeout,
            connect_timeout: config.connect_timeout.min(timeout.max(Duration::from_millis(10))),
            ..config
        };
        let groups = GroupsBuilder::from(config).connect().await;
        groups.map_err(|error| cannot_connect(&target, &error))
    }
}

/// Which group a command is for a while a member of.
#[derive(Debug, Args)]
struct MemberArgs {
    /// The group
    group: String,
    /// What this member calls itself [default: a name that the broker finds]
    #[arg(long, value_name = "NAME")]
    member: Option<String>,
}

impl MemberArgs {
    async fn join(&self, groups: &Groups, kind: GroupKind, own: bool) -> Result<Group, CliError> {
        let mut join = groups.group(&self.group).kind(kind).own_messages(own);
        if let Some(member) = &self.member {
            join = join.member(member);
        }
        join.join().await.map_err(|error| self.trouble(&error))
    }

    fn trouble(&self, error: &GroupError) -> CliError {
        of_group(&self.group, error)
    }
}

impl GroupAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Ls(args) => args.line.json,
            Self::Info(args) => args.line.json,
            Self::Watch(args) => args.line.json,
            Self::Join(args) => args.line.json,
            Self::Send(args) => args.line.json,
            Self::Poll(args) => args.line.json,
            Self::Resign(args) => args.ask.json,
        }
    }
}

pub(crate) fn run(action: GroupAction) -> Result<ExitCode> {
    block_on(async {
        match action {
            GroupAction::Ls(args) => look::list(&args).await,
            GroupAction::Info(args) => look::info(&args).await,
            GroupAction::Watch(args) => look::watch(&args).await,
            GroupAction::Join(args) => join::run(&args).await,
            GroupAction::Send(args) => send::run(&args).await,
            GroupAction::Poll(args) => poll::run(&args).await,
            GroupAction::Resign(args) => send::resign(&args).await,
        }
    })
}
