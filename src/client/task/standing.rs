//! What goes on until nobody wants it any more: said on each connection, and campaigns for leases.

use std::time::{Duration, Instant};

use super::{Task, now};
use crate::client::error::CallError;
use crate::client::lease::After;
use crate::client::mjp;
use crate::client::pending::{Ask, Pending, Sink};
use crate::proto::multiplex::{LaneId, Multiplex};
use crate::wire::message::Message;
use crate::wire::mjp::LeaseReport;

impl Task {
    /// Says on a connection what goes on.
    pub(super) fn stand(&mut self, now: Instant, lane: LaneId, id: u64) {
        let (pending, line) = (self.core.standing_mut(id), self.lines.up(lane));
        let (Some((pending, _)), Some(line)) = (pending, line) else { return };
        let Pending { ask, sink, .. } = &mut **pending;
        if let (Ask::Campaign(campaign), Sink::Seat(seat)) = (ask, sink) {
            line.session.send(|out| seat.say(now, id, campaign, out));
        } else {
            // Without an end there is no time left, and nothing that is tried too often.
            let (left, attempts) = (Duration::ZERO, 1);
            line.session.send(|out| mjp::encode(id, pending, left, attempts, out));
        }
    }

    /// Renews a lease at once: it does not wait for the calls before it.
    pub(super) fn renew(&mut self, now: Instant, id: u64) {
        let Some((pending, Some(lane))) = self.core.standing_mut(id) else { return };
        let Pending { ask, sink, .. } = &mut **pending;
        if let (Ask::Campaign(campaign), Sink::Seat(seat), Some(line)) =
            (ask, sink, self.lines.up(lane))
        {
            line.session.send(|out| seat.renew(now, id, campaign, out));
        }
    }

    /// Nobody wants a campaign or an observation any more.
    pub(super) fn let_go(&mut self, id: u64) -> Option<Box<Pending>> {
        let (pending, lane) = self.core.withdraw(id)?;
        if let Some(line) = lane.and_then(|lane| self.lines.up(lane)) {
            line.session.send(|out| mjp::encode_cancel(id, out));
        }
        Some(pending)
    }

    /// The client ends: what it holds is free at once, whatever its grace.
    pub(super) fn let_go_of_all(&mut self) {
        for id in self.core.all_standing() {
            if self.core.standing(id).is_some_and(|pending| pending.is_lease())
                && let Some(pending) = self.let_go(id)
            {
                pending.fail(CallError::Closed);
            }
        }
    }

    /// The connection is lost: what is held without a grace is lost with it.
    pub(super) fn part(&mut self) {
        for id in self.core.all_standing() {
            let Some((pending, _)) = self.core.standing_mut(id) else { continue };
            let after = match &mut pending.sink {
                Sink::Seat(seat) => seat.part(),
                Sink::Watch(watch) => {
                    watch.part();
                    After::Stays
                }
                _ => After::Stays,
            };
            if after != After::Stays {
                drop(self.core.withdraw(id));
            }
        }
    }

    /// Campaigns that were won, and nobody wants what they have.
    pub(super) fn let_go_of_unwanted(&mut self) {
        for id in std::mem::take(&mut self.desk.unwanted) {
            drop(self.let_go(id));
        }
    }
}

/// The broker says something about a lease. Gives what nobody wants.
pub(super) fn hear(
    core: &mut Multiplex<Box<Pending>>,
    lane: LaneId,
    id: u64,
    header: &[u8],
) -> Option<u64> {
    let Ok(report) = LeaseReport::decode(header) else {
        let (code, message) = ("malformed_answer".to_owned(), "LEASE cannot be read".to_owned());
        if let Some(pending) = core.refused(now(), lane, id, None) {
            pending.fail(CallError::Refused { code, message, retry: None });
        }
        return None;
    };
    let Some(pending) = core.heard(lane, id) else {
        if let Some(pending) = core.done(lane, Some(id)) {
            pending.finish(Message::from(header.to_vec()));
        }
        return None;
    };
    let after = match &mut pending.sink {
        Sink::Seat(seat) => seat.hear(&report),
        Sink::Watch(watch) => {
            watch.hear(&report);
            After::Stays
        }
        _ => After::Stays,
    };
    match after {
        After::Stays => {}
        After::Over => drop(core.withdraw(id)),
        After::Unwanted => return Some(id),
    }
    None
}
