//! One message, read in place.

use bytes::Bytes;

use super::PARTS_MAX;
use super::header::{Coordinates, Form, Level, PREFIX_LEN, Prefix};
use super::malformed::Malformed;
use super::part;
use super::payload::Payload;
use crate::wire::codec::Encoder;
use crate::wire::message::{Frames, LARGE, Message};

/// How the parts of a message lie in its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// All in one frame, each behind its size: CLIENT and SERVER.
    Single,
    /// A frame for each, behind an empty one: DEALER and ROUTER.
    Multipart,
    /// A frame for each, and nothing before them: in the body of MJP's LANE.
    Bare,
}

/// A message. What was read stays where it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Zio<'a> {
    /// How much it matters.
    pub level: Level,
    /// What kind it is.
    pub form: Form,
    /// Free text; in flows a JSON object.
    pub label: &'a str,
    /// Where it belongs.
    pub coordinates: Coordinates,
    /// What it carries.
    pub payload: Payload<'a>,
}

/// Whether a message of several frames is of this dialect, right or wrong: an empty frame, then one
/// that begins with `ZIO`.
#[inline]
#[must_use]
pub fn is_zio(mut message: Frames<'_>) -> bool {
    message.take_first() == Some(b"")
        && message.take_first().is_some_and(|prefix| prefix.starts_with(b"ZIO"))
}

impl<'a> Zio<'a> {
    /// Reads a message. Sizes and headers are checked, the label is not looked into.
    ///
    /// # Errors
    /// It is none of ZIO's.
    #[inline]
    pub fn decode(shape: Shape, message: Frames<'a>) -> Result<Self, Malformed> {
        match shape {
            Shape::Single => Self::decode_single(message),
            Shape::Multipart => Self::decode_multipart(message),
            Shape::Bare => Self::decode_bare(message),
        }
    }

    fn decode_single(mut message: Frames<'a>) -> Result<Self, Malformed> {
        let frames = message.len();
        if frames != 1 {
            return Err(Malformed::FrameCount { frames });
        }
        let shared = message.parts().1.first();
        let mut rest = message.take_first().unwrap_or_default();
        let mut parts = 0;
        let mut head = [&[][..]; 2];
        let mut payload = rest;
        while !rest.is_empty() {
            let octets = part::take(&mut rest, parts)?;
            if let Some(place) = head.get_mut(parts) {
                (*place, payload) = (octets, rest);
            }
            parts += 1;
            if parts > PARTS_MAX {
                return Err(Malformed::TooManyParts);
            }
        }
        let Some(count) = parts.checked_sub(head.len()) else {
            return Err(Malformed::TooFewParts { parts });
        };
        let [prefix, coordinates] = head;
        Self::of_parts(prefix, coordinates, Payload::sized(payload, count, shared))
    }

    fn decode_multipart(mut message: Frames<'a>) -> Result<Self, Malformed> {
        if message.take_first() != Some(b"") {
            return Err(Malformed::NoDelimiter);
        }
        Self::decode_bare(message)
    }

    fn decode_bare(mut message: Frames<'a>) -> Result<Self, Malformed> {
        let parts = message.len();
        if parts > PARTS_MAX {
            return Err(Malformed::TooManyParts);
        }
        match (message.take_first(), message.take_first()) {
            (Some(prefix), Some(coordinates)) => {
                Self::of_parts(prefix, coordinates, Payload::frames(message))
            }
            _ => Err(Malformed::TooFewParts { parts }),
        }
    }

    #[inline]
    fn of_parts(
        prefix: &'a [u8],
        coordinates: &[u8],
        payload: Payload<'a>,
    ) -> Result<Self, Malformed> {
        let Prefix { level, form, label } = Prefix::decode(prefix)?;
        let coordinates = Coordinates::decode(coordinates)?;
        Ok(Self { level, form, label, coordinates, payload })
    }

    /// The same message with another label.
    #[must_use]
    pub fn with_label<'b>(&self, label: &'b str) -> Zio<'b>
    where
        'a: 'b,
    {
        Zio { label, ..*self }
    }

    /// Octets of all parts, of prefix and coordinates too: what a DAT costs within MJP.
    #[must_use]
    pub fn parts_len(&self) -> usize {
        let head = PREFIX_LEN + self.label.len() + Coordinates::LEN;
        head + self.payload.map(<[u8]>::len).sum::<usize>()
    }

    /// Octets of the message in one frame.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let head = [PREFIX_LEN + self.label.len(), Coordinates::LEN];
        let payload = self.payload.map(<[u8]>::len);
        head.into_iter().chain(payload).map(part::encoded_len).sum()
    }

    /// Appends the message in one frame; large parts of the payload are not copied.
    pub fn encode_single(&self, out: &mut Encoder) {
        let Self { level, form, label, coordinates, payload } = *self;
        out.last_header(self.encoded_len());
        let mut run = Vec::with_capacity(PREFIX_LEN + label.len() + Coordinates::LEN + 16);
        part::put(&Prefix { level, form, label }.encode(), &mut run);
        part::put(&coordinates.encode(), &mut run);
        for octets in payload {
            part::put_len(octets.len(), &mut run);
            out.octets(&run);
            run.clear();
            if octets.len() < LARGE {
                out.octets(octets);
            } else {
                out.shared(payload.share(octets));
            }
        }
        out.octets(&run);
    }

    /// The message in that shape, every size in its short form if it fits.
    #[must_use]
    pub fn to_message(&self, shape: Shape) -> Message {
        let prefix = Prefix { level: self.level, form: self.form, label: self.label }.encode();
        let coordinates = self.coordinates.encode();
        match shape {
            Shape::Single => {
                let parts = || [&prefix[..], &coordinates].into_iter().chain(self.payload);
                let len = parts().map(|part| part::encoded_len(part.len())).sum();
                let mut frame = Vec::with_capacity(len);
                parts().for_each(|part| part::put(part, &mut frame));
                frame.into()
            }
            Shape::Multipart | Shape::Bare => {
                let small = |octets: &[u8]| Bytes::copy_from_slice(octets);
                let payload = self.payload.map(|part| {
                    if part.len() < LARGE { small(part) } else { self.payload.share(part) }
                });
                let delimiter = (shape == Shape::Multipart).then(Bytes::new);
                let head = [prefix.into(), small(&coordinates)];
                Message::new(delimiter.into_iter().chain(head).chain(payload))
            }
        }
    }
}
