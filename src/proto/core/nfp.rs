//! What NFP peers say, carried out.

mod ask;
mod put;
mod queue;
mod request;
mod stand_in;

use crate::id::{Identity, PeerId, Principal, ServiceName, handle_of, number_in};
use crate::proto::clock::Time;
use crate::proto::dialect::nfp::{Action, Event, State as NfpState};
use crate::proto::dialect::{State, WorkerVoice};
use crate::proto::jobs::{Job, JobId, Progress};
use crate::proto::mmi;
use crate::proto::output::Output;
use crate::proto::rights::Verb as Right;
use crate::proto::router::{Offer, WorkerId, is_of_the_house};
use crate::proto::stats::Loss;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::Code;
use crate::wire::nfp::body::EventType;
use crate::wire::nfp::{
    self, Era, Forward, FromClient, FromWorker, Kind, Malformed, Reply, Report, ToBroker, ToClient,
    ToWorker, status,
};

use super::Core;
use super::mdp::loss_for;
use super::scatter::is_scatter;

/// Whether no worker from outside may serve that name: it is the broker's own.
pub(super) fn is_reserved(service: &[u8]) -> bool {
    is_of_the_house(service) || service.starts_with(mmi::PREFIX)
}

/// Whether answers of that service are said twice, as RESPONSE and as MMI: NorFab's clients read the
/// first up to 0.15.1, the second since. The file service of the broker is older than MMI.
pub(super) fn answers_twice(service: &[u8]) -> bool {
    is_of_the_house(service) && service != b"fss.service.broker"
}

impl Core {
    /// A message that begins as NFP does.
    pub(super) fn on_nfp<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        message: Frames<'_>,
        out: &mut O,
    ) {
        let said = match ToBroker::decode(message) {
            Ok(said) => said,
            Err(malformed) => return self.count_invalid(malformed.label()),
        };
        let Some(peer) = self.peers.get_mut(id) else { return };
        match peer.state {
            State::Nfp(_) => {}
            State::UNKNOWN => peer.state = State::Nfp(NfpState::New),
            // A connection that has spoken another dialect speaks nothing else.
            State::Mdp(_) | State::Mjp(_) | State::Zio => {
                self.dropped += 1;
                return;
            }
        }
        let event = self.nfp_event_of(id, &said);
        let Some(action) = self.advance_nfp(id, event) else { return };
        match said {
            ToBroker::Client(said) => self.on_nfp_client(now, id, action, &said, out),
            ToBroker::Worker(said) => self.on_nfp_worker(now, id, action, &said, out),
        }
    }

    /// What a command means. Bad ones are counted.
    fn nfp_event_of(&mut self, id: PeerId, said: &ToBroker<'_>) -> Event {
        let mut count = |malformed: Malformed, event| {
            self.count_invalid(malformed.label());
            event
        };
        match said {
            ToBroker::Client(FromClient::Open) => Event::Open,
            ToBroker::Client(FromClient::Disconnect) => Event::Leave,
            ToBroker::Client(FromClient::Job(_)) => Event::Ask,
            ToBroker::Client(FromClient::Refused(refused)) => count(refused.why, Event::Refused),
            ToBroker::Worker(FromWorker::Ready { service }) => {
                let house = self.peers.get(id).is_some_and(|peer| peer.house);
                // In NFP one name stands for all services.
                let bad = *service == ask::ALL || is_reserved(service) && !house;
                if bad { Event::BadReady } else { Event::Ready }
            }
            ToBroker::Worker(FromWorker::Keepalive { .. }) => Event::Keepalive,
            ToBroker::Worker(FromWorker::Disconnect { .. }) => Event::Disconnect,
            ToBroker::Worker(FromWorker::Report(_)) => Event::Report,
            ToBroker::Worker(FromWorker::BadReady(malformed)) => count(*malformed, Event::BadReady),
            ToBroker::Worker(FromWorker::Invalid(malformed)) => count(*malformed, Event::Invalid),
        }
    }

    /// Moves the peer to its next state.
    fn advance_nfp(&mut self, id: PeerId, event: Event) -> Option<Action> {
        let State::Nfp(state) = &mut self.peers.get_mut(id)?.state else { return None };
        #[cfg(test)]
        state.witness(event);
        let (next, action) = state.on(event);
        *state = next;
        Some(action)
    }

    fn on_nfp_client<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        action: Action,
        said: &FromClient<'_>,
        out: &mut O,
    ) {
        match (action, said) {
            (Action::Ask, FromClient::Job(job)) => self.on_job(now, id, job, out),
            (Action::Refuse, FromClient::Job(job)) => {
                let why = "this connection is a worker's; a client needs one of its own";
                self.refuse_job(id, job, &why, out);
            }
            (Action::Refuse, FromClient::Refused(refused)) => self.object_nfp(id, refused, out),
            (Action::Ignore, _) => {}
            _ => self.dropped += 1,
        }
    }

    fn on_nfp_worker<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        action: Action,
        said: &FromWorker<'_>,
        out: &mut O,
    ) {
        match (action, said) {
            (Action::Register, FromWorker::Ready { service }) => {
                self.register_nfp(now, id, service, out);
            }
            (Action::Forward, FromWorker::Report(report)) => self.on_report(now, id, report, out),
            (Action::Note, said) => {
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.spoke = now;
                    let beats = matches!(said, FromWorker::Keepalive { .. });
                    peer.beats_heard = peer.beats_heard.saturating_add(beats.into());
                }
            }
            (Action::Disconnect, said) => {
                let service = match said {
                    FromWorker::Keepalive { service } => service,
                    _ => &b""[..],
                };
                self.say_nfp_disconnect(id, service, out);
            }
            (Action::Release, _) => self.unregister(now, id, Loss::Left, out),
            (Action::Ignore, _) => {}
            _ => self.dropped += 1,
        }
    }

    fn register_nfp<O: Output>(&mut self, now: Time, id: PeerId, service: &[u8], out: &mut O) {
        let era = self.era_of(id);
        if !self.may(id, Right::Serve, service, out) {
            // Its next KEEPALIVE is answered by DISCONNECT: it comes back at once when it hears it.
            self.advance_nfp(id, Event::Disconnect);
            return;
        }
        let worker = ServiceName::try_from(service).ok().and_then(|name| {
            let offer =
                Offer { voice: WorkerVoice::Nfp(era), name, credit: None, about: &[], fence: None };
            self.router.register(now, id, offer, out)
        });
        match worker {
            Some(worker) => self.watch(now, id, worker, out),
            None => {
                // No room for one more service: as if its time were up already.
                self.advance_nfp(id, Event::Expired);
                self.say_nfp_disconnect(id, service, out);
            }
        }
    }

    /// A worker counts as gone, though its connection is there.
    pub(super) fn expire_nfp<O: Output>(&mut self, now: Time, id: PeerId, code: Code, out: &mut O) {
        if self.advance_nfp(id, Event::Expired) == Some(Action::Dismiss) {
            let worker = self.peers.get(id).and_then(|peer| peer.worker);
            let service = worker.and_then(|worker| self.router.service_of(worker)).cloned();
            let service = service.as_ref().map(ServiceName::as_bytes).unwrap_or_default();
            self.say_nfp_disconnect(id, service, out);
            self.unregister(now, id, loss_for(code), out);
        }
    }

    /// RESPONSE, EVENT or STREAM of a registered worker.
    fn on_report<O: Output>(&mut self, now: Time, id: PeerId, report: &Report<'_>, out: &mut O) {
        self.note_answer(now, id);
        self.worker_events += u64::from(report.kind == Kind::Event);
        let Some(worker) = self.peers.get(id).and_then(|peer| peer.worker) else { return };
        if self.on_request_report(now, id, worker, report, out) {
            return;
        }
        if report.kind == Kind::Response {
            self.note_house_answer(id);
        }
        let job = self.router.jobs.named(report.uuid).filter(|_| !is_scatter(report.uuid));
        // Who asks for a job of another client is refused; whoever a worker names is no way around.
        let is_owner = job.is_none_or(|(_, known)| known.owner.as_bytes() == report.client);
        let client = self.peer_named(report.client).filter(|_| is_owner);
        // Somebody else may have got the name since.
        let client = client.filter(|client| job.is_none_or(|(_, known)| self.owns(*client, known)));
        if let Some(job) = job.map(|(job, _)| job).filter(|_| is_owner) {
            self.note_progress(now, worker, job, report);
        }
        let Some(client) = client.filter(|client| self.is_nfp_client(*client)) else {
            self.dropped += 1;
            return;
        };
        let Some(service) = self.router.service_of(worker).cloned() else { return };
        let forward = Forward { kind: report.kind, service: service.as_bytes(), rest: report.rest };
        let era = self.era_of(client);
        // What a worker says to a job that it has stored was 202 then, and is 201 now.
        if era == Era::Old && (report.kind, report.status) == (Kind::Response, status::ACCEPTED) {
            let (kind, uuid, body) = (report.kind, report.uuid, report.body());
            let (service, status) = (service.as_bytes(), &status::DISPATCHED[..]);
            let reply = Reply { kind, service, uuid, status, body };
            self.say(client, body.bytes(), out, |encoder| reply.encode(era, encoder));
            return;
        }
        self.say(client, report.rest.bytes(), out, |encoder| forward.encode(era, encoder));
        if report.kind == Kind::Response && answers_twice(service.as_bytes()) {
            let copy = Forward { kind: Kind::Mmi, ..forward };
            self.say(client, report.rest.bytes(), out, |encoder| copy.encode(era, encoder));
        }
    }

    /// Notes how far a worker is with a job, from what it says about it.
    fn note_progress(&mut self, now: Time, worker: WorkerId, job: JobId, report: &Report<'_>) {
        let Some(part) = self.router.jobs.part_of(worker, job) else { return };
        let progress = match (report.kind, report.status) {
            (Kind::Response, s) if s == status::OK => Progress::Replied,
            (Kind::Response, s) if s == status::ACCEPTED || s == status::DISPATCHED => {
                Progress::Accepted
            }
            (Kind::Response, s) if s == status::PENDING => Progress::Started,
            (Kind::Response, s) if s == status::WAITING => Progress::Waiting,
            (Kind::Response, _) => Progress::Failed,
            (Kind::Event, _) => {
                match EventType::read(report.body().take_first().unwrap_or_default()) {
                    EventType::ResultReady => Progress::Replied,
                    EventType::InputRequest => Progress::Waiting,
                    EventType::Progress | EventType::InputResponse => Progress::Started,
                    EventType::Other => return,
                }
            }
            (Kind::Stream | Kind::Mmi, _) => Progress::Started,
        };
        self.router.advance_job(now, job, part, progress);
    }

    /// Tells a client what was wrong with its command.
    fn object_nfp<O: Output>(&mut self, id: PeerId, refused: &nfp::Refused<'_>, out: &mut O) {
        let era = self.era_of(id);
        if refused.why == Malformed::UnknownCommand || refused.uuid.is_empty() {
            let text = nfp::body::unsupported(refused.command);
            let plain = ToClient::Plain { service: refused.service, text: text.as_bytes() };
            return self.say(id, text.len(), out, |encoder| plain.encode(era, encoder));
        }
        let about = nfp::body::About {
            service: refused.service,
            target: refused.target,
            uuid: refused.uuid,
        };
        self.say_failed(id, about, status::FAILED, &refused.why, false, out);
    }

    /// Says something about a job to a client.
    fn say_reply<O: Output>(
        &mut self,
        id: PeerId,
        kind: Kind,
        about: nfp::body::About<'_>,
        status: &[u8],
        body: Vec<u8>,
        out: &mut O,
    ) {
        let era = self.era_of(id);
        let body = Message::new([body]);
        let (service, uuid) = (about.service, about.uuid);
        let reply = Reply { kind, service, uuid, status, body: body.frames() };
        self.say(id, body.bytes(), out, |encoder| reply.encode(era, encoder));
    }

    fn say_nfp_disconnect<O: Output>(&mut self, id: PeerId, service: &[u8], out: &mut O) {
        let era = self.era_of(id);
        // Management gets through whatever waits; it is said once a registration.
        out.send(id, |encoder| ToWorker::Disconnect { service }.encode(era, encoder));
    }

    /// Whether a job was posted by the peer, or by one of the same name and principal before it.
    fn owns(&self, id: PeerId, job: &Job) -> bool {
        let principal = self.peers.get(id).map(|peer| peer.principal);
        principal == Some(job.principal) && self.name_of(id) == job.owner
    }

    fn era_of(&self, id: PeerId) -> Era {
        self.peers.get(id).map_or(Era::Current, |peer| peer.era)
    }

    fn is_nfp_client(&self, id: PeerId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.state == State::Nfp(NfpState::Client))
    }

    /// The name by which a peer is known to people and to targets: its identity, if that is text,
    /// or else one made of its handle.
    pub(super) fn name_of(&self, id: PeerId) -> Identity {
        let identity = self.peers.get(id).and_then(|peer| peer.identity.as_ref());
        identity.filter(|identity| is_name(identity.as_bytes())).cloned().unwrap_or_else(|| {
            let token = slotmap::Key::data(&id).as_ffi();
            Identity::made_of(&format!("{UNNAMED}{token:016x}"))
        })
    }

    /// On whose behalf a peer speaks.
    pub(super) fn principal_of(&self, id: PeerId) -> Principal {
        self.peers.get(id).map(|peer| peer.principal).unwrap_or_default()
    }

    /// The peer of that name.
    pub(super) fn peer_named(&self, name: &[u8]) -> Option<PeerId> {
        let Some(token) = name.strip_prefix(UNNAMED.as_bytes()) else {
            return self.names.holder_of(name);
        };
        let id = handle_of(number_in(token)?)?;
        self.peers.contains_key(id).then_some(id)
    }

    /// The worker of that name.
    pub(super) fn worker_named(&self, name: &[u8]) -> Option<WorkerId> {
        self.peers.get(self.peer_named(name)?)?.worker
    }
}

/// What the name of a peer without one begins with.
const UNNAMED: &str = "~";

/// Names that the broker makes, for peers and for requests, are nobody else's.
fn is_name(octets: &[u8]) -> bool {
    std::str::from_utf8(octets).is_ok_and(|text| {
        !text.contains(char::is_control)
            && !text.starts_with(UNNAMED)
            && WorkerVoice::nfp_request(octets).is_none()
    })
}

fn about<'a>(job: &nfp::Job<'a>) -> nfp::body::About<'a> {
    nfp::body::About { service: job.service, target: job.target, uuid: job.uuid }
}

/// A name that [`Core::name_of`] gives is text.
fn text_of(name: &Identity) -> String {
    String::from_utf8_lossy(name.as_bytes()).into_owned()
}
