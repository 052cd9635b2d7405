//! What a worker and the caller of a request say to each other while it is worked on: EVENT, ASK
//! and TELL.
//!
//! None of them ends anything. The bodies may be empty; the headers go on as they came.

use serde::{Deserialize, Serialize};

use super::header::RequestHeader;
use super::malformed::Malformed;
use super::opening::{Opening, open, with_body};
use super::{kind, pack};
use crate::wire::codec::Encoder;
use crate::wire::frame::MORE;
use crate::wire::message::Frames;

/// EVENT: something that happens while a request is worked on.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Of the request, or of the delivery.
    pub id: u64,
    /// The header as it stands on the wire, the worker's own affair; see [`EventHeader::decode`].
    pub header: &'a [u8],
    /// No frame or more, opaque.
    pub body: Frames<'a>,
}

/// ASK: a worker asks the caller of its request.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Of the request, or of the delivery.
    pub id: u64,
    /// The header as it stands on the wire; this is what is forwarded.
    pub header: &'a [u8],
    /// What the header says.
    pub says: AskHeader<'a>,
    /// No frame or more, opaque.
    pub body: Frames<'a>,
}

/// TELL: the answer to ASK.
#[derive(Debug, Clone, Copy)]
pub struct Tell<'a> {
    /// Of the request, or of the delivery.
    pub id: u64,
    /// The header as it stands on the wire; this is what is forwarded.
    pub header: &'a [u8],
    /// What the header says.
    pub says: TellHeader<'a>,
    /// No frame or more, opaque.
    pub body: Frames<'a>,
}

/// What the header of an EVENT says to those who keep to the convention: all of it is optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventHeader<'a> {
    /// For people.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub message: Option<&'a str>,
    /// `debug`, `info`, `warning`, `error` or `critical`.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub severity: Option<&'a str>,
    /// How the work stands: `running` and the like.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub status: Option<&'a str>,
    /// How much of the work is done, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u64>,
    /// What it is about.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub resource: Option<&'a str>,
    /// What is being done.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub task: Option<&'a str>,
}

/// What the header of an ASK says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskHeader<'a> {
    /// The worker's number for it, unlike those of its other open ones of the request.
    pub ask: u64,
    /// The question, for people.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub message: Option<&'a str>,
}

/// What the header of a TELL says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TellHeader<'a> {
    /// The number of what was asked.
    pub ask: u64,
    /// There is no answer, and this is why: a code of the broker, or the caller's own.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// The same for people.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub message: Option<&'a str>,
}

macro_rules! decodes {
    ($($name:ident),*) => {$(
        impl<'a> $name<'a> {
            /// Reads the header from the octets of its frame; an empty one is an empty map.
            ///
            /// # Errors
            /// It is no such header.
            pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
                pack::read(octets)
            }
        }
    )*};
}
decodes!(EventHeader, AskHeader, TellHeader);

impl RequestHeader<'_> {
    /// Whether EVENTs are wanted.
    #[must_use]
    pub fn events(&self) -> bool {
        self.events.unwrap_or(false)
    }

    /// Whether the worker may ASK.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.asks.unwrap_or(false)
    }
}

impl<'a> Event<'a> {
    pub(super) fn decode(opening: &Opening<'a>) -> Self {
        Self { id: opening.id, header: opening.header, body: opening.rest }
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        encode(kind::EVENT, self.id, self.header, self.body, out);
    }
}

impl<'a> Ask<'a> {
    pub(super) fn decode(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let (id, header, body) = (opening.id, opening.header, opening.rest);
        Ok(Self { id, header, says: AskHeader::decode(header)?, body })
    }

    /// Writes it: `header` goes as it is, `says` is not looked at.
    pub(super) fn encode(&self, out: &mut Encoder) {
        encode(kind::ASK, self.id, self.header, self.body, out);
    }
}

impl<'a> Tell<'a> {
    pub(super) fn decode(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let (id, header, body) = (opening.own_id()?, opening.header, opening.rest);
        Ok(Self { id, header, says: TellHeader::decode(header)?, body })
    }

    /// Writes it: `header` goes as it is, `says` is not looked at.
    pub(super) fn encode(&self, out: &mut Encoder) {
        encode(kind::TELL, self.id, self.header, self.body, out);
    }
}

fn encode(kind: u8, id: u64, header: &[u8], body: Frames<'_>, out: &mut Encoder) {
    open(kind, id, MORE, out);
    with_body(header, &[], &body, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_asks_has_a_number_and_an_event_needs_nothing() {
        assert_eq!(EventHeader::decode(b""), Ok(EventHeader::default()));
        let header = b"\x82\xa7message\xa2hi\xa8progress\x2a";
        let says = EventHeader { message: Some("hi"), progress: Some(42), ..Default::default() };
        assert_eq!(EventHeader::decode(header), Ok(says));
        assert_eq!(AskHeader::decode(b""), Err(Malformed::MissingKey { key: "ask" }));
        let nil = AskHeader::decode(b"\x81\xa3ask\xc0");
        assert_eq!(nil, Err(Malformed::BadValue { key: "ask" }));
        let negative = TellHeader::decode(b"\x81\xa3ask\xff");
        assert_eq!(negative, Err(Malformed::BadValue { key: "ask" }));
        let wrong = AskHeader::decode(b"\x82\xa3ask\x01\xa7message\x01");
        assert_eq!(wrong, Err(Malformed::BadValue { key: "message" }));
        let largest = AskHeader::decode(b"\x81\xa3ask\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(largest.map(|says| says.ask), Ok(u64::MAX));
        let why = TellHeader::decode(b"\x82\xa3ask\x01\xa4code\xa9no_caller");
        assert_eq!(why.map(|says| says.code), Ok(Some("no_caller")));
    }
}
