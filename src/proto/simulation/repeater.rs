//! A client of MJP whose requests have keys: it asks the same again, on the same connection and,
//! having lost it, on another; others like it use the same keys. Now and then it asks something
//! else under a key.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{FromBroker, Packed, Request, RequestHeader, ToBroker};

use super::actor::{Act, Context, encoded};
use super::plan::{GHOST, MS, SERVED};
use super::rng::Rng;
use super::tag::Tag;

/// Who asks under a key: nobody in particular, so that all ask the same.
pub(super) const ANYBODY: u32 = 1_000_000;
/// The same, with another request.
const OTHER: u32 = ANYBODY + 1;

/// Whether a request has a key.
pub(super) fn is_keyed(tag: Tag) -> bool {
    tag.client >= ANYBODY
}

/// The service of a key.
pub(super) fn service_of(number: u32) -> &'static str {
    let services = [SERVED[0], SERVED[1], SERVED[2], GHOST, SERVED[2]];
    services[number as usize % services.len()]
}

/// What sort of client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    window: usize,
    pause: u64,
    vanishes: Option<u64>,
    timeout: Option<u64>,
    cancels: u64,
    conflicts: u64,
    attempts: Option<u32>,
    poison: u32,
    /// Keys that are in use at a time.
    keys: u64,
}

impl Kind {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        Self {
            window: rng.pick(&[1, 4, 24]),
            pause: rng.pick(&[5 * MS, 60 * MS]),
            vanishes: rng.pick(&[None, Some(6)]),
            timeout: rng.pick(&[None, Some(100), Some(400), Some(2_000)]),
            cancels: rng.pick(&[4, 20]),
            conflicts: rng.pick(&[4, 20]),
            attempts: rng.pick(&[None, None, Some(1), Some(3)]),
            poison: rng.pick(&[7, 101]),
            keys: rng.pick(&[1, 4, 12]),
        }
    }
}

#[derive(Debug)]
pub(super) struct Repeater {
    kind: Kind,
    quota: u32,
    last_id: u64,
    conn: Option<u32>,
    /// Requests under way, and when they are cancelled.
    open: BTreeMap<u64, Option<u64>>,
    next_at: u64,
    connect_at: Option<u64>,
}

impl Repeater {
    pub(super) fn new(kind: Kind, quota: u32) -> Self {
        let (last_id, conn, open, next_at, connect_at) = (0, None, BTreeMap::new(), 0, Some(0));
        Self { kind, quota, last_id, conn, open, next_at, connect_at }
    }

    /// Nothing is asked or awaited any more.
    pub(super) fn is_done(&self) -> bool {
        self.quota == 0 && self.open.is_empty()
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        let asks = self.conn.is_some() && self.quota > 0 && self.open.len() < self.kind.window;
        let ask = asks.then_some(self.next_at);
        let cancel = self.open.values().flatten().min().copied();
        [self.connect_at, ask, cancel].into_iter().flatten().min()
    }

    pub(super) fn connected(&mut self, conn: u32) {
        self.conn = Some(conn);
        self.connect_at = None;
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) {
        self.conn = None;
        self.open.clear();
        self.connect_at = Some(cx.now + cx.rng.within(MS, 150 * MS));
    }

    pub(super) fn calm_down(&mut self) {
        self.kind.vanishes = None;
        self.kind.timeout = self.kind.timeout.map(|_| 5_000);
        self.kind.pause = MS;
    }

    pub(super) fn woken(&mut self, cx: &mut Context<'_>) {
        if self.connect_at.is_some_and(|at| at <= cx.now) {
            self.connect_at = None;
            cx.act(Act::Connect);
        }
        if self.conn.is_none() {
            return;
        }
        let now = cx.now;
        for (id, cancel_at) in &mut self.open {
            if cancel_at.take_if(|at| *at <= now).is_some() {
                say(&ToBroker::Cancel { id: *id }, cx);
            }
        }
        if self.open.len() < self.kind.window && self.next_at <= cx.now && self.quota > 0 {
            self.ask(cx);
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>) {
        /// So long a key is in use.
        const EPOCH: u64 = 300 * MS;
        self.quota -= 1;
        self.last_id += 1;
        let first = cx.now / EPOCH * 12;
        let number = u32::try_from(first + cx.rng.within(0, self.kind.keys - 1)).unwrap();
        let client = if cx.rng.one_in(self.kind.conflicts) { OTHER } else { ANYBODY };
        let service = service_of(number);
        let poison = !cx.calm && service != GHOST && number.is_multiple_of(self.kind.poison);
        let tag = Tag { client, number, conn: 0, poison };
        let cancels = cx.rng.one_in(self.kind.cancels);
        let cancel_at = cancels.then(|| cx.now + cx.rng.within(0, 120 * MS));
        self.open.insert(self.last_id, cancel_at);
        self.next_at = cx.now + cx.rng.within(MS / 2, self.kind.pause);
        let key = number.to_be_bytes();
        let says = RequestHeader {
            service: service.as_bytes(),
            timeout: if cx.rng.one_in(30) { Some(0) } else { self.kind.timeout },
            attempts: self.kind.attempts.and_then(NonZeroU32::new),
            ack: cx.rng.one_in(2).then_some(true),
            parts: cx.rng.one_in(2).then_some(false),
            key: Some(&key),
            ..RequestHeader::default()
        };
        let mut frames = vec![tag.encode()];
        if number.is_multiple_of(5) {
            frames.push(vec![7; 5_000]);
        }
        let (header, body) = (Packed::new(&says), Message::new(frames));
        let (id, header, body) = (self.last_id, header.octets(), body.frames());
        say(&ToBroker::Request(Request { id, header, says, body }), cx);
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
        let id = match said {
            FromBroker::Final(answer) => answer.id,
            FromBroker::Error(failure) => failure.id,
            _ => return Ok(()),
        };
        let open = self.open.remove(&id);
        open.map(|_| ()).ok_or_else(|| format!("{id} was answered and is not open"))
    }
}

fn say(said: &ToBroker<'_>, cx: &mut Context<'_>) {
    cx.act(Act::Say(encoded(|encoder| said.encode(encoder))));
}
