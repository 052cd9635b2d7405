//! Which request, or outcome, is known by which idempotency key.

use hashbrown::HashMap;

use crate::proto::router::Hasher;

use super::record::Name;

/// The beginnings of two digests: of whose key it is, and of what was asked. A million of them are
/// held in memory, so they are no longer than it takes.
type Short = ([u8; 16], [u8; 8]);

fn short(name: &Name) -> Short {
    let scope = name.scope.octets().first_chunk().copied().unwrap_or_default();
    (scope, name.digest.octets().first_chunk().copied().unwrap_or_default())
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    New,
    /// The same was asked, by that number.
    Same(u64),
    /// Something else was asked.
    Other,
}

/// All keys.
#[derive(Debug)]
pub(super) struct Names {
    numbers: HashMap<[u8; 16], (u64, [u8; 8]), Hasher>,
}

impl Names {
    /// Memory that one takes, octets, in a table that is half full.
    pub(super) const COST: usize = 2 * size_of::<([u8; 16], (u64, [u8; 8]), u8)>();

    pub(super) fn new(hasher: Hasher) -> Self {
        Self { numbers: HashMap::with_hasher(hasher) }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(super) fn look(&self, name: &Name) -> Standing {
        let (scope, digest) = short(name);
        match self.numbers.get(&scope) {
            None => Standing::New,
            Some((number, known)) if *known == digest => Standing::Same(*number),
            Some(_) => Standing::Other,
        }
    }

    pub(super) fn insert(&mut self, name: &Name, number: u64) {
        let (scope, digest) = short(name);
        self.numbers.insert(scope, (number, digest));
    }

    /// Forgets a key, unless it stands for another number by now.
    pub(super) fn remove(&mut self, name: &Name, number: u64) {
        let (scope, _) = short(name);
        if self.numbers.get(&scope).is_some_and(|(known, _)| *known == number) {
            self.numbers.remove(&scope);
        }
    }
}
