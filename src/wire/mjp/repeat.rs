//! Whether two requests are the same: a digest of what a worker would go by (SPEC 9.13).

use serde::de::{self, Deserializer};

use super::header::{RequestHeader, some_octets};
use crate::wire::message::Frames;

/// What a request asks of a worker, in 32 octets: its body, frame by frame, and those keys of its
/// header that are not the broker's. Who waits how long, and is told what, makes no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// Keys that say how a request is carried or traced, and not what it is. The service stands beside
/// the digest.
const CARRIED: [&[u8]; 16] = [
    b"service",
    b"timeout",
    b"attempts",
    b"ack",
    b"parts",
    b"events",
    b"asks",
    b"trace",
    b"state",
    b"key",
    b"lease",
    b"epoch",
    b"order",
    b"delay",
    b"level",
    b"wait",
];

/// Nil counts as absent.
const NIL: &[u8] = b"\xc0";

impl Digest {
    /// Of a request whose header has been read without an error.
    #[must_use]
    pub fn of(header: &[u8], body: Frames<'_>) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut pairs = pairs(header);
        pairs.retain(|(key, value)| !CARRIED.contains(key) && *value != NIL);
        // Maps have no order.
        pairs.sort_unstable();
        put_count(pairs.len(), &mut hasher);
        for (key, value) in pairs {
            put(key, &mut hasher);
            put(value, &mut hasher);
        }
        put_count(body.len(), &mut hasher);
        for frame in body {
            put(frame, &mut hasher);
        }
        Self(hasher.finalize().into())
    }

    /// To be kept.
    #[must_use]
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

/// As it was told by [`Digest::octets`].
impl From<[u8; 32]> for Digest {
    fn from(octets: [u8; 32]) -> Self {
        Self(octets)
    }
}

/// What a poll asks, in 32 octets: what makes a yes, about which action it is, by `when`, `in` and
/// `error` as they were said, and its body.
#[must_use]
pub fn digest_of(kind: &str, action: [Option<u64>; 3], body: Frames<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    put(kind.as_bytes(), &mut hasher);
    for number in action {
        put(number.map(u64::to_be_bytes).as_ref().map_or(&[], <[u8; 8]>::as_slice), &mut hasher);
    }
    put_count(body.len(), &mut hasher);
    for frame in body {
        put(frame, &mut hasher);
    }
    hasher.finalize().into()
}

/// A key, or nothing.
pub(super) fn some_key<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de [u8]>, D::Error> {
    let key = some_octets(deserializer)?;
    if key.is_none_or(|key| (1..=RequestHeader::KEY_MAX).contains(&key.len())) {
        Ok(key)
    } else {
        Err(de::Error::custom("no key of 1 to 128 octets"))
    }
}

/// Octets behind their number, so that none can be taken for another's.
fn put(octets: &[u8], hasher: &mut blake3::Hasher) {
    put_count(octets.len(), hasher);
    hasher.update(octets);
}

fn put_count(count: usize, hasher: &mut blake3::Hasher) {
    hasher.update(&u64::try_from(count).unwrap_or(u64::MAX).to_be_bytes());
}

/// The pairs of a map: the text of each key, and its value as it stands there. What is no map with
/// texts as keys ends early.
fn pairs(header: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut rest = header;
    let mut pairs = Vec::new();
    let Some(Item { children, .. }) = Item::take(&mut rest) else { return pairs };
    for _ in 0..children / 2 {
        let Some(key) = Item::take(&mut rest) else { break };
        let before = rest;
        let Some(()) = skip(&mut rest) else { break };
        let value = before.len().checked_sub(rest.len()).and_then(|len| before.get(..len));
        pairs.push((key.octets, value.unwrap_or_default()));
    }
    pairs
}

/// Goes past one value, with all that is in it.
fn skip(rest: &mut &[u8]) -> Option<()> {
    let mut left = 1_u64;
    while left > 0 {
        left = left - 1 + Item::take(rest)?.children;
    }
    Some(())
}

/// One item of MessagePack, without the items in it.
struct Item<'a> {
    /// Of a text or the like.
    octets: &'a [u8],
    /// Items that follow and belong to it.
    children: u64,
}

impl<'a> Item<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let (marker, after) = rest.split_first()?;
        *rest = after;
        let (octets, children) = match *marker {
            small @ 0x80..=0x8f => (0, u64::from(small & 0x0f) * 2),
            small @ 0x90..=0x9f => (0, u64::from(small & 0x0f)),
            small @ 0xa0..=0xbf => (u64::from(small & 0x1f), 0),
            0xc4 | 0xd9 => (length(1, rest)?, 0),
            0xc5 | 0xda => (length(2, rest)?, 0),
            0xc6 | 0xdb => (length(4, rest)?, 0),
            0xc7 => (length(1, rest)? + 1, 0),
            0xc8 => (length(2, rest)? + 1, 0),
            0xc9 => (length(4, rest)? + 1, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 | 0xd4 => (2, 0),
            0xd5 => (3, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xd6 => (5, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd7 => (9, 0),
            0xd8 => (17, 0),
            0xdc => (0, length(2, rest)?),
            0xdd => (0, length(4, rest)?),
            0xde => (0, length(2, rest)? * 2),
            0xdf => (0, length(4, rest)? * 2),
            0x00..=0x7f | 0xc0..=0xc3 | 0xe0..=0xff => (0, 0),
        };
        let (octets, after) = rest.split_at_checked(usize::try_from(octets).ok()?)?;
        *rest = after;
        Some(Self { octets, children })
    }
}

/// A length of so many octets, most significant first.
fn length(octets: usize, rest: &mut &[u8]) -> Option<u64> {
    let (length, after) = rest.split_at_checked(octets)?;
    *rest = after;
    Some(length.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet)))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use crate::wire::message::Message;
    use crate::wire::mjp::{Level, Packed};

    use super::*;

    fn of(header: &[u8], body: &[&'static str]) -> Digest {
        Digest::of(header, Message::new(body.iter().copied()).frames())
    }

    const PLAIN: &[u8] = b"\x81\xa7service\xa4echo";

    #[test]
    fn the_body_counts_with_the_bounds_of_its_frames() {
        assert_eq!(of(PLAIN, &["ab", "c"]), of(PLAIN, &["ab", "c"]));
        assert_ne!(of(PLAIN, &["ab", "c"]), of(PLAIN, &["a", "bc"]));
        assert_ne!(of(PLAIN, &["ab"]), of(PLAIN, &["ab", ""]));
    }

    #[test]
    fn how_a_request_is_carried_makes_no_difference() {
        // All of them: a field that is new has to be thought of.
        let all = Packed::new(&RequestHeader {
            service: b"echo",
            timeout: Some(1000),
            attempts: NonZeroU32::new(2),
            ack: Some(true),
            parts: Some(false),
            trace: Some("t"),
            state: Some("s"),
            events: Some(true),
            asks: Some(true),
            key: Some(b"k"),
            lease: Some("l"),
            epoch: Some(1),
            order: Some(b"o"),
            delay: Some(1),
            level: Some(Level::Disk),
            wait: Some(false),
        });
        assert_eq!(of(PLAIN, &["a"]), of(all.octets(), &["a"]));
        let nil = b"\x82\xa7service\xa4echo\xa5other\xc0";
        assert_eq!(of(PLAIN, &["a"]), of(nil, &["a"]));
        assert_eq!(of(PLAIN, &["a"]), of(b"", &["a"]));
    }

    #[test]
    fn what_only_the_worker_knows_counts_in_any_order() {
        let one = b"\x83\xa1a\x01\xa7service\xa4echo\xa1b\x92\x01\x81\xa1x\xc0";
        let two = b"\x83\xa1b\x92\x01\x81\xa1x\xc0\xa1a\x01\xa7service\xa4echo";
        let three = b"\x83\xa1b\x92\x01\x81\xa1x\xc3\xa1a\x01\xa7service\xa4echo";
        assert_eq!(of(one, &["a"]), of(two, &["a"]));
        assert_ne!(of(one, &["a"]), of(three, &["a"]));
        assert_ne!(of(one, &["a"]), of(PLAIN, &["a"]));
    }

    #[test]
    fn every_item_is_gone_past() {
        let items: [&[u8]; 22] = [
            b"\x7f",
            b"\xff",
            b"\xc2",
            b"\xc4\x01a",
            b"\xc5\0\x01a",
            b"\xc6\0\0\0\x01a",
            b"\xc7\x01\x05a",
            b"\xc8\0\x01\x05a",
            b"\xc9\0\0\0\x01\x05a",
            b"\xcc\x01",
            b"\xcd\0\x01",
            b"\xce\0\0\0\x01",
            b"\xcf\0\0\0\0\0\0\0\x01",
            b"\xcb\0\0\0\0\0\0\0\0",
            b"\xd4\x01a",
            b"\xd5\x01ab",
            b"\xd9\x01a",
            b"\xdc\0\x02\x01\x02",
            b"\xde\0\x01\xa1a\x01",
            b"\xdd\0\0\0\x01\x90",
            b"\xdf\0\0\0\x01\xa1a\x80",
            b"\x92\x91\x01\x81\xa1a\x02",
        ];
        for item in items {
            let mut rest = item;
            assert_eq!((skip(&mut rest), rest), (Some(()), &b""[..]), "{item:x?}");
            let mut cut = &item[..item.len() - 1];
            assert_eq!(skip(&mut cut), None, "{item:x?} without its end");
        }
    }
}
