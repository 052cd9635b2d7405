//! The headers of HELLO: which versions, what a broker can do, and what it takes.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::pack;

/// Who we are, for people: program and version.
pub const AGENT: &str = concat!("majordomo/", env!("CARGO_PKG_VERSION"));

/// HELLO of a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerHello<'a> {
    /// Program and version, for people.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'a str>,
    /// The versions that the peer speaks. Default: 1.
    #[serde(default)]
    pub versions: Versions,
}

/// A set of versions. Those above 63 are nobody's yet, and forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions(u64);

impl Versions {
    /// Version 1.
    pub const ONE: Self = Self(1 << 1);

    /// Whether `version` is one of them.
    #[must_use]
    pub fn contains(self, version: u64) -> bool {
        self.0 & Self::bit(version) != 0
    }

    fn bit(version: u64) -> u64 {
        u32::try_from(version).ok().and_then(|version| 1_u64.checked_shl(version)).unwrap_or(0)
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self::ONE
    }
}

impl FromIterator<u64> for Versions {
    fn from_iter<I: IntoIterator<Item = u64>>(versions: I) -> Self {
        Self(versions.into_iter().fold(0, |set, version| set | Self::bit(version)))
    }
}

impl Serialize for Versions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Counted first: a MessagePack array begins with its length.
        let versions: Vec<_> = (0..64).filter(|version| self.contains(*version)).collect();
        versions.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Set;
        impl<'de> Visitor<'de> for Set {
            type Value = Versions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("versions")
            }

            fn visit_unit<E: Error>(self) -> Result<Versions, E> {
                Ok(Versions::ONE)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Versions, A::Error> {
                let mut set = Versions(0);
                while let Some(version) = seq.next_element()? {
                    set.0 |= Versions::bit(version);
                }
                Ok(set)
            }
        }
        deserializer.deserialize_any(Set)
    }
}

/// HELLO of a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerHello<'a> {
    /// The version that both speak from now on: 1.
    pub version: u64,
    /// Program and version, for people.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'a str>,
    /// What the broker can do beyond version 1.
    #[serde(default, borrow, deserialize_with = "texts")]
    pub features: Vec<&'a str>,
    /// Interval of heartbeats in both directions, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<u64>,
    /// Heartbeats that may be missed in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<u32>,
    /// What the broker takes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "pack::map")]
    pub limits: Option<HelloLimits>,
}

/// What a broker takes from one peer; a limit that is absent is not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloLimits {
    /// One frame, octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
    /// All frames of one message, octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<u64>,
    /// Frames of one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// One header, octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<u64>,
    /// Open requests of one client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Open requests of one client, octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Texts, without room for as many as are announced.
pub(super) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<&'de str>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<&'de str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("texts")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = seq.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_any(List)
}
