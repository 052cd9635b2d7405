//! What is due, and what waits: both forget lazily, and clean up before they grow by that.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The end of a call.
    Call(u64),
    /// The end of a call's rest.
    Rest(u64),
    /// A lane is to be dialed.
    Lane(usize),
}

/// Entries of what has ended are let be until there are so many, and as many again as of the rest.
const STALE_MAX: usize = 64;

/// Deadlines in order.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, Due)>>,
}

impl Deadlines {
    /// Adds one. There are `live` calls, and `holds` tells whether an entry is still wanted.
    pub(super) fn arm(
        &mut self,
        at: Instant,
        due: Due,
        live: usize,
        holds: impl Fn(Instant, Due) -> bool,
    ) {
        if self.heap.len() > STALE_MAX + 4 * live {
            self.heap.retain(|Reverse((at, due))| holds(*at, *due));
        }
        self.heap.push(Reverse((at, due)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Due)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}

/// Calls that wait for a place, first come first served.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ids: VecDeque<u64>,
}

impl Queue {
    pub(super) fn push_last(&mut self, id: u64, live: usize, holds: impl Fn(u64) -> bool) {
        if self.ids.len() > STALE_MAX + 2 * live {
            self.ids.retain(|id| holds(*id));
        }
        self.ids.push_back(id);
    }

    pub(super) fn push_first(&mut self, id: u64) {
        self.ids.push_front(id);
    }

    pub(super) fn pop(&mut self) -> Option<u64> {
        self.ids.pop_front()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}
