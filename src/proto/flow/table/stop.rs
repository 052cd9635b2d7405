//! The broker stops: nothing new, and every flow ends.

use std::time::Duration;

use crate::proto::clock::Time;
use crate::proto::flow::output::{FlowOutput, Outcome, Refusal};
use crate::proto::flow::words;

use super::FlowTable;
use super::flow::{Flow, FlowId};
use super::member::Place;

/// How far a stop has come.
#[derive(Debug)]
pub(super) struct Stop {
    /// When those are told EOT who were to hear it from their partner.
    cut: Option<Time>,
    /// When nobody is waited for any more.
    deadline: Option<Time>,
}

impl Stop {
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.cut.or(self.deadline)
    }
}

impl FlowTable {
    /// Refuses every BOT from now on and ends all flows, within that time.
    ///
    /// Clients that wait are told EOT. Of each pair the giver is: its own EOT comes behind its last
    /// DAT and ends the taker, so that nothing is lost. After half of the time the takers are told,
    /// too.
    pub fn stop<O: FlowOutput>(&mut self, now: Time, within: Duration, out: &mut O) {
        if self.stop.is_some() {
            return;
        }
        let (cut, deadline) = (now.after(within / 2), now.after(within));
        self.stop = Some(Stop { cut: Some(cut), deadline: Some(deadline) });
        for id in self.all() {
            if self.pair_of(id).is_some() {
                self.end_giver(now, id, out);
            } else {
                self.refuse_flow(now, id, Refusal::Stopping, out);
            }
        }
    }

    /// Whether all flows have ended and every end that was told EOT has said its own, or the time
    /// for it is up.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let Some(stop) = &self.stop else { return false };
        stop.deadline.is_none() || self.flows.is_empty() && self.told == 0
    }

    /// Whether nobody has to be waited for: there is no flow, or it has stopped.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        if self.stop.is_some() { self.is_stopped() } else { self.flows.is_empty() }
    }

    fn all(&self) -> Vec<FlowId> {
        self.flows.keys().collect()
    }

    /// Says EOT to the giver, as if its taker had; the taker still hears all that it gives.
    fn end_giver<O: FlowOutput>(&mut self, now: Time, id: FlowId, out: &mut O) {
        let Some(pair) = self.flows.get_mut(id).and_then(Flow::pair_mut) else { return };
        if !pair.runs() {
            // One of them waits for the other's answer; that is all there is to come.
            return;
        }
        let (giver, taker) = (pair.giver, pair.giver.other());
        let coordinates = pair.route(taker).next();
        pair.route_mut(taker).closed = true;
        pair.last = now;
        let (to, silent) = (pair.end(giver), pair.end(taker));
        self.say(to, None, |shape| words::eot(coordinates, shape), out);
        self.place(silent, Place::Closed(id, taker));
        self.resume(silent, out);
        self.arm(id, Some(now.after(self.settings.end_timeout)));
    }

    pub(super) fn look_at_stop<O: FlowOutput>(&mut self, now: Time, out: &mut O) {
        let Some(stop) = &mut self.stop else { return };
        if stop.cut.is_some_and(|at| at <= now) {
            stop.cut = None;
            for id in self.all() {
                self.end_pair(now, id, Outcome::Stopped, out);
            }
        }
        if let Some(stop) = &mut self.stop
            && stop.deadline.is_some_and(|at| at <= now)
        {
            stop.deadline = None;
        }
    }
}
