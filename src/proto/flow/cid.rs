//! Names of waiting clients that nobody can guess.

use std::num::NonZeroU32;

/// Makes client ids: numbers of 32 bits, as the handlers of ZIO keep them, that follow from a
/// secret and look random to who does not know it, however many he has seen.
#[derive(Clone)]
pub(super) struct Cids {
    secret: [u8; 32],
    made: u64,
}

impl Cids {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self { secret, made: 0 }
    }

    /// The next one that is not taken.
    pub(super) fn next(&mut self, is_taken: impl Fn(NonZeroU32) -> bool) -> NonZeroU32 {
        loop {
            self.made += 1;
            let digest = blake3::keyed_hash(&self.secret, &self.made.to_le_bytes());
            let number = digest.as_bytes().first_chunk().map_or(0, |it| u32::from_le_bytes(*it));
            if let Some(cid) = NonZeroU32::new(number).filter(|cid| !is_taken(*cid)) {
                return cid;
            }
        }
    }
}

impl std::fmt::Debug for Cids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cids").field("made", &self.made).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_the_secret_and_none_is_given_twice() {
        let (mut one, mut two, mut other) =
            (Cids::new([1; 32]), Cids::new([1; 32]), Cids::new([2; 32]));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let cid = one.next(|cid| seen.contains(&cid));
            assert_eq!(two.next(|cid| seen.contains(&cid)), cid);
            assert_ne!(other.next(|_| false), cid);
            assert!(seen.insert(cid));
        }
        assert!(!format!("{one:?}").contains("secret"));
    }

    #[test]
    fn an_id_that_is_taken_is_passed_over() {
        let first = Cids::new([1; 32]).next(|_| false);
        assert_ne!(Cids::new([1; 32]).next(|cid| cid == first), first);
    }
}
