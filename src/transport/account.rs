//! One account for all memory that peers can make the broker hold.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Octets in use against a limit.
///
/// What is already there is always counted, even over the limit. Asking first do: new requests
/// ([`Self::high_mark`], up to 85 %) and large frames that have not arrived yet
/// ([`Self::poll_reserve`], first come first served).
#[derive(Debug)]
pub struct Account {
    limit: usize,
    used: AtomicUsize,
    /// Of that, what is kept in tables; the rest is on its way in or out.
    tables: AtomicUsize,
    /// Tickets given out so far.
    tickets: AtomicUsize,
    waiting: Mutex<VecDeque<(usize, Waker)>>,
    /// Length of `waiting`, readable without its lock.
    waiters: AtomicUsize,
}

impl Account {
    /// An account of `limit` octets.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            tables: AtomicUsize::new(0),
            tickets: AtomicUsize::new(0),
            waiting: Mutex::new(VecDeque::new()),
            waiters: AtomicUsize::new(0),
        }
    }

    /// Octets that may be used.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Octets in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Of the octets in use, those that tables keep: requests, and what is remembered. The rest is
    /// on its way in or out.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.tables.load(Ordering::Relaxed)
    }

    /// Counts octets that a table has taken and given back, whether there is room or not.
    pub fn settle_tables(&self, taken: usize, given: usize) {
        let (more, less) = (taken.saturating_sub(given), given.saturating_sub(taken));
        if more > 0 {
            self.tables.fetch_add(more, Ordering::Relaxed);
        } else if less > 0 {
            self.tables.fetch_sub(less, Ordering::Relaxed);
        }
        self.add(more);
        self.sub(less);
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

    /// Counts octets, whether there is room or not.
    pub fn add(&self, octets: usize) {
        if octets > 0 {
            self.used.fetch_add(octets, Ordering::Relaxed);
        }
    }

    /// Gives octets back.
    pub fn sub(&self, octets: usize) {
        if octets > 0 {
            self.used.fetch_sub(octets, Ordering::AcqRel);
            if self.waiters.load(Ordering::Acquire) > 0 {
                self.wake_first();
            }
        }
    }

    /// A place in the line for [`Self::poll_reserve`].
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// Counts octets once there is room for them and everybody who asked before has been served.
    /// More than the limit is granted when nothing else is in use.
    pub fn poll_reserve(&self, cx: &Context<'_>, ticket: &Ticket, octets: usize) -> Poll<()> {
        let mut waiting = self.lock();
        let at = waiting.iter().position(|(number, _)| *number == ticket.0);
        let first = at.unwrap_or(waiting.len()) == 0;
        let used = self.used();
        if first && (used == 0 || used.saturating_add(octets) <= self.limit) {
            if at.is_some() {
                waiting.pop_front();
            }
            self.used.fetch_add(octets, Ordering::AcqRel);
            self.waiters.store(waiting.len(), Ordering::Release);
            if let Some((_, next)) = waiting.front() {
                next.wake_by_ref();
            }
            return Poll::Ready(());
        }
        match at.and_then(|at| waiting.get_mut(at)) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => waiting.push_back((ticket.0, cx.waker().clone())),
        }
        self.waiters.store(waiting.len(), Ordering::Release);
        Poll::Pending
    }

    /// Leaves the line.
    pub fn forget(&self, ticket: &Ticket) {
        let mut waiting = self.lock();
        waiting.retain(|(number, _)| *number != ticket.0);
        self.waiters.store(waiting.len(), Ordering::Release);
        drop(waiting);
        self.wake_first();
    }

    fn wake_first(&self) {
        if let Some((_, first)) = self.lock().front() {
            first.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(usize, Waker)>> {
        // The queue is whole between any two statements: a panic elsewhere cannot harm it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one holder of memory has told the account; given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    account: Arc<Account>,
    octets: usize,
}

impl Charge {
    /// Nothing yet.
    #[must_use]
    pub fn new(account: Arc<Account>) -> Self {
        Self { account, octets: 0 }
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
            self.account.add(octets - self.octets);
        } else if octets < self.octets {
            self.account.sub(self.octets - octets);
        }
        self.octets = octets;
    }

    /// Counts more once there is room, as [`Account::poll_reserve`] does.
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
        self.account.sub(self.octets);
    }
}

/// A place in the line of an [`Account`].
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_first_is_served_first() {
        let account = Account::new(100);
        let cx = Context::from_waker(Waker::noop());
        account.add(60);
        let (large, small) = (account.ticket(), account.ticket());
        assert!(account.poll_reserve(&cx, &large, 50).is_pending());
        assert!(account.poll_reserve(&cx, &small, 10).is_pending(), "room, but not its turn");
        account.sub(20);
        assert!(account.poll_reserve(&cx, &small, 10).is_pending());
        assert!(account.poll_reserve(&cx, &large, 50).is_ready());
        assert!(account.poll_reserve(&cx, &small, 10).is_ready());
        assert_eq!(account.used(), 100);
    }

    #[test]
    fn a_place_given_up_serves_the_next() {
        let account = Account::new(100);
        let cx = Context::from_waker(Waker::noop());
        account.add(90);
        let (large, small) = (account.ticket(), account.ticket());
        assert!(account.poll_reserve(&cx, &large, 50).is_pending());
        assert!(account.poll_reserve(&cx, &small, 10).is_pending());
        account.forget(&large);
        assert!(account.poll_reserve(&cx, &small, 10).is_ready());
    }
}
