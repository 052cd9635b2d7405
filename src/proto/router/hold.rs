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
//! any more. Only the first one of a line may be anywhere but behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::RequestId;
use crate::proto::clock::Time;
use crate::proto::output::Output;
use crate::proto::stats::Outcome;

use super::Router;
use super::request::{Place, Request};
use super::service::ServiceId;

/// The requests of one order, in the order of acceptance.
pub(super) type Line = BTreeMap<u64, RequestId>;

/// Requests by a time; among those of one time in the order of acceptance.
pub(super) type Agenda = BTreeMap<(Time, u64), RequestId>;

impl Router {
    /// Whether a request of that order, which is new, is the first one.
    pub(super) fn is_free(&self, id: ServiceId, order: Option<&Arc<[u8]>>) -> bool {
        let lines = self.services.get(id).map(|service| &service.lines);
        order.is_none_or(|order| lines.is_none_or(|lines| !lines.contains_key(order)))
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
        let Some(service) = self.services.get_mut(request.service) else { return };
        let (caller, sequence) = (request.caller, request.sequence);
        let line = request.order().and_then(|order| service.lines.get(order));
        let first = line.and_then(Line::first_key_value).map(|(first, _)| *first);
        let place = match request.not_before() {
            _ if first.is_some_and(|first| first != sequence) => {
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
    pub(super) fn leave_line(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(id) else { return };
        let Some(order) = request.order() else { return };
        let Some(service) = self.services.get_mut(request.service) else { return };
        let Some(line) = service.lines.get_mut(order) else { return };
        line.remove(&request.sequence);
        match line.first_key_value() {
            None => {
                service.lines.remove(order);
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
