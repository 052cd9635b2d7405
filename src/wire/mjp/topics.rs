//! Publishing and subscribing: SUBSCRIBE, PUBLISH and what a broker says to them (SPEC 9.11).

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use super::header::{bin, some_octets};
use super::malformed::Malformed;
use super::passed::Passed;
use super::{MORE, Opening, kind, open, pack, with_header};
use crate::wire::codec::Encoder;
use crate::wire::message::Frames;

/// Longest subject, octets.
pub const SUBJECT_MAX: usize = 255;

/// SUBSCRIBE of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeHeader<'a> {
    /// Which subjects: one, or many by wildcards; 1 to 255 octets.
    #[serde(borrow, deserialize_with = "subject")]
    pub subject: &'a str,
    /// The client wants to know that it is subscribed. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<bool>,
}

impl SubscribeHeader<'_> {
    /// Whether the client wants to know that it is subscribed.
    #[must_use]
    pub fn ack(&self) -> bool {
        self.ack.unwrap_or(false)
    }
}

/// PUBLISH of a peer. What it says besides is for the subscribers, and not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishHeader<'a> {
    /// What it is about, 1 to 255 octets.
    #[serde(borrow, deserialize_with = "subject")]
    pub subject: &'a str,
    /// The publisher holds this lease, or nobody gets it; 1 to 255 octets.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::lease::some_name"
    )]
    pub lease: Option<&'a str>,
    /// With `lease`, and only with it: the epoch of the holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

impl<'a> PublishHeader<'a> {
    /// What is about that, and from anybody.
    #[must_use]
    pub fn new(subject: &'a str) -> Self {
        Self { subject, lease: None, epoch: None }
    }
}

/// Something for all who have subscribed to it.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// Comes back with the answer; 0: none is wanted.
    pub id: u64,
    /// The header as it stands on the wire; this is what the subscribers get.
    pub header: &'a [u8],
    /// What the header says.
    pub says: PublishHeader<'a>,
    /// One frame or more, opaque.
    pub body: Frames<'a>,
}

impl<'a> Publish<'a> {
    pub(super) fn decode(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let (id, header, body) = (opening.id, opening.header, opening.body()?);
        Ok(Self { id, header, says: pack::read(header)?, body })
    }

    /// Writes it as a peer does: `header` goes as it is, `says` is not looked at.
    pub fn encode(&self, out: &mut Encoder) {
        open(kind::PUBLISH, self.id, MORE, out);
        out.frame(self.header);
        out.frames(&self.body);
    }
}

/// PUBLISHED of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedHeader {
    /// Subscriptions that it was for. Some of them may have had no room for it.
    pub subscriptions: u64,
}

/// What a broker says of something that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewsHeader<'a> {
    /// What it is about.
    #[serde(borrow, deserialize_with = "subject")]
    pub subject: &'a str,
    /// The how manieth publication for this subscription it is, from 1; those that were dropped
    /// have had a number, too.
    pub seq: u64,
    /// So many were dropped right before this one, as there was no room for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// The name that the publisher gave itself.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_octets",
        serialize_with = "bin"
    )]
    pub identity: Option<&'a [u8]>,
}

/// MESSAGE of a broker: what was published, on its way to a subscriber. The header is the
/// publisher's.
pub type News<'a> = Passed<'a, NewsHeader<'a>>;

impl<'a> News<'a> {
    /// With one frame of a body at least.
    pub(super) fn decode_whole(opening: &Opening<'a>) -> Result<Self, Malformed> {
        let news = Self::decode(opening)?;
        if news.body.is_empty() { Err(Malformed::NoBody) } else { Ok(news) }
    }

    /// Writes it as a broker does.
    pub fn encode(&self, out: &mut Encoder) {
        self.write(kind::MESSAGE, &[], out);
    }
}

/// GAP of a broker: what was dropped, when nothing has come behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapHeader {
    /// So many, 1 or more.
    pub missed: u64,
}

/// Writes a header, and nothing behind it.
pub(super) fn encode<T: Serialize>(kind: u8, id: u64, says: &T, out: &mut Encoder) {
    with_header(kind, id, pack::Packed::new(says).octets(), out);
}

/// A text of 1 to 255 octets. What more there is to a subject, its users check.
fn subject<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de str, D::Error> {
    let subject = <&str>::deserialize(deserializer)?;
    if (1..=SUBJECT_MAX).contains(&subject.len()) {
        Ok(subject)
    } else {
        Err(de::Error::custom("no subject"))
    }
}
