//! Who waits for what: callers that are connected, by the names that they gave their requests.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use crate::id::{PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::router::Hasher;

use super::record::{Hold, Name};

/// A caller that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) peer: PeerId,
    /// What it calls the request.
    pub(crate) id: u64,
    /// It wants to be told that the request is kept, and was not yet.
    pub(crate) ack: bool,
    /// It wants the answer, too.
    pub(crate) stays: bool,
    /// It was not the first to ask.
    pub(crate) repeat: bool,
    /// It waits no longer.
    pub(crate) deadline: Option<Time>,
}

/// What has to be known of the record of a request: its key, how many octets it has, and what may
/// keep it from a worker.
pub(super) type OfRecord = (Option<Name>, u64, Option<Hold>);

/// A request that somebody waits for: what has to be known of it if it is only on the disk.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) service: ServiceName,
    /// What stands in its record. `None`: that is to be read.
    pub(super) record: Option<OfRecord>,
    pub(super) waiters: Vec<Waiter>,
}

/// All who wait.
#[derive(Debug)]
pub(super) struct Waiters {
    requests: HashMap<u64, Awaited, Hasher>,
    callers: BTreeMap<PeerId, BTreeMap<u64, u64>>,
    due: BTreeSet<(Time, PeerId, u64)>,
    count: usize,
}

impl Waiters {
    /// Memory that one takes, octets, about.
    pub(super) const COST: usize = 2 * size_of::<(u64, Awaited)>()
        + 2 * size_of::<Waiter>()
        + 4 * size_of::<(PeerId, u64, u64)>();

    pub(super) fn new(hasher: Hasher) -> Self {
        let requests = HashMap::with_hasher(hasher);
        Self { requests, callers: BTreeMap::new(), due: BTreeSet::new(), count: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// What the caller calls so.
    pub(super) fn named(&self, peer: PeerId, id: u64) -> Option<u64> {
        self.callers.get(&peer)?.get(&id).copied()
    }

    /// For how many requests a caller waits.
    pub(super) fn count_of(&self, peer: PeerId) -> usize {
        self.callers.get(&peer).map_or(0, BTreeMap::len)
    }

    pub(super) fn of(&self, number: u64) -> &[Waiter] {
        self.requests.get(&number).map_or(&[], |awaited| &awaited.waiters)
    }

    pub(super) fn awaited(&self, number: u64) -> Option<&Awaited> {
        self.requests.get(&number)
    }

    /// One more waits for a request; `about` says what is to be known of that.
    pub(super) fn add(&mut self, number: u64, waiter: Waiter, about: impl FnOnce() -> Awaited) {
        self.callers.entry(waiter.peer).or_default().insert(waiter.id, number);
        if let Some(deadline) = waiter.deadline {
            self.due.insert((deadline, waiter.peer, waiter.id));
        }
        self.requests.entry(number).or_insert_with(about).waiters.push(waiter);
        self.count += 1;
    }

    /// Takes those who wanted to be told that a request is kept; who wants nothing more, goes.
    pub(super) fn take_unacknowledged(&mut self, number: u64) -> Vec<Waiter> {
        let Some(awaited) = self.requests.get_mut(&number) else { return Vec::new() };
        let told: Vec<_> = awaited.waiters.iter().filter(|waiter| waiter.ack).copied().collect();
        for waiter in &mut awaited.waiters {
            waiter.ack = false;
        }
        let leaving: Vec<_> =
            awaited.waiters.iter().filter(|waiter| !waiter.stays).copied().collect();
        for waiter in leaving {
            self.remove(waiter.peer, waiter.id);
        }
        told
    }

    /// A caller waits for something no more; returns what it was, and who waited.
    pub(super) fn remove(&mut self, peer: PeerId, id: u64) -> Option<(u64, Waiter)> {
        let names = self.callers.get_mut(&peer)?;
        let number = names.remove(&id)?;
        if names.is_empty() {
            self.callers.remove(&peer);
        }
        let awaited = self.requests.get_mut(&number)?;
        let at = awaited.waiters.iter().position(|it| it.peer == peer && it.id == id)?;
        let waiter = awaited.waiters.remove(at);
        if awaited.waiters.is_empty() {
            self.requests.remove(&number);
        }
        if let Some(deadline) = waiter.deadline {
            self.due.remove(&(deadline, peer, id));
        }
        self.count -= 1;
        Some((number, waiter))
    }

    /// Takes all who wait for a request.
    pub(super) fn take(&mut self, number: u64) -> Vec<Waiter> {
        let waiters = self.of(number).to_vec();
        for waiter in &waiters {
            self.remove(waiter.peer, waiter.id);
        }
        waiters
    }

    /// A caller has gone.
    pub(super) fn leave(&mut self, peer: PeerId) {
        let names: Vec<u64> =
            self.callers.get(&peer).into_iter().flatten().map(|it| *it.0).collect();
        for id in names {
            self.remove(peer, id);
        }
    }

    /// Takes one whose time is up.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(u64, Waiter)> {
        let &(at, peer, id) = self.due.first()?;
        if at > now {
            return None;
        }
        self.remove(peer, id)
    }

    /// The request that the one waits for whose time is up first.
    pub(super) fn first_due(&self) -> Option<u64> {
        let (_, peer, id) = self.due.first()?;
        self.named(*peer, *id)
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(at, ..)| *at)
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.callers.keys().copied()
    }
}
