//! Requests with an order or a delay: none is delivered before its time, none while an older one of
//! its order has not ended or is at a worker still, and none is overtaken once nothing holds it.

use std::collections::BTreeMap;

use crate::wire::mjp::Request;

use super::super::tag::Tag;
use super::Judge;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Those of an order of a service, in the order of acceptance.
    lines: BTreeMap<(Vec<u8>, Vec<u8>), Vec<Tag>>,
    /// Those that something holds.
    held: Vec<Tag>,
    /// Broker time when the broker has last looked at it.
    ticked: u64,
}

/// Of one request.
#[derive(Debug, Default)]
pub(super) struct Hold {
    order: Option<Vec<u8>>,
    /// In broker time, microseconds.
    not_before: u64,
    /// It is in no queue.
    pub(super) is_held: bool,
}

impl Judge {
    /// A request is about to be given to the broker.
    pub(super) fn asked_in_order(&mut self, tag: Tag, request: &Request<'_>) {
        let says = &request.says;
        let delay = says.delay().filter(|delay| !delay.is_zero());
        if says.order.is_none() && delay.is_none() {
            return;
        }
        let delay = delay.map(|delay| u64::try_from(delay.as_micros()).unwrap_or(u64::MAX / 2));
        let not_before = delay.map_or(0, |delay| self.time + delay);
        let order = says.order.map(<[u8]>::to_vec);
        if let Some(order) = &order {
            let line = (says.service.to_vec(), order.clone());
            self.orders.lines.entry(line).or_default().push(tag);
        }
        if let Some(record) = self.records.get_mut(&tag) {
            record.hold = Some(Hold { order, not_before, is_held: true });
        }
        if self.is_ripe(tag) && self.before(tag).is_none() {
            self.records.entry(tag).and_modify(|record| record.let_go());
        } else {
            self.orders.held.push(tag);
        }
    }

    /// Whether the broker knows that the time of a request has come.
    fn is_ripe(&self, tag: Tag) -> bool {
        let hold = self.records.get(&tag).and_then(|record| record.hold.as_ref());
        hold.is_none_or(|hold| hold.not_before == 0 || hold.not_before <= self.orders.ticked)
    }

    /// One that is before a request in its order: it has not ended, or a worker has it still.
    fn before(&self, tag: Tag) -> Option<Tag> {
        let record = self.records.get(&tag)?;
        let order = record.hold.as_ref()?.order.clone()?;
        let line = self.orders.lines.get(&(record.service.clone(), order))?;
        let is_held =
            |tag: &Tag| self.sides.values().any(|side| side.held.values().any(|it| it == tag));
        let is_open =
            |tag: &Tag| self.records.get(tag).is_some_and(|it| it.tracked && it.ended.is_none());
        let older = line.iter().take_while(|older| **older != tag);
        older.copied().find(|older| is_open(older) || is_held(older))
    }

    /// A request is delivered: nothing holds it.
    pub(super) fn check_hold(&mut self, tag: Tag) {
        let Some(hold) = self.records.get(&tag).and_then(|record| record.hold.as_ref()) else {
            return;
        };
        let (not_before, time) = (hold.not_before, self.time);
        self.demand(time >= not_before, || {
            format!("{tag:?} is delivered {} us before its time", not_before - time)
        });
        let before = self.before(tag);
        self.demand(before.is_none(), || {
            format!("{tag:?} is delivered, and {before:?} of its order is not done")
        });
        self.records.entry(tag).and_modify(|record| record.let_go());
    }

    /// The broker has looked at the time.
    pub(super) fn tick_holds(&mut self) {
        self.orders.ticked = self.time;
        self.let_go();
    }

    /// After a message: what nothing holds any more is in the queue, at its old place.
    pub(super) fn let_go(&mut self) {
        for tag in std::mem::take(&mut self.orders.held) {
            let record = self.records.get(&tag).filter(|record| record.ended.is_none());
            let Some(record) = record.filter(|it| it.hold.as_ref().is_some_and(|it| it.is_held))
            else {
                continue;
            };
            let lane = (tag.conn, record.service.clone());
            if self.is_ripe(tag) && self.before(tag).is_none() {
                self.records.entry(tag).and_modify(|record| record.let_go());
                self.overtaken.entry(lane).or_default();
            } else {
                self.orders.held.push(tag);
            }
        }
    }
}
