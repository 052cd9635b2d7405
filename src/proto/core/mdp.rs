//! What Majordomo peers say, carried out.

use crate::id::{PeerId, RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dialect::mdp::{Action, Event};
use crate::proto::dialect::{CallerVoice, Envelope, Reply, State, WorkerVoice};
use crate::proto::keepalive::{Busy, End, Watch};
use crate::proto::mmi;
use crate::proto::output::{CloseReason, Output};
use crate::proto::policy::Keepalive;
use crate::proto::rights::Verb as Right;
use crate::proto::router::{Offer, Worker, WorkerId};
use crate::proto::stats::Loss;
use crate::wire::mdp::{
    Answer, FromWorker, Malformed, Request, ToBroker, ToClient, ToWorker, Version,
};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::Code;

use super::nfp::is_reserved;
use super::{Core, Refusal, Taken};

impl Core {
    /// A message in any shape, good or bad.
    pub(super) fn on_mdp<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        message: Frames<'_>,
        out: &mut O,
    ) -> Taken {
        match ToBroker::decode(message) {
            Ok(ToBroker::Request(request)) => return self.on_request(now, id, request, out),
            Ok(ToBroker::Worker(version, FromWorker::Final(answer))) => {
                self.on_final(now, id, version, answer, out);
            }
            Ok(ToBroker::Worker(version, command)) => {
                self.on_command(now, id, version, command, out);
            }
            // RFC 28: an empty message probes a ROUTER and means nothing.
            Err(Malformed::Probe) => {}
            Err(malformed) => self.count_invalid(malformed.label()),
        }
        Taken::Yes
    }

    #[inline]
    pub(super) fn on_request<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        request: Request<'_>,
        out: &mut O,
    ) -> Taken {
        match self.advance(id, Event::Request(request.version)) {
            Some(Action::Accept) => {}
            Some(Action::Dismiss) => {
                self.dismiss(now, id, Loss::Misbehaved, out);
                return Taken::Yes;
            }
            _ => {
                self.dropped += 1;
                return Taken::Yes;
            }
        }
        if let Err(wait) = self.take_turn(now, id) {
            self.router.pause_for(now, id, wait);
            return Taken::NotYet;
        }
        if self.is_titanic(request.service) {
            let voice = CallerVoice::Mdp(request.version, Envelope::keep(request.envelope));
            return self.on_titanic(now, id, voice, (request.service, request.body), out);
        }
        let allowed = self.may(id, Right::Call, request.service, out);
        if request.service.starts_with(mmi::PREFIX) {
            self.answer_mmi(id, &request, allowed, out);
            return Taken::Yes;
        }
        // MDP has no word for that.
        let fenced = self.router.check_fence(now, Some(request.service), None).is_err();
        if fenced {
            self.router.leases.count_refused(false);
        }
        if !allowed || fenced {
            self.dropped += 1;
            return Taken::Yes;
        }
        let voice = CallerVoice::Mdp(request.version, Envelope::keep(request.envelope));
        match self.router.accept(now, id, voice, request.service.into(), request.body, out) {
            Ok(_) => Taken::Yes,
            Err(Refusal::NotYet) => Taken::NotYet,
            // A client of MDP is paused where one of MJP is told.
            Err(
                Refusal::Overloaded | Refusal::Draining | Refusal::DuplicateId | Refusal::Conflict,
            ) => Taken::Yes,
            Err(Refusal::BadName(_)) => {
                self.count_invalid(Malformed::NoService.label());
                Taken::Yes
            }
        }
    }

    /// The last answer to a request.
    #[inline]
    pub(super) fn on_final<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        version: Version,
        answer: Answer<'_>,
        out: &mut O,
    ) {
        let Some(peer) = self.peers.get(id) else { return };
        let held = peer.worker.zip(request_of(&answer));
        let held = held.filter(|(worker, request)| self.router.holds(*worker, *request));
        let event = held.map_or(Event::Stray(version), |_| Event::Final(version));
        let action = self.advance(id, event);
        if let (Some(Action::Finish), Some((worker, request))) = (action, held) {
            self.note_answer(now, id);
            self.router.finish(now, worker, request, &Reply::Final(&[], answer.body), out);
        } else {
            self.carry_out(now, id, version, action, FromWorker::Final(answer), out);
        }
    }

    /// Any other command.
    fn on_command<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        version: Version,
        command: FromWorker<'_>,
        out: &mut O,
    ) {
        let Some(peer) = self.peers.get(id) else { return };
        let event = self.event_of(peer.worker, version, &command);
        let action = self.advance(id, event);
        self.carry_out(now, id, version, action, command, out);
    }

    fn carry_out<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        version: Version,
        action: Option<Action>,
        command: FromWorker<'_>,
        out: &mut O,
    ) {
        let Some(action) = action else {
            self.dropped += 1;
            return;
        };
        match (action, command) {
            (Action::Part, FromWorker::Partial(answer)) => {
                if let Some(request) = request_of(&answer) {
                    self.note_answer(now, id);
                    self.router.part(now, request, &[], answer.body, out);
                }
            }
            (Action::Register, FromWorker::Ready { service }) => {
                self.register(now, id, version, service, out);
            }
            (Action::Note, _) => self.note_beat(now, id),
            (Action::Disconnect, _) => say_disconnect(id, version, out),
            (Action::Late, command) => self.take_late(now, id, &command, out),
            (Action::LateDisconnect, command) => {
                say_disconnect(id, version, out);
                self.take_late(now, id, &command, out);
            }
            (Action::Dismiss, _) => self.dismiss(now, id, Loss::Misbehaved, out),
            (Action::Release, _) => self.unregister(now, id, Loss::Left, out),
            (Action::Drop, FromWorker::Partial(answer)) => {
                if let Some(request) = request_of(&answer) {
                    self.router.part_late(id, request);
                }
                self.dropped += 1;
            }
            _ => self.dropped += 1,
        }
    }

    /// What a worker's command means, given what the worker holds. Bad commands are counted.
    #[inline]
    fn event_of(
        &mut self,
        worker: Option<WorkerId>,
        version: Version,
        command: &FromWorker<'_>,
    ) -> Event {
        let holds = |answer: &Answer<'_>| {
            worker.zip(request_of(answer)).is_some_and(|(w, r)| self.router.holds(w, r))
        };
        match command {
            FromWorker::Partial(answer) if holds(answer) => Event::Partial(version),
            FromWorker::Final(_) => Event::Stray(version),
            FromWorker::Partial(_) => Event::StrayPart(version),
            FromWorker::Heartbeat => Event::Heartbeat(version),
            FromWorker::Disconnect => Event::Disconnect(version),
            FromWorker::Ready { service }
                if is_reserved(service)
                    || self.is_titanic(service)
                    || ServiceName::try_from(*service).is_err() =>
            {
                Event::BadReady(version)
            }
            FromWorker::Ready { .. } => Event::Ready(version),
            FromWorker::BadReady(malformed) => {
                self.count_invalid(malformed.label());
                Event::BadReady(version)
            }
            FromWorker::BadAnswer(malformed) => {
                self.count_invalid(malformed.label());
                Event::Stray(version)
            }
            FromWorker::Invalid(malformed) => {
                self.count_invalid(malformed.label());
                Event::Invalid(version)
            }
        }
    }

    /// Moves the peer to its next state.
    #[inline]
    fn advance(&mut self, id: PeerId, event: Event) -> Option<Action> {
        // A connection that speaks MJP speaks nothing else.
        let State::Mdp(state) = &mut self.peers.get_mut(id)?.state else { return None };
        #[cfg(test)]
        state.witness(event);
        let (next, action) = state.on(event);
        *state = next;
        Some(action)
    }

    /// An answer of a peer that is no worker any more.
    fn take_late<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        command: &FromWorker<'_>,
        out: &mut O,
    ) {
        if let FromWorker::Final(answer) = command
            && let Some(request) = request_of(answer)
        {
            let reply = Reply::Final(&[], answer.body);
            self.router.finish_late(now, id, request, &reply, out);
        }
    }

    fn answer_mmi<O: Output>(
        &mut self,
        id: PeerId,
        request: &Request<'_>,
        allowed: bool,
        out: &mut O,
    ) {
        let status = if allowed {
            mmi::status(&self.router, request.service, request.body)
        } else {
            mmi::DENIED
        };
        let status = Message::new([status]);
        let fits = out.offer(id, status.bytes(), |encoder| {
            let answer = ToClient {
                version: request.version,
                last: true,
                service: request.service,
                body: status.frames(),
            };
            answer.encode(&request.envelope, &[], encoder);
        });
        if !fits {
            self.router.doom(id, CloseReason::SlowReader);
        }
    }

    fn register<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        version: Version,
        service: &[u8],
        out: &mut O,
    ) {
        let voice = WorkerVoice::Mdp(version);
        if !self.may(id, Right::Serve, service, out) {
            // Its next HEARTBEAT is answered by DISCONNECT: there are workers that come back at
            // once when they hear it, again and again.
            self.advance(id, Event::Expired);
            return;
        }
        let worker = ServiceName::try_from(service).ok().and_then(|name| {
            let offer = Offer { voice, name, credit: None, about: &[], fence: None };
            self.router.register(now, id, offer, out)
        });
        match worker {
            Some(worker) => self.watch(now, id, worker, out),
            None => {
                // No room for one more service: as if its time were up already.
                self.advance(id, Event::Expired);
                say_disconnect(id, version, out);
            }
        }
    }

    /// A worker has registered: from now on it has to show that it lives.
    pub(super) fn watch<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        worker: WorkerId,
        out: &mut O,
    ) {
        if let Some(peer) = self.peers.get_mut(id) {
            self.house_workers += usize::from(peer.house && peer.worker.is_none());
            peer.worker = Some(worker);
            (peer.registered, peer.beats_heard, peer.beats_sent) = (now, 0, 0);
            // Workers of MJP and NFP beat while they work; one of MDP has to be seen to.
            peer.beats_while_busy = !matches!(peer.state, State::Mdp(_));
            // To learn whether it answers: only then may silence be held against it later.
            if peer.takes_ping {
                out.ping(id);
            }
        }
        self.announce_worker("worker.registered", id, worker, out);
        if self.titanic.is_some()
            && let Some(service) = self.router.service_of(worker).cloned()
        {
            self.wake_titanic(&service);
        }
        self.retry_depot_of(worker);
        let interval = self.keepalive_of(id).interval;
        self.arm(id, now.after(interval));
    }

    /// How often a worker and the broker show one another that they live.
    pub(super) fn keepalive_of(&self, id: PeerId) -> Keepalive {
        match self.peers.get(id).map(|peer| peer.state) {
            Some(State::Nfp(_)) => self.settings.nfp.keepalive,
            _ => self.settings.mdp,
        }
    }

    /// Takes a worker out of the tables. It has been put into its next state already.
    pub(super) fn unregister<O: Output>(&mut self, now: Time, id: PeerId, loss: Loss, out: &mut O) {
        self.withdraw_handler(now, id, out);
        let Some(peer) = self.peers.get_mut(id) else { return };
        if let Some(worker) = peer.worker.take() {
            self.house_workers -= usize::from(peer.house);
            self.announce_worker("worker.lost", id, worker, out);
            self.router.lose(now, worker, loss, out);
        }
    }

    /// As [`Self::unregister`], saying DISCONNECT.
    fn dismiss<O: Output>(&mut self, now: Time, id: PeerId, loss: Loss, out: &mut O) {
        let worker = self.peers.get(id).and_then(|peer| peer.worker);
        let worker = worker.and_then(|worker| self.router.worker(worker));
        if let Some(WorkerVoice::Mdp(version)) = worker.map(Worker::voice) {
            say_disconnect(id, version, out);
        }
        self.unregister(now, id, loss, out);
    }

    /// A worker counts as gone, though its connection is there; the code says why, if there is a
    /// word for it.
    pub(super) fn expire<O: Output>(&mut self, now: Time, id: PeerId, code: Code, out: &mut O) {
        match self.peers.get(id).map(|peer| peer.state) {
            Some(State::Mjp(_)) => self.expire_mjp(now, id, code, out),
            Some(State::Nfp(_)) => self.expire_nfp(now, id, code, out),
            Some(State::Mdp(_)) if self.advance(id, Event::Expired) == Some(Action::Dismiss) => {
                self.dismiss(now, id, loss_for(code), out);
            }
            Some(State::Mdp(_) | State::Zio) | None => {}
        }
    }

    #[inline]
    pub(super) fn note_answer(&mut self, now: Time, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.spoke = now;
            peer.answered = now;
        }
    }

    /// A HEARTBEAT in the middle of work shows a worker that beats while it is busy. Stock workers
    /// do not; but with some prefetch they may beat between two pieces of work.
    pub(super) fn note_beat(&mut self, now: Time, id: PeerId) {
        let interval = self.settings.mdp.interval;
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.spoke = now;
        peer.beats_heard = peer.beats_heard.saturating_add(1);
        let holding = peer.worker.and_then(|worker| self.router.holding(worker, now));
        if holding.is_some_and(|(_, held)| held.min(now.since(peer.answered)) >= interval) {
            peer.beats_while_busy = true;
        }
    }

    /// Shows a worker that the broker lives, asks whether it does, or gives it up.
    pub(super) fn look_at_worker<O: Output>(&mut self, now: Time, id: PeerId, out: &mut O) {
        let Some(peer) = self.peers.get(id) else { return };
        let Some(worker_id) = peer.worker else { return self.look_at_handler(now, id, out) };
        let Some(worker) = self.router.worker(worker_id) else { return };
        let (voice, busy) = (worker.voice(), worker.in_flight() > 0);
        let holding = self.router.holding(worker_id, now).filter(|_| busy);
        let watch = Watch {
            spoke: peer.spoke,
            heard: peer.heard,
            sent: worker.last_sent(),
            busy: holding.map(|(policy, held)| Busy { held, timeout: policy.busy_timeout }),
            beats_while_busy: peer.beats_while_busy,
            takes_ping: peer.takes_ping,
            has_ponged: peer.has_ponged,
            pings_open: peer.pings_open,
        };
        let verdict = watch.judge(now, &self.keepalive_of(id));
        #[cfg(test)]
        watch.witness(&verdict);
        match verdict.end {
            Some(End::Expired) => return self.expire(now, id, Code::Timeout, out),
            Some(End::Silent) => return self.end(now, id, CloseReason::Silent, out),
            None => {}
        }
        // Never more than one beat in an outbox: what waits there shows as much.
        if verdict.beat {
            if out.is_quiet(id) {
                let service = self.router.service_of(worker_id);
                let service = service.map(ServiceName::as_bytes).unwrap_or_default();
                out.send(id, |encoder| voice.heartbeat(service, encoder));
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.beats_sent = peer.beats_sent.saturating_add(1);
                }
            }
            self.router.note_sent(now, worker_id);
            self.router.fetch_old(now, worker_id, out);
        }
        if verdict.ping {
            out.ping(id);
            if let Some(peer) = self.peers.get_mut(id) {
                peer.pings_open += 1;
            }
        }
        self.arm(id, verdict.next);
    }
}

/// How a worker is lost that is told this code.
pub(super) fn loss_for(code: Code) -> Loss {
    if code == Code::Denied { Loss::Denied } else { Loss::Expired }
}

fn say_disconnect<O: Output>(id: PeerId, version: Version, out: &mut O) {
    out.send(id, |encoder| ToWorker::Disconnect.encode(version, encoder));
}

/// The request that an answer names.
fn request_of(answer: &Answer<'_>) -> Option<RequestId> {
    RequestId::from_address(answer.address)
}
