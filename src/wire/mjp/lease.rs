//! LEASE: one holder at a time for a name, with an epoch that only grows (SPEC 9.14).

use std::num::NonZeroU16;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use super::header::{bin, some_octets};
use super::malformed::Malformed;
use super::{Packed, kind, pack, with_header};
use crate::wire::codec::Encoder;

/// Writes LEASE of a client, with a header as it is: a [`LeaseHeader`].
pub fn encode_lease(id: u64, header: &[u8], out: &mut Encoder) {
    with_header(kind::LEASE, id, header, out);
}

/// Longest name of a lease, of a candidate, octets.
pub const LEASE_NAME_MAX: usize = 255;

/// What LEASE can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseVerb {
    /// Be the holder, now or when it is one's turn.
    Campaign,
    /// Go on holding.
    Renew,
    /// Say something to all who observe.
    Proclaim,
    /// Hold no more.
    Resign,
    /// Be told who holds.
    Observe,
    /// Which leases there are.
    List,
}

impl LeaseVerb {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Campaign, Self::Renew, Self::Proclaim, Self::Resign, Self::Observe, Self::List];

    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Campaign => "campaign",
            Self::Renew => "renew",
            Self::Proclaim => "proclaim",
            Self::Resign => "resign",
            Self::Observe => "observe",
            Self::List => "list",
        }
    }

    /// The verb of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == name)
    }
}

/// LEASE of a client: a verb, and what it needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHeader<'a> {
    /// What is to be done, see [`LeaseVerb`].
    pub verb: &'a str,
    /// The lease, 1 to 255 octets; of all verbs but `list`.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_name"
    )]
    pub lease: Option<&'a str>,
    /// Of `renew`, `proclaim`, `resign`: that of the holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Of `campaign`: time from one `renew` to the next at most, ms. Default 5,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Of `campaign`: time to wait in line at most, ms; 0: not at all. Default: as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// Of `campaign`: time that the lease is kept when the connection ends, ms. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<u64>,
    /// Of `campaign`: time that the lease is nobody's when it is lost, ms. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_delay: Option<u64>,
    /// Of `campaign`: what the candidate calls itself, 1 to 255 octets. Default: the identity.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_name"
    )]
    pub name: Option<&'a str>,
    /// Of `campaign`, `proclaim`: what is said to all who observe. Default: nothing.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_octets",
        serialize_with = "bin"
    )]
    pub value: Option<&'a [u8]>,
    /// Of `resign`: the candidate that is next. Default: whoever has waited longest.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_name"
    )]
    pub to: Option<&'a str>,
    /// Of `list`: only leases whose names begin so.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<&'a str>,
    /// Of `list`: `next` of the page before.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub after: Option<&'a str>,
    /// Of `list`: entries of a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<NonZeroU16>,
}

impl<'a> LeaseHeader<'a> {
    /// A verb about a lease.
    #[must_use]
    pub fn new(verb: LeaseVerb, lease: &'a str) -> Self {
        Self { verb: verb.as_str(), lease: Some(lease), ..Self::default() }
    }

    /// Entries of a page: 100 by default, and at most 1,000.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max.map_or(100, |max| usize::from(max.get()).min(1000))
    }
}

/// LEASE of a broker: an answer, or something that has happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReport<'a> {
    /// `waiting`, `held`, `lost`, `renewed`, `proclaimed`, `resigned`, `holder`, `free` or `list`.
    pub event: &'a str,
    /// Of the holder; with `free` that of the last one, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Time until it is freed if nothing is heard, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// With `waiting`: candidates before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u64>,
    /// What the holder calls itself.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// What the holder says.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_octets",
        serialize_with = "bin"
    )]
    pub value: Option<&'a [u8]>,
    /// With `lost`: why.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// With `list`: a page of leases, in the order of their names.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub leases: Option<Vec<LeaseRow<'a>>>,
    /// With `list`: there is more, and it comes if this is given as `after`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub next: Option<&'a str>,
}

impl<'a> LeaseReport<'a> {
    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// As any header.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

/// One lease in a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow<'a> {
    /// Its name.
    pub lease: &'a str,
    /// Of the holder; absent: it is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// What the holder calls itself.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// Time for which it has been held, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// Time until it is freed if nothing is heard, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// Candidates in line.
    #[serde(default)]
    pub waiting: u64,
    /// Who is told of each change.
    #[serde(default)]
    pub observers: u64,
}

/// A header, a map as it stands on the wire, that says besides which lease its sender holds, and by
/// which epoch. What is no map comes back as it is.
#[must_use]
pub fn fenced(header: &[u8], lease: &str, epoch: u64) -> Vec<u8> {
    /// Keys of which a map may have so many without an octet more for it.
    const SHORT_MAX: u16 = 15;
    #[derive(Serialize)]
    struct Fence<'a> {
        lease: &'a str,
        epoch: u64,
    }
    let (count, keys) = match header {
        [] => (0, header),
        [first @ 0x80..=0x8f, keys @ ..] => (u16::from(first & 0x0f), keys),
        [0xde, high, low, keys @ ..] => (u16::from_be_bytes([*high, *low]), keys),
        _ => return header.to_vec(),
    };
    let Some(count) = count.checked_add(2) else { return header.to_vec() };
    let packed = Packed::new(&Fence { lease, epoch });
    // Behind its first octet, which says that it is a map of two.
    let more = packed.octets().get(1..).unwrap_or_default();
    let mut octets = Vec::with_capacity(3 + keys.len() + more.len());
    match u8::try_from(count) {
        Ok(few) if count <= SHORT_MAX => octets.push(0x80 | few),
        _ => {
            octets.push(0xde);
            octets.extend_from_slice(&count.to_be_bytes());
        }
    }
    octets.extend_from_slice(keys);
    octets.extend_from_slice(more);
    octets
}

/// A name of 1 to 255 octets, or none.
pub(super) fn some_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de str>, D::Error> {
    let name = Option::<&str>::deserialize(deserializer)?;
    if name.is_none_or(|name| (1..=LEASE_NAME_MAX).contains(&name.len())) {
        Ok(name)
    } else {
        Err(de::Error::custom("no name of 1 to 255 octets"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::de::IgnoredAny;

    use super::super::{AdminHeader, Verb};
    use super::*;

    #[test]
    fn a_header_of_any_length_says_besides_which_lease_is_held() {
        let says = AdminHeader { name: Some("x"), ..AdminHeader::new(Verb::Kick) };
        let octets = fenced(Packed::new(&says).octets(), "billing", 7);
        let held = AdminHeader { lease: Some("billing"), epoch: Some(7), ..says };
        assert_eq!(octets, Packed::new(&held).octets());
        assert_eq!(fenced(b"", "a", 1), b"\x82\xa5lease\xa1a\xa5epoch\x01");
        // The length of a map of 16 keys and more takes two octets more.
        for count in [13, 14, 15, 16, 300] {
            let long: BTreeMap<String, u8> = (0..count).map(|key| (key.to_string(), 0)).collect();
            let octets = fenced(Packed::new(&long).octets(), "a", 1);
            let read: BTreeMap<String, IgnoredAny> = rmp_serde::from_slice(&octets).unwrap();
            assert_eq!(read.len(), long.len() + 2);
            assert!(octets.ends_with(b"\xa5lease\xa1a\xa5epoch\x01"), "{count} keys");
        }
        // What is no map is the caller's affair.
        assert_eq!(fenced(b"\x01", "a", 1), b"\x01");
    }
}
