//! Titanic (RFC 9): requests that are kept on a disk until they are answered, and their answers
//! until they are fetched and closed, or their time is over (SPEC 15).
//!
//! The table knows of each what it is and how far it has come; the bodies are on the disk. It
//! orders of the disk what is to be kept and acts when that is stored; see [`durable`].
//!
//! [`durable`]: super::durable

mod deed;
mod disk;
mod entry;
mod record;
mod uuid;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use hashbrown::HashMap;

use crate::id::{Principal, RequestId, ServiceName};
use crate::wire::message::{Frames, Message};

use super::clock::Time;
use super::dead::Letter;
use super::depot::Burial;
use super::dialect::{Asker, Tried};
use super::durable::{Order, Write};
use super::ledger::Ledger;
use super::router::Hasher;
use super::stats::Outcome;

pub(crate) use deed::Waiter;
use deed::{Deed, Errand};
use entry::{Entry, Stage};
pub(in crate::proto) use record::NUMBER_MAX;
pub use record::{ANSWERS, BODIES, HEADS, RecordError, companion};
use record::{Head, Progress, answer_key, body_key, encode_body, head_key, uuid_in};
use uuid::Mint;
pub use uuid::Uuid;

/// Accepts a request, and gives its UUID.
pub(crate) const REQUEST: &[u8] = b"titanic.request";
/// Gives the answer to a request.
pub(crate) const REPLY: &[u8] = b"titanic.reply";
/// Forgets a request.
pub(crate) const CLOSE: &[u8] = b"titanic.close";

/// Requests of one service that are among its waiting ones or at its workers.
const ASKED_MAX: usize = 256;
/// Batches that are not stored; then clients are not read.
const UNSTORED_MAX: usize = 4096;
/// Octets of those.
const UNSTORED_BYTES_MAX: usize = 32 << 20;
/// Bodies that are being read from the disk; then clients are not read.
const LOADS_MAX: usize = 256;

/// What may be kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TitanicLimits {
    /// Requests, answered ones too. Default 100,000.
    pub requests_max: usize,
    /// Octets of their bodies and those of their answers. Default 1 GiB.
    pub bytes_max: u64,
    /// Octets of bodies that wait in memory; others are read when they are needed. Default 16 MiB.
    pub window_bytes_max: usize,
    /// How long a request is kept after it was answered, or accepted if it was not. Default 24 h.
    pub kept: Duration,
}

impl Default for TitanicLimits {
    fn default() -> Self {
        Self {
            requests_max: 100_000,
            bytes_max: 1 << 30,
            window_bytes_max: 16 << 20,
            kept: Duration::from_secs(24 * 3600),
        }
    }
}

/// A status of RFC 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    Pending,
    /// There is no such request, or the client may not ask for it.
    Unknown,
    /// The broker cannot do it.
    Error,
}

impl Status {
    pub(crate) fn octets(self) -> &'static [u8] {
        match self {
            Self::Ok => b"200",
            Self::Pending => b"300",
            Self::Unknown => b"400",
            Self::Error => b"500",
        }
    }
}

/// What is to be done after the disk has done something.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Say a status, with a UUID or the body of an answer.
    Say(Box<Waiter>, Status, Message),
    /// See whether the service takes more.
    Wake(ServiceName),
    /// Have the request asked.
    Offer(Uuid),
    /// Its dead letter is stored.
    Bury(Box<Letter>),
    /// It ends, and that is its body for a dead letter.
    Lost(Uuid, Message),
}

/// What to do next for a service.
#[derive(Debug)]
pub(crate) enum Next {
    /// Have this request asked.
    Offer(Uuid),
    /// The disk has to do something first.
    Disk,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TitanicStats {
    /// Requests stored and said to be.
    pub accepted: u64,
    /// Requests not taken: too many, no room, or a broken disk.
    pub refused: u64,
    /// Answers stored.
    pub answered: u64,
    /// Requests that ended without an answer.
    pub failed: u64,
    /// Requests that their clients have closed.
    pub closed: u64,
    /// Requests of which the time was over.
    pub forgotten: u64,
}

/// The requests of one service that have no answer.
#[derive(Debug, Default)]
struct Backlog {
    /// In the order of acceptance.
    waiting: BTreeMap<u64, Uuid>,
    /// On their way to a worker, or there.
    asked: usize,
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
pub struct Titanic {
    limits: TitanicLimits,
    mint: Mint,
    wall: Wall,
    entries: HashMap<Uuid, Entry, Hasher>,
    backlogs: BTreeMap<ServiceName, Backlog>,
    /// When each is to be forgotten.
    due: BTreeSet<(u64, Uuid)>,
    sequence: u64,
    ledger: Ledger<Deed, Errand>,
    /// Octets on the disk.
    bytes: u64,
    /// Octets of bodies in memory.
    window: usize,
    full: bool,
    failed: bool,
    /// Found at the start: they may have begun, and may not again.
    begun: Vec<Uuid>,
    stats: TitanicStats,
}

impl Titanic {
    /// An empty table. Nobody else may know the secret, and no two may have the same; `unix` is the
    /// time in ms since 1970 at the beginning of broker time.
    #[must_use]
    pub fn new(limits: TitanicLimits, secret: [u8; 32], unix: u64) -> Self {
        let seed = secret.first_chunk().map_or(0, |seed| u64::from_be_bytes(*seed));
        let hasher = Hasher::with_seed(seed, foldhash::SharedSeed::global_fixed());
        Self {
            limits,
            mint: Mint::new(secret),
            wall: Wall { at: Time::default(), unix },
            entries: HashMap::with_hasher(hasher),
            backlogs: BTreeMap::new(),
            due: BTreeSet::new(),
            sequence: 0,
            ledger: Ledger::default(),
            bytes: 0,
            window: 0,
            full: false,
            failed: false,
            begun: Vec::new(),
            stats: TitanicStats::default(),
        }
    }

    /// A head that was kept, by its key: to be called for each before the table is used.
    ///
    /// # Errors
    /// The record is none of ours.
    pub fn recover(&mut self, key: &[u8], value: &[u8]) -> Result<(), RecordError> {
        let uuid = uuid_in(key)?;
        let entry = Entry::recovered(Head::decode(value)?);
        self.sequence = self.sequence.max(entry.head.sequence);
        self.insert(uuid, entry);
        match self.entries.get(&uuid).map(|entry| entry.stage) {
            Some(Stage::Waiting) => self.wait(uuid),
            Some(Stage::Ending) => self.begun.push(uuid),
            _ => {}
        }
        Ok(())
    }

    /// A request is to be kept.
    pub(crate) fn accept(
        &mut self,
        now: Time,
        (owner, asker): (Principal, Asker),
        service: ServiceName,
        body: Frames<'_>,
        waiter: Box<Waiter>,
    ) -> Result<(), Box<Waiter>> {
        let value = encode_body(body);
        let request_bytes = value.len() as u64;
        let has_room = self.entries.len() < self.limits.requests_max
            && self.bytes.saturating_add(request_bytes) <= self.limits.bytes_max;
        if self.full || self.failed || !has_room {
            self.stats.refused += 1;
            return Err(waiter);
        }
        let uuid = self.mint.next();
        self.sequence += 1;
        let head = Head {
            progress: Progress::Waiting,
            sequence: self.sequence,
            accepted: self.unix(now),
            ended: 0,
            request_bytes,
            answer_bytes: 0,
            owner,
            service,
        };
        let writes =
            vec![Write::Put(head_key(uuid), head.encode()), Write::Put(body_key(uuid), value)];
        self.insert(uuid, Entry { asker, ..Entry::new(head, Stage::Storing) });
        self.keep_body(uuid, body.to_message());
        self.ledger.store(Deed::Accept(uuid, waiter), writes);
        Ok(())
    }

    /// What there is to say of a request to `who`; an answer is read from the disk for the waiter.
    pub(crate) fn look(
        &mut self,
        uuid: Uuid,
        who: &Principal,
        waiter: Box<Waiter>,
    ) -> Option<(Box<Waiter>, Status)> {
        let entry = self.entries.get(&uuid).filter(|entry| entry.is_of(who));
        let status = match entry.map(|entry| entry.stage) {
            None | Some(Stage::Storing | Stage::Closing) => Status::Unknown,
            Some(_) if self.failed => Status::Error,
            Some(
                Stage::Waiting
                | Stage::Fetching
                | Stage::Beginning
                | Stage::Asked(_)
                | Stage::Ending,
            ) => Status::Pending,
            Some(Stage::Failed) => Status::Error,
            Some(Stage::Answered) => {
                self.ledger.load(answer_key(uuid), Errand::Answer(waiter));
                return None;
            }
        };
        Some((waiter, status))
    }

    /// A client wants a request no more. It is told when that is stored; if the request is asked,
    /// that one is to be cancelled.
    pub(crate) fn close(
        &mut self,
        uuid: Uuid,
        who: &Principal,
        waiter: Box<Waiter>,
    ) -> Result<Option<RequestId>, (Box<Waiter>, Status)> {
        if self.failed {
            return Err((waiter, Status::Error));
        }
        if !self.entries.get(&uuid).is_some_and(|entry| entry.is_of(who)) {
            return Err((waiter, Status::Ok));
        }
        Ok(self.remove(uuid, Deed::Close(uuid, waiter)))
    }

    /// Forgets some of those of which the time is over; returns which of the requests asked are to
    /// be cancelled.
    pub(crate) fn forget_old(&mut self, now: Time) -> Vec<RequestId> {
        /// So many at a time.
        const SOME: usize = 256;
        let mut asked = Vec::new();
        let now = self.unix(now);
        for _ in 0..SOME {
            let Some(&(at, uuid)) = self.due.first().filter(|(at, _)| *at <= now) else { break };
            if self.failed || self.full {
                break;
            }
            self.due.remove(&(at, uuid));
            match self.entries.get(&uuid).map(|entry| entry.stage) {
                // The disk has it in hand.
                Some(Stage::Storing | Stage::Ending) => {
                    self.due.insert((now.saturating_add(1000), uuid));
                    break;
                }
                None | Some(Stage::Closing) => {}
                Some(_) => asked.extend(self.remove(uuid, Deed::Forget(uuid))),
            }
        }
        asked
    }

    /// The next request of a service that can be asked, if more may be.
    pub(crate) fn next(&mut self, service: &ServiceName, once: bool) -> Option<Next> {
        let backlog = self.backlogs.get_mut(service).filter(|it| it.asked < ASKED_MAX)?;
        if self.failed {
            return None;
        }
        let (_, uuid) = backlog.waiting.pop_first()?;
        backlog.asked += 1;
        let entry = self.entries.get_mut(&uuid)?;
        if entry.body.is_none() {
            entry.stage = Stage::Fetching;
            self.ledger.load(body_key(uuid), Errand::Body(uuid));
            return Some(Next::Disk);
        }
        Some(if self.begin(uuid, once) { Next::Offer(uuid) } else { Next::Disk })
    }

    /// Whether a request can be asked now; one that may be asked once is noted first.
    pub(crate) fn begin(&mut self, uuid: Uuid, once: bool) -> bool {
        let Some(entry) = self.entries.get_mut(&uuid) else { return false };
        if !once || entry.head.progress == Progress::Begun {
            return true;
        }
        entry.stage = Stage::Beginning;
        entry.head.progress = Progress::Begun;
        let writes = vec![Write::Put(head_key(uuid), entry.head.encode())];
        self.ledger.store(Deed::Begin(uuid), writes);
        false
    }

    /// What is to be asked, of whom, for whom, and after what. The body is not held any more.
    pub(crate) fn take(&mut self, uuid: Uuid) -> Option<(ServiceName, Asker, Tried, Message)> {
        let entry = self.entries.get_mut(&uuid)?;
        let body = entry.body.take()?;
        self.window = self.window.saturating_sub(body.bytes());
        entry.stage = Stage::Asked(None);
        Some((entry.service().clone(), entry.asker.clone(), entry.tried, body))
    }

    /// The request was accepted among those of its service.
    pub(crate) fn asked(&mut self, uuid: Uuid, id: RequestId) {
        if let Some(entry) = self.entries.get_mut(&uuid) {
            entry.stage = Stage::Asked(Some(id));
        }
    }

    /// The request was not accepted, or ended before it was carried out: it waits again.
    pub(crate) fn put_back(&mut self, uuid: Uuid, body: Option<Message>) {
        let Some(entry) = self.entries.get(&uuid) else { return };
        if !matches!(entry.stage, Stage::Asked(_) | Stage::Fetching) {
            return;
        }
        self.leave(uuid);
        if let Some(body) = body {
            self.keep_body(uuid, body);
        }
        self.wait(uuid);
    }

    /// A request that was asked has ended; returns its service, if that has room for another one.
    pub(crate) fn ended(
        &mut self,
        now: Time,
        uuid: Uuid,
        (outcome, tried): (Outcome, Tried),
        (answer, burial): (Option<&Message>, Option<Burial>),
    ) -> Option<ServiceName> {
        let entry = self.entries.get_mut(&uuid).filter(|_| !self.failed)?;
        let service = entry.was_asked(tried)?;
        match outcome {
            Outcome::Replied
            | Outcome::WorkerLost
            | Outcome::Dead
            | Outcome::AnswerTooBig
            | Outcome::Failed
            | Outcome::Refused
            | Outcome::StaleEpoch
            | Outcome::Unfenced => {
                self.leave(uuid);
                self.store_end(uuid, self.unix(now), answer, burial);
            }
            Outcome::Unclaimed
            | Outcome::CallerGone
            | Outcome::Expired
            | Outcome::TimedOut
            | Outcome::Cancelled => self.put_back(uuid, None),
        }
        Some(service)
    }

    /// Memory that the table takes, octets.
    pub(crate) fn memory(&self) -> usize {
        self.entries.len() * Entry::COST + self.window + self.ledger.bytes()
    }

    /// Whether clients should wait a moment.
    pub(crate) fn is_busy(&self) -> bool {
        self.ledger.len() >= UNSTORED_MAX
            || self.ledger.bytes() >= UNSTORED_BYTES_MAX
            || self.ledger.loads_len() >= LOADS_MAX
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

    /// Some services of which requests wait or are asked, behind that one.
    pub(crate) fn backlogs_after(
        &self,
        last: Option<&ServiceName>,
        max: usize,
    ) -> Vec<ServiceName> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.backlogs.range::<ServiceName, _>((from, Bound::Unbounded));
        rest.take(max).map(|(service, _)| service.clone()).collect()
    }

    /// What a request is for.
    pub(crate) fn service_of(&self, uuid: Uuid) -> Option<&ServiceName> {
        self.entries.get(&uuid).map(Entry::service)
    }

    /// Requests that are kept, and the octets that they take on the disk.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        (self.entries.len(), self.bytes)
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> &TitanicStats {
        &self.stats
    }

    fn unix(&self, now: Time) -> u64 {
        let passed = now.since(self.wall.at).as_millis();
        self.wall.unix.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    fn due_of(&self, head: &Head) -> u64 {
        let kept = u64::try_from(self.limits.kept.as_millis()).unwrap_or(u64::MAX);
        head.accepted.max(head.ended).saturating_add(kept)
    }

    fn insert(&mut self, uuid: Uuid, entry: Entry) {
        self.bytes = self.bytes.saturating_add(entry.bytes());
        self.due.insert((self.due_of(&entry.head), uuid));
        self.entries.insert(uuid, entry);
    }
}
