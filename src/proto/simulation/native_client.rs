//! A client of MJP: many requests over one connection, with deadlines, cancelled, now and then
//! under an id that is open.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    FromBroker, Packed, PeerHello, Request, RequestHeader, StatusHeader, Tell, TellHeader,
    ToBroker, What,
};

use super::actor::{Act, Context, encoded};
use super::listener::{self, Listener};
use super::plan::{GHOST, MIXED, MS, SERVED};
use super::rng::Rng;
use super::scattered::{self, Scattered};
use super::tag::{Kind as PieceKind, Piece, Tag};

/// What sort of client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// Requests open at a time.
    window: usize,
    /// Pause between two requests at most.
    pause: u64,
    /// It leaves in the middle, once in so many requests.
    vanishes: Option<u64>,
    /// How long it waits for an answer; none: as long as it lasts.
    timeout: Option<u64>,
    /// It cancels one in so many.
    cancels: u64,
    /// It uses an open id again, once in so many.
    doubles: u64,
    attempts: Option<u32>,
    parts: bool,
    ack: bool,
    /// It wants to know what happens, and can be asked.
    events: bool,
    asks: bool,
    poison: u64,
    /// One in so many is for several workers.
    scatters: u64,
    /// One in so many has an order, or is delayed.
    holds: Option<u64>,
    /// There are workers of NFP.
    mixes: bool,
}

/// The orders of all clients, at each service.
const ORDERS: [&[u8]; 2] = [b"first", b"second"];

impl Kind {
    pub(super) fn draw(rng: &mut Rng, mixes: bool) -> Self {
        Self {
            window: rng.pick(&[1, 4, 24]),
            pause: rng.pick(&[5 * MS, 60 * MS]),
            vanishes: rng.pick(&[None, Some(10)]),
            timeout: rng.pick(&[None, Some(100), Some(400), Some(2_000)]),
            cancels: rng.pick(&[3, 12]),
            doubles: rng.pick(&[8, 30]),
            attempts: rng.pick(&[None, Some(1), Some(3)]),
            parts: rng.one_in(2),
            ack: rng.one_in(3),
            events: rng.one_in(2),
            asks: !rng.one_in(4),
            poison: rng.pick(&[12, 60]),
            scatters: rng.pick(&[2, 5, 20]),
            holds: rng.pick(&[None, Some(2), Some(6)]),
            mixes,
        }
    }
}

#[derive(Debug)]
struct Open {
    tag: Tag,
    service: &'static str,
    parts: u8,
    accepted: bool,
    scatter: Option<Scattered>,
    /// When it will be cancelled.
    cancel_at: Option<u64>,
}

#[derive(Debug)]
pub(super) struct NativeClient {
    me: u32,
    kind: Kind,
    quota: u32,
    number: u32,
    conn: Option<u32>,
    /// By id: what was sent under it, in order.
    open: BTreeMap<u64, Vec<Open>>,
    next_at: u64,
    connect_at: Option<u64>,
    probes: Vec<&'static str>,
    listener: Listener,
    /// What it was asked: when it answers, by which id, and the number.
    asked: Vec<(u64, u64, u64)>,
}

impl NativeClient {
    pub(super) fn new(me: u32, kind: Kind, quota: u32) -> Self {
        Self {
            me,
            kind,
            quota,
            number: 0,
            conn: None,
            open: BTreeMap::new(),
            next_at: 0,
            connect_at: Some(0),
            probes: Vec::new(),
            listener: Listener::default(),
            asked: Vec::new(),
        }
    }

    /// Nothing is asked or awaited any more. Each request has to come to an end for that.
    pub(super) fn is_done(&self) -> bool {
        self.quota == 0 && self.probes.is_empty() && self.open.is_empty()
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        let wants = self.quota > 0 || !self.probes.is_empty();
        let ask = (self.conn.is_some() && wants && self.open.len() < self.kind.window)
            .then_some(self.next_at);
        let cancel = self.open.values().flatten().filter_map(|open| open.cancel_at).min();
        let tell = self.asked.iter().map(|(at, ..)| *at).min().filter(|_| self.conn.is_some());
        [self.connect_at, ask, cancel, tell].into_iter().flatten().min()
    }

    pub(super) fn connected(&mut self, conn: u32, cx: &mut Context<'_>) {
        self.conn = Some(conn);
        self.connect_at = None;
        if cx.rng.one_in(2) {
            let versions = if cx.rng.one_in(5) { [2] } else { [1] };
            let versions = versions.into_iter().collect();
            say(&ToBroker::Hello(PeerHello { agent: None, versions }), cx);
        }
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) {
        self.conn = None;
        self.open.clear();
        self.listener.lost();
        self.asked.clear();
        self.connect_at = Some(cx.now + cx.rng.within(MS, 150 * MS));
    }

    pub(super) fn calm_down(&mut self) {
        self.kind.vanishes = None;
        self.kind.timeout = self.kind.timeout.map(|_| 5_000);
        self.kind.pause = MS;
    }

    /// Asks each service once more, and so many more requests: now they have to be answered.
    pub(super) fn probe(&mut self, more: u32) {
        self.quota += more;
        self.probes.extend(SERVED);
    }

    pub(super) fn woken(&mut self, cx: &mut Context<'_>) {
        if self.connect_at.is_some_and(|at| at <= cx.now) {
            self.connect_at = None;
            cx.act(Act::Connect);
        }
        let Some(conn) = self.conn else { return };
        let now = cx.now;
        for (id, open) in &mut self.open {
            for open in open.iter_mut().filter(|open| open.cancel_at.is_some_and(|at| at <= now)) {
                open.cancel_at = None;
                say(&ToBroker::Cancel { id: *id }, cx);
            }
        }
        self.tell_due(cx);
        if self.open.len() < self.kind.window && self.next_at <= cx.now {
            self.ask(conn, cx);
        }
    }

    fn ask(&mut self, conn: u32, cx: &mut Context<'_>) {
        let service = if let Some(service) = self.probes.pop() {
            service
        } else if self.quota > 0 {
            self.quota -= 1;
            match cx.rng.within(0, 7) {
                0 => GHOST,
                1 if self.kind.mixes => MIXED,
                _ => cx.rng.pick(&SERVED),
            }
        } else {
            return;
        };
        self.number += 1;
        let poison = !cx.calm && service != GHOST && cx.rng.one_in(self.kind.poison);
        let tag = Tag { client: self.me, number: self.number, conn, poison };
        let doubles = !self.open.is_empty() && cx.rng.one_in(self.kind.doubles);
        let id = match self.open.keys().next() {
            Some(id) if doubles => *id,
            _ => u64::from(self.number),
        };
        let cancel_at =
            cx.rng.one_in(self.kind.cancels).then(|| cx.now + cx.rng.within(0, 120 * MS));
        self.next_at = cx.now + cx.rng.within(MS / 2, self.kind.pause);
        let timeout = if cx.rng.one_in(30) { Some(0) } else { self.kind.timeout };
        let scatters = service != GHOST && cx.rng.one_in(self.kind.scatters);
        let scatter = scatters.then(Scattered::default);
        let open = Open { tag, service, parts: 0, accepted: false, scatter, cancel_at };
        self.open.entry(id).or_default().push(open);
        if scatters {
            scattered::scatter(id, service, timeout, tag, cx);
        } else {
            self.request(id, service, timeout, tag, cx);
        }
        if cx.rng.one_in(2) {
            self.listener.act(conn, cx);
        }
        self.misbehave(id, cx);
    }

    fn request(
        &self,
        id: u64,
        service: &str,
        timeout: Option<u64>,
        tag: Tag,
        cx: &mut Context<'_>,
    ) {
        let (order, delay) = self.hold(cx);
        let says = RequestHeader {
            service: service.as_bytes(),
            // A name that nobody offers has to come to an end in any case.
            timeout,
            attempts: self.kind.attempts.and_then(NonZeroU32::new),
            ack: self.kind.ack.then_some(true),
            parts: (!self.kind.parts).then_some(false),
            trace: None,
            state: None,
            events: self.kind.events.then_some(true),
            asks: self.kind.asks.then_some(true),
            key: None,
            lease: None,
            epoch: None,
            order,
            delay,
            level: None,
            wait: None,
        };
        let header = Packed::new(&says);
        let mut frames = vec![if service == MIXED { tag.to_job(None) } else { tag.encode() }];
        match cx.rng.within(0, 9) {
            _ if service == MIXED && cx.rng.one_in(2) => {}
            0 => frames.push(vec![7; 5_000]),
            1..=3 => frames.push(vec![9; 200]),
            _ => {}
        }
        let body = Message::new(frames);
        let (header, body) = (header.octets(), body.frames());
        say(&ToBroker::Request(Request { id, header, says, body }), cx);
    }

    /// The order of a request, and its delay in ms.
    fn hold(&self, cx: &mut Context<'_>) -> (Option<&'static [u8]>, Option<u64>) {
        if self.kind.holds.is_none_or(|one_in| !cx.rng.one_in(one_in)) {
            return (None, None);
        }
        let order = (!cx.rng.one_in(4)).then(|| cx.rng.pick(&ORDERS));
        let is_delayed = order.is_none() || cx.rng.one_in(4);
        (order, is_delayed.then(|| cx.rng.pick(&[0, 1, 15, 120])))
    }

    /// What it says besides, now and then, and how it goes.
    fn misbehave(&mut self, id: u64, cx: &mut Context<'_>) {
        match cx.rng.within(0, 30) {
            0 => say(&ToBroker::Heartbeat, cx),
            1 => say(&ToBroker::Drain, cx),
            2 => say(&ToBroker::Cancel { id: id + 1_000_000 }, cx),
            4 | 5 => {
                let ask = cx.rng.within(1, 6);
                tell(id, ask, cx);
            }
            3 => {
                let what = cx.rng.pick(&[What::Broker, What::Services, What::Workers]);
                let says = StatusHeader { what, service: None, after: None, max: None };
                say(&ToBroker::Status { id, says }, cx);
            }
            _ => {}
        }
        if self.kind.vanishes.is_some_and(|one_in| cx.rng.one_in(one_in)) {
            self.lost(cx);
            let quietly = cx.rng.one_in(4) && !cx.calm;
            cx.act(if quietly { Act::Vanish } else { Act::Close });
        }
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn heard(&mut self, message: Frames<'_>) -> Result<(), String> {
        let said = FromBroker::decode(message).map_err(|e| format!("a client heard: {e}"))?;
        match said {
            FromBroker::Hello(_)
            | FromBroker::Heartbeat
            | FromBroker::Drain { .. }
            | FromBroker::Status { .. }
            | FromBroker::Lease { .. }
            | FromBroker::Group { .. }
            | FromBroker::Admin { .. } => Ok(()),
            FromBroker::Error(failure) if failure.id == 0 => Ok(()),
            FromBroker::News(news) => self.listener.news(&news),
            FromBroker::Gap { id, says } => self.listener.gap(id, says.missed),
            FromBroker::Published { id, .. } => self.listener.is_known(id),
            FromBroker::Accepted { id, .. } if id >= listener::IDS => self.listener.is_known(id),
            FromBroker::Error(failure) if failure.id >= listener::IDS => {
                let fault = crate::wire::mjp::Fault::decode(failure.header);
                self.listener.refused(failure.id, fault.map(|it| it.code).unwrap_or_default())
            }
            FromBroker::Accepted { id, .. } => {
                let waits = self.open.get_mut(&id).into_iter().flatten();
                let open = waits.into_iter().find(|open| !open.accepted);
                let open = open.ok_or_else(|| format!("{id} was accepted, and nobody asked"))?;
                let fresh = open.parts == 0;
                open.accepted = true;
                if fresh { Ok(()) } else { Err(format!("{id} was accepted after a part")) }
            }
            FromBroker::Final(answer) if self.scatter(answer.id).is_some() => {
                let scatter = self.scatter(answer.id).ok_or("looked at above")?;
                scatter.ended(&answer)?;
                self.close_first(answer.id);
                Ok(())
            }
            FromBroker::Partial(answer) => self.answered(answer.id, answer.body, false),
            FromBroker::Final(answer) => self.answered(answer.id, answer.body, true),
            FromBroker::Error(failure) => {
                let fault = crate::wire::mjp::Fault::decode(failure.header);
                let code = fault.map(|fault| fault.code).unwrap_or_default();
                self.failed(failure.id, code)
            }
            FromBroker::Targets(targets) => {
                let scatter = self.scatter(targets.id);
                scatter.ok_or("targets, and nobody asked")?.targets(&targets)
            }
            FromBroker::Outcome(outcome) => {
                let scatter = self.scatter(outcome.id);
                scatter.ok_or("an outcome, and nobody asked")?.outcome(&outcome)
            }
            FromBroker::Note(note) => {
                self.scatter(note.id).ok_or("a note, and nobody asked")?.note(&note)
            }
            FromBroker::Event(event) if self.kind.events => self.heard_of(event.id, event.body),
            FromBroker::Ask(ask) if self.kind.asks => {
                self.asked.push((0, ask.id, ask.says.ask));
                self.heard_of(ask.id, ask.body)
            }
            FromBroker::Bye(_)
            | FromBroker::Flow(_)
            | FromBroker::Lane(_)
            | FromBroker::Request(_)
            | FromBroker::Cancel { .. }
            | FromBroker::Event(_)
            | FromBroker::Ask(_)
            | FromBroker::Tell(_) => Err(format!("a client is no worker, and heard {said:?}")),
        }
    }

    /// The scatter that is open under this id: of those under one id the oldest was accepted.
    fn scatter(&mut self, id: u64) -> Option<&mut Scattered> {
        self.open.get_mut(&id)?.first_mut()?.scatter.as_mut()
    }

    fn close_first(&mut self, id: u64) {
        self.open.entry(id).or_default().remove(0);
        self.open.retain(|_, open| !open.is_empty());
    }

    fn failed(&mut self, id: u64, code: &str) -> Result<(), String> {
        let Some(open) = self.open.get_mut(&id) else {
            return Err(format!("{code} for {id}, which is not open"));
        };
        // What is said comes in the order of asking: of those under one id the oldest was accepted.
        let at = usize::from(code == "duplicate_id");
        if at >= open.len() {
            return Err(format!("{code} for {id}, which was used once"));
        }
        if open[at].scatter.as_ref().is_some_and(Scattered::is_accepted) {
            return Err(format!("{code} for the scatter {id}, which was accepted"));
        }
        open.remove(at);
        self.open.retain(|_, open| !open.is_empty());
        Ok(())
    }

    /// Answers what it was asked, some time after it was; now and then again later, or never.
    fn tell_due(&mut self, cx: &mut Context<'_>) {
        let due = self.asked.extract_if(.., |(at, ..)| *at <= cx.now);
        for (at, id, ask) in due.collect::<Vec<_>>() {
            let fresh = at == 0;
            if !fresh {
                tell(id, ask, cx);
            }
            if fresh || cx.rng.one_in(4) {
                let later = cx.now + 1 + cx.rng.pick(&[0, MS, 150 * MS]);
                self.asked.push((later, id, ask));
            }
            if cx.rng.one_in(5) {
                self.asked.pop();
            }
        }
    }

    /// Something is said in the middle of a request: of one that is open, and no other.
    fn heard_of(&self, id: u64, mut body: Frames<'_>) -> Result<(), String> {
        let tag = body.take_first().and_then(Tag::decode).ok_or("an event without a tag")?;
        let mut open = self.open.get(&id).into_iter().flatten();
        let known = open.any(|open| open.tag == tag);
        if known { Ok(()) } else { Err(format!("an event at {tag:?} under {id}, not open")) }
    }

    fn answered(&mut self, id: u64, body: Frames<'_>, last: bool) -> Result<(), String> {
        let pieces: Vec<Piece> = body.filter_map(Piece::decode).collect();
        let tag = pieces.first().map(|piece| piece.tag).ok_or("an answer without a tag")?;
        let waits = self.open.get_mut(&id).into_iter().flatten();
        let open = waits.into_iter().find(|open| open.tag == tag);
        let open = open.ok_or_else(|| format!("an answer to {tag:?} under {id}, not open"))?;
        let mut whole = true;
        for piece in &pieces {
            whole &= piece.tag == tag;
            let again = open.service == "parts";
            match piece.kind {
                PieceKind::Part(index) => {
                    whole &= index == open.parts || index == 0 && again;
                    open.parts = index + 1;
                }
                PieceKind::End(parts) => whole &= open.parts == parts || again && self.kind.parts,
                PieceKind::Babble => {}
            }
        }
        if !whole {
            return Err(format!("the answer to {tag:?} is not whole: {pieces:?}, {}", open.parts));
        }
        if last {
            for open in self.open.values_mut() {
                open.retain(|open| open.tag != tag);
            }
            self.open.retain(|_, open| !open.is_empty());
        }
        Ok(())
    }
}

fn tell(id: u64, ask: u64, cx: &mut Context<'_>) {
    let says = TellHeader { ask, ..TellHeader::default() };
    let (packed, body) = (Packed::new(&says), Message::new([ask.to_be_bytes().to_vec()]));
    say(&ToBroker::Tell(Tell { id, header: packed.octets(), says, body: body.frames() }), cx);
}

fn say(said: &ToBroker<'_>, cx: &mut Context<'_>) {
    cx.act(Act::Say(encoded(|encoder| said.encode(encoder))));
}
