//! What was ordered of the disk and has not come about.

use std::collections::{BTreeMap, VecDeque};

use crate::id::PeerId;
use crate::proto::dialect::CallerVoice;
use crate::proto::durable::{Batch, Key, Order, Write};

use super::uuid::Uuid;

/// Somebody who waits for a status.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) peer: PeerId,
    pub(crate) voice: CallerVoice,
    pub(crate) service: &'static [u8],
}

impl Waiter {
    /// Whom to tell, in which words, and what was called.
    pub(crate) fn to(&self) -> (PeerId, &CallerVoice, &[u8]) {
        (self.peer, &self.voice, self.service)
    }
}

/// What a batch of writes is for.
#[derive(Debug)]
pub(super) enum Deed {
    /// A request comes.
    Accept(Uuid, Box<Waiter>),
    /// It may go to a worker, once and no more.
    Begin(Uuid),
    /// It has an answer, or will have none.
    End(Uuid),
    /// Its client wants it no more.
    Close(Uuid, Box<Waiter>),
    /// Its time is over.
    Forget(Uuid),
    /// What was told to be refused is not to be found later.
    Clean,
    /// Epochs of leases are reserved.
    Mark,
}

/// What something read is for.
#[derive(Debug)]
pub(super) enum Errand {
    /// The body of an answer, for a client.
    Answer(Box<Waiter>),
    /// The body of a request, for a worker.
    Body(Uuid),
}

#[derive(Debug)]
struct Entry {
    number: u64,
    deed: Deed,
    writes: Vec<Write>,
}

/// The orders in their order.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Number of the last batch.
    number: u64,
    ticket: u64,
    open: VecDeque<Entry>,
    /// Batches that the disk had no room for and that have to be stored nevertheless.
    unsaved: Vec<(Deed, Vec<Write>)>,
    loads: BTreeMap<u64, Errand>,
    orders: Vec<Order>,
    /// Octets of the writes that are held here.
    bytes: usize,
}

fn bytes_of(writes: &[Write]) -> usize {
    writes.iter().map(Write::bytes).sum()
}

impl Ledger {
    pub(super) fn store(&mut self, deed: Deed, writes: Vec<Write>) {
        self.number += 1;
        self.bytes += bytes_of(&writes);
        let number = self.number;
        self.orders.push(Order::Store(Batch { number, writes: writes.clone() }));
        self.open.push_back(Entry { number, deed, writes });
    }

    pub(super) fn load(&mut self, key: Key, errand: Errand) {
        self.ticket += 1;
        self.orders.push(Order::Load { ticket: self.ticket, key });
        self.loads.insert(self.ticket, errand);
    }

    pub(super) fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    pub(super) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    pub(super) fn take_load(&mut self, ticket: u64) -> Option<Errand> {
        self.loads.remove(&ticket)
    }

    /// Takes the next deed of which the batch has at most that number.
    pub(super) fn pop(&mut self, up_to: u64) -> Option<(Deed, Vec<Write>)> {
        if self.open.front()?.number > up_to {
            return None;
        }
        let entry = self.open.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&entry.writes));
        Some((entry.deed, entry.writes))
    }

    /// There was no room for something that is not to be given up.
    pub(super) fn put_aside(&mut self, deed: Deed, writes: Vec<Write>) {
        self.bytes += bytes_of(&writes);
        self.unsaved.push((deed, writes));
    }

    /// Orders anew what was put aside.
    pub(super) fn try_again(&mut self) {
        for (deed, writes) in std::mem::take(&mut self.unsaved) {
            self.bytes = self.bytes.saturating_sub(bytes_of(&writes));
            self.store(deed, writes);
        }
    }

    /// Batches that are not stored.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn loads_len(&self) -> usize {
        self.loads.len()
    }

    /// Takes all that is read for somebody.
    pub(super) fn take_loads(&mut self) -> BTreeMap<u64, Errand> {
        std::mem::take(&mut self.loads)
    }

    /// Octets of what is held for the disk.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
