//! What kind of group a member wants, as flags.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use majordomo::config::Text;
use majordomo::group::{GroupKind, Polls};

use crate::connect::some_time;

/// What kind of group it is: the first member makes it so, others rely on it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kind of group")]
pub(super) struct KindArgs {
    /// One of the members leads, and there are polls
    #[arg(long)]
    leader: bool,
    /// Messages say when they were sent and taken
    #[arg(long)]
    timed: bool,
    /// With fewer members nobody leads [default: 2]
    #[arg(long, value_name = "COUNT")]
    min_size: Option<u64>,
    /// Who votes, by name [default: who is there]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    voters: Vec<String>,
    /// So many vote, be they there or not [default: as many as are there]
    #[arg(long, value_name = "COUNT", conflicts_with = "voters")]
    expected_size: Option<u64>,
    /// A member shows life so often [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    heartbeat: Option<Duration>,
    /// Who is silent for so long is no member any more [default: 3s]
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    peer_timeout: Option<Duration>,
    /// Not used, but as a bound [default: 1500ms]
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    election_min: Option<Duration>,
    /// Not used, but as a bound [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    election_max: Option<Duration>,
    /// The time of polls that say none [default: 1500ms]
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    consensus_timeout: Option<Duration>,
    /// A leader that is not heard leads for so long [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    ttl: Option<Duration>,
    /// What becomes of open polls when the leader changes [default: aborted]
    #[arg(long, value_parser = PossibleValuesParser::new(["aborted", "durable"]))]
    polls: Option<String>,
    /// Size of one message, or of what a poll is about, such as 4KiB [default: as for all groups]
    #[arg(long, value_name = "SIZE", value_parser = <usize as Text>::read)]
    message: Option<usize>,
    /// Messages and polls of one member a second [default: any number]
    #[arg(long, value_name = "COUNT")]
    rate: Option<u64>,
}

impl KindArgs {
    pub(super) fn kind(&self) -> GroupKind {
        let mut kind = GroupKind::default();
        if self.leader {
            kind = kind.leader(true);
        }
        if self.timed {
            kind = kind.timed(true);
        }
        if !self.voters.is_empty() {
            kind = kind.voters(self.voters.iter().map(String::as_str));
        }
        if let Some(size) = self.min_size {
            kind = kind.min_size(size);
        }
        if let Some(size) = self.expected_size {
            kind = kind.expected_size(size);
        }
        if let Some(message) = self.message {
            kind = kind.message(u64::try_from(message).unwrap_or(u64::MAX));
        }
        if let Some(rate) = self.rate {
            kind = kind.rate(rate);
        }
        if let Some(polls) = &self.polls {
            let durable = polls == "durable";
            kind = kind.polls(if durable { Polls::Durable } else { Polls::Aborted });
        }
        type Set = fn(GroupKind, Duration) -> GroupKind;
        let times: [(Option<Duration>, Set); 6] = [
            (self.heartbeat, GroupKind::heartbeat),
            (self.peer_timeout, GroupKind::peer_timeout),
            (self.election_min, GroupKind::election_min),
            (self.election_max, GroupKind::election_max),
            (self.consensus_timeout, GroupKind::consensus_timeout),
            (self.ttl, GroupKind::ttl),
        ];
        for (time, set) in times {
            kind = match time {
                Some(time) => set(kind, time),
                None => kind,
            };
        }
        kind
    }
}
