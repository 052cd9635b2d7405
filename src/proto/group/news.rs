//! What members are told: each gets all that is for it, in the order in which it happened.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::ballot::{Counts, Rule};
use super::lead::Exit;
use crate::id::PeerId;

/// Something that one member is to be told.
#[derive(Debug, Clone)]
pub struct News {
    /// Whose connection it is.
    pub peer: PeerId,
    /// The id of the `join`.
    pub id: u64,
    /// What has happened.
    pub event: Arc<Event>,
}

/// All that is to be said: to members, and of groups.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// To members.
    pub(super) due: VecDeque<News>,
    /// Of groups, once for each event.
    pub(super) happened: VecDeque<(Arc<str>, Arc<Event>)>,
}

/// How a view differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// One more.
    Joined,
    /// One is silent.
    Suspect,
    /// It was, and has spoken.
    Alive,
    /// One fewer.
    Left(Left),
}

impl Change {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Suspect => "suspect",
            Self::Alive => "alive",
            Self::Left(_) => "left",
        }
    }
}

/// Why one is no member any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It said so.
    Said,
    /// Its connection has ended.
    Closed,
    /// It was silent for too long.
    Expired,
    /// The same principal has joined anew with the name.
    Replaced,
    /// The right to be one was taken away.
    Denied,
}

impl Left {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Said, Self::Closed, Self::Expired, Self::Replaced, Self::Denied];

    /// As on the wire, and the value of the label `reason` in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Said => "said",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
            Self::Denied => "denied",
        }
    }
}

/// How a poll has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is wanted.
    Yes,
    /// It is not.
    No,
    /// The time was over.
    Timeout,
    /// The leader has changed.
    Aborted,
    /// There are not enough electors.
    NoQuorum,
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Yes, Self::No, Self::Timeout, Self::Aborted, Self::NoQuorum];

    /// As on the wire, and the value of the label `status` in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Timeout => "timeout",
            Self::Aborted => "aborted",
            Self::NoQuorum => "no_quorum",
        }
    }
}

/// What became of an action at one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feat {
    /// It acted in time.
    Done,
    /// It could not act in time, and did not.
    Missed,
    /// It acted, and that failed.
    Failed,
}

impl Feat {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Missed => "missed",
            Self::Failed => "failed",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Done, Self::Missed, Self::Failed].into_iter().find(|feat| feat.as_str() == name)
    }
}

/// The result of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollResult {
    /// The poll.
    pub poll: Arc<[u8]>,
    /// What makes a yes.
    pub rule: Rule,
    /// When the action is, if it is about one.
    pub when: Option<u64>,
    /// Who led.
    pub epoch: u64,
    /// How it has ended.
    pub status: Status,
    /// Why, if that does not say it.
    pub reason: Option<&'static str>,
    /// The votes.
    pub counts: Counts,
    /// So many there could have been.
    pub electorate: u64,
}

/// Something that has happened in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is another view.
    View {
        /// Its place in the order.
        seq: u64,
        /// The number of the view.
        view: u64,
        /// What differs.
        change: Change,
        /// Who.
        member: Arc<str>,
        /// Which one of that name.
        incarnation: u64,
        /// Members.
        size: u64,
    },
    /// One leads.
    Elected {
        /// Its place in the order.
        seq: u64,
        /// Who.
        member: Arc<str>,
        /// Which one of that name.
        incarnation: u64,
        /// From now on.
        epoch: u64,
        /// If it does not beat.
        ttl: Duration,
    },
    /// One leads no more.
    Exited {
        /// Its place in the order.
        seq: u64,
        /// Who.
        member: Arc<str>,
        /// Which one of that name.
        incarnation: u64,
        /// Until now.
        epoch: u64,
        /// Why.
        why: Exit,
    },
    /// A poll has ended.
    Result {
        /// Its place in the order.
        seq: u64,
        /// How.
        result: PollResult,
    },
    /// All is known of an action.
    Outcomes {
        /// Its place in the order.
        seq: u64,
        /// The poll.
        poll: Arc<[u8]>,
        /// When it was.
        when: u64,
        /// Names, incarnations, and what became of it; `None`: nothing was said.
        outcomes: Vec<(Arc<str>, u64, Option<Feat>)>,
    },
}
