//! The invariants of the tables, all checked in one pass. Tests and fuzz targets call it after
//! every step.

mod census;
#[cfg(test)]
mod corrupt;
mod held;

use slotmap::{Key, SecondaryMap};

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::WorkerVoice;
use crate::proto::keys::{KeyId, Waiter};

use super::callers::{Caller, Pause};
use super::request::Place;
use super::service::{Gate, Service, ServiceId};
use super::worker::{Worker, WorkerId};
use super::{Request, Router};
use census::{Census, Open};
#[cfg(test)]
pub(crate) use corrupt::CORRUPTIONS;

/// Fails with a text, made only then.
macro_rules! demand {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}
pub(crate) use demand;

/// Where each request was found.
type Places = SecondaryMap<RequestId, Place>;

impl Router {
    /// Checks every invariant of the tables. To be called between two inputs.
    ///
    /// # Errors
    /// The first invariant that does not hold, in words.
    pub fn audit(&self) -> Result<(), String> {
        let mut places = Places::new();
        self.audit_services(&mut places)?;
        self.audit_workers(&mut places)?;
        demand!(
            places.len() == self.requests.len(),
            "{} requests have a place, {} are open",
            places.len(),
            self.requests.len()
        );
        let mut census = self.census(&places)?;
        self.audit_callers(&mut census.open)?;
        self.audit_founders()?;
        self.audit_names()?;
        self.audit_husks(&census)?;
        self.audit_deadlines(std::mem::take(&mut census.deadlines))?;
        self.jobs.audit()?;
        self.keys.audit()?;
        self.audit_keys(std::mem::take(&mut census.keyed))?;
        self.dead.audit()?;
        self.audit_held(&places, &census)?;
        let fenced = self.workers.values().filter(|worker| worker.fenced).count();
        let counted = self.fenced_workers;
        demand!(fenced == counted, "{fenced} workers want a fence, {counted} are counted");
        demand!(self.ended_parts.is_empty(), "ended parts of jobs are left");
        demand!(self.ended_stored.is_empty(), "ended requests that are kept are left");
        demand!(self.doomed.is_empty(), "doomed peers are left: {:?}", self.doomed);
        Ok(())
    }

    /// Memory charged for services, open requests and the parts of their answers, octets.
    #[must_use]
    pub fn charged(&self) -> usize {
        let services = self.services.values().map(|service| Service::cost_of(&service.name));
        let requests = self
            .requests
            .values()
            .map(|it| it.cost + it.parts.bytes + it.asks_cost() + it.history_cost());
        let workers = self.workers.values().map(|worker| worker.about.len() + worker.name.len());
        services.chain(requests).chain(workers).sum::<usize>()
            + self.jobs.charged()
            + self.keys.charged()
            + self.leases.charged()
            + self.dead.charged()
    }

    /// Deadlines of requests that are remembered, those that came to nothing included.
    #[cfg(test)]
    pub(crate) fn deadlines_kept(&self) -> usize {
        self.deadlines.len()
    }

    /// The bodies of the requests that have not ended.
    #[cfg(test)]
    pub(crate) fn open_bodies(&self) -> impl Iterator<Item = crate::wire::message::Frames<'_>> {
        self.requests.values().filter(|request| !request.is_husk()).map(|it| it.split().1)
    }

    /// The peer of a worker that is registered.
    pub(crate) fn peer_of(&self, id: WorkerId) -> Option<PeerId> {
        self.workers.get(id).map(|worker| worker.peer)
    }

    /// The peers that have something in the tables as callers.
    pub(crate) fn caller_ids(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.callers.keys()
    }

    fn audit_services(&self, places: &mut Places) -> Result<(), String> {
        let max = self.settings.services_max;
        demand!(self.services.len() <= max, "{} services of {max}", self.services.len());
        demand!(self.by_name.len() == self.services.len(), "names and services differ in number");
        for (id, service) in &self.services {
            let name = &service.name;
            demand!(self.by_name.get(name.as_bytes()) == Some(&id), "{name} is another service");
            demand!(!service.is_empty(), "{name} is empty and not forgotten");
            self.audit_waiting(id, service, places).map_err(|e| format!("service {name}: {e}"))?;
            self.audit_offer(id, service).map_err(|e| format!("service {name}: {e}"))?;
        }
        Ok(())
    }

    /// The waiting requests of a service, and their limits.
    fn audit_waiting(
        &self,
        id: ServiceId,
        service: &Service,
        places: &mut Places,
    ) -> Result<(), String> {
        let (mut bytes, mut fresh, mut fresh_bytes) = (0, 0, 0);
        let mut note = |request_id, sequence, place, lane: Option<PeerId>| {
            let suspect = place == Place::Suspect;
            let Some(request) = self.requests.get(request_id) else {
                return Err(format!("{request_id:?} has ended and is {place:?}"));
            };
            let twice = places.insert(request_id, place);
            demand!(twice.is_none(), "{request_id:?} waits twice");
            demand!(request.service == id, "{request_id:?} waits for another service");
            demand!(request.sequence == sequence, "{request_id:?} has another sequence");
            demand!(lane.is_none_or(|l| l == request.caller), "{request_id:?} is in a wrong lane");
            let lost = request.losses >= Request::SUSPECT_LOSSES;
            let held = matches!(place, Place::Delayed(_) | Place::Behind);
            demand!(
                held || lost == suspect,
                "{request_id:?}, lost {}, is {place:?}",
                request.losses
            );
            demand!(request.parts.bytes == 0, "{request_id:?} waits and has parts of an answer");
            let wanted = request.voice.key().is_some_and(|key| {
                request.caller.is_null() && self.keys.wanted_until(key).is_some()
            });
            demand!(
                wanted || request.is_revived() || self.callers.contains_key(request.caller),
                "{request_id:?} waits for nobody"
            );
            bytes += request.cost;
            if request.deliveries() == 0 {
                (fresh, fresh_bytes) = (fresh + 1, fresh_bytes + request.cost);
            }
            Ok(())
        };
        for (caller, entries) in service.queue.audit()? {
            for (sequence, request) in entries {
                note(request, sequence, Place::Waiting, Some(caller))?;
            }
        }
        for (sequence, request) in &service.suspects {
            note(*request, *sequence, Place::Suspect, None)?;
        }
        for (request, sequence, place) in self.held_of(id, service)? {
            note(request, sequence, place, None)?;
        }
        let told = service.waiting_bytes;
        demand!(told == bytes, "waiting_bytes is {told}, waiting requests have {bytes}");
        let (max, bytes_max) = (service.policy.queue_messages_max, service.policy.queue_bytes_max);
        demand!(fresh <= max.max(1), "{fresh} requests wait, {max} may");
        demand!(
            fresh <= 1 || fresh_bytes <= bytes_max,
            "{fresh_bytes} octets wait, {bytes_max} may"
        );
        Ok(())
    }

    /// The workers of a service as a whole, and what is to be done for it.
    fn audit_offer(&self, id: ServiceId, service: &Service) -> Result<(), String> {
        let (mut held, mut fenced, mut ready) = (0, 0, 0);
        for worker_id in &service.workers {
            let worker = self.workers.get(*worker_id).filter(|worker| worker.service == id);
            let worker = worker.ok_or_else(|| format!("{worker_id:?} is not of this service"))?;
            held += worker.in_flight;
            fenced += usize::from(worker.fenced);
            let level = worker.level();
            ready += usize::from(level.is_some());
            demand!(
                worker.listed == level,
                "{worker_id:?} listed at {:?}: {level:?}",
                worker.listed
            );
            let reserved = service.reserved == Some(*worker_id);
            demand!(worker.reserved == reserved, "{worker_id:?} reserved: {}", worker.reserved);
        }
        demand!(service.in_flight == held, "in_flight {}, held {held}", service.in_flight);
        let counted = service.fence.as_ref().map_or(0, |(_, count)| *count);
        demand!(fenced == counted, "{fenced} workers want a fence, {counted} are counted");
        // Who stands at its own level stands there once, as the list is not torn.
        let listed = service.ready.audit(&self.workers)?;
        for (worker_id, at) in &listed {
            let worker = self.workers.get(*worker_id).filter(|worker| worker.service == id);
            let level = worker.and_then(Worker::level);
            demand!(level == Some(*at), "{worker_id:?} stands at {at}, belongs to {level:?}");
        }
        demand!(listed.len() == ready, "{ready} workers are ready, {} are listed", listed.len());
        if let Some(worker) = service.reserved {
            let peer = self.workers.get(worker).filter(|worker| worker.service == id);
            demand!(peer.is_some(), "{worker:?} is reserved and not of this service");
            demand!(!service.suspects.is_empty(), "{worker:?} is reserved for nobody");
        }
        let idle = service.next_worker().is_some();
        self.audit_gate(service)?;
        demand!(!(idle && service.queue.len() > 0), "requests wait though a worker is ready");
        demand!(
            !(idle && service.reserved.is_none() && !service.suspects.is_empty()),
            "a suspect waits though a worker could be emptied for it"
        );
        self.audit_expiry(id, service)?;
        for peer in &service.paused {
            let paused = self.callers.get(*peer).and_then(|caller| caller.paused);
            demand!(paused == Some(Pause::Service(id)), "{peer:?} should be paused: {paused:?}");
        }
        // A large request may find no room where there is much; whatever leaves has it tried again.
        let closed = self.draining || service.gate == Gate::Draining;
        let stuck = service.waiting() == 0 && !service.paused.is_empty() && !closed;
        demand!(!stuck, "callers are paused though nothing waits");
        Ok(())
    }

    /// Nothing is given to the workers of a service that is paused.
    fn audit_gate(&self, service: &Service) -> Result<(), String> {
        let Gate::Paused { since } = service.gate else { return Ok(()) };
        for request in self.requests.values() {
            let of_mine = matches!(request.place, Place::InFlight(worker)
                if service.workers.contains(&worker));
            demand!(
                !of_mine || request.delivered_at <= since,
                "a request was dispatched at {:?}, paused since {since:?}",
                request.delivered_at
            );
        }
        Ok(())
    }

    fn audit_expiry(&self, id: ServiceId, service: &Service) -> Result<(), String> {
        if let Some(at) = service.expiry_armed {
            demand!(self.expiries.is_armed(at, id), "the deadline {at:?} is not among the timers");
        }
        let due = service.workers.is_empty() && service.deliverable() > 0;
        demand!(
            !due || service.policy.unserved_ttl.is_none() || service.expiry_armed.is_some(),
            "requests wait without a worker and without a deadline"
        );
        Ok(())
    }

    fn audit_workers(&self, places: &mut Places) -> Result<(), String> {
        for (id, worker) in &self.workers {
            self.audit_worker(id, worker, places).map_err(|e| format!("{id:?}: {e}"))?;
        }
        Ok(())
    }

    fn audit_worker(
        &self,
        id: WorkerId,
        worker: &Worker,
        places: &mut Places,
    ) -> Result<(), String> {
        let service = self.services.get(worker.service).ok_or("its service is forgotten")?;
        let paused = service.is_paused();
        demand!(service.workers.contains(&id), "{} does not know it", service.name);
        let held = worker.held.walk(&self.requests, |request| &request.links)?;
        let count = worker.in_flight;
        demand!(count == held.len(), "in_flight {count}, holds {}", held.len());
        let (told, parts) = (worker.direct, self.jobs.parts_of(id));
        demand!(told == parts, "{told} jobs are counted, {parts} are open");
        // A worker of MJP may take its credit back; it is given nothing more until it holds less.
        if let WorkerVoice::Mdp(_) = worker.voice {
            let credit = service.policy.prefetch as usize;
            demand!(worker.credit == credit, "credit {}, the policy says {credit}", worker.credit);
            demand!(count <= credit, "{count} in flight, credit {credit}");
        }
        demand!(
            worker.pinned.is_empty() || worker.level().is_none() || paused,
            "{} requests wait for it alone, though it is ready",
            worker.pinned.len()
        );
        for (sequence, request_id) in &worker.pinned {
            let request = self.requests.get(*request_id);
            let fits = request.is_some_and(|r| r.sequence == *sequence && r.is_pinned());
            demand!(fits, "{request_id:?} does not wait for it");
            let twice = places.insert(*request_id, Place::Pinned(id));
            demand!(twice.is_none(), "{request_id:?} is pinned and {twice:?}");
        }
        let mut suspects = 0;
        let mut before = None;
        for request_id in &held {
            let Some(request) = self.requests.get(*request_id) else {
                return Err(format!("{request_id:?} has ended and is held"));
            };
            let twice = places.insert(*request_id, Place::InFlight(id));
            demand!(twice.is_none(), "{request_id:?} is held and {twice:?}");
            demand!(request.service == worker.service, "{request_id:?} is of another service");
            demand!(before <= Some(request.delivered_at), "{request_id:?} is out of order");
            before = Some(request.delivered_at);
            suspects += usize::from(request.losses >= Request::SUSPECT_LOSSES);
        }
        demand!(suspects == 0 || count == 1, "a suspect is not alone among {count}");
        demand!(worker.solo == (suspects == 1), "solo: {}, suspects: {suspects}", worker.solo);
        Ok(())
    }

    fn audit_callers(&self, open: &mut SecondaryMap<PeerId, Open>) -> Result<(), String> {
        for (_, waiter) in self.keys.all_waiters().filter(|(_, waiter)| !waiter.owner) {
            if !self.callers.contains_key(waiter.peer) {
                continue;
            }
            if let Some(entry) = open.entry(waiter.peer) {
                let open = entry.or_default();
                (open.requests, open.bytes) = (open.requests + 1, open.bytes + waiter.cost);
            }
        }
        for (peer, caller) in &self.callers {
            let open = open.get(peer).copied().unwrap_or_default();
            self.audit_caller(peer, caller, open).map_err(|e| format!("caller {peer:?}: {e}"))?;
        }
        for peer in &self.paused_for_name {
            let paused = self.callers.get(*peer).and_then(|caller| caller.paused);
            demand!(paused == Some(Pause::Name), "{peer:?} should be paused: {paused:?}");
        }
        for peer in &self.paused {
            let paused = self.callers.get(*peer).and_then(|caller| caller.paused);
            demand!(paused == Some(Pause::Broker), "{peer:?} should be paused: {paused:?}");
        }
        Ok(())
    }

    /// Who can speak of a request finds it, and nothing else.
    fn audit_names(&self) -> Result<(), String> {
        for (peer, caller) in &self.callers {
            let forgotten = caller.has_empty_room() && !self.roomy.contains(&peer);
            demand!(!forgotten, "{peer:?} keeps room for names, and nobody looks at it");
            for (name, id) in caller.named.iter().flat_map(|named| named.iter()) {
                if let Some(key) = self.requests.get(*id).and_then(|r| r.voice.key()) {
                    let waits = |waiter: &Waiter| waiter.peer == peer && waiter.id == *name;
                    let waits = self.keys.waiters(key).iter().any(waits);
                    demand!(waits, "{peer:?} calls {name} what it does not wait for: {id:?}");
                    continue;
                }
                let request = self.requests.get(*id).filter(|request| request.caller == peer);
                let Some(request) = request else {
                    return Err(format!("{peer:?} calls {name} what is not its own: {id:?}"));
                };
                let own = request.voice.id().unwrap_or_else(|| id.token());
                demand!(own == *name, "{peer:?} calls {id:?} {name}, and once called it {own}");
                demand!(!request.is_pinned(), "{peer:?} has a name for the part {id:?}");
            }
            for id in caller.parts.iter().flat_map(|parts| parts.iter()) {
                let request = self.requests.get(*id).filter(|request| request.caller == peer);
                let is_part = request.is_some_and(|request| request.is_pinned());
                demand!(is_part, "{peer:?} has a part that is none: {id:?}");
            }
        }
        Ok(())
    }

    /// A key that runs has its request, and who waits for that finds it.
    fn audit_keys(&self, mut keyed: Vec<(KeyId, RequestId)>) -> Result<(), String> {
        keyed.sort_unstable();
        let told = self.keys.requests();
        let same = told.iter().eq(&keyed);
        demand!(same, "the keys know {told:?}, of the requests {keyed:?} have one");
        for (id, waiter) in self.keys.all_waiters() {
            let named = self.named(waiter.peer, waiter.id);
            demand!(named == Some(id), "{waiter:?} waits for {id:?}, and finds {named:?}");
            let request = self.requests.get(id);
            let owner =
                request.is_some_and(|r| r.caller == waiter.peer && r.voice.id() == Some(waiter.id));
            demand!(owner == waiter.owner, "{waiter:?} is not the first to ask {id:?}");
            demand!(!owner || request.is_some_and(|r| r.cost == waiter.cost), "{waiter:?}: cost");
        }
        for (key, id) in told {
            let owners = self.keys.waiters(key).iter().filter(|waiter| waiter.owner).count();
            let owned = self.requests.get(id).is_some_and(|r| !r.caller.is_null());
            demand!(owners == usize::from(owned), "{id:?} is whose? {owners} say so");
        }
        Ok(())
    }

    /// What has ended is counted, in all and for each service.
    fn audit_husks(&self, census: &Census) -> Result<(), String> {
        let (told, count) = (self.husks, census.husks);
        demand!(told == count, "{told} husks are counted, {count} are there");
        for (id, service) in &self.services {
            let count = census.husks_of.get(id).copied().unwrap_or_default();
            let told = service.husks;
            demand!(told == count, "{}: {told} husks are counted, {count} are there", service.name);
        }
        Ok(())
    }

    /// Whoever waits until some time is told then.
    fn audit_deadlines(&self, deadlines: Vec<(Time, RequestId)>) -> Result<(), String> {
        let (told, timed) = (self.timed, deadlines.len());
        demand!(told == timed, "{told} deadlines are counted, {timed} are there");
        let missing = self.deadlines.missing(deadlines);
        demand!(missing.is_none(), "{missing:?} is not among the timers");
        Ok(())
    }

    fn audit_caller(&self, peer: PeerId, caller: &Caller, open: Open) -> Result<(), String> {
        let (count, bytes) = (open.requests, open.bytes);
        demand!(caller.requests == count, "{} requests told, {count} open", caller.requests);
        demand!(caller.bytes == bytes, "{} octets told, {bytes} open", caller.bytes);
        let list = caller.waiting.walk(&self.requests, |request| &request.links)?;
        let is_its = |request: &Request| request.caller == peer && Census::waits(request);
        let strange = list.iter().find(|id| !self.requests.get(**id).is_some_and(|it| is_its(it)));
        demand!(strange.is_none(), "{strange:?} is listed and does not wait for it");
        let (told, waiting) = (list.len(), open.waiting);
        demand!(told == waiting, "{told} are listed, {waiting} of its requests wait");
        let limits = &self.settings.client;
        let free = caller.exempt;
        let (most, many) = (limits.requests_max.max(1), count);
        demand!(free || many <= most, "{count} open, {most} may");
        demand!(
            free || count <= 1 || bytes <= limits.bytes_max,
            "{bytes} octets, {} may",
            limits.bytes_max
        );
        let paused = match caller.paused {
            None => true,
            Some(Pause::Own) => self.draining || caller.requests > 0,
            Some(Pause::Broker) => self.paused.contains(&peer),
            Some(Pause::Name) => self.paused_for_name.contains(&peer),
            Some(Pause::Rate(at)) => {
                self.draining || self.rates.as_ref().is_some_and(|rates| rates.is_armed(at, peer))
            }
            Some(Pause::Service(id)) => {
                self.services.get(id).is_some_and(|service| service.paused.contains(&peer))
            }
        };
        demand!(paused, "{:?} would never end", caller.paused);
        Ok(())
    }
}
