//! A request, from outside: asked, accepted, answered, ended once.

use crate::proto::stats::Outcome;
use crate::proto::witness;

use super::super::plan::{MIXED, SERVED};
use super::super::repeater::is_keyed;
use super::super::tag::Tag;
use super::Judge;
use super::native::Terms;
use super::orders::Hold;
use super::talk::Asks;

/// A request, from outside.
#[derive(Debug)]
pub(in crate::proto::simulation) struct Record {
    pub(super) service: Vec<u8>,
    /// The client takes an answer in parts.
    pub(super) streams: bool,
    /// It is known whether it was accepted.
    pub(super) tracked: bool,
    pub(super) accepted_at: u64,
    pub(super) settled: bool,
    /// The connection of the worker that has it, and of the one that lost it last.
    pub(super) holder: Option<usize>,
    pub(super) lost_by: Option<usize>,
    pub(super) deliveries: u32,
    pub(super) losses: u32,
    pub(super) forwarded: bool,
    pub(super) replies: u32,
    /// Errors that its caller was told.
    pub(super) errors: u32,
    /// What a caller of MJP demands.
    pub(super) terms: Option<Terms>,
    /// Its caller has said CANCEL.
    pub(super) cancelled: bool,
    pub(super) asks: Asks,
    /// What may hold it up.
    pub(super) hold: Option<Hold>,
    pub(in crate::proto::simulation) ended: Option<Outcome>,
}

impl Record {
    /// Whether its time has not come, or another one of its order is before it.
    pub(super) fn is_held(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.is_held)
    }

    /// Nothing holds it up any more.
    pub(super) fn let_go(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.is_held = false;
        }
    }
}

impl Judge {
    /// A request of a client has come; it may be delivered while it is read.
    pub(in crate::proto::simulation) fn asked(
        &mut self,
        tag: Tag,
        service: &[u8],
        streams: bool,
        tracked: bool,
    ) {
        self.records.entry(tag).or_insert_with(|| Record {
            service: service.to_vec(),
            streams,
            tracked,
            accepted_at: self.now,
            settled: self.settled,
            holder: None,
            lost_by: None,
            deliveries: 0,
            losses: 0,
            forwarded: false,
            replies: 0,
            errors: 0,
            terms: None,
            cancelled: false,
            asks: Asks::default(),
            hold: None,
            ended: None,
        });
    }

    /// It was not accepted.
    pub(in crate::proto::simulation) fn refused(&mut self, tag: Tag) {
        let record = self.records.remove(&tag);
        self.demand(record.is_some_and(|r| r.deliveries == 0), || {
            format!("{tag:?} was delivered and refused")
        });
        self.drop_lanes(tag.conn);
    }

    pub(in crate::proto::simulation) fn accepted(&mut self, tag: Tag) {
        self.accepted += 1;
        self.end_requests();
        if let Some(record) = self.records.get(&tag)
            && record.deliveries == 0
            && record.ended.is_none()
            && !record.is_held()
        {
            let lane = (tag.conn, record.service.clone());
            self.overtaken.entry(lane).or_default();
        }
    }

    /// A caller was told a part of an answer, or the rest of it.
    pub(super) fn count_reply(&mut self, tag: Tag, more: bool) {
        let Some(record) = self.records.get_mut(&tag) else { return };
        record.forwarded |= more;
        record.replies += u32::from(!more);
        let (replies, ended) = (record.replies, record.ended);
        self.demand(replies <= 1 && ended.is_none(), || {
            format!("{tag:?} was answered {replies} times, ended: {ended:?}")
        });
    }

    /// Takes note of the requests that have ended.
    pub(super) fn end_requests(&mut self) {
        self.end_parts();
        for (body, outcome) in witness::take_ends() {
            let Some(tag) = Tag::decode(&body) else { continue };
            if is_keyed(tag) {
                self.end_keyed(tag, outcome);
            }
            let Some(record) = self.records.get_mut(&tag) else { continue };
            let before = record.ended.replace(outcome);
            self.demand(before.is_none(), || {
                format!("{tag:?} ended as {before:?} and {outcome:?}")
            });
            self.check_outcome(tag, outcome);
        }
    }

    pub(super) fn check_outcome(&mut self, tag: Tag, outcome: Outcome) {
        let Some(record) = self.records.get(&tag) else { return };
        let policy = self.settings.policy_of(&record.service);
        let answered = self.turn.is_some_and(|turn| turn.tag == tag && turn.last);
        let gone = self.sides.get(&(tag.conn as usize)).is_some_and(|side| side.gone);
        let waited = self.now - record.accepted_at;
        let fits = match outcome {
            Outcome::Replied => answered && record.replies == 1 && record.errors == 0,
            Outcome::Unclaimed => answered && record.replies == 0,
            Outcome::AnswerTooBig => answered && record.replies == 0 && !record.streams,
            Outcome::CallerGone => gone,
            Outcome::WorkerLost => {
                record.losses > 0
                    && (policy.at_most_once
                        || record.forwarded && !policy.resend_after_partial
                        || record.terms.is_some_and(|terms| terms.is_tried(record.losses)))
            }
            Outcome::TimedOut => record.terms.is_some_and(|terms| terms.is_due(self.time)),
            Outcome::Cancelled => record.cancelled,
            Outcome::Failed => {
                self.turn.is_some_and(|turn| turn.tag == tag && turn.last && turn.error)
            }
            // Only workers of NFP refuse.
            Outcome::Refused => record.service == MIXED.as_bytes(),
            Outcome::StaleEpoch | Outcome::Unfenced => false,
            Outcome::Dead => record.losses == 2 + policy.attempts,
            Outcome::Expired => {
                policy.unserved_ttl.is_some_and(|ttl| u128::from(waited) >= ttl.as_micros())
            }
        };
        let served = SERVED.iter().any(|name| name.as_bytes() == record.service);
        let silent = matches!(outcome, Outcome::WorkerLost | Outcome::Dead | Outcome::Expired);
        let due = record.settled && record.losses == 0 && served;
        let (holder, losses, turn) = (record.holder, record.losses, self.turn);
        // What is given up at its worker stays there as a husk.
        let given_up = matches!(outcome, Outcome::TimedOut | Outcome::Cancelled);
        self.demand(fits && (holder.is_none() || given_up), || {
            format!("{tag:?} ended as {outcome:?}: at {holder:?}, lost {losses} times, {turn:?}")
        });
        self.demand(!(due && silent), || format!("{tag:?} ended as {outcome:?} in the calm"));
        if outcome == Outcome::Expired {
            self.expired.push(tag);
        }
        self.end_native(tag, holder);
        self.drop_lanes(tag.conn);
    }
}
