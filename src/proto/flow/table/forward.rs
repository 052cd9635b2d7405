//! What goes from one end to the other.

use crate::proto::clock::Time;
use crate::proto::core::Taken;
use crate::proto::flow::output::{End, FlowOutput, Outcome, Seat, Words};
use crate::proto::flow::words::{self, Bot};
use crate::wire::message::Message;
use crate::wire::zio::Kind;

use super::FlowTable;
use super::flow::{Account, Flow, FlowId, Pair};
use super::lane::press_on;
use super::member::Place;

impl FlowTable {
    /// Passes on what an end says, octet by octet. If the other end has no room it is said again
    /// later, and nothing has happened; but what a lane says is not, and its flow ends.
    #[inline]
    pub(super) fn forward<O: FlowOutput>(
        &mut self,
        now: Time,
        from: End,
        (id, seat): (FlowId, Seat),
        said: &Bot<'_>,
        out: &mut O,
    ) -> Taken {
        let kind = said.label.kind();
        let Some(pair) = self.flows.get_mut(id).and_then(Flow::pair_mut) else { return Taken::Yes };
        let account = match pair.account(seat, said) {
            Some(account) => account,
            None if from.is_lane() && pair.route(seat.other()).said_eot => {
                return self.drop_message("after_eot");
            }
            None if self.settings.check_credit || pair.has_lane() => {
                // One that has heard EOT may give without credit; but its taker has not said that.
                let outcome = if pair.runs() { Outcome::Violated(seat) } else { Outcome::Stopped };
                self.drop_message("credit");
                self.end_pair(now, id, outcome, out);
                return Taken::Yes;
            }
            None => Account { handed_out: pair.handed_out, octets: pair.octets },
        };
        let (to, shape) = (pair.end(seat.other()), pair.route(seat.other()).shape);
        let other = (shape != pair.route(seat).shape).then(|| said.zio.to_message(shape));
        let frames = other.as_ref().map_or(said.frames, Message::frames);
        let octets = pair.octets.filter(|_| kind == Kind::Pay).and(said.bytes);
        let header = words::header(octets);
        let words = Words { frames, header: &header };
        if from.is_lane() {
            if !press_on(to, words, kind, self.settings.outbox_bytes_max, out) {
                return self.overrun(now, (id, seat), kind, out);
            }
        } else if !out.forward(to, words, self.settings.queue_bytes_max) {
            self.pause(from);
            return Taken::NotYet;
        }
        (pair.handed_out, pair.octets) = (account.handed_out, account.octets);
        pair.last = now;
        pair.route_mut(seat).last = said.zio.coordinates;
        let was_idle = std::mem::take(&mut pair.idle);
        if kind == Kind::Dat {
            let bytes = u64::try_from(said.frames.bytes()).unwrap_or(u64::MAX);
            (pair.dats, pair.bytes) = (pair.dats + 1, pair.bytes.saturating_add(bytes));
            self.counts.dats += 1;
            self.counts.bytes = self.counts.bytes.saturating_add(bytes);
        }
        if kind == Kind::Eot {
            self.close(now, from, (id, seat), out);
        } else if was_idle {
            self.arm(id, self.settings.idle_after.map(|idle| now.after(idle)));
        }
        Taken::Yes
    }

    /// There was no room for what a lane has said.
    fn overrun<O: FlowOutput>(
        &mut self,
        now: Time,
        (id, seat): (FlowId, Seat),
        kind: Kind,
        out: &mut O,
    ) -> Taken {
        if kind == Kind::Eot
            && let Some(pair) = self.flows.get_mut(id).and_then(Flow::pair_mut)
        {
            // A short one is said in its place.
            pair.route_mut(seat).said_eot = true;
        }
        self.drop_message("overrun");
        self.end_pair(now, id, Outcome::Overrun(seat.other()), out);
        Taken::Yes
    }

    /// An end has said EOT: its direction is done, so that it may begin another flow once the
    /// other one is done too.
    fn close<O: FlowOutput>(
        &mut self,
        now: Time,
        end: End,
        (id, seat): (FlowId, Seat),
        out: &mut O,
    ) {
        let Some(pair) = self.flows.get_mut(id).and_then(Flow::pair_mut) else { return };
        let route = pair.route_mut(seat);
        (route.closed, route.said_eot) = (true, true);
        if pair.route(seat.other()).closed {
            self.end_pair(now, id, Outcome::Finished, out);
        } else {
            self.place(end, Place::Closed(id, seat));
            self.arm(id, Some(now.after(self.settings.end_timeout)));
        }
    }

    pub(super) fn pair_of(&self, id: FlowId) -> Option<&Pair> {
        self.flows.get(id).and_then(Flow::pair)
    }
}
