//! Where decisions go.

use crate::id::PeerId;
use crate::proto::core::Denial;
use crate::proto::flow::FlowEvent;
use crate::wire::codec::Encoder;

/// The world as the core sees it: outboxes it appends to, connections it ends.
///
/// The broker implements it over sockets, the simulation over queues. What the core says to a
/// peer is encoded straight into that peer's outbox, in the order of the decisions: nothing is
/// reordered, and no message waits in a channel.
pub trait Output {
    /// Appends one message to the outbox of `peer`, however full that is: heartbeats, management,
    /// and work, of which a worker with a full outbox gets no more.
    fn send(&mut self, peer: PeerId, write: impl FnOnce(&mut Encoder)) -> Pressure;

    /// Appends an answer of about `bytes` to the outbox of `peer`; false, and nothing appended, if
    /// it does not fit. An empty outbox takes any one message.
    fn offer(&mut self, peer: PeerId, bytes: usize, write: impl FnOnce(&mut Encoder)) -> bool;

    /// As [`Self::offer`], for what may be lost: only as long as no more than `share` octets wait,
    /// so that there is room for answers, and only if the memory account takes it.
    fn spare(
        &mut self,
        peer: PeerId,
        bytes: usize,
        share: usize,
        write: impl FnOnce(&mut Encoder),
    ) -> bool;

    /// Appends a message of a flow, of about `bytes`, to the outbox of `peer`; false, and nothing
    /// appended, if `waiting_max` octets or more wait there, or if some do and memory is short. The
    /// core is told when less waits ([`Core::relieved`](super::core::Core::relieved)).
    fn pass(
        &mut self,
        peer: PeerId,
        bytes: usize,
        waiting_max: usize,
        write: impl FnOnce(&mut Encoder),
    ) -> bool;

    /// Whether `waiting_max` octets or more wait for `peer`. If so, the core is told when less does.
    fn is_full(&mut self, peer: PeerId, waiting_max: usize) -> bool;

    /// Whether everything said to `peer` has left its outbox.
    fn is_quiet(&mut self, peer: PeerId) -> bool;

    /// Sends a ZMTP PING, unless one waits in the outbox already.
    fn ping(&mut self, peer: PeerId);

    /// Reads from `peer` again, starting with the message that was not taken.
    fn resume(&mut self, peer: PeerId);

    /// Ends the connection once its outbox is written, or at once if that would take long.
    fn close(&mut self, peer: PeerId, why: CloseReason);

    /// Takes `bytes` of memory for something that will be kept; false, and nothing taken, if the
    /// account is too full for new work.
    fn charge(&mut self, bytes: usize) -> bool;

    /// Whether [`Self::charge`] would take `bytes` once `freed` were released.
    fn would_take(&self, bytes: usize, freed: usize) -> bool;

    /// Takes `bytes` of memory that has to be there, however full the account is.
    fn take(&mut self, bytes: usize);

    /// Gives back memory that was charged or taken.
    fn release(&mut self, bytes: usize);

    /// How much memory there is and is in use, to be told.
    fn memory(&self) -> Memory {
        Memory::default()
    }

    /// Whether new work is welcome again after `charge` has refused some.
    fn has_room(&self) -> bool;

    /// A peer wanted to do what it may not. It has been counted; this is for a log.
    fn denied(&mut self, _peer: PeerId, _denial: &Denial<'_>) {}

    /// Something has happened to a flow. It has been counted; this is for a log.
    fn flow(&mut self, _event: FlowEvent) {}
}

/// What peers make the broker hold, octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// What there may be.
    pub limit: usize,
    /// What was taken.
    pub taken: usize,
    /// Of that, what the core has charged; the rest is on its way out.
    pub tables: usize,
    /// What is on its way in, and buffers that are kept for more.
    pub arriving: usize,
}

/// How full an outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// The peer keeps up.
    Low,
    /// The peer should get no more work until it has caught up; the core is told when it has.
    High,
}

/// Why the broker ends a connection on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The outbox is full and the peer does not read.
    #[error("the peer does not read: its outbox is over limits.outbox; read faster or raise it")]
    SlowReader,
    /// The memory account is full, and the peer has read nothing of its outbox for some time.
    #[error("memory is short and the peer does not read what waits for it; read faster")]
    Stuck,
    /// The memory account is full of messages that are not complete or cannot be taken, and the
    /// peer's is one that has not gone on for some time.
    #[error(
        "memory is short and the peer's message has not gone on; send it faster, or raise \
         limits.memory"
    )]
    Halted,
    /// A peer that used to answer PING fell silent.
    #[error("the peer stopped answering PING")]
    Silent,
    /// The peer asked by a PING to be closed if it says nothing for some time, and said nothing.
    #[error("the peer said nothing within the time to live of its own PING")]
    PingExpired,
    /// A newcomer has the name of a peer that lives.
    #[error("the identity belongs to a live peer; choose another one, or wait until that has gone")]
    IdentityInUse,
    /// A newcomer has the name of this peer, which did not answer in time.
    #[error("a newcomer took the identity, and this peer gave no sign of life for 1 s")]
    Replaced,
    /// An administrator wants it.
    #[error("an administrator had the peer disconnected")]
    Disconnected,
    /// It is a ZIO socket, and `flow.ends` of them are there.
    #[error("flow.ends ends of flows are connected; raise it, or connect again later")]
    TooManyEnds,
    /// Its principal is not wanted any more.
    #[error("the key or the user has been revoked")]
    Revoked,
    /// The broker stops.
    #[error("the broker stops")]
    Shutdown,
}
