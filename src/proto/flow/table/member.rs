//! An end of a flow as the broker knows it.

use crate::proto::flow::output::Seat;
use crate::wire::zio::Shape;

use super::flow::FlowId;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) shape: Shape,
    pub(super) place: Place,
    /// A message of it was not taken; it is to be resumed.
    pub(super) paused: bool,
}

/// Where an end stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has no flow.
    Idle,
    /// A client that waits for the answer to its BOT.
    Waiting(FlowId),
    /// A handler that came before the factory had answered.
    Early(FlowId),
    /// It is read for its partner.
    Open(FlowId, Seat),
    /// Nothing of it is forwarded any more, as it has said EOT; its partner has not.
    Closed(FlowId, Seat),
    /// It was told EOT, and has not said its own.
    Told,
}

impl Member {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, place: Place::Idle, paused: false }
    }
}
