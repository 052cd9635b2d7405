//! How an end talks: as a ZIO socket, or within MJP.

use super::error::FlowError;
use super::state::{Said, State};
use crate::wire::codec::Encoder;
use crate::wire::command::SocketType;
use crate::wire::message::Frames;
use crate::wire::mjp::{Fault, FromBroker, Lane, LaneHeader, Packed, ToBroker};
use crate::wire::zio::Shape;

/// The one lane of a connection that is a flow's own.
const LANE: u64 = 1;

/// How an end talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// It is a CLIENT: a message is a frame.
    Zio,
    /// It is a DEALER that speaks MJP/1: a message is a LANE.
    Mjp,
}

impl Wire {
    pub(super) fn socket_type(self) -> SocketType {
        match self {
            Self::Zio => SocketType::Client,
            Self::Mjp => SocketType::Dealer,
        }
    }

    /// Appends a message.
    pub(super) fn write(self, said: &Said, out: &mut Encoder) {
        let zio = said.message.as_zio();
        match self {
            Self::Zio => zio.encode_single(out),
            Self::Mjp => {
                let says = LaneHeader { bytes: said.bytes };
                let packed = said.bytes.map(|_| Packed::new(&says));
                let header = packed.as_ref().map(Packed::octets).unwrap_or_default();
                let message = zio.to_message(Shape::Bare);
                let lane = Lane { id: LANE, header, says, body: message.frames() };
                ToBroker::Lane(lane).encode(out);
            }
        }
    }

    /// Takes what the connection brings.
    pub(super) fn hear(self, frames: Frames<'_>, state: &mut State) {
        if self == Self::Zio {
            return state.hear(Shape::Single, frames, None);
        }
        match FromBroker::decode(frames) {
            Ok(FromBroker::Lane(lane)) if lane.id == LANE => {
                state.hear(Shape::Bare, lane.body, lane.says.bytes);
            }
            Ok(FromBroker::Error(failure)) if failure.id == 0 || failure.id == LANE => {
                let fault = Fault::decode(failure.header);
                let said = |fault: Fault<'_>| {
                    (fault.code.to_owned(), fault.message.unwrap_or_default().to_owned())
                };
                let (code, message) =
                    fault.map_or_else(|error| ("ERROR".into(), error.to_string()), said);
                state.fail(FlowError::Rejected { code, message });
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "dropped what is none of MJP/1"),
        }
    }
}
