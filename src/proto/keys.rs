//! Idempotency keys: what was asked under each, who waits for the answer, and the answer itself,
//! kept for some time.
//!
//! ```text
//!              begin                     a worker's answer
//!   unknown ----------> Running -----------------------------> Done
//!      ^                   |                                     |
//!      |  ended without    |                                     |
//!      +-------------------+                                     |
//!      +------------------------- its time is over, or evicted --+
//! ```
//!
//! The table only remembers; the request itself is in the routing tables, and has its place and its
//! turn there. The table is bounded in entries and in octets of answers. What has ended makes room
//! for what is new, the oldest first; what runs never does.

#[cfg(any(test, feature = "fuzzing"))]
mod audit;
mod entry;
mod share;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use slotmap::SlotMap;

use crate::id::{PeerId, Principal, RequestId};
use crate::wire::mjp::Digest;

use super::clock::Time;
use super::router::Hasher;
use super::timers::Timers;

use entry::{Done, Entry, Stage};
pub(crate) use entry::{Kept, Scope, Waiter};
use share::Share;

slotmap::new_key_type! {
    /// What is known of one key.
    pub struct KeyId;
}

/// How far the table may grow, and how long an answer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLimits {
    /// Keys known, those of running and of answered requests. Default 10,000.
    pub keys_max: usize,
    /// Keys of running requests that one principal may have, at least 1. Once all are known that
    /// may be, its own oldest answers make room for its new keys if it has more. Default: a quarter
    /// of all.
    pub keys_per_principal_max: Option<usize>,
    /// Memory of answers that are kept, octets. Default 64 MiB.
    pub bytes_max: usize,
    /// How long an answer is kept. Default 10 min.
    pub kept: Duration,
    /// Callers that wait for one answer. Default 16.
    pub callers_max: usize,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self {
            keys_max: 10_000,
            keys_per_principal_max: None,
            bytes_max: 64 << 20,
            kept: Duration::from_secs(10 * 60),
            callers_max: 16,
        }
    }
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyStats {
    /// Repeats that wait for the answer of a request under way.
    pub attached: u64,
    /// Repeats that got the answer that was kept.
    pub replayed: u64,
    /// Requests refused because their key stands for another one.
    pub conflicts: u64,
    /// Answers forgotten before their time, to make room.
    pub evicted: u64,
}

/// How a request stands to what is known under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nobody has asked it.
    New,
    /// It is under way.
    Running(KeyId, RequestId),
    /// It has been answered.
    Done(KeyId),
    /// Something else was asked under the key.
    Other,
}

#[cfg(test)]
impl Known {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Running(..) => "running",
            Self::Done(_) => "done",
            Self::Other => "other",
        }
    }
}

/// All keys.
#[derive(Debug)]
pub struct Keys {
    limits: KeyLimits,
    entries: SlotMap<KeyId, Entry>,
    by_scope: HashMap<Scope, KeyId, Hasher>,
    /// What each principal has that has any.
    shares: HashMap<Principal, Share, Hasher>,
    /// Answered ones in the order of their answers; some are forgotten already.
    ended: VecDeque<KeyId>,
    done: usize,
    /// Memory of the answers, octets.
    bytes: usize,
    /// Callers that wait, and until when.
    waiting: usize,
    due: Timers<KeyId>,
    /// Memory of what was forgotten, to be given back.
    freed: usize,
    /// What is counted.
    pub(crate) stats: KeyStats,
}

impl Keys {
    /// Memory that a key takes, octets: its entry, its place in the index, which is half full, its
    /// places among those that have ended, and the share of a principal that has no other.
    pub(crate) const ENTRY: usize = size_of::<Entry>()
        + 2 * size_of::<(Scope, KeyId, u8)>()
        + 6 * size_of::<KeyId>()
        + 2 * size_of::<(Principal, Share, u8)>();

    /// So many deadlines of callers that wait no more are left alone, and as many as others.
    const STALE_KEPT: usize = 1024;

    pub(crate) fn new(limits: KeyLimits, hasher: Hasher) -> Self {
        Self {
            limits,
            entries: SlotMap::with_key(),
            by_scope: HashMap::with_hasher(hasher.clone()),
            shares: HashMap::with_hasher(hasher),
            ended: VecDeque::new(),
            done: 0,
            bytes: 0,
            waiting: 0,
            due: Timers::new(),
            freed: 0,
            stats: KeyStats::default(),
        }
    }

    /// Keys known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Those whose answer is kept.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done
    }

    /// Memory of the answers that are kept, octets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same with their keys: what [`Self::evict`] can give back.
    pub(crate) fn done_bytes(&self) -> usize {
        self.done * Self::ENTRY + self.bytes
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> KeyStats {
        self.stats
    }

    /// What is known of a request.
    pub(crate) fn look(&mut self, now: Time, scope: &Scope, digest: Digest) -> Known {
        self.forget_old(now);
        let Some(id) = self.by_scope.get(scope).copied() else { return Known::New };
        match self.entries.get(id) {
            None => Known::New,
            Some(entry) if entry.digest != digest => Known::Other,
            Some(Entry { stage: Stage::Running { request, .. }, .. }) => {
                Known::Running(id, *request)
            }
            Some(Entry { stage: Stage::Done(_), .. }) => Known::Done(id),
        }
    }

    /// Whether anything is known under a key.
    pub(crate) fn has(&self, scope: &Scope) -> bool {
        self.by_scope.contains_key(scope)
    }

    /// Whether one more request of the principal may have a key.
    pub(crate) fn has_room(&self, principal: &Principal) -> bool {
        (self.entries.len() < self.limits.keys_max || self.done > 0) && self.has_share(principal)
    }

    /// Notes a new request. If there are too many keys then, [`Self::trim`] is to follow.
    pub(crate) fn begin(
        &mut self,
        (principal, scope): (Principal, Scope),
        digest: Digest,
        first: Waiter,
    ) -> KeyId {
        let deadline = first.deadline;
        let entry = Entry {
            scope,
            principal,
            digest,
            stage: Stage::Running {
                request: RequestId::default(),
                waiters: vec![first],
                gone: None,
            },
        };
        let id = self.entries.insert(entry);
        self.by_scope.insert(scope, id);
        self.shares.entry(principal).or_default().keys += 1;
        self.waiting += 1;
        self.arm(id, deadline);
        id
    }

    /// Says which request it is.
    pub(crate) fn set_request(&mut self, id: KeyId, of: RequestId) {
        if let Some(Entry { stage: Stage::Running { request, .. }, .. }) = self.entries.get_mut(id)
        {
            *request = of;
        }
    }

    /// Makes room for what the principal began last: its own oldest answers go if it has more than
    /// its share, or else the oldest of all.
    pub(crate) fn trim(&mut self, principal: &Principal) {
        while self.entries.len() > self.limits.keys_max
            && (self.evict_of(principal) || self.evict())
        {}
    }

    /// Forgets the oldest answer. False: there is none.
    pub(crate) fn evict(&mut self) -> bool {
        while let Some(id) = self.ended.pop_front() {
            if self.forget(id) {
                self.stats.evicted += 1;
                return true;
            }
        }
        false
    }

    /// Whether one more caller may wait for the answer.
    pub(crate) fn has_place(&self, id: KeyId) -> bool {
        self.waiters(id).len() < self.limits.callers_max
    }

    /// One more caller waits.
    pub(crate) fn attach(&mut self, id: KeyId, waiter: Waiter) {
        let deadline = waiter.deadline;
        if let Some(Entry { stage: Stage::Running { waiters, .. }, .. }) = self.entries.get_mut(id)
        {
            waiters.push(waiter);
            self.waiting += 1;
            self.stats.attached += 1;
            self.arm(id, deadline);
        }
    }

    /// Who waits.
    pub(crate) fn waiters(&self, id: KeyId) -> &[Waiter] {
        match self.entries.get(id) {
            Some(Entry { stage: Stage::Running { waiters, .. }, .. }) => waiters,
            _ => &[],
        }
    }

    /// Whether that caller is the only one who wants an answer.
    pub(crate) fn is_last(&self, id: KeyId) -> bool {
        match self.entries.get(id) {
            Some(Entry { stage: Stage::Running { waiters, gone, .. }, .. }) => {
                waiters.len() == 1 && gone.is_none()
            }
            _ => false,
        }
    }

    /// A caller does not wait any more. If it was `lost`, it may come back for the answer as long
    /// as it would have waited.
    pub(crate) fn detach(
        &mut self,
        id: KeyId,
        peer: PeerId,
        name: u64,
        lost: bool,
    ) -> Option<Waiter> {
        let Some(Entry { stage: Stage::Running { waiters, gone, .. }, .. }) =
            self.entries.get_mut(id)
        else {
            return None;
        };
        let at = waiters.iter().position(|waiter| waiter.peer == peer && waiter.id == name)?;
        let waiter = waiters.remove(at);
        if lost {
            // The timer that was armed for it is armed for this, too.
            *gone = (*gone).max(Some(waiter.until()));
        }
        self.waiting -= 1;
        Some(waiter)
    }

    /// Until when somebody wants an answer; `None`: nobody does.
    pub(crate) fn wanted_until(&self, id: KeyId) -> Option<Time> {
        let Some(Entry { stage: Stage::Running { waiters, gone, .. }, .. }) = self.entries.get(id)
        else {
            return None;
        };
        waiters.iter().map(Waiter::until).chain(*gone).max()
    }

    /// Takes the callers of one key whose time is up, with the request that they wait for.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(KeyId, RequestId, Vec<Waiter>)> {
        while let Some((_, id)) = self.due.pop_due(now) {
            let Some(Entry { stage: Stage::Running { request, waiters, gone }, .. }) =
                self.entries.get_mut(id)
            else {
                continue;
            };
            *gone = gone.filter(|until| *until > now);
            let late: Vec<_> = waiters.extract_if(.., |waiter| waiter.until() <= now).collect();
            self.waiting -= late.len();
            return Some((id, *request, late));
        }
        None
    }

    /// When a caller has waited long enough, or an answer is to be forgotten.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let oldest = self.ended.front().and_then(|id| self.entries.get(*id));
        let oldest = oldest.and_then(|entry| match &entry.stage {
            Stage::Done(done) => Some(done.until),
            Stage::Running { .. } => None,
        });
        self.due.next().into_iter().chain(oldest).min()
    }

    /// Keeps the answer; gives those who wait for it. One that would not fit even alone is not to
    /// be given here, see [`Self::fits`].
    pub(crate) fn keep(&mut self, now: Time, id: KeyId, answer: Kept) -> Vec<Waiter> {
        let until = now.after(self.limits.kept);
        let bytes = answer.bytes();
        let Some(entry) = self.entries.get_mut(id) else { return Vec::new() };
        let Stage::Running { waiters, .. } = &mut entry.stage else { return Vec::new() };
        let waiters = std::mem::take(waiters);
        entry.stage = Stage::Done(Done { answer, until });
        self.waiting -= waiters.len();
        self.done += 1;
        self.bytes += bytes;
        self.note_end(id);
        waiters
    }

    /// Whether an answer of so many octets may be kept, once older ones have made room.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        bytes <= self.limits.bytes_max
    }

    /// Whether older answers have to make room for so many octets.
    pub(crate) fn is_crowded_by(&self, bytes: usize) -> bool {
        self.bytes + bytes > self.limits.bytes_max
    }

    /// The answer that was kept.
    pub(crate) fn answer(&self, id: KeyId) -> Option<&Kept> {
        match &self.entries.get(id)?.stage {
            Stage::Done(done) => Some(&done.answer),
            Stage::Running { .. } => None,
        }
    }

    /// A request ended without an answer that could be kept; gives those who wait for it. `None`:
    /// it has been answered.
    pub(crate) fn end(&mut self, id: KeyId) -> Option<Vec<Waiter>> {
        let Stage::Running { waiters, .. } = &mut self.entries.get_mut(id)?.stage else {
            return None;
        };
        let waiters = std::mem::take(waiters);
        self.waiting -= waiters.len();
        self.forget(id);
        Some(waiters)
    }

    /// Forgets the answers whose time is over.
    pub(crate) fn forget_old(&mut self, now: Time) {
        while let Some(id) = self.ended.front().copied() {
            let stage = self.entries.get(id).map(|entry| &entry.stage);
            if matches!(stage, Some(Stage::Done(done)) if done.until > now) {
                break;
            }
            self.ended.pop_front();
            self.forget(id);
        }
    }

    /// Memory of what was forgotten since the last call, octets.
    pub(crate) fn take_freed(&mut self) -> usize {
        std::mem::take(&mut self.freed)
    }

    /// False: it is forgotten already.
    fn forget(&mut self, id: KeyId) -> bool {
        let Some(entry) = self.entries.remove(id) else { return false };
        self.by_scope.remove(&entry.scope);
        self.leave_share(&entry.principal, &entry.stage);
        while self.ended.front().is_some_and(|id| !self.entries.contains_key(*id)) {
            self.ended.pop_front();
        }
        self.freed += Self::ENTRY;
        if let Stage::Done(done) = entry.stage {
            let bytes = done.answer.bytes();
            self.done -= 1;
            self.bytes -= bytes;
            self.freed += bytes;
        }
        true
    }

    fn arm(&mut self, id: KeyId, at: Option<Time>) {
        let Some(at) = at else { return };
        self.due.arm(at, id);
        let Self { due, entries, waiting, .. } = self;
        if due.len() > Self::STALE_KEPT + 2 * (*waiting + entries.len()) {
            due.sweep(|at, id| entries.get(id).is_some_and(|entry| entry.waits_until(at)));
        }
    }
}
