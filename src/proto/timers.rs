//! Deadlines in order: arming costs O(log n), however many there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::clock::Time;

/// The deadlines of many owners.
///
/// There is no disarming. An owner notes the one deadline it believes in and ignores what fires
/// for another, so that a message need not touch the timers: it writes down when it came, and the
/// timer, when it fires, is armed again for what is left.
#[derive(Debug)]
pub struct Timers<K> {
    heap: BinaryHeap<Reverse<(Time, K)>>,
}

impl<K: Ord + Copy> Timers<K> {
    /// No deadlines.
    #[must_use]
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new() }
    }

    /// Adds a deadline for `owner`.
    pub fn arm(&mut self, at: Time, owner: K) {
        self.heap.push(Reverse((at, owner)));
    }

    /// Takes the first deadline that is due at `now`.
    pub fn pop_due(&mut self, now: Time) -> Option<(Time, K)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }

    /// The next deadline.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Deadlines that have not fired, those that nobody believes in any more included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Forgets the deadlines that nobody believes in any more, and all but one of those that were
    /// armed again, in one pass over all: an owner is left with what it believes in.
    pub fn sweep(&mut self, believed: impl Fn(Time, K) -> bool) {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|Reverse((at, owner))| believed(*at, *owner));
        entries.sort_unstable();
        entries.dedup();
        self.heap = entries.into();
    }

    /// The deadlines that have not fired, in no particular order.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn entries(&self) -> impl Iterator<Item = (Time, K)> {
        self.heap.iter().map(|Reverse(entry)| *entry)
    }

    /// Of the deadlines that owners believe in one that is not still to come, if there is any.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn missing(&self, believed: Vec<(Time, K)>) -> Option<(Time, K)> {
        let mut believed: Vec<_> = believed.into_iter().map(|entry| (entry, false)).collect();
        believed.sort_unstable();
        if !believed.is_empty() {
            for entry in self.entries() {
                let at = believed.partition_point(|(other, _)| *other < entry);
                for (_, found) in believed.iter_mut().skip(at).take_while(|(it, _)| *it == entry) {
                    *found = true;
                }
            }
        }
        believed.into_iter().find(|(_, found)| !found).map(|(entry, _)| entry)
    }

    /// Whether that deadline of `owner` is still to come.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn is_armed(&self, at: Time, owner: K) -> bool {
        self.heap.iter().any(|Reverse(entry)| *entry == (at, owner))
    }
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_come_due_in_order() {
        let at = |seconds| Time::default().after(Duration::from_secs(seconds));
        let mut timers = Timers::new();
        for (seconds, owner) in [(3, 'c'), (1, 'a'), (2, 'b')] {
            timers.arm(at(seconds), owner);
        }
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.pop_due(at(2)), Some((at(1), 'a')));
        assert_eq!(timers.pop_due(at(2)), Some((at(2), 'b')));
        assert_eq!(timers.pop_due(at(2)), None);
    }

    #[test]
    fn what_is_swept_is_what_nobody_believes_in_and_what_is_there_twice() {
        let at = |seconds| Time::default().after(Duration::from_secs(seconds));
        let mut timers = Timers::new();
        for (seconds, owner) in [(3, 'a'), (1, 'b'), (3, 'a'), (2, 'a'), (3, 'c'), (3, 'a')] {
            timers.arm(at(seconds), owner);
        }
        timers.sweep(|it, owner| owner != 'a' || it == at(3));
        assert_eq!(timers.len(), 3);
        let due = std::iter::from_fn(|| timers.pop_due(at(3)));
        assert_eq!(due.collect::<Vec<_>>(), [(at(1), 'b'), (at(3), 'a'), (at(3), 'c')]);
    }
}
