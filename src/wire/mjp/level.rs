//! What an accepted request survives (SPEC 9.3).

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

/// What an accepted request survives.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// The loss of workers, not of the broker's process.
    #[default]
    Memory,
    /// The end of the broker's process at any moment, and the loss of power.
    Disk,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Disk];

    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }

    /// The level of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

/// A level, or nothing. A name that is none is an error: nobody is to believe that a request
/// survives what it does not.
pub(super) fn some_level<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Level>, D::Error> {
    let Some(name) = Option::<&str>::deserialize(deserializer)? else { return Ok(None) };
    match Level::from_name(name) {
        Some(level) => Ok(Some(level)),
        None => Err(de::Error::custom("a level is `memory` or `disk`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mjp::{Malformed, RequestHeader};

    #[test]
    fn a_level_that_is_not_known_is_refused_and_not_taken_for_another() {
        let read = |level: &[u8]| {
            let header = [b"\x82\xa7service\xa1x\xa5level", level].concat();
            RequestHeader::decode(&header).map(|says| says.level)
        };
        assert_eq!(read(b"\xa4disk"), Ok(Some(Level::Disk)));
        assert_eq!(read(b"\xa6memory"), Ok(Some(Level::Memory)));
        assert_eq!(read(b"\xc0"), Ok(None));
        for strange in [&b"\xa4Disk"[..], b"\xa5stone", b"\xa0", b"\x01", b"\xc3"] {
            assert_eq!(read(strange), Err(Malformed::BadValue { key: "level" }), "{strange:?}");
        }
    }
}
