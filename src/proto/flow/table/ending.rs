//! Ends that come otherwise than by an EOT of each side.

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::core::Taken;
use crate::proto::flow::output::{End, FlowEvent, FlowOutput, Outcome, Refusal, Seat};
use crate::proto::flow::words::{self, Bot};

use super::FlowTable;
use super::flow::{Flow, FlowId, Progress};
use super::member::Place;

impl FlowTable {
    /// Ends a pair: who has not been told EOT is told, and each may begin another flow; EOTs and
    /// what else comes until then belong to this one.
    pub(super) fn end_pair<O: FlowOutput>(
        &mut self,
        now: Time,
        id: FlowId,
        outcome: Outcome,
        out: &mut O,
    ) {
        let Some(pair) = self.flows.get(id).and_then(Flow::pair) else { return };
        let sides = [Seat::Client, Seat::Handler]
            .map(|seat| (pair.end(seat), *pair.route(seat), *pair.route(seat.other())));
        for (end, own, other) in sides {
            if !self.members.contains_key(&end) {
                continue;
            }
            if !other.closed {
                self.say(end, None, |shape| words::eot(other.next(), shape), out);
            }
            self.place(end, if own.said_eot { Place::Idle } else { Place::Told });
        }
        for (end, ..) in sides {
            self.resume(end, out);
        }
        self.forget(now, id, outcome, out);
    }

    /// A flow is gone. Its ends stand elsewhere by now; whoever had it for a service is free.
    pub(super) fn forget<O: FlowOutput>(
        &mut self,
        now: Time,
        id: FlowId,
        outcome: Outcome,
        out: &mut O,
    ) {
        if let Some(flow) = self.flows.get_mut(id)
            && let Progress::Deciding { early, .. } = &mut flow.progress
            && let Some(early) = early.take()
        {
            self.refuse_early(&early, Refusal::UnknownCid, out);
        }
        let Some(flow) = self.flows.remove(id) else { return };
        if flow.pair().is_none() {
            self.by_cid.remove(&flow.cid);
        }
        self.sweep();
        self.release(flow.charged, out);
        if let Some(reserved) = flow.reserved {
            self.lanes.release(reserved);
        }
        self.note_outcome(outcome);
        out.event(FlowEvent::Ended { flow: id, outcome });
        if let (Progress::Queued { number, .. }, Some(name)) = (&flow.progress, &flow.service) {
            self.services.wait_no_more(name, *number);
        }
        let freed = flow.handler.and_then(|handler| self.services.give_back(handler, id));
        if let Some(name) = freed {
            self.dispatch(now, &name, out);
        }
    }

    /// A client does not want to wait any more. It is told EOT, as each EOT has its answer.
    pub(super) fn give_up<O: FlowOutput>(
        &mut self,
        now: Time,
        client: End,
        id: FlowId,
        said: &Bot<'_>,
        out: &mut O,
    ) -> Taken {
        self.say(client, None, |shape| words::first_eot(said.zio.coordinates, shape), out);
        self.place(client, Place::Idle);
        self.forget(now, id, Outcome::GivenUp, out);
        Taken::Yes
    }

    /// An end that has said EOT begins another flow, although its partner has not answered. The
    /// partner has heard the EOT; what it says is nobody's from now on.
    pub(super) fn abandon<O: FlowOutput>(
        &mut self,
        now: Time,
        id: FlowId,
        seat: Seat,
        out: &mut O,
    ) {
        if let Some(pair) = self.flows.get_mut(id).and_then(Flow::pair_mut) {
            // It does not want to be told: it speaks of another flow by now.
            pair.route_mut(seat.other()).closed = true;
            pair.route_mut(seat).said_eot = true;
        }
        self.end_pair(now, id, Outcome::Abandoned(seat), out);
    }

    /// An end is lost. Its partner is told EOT, and every client that waits for it is, too.
    pub(super) fn lose<O: FlowOutput>(&mut self, now: Time, end: End, out: &mut O) {
        let Some(place) = self.members.get(&end).map(|member| member.place) else { return };
        self.place(end, Place::Idle);
        // A lane is gone by that.
        self.members.remove(&end);
        match place {
            Place::Idle | Place::Told => {}
            Place::Waiting(id) => self.forget(now, id, Outcome::Lost(Seat::Client), out),
            Place::Early(id) => self.take_early(id, out),
            Place::Open(id, seat) | Place::Closed(id, seat) => {
                self.end_pair(now, id, Outcome::Lost(seat), out);
            }
        }
    }

    /// The rights of a connection have changed: its flows end that it may not have any more.
    pub fn revoke<O: FlowOutput>(&mut self, now: Time, peer: PeerId, out: &mut O) {
        let places: Vec<(End, Place)> =
            self.members.range(End::all_of(peer)).map(|(end, it)| (*end, it.place)).collect();
        for (end, place) in places {
            match place {
                Place::Waiting(id) => {
                    let Some(flow) = self.flows.get(id) else { continue };
                    if !out.may_open(end, flow.name()) {
                        self.refuse_flow(now, id, Refusal::Denied, out);
                    }
                }
                Place::Open(id, seat) | Place::Closed(id, seat) => {
                    let Some(flow) = self.flows.get(id) else { continue };
                    let may = match seat {
                        Seat::Client => out.may_open(end, flow.name()),
                        Seat::Handler => out.may_handle(end, flow.name()),
                    };
                    if !may {
                        self.end_pair(now, id, Outcome::Revoked(seat), out);
                    }
                }
                Place::Idle | Place::Early(_) | Place::Told => {}
            }
        }
    }

    /// What was due for a flow at a time that has come. What somebody has put off since is looked at
    /// again when its own turn comes, so that all happens in the order of the deadlines.
    pub(super) fn look_at<O: FlowOutput>(&mut self, now: Time, due: Time, id: FlowId, out: &mut O) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.due = None;
        let pair = match &mut flow.progress {
            Progress::Deciding { .. } => {
                return self.refuse_flow(now, id, Refusal::NoDecision, out);
            }
            Progress::Queued { .. } | Progress::Coming { .. } => {
                return self.refuse_flow(now, id, Refusal::NoHandler, out);
            }
            Progress::Open(pair) => pair,
        };
        if !pair.runs() {
            let late = pair.last.after(self.settings.end_timeout);
            if due < late {
                self.arm(id, Some(late));
                return;
            }
            let seat = if pair.routes.client.closed { Seat::Handler } else { Seat::Client };
            self.end_pair(now, id, Outcome::NoAnswer(seat), out);
        } else if let Some(idle) = self.settings.idle_after {
            let late = pair.last.after(idle);
            if due < late {
                self.arm(id, Some(late));
            } else {
                pair.idle = true;
                out.event(FlowEvent::Idle { flow: id });
            }
        }
    }
}
