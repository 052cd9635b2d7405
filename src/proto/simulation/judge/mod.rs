//! What must hold as seen from outside: a model of its own, fed with what is said to the broker and
//! what the broker says.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::policy::Settings;
use crate::wire::codec::{Decoder, Item};
use crate::wire::mdp::ToWorker;
use crate::wire::mjp::is_mjp;
use crate::wire::nfp::is_nfp;

use super::tag::Tag;

mod flow;
mod jobs;
mod keys;
mod lane;
mod majordomo;
mod native;
mod nfp;
mod orders;
mod parts;
mod put;
mod queued;
mod record;
mod scatter;
mod side;
mod stand_in;
mod talk;
mod topics;

use flow::Flows;
use jobs::Jobs;
use keys::Keys;
use orders::Orders;
use record::Record;
use scatter::Scatters;
pub(super) use side::Dialect;
use side::Side;
use talk::Talk;
use topics::Topics;

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
    orders: Orders,
    pub(super) flows: Flows,
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
            orders: Orders::default(),
            flows: Flows::default(),
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

    /// Memory was asked for, and there is none.
    pub(super) fn refused_memory(&mut self) {
        (self.jobs.short, self.jobs.was_short) = (true, true);
    }

    /// The broker says a message to a peer.
    pub(super) fn said(&mut self, conn: usize, octets: &[u8]) {
        let mut decoder = Decoder::new(crate::wire::Limits::default());
        let mut rest = octets;
        let message = match decoder.next(&mut rest) {
            Ok(Some(Item::Message(message))) => message,
            other => return self.fail(|| format!("the broker said {other:?}")),
        };
        if self.flows.has(conn) {
            return self.flows.sent(conn, octets);
        }
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
        if self.flows.has(conn) {
            return;
        }
        // A question that finds no room is not asked, and its client stays.
        if matches!(self.talk, Some(Talk::Ask { .. })) {
            return;
        }
        self.sides.entry(conn).or_default().full = true;
        let mut decoder = Decoder::new(crate::wire::Limits::default());
        if let Ok(Some(Item::Message(message))) = decoder.next(&mut &octets[..])
            && is_nfp(message)
        {
            self.end_requests();
            self.said_in_nfp(conn, message);
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
        self.let_go();
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
