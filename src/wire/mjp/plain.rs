//! What almost every message is, read and written at once: a request with a short header, a last
//! answer.
//!
//! Whatever is not quite like that is left to the long way, which also says what is wrong. Where
//! this way does it, the other one would do the same.

use std::num::NonZeroU32;

use super::header::{DeliveryHeader, RequestHeader};
use super::pack::Packed;
use super::{Answer, HEADER_MAX, Request, kind};
use crate::id::ServiceName;
use crate::wire::frame::MORE;
use crate::wire::message::Frames;

/// A message of the most frequent shapes.
#[derive(Debug, Clone, Copy)]
pub enum Plain<'a> {
    /// A client's request, and what is kept of it: its header and its body.
    Request(Request<'a>, Frames<'a>),
    /// The last answer, from a worker or to a client.
    Final(Answer<'a>),
}

impl<'a> Plain<'a> {
    /// Reads a message. `None`: ask [`ToBroker::decode`] or [`FromBroker::decode`], which give the
    /// same for what is read here.
    ///
    /// [`ToBroker::decode`]: super::ToBroker::decode
    /// [`FromBroker::decode`]: super::FromBroker::decode
    // Left alone, the compiler moves the large result twice.
    #[inline(always)]
    #[must_use]
    pub fn decode(message: Frames<'a>) -> Option<Self> {
        let (start, kept) = message.split_prefix::<17>(2)?;
        let Some((opening, [kind, id @ ..])) = start.split_first_chunk::<8>() else { return None };
        if *opening != [MORE, 4, b'M', b'J', b'P', b'1', MORE, 9] {
            return None;
        }
        let id = u64::from_be_bytes(id.try_into().ok()?);
        let mut body = kept;
        let header = body.take_first()?;
        if body.is_empty() {
            return None;
        }
        match *kind {
            kind::REQUEST if id != 0 => {
                let says = request(header)?;
                Some(Self::Request(Request { id, header, says, body }, kept))
            }
            kind::FINAL if header.len() <= HEADER_MAX => {
                Some(Self::Final(Answer { id, header, body }))
            }
            _ => None,
        }
    }
}

/// The header of a request, if each key in it is known, stands there once and has a value of the
/// usual form.
#[inline]
pub(super) fn request(octets: &[u8]) -> Option<RequestHeader<'_>> {
    let mut rest = octets;
    let mut says = RequestHeader::default();
    for _ in 0..pairs(&mut rest)? {
        match text(&mut rest)? {
            b"service" if says.service.is_empty() => says.service = name(&mut rest)?,
            b"timeout" if says.timeout.is_none() => says.timeout = Some(number(&mut rest)?),
            b"attempts" if says.attempts.is_none() => says.attempts = Some(count(&mut rest)?),
            b"parts" if says.parts.is_none() => says.parts = Some(flag(&mut rest)?),
            b"ack" if says.ack.is_none() => says.ack = Some(flag(&mut rest)?),
            _ => return None,
        }
    }
    (rest.is_empty() && !says.service.is_empty()).then_some(says)
}

/// The broker's header of a delivery, under the same conditions.
#[inline]
pub(super) fn delivery(octets: &[u8]) -> Option<DeliveryHeader<'_>> {
    let mut rest = octets;
    let (mut attempt, mut timeout) = (None, None);
    let (mut identity, mut fingerprint, mut name) = (None, None, None);
    for _ in 0..pairs(&mut rest)? {
        match text(&mut rest)? {
            b"attempt" if attempt.is_none() => attempt = Some(count(&mut rest)?),
            b"timeout" if timeout.is_none() => timeout = Some(number(&mut rest)?),
            b"identity" if identity.is_none() => identity = Some(bin(&mut rest)?),
            b"fingerprint" if fingerprint.is_none() => {
                fingerprint = Some(std::str::from_utf8(text(&mut rest)?).ok()?);
            }
            b"name" if name.is_none() => name = Some(std::str::from_utf8(text(&mut rest)?).ok()?),
            _ => return None,
        }
    }
    let says = DeliveryHeader { attempt: attempt?, timeout, identity, fingerprint, name };
    rest.is_empty().then_some(says)
}

/// How many pairs a short map has.
#[inline]
fn pairs(rest: &mut &[u8]) -> Option<u8> {
    let marker = octet(rest)?;
    (marker & 0xf0 == 0x80).then_some(marker & 0x0f)
}

/// A text of up to 31 octets.
#[inline]
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let marker = octet(rest)?;
    if marker & 0xe0 != 0xa0 {
        return None;
    }
    take(rest, usize::from(marker & 0x1f))
}

/// A bin of up to 255 octets.
#[inline]
fn bin<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if octet(rest)? != 0xc4 {
        return None;
    }
    let len = octet(rest)?;
    take(rest, usize::from(len))
}

/// The name of a service: a text or bin of 1 to 255 octets.
#[inline]
fn name<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = match octet(rest)? {
        marker @ 0xa1..=0xbf => marker & 0x1f,
        0xc4 | 0xd9 => octet(rest)?,
        _ => return None,
    };
    let len = usize::from(len);
    if (1..=ServiceName::LEN_MAX).contains(&len) { take(rest, len) } else { None }
}

/// A number from 0, in any of the forms that are made for such.
#[inline]
fn number(rest: &mut &[u8]) -> Option<u64> {
    match octet(rest)? {
        small @ 0..=0x7f => Some(small.into()),
        0xcc => octet(rest).map(u64::from),
        0xcd => chunk(rest).map(|octets| u16::from_be_bytes(octets).into()),
        0xce => chunk(rest).map(|octets| u32::from_be_bytes(octets).into()),
        0xcf => chunk(rest).map(u64::from_be_bytes),
        _ => None,
    }
}

#[inline]
fn count(rest: &mut &[u8]) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(number(rest)?).ok()?)
}

#[inline]
fn flag(rest: &mut &[u8]) -> Option<bool> {
    match octet(rest)? {
        0xc2 => Some(false),
        0xc3 => Some(true),
        _ => None,
    }
}

#[inline]
fn octet(rest: &mut &[u8]) -> Option<u8> {
    let (octet, after) = rest.split_first()?;
    *rest = after;
    Some(*octet)
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

#[inline]
fn chunk<const LEN: usize>(rest: &mut &[u8]) -> Option<[u8; LEN]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

impl Packed {
    /// As [`Packed::new`], for the header of a request.
    #[inline]
    #[must_use]
    pub fn request(says: &RequestHeader<'_>) -> Self {
        let service = says.service;
        let short = service.len() < 32 && service.is_ascii();
        let len = match u8::try_from(service.len()) {
            Ok(len) if short && says.is_plain() => len,
            _ => return Self::new(says),
        };
        let given = [says.timeout.is_some(), says.attempts.is_some(), says.ack.is_some()];
        let given = given.into_iter().chain([says.parts.is_some()]).map(u8::from).sum::<u8>();
        let mut packed = Self::empty();
        packed.put(&[0x81 + given]);
        packed.put(b"\xa7service");
        packed.put(&[0xa0 | len]);
        packed.put(service);
        if let Some(timeout) = says.timeout {
            packed.put(b"\xa7timeout");
            packed.put_number(timeout);
        }
        if let Some(attempts) = says.attempts {
            packed.put(b"\xa8attempts");
            packed.put_number(attempts.get().into());
        }
        if let Some(ack) = says.ack {
            packed.put(b"\xa3ack");
            packed.put(&[0xc2 + u8::from(ack)]);
        }
        if let Some(parts) = says.parts {
            packed.put(b"\xa5parts");
            packed.put(&[0xc2 + u8::from(parts)]);
        }
        packed
    }

    /// As [`Packed::new`], for what the broker says of a delivery.
    #[inline]
    #[must_use]
    pub fn delivery(says: &DeliveryHeader<'_>) -> Self {
        let short = |text: &str| text.len() < 32;
        if !says.fingerprint.is_none_or(short) || !says.name.is_none_or(short) {
            return Self::new(says);
        }
        let identity = match says.identity.map(|it| (it, u8::try_from(it.len()))) {
            None => None,
            Some((identity, Ok(len))) => Some((identity, len)),
            Some((_, Err(_))) => return Self::new(says),
        };
        let given = [says.timeout.is_some(), identity.is_some(), says.fingerprint.is_some()];
        let given = given.into_iter().chain([says.name.is_some()]).map(u8::from).sum::<u8>();
        let mut packed = Self::empty();
        packed.put(&[0x81 + given]);
        packed.put(b"\xa7attempt");
        packed.put_number(says.attempt.get().into());
        if let Some(timeout) = says.timeout {
            packed.put(b"\xa7timeout");
            packed.put_number(timeout);
        }
        if let Some((identity, len)) = identity {
            packed.put(b"\xa8identity\xc4");
            packed.put(&[len]);
            packed.put(identity);
        }
        if let Some(fingerprint) = says.fingerprint {
            packed.put(b"\xabfingerprint");
            packed.put_short(fingerprint);
        }
        if let Some(name) = says.name {
            packed.put(b"\xa4name");
            packed.put_short(name);
        }
        packed
    }

    /// A text of up to 31 octets.
    #[inline]
    fn put_short(&mut self, text: &str) {
        self.put(&[0xa0 | u8::try_from(text.len()).unwrap_or_default()]);
        self.put(text.as_bytes());
    }

    /// The shortest form of a number.
    #[inline]
    fn put_number(&mut self, number: u64) {
        let [.., e, f, g, h] = number.to_be_bytes();
        match number {
            0..=0x7f => self.put(&[h]),
            0x80..=0xff => self.put(&[0xcc, h]),
            0x100..=0xffff => self.put(&[0xcd, g, h]),
            0x1_0000..=0xffff_ffff => self.put(&[0xce, e, f, g, h]),
            _ => {
                self.put(&[0xcf]);
                self.put(&number.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests;
