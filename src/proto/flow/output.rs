//! Where the decisions of the flow table go.

use crate::id::PeerId;
use crate::wire::message::{Frames, Message};

use super::table::FlowId;

/// The name of flows that the factory decides about, where rights are asked for.
pub const FACTORY: &[u8] = b"factory";

/// An end of a flow: a connection, and which of its flows. A ZIO socket has one flow at a time, in
/// lane 0; a peer of MJP has any number, in the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// The connection.
    pub peer: PeerId,
    /// The flow on it.
    pub lane: u64,
}

impl End {
    /// The one end that a ZIO socket has.
    #[must_use]
    pub fn of(peer: PeerId) -> Self {
        Self { peer, lane: 0 }
    }

    /// Whether it is one of those that a connection of MJP has within it.
    #[must_use]
    pub fn is_lane(self) -> bool {
        self.lane != 0
    }

    pub(super) fn all_of(peer: PeerId) -> std::ops::RangeInclusive<Self> {
        Self { peer, lane: 0 }..=Self { peer, lane: u64::MAX }
    }
}

/// Which end of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seat {
    /// Who asked for the flow.
    Client,
    /// Who came for it.
    Handler,
}

impl Seat {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Handler,
            Self::Handler => Self::Client,
        }
    }
}

/// A message for an end, in the shape that it takes.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// The message itself.
    pub frames: Frames<'a>,
    /// What stands before it within MJP: the header of LANE. A ZIO socket hears nothing of that.
    pub header: &'a [u8],
}

/// The world as the flow table sees it.
///
/// An implementation that has refused a message ([`Self::forward`]) or was found full
/// ([`Self::is_full`]) calls `FlowTable::relieved` for that end once less waits for it. Nothing
/// that waits is refused for ever: an end for which nothing waits takes any one message.
pub trait FlowOutput {
    /// Appends one message for `to`, whatever waits there: what the table itself says, of which
    /// there are two at most for each message that the end has said. A peer of MJP that does not
    /// read such answers is ended, as nothing else keeps it from asking.
    fn say(&mut self, to: End, words: Words<'_>);

    /// Appends one message as it came; false, and nothing appended, if `waiting_max` or more octets
    /// wait for `to`, or if some do and memory is short.
    fn forward(&mut self, to: End, words: Words<'_>, waiting_max: usize) -> bool;

    /// Whether `waiting_max` or more octets wait for `to`.
    fn is_full(&mut self, to: End, waiting_max: usize) -> bool;

    /// Reads from `from` again, starting with the message that was not taken.
    fn resume(&mut self, from: End);

    /// Asks the factory about a flow. Its BOT is in the one-frame encoding, as a handler gets it:
    /// with the direction reversed, and with the client's `cid`. `FlowTable::decided` has the
    /// answer, not from within this call.
    fn decide(&mut self, flow: FlowId, bot: &Message);

    /// Gives a flow to the handler of a flow service, with a BOT as in [`Self::decide`], and with
    /// the credit in octets that its client has asked for, if that is within MJP.
    fn assign(&mut self, handler: End, flow: FlowId, bot: &Message, bytes: Option<u64>);

    /// Whether `client` may open flows of that name: of a flow service, or [`FACTORY`].
    fn may_open(&mut self, _client: End, _name: &[u8]) -> bool {
        true
    }

    /// Whether `handler` may come for flows of that name.
    fn may_handle(&mut self, _handler: End, _name: &[u8]) -> bool {
        true
    }

    /// Takes `bytes` of memory; false, and nothing taken, if the account is too full.
    fn charge(&mut self, bytes: usize) -> bool;

    /// Gives back memory that was charged.
    fn release(&mut self, bytes: usize);

    /// Something has happened that others may want to know.
    fn event(&mut self, event: FlowEvent);
}

/// What happens to flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlowEvent {
    /// A client asks for a flow.
    Asked {
        /// The flow.
        flow: FlowId,
        /// Who asks.
        client: End,
    },
    /// A handler has come for it.
    Paired {
        /// The flow.
        flow: FlowId,
        /// Who asked.
        client: End,
        /// Who came.
        handler: End,
    },
    /// Nothing has gone either way for `idle_after`. It is said once until something goes again.
    Idle {
        /// The flow.
        flow: FlowId,
    },
    /// It is over.
    Ended {
        /// The flow.
        flow: FlowId,
        /// In which way.
        outcome: Outcome,
    },
}

/// How a flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Both ends said EOT.
    Finished,
    /// There was none: the client was told EOT.
    Refused(Refusal),
    /// The client said EOT before there was a handler.
    GivenUp,
    /// That end was lost; the other one was told EOT.
    Lost(Seat),
    /// That end did not answer an EOT in time.
    NoAnswer(Seat),
    /// That end, having said EOT, began another flow before the other one had answered.
    Abandoned(Seat),
    /// That end broke the rules of credit; both were told EOT.
    Violated(Seat),
    /// That end may not have it any more; both were told EOT.
    Revoked(Seat),
    /// What was for that end found no room, and who said it, within MJP, cannot be made to wait;
    /// both were told EOT.
    Overrun(Seat),
    /// The broker stopped.
    Stopped,
}

impl Outcome {
    /// The value of the label `outcome` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Refused(_) => "refused",
            Self::GivenUp => "given_up",
            Self::Lost(_) => "lost",
            Self::NoAnswer(_) => "no_answer",
            Self::Abandoned(_) => "abandoned",
            Self::Violated(_) => "violated",
            Self::Revoked(_) => "revoked",
            Self::Overrun(_) => "overrun",
            Self::Stopped => "stopped",
        }
    }
}

/// Why a BOT was answered by EOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// It has no direction, or another one than there are.
    BadDirection,
    /// Its credit is missing or no whole number; a handler's is less than 1.
    BadCredit,
    /// A handler's `cid` is no number that can be one.
    BadCid,
    /// No client of that `cid` waits for a handler.
    UnknownCid,
    /// A handler's direction is that of its client.
    SameDirection,
    /// No rule names a service for it, or one says no.
    Rule,
    /// The factory says no.
    Factory,
    /// The factory did not answer in time.
    NoDecision,
    /// No handler came in time.
    NoHandler,
    /// It is too long.
    TooLong,
    /// Too many clients wait.
    TooMany,
    /// Memory is short.
    NoMemory,
    /// Too many flows of this peer are within its connection, or their takers have all the octets
    /// that they may.
    NoLane,
    /// Who says it has no right to.
    Denied,
    /// The broker stops.
    Stopping,
}

impl Refusal {
    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BadDirection => "bad_direction",
            Self::BadCredit => "bad_credit",
            Self::BadCid => "bad_cid",
            Self::UnknownCid => "unknown_cid",
            Self::SameDirection => "same_direction",
            Self::Rule => "rule",
            Self::Factory => "factory",
            Self::NoDecision => "no_decision",
            Self::NoHandler => "no_handler",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::NoMemory => "no_memory",
            Self::NoLane => "no_lane",
            Self::Denied => "denied",
            Self::Stopping => "stopping",
        }
    }
}
