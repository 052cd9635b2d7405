//! LANE: messages of flows whose ends are within the connection (SPEC 13.11).

use serde::{Deserialize, Serialize};

use super::malformed::Malformed;
use super::opening::{Opening, open};
use super::{MORE, kind, pack};
use crate::wire::codec::Encoder;
use crate::wire::message::Frames;

/// What LANE says besides the message, and FLOW besides the BOT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneHeader {
    /// Credit in octets: asked for or agreed on (BOT), or handed out (PAY).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A message of a flow, either way.
#[derive(Debug, Clone, Copy)]
pub struct Lane<'a> {
    /// Which lane: chosen by the peer, not 0.
    pub id: u64,
    /// The header as it stands on the wire.
    pub header: &'a [u8],
    /// What the header says.
    pub says: LaneHeader,
    /// The parts of the message, a frame for each: prefix, coordinates, payload.
    pub body: Frames<'a>,
}

impl LaneHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// It is none that LANE or FLOW can have.
    #[inline]
    pub fn decode(header: &[u8]) -> Result<Self, Malformed> {
        // That of every DAT.
        if header.is_empty() { Ok(Self::default()) } else { pack::read(header) }
    }
}

impl<'a> Lane<'a> {
    pub(super) fn decode(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let (id, header, body) = (opening.own_id()?, opening.header, opening.body()?);
        Ok(Self { id, header, says: LaneHeader::decode(header)?, body })
    }

    /// Writes it: `header` goes as it is, `says` is not looked at.
    #[inline]
    pub fn encode(&self, out: &mut Encoder) {
        open(kind::LANE, self.id, MORE, out);
        out.frame(self.header);
        out.frames(&self.body);
    }
}
