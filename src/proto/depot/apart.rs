//! Requests of one service that have an order or a delay. They are on the disk, apart from the
//! others, until it is their turn; in memory there is of each when, and behind which ones, that is.
//!
//! ```text
//!              the first of its order, and its time has come?
//!   stored ----------------+-----------------------------------> to be asked
//!                          | no                                      |
//!                          v           becomes so          room      v
//!                    on the disk ------------------> Ready ----> being read
//! ```
//!
//! A request is of its order until its end is stored, so that the next one is in no broker given to
//! a worker before that.

use std::collections::{BTreeMap, BTreeSet};

/// What stands for an order: a digest, never 0. If two orders have the same one, their requests run
/// one at a time together.
pub(super) type OrderDigest = u64;

/// Which ones there are, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// Those of an order that have not ended, wherever they are, and when their time comes.
    orders: BTreeMap<(OrderDigest, u64), u64>,
    /// How many orders that are.
    distinct: usize,
    /// Those whose time has not come: by that, in ms since 1970, and of which order they are (0:
    /// none).
    agenda: BTreeMap<(u64, u64), OrderDigest>,
    /// On the disk only, and could be asked.
    ready: BTreeSet<u64>,
    /// Being read to be asked.
    reading: BTreeSet<u64>,
}

/// One of them: its number, the digest of its order, and when its time comes (0: at once).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct One {
    pub(super) number: u64,
    pub(super) order: Option<OrderDigest>,
    pub(super) due: u64,
}

impl Apart {
    /// Memory that one takes, octets, about: in each of the trees, which are half full.
    pub(super) const COST: usize = 2 * size_of::<((u64, u64), u64)>() * 2 + 2 * size_of::<u64>();

    /// There is one more.
    pub(super) fn add(&mut self, one: One, now: u64) {
        if let Some(order) = one.order {
            self.distinct += usize::from(self.first_of(order).is_none());
            self.orders.insert((order, one.number), one.due);
        }
        if one.due > now {
            self.agenda.insert((one.due, one.number), one.order.unwrap_or(0));
        }
    }

    /// The first one of an order.
    pub(super) fn first_of(&self, order: OrderDigest) -> Option<One> {
        let mut of_order = self.orders.range((order, 0)..=(order, u64::MAX));
        let (&(_, number), &due) = of_order.next()?;
        Some(One { number, order: Some(order), due })
    }

    /// Whether nothing keeps one from a worker.
    pub(super) fn is_free(&self, one: &One) -> bool {
        let is_first = |order| self.first_of(order).is_none_or(|it| it.number == one.number);
        one.order.is_none_or(is_first) && !self.agenda.contains_key(&(one.due, one.number))
    }

    /// One is on the disk only; it is ready if nothing keeps it from a worker.
    pub(super) fn lay_down(&mut self, one: &One) {
        self.reading.remove(&one.number);
        if self.is_free(one) {
            self.ready.insert(one.number);
        }
    }

    /// One is in memory, or ends.
    pub(super) fn lift(&mut self, number: u64) {
        self.ready.remove(&number);
        self.reading.remove(&number);
    }

    /// The end of one is stored, or it was never there.
    pub(super) fn remove(&mut self, one: &One) {
        self.lift(one.number);
        self.agenda.remove(&(one.due, one.number));
        if let Some(order) = one.order
            && self.orders.remove(&(order, one.number)).is_some()
        {
            self.distinct -= usize::from(self.first_of(order).is_none());
        }
    }

    /// When the time of the next one comes.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.agenda.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes one whose time has come.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<One> {
        let ((due, number), order) = self.agenda.first_key_value()?;
        let one = One { number: *number, order: Some(*order).filter(|it| *it > 0), due: *due };
        if one.due > now {
            return None;
        }
        self.agenda.pop_first();
        Some(one)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.reading.is_empty()
    }

    pub(super) fn is_being_read(&self, number: u64) -> bool {
        self.reading.contains(&number)
    }

    /// The oldest that is ready.
    pub(super) fn first_ready(&self) -> Option<u64> {
        self.ready.first().copied()
    }

    /// One is not where it should be; returns its order.
    pub(super) fn miss(&mut self, number: u64) -> Option<OrderDigest> {
        self.lift(number);
        let found = self.orders.iter().find(|((_, it), _)| *it == number);
        let ((order, _), &due) = found?;
        let order = *order;
        self.remove(&One { number, order: Some(order), due });
        Some(order)
    }

    /// Takes some that are ready, the oldest first: they are read now.
    pub(super) fn take_ready(&mut self, count: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(number) = self.ready.pop_first()
        {
            self.reading.insert(number);
            taken.push(number);
        }
        taken
    }

    /// Those that are delayed, the next one first, and then those that wait for another one of their
    /// order; only so many are looked at.
    pub(super) fn held(&self, most: usize) -> impl Iterator<Item = One> + '_ {
        let delayed = self.agenda.iter().take(most).map(|(&(due, number), &order)| {
            let order = Some(order).filter(|it| *it > 0);
            One { number, order, due }
        });
        let ordered = self.orders.iter().take(most).map(|(&(order, number), &due)| {
            let order = Some(order);
            One { number, order, due }
        });
        let is_delayed = |one: &One| self.agenda.contains_key(&(one.due, one.number));
        delayed.chain(ordered.filter(move |one| !is_delayed(one) && !self.is_free(one)))
    }

    /// What keeps one from a worker, as `explain` calls it.
    pub(super) fn state_of(&self, one: &One) -> &'static str {
        let first = one.order.and_then(|order| self.first_of(order));
        match first {
            Some(first) if first.number != one.number => "behind",
            _ if self.is_free(one) => "waiting",
            _ => "delayed",
        }
    }

    /// Those whose time has not come, and those that are not the first of their order.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.agenda.len(), self.orders.len() - self.distinct)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.agenda.is_empty() && !self.has_ready() && !self.is_reading()
    }

    /// Checks that nothing stands in two places, that who is ready may be, and that the first of an
    /// order is ready if it is on the disk only and is not behind one of level memory.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn audit(
        &self,
        is_elsewhere: impl Fn(u64) -> bool,
        is_behind: impl Fn(OrderDigest, u64) -> bool,
    ) -> Result<(), String> {
        let of_order = |(&(order, number), &due)| (number, One { number, order: Some(order), due });
        let ordered: BTreeMap<_, _> = self.orders.iter().map(of_order).collect();
        for number in &self.ready {
            if is_elsewhere(*number) {
                return Err(format!("{number} is ready, and in memory or ending"));
            }
            if ordered.get(number).is_some_and(|one| !self.is_free(one)) {
                return Err(format!("{number} is ready, and not the first of its order"));
            }
        }
        let mut last = 0;
        for &(order, number) in self.orders.keys() {
            let is_first = std::mem::replace(&mut last, order) != order;
            let is_free = ordered.get(&number).is_some_and(|one| is_first && self.is_free(one));
            let is_read = self.ready.contains(&number) || self.reading.contains(&number);
            if is_free && !is_read && !is_elsewhere(number) && !is_behind(order, number) {
                return Err(format!("{number} is the first of its order, and nobody knows"));
            }
        }
        let mut orders: Vec<_> = self.orders.keys().map(|(order, _)| order).collect();
        orders.dedup();
        if orders.len() != self.distinct {
            return Err(format!("there are {} orders, {} are told", orders.len(), self.distinct));
        }
        match self.ready.intersection(&self.reading).next() {
            None => Ok(()),
            Some(number) => Err(format!("{number} is ready and being read")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(number: u64, order: u64, due: u64) -> One {
        One { number, order: Some(order).filter(|it| *it > 0), due }
    }

    fn apart(ones: &[One]) -> Apart {
        let mut apart = Apart::default();
        for it in ones {
            apart.add(*it, 100);
            apart.lay_down(it);
        }
        apart
    }

    #[test]
    fn the_first_of_each_order_and_who_has_none_are_ready() {
        let ones = [one(1, 7, 0), one(2, 7, 0), one(3, 8, 0), one(4, 0, 100), one(5, 0, 101)];
        let mut apart = apart(&ones);
        assert_eq!(apart.take_ready(2), [1, 3]);
        assert_eq!(apart.take_ready(9), [4]);
        assert!(apart.is_reading() && !apart.has_ready());
        apart.remove(&ones[0]);
        assert_eq!(apart.first_of(7), Some(ones[1]));
        apart.lay_down(&ones[1]);
        assert_eq!((apart.take_ready(9), apart.next_due()), (vec![2], Some(101)));
        assert_eq!((apart.pop_due(100), apart.pop_due(101)), (None, Some(ones[4])));
        apart.audit(|number| number == 2 || number == 3, |_, _| false).unwrap();
        for it in &ones {
            apart.remove(it);
        }
        assert!(apart.is_empty());
    }

    #[test]
    fn the_delay_of_the_first_holds_up_its_order() {
        let ones = [one(1, 7, 300), one(2, 7, 200), one(3, 7, 0)];
        let mut apart = apart(&ones);
        assert_eq!((apart.take_ready(9), apart.counts()), (vec![], (2, 2)));
        assert_eq!(ones.map(|one| apart.state_of(&one)), ["delayed", "behind", "behind"]);
        assert_eq!(apart.pop_due(250), Some(ones[1]));
        assert!(!apart.is_free(&ones[1]), "it is not the first");
        assert_eq!(apart.held(9).map(|it| it.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(apart.pop_due(300), Some(ones[0]));
        assert!(apart.is_free(&ones[0]));
    }
}
