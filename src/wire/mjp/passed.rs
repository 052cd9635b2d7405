//! What a broker passes on with a header of its own, before that of who has said it: OUTCOME, NOTE
//! and MESSAGE.

use serde::{Deserialize, Serialize};

use super::malformed::Malformed;
use super::opening::{Opening, open, with_body};
use super::pack::{self, Packed};
use crate::wire::codec::Encoder;
use crate::wire::frame::MORE;
use crate::wire::message::{Frames, Message};

/// Something that was said by another peer, and what the broker says of it.
#[derive(Debug, Clone, Copy)]
pub struct Passed<'a, T> {
    /// Of the scatter, or of the subscription.
    pub id: u64,
    /// The broker's own header.
    pub says: T,
    /// The header of the other peer as it stood on the wire; empty if there is none.
    pub header: &'a [u8],
    /// Any number of frames, opaque.
    pub body: Frames<'a>,
}

impl<'a, T: Deserialize<'a> + Serialize> Passed<'a, T> {
    pub(super) fn decode(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let mut body = opening.rest;
        let header = body.take_first().unwrap_or_default();
        Ok(Self { id: opening.id, says: pack::read(opening.header)?, header, body })
    }

    /// With the body behind `earlier` parts of it, if there is one.
    pub(super) fn write(&self, kind: u8, earlier: &[Message], out: &mut Encoder) {
        open(kind, self.id, MORE, out);
        out.frame(Packed::new(&self.says).octets());
        with_body(self.header, earlier, &self.body, out);
    }
}
