//! How far epochs may have been given, as it is kept on a disk, so that none comes back in the next
//! run of the broker (SPEC 9.14).

use bytes::Bytes;

use super::Leases;
use crate::proto::durable::{Key, Write};
use crate::proto::titanic::RecordError;

/// The kind of the record.
pub const EPOCHS: u8 = b'e';
/// The version of the record, its first octet.
const VERSION: u8 = 1;

/// Epochs that are reserved with one write.
pub const BLOCK: u64 = 1024;
/// Epochs that are reserved ahead: a holder waits for no disk.
pub const AHEAD: u64 = 64 * BLOCK;

/// Notes that every epoch up to `mark` may have been given.
#[must_use]
pub fn note(mark: u64) -> Write {
    let mut value = vec![VERSION];
    value.extend_from_slice(&mark.to_be_bytes());
    Write::Put(Key::new(EPOCHS, &[0; 16]), Bytes::from(value))
}

/// Reads what was noted.
///
/// # Errors
/// The record is none of ours.
pub fn read(value: &[u8]) -> Result<u64, RecordError> {
    match value.split_first() {
        Some((&VERSION, mark)) => {
            mark.try_into().map(u64::from_be_bytes).map_err(|_| RecordError::Malformed)
        }
        Some((version, _)) => Err(RecordError::Version(*version)),
        None => Err(RecordError::Malformed),
    }
}

impl Leases {
    /// Epochs up to `mark` have been reserved on a disk, and from now on there is always more to be
    /// reserved: see [`Self::take_mark`].
    pub fn keep_marks(&mut self, mark: u64) {
        self.reserved = Some(mark);
    }

    /// Up to where epochs are to be reserved now, if they are, and other numbers with them of which
    /// `newest` is the newest.
    pub fn take_mark(&mut self, newest: u64) -> Option<u64> {
        let last = self.last.max(newest);
        let left = self.reserved?.saturating_sub(last);
        if left > AHEAD - BLOCK {
            return None;
        }
        let mark = last.saturating_add(AHEAD);
        self.reserved = Some(mark);
        Some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::lease::LeaseLimits;

    #[test]
    fn a_mark_is_written_once_a_block_and_long_before_it_is_reached() {
        let mut leases = Leases::new(LeaseLimits::default());
        leases.begin_above(5000);
        assert_eq!(leases.take_mark(0), None, "nothing is kept");
        leases.keep_marks(5000 + AHEAD);
        let (mut reserved, mut writes) = (5000 + AHEAD, 0);
        for epoch in 5001..=5000 + 10 * BLOCK {
            leases.begin_above(epoch);
            if let Some(mark) = leases.take_mark(0) {
                assert!(mark > reserved, "it never goes back");
                (reserved, writes) = (mark, writes + 1);
            }
            assert!(reserved >= epoch + AHEAD - BLOCK, "{reserved} is near {epoch}");
        }
        assert_eq!(writes, 10);
    }

    #[test]
    fn a_mark_is_read_as_it_was_noted_and_nothing_else_is() {
        let Write::Put(key, value) = note(1 << 50) else { panic!("it is kept") };
        assert_eq!(key.octets(), [&b"e"[..], &[0; 16]].concat());
        assert_eq!(read(&value), Ok(1 << 50));
        assert_eq!(read(&[]), Err(RecordError::Malformed));
        assert_eq!(read(&value[..8]), Err(RecordError::Malformed));
        assert_eq!(read(&[2, 0]), Err(RecordError::Version(2)));
    }
}
