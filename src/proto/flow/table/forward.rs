//! What goes from one end to the other.

use crate::proto::clock::Time;
use crate::proto::core::Taken;
use crate::proto::flow::output::{End, FlowOutput, Outcome, Seat};
use crate::proto::flow::words::Bot;
use crate::wire::message::Frames;
use crate::wire::zio::Kind;

use super::FlowTable;
use super::flow::{Flow, FlowId, Pair};
use super::member::Place;

impl FlowTable {
    /// Passes on what an end says, octet by octet. If the other end has no room it is said again
    /// later, and nothing has happened.
    #[inline]
    pub(super) fn forward<O: FlowOutput>(
        &mut self,
        now: Time,
        from: End,
        (id, seat): (FlowId, Seat),
        said: &Bot<'_>,
        message: Frames<'_>,
        out: &mut O,
    ) -> Taken {
        let kind = said.label.kind();
        let Some(pair) = self.flows.get_mut(id).and_then(Flow::pair_mut) else { return Taken::Yes };
        let handed_out = match pair.account(seat, kind, said.label.credit()) {
            Some(handed_out) => handed_out,
            None if self.settings.check_credit => {
                // One that has heard EOT may give without credit; but its taker has not said that.
                let outcome = if pair.runs() { Outcome::Violated(seat) } else { Outcome::Stopped };
                self.drop_message("credit");
                self.end_pair(now, id, outcome, out);
                return Taken::Yes;
            }
            None => pair.handed_out,
        };
        let (to, shape) = (pair.end(seat.other()), pair.route(seat.other()).shape);
        let room = self.settings.queue_bytes_max;
        let taken = if shape == pair.route(seat).shape {
            out.forward(to, message, room)
        } else {
            out.forward(to, said.zio.to_message(shape).frames(), room)
        };
        if !taken {
            self.pause(from);
            return Taken::NotYet;
        }
        pair.handed_out = handed_out;
        pair.last = now;
        pair.route_mut(seat).last = said.zio.coordinates;
        let was_idle = std::mem::take(&mut pair.idle);
        if kind == Kind::Dat {
            let bytes = u64::try_from(message.bytes()).unwrap_or(u64::MAX);
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
