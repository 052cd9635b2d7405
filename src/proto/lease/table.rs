//! The table of leases: who holds, who waits, who looks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use slotmap::SlotMap;

use super::turns::{Freed, News};
use super::{LeaseLimits, Terms};
use crate::id::{PeerId, Principal};
use crate::proto::clock::Time;
use crate::proto::timers::Timers;

slotmap::new_key_type! {
    /// A lease that is held, waited for or observed.
    pub(super) struct LeaseId;
}

/// Somebody who wants to hold a lease.
#[derive(Debug, Clone, Copy)]
pub struct Candidacy<'a> {
    /// Whose connection it is.
    pub peer: PeerId,
    /// What the peer calls it.
    pub id: u64,
    /// On whose behalf it speaks.
    pub principal: &'a Principal,
    /// Which lease.
    pub lease: &'a str,
    /// What the candidate calls itself.
    pub name: &'a str,
    /// What it says to observers as the holder.
    pub value: &'a [u8],
    /// How it wants to hold.
    pub terms: Terms,
    /// How long it waits in line. `None`: as long as it takes; zero: not at all.
    pub wait: Option<Duration>,
}

/// What became of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It holds, by this epoch.
    Holds(u64),
    /// So many are before it.
    Waits(usize),
}

/// Why there is no campaign, or no observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The peer has a campaign or an observation of that id.
    DuplicateId,
    /// The limit of this name is reached.
    TooMany(&'static str),
    /// Another one holds it, by this epoch; none: it is nobody's for a while.
    Held(Option<u64>),
    /// No candidate of that name waits.
    NoCandidate,
}

/// Why an epoch is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// Another epoch holds, this one; or nobody does.
    Epoch(Option<u64>),
    /// The epoch is that of the holder, which is another principal.
    Stranger,
}

/// One lease in a listing.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its name.
    pub lease: &'a str,
    /// Epoch and name of the holder, how long it has held, and until when.
    pub holder: Option<(u64, &'a str, Time, Time)>,
    /// Candidates in line.
    pub waiting: usize,
    /// Observers.
    pub observers: usize,
}

/// What has been counted since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Holders there have been.
    pub granted: u64,
    /// How their time ended, in the order of [`Freed::ALL`].
    pub freed: [u64; Freed::ALL.len()],
    /// What was refused for its epoch.
    pub stale: u64,
    /// What was refused because it had none.
    pub unfenced: u64,
}

/// All leases of a broker.
#[derive(Debug)]
pub struct Leases {
    pub(super) limits: LeaseLimits,
    pub(super) leases: SlotMap<LeaseId, Lease>,
    pub(super) by_name: BTreeMap<Arc<str>, LeaseId>,
    pub(super) owners: BTreeMap<PeerId, BTreeMap<u64, Seat>>,
    /// The epoch of the newest holder of any lease.
    pub(super) last: u64,
    /// Up to where epochs are reserved on a disk, if they are.
    pub(super) reserved: Option<u64>,
    pub(super) waiting: usize,
    pub(super) holding: usize,
    pub(super) observing: usize,
    /// When something happens to a lease by itself.
    pub(super) timers: Timers<LeaseId>,
    /// When candidates have waited long enough.
    pub(super) patience: Timers<(LeaseId, u64)>,
    pub(super) sequence: u64,
    pub(super) news: VecDeque<News>,
    /// Observers that are to be told.
    pub(super) untold: BTreeSet<(PeerId, u64)>,
    /// Observers that there was no room for, and when they are told.
    pub(super) late: BTreeSet<(PeerId, u64)>,
    pub(super) again: Option<Time>,
    pub(super) counts: Counts,
    /// Leases of leaders of groups.
    pub(super) wards: BTreeMap<Arc<str>, super::ward::Ward>,
    pub(super) charged: usize,
    pub(super) freed: usize,
}

/// What an id of a peer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    Waits(LeaseId, u64),
    Holds(LeaseId),
    Observes(LeaseId),
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) name: Arc<str>,
    pub(super) holder: Option<Holder>,
    /// In the order of coming.
    pub(super) line: BTreeMap<u64, Candidate>,
    pub(super) observers: BTreeMap<(PeerId, u64), usize>,
    /// The epoch of the last holder; 0: there was none.
    pub(super) last: u64,
    /// It is nobody's until then, and what the last holder took is kept for it.
    pub(super) quiet: Option<(Time, usize)>,
    pub(super) armed: Option<Time>,
}

#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) peer: PeerId,
    pub(super) id: u64,
    pub(super) principal: Principal,
    pub(super) name: Box<str>,
    pub(super) value: Box<[u8]>,
    pub(super) terms: Terms,
    pub(super) until: Option<Time>,
    pub(super) cost: usize,
}

#[derive(Debug)]
pub(super) struct Holder {
    pub(super) who: Candidate,
    pub(super) epoch: u64,
    pub(super) since: Time,
    pub(super) expires: Time,
    /// Its connection has ended, and it may come back until then.
    pub(super) gone: Option<Time>,
}

impl Holder {
    pub(super) fn until(&self) -> Time {
        self.gone.map_or(self.expires, |gone| gone.min(self.expires))
    }
}

impl Leases {
    /// No leases.
    #[must_use]
    pub fn new(limits: LeaseLimits) -> Self {
        Self {
            limits,
            leases: SlotMap::with_key(),
            by_name: BTreeMap::new(),
            owners: BTreeMap::new(),
            last: 0,
            reserved: None,
            waiting: 0,
            holding: 0,
            observing: 0,
            timers: Timers::new(),
            patience: Timers::new(),
            sequence: 0,
            news: VecDeque::new(),
            untold: BTreeSet::new(),
            late: BTreeSet::new(),
            again: None,
            counts: Counts::default(),
            wards: BTreeMap::new(),
            charged: 0,
            freed: 0,
        }
    }

    /// Every epoch to come is above `last`. It never goes back.
    pub fn begin_above(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// What leases may take.
    #[must_use]
    pub fn limits(&self) -> &LeaseLimits {
        &self.limits
    }

    /// Leases that are held, candidates in line, and observations.
    #[must_use]
    pub fn population(&self) -> (usize, usize, usize) {
        (self.holding, self.waiting, self.observing)
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Memory of one campaign or observation, octets.
    #[must_use]
    pub fn cost_of(lease: &str, name: &str, value: usize) -> usize {
        /// Of entries in trees whose nodes are half full, in the line, the index and the timers,
        /// and of a lease that is there for nobody else.
        const ENTRIES: usize =
            2 * size_of::<(Lease, Candidate, Arc<str>, LeaseId, PeerId, u64, Seat, [u64; 8])>();
        ENTRIES + lease.len() + name.len() + value
    }

    /// Whether the peer may begin one more campaign or observation, by that id.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, peer: PeerId, id: u64, lease: &str) -> Result<(), Refused> {
        let own = self.owners.get(&peer);
        if own.is_some_and(|own| own.contains_key(&id)) {
            return Err(Refused::DuplicateId);
        }
        if own.is_some_and(|own| own.len() >= self.limits.per_peer_max) {
            return Err(Refused::TooMany("lease.per_peer"));
        }
        if !self.by_name.contains_key(lease) && self.leases.len() >= self.limits.leases_max {
            return Err(Refused::TooMany("lease.leases"));
        }
        Ok(())
    }

    /// Whether a campaign would be taken, now or in line.
    ///
    /// # Errors
    /// It would not.
    pub fn check_campaign(&self, now: Time, one: &Candidacy<'_>) -> Result<(), Refused> {
        self.check(one.peer, one.id, one.lease)?;
        let Some(lease) = self.named(one.lease) else { return Ok(()) };
        if lease.is_open(now) {
            return Ok(());
        }
        if one.wait == Some(Duration::ZERO) {
            return Err(Refused::Held(lease.holder.as_ref().map(|holder| holder.epoch)));
        }
        if lease.line.len() >= self.limits.waiters_max {
            return Err(Refused::TooMany("lease.waiters"));
        }
        Ok(())
    }

    /// A campaign begins; [`Self::check_campaign`] has allowed it, and [`Self::cost_of`] it was
    /// charged.
    pub fn campaign(&mut self, now: Time, one: &Candidacy<'_>) -> Place {
        let id = self.lease_for(one.lease);
        let cost = Self::cost_of(one.lease, one.name, one.value.len());
        self.charged += cost;
        let candidate = Candidate {
            peer: one.peer,
            id: one.id,
            principal: *one.principal,
            name: one.name.into(),
            value: one.value.into(),
            terms: one.terms,
            until: one.wait.map(|wait| now.after(wait)),
            cost,
        };
        if self.leases.get(id).is_some_and(|lease| lease.is_open(now)) {
            return Place::Holds(self.grant(now, id, candidate));
        }
        let (number, until) = (self.sequence, candidate.until);
        self.sequence += 1;
        self.waiting += 1;
        self.owners.entry(one.peer).or_default().insert(one.id, Seat::Waits(id, number));
        let Some(lease) = self.leases.get_mut(id) else { return Place::Waits(0) };
        let place = lease.line.len();
        lease.line.insert(number, candidate);
        if let Some(until) = until {
            self.arm_patience(until, (id, number));
        }
        Place::Waits(place)
    }

    /// Whether that epoch holds the lease for that principal at this moment.
    ///
    /// # Errors
    /// It does not.
    pub fn holds(
        &self,
        now: Time,
        lease: &str,
        epoch: u64,
        principal: &Principal,
    ) -> Result<(), Stale> {
        if lease.starts_with(super::ward::WARD) {
            return self.ward_holds(now, lease, epoch, principal);
        }
        let holder = self.holder(now, lease);
        match holder {
            Some(holder) if holder.epoch == epoch && holder.who.principal == *principal => Ok(()),
            Some(holder) if holder.epoch == epoch => Err(Stale::Stranger),
            holder => Err(Stale::Epoch(holder.map(|holder| holder.epoch))),
        }
    }

    /// The epoch of whom the table has as the holder.
    #[must_use]
    pub fn current(&self, lease: &str) -> Option<u64> {
        let ward = self.wards.get(lease).map(|ward| ward.epoch);
        ward.or_else(|| Some(self.named(lease)?.holder.as_ref()?.epoch))
    }

    /// Counts what was refused for its epoch, or because it had none.
    pub fn count_refused(&mut self, stale: bool) {
        *(if stale { &mut self.counts.stale } else { &mut self.counts.unfenced }) += 1;
    }

    /// The holder lives. Gives its time to live. With a grace it may do so on another connection,
    /// which is the holder's from then on, by this id.
    ///
    /// # Errors
    /// It does not hold, or the id is taken.
    pub fn renew(
        &mut self,
        now: Time,
        (peer, id): (PeerId, u64),
        principal: &Principal,
        (name, epoch): (&str, u64),
    ) -> Result<Result<Duration, Refused>, Stale> {
        self.holds(now, name, epoch, principal)?;
        let Some(lease_id) = self.by_name.get(name).copied() else {
            return Err(Stale::Epoch(None));
        };
        let Some(holder) = self.leases.get(lease_id).and_then(|lease| lease.holder.as_ref()) else {
            return Err(Stale::Epoch(None));
        };
        let (before, grace) = ((holder.who.peer, holder.who.id), holder.who.terms.grace);
        let moves = !grace.is_zero() && (holder.gone.is_some() || before.0 != peer);
        if moves {
            if let Err(refused) = self.check(peer, id, name) {
                return Ok(Err(refused));
            }
            self.leave_seat(before);
            self.owners.entry(peer).or_default().insert(id, Seat::Holds(lease_id));
        }
        let Some(holder) = self.leases.get_mut(lease_id).and_then(|it| it.holder.as_mut()) else {
            return Err(Stale::Epoch(None));
        };
        holder.expires = now.after(holder.who.terms.ttl);
        if moves {
            (holder.who.peer, holder.who.id, holder.gone) = (peer, id, None);
        }
        let ttl = holder.who.terms.ttl;
        self.rearm(lease_id);
        Ok(Ok(ttl))
    }

    /// The holder says something to all who observe; as many octets were charged.
    ///
    /// # Errors
    /// It does not hold, and what was charged is free.
    pub fn proclaim(
        &mut self,
        now: Time,
        principal: &Principal,
        (name, epoch): (&str, u64),
        value: &[u8],
    ) -> Result<(), Stale> {
        self.charged += value.len();
        if let Err(stale) = self.holds(now, name, epoch, principal) {
            self.give_back(value.len());
            return Err(stale);
        }
        let id = self.by_name.get(name).copied();
        let lease = id.and_then(|id| self.leases.get_mut(id));
        if let Some(holder) = lease.and_then(|lease| lease.holder.as_mut()) {
            let before = std::mem::replace(&mut holder.who.value, value.into()).len();
            holder.who.cost = holder.who.cost + value.len() - before;
            self.give_back(before);
        }
        if let Some(id) = id {
            self.spread(id);
        }
        Ok(())
    }

    /// The leases that the peer holds, waits for or observes: what it calls that, whether it only
    /// observes, and which.
    pub fn seats_of(&self, peer: PeerId) -> impl Iterator<Item = (u64, bool, &str)> {
        let own = self.owners.get(&peer).into_iter().flatten();
        own.filter_map(|(id, seat)| {
            let (lease, observes) = match *seat {
                Seat::Waits(lease, _) | Seat::Holds(lease) => (lease, false),
                Seat::Observes(lease) => (lease, true),
            };
            Some((*id, observes, &*self.leases.get(lease)?.name))
        })
    }

    /// Whether there is nothing to be said, and nothing to be given back.
    #[inline]
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.freed == 0 && self.news.is_empty() && self.untold.is_empty()
    }

    /// Memory that is free since the last call, octets.
    pub fn take_freed(&mut self) -> usize {
        let freed = std::mem::take(&mut self.freed);
        self.charged -= freed;
        freed
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        self.freed += bytes;
    }

    pub(super) fn named(&self, name: &str) -> Option<&Lease> {
        self.leases.get(*self.by_name.get(name)?)
    }

    fn holder(&self, now: Time, name: &str) -> Option<&Holder> {
        self.named(name)?.holder.as_ref().filter(|holder| holder.until() > now)
    }

    pub(super) fn lease_for(&mut self, name: &str) -> LeaseId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let name: Arc<str> = name.into();
        let id = self.leases.insert(Lease {
            name: name.clone(),
            holder: None,
            line: BTreeMap::new(),
            observers: BTreeMap::new(),
            last: 0,
            quiet: None,
            armed: None,
        });
        self.by_name.insert(name, id);
        id
    }

    pub(super) fn leave_seat(&mut self, (peer, id): (PeerId, u64)) -> Option<Seat> {
        let own = self.owners.get_mut(&peer)?;
        let seat = own.remove(&id);
        if own.is_empty() {
            self.owners.remove(&peer);
        }
        seat
    }
}

impl Lease {
    /// Whether who comes now holds at once.
    fn is_open(&self, now: Time) -> bool {
        let quiet = self.quiet.is_some_and(|(until, _)| until > now);
        self.holder.is_none() && self.line.is_empty() && !quiet
    }

    pub(super) fn is_empty(&self) -> bool {
        let nobody = self.holder.is_none() && self.line.is_empty();
        nobody && self.observers.is_empty() && self.quiet.is_none()
    }
}
