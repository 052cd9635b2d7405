//! One disk, and the tables that have something kept there: their orders in one order, and each is
//! told of its own.

use std::collections::VecDeque;
use std::time::Instant;

use crate::proto::durable::{Event, Order};
use crate::proto::output::Output;

use super::Core;

/// Who has something kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Titanic = 0,
    Depot = 1,
}

impl Owner {
    const ALL: [Self; 2] = [Self::Titanic, Self::Depot];
}

/// The batches that are not stored: what each table calls its own.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Number of the last batch.
    last: u64,
    /// Whose the batches from the first one on are, and which.
    open: VecDeque<(Owner, u64)>,
}

impl Numbers {
    /// Gives the orders of a table the numbers of the disk.
    fn take(&mut self, owner: Owner, orders: Vec<Order>, out: &mut Vec<Order>) {
        let count = Owner::ALL.len() as u64;
        let own = |ticket: u64| ticket * count + owner as u64;
        out.extend(orders.into_iter().map(|order| match order {
            Order::Store(mut batch) => {
                self.last += 1;
                self.open.push_back((owner, batch.number));
                batch.number = self.last;
                Order::Store(batch)
            }
            Order::Load { ticket, key } => Order::Load { ticket: own(ticket), key },
            Order::Range { ticket, prefix, from, count, bytes } => {
                Order::Range { ticket: own(ticket), prefix, from, count, bytes }
            }
        }));
    }

    /// Whose ticket it is, and what that one calls it.
    fn ticket(ticket: u64) -> (Owner, u64) {
        let count = Owner::ALL.len() as u64;
        let owner = if ticket.is_multiple_of(count) { Owner::Titanic } else { Owner::Depot };
        (owner, ticket / count)
    }

    /// The last of each table's batches among those up to that number, which are done with.
    fn up_to(&mut self, number: u64) -> [Option<u64>; Owner::ALL.len()] {
        let mut last = [None; Owner::ALL.len()];
        let first = self.last + 1 - self.open.len() as u64;
        for _ in first..=number.min(self.last) {
            if let Some((owner, own)) = self.open.pop_front()
                && let Some(place) = last.get_mut(owner as usize)
            {
                *place = Some(own);
            }
        }
        last
    }
}

impl Core {
    /// Whether there is something for the disk to do.
    #[inline]
    #[must_use]
    pub fn has_orders(&self) -> bool {
        self.titanic.as_ref().is_some_and(|kept| kept.has_orders())
            || self.router.depot.as_ref().is_some_and(|depot| depot.has_orders())
    }

    /// What the disk is to do, in this order.
    #[must_use]
    pub fn take_orders(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        if let Some(kept) = &mut self.titanic {
            self.numbers.take(Owner::Titanic, kept.take_orders(), &mut orders);
        }
        if let Some(depot) = &mut self.router.depot {
            self.numbers.take(Owner::Depot, depot.take_orders(), &mut orders);
        }
        orders
    }

    /// The disk has something to say.
    pub fn disk<O: Output>(&mut self, now: Instant, event: &Event, out: &mut O) {
        let now = self.clock.at(now);
        match event {
            Event::Stored(up_to) => {
                let [titanic, depot] = self.numbers.up_to(*up_to);
                if let Some(own) = titanic {
                    self.disk_for_titanic(now, &Event::Stored(own), out);
                }
                if let Some(own) = depot {
                    self.disk_for_depot(now, &Event::Stored(own), out);
                }
            }
            Event::Full(dropped) => {
                let [titanic, depot] = match dropped {
                    Some(up_to) => self.numbers.up_to(*up_to),
                    None => [None; 2],
                };
                self.disk_for_titanic(now, &Event::Full(titanic), out);
                self.disk_for_depot(now, &Event::Full(depot), out);
            }
            Event::Loaded(ticket, value) => match Numbers::ticket(*ticket) {
                (Owner::Titanic, own) => {
                    self.disk_for_titanic(now, &Event::Loaded(own, value.clone()), out);
                }
                (Owner::Depot, own) => {
                    self.disk_for_depot(now, &Event::Loaded(own, value.clone()), out);
                }
            },
            Event::Ranged(ticket, found) => {
                let (_, own) = Numbers::ticket(*ticket);
                self.depot_was_read(now, own, found, out);
            }
            Event::Room | Event::Failed => {
                self.disk_for_titanic(now, event, out);
                self.disk_for_depot(now, event, out);
            }
        }
        self.see_to_leftovers(now, out);
    }

    /// Whether all that was ordered of the disk is done.
    pub(super) fn is_disk_quiet(&self) -> bool {
        self.titanic.as_ref().is_none_or(|kept| kept.is_quiet())
            && self.router.depot.as_ref().is_none_or(|depot| depot.is_quiet())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::durable::Batch;

    fn store(number: u64) -> Order {
        Order::Store(Batch { number, what: "test", writes: Vec::new() })
    }

    #[test]
    fn each_table_is_told_of_its_own_batches() {
        let (mut numbers, mut orders) = (Numbers::default(), Vec::new());
        numbers.take(Owner::Depot, vec![store(1), store(2)], &mut orders);
        numbers.take(Owner::Titanic, vec![store(1)], &mut orders);
        numbers.take(Owner::Depot, vec![store(3)], &mut orders);
        let told = orders.iter().map(|order| match order {
            Order::Store(batch) => batch.number,
            _ => 0,
        });
        assert_eq!(told.collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(numbers.up_to(1), [None, Some(1)]);
        assert_eq!(numbers.up_to(1), [None, None]);
        assert_eq!(numbers.up_to(4), [Some(1), Some(3)]);
        numbers.take(Owner::Titanic, vec![store(2)], &mut orders);
        assert_eq!(numbers.up_to(4), [None, None]);
        assert_eq!(numbers.up_to(5), [Some(2), None]);
    }

    #[test]
    fn tickets_of_two_tables_are_not_mixed_up() {
        let (mut numbers, mut orders) = (Numbers::default(), Vec::new());
        let key = crate::proto::durable::Key::new(b'x', b"");
        for owner in Owner::ALL {
            numbers.take(owner, vec![Order::Load { ticket: 7, key: key.clone() }], &mut orders);
        }
        let tickets = orders.iter().map(|order| match order {
            Order::Load { ticket, .. } => Numbers::ticket(*ticket),
            _ => (Owner::Titanic, 0),
        });
        assert_eq!(tickets.collect::<Vec<_>>(), [(Owner::Titanic, 7), (Owner::Depot, 7)]);
    }
}
