//! Two keys in a box that carries its nonce: a cookie, and a vouch.

use super::{NONCE_LEN, TAG_LEN};

/// Octets of two keys.
pub const PAIR_LEN: usize = 64;
/// Octets of their box, with its nonce.
pub const PAIR_BOX_LEN: usize = NONCE_LEN + TAG_LEN + PAIR_LEN;

/// A cookie, in which a server keeps C' and the secret half of S', or a vouch, in which a client's
/// long-term key puts its name to C' and S.
///
/// ```text
/// 0       16    32
/// +-------+-----+--------------+
/// | nonce | tag | 64, boxed    |
/// +-------+-----+--------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairBox<'a> {
    /// The end of the nonce.
    pub nonce: &'a [u8; NONCE_LEN],
    /// The tag of the box.
    pub tag: &'a [u8; TAG_LEN],
    /// Its inside: two keys.
    pub boxed: &'a [u8; PAIR_LEN],
}

impl<'a> PairBox<'a> {
    /// The parts of a box; `None` cannot happen.
    #[must_use]
    pub fn read(octets: &'a [u8; PAIR_BOX_LEN]) -> Option<Self> {
        let (nonce, rest) = octets.split_first_chunk()?;
        let (tag, rest) = rest.split_first_chunk()?;
        Some(Self { nonce, tag, boxed: rest.try_into().ok()? })
    }

    /// The octets of these parts.
    #[must_use]
    pub fn octets(&self) -> [u8; PAIR_BOX_LEN] {
        let mut octets = [0; PAIR_BOX_LEN];
        let parts = self.nonce.iter().chain(self.tag).chain(self.boxed);
        for (to, from) in octets.iter_mut().zip(parts) {
            *to = *from;
        }
        octets
    }
}

/// Two keys, one behind the other.
#[must_use]
pub fn pair(first: &[u8; 32], second: &[u8; 32]) -> [u8; PAIR_LEN] {
    let mut both = [0; PAIR_LEN];
    for (to, from) in both.iter_mut().zip(first.iter().chain(second)) {
        *to = *from;
    }
    both
}

/// The two keys.
#[must_use]
pub fn pair_halves(both: &[u8; PAIR_LEN]) -> [&[u8; 32]; 2] {
    // 64 octets are two chunks of 32.
    match both.as_chunks().0 {
        [first, second] => [first, second],
        _ => [&[0; 32]; 2],
    }
}
