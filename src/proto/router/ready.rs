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
}
