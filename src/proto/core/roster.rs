//! Who is there, in pages: a listing takes some, lets others have the tables, and goes on behind
//! the last one.

use std::time::{Duration, Instant};

use crate::id::{Identity, PeerId, ServiceName, slot_of};
use crate::proto::clock::Time;
use crate::proto::dialect::State;
use crate::proto::output::{CloseReason, Output};
use crate::proto::rights::Verb as Right;
use crate::proto::router::Worker;

use super::Core;
use super::peer::Peer;

/// Some rows, and the slot to go on from if there may be more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of their slots.
    pub rows: Vec<T>,
    /// Where to go on.
    pub next: Option<u32>,
}

/// A worker that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its identity if that is text, or one made of its handle.
    pub name: Identity,
    /// What it offers.
    pub service: ServiceName,
    /// `NFP`, `MJP/1`, `MDP/0.1` or `MDP/0.2`.
    pub dialect: &'static str,
    /// Time since it registered.
    pub registered: Duration,
    /// Time until it counts as gone, if it says nothing. One that works may be silent for longer.
    pub hold_left: Duration,
    /// Keepalives sent to it since it registered.
    pub beats_sent: u32,
    /// Keepalives heard from it since it registered.
    pub beats_heard: u32,
}

/// A peer that asks for services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// Where it stands.
    pub(super) slot: u32,
    /// Its identity if that is text, or one made of its handle.
    pub name: Identity,
    /// `NFP`, `MJP/1`, `MDP/0.1` or `MDP/0.2`.
    pub dialect: &'static str,
    /// Time since its handshake.
    pub connected: Duration,
    /// Time since it last said something.
    pub silent: Duration,
    /// Requests accepted and not ended.
    pub requests: usize,
    /// Jobs posted and not ended.
    pub jobs: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// It has some right to change how the broker runs.
    pub admin: bool,
}

impl Core {
    /// The workers from the slot `from` on, `max` at most, the broker's own not among them.
    pub fn worker_rows(&mut self, now: Instant, from: u32, max: usize) -> Page<WorkerRow> {
        let now = self.clock.at(now);
        let mut page = Page { rows: Vec::new(), next: None };
        for (slot, worker) in self.router.workers_at(from) {
            if page.rows.len() >= max {
                page.next = Some(slot);
                break;
            }
            page.rows.extend(self.worker_row(now, worker));
        }
        page
    }

    pub(super) fn worker_row(&self, now: Time, worker: &Worker) -> Option<WorkerRow> {
        let id = worker.peer();
        let peer = self.peers.get(id)?;
        let expiry = self.keepalive_of(id).expiry();
        Some(WorkerRow {
            name: self.name_of(id),
            service: self.router.name_of(worker.service())?.clone(),
            dialect: worker.voice().name(),
            registered: now.since(peer.registered),
            hold_left: expiry.saturating_sub(now.since(peer.spoke)),
            beats_sent: peer.beats_sent,
            beats_heard: peer.beats_heard,
        })
    }

    /// The clients among the peers from the slot `from` on. At most `max` peers are looked at:
    /// there may be fewer rows on a page, even none, and more to come.
    pub fn client_rows(&mut self, now: Instant, from: u32, max: usize) -> Page<ClientRow> {
        let now = self.clock.at(now);
        self.clients_page(now, from, max)
    }

    pub(super) fn clients_page(&self, now: Time, from: u32, max: usize) -> Page<ClientRow> {
        let mut page = Page { rows: Vec::new(), next: None };
        let rest = self.peers.iter().skip_while(|(id, _)| slot_of(*id) < from);
        for (looked_at, (id, peer)) in rest.enumerate() {
            if looked_at >= max {
                page.next = Some(slot_of(id));
                break;
            }
            page.rows.extend(self.client_row(now, id, peer));
        }
        page
    }

    pub(super) fn client_row(&self, now: Time, id: PeerId, peer: &Peer) -> Option<ClientRow> {
        let dialect = Some(peer.state).filter(|_| !peer.house).and_then(State::client_of)?;
        let name = self.name_of(id);
        Some(ClientRow {
            slot: slot_of(id),
            dialect,
            connected: now.since(peer.joined),
            silent: now.since(peer.spoke),
            requests: self.router.requests_of(id),
            jobs: self.router.jobs.open_of(&name),
            subscriptions: self.topics.len_of(id),
            admin: peer.rights.grants().allows_some(Right::Admin),
            name,
        })
    }

    /// Has the peer of that name go: a worker is told so in its dialect, what it holds goes back,
    /// and the connection is closed. False if there is none of that name, or it is a part of the
    /// broker. Nothing keeps it from coming again.
    pub fn disconnect<O: Output>(&mut self, now: Instant, name: &[u8], out: &mut O) -> bool {
        let now = self.clock.at(now);
        let is_there = self.kick(now, name, out);
        self.see_to_leftovers(now, out);
        is_there
    }

    /// As [`Self::disconnect`], in the middle of an input.
    pub(super) fn kick<O: Output>(&mut self, now: Time, name: &[u8], out: &mut O) -> bool {
        let id = self.peer_named(name);
        let Some((id, peer)) = id.and_then(|id| Some((id, self.peers.get(id)?))) else {
            return false;
        };
        if peer.house {
            return false;
        }
        if let Some(worker) = peer.worker.and_then(|worker| self.router.worker(worker)) {
            let service = self.router.name_of(worker.service());
            let service = service.map(ServiceName::as_bytes).unwrap_or_default();
            let voice = worker.voice();
            out.send(id, |encoder| voice.disconnect(service, encoder));
        }
        self.end(now, id, CloseReason::Disconnected, out);
        true
    }
}
