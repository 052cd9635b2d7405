//! What must hold for peers of NFP, as seen from outside: who is a worker, who is told to go, and
//! what of a worker's words reaches which client.

use std::collections::BTreeMap;

use crate::id::RequestId;
use crate::proto::jobs::Jobs as Table;
use crate::wire::message::Frames;
use crate::wire::nfp::body::EventType;
use crate::wire::nfp::{
    Era, FromClient, FromWorker, Kind, Order, Reply, Report, ToBroker, ToClient, ToWorker, Verb,
    status,
};

use super::super::tag::Tag;
use super::Judge;
use super::talk::Talk;

/// What is known of peers of NFP.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<usize, Peer>,
    /// Who has a name now.
    holders: BTreeMap<String, usize>,
    /// What a worker has just said is to be told to a client.
    forward: Option<Forward>,
    /// Who is to be told in this turn that it is no worker.
    stray: Option<usize>,
    /// Who registers in this turn.
    registering: Option<usize>,
    /// Who is to be asked in this turn for the result of a request.
    fetch: Option<(usize, RequestId)>,
}

/// A connection.
#[derive(Debug, Default)]
struct Peer {
    state: State,
    service: Vec<u8>,
    /// When octets of a message last came, in broker time.
    spoke: u64,
    /// Its outbox has been fuller than it should be, and the broker has not heard of an end to that.
    pressed: bool,
}

/// As the table of SPEC 10.2 has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    New,
    Client,
    Worker,
    Dismissed,
}

#[derive(Debug)]
struct Forward {
    to: usize,
    kind: Kind,
    service: Vec<u8>,
    rest: Vec<Vec<u8>>,
}

impl Peers {
    pub(super) fn state_of(&self, conn: usize) -> State {
        self.known.get(&conn).map(|peer| peer.state).unwrap_or_default()
    }

    pub(super) fn is_worker(&self, conn: usize) -> bool {
        self.state_of(conn) == State::Worker
    }

    pub(super) fn is_pressed(&self, conn: usize) -> bool {
        self.known.get(&conn).is_some_and(|peer| peer.pressed)
    }

    /// Who has the name now.
    pub(super) fn holder(&self, name: &str) -> Option<usize> {
        self.holders.get(name).copied()
    }

    pub(super) fn named(&mut self, name: String, conn: usize) {
        self.holders.insert(name, conn);
    }

    /// The connection has gone.
    pub(super) fn forget(&mut self, conn: usize) {
        self.holders.retain(|_, holder| *holder != conn);
        self.forward.take_if(|forward| forward.to == conn);
    }

    pub(super) fn set(&mut self, conn: usize, state: State) {
        self.known.entry(conn).or_default().state = state;
    }
}

impl Judge {
    /// Octets of a message have come from a peer.
    pub(in super::super) fn spoke(&mut self, conn: usize) {
        self.nfp.known.entry(conn).or_default().spoke = self.time;
    }

    /// The outbox of a peer is under pressure, or the broker has heard that it is not.
    pub(in super::super) fn pressed(&mut self, conn: usize, pressed: bool) {
        self.nfp.known.entry(conn).or_default().pressed = pressed;
    }

    /// Something of NFP is about to be given to the broker.
    pub(in super::super) fn told_in_nfp(
        &mut self,
        conn: usize,
        said: &ToBroker<'_>,
        table: &Table,
    ) {
        match said {
            ToBroker::Client(said) => self.client_says(conn, said, table),
            ToBroker::Worker(said) => self.worker_says(conn, said, table),
        }
    }

    /// READY for what the peer may not serve comes: it is as unknown then as at the beginning.
    pub(in super::super) fn ready_is_denied(&mut self, conn: usize) {
        if self.nfp.state_of(conn) == State::Dismissed {
            self.nfp.set(conn, State::New);
        }
    }

    fn client_says(&mut self, conn: usize, said: &FromClient<'_>, table: &Table) {
        let state = self.nfp.state_of(conn);
        let asks = matches!(state, State::New | State::Client);
        match said {
            FromClient::Open if asks => self.nfp.set(conn, State::Client),
            FromClient::Disconnect if asks => self.nfp.set(conn, State::New),
            FromClient::Open | FromClient::Disconnect => {}
            FromClient::Job(job) => {
                self.job_asked(conn, job, asks, table);
                self.nfp.set(conn, if asks { State::Client } else { state });
            }
            FromClient::Refused(refused) => {
                self.job_refused(conn, refused);
                self.nfp.set(conn, if asks { State::Client } else { state });
            }
        }
    }

    fn worker_says(&mut self, conn: usize, said: &FromWorker<'_>, table: &Table) {
        let state = self.nfp.state_of(conn);
        match (state, said) {
            (State::New | State::Dismissed, FromWorker::Ready { service })
                if !is_reserved(service) =>
            {
                self.register(conn, service);
            }
            (State::New, FromWorker::Keepalive { .. } | FromWorker::Report(_)) => {
                self.nfp.stray = Some(conn);
            }
            (State::Worker, FromWorker::Report(report)) => self.reported(conn, report, table),
            (State::Worker, FromWorker::Disconnect { .. }) => {
                self.unregister(conn);
                self.nfp.set(conn, State::New);
            }
            (State::Dismissed, FromWorker::Disconnect { .. }) => self.nfp.set(conn, State::New),
            _ => {}
        }
    }

    fn register(&mut self, conn: usize, service: &[u8]) {
        let credit = self.settings.policy_of(service).prefetch as usize;
        let side = self.sides.entry(conn).or_default();
        (side.credit, side.dismissed) = (Some(credit), false);
        self.offers.insert(conn, service.to_vec());
        let peer = self.nfp.known.entry(conn).or_default();
        (peer.state, peer.service) = (State::Worker, service.to_vec());
        self.nfp.registering = Some(conn);
    }

    /// RESPONSE, EVENT or STREAM of a worker.
    fn reported(&mut self, conn: usize, report: &Report<'_>, table: &Table) {
        if let Some(request) = request_of(report.client) {
            return self.request_reported(conn, request, report);
        }
        self.look_up(report.uuid, table);
        let owner = self.jobs.owner_of(report.uuid);
        let mine = owner.is_none_or(|owner| owner.as_bytes() == report.client);
        if mine {
            self.part_reported(conn, report);
        }
        let client = std::str::from_utf8(report.client).ok().filter(|_| mine);
        let client = client.and_then(|name| self.nfp.holder(name));
        let client = client.filter(|to| self.nfp.state_of(*to) == State::Client);
        let service = self.nfp.known.get(&conn).map(|peer| peer.service.clone());
        let (kind, service) = (report.kind, service.unwrap_or_default());
        let rest = report.rest.map(<[u8]>::to_vec).collect();
        self.nfp.forward = client.map(|to| Forward { to, kind, service, rest });
    }

    /// What a worker says about a request of another dialect.
    fn request_reported(&mut self, conn: usize, request: RequestId, report: &Report<'_>) {
        let address = request.to_address().to_vec();
        let held = self.sides.entry(conn).or_default().held.get(&address).copied();
        let Some(tag) = held else { return };
        let (last, error) = match (report.kind, report.status) {
            (Kind::Event, _) => {
                let body = report.body().next().unwrap_or_default();
                if EventType::read(body) == EventType::ResultReady {
                    self.nfp.fetch = Some((conn, request));
                }
                self.talk = Some(Talk::Event { worker: conn, tag, body: vec![body.to_vec()] });
                return;
            }
            (Kind::Stream, _) => (false, false),
            (_, b"201" | b"300" | b"102") => return,
            (_, other) => (true, other != b"200"),
        };
        self.answered(conn, request.token(), last, error);
    }

    /// The broker says something of NFP; it may find no room, and then the peer is closed.
    pub(super) fn said_in_nfp(&mut self, conn: usize, message: Frames<'_>) {
        // MMI is for clients alone.
        let said = ToWorker::decode(message).ok();
        let said = said
            .filter(|(_, said)| !matches!(said, ToWorker::Order(Order { verb: Verb::Mmi, .. })));
        if let Some((era, said)) = said {
            self.demand(era == Era::Current, || format!("{conn} is spoken to as an old worker"));
            return self.said_to_nfp_worker(conn, &said);
        }
        match ToClient::decode(message) {
            Ok((Era::Current, ToClient::Plain { .. })) => self.told_plainly(conn),
            Ok((Era::Current, ToClient::Reply(reply))) => self.said_to_nfp_client(conn, &reply),
            other => self.fail(|| format!("the broker said to {conn}: {other:?}")),
        }
    }

    fn said_to_nfp_worker(&mut self, conn: usize, said: &ToWorker<'_>) {
        match said {
            ToWorker::Disconnect { .. } => self.told_to_go(conn),
            ToWorker::Keepalive { service } => {
                let own = self.nfp.known.get(&conn).is_some_and(|peer| peer.service == *service);
                let worker = self.nfp.is_worker(conn);
                self.demand(worker && own, || {
                    format!("{conn} is no worker of {service:?} and got KEEPALIVE")
                });
            }
            ToWorker::Order(order) => {
                let worker = self.nfp.is_worker(conn);
                self.demand(worker, || format!("{conn} is no worker and got {order:?}"));
                match request_of(order.client) {
                    Some(request) => self.request_given(conn, request, order),
                    None => self.order_given(conn, order),
                }
            }
        }
    }

    /// A worker is told that it is none: who is not known, who was silent, whoever there is no room
    /// for, and everybody in the end.
    fn told_to_go(&mut self, conn: usize) {
        let state = self.nfp.state_of(conn);
        let stray = self.nfp.stray.take_if(|stray| *stray == conn).is_some();
        let fresh = self.nfp.registering == Some(conn);
        let spoke = self.nfp.known.get(&conn).map_or(0, |peer| peer.spoke);
        let (silent, over) = (self.time.saturating_sub(spoke), self.is_over || self.regrants);
        let fits = match state {
            State::New => stray,
            State::Worker => over || fresh || silent >= self.nfp_expiry(),
            State::Client | State::Dismissed => false,
        };
        self.demand(fits, || {
            format!("{conn} is {state:?}, was silent for {silent} us, and got DISCONNECT")
        });
        if state == State::Worker {
            self.unregister(conn);
        }
        self.nfp.set(conn, State::Dismissed);
    }

    /// A worker is given a request of another dialect, or asked about one.
    fn request_given(&mut self, conn: usize, request: RequestId, order: &Order<'_>) {
        let address = request.to_address().to_vec();
        let uuid = format!("{:032x}", request.token());
        self.demand(order.uuid == uuid.as_bytes(), || format!("{conn} got {order:?}"));
        let tag = self.sides.entry(conn).or_default().held.get(&address).copied();
        let held = tag.is_some();
        match order.verb {
            Verb::Post => match order.body.clone().next().and_then(Tag::decode) {
                Some(tag) => self.delivered(conn, address, tag),
                None => self.fail(|| "a request without a tag was delivered".into()),
            },
            Verb::Get => {
                self.nfp.fetch.take_if(|fetch| *fetch == (conn, request));
                self.demand(held, || format!("{conn} does not hold what it is to give: {uuid}"));
            }
            Verb::Delete => self.stopped(conn, request.token()),
            Verb::Put => self.put_given(conn, tag, order),
            Verb::Mmi => self.fail(|| format!("{conn} got {order:?}")),
        }
    }

    fn said_to_nfp_client(&mut self, conn: usize, reply: &Reply<'_>) {
        let gone = self.is_gone(conn);
        self.demand(!gone, || format!("{conn} has gone and got {reply:?}"));
        if let Some(forward) = self.nfp.forward.take_if(|forward| forward.to == conn) {
            let said: Vec<_> = [reply.uuid, reply.status].into_iter().chain(reply.body).collect();
            // A worker may leave out the status; then this is all there is.
            let whole = said.iter().eq(forward.rest.iter());
            let same = reply.kind == forward.kind && reply.service == forward.service && whole;
            return self.demand(same, || format!("{conn} got {reply:?}, not {forward:?}"));
        }
        if reply.kind == Kind::Event && reply.status == status::OK {
            return self.told_ready(conn, reply);
        }
        self.told_reply(conn, reply);
    }

    /// After a message: everything was said that was due.
    pub(super) fn end_nfp_turn(&mut self) {
        let gone = |conn: usize| self.is_gone(conn);
        let missed = self.nfp.forward.as_ref().filter(|forward| !gone(forward.to));
        let missed = missed.map(|forward| format!("{forward:?}"));
        let stray = self.nfp.stray.filter(|conn| !gone(*conn));
        let fetch = self.nfp.fetch.filter(|(conn, _)| !gone(*conn));
        self.demand(missed.is_none(), || format!("a worker's words were not told: {missed:?}"));
        self.demand(stray.is_none(), || format!("nobody told {stray:?} that it is no worker"));
        self.demand(fetch.is_none(), || format!("nobody fetched a result: {fetch:?}"));
        (self.nfp.forward, self.nfp.stray, self.nfp.fetch) = (None, None, None);
        self.nfp.registering = None;
    }

    /// The broker has looked at the time: whoever was silent too long is no worker any more.
    pub(super) fn check_silence(&mut self) {
        let (time, expiry) = (self.time, self.nfp_expiry());
        let silent = self.nfp.known.iter().find(|(conn, peer)| {
            peer.state == State::Worker && !self.is_gone(**conn) && peer.spoke + expiry <= time
        });
        let silent = silent.map(|(conn, peer)| format!("{conn}, {peer:?}"));
        self.demand(silent.is_none(), || format!("at {time} this one is silent: {silent:?}"));
    }

    fn nfp_expiry(&self) -> u64 {
        u64::try_from(self.settings.nfp.keepalive.expiry().as_micros()).unwrap()
    }
}

/// The request that is meant by the name of a client.
fn request_of(client: &[u8]) -> Option<RequestId> {
    let digits = std::str::from_utf8(client.strip_prefix(b"+")?).ok()?;
    let token = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)?;
    RequestId::from_token(token)
}

/// Names of services that no worker from outside may have.
fn is_reserved(service: &[u8]) -> bool {
    service == b"all" || service.starts_with(b"mmi.") || service.ends_with(b".service.broker")
}
