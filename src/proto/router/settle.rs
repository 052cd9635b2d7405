//! The end of a request: what is said, what is counted, and what is given back.

use crate::id::{RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dialect::{CallerVoice, fault_of};
use crate::proto::output::{CloseReason, Output};
use crate::proto::stats::Outcome;

use super::request::{Place, Request};
use super::{Pause, Router};

impl Router {
    /// Takes a waiting request out of its queue, to no place.
    pub(super) fn leave_queue(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(id) else { return };
        let (caller, sequence) = (request.caller, request.sequence);
        if let Place::Pinned(worker) = request.place {
            if let Some(worker) = self.workers.get_mut(worker) {
                worker.pinned.remove(&sequence);
            }
        } else if let Some(service) = self.services.get_mut(request.service) {
            match request.place {
                Place::Suspect => {
                    service.suspects.remove(&sequence);
                }
                Place::Delayed(_) | Place::Behind => {
                    #[cfg(test)]
                    request.witness_let_go();
                    self.leave_hold(id);
                }
                _ => service.queue.remove(caller, sequence),
            }
        }
        self.take_out(id);
    }

    /// Ends a request that waits.
    pub(super) fn end_waiting<O: Output>(&mut self, id: RequestId, outcome: Outcome, out: &mut O) {
        let Some(service) = self.requests.get(id).map(|request| request.service) else { return };
        self.leave_queue(id);
        self.end(id, outcome, out);
        self.resume_waiters(service, out);
    }

    /// Ends a request wherever it is, because its caller does not wait any more. In flight, a husk
    /// of it is left, and its worker is asked to stop.
    pub(super) fn give_up<O: Output>(
        &mut self,
        now: Time,
        id: RequestId,
        outcome: Outcome,
        out: &mut O,
    ) {
        let Some(request) = self.requests.get_mut(id) else { return };
        let service_id = request.service;
        match request.place {
            Place::Waiting | Place::Pinned(_) | Place::Delayed(_) | Place::Behind => {
                self.end_waiting(id, outcome, out);
            }
            Place::Suspect => {
                self.end_waiting(id, outcome, out);
                // If a worker was being emptied for this request, it is free again.
                self.dispatch(now, service_id, out);
            }
            Place::InFlight(worker) => {
                let husk = Box::new(request.husk());
                let kept = husk.cost;
                let ended = std::mem::replace(request, husk);
                self.husks += 1;
                if let Some(service) = self.services.get_mut(service_id) {
                    service.husks += 1;
                }
                self.settle(id, ended, outcome, kept, out);
                if let Some(worker) = self.workers.get(worker) {
                    let voice = worker.voice;
                    if voice.takes_cancel() {
                        out.send(worker.peer, |encoder| voice.cancel(id, encoder));
                    }
                }
                self.resume_paused(out);
            }
        }
    }

    /// Ends a request that is in no place.
    #[inline]
    pub(super) fn end<O: Output>(&mut self, id: RequestId, outcome: Outcome, out: &mut O) {
        let Some(request) = self.requests.remove(id) else { return };
        self.leave_line(&request);
        let service = request.service;
        if request.is_husk() {
            out.release(request.cost);
            self.husks -= 1;
            if let Some(service) = self.services.get_mut(service) {
                service.husks -= 1;
            }
            self.put_away(request);
        } else {
            self.settle(id, request, outcome, 0, out);
        }
        self.resume_paused(out);
        self.forget_if_empty(service, out);
    }

    /// Tells the caller, counts, and gives back all memory but what is `kept`.
    #[inline]
    fn settle<O: Output>(
        &mut self,
        id: RequestId,
        mut request: Box<Request>,
        outcome: Outcome,
        kept: usize,
        out: &mut O,
    ) {
        #[cfg(test)]
        request.witness_end(outcome);
        self.leave_agenda(&request);
        if let CallerVoice::Revived(revived) = &request.voice {
            self.revived.remove(&revived.id);
        }
        out.release(request.cost + request.parts.bytes + request.asks_cost() - kept);
        out.release(request.history_cost());
        if request.voice.takes_errors() {
            self.timed -= usize::from(request.terms().deadline.is_some());
            self.say_end(&mut request, outcome, out);
        }
        if let CallerVoice::Part(part) = &request.voice {
            let service = self.services.get(request.service).map(|service| &service.name);
            let service = service.map(ServiceName::as_bytes).unwrap_or_default();
            if let Some(result) = part.result_of(service, outcome) {
                self.jobs.keep_result(part.job, part.index, result, out);
            }
            self.ended_parts.push((part.job, part.index, outcome));
        }
        if let CallerVoice::Stored(stored) = &request.voice {
            self.end_stored(stored.place, &request, outcome);
        }
        if let Some(caller) = self.callers.get_mut(request.caller) {
            caller.requests -= 1;
            caller.bytes -= request.cost;
            if request.is_pinned() {
                caller.remove_part(id);
            } else if caller.named.is_some()
                && caller.unname(request.voice.id().unwrap_or_else(|| id.token()))
            {
                self.roomy.push(request.caller);
            }
            if caller.paused == Some(Pause::Own)
                && caller.has_much_room(&self.settings.client)
                && !self.draining
            {
                caller.paused = None;
                out.resume(request.caller);
            }
        }
        if let Some(service) = self.services.get_mut(request.service) {
            service.stats.end(outcome);
        }
        if outcome == Outcome::Replied {
            self.put_away(request);
        } else {
            self.bury(id, *request, outcome);
        }
    }

    /// Tells a caller that can be told how its request ended, if that was not by an answer.
    fn say_end<O: Output>(&mut self, request: &mut Request, outcome: Outcome, out: &mut O) {
        /// Octets of ERROR, about.
        const ERROR: usize = 256;
        if fault_of(outcome).is_none() {
            return;
        }
        if let CallerVoice::Stored(_) = &request.voice {
            return;
        }
        if let Some(key) = request.voice.key() {
            return self.end_key(key, request, outcome, out);
        }
        let (caller, end) = (request.caller, (outcome, self.epoch_for(request, outcome)));
        let Some(service) = self.services.get(request.service) else { return };
        let service = service.name.as_bytes();
        if self.callers.contains_key(caller)
            && !out.offer(caller, ERROR, |encoder| request.voice.error(service, end, encoder))
        {
            self.doomed.push((caller, CloseReason::SlowReader));
        }
    }
}
