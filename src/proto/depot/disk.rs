//! What the disk has done for requests of level disk, or has not.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::ServiceName;
use crate::proto::clock::Time;
use crate::proto::durable::{Found, Write};
use crate::proto::stats::Outcome;

use super::deed::{Deed, Ending, Errand};
use super::entry::{About, End, Entry, Stage};
use super::record::{
    Head, Lane, OutcomeHead, apart_key, key_of, lane_of, letter_key, number_in, outcome_key,
};
use super::waiters::Waiter;
use super::{Depot, Effect, Refused, Told, millis};

impl Depot {
    /// All batches up to that number are stored.
    pub(crate) fn stored(&mut self, up_to: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(deed) = self.ledger.pop_stored(up_to) {
            match deed {
                Deed::Accept(number) => self.have_accepted(number, &mut effects),
                Deed::Mark(number) => {
                    let stage = self.entries.get(&number).map(|entry| entry.stage);
                    if stage == Some(Stage::Marking) {
                        effects.push(Effect::Offer(number));
                    }
                }
                Deed::End(ending) => self.have_ended(*ending, &mut effects),
                Deed::Overflow(letter) => effects.push(Effect::Bury(letter)),
                Deed::Revive(number, change) => {
                    self.have_accepted(number, &mut effects);
                    effects.push(Effect::Changed(change, true));
                }
                Deed::Rewrite(change) | Deed::Unbury(Some(change)) => {
                    effects.push(Effect::Changed(change, true));
                }
                Deed::Requeue | Deed::Evict | Deed::Clean | Deed::Unbury(None) => {}
            }
        }
        effects
    }

    fn have_accepted(&mut self, number: u64, effects: &mut Vec<Effect>) {
        self.stats.accepted += 1;
        let told = self.waiters.take_unacknowledged(number);
        effects.extend(told.into_iter().map(Effect::Accepted));
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if entry.stage != Stage::Storing {
            return;
        }
        entry.stage = Stage::Read;
        if self.entries.get(&number).is_some_and(|entry| self.goes(entry, number)) {
            effects.push(Effect::Offer(number));
        } else {
            // Others were there first, or it has to wait.
            self.put_back(number);
        }
    }

    fn have_ended(&mut self, ending: Ending, effects: &mut Vec<Effect>) {
        let Ending { about, outcome, said, epoch, ended, kept, letter } = ending;
        let About { number, service, name, bytes, hold } = about;
        self.stats.ended += 1;
        self.forget(number, bytes);
        if let Some(hold) = &hold {
            self.leave_apart((&service, number), hold, effects);
        }
        match (name, kept) {
            (Some(name), Some(kept)) => {
                self.outcomes.insert(number, ended, name, kept);
                self.evict();
            }
            (Some(name), None) => self.names.remove(&name, number),
            (None, _) => {}
        }
        effects.extend(letter.map(Effect::Bury));
        let told = Arc::new(said.map_or(Told::Outcome(outcome, epoch), Told::Said));
        let waiters = self.waiters.take(number);
        effects.extend(waiters.into_iter().map(|waiter| Effect::Tell(waiter, told.clone())));
        effects.push(Effect::Wake(service));
    }

    /// A request is not kept any more.
    fn forget(&mut self, number: u64, bytes: u64) {
        self.ending.remove(&number);
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Forgets outcomes until there are no more than there may be; the last one stays.
    fn evict(&mut self) {
        let limits = self.limits;
        while self.outcomes.len() > 1
            && (self.outcomes.len() > limits.outcomes_max
                || self.outcomes.bytes() > limits.outcomes_bytes_max)
        {
            self.stats.evicted += 1;
            self.forget_outcome();
        }
    }

    fn forget_outcome(&mut self) {
        if let Some((number, name)) = self.outcomes.pop() {
            self.names.remove(&name, number);
            self.ledger.store(Deed::Evict, vec![Write::Remove(outcome_key(number))]);
        }
    }

    /// Forgets some outcomes of which the time is over.
    pub(crate) fn forget_old(&mut self, now: Time) {
        /// So many at a time.
        const SOME: usize = 1024;
        let now = self.unix(now);
        let kept = millis(self.limits.outcomes_kept);
        for _ in 0..SOME {
            let old = self.outcomes.oldest().is_some_and(|at| at.saturating_add(kept) <= now);
            if !old || self.failed || self.full {
                break;
            }
            self.forget_outcome();
        }
    }

    /// There is no room for what is new; of the batches that were not stored, those up to the
    /// number are dropped, if there is one.
    pub(crate) fn disk_is_full(&mut self, dropped: Option<u64>) -> Vec<Effect> {
        self.full = true;
        let mut effects = Vec::new();
        while let Some((deed, writes)) = dropped.and_then(|up_to| self.ledger.pop(up_to)) {
            let number = match deed {
                Deed::Accept(number) => number,
                // It was refused, and that is all that was promised.
                Deed::Overflow(letter) => {
                    self.stats.unburied += 1;
                    let gone = letter.disk.map(|disk| Write::Remove(letter_key(disk.number)));
                    self.ledger.put_aside(Deed::Clean, gone.into_iter().collect());
                    continue;
                }
                deed => {
                    self.ledger.put_aside(deed, writes);
                    continue;
                }
            };
            self.stats.refused += 1;
            let waiters = self.waiters.take(number);
            let refused = |waiter| Effect::Refuse(waiter, Refused::Full);
            effects.extend(waiters.into_iter().map(refused));
            // One that was given up meanwhile is removed by that.
            if let Some(entry) = self.entries.remove(&number) {
                self.held = self.held.saturating_sub(entry.kept.map_or(0, |kept| kept.bytes()));
                self.forget(number, entry.bytes);
                let Head { service, name, hold, .. } = &entry.head;
                if let Some(name) = name {
                    self.names.remove(name, number);
                }
                if let Some(hold) = hold {
                    self.leave_apart((service, number), hold, &mut effects);
                    effects.push(Effect::Wake(service.clone()));
                }
                // It may have been stored nevertheless.
                let key = key_of(&lane_of(service), number, hold.as_ref());
                self.ledger.put_aside(Deed::Clean, vec![Write::Remove(key)]);
            }
        }
        effects
    }

    /// There is room again.
    pub(crate) fn disk_has_room(&mut self) {
        if std::mem::take(&mut self.full) {
            self.ledger.try_again();
        }
    }

    /// Nothing is stored any more. Of what was not told to be kept nobody knows whether it is; what
    /// was ending has no outcome that could be told.
    pub(crate) fn disk_failed(&mut self) -> Vec<Effect> {
        self.failed = true;
        let mut effects = Vec::new();
        while let Some((deed, _)) = self.ledger.pop(u64::MAX) {
            match deed {
                Deed::Accept(number) => {
                    let waiters = self.waiters.take(number);
                    let refused = |waiter| Effect::Refuse(waiter, Refused::Failed);
                    effects.extend(waiters.into_iter().map(refused));
                }
                Deed::Revive(_, change) | Deed::Rewrite(change) | Deed::Unbury(Some(change)) => {
                    effects.push(Effect::Changed(change, false));
                }
                _ => {}
            }
        }
        for errand in self.ledger.take_loads().into_values() {
            match errand {
                Errand::Outcome(_, waiter) => effects.push(Effect::Refuse(waiter, Refused::Failed)),
                Errand::Letter(change) => effects.push(Effect::Read(change, None)),
                Errand::Cancel(..)
                | Errand::Late(_)
                | Errand::Line(_)
                | Errand::Fetch(..)
                | Errand::Sweep(_) => {}
            }
        }
        effects
    }

    /// An outcome was read from the disk, or could not be.
    pub(crate) fn loaded(&mut self, now: Time, ticket: u64, value: Option<&Bytes>) -> Vec<Effect> {
        let mut effects = Vec::new();
        match self.ledger.take_load(ticket) {
            Some(Errand::Outcome(number, waiter)) => {
                effects.push(self.outcome_read(number, waiter, value));
            }
            Some(Errand::Cancel(number, lane, apart)) => {
                self.cancel_read(now, number, (lane, apart), value);
            }
            Some(Errand::Late(about)) => self.late_read(now, about, value),
            Some(Errand::Letter(change)) => effects.push(Effect::Read(change, value.cloned())),
            Some(Errand::Fetch(service, number)) => {
                effects = self.fetched(now, (service, number), value);
            }
            Some(Errand::Line(_) | Errand::Sweep(_)) | None => {}
        }
        effects
    }

    fn outcome_read(&mut self, number: u64, waiter: Waiter, value: Option<&Bytes>) -> Effect {
        match value.map(OutcomeHead::said) {
            Some(Ok(said)) => Effect::Tell(waiter, Arc::new(Told::Said(said))),
            // It was forgotten meanwhile, or is damaged: in either case there is none.
            Some(Err(_)) | None => {
                if let Some(name) = self.outcomes.remove(number) {
                    self.stats.missing += 1;
                    self.names.remove(&name, number);
                }
                Effect::Refuse(waiter, Refused::Overloaded)
            }
        }
    }

    /// A request on the disk is not wanted any more. If it is in memory by now, it goes on.
    fn cancel_read(
        &mut self,
        now: Time,
        number: u64,
        (lane, apart): (Lane, bool),
        value: Option<&Bytes>,
    ) {
        if self.entries.contains_key(&number) || self.ending.contains(&number) {
            return;
        }
        let Some(value) = value else {
            // It is not among the others.
            if !apart && !self.failed {
                let errand = Errand::Cancel(number, lane, true);
                self.ledger.load(apart_key(&lane, number), errand);
            }
            return;
        };
        let Ok((mut head, _)) = Head::decode(value) else { return };
        self.adjust(&mut head);
        self.lift(&head.service, number, head.hold.as_ref());
        let about = About::of(number, head, value.len() as u64);
        let unix = self.unix(now);
        self.store_end(about, End::by(Outcome::Cancelled), unix);
    }

    /// A request on the disk whose time is over becomes a dead letter. If it is in memory by now,
    /// it ends there.
    fn late_read(&mut self, now: Time, about: About, value: Option<&Bytes>) {
        let (number, unix) = (about.number, self.unix(now));
        if self.entries.contains_key(&number) || self.ending.contains(&number) {
            return;
        }
        self.lift(&about.service, number, about.hold.as_ref());
        let read = value.and_then(|value| Head::read(value).ok());
        let letter = read.and_then(|(head, kept)| self.letter_of_late(unix, number, &head, kept));
        self.store_end(about, End { letter, ..End::by(Outcome::TimedOut) }, unix);
    }

    /// Requests of a service were read from the disk.
    pub(crate) fn ranged(&mut self, now: Time, ticket: u64, found: &Found) -> Vec<Effect> {
        let service = match self.ledger.take_load(ticket) {
            Some(Errand::Line(service)) => service,
            Some(Errand::Sweep(service)) => return self.swept(now, &service, found),
            _ => return Vec::new(),
        };
        let mut effects = Vec::new();
        if let Some(line) = self.lines.get_mut(&service) {
            line.loading = false;
        }
        for (key, value) in &found.records {
            let Ok(number) = number_in(key) else { continue };
            self.read_one(now, number, value, &mut effects);
        }
        if let (true, Some((key, _))) = (found.more, found.records.last())
            && let Ok(last) = number_in(key)
        {
            self.go_on_behind(&service, last);
        }
        let missing = self.lines.get_mut(&service).map_or(0, super::Line::take_missing);
        self.stats.missing += missing as u64;
        self.requests = self.requests.saturating_sub(missing);
        effects.push(Effect::Wake(service));
        effects
    }

    fn go_on_behind(&mut self, service: &ServiceName, last: u64) {
        if let Some(line) = self.lines.get_mut(service) {
            line.go_on_from(last + 1);
        }
    }

    fn read_one(&mut self, now: Time, number: u64, value: &Bytes, effects: &mut Vec<Effect>) {
        if self.entries.contains_key(&number) || self.ending.contains(&number) {
            return;
        }
        let Ok((head, kept)) = Head::read(value) else { return };
        let bytes = value.len() as u64;
        self.lift(&head.service, number, None);
        if self.left(now, &head) == 0 {
            return self.end_late(now, number, head, kept, bytes);
        }
        self.held += kept.bytes();
        self.entries.insert(number, Entry::new(head, Stage::Read, kept, bytes));
        effects.push(Effect::Offer(number));
    }
}
