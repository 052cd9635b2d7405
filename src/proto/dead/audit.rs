//! The invariants of the table.

use std::collections::BTreeSet;

use crate::proto::router::audit::demand;

use super::{DeadLetters, Letter};

impl DeadLetters {
    /// # Errors
    /// The first invariant that does not hold, in words.
    pub(crate) fn audit(&self) -> Result<(), String> {
        let (count, max) = (self.letters.len(), self.limits.letters_max);
        demand!(count <= max, "{count} letters are kept, {max} may");
        let bytes: usize = self.letters.values().map(Letter::cost).sum();
        demand!(bytes == self.bytes, "{} octets are counted, {bytes} are kept", self.bytes);
        let max = self.limits.bytes_max;
        demand!(bytes <= max, "{bytes} octets of letters are kept, {max} may");
        let memory: usize = self.letters.values().map(Letter::memory).sum();
        demand!(memory == self.memory, "{} octets are charged, {memory} taken", self.memory);
        let here = self.letters.iter().filter(|(_, letter)| letter.disk.is_none());
        let (mut numbers, mut memory) = (BTreeSet::new(), 0);
        for (number, letter) in here {
            numbers.insert(*number);
            memory += letter.memory();
        }
        demand!(numbers == self.here, "others are in memory only than it is said");
        demand!(memory == self.bytes_here, "{} octets may give way, not {memory}", self.bytes_here);
        let ids = self.by_id.len();
        demand!(ids == count, "{count} letters have {ids} ids: one is dead twice");
        let mut queued = BTreeSet::new();
        for (name, numbers) in &self.queues {
            demand!(!numbers.is_empty(), "the queue {name} is empty and not forgotten");
            for number in numbers {
                let letter = self.letters.get(number);
                let fits = letter.is_some_and(|letter| letter.queue == *name);
                demand!(fits && queued.insert(*number), "{number} is not a letter of {name}");
            }
        }
        demand!(queued.len() == count, "{count} letters, {} are in queues", queued.len());
        for (number, letter) in &self.letters {
            let id = letter.id;
            demand!(self.by_id.get(&id) == Some(number), "{id} is another letter");
            let armed = letter.expires.is_none_or(|at| self.expiries.contains(&(at, *number)));
            demand!(armed, "the end of {id} is not among the deadlines");
        }
        let told = self.counts.iter().sum::<usize>();
        demand!(told == count, "{told} letters are counted by cause, {count} are kept");
        let timed = self.letters.values().filter(|letter| letter.expires.is_some()).count();
        demand!(self.expiries.len() == timed, "{} deadlines for {timed}", self.expiries.len());
        demand!(self.freed == 0, "{} octets are not given back", self.freed);
        demand!(self.gone.is_empty(), "{} records are not removed", self.gone.len());
        Ok(())
    }

    /// Memory charged for the table, octets.
    pub(crate) fn charged(&self) -> usize {
        self.memory
    }
}
