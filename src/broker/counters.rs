//! What is counted around the core: connections, handshakes, octets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::proto::output::CloseReason;

/// Numbers that only grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Connections accepted.
    pub(super) accepted: Count,
    /// Connections closed at once: too many unfinished ones from the same address.
    pub(super) rejected_address: Count,
    /// Accepting failed: no file descriptors, most likely.
    pub(super) accept_errors: Count,
    /// Handshakes done.
    pub(super) handshakes_done: Count,
    /// Handshakes refused: not a peer for us.
    pub(super) handshakes_refused: Count,
    /// Handshakes that took too long.
    pub(super) handshakes_timed_out: Count,
    /// Handshakes that made room for newcomers when there were too many.
    pub(super) handshakes_evicted: Count,
    /// Connections that ended before their handshake.
    pub(super) handshakes_hung_up: Count,
    /// Messages read and written, of every dialect.
    pub(super) messages_received: Count,
    pub(super) messages_sent: Count,
    /// Octets read and written after the handshake.
    pub(super) bytes_received: Count,
    pub(super) bytes_sent: Count,
    /// Connections ended because the peer broke the framing, a limit, or a command.
    pub(super) frames_invalid: Tally,
    /// Connections ended because the peer said ERROR.
    pub(super) peers_gave_up: Count,
    /// Connections ended by the core, by reason.
    pub(super) slow_readers: Count,
    pub(super) silent: Count,
    pub(super) ping_expired: Count,
    pub(super) identity_in_use: Count,
    pub(super) replaced: Count,
    pub(super) disconnected: Count,
    pub(super) revoked: Count,
}

/// One number.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Numbers by reason, for what ends a connection and so is rare.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    pub(super) fn add(&self, reason: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    pub(super) fn get(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Counters {
    /// Counts a connection that the core ends.
    pub(super) fn close(&self, why: CloseReason) {
        match why {
            CloseReason::SlowReader | CloseReason::Stuck => self.slow_readers.add(1),
            CloseReason::Silent => self.silent.add(1),
            CloseReason::PingExpired => self.ping_expired.add(1),
            CloseReason::IdentityInUse => self.identity_in_use.add(1),
            CloseReason::Replaced => self.replaced.add(1),
            CloseReason::Disconnected => self.disconnected.add(1),
            CloseReason::Revoked => self.revoked.add(1),
            CloseReason::Shutdown => {}
        }
    }
}
