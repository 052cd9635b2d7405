//! Dead letters: requests that ended without an answer, kept so that an operator can look at them
//! and put them back (SPEC 16.2).
//!
//! The table only keeps; what makes a letter, and what becomes of one that is put back, is decided
//! by the routing tables. It is bounded in letters and octets, each queue in letters and time; the
//! oldest makes room, and is counted. Every change goes through `DeadLetters::put`,
//! `DeadLetters::take` or `DeadLetters::edit`.

#[cfg(any(test, feature = "fuzzing"))]
mod audit;
mod cause;
mod letter;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

pub use cause::{Cause, Causes};
pub use letter::{Letter, LetterId, Past};
pub(crate) use letter::{OnDisk, Seen, SeenEnd};

use crate::id::ServiceName;
use crate::wire::message::Message;

use super::clock::Time;

/// How far the table may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLimits {
    /// Letters. Default 100,000.
    pub letters_max: usize,
    /// Octets of them, in memory or on the disk. Default 1 GiB; those in memory give way when that is
    /// short before.
    pub bytes_max: usize,
}

impl Default for DeadLimits {
    fn default() -> Self {
        Self { letters_max: 100_000, bytes_max: 1 << 30 }
    }
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadStats {
    /// Letters made, by their [`Cause`].
    pub made: [u64; Cause::ALL.len()],
    /// Letters put back into their queues.
    pub requeued: u64,
    /// Letters that an operator had dropped.
    pub dropped: u64,
    /// Letters forgotten before their time, to make room.
    pub evicted: u64,
    /// Letters forgotten as their time was over.
    pub expired: u64,
}

/// Which letters are meant: those that fit everything that is said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Of a service of this name, or whose name begins so if it ends with `*`.
    pub service: Option<&'a [u8]>,
    /// That died so.
    pub cause: Option<Cause>,
    /// That have been dead for so long or longer.
    pub older: Option<Duration>,
}

impl Filter<'_> {
    /// Whether the letter is meant.
    #[must_use]
    pub fn fits(&self, now: Time, letter: &Letter) -> bool {
        let name = letter.service.as_bytes();
        let named = self.service.is_none_or(|pattern| match pattern.split_last() {
            Some((b'*', prefix)) => name.starts_with(prefix),
            _ => name == pattern,
        });
        named
            && self.cause.is_none_or(|cause| cause == letter.cause)
            && self.older.is_none_or(|older| letter.died_at.ago(now) >= older)
    }
}

/// All dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    limits: DeadLimits,
    /// In the order of dying.
    letters: BTreeMap<u64, Letter>,
    by_id: BTreeMap<LetterId, u64>,
    /// The letters of each queue that has any.
    queues: BTreeMap<ServiceName, BTreeSet<u64>>,
    /// When they are to be forgotten.
    expiries: BTreeSet<(Time, u64)>,
    /// Letters so far: the order of dying.
    sequence: u64,
    /// Those that are in memory only.
    here: BTreeSet<u64>,
    /// What the letters count against the limits, and their memory; octets.
    bytes: usize,
    memory: usize,
    /// Memory of those that are in memory only, octets.
    bytes_here: usize,
    /// Memory of letters forgotten since the last look, octets.
    freed: usize,
    /// Numbers of the records of letters forgotten since the last look.
    gone: Vec<u64>,
    counts: [usize; Cause::ALL.len()],
    stats: DeadStats,
}

impl DeadLetters {
    pub(crate) fn new(limits: DeadLimits) -> Self {
        Self {
            limits,
            letters: BTreeMap::new(),
            by_id: BTreeMap::new(),
            queues: BTreeMap::new(),
            expiries: BTreeSet::new(),
            sequence: 0,
            here: BTreeSet::new(),
            bytes: 0,
            memory: 0,
            bytes_here: 0,
            freed: 0,
            gone: Vec::new(),
            counts: [0; Cause::ALL.len()],
            stats: DeadStats::default(),
        }
    }

    /// Letters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Memory of the letters, octets.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Memory of those that give way when it is short, octets.
    pub(crate) fn bytes_here(&self) -> usize {
        self.bytes_here
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> DeadStats {
        self.stats
    }

    /// Letters by cause.
    #[must_use]
    pub fn counts(&self) -> [usize; Cause::ALL.len()] {
        self.counts
    }

    /// Letters in the queue of that name.
    #[must_use]
    pub fn in_queue(&self, name: &[u8]) -> usize {
        self.queues.get(name).map_or(0, BTreeSet::len)
    }

    /// Whether a letter of so many octets may be kept at all.
    pub(crate) fn fits(&self, cost: usize) -> bool {
        cost <= self.limits.bytes_max && self.limits.letters_max > 0
    }

    /// Keeps a letter, which has died now, for so long; its queue holds `letters_max`. The oldest
    /// letters make room, of its queue and then of all. Its memory has been charged.
    pub(crate) fn put(&mut self, mut letter: Letter, max: usize, kept: Option<Duration>) {
        letter.expires = kept.map(|kept| letter.died_at.at.after(kept));
        if let Some(count) = self.stats.made.get_mut(letter.cause as usize) {
            *count += 1;
        }
        self.take_in(letter, max);
    }

    /// Keeps a letter of an earlier broker, or one that knows when it expires.
    pub(crate) fn take_in(&mut self, letter: Letter, letters_max: usize) {
        let cost = letter.cost();
        while self.in_queue(letter.queue.as_bytes()) >= letters_max.max(1) {
            let oldest = self.queues.get(letter.queue.as_bytes()).and_then(BTreeSet::first);
            let Some(oldest) = oldest.copied() else { break };
            self.forget(oldest);
            self.stats.evicted += 1;
        }
        while self.letters.len() >= self.limits.letters_max
            || self.bytes.saturating_add(cost) > self.limits.bytes_max
        {
            let Some(oldest) = self.letters.first_key_value().map(|(number, _)| *number) else {
                break;
            };
            self.forget(oldest);
            self.stats.evicted += 1;
        }
        self.keep(letter);
    }

    /// Keeps a letter again that was taken and could not be put back into its queue.
    pub(crate) fn restore(&mut self, letter: Letter) {
        self.keep(letter);
    }

    fn keep(&mut self, letter: Letter) {
        let number = self.sequence;
        self.sequence += 1;
        self.bytes += letter.cost();
        self.memory += letter.memory();
        if letter.disk.is_none() {
            self.here.insert(number);
            self.bytes_here += letter.memory();
        }
        if let Some(count) = self.counts.get_mut(letter.cause as usize) {
            *count += 1;
        }
        self.by_id.insert(letter.id, number);
        self.queues.entry(letter.queue.clone()).or_default().insert(number);
        if let Some(at) = letter.expires {
            self.expiries.insert((at, number));
        }
        self.letters.insert(number, letter);
    }

    /// Takes a letter out.
    pub(crate) fn take(&mut self, number: u64) -> Option<Letter> {
        let letter = self.letters.remove(&number)?;
        let memory = letter.memory();
        self.bytes -= letter.cost();
        self.memory -= memory;
        self.freed += memory;
        if self.here.remove(&number) {
            self.bytes_here -= memory;
        }
        if let Some(count) = self.counts.get_mut(letter.cause as usize) {
            *count -= 1;
        }
        self.by_id.remove(&letter.id);
        if let Some(queue) = self.queues.get_mut(letter.queue.as_bytes()) {
            queue.remove(&number);
            if queue.is_empty() {
                self.queues.remove(letter.queue.as_bytes());
            }
        }
        if let Some(at) = letter.expires {
            self.expiries.remove(&(at, number));
        }
        Some(letter)
    }

    /// Gives a letter another service, or other frames, whose first one is its header if it has
    /// one. The memory of more of them has been charged; false if there is no such letter.
    pub(crate) fn edit(
        &mut self,
        number: u64,
        service: Option<ServiceName>,
        frames: Option<(Message, bool)>,
    ) -> bool {
        self.change(number, |letter| {
            if let Some(service) = service {
                letter.service = service;
            }
            if let Some((frames, has_header)) = frames {
                (letter.body, letter.has_header) = (frames, has_header);
            }
        })
    }

    /// Another record of a letter is on the disk; returns how much more memory it takes.
    pub(crate) fn rewrite(&mut self, number: u64, service: ServiceName, disk: OnDisk) -> usize {
        let before = self.memory;
        self.change(number, |letter| (letter.service, letter.disk) = (service, Some(disk)));
        self.memory.saturating_sub(before)
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Letter)) -> bool {
        let Some(letter) = self.letters.get_mut(&number) else { return false };
        let (cost, before) = (letter.cost(), letter.memory());
        change(letter);
        let after = letter.memory();
        self.bytes = self.bytes + letter.cost() - cost;
        self.memory = self.memory + after - before;
        if letter.disk.is_none() {
            self.bytes_here = self.bytes_here + after - before;
        }
        self.freed += before.saturating_sub(after);
        true
    }

    /// A letter that could be put back, or that an operator does not want any more.
    pub(crate) fn count(&mut self, requeued: bool) {
        let count = if requeued { &mut self.stats.requeued } else { &mut self.stats.dropped };
        *count += 1;
    }

    /// A letter was not kept as there was no room for it.
    pub(crate) fn count_lost(&mut self) {
        self.stats.evicted += 1;
    }

    /// Forgets a letter, and its record is to be removed.
    pub(crate) fn forget(&mut self, number: u64) -> bool {
        let letter = self.take(number);
        self.gone.extend(letter.iter().filter_map(|letter| letter.disk).map(|disk| disk.number));
        letter.is_some()
    }

    /// Forgets the oldest letter that is in memory only; false if there is none.
    pub(crate) fn evict(&mut self) -> bool {
        let Some(oldest) = self.here.first().copied() else { return false };
        self.stats.evicted += 1;
        self.forget(oldest)
    }

    /// Forgets the letters whose time is over.
    pub(crate) fn forget_old(&mut self, now: Time) {
        while let Some(&(at, number)) = self.expiries.first()
            && at <= now
        {
            self.forget(number);
            self.stats.expired += 1;
        }
    }

    /// When the next letter is to be forgotten.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// The letter of that id, and its number.
    #[must_use]
    pub fn named(&self, id: LetterId) -> Option<(u64, &Letter)> {
        let number = *self.by_id.get(&id)?;
        Some((number, self.letters.get(&number)?))
    }

    /// The letter of that number, and no other one.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Letter> {
        self.letters.get(&number)
    }

    /// The letters from the number `from` on, in the order of dying.
    pub fn from(&self, from: u64) -> impl Iterator<Item = (u64, &Letter)> {
        let range = (Bound::Included(from), Bound::Unbounded);
        self.letters.range(range).map(|(number, letter)| (*number, letter))
    }

    /// What a letter of the limits may still take, octets.
    pub(crate) fn fits_more(&self, more: usize) -> bool {
        self.bytes.saturating_add(more) <= self.limits.bytes_max
    }

    /// Numbers of the records of what was forgotten since the last call.
    pub(crate) fn take_gone(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.gone)
    }

    /// Memory of what was forgotten since the last call, octets.
    pub(crate) fn take_freed(&mut self) -> usize {
        std::mem::take(&mut self.freed)
    }
}
