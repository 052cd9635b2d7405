//! The network: octets on their way, and the outboxes of the broker.

use std::cell::Cell;
use std::collections::VecDeque;

use slotmap::SecondaryMap;

use crate::id::PeerId;
use crate::proto::flow::FlowEvent;
use crate::proto::output::{CloseReason, Output, Pressure};
use crate::proto::witness;
use crate::wire::command::Command;

use super::actor::encoded;
use super::judge::Judge;
use super::rng::Rng;

/// One direction of a connection: in order, late, and cut at any octet.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    latency: u64,
    /// Nothing arrives before that.
    pub(super) stalled_until: u64,
    /// The last arrival so far.
    last_at: u64,
    chunks: VecDeque<Vec<u8>>,
    octets: usize,
    /// What is put in now is lost.
    pub(super) dead: bool,
}

impl Pipe {
    pub(super) fn new(latency: u64) -> Self {
        Self { latency, ..Self::default() }
    }

    /// Puts octets on their way, in one piece or two; returns when each arrives.
    pub(super) fn push(&mut self, now: u64, mut octets: Vec<u8>, rng: &mut Rng) -> Vec<u64> {
        if self.dead || octets.is_empty() {
            return Vec::new();
        }
        self.octets += octets.len();
        let mut times = Vec::new();
        if octets.len() > 1 && rng.one_in(5) {
            let later = octets.split_off(rng.index(octets.len()));
            times.push(self.send(now, octets, rng));
            octets = later;
        }
        times.push(self.send(now, octets, rng));
        times
    }

    fn send(&mut self, now: u64, octets: Vec<u8>, rng: &mut Rng) -> u64 {
        self.chunks.push_back(octets);
        self.last_at = self.last_at.max(now + rng.within(self.latency / 2, self.latency));
        self.last_at
    }

    /// What arrives first.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let chunk = self.chunks.pop_front()?;
        self.octets -= chunk.len();
        Some(chunk)
    }

    /// Octets on their way.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// When an end that is declared now is noticed.
    pub(super) fn end_at(&self, now: u64) -> u64 {
        self.last_at.max(now + self.latency)
    }

    /// Of what is on its way only a prefix arrives, and nothing after it.
    pub(super) fn cut(&mut self, rng: &mut Rng) {
        let mut left = rng.index(self.octets + 1);
        for chunk in &mut self.chunks {
            chunk.truncate(left);
            left -= chunk.len();
        }
        self.octets = self.chunks.iter().map(Vec::len).sum();
        self.dead = true;
    }

    /// Nothing arrives any more.
    pub(super) fn kill(&mut self) {
        self.chunks.clear();
        self.octets = 0;
        self.dead = true;
    }
}

/// What the broker has said to a peer and not written.
#[derive(Debug, Default)]
struct Outbox {
    octets: VecDeque<u8>,
    pressed: bool,
    /// A message of a flow found no room: somebody waits until no more than that is in it.
    relieved_at: Cell<Option<usize>>,
    relieved: bool,
    /// Octets appended and written ever, and where the last PING ends.
    appended: u64,
    written: u64,
    ping_until: u64,
}

/// Something the shell has to do for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Flush(usize),
    Resume(usize),
    Close(usize),
}

/// The broker's side of all connections.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) judge: Judge,
    conns: SecondaryMap<PeerId, usize>,
    boxes: Vec<Outbox>,
    outbox_max: usize,
    /// Octets of the account, and those that the core has charged.
    pub(super) memory: usize,
    pub(super) charged: usize,
    waiting: usize,
    pub(super) calls: Vec<Call>,
}

impl Sockets {
    pub(super) fn new(judge: Judge, outbox_max: usize, memory: usize) -> Self {
        Self {
            judge,
            conns: SecondaryMap::new(),
            boxes: Vec::new(),
            outbox_max,
            memory,
            charged: 0,
            waiting: 0,
            calls: Vec::new(),
        }
    }

    /// Makes an outbox for the connection of the next number.
    pub(super) fn add(&mut self) {
        self.boxes.push(Outbox::default());
    }

    pub(super) fn open(&mut self, peer: PeerId, conn: usize) {
        self.conns.insert(peer, conn);
    }

    /// Nothing can be said to the peer any more.
    pub(super) fn shut(&mut self, peer: PeerId) {
        self.conns.remove(peer);
    }

    /// Takes at most `room` octets out of an outbox.
    pub(super) fn take(&mut self, conn: usize, room: usize) -> Vec<u8> {
        let outbox = &mut self.boxes[conn];
        let octets: Vec<u8> = outbox.octets.drain(..room.min(outbox.octets.len())).collect();
        outbox.written += octets.len() as u64;
        // As over sockets: only what was written can have made room.
        let waiting = outbox.octets.len();
        if !octets.is_empty() && outbox.relieved_at.get().is_some_and(|at| waiting <= at) {
            outbox.relieved_at.set(None);
            outbox.relieved = true;
        }
        self.waiting -= octets.len();
        octets
    }

    /// Whether an outbox that was under pressure is not any more.
    pub(super) fn is_relieved(&mut self, conn: usize) -> bool {
        let outbox = &mut self.boxes[conn];
        let waiting = outbox.octets.len();
        let relieved = outbox.pressed && waiting <= self.outbox_max / 8;
        outbox.pressed &= !relieved;
        relieved || std::mem::take(&mut outbox.relieved)
    }

    /// Octets that wait for a connection.
    pub(super) fn waiting_for(&self, conn: usize) -> usize {
        self.boxes[conn].octets.len()
    }

    /// Appends what the connection itself says.
    pub(super) fn append(&mut self, conn: usize, octets: &[u8]) {
        let outbox = &mut self.boxes[conn];
        outbox.octets.extend(octets);
        outbox.appended += octets.len() as u64;
        self.waiting += octets.len();
        self.calls.push(Call::Flush(conn));
    }

    /// Whether so much more may wait for a peer; an empty outbox takes any one message.
    fn fits(&self, conn: usize, max: usize, bytes: usize) -> bool {
        let waiting = self.boxes[conn].octets.len();
        waiting == 0 || waiting + bytes <= max
    }

    fn say(&mut self, conn: usize, octets: &[u8]) {
        self.judge.said(conn, octets);
        self.append(conn, octets);
    }

    fn used(&self) -> usize {
        self.charged + self.waiting
    }
}

impl Output for Sockets {
    fn send(
        &mut self,
        peer: PeerId,
        write: impl FnOnce(&mut crate::wire::codec::Encoder),
    ) -> Pressure {
        let Some(conn) = self.conns.get(peer).copied() else {
            self.judge.fail(|| format!("something was said to {peer:?}, which has gone"));
            return Pressure::Low;
        };
        self.say(conn, &encoded(write));
        let outbox = &mut self.boxes[conn];
        let pressed = outbox.octets.len() > self.outbox_max / 4;
        outbox.pressed |= pressed;
        if pressed {
            self.judge.pressed(conn, true);
        }
        if pressed { Pressure::High } else { Pressure::Low }
    }

    fn offer(
        &mut self,
        peer: PeerId,
        bytes: usize,
        write: impl FnOnce(&mut crate::wire::codec::Encoder),
    ) -> bool {
        // As over sockets: a peer that is just leaving is no slow reader.
        let Some(conn) = self.conns.get(peer).copied() else { return true };
        let (fits, octets) = (self.fits(conn, self.outbox_max, bytes), encoded(write));
        if fits {
            self.say(conn, &octets);
        } else {
            self.judge.unheard(conn, &octets);
        }
        fits
    }

    fn spare(
        &mut self,
        peer: PeerId,
        bytes: usize,
        share: usize,
        write: impl FnOnce(&mut crate::wire::codec::Encoder),
    ) -> bool {
        let Some(conn) = self.conns.get(peer).copied() else { return true };
        let fits = self.fits(conn, share, bytes) && self.used() + bytes <= self.memory / 100 * 85;
        if fits {
            self.say(conn, &encoded(write));
        }
        fits
    }

    fn pass(
        &mut self,
        peer: PeerId,
        bytes: usize,
        waiting_max: usize,
        write: impl FnOnce(&mut crate::wire::codec::Encoder),
    ) -> bool {
        let Some(conn) = self.conns.get(peer).copied() else { return true };
        let waiting = self.boxes[conn].octets.len();
        if waiting > 0 && (waiting >= waiting_max || !self.would_take(bytes, 0)) {
            self.boxes[conn].relieved_at.set(Some(waiting_max / 2));
            witness::saw("flow", "seen", "held");
            return false;
        }
        self.say(conn, &encoded(write));
        true
    }

    fn is_full(&mut self, peer: PeerId, waiting_max: usize) -> bool {
        let Some(conn) = self.conns.get(peer) else { return false };
        let full = self.boxes[*conn].octets.len() >= waiting_max;
        if full {
            self.boxes[*conn].relieved_at.set(Some(waiting_max / 2));
        }
        full
    }

    fn is_quiet(&mut self, peer: PeerId) -> bool {
        self.conns.get(peer).is_none_or(|conn| self.boxes[*conn].octets.is_empty())
    }

    fn ping(&mut self, peer: PeerId) {
        let Some(conn) = self.conns.get(peer).copied() else { return };
        if self.boxes[conn].ping_until > self.boxes[conn].written {
            return;
        }
        let mut ping = Vec::new();
        Command::Ping { ttl_deciseconds: 0, context: b"" }.encode(&mut ping);
        self.append(conn, &ping);
        self.boxes[conn].ping_until = self.boxes[conn].appended;
    }

    fn resume(&mut self, peer: PeerId) {
        if let Some(conn) = self.conns.get(peer) {
            self.calls.push(Call::Resume(*conn));
        }
    }

    fn close(&mut self, peer: PeerId, why: CloseReason) {
        let label = match why {
            CloseReason::SlowReader => "slow reader",
            CloseReason::Silent => "silent",
            CloseReason::PingExpired => "ping expired",
            CloseReason::IdentityInUse => "identity in use",
            CloseReason::Replaced => "replaced",
            CloseReason::Stuck => "stuck",
            CloseReason::Halted => "halted",
            CloseReason::Disconnected => "disconnected",
            CloseReason::TooManyEnds => "too many ends",
            CloseReason::Revoked => "revoked",
            CloseReason::Shutdown => "shutdown",
        };
        witness::saw("peer", "closed", label);
        let Some(conn) = self.conns.remove(peer) else {
            return self.judge.fail(|| format!("{peer:?} is closed twice"));
        };
        self.judge.flow_closed(conn, why);
        self.judge.lost(conn);
        self.calls.push(Call::Close(conn));
    }

    fn flow(&mut self, event: FlowEvent) {
        self.judge.flows.events.push(event);
    }

    fn charge(&mut self, bytes: usize) -> bool {
        let fits = self.would_take(bytes, 0);
        self.charged += if fits { bytes } else { 0 };
        if !fits {
            self.judge.refused_memory();
        }
        fits
    }

    fn would_take(&self, bytes: usize, freed: usize) -> bool {
        (self.used() + bytes).saturating_sub(freed) <= self.memory / 100 * 85
    }

    fn take(&mut self, bytes: usize) {
        self.charged += bytes;
    }

    fn release(&mut self, bytes: usize) {
        match self.charged.checked_sub(bytes) {
            Some(left) => self.charged = left,
            None => self.judge.fail(|| format!("{bytes} octets are released, not charged before")),
        }
    }

    fn has_room(&self) -> bool {
        self.used() <= self.memory / 100 * 70
    }
}
