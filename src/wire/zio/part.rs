//! Parts in one frame: each behind its size (RFC 50).
//!
//! ```text
//! 0 to 254 octets   size (1)               octets
//! 255 and more      ff, size (4, u32 BE)   octets
//! ```

use super::malformed::Malformed;

/// A size in the long form follows.
const LONG: u8 = 0xff;

/// Takes part number `part` from the front of `rest`, which is not empty. The long form is taken
/// for any size.
#[inline]
pub(super) fn take<'a>(rest: &mut &'a [u8], part: usize) -> Result<&'a [u8], Malformed> {
    let cut = |missing| Malformed::PartCut { part, missing };
    let (first, after) = rest.split_first().ok_or_else(|| cut(1))?;
    let (size, after) = if *first == LONG {
        let (size, after) = after.split_first_chunk().ok_or_else(|| cut(4 - after.len().min(4)))?;
        (usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX), after)
    } else {
        (usize::from(*first), after)
    };
    let (octets, after) =
        after.split_at_checked(size).ok_or_else(|| cut(size.saturating_sub(after.len())))?;
    *rest = after;
    Ok(octets)
}

/// Octets that a part of `len` takes with its size.
pub(super) fn encoded_len(len: usize) -> usize {
    if len < usize::from(LONG) { 1 + len } else { 5 + len }
}

/// Appends a part. No part is as long as 4 GiB: no frame is.
pub(super) fn put(octets: &[u8], out: &mut Vec<u8>) {
    put_len(octets.len(), out);
    out.extend_from_slice(octets);
}

/// Appends the size of a part.
pub(super) fn put_len(len: usize, out: &mut Vec<u8>) {
    match u8::try_from(len) {
        Ok(size) if size < LONG => out.push(size),
        _ => {
            out.push(LONG);
            out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}
