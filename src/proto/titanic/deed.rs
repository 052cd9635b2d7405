//! What the disk is to do for Titanic, and for whom.

use crate::id::PeerId;
use crate::proto::dead::Letter;
use crate::proto::dialect::CallerVoice;
use crate::proto::ledger::Purpose;

use super::uuid::Uuid;

/// Somebody who waits for a status.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) peer: PeerId,
    pub(crate) voice: CallerVoice,
    pub(crate) service: &'static [u8],
}

impl Waiter {
    /// Whom to tell, in which words, and what was called.
    pub(crate) fn to(&self) -> (PeerId, &CallerVoice, &[u8]) {
        (self.peer, &self.voice, self.service)
    }
}

/// What a batch of writes is for.
#[derive(Debug)]
pub(super) enum Deed {
    /// A request comes.
    Accept(Uuid, Box<Waiter>),
    /// It may go to a worker, once and no more.
    Begin(Uuid),
    /// It has an answer, or will have none, and may be a dead letter.
    End(Uuid, Option<Box<Letter>>),
    /// Its client wants it no more.
    Close(Uuid, Box<Waiter>),
    /// Its time is over.
    Forget(Uuid),
    /// What was told to be refused is not to be found later.
    Clean,
    /// Epochs of leases are reserved.
    Mark,
}

/// What something read is for.
#[derive(Debug)]
pub(super) enum Errand {
    /// The body of an answer, for a client.
    Answer(Box<Waiter>),
    /// The body of a request, for a worker.
    Body(Uuid),
    /// The body of one that may have begun and may not again, for its dead letter.
    Lost(Uuid),
}

impl Purpose for Deed {
    fn what(&self) -> &'static str {
        match self {
            Self::Accept(..) => "titanic.accept",
            Self::Begin(_) => "titanic.begin",
            Self::End(_, None) => "titanic.end",
            Self::End(_, Some(_)) => "dead",
            Self::Close(..) => "titanic.close",
            Self::Forget(_) => "titanic.forget",
            Self::Clean => "titanic.clean",
            Self::Mark => "lease.mark",
        }
    }

    fn is_awaited(&self) -> bool {
        matches!(self, Self::Accept(..) | Self::Close(..))
    }
}
