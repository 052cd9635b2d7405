//! Requests that wait and may not be delivered yet: until some time, or behind another one of their
//! order. They stand beside the queue, so that nothing behind them stands still.
//!
//! ```text
//!                  the first of its order?    its time has come?
//!   wait ------------------+------------------------+----------------> queue, suspects
//!                          | no                     | no                   |
//!                          v                        v                      v
//!                        Behind                  Delayed               InFlight
//! ```
//!
//! All requests of one order stand in a line, from acceptance until nothing of them is at a worker
//! any more. Only the first one of a line may be anywhere but behind. Those of level disk are of it,
//! too, also while they are on the disk only: from acceptance until their end is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::output::Output;
use crate::proto::stats::Outcome;

use super::Router;
use super::request::{Place, Request};
use super::service::{Service, ServiceId};

/// The requests of one order, in the order of acceptance.
pub(super) type Line = BTreeMap<u64, RequestId>;

/// Requests by a time; among those of one time in the order of acceptance.
pub(super) type Agenda = BTreeMap<(Time, u64), RequestId>;

impl Router {
    /// Whether a request of that order, with that place, is the first one.
    pub(super) fn is_free(&self, id: ServiceId, order: Option<&[u8]>, sequence: u64) -> bool {
        let first = order.and_then(|order| self.first_of(self.services.get(id)?, order));
        first.is_none_or(|first| first >= sequence)
    }

    /// The place of the first one of an order.
    pub(super) fn first_of(&self, service: &Service, order: &[u8]) -> Option<u64> {
        let here = service.lines.get(order).and_then(Line::first_key_value);
        let depot = self.depot.as_ref();
        let on_disk = depot.and_then(|depot| depot.first_of_order(service.name.as_bytes(), order));
        here.map(|(first, _)| *first).into_iter().chain(on_disk).min()
    }

    /// Whether none here is before a request of level disk of that order.
    pub(crate) fn lets_go(&self, service: &[u8], order: &[u8], sequence: u64) -> bool {
        let service = self.by_name.get(service).and_then(|id| self.services.get(*id));
        let line = service.and_then(|service| service.lines.get(order));
        let first = line.and_then(Line::first_key_value);
        first.is_none_or(|(first, _)| *first >= sequence)
    }

    /// One of level disk has ended, and with that its order goes on, or any order of the service.
    pub(crate) fn let_go_on(&mut self, service: &[u8], order: Option<&[u8]>) {
        let service = self.by_name.get(service).and_then(|id| self.services.get(*id));
        let Some(Service { lines, .. }) = service else { return };
        let first = |line: &Line| line.first_key_value().map(|(_, first)| *first);
        match order {
            Some(order) => self.moved_up.extend(lines.get(order).and_then(first)),
            None => self.moved_up.extend(lines.values().filter_map(first)),
        }
    }

    /// Orders that requests of level disk may be of, and of which one here has ended.
    pub(crate) fn take_moved_orders(&mut self) -> Vec<(ServiceName, Arc<[u8]>)> {
        std::mem::take(&mut self.moved_orders)
    }

    /// A request with a course has been made: it stands in its line, and expires.
    pub(super) fn set_out(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(id) else { return };
        let sequence = request.sequence;
        if let Some(at) = request.expires() {
            self.expiring.insert((at, sequence), id);
        }
        if let (Some(order), Some(service)) =
            (request.order().cloned(), self.services.get_mut(request.service))
        {
            service.lines.entry(order).or_default().insert(sequence, id);
        }
    }

    /// Puts a request, which is in no place, where it has to wait.
    pub(super) fn stand(&mut self, now: Time, id: RequestId) {
        let Some(request) = self.requests.get(id) else { return };
        let (caller, sequence) = (request.caller, request.sequence);
        let order = request.order().map(|order| &**order);
        let is_free = self.is_free(request.service, order, sequence);
        let Some(service) = self.services.get_mut(request.service) else { return };
        let place = match request.not_before() {
            _ if !is_free => {
                service.behind += 1;
                Place::Behind
            }
            Some(at) if at > now => {
                service.delayed += 1;
                self.delayed.insert((at, sequence), id);
                Place::Delayed(at)
            }
            _ if request.losses >= Request::SUSPECT_LOSSES => {
                service.suspects.insert(sequence, id);
                Place::Suspect
            }
            _ => {
                if request.deliveries() > 0 {
                    service.queue.give_back(caller, sequence, id);
                } else {
                    service.queue.insert(caller, sequence, id);
                }
                Place::Waiting
            }
        };
        if let Some(request) = self.requests.get_mut(id) {
            request.place = place;
        }
    }

    /// Takes a request from where it waits for its time, or behind another one.
    pub(super) fn leave_hold(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(id) else { return };
        let Some(service) = self.services.get_mut(request.service) else { return };
        match request.place {
            Place::Delayed(at) => {
                service.delayed -= 1;
                self.delayed.remove(&(at, request.sequence));
            }
            Place::Behind => service.behind -= 1,
            Place::Waiting | Place::Suspect | Place::Pinned(_) | Place::InFlight(_) => {}
        }
    }

    /// A request has ended, and expires no more.
    pub(super) fn leave_agenda(&mut self, request: &Request) {
        if let Some(at) = request.expires() {
            self.expiring.remove(&(at, request.sequence));
        }
    }

    /// Nothing of a request is at a worker any more: the next one of its order may go on.
    #[inline]
    pub(super) fn leave_line(&mut self, request: &Request) {
        if let Some(order) = request.order() {
            self.leave_line_of(order, request);
        }
    }

    fn leave_line_of(&mut self, order: &Arc<[u8]>, request: &Request) {
        let Some(service) = self.services.get_mut(request.service) else { return };
        let Some(line) = service.lines.get_mut(&**order) else { return };
        line.remove(&request.sequence);
        if let Some(depot) = &self.depot
            && depot.first_of_order(service.name.as_bytes(), order).is_some()
        {
            self.moved_orders.push((service.name.clone(), order.clone()));
        }
        match line.first_key_value() {
            None => {
                service.lines.remove(&**order);
            }
            Some((_, next)) => self.moved_up.push(*next),
        }
    }

    /// Lets those go on that have become the first of their order.
    pub(crate) fn move_up<O: Output>(&mut self, now: Time, out: &mut O) {
        while let Some(id) = self.moved_up.pop() {
            let Some(request) = self.requests.get(id) else { continue };
            if request.place == Place::Behind {
                let service = request.service;
                #[cfg(test)]
                crate::proto::witness::saw("hold", "behind", "first");
                self.leave_hold(id);
                self.stand(now, id);
                self.arm_expiry(now, service);
                self.dispatch(now, service, out);
            }
        }
    }

    /// Those whose time has come may be delivered; those that have waited too long end.
    pub(super) fn tick_held<O: Output>(&mut self, now: Time, out: &mut O) {
        while let Some((&(at, sequence), &id)) = self.expiring.first_key_value()
            && at <= now
        {
            self.expiring.remove(&(at, sequence));
            if let Some(course) = self.requests.get_mut(id).and_then(|it| it.course.as_mut()) {
                course.expires = None;
            }
            self.expire_waiting_one(now, id, out);
        }
        while let Some((&(at, _), &id)) = self.delayed.first_key_value()
            && at <= now
        {
            let Some(service) = self.requests.get(id).map(|request| request.service) else {
                self.delayed.pop_first();
                continue;
            };
            #[cfg(test)]
            crate::proto::witness::saw("hold", "delayed", "due");
            self.leave_hold(id);
            self.stand(now, id);
            self.arm_expiry(now, service);
            self.dispatch(now, service, out);
        }
        self.move_up(now, out);
    }

    /// The time is over that a request may wait; one that is at a worker does not wait, and ends if
    /// it comes back.
    fn expire_waiting_one<O: Output>(&mut self, now: Time, id: RequestId, out: &mut O) {
        let Some(request) = self.requests.get_mut(id) else { return };
        let service = request.service;
        if let Place::InFlight(_) = request.place {
            request.course.get_or_insert_default().overdue = true;
            return;
        }
        self.end_waiting(id, Outcome::Expired, out);
        // If a worker was being emptied for it, that is free again.
        self.dispatch(now, service, out);
    }

    /// When something of these is due.
    pub(super) fn next_held(&self) -> Option<Time> {
        let first = |agenda: &Agenda| agenda.first_key_value().map(|((at, _), _)| *at);
        first(&self.delayed).into_iter().chain(first(&self.expiring)).min()
    }
}
