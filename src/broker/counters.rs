//! What is counted around the core: connections, handshakes, octets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::proto::output::CloseReason;
use crate::wire::greeting::Mechanism;

/// Numbers that only grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Connections accepted.
    pub(super) accepted: Count,
    /// Connections closed at once: too many unfinished ones from the same address.
    pub(super) rejected_address: Count,
    /// Connections closed at once: from a network that nobody may come from.
    pub(super) rejected_network: Count,
    /// Connections closed after their handshake: too many of the same key are open.
    pub(super) rejected_key: Count,
    /// Peers that know the broker by the key before the present one.
    pub(super) by_old_key: Count,
    /// Accepting failed: no file descriptors, most likely.
    pub(super) accept_errors: Count,
    /// Handshakes of NULL, of PLAIN and of CURVE.
    null: Handshakes,
    plain: Handshakes,
    curve: Handshakes,
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
    pub(super) halted: Count,
    pub(super) silent: Count,
    pub(super) ping_expired: Count,
    pub(super) identity_in_use: Count,
    pub(super) too_many_ends: Count,
    pub(super) replaced: Count,
    pub(super) disconnected: Count,
    pub(super) revoked: Count,
}

/// How handshakes of one mechanism ended.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    pub(super) done: Count,
    /// Not a peer for us.
    pub(super) refused: Count,
    /// They took too long.
    pub(super) timed_out: Count,
    /// The peer said nothing for too long.
    pub(super) silent: Count,
    /// They made room for newcomers when there were too many.
    pub(super) evicted: Count,
    /// The connection ended before.
    pub(super) hung_up: Count,
}

impl Handshakes {
    /// Each way to end with its name.
    pub(super) fn outcomes(&self) -> [(&'static str, u64); 6] {
        [
            ("done", &self.done),
            ("refused", &self.refused),
            ("timed_out", &self.timed_out),
            ("silent", &self.silent),
            ("evicted", &self.evicted),
            ("hung_up", &self.hung_up),
        ]
        .map(|(name, count)| (name, count.get()))
    }
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
    /// Of handshakes with that mechanism.
    pub(super) fn handshakes(&self, mechanism: Mechanism) -> &Handshakes {
        match mechanism {
            Mechanism::Null => &self.null,
            Mechanism::Plain => &self.plain,
            Mechanism::Curve => &self.curve,
        }
    }

    /// Counts a connection that the core ends.
    pub(super) fn close(&self, why: CloseReason) {
        match why {
            CloseReason::SlowReader | CloseReason::Stuck => self.slow_readers.add(1),
            CloseReason::Halted => self.halted.add(1),
            CloseReason::Silent => self.silent.add(1),
            CloseReason::PingExpired => self.ping_expired.add(1),
            CloseReason::IdentityInUse => self.identity_in_use.add(1),
            CloseReason::TooManyEnds => self.too_many_ends.add(1),
            CloseReason::Replaced => self.replaced.add(1),
            CloseReason::Disconnected => self.disconnected.add(1),
            CloseReason::Revoked => self.revoked.add(1),
            CloseReason::Shutdown => {}
        }
    }
}
