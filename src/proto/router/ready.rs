//! Workers with credit left, the one with the fewest requests in flight first.

use slotmap::SlotMap;

use super::list::List;
use super::worker::{Worker, WorkerId};

/// Workers by the number of requests they have in flight; among equals the one that has waited
/// longest. Finding, adding and removing one does not depend on how many there are.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Workers with 0, 1, 2, ... in flight.
    levels: Vec<List<WorkerId>>,
    /// A bit for each level that has somebody.
    occupied: Vec<u64>,
    /// The first word of `occupied` that has a bit, if any has.
    first_word: usize,
}

impl Ready {
    /// Adds a worker that is not there.
    pub(super) fn insert(
        &mut self,
        workers: &mut SlotMap<WorkerId, Worker>,
        id: WorkerId,
        level: usize,
    ) {
        if level >= self.levels.len() {
            self.levels.resize_with(level + 1, List::default);
            self.occupied.resize(level / 64 + 1, 0);
        }
        if let Some(list) = self.levels.get_mut(level) {
            list.push_back(workers, id);
            self.set(level, true);
        }
    }

    /// Moves a worker from one level to another. One that is alone at the first and will be at the
    /// second is moved with its list.
    pub(super) fn shift(
        &mut self,
        workers: &mut SlotMap<WorkerId, Worker>,
        id: WorkerId,
        from: usize,
        to: usize,
    ) {
        if let Ok([list, free]) = self.levels.get_disjoint_mut([from, to])
            && list.is_only(id)
            && free.is_empty()
        {
            std::mem::swap(list, free);
            if from / 64 != to / 64 {
                self.set(from, false);
                self.set(to, true);
            } else if let Some(word) = self.occupied.get_mut(from / 64) {
                *word ^= 1 << (from % 64) | 1 << (to % 64);
            }
        } else {
            self.remove(workers, id, from);
            self.insert(workers, id, to);
        }
    }

    /// Notes whether a level has somebody.
    fn set(&mut self, level: usize, occupied: bool) {
        let (index, bit) = (level / 64, 1 << (level % 64));
        if occupied && (index < self.first_word || self.first().is_none()) {
            self.first_word = index;
        }
        let Some(word) = self.occupied.get_mut(index) else { return };
        if occupied {
            *word |= bit;
            return;
        }
        *word &= !bit;
        if *word == 0 && index == self.first_word {
            let later = self.occupied.iter().skip(index).position(|word| *word != 0);
            self.first_word = later.map_or(0, |later| index + later);
        }
    }

    /// Takes out a worker that stands at `level`.
    pub(super) fn remove(
        &mut self,
        workers: &mut SlotMap<WorkerId, Worker>,
        id: WorkerId,
        level: usize,
    ) {
        if let Some(list) = self.levels.get_mut(level) {
            list.remove(workers, id);
            if list.is_empty() {
                self.set(level, false);
            }
        }
    }

    /// The worker to be served next.
    #[inline]
    pub(super) fn first(&self) -> Option<WorkerId> {
        let word = self.occupied.get(self.first_word).filter(|word| **word != 0)?;
        self.levels.get(self.first_word * 64 + word.trailing_zeros() as usize)?.first()
    }

    /// Who stands at which level; the bits are checked.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn audit(
        &self,
        workers: &SlotMap<WorkerId, Worker>,
    ) -> Result<Vec<(WorkerId, usize)>, String> {
        let mut listed = Vec::new();
        let first = self.occupied.iter().position(|word| *word != 0);
        if first.is_some_and(|first| first != self.first_word) {
            return Err(format!("the first word is {first:?}, not {}", self.first_word));
        }
        for (level, list) in self.levels.iter().enumerate() {
            let bit = self.occupied.get(level / 64).is_some_and(|w| w >> (level % 64) & 1 == 1);
            if bit == list.is_empty() {
                return Err(format!("the bit of level {level} is {bit}"));
            }
            let there = list.walk(workers, |worker| &worker.links)?;
            listed.extend(there.into_iter().map(|worker| (worker, level)));
        }
        Ok(listed)
    }
}
