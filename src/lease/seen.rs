//! What is seen of leases from outside.

use std::time::Duration;

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Somebody does.
    Held {
        /// By this epoch.
        epoch: u64,
        /// What the holder calls itself; it proves nothing.
        name: Option<String>,
        /// What it says.
        value: Vec<u8>,
    },
    /// Nobody does.
    Free {
        /// The epoch of the last holder, if it is known.
        last: Option<u64>,
    },
    /// The connection to the store is lost: what was seen last may be so or not. It goes on by
    /// itself, and what holds then comes next.
    Unknown,
}

/// One lease in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// Its name.
    pub lease: String,
    /// Of the holder. None: it is free.
    pub epoch: Option<u64>,
    /// What the holder calls itself.
    pub name: Option<String>,
    /// How long it has been held.
    pub held: Option<Duration>,
    /// Time until it is freed if nothing is heard.
    pub left: Option<Duration>,
    /// Candidates in line.
    pub waiting: u64,
    /// Observers.
    pub observers: u64,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// By name.
    pub rows: Vec<Row>,
    /// There is more, and it comes if this is given as `after`.
    pub next: Option<String>,
}
