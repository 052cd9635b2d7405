//! What the disk is to do for requests of level disk, and why.

use crate::id::ServiceName;
use crate::proto::dead::Letter;
use crate::proto::keys::Kept;
use crate::proto::ledger::Purpose;
use crate::proto::stats::Outcome;

use super::entry::About;
use super::record::Lane;
use super::waiters::Waiter;

/// What a batch of writes is for.
#[derive(Debug)]
pub(super) enum Deed {
    /// A request comes.
    Accept(u64),
    /// It may go to a worker, and to none after a restart.
    Mark(u64),
    /// It was lost with a worker.
    Requeue,
    /// It has an outcome.
    End(Box<Ending>),
    /// An outcome is forgotten.
    Evict,
    /// What was told to be refused is not to be found later.
    Clean,
    /// A request is not accepted, and becomes a dead letter.
    Overflow(Box<Letter>),
    /// A dead letter is this request now, by a change of that number.
    Revive(u64, u64),
    /// A dead letter gets another record, by a change of that number.
    Rewrite(u64),
    /// Dead letters are forgotten, perhaps by a change of that number.
    Unbury(Option<u64>),
}

/// How a request ends, which nobody is told before it is stored.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) about: About,
    pub(super) outcome: Outcome,
    /// What was said, if that was not by the broker itself.
    pub(super) said: Option<Kept>,
    /// The epoch that a stale caller is told.
    pub(super) epoch: Option<u64>,
    /// The dead letter that it becomes.
    pub(super) letter: Option<Box<Letter>>,
    /// When, ms since 1970; and octets of the record of the outcome, if it is kept.
    pub(super) ended: u64,
    pub(super) kept: Option<u64>,
}

impl Purpose for Deed {
    fn what(&self) -> &'static str {
        match self {
            Self::Accept(_) => "accept",
            Self::Mark(_) => "dispatch",
            Self::Requeue => "requeue",
            Self::End(ending) if ending.letter.is_some() => "dead",
            Self::End(ending) if ending.kept.is_some() || ending.said.is_some() => "reply",
            Self::End(_) => "forget",
            Self::Evict => "outcome",
            Self::Clean => "clean",
            Self::Overflow(_) => "dead",
            Self::Revive(..) => "revive",
            Self::Rewrite(_) => "rewrite",
            Self::Unbury(_) => "unbury",
        }
    }

    fn is_awaited(&self) -> bool {
        match self {
            Self::Accept(_)
            | Self::End(_)
            | Self::Overflow(_)
            | Self::Revive(..)
            | Self::Rewrite(_)
            | Self::Unbury(Some(_)) => true,
            Self::Mark(_) | Self::Requeue | Self::Evict | Self::Clean | Self::Unbury(None) => false,
        }
    }
}

/// What something read is for.
#[derive(Debug)]
pub(super) enum Errand {
    /// An outcome, for who asks again.
    Outcome(u64, Waiter),
    /// A request that its caller wants no more; and whether it was looked for apart from the others.
    Cancel(u64, Lane, bool),
    /// A request whose time is over, which becomes a dead letter.
    Late(About),
    /// Requests of a service, to be asked.
    Line(ServiceName),
    /// A request of a service that stands apart, to be asked.
    Fetch(ServiceName, u64),
    /// Requests of a service, to see whether their time is over.
    Sweep(ServiceName),
    /// A dead letter, for a change of that number.
    Letter(u64),
}
