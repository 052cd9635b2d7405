//! Waiting requests meet workers with credit.

use crate::id::RequestId;
use crate::proto::clock::Time;
use crate::proto::dialect::{CallerVoice, Work, WorkerVoice};
use crate::proto::output::{Output, Pressure};
use crate::proto::stats::Outcome;

use super::Router;
use super::request::Place;
use super::service::ServiceId;
use super::worker::WorkerId;

impl Router {
    /// Gives the waiting requests of a service to its workers, as far as these have credit.
    #[inline]
    pub(super) fn dispatch<O: Output>(&mut self, now: Time, id: ServiceId, out: &mut O) {
        let Some(service) = self.services.get(id) else { return };
        if service.deliverable() > 0 || service.reserved.is_some() {
            self.dispatch_waiting(now, id, out);
        }
    }

    fn dispatch_waiting<O: Output>(&mut self, now: Time, id: ServiceId, out: &mut O) {
        self.dispatch_suspects(now, id, out);
        while let Some(service) = self.services.get_mut(id)
            && let Some(worker) = service.next_worker()
            && let Some(request) = service.queue.pop()
        {
            if self.take_out(request).is_none_or(|deadline| deadline > now) {
                self.deliver(now, worker, request, out);
            } else {
                self.end(request, Outcome::TimedOut, out);
            }
        }
        self.resume_waiters(id, out);
    }

    /// Gives suspects to workers that have nothing else, emptying one for the first if there is none.
    fn dispatch_suspects<O: Output>(&mut self, now: Time, id: ServiceId, out: &mut O) {
        while let Some(service) = self.services.get_mut(id) {
            let Some((&sequence, &request)) = service.suspects.first_key_value() else {
                if let Some(worker) = service.reserved.take() {
                    self.reserve(worker, false);
                    self.serve_pinned(now, worker, out);
                }
                return;
            };
            if self.requests.get(request).is_some_and(|request| request.is_due(now)) {
                self.end_waiting(request, Outcome::TimedOut, out);
                continue;
            }
            let Some(service) = self.services.get_mut(id) else { return };
            if service.is_paused() {
                return;
            }
            let Some(worker) = self.keep_for_suspect(now, id, out) else { return };
            if self.workers.get(worker).is_none_or(|w| w.in_flight > 0 || w.congested) {
                return;
            }
            if let Some(service) = self.services.get_mut(id) {
                service.suspects.remove(&sequence);
                service.reserved = None;
            }
            self.take_out(request);
            if let Some(worker) = self.workers.get_mut(worker) {
                worker.reserved = false;
                worker.solo = true;
            }
            self.deliver(now, worker, request, out);
            if self.workers.get(worker).is_some_and(|worker| !worker.solo) {
                // It had no words for it, and goes on with what waits for it alone.
                self.serve_pinned(now, worker, out);
            }
        }
    }

    /// The worker that the first suspect waits for. That is being emptied, and may be long about what
    /// it has: whoever has nothing before that takes its place.
    fn keep_for_suspect<O: Output>(
        &mut self,
        now: Time,
        id: ServiceId,
        out: &mut O,
    ) -> Option<WorkerId> {
        let service = self.services.get_mut(id)?;
        let (before, next) = (service.reserved, service.ready.first());
        let is_free = |id: &WorkerId| {
            self.workers.get(*id).is_some_and(|worker| worker.in_flight == 0 && !worker.congested)
        };
        let free = before.filter(is_free).or_else(|| next.filter(is_free));
        let worker = free.or(before).or(next)?;
        if before == Some(worker) {
            return before;
        }
        service.reserved = Some(worker);
        self.reserve(worker, true);
        if let Some(before) = before {
            self.reserve(before, false);
            self.serve_pinned(now, before, out);
        }
        Some(worker)
    }

    fn reserve(&mut self, id: WorkerId, reserved: bool) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.reserved = reserved;
        }
        self.relist(id);
    }

    /// Notes that a request, which is in no queue any more, does not wait; returns its deadline.
    pub(super) fn take_out(&mut self, id: RequestId) -> Option<Time> {
        let request = self.requests.get(id)?;
        let deadline = request.terms().deadline;
        let (caller, cost, service) = (request.caller, request.cost, request.service);
        let pinned = request.is_pinned();
        if let Some(service) = self.services.get_mut(service).filter(|_| !pinned) {
            service.waiting_bytes = service.waiting_bytes.saturating_sub(cost);
        }
        if let Some(caller) = self.callers.get_mut(caller) {
            caller.waiting.remove(&mut self.requests, id);
        }
        deadline
    }

    /// Puts a request, which is in no place, in flight at a worker.
    #[inline]
    pub(super) fn deliver<O: Output>(
        &mut self,
        now: Time,
        worker_id: WorkerId,
        id: RequestId,
        out: &mut O,
    ) {
        let Some(worker) = self.workers.get_mut(worker_id) else { return };
        let voice = worker.voice;
        // A dialect may have no words for a request.
        if let WorkerVoice::Nfp(_) = voice
            && self.requests.get(id).is_some_and(|request| !voice.can_say(request.split().1))
        {
            // A suspect would have been alone with it.
            worker.solo &= worker.in_flight > 0;
            self.end(id, Outcome::Refused, out);
            return self.relist(worker_id);
        }
        if let Some(outcome) = self.fenced_out(now, id) {
            if let Some(worker) = self.workers.get_mut(worker_id) {
                worker.solo &= worker.in_flight > 0;
            }
            self.end(id, outcome, out);
            return self.relist(worker_id);
        }
        let Some(worker) = self.workers.get_mut(worker_id) else { return };
        worker.held.push_back(&mut self.requests, id);
        worker.in_flight += 1;
        worker.last_sent = now;
        let Some(request) = self.requests.get_mut(id) else { return };
        request.place = Place::InFlight(worker_id);
        request.delivered_at = now;
        let Some(service) = self.services.get_mut(worker.service) else { return };
        debug_assert!(!service.is_paused(), "work is given though the service is paused");
        service.in_flight += 1;
        service.stats.queue_wait.record(now.micros_since(request.accepted_at));
        let (header, body) = request.split();
        let mut work = Work {
            id,
            service: service.name.as_bytes(),
            header,
            body,
            attempt: request.deliveries() + 1,
            left: None,
            asker: None,
        };
        if voice.takes_cancel() {
            if let Some(caller) = self.callers.get_mut(request.caller) {
                if request.is_pinned() {
                    caller.add_part(id, &self.hasher);
                } else if request.voice.id().is_none() {
                    caller.name(id.token(), id, &self.hasher);
                }
                work.left = request.terms().deadline.map(|deadline| deadline.since(now));
                work.asker = Some(match &request.voice {
                    CallerVoice::Stored(stored) => &stored.asker,
                    _ => &caller.asker,
                });
            } else if let CallerVoice::Keyed(keyed) = &request.voice {
                work.left = request.terms().deadline.map(|deadline| deadline.since(now));
                work.asker = Some(&keyed.asker);
            } else if let CallerVoice::Revived(revived) = &request.voice {
                work.asker = Some(&revived.asker);
            }
        }
        match out.send(worker.peer, |encoder| voice.request(&work, encoder)) {
            Pressure::Low => {}
            Pressure::High => worker.congested = true,
        }
        self.relist(worker_id);
    }

    /// Puts the worker where it belongs in the ready list of its service.
    #[inline]
    pub(super) fn relist(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        let (from, to) = (worker.listed, worker.level());
        if from == to {
            return;
        }
        worker.listed = to;
        let Some(service) = self.services.get_mut(worker.service) else { return };
        let (ready, workers) = (&mut service.ready, &mut self.workers);
        match (from, to) {
            (Some(from), Some(to)) => ready.shift(workers, id, from, to),
            (Some(level), None) => ready.remove(workers, id, level),
            (None, Some(level)) => ready.insert(workers, id, level),
            (None, None) => {}
        }
    }

    /// Changes how many requests a worker takes at a time. Whether that is more than before.
    pub(crate) fn set_credit<O: Output>(
        &mut self,
        now: Time,
        id: WorkerId,
        credit: usize,
        out: &mut O,
    ) -> bool {
        if credit == 0 {
            self.retire(id);
        }
        let Some(worker) = self.workers.get_mut(id) else { return false };
        let takes_more = std::mem::replace(&mut worker.credit, credit) < credit;
        let service = worker.service;
        self.relist(id);
        self.serve_pinned(now, id, out);
        self.dispatch(now, service, out);
        takes_more
    }

    /// Takes a worker's credit, without looking who might have the work that it would have got.
    pub(super) fn retire(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        worker.credit = 0;
        worker.reserved = false;
        if let Some(service) = self.services.get_mut(worker.service)
            && service.reserved == Some(id)
        {
            service.reserved = None;
        }
        self.relist(id);
    }

    /// Replaces what a worker said of itself.
    pub(crate) fn set_about<O: Output>(&mut self, id: WorkerId, about: &[u8], out: &mut O) {
        if let Some(worker) = self.workers.get_mut(id) {
            out.take(about.len());
            out.release(worker.about.len());
            worker.about = about.into();
        }
    }

    /// The worker's outbox has room again.
    pub(crate) fn relieve<O: Output>(&mut self, now: Time, id: WorkerId, out: &mut O) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        worker.congested = false;
        let service = worker.service;
        self.relist(id);
        self.serve_pinned(now, id, out);
        self.dispatch(now, service, out);
    }

    /// Reads the callers again that wait for room in the service's queue, if there is enough.
    pub(super) fn resume_waiters<O: Output>(&mut self, id: ServiceId, out: &mut O) {
        let Some(service) = self.services.get_mut(id) else { return };
        if !service.paused.is_empty() && service.has_much_room() && !self.draining {
            let paused = std::mem::take(&mut service.paused);
            self.resume(paused, out);
        }
    }
}
