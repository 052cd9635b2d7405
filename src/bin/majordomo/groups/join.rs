//! `majordomo group join`: a member that prints what happens.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use majordomo::group::{Event, Group, GroupError, Vote};

use super::kind::KindArgs;
use super::{LineArgs, MemberArgs, show};
use crate::output::{complain, harmless};
use crate::signals::Signals;

/// How late a line may be printed at the moment of an action.
const LATENESS: Duration = Duration::from_secs(1);

pub(super) const EXAMPLES: &str = "\
Examples:
  majordomo group join Escort.1 --member anna --leader --min-size 3
  majordomo group join Escort.1 --vote yes --json
  majordomo group join Escort.1 --count 1

It leaves when it is interrupted. Each message is a line: its sender, for whom it is, and what it
says, with a tab between them. It joins again over lost connections, and says so. With --vote yes
it agrees to actions, too, and prints a line at their moment.";

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    #[command(flatten)]
    member: MemberArgs,
    /// Vote so in every poll [default: do not vote]
    #[arg(long, value_parser = vote_parser())]
    vote: Option<Vote>,
    /// Leave out what this member says itself
    #[arg(long)]
    no_own: bool,
    /// Leave behind so many events [default: go on until interrupted]
    #[arg(long, short = 'n', value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    kind: KindArgs,
    #[command(flatten)]
    pub(super) line: LineArgs,
}

pub(super) fn vote_parser() -> impl TypedValueParser<Value = Vote> {
    let names = PossibleValuesParser::new(["yes", "no", "abstain"]);
    names.map(|name| Vote::from_name(&name).unwrap_or(Vote::Abstain))
}

pub(super) async fn run(args: &JoinArgs) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    let groups = args.line.connect().await?;
    let group = args.member.join(&groups, args.kind.kind(), !args.no_own).await?;
    let mut events = group.events();
    let mut left = args.count;
    while left != Some(0) {
        let event = tokio::select! {
            event = events.next() => event,
            () = signals.next() => break,
        };
        let Some(event) = event else { break };
        show::event(args.line.json, &event)?;
        left = left.map(|left| left - 1);
        if let Some(vote) = args.vote {
            give(&group, vote, &event).await;
        }
        if let Event::Parted(parted) = &event
            && parted.is_final()
        {
            let error = match parted {
                majordomo::group::Parted::Refused(error) => error.clone(),
                _ => GroupError::Left,
            };
            return Err(args.member.trouble(&error).into());
        }
    }
    // Whoever has gone needs no goodbye.
    let _ = group.leave().await;
    groups.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Votes, if that is asked for.
pub(super) async fn give(group: &Group, vote: Vote, event: &Event) {
    let given = match (event, vote) {
        (Event::VoteRequest(ballot), vote) if ballot.is_elector() => {
            group.vote(ballot.id(), vote).await
        }
        (Event::ActionVoteRequest(ballot), Vote::Yes) if ballot.is_elector() => {
            let patient = ballot.clone().lateness(LATENESS);
            patient.yes(|| async { Ok::<_, GroupError>(()) }).await
        }
        (Event::ActionVoteRequest(ballot), Vote::No) if ballot.is_elector() => ballot.no().await,
        (Event::ActionVoteRequest(ballot), Vote::Abstain) if ballot.is_elector() => {
            ballot.abstain().await
        }
        _ => Ok(()),
    };
    if let Err(error) = given
        && !matches!(error, GroupError::PollOver)
    {
        complain(&format_args!(
            "majordomo: the vote was not given: {}",
            harmless(&error.to_string())
        ));
    }
}
