//! Requests of level disk that have an order or a delay: they are asked when it is their turn
//! (SPEC 15.6, 16.1).

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::id::ServiceName;
use crate::proto::clock::Time;
use crate::proto::dead::LetterId;

use super::apart::{Apart, One, OrderDigest};
use super::deed::Errand;
use super::entry::{Entry, Stage};
use super::record::{Head, Hold, apart_key};
use super::{Depot, Effect};

/// A request that is on the disk and waits for its turn.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: LetterId,
    pub(crate) number: u64,
    /// `delayed`, `behind`, or `waiting`: its turn has come.
    pub(crate) state: &'static str,
    /// Until its time comes.
    pub(crate) wait: Duration,
    /// If it is known: somebody waits for the request.
    pub(crate) order: Option<Arc<[u8]>>,
    /// The first of its order, if it is another one.
    pub(crate) first: Option<LetterId>,
}

/// Requests that are read one by one at a time.
const FETCHED_MAX: usize = 256;

impl Depot {
    /// Requests of a service that are looked at for one answer, at most.
    const LOOKED_AT: usize = 4096;
    /// Requests whose time comes that are seen to at once.
    const DUE_MAX: usize = 1024;

    /// Gives the next request a number that is above that of each request of level memory before
    /// it, of which the next one would have `sequence`; returns what that is to be.
    pub(crate) fn align(&mut self, sequence: u64) -> u64 {
        self.sequence = self.sequence.max(sequence.saturating_sub(1));
        self.sequence + 2
    }

    /// The number of the last request, or letter.
    pub(crate) fn last(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn digest_of(&self, order: &[u8]) -> OrderDigest {
        self.hasher.hash_one(order).max(1)
    }

    fn one(&self, number: u64, hold: &Hold) -> One {
        let order = hold.order.as_ref().map(|order| self.digest_of(order));
        One { number, order, due: hold.not_before }
    }

    /// Puts the time until which a request is delayed on the clock of this broker. If that is behind
    /// the moment at which the request was accepted, no time has passed since then.
    pub(super) fn adjust(&self, head: &mut Head) {
        let ahead = head.accepted.saturating_sub(self.wall.unix);
        if let Some(hold) = head.hold.as_mut().filter(|hold| hold.not_before > 0) {
            hold.not_before = hold.not_before.saturating_sub(ahead);
        }
    }

    /// Does something with what a service has apart, and notes when the next of it is due.
    fn with_apart<T>(&mut self, service: &ServiceName, change: impl FnOnce(&mut Apart) -> T) -> T {
        let apart = &mut self.line_of(service).apart;
        let before = apart.next_due();
        let result = change(apart);
        let after = apart.next_due();
        if before != after {
            if let Some(due) = before {
                self.dues.remove(&(due, service.clone()));
            }
            if let Some(due) = after {
                self.dues.insert((due, service.clone()));
            }
        }
        result
    }

    /// There is one more that stands apart.
    pub(super) fn set_apart(
        &mut self,
        (unix, service): (u64, &ServiceName),
        number: u64,
        hold: &Hold,
    ) {
        self.apart += 1;
        let one = self.one(number, hold);
        self.with_apart(service, |apart| apart.add(one, unix));
    }

    /// It is on the disk, and nowhere else.
    pub(super) fn lay_apart(&mut self, service: &ServiceName, number: u64, hold: &Hold) {
        let one = self.one(number, hold);
        self.line_of(service).apart.lay_down(&one);
    }

    /// Whether a request in memory may go to a worker, and none that may was there first.
    pub(super) fn goes(&self, entry: &Entry, number: u64) -> bool {
        let Some(line) = self.lines.get(&entry.head.service) else { return true };
        match &entry.head.hold {
            None => line.behind == 0 && !line.loading,
            Some(hold) => {
                let is_first = !line.apart.has_ready() && !line.apart.is_reading();
                is_first && line.apart.is_free(&self.one(number, hold))
            }
        }
    }

    /// A request that was apart is not kept any more.
    pub(super) fn leave_apart(
        &mut self,
        (service, number): (&ServiceName, u64),
        hold: &Hold,
        effects: &mut Vec<Effect>,
    ) {
        self.apart = self.apart.saturating_sub(1);
        let one = self.one(number, hold);
        self.with_apart(service, |apart| apart.remove(&one));
        if let Some(order) = &hold.order {
            self.look_at_order(service, self.digest_of(order));
            effects.push(Effect::MovedUp(service.clone(), Some(order.clone())));
        }
    }

    /// The first of an order is ready, if it is on the disk only and its time has come.
    fn look_at_order(&mut self, service: &ServiceName, order: OrderDigest) {
        let Some(line) = self.lines.get_mut(service) else { return };
        if let Some(first) = line.apart.first_of(order)
            && !self.entries.contains_key(&first.number)
            && !self.ending.contains(&first.number)
            && !line.apart.is_being_read(first.number)
        {
            line.apart.lay_down(&first);
        }
    }

    /// Nothing of level memory may be before the first of an order any more.
    pub(crate) fn reconsider(&mut self, service: &ServiceName, order: &[u8]) {
        self.look_at_order(service, self.digest_of(order));
    }

    /// The first of an order that has not ended.
    pub(crate) fn first_of_order(&self, service: &[u8], order: &[u8]) -> Option<u64> {
        let apart = &self.lines.get(service).filter(|_| self.apart > 0)?.apart;
        apart.first_of(self.digest_of(order)).map(|first| first.number)
    }

    /// The order of a request that could be asked, if it has one.
    pub(crate) fn order_of(&self, number: u64) -> Option<Arc<[u8]>> {
        self.entries.get(&number)?.head.hold.as_ref()?.order.clone()
    }

    /// The services of which the time of a request has come. If it has come for very many, the
    /// others of them are due at once.
    pub(crate) fn come_due(&mut self, now: Time) -> Vec<ServiceName> {
        let (unix, mut services, mut left) = (self.unix(now), Vec::new(), Self::DUE_MAX);
        while let Some((due, service)) = self.dues.first().cloned()
            && due <= unix
            && left > 0
        {
            while left > 0
                && let Some(one) = self.with_apart(&service, |apart| apart.pop_due(unix))
            {
                left -= 1;
                let number = one.number;
                if !self.entries.contains_key(&number) && !self.ending.contains(&number) {
                    self.line_of(&service).apart.lay_down(&one);
                }
            }
            services.push(service);
        }
        services
    }

    /// When the time of a request comes.
    pub(super) fn next_hold(&self) -> Option<Time> {
        self.dues.first().map(|(due, _)| self.time_of(*due))
    }

    /// Reads some of those of a service whose turn it is; `room` is left for them.
    pub(super) fn fetch(&mut self, service: &ServiceName, room: usize) {
        let line = self.line_of(service);
        let lane = line.lane;
        for number in line.apart.take_ready(room.min(FETCHED_MAX)) {
            self.fetching += 1;
            self.ledger.load(apart_key(&lane, number), Errand::Fetch(service.clone(), number));
        }
    }

    /// One of them was read, or cannot be.
    pub(super) fn fetched(
        &mut self,
        now: Time,
        (service, number): (ServiceName, u64),
        value: Option<&Bytes>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.fetching = self.fetching.saturating_sub(1);
        // It has been given up meanwhile, or is here.
        let is_elsewhere = self.entries.contains_key(&number) || self.ending.contains(&number);
        let read = value.and_then(|value| Some((Head::read(value).ok()?, value.len() as u64)));
        match read {
            _ if is_elsewhere => {}
            Some(((mut head, kept), bytes)) => {
                self.line_of(&service).apart.lift(number);
                self.adjust(&mut head);
                if self.left(now, &head) == 0 {
                    self.end_late(now, number, head, kept, bytes);
                } else {
                    self.held += kept.bytes();
                    self.entries.insert(number, Entry::new(head, Stage::Read, kept, bytes));
                    effects.push(Effect::Offer(number));
                }
            }
            None => self.miss_apart(&service, number, &mut effects),
        }
        if self.lines.get(&service).is_some_and(|line| !line.apart.is_reading()) {
            effects.push(Effect::Wake(service));
        }
        effects
    }

    /// One of them is not where it should be.
    fn miss_apart(&mut self, service: &ServiceName, number: u64, effects: &mut Vec<Effect>) {
        self.stats.missing += 1;
        self.requests = self.requests.saturating_sub(1);
        self.apart = self.apart.saturating_sub(1);
        if let Some(order) = self.with_apart(service, |apart| apart.miss(number)) {
            self.look_at_order(service, order);
            effects.push(Effect::MovedUp(service.clone(), None));
        }
    }

    /// What is on the disk and waits for its turn, of a service; some of it.
    pub(crate) fn held_of(&self, now: Time, service: &[u8], max: usize) -> Vec<Held> {
        let Some(line) = self.lines.get(service) else { return Vec::new() };
        let some = line.apart.held(Self::LOOKED_AT).take(max);
        some.map(|one| self.held(now, &line.apart, &one)).collect()
    }

    /// The one that is called so, if it is found.
    pub(crate) fn held_as(&self, now: Time, id: LetterId) -> Option<(ServiceName, Held)> {
        let number = id.kept().filter(|number| !self.entries.contains_key(number))?;
        if let Some(awaited) = self.waiters.awaited(number) {
            let (_, _, hold) = awaited.record.as_ref()?;
            let one = self.one(number, hold.as_ref()?);
            let (name, line) = self.lines.get_key_value(&awaited.service)?;
            return Some((name.clone(), self.held(now, &line.apart, &one)));
        }
        self.lines.iter().find_map(|(name, line)| {
            let one = line.apart.held(Self::LOOKED_AT).find(|one| one.number == number)?;
            Some((name.clone(), self.held(now, &line.apart, &one)))
        })
    }

    fn held(&self, now: Time, apart: &Apart, one: &One) -> Held {
        let awaited = self.waiters.awaited(one.number);
        let record = awaited.and_then(|awaited| awaited.record.as_ref());
        let order = record.and_then(|(_, _, hold)| hold.as_ref()?.order.clone());
        let first = one.order.and_then(|order| apart.first_of(order));
        Held {
            id: LetterId::of_kept(one.number),
            number: one.number,
            state: apart.state_of(one),
            wait: Duration::from_millis(one.due.saturating_sub(self.unix(now))),
            order,
            first: first.filter(|it| it.number != one.number).map(|it| self.id_of(it.number)),
        }
    }

    /// How many of a service are delayed, and how many are not the first of their order, wherever
    /// they are. `None`: nothing is kept for it.
    pub(crate) fn counts_of(&self, service: &[u8]) -> Option<(usize, usize)> {
        self.lines.get(service).map(|line| line.apart.counts())
    }

    /// Whether the table agrees with itself about those that stand apart.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn audit(
        &self,
        is_behind: impl Fn(&ServiceName, OrderDigest, u64) -> bool,
    ) -> Result<(), String> {
        let mut dues = std::collections::BTreeSet::new();
        for (service, line) in &self.lines {
            let is_elsewhere =
                |number| self.entries.contains_key(&number) || self.ending.contains(&number);
            line.apart.audit(is_elsewhere, |order, number| is_behind(service, order, number))?;
            dues.extend(line.apart.next_due().map(|due| (due, service.clone())));
        }
        if dues == self.dues {
            Ok(())
        } else {
            Err(format!("{dues:?} are due, {:?} told", self.dues))
        }
    }
}
