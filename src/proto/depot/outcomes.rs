//! Outcomes that are kept for who asks again.

use std::collections::{BTreeMap, BTreeSet};

use super::record::Name;

#[derive(Debug)]
struct Outcome {
    ended: u64,
    name: Name,
    bytes: u64,
}

/// What is known of them; what was said is on the disk.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    by_number: BTreeMap<u64, Outcome>,
    /// The oldest first.
    by_age: BTreeSet<(u64, u64)>,
    bytes: u64,
}

impl Outcomes {
    /// Memory that one takes, octets, about.
    pub(super) const COST: usize = 2 * size_of::<(u64, Outcome)>() + 2 * size_of::<(u64, u64)>();

    pub(super) fn insert(&mut self, number: u64, ended: u64, name: Name, bytes: u64) {
        self.by_number.insert(number, Outcome { ended, name, bytes });
        self.by_age.insert((ended, number));
        self.bytes += bytes;
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.by_number.contains_key(&number)
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the oldest came about, ms since 1970.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.by_age.first().map(|(ended, _)| *ended)
    }

    /// Takes the oldest one.
    pub(super) fn pop(&mut self) -> Option<(u64, Name)> {
        let (_, number) = self.by_age.pop_first()?;
        let outcome = self.by_number.remove(&number)?;
        self.bytes = self.bytes.saturating_sub(outcome.bytes);
        Some((number, outcome.name))
    }

    /// Forgets one of which nothing can be read.
    pub(super) fn remove(&mut self, number: u64) -> Option<Name> {
        let outcome = self.by_number.remove(&number)?;
        self.by_age.remove(&(outcome.ended, number));
        self.bytes = self.bytes.saturating_sub(outcome.bytes);
        Some(outcome.name)
    }
}
