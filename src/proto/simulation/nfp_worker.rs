//! A worker of NFP: it takes whatever it is given, says how far it is, keeps results until they are
//! fetched, and goes wrong in many ways.

use std::collections::BTreeMap;

use crate::wire::message::{Frames, Message};
use crate::wire::nfp::{Answer, FromWorker, Kind as Says, Order, ToWorker, Verb};

use super::actor::{Act, Context, encoded};
use super::plan::MS;
use super::rng::Rng;
use super::tag::{Kind as PieceKind, Piece, Tag};

/// What sort of worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// Time one step of a job takes at most.
    pace: u64,
    /// It does something wrong, or unusual, once in so many steps.
    wrongs: u64,
    /// Most events of a job, or parts of an answer.
    steps: u8,
    /// It fails one job in so many.
    fails: u64,
    /// It shows that it lives.
    beats: bool,
}

impl Kind {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        Self {
            pace: rng.pick(&[2 * MS, 40 * MS, 150 * MS]),
            wrongs: rng.pick(&[8, 20, 60]),
            steps: rng.pick(&[0, 2, 5]),
            fails: rng.pick(&[4, 20]),
            beats: !rng.one_in(5),
        }
    }
}

/// What a client calls a job, or the broker a request.
type Name = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
struct Work {
    name: Name,
    tag: Tag,
    steps: u8,
    said: u8,
    next_at: u64,
}

impl Work {
    /// Whether it is a request of another dialect.
    fn is_request(&self) -> bool {
        self.name.0.starts_with(b"+")
    }
}

#[derive(Debug)]
pub(super) struct NfpWorker {
    pub(super) service: &'static str,
    interval: u64,
    kind: Kind,
    conn: Option<u32>,
    /// It was no worker for a while on this connection. A request may be from before that, and be
    /// delivered again: it cannot tell one from the other, and fails both.
    again: bool,
    work: Vec<Work>,
    /// What it has done, with its tag and number of parts; the last ones.
    done: BTreeMap<Name, (Tag, u8)>,
    /// Messages to each client so far, over all connections.
    said: BTreeMap<Vec<u8>, u32>,
    beat_at: u64,
    heard: u64,
    connect_at: Option<u64>,
    /// When it says READY again.
    ready_at: Option<u64>,
    /// The application hangs until then.
    hung_until: u64,
}

impl NfpWorker {
    pub(super) fn new(service: &'static str, interval: u64, kind: Kind) -> Self {
        Self {
            service,
            interval,
            kind,
            conn: None,
            again: false,
            work: Vec::new(),
            done: BTreeMap::new(),
            said: BTreeMap::new(),
            beat_at: 0,
            heard: 0,
            connect_at: Some(0),
            ready_at: None,
            hung_until: 0,
        }
    }

    /// From now on it does what it should, on a new connection: whatever it forgot is lost.
    pub(super) fn calm_down(&mut self, cx: &mut Context<'_>) {
        (self.kind.wrongs, self.kind.fails, self.kind.beats) = (u64::MAX, u64::MAX, true);
        self.kind.steps = self.kind.steps.min(1);
        self.kind.pace = self.kind.pace.min(20 * MS);
        self.hung_until = self.hung_until.min(cx.now);
        if self.conn.is_some() {
            self.lost(cx);
            cx.act(Act::Close);
        }
    }

    pub(super) fn hang(&mut self, until: u64) {
        self.hung_until = until;
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        if self.conn.is_none() {
            return self.connect_at;
        }
        let beat = self.kind.beats.then_some(self.beat_at);
        let work = self.work.iter().map(|work| work.next_at).min();
        let next = [beat, work, self.ready_at, Some(self.heard + 4 * self.interval)];
        next.into_iter().flatten().min().map(|at| at.max(self.hung_until))
    }

    pub(super) fn connected(&mut self, conn: u32, cx: &mut Context<'_>) {
        self.conn = Some(conn);
        (self.connect_at, self.ready_at, self.again) = (None, None, false);
        self.heard = cx.now;
        self.beat_at = cx.now + self.interval / 2;
        let service = match cx.rng.next() % 25 {
            0 if !cx.calm => b"mmi.service.broker",
            1 if !cx.calm => &b"all"[..],
            2 if !cx.calm => b"",
            _ => self.service.as_bytes(),
        };
        if cx.calm || !cx.rng.one_in(20) {
            say(&FromWorker::Ready { service }, cx);
        }
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) {
        self.conn = None;
        self.work.clear();
        // A process that begins anew has its results still, as they are on its disk.
        self.connect_at = Some(cx.now + cx.rng.within(MS, if cx.calm { 50 } else { 600 } * MS));
    }

    /// It is no worker on this connection for a while, or may not be.
    fn forget(&mut self) {
        self.work.clear();
        // What it says of a request now may come behind a second delivery, without its parts.
        self.done.retain(|(client, _), _| !client.starts_with(b"+"));
        self.again = true;
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
            cx.deaf = true;
            return self.reconnect(cx);
        }
        if self.ready_at.is_some_and(|at| at <= cx.now) {
            self.ready_at = None;
            say(&FromWorker::Ready { service: self.service.as_bytes() }, cx);
        }
        if self.kind.beats && self.beat_at <= cx.now {
            self.beat_at = cx.now + self.interval / 2;
            say(&FromWorker::Keepalive { service: self.service.as_bytes() }, cx);
        }
        while self.conn.is_some()
            && let Some(at) = self.work.iter().position(|work| work.next_at <= cx.now)
        {
            self.step(at, cx);
        }
    }

    /// Goes on with a job.
    fn step(&mut self, at: usize, cx: &mut Context<'_>) {
        let work = &mut self.work[at];
        let ((client, uuid), tag) = (work.name.clone(), work.tag);
        work.next_at = cx.now + cx.rng.within(MS / 4, self.kind.pace);
        let (said, request) = (work.said, work.is_request());
        work.said += 1;
        let (kind, status, event) = match () {
            () if said == 0 => (Says::Response, "201", "accepted"),
            () if said > work.steps => {
                let work = self.work.remove(at);
                return self.finish(&work, cx);
            }
            () if request => (Says::Stream, "200", "part"),
            () => match cx.rng.within(0, 5) {
                0 => (Says::Stream, "200", "part"),
                1 => (Says::Event, "200", "input_request"),
                2 => (Says::Event, "200", "input_response"),
                3 => (Says::Response, "102", "waiting"),
                4 => (Says::Response, "300", "pending"),
                _ => (Says::Event, "200", "progress"),
            },
        };
        let body = match (kind, request) {
            (Says::Stream, true) => Piece { tag, kind: PieceKind::Part(said - 1) }.encode(),
            _ => self.tagged(&client, event, tag),
        };
        report(kind, &client, &uuid, status, body, cx);
        if cx.rng.one_in(self.kind.wrongs) {
            self.go_wrong(cx);
        }
    }

    /// A job is done, or has failed.
    fn finish(&mut self, work: &Work, cx: &mut Context<'_>) {
        let (client, uuid) = &work.name;
        self.done.insert(work.name.clone(), (work.tag, work.steps));
        if self.done.len() > 40 {
            self.done.pop_first();
        }
        if cx.rng.one_in(self.kind.fails) {
            self.done.remove(&work.name);
            let body = self.body(client, "failed");
            report(Says::Response, client, uuid, "500", body, cx);
        } else if work.is_request() && cx.rng.one_in(3) {
            self.give(&work.name, cx);
        } else if !work.is_request() || cx.rng.one_in(2) {
            let body = self.tagged(client, "result_ready", work.tag);
            report(Says::Event, client, uuid, "200", body, cx);
        }
        // Others say nothing, as they did up to 0.24: the broker has to ask.
        if cx.rng.one_in(self.kind.wrongs) {
            self.go_wrong(cx);
        }
    }

    /// Says what became of a job, as GET wants to know.
    fn give(&mut self, name: &Name, cx: &mut Context<'_>) {
        let (client, uuid) = name;
        if self.work.iter().any(|work| work.name == *name) {
            let body = self.body(client, "started");
            return report(Says::Response, client, uuid, "300", body, cx);
        }
        let Some((tag, parts)) = self.done.get(name).copied() else {
            let body = self.body(client, "unknown");
            return report(Says::Response, client, uuid, "404", body, cx);
        };
        let body = if client.starts_with(b"+") {
            Piece { tag, kind: PieceKind::End(parts) }.encode()
        } else {
            self.body(client, "done")
        };
        report(Says::Response, client, uuid, "200", body, cx);
    }

    /// What everything that it says carries: whom it means, and the how manieth message that is.
    fn body(&mut self, client: &[u8], event: &str) -> Vec<u8> {
        let number = self.said.entry(client.to_vec()).or_default();
        *number += 1;
        let (owner, by) = (String::from_utf8_lossy(client), self.conn.unwrap_or_default());
        let number = *number;
        format!(r#"{{"event_type":"{event}","owner":"{owner}","by":{by},"number":{number}}}"#)
            .into_bytes()
    }

    /// The same about something that has a tag, which a caller of another dialect looks for.
    fn tagged(&mut self, client: &[u8], event: &str, tag: Tag) -> Vec<u8> {
        let (mut body, job) = (self.body(client, event), tag.to_job(None));
        body.pop();
        body.extend([b",", &job[1..]].concat());
        body
    }

    fn go_wrong(&mut self, cx: &mut Context<'_>) {
        match cx.rng.within(0, 9) {
            0 => self.reconnect(cx),
            1 => {
                say(&FromWorker::Disconnect { service: self.service.as_bytes() }, cx);
                self.forget();
                self.ready_at = Some(cx.now + cx.rng.within(0, 2) * self.interval);
            }
            which @ (2 | 3) => {
                // It may have been given up, and not know: this would register it anew.
                self.forget();
                let service = if which == 2 { self.service } else { "another" };
                say(&FromWorker::Ready { service: service.as_bytes() }, cx);
            }
            // About the job of another one, to its client or to somebody else.
            4..=6 => {
                if let Some((uuid, owner)) = cx.gossip_of_jobs.clone() {
                    let stranger = format!("actor{}", cx.rng.within(0, 15));
                    let client = if cx.rng.one_in(2) { owner } else { stranger };
                    let event = cx.rng.pick(&["progress", "result_ready", "nonsense"]);
                    let body = self.body(client.as_bytes(), event);
                    let kind = cx.rng.pick(&[Says::Response, Says::Event, Says::Stream]);
                    let status = cx.rng.pick(&["200", "300", "500"]);
                    report(kind, client.as_bytes(), &uuid, status, body, cx);
                }
            }
            7 => self.hung_until = cx.now + cx.rng.within(5, 12) * self.interval,
            8 => cx.act(Act::Say(encoded(|encoder| {
                encoder.frame(b"");
                encoder.frame(b"NFPW01");
                encoder.last_frame(b"0x99");
            }))),
            _ => cx.act(Act::Say(encoded(|encoder| {
                encoder.frame(b"");
                encoder.frame(b"NFPW01");
                encoder.frame(b"0x05");
                encoder.last_frame(b"");
            }))),
        }
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn heard(
        &mut self,
        message: Frames<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let (_, said) = ToWorker::decode(message).map_err(|e| format!("a worker heard: {e}"))?;
        self.heard = cx.now;
        match said {
            ToWorker::Keepalive { .. } => {}
            ToWorker::Disconnect { .. } => {
                cx.dismissed = true;
                if cx.calm || cx.rng.one_in(2) {
                    self.reconnect(cx);
                } else {
                    self.forget();
                    self.ready_at = Some(cx.now + cx.rng.within(0, 3) * self.interval);
                }
            }
            ToWorker::Order(order) => self.ordered(&order, cx)?,
        }
        Ok(())
    }

    fn ordered(&mut self, order: &Order<'_>, cx: &mut Context<'_>) -> Result<(), String> {
        let name = (order.client.to_vec(), order.uuid.to_vec());
        match order.verb {
            Verb::Post => {
                let tag = order.body.clone().next().and_then(Tag::decode);
                let tag = tag.ok_or("a job without a tag")?;
                if tag.poison {
                    self.reconnect(cx);
                    return Ok(());
                }
                if self.again && name.0.starts_with(b"+") {
                    let body = self.body(&name.0, "failed");
                    report(Says::Response, &name.0, &name.1, "500", body, cx);
                    return Ok(());
                }
                // Said again, it begins anew.
                self.work.retain(|work| work.name != name);
                self.done.remove(&name);
                let steps = match self.kind.steps {
                    0 => 0,
                    max => u8::try_from(cx.rng.within(0, max.into())).unwrap(),
                };
                let next_at = cx.now + cx.rng.within(MS / 4, self.kind.pace);
                self.work.push(Work { name, tag, steps, said: 0, next_at });
            }
            Verb::Get => {
                if cx.now >= self.hung_until {
                    self.give(&name, cx);
                }
            }
            Verb::Delete => {
                self.work.retain(|work| work.name != name);
                if cx.rng.one_in(2) {
                    self.give(&name, cx);
                }
            }
            Verb::Put | Verb::Mmi => {}
        }
        Ok(())
    }
}

fn say(said: &FromWorker<'_>, cx: &mut Context<'_>) {
    cx.act(Act::Say(encoded(|encoder| said.encode(encoder))));
}

pub(super) fn report(
    kind: Says,
    client: &[u8],
    uuid: &[u8],
    status: &str,
    body: Vec<u8>,
    cx: &mut Context<'_>,
) {
    let body = Message::new([body]);
    let (status, body) = (status.as_bytes(), body.frames());
    let answer = Answer { kind, client, uuid, status, body };
    cx.act(Act::Say(encoded(|encoder| answer.encode(encoder))));
}
