//! A worker: stock ones, and all the ways in which workers fail.

use std::collections::VecDeque;

use crate::wire::mdp::{Answer, FromWorker, ToWorker, Version};
use crate::wire::message::{Frames, Message};

use super::actor::{Act, Context, encoded};
use super::plan::MS;
use super::rng::Rng;
use super::tag::{Kind as PieceKind, Piece, Tag};

/// What sort of worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    version: Version,
    /// A stock worker is silent while it works.
    beats_while_busy: bool,
    /// Time one request takes at most.
    pace: u64,
    /// It does something wrong, once in so many requests.
    wrongs: u64,
    /// Most parts of an answer.
    parts: u8,
}

impl Kind {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let version = rng.pick(&[Version::V01, Version::V02]);
        Self {
            version,
            beats_while_busy: rng.one_in(2),
            pace: rng.pick(&[2 * MS, 40 * MS, 150 * MS]),
            wrongs: rng.pick(&[5, 12, 40]),
            parts: if version == Version::V02 { rng.pick(&[0, 2, 5]) } else { 0 },
        }
    }
}

#[derive(Debug)]
struct Job {
    address: Vec<u8>,
    tag: Tag,
    parts: u8,
    said: u8,
    next_at: u64,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) service: &'static str,
    interval: u64,
    kind: Kind,
    conn: Option<u32>,
    waiting: VecDeque<(Vec<u8>, Tag)>,
    job: Option<Job>,
    /// What it answered last.
    done: Option<(Vec<u8>, Tag)>,
    beat_at: u64,
    heard: u64,
    connect_at: Option<u64>,
    /// The application hangs until then.
    hung_until: u64,
    /// DISCONNECT was heard; it goes on for a while nevertheless.
    deaf_until: Option<u64>,
}

impl Worker {
    pub(super) fn new(service: &'static str, interval: u64, kind: Kind) -> Self {
        Self {
            service,
            interval,
            kind,
            conn: None,
            waiting: VecDeque::new(),
            job: None,
            done: None,
            beat_at: 0,
            heard: 0,
            connect_at: Some(0),
            hung_until: 0,
            deaf_until: None,
        }
    }

    pub(super) fn calm_down(&mut self, now: u64) {
        self.kind.wrongs = u64::MAX;
        self.kind.pace = self.kind.pace.min(20 * MS);
        self.hung_until = self.hung_until.min(now);
        self.deaf_until = self.deaf_until.map(|at| at.min(now));
    }

    pub(super) fn hang(&mut self, until: u64) {
        self.hung_until = until;
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        if self.conn.is_none() {
            return self.connect_at;
        }
        let beats = self.kind.beats_while_busy || self.job.is_none();
        let beat = beats.then_some(self.beat_at);
        let job = self.job.as_ref().map(|job| job.next_at);
        let next = [beat, job, self.deaf_until, Some(self.heard + 4 * self.interval)];
        next.into_iter().flatten().min().map(|at| at.max(self.hung_until))
    }

    pub(super) fn connected(&mut self, conn: u32, cx: &mut Context<'_>) {
        *self = Self {
            conn: Some(conn),
            heard: cx.now,
            beat_at: cx.now + self.interval,
            hung_until: self.hung_until,
            ..Self::new(self.service, self.interval, self.kind)
        };
        self.connect_at = None;
        let service = match cx.rng.next() % 25 {
            0 if !cx.calm => b"mmi.service",
            1 if !cx.calm => &[b'n'; 300][..],
            _ => self.service.as_bytes(),
        };
        self.say(&FromWorker::Ready { service }, cx);
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) {
        self.conn = None;
        self.job = None;
        self.waiting.clear();
        self.connect_at = Some(cx.now + cx.rng.within(MS, if cx.calm { 50 } else { 900 } * MS));
    }

    fn say(&self, command: &FromWorker<'_>, cx: &mut Context<'_>) {
        cx.act(Act::Say(encoded(|encoder| command.encode(self.kind.version, encoder))));
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
        if self.deaf_until.is_some_and(|at| at <= cx.now) {
            return self.reconnect(cx);
        }
        if self.heard + 4 * self.interval <= cx.now {
            cx.deaf = true;
            return self.reconnect(cx);
        }
        if self.beat_at <= cx.now && (self.kind.beats_while_busy || self.job.is_none()) {
            self.beat_at = cx.now + self.interval;
            self.say(&FromWorker::Heartbeat, cx);
        }
        if self.job.as_ref().is_some_and(|job| job.next_at <= cx.now) {
            self.work(cx);
        }
        self.begin(cx);
    }

    fn begin(&mut self, cx: &mut Context<'_>) {
        if self.job.is_none()
            && let Some((address, tag)) = self.waiting.pop_front()
        {
            let parts = match self.kind.parts {
                0 => 0,
                max => u8::try_from(cx.rng.within(0, u64::from(max))).unwrap(),
            };
            let next_at = cx.now + cx.rng.within(MS / 4, self.kind.pace);
            self.job = Some(Job { address, tag, parts, said: 0, next_at });
        }
    }

    /// Says the next part of the answer, or its end.
    fn work(&mut self, cx: &mut Context<'_>) {
        let Some(job) = &mut self.job else { return };
        let (address, tag) = (job.address.clone(), job.tag);
        if job.said < job.parts {
            let kind = PieceKind::Part(job.said);
            job.said += 1;
            job.next_at = cx.now + cx.rng.within(MS / 4, self.kind.pace);
            self.answer(&address, Piece { tag, kind }, false, cx);
        } else {
            let kind = PieceKind::End(job.parts);
            self.job = None;
            self.answer(&address, Piece { tag, kind }, true, cx);
            self.done = Some((address, tag));
        }
        if cx.rng.one_in(self.kind.wrongs) {
            self.go_wrong(cx);
        }
    }

    fn answer(&self, address: &[u8], piece: Piece, last: bool, cx: &mut Context<'_>) {
        let mut frames = vec![piece.encode()];
        if cx.rng.one_in(12) {
            frames.push(vec![3; cx.rng.pick(&[0, 100, 4_500])]);
        }
        let body = Message::new(frames);
        let answer = Answer { address, body: body.frames() };
        self.say(&if last { FromWorker::Final(answer) } else { FromWorker::Partial(answer) }, cx);
    }

    fn go_wrong(&mut self, cx: &mut Context<'_>) {
        let babble = |tag| Piece { tag, kind: PieceKind::Babble };
        match cx.rng.within(0, 7) {
            0 => self.reconnect(cx),
            1 => {
                self.say(&FromWorker::Disconnect, cx);
                if cx.rng.one_in(2) {
                    self.deaf_until = Some(cx.now + 2 * self.interval);
                } else {
                    self.lost(cx);
                    cx.act(Act::Close);
                }
            }
            2 => self.say(&FromWorker::Ready { service: self.service.as_bytes() }, cx),
            // As others: what somebody else holds.
            3 | 4 => {
                if let Some((address, tag)) = cx.gossip.clone() {
                    self.answer(&address, babble(tag), true, cx);
                }
            }
            5 => {
                if let Some((address, tag)) = self.done.clone() {
                    self.answer(&address, babble(tag), true, cx);
                }
            }
            6 => self.hung_until = cx.now + cx.rng.within(5, 12) * self.interval,
            _ => cx.act(Act::Say(encoded(|encoder| {
                encoder.frame(b"");
                encoder.frame(b"MDPW01");
                encoder.last_frame(&[cx_octet(self.heard)]);
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
        let (version, command) =
            ToWorker::decode(message).map_err(|e| format!("a worker heard: {e}"))?;
        if version != self.kind.version {
            return Err(format!("a worker of {:?} heard {version:?}", self.kind.version));
        }
        self.heard = cx.now;
        match command {
            ToWorker::Heartbeat => {}
            ToWorker::Disconnect => {
                cx.dismissed = true;
                if cx.calm || cx.rng.one_in(2) {
                    self.reconnect(cx);
                } else {
                    self.deaf_until = Some(cx.now + cx.rng.within(1, 4) * self.interval);
                }
            }
            ToWorker::Request(request) => {
                let tag = request.body.clone().next().and_then(Tag::decode);
                let tag = tag.ok_or("a request without a tag")?;
                if tag.poison {
                    self.reconnect(cx);
                    return Ok(());
                }
                self.waiting.push_back((request.address.to_vec(), tag));
                if cx.now >= self.hung_until {
                    self.begin(cx);
                }
            }
        }
        Ok(())
    }
}

/// An octet that is no command, or the one of a request.
fn cx_octet(from: u64) -> u8 {
    if from.is_multiple_of(2) { 2 } else { 99 }
}
