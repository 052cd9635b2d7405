//! Showing life, and believing in leading: what a member does by itself.

use std::time::Instant;

use super::{Inside, Phase, Say, Seat};
use crate::group::words::Reason;
use crate::proto::lease::Standing;

/// Beats that wait for an answer; older ones are forgotten.
const BEATS_MAX: usize = 32;

impl Seat {
    /// Beats if that is due, and looks whether this member still leads.
    pub(super) fn live(&mut self) {
        let now = self.now;
        let Phase::Member(inside) = &mut self.phase else { return };
        let silence = inside.charter.peer_timeout;
        if inside.beats.front().is_some_and(|(_, sent)| now >= *sent + silence) {
            return self.dead("the broker answers no beat");
        }
        let standing = inside.point.standing(now);
        match standing {
            Some(Standing::Lost) => {
                self.lose_lead(Reason::Silent);
                self.beat();
            }
            Some(Standing::Due) => self.beat(),
            Some(Standing::Holds(_)) | None if now >= inside.next_beat => self.beat(),
            Some(Standing::Holds(_)) | None => {}
        }
    }

    /// Shows life, asks for the broker's clock, and goes on leading.
    pub(super) fn beat(&mut self) {
        let (now, id) = (self.now, self.next_id());
        let Phase::Member(inside) = &mut self.phase else { return };
        inside.next_beat = now + inside.charter.heartbeat;
        let epoch = inside.point.beats(now);
        if inside.beats.len() == BEATS_MAX {
            // The oldest one says how long the broker has been silent.
            inside.beats.remove(1);
        }
        inside.beats.push_back((id, now));
        let seat = inside.id;
        self.say_at(seat, id, Say::Beat { epoch });
    }

    /// A beat was answered. `false`: it was none of ours.
    pub(super) fn beaten(&mut self, id: u64, clock: Option<u64>, epoch: Option<u64>) -> bool {
        let now = self.now;
        let Phase::Member(inside) = &mut self.phase else { return false };
        let Some(place) = inside.beats.iter().position(|(beat, _)| *beat == id) else {
            return false;
        };
        // Answers come in the order of the questions.
        let Some((_, sent)) = inside.beats.drain(..=place).next_back() else { return false };
        if let Some(clock) = clock {
            self.clock.answered(sent, now, clock);
        }
        if let Some(epoch) = epoch {
            inside.point.beaten(now, sent, epoch);
            if let Some(lead) = &mut inside.lead {
                lead.sure |= inside.point.leads(now) == Some(lead.epoch);
            }
        }
        true
    }

    /// A beat was refused: this member does not lead.
    pub(super) fn beat_refused(&mut self, id: u64) -> bool {
        let Phase::Member(inside) = &mut self.phase else { return false };
        let Some(place) = inside.beats.iter().position(|(beat, _)| *beat == id) else {
            return false;
        };
        inside.beats.drain(..=place);
        self.lose_lead(Reason::Silent);
        true
    }
}

impl Inside {
    /// When something of it is due; `held`: events wait for the answer to a beat.
    pub(super) fn next_timeout(&self, now: Instant, held: bool) -> Instant {
        let mut next = self.next_beat;
        if let Some((_, sent)) = self.beats.front() {
            next = next.min(*sent + self.charter.peer_timeout);
        }
        if let Some(lead) = &self.lead {
            next = next.min(match self.point.clone().standing(now) {
                Some(Standing::Holds(due)) => due,
                Some(Standing::Due | Standing::Lost) | None => now,
            });
            if let Some(until) = self.point.leads_until() {
                next = next.min(until);
            }
            if held {
                next = next.min(lead.since + Seat::HELD_TIME);
            }
        }
        next
    }
}
