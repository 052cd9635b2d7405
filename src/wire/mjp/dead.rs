//! ADMIN about dead letters: what an operator wants of them, and what is answered (SPEC 16.3).

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::header::{octets, some_octets, some_service, some_text_or_bin, text_or_bin};
use super::malformed::Malformed;
use super::pack;

/// ADMIN with a verb of dead letters: which of them, and what is to be done. Other readers know
/// `verb` alone. The letters that are meant are those that fit everything that is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadHeader<'a> {
    /// What is to be done, see [`Verb`](super::Verb).
    pub verb: &'a str,
    /// The one of this id.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<&'a str>,
    /// Those of services of this name, or whose names begin so if it ends with `*`. With
    /// `dlq.edit`: what the letter asks for from now on.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_service",
        serialize_with = "some_text_or_bin"
    )]
    pub service: Option<&'a [u8]>,
    /// Those that died so.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'a str>,
    /// Those that have been dead for so long or longer, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<u64>,
    /// Whoever they are: without it a verb that changes something wants an id or a filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Only say how many it would be. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry: Option<bool>,
    /// Of `dlq.edit`: the header of the request from now on, a map.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_octets",
        serialize_with = "some_text_or_bin"
    )]
    pub header: Option<&'a [u8]>,
    /// Of `dlq.edit`: put it back into its queue, too. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requeue: Option<bool>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Letters of a page, or that are changed at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<NonZeroU16>,
}

impl<'a> DeadHeader<'a> {
    /// A verb, and no letters yet.
    #[must_use]
    pub fn new(verb: super::Verb) -> Self {
        Self { verb: verb.as_str(), ..Self::default() }
    }

    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// The header is no map with text keys, lacks the verb, or has a known key with a wrong value.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }

    /// Letters of a page: 100 by default, and at most 1,000.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max.map_or(100, |max| usize::from(max.get()).min(1000))
    }
}

/// The answer: what was asked is there, the rest is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadReport<'a> {
    /// A page of letters, those that died first before the others; one with `dlq.show`.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub letters: Option<Vec<LetterReport<'a>>>,
    /// Of `dlq.show`: the workers that had it, the first one before the others.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub seen: Option<Vec<SeenReport<'a>>>,
    /// Of what changes something: so many letters were changed, or would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// Of `dlq.requeue`: so many found no room and are dead as before. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// Of `dlq.requeue` and `dlq.edit`: why they found none.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub because: Option<&'a str>,
    /// `after` of the next page. Absent: this was the last one. A page may be empty and not the
    /// last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

impl<'a> DeadReport<'a> {
    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// The header is no map with text keys, or has a known key with a wrong value.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

/// A dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterReport<'a> {
    /// Its id, which is that of the request it was: 16 hexadecimal digits.
    pub uuid: &'a str,
    /// What was asked for.
    #[serde(borrow, serialize_with = "text_or_bin", deserialize_with = "octets")]
    pub service: &'a [u8],
    /// Where it is kept: the service, or what its policy says.
    #[serde(borrow, serialize_with = "text_or_bin", deserialize_with = "octets")]
    pub queue: &'a [u8],
    /// Why it is dead: `failed`, `exhausted`, `poison`, `lost`, `expired`, `timeout`, `rejected` or
    /// `overflow`.
    pub cause: &'a str,
    /// What the last worker said, or the broker. Absent: nothing; or it was too long.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub message: Option<&'a str>,
    /// Deliveries, those before it was put back included.
    pub attempts: u64,
    /// Times that it has been dead.
    pub deaths: u64,
    /// Time since it was accepted, ms.
    pub age: u64,
    /// Time since it died, ms.
    pub dead: u64,
    /// Octets of its body.
    pub bytes: u64,
    /// The name that its caller gave itself. Absent: none.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_octets",
        serialize_with = "some_text_or_bin"
    )]
    pub identity: Option<&'a [u8]>,
    /// The fingerprint of the key that its caller has proven to have.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<&'a str>,
    /// What the operator calls its caller, or the user that it has proven to be.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// Its order.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_octets",
        serialize_with = "some_text_or_bin"
    )]
    pub order: Option<&'a [u8]>,
    /// Of `dlq.show`: octets of its own header, which is the first frame of the body. Absent: it
    /// has none, and the body begins with the first frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<u64>,
}

/// A worker that had a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenReport<'a> {
    /// Its identity if that is text, or one made of its handle.
    pub worker: &'a str,
    /// What became of it there: `lost` with the worker, or `failed`.
    pub end: &'a str,
    /// Time since then, ms.
    pub ago: u64,
}

#[cfg(test)]
mod tests {
    use super::super::{AdminHeader, Packed, Verb};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let says = DeadHeader {
            uuid: Some("0000000100000002"),
            service: Some(b"pay.*"),
            cause: Some("poison"),
            older: Some(1000),
            all: Some(true),
            dry: Some(true),
            header: Some(b"\x80"),
            requeue: Some(true),
            after: Some(7),
            max: NonZeroU16::new(5000),
            ..DeadHeader::new(Verb::DeadRequeue)
        };
        let packed = Packed::new(&says);
        assert_eq!(DeadHeader::decode(packed.octets()), Ok(says));
        assert_eq!(says.max(), 1000);
        // Who looks only for the verb finds it.
        assert_eq!(AdminHeader::decode(packed.octets()).unwrap().verb, "dlq.requeue");
        let letter = LetterReport {
            uuid: "0000000100000002",
            service: b"pay",
            queue: b"pay.dead",
            cause: "exhausted",
            message: Some("no money"),
            attempts: 3,
            deaths: 1,
            age: 5,
            dead: 4,
            bytes: 12,
            identity: Some(b"anna"),
            fingerprint: Some("f"),
            name: Some("n"),
            order: Some(b"o"),
            header: Some(2),
        };
        let seen = SeenReport { worker: "w1", end: "failed", ago: 9 };
        let report = DeadReport {
            letters: Some(vec![letter]),
            seen: Some(vec![seen]),
            done: Some(1),
            left: Some(2),
            because: Some("full"),
            next: Some(3),
        };
        assert_eq!(DeadReport::decode(Packed::new(&report).octets()), Ok(report));
        assert_eq!(Packed::new(&DeadReport::default()).octets(), b"\x80");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for (octets, expected) in [
            (&b""[..], Malformed::MissingKey { key: "verb" }),
            (b"\x82\xa4verb\xa1x\xa5cause\x01", Malformed::BadValue { key: "cause" }),
            (b"\x82\xa4verb\xa1x\xa3max\x00", Malformed::BadValue { key: "max" }),
            (b"\x82\xa4verb\xa1x\xa7service\xa0", Malformed::BadValue { key: "service" }),
        ] {
            assert_eq!(DeadHeader::decode(octets), Err(expected), "{octets:?}");
        }
    }
}
