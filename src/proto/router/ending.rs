//! Requests end, or come back because their worker was lost.

use std::collections::BTreeSet;

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dead::SeenEnd;
use crate::proto::dialect::{CallerVoice, Reply, Shelf};
use crate::proto::output::{CloseReason, Output};
use crate::proto::stats::{Loss, Outcome};
use crate::wire::message::{Frames, Message};

use super::request::{Parts, Place, Request};
use super::service::ServiceId;
use super::stored::DepotNews;
use super::worker::WorkerId;
use super::{Pause, Router};

impl Router {
    /// Whether the worker holds the request: only the present holder may answer it.
    #[inline]
    pub(crate) fn holds(&self, worker: WorkerId, id: RequestId) -> bool {
        self.requests.get(id).is_some_and(|request| request.place == Place::InFlight(worker))
    }

    /// The final answer of the worker that holds the request, or its error.
    #[inline]
    pub(crate) fn finish<O: Output>(
        &mut self,
        now: Time,
        worker: WorkerId,
        id: RequestId,
        reply: &Reply<'_>,
        out: &mut O,
    ) {
        let Some(service_id) = self.release(worker, id) else { return };
        if let Reply::Error(header) = reply
            && self.fail_for_now(now, worker, id, header, out)
        {
            self.relist(worker);
            self.serve_pinned(now, worker, out);
            return self.dispatch(now, service_id, out);
        }
        if let (Some(request), Some(service)) =
            (self.requests.get(id), self.services.get_mut(service_id))
        {
            service.stats.service_time.record(now.micros_since(request.delivered_at));
        }
        let outcome = self.answer(now, id, reply, out);
        self.end(id, outcome, out);
        self.relist(worker);
        self.serve_pinned(now, worker, out);
        self.dispatch(now, service_id, out);
    }

    /// A part of the answer, of the worker that holds the request. It goes to the caller at once,
    /// or is kept if the caller takes only one message.
    pub(crate) fn part<O: Output>(
        &mut self,
        now: Time,
        id: RequestId,
        header: &[u8],
        body: Frames<'_>,
        out: &mut O,
    ) {
        let Some(request) = self.requests.get_mut(id) else { return };
        if let CallerVoice::Revived(_) = request.voice {
            return;
        }
        if request.voice.takes_parts() {
            request.answering = true;
            self.answer(now, id, &Reply::Part(header, body), out);
            return;
        }
        if let Some(key) = request.voice.key()
            && self.stream(key, header, body, out)
            && let Some(request) = self.requests.get_mut(id)
        {
            request.answering = true;
        }
        let Some(request) = self.requests.get_mut(id) else { return };
        let cost = body.bytes() + size_of::<Message>();
        let parts = &mut request.parts;
        let fits = !parts.overflow
            && parts.frames + body.len() < self.settings.answer_frames_max
            && parts.bytes + cost <= self.settings.answer_bytes_max
            && out.charge(cost);
        if fits {
            parts.kept.push(body.to_message());
            parts.frames += body.len();
            parts.bytes += cost;
        } else {
            out.release(parts.bytes);
            *parts = Parts { overflow: true, ..Parts::default() };
        }
    }

    /// The answer of a peer that was lost with the request and lives. It is taken if nobody else
    /// has been given the request; otherwise it comes too late, and is dropped and counted.
    pub(crate) fn finish_late<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        id: RequestId,
        reply: &Reply<'_>,
        out: &mut O,
    ) {
        let Some(request) = self.requests.get(id) else {
            self.forgotten.late_answers += 1;
            return;
        };
        let service_id = request.service;
        #[cfg(test)]
        request.witness_late(peer);
        let waits = !matches!(request.place, Place::InFlight(_)) && !request.is_due(now);
        // An error of one who lost the request is no reason not to have another one try.
        let answers = !matches!(reply, Reply::Error(_));
        if waits && answers && request.last_holder == Some(peer) {
            self.leave_queue(id);
            let outcome = self.answer(now, id, reply, out);
            self.end(id, outcome, out);
            // If a worker was being emptied for this request, it is free again.
            self.dispatch(now, service_id, out);
            self.resume_waiters(service_id, out);
        } else if let Some(service) = self.services.get_mut(service_id) {
            service.stats.late_answers += 1;
        }
    }

    /// A part of an answer, of a peer that was lost with the request. It goes nowhere, and so the
    /// rest of that answer is not to be taken either.
    pub(crate) fn part_late(&mut self, peer: PeerId, id: RequestId) {
        if let Some(request) = self.requests.get_mut(id)
            && request.last_holder == Some(peer)
        {
            request.last_holder = None;
        }
    }

    /// A worker is lost. What it held goes back to its old place, or ends if it may not be
    /// delivered again.
    pub(crate) fn lose<O: Output>(&mut self, now: Time, id: WorkerId, loss: Loss, out: &mut O) {
        // The newest first, so that the client of the oldest is the next one to be served.
        while let Some(request) = self.workers.get(id).and_then(|worker| worker.held.last()) {
            self.release(id, request);
            self.give_back(now, id, request, loss, out);
        }
        self.lose_pinned(id, out);
        if let Some(worker) = self.workers.get_mut(id) {
            worker.credit = 0;
        }
        self.relist(id);
        self.jobs.lose_worker(now, id);
        let Some(worker) = self.workers.remove(id) else { return };
        out.release(worker.about.len() + worker.name.len());
        #[cfg(test)]
        crate::proto::witness::saw("worker", "lost", loss.label());
        let Some(service) = self.services.get_mut(worker.service) else { return };
        service.workers.remove(&id);
        if worker.fenced {
            self.fenced_workers -= 1;
            service.drop_fence();
        }
        service.stats.lose_worker(loss);
        if service.reserved == Some(id) {
            service.reserved = None;
        }
        if service.workers.is_empty() {
            service.unserved_since = now;
            self.arm_expiry(now, worker.service);
        }
        self.dispatch(now, worker.service, out);
        self.forget_if_empty(worker.service, out);
    }

    /// A peer has gone: what it held goes back, what it asked for ends.
    pub(crate) fn forget_peer<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        worker: Option<WorkerId>,
        loss: Loss,
        out: &mut O,
    ) {
        // Nothing new is said to the peer: no work, and no error about its own requests.
        if let Some(worker) = worker {
            self.retire(worker);
        }
        self.leases.forget(now, peer);
        self.forget_caller(now, peer, out);
        if let Some(worker) = worker {
            self.lose(now, worker, loss, out);
        }
    }

    /// A peer has gone: its waiting requests end. Running ones finish, and their answers are
    /// dropped and counted.
    fn forget_caller<O: Output>(&mut self, now: Time, peer: PeerId, out: &mut O) {
        self.leave_keys(peer, out);
        self.cancel_all(peer, out);
        let mut suspected = BTreeSet::new();
        while let Some(id) = self.callers.get(peer).and_then(|caller| caller.waiting.first()) {
            suspected.extend(
                self.requests.get(id).filter(|r| r.place == Place::Suspect).map(|r| r.service),
            );
            self.end_waiting(id, Outcome::CallerGone, out);
        }
        // Workers that were being emptied for its suspects are free again.
        for service in suspected {
            self.dispatch(now, service, out);
        }
        match self.callers.remove(peer).and_then(|caller| caller.paused) {
            None | Some(Pause::Own | Pause::Rate(_)) => {}
            Some(Pause::Broker) => {
                self.paused.remove(&peer);
            }
            Some(Pause::Name) => self.paused_for_name.retain(|paused| *paused != peer),
            Some(Pause::Service(id)) => {
                if let Some(service) = self.services.get_mut(id) {
                    service.paused.remove(&peer);
                }
            }
        }
    }

    /// Takes a request from the worker that holds it, to no place; returns its service.
    #[inline]
    fn release(&mut self, worker_id: WorkerId, id: RequestId) -> Option<ServiceId> {
        let worker = self.workers.get_mut(worker_id)?;
        worker.held.remove(&mut self.requests, id);
        worker.in_flight -= 1;
        if worker.in_flight == 0 {
            worker.solo = false;
        }
        let service = self.services.get_mut(worker.service)?;
        service.in_flight -= 1;
        Some(worker.service)
    }

    fn give_back<O: Output>(
        &mut self,
        now: Time,
        worker: WorkerId,
        id: RequestId,
        loss: Loss,
        out: &mut O,
    ) {
        let holder = self.workers.get(worker).map(|worker| worker.peer);
        self.note_seen(now, worker, id, (SeenEnd::Lost, None), out);
        let Some(request) = self.requests.get_mut(id) else { return };
        let Some(service) = self.services.get_mut(request.service) else { return };
        let was_suspect = request.losses >= Request::SUSPECT_LOSSES;
        request.losses += 1;
        request.solo_losses += u32::from(was_suspect);
        request.void_asks(out);
        // Who has said a part of the answer cannot say the rest of it late: it would not be whole.
        let said_part = request.answering || request.parts.overflow || request.parts.frames > 0;
        request.last_holder = holder.filter(|_| !said_part);
        let policy = &service.policy;
        let key = request.voice.key();
        let outcome = if key.is_some_and(|key| self.keys.wanted_until(key) <= Some(now)) {
            Some(Outcome::TimedOut)
        } else if key.is_none()
            && !request.is_revived()
            && !self.callers.contains_key(request.caller)
        {
            Some(Outcome::CallerGone)
        } else if policy.at_most_once
            || request.is_pinned()
            || request.answering && !policy.resend_after_partial
            || request.terms().attempts.is_some_and(|most| request.deliveries() >= most.get())
        {
            Some(Outcome::WorkerLost)
        } else if request.solo_losses > 0 && request.counted() >= policy.attempts {
            Some(Outcome::Dead)
        } else if request.course.as_ref().is_some_and(|course| course.overdue) {
            Some(Outcome::Expired)
        } else {
            None
        };
        match outcome {
            Some(outcome) => {
                if key.is_some() && self.may_not_run_again(id, outcome) {
                    self.keep_end(now, id, outcome, out);
                }
                self.end(id, outcome, out);
            }
            None => {
                service.stats.redeliver(loss);
                #[cfg(test)]
                crate::proto::witness::saw("request", "redelivered", loss.label());
                out.release(std::mem::take(&mut request.parts).bytes);
                if let CallerVoice::Stored(stored) = &request.voice
                    && let Shelf::Depot(number) = stored.place
                {
                    let (losses, solo_losses) = (request.losses, request.solo_losses);
                    self.depot_news.push(DepotNews::Lost { number, losses, solo_losses });
                }
                self.wait(now, id);
            }
        }
    }

    /// Says an answer, or a part of it, to the caller, if there is one.
    #[inline]
    fn answer<O: Output>(
        &mut self,
        now: Time,
        id: RequestId,
        reply: &Reply<'_>,
        out: &mut O,
    ) -> Outcome {
        let Some(request) = self.requests.get(id) else { return Outcome::Unclaimed };
        let Some(service) = self.services.get(request.service) else { return Outcome::Unclaimed };
        let parts = &request.parts;
        match &request.voice {
            CallerVoice::Part(part) => {
                let name = service.name.as_bytes();
                if let Some(result) = part.result(name, &parts.kept, reply) {
                    self.jobs.keep_result(part.job, part.index, result, out);
                }
            }
            CallerVoice::Keyed(keyed) => {
                let key = keyed.key;
                return self.answer_all(now, key, id, reply, out);
            }
            CallerVoice::Stored(stored) => return self.answer_stored(stored.place, id, reply),
            CallerVoice::Revived(_) => {
                return match reply {
                    Reply::Error(_) => Outcome::Failed,
                    Reply::Part(..) | Reply::Final(..) => Outcome::Unclaimed,
                };
            }
            CallerVoice::Mdp(..) | CallerVoice::Mjp(_) | CallerVoice::Nobody => {}
        }
        if !self.callers.contains_key(request.caller) {
            return Outcome::Unclaimed;
        }
        let (bytes, frames) = reply.size();
        let outcome = match reply {
            Reply::Error(_) if request.voice.takes_errors() => Outcome::Failed,
            Reply::Error(_) => return Outcome::Failed,
            Reply::Part(..) | Reply::Final(..) => Outcome::Replied,
        };
        if outcome == Outcome::Replied
            && (parts.overflow
                || parts.frames + frames > self.settings.answer_frames_max
                || parts.bytes > 0 && parts.bytes + bytes > self.settings.answer_bytes_max)
        {
            return Outcome::AnswerTooBig;
        }
        let fits = out.offer(request.caller, parts.bytes + bytes, |encoder| {
            request.voice.answer(service.name.as_bytes(), &parts.kept, reply, encoder);
        });
        if fits {
            return outcome;
        }
        self.doomed.push((request.caller, CloseReason::SlowReader));
        Outcome::Unclaimed
    }
}
