//! Requests of level disk: accepted when they are stored, kept until they have an outcome, and that
//! kept for who asks again (SPEC 15.6).
//!
//! A request is asked like any other: it is offered to the routing tables, where it waits among
//! those of its service. So many of a service may be there at a time; the others are a range of keys
//! on the disk, and nothing in memory but their keys, if they have one. What becomes of a request is
//! stored before anybody is told; see [`durable`].
//!
//! ```text
//! Storing -> on the disk only -> Read -> [Marking] -> Asked -> ending -> outcome, if it has a key
//!    |             ^              ^                     |
//!    |             '--------------|---------------------' not carried out now
//!    '----------------------------' if there is room
//! ```
//!
//! A request that ends without an answer may become a dead letter in the same step (SPEC 16.2).
//!
//! [`durable`]: super::durable

mod apart;
mod bury;
mod callers;
mod deed;
mod disk;
mod entry;
mod held;
mod letter;
mod line;
mod names;
mod outcomes;
mod record;
mod sweep;
mod waiters;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::id::{PeerId, ServiceName};
use crate::wire::message::Message;
use crate::wire::mjp::{StoreReport, StoreState};

use super::clock::Time;
use super::dead::Letter;
use super::dialect::{Asker, Terms, Tried};
use super::durable::Order;
use super::keys::Kept;
use super::ledger::Ledger;
use super::policy::Settings;
use super::router::{Fence, Hasher};
use super::stats::Outcome;
use super::titanic::RecordError;

use apart::Apart;
pub(crate) use bury::{Burial, Deceased, Remains};
pub(crate) use callers::{Cancel, Deposit};
use deed::{Deed, Ending, Errand};
use entry::Entry;
pub(crate) use held::Held;
pub(crate) use letter::{Record, SeenThen};
use line::Line;
use names::{Names, Standing};
use outcomes::Outcomes;
#[cfg(feature = "fuzzing")]
pub(crate) use record::reread;
pub use record::{APART, LETTERS, MARKS, OUTCOMES, REQUESTS};
pub(crate) use record::{Head, Mark, Name};
use record::{
    Hold, OutcomeHead, key_of, lane_key, lane_of, mark_key, number_in, outcome_key, request_key,
};
use sweep::Sweep;
pub(crate) use waiters::Waiter;
use waiters::Waiters;

/// Batches that are not stored; then requests are refused.
const UNSTORED_MAX: usize = 8192;
/// Octets of those.
const UNSTORED_BYTES_MAX: usize = 64 << 20;
/// Outcomes that are being read; then repeats are refused.
const LOADS_MAX: usize = 1024;
/// Requests read from the disk at a time, and octets of them.
const READ_MAX: (usize, usize) = (512, 4 << 20);

/// What may be kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepotLimits {
    /// Requests without an outcome. Default 1,000,000.
    pub requests_max: usize,
    /// Octets of them. Default 4 GiB.
    pub bytes_max: u64,
    /// Requests of one service that are in memory; the others are on the disk only. Default 10,000.
    pub in_memory_max: usize,
    /// How long a request may take that does not say. Default 24 h.
    pub waits: Duration,
    /// Outcomes. Default 100,000.
    pub outcomes_max: usize,
    /// Octets of them; one is kept in any case. Default 1 GiB.
    pub outcomes_bytes_max: u64,
    /// How long an outcome is kept. Default 24 h.
    pub outcomes_kept: Duration,
}

impl Default for DepotLimits {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            requests_max: 1_000_000,
            bytes_max: 4 << 30,
            in_memory_max: 10_000,
            waits: day,
            outcomes_max: 100_000,
            outcomes_bytes_max: 1 << 30,
            outcomes_kept: day,
        }
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DepotStats {
    /// Requests stored and said to be.
    pub accepted: u64,
    /// Requests not taken: too many, no room, or a broken disk.
    pub refused: u64,
    /// Requests that have ended, which is stored.
    pub ended: u64,
    /// Repeats that got an outcome that was kept.
    pub replayed: u64,
    /// Outcomes forgotten before their time, to make room.
    pub evicted: u64,
    /// Requests that were not found where they should be.
    pub missing: u64,
    /// Dead letters for which there was no room.
    pub unburied: u64,
}

/// Why a request is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A limit is reached, or the disk has to catch up.
    Overloaded,
    /// The disk is full.
    Full,
    /// The disk has failed.
    Failed,
}

/// What is to be done after something has been stored or read.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Say ACCEPTED.
    Accepted(Waiter),
    /// Say why a request is not kept.
    Refuse(Waiter, Refused),
    /// Say how a request ended: what was said, or the outcome and the epoch.
    Tell(Waiter, Arc<Told>),
    /// Have the request asked.
    Offer(u64),
    /// See whether more of the service can be asked.
    Wake(ServiceName),
    /// See whether the time of others on the disk is over.
    Sweep,
    /// One of that order, or of any, has ended: others of it may have become the first.
    MovedUp(ServiceName, Option<Arc<[u8]>>),
    /// A dead letter is stored.
    Bury(Box<Letter>),
    /// A dead letter was read for a change of that number, or cannot be.
    Read(u64, Option<Bytes>),
    /// Something of a change of that number is stored, or never is.
    Changed(u64, bool),
}

/// How a request ended, for who waits.
#[derive(Debug)]
pub(crate) enum Told {
    /// As somebody has said.
    Said(Kept),
    /// As the broker says.
    Outcome(Outcome, Option<u64>),
}

/// A request as it is asked.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) service: ServiceName,
    pub(crate) asker: Asker,
    pub(crate) terms: Terms,
    pub(crate) tried: Tried,
    pub(crate) fence: Option<Box<Fence>>,
    pub(crate) order: Option<Arc<[u8]>>,
    /// Its header, and its body.
    pub(crate) kept: Message,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    New,
    /// It has no outcome.
    Running(u64),
    /// It has one.
    Done(u64),
    /// Something else was asked.
    Other,
}

/// Where a moment of broker time is on the clocks of people.
#[derive(Debug, Clone, Copy)]
struct Wall {
    at: Time,
    /// ms since 1970.
    unix: u64,
}

/// The requests that are kept.
#[derive(Debug)]
pub struct Depot {
    limits: DepotLimits,
    wall: Wall,
    /// Requests that are in memory.
    entries: HashMap<u64, Entry, Hasher>,
    lines: BTreeMap<ServiceName, Line>,
    /// The time of the next one that is delayed, of each service that has any.
    dues: BTreeSet<(u64, ServiceName)>,
    /// From when on one of a service may be late that is nowhere but on the disk, of each that has
    /// any; and how far these were looked at.
    lates: BTreeSet<(u64, ServiceName)>,
    sweep: Sweep,
    /// Requests that stand apart, and those of them that are being read.
    apart: usize,
    fetching: usize,
    hasher: Hasher,
    names: Names,
    waiters: Waiters,
    outcomes: Outcomes,
    /// What is noted of requests without an outcome.
    marks: BTreeMap<u64, Mark>,
    /// Requests that have ended, which is not stored.
    ending: BTreeSet<u64>,
    sequence: u64,
    ledger: Ledger<Deed, Errand>,
    /// Requests without a stored outcome, and octets of them on the disk.
    requests: usize,
    bytes: u64,
    /// Octets of headers and bodies in memory.
    held: usize,
    full: bool,
    failed: bool,
    stats: DepotStats,
    /// What operators have decided.
    settings: Arc<Settings>,
    /// What was found when the broker began: requests that may have begun and may not again, and
    /// dead letters.
    begun: Vec<(u64, Bytes)>,
    found: Vec<Letter>,
}

impl Depot {
    /// An empty table; `unix` is the time in ms since 1970 at the beginning of broker time.
    #[must_use]
    pub fn new(limits: DepotLimits, seed: u64, unix: u64) -> Self {
        let hasher = Hasher::with_seed(seed, foldhash::SharedSeed::global_fixed());
        Self {
            limits,
            wall: Wall { at: Time::default(), unix },
            entries: HashMap::with_hasher(hasher.clone()),
            lines: BTreeMap::new(),
            dues: BTreeSet::new(),
            lates: BTreeSet::new(),
            sweep: Sweep::default(),
            apart: 0,
            fetching: 0,
            names: Names::new(hasher.clone()),
            waiters: Waiters::new(hasher.clone()),
            hasher,
            outcomes: Outcomes::default(),
            marks: BTreeMap::new(),
            ending: BTreeSet::new(),
            sequence: 0,
            ledger: Ledger::default(),
            requests: 0,
            bytes: 0,
            held: 0,
            full: false,
            failed: false,
            stats: DepotStats::default(),
            settings: Arc::default(),
            begun: Vec::new(),
            found: Vec::new(),
        }
    }

    /// A record that was kept: to be called for each before the table is used, first for those of
    /// [`MARKS`], then for the others; of each kind in the order of the keys.
    ///
    /// # Errors
    /// The record is none of ours.
    pub fn recover(&mut self, key: &[u8], value: &[u8]) -> Result<(), RecordError> {
        let number = number_in(key)?;
        self.sequence = self.sequence.max(number);
        let bytes = value.len() as u64;
        match key.first() {
            Some(&MARKS) => {
                self.marks.insert(number, Mark::decode(value)?);
            }
            Some(&OUTCOMES) => {
                let (head, _) = OutcomeHead::decode(value)?;
                self.names.insert(&head.name, number);
                self.outcomes.insert(number, head.ended, head.name, bytes);
            }
            Some(&LETTERS) => self.recover_letter(number, value)?,
            space => {
                let (mut head, _) = Head::decode(value)?;
                if head.hold.is_some() != (space == Some(&APART)) {
                    return Err(RecordError::Malformed);
                }
                self.adjust(&mut head);
                self.requests += 1;
                self.bytes += bytes;
                let Head { service, name, hold, until, .. } = head;
                self.note_until(&service, until);
                if let Some(name) = &name {
                    self.names.insert(name, number);
                }
                if let Some(hold) = &hold {
                    self.set_apart((self.wall.unix, &service), number, hold);
                    self.lay_apart(&service, number, hold);
                } else {
                    self.line_of(&service).lay_down(number);
                }
                if self.marks.get(&number).is_some_and(|mark| mark.begun) {
                    // It may have been carried out, and may not be again.
                    self.begun.push((number, Bytes::copy_from_slice(value)));
                }
            }
        }
        Ok(())
    }

    /// What is known of a key.
    pub(crate) fn look(&self, name: &Name) -> Known {
        match self.names.look(name) {
            Standing::New => Known::New,
            Standing::Other => Known::Other,
            Standing::Same(number) if self.outcomes.contains(number) => Known::Done(number),
            Standing::Same(number) => Known::Running(number),
        }
    }

    /// Who waits for a request.
    pub(crate) fn waiting_for(&self, number: u64) -> usize {
        self.waiters.of(number).len()
    }

    /// Reads an outcome for who asks again.
    pub(crate) fn replay(&mut self, number: u64, waiter: Waiter) {
        self.stats.replayed += 1;
        self.ledger.load(outcome_key(number), Errand::Outcome(number, waiter));
    }

    /// Whether the caller waits for something that it calls so.
    pub(crate) fn is_open(&self, peer: PeerId, id: u64) -> bool {
        self.waiters.named(peer, id).is_some()
    }

    /// For how many requests a caller waits.
    pub(crate) fn open_of(&self, peer: PeerId) -> usize {
        self.waiters.count_of(peer)
    }

    /// A caller has gone. Its requests go on.
    pub(crate) fn leave(&mut self, peer: PeerId) {
        self.waiters.leave(peer);
    }

    /// When somebody's time is up.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.waiters.next_due().into_iter().chain(self.next_hold()).min()
    }

    /// Requests without a stored outcome, and octets of them.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        (self.requests, self.bytes)
    }

    /// Those of them that are in memory.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        self.entries.len()
    }

    /// Outcomes that are kept, and octets of them.
    #[must_use]
    pub fn kept(&self) -> (usize, u64) {
        (self.outcomes.len(), self.outcomes.bytes())
    }

    /// How it is, for who asks.
    pub(crate) fn report(&self) -> StoreReport {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let state = match (self.failed, self.full) {
            (true, _) => StoreState::Failed,
            (false, true) => StoreState::Full,
            (false, false) => StoreState::Ok,
        };
        StoreReport {
            requests: count(self.requests),
            bytes: self.bytes,
            in_memory: count(self.entries.len()),
            outcomes: count(self.outcomes.len()),
            outcomes_bytes: self.outcomes.bytes(),
            state,
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> &DepotStats {
        &self.stats
    }

    /// Memory that the table takes, octets.
    pub(crate) fn memory(&self) -> usize {
        self.entries.len() * Entry::COST
            + self.held
            + self.ledger.bytes()
            + self.names.len() * Names::COST
            + self.outcomes.len() * Outcomes::COST
            + self.waiters.len() * Waiters::COST
            + self.apart * Apart::COST
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.ledger.len() >= UNSTORED_MAX
            || self.ledger.bytes() >= UNSTORED_BYTES_MAX
            || self.ledger.loads_len().saturating_sub(self.fetching) >= LOADS_MAX
    }

    /// Whether all that was ordered is done.
    pub(crate) fn is_quiet(&self) -> bool {
        self.failed || self.ledger.len() == 0 && self.ledger.loads_len() == 0
    }

    pub(crate) fn has_orders(&self) -> bool {
        self.ledger.has_orders()
    }

    pub(crate) fn take_orders(&mut self) -> Vec<Order> {
        self.ledger.take_orders()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.waiters.peers()
    }

    fn unix(&self, now: Time) -> u64 {
        self.wall.unix.saturating_add(millis(now.since(self.wall.at)))
    }

    /// The next millisecond, unless one begins.
    fn unix_above(&self, now: Time) -> u64 {
        let span = now.since(self.wall.at);
        let whole = millis(span);
        let more = u64::from(span > Duration::from_millis(whole));
        self.wall.unix.saturating_add(whole).saturating_add(more)
    }

    fn line_of(&mut self, service: &ServiceName) -> &mut Line {
        self.lines.entry(service.clone()).or_insert_with(|| Line::new(lane_of(service)))
    }

    /// A request is not on the disk only any more.
    fn lift(&mut self, service: &ServiceName, number: u64, hold: Option<&Hold>) {
        let Some(line) = self.lines.get_mut(service) else { return };
        if hold.is_some() {
            line.apart.lift(number);
        } else {
            line.behind = line.behind.saturating_sub(1);
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
