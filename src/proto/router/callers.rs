//! Callers: what each has accepted and unanswered, by which names, and what it waits for.

use hashbrown::{HashMap, HashSet};

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::Asker;
use crate::proto::output::{CloseReason, Output};
use crate::proto::policy::ClientLimits;
use crate::proto::stats::Outcome;

use super::list::List;
use super::request::Place;
use super::service::ServiceId;
use super::{Hasher, Router};

/// What a caller has accepted and unanswered.
#[derive(Debug, Default)]
pub(super) struct Caller {
    pub(super) requests: usize,
    pub(super) bytes: usize,
    pub(super) waiting: List<RequestId>,
    pub(super) paused: Option<Pause>,
    /// Services that it had made and that nobody offers.
    pub(super) founded: usize,
    /// How often those were left to others, as it had no request open.
    pub(super) idle: u64,
    /// The service that it asked for last.
    pub(super) last_service: ServiceId,
    /// Who it is, for those who can be told.
    pub(super) asker: Asker,
    /// Open requests that the caller can name, or that have to be found when it goes.
    pub(super) named: Option<Box<HashMap<u64, RequestId, Hasher>>>,
    /// Parts of its scatters that are at workers that can be asked to stop. They have no names: any
    /// number may be that of a request.
    pub(super) parts: Option<Box<HashSet<RequestId, Hasher>>>,
    /// It keeps to limits of its own.
    pub(super) exempt: bool,
    /// The room for many such names is empty, and goes if it stays so.
    roomy: bool,
}

/// What a caller that is not read waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// Its own requests have to be answered.
    Own,
    /// The queue of a service has to empty.
    Service(ServiceId),
    /// The broker has to have memory again.
    Broker,
    /// A service has to be forgotten: there are too many to make another one.
    Name,
    /// Its principal may ask again then.
    Rate(Time),
}

#[cfg(test)]
impl Pause {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Service(_) => "service",
            Self::Broker => "broker",
            Self::Name => "name",
            Self::Rate(_) => "rate",
        }
    }
}

impl Caller {
    /// So many names are room that an idle caller may keep.
    const NAMES_KEPT: usize = 64;

    /// Whether one more request may be accepted. An idle caller may always have one.
    pub(super) fn has_room(&self, limits: &ClientLimits, cost: usize) -> bool {
        self.requests == 0
            || self.exempt
            || self.requests < limits.requests_max
                && self.bytes.saturating_add(cost) <= limits.bytes_max
    }

    /// Whether so much has been answered that the caller should be read again.
    pub(super) fn has_much_room(&self, limits: &ClientLimits) -> bool {
        self.requests <= limits.requests_max / 4 * 3 && self.bytes <= limits.bytes_max / 4 * 3
    }

    /// Has the request found by `name`.
    pub(super) fn name(&mut self, name: u64, id: RequestId, hasher: &Hasher) {
        let named =
            self.named.get_or_insert_with(|| Box::new(HashMap::with_hasher(hasher.clone())));
        named.insert(name, id);
    }

    /// Notes a part of a scatter.
    pub(super) fn add_part(&mut self, id: RequestId, hasher: &Hasher) {
        let parts =
            self.parts.get_or_insert_with(|| Box::new(HashSet::with_hasher(hasher.clone())));
        parts.insert(id);
    }

    /// A part of a scatter has ended.
    pub(super) fn remove_part(&mut self, id: RequestId) {
        if let Some(parts) = &mut self.parts {
            parts.remove(&id);
            if parts.is_empty() {
                self.parts = None;
            }
        }
    }

    /// True if there is much room now that is not needed: to be looked at with
    /// [`Self::drop_room`].
    #[must_use]
    pub(super) fn unname(&mut self, name: u64) -> bool {
        let Some(named) = &mut self.named else { return false };
        named.remove(&name);
        self.has_empty_room() && !std::mem::replace(&mut self.roomy, true)
    }

    /// Whether it has room for many names, and none.
    pub(super) fn has_empty_room(&self) -> bool {
        let named = self.named.as_ref();
        named.is_some_and(|named| named.is_empty() && named.capacity() > Self::NAMES_KEPT)
    }

    /// What an idle caller keeps is charged to nobody. One that is busy may have no open request
    /// for a moment, and would have to make its room anew each time.
    fn drop_room(&mut self) {
        self.roomy = false;
        if self.named.as_ref().is_some_and(|named| named.is_empty()) {
            self.named = None;
        }
    }
}

impl Router {
    /// It is known who a peer is: workers that can be told will see who asks.
    pub(crate) fn introduce(&mut self, peer: PeerId, asker: Asker) {
        if let Some(entry) = self.callers.entry(peer) {
            entry.or_default().asker = asker;
        }
    }

    /// Gives back the room for names that was not needed for a moment.
    pub(super) fn tidy_callers(&mut self) {
        for peer in self.roomy.drain(..) {
            if let Some(caller) = self.callers.get_mut(peer) {
                caller.drop_room();
            }
        }
    }

    /// The caller's requests that are accepted and have not ended.
    #[must_use]
    pub fn requests_of(&self, caller: PeerId) -> usize {
        self.callers.get(caller).map_or(0, |caller| caller.requests)
    }

    /// Whether the caller has an open request that it calls so.
    pub(crate) fn is_open(&self, caller: PeerId, name: u64) -> bool {
        self.named(caller, name).is_some()
            || self.depot.as_ref().is_some_and(|depot| depot.is_open(caller, name))
    }

    /// The open request that the caller calls so.
    pub(super) fn named(&self, caller: PeerId, name: u64) -> Option<RequestId> {
        self.callers.get(caller)?.named.as_ref()?.get(&name).copied()
    }

    /// A caller that can speak of its requests has made one: it can be found, is told if it wants
    /// to be, and its time runs. False if that is over already.
    pub(super) fn begin<O: Output>(
        &mut self,
        now: Time,
        id: RequestId,
        name: u64,
        out: &mut O,
    ) -> bool {
        /// Octets of ACCEPTED, about.
        const ACCEPTED: usize = 64;
        let Some(request) = self.requests.get(id) else { return false };
        if let Some(caller) = self.callers.get_mut(request.caller) {
            caller.name(name, id, &self.hasher);
        }
        if request.voice.wants_ack()
            && !out.offer(request.caller, ACCEPTED, |encoder| request.voice.accepted(encoder))
        {
            self.doomed.push((request.caller, CloseReason::SlowReader));
        }
        let deadline = request.terms().deadline;
        self.time(now, id, deadline, out)
    }

    /// The time of a request that may have a deadline runs. False if it is over already.
    pub(super) fn time<O: Output>(
        &mut self,
        now: Time,
        id: RequestId,
        deadline: Option<Time>,
        out: &mut O,
    ) -> bool {
        let Some(deadline) = deadline else { return true };
        self.timed += 1;
        if deadline <= now {
            self.end(id, Outcome::TimedOut, out);
            return false;
        }
        self.arm_deadline(deadline, id);
        true
    }

    /// The caller wants a request no more, if it is open.
    pub(crate) fn cancel<O: Output>(&mut self, now: Time, caller: PeerId, name: u64, out: &mut O) {
        let Some(id) = self.named(caller, name) else { return };
        match self.requests.get(id).and_then(|request| request.voice.key()) {
            Some(key) => self.cancel_keyed(now, (key, id), caller, name, out),
            None => self.give_up(now, id, Outcome::Cancelled, out),
        }
    }

    /// Asks the workers that can be asked to stop working for a caller that goes, the oldest
    /// request first.
    pub(super) fn cancel_all<O: Output>(&mut self, peer: PeerId, out: &mut O) {
        let Some(caller) = self.callers.get_mut(peer) else { return };
        let (named, parts) = (caller.named.take(), caller.parts.take());
        let named = named.iter().flat_map(|named| named.values());
        let parts = parts.iter().flat_map(|parts| parts.iter());
        let running = named.chain(parts).filter_map(|id| {
            let request = self.requests.get(*id)?;
            match request.place {
                Place::InFlight(worker) => Some((request.sequence, *id, worker)),
                Place::Waiting
                | Place::Suspect
                | Place::Delayed(_)
                | Place::Behind
                | Place::Pinned(_) => None,
            }
        });
        let mut running: Vec<_> = running.collect();
        running.sort_unstable_by_key(|(sequence, ..)| *sequence);
        for (_, id, worker) in running {
            let Some(worker) = self.workers.get(worker).filter(|worker| worker.peer != peer) else {
                continue;
            };
            let voice = worker.voice;
            if voice.takes_cancel() {
                out.send(worker.peer, |encoder| voice.cancel(id, encoder));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(caller: &mut Caller, count: u64) {
        let hasher = Hasher::with_seed(7, foldhash::SharedSeed::global_fixed());
        (0..count).for_each(|name| caller.name(name, RequestId::default(), &hasher));
    }

    #[test]
    fn a_caller_that_stays_idle_keeps_no_room_for_names() {
        let mut caller = Caller::default();
        named(&mut caller, 1000);
        let noted: Vec<_> = (0..1000).filter(|name| caller.unname(*name)).collect();
        assert_eq!(noted, [999], "once, when the last one has gone");
        named(&mut caller, 1000);
        assert!((0..1000).all(|name| !caller.unname(name)), "it is noted already");
        assert!(caller.has_empty_room());
        caller.drop_room();
        assert!(!caller.has_empty_room() && caller.named.is_none());
        named(&mut caller, 1000);
        caller.drop_room();
        assert!(caller.named.is_some(), "what is in use stays");
        let noted = (0..1000).filter(|name| caller.unname(*name)).count();
        assert_eq!(noted, 1, "it is noted anew");
    }
}
