//! What every message of MJP/1 begins with.

use super::malformed::{Malformed, Rejected};
use super::pack::HEADER_MAX;
use super::{Answer, Failure, SIGNATURE};
use crate::wire::codec::Encoder;
use crate::wire::frame::MORE;
use crate::wire::message::{Frames, Message};

/// What every message begins with.
pub(super) struct Opening<'a> {
    pub(super) kind: u8,
    pub(super) id: u64,
    pub(super) header: &'a [u8],
    pub(super) rest: Frames<'a>,
}

impl<'a> Opening<'a> {
    #[inline]
    pub(super) fn decode(message: Frames<'a>) -> Result<Self, Rejected> {
        let rejected = |kind, id, why| Err(Rejected { kind, id, why });
        let mut rest = message;
        if rest.take_first() != Some(SIGNATURE) {
            return rejected(0, 0, Malformed::NoSignature);
        }
        let Some([kind, id @ ..]) = rest.take_first() else {
            return rejected(0, 0, Malformed::NoKind);
        };
        let Ok(id) = <[u8; 8]>::try_from(id) else {
            return rejected(0, 0, Malformed::NoKind);
        };
        let (kind, id) = (*kind, u64::from_be_bytes(id));
        let header = rest.take_first().unwrap_or_default();
        if header.len() > HEADER_MAX {
            return rejected(kind, id, Malformed::HeaderTooBig);
        }
        Ok(Self { kind, id, header, rest })
    }

    /// Nothing behind the header.
    pub(super) fn bare(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::FrameCount) }
    }

    /// Not the id of the connection.
    pub(super) fn own_id(&self) -> Result<u64, Malformed> {
        if self.id == 0 { Err(Malformed::ZeroId) } else { Ok(self.id) }
    }

    pub(super) fn body(&self) -> Result<Frames<'a>, Malformed> {
        if self.rest.is_empty() { Err(Malformed::NoBody) } else { Ok(self.rest) }
    }

    pub(super) fn answer(&self) -> Result<Answer<'a>, Malformed> {
        Ok(Answer { id: self.id, header: self.header, body: self.body()? })
    }

    pub(super) fn failure(&self) -> Result<Failure<'a>, Malformed> {
        self.bare()?;
        Ok(Failure { id: self.id, header: self.header })
    }
}

impl Rejected {
    /// A message whose header is longer than the operator wants it.
    #[must_use]
    pub fn too_long(message: Frames<'_>) -> Self {
        let why = Malformed::HeaderTooBig;
        Opening::decode(message)
            .map_or_else(|rejected| rejected, |it| Self { kind: it.kind, id: it.id, why })
    }
}

/// Writes signature, kind and id.
#[inline]
pub(super) fn open(kind: u8, id: u64, more: u8, out: &mut Encoder) {
    let [s, t, u, v] = *SIGNATURE;
    let [a, b, c, d, e, f, g, h] = id.to_be_bytes();
    out.octets(&[MORE, 4, s, t, u, v, more, 9, kind, a, b, c, d, e, f, g, h]);
}

/// A command that has no header to speak of.
pub(super) fn bare(kind: u8, id: u64, out: &mut Encoder) {
    open(kind, id, 0, out);
}

/// A command that is its header.
pub(super) fn with_header(kind: u8, id: u64, header: &[u8], out: &mut Encoder) {
    open(kind, id, MORE, out);
    out.last_frame(header);
}

/// A header, and the body behind it: the last of several parts, or of no frame at all.
pub(super) fn with_body(header: &[u8], earlier: &[Message], body: &Frames<'_>, out: &mut Encoder) {
    if body.is_empty() {
        return out.last_frame(header);
    }
    out.frame(header);
    for part in earlier {
        out.frames_and_more(&part.frames());
    }
    out.frames(body);
}
