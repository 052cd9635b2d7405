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
        if let (Some(list), Some(word)) =
            (self.levels.get_mut(level), self.occupied.get_mut(level / 64))
        {
            list.push_back(workers, id);
            *word |= 1 << (level % 64);
        }
    }

    /// Takes out a worker that stands at `level`.
    pub(super) fn remove(
        &mut self,
        workers: &mut SlotMap<WorkerId, Worker>,
        id: WorkerId,
        level: usize,
    ) {
        if let (Some(list), Some(word)) =
            (self.levels.get_mut(level), self.occupied.get_mut(level / 64))
        {
            list.remove(workers, id);
            if list.is_empty() {
                *word &= !(1 << (level % 64));
            }
        }
    }

    /// The worker to be served next.
    pub(super) fn first(&self) -> Option<WorkerId> {
        let (index, word) = self.occupied.iter().enumerate().find(|(_, word)| **word != 0)?;
        self.levels.get(index * 64 + word.trailing_zeros() as usize)?.first()
    }

    /// Who stands at which level; the bits are checked.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn audit(
        &self,
        workers: &SlotMap<WorkerId, Worker>,
    ) -> Result<std::collections::BTreeMap<WorkerId, usize>, String> {
        let mut listed = std::collections::BTreeMap::new();
        for (level, list) in self.levels.iter().enumerate() {
            let bit = self.occupied.get(level / 64).is_some_and(|w| w >> (level % 64) & 1 == 1);
            if bit == list.is_empty() {
                return Err(format!("the bit of level {level} is {bit}"));
            }
            for worker in list.walk(workers, |worker| &worker.links)? {
                if listed.insert(worker, level).is_some() {
                    return Err(format!("{worker:?} is ready twice"));
                }
            }
        }
        Ok(listed)
    }
}
