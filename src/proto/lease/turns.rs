//! Turns: a lease is given, freed, and given to the next.

use std::time::Duration;

use super::Refused;
use super::table::{Candidate, Holder, LeaseId, Leases, Seat, Stale};
use crate::id::{PeerId, Principal};
use crate::proto::clock::Time;

/// Why a holder holds no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freed {
    /// It said so.
    Resigned,
    /// It took its campaign back.
    Cancelled,
    /// Its connection has ended.
    Closed,
    /// Nothing was heard of it for its time to live.
    Expired,
    /// The right to hold it has been taken away.
    Denied,
}

impl Freed {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Resigned, Self::Cancelled, Self::Closed, Self::Expired, Self::Denied];

    /// As on the wire, and the value of the label `reason` in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resigned => "resigned",
            Self::Cancelled => "cancelled",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Denied => "denied",
        }
    }

    /// Whether the holder may not know: it gets no successor before its lock delay is over.
    fn is_loss(self) -> bool {
        match self {
            Self::Resigned | Self::Cancelled => false,
            Self::Closed | Self::Expired | Self::Denied => true,
        }
    }
}

/// What is to be said about a campaign, or told of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A candidate holds now.
    Held {
        /// Whose connection it is.
        peer: PeerId,
        /// What the peer calls the campaign.
        id: u64,
        /// From now on.
        epoch: u64,
        /// Time until it is to be renewed.
        ttl: Duration,
        /// The lease.
        lease: std::sync::Arc<str>,
        /// What the holder calls itself.
        name: Box<str>,
    },
    /// A holder holds no more.
    Freed {
        /// Whose connection it was, if it is there.
        peer: Option<PeerId>,
        /// What the peer calls the campaign.
        id: u64,
        /// Until now.
        epoch: u64,
        /// Why.
        why: Freed,
        /// The lease.
        lease: std::sync::Arc<str>,
        /// What the holder called itself.
        name: Box<str>,
    },
    /// A candidate has waited as long as it wanted to.
    Patience {
        /// Whose connection it is.
        peer: PeerId,
        /// What the peer calls the campaign.
        id: u64,
        /// Who holds.
        epoch: Option<u64>,
    },
}

impl Leases {
    /// So many timers nobody believes in are left alone, and as many as others.
    const TIMERS_KEPT: usize = 1024;

    /// Takes the next thing to be said.
    pub fn pop_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// The holder wants to hold no more. The lease goes to the candidate of the name `to`, or to
    /// whoever has waited longest.
    ///
    /// # Errors
    /// It does not hold; or, inside, no such candidate waits, and it goes on holding.
    pub fn resign(
        &mut self,
        now: Time,
        principal: &Principal,
        (name, epoch): (&str, u64),
        to: Option<&str>,
    ) -> Result<Result<(), Refused>, Stale> {
        self.holds(now, name, epoch, principal)?;
        let Some(id) = self.by_name.get(name).copied() else { return Err(Stale::Epoch(None)) };
        let heir = match to {
            Some(to) => match self.heir(id, to) {
                Some(heir) => Some(heir),
                None => return Ok(Err(Refused::NoCandidate)),
            },
            None => None,
        };
        self.free(now, id, Freed::Resigned, heir);
        Ok(Ok(()))
    }

    fn heir(&self, id: LeaseId, name: &str) -> Option<u64> {
        let mut line = self.leases.get(id)?.line.iter();
        line.find(|(_, candidate)| &*candidate.name == name).map(|(number, _)| *number)
    }

    /// The peer wants no more of a campaign or an observation. False: it has none of that id.
    pub fn cancel(&mut self, now: Time, peer: PeerId, id: u64, why: Freed) -> bool {
        let Some(seat) = self.owners.get(&peer).and_then(|own| own.get(&id)).copied() else {
            return false;
        };
        match seat {
            Seat::Waits(lease, number) => self.give_up(lease, number),
            Seat::Holds(lease) => self.free(now, lease, why, None),
            Seat::Observes(lease) => self.unobserve(lease, (peer, id)),
        }
        true
    }

    /// The connection of a peer has ended.
    pub fn forget(&mut self, now: Time, peer: PeerId) {
        let Some(own) = self.owners.get(&peer).cloned() else { return };
        // Nothing is given to who has gone: it leaves all lines before it frees anything.
        for (id, seat) in &own {
            match *seat {
                Seat::Waits(lease, number) => self.give_up(lease, number),
                Seat::Observes(lease) => self.unobserve(lease, (peer, *id)),
                Seat::Holds(_) => {}
            }
        }
        for (id, seat) in own {
            if let Seat::Holds(lease) = seat {
                self.lose_connection(now, lease, (peer, id));
            }
        }
    }

    fn lose_connection(&mut self, now: Time, id: LeaseId, seat: (PeerId, u64)) {
        let Some(holder) = self.leases.get_mut(id).and_then(|lease| lease.holder.as_mut()) else {
            return;
        };
        if holder.who.terms.grace.is_zero() {
            return self.free(now, id, Freed::Closed, None);
        }
        holder.gone = Some(now.after(holder.who.terms.grace));
        self.leave_seat(seat);
        self.rearm(id);
    }

    /// Frees what has not been renewed, and ends the patience of candidates.
    pub fn tick(&mut self, now: Time) {
        while let Some((at, id)) = self.timers.pop_due(now) {
            let Some(lease) = self.leases.get_mut(id) else { continue };
            if lease.armed != Some(at) {
                continue;
            }
            lease.armed = None;
            match &lease.holder {
                Some(holder) if holder.until() <= now => {
                    let closed = holder.gone.is_some_and(|gone| gone <= now);
                    let why = if closed { Freed::Closed } else { Freed::Expired };
                    self.free(now, id, why, None);
                }
                Some(_) => self.rearm(id),
                None => self.go_on(now, id, None),
            }
        }
        while let Some((at, (id, number))) = self.patience.pop_due(now) {
            let lease = self.leases.get(id);
            let candidate = lease.and_then(|lease| lease.line.get(&number));
            let candidate = candidate.filter(|candidate| candidate.until == Some(at));
            if candidate.is_none() {
                continue;
            }
            let epoch = lease.and_then(|it| it.holder.as_ref()).map(|holder| holder.epoch);
            if let Some(Candidate { peer, id: name, .. }) = candidate {
                self.news.push_back(News::Patience { peer: *peer, id: *name, epoch });
            }
            self.give_up(id, number);
        }
        if self.again.is_some_and(|again| again <= now) {
            self.again = None;
            self.untold.append(&mut self.late);
        }
    }

    /// When something is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        [self.timers.next(), self.patience.next(), self.again].into_iter().flatten().min()
    }

    /// Gives the lease to a candidate that is in no line any more.
    pub(super) fn grant(&mut self, now: Time, id: LeaseId, candidate: Candidate) -> u64 {
        self.last += 1;
        self.counts.granted += 1;
        self.holding += 1;
        let epoch = self.last;
        let seat = self.owners.entry(candidate.peer).or_default();
        seat.insert(candidate.id, Seat::Holds(id));
        let Some(lease) = self.leases.get_mut(id) else { return epoch };
        if let Some((_, kept)) = lease.quiet.take() {
            self.freed += kept;
        }
        lease.last = epoch;
        self.news.push_back(News::Held {
            peer: candidate.peer,
            id: candidate.id,
            epoch,
            ttl: candidate.terms.ttl,
            lease: lease.name.clone(),
            name: candidate.name.clone(),
        });
        let expires = now.after(candidate.terms.ttl);
        lease.holder = Some(Holder { who: candidate, epoch, since: now, expires, gone: None });
        self.rearm(id);
        self.spread(id);
        epoch
    }

    /// Nobody holds the lease any more; whoever is next does.
    fn free(&mut self, now: Time, id: LeaseId, why: Freed, heir: Option<u64>) {
        let Some(lease) = self.leases.get_mut(id) else { return };
        let Some(holder) = lease.holder.take() else { return };
        let (who, delay) = (&holder.who, holder.who.terms.lock_delay);
        if why.is_loss() && !delay.is_zero() {
            lease.quiet = Some((now.after(delay), who.cost));
        } else {
            self.freed += who.cost;
        }
        let peer = holder.gone.is_none().then_some(who.peer);
        self.holding -= 1;
        if let Some(count) = self.counts.freed.get_mut(why as usize) {
            *count += 1;
        }
        self.news.push_back(News::Freed {
            peer,
            id: who.id,
            epoch: holder.epoch,
            why,
            lease: lease.name.clone(),
            name: who.name.clone(),
        });
        if let Some(peer) = peer {
            self.leave_seat((peer, holder.who.id));
        }
        self.spread(id);
        self.go_on(now, id, heir);
    }

    /// Gives a free lease to whoever is next, unless it is to be nobody's for a while.
    fn go_on(&mut self, now: Time, id: LeaseId, heir: Option<u64>) {
        let Some(lease) = self.leases.get_mut(id) else { return };
        match lease.quiet {
            Some((until, _)) if until > now => return self.rearm(id),
            Some((_, kept)) => {
                lease.quiet = None;
                self.freed += kept;
            }
            None => {}
        }
        let next = heir.or_else(|| lease.line.first_key_value().map(|(number, _)| *number));
        if lease.holder.is_none()
            && let Some(candidate) = next.and_then(|number| self.leave_line(id, number))
        {
            self.grant(now, id, candidate);
        }
        self.tidy(id);
    }

    /// A candidate wants to hold no more.
    fn give_up(&mut self, id: LeaseId, number: u64) {
        if let Some(candidate) = self.leave_line(id, number) {
            self.freed += candidate.cost;
        }
    }

    /// Takes a candidate out of the line, with its memory.
    fn leave_line(&mut self, id: LeaseId, number: u64) -> Option<Candidate> {
        let candidate = self.leases.get_mut(id)?.line.remove(&number)?;
        self.waiting -= 1;
        self.leave_seat((candidate.peer, candidate.id));
        Some(candidate)
    }

    /// Forgets a lease that is nobody's.
    pub(super) fn tidy(&mut self, id: LeaseId) {
        if self.leases.get(id).is_some_and(super::table::Lease::is_empty)
            && let Some(lease) = self.leases.remove(id)
        {
            self.by_name.remove(&lease.name);
        }
    }

    /// Arms the timer of a lease, unless it fires before that anyway.
    pub(super) fn rearm(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(id) else { return };
        let quiet = lease.quiet.map(|(until, _)| until);
        let Some(at) = lease.holder.as_ref().map(Holder::until).or(quiet) else { return };
        if lease.armed.is_none_or(|armed| armed > at) {
            lease.armed = Some(at);
            self.timers.arm(at, id);
        }
        let Self { timers, leases, .. } = self;
        if timers.len() > Self::TIMERS_KEPT + 2 * leases.len() {
            timers.sweep(|at, id| leases.get(id).is_some_and(|lease| lease.armed == Some(at)));
        }
    }

    /// Has a candidate leave the line in time.
    pub(super) fn arm_patience(&mut self, at: Time, who: (LeaseId, u64)) {
        self.patience.arm(at, who);
        let Self { patience, leases, waiting, .. } = self;
        if patience.len() > Self::TIMERS_KEPT + 2 * *waiting {
            patience.sweep(|_, (id, number)| {
                leases.get(id).is_some_and(|lease| lease.line.contains_key(&number))
            });
        }
    }
}
