//! What a table has ordered of the disk and has not come about.

use std::collections::{BTreeMap, VecDeque};

use super::durable::{Batch, Key, Order, Write};

/// What a batch of writes is for.
pub(crate) trait Purpose {
    /// As logs and named points call it.
    fn what(&self) -> &'static str;

    /// Whether somebody is told when it is done, even if nothing of it is left to be stored.
    fn is_awaited(&self) -> bool;
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
    /// Batches that the disk had no room for and that have to be stored nevertheless: in their order,
    /// and of each what no later one has stored meanwhile.
    unsaved: BTreeMap<u64, (D, Vec<Write>)>,
    /// Which of those are to change what.
    aside: BTreeMap<Key, Vec<u64>>,
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
            unsaved: BTreeMap::new(),
            aside: BTreeMap::new(),
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

    /// Takes the next deed that is done, if its batch has at most that number. What was put aside was
    /// decided before it, and is not to be stored over it.
    pub(crate) fn pop_stored(&mut self, up_to: u64) -> Option<D> {
        let (deed, writes) = self.pop(up_to)?;
        self.supersede(&writes);
        Some(deed)
    }

    /// There was no room for something that is not to be given up.
    pub(crate) fn put_aside(&mut self, deed: D, writes: Vec<Write>) {
        self.bytes += bytes_of(&writes);
        let number = self.unsaved.last_key_value().map_or(0, |(last, _)| last + 1);
        for write in &writes {
            self.aside.entry(write.key().clone()).or_default().push(number);
        }
        self.unsaved.insert(number, (deed, writes));
    }

    /// Drops of what was put aside all that those writes change.
    fn supersede(&mut self, writes: &[Write]) {
        if self.aside.is_empty() {
            return;
        }
        for key in writes.iter().map(Write::key) {
            for number in self.aside.remove(key).unwrap_or_default() {
                let Some((deed, older)) = self.unsaved.get_mut(&number) else { continue };
                let before = bytes_of(older);
                older.retain(|write| write.key() != key);
                self.bytes = self.bytes.saturating_sub(before - bytes_of(older));
                if older.is_empty() && !deed.is_awaited() {
                    self.unsaved.remove(&number);
                }
            }
        }
    }

    /// Orders anew what was put aside, but for what is ordered already: that was decided later.
    pub(crate) fn try_again(&mut self) {
        let open = std::mem::take(&mut self.open);
        open.iter().for_each(|entry| self.supersede(&entry.writes));
        self.open = open;
        self.aside.clear();
        for (deed, writes) in std::mem::take(&mut self.unsaved).into_values() {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether somebody waits for it.
    #[derive(Debug, PartialEq)]
    struct Deed(bool);

    impl Purpose for Deed {
        fn what(&self) -> &'static str {
            "test"
        }

        fn is_awaited(&self) -> bool {
            self.0
        }
    }

    fn put(name: u8, value: u8) -> Write {
        Write::Put(Key::new(b'x', &[name]), vec![value].into())
    }

    /// What is ordered.
    fn ordered(ledger: &mut Ledger<Deed, ()>) -> Vec<Vec<Write>> {
        let orders = ledger.take_orders().into_iter().map(|order| match order {
            Order::Store(batch) => batch.writes,
            other => panic!("{other:?}"),
        });
        orders.collect()
    }

    /// There is no room for the next batch.
    fn no_room(ledger: &mut Ledger<Deed, ()>) {
        let (deed, writes) = ledger.pop(u64::MAX).unwrap();
        ledger.put_aside(deed, writes);
    }

    #[test]
    fn what_is_put_aside_is_not_ordered_behind_what_was_decided_later() {
        let mut ledger = Ledger::default();
        ledger.store(Deed(false), vec![put(1, 1), put(2, 1)]);
        ledger.store(Deed(false), vec![put(3, 1)]);
        ledger.store(Deed(true), vec![put(4, 1)]);
        ledger.store(Deed(false), vec![put(1, 2)]);
        for _ in 0..4 {
            no_room(&mut ledger);
        }
        ledger.store(Deed(false), vec![put(3, 2), put(4, 2)]);
        ordered(&mut ledger);
        assert_eq!(ledger.pop_stored(5), Some(Deed(false)));
        // This one is under way.
        ledger.store(Deed(false), vec![put(2, 3)]);
        ordered(&mut ledger);
        ledger.try_again();
        assert_eq!(ordered(&mut ledger), [vec![put(1, 1)], vec![], vec![put(1, 2)]]);
        assert_eq!(ledger.pop_stored(6), Some(Deed(false)));
        // And again, in their order.
        no_room(&mut ledger);
        assert_eq!(ledger.pop_stored(8), Some(Deed(true)), "whoever waits is told");
        no_room(&mut ledger);
        ledger.try_again();
        assert_eq!(ordered(&mut ledger), [[put(1, 1)], [put(1, 2)]]);
        assert!(ledger.pop_stored(u64::MAX).is_some() && ledger.pop_stored(u64::MAX).is_some());
        assert_eq!((ledger.len(), ledger.bytes()), (0, 0));
    }
}
