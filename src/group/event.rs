//! What happens in a group, as a member is told.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::ballot::{ActionBallot, Ballot};
use super::error::GroupError;
use super::typed;
use super::words::{BrokerTime, Leader, MemberId, PollId, Reason, View};
use crate::proto::group::Rule;
use crate::wire::message::Message;

/// Something that has happened, in the order in which the group sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// This is a member now, of a new incarnation, and this is how it found the group. It comes
    /// first, and again behind [`Event::Parted`].
    Joined(Arc<View>),
    /// This is no member now. If that is not for good it joins again by itself.
    Parted(Parted),
    /// A new member.
    MemberJoined {
        /// Who.
        member: MemberId,
        /// The number of the view with it.
        view: u64,
        /// Members now.
        size: usize,
    },
    /// A member is silent for too long. It is one until it has left.
    MemberSuspect {
        /// Who.
        member: MemberId,
        /// The number of the view.
        view: u64,
    },
    /// A suspect member has said something.
    MemberAlive {
        /// Who.
        member: MemberId,
        /// The number of the view.
        view: u64,
    },
    /// A member has left. Each incarnation leaves once.
    MemberLeft {
        /// Who.
        member: MemberId,
        /// Why.
        reason: Reason,
        /// The number of the view without it.
        view: u64,
        /// Members now.
        size: usize,
    },
    /// Somebody leads from now on: this member too, perhaps.
    LeaderElected(Leader),
    /// Somebody leads no more.
    LeaderExited {
        /// Who did.
        leader: Leader,
        /// Why.
        reason: Reason,
    },
    /// A member has said something.
    Message(GroupMessage),
    /// Something was dropped here, as there was no room for it.
    Gap(Gap),
    /// Members are asked about something.
    VoteRequest(Ballot),
    /// Members are asked whether they will do something at a moment.
    ActionVoteRequest(ActionBallot),
    /// A poll has ended.
    VoteResult(PollResult),
    /// What this member has made of an action that it had said yes to.
    Acted {
        /// The poll.
        poll: PollId,
        /// What.
        outcome: Outcome,
    },
    /// What the electors have made of an action.
    Outcomes(Outcomes),
}

/// Why this is no member now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Parted {
    /// The connection was lost. It joins again when there is one.
    #[error("the connection was lost: {because}")]
    Disconnected {
        /// How.
        because: Arc<str>,
    },
    /// The broker has heard nothing for `peer_timeout`. It joins again.
    #[error("the broker took this member for dead")]
    Expired,
    /// The same principal has joined under this name.
    #[error("another member of the same principal has taken the name")]
    Replaced,
    /// It was not let in again, or put out.
    #[error("{0}")]
    Refused(GroupError),
    /// It has left.
    #[error("it has left")]
    Left,
    /// The connection was closed for good.
    #[error("the connection was closed")]
    Closed,
}

impl Parted {
    /// Whether it does not join again by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Disconnected { .. } | Self::Expired)
    }
}

/// For whom a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// All members.
    All,
    /// The leader.
    Leader,
    /// One member.
    Member,
}

/// A message of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMessage {
    /// Who has sent it.
    pub from: MemberId,
    /// For whom it is, this member among them.
    pub to: To,
    /// Its sender leads by this epoch, or did when the broker took it.
    pub epoch: Option<u64>,
    /// One frame or more, as they were sent.
    pub body: Message,
    /// Its place in the order of all that happens in the group.
    pub seq: u64,
    /// In a `timed` group: when it was sent, as its sender knows the broker's clock.
    pub sent: Option<BrokerTime>,
    /// In a `timed` group: when the broker took it.
    pub taken: Option<BrokerTime>,
    /// In a `timed` group: when it came here, as this member knows the broker's clock.
    pub received: Option<BrokerTime>,
}

impl GroupMessage {
    /// Reads what was sent with `send_value`, or any MessagePack in the first frame.
    ///
    /// # Errors
    /// [`GroupError::Convert`].
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, GroupError> {
        typed::read(&self.body)
    }
}

/// How much is missing right before what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gap {
    /// Messages: dropped at the broker, or here.
    pub messages: u64,
    /// Other events, dropped here as nobody read them. [`Group::view`](super::Group::view) says how
    /// things are.
    pub others: u64,
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
    /// The leader has changed, or the broker stops.
    Aborted,
    /// Too few electors are left.
    NoQuorum,
}

impl Status {
    /// As on the wire.
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

    /// What is newer than this is no yes.
    pub(super) fn of(name: &str) -> Self {
        let all = [Self::Yes, Self::No, Self::Timeout, Self::Aborted, Self::NoQuorum];
        all.into_iter().find(|status| status.as_str() == name).unwrap_or(Self::Aborted)
    }
}

/// How a poll has ended: the same at all members.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PollResult {
    /// The poll.
    pub poll: PollId,
    /// How.
    pub status: Status,
    /// What a yes takes.
    pub rule: Rule,
    /// Votes for it.
    pub yes: u64,
    /// Votes against it.
    pub no: u64,
    /// Votes that are neither.
    pub abstain: u64,
    /// So many votes there could be.
    pub electorate: u64,
    /// The leader under which it has ended, if there was one.
    pub epoch: Option<u64>,
    /// The moment of the action that it was about.
    pub when: Option<BrokerTime>,
    /// Why, where the status does not say it.
    pub reason: Option<Reason>,
}

impl PollResult {
    /// Whether it is wanted.
    #[must_use]
    pub fn is_yes(&self) -> bool {
        self.status == Status::Yes
    }
}

/// What became of an action at one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not begun: it was known too late, or the broker's clock not well enough.
    Missed,
    /// It was begun, and failed.
    Failed,
    /// The member has said nothing.
    Silent,
}

impl Outcome {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Missed => "missed",
            Self::Failed => "failed",
            Self::Silent => "silent",
        }
    }

    pub(super) fn of(name: Option<&str>) -> Self {
        let all = [Self::Done, Self::Missed, Self::Failed];
        all.into_iter().find(|outcome| Some(outcome.as_str()) == name).unwrap_or(Self::Silent)
    }
}

/// What the electors have made of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcomes {
    /// The poll.
    pub poll: PollId,
    /// The moment of the action.
    pub when: Option<BrokerTime>,
    /// Each elector, and what became of it there.
    pub members: Vec<(MemberId, Outcome)>,
}

/// What the broker has made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Its place in the order of all that happens in the group.
    pub seq: u64,
    /// Members that it is for.
    pub size: u64,
}
