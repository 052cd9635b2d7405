//! `majordomo group poll`: a member for as long as a poll takes.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use majordomo::group::{Event, Events, Group, GroupError, GroupKind, PollId, PollResult, Vote};
use tokio::time::{Instant, timeout, timeout_at};

use super::join::{give, vote_parser};
use super::show::{outcomes_json, result_json};
use super::{LineArgs, MemberArgs};
use crate::call::body;
use crate::connect::some_time;
use crate::output::{harmless, print};

/// How long outcomes are waited for behind the moment of an action: the broker tells them after
/// `group.outcome_wait`, 5 s by default.
const OUTCOMES: Duration = Duration::from_secs(30);

pub(super) const EXAMPLES: &str = "\
Examples:
  majordomo group poll Escort.1 'north?' --timeout 2s
  majordomo group poll Escort.1 brake --in 3s --clock-error 5ms
  majordomo group poll Escort.1 'north?' --unanimous --json

It joins the group for that, and so belongs to its electorate if that is who is there: it abstains,
unless --vote says otherwise. With --in it is about an action that all do at one moment, and what
became of it at each member is printed, too. Whoever asks again with the same --id and the same
words has the same result, as long as the broker keeps it; of an action that is over, only that.
Exit codes: 0 yes, 1 anything else, 4 no result was heard, 6 no such poll";

#[derive(Debug, Args)]
pub(crate) struct PollArgs {
    #[command(flatten)]
    member: MemberArgs,
    /// What it is about: a frame each; text, `-` for standard input, `@FILE` for a file
    #[arg(allow_negative_numbers = true)]
    topic: Vec<OsString>,
    /// Take each TOPIC as it is, also `-` and what begins with `@`
    #[arg(long)]
    literal: bool,
    /// Nobody may say no [default: more than half have to say yes]
    #[arg(long)]
    unanimous: bool,
    /// It ends then at the latest [default: as the group says]
    #[arg(long, short, value_name = "DURATION", value_parser = some_time)]
    timeout: Option<Duration>,
    /// It is about an action, so long from now
    #[arg(long = "in", value_name = "DURATION", value_parser = some_time)]
    after: Option<Duration>,
    /// Who acts must know the broker's clock so well
    #[arg(long, value_name = "DURATION", value_parser = some_time, requires = "after")]
    clock_error: Option<Duration>,
    /// What it is called: the same poll is opened once [default: 16 random octets]
    #[arg(long, value_name = "TEXT")]
    id: Option<String>,
    /// How this member votes itself
    #[arg(long, value_parser = vote_parser(), default_value = "abstain")]
    vote: Vote,
    /// How long a leader is waited for
    #[arg(long, value_name = "DURATION", value_parser = some_time, default_value = "5s")]
    wait: Duration,
    #[command(flatten)]
    pub(super) line: LineArgs,
}

pub(super) async fn run(args: &PollArgs) -> Result<ExitCode> {
    let topic = body::read(&args.topic, args.literal)?;
    let id = args.id.as_ref().map_or_else(PollId::random, PollId::new);
    let id = id.map_err(|error| args.member.trouble(&error))?;
    let groups = args.line.connect().await?;
    let group = args.member.join(&groups, GroupKind::default(), true).await?;
    let mut events = group.events();
    // If nobody leads in time the broker says it in its own words.
    if let Ok(Err(error)) = timeout(args.wait, group.leader_known()).await {
        return Err(args.member.trouble(&error).into());
    }
    let mut poll = group.poll(topic).id(id.clone());
    if args.unanimous {
        poll = poll.unanimous();
    }
    if let Some(timeout) = args.timeout {
        poll = poll.timeout(timeout);
    }
    if let Some(after) = args.after {
        poll = poll.after(after);
    }
    if let Some(error) = args.clock_error {
        poll = poll.clock_error(error);
    }
    let voting = vote(&group, args.vote, &mut events, &id);
    let result = tokio::select! {
        result = poll.open() => result,
        never = voting => match never {},
    };
    let result = result.map_err(|error| args.member.trouble(&error))?;
    show(args, &result)?;
    // They are told once, some time behind the moment: of a poll of long ago nothing comes.
    let told = |when| group.clock().is_some_and(|clock| clock.now > when);
    let is_over = result.when.is_some_and(told);
    if let Some(when) = args.after.filter(|_| result.is_yes() && !is_over) {
        outcomes(args, &mut events, &id, Instant::now() + when + OUTCOMES).await?;
    }
    // Whoever has gone needs no goodbye.
    let _ = group.leave().await;
    groups.close().await;
    Ok(if result.is_yes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Votes in that poll, and reads on: the result comes to whoever has opened it.
async fn vote(
    group: &Group,
    vote: Vote,
    events: &mut Events,
    id: &PollId,
) -> std::convert::Infallible {
    while let Some(event) = events.next().await {
        let own = match &event {
            Event::VoteRequest(ballot) => ballot.id() == id,
            Event::ActionVoteRequest(ballot) => ballot.id() == id,
            _ => false,
        };
        if own {
            give(group, vote, &event).await;
            break;
        }
    }
    std::future::pending().await
}

fn show(args: &PollArgs, result: &PollResult) -> Result<()> {
    if args.line.json {
        return print(format!("{}\n", result_json(result)));
    }
    let PollResult { yes, no, abstain, electorate, .. } = result;
    let status = result.status.as_str();
    let reason = result.reason.as_ref().map(|reason| format!(", {}", harmless(reason.as_str())));
    let reason = reason.unwrap_or_default();
    print(format!("{status}: {yes} yes, {no} no, {abstain} abstain of {electorate}{reason}\n"))
}

/// Prints what became of the action everywhere.
async fn outcomes(args: &PollArgs, events: &mut Events, id: &PollId, until: Instant) -> Result<()> {
    loop {
        let outcomes = match timeout_at(until, events.next()).await {
            Ok(Some(Event::Outcomes(outcomes))) if outcomes.poll == *id => outcomes,
            Ok(Some(_)) => continue,
            Ok(None) => return Err(args.member.trouble(&GroupError::Left).into()),
            Err(_) => {
                let error = GroupError::NoResult { after: OUTCOMES };
                return Err(args.member.trouble(&error).into());
            }
        };
        if args.line.json {
            return print(format!("{}\n", outcomes_json(&outcomes)));
        }
        for (member, outcome) in &outcomes.members {
            print(format!("{}\t{}\n", harmless(&member.to_string()), outcome.as_str()))?;
        }
        return Ok(());
    }
}
