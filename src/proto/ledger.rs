//! What a table has ordered of the disk and has not come about.

use std::collections::{BTreeMap, VecDeque};

use super::durable::{Batch, Key, Order, Write};

/// What a batch of writes is for.
pub(crate) trait Purpose {
    /// As logs and named points call it.
    fn what(&self) -> &'static str;
}

#[derive(Debug)]
struct Entry<D> {
    number: u64,
    deed: D,
    writes: Vec<Write>,
}

/// The orders in their order.
#[derive(Debug)]
pub(crate) struct Ledger<D, E> {
    /// Number of the last batch.
    number: u64,
    ticket: u64,
    open: VecDeque<Entry<D>>,
    /// Batches that the disk had no room for and that have to be stored nevertheless.
    unsaved: Vec<(D, Vec<Write>)>,
    loads: BTreeMap<u64, E>,
    orders: Vec<Order>,
    /// Octets of the writes that are held here.
    bytes: usize,
}

fn bytes_of(writes: &[Write]) -> usize {
    writes.iter().map(Write::bytes).sum()
}

impl<D, E> Default for Ledger<D, E> {
    fn default() -> Self {
        Self {
            number: 0,
            ticket: 0,
            open: VecDeque::new(),
            unsaved: Vec::new(),
            loads: BTreeMap::new(),
            orders: Vec::new(),
            bytes: 0,
        }
    }
}

impl<D: Purpose, E> Ledger<D, E> {
    pub(crate) fn store(&mut self, deed: D, writes: Vec<Write>) {
        self.number += 1;
        self.bytes += bytes_of(&writes);
        let number = self.number;
        let what = deed.what();
        self.orders.push(Order::Store(Batch { number, what, writes: writes.clone() }));
        self.open.push_back(Entry { number, deed, writes });
    }

    pub(crate) fn load(&mut self, key: Key, errand: E) {
        self.ticket += 1;
        self.orders.push(Order::Load { ticket: self.ticket, key });
        self.loads.insert(self.ticket, errand);
    }

    /// Reads some of what is kept under keys with that beginning.
    pub(crate) fn range(
        &mut self,
        prefix: Key,
        from: Key,
        (count, bytes): (usize, usize),
        errand: E,
    ) {
        self.ticket += 1;
        let ticket = self.ticket;
        self.orders.push(Order::Range { ticket, prefix, from, count, bytes });
        self.loads.insert(ticket, errand);
    }

    pub(crate) fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    pub(crate) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    pub(crate) fn take_load(&mut self, ticket: u64) -> Option<E> {
        self.loads.remove(&ticket)
    }

    /// Takes the next deed of which the batch has at most that number.
    pub(crate) fn pop(&mut self, up_to: u64) -> Option<(D, Vec<Write>)> {
        if self.open.front()?.number > up_to {
            return None;
        }
        let entry = self.open.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&entry.writes));
        Some((entry.deed, entry.writes))
    }

    /// There was no room for something that is not to be given up.
    pub(crate) fn put_aside(&mut self, deed: D, writes: Vec<Write>) {
        self.bytes += bytes_of(&writes);
        self.unsaved.push((deed, writes));
    }

    /// Orders anew what was put aside.
    pub(crate) fn try_again(&mut self) {
        for (deed, writes) in std::mem::take(&mut self.unsaved) {
            self.bytes = self.bytes.saturating_sub(bytes_of(&writes));
            self.store(deed, writes);
        }
    }

    /// Batches that are not stored.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn loads_len(&self) -> usize {
        self.loads.len()
    }

    /// Takes all that is read for somebody.
    pub(crate) fn take_loads(&mut self) -> BTreeMap<u64, E> {
        std::mem::take(&mut self.loads)
    }

    /// Octets of what is held for the disk.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
