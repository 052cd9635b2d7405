//! What must hold as seen from outside: a model of its own, fed with what is said to the broker and
//! what the broker says.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::policy::Settings;
use crate::proto::stats::Outcome;
use crate::proto::witness;
use crate::wire::codec::{Decoder, Item};
use crate::wire::mdp::{FromWorker, ToWorker, Version};
use crate::wire::message::Frames;
use crate::wire::mjp::is_mjp;
use crate::wire::nfp::is_nfp;

use super::repeater::is_keyed;
use super::tag::{Piece, Tag};

mod jobs;
mod keys;
mod native;
mod nfp;
mod parts;
mod scatter;
mod talk;
mod topics;

use jobs::Jobs;
use keys::Keys;
use native::Terms;
use scatter::Scatters;
use talk::{Asks, Talk};
use topics::Topics;

/// A request, from outside.
#[derive(Debug)]
pub(super) struct Record {
    service: Vec<u8>,
    /// The client takes an answer in parts.
    streams: bool,
    /// It is known whether it was accepted.
    tracked: bool,
    accepted_at: u64,
    settled: bool,
    /// The connection of the worker that has it, and of the one that lost it last.
    holder: Option<usize>,
    lost_by: Option<usize>,
    deliveries: u32,
    losses: u32,
    forwarded: bool,
    replies: u32,
    /// Errors that its caller was told.
    errors: u32,
    /// What a caller of MJP demands.
    terms: Option<Terms>,
    /// Its caller has said CANCEL.
    cancelled: bool,
    asks: Asks,
    pub(super) ended: Option<Outcome>,
}

/// A connection, from outside.
#[derive(Debug, Default)]
struct Side {
    /// The version in which it was spoken to as a worker.
    version: Option<Version>,
    held: BTreeMap<Vec<u8>, Tag>,
    dismissed: bool,
    left: bool,
    disconnects: u32,
    gone: bool,
    /// It had no room for something, and is about to be closed.
    full: bool,
    /// What it speaks, once it has said something valid.
    dialect: Option<Dialect>,
    /// How often it was lost as a worker.
    epoch: u32,
    /// What it may be given as a worker of MJP or NFP; none if it is none.
    credit: Option<usize>,
    /// Requests it has open as a caller of MJP, by its ids.
    open: BTreeMap<u64, Tag>,
}

/// What a connection speaks; the first valid message decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Mdp,
    Mjp,
    Nfp,
}

/// What an answer just read may bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    tag: Tag,
    last: bool,
    /// Its request has to end now.
    binding: bool,
    /// An error instead of an answer.
    error: bool,
}

#[derive(Debug)]
pub(super) struct Judge {
    settings: Settings,
    pub(super) now: u64,
    pub(super) settled: bool,
    pub(super) records: BTreeMap<Tag, Record>,
    sides: BTreeMap<usize, Side>,
    addresses: BTreeMap<Vec<u8>, Tag>,
    /// Requests of each client that wait, and how often others came first.
    overtaken: BTreeMap<(u32, Vec<u8>), BTreeMap<u32, u32>>,
    turn: Option<Turn>,
    talk: Option<Talk>,
    expired: Vec<Tag>,
    somebody_left: bool,
    /// Broker time, microseconds.
    pub(super) time: u64,
    /// A native request is being taken: its connection, id, and whether it was refused.
    asking: Option<(usize, u64, bool)>,
    /// Workers that have to be asked to stop, and for what.
    stops_due: Vec<(usize, Tag)>,
    /// Native requests that ended in this step.
    ended_now: Vec<Tag>,
    /// Requests that were to be cancelled in this step.
    cancelled: Vec<Tag>,
    /// Workers of MJP and NFP: what they offer, and those that want no more.
    offers: BTreeMap<usize, Vec<u8>>,
    draining: BTreeSet<usize>,
    scatters: Scatters,
    topics: Topics,
    nfp: nfp::Peers,
    jobs: Jobs,
    pub(super) is_draining: bool,
    /// Everybody is told to go.
    pub(super) is_over: bool,
    /// Rights change.
    pub(super) regrants: bool,
    keys: Keys,
    pub(super) accepted: u32,
    pub(super) violation: Option<String>,
}

impl Judge {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: 0,
            settled: false,
            records: BTreeMap::new(),
            sides: BTreeMap::new(),
            addresses: BTreeMap::new(),
            overtaken: BTreeMap::new(),
            turn: None,
            talk: None,
            expired: Vec::new(),
            somebody_left: false,
            time: 0,
            asking: None,
            stops_due: Vec::new(),
            ended_now: Vec::new(),
            cancelled: Vec::new(),
            offers: BTreeMap::new(),
            draining: BTreeSet::new(),
            scatters: Scatters::default(),
            topics: Topics::default(),
            nfp: nfp::Peers::default(),
            jobs: Jobs::default(),
            is_draining: false,
            is_over: false,
            regrants: false,
            keys: Keys::default(),
            accepted: 0,
            violation: None,
        }
    }

    /// Whether answers are kept for less than a run lasts.
    pub(super) fn forgets(&self) -> bool {
        self.settings.keys.kept < std::time::Duration::from_secs(600)
    }

    /// Notes what does not hold; the first one counts.
    pub(super) fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    fn demand(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(what);
        }
    }

    /// A request of a client has come; it may be delivered while it is read.
    pub(super) fn asked(&mut self, tag: Tag, service: &[u8], streams: bool, tracked: bool) {
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
            ended: None,
        });
    }

    /// Whether a connection speaks that; the first message decides.
    pub(super) fn speaks(&mut self, conn: usize, dialect: Dialect) -> bool {
        *self.sides.entry(conn).or_default().dialect.get_or_insert(dialect) == dialect
    }

    /// Memory was asked for, and there is none.
    pub(super) fn refused_memory(&mut self) {
        (self.jobs.short, self.jobs.was_short) = (true, true);
    }

    /// Whether the broker does not know the connection any more.
    pub(super) fn is_gone(&self, conn: usize) -> bool {
        self.sides.get(&conn).is_some_and(|side| side.gone)
    }

    /// It was not accepted.
    pub(super) fn refused(&mut self, tag: Tag) {
        let record = self.records.remove(&tag);
        self.demand(record.is_some_and(|r| r.deliveries == 0), || {
            format!("{tag:?} was delivered and refused")
        });
        self.drop_lanes(tag.conn);
    }

    pub(super) fn accepted(&mut self, tag: Tag) {
        self.accepted += 1;
        self.end_requests();
        if let Some(record) = self.records.get(&tag)
            && record.deliveries == 0
            && record.ended.is_none()
        {
            let lane = (tag.conn, record.service.clone());
            self.overtaken.entry(lane).or_default();
        }
    }

    /// A worker's command is about to be given to the broker.
    pub(super) fn commanded(&mut self, conn: usize, version: Version, command: &FromWorker<'_>) {
        self.end_turn();
        let side = self.sides.entry(conn).or_default();
        let (answer, last) = match command {
            FromWorker::Final(answer) => (answer, true),
            FromWorker::Partial(answer) => (answer, false),
            FromWorker::Ready { .. } => {
                side.version.get_or_insert(version);
                return;
            }
            FromWorker::Disconnect if side.version.is_none_or(|own| own == version) => {
                side.left = true;
                return self.lose(conn);
            }
            _ => return,
        };
        if let Some(tag) = side.held.get(answer.address).copied() {
            if side.version == Some(version) {
                if last {
                    side.held.remove(answer.address);
                }
                self.keyed_answered((conn, answer.address), tag, last, false);
                self.part_answered(conn, tag, last, false);
                self.turn = self.turn_of(tag, last, false);
                if last && self.turn.is_some() {
                    self.records.entry(tag).and_modify(|record| record.holder = None);
                }
            }
        } else if let Some(tag) = self.addresses.get(answer.address).copied() {
            self.keyed_answered((conn, answer.address), tag, last, false);
            let record = self.records.get(&tag);
            let late = record.is_some_and(|r| r.holder.is_none() && r.lost_by == Some(conn));
            self.turn = (late && last).then_some(Turn { tag, last, binding: false, error: false });
        }
    }

    /// The peer is none any more for the broker: it has gone, or is being closed.
    pub(super) fn lost(&mut self, conn: usize) {
        self.lose(conn);
        self.topics.lost(conn);
        self.keys.leave(conn, self.asking);
        self.sides.entry(conn).or_default().gone = true;
        self.nfp.forget(conn);
        self.somebody_left = true;
    }

    /// What a worker held waits again.
    fn lose(&mut self, conn: usize) {
        self.scatters.lose(conn);
        self.lose_parts(conn);
        self.keys.lose(conn);
        let side = self.sides.entry(conn).or_default();
        side.dismissed = true;
        for tag in std::mem::take(&mut side.held).into_values() {
            let record = self.records.get_mut(&tag).filter(|record| record.ended.is_none());
            if let Some(record) = record {
                record.holder = None;
                record.lost_by = Some(conn);
                record.losses += 1;
                record.asks.lose();
            }
        }
    }

    /// The broker says a message to a peer.
    pub(super) fn said(&mut self, conn: usize, octets: &[u8]) {
        let mut decoder = Decoder::new(crate::wire::Limits::default());
        let mut rest = octets;
        let message = match decoder.next(&mut rest) {
            Ok(Some(Item::Message(message))) => message,
            other => return self.fail(|| format!("the broker said {other:?}")),
        };
        self.end_requests();
        if is_mjp(message) {
            self.said_natively(conn, message);
            return self.demand(rest.is_empty(), || "the broker said more than one message".into());
        }
        if is_nfp(message) {
            self.said_in_nfp(conn, message);
            return self.demand(rest.is_empty(), || "the broker said more than one message".into());
        }
        match ToWorker::decode(message) {
            Ok((version, command)) => self.said_to_worker(conn, version, command),
            Err(_) => self.said_to_client(conn, message),
        }
        self.demand(rest.is_empty(), || "the broker said more than one message".into());
    }

    /// The broker would say a message to a peer that does not read, and is closed for it.
    pub(super) fn unheard(&mut self, conn: usize, octets: &[u8]) {
        let mut decoder = Decoder::new(crate::wire::Limits::default());
        if let Ok(Some(Item::Message(message))) = decoder.next(&mut &octets[..])
            && is_nfp(message)
        {
            self.end_requests();
            self.said_in_nfp(conn, message);
        }
        self.sides.entry(conn).or_default().full = true;
    }

    fn said_to_worker(&mut self, conn: usize, version: Version, command: ToWorker<'_>) {
        let side = self.sides.entry(conn).or_default();
        if matches!(command, ToWorker::Disconnect) {
            side.disconnects += 1;
            let (count, left) = (side.disconnects, side.left);
            self.demand(count <= 2 && !left, || {
                format!("connection {conn} got DISCONNECT for the {count}. time, left: {left}")
            });
            return self.lose(conn);
        }
        let over = side.dismissed || side.left;
        self.demand(!over, || format!("dismissed connection {conn} got {command:?}"));
        if let ToWorker::Request(request) = command {
            let side = self.sides.entry(conn).or_default();
            side.version = Some(version);
            let Some(tag) = request.body.clone().next().and_then(Tag::decode) else {
                return self.fail(|| "a request without a tag was delivered".into());
            };
            self.delivered(conn, request.address.to_vec(), tag);
        }
    }

    fn delivered(&mut self, conn: usize, address: Vec<u8>, tag: Tag) {
        if self.scatters.has(tag) {
            return self.part_given(conn, address, tag);
        }
        if self.jobs.has(tag) {
            return self.stand_in_given(conn, address, tag);
        }
        if is_keyed(tag) {
            return self.keyed_delivered(conn, address, tag);
        }
        let Some(record) = self.records.get_mut(&tag) else {
            return self.fail(|| format!("{tag:?} was delivered and never asked"));
        };
        let policy = self.settings.policy_of(&record.service).clone();
        let service = record.service.clone();
        let (ended, holder) = (record.ended, record.holder.replace(conn));
        let (deliveries, forwarded, losses) = (record.deliveries, record.forwarded, record.losses);
        record.deliveries += 1;
        let side = self.sides.entry(conn).or_default();
        side.held.insert(address.clone(), tag);
        let (held, side_credit) = (side.held.len(), side.credit);
        self.addresses.insert(address, tag);
        self.demand(ended.is_none(), || format!("{tag:?} ended as {ended:?} and is delivered"));
        self.demand(holder.is_none(), || format!("{tag:?} goes to {conn} and is at {holder:?}"));
        let credit = side_credit.unwrap_or(policy.prefetch as usize);
        self.demand(held <= credit, || {
            format!("connection {conn} holds {held}, its credit is {credit}")
        });
        self.check_terms(tag);
        self.demand(deliveries == 0 || !policy.at_most_once, || {
            format!("{tag:?} is delivered again, which its service forbids")
        });
        self.demand(!forwarded || policy.resend_after_partial, || {
            format!("{tag:?} is delivered again after a PARTIAL")
        });
        self.demand(deliveries < 2 + policy.attempts, || {
            format!("{tag:?} is delivered more than {deliveries} times")
        });
        self.demand(losses < 2 || held == 1, || format!("suspect {tag:?} is not alone"));
        let alone = self.sides.get(&conn).is_some_and(|side| {
            let losses = |t: &Tag| self.records.get(t).map_or(0, |record| record.losses);
            let suspect = |t: &&Tag| **t != tag && losses(t) >= 2;
            !side.held.values().any(|t| suspect(&t))
        });
        self.demand(alone, || format!("{tag:?} goes to {conn}, which has a suspect"));
        if losses < 2 {
            self.check_turn(tag, &service, losses == 0);
        }
    }

    /// Acceptance order for each client and service; clients take turns.
    fn check_turn(&mut self, tag: Tag, service: &[u8], fresh: bool) {
        let older = self.waiting(tag.conn, service).next().filter(|older| *older < tag);
        self.demand(older.is_none(), || format!("{tag:?} is delivered before {older:?}"));
        let more = self.waiting(tag.conn, service).next().is_some();
        let lane = (tag.conn, service.to_vec());
        self.overtaken.remove(&lane);
        if more {
            self.overtaken.insert(lane, BTreeMap::new());
        }
        if !fresh {
            return;
        }
        for ((conn, other), overtaken) in &mut self.overtaken {
            if *conn != tag.conn && other == service {
                let times = overtaken.entry(tag.conn).or_default();
                *times += 1;
                if *times > 2 && self.violation.is_none() {
                    self.violation = Some(format!("{tag:?} is served before {conn} {times} times"));
                }
            }
        }
    }

    /// The requests that were asked on a connection and wait, suspects apart, oldest first.
    fn waiting<'a>(&'a self, conn: u32, service: &'a [u8]) -> impl Iterator<Item = Tag> + 'a {
        let waits = move |record: &Record| {
            record.tracked
                && record.holder.is_none()
                && record.ended.is_none()
                && record.losses < 2
                && record.service == service
        };
        let mine =
            self.records.iter().filter(move |(tag, record)| tag.conn == conn && waits(record));
        mine.map(|(tag, _)| *tag)
    }

    fn said_to_client(&mut self, conn: usize, message: Frames<'_>) {
        let frames: Vec<&[u8]> = message.collect();
        let more = frames.windows(2).any(|pair| pair == [&b"MDPC02"[..], &[2]]);
        let pieces: Vec<Piece> = frames.iter().filter_map(|frame| Piece::decode(frame)).collect();
        let Some(tag) = pieces.first().map(|piece| piece.tag) else {
            let mmi = frames.iter().any(|frame| frame.starts_with(b"mmi."));
            return self.demand(mmi, || format!("connection {conn} got {frames:?}"));
        };
        let mine = tag.conn as usize == conn && pieces.iter().all(|piece| piece.tag == tag);
        self.demand(mine, || format!("connection {conn} got the answer to {tag:?}"));
        let turn = self.turn;
        self.demand(turn.is_some_and(|t| t.tag == tag && t.last != more && !t.error), || {
            format!("{tag:?} was answered by somebody who does not hold it: {turn:?}")
        });
        self.count_reply(tag, more);
    }

    /// A caller was told a part of an answer, or the rest of it.
    fn count_reply(&mut self, tag: Tag, more: bool) {
        let Some(record) = self.records.get_mut(&tag) else { return };
        record.forwarded |= more;
        record.replies += u32::from(!more);
        let (replies, ended) = (record.replies, record.ended);
        self.demand(replies <= 1 && ended.is_none(), || {
            format!("{tag:?} was answered {replies} times, ended: {ended:?}")
        });
    }

    /// Takes note of the requests that have ended.
    fn end_requests(&mut self) {
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

    fn check_outcome(&mut self, tag: Tag, outcome: Outcome) {
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
            Outcome::Refused => record.service == super::plan::MIXED.as_bytes(),
            Outcome::Dead => record.losses == 2 + policy.attempts,
            Outcome::Expired => {
                policy.unserved_ttl.is_some_and(|ttl| u128::from(waited) >= ttl.as_micros())
            }
        };
        let served = super::plan::SERVED.iter().any(|name| name.as_bytes() == record.service);
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

    /// Forgets the turns of a client that waits for nothing.
    fn drop_lanes(&mut self, conn: u32) {
        let lanes = self.overtaken.keys().filter(|(other, _)| *other == conn);
        let empty = lanes.filter(|(conn, service)| self.waiting(*conn, service).next().is_none());
        for lane in empty.cloned().collect::<Vec<_>>() {
            self.overtaken.remove(&lane);
        }
    }

    /// A message has been dealt with.
    pub(super) fn end_turn(&mut self) {
        self.end_requests();
        if let Some(turn) = self.turn.take().filter(|turn| turn.binding) {
            let ended = self.records.get(&turn.tag).is_some_and(|record| record.ended.is_some());
            self.demand(ended, || format!("{:?} was answered and goes on", turn.tag));
        }
        self.end_talk();
        self.end_native_turn();
        self.end_scatter_turn();
        self.end_nfp_turn();
        self.end_parts_turn();
        self.end_asking();
        self.end_keyed_turn();
    }

    /// After an input has been dealt with.
    pub(super) fn step(&mut self, is_served: impl Fn(&[u8]) -> bool) {
        self.end_requests();
        for tag in std::mem::take(&mut self.expired) {
            let served = is_served(&self.records[&tag].service);
            self.demand(!served, || format!("{tag:?} expired though it has workers"));
        }
        self.end_turn();
        if !std::mem::take(&mut self.somebody_left) {
            return;
        }
        let orphan = self.records.iter().find(|(tag, record)| {
            let gone = self.sides.get(&(tag.conn as usize)).is_some_and(|side| side.gone);
            gone && record.tracked && record.ended.is_none() && record.holder.is_none()
        });
        let orphan = orphan.map(|(tag, _)| *tag);
        self.demand(orphan.is_none(), || format!("{orphan:?} waits, and its client has gone"));
    }

    /// The end of a run.
    ///
    /// # Errors
    /// A request has no end.
    pub(super) fn close(&self) -> Result<(), String> {
        self.close_scatters()?;
        self.close_jobs()?;
        self.close_keys()?;
        let open = self.records.iter().find(|(_, r)| r.tracked && r.ended.is_none());
        open.map_or(Ok(()), |(tag, _)| Err(format!("{tag:?} was accepted and has no end")))
    }

    /// Whether there is any job of NFP.
    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs.known.is_empty()
    }

    /// The address of something that somebody holds.
    pub(super) fn gossip(&self, rng: &mut super::rng::Rng) -> Option<(Vec<u8>, Tag)> {
        let held = self.sides.values().flat_map(|side| &side.held);
        let known: Vec<_> = match rng.one_in(4) {
            true => self.addresses.iter().collect(),
            false => held.collect(),
        };
        if known.is_empty() {
            return None;
        }
        let (address, tag) = known[rng.index(known.len())];
        Some((address.clone(), *tag))
    }
}
