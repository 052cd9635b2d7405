//! What MJP/1 peers say, carried out.

mod answer;
pub(super) mod fence;
mod group;
mod lease;

use crate::id::{PeerId, RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dialect::mjp::{Action, Event};
use crate::proto::dialect::{Reply, State, WorkerVoice, fault, mdp, mjp};
use crate::proto::output::{CloseReason, Output};
use crate::proto::rights::Verb as Right;
use crate::proto::router::{Offer, WorkerId};
use crate::proto::stats::Loss;
use crate::wire::codec::Encoder;
use crate::wire::message::Frames;
use crate::wire::mjp::{
    AGENT, Answer, BrokerHello, Code, FromBroker, HelloLimits, Malformed, PeerHello, Plain,
    ReadyHeader, Rejected, Request, ToBroker, kind,
};

use super::mdp::loss_for;
use super::nfp::is_reserved;
use super::rights::why_denied;
use super::{Core, Taken};

impl Core {
    /// A message of the most frequent shapes. False if there is anything about it, or about its
    /// peer, that [`Self::on_mjp`] has to look at; nothing has been done then.
    #[inline]
    pub(super) fn on_plain<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        plain: &Plain<'_>,
        out: &mut O,
    ) -> bool {
        let Some(peer) = self.peers.get(id) else { return false };
        let (Plain::Request(Request { header, .. }, _) | Plain::Final(Answer { header, .. })) =
            plain;
        if !matches!(peer.state, State::Mjp(_)) || self.is_too_long(header) {
            return false;
        }
        match plain {
            Plain::Request(request, kept) => {
                self.advance_mjp(id, Event::Request);
                self.on_ask(now, id, request, *kept, out);
            }
            Plain::Final(answer) => {
                let Some(request) = RequestId::from_token(answer.id) else { return false };
                let holder = peer.worker.filter(|worker| self.router.holds(*worker, request));
                let Some(worker) = holder else { return false };
                if self.advance_mjp(id, Event::Final) != Some(Action::Finish) {
                    self.dropped += 1;
                    return true;
                }
                self.note_answer(now, id);
                let reply = Reply::Final(answer.header, answer.body);
                self.router.finish(now, worker, request, &reply, out);
            }
        }
        true
    }

    /// The operator may want headers shorter than they may be.
    fn is_too_long(&self, header: &[u8]) -> bool {
        header.len() > self.settings.mjp.header_bytes_max
    }

    /// A message that begins as MJP/1 does.
    pub(super) fn on_mjp<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        message: Frames<'_>,
        out: &mut O,
    ) -> Taken {
        // Header and body: what is kept of a request.
        let mut kept = message;
        kept.take_first();
        kept.take_first();
        let header = kept.clone().next().unwrap_or_default();
        let said = ToBroker::decode(message).and_then(|said| {
            if self.is_too_long(header) { Err(Rejected::too_long(message)) } else { Ok(said) }
        });
        if !self.is_mjp(id, &said) {
            return Taken::Yes;
        }
        match said {
            Ok(ToBroker::Publish(_) | ToBroker::Group(_)) if self.topics.take_spent(now) => {
                out.resume(id);
                return Taken::NotYet;
            }
            Ok(ToBroker::Request(request)) if request.says.key.is_some() => {
                self.advance_mjp(id, Event::Request);
                self.on_keyed(now, id, &request, kept, out);
            }
            Ok(ToBroker::Request(request)) => {
                self.advance_mjp(id, Event::Request);
                self.on_ask(now, id, &request, kept, out);
            }
            Ok(ToBroker::Scatter(scatter)) => {
                self.advance_mjp(id, Event::Request);
                self.on_scatter(now, id, &scatter, kept, out);
            }
            Ok(ToBroker::Lane(lane)) => {
                self.advance_mjp(id, Event::Lane);
                self.on_lane(now, id, &lane, out);
            }
            Ok(said) => self.on_mjp_command(now, id, &said, header, out),
            Err(rejected) => {
                self.count_invalid(rejected.why.label());
                self.advance_mjp(id, Event::Invalid);
                self.reject(id, &rejected, out);
                self.fail_unreadable(now, id, &rejected, out);
            }
        }
        Taken::Yes
    }

    /// Whether the connection speaks MJP, which its first message of a known shape decides.
    fn is_mjp(&mut self, id: PeerId, said: &Result<ToBroker<'_>, Rejected>) -> bool {
        let Some(peer) = self.peers.get_mut(id) else { return false };
        match (peer.state, said) {
            (State::Mjp(_), _) => true,
            (State::Mdp(_), Err(Rejected { why, .. }))
                if matches!(why, Malformed::NoSignature | Malformed::NoKind) =>
            {
                self.count_invalid(why.label());
                false
            }
            (State::Mdp(mdp::State::Unknown), _) => {
                peer.state = State::Mjp(mjp::State::Caller);
                true
            }
            // A connection that has spoken another dialect speaks nothing else.
            (State::Mdp(_) | State::Nfp(_) | State::Zio, _) => {
                self.dropped += 1;
                false
            }
        }
    }

    /// Why a request is refused by `draining`.
    pub(super) fn why_draining(&self) -> &'static str {
        if self.router.is_draining() {
            "the broker stops"
        } else {
            "an operator drains the service"
        }
    }

    fn on_mjp_command<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        said: &ToBroker<'_>,
        header: &[u8],
        out: &mut O,
    ) {
        if let ToBroker::Error(failure) = said
            && self.decline_flow(now, id, failure.id, out)
        {
            return;
        }
        let event = self.mjp_event_of(id, said);
        let Some(action) = self.advance_mjp(id, event) else { return };
        match (action, said) {
            (Action::Greet, ToBroker::Hello(hello)) => self.greet(id, hello, out),
            (Action::Cancel, ToBroker::Cancel { id: asked }) => {
                self.cancel_mjp(now, id, *asked, out)
            }
            (Action::Report, ToBroker::Status { id: query, says }) => {
                if self.may_look(id, "status", out) {
                    self.report(now, id, *query, says, out);
                } else {
                    self.object_denied(id, *query, Right::Call, b"mmi.status", out);
                }
            }
            (Action::Report, ToBroker::Admin { id: query, says, body }) => {
                self.administer(now, id, *query, (says, header, *body), out);
            }
            (Action::Topic, said) => self.on_topic(now, id, said, out),
            (Action::Lease, ToBroker::Lease { id: query, says }) => {
                self.on_lease(now, id, *query, says, out);
            }
            (Action::Group, ToBroker::Group(group)) => self.on_group(now, id, group, out),
            (Action::Beat, _) => {
                if out.is_quiet(id) {
                    out.send(id, |encoder| WorkerVoice::Mjp.heartbeat(&[], encoder));
                }
            }
            (Action::Note, _) => self.note_beat(now, id),
            (Action::Register, ToBroker::Ready(says)) if says.is_flow() == Some(true) => {
                if !self.register_handler(now, id, says, out) {
                    self.advance_mjp(id, Event::Expired);
                }
            }
            (Action::Register, ToBroker::Ready(says)) => {
                self.register_mjp(now, id, says, header, out);
            }
            (Action::Update, ToBroker::Ready(says)) => {
                self.update_mjp(now, id, says, header, out);
            }
            (Action::Credit, ToBroker::Credit { credit }) => {
                self.set_credit(now, id, *credit, out);
            }
            (Action::Retire, _) => {
                self.set_credit(now, id, 0, out);
                self.say_drain(id, out);
            }
            (Action::Echo, _) => self.say_drain(id, out),
            (Action::Release, _) => self.unregister(now, id, Loss::Left, out),
            (Action::Object, _) => {
                let message = "READY names another service or role than before, one that is the \
                               broker's own, or a role that there is not; say BYE first, or \
                               choose another name";
                self.object(id, 0, Code::BadRequest, message, out);
            }
            (Action::Finish | Action::Part | Action::Late | Action::LatePart, said) => {
                self.on_mjp_answer(now, id, action, said, out);
            }
            (Action::Event | Action::Ask | Action::Tell, said) => {
                self.on_talk(now, id, said, out);
            }
            _ => self.dropped += 1,
        }
    }

    /// CANCEL: whatever the peer has asked under that id.
    fn cancel_mjp<O: Output>(&mut self, now: Time, id: PeerId, asked: u64, out: &mut O) {
        self.router.cancel(now, id, asked, out);
        self.cancel_deposit(now, id, asked, out);
        self.cancel_scatter(now, id, asked, out);
        self.unfollow(id, asked);
        self.cancel_seat(now, id, asked, out);
    }

    /// READY of a worker that is registered.
    fn update_mjp<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        says: &ReadyHeader<'_>,
        header: &[u8],
        out: &mut O,
    ) {
        let worker = self.peers.get(id).and_then(|peer| peer.worker);
        if let Some(worker) = worker.filter(|own| self.may_fence(id, says, Some(*own), out)) {
            self.router.set_fence(worker, says.fence);
            self.router.set_about(worker, about(says, header), out);
        }
        self.set_credit(now, id, says.credit(), out);
    }

    /// A worker, or a handler of flows, takes so many at a time.
    fn set_credit<O: Output>(&mut self, now: Time, id: PeerId, credit: u16, out: &mut O) {
        let worker = self.peers.get(id).and_then(|peer| peer.worker);
        let Some(worker) = worker else { return self.set_handler_credit(now, id, credit, out) };
        if self.router.set_credit(now, worker, self.credit(credit), out) {
            self.retry_depot_of(worker);
        }
    }

    /// What a command means, given what the peer holds.
    fn mjp_event_of(&self, id: PeerId, said: &ToBroker<'_>) -> Event {
        let worker = self.peers.get(id).and_then(|peer| peer.worker);
        let holds = |token| {
            let held = worker.zip(RequestId::from_token(token));
            held.is_some_and(|(worker, request)| self.router.holds(worker, request))
        };
        match said {
            ToBroker::Hello(_) => Event::Hello,
            ToBroker::Heartbeat => Event::Heartbeat,
            ToBroker::Drain => Event::Drain,
            ToBroker::Bye => Event::Bye,
            ToBroker::Request(_) | ToBroker::Scatter(_) => Event::Request,
            ToBroker::Cancel { .. } => Event::Cancel,
            ToBroker::Status { .. } | ToBroker::Admin { .. } => Event::Status,
            ToBroker::Subscribe { .. } | ToBroker::Unsubscribe { .. } | ToBroker::Publish(_) => {
                Event::Topic
            }
            ToBroker::Lease { .. } => Event::Lease,
            ToBroker::Group(_) => Event::Group,
            ToBroker::Lane(_) => Event::Lane,
            ToBroker::Partial(answer) if holds(answer.id) => Event::Partial,
            ToBroker::Partial(_) => Event::StrayPart,
            ToBroker::Final(answer) if holds(answer.id) => Event::Final,
            ToBroker::Error(failure) if holds(failure.id) => Event::Failed,
            ToBroker::Final(_) | ToBroker::Error(_) => Event::Stray,
            ToBroker::Event(_) | ToBroker::Ask(_) | ToBroker::Tell(_) => {
                self.talk_event_of(id, said, holds)
            }
            ToBroker::Credit { .. } => Event::Credit,
            ToBroker::Ready(says) => {
                let other = worker.and_then(|worker| self.router.service_of(worker));
                let handled = self.handler_of(id).map(|handler| &handler.service);
                let same = |name: &ServiceName| name.as_bytes() == says.service;
                let serves = match says.is_flow() {
                    Some(true) => other.is_none() && handled.is_none_or(same),
                    Some(false) => handled.is_none() && other.is_none_or(same),
                    None => false,
                };
                let own = is_reserved(says.service);
                if serves && !own { Event::Ready } else { Event::BadReady }
            }
        }
    }

    /// Moves the peer to its next state.
    fn advance_mjp(&mut self, id: PeerId, event: Event) -> Option<Action> {
        let State::Mjp(state) = &mut self.peers.get_mut(id)?.state else { return None };
        #[cfg(test)]
        state.witness(event);
        let (next, action) = state.on(event);
        *state = next;
        Some(action)
    }

    fn greet<O: Output>(&mut self, id: PeerId, hello: &PeerHello<'_>, out: &mut O) {
        /// Octets of HELLO, about.
        const HELLO: usize = 256;
        if !hello.versions.contains(1) {
            let message = "no common version; this broker speaks 1";
            return self.object(id, 0, Code::Unsupported, message, out);
        }
        let settings = &self.settings;
        let count = |count: usize| Some(u64::try_from(count).unwrap_or(u64::MAX));
        let heartbeat = u64::try_from(settings.mdp.interval.as_millis()).unwrap_or(u64::MAX);
        let hello = FromBroker::Hello(BrokerHello {
            version: 1,
            agent: Some(AGENT),
            features: vec![
                "scatter", "admin", "topics", "events", "keys", "leases", "groups", "flows",
                "retry", "lanes", "fences",
            ],
            heartbeat: Some(heartbeat),
            liveness: Some(settings.mdp.liveness),
            limits: Some(HelloLimits {
                frame: count(settings.wire.frame_bytes_max),
                message: count(settings.wire.message_bytes_max),
                frames: count(settings.wire.message_frames_max),
                header: count(settings.mjp.header_bytes_max),
                requests: count(settings.client.requests_max),
                bytes: count(settings.client.bytes_max),
            }),
        });
        self.say(id, HELLO, out, |encoder| hello.encode(encoder));
    }

    fn register_mjp<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        says: &ReadyHeader<'_>,
        header: &[u8],
        out: &mut O,
    ) {
        if !self.may(id, Right::Serve, says.service, out) {
            self.advance_mjp(id, Event::Expired);
            return self.object_denied(id, 0, Right::Serve, says.service, out);
        }
        if !self.may_fence(id, says, None, out) {
            self.advance_mjp(id, Event::Expired);
            return;
        }
        let worker = ServiceName::try_from(says.service).ok().and_then(|name| {
            let credit = Some(self.credit(says.credit()));
            let about = about(says, header);
            let (voice, fence) = (WorkerVoice::Mjp, says.fence);
            let offer = Offer { voice, name, credit, about, fence };
            self.router.register(now, id, offer, out)
        });
        match worker {
            Some(worker) => self.watch(now, id, worker, out),
            None => {
                // No room for one more service: as if its time were up already.
                self.advance_mjp(id, Event::Expired);
                let message = "limits.services are offered or asked for";
                let bye = FromBroker::Bye(fault(Code::Overloaded, message));
                self.say(id, 64 + message.len(), out, |encoder| bye.encode(encoder));
            }
        }
    }

    /// Whether a worker may want that fence; if not, it is told so.
    fn may_fence<O: Output>(
        &mut self,
        id: PeerId,
        says: &ReadyHeader<'_>,
        own: Option<WorkerId>,
        out: &mut O,
    ) -> bool {
        let may = says.fence.is_none_or(|lease| self.router.may_fence(says.service, own, lease));
        if !may {
            let why = "another worker of the service has another `fence`; give all the same";
            self.object(id, 0, Code::BadRequest, why, out);
        }
        may
    }

    /// A worker counts as gone, though its connection is there.
    pub(super) fn expire_mjp<O: Output>(&mut self, now: Time, id: PeerId, code: Code, out: &mut O) {
        if self.advance_mjp(id, Event::Expired) == Some(Action::Dismiss) {
            let message = match code {
                Code::Draining => "the broker stops",
                Code::Denied => "the right `serve` for the service has been taken away",
                _ => "nothing was heard of the worker for too long; READY registers it anew",
            };
            // Management gets through whatever waits; it is said once a registration.
            out.send(id, |encoder| FromBroker::Bye(fault(code, message)).encode(encoder));
            self.unregister(now, id, loss_for(code), out);
        }
    }

    /// Tells everybody who can be told that the broker stops.
    pub(super) fn announce_end<O: Output>(&mut self, within: u64, out: &mut O) {
        let natives = self.peers.iter().filter(|(_, peer)| matches!(peer.state, State::Mjp(_)));
        let natives: Vec<PeerId> = natives.map(|(id, _)| id).collect();
        for id in natives {
            out.send(id, |encoder| FromBroker::Drain { within: Some(within) }.encode(encoder));
        }
    }

    fn credit(&self, wanted: u16) -> usize {
        usize::from(wanted).min(self.settings.mjp.credit_max)
    }

    fn say_drain<O: Output>(&mut self, id: PeerId, out: &mut O) {
        /// Octets of DRAIN, about.
        const DRAIN: usize = 32;
        self.say(id, DRAIN, out, |encoder| FromBroker::Drain { within: None }.encode(encoder));
    }

    /// Answers what was no message of this dialect.
    fn reject<O: Output>(&mut self, id: PeerId, rejected: &Rejected, out: &mut O) {
        let code = match rejected.why {
            Malformed::UnknownKind => Code::Unsupported,
            _ => Code::BadRequest,
        };
        // The id of an answer is the broker's: to a peer that asks too it would be another's.
        let request = match rejected.kind {
            kind::PARTIAL | kind::FINAL | kind::ERROR | kind::EVENT | kind::ASK
            // By its own id the peer would take it for the end of its request.
            | kind::TELL | kind::LANE => 0,
            _ => rejected.id,
        };
        self.object(id, request, code, &rejected.why.to_string(), out);
    }

    /// Says ERROR; with id 0 it is about the connection.
    pub(super) fn object<O: Output>(
        &mut self,
        id: PeerId,
        request: u64,
        code: Code,
        message: &str,
        out: &mut O,
    ) {
        let fault = fault(code, message);
        self.say(id, 64 + message.len(), out, |encoder| fault.encode(request, encoder));
    }

    /// Says ERROR `denied`; with id 0 it is about the connection.
    pub(super) fn object_denied<O: Output>(
        &mut self,
        id: PeerId,
        request: u64,
        verb: Right,
        what: &[u8],
        out: &mut O,
    ) {
        self.object(id, request, Code::Denied, &why_denied(verb, what), out);
    }

    /// Says something that the peer asked for: however much it asks, what it does not read ends it.
    /// Nothing is said behind what it will not hear.
    pub(super) fn say<O: Output>(
        &mut self,
        id: PeerId,
        bytes: usize,
        out: &mut O,
        write: impl FnOnce(&mut Encoder),
    ) {
        let hears = self.peers.contains_key(id) && !self.router.is_doomed(id);
        if hears && !out.offer(id, bytes, write) {
            self.router.doom(id, CloseReason::SlowReader);
        }
    }
}

/// What is kept of READY for listings: the header, if it says more than what the tables know.
fn about<'a>(says: &ReadyHeader<'_>, header: &'a [u8]) -> &'a [u8] {
    let ReadyHeader { labels, version, description, fence, .. } = says;
    let silent = labels.is_empty() && version.is_none() && description.is_none() && fence.is_none();
    if silent { &[] } else { header }
}
