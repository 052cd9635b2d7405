//! What an input has left behind: peers to be ended, parts and leases to be told of, requests that go
//! on, and what is to be kept.

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::output::{CloseReason, Output};
use crate::proto::stats::Loss;

use super::Core;

impl Core {
    /// Sees to what an input has left behind; most leave nothing.
    #[inline]
    pub(super) fn see_to_leftovers<O: Output>(&mut self, now: Time, out: &mut O) {
        let keeps_nothing = self.titanic.is_none() && self.keeper.is_none();
        if !(keeps_nothing && self.router.is_settled()) {
            self.see_to_all(now, out);
        }
    }

    /// Ends the peers that cannot be served any more, sees to jobs of which parts have ended, and to
    /// all that follows from that.
    fn see_to_all<O: Output>(&mut self, now: Time, out: &mut O) {
        // A caller that an outcome found no room for is told no tally.
        loop {
            while let Some((id, why)) = self.router.pop_doomed() {
                self.end(now, id, why, out);
            }
            let told = self.end_parts(now, out) | self.tell_leases(now, out);
            let moved = self.router.settle_down(now, out);
            let kept = self.see_to_titanic(now, out) | self.see_to_depot(now, out);
            if !kept && !told && !moved {
                break;
            }
        }
        self.announce_jobs(out);
    }

    /// Ends a peer on our own.
    pub(super) fn end<O: Output>(&mut self, now: Time, id: PeerId, why: CloseReason, out: &mut O) {
        if self.peers.contains_key(id) {
            out.close(id, why);
            let loss = if why == CloseReason::Silent { Loss::Expired } else { Loss::Closed };
            self.remove(now, id, loss, out);
        }
    }
}
