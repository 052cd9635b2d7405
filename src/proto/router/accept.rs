//! Requests come in, workers register.

use std::collections::BTreeMap;

use crate::id::{NameError, PeerId, RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dialect::{CallerVoice, WorkerVoice};
use crate::proto::output::Output;
use crate::wire::message::Frames;

use super::fence::Wanted;
use super::list::{Links, List};
use super::opening::Opening;
use super::request::{Place, Request};
use super::service::{Gate, Service, ServiceId};
use super::worker::{Worker, WorkerId};
use super::{Pause, Router};

/// Why a request was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no room. The caller is not read until there is; then it may offer the request again.
    NotYet,
    /// There is no room, and the caller is to be told.
    Overloaded,
    /// The broker stops, or the service does, and the caller is to be told.
    Draining,
    /// The caller has another open request of that id.
    DuplicateId,
    /// Another request has that key.
    Conflict,
    /// No service can have this name.
    BadName(NameError),
}

/// What a worker offers.
#[derive(Debug)]
pub(crate) struct Offer<'a> {
    pub(crate) voice: WorkerVoice,
    pub(crate) name: ServiceName,
    /// Requests it takes at a time; if it cannot say, the policy of the service does.
    pub(crate) credit: Option<usize>,
    /// What it says of itself, for listings.
    pub(crate) about: &'a [u8],
    /// The lease whose holder alone may ask it.
    pub(crate) fence: Option<&'a str>,
}

impl Router {
    /// Accepts a request, which is then delivered at once or waits.
    ///
    /// # Errors
    /// [`Refusal`]; the tables are as they were.
    #[inline]
    pub(crate) fn accept<O: Output>(
        &mut self,
        now: Time,
        caller: PeerId,
        voice: CallerVoice,
        wanted: Wanted<'_>,
        body: Frames<'_>,
        out: &mut O,
    ) -> Result<RequestId, Refusal> {
        let (key, name) = (voice.id(), wanted.service);
        // Whoever can name its requests has its time begin with the name.
        let deadline = if key.is_none() { voice.terms().deadline } else { None };
        if key.is_some_and(|key| self.is_open(caller, key)) {
            return Err(Refusal::DuplicateId);
        }
        let cost = Request::cost_of(voice.bytes() + body.bytes() + wanted.bytes());
        let id = match self.find_service(caller, name) {
            Some(id) => id,
            None => self.make_service(now, caller, name, &voice, out)?,
        };
        let sequence = wanted.place.unwrap_or(self.sequence);
        let behind = |order: &_| !self.is_free(id, Some(order), sequence);
        let held = wanted.delay.is_some() || wanted.order.as_deref().is_some_and(behind);
        let taker = match self.admit(caller, id, (cost, voice.beside()), held, out) {
            Ok(taker) => taker,
            Err(pause) => {
                self.bury_overflow(now, caller, id, &voice, &wanted, body, pause);
                self.forget_if_empty(id, out);
                return Err(self.refuse(caller, &voice, pause));
            }
        };
        let course = self.course_of(now, id, &voice, &wanted);
        let sets_out = course.is_some();
        let tried = voice.tried();
        let request = self.open(Opening {
            sequence,
            service: id,
            caller,
            voice,
            body,
            now,
            place: Place::Waiting,
            cost,
            tried,
            fence: wanted.fence,
            course,
        });
        self.sequence += u64::from(wanted.place.is_none());
        if let Some(entry) = self.callers.entry(caller) {
            let caller = entry.or_default();
            caller.requests += 1;
            caller.bytes += cost;
            caller.last_service = id;
        }
        if sets_out {
            self.set_out(request);
        }
        let goes_on = match key {
            Some(key) => self.begin(now, request, key, out),
            None => self.time(now, request, deadline, out),
        };
        if !goes_on {
            return Ok(request);
        }
        match taker {
            // It was suspect before the broker was started.
            _ if tried.losses >= Request::SUSPECT_LOSSES => {
                self.wait(now, request);
                self.dispatch(now, id, out);
            }
            Some(worker) => self.deliver(now, worker, request, out),
            None => self.wait(now, request),
        }
        Ok(request)
    }

    /// The service of that name, which is not there, if there is room for one more.
    fn make_service<O: Output>(
        &mut self,
        now: Time,
        caller: PeerId,
        name: &[u8],
        voice: &CallerVoice,
        out: &mut O,
    ) -> Result<ServiceId, Refusal> {
        let name = ServiceName::try_from(name).map_err(Refusal::BadName)?;
        let made = self.service_asked_for(now, caller, name, out);
        made.map_err(|pause| self.refuse(caller, voice, pause))
    }

    /// The service of that name: most callers ask for the one that they asked for last.
    #[inline]
    fn find_service(&self, caller: PeerId, name: &[u8]) -> Option<ServiceId> {
        let last = self.callers.get(caller).map(|caller| caller.last_service);
        let is_it =
            |id: &ServiceId| self.services.get(*id).is_some_and(|s| s.name.as_bytes() == name);
        last.filter(is_it).or_else(|| self.by_name.get(name).copied())
    }

    /// Whether there is room for one more request, which is then charged, with what is kept beside
    /// it, and counted; or what to wait for. Returns the worker that takes it at once.
    #[inline]
    fn admit<O: Output>(
        &mut self,
        peer: PeerId,
        id: ServiceId,
        (cost, beside): (usize, usize),
        held: bool,
        out: &mut O,
    ) -> Result<Option<WorkerId>, Pause> {
        if self.draining {
            return Err(Pause::Broker);
        }
        if let Some(caller) = self.callers.get(peer)
            && !caller.has_room(&self.settings.client, cost)
        {
            return Err(Pause::Own);
        }
        let Some(service) = self.services.get_mut(id) else { return Err(Pause::Broker) };
        if service.gate == Gate::Draining {
            return Err(Pause::Service(id));
        }
        let taker = service.taker().filter(|_| !held);
        if taker.is_none() && !service.has_room(cost) {
            return Err(Pause::Service(id));
        }
        if out.charge(cost + beside) {
            service.stats.accepted += 1;
        } else if self.charge_forgetting(cost + beside, out)
            && let Some(service) = self.services.get_mut(id)
        {
            service.stats.accepted += 1;
        } else {
            return Err(Pause::Broker);
        }
        Ok(taker)
    }

    /// Charges memory for something new. What is only remembered goes before that is refused: ended
    /// jobs, then answers kept for repeats, and then dead letters, the oldest first, and no more of
    /// them than it takes.
    /// Nothing is forgotten for what would not fit even then.
    pub(crate) fn charge_forgetting<O: Output>(&mut self, cost: usize, out: &mut O) -> bool {
        out.release(self.take_freed());
        if out.charge(cost) {
            return true;
        }
        let remembered = self.jobs.ended_bytes() + self.keys.done_bytes() + self.dead.bytes_here();
        if !out.would_take(cost, remembered) {
            return false;
        }
        while self.jobs.evict() || self.keys.evict() || self.dead.evict() {
            out.release(self.take_freed());
            if out.charge(cost) {
                return true;
            }
        }
        false
    }

    /// Memory of what was forgotten since the last call, octets.
    fn take_freed(&mut self) -> usize {
        self.jobs.take_freed() + self.keys.take_freed() + self.dead.take_freed()
    }

    /// Has a caller wait until there is room, or tells it that there is none, if it can be told.
    fn refuse(&mut self, peer: PeerId, voice: &CallerVoice, pause: Pause) -> Refusal {
        let draining = match pause {
            Pause::Service(id) => self.gate_of(id) == Gate::Draining,
            _ => false,
        };
        match (voice.takes_errors(), self.draining || draining) {
            (false, _) => self.pause(peer, pause),
            (true, false) => Refusal::Overloaded,
            (true, true) => Refusal::Draining,
        }
    }

    /// Notes that the caller is not read any more, and what has to happen first.
    fn pause(&mut self, peer: PeerId, pause: Pause) -> Refusal {
        if let Some(entry) = self.callers.entry(peer) {
            entry.or_default().paused = Some(pause);
            #[cfg(test)]
            crate::proto::witness::saw("caller", "paused", pause.label());
            match pause {
                Pause::Own | Pause::Rate(_) => {}
                Pause::Broker => {
                    self.paused.insert(peer);
                }
                Pause::Name => self.paused_for_name.push_back(peer),
                Pause::Service(id) => {
                    if let Some(service) = self.services.get_mut(id) {
                        service.paused.insert(peer);
                    }
                }
            }
        }
        Refusal::NotYet
    }

    /// Registers a worker, and gives it work. `None`: there are too many services.
    pub(crate) fn register<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        offer: Offer<'_>,
        out: &mut O,
    ) -> Option<WorkerId> {
        let id = self.service_for(now, offer.name, out).ok()?;
        let policy = self.services.get(id)?.policy.clone();
        let name = self.name_of_peer(peer);
        out.take(offer.about.len() + name.len());
        let worker = self.workers.insert(Worker {
            peer,
            service: id,
            voice: offer.voice,
            credit: offer.credit.unwrap_or(policy.prefetch as usize),
            about: offer.about.into(),
            name,
            held: List::default(),
            in_flight: 0,
            fetched: None,
            pinned: BTreeMap::new(),
            direct: 0,
            listed: None,
            congested: false,
            reserved: false,
            solo: false,
            fenced: false,
            last_sent: now,
            links: Links::default(),
        });
        if let Some(service) = self.services.get_mut(id) {
            service.workers.insert(worker);
            let founder = service.founder.take();
            self.release_founder(founder);
        }
        self.set_fence(worker, offer.fence);
        self.relist(worker);
        self.dispatch(now, id, out);
        Some(worker)
    }

    /// Puts a request among the waiting ones of its service and of its caller.
    pub(super) fn wait(&mut self, now: Time, id: RequestId) {
        let Some(request) = self.requests.get(id) else { return };
        let (caller, cost) = (request.caller, request.cost);
        let Some(service) = self.services.get_mut(request.service) else { return };
        let service_id = request.service;
        service.waiting_bytes += cost;
        self.stand(now, id);
        if let Some(caller) = self.callers.get_mut(caller) {
            caller.waiting.push_back(&mut self.requests, id);
        }
        self.arm_expiry(now, service_id);
    }

    /// Has the waiting requests of a service without workers expire in time.
    pub(super) fn arm_expiry(&mut self, now: Time, id: ServiceId) {
        let Some(Service { workers, policy, expiry_armed, .. }) = self.services.get_mut(id) else {
            return;
        };
        if !workers.is_empty() {
            return;
        }
        if let (Some(ttl), None) = (policy.unserved_ttl, &expiry_armed) {
            let at = now.after(ttl);
            *expiry_armed = Some(at);
            self.expiries.arm(at, id);
        }
    }
}
