//! What can go wrong with a group, and what a member can do about it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::ConfigError;
use crate::keys::KeyError;
use crate::transport::endpoint::EndpointError;
use crate::transport::session::SessionError;
use crate::wire::mjp::Code;

/// Why there is no connection for groups.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The endpoint cannot be read.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Our key, or that of the broker, cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// No connection, or one that broke.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Whoever listens does not speak MJP/1.
    #[error(
        "{endpoint} did not answer HELLO within {timeout:?}; is it a broker that speaks MJP/1?"
    )]
    NoHello {
        /// Where.
        endpoint: String,
        /// The time it had.
        timeout: Duration,
    },
    /// The broker does not want to speak with us.
    #[error("the broker refused HELLO: {code}: {message}")]
    Refused {
        /// What is wrong, by name.
        code: String,
        /// The same for people.
        message: String,
    },
    /// The broker knows no groups.
    #[error("the broker at {endpoint} knows no groups; it is older than this")]
    NoGroups {
        /// Where.
        endpoint: String,
    },
    /// No seed from the system.
    #[error("the system gives no random seed: {0}")]
    Seed(String),
}

/// Why something about a group was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// Nobody leads the group now. Nothing was done.
    #[error("nobody leads the group now; wait until somebody does")]
    NoLeader,
    /// The group never has a leader, and no polls. Nothing was done.
    #[error("the group never has a leader; join it with `leader`, all members alike")]
    NotCoordinated,
    /// Whom it was for is no member, or we are no elector. Nothing was done.
    #[error("no member: {message}")]
    NotMember {
        /// Who.
        message: String,
    },
    /// Another member of the group has the name.
    #[error("another member has the name: {message}")]
    NameTaken {
        /// Which.
        message: String,
    },
    /// The group is of another kind than was said.
    #[error("the group is of another kind: {message}")]
    Conflict {
        /// What differs.
        message: String,
    },
    /// There is no such kind of group, or no such name.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// This member does not lead, or not by that epoch. Nothing was done.
    #[error("this member does not lead the group, or not any more")]
    NotLeading,
    /// Another vote, or outcome, was given before, and counts.
    #[error("another one was given before, and counts")]
    VoteChanged,
    /// The poll has ended.
    #[error("the poll has ended, or is not known")]
    PollOver,
    /// Another poll has that name.
    #[error("another poll is called like that; choose another id")]
    PollTaken,
    /// The action would be before all could know that it is wanted.
    #[error("too late for that action: {message}")]
    TooLate {
        /// By how much.
        message: String,
    },
    /// The broker's clock is not known well enough for that action: it was voted against.
    #[error("the broker's clock is known to {error:?} only, and the action wants {wanted:?}")]
    Clock {
        /// By how much it may be wrong; the longest time there is, if nothing is known.
        error: Duration,
        /// By how much it may be wrong at most.
        wanted: Duration,
    },
    /// It is about an action: whoever says yes has to say what is to be done.
    #[error("it is a poll on an action; vote with `ActionBallot::yes`, which takes the action")]
    NeedsAction,
    /// No right.
    #[error("not allowed: {message}")]
    Denied {
        /// What is missing.
        message: String,
    },
    /// The broker has no room for that.
    #[error("the broker has no room: {message}")]
    Overloaded {
        /// Where.
        message: String,
    },
    /// It is larger than may be sent. Nothing was sent.
    #[error("it has {what} = {size}, more than {max}; send less, or raise the limit on both sides")]
    TooBig {
        /// What is too large: `frame` or `message` octets, or `frames`.
        what: &'static str,
        /// How large.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The broker said no.
    #[error("{code}: {message}")]
    Refused {
        /// What is wrong, by name.
        code: String,
        /// The same for people.
        message: String,
    },
    /// There is no connection now. Nothing was done.
    #[error("there is no connection to the broker now: {because}; it is dialed again")]
    Apart {
        /// Why.
        because: Arc<str>,
    },
    /// The connection was lost behind the question. Nobody knows whether it was done.
    #[error("the connection was lost before the answer, which may have been yes: {because}")]
    Lost {
        /// How.
        because: Arc<str>,
    },
    /// There was no answer. Nobody knows whether it was done.
    #[error("the broker did not answer within {after:?}; it may have done it")]
    NoAnswer {
        /// The time that it had.
        after: Duration,
    },
    /// The poll was opened, and its result was not heard in time.
    #[error("no result was heard within {after:?}; ask for it again")]
    NoResult {
        /// The time that it had.
        after: Duration,
    },
    /// A value cannot be written or read.
    #[error("cannot {what}: {reason}")]
    Convert {
        /// What was tried.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// We are no member any more.
    #[error("this is no member of the group any more; join again")]
    Left,
    /// The connection was closed for good.
    #[error("the connection is closed; connect anew")]
    Closed,
}

impl GroupError {
    /// What the broker's ERROR means.
    pub(super) fn of(code: &str, message: &str) -> Self {
        let (text, message) = (code.to_owned(), message.to_owned());
        match Code::from_name(code) {
            Some(Code::NoLeader) => Self::NoLeader,
            Some(Code::NotCoordinated) => Self::NotCoordinated,
            Some(Code::NotMember) => Self::NotMember { message },
            Some(Code::NameTaken) => Self::NameTaken { message },
            Some(Code::GroupConflict) => Self::Conflict { message },
            Some(Code::BadRequest) => Self::Invalid { message },
            Some(Code::StaleEpoch) => Self::NotLeading,
            Some(Code::VoteChanged) => Self::VoteChanged,
            Some(Code::PollOver) => Self::PollOver,
            Some(Code::KeyConflict) => Self::PollTaken,
            Some(Code::TooLate) => Self::TooLate { message },
            Some(Code::Denied | Code::Forbidden) => Self::Denied { message },
            Some(Code::Overloaded | Code::Draining) => Self::Overloaded { message },
            _ => Self::Refused { code: text, message },
        }
    }

    /// Whether the same may be accepted a moment later: who joins again goes on trying then.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::NameTaken { .. } | Self::Overloaded { .. })
    }
}
