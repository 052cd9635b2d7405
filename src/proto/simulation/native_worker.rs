//! A worker of MJP: several requests at a time, credit that changes, and all the ways in which it
//! leaves, fails and goes wrong.

use std::num::NonZeroU16;

use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    Answer, Ask, AskHeader, Event, Failure, Fault, FromBroker, Packed, ReadyHeader, ToBroker,
};

use super::actor::{Act, Context, encoded};
use super::listener::{self, Listener};
use super::plan::MS;
use super::rng::Rng;
use super::tag::{Kind as PieceKind, Piece, Tag};

/// The label that some have.
pub(super) const ZONE: (&str, &str) = ("zone", "here");

/// What sort of worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    credit: u16,
    /// Time one request takes at most.
    pace: u64,
    /// It does something wrong, or unusual, once in so many requests.
    wrongs: u64,
    /// Most parts of an answer.
    parts: u8,
    /// It fails one request in so many.
    fails: u64,
    /// It says something in the middle of one step in so many.
    talks: u64,
    /// It stops when it is asked to.
    obeys: bool,
    /// It has the label.
    here: bool,
}

impl Kind {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        Self {
            credit: rng.pick(&[1, 2, 8, 50]),
            pace: rng.pick(&[2 * MS, 40 * MS, 150 * MS]),
            wrongs: rng.pick(&[5, 12, 40]),
            parts: rng.pick(&[0, 2, 5]),
            fails: rng.pick(&[4, 20]),
            talks: rng.pick(&[1, 1, 6]),
            obeys: rng.one_in(2),
            here: rng.one_in(2),
        }
    }
}

#[derive(Debug)]
struct Job {
    token: u64,
    tag: Tag,
    parts: u8,
    said: u8,
    next_at: u64,
}

#[derive(Debug)]
pub(super) struct NativeWorker {
    pub(super) service: &'static str,
    interval: u64,
    kind: Kind,
    conn: Option<u32>,
    registered: bool,
    /// It says BYE when the broker has said DRAIN.
    leaving: bool,
    jobs: Vec<Job>,
    /// What it answered last.
    done: Option<(u64, Tag)>,
    beat_at: u64,
    heard: u64,
    connect_at: Option<u64>,
    /// When it says READY again.
    ready_at: Option<u64>,
    /// The application hangs until then.
    hung_until: u64,
    /// It publishes, and does not listen.
    listener: Listener,
}

impl NativeWorker {
    pub(super) fn new(service: &'static str, interval: u64, kind: Kind) -> Self {
        Self {
            service,
            interval,
            kind,
            conn: None,
            registered: false,
            leaving: false,
            jobs: Vec::new(),
            done: None,
            beat_at: 0,
            heard: 0,
            connect_at: Some(0),
            ready_at: None,
            hung_until: 0,
            listener: Listener::default(),
        }
    }

    pub(super) fn calm_down(&mut self, now: u64) {
        self.kind.wrongs = u64::MAX;
        self.kind.fails = u64::MAX;
        // A client of MDP/0.1 waits in vain for an answer that is too big together.
        self.kind.parts = self.kind.parts.min(1);
        self.kind.pace = self.kind.pace.min(20 * MS);
        self.hung_until = self.hung_until.min(now);
        // Whatever credit it was left with: it takes work again.
        self.ready_at = self.conn.map(|_| now);
    }

    pub(super) fn hang(&mut self, until: u64) {
        self.hung_until = until;
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        if self.conn.is_none() {
            return self.connect_at;
        }
        let job = self.jobs.iter().map(|job| job.next_at).min();
        let next = [Some(self.beat_at), job, self.ready_at, Some(self.heard + 4 * self.interval)];
        next.into_iter().flatten().min().map(|at| at.max(self.hung_until))
    }

    pub(super) fn connected(&mut self, conn: u32, cx: &mut Context<'_>) {
        *self = Self {
            conn: Some(conn),
            heard: cx.now,
            beat_at: cx.now + self.interval / 2,
            hung_until: self.hung_until,
            connect_at: None,
            ..Self::new(self.service, self.interval, self.kind)
        };
        self.ready(self.service, cx);
    }

    fn ready(&mut self, service: &str, cx: &mut Context<'_>) {
        // A worker that registers anew has forgotten what it had: the same request may be given to
        // it again, under the same id.
        if !std::mem::replace(&mut self.registered, true) {
            self.jobs.clear();
        }
        let credit = NonZeroU16::new(self.kind.credit);
        let description = cx.rng.one_in(3).then_some("a worker that says something of itself");
        let service = service.as_bytes();
        say(
            &ToBroker::Ready(ReadyHeader {
                service,
                credit,
                description,
                labels: self.kind.here.then_some(ZONE).into_iter().collect(),
                ..ReadyHeader::default()
            }),
            cx,
        );
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) {
        self.conn = None;
        self.jobs.clear();
        self.connect_at = Some(cx.now + cx.rng.within(MS, if cx.calm { 50 } else { 900 } * MS));
    }

    fn reconnect(&mut self, cx: &mut Context<'_>) {
        self.lost(cx);
        let quietly = cx.rng.one_in(5) && !cx.calm;
        cx.act(if quietly { Act::Vanish } else { Act::Close });
    }

    pub(super) fn woken(&mut self, cx: &mut Context<'_>) {
        if self.conn.is_none() {
            if self.connect_at.is_some_and(|at| at <= cx.now) {
                self.connect_at = None;
                cx.act(Act::Connect);
            }
            return;
        }
        if cx.now < self.hung_until {
            return;
        }
        if self.heard + 4 * self.interval <= cx.now {
            cx.deaf = self.registered;
            return self.reconnect(cx);
        }
        // While it works it may have been given up, and not know: READY would register it anew.
        if self.ready_at.is_some_and(|at| at <= cx.now) {
            let waits = self.registered && !self.jobs.is_empty();
            self.ready_at = waits.then_some(cx.now + 5 * MS);
            if !waits {
                self.ready(self.service, cx);
            }
        }
        if self.beat_at <= cx.now {
            self.beat_at = cx.now + self.interval / 2;
            say(&ToBroker::Heartbeat, cx);
        }
        while self.conn.is_some()
            && let Some(at) = self.jobs.iter().position(|job| job.next_at <= cx.now)
        {
            self.work(at, cx);
        }
    }

    /// Says the next part of an answer, its end, or an error.
    fn work(&mut self, at: usize, cx: &mut Context<'_>) {
        let pace = self.kind.pace;
        let job = &mut self.jobs[at];
        let (token, tag) = (job.token, job.tag);
        if job.said < job.parts {
            let kind = PieceKind::Part(job.said);
            job.said += 1;
            job.next_at = cx.now + cx.rng.within(MS / 4, pace);
            answer(token, Piece { tag, kind }, false, cx);
        } else {
            let job = self.jobs.remove(at);
            if cx.rng.one_in(self.kind.fails) {
                fail(token, cx);
            } else {
                answer(token, Piece { tag, kind: PieceKind::End(job.parts) }, true, cx);
            }
            self.done = Some((token, tag));
        }
        if cx.rng.one_in(4) {
            self.publish(cx);
        }
        if cx.rng.one_in(self.kind.talks)
            && let Some(job) = self.jobs.get(at)
        {
            talk(job.token, job.tag, cx);
        }
        if cx.rng.one_in(self.kind.wrongs) {
            self.go_wrong(cx);
        }
    }

    fn publish(&mut self, cx: &mut Context<'_>) {
        if let Some(conn) = self.conn {
            self.listener.publish(conn, cx);
        }
    }

    fn go_wrong(&mut self, cx: &mut Context<'_>) {
        let babble = |tag| Piece { tag, kind: PieceKind::Babble };
        match cx.rng.within(0, 11) {
            0 => self.reconnect(cx),
            1 if self.registered => {
                self.leaving = true;
                say(&ToBroker::Drain, cx);
            }
            2 if self.jobs.is_empty() => self.ready(self.service, cx),
            3 if self.registered && self.jobs.is_empty() => say_ready(b"another", cx),
            4 => say_ready(b"mmi.service", cx),
            5 => {
                say(&ToBroker::Drain, cx);
                self.publish(cx);
                self.ready_at = Some(cx.now + cx.rng.within(1, 2 * self.interval));
                if cx.rng.one_in(3) {
                    say(&ToBroker::Drain, cx);
                }
            }
            6 | 7 => {
                let credit = cx.rng.pick(&[0, 1, 3, 60]);
                say(&ToBroker::Credit { credit }, cx);
                if credit == 0 {
                    self.ready_at = Some(cx.now + cx.rng.within(1, 2 * self.interval));
                }
            }
            8 => {
                if let Some((address, tag)) = cx.gossip.clone() {
                    let token = address.try_into().map_or(1, u64::from_be_bytes);
                    if cx.rng.one_in(3) {
                        return talk(token, tag, cx);
                    }
                    let last = cx.rng.one_in(2);
                    answer(token, babble(tag), last, cx);
                }
            }
            9 => {
                if let Some((token, tag)) = self.done {
                    if cx.rng.one_in(2) {
                        return talk(token, tag, cx);
                    }
                    answer(token, babble(tag), true, cx);
                }
            }
            10 => self.hung_until = cx.now + cx.rng.within(5, 12) * self.interval,
            _ => cx.act(Act::Say(encoded(|encoder| {
                encoder.frame(b"MJP1");
                encoder.last_frame(b"\x7f\0\0\0\0\0\0\0\x01");
            }))),
        }
    }

    /// Gives back what it holds, which it may answer late; it comes again.
    fn leave(&mut self, cx: &mut Context<'_>) {
        say(&ToBroker::Bye, cx);
        self.publish(cx);
        self.registered = false;
        if cx.rng.one_in(2) {
            self.jobs.clear();
        }
        self.ready_at = Some(cx.now + cx.rng.within(0, 3) * self.interval / 2);
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn heard(
        &mut self,
        message: Frames<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let said = FromBroker::decode(message).map_err(|e| format!("a worker heard: {e}"))?;
        self.heard = cx.now;
        match said {
            FromBroker::Heartbeat | FromBroker::Drain { within: Some(_) } => Ok(()),
            FromBroker::Drain { within: None } => {
                // Without that, what is under way could be taken for work of the next registration.
                if std::mem::take(&mut self.leaving) && self.registered {
                    self.leave(cx);
                }
                Ok(())
            }
            FromBroker::Published { .. } => Ok(()),
            FromBroker::Error(failure) if failure.id >= listener::IDS => Ok(()),
            FromBroker::Error(failure) if matches!(failure.id, 0 | 1) => {
                let denied = Fault::decode(failure.header).is_ok_and(|it| it.code == "denied");
                // It may have become a worker of something else.
                if cx.calm && failure.id == 0 {
                    self.reconnect(cx);
                } else if denied && self.jobs.is_empty() {
                    self.registered = false;
                    self.ready_at = Some(cx.now + cx.rng.within(1, 3 * self.interval));
                }
                Ok(())
            }
            FromBroker::Bye(fault) => {
                cx.dismissed = fault.code != "draining";
                self.registered = false;
                self.jobs.clear();
                let later = if cx.calm { 20 * MS } else { cx.rng.within(1, 3 * self.interval) };
                self.ready_at = Some(cx.now + later);
                Ok(())
            }
            FromBroker::Cancel { id } => {
                let at = self.jobs.iter().position(|job| job.token == id);
                if let Some(at) = at.filter(|_| self.kind.obeys) {
                    self.jobs.remove(at);
                    fail(id, cx);
                }
                Ok(())
            }
            FromBroker::Tell(_) => Ok(()),
            FromBroker::Request(delivery) => {
                let tag = delivery.body.clone().next().and_then(Tag::decode);
                let tag = tag.ok_or("a request without a tag")?;
                if tag.poison {
                    self.reconnect(cx);
                    return Ok(());
                }
                // BYE and READY may have crossed: who is given work is registered.
                self.registered = true;
                // Delivered again: what it was doing of it before is over.
                self.jobs.retain(|job| job.token != delivery.id);
                let parts = match self.kind.parts {
                    0 => 0,
                    max => u8::try_from(cx.rng.within(0, u64::from(max))).unwrap(),
                };
                let next_at = cx.now + cx.rng.within(MS / 4, self.kind.pace);
                self.jobs.push(Job { token: delivery.id, tag, parts, said: 0, next_at });
                for _ in 0..cx.rng.within(0, 3) {
                    if cx.rng.one_in(self.kind.talks) {
                        talk(delivery.id, tag, cx);
                    }
                }
                Ok(())
            }
            other => Err(format!("a worker heard {other:?}")),
        }
    }
}

fn say(said: &ToBroker<'_>, cx: &mut Context<'_>) {
    cx.act(Act::Say(encoded(|encoder| said.encode(encoder))));
}

fn answer(id: u64, piece: Piece, last: bool, cx: &mut Context<'_>) {
    let mut frames = vec![piece.encode()];
    if cx.rng.one_in(12) {
        frames.push(vec![3; cx.rng.pick(&[0, 100, 4_500])]);
    }
    let body = Message::new(frames);
    let header = if cx.rng.one_in(2) { &b"\x80"[..] } else { b"" };
    let answer = Answer { id, header, body: body.frames() };
    say(&if last { ToBroker::Final(answer) } else { ToBroker::Partial(answer) }, cx);
}

/// Something happens, or is asked, in the middle of a request. Nobody waits for the answer.
fn talk(id: u64, tag: Tag, cx: &mut Context<'_>) {
    let mut frames = vec![tag.encode()];
    if cx.rng.one_in(8) {
        frames.push(vec![5; cx.rng.pick(&[0, 100, 4_500])]);
    }
    let body = Message::new(frames);
    let body = body.frames();
    if cx.rng.one_in(2) {
        let event = Event { id, header: b"\xc1 is nobody's affair", body };
        return say(&ToBroker::Event(event), cx);
    }
    let says = AskHeader { ask: cx.rng.within(1, 6), message: None };
    let packed = Packed::new(&says);
    say(&ToBroker::Ask(Ask { id, header: packed.octets(), says, body }), cx);
}

fn fail(id: u64, cx: &mut Context<'_>) {
    let header = Packed::new(&Fault { code: "no_paper", ..Fault::default() });
    say(&ToBroker::Error(Failure { id, header: header.octets() }), cx);
}

/// READY for a service that it must not offer, or not now.
fn say_ready(service: &[u8], cx: &mut Context<'_>) {
    say(&ToBroker::Ready(ReadyHeader { service, ..ReadyHeader::default() }), cx);
}
