//! A request on its way to a worker, and what comes back.

use super::header::{DeliveryHeader, Fault, RequestHeader};
use super::kind;
use super::malformed::Malformed;
use super::opening::{Opening, open, with_header};
use super::pack::Packed;
use crate::wire::codec::Encoder;
use crate::wire::frame::MORE;
use crate::wire::message::{Frames, Message};

/// A client's request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Chosen by the client, not 0, unique among its open requests on the connection.
    pub id: u64,
    /// The header as it stands on the wire; this is what is forwarded.
    pub header: &'a [u8],
    /// What the header says.
    pub says: RequestHeader<'a>,
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

/// A request on its way to a worker.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// Chosen by the broker; answers carry it.
    pub id: u64,
    /// The client's header as it stood on the wire, see [`RequestHeader::decode`].
    pub header: &'a [u8],
    /// What the broker adds.
    pub says: DeliveryHeader<'a>,
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

/// An answer to a request, or a part of it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Of the request, or of the delivery.
    pub id: u64,
    /// The header as it stands on the wire; the worker's own affair.
    pub header: &'a [u8],
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

/// An error instead of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// Of the request, or of the delivery.
    pub id: u64,
    /// The header as it stands on the wire, see [`Fault::decode`].
    pub header: &'a [u8],
}

impl Request<'_> {
    /// Writes the request as a client does: `header` goes as it is, `says` is not looked at.
    #[inline]
    pub fn encode(&self, out: &mut Encoder) {
        open(kind::REQUEST, self.id, MORE, out);
        out.frame(self.header);
        out.frames(&self.body);
    }
}

impl<'a> Delivery<'a> {
    #[inline]
    pub(super) fn decode(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let mut body = opening.rest;
        let says = DeliveryHeader::decode(body.take_first().unwrap_or_default())?;
        if body.is_empty() {
            return Err(Malformed::NoBody);
        }
        Ok(Self { id: opening.id, header: opening.header, says, body })
    }

    /// Writes the request as a broker does.
    #[inline]
    pub fn encode(&self, out: &mut Encoder) {
        open(kind::REQUEST, self.id, MORE, out);
        out.frame(self.header);
        if self.says == DeliveryHeader::FIRST {
            out.frame(DeliveryHeader::FIRST_OCTETS);
        } else {
            out.frame(Packed::delivery(&self.says).octets());
        }
        out.frames(&self.body);
    }
}

impl Answer<'_> {
    /// Writes FINAL behind `earlier` parts of the body, for a caller that wants all in one.
    pub fn encode_whole(&self, earlier: &[Message], out: &mut Encoder) {
        self.encode(kind::FINAL, earlier, out);
    }

    #[inline]
    pub(super) fn encode(&self, kind: u8, earlier: &[Message], out: &mut Encoder) {
        open(kind, self.id, MORE, out);
        out.frame(self.header);
        for part in earlier {
            out.frames_and_more(&part.frames());
        }
        out.frames(&self.body);
    }
}

impl Failure<'_> {
    #[inline]
    pub(super) fn encode(&self, out: &mut Encoder) {
        with_header(kind::ERROR, self.id, self.header, out);
    }
}

impl Fault<'_> {
    /// Writes ERROR for the request `id`; 0 is the connection.
    pub fn encode(&self, id: u64, out: &mut Encoder) {
        with_header(kind::ERROR, id, Packed::new(self).octets(), out);
    }
}
