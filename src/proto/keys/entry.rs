//! What is known of one key.

use crate::id::{PeerId, Principal, RequestId};
use crate::proto::clock::Time;
use crate::wire::message::Message;
use crate::wire::mjp::Digest;

/// Whose key it is, and for which service: no two of them share what is known under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Scope([u8; 32]);

impl Scope {
    /// A digest: what is kept of a key has always the same size.
    pub(crate) fn of(principal: &Principal, service: &[u8], key: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&principal.octets());
        // A service has 255 octets at most, and comes before the key.
        hasher.update(&u16::try_from(service.len()).unwrap_or(u16::MAX).to_be_bytes());
        hasher.update(service);
        hasher.update(key);
        Self(hasher.finalize().into())
    }

    pub(crate) fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Scope {
    fn from(octets: [u8; 32]) -> Self {
        Self(octets)
    }
}

/// A caller that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) peer: PeerId,
    /// What it calls the request.
    pub(crate) id: u64,
    /// It gets parts of the answer as they come: it wants them, and has missed none.
    pub(crate) parts: bool,
    /// It waits no longer.
    pub(crate) deadline: Option<Time>,
    /// What counts against it while it waits, octets.
    pub(crate) cost: usize,
    /// It was the first to ask: the request itself counts against it.
    pub(crate) owner: bool,
}

impl Waiter {
    /// Memory that one more of them takes, octets, with its name in its caller's table.
    pub(crate) const COST: usize = 2 * size_of::<Self>() + 2 * size_of::<(u64, RequestId, u8)>();

    /// Until when it waits.
    pub(crate) fn until(&self) -> Time {
        self.deadline.unwrap_or(Time::MAX)
    }
}

/// An answer that is kept.
#[derive(Debug)]
pub(crate) enum Kept {
    /// FINAL: the header, and all of the body behind it.
    Final(Box<Message>),
    /// ERROR: the header.
    Error(Box<[u8]>),
}

impl Kept {
    /// Memory that it takes, octets.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Final(answer) => size_of::<Message>() + answer.bytes(),
            Self::Error(header) => header.len(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) scope: Scope,
    /// Whose it is.
    pub(super) principal: Principal,
    pub(super) digest: Digest,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// It waits, or is at a worker.
    Running {
        request: RequestId,
        waiters: Vec<Waiter>,
        /// A caller whose connection has ended would have waited until then.
        gone: Option<Time>,
    },
    /// It was answered.
    Done(Done),
}

#[derive(Debug)]
pub(super) struct Done {
    pub(super) answer: Kept,
    /// It is forgotten then.
    pub(super) until: Time,
}

impl Entry {
    /// Whether somebody waits until just then.
    pub(super) fn waits_until(&self, at: Time) -> bool {
        match &self.stage {
            Stage::Running { waiters, gone, .. } => {
                *gone == Some(at) || waiters.iter().any(|waiter| waiter.until() == at)
            }
            Stage::Done(_) => false,
        }
    }
}
