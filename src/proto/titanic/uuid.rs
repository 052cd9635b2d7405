//! The names that requests are given: 16 octets that nobody can guess.

use std::fmt;

/// A UUID, as the Guide's broker makes them: random, not of a version of RFC 9562.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid([u8; Self::LEN]);

impl Uuid {
    const LEN: usize = 16;

    pub(super) fn from_octets(octets: [u8; Self::LEN]) -> Self {
        Self(octets)
    }

    pub(super) fn octets(self) -> [u8; Self::LEN] {
        self.0
    }

    /// Reads 32 hexadecimal digits of either case.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let mut octets = [0; Self::LEN];
        if text.len() != 2 * octets.len() {
            return None;
        }
        for (octet, pair) in octets.iter_mut().zip(text.chunks_exact(2)) {
            let &[high, low] = pair else { return None };
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *octet = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
        }
        Some(Self(octets))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

/// Makes UUIDs of a secret: each once, and none says anything about another.
#[derive(Debug)]
pub(super) struct Mint {
    secret: [u8; 32],
    made: u64,
}

impl Mint {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self { secret, made: 0 }
    }

    pub(super) fn next(&mut self) -> Uuid {
        self.made += 1;
        let digest = blake3::keyed_hash(&self.secret, &self.made.to_be_bytes());
        let mut octets = [0; Uuid::LEN];
        for (to, from) in octets.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Uuid(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_as_it_is_written() {
        let mut mint = Mint::new([7; 32]);
        let (one, two) = (mint.next(), mint.next());
        assert_ne!(one, two);
        assert_eq!(one.to_string().len(), 32);
        assert_eq!(Uuid::read(one.to_string().as_bytes()), Some(one));
        assert_eq!(Uuid::read(one.to_string().to_lowercase().as_bytes()), Some(one));
        for bad in [&b""[..], &[b'0'; 31], &[b'0'; 33], &[b'g'; 32], &[b'+'; 32]] {
            assert_eq!(Uuid::read(bad), None);
        }
        assert_ne!(Mint::new([8; 32]).next(), one);
    }
}
