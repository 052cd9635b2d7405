//! Requests end because their time is up: their caller's, or that of a service without workers.

use std::time::Duration;

use crate::id::RequestId;
use crate::proto::clock::Time;
use crate::proto::output::Output;
use crate::proto::stats::Outcome;

use super::Router;
use super::service::ServiceId;

impl Router {
    /// So many deadlines of requests that have ended are left alone, and as many as others.
    const DEADLINES_KEPT: usize = 1024;

    /// Has a request end in time. Most end before that; their deadlines go in heaps, so that a
    /// deadline costs no more than its place among the open ones.
    pub(super) fn arm_deadline(&mut self, at: Time, id: RequestId) {
        self.deadlines.arm(at, id);
        if self.deadlines.len() > Self::DEADLINES_KEPT + 2 * self.timed {
            let Self { deadlines, requests, .. } = self;
            deadlines.sweep(|at, id| {
                requests.get(id).is_some_and(|request| request.terms().deadline == Some(at))
            });
        }
    }

    /// Ends the requests whose time is up, and gives back what was not needed since.
    pub(crate) fn expire<O: Output>(&mut self, now: Time, out: &mut O) {
        while let Some((at, id)) = self.deadlines.pop_due(now) {
            // Of those with a key the table of keys knows who still waits.
            let request = self.requests.get(id).filter(|request| request.voice.key().is_none());
            if request.is_some_and(|request| request.terms().deadline == Some(at)) {
                self.give_up(now, id, Outcome::TimedOut, out);
            }
        }
        self.expire_keys(now, out);
        self.tick_held(now, out);
        self.expire_unserved(now, out);
        self.dead.forget_old(now);
        out.release(self.dead.take_freed());
        self.expire_jobs(now, out);
        self.leases.tick(now);
        self.tidy_callers();
    }

    /// Ends the requests that waited too long for a service without workers.
    fn expire_unserved<O: Output>(&mut self, now: Time, out: &mut O) {
        while let Some((at, id)) = self.expiries.pop_due(now) {
            let Some(service) = self.services.get_mut(id) else { continue };
            if service.expiry_armed != Some(at) {
                continue;
            }
            service.expiry_armed = None;
            let (true, Some(ttl)) = (service.workers.is_empty(), service.policy.unserved_ttl)
            else {
                continue;
            };
            let next = self.expire_waiting(now, id, ttl, out);
            if let (Some(next), Some(service)) = (next, self.services.get_mut(id)) {
                // Not one by one: in a flood each request has a deadline of its own.
                let at = next.max(now.after(ttl / 16));
                service.expiry_armed = Some(at);
                self.expiries.arm(at, id);
            }
        }
    }

    /// Ends what is due; returns when the next request will be.
    fn expire_waiting<O: Output>(
        &mut self,
        now: Time,
        id: ServiceId,
        ttl: Duration,
        out: &mut O,
    ) -> Option<Time> {
        let service = self.services.get(id)?;
        let since = service.unserved_since;
        let due = service.due(|id| self.waits_until(id, since, ttl).is_some_and(|at| at <= now));
        for request in due {
            self.end_waiting(request, Outcome::Expired, out);
        }
        // Those behind them have waited for as long.
        self.move_up(now, out);
        let oldest = self.services.get(id)?.oldest();
        oldest.filter_map(|id| self.waits_until(id, since, ttl)).min()
    }

    /// When a request has waited for `ttl` since it was accepted and since the last worker left.
    fn waits_until(&self, id: RequestId, unserved_since: Time, ttl: Duration) -> Option<Time> {
        Some(self.requests.get(id)?.ready_since().max(unserved_since).after(ttl))
    }
}
