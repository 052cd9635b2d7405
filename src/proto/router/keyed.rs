//! Requests with a key: asked once or several times, carried out as one, answered to all who wait.
//!
//! While its first caller waits, the request is that caller's, and has its place among its others.
//! When that one has gone, has cancelled or waits no longer, it is nobody's: no peer has the null
//! handle, and so nobody's requests have a lane of their own, like those of one client.

use crate::id::{PeerId, Principal, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::{Asker, CallerVoice, Keyed, Native, Reply, fault, fault_of};
use crate::proto::keys::{Kept, KeyId, Known, Scope, Waiter};
use crate::proto::output::{CloseReason, Output};
use crate::proto::stats::Outcome;
use crate::wire::codec::Encoder;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{self, Code, Digest, FromBroker, Packed};

use super::Router;
use super::accept::Refusal;
use super::fence::Wanted;
use super::request::{Place, Request};

/// What is asked under a key.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) wanted: Wanted<'a>,
    pub(crate) principal: Principal,
    pub(crate) scope: Scope,
    pub(crate) digest: Digest,
    pub(crate) native: Native,
}

impl Router {
    /// Octets of an ERROR, or of ACCEPTED, about.
    const WORD: usize = 256;

    /// Accepts a request with a key; or has its caller wait for the answer of the same request,
    /// which is under way; or answers it from what was kept.
    ///
    /// # Errors
    /// [`Refusal`]; the request was not accepted, and does not wait for another one.
    pub(crate) fn ask<O: Output>(
        &mut self,
        now: Time,
        caller: PeerId,
        asked: Asked<'_>,
        kept: Frames<'_>,
        out: &mut O,
    ) -> Result<(), Refusal> {
        if self.is_open(caller, asked.native.id) {
            return Err(Refusal::DuplicateId);
        }
        let known = self.keys.look(now, &asked.scope, asked.digest);
        out.release(self.keys.take_freed());
        let taken = match known {
            Known::New => self.ask_first(now, caller, asked, kept, out),
            Known::Running(key, id) => self.attach(now, (key, id), caller, &asked.native, out),
            Known::Done(key) => {
                self.replay(key, caller, &asked.native, out);
                Ok(())
            }
            Known::Other => {
                self.keys.stats.conflicts += 1;
                Err(Refusal::Conflict)
            }
        };
        #[cfg(test)]
        crate::proto::witness::saw("key", known.label(), if taken.is_ok() { "yes" } else { "no" });
        taken
    }

    fn ask_first<O: Output>(
        &mut self,
        now: Time,
        caller: PeerId,
        asked: Asked<'_>,
        kept: Frames<'_>,
        out: &mut O,
    ) -> Result<(), Refusal> {
        if !self.keys.has_room(&asked.principal) {
            return Err(Refusal::Overloaded);
        }
        let Asked { wanted, principal, scope, digest, native } = asked;
        let (name, parts, deadline) = (native.id, native.parts, native.terms.deadline);
        let cost = Request::cost_of(Keyed::BYTES + kept.bytes() + wanted.bytes());
        let waiter = Waiter { peer: caller, id: name, parts, deadline, cost, owner: true };
        let key = self.keys.begin((principal, scope), digest, waiter);
        let asker = self.asker_of(caller);
        let voice = CallerVoice::Keyed(Box::new(Keyed { key, first: native, asker }));
        let accepted = self.accept(now, caller, voice, wanted, kept, out);
        match accepted {
            // Or it has ended already.
            Ok(request) if self.requests.contains_key(request) => {
                self.keys.set_request(key, request);
            }
            Ok(_) => {}
            Err(_) => {
                // Nothing was charged for it.
                self.keys.end(key);
                self.keys.take_freed();
            }
        }
        self.keys.trim(&principal);
        out.release(self.keys.take_freed());
        accepted.map(drop)
    }

    fn asker_of(&self, caller: PeerId) -> Asker {
        self.callers.get(caller).map(|caller| caller.asker.clone()).unwrap_or_default()
    }

    /// One more caller waits for the answer.
    fn attach<O: Output>(
        &mut self,
        now: Time,
        (key, id): (KeyId, RequestId),
        caller: PeerId,
        native: &Native,
        out: &mut O,
    ) -> Result<(), Refusal> {
        let Some(request) = self.requests.get(id) else { return Err(Refusal::Overloaded) };
        let missed = request.parts.frames > 0 || request.parts.overflow;
        let deadline = native.terms.deadline;
        let limits = &self.settings.client;
        let has_room = self.callers.get(caller).is_none_or(|c| c.has_room(limits, Waiter::COST));
        if !has_room || !self.keys.has_place(key) || !out.charge(Waiter::COST) {
            return Err(Refusal::Overloaded);
        }
        if let Some(entry) = self.callers.entry(caller) {
            let caller = entry.or_default();
            caller.requests += 1;
            caller.bytes += Waiter::COST;
            caller.name(native.id, id, &self.hasher);
        }
        let parts = native.parts && !missed;
        let (peer, cost) = (caller, Waiter::COST);
        self.keys.attach(key, Waiter { peer, id: native.id, parts, deadline, cost, owner: false });
        if native.ack {
            self.say(caller, Self::WORD, out, |encoder| native.accepted(true, encoder));
        }
        self.set_deadline(id, key);
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.expire_keys(now, out);
        }
        Ok(())
    }

    /// Says what was answered before.
    fn replay<O: Output>(&mut self, key: KeyId, caller: PeerId, native: &Native, out: &mut O) {
        self.keys.stats.replayed += 1;
        if native.ack {
            self.say(caller, Self::WORD, out, |encoder| native.accepted(true, encoder));
        }
        let Some(answer) = self.keys.answer(key) else { return };
        let fits =
            out.offer(caller, answer.bytes(), |encoder| say_kept(answer, native.id, encoder));
        if !fits {
            self.doomed.push((caller, CloseReason::SlowReader));
        }
    }

    /// A part of the answer, for those who have missed none. Returns whether there are any.
    pub(super) fn stream<O: Output>(
        &mut self,
        key: KeyId,
        header: &[u8],
        body: Frames<'_>,
        out: &mut O,
    ) -> bool {
        let bytes = header.len() + body.bytes();
        let mut some = false;
        for waiter in self.keys.waiters(key).iter().filter(|waiter| waiter.parts) {
            let part = FromBroker::Partial(mjp::Answer { id: waiter.id, header, body });
            some = true;
            if !out.offer(waiter.peer, bytes, |encoder| part.encode(encoder)) {
                self.doomed.push((waiter.peer, CloseReason::SlowReader));
            }
        }
        some
    }

    /// The answer of a worker: it is kept, and goes to all who wait.
    pub(super) fn answer_all<O: Output>(
        &mut self,
        now: Time,
        key: KeyId,
        id: RequestId,
        reply: &Reply<'_>,
        out: &mut O,
    ) -> Outcome {
        let Some(request) = self.requests.get_mut(id) else { return Outcome::Unclaimed };
        let parts = std::mem::take(&mut request.parts);
        let (bytes, frames) = reply.size();
        let too_big = matches!(reply, Reply::Final(..))
            && (parts.overflow
                || parts.frames + frames > self.settings.answer_frames_max
                || parts.bytes > 0 && parts.bytes + bytes > self.settings.answer_bytes_max);
        let waiters = self.keep(now, key, &parts.kept, reply, too_big, out);
        let mut told = None;
        for waiter in waiters {
            let whole = !waiter.parts && matches!(reply, Reply::Final(..));
            let size = bytes + if whole { parts.bytes } else { 0 };
            let fits = out.offer(waiter.peer, size, |encoder| match *reply {
                Reply::Final(..) if whole && too_big => too_big_fault().encode(waiter.id, encoder),
                Reply::Final(header, body) | Reply::Part(header, body) => {
                    let earlier = if whole { parts.kept.as_slice() } else { &[] };
                    mjp::Answer { id: waiter.id, header, body }.encode_whole(earlier, encoder);
                }
                Reply::Error(header) => {
                    FromBroker::Error(mjp::Failure { id: waiter.id, header }).encode(encoder);
                }
            });
            if fits {
                let outcome = match reply {
                    Reply::Error(_) => Outcome::Failed,
                    _ if whole && too_big => Outcome::AnswerTooBig,
                    _ => Outcome::Replied,
                };
                // One who got the answer counts before one who could not.
                told = Some(told.map_or(outcome, |told: Outcome| told.min(outcome)));
            } else {
                self.doomed.push((waiter.peer, CloseReason::SlowReader));
            }
            self.dismiss(&waiter, out);
        }
        out.release(parts.bytes);
        if let Some(request) = self.requests.get_mut(id) {
            request.caller = PeerId::default();
        }
        told.unwrap_or(Outcome::Unclaimed)
    }

    /// Keeps what is answered for who asks again; gives those who wait. An answer that cannot be
    /// kept is remembered as such: the request was carried out.
    fn keep<O: Output>(
        &mut self,
        now: Time,
        key: KeyId,
        parts: &[Message],
        reply: &Reply<'_>,
        too_big: bool,
        out: &mut O,
    ) -> Vec<Waiter> {
        let kept = match *reply {
            Reply::Error(header) => Kept::Error(header.into()),
            Reply::Final(..) | Reply::Part(..) if too_big => {
                Kept::Error(Packed::new(&too_big_fault()).octets().into())
            }
            Reply::Final(header, body) | Reply::Part(header, body) => {
                let mut whole = vec![Message::from(header.to_vec())];
                whole.extend_from_slice(parts);
                whole.push(body.to_message());
                Kept::Final(Box::new(Message::joined(&whole)))
            }
        };
        let kept = if self.keys.fits(kept.bytes()) {
            kept
        } else {
            let why = "it was answered, and the answer was over limits.keys_bytes: it is not kept";
            Kept::Error(Packed::new(&fault(Code::TooBig, why)).octets().into())
        };
        let bytes = kept.bytes();
        while self.keys.is_crowded_by(bytes) && self.keys.evict() {}
        // However short memory is, what has been carried out is remembered. Older answers go for it
        // until there is room, or as much was given back.
        let mut freed = self.keys.take_freed();
        out.release(freed);
        while !out.charge(bytes) {
            if freed >= bytes || !self.keys.evict() {
                out.take(bytes);
                break;
            }
            let more = self.keys.take_freed();
            freed += more;
            out.release(more);
        }
        self.keys.keep(now, key, kept)
    }

    /// Whether the end of a request says that it is not to be delivered again, whoever asks.
    pub(super) fn may_not_run_again(&self, id: RequestId, outcome: Outcome) -> bool {
        let Some(request) = self.requests.get(id) else { return false };
        let service = self.services.get(request.service);
        match outcome {
            Outcome::Dead => true,
            Outcome::WorkerLost => {
                service.is_some_and(|service| service.policy.at_most_once)
                    || request
                        .terms()
                        .attempts
                        .is_some_and(|most| request.deliveries() >= most.get())
            }
            _ => false,
        }
    }

    /// Tells all who wait how their request ended, and keeps that for who asks again.
    pub(super) fn keep_end<O: Output>(
        &mut self,
        now: Time,
        id: RequestId,
        outcome: Outcome,
        out: &mut O,
    ) {
        let key = self.requests.get(id).and_then(|request| request.voice.key());
        if let (Some(key), Some(fault)) = (key, fault_of(outcome)) {
            let header = Packed::new(&fault);
            self.answer_all(now, key, id, &Reply::Error(header.octets()), out);
        }
    }

    /// A request ended in a way that is not kept: whoever asks it again has it carried out anew.
    pub(super) fn end_key<O: Output>(
        &mut self,
        key: KeyId,
        request: &mut Request,
        outcome: Outcome,
        out: &mut O,
    ) {
        let Some(waiters) = self.keys.end(key) else { return };
        let end = (outcome, self.epoch_for(request, outcome));
        for waiter in waiters {
            self.tell_end(&waiter, end, out);
        }
        request.caller = PeerId::default();
        out.release(self.keys.take_freed());
    }

    /// A caller wants its answer no more. The last one ends the request by that.
    pub(super) fn cancel_keyed<O: Output>(
        &mut self,
        now: Time,
        (key, id): (KeyId, RequestId),
        caller: PeerId,
        name: u64,
        out: &mut O,
    ) {
        if self.keys.is_last(key) {
            return self.give_up(now, id, Outcome::Cancelled, out);
        }
        if let Some(waiter) = self.keys.detach(key, caller, name, false) {
            self.let_go(id, &waiter, out);
            self.tell_end(&waiter, (Outcome::Cancelled, None), out);
            self.set_deadline(id, key);
        }
    }

    /// A caller has gone. What it asked under a key goes on, and its answer is kept.
    pub(super) fn leave_keys<O: Output>(&mut self, peer: PeerId, out: &mut O) {
        if self.keys.is_empty() {
            return;
        }
        let named = self.callers.get(peer).and_then(|caller| caller.named.as_ref());
        let keyed = named.into_iter().flat_map(|named| named.iter()).filter_map(|(name, id)| {
            let request = self.requests.get(*id)?;
            Some((request.sequence, *name, *id, request.voice.key()?))
        });
        let mut keyed: Vec<_> = keyed.collect();
        keyed.sort_unstable();
        for (_, name, id, key) in keyed {
            if let Some(waiter) = self.keys.detach(key, peer, name, true) {
                self.let_go(id, &waiter, out);
                self.dismiss(&waiter, out);
            }
        }
    }

    /// Tells those whose time is up. A request that nobody waits for any more ends by that, unless a
    /// worker has it: its answer is kept. Old answers are forgotten.
    pub(super) fn expire_keys<O: Output>(&mut self, now: Time, out: &mut O) {
        while let Some((key, id, late)) = self.keys.pop_due(now) {
            for waiter in late {
                self.let_go(id, &waiter, out);
                self.tell_end(&waiter, (Outcome::TimedOut, None), out);
            }
            let in_flight = self
                .requests
                .get(id)
                .is_some_and(|request| matches!(request.place, Place::InFlight(_)));
            if self.keys.wanted_until(key).is_none() && !in_flight {
                self.give_up(now, id, Outcome::TimedOut, out);
            } else {
                self.set_deadline(id, key);
            }
        }
        self.keys.forget_old(now);
        out.release(self.keys.take_freed());
    }

    /// The request is due when nobody waits for it any more.
    fn set_deadline(&mut self, id: RequestId, key: KeyId) {
        let deadline = self.keys.wanted_until(key).filter(|until| *until < Time::MAX);
        let Some(request) = self.requests.get_mut(id) else { return };
        let CallerVoice::Keyed(keyed) = &mut request.voice else { return };
        let before = std::mem::replace(&mut keyed.first.terms.deadline, deadline);
        if before == deadline {
            return;
        }
        self.timed -= usize::from(before.is_some());
        self.timed += usize::from(deadline.is_some());
        if let Some(deadline) = deadline {
            self.arm_deadline(deadline, id);
        }
    }

    /// A request is nobody's if its first caller waits for it no more.
    fn let_go<O: Output>(&mut self, id: RequestId, waiter: &Waiter, out: &mut O) {
        if !waiter.owner {
            return;
        }
        self.leave_asks(id, out);
        let Some(request) = self.requests.get_mut(id) else { return };
        let caller = std::mem::take(&mut request.caller);
        let (sequence, place) = (request.sequence, request.place);
        if place == Place::Waiting
            && let Some(service) = self.services.get_mut(request.service)
        {
            service.queue.remove(caller, sequence);
            service.queue.insert(PeerId::default(), sequence, id);
        }
        if let Some(caller) = self.callers.get_mut(caller)
            && !matches!(place, Place::InFlight(_))
        {
            caller.waiting.remove(&mut self.requests, id);
        }
    }

    /// A caller that waited does not any more: nothing counts against it.
    fn dismiss<O: Output>(&mut self, waiter: &Waiter, out: &mut O) {
        if !waiter.owner {
            out.release(Waiter::COST);
        }
        if let Some(caller) = self.callers.get_mut(waiter.peer) {
            caller.requests -= 1;
            caller.bytes -= waiter.cost;
            if caller.unname(waiter.id) {
                self.roomy.push(waiter.peer);
            }
        }
    }

    /// Tells a caller how it ended for that one.
    fn tell_end<O: Output>(
        &mut self,
        waiter: &Waiter,
        (outcome, epoch): (Outcome, Option<u64>),
        out: &mut O,
    ) {
        self.dismiss(waiter, out);
        if let Some(fault) = fault_of(outcome).map(|fault| mjp::Fault { epoch, ..fault }) {
            self.say(waiter.peer, Self::WORD, out, |encoder| fault.encode(waiter.id, encoder));
        }
    }

    /// Says something to a caller; one that does not read is closed.
    fn say<O: Output>(
        &mut self,
        peer: PeerId,
        bytes: usize,
        out: &mut O,
        write: impl FnOnce(&mut Encoder),
    ) {
        if !out.offer(peer, bytes, write) {
            self.doomed.push((peer, CloseReason::SlowReader));
        }
    }
}

/// The answer is too big to be said, or kept, in one.
pub(super) fn too_big_fault() -> mjp::Fault<'static> {
    fault(Code::TooBig, "the answer is over limits.frames or limits.message")
}

/// Says an answer that was kept.
pub(crate) fn say_kept(answer: &Kept, id: u64, out: &mut Encoder) {
    match answer {
        Kept::Final(answer) => {
            let mut body = answer.frames();
            let header = body.take_first().unwrap_or_default();
            FromBroker::Final(mjp::Answer { id, header, body }).encode(out);
        }
        Kept::Error(header) => FromBroker::Error(mjp::Failure { id, header }).encode(out),
    }
}
