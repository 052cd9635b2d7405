//! ADMIN `store.backup`: the broker copies its store while it works (SPEC 15.7).

use serde::{Deserialize, Serialize};

use super::malformed::Malformed;
use super::{Verb, pack};

/// ADMIN of an operator: where the copy is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHeader<'a> {
    /// What is to be done: see [`Verb::StoreBackup`].
    pub verb: &'a str,
    /// A directory of the broker's machine, from the root, in which there is no store.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub to: Option<&'a str>,
}

impl<'a> BackupHeader<'a> {
    /// Where to.
    #[must_use]
    pub fn new(to: &'a str) -> Self {
        Self { verb: Verb::StoreBackup.as_str(), to: Some(to) }
    }

    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// The header is no map with text keys, lacks the verb, or has a known key with a wrong value.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

/// The answer: the copy is there, and was read again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// Records in it.
    pub records: u64,
    /// Octets of their values.
    pub bytes: u64,
    /// Octets of the file.
    pub file: u64,
}

impl BackupReport {
    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// It is no such map.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mjp::Packed;

    #[test]
    fn question_and_answer_come_back() {
        let says = BackupHeader::new("/srv/today");
        assert_eq!(BackupHeader::decode(Packed::new(&says).octets()), Ok(says));
        let told = BackupReport { records: 3, bytes: 500, file: 1 << 40 };
        assert_eq!(BackupReport::decode(Packed::new(&told).octets()), Ok(told));
        assert_eq!(BackupHeader::decode(b"\x81\xa4verb\xa1x").unwrap().to, None);
        assert!(BackupHeader::decode(b"\x80").is_err());
    }
}
