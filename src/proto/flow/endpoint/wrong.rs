//! What an end of a flow may not say.

use crate::wire::zio::{Direction, Kind};

use super::State;

/// What the other end may not say. Nothing has changed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It is not its time.
    #[error("the other end said {} in state {state:?}", kind.name())]
    Untimely {
        /// What was said.
        kind: Kind,
        /// Where this end stands.
        state: State,
    },
    /// A BOT of the same direction, or of none.
    #[error("both ends want to {}", own.name())]
    Direction {
        /// What this end does.
        own: Direction,
    },
    /// A BOT or PAY whose credit is missing, no whole number, or below what can be.
    #[error("{} without a credit that can be", kind.name())]
    NoCredit {
        /// What was said.
        kind: Kind,
    },
    /// A PAY of more than the taker can hold.
    #[error("PAY of {credit} with {held} of {total} held already")]
    TooMuch {
        /// What was paid.
        credit: u64,
        /// What this end holds.
        held: u64,
        /// What was agreed on.
        total: u64,
    },
    /// A PAY of more octets than the taker can hold, or a DAT of more than were handed out.
    #[error("{} of {size} octets with {held} of {total} held", kind.name())]
    Octets {
        /// What was said.
        kind: Kind,
        /// How many it is about.
        size: u64,
        /// What this end holds.
        held: u64,
        /// What was agreed on.
        total: u64,
    },
}

/// What this end may not say. Nothing has changed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// It is not its time.
    #[error("{} cannot be said in state {state:?}", kind.name())]
    Untimely {
        /// What was to be said.
        kind: Kind,
        /// Where this end stands.
        state: State,
    },
    /// There is no credit; wait for a PAY.
    #[error("no credit is left of {total}; wait for the other end to pay")]
    Broke {
        /// What was agreed on.
        total: u64,
    },
    /// There is not enough credit in octets; wait for a PAY.
    #[error("{size} octets with {held} of {total} held; wait for the other end to pay")]
    NoOctets {
        /// What the message costs.
        size: u64,
        /// What this end holds.
        held: u64,
        /// What was agreed on.
        total: u64,
    },
    /// No credit in octets is ever enough for it.
    #[error("a message of {size} octets is more than the {max} that half of the credit are")]
    TooBig {
        /// What the message costs.
        size: u64,
        /// The most that one may.
        max: u64,
    },
    /// A giver does not pay, a taker does not give.
    #[error("{} is for the other end to say", kind.name())]
    Role {
        /// What was to be said.
        kind: Kind,
    },
}
