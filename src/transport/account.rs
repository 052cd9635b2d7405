//! One account for all memory that peers can make the broker hold.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::wire::codec::Shelf;

use super::spares::Spares;

/// Octets in use against a limit.
///
/// They are of two kinds. What was taken, kept in tables or on its way out, is given back by work
/// that goes on. What is *arriving*, parts of messages and messages that are not taken yet, is given
/// back only when it can be taken: so it does not count where that is decided.
///
/// What is already there is always counted, even over the limit. Asking first do: new requests
/// ([`Self::high_mark`], up to 85 %) and large frames that have not arrived yet
/// ([`Self::poll_reserve`], first come first served).
///
/// As a [`Shelf`] it keeps the buffers of large bodies for the next ones, as long as there is much
/// room.
#[derive(Debug)]
pub struct Account {
    limit: usize,
    taken: AtomicUsize,
    /// Of that, what is kept in tables; the rest is on its way out.
    tables: AtomicUsize,
    arriving: AtomicUsize,
    spares: Spares,
    /// Tickets given out so far.
    tickets: AtomicUsize,
    line: Mutex<Line>,
    /// Who stands in line, readable without its lock.
    waiters: AtomicUsize,
}

/// Who waits for room.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<(usize, Waker)>,
    /// The ticket of the one whose message may be completed over the limit.
    exempt: Option<usize>,
}

/// Which kind of memory somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Taken,
    Arriving,
}

impl Account {
    /// An account of `limit` octets.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: AtomicUsize::new(0),
            tables: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
            spares: Spares::new(0),
            tickets: AtomicUsize::new(0),
            line: Mutex::default(),
            waiters: AtomicUsize::new(0),
        }
    }

    /// The same account, which keeps up to `octets` of buffers.
    #[must_use]
    pub fn with_spares(mut self, octets: usize) -> Self {
        self.spares = Spares::new(octets);
        self
    }

    /// Octets that may be used.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Octets in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.taken() + self.arriving() + self.spare()
    }

    /// Of the octets in use, those of buffers that wait for a large body.
    #[must_use]
    pub fn spare(&self) -> usize {
        self.spares.octets()
    }

    /// Whether the buffer of a body of that size would be kept if there is room.
    #[must_use]
    pub fn keeps_buffers_of(&self, size: usize) -> bool {
        self.spares.keeps(size)
    }

    /// Frees buffers of which none has been taken for a while, and all when others need the room.
    pub fn tidy_spares(&self, now: Instant) {
        self.spares.rest(now);
        if self.used() > self.spares_mark() {
            self.free_spares();
        }
    }

    /// Up to this mark buffers are kept: half.
    fn spares_mark(&self) -> usize {
        self.limit / 2
    }

    fn free_spares(&self) {
        if self.spares.clear() && self.waiters.load(Ordering::SeqCst) > 0 {
            self.wake_first();
        }
    }

    /// Of the octets in use, those that tables keep and those on their way out.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// Of the octets taken, those that tables keep: requests, and what is remembered.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.tables.load(Ordering::Relaxed)
    }

    /// Of the octets in use, those of messages that are not taken yet.
    #[must_use]
    pub fn arriving(&self) -> usize {
        self.arriving.load(Ordering::SeqCst)
    }

    /// Counts octets that a table has taken and given back, whether there is room or not.
    pub fn settle_tables(&self, taken: usize, given: usize) {
        let (more, less) = (taken.saturating_sub(given), given.saturating_sub(taken));
        if more > 0 {
            self.tables.fetch_add(more, Ordering::Relaxed);
        } else if less > 0 {
            self.tables.fetch_sub(less, Ordering::Relaxed);
        }
        self.add(Kind::Taken, more);
        self.sub(Kind::Taken, less);
    }

    /// Over this mark no new work is taken: 85 %.
    #[must_use]
    pub fn high_mark(&self) -> usize {
        self.limit / 100 * 85
    }

    /// Below this mark work that was refused is welcome again: 70 %.
    #[must_use]
    pub fn low_mark(&self) -> usize {
        self.limit / 100 * 70
    }

    /// A place in the line for [`Self::poll_reserve`].
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// Counts octets that are to arrive once there is room for them and everybody who asked before
    /// has been served.
    ///
    /// Messages that are half there could wait for one another for ever. So the first in line, and
    /// one at a time, is served over the limit if new work may be taken: its message can be
    /// completed and goes. It keeps this favour until it says [`Self::forget`].
    pub fn poll_reserve(&self, cx: &Context<'_>, ticket: &Ticket, octets: usize) -> Poll<()> {
        let mut line = self.lock();
        // Whoever gives octets back behind this look at them looks for who waits.
        self.waiters.store(line.waiting.len() + 1, Ordering::SeqCst);
        let at = line.waiting.iter().position(|(number, _)| *number == ticket.0);
        let first = at.unwrap_or(line.waiting.len()) == 0;
        if self.used().saturating_add(octets) > self.limit {
            self.spares.clear();
        }
        let fits = first && self.used().saturating_add(octets) <= self.limit;
        if first && !fits && line.exempt.is_none() && self.taken() <= self.high_mark() {
            line.exempt = Some(ticket.0);
        }
        if fits || line.exempt == Some(ticket.0) {
            if let Some(at) = at {
                line.waiting.remove(at);
            }
            self.add(Kind::Arriving, octets);
            self.waiters.store(line.waiting.len(), Ordering::SeqCst);
            if let Some((_, next)) = line.waiting.front() {
                next.wake_by_ref();
            }
            return Poll::Ready(());
        }
        match at.and_then(|at| line.waiting.get_mut(at)) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => line.waiting.push_back((ticket.0, cx.waker().clone())),
        }
        self.waiters.store(line.waiting.len(), Ordering::SeqCst);
        Poll::Pending
    }

    /// Leaves the line, and needs no favour any more.
    pub fn forget(&self, ticket: &Ticket) {
        let mut line = self.lock();
        line.waiting.retain(|(number, _)| *number != ticket.0);
        line.exempt = line.exempt.filter(|number| *number != ticket.0);
        self.waiters.store(line.waiting.len(), Ordering::SeqCst);
        drop(line);
        self.wake_first();
    }

    fn add(&self, kind: Kind, octets: usize) {
        if octets > 0 {
            self.of(kind).fetch_add(octets, Ordering::Relaxed);
        }
    }

    fn sub(&self, kind: Kind, octets: usize) {
        if octets > 0 {
            self.of(kind).fetch_sub(octets, Ordering::SeqCst);
            if self.waiters.load(Ordering::SeqCst) > 0 {
                self.wake_first();
            }
        }
    }

    fn of(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Taken => &self.taken,
            Kind::Arriving => &self.arriving,
        }
    }

    fn wake_first(&self) {
        if let Some((_, first)) = self.lock().waiting.front() {
            first.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // The line is whole between any two statements: a panic elsewhere cannot harm it.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf for Account {
    fn take(&self, size: usize) -> Option<Vec<u8>> {
        self.spares.take(size)
    }

    fn put(&self, buffer: Vec<u8>) {
        if self.used().saturating_add(buffer.capacity()) <= self.spares_mark() {
            self.spares.put(buffer);
        }
    }
}

/// What one holder of memory has told the account; given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    account: Arc<Account>,
    kind: Kind,
    octets: usize,
}

impl Charge {
    /// Nothing yet, of what is taken.
    #[must_use]
    pub fn new(account: Arc<Account>) -> Self {
        Self { account, kind: Kind::Taken, octets: 0 }
    }

    /// Nothing yet, of what is arriving.
    #[must_use]
    pub fn arriving(account: Arc<Account>) -> Self {
        Self { account, kind: Kind::Arriving, octets: 0 }
    }

    /// Octets told.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Tells the account what the holder has now.
    #[inline]
    pub fn set(&mut self, octets: usize) {
        if octets > self.octets {
            self.account.add(self.kind, octets - self.octets);
        } else if octets < self.octets {
            self.account.sub(self.kind, self.octets - octets);
        }
        self.octets = octets;
    }

    /// Counts more that is to arrive once there is room, as [`Account::poll_reserve`] does.
    pub fn poll_more(&mut self, cx: &Context<'_>, ticket: &Ticket, octets: usize) -> Poll<()> {
        self.account.poll_reserve(cx, ticket, octets).map(|()| self.octets += octets)
    }

    /// Whom it tells.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.sub(self.kind, self.octets);
    }
}

/// A place in the line of an [`Account`].
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(account: &Arc<Account>, octets: usize) -> Charge {
        let mut charge = Charge::new(account.clone());
        charge.set(octets);
        charge
    }

    #[test]
    fn who_asks_first_is_served_first() {
        let account = Arc::new(Account::new(100));
        let cx = Context::from_waker(Waker::noop());
        let mut kept = taken(&account, 90);
        let (large, small) = (account.ticket(), account.ticket());
        assert!(account.poll_reserve(&cx, &large, 50).is_pending());
        assert!(account.poll_reserve(&cx, &small, 10).is_pending(), "room, but not its turn");
        kept.set(86);
        assert!(account.poll_reserve(&cx, &small, 10).is_pending());
        kept.set(40);
        assert!(account.poll_reserve(&cx, &large, 50).is_ready());
        assert!(account.poll_reserve(&cx, &small, 10).is_ready());
        assert_eq!((account.used(), account.arriving()), (100, 60));
    }

    #[test]
    fn buffers_are_kept_while_there_is_much_room() {
        const MIB: usize = 1 << 20;
        let account = Arc::new(Account::new(10 * MIB).with_spares(4 * MIB));
        let cx = Context::from_waker(Waker::noop());
        let mut kept = taken(&account, 4 * MIB);
        account.put(vec![0; MIB]);
        account.put(vec![0; MIB / 2]);
        assert_eq!((account.spare(), account.used()), (MIB, 5 * MIB), "up to half");
        kept.set(9 * MIB);
        assert!(account.poll_reserve(&cx, &account.ticket(), MIB).is_ready());
        assert_eq!((account.spare(), account.used()), (0, 10 * MIB), "they are in nobody's way");
        kept.set(0);
        account.put(vec![0; MIB]);
        kept.set(5 * MIB);
        account.tidy_spares(tokio::time::Instant::now().into_std());
        assert_eq!(account.spare(), 0, "others have taken the room");
    }

    #[test]
    fn a_place_given_up_serves_the_next() {
        let account = Arc::new(Account::new(100));
        let cx = Context::from_waker(Waker::noop());
        let _kept = taken(&account, 90);
        let (large, small) = (account.ticket(), account.ticket());
        assert!(account.poll_reserve(&cx, &large, 50).is_pending());
        assert!(account.poll_reserve(&cx, &small, 10).is_pending());
        account.forget(&large);
        assert!(account.poll_reserve(&cx, &small, 10).is_ready());
    }

    #[test]
    fn messages_that_are_half_there_do_not_wait_for_one_another() {
        let account = Arc::new(Account::new(100));
        let cx = Context::from_waker(Waker::noop());
        let (one, two) = (account.ticket(), account.ticket());
        assert!(account.poll_reserve(&cx, &one, 50).is_ready());
        assert!(account.poll_reserve(&cx, &two, 50).is_ready());
        assert!(account.poll_reserve(&cx, &two, 50).is_ready(), "nobody else can go on either");
        assert!(account.poll_reserve(&cx, &one, 50).is_pending(), "one at a time");
        assert!(account.poll_reserve(&cx, &two, 10).is_ready(), "until its message is complete");
        account.forget(&two);
        assert!(account.poll_reserve(&cx, &one, 50).is_ready());
    }
}
