//! A disk that does what a test tells it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::proto::durable::{Event, Found, Order, Write};

/// What is stored, and what it was told to do and has not done.
#[derive(Default, Clone)]
pub(super) struct Disk {
    pub(super) kept: BTreeMap<Vec<u8>, Bytes>,
    pub(super) orders: VecDeque<Order>,
}

impl Disk {
    /// Reads what is to be read next, before what it was told to store before that: as a store does
    /// that has not committed. False: there is nothing to read.
    pub(super) fn read_first(&mut self) -> bool {
        let at = self.orders.iter().position(|order| !matches!(order, Order::Store(_)));
        let order = at.and_then(|at| self.orders.remove(at));
        order.is_some_and(|order| {
            self.orders.push_front(order);
            true
        })
    }

    /// Does the next of its orders.
    pub(super) fn step(&mut self) -> Option<Event> {
        Some(match self.orders.pop_front()? {
            Order::Store(batch) => {
                for write in batch.writes {
                    match write {
                        Write::Put(key, value) => {
                            self.kept.insert(key.octets().to_vec(), value);
                        }
                        Write::Remove(key) => {
                            self.kept.remove(key.octets());
                        }
                    }
                }
                Event::Stored(batch.number)
            }
            Order::Load { ticket, key } => {
                Event::Loaded(ticket, self.kept.get(key.octets()).cloned())
            }
            Order::Range { ticket, prefix, from, count, bytes } => {
                let mut found = Found::default();
                let mut read = 0;
                for (key, value) in self.kept.range(from.octets().to_vec()..) {
                    if !key.starts_with(prefix.octets()) {
                        break;
                    }
                    if found.records.len() == count || read >= bytes {
                        found.more = true;
                        break;
                    }
                    read += value.len();
                    found.records.push((key.clone().into(), value.clone()));
                }
                Event::Ranged(ticket, found)
            }
        })
    }
}
