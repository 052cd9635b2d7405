//! The holder's side: until when it may believe that it holds.

use std::time::{Duration, Instant};

/// What the holder may do at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds, and need not renew before that.
    Holds(Instant),
    /// It holds, and is to renew.
    Due,
    /// It does not hold any more, whatever is heard from now on.
    Lost,
}

/// What a holder believes, by its own monotonic clock.
///
/// The broker counts the time to live from the moment a renewal comes; the holder from the moment
/// it was sent, which is earlier, and less one part in [`Hold::MARGIN`] of it for clocks that do not run alike.
/// So it stops before the broker frees the lease.
#[derive(Debug, Clone)]
pub struct Hold {
    ttl: Duration,
    /// When the newest renewal was sent that has been acknowledged.
    acked: Option<Instant>,
    /// When the newest renewal was sent.
    sent: Option<Instant>,
    /// The connection has ended, and the lease is kept for so long behind that.
    kept: Option<Duration>,
    lost: bool,
}

impl Hold {
    /// One part in so many of the time to live is left for clocks that do not run alike: each of
    /// the two may be wrong by half of that.
    pub const MARGIN: u32 = 20;

    /// A lease of so much time to live that was asked for at `sent` and has been given. If it was
    /// waited for longer than that it is to be renewed before anything is believed.
    #[must_use]
    pub fn new(ttl: Duration, sent: Instant) -> Self {
        Self { ttl, acked: Some(sent), sent: Some(sent), kept: None, lost: false }
    }

    /// As [`Self::new`], for a lease that was waited for: nobody knows when it was given.
    #[must_use]
    pub fn unsure(ttl: Duration) -> Self {
        Self { ttl, acked: None, sent: None, kept: None, lost: false }
    }

    /// The connection has ended, and the lease is kept for `grace` from when the broker sees that,
    /// which may be before the holder did: but behind the newest renewal that it has acknowledged.
    pub fn part(&mut self, grace: Duration) {
        self.kept = Some(grace);
    }

    /// A renewal is sent.
    pub fn sent(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    /// The renewal that was sent at `sent` has been acknowledged. One that comes when the belief has
    /// ended changes nothing.
    pub fn acked(&mut self, now: Instant, sent: Instant) {
        if self.standing(now) != Standing::Lost {
            self.acked = self.acked.max(Some(sent));
            // What was lost with a connection is never acknowledged: this came over another one.
            self.kept = None;
        }
    }

    /// It is known that somebody else may hold.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// Until when it is believed. `None`: it is not yet.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        let span = self.kept.map_or(self.ttl, |kept| kept.min(self.ttl));
        self.acked?.checked_add(span.saturating_sub(span / Self::MARGIN))
    }

    /// Whether it holds at `now`.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        !self.lost && self.until().is_some_and(|until| now < until)
    }

    /// What is to be done at `now`.
    pub fn standing(&mut self, now: Instant) -> Standing {
        if self.lost || self.until().is_some_and(|until| now >= until) {
            self.lost = true;
            return Standing::Lost;
        }
        match self.sent.and_then(|sent| sent.checked_add(self.ttl / 3)) {
            Some(due) if now < due => Standing::Holds(due),
            Some(_) | None => Standing::Due,
        }
    }
}
