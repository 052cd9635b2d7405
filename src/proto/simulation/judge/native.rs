//! What must hold for peers of MJP, as seen from outside.

use crate::proto::stats::Outcome;
use crate::wire::message::Frames;
use crate::wire::mjp::{Delivery, Fault, FromBroker, Rejected, Request, ToBroker, kind};

use super::super::repeater::is_keyed;
use super::super::tag::{Piece, Tag};
use super::{Judge, Turn};

/// What a caller of MJP demands of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    conn: usize,
    id: u64,
    /// In broker time, microseconds.
    deadline: Option<u64>,
    attempts: Option<u32>,
    pub(super) events: bool,
    pub(super) asks: bool,
}

impl Terms {
    /// Those of a job of an NFP client, which names it in another way.
    pub(super) fn of_job(conn: usize, deadline: Option<u64>) -> Self {
        Self { conn, id: 0, deadline, attempts: None, events: true, asks: true }
    }

    pub(super) fn is_due(self, time: u64) -> bool {
        self.deadline.is_some_and(|at| at <= time)
    }

    pub(super) fn is_tried(self, deliveries: u32) -> bool {
        self.attempts.is_some_and(|most| most <= deliveries)
    }
}

/// Codes that say that a request was not accepted.
const REFUSALS: [&str; 6] =
    ["overloaded", "draining", "duplicate_id", "bad_request", "no_target", "denied"];

impl Judge {
    /// A native request is about to be given to the broker.
    pub(in super::super) fn asked_natively(
        &mut self,
        conn: usize,
        request: &Request<'_>,
        tag: Option<Tag>,
        tracked: bool,
    ) {
        self.end_turn();
        self.asking = Some((conn, request.id, false));
        let Some(tag) = tag else { return };
        self.asked(tag, request.says.service, request.says.parts(), tracked);
        let deadline = request
            .says
            .timeout()
            .map(|timeout| self.time + u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX / 2));
        let attempts = request.says.attempts.map(std::num::NonZeroU32::get);
        let (events, asks) = (request.says.events(), request.says.asks());
        let terms = Terms { conn, id: request.id, deadline, attempts, events, asks };
        if let Some(record) = self.records.get_mut(&tag) {
            record.terms = Some(terms);
        }
        self.asked_in_order(tag, request);
        self.sides.entry(conn).or_default().open.entry(request.id).or_insert(tag);
    }

    /// It has been taken, or refused; returns whether it was accepted.
    pub(in super::super) fn taken_natively(&mut self, tag: Option<Tag>) -> bool {
        self.end_requests();
        let refused = self.asking.take().is_some_and(|(_, _, refused)| refused);
        let Some(tag) = tag else { return false };
        // The refusal itself may have found no room in the outbox, and ended the caller.
        let gone = self.is_gone(tag.conn as usize);
        let idle = |record: &super::Record| record.ended.is_none() && record.deliveries == 0;
        let refused = refused || gone && self.records.get(&tag).is_some_and(idle);
        if refused {
            self.close_id(tag);
            self.refused(tag);
        }
        !refused
    }

    /// Anything else of MJP is about to be given to the broker.
    pub(in super::super) fn said_by_native(&mut self, conn: usize, said: &ToBroker<'_>) {
        self.end_turn();
        let credit_max = self.settings.mjp.credit_max;
        let draining = self.draining.contains(&conn);
        let side = self.sides.entry(conn).or_default();
        if side.gone {
            return;
        }
        if let ToBroker::Subscribe { .. } | ToBroker::Unsubscribe { .. } | ToBroker::Publish(_) =
            said
        {
            return self.said_of_topics(conn, said);
        }
        match said {
            ToBroker::Ready(says) if !says.service.starts_with(b"mmi.") => {
                let service = self.offers.entry(conn).or_insert_with(|| says.service.to_vec());
                if *service == says.service {
                    side.credit = Some(usize::from(says.credit()).min(credit_max));
                    self.draining.remove(&conn);
                }
            }
            ToBroker::Credit { credit } if !draining => {
                side.credit = side.credit.map(|_| usize::from(*credit).min(credit_max));
            }
            ToBroker::Drain => {
                side.credit = side.credit.map(|_| 0);
                if side.credit.is_some() {
                    self.draining.insert(conn);
                }
            }
            ToBroker::Bye => self.unregister(conn),
            ToBroker::Cancel { id } => {
                self.cancel_keyed(conn, *id);
                let side = self.sides.entry(conn).or_default();
                let tag = side.open.get(id).copied();
                tag.into_iter().for_each(|tag| self.cancel_scatter(tag));
                if let Some(tag) = tag
                    && let Some(record) = self.records.get_mut(&tag)
                {
                    record.cancelled = true;
                    self.cancelled.push(tag);
                }
            }
            ToBroker::Event(event) => self.happened(conn, event),
            ToBroker::Ask(ask) => self.questioned(conn, ask),
            ToBroker::Tell(tell) => self.answered_question(conn, tell),
            ToBroker::Partial(answer) => self.answered(conn, answer.id, false, false),
            ToBroker::Final(answer) => self.answered(conn, answer.id, true, false),
            ToBroker::Error(failure) => self.answered(conn, failure.id, true, true),
            _ => {}
        }
    }

    /// Something of MJP that cannot be read is about to be given to the broker. What should have
    /// been an answer ends its request: the worker believes that it has answered.
    pub(in super::super) fn unreadable(&mut self, conn: usize, rejected: &Rejected) {
        self.end_turn();
        let gone = self.sides.entry(conn).or_default().gone;
        if !gone && matches!(rejected.kind, kind::PARTIAL | kind::FINAL | kind::ERROR) {
            self.answered(conn, rejected.id, true, true);
        }
    }

    /// A worker answers what it holds, or what it does not.
    pub(super) fn answered(&mut self, conn: usize, token: u64, last: bool, error: bool) {
        let address = token.to_be_bytes().to_vec();
        let side = self.sides.entry(conn).or_default();
        if let Some(tag) = side.held.get(&address).copied() {
            if last {
                side.held.remove(&address);
            }
            self.keyed_answered((conn, &address), tag, last, error);
            self.part_answered(conn, tag, last, error);
            self.turn = self.turn_of(tag, last, error);
            if last && self.turn.is_some() {
                self.records.entry(tag).and_modify(|record| record.holder = None);
            }
        } else if let Some(tag) = self.addresses.get(&address).copied() {
            self.keyed_answered((conn, &address), tag, last, error);
            let record = self.records.get(&tag);
            let late = record.is_some_and(|r| r.holder.is_none() && r.lost_by == Some(conn));
            self.turn =
                (late && last && !error).then_some(Turn { tag, last, binding: false, error });
        }
    }

    /// What the answer of a holder brings about: nothing, if the request has ended already.
    pub(super) fn turn_of(&self, tag: Tag, last: bool, error: bool) -> Option<Turn> {
        let open = self.records.get(&tag).is_some_and(|record| record.ended.is_none());
        open.then_some(Turn { tag, last, binding: last, error })
    }

    pub(super) fn unregister(&mut self, conn: usize) {
        self.sides.entry(conn).or_default().credit = None;
        self.offers.remove(&conn);
        self.draining.remove(&conn);
        self.lose(conn);
        self.sides.entry(conn).or_default().dismissed = false;
    }

    /// The broker says something of MJP.
    pub(super) fn said_natively(&mut self, conn: usize, message: Frames<'_>) {
        let said = match FromBroker::decode(message) {
            Ok(said) => said,
            Err(error) => return self.fail(|| format!("the broker said to {conn}: {error}")),
        };
        if self.keyed_said(conn, &said) {
            return;
        }
        match said {
            FromBroker::Request(delivery) => self.delivered_natively(conn, &delivery),
            FromBroker::Cancel { id } => self.stopped(conn, id),
            FromBroker::Bye(_) => self.unregister(conn),
            FromBroker::Partial(answer) if self.told_tally(conn, &answer, true) => {}
            FromBroker::Final(answer) if self.told_tally(conn, &answer, false) => {}
            FromBroker::Partial(answer) => self.told(conn, answer.id, answer.body, true),
            FromBroker::Final(answer) => self.told(conn, answer.id, answer.body, false),
            FromBroker::Targets(targets) => self.told_targets(conn, &targets),
            FromBroker::Outcome(outcome) => self.told_outcome(conn, &outcome),
            FromBroker::Error(failure) => {
                let code = Fault::decode(failure.header).map(|fault| fault.code);
                let code = code.unwrap_or_default();
                if !self.told_of_topics(conn, failure.id, code) {
                    self.told_error(conn, failure.id, code);
                }
            }
            FromBroker::News(news) => self.told_news(conn, &news),
            FromBroker::Gap { id, says } => self.told_gap(conn, id, says.missed),
            FromBroker::Published { id, says } => {
                self.told_published(conn, id, says.subscriptions);
            }
            FromBroker::Accepted { id, .. } if self.told_subscribed(conn, id) => {}
            FromBroker::Accepted { id, .. } => {
                let asking = self.asking;
                self.demand(asking == Some((conn, id, false)), || {
                    format!("{conn} is told that {id} was accepted: {asking:?}")
                });
            }
            FromBroker::Event(event) => self.told_event(conn, &event),
            FromBroker::Note(note) => self.told_note(conn, &note),
            FromBroker::Ask(ask) => self.told_question(conn, &ask),
            FromBroker::Tell(tell) => self.told_answer(conn, &tell),
            FromBroker::Hello(_)
            | FromBroker::Flow(_)
            | FromBroker::Lane(_)
            | FromBroker::Heartbeat
            | FromBroker::Drain { .. }
            | FromBroker::Status { .. }
            | FromBroker::Lease { .. }
            | FromBroker::Group { .. }
            | FromBroker::Admin { .. } => {}
        }
    }

    fn delivered_natively(&mut self, conn: usize, delivery: &Delivery<'_>) {
        let side = self.sides.entry(conn).or_default();
        let registered = side.credit.is_some();
        self.demand(registered, || format!("{conn} is no worker and got work"));
        let Some(tag) = delivery.body.clone().next().and_then(Tag::decode) else {
            return self.fail(|| "a request without a tag was delivered".into());
        };
        let address = delivery.id.to_be_bytes().to_vec();
        self.part_given_natively(tag, delivery);
        self.delivered(conn, address, tag);
        if is_keyed(tag) {
            return self.keyed_delivered_natively(tag, delivery);
        }
        let Some(record) = self.records.get(&tag) else { return };
        let (deliveries, left) = (record.deliveries, delivery.says.timeout);
        let due = record.terms.and_then(|terms| terms.deadline);
        let expected = due.map(|due| due.saturating_sub(self.time).div_ceil(1000));
        self.demand(delivery.says.attempt.get() == deliveries, || {
            format!("{tag:?} is delivered for the {deliveries}. time as {:?}", delivery.says)
        });
        self.demand(left == expected, || format!("{tag:?} has {left:?} left, not {expected:?}"));
    }

    /// Of a request that is delivered: its caller still waits, and has not had enough of it.
    pub(super) fn check_terms(&mut self, tag: Tag) {
        let Some(record) = self.records.get(&tag) else { return };
        let Some(terms) = record.terms else { return };
        let (deliveries, time, cancelled) = (record.deliveries, self.time, record.cancelled);
        self.demand(!terms.is_due(time), || format!("{tag:?} is delivered at {time}: {terms:?}"));
        self.demand(!terms.is_tried(deliveries - 1), || {
            format!("{tag:?} is delivered for the {deliveries}. time: {terms:?}")
        });
        self.demand(!cancelled, || format!("{tag:?} was cancelled and is delivered"));
    }

    /// A worker is asked to stop.
    pub(super) fn stopped(&mut self, conn: usize, token: u64) {
        let address = token.to_be_bytes().to_vec();
        let side = self.sides.entry(conn).or_default();
        let Some(tag) = side.held.get(&address).copied() else {
            return self.fail(|| format!("{conn} is to stop {token}, which it does not have"));
        };
        if is_keyed(tag) {
            return self.keyed_stopped(tag);
        }
        if let Some(at) = self.stops_due.iter().position(|due| *due == (conn, tag)) {
            self.stops_due.swap_remove(at);
            return;
        }
        let gone = self.sides.get(&(tag.conn as usize)).is_some_and(|side| side.gone);
        self.demand(gone, || format!("{conn} is to stop {tag:?}, and nobody wanted that"));
    }

    /// A caller is told an answer, or a part of it.
    fn told(&mut self, conn: usize, id: u64, body: Frames<'_>, more: bool) {
        let frames: Vec<&[u8]> = body.collect();
        let pieces: Vec<Piece> = frames.iter().filter_map(|frame| Piece::decode(frame)).collect();
        let Some(tag) = pieces.first().map(|piece| piece.tag) else {
            let mmi = [&[&b"200"[..]][..], &[b"404"], &[b"501"]].contains(&&frames[..]);
            return self.demand(mmi, || format!("connection {conn} got {frames:?}"));
        };
        let open = self.sides.entry(conn).or_default().open.get(&id).copied();
        let turn = self.turn;
        // A babbler answers with any tag.
        let asked = turn.map(|turn| turn.tag);
        self.demand(open.is_some() && open == asked, || {
            format!("{conn} got an answer to {id}, which is {open:?}: {tag:?}, {turn:?}")
        });
        self.demand(turn.is_some_and(|turn| turn.last != more && !turn.error), || {
            format!("{open:?} was answered by somebody who does not hold it: {turn:?}")
        });
        let mine = pieces.iter().all(|piece| Some(piece.tag) == open);
        self.demand(mine, || format!("{conn} got the answer to {tag:?} for {open:?}"));
        if let Some(open) = open {
            self.count_reply(open, more);
        }
    }

    /// A caller is told an error.
    fn told_error(&mut self, conn: usize, id: u64, code: &str) {
        if id == 0 {
            return;
        }
        let open = self.sides.entry(conn).or_default().open.get(&id).copied();
        if let Some((asking, asked, refused)) = &mut self.asking
            && (*asking, *asked) == (conn, id)
            && REFUSALS.contains(&code)
        {
            let twice = std::mem::replace(refused, true);
            if code == "no_target" {
                self.told_no_target(conn, id);
            }
            return self.demand(!twice, || format!("{conn} was refused {id} twice: {code}"));
        }
        let Some(tag) = open else {
            // What was malformed, or of an unknown kind.
            let known = ["bad_request", "unsupported"].contains(&code);
            return self.demand(known, || format!("{conn} got {code} for {id}, which is closed"));
        };
        if self.scatters.has(tag) {
            let known = ["bad_request", "unsupported"].contains(&code);
            return self.demand(known, || format!("{conn} got {code} for the scatter {id}"));
        }
        let turn = self.turn;
        let Some(record) = self.records.get_mut(&tag) else { return };
        let expected = match record.ended {
            // The worker's own words, whatever they are.
            None => turn.filter(|turn| turn.tag == tag && turn.error).map(|_| code),
            Some(Outcome::WorkerLost) => Some("worker_lost"),
            Some(Outcome::Dead) => Some("poison"),
            Some(Outcome::Expired) => Some("unserved"),
            Some(Outcome::AnswerTooBig) => Some("too_big"),
            Some(Outcome::TimedOut) => Some("timeout"),
            Some(Outcome::Cancelled) => Some("cancelled"),
            Some(Outcome::Refused) => Some("bad_request"),
            Some(_) => None,
        };
        let ended = record.ended;
        if ["bad_request", "unsupported"].contains(&code) && expected.is_none() {
            return;
        }
        record.errors += 1;
        let (errors, replies) = (record.errors, record.replies);
        self.demand(expected == Some(code) && errors + replies == 1, || {
            format!("{tag:?} ended as {ended:?} and got {code}, {errors} errors, {replies} replies")
        });
    }

    /// A request has ended, perhaps while a worker has it.
    pub(super) fn end_native(&mut self, tag: Tag, holder: Option<usize>) {
        let Some(record) = self.records.get_mut(&tag) else { return };
        record.holder = None;
        if record.terms.is_some() {
            self.ended_now.push(tag);
        }
        if let Some(holder) = holder
            && self.sides.get(&holder).is_some_and(|side| side.credit.is_some())
        {
            self.stops_due.push((holder, tag));
        }
    }

    /// Its id is free again.
    fn close_id(&mut self, tag: Tag) {
        let Some(terms) = self.records.get(&tag).and_then(|record| record.terms) else { return };
        let side = self.sides.entry(terms.conn).or_default();
        if side.open.get(&terms.id) == Some(&tag) {
            side.open.remove(&terms.id);
        }
    }

    /// After a message: everybody has been told what there was to tell.
    pub(super) fn end_native_turn(&mut self) {
        for tag in std::mem::take(&mut self.cancelled) {
            let ended = self.records.get(&tag).is_none_or(|record| record.ended.is_some());
            self.demand(ended, || format!("{tag:?} was cancelled and goes on"));
        }
        let due = std::mem::take(&mut self.stops_due);
        let gone = |conn: &usize| self.sides.get(conn).is_none_or(|side| side.gone);
        let missed = due.iter().find(|(conn, _)| !gone(conn)).copied();
        self.demand(missed.is_none(), || format!("nobody asked to stop: {missed:?}"));
        for tag in std::mem::take(&mut self.ended_now) {
            self.close_id(tag);
            let Some(record) = self.records.get(&tag) else { continue };
            let gone = self.is_gone(tag.conn as usize);
            let (told, ended) = (record.replies + record.errors, record.ended);
            self.demand(told == 1 || gone, || {
                format!("{tag:?} ended as {ended:?}, and its caller heard {told} times of it")
            });
        }
    }

    /// The broker has looked at the time: nobody waits for what is over.
    pub(in super::super) fn check_deadlines(&mut self) {
        self.end_requests();
        self.check_scatter_deadlines();
        self.check_job_deadlines();
        self.check_silence();
        self.check_key_deadlines();
        self.tick_holds();
        let late = self.records.iter().find(|(_, record)| {
            let due = record.terms.is_some_and(|terms| terms.is_due(self.time));
            record.tracked && record.ended.is_none() && due
        });
        let late = late.map(|(tag, record)| format!("{tag:?}, {record:?}"));
        let time = self.time;
        self.demand(late.is_none(), || format!("at {time} this was due: {late:?}"));
    }
}
