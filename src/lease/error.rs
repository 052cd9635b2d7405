//! What can go wrong with a lease, and how holding one ends.

use std::time::Duration;

/// Why a lease is not held any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The holder has let go of it.
    #[error("it was resigned")]
    Resigned,
    /// It was not renewed in time, by the clock of the holder or of the store.
    #[error("it was not renewed in time")]
    Expired,
    /// The connection to the store was lost, and there was no grace.
    #[error("the connection was lost; a grace would have kept it")]
    Disconnected,
    /// The right to hold it has been taken away.
    #[error("the right to hold it was taken away")]
    Denied,
    /// The store was closed.
    #[error("the client was closed")]
    Closed,
}

/// Why a lease is not held, or something about it was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another one holds it, and it was not to be waited for, or not longer.
    #[error("{}", held(*.current))]
    Held {
        /// The epoch of who holds. None: it is nobody's for a while.
        current: Option<u64>,
    },
    /// The epoch is old: another one has held it since, or nobody holds it.
    #[error("{}", stale(*.current))]
    Stale {
        /// The epoch of who holds. None: nobody does.
        current: Option<u64>,
    },
    /// It is not held any more.
    #[error("the lease is lost: {0}")]
    Lost(#[from] Lost),
    /// Nobody of that name waits for it. It is held all the same.
    #[error("no candidate is called `{name}`; look who waits, or resign to whoever is next")]
    NoCandidate {
        /// The name.
        name: String,
    },
    /// No right.
    #[error("not allowed: {message}")]
    Denied {
        /// What is missing.
        message: String,
    },
    /// No store would take that.
    #[error("{what} = {value}; {range}")]
    Invalid {
        /// What is wrong.
        what: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// The store said no.
    #[error("{code}: {message}")]
    Refused {
        /// Why, by name.
        code: String,
        /// The same for people.
        message: String,
    },
    /// There was no answer, and nobody knows whether it was done.
    #[error("no answer: {because}")]
    Unreachable {
        /// Why.
        because: String,
        /// How long it was waited for, if that is known.
        after: Option<Duration>,
    },
    /// The store was closed.
    #[error("the client is closed; connect a new one")]
    Closed,
}

fn held(current: Option<u64>) -> String {
    match current {
        Some(epoch) => format!("epoch {epoch} holds it; wait longer, or try again later"),
        None => "it is nobody's for a while (lock_delay); try again later".into(),
    }
}

fn stale(current: Option<u64>) -> String {
    match current {
        Some(epoch) => format!("the epoch is old: {epoch} holds it now"),
        None => "the epoch is old: nobody holds it now".into(),
    }
}
