//! Leases: one holder at a time for a name, a line of candidates behind it, and an epoch that grows
//! with every holder (SPEC 9.14).
//!
//! ```text
//!              campaign                 resign, close, expiry
//!   (nobody) -----------> Held(epoch) -------------------------> the next in line: Held(epoch + n)
//!       ^                     |                                         | nobody
//!       |   lock_delay        | lost, and it asked for lock_delay       v
//!       +------------------ Quiet <------------------------------ forgotten
//! ```
//!
//! - [`Leases`]: the broker's table. It decides who holds, and whether an epoch is good.
//! - [`Hold`]: the holder's side. It stops believing before the table frees the lease.

#[cfg(any(test, feature = "fuzzing"))]
mod audit;
mod hold;
pub mod mark;
#[cfg(test)]
mod simulation;
mod table;
#[cfg(test)]
mod tests;
mod turns;
mod ward;
mod watch;

use std::time::Duration;

pub use hold::{Hold, Standing};
pub use table::{Candidacy, Counts, Leases, Place, Refused, Row, Stale};
pub use turns::{Freed, News};
pub use ward::{Leader, WARD};
pub use watch::View;

/// What leases may take, and how long they may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseLimits {
    /// Leases that are held, waited for or observed. Default 10,000.
    pub leases_max: usize,
    /// Candidates in line for one lease. Default 1,000.
    pub waiters_max: usize,
    /// Observers of one lease. Default 1,000.
    pub observers_max: usize,
    /// Campaigns and observations that are open on one connection. Default 1,000.
    pub per_peer_max: usize,
    /// What a holder says to its observers, octets. Default 4 KiB.
    pub value_bytes_max: usize,
    /// Shortest time to live. Default 100 ms.
    pub ttl_min: Duration,
    /// Longest time to live, grace and lock delay. Default 1 h.
    pub ttl_max: Duration,
}

impl LeaseLimits {
    /// Time to live of who says none.
    pub const TTL: Duration = Duration::from_secs(5);
}

impl Default for LeaseLimits {
    fn default() -> Self {
        Self {
            leases_max: 10_000,
            waiters_max: 1_000,
            observers_max: 1_000,
            per_peer_max: 1_000,
            value_bytes_max: 4 << 10,
            ttl_min: Duration::from_millis(100),
            ttl_max: Duration::from_secs(3600),
        }
    }
}

/// How a lease is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// It is freed if nothing is heard for so long.
    pub ttl: Duration,
    /// It is kept for so long when the connection of its holder ends.
    pub grace: Duration,
    /// It is nobody's for so long when it is lost.
    pub lock_delay: Duration,
}
