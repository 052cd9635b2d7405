//! The life of one instance of a service container (SPEC 17.1): coordinate, campaign, set up or
//! wait, connect, consume, serve, stop.
//!
//! ```text
//!             start                 seat decided              consuming
//! startup ----------> ...-election -------------> ...-decided ---------> running-leader
//!    |                                                         \-------> running-follower
//!    | no coordination                                consuming             |        ^
//!    \------------------------------------------------> running-standalone  | seat   | set up,
//!                                                                           v won    | signalled
//!          stop, from anywhere: stopping -> shutdown                     taking-leadership
//! ```
//!
//! The machine decides and does nothing: inputs come with the time, what is to be done is drained
//! from [`Machine::poll_output`]. Four things go on beside one another, each with its own state:
//! the session with the coordination store ([`tie`](self)), the seat of the leader, the set-up of
//! the queues, and the line to the queue server. None of them ends the instance when it fails: it
//! is tried again, and [`Status`] says meanwhile what is wrong.
//!
//! A leader measures its lease by the clock it is given, from the moment a renewal was asked for,
//! and stops to lead when that has run out, whatever the store may say later.

mod callers;
mod health;
mod line;
mod machine;
mod seat;
mod status;
#[cfg(test)]
mod tests;
mod tie;

use std::time::Duration;

pub use callers::{CALLERS_MAX, CallerSettings, Callers, Dealt, Tally};
pub use health::{Figures, Health, HealthSettings, Reading, Signal};
pub use machine::Machine;
pub use status::{Link, State, Status, Step};

/// One thing that is to be done, by number; its outcome comes back with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Op(pub u64);

/// How an instance behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether there is a coordination store. Without one the instance sets up by itself.
    pub coordinated: bool,
    /// Life of the leader's lease. It is renewed at a third of it.
    pub ttl: Duration,
    /// A leader that cannot set up, or has no queue server, for so long makes room.
    pub patience: Duration,
    /// For so long it leaves the seat to the others.
    pub stand_back: Duration,
    /// Longest random wait before a campaign, so that not all come at once.
    pub jitter: Duration,
    /// First wait before something is tried again.
    pub backoff_base: Duration,
    /// Longest such wait.
    pub backoff_cap: Duration,
    /// Messages in work at a time.
    pub prefetch: u16,
    /// The same for the leader.
    pub prefetch_leader: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            coordinated: true,
            ttl: Duration::from_secs(15),
            patience: Duration::from_secs(15),
            stand_back: Duration::from_secs(15),
            jitter: Duration::from_millis(100),
            backoff_base: Duration::from_millis(200),
            backoff_cap: Duration::from_secs(5),
            prefetch: 10,
            prefetch_leader: 5,
        }
    }
}

/// Who has the seat of the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seat {
    /// Nobody, and holders up to that epoch have left it.
    Vacant {
        /// The epoch, or a later one that nobody had.
        after: u64,
    },
    /// Somebody.
    Held {
        /// The instance id.
        by: String,
        /// Grows with every holder.
        epoch: u64,
        /// Whether it is this session's own.
        ours: bool,
    },
}

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The lease is gone, or the seat is no longer ours.
    Gone,
    /// There was no answer, or another one; the text says which.
    Failed(String),
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Begin.
    Start,
    /// End: no more than that time for what is in work.
    Stop(Duration),
    /// A session with the store, with a lease of that life, or why there is none.
    Opened(Op, Result<Duration, String>),
    /// The session is broken.
    Broken(Op, String),
    /// What came of a campaign.
    Campaigned(Op, Result<Seat, Refusal>),
    /// What came of a renewal.
    Renewed(Op, Result<(), Refusal>),
    /// The session of that number sees who has the seat.
    Seen(Op, Seat),
    /// The session of that number sees whether the queues are set up.
    SeenConfigured(Op, bool),
    /// The session of that number sees whether instances are to consume.
    SeenConsume(Op, bool),
    /// What came of a set-up.
    SetUp(Op, Result<(), String>),
    /// What came of the signal that the queues are set up.
    Signalled(Op, Result<(), Refusal>),
    /// A line to the queue server, or why there is none.
    Connected(Op, Result<(), String>),
    /// The line is broken.
    Disconnected(Op, String),
    /// What came of a change of consuming.
    Tapped(Op, Result<(), String>),
    /// Nothing is in work any more.
    Drained(Op),
    /// The seat is given up, or it cannot be.
    Resigned(Op),
}

/// What is to be done. Each `Op` but that of a `Drop` wants its [`Input`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Get a lease, and watch: [`Input::Opened`]. The `Op` names the session from then on.
    Open(Op),
    /// Try to get the seat: [`Input::Campaigned`].
    Campaign(Op),
    /// Renew the lease: [`Input::Renewed`].
    Renew(Op),
    /// Give up the lease, and with it the seat: [`Input::Resigned`].
    Resign(Op),
    /// Forget the session; give up its lease if that can be done without waiting for it.
    DropSession(Op),
    /// Make exchanges and queues as they have to be: [`Input::SetUp`]. The epoch of the leader.
    SetUp(Op, Option<u64>),
    /// Tell the others that it is done: [`Input::Signalled`].
    Signal(Op, u64),
    /// Connect with the queue server: [`Input::Connected`]. The `Op` names the line from then on.
    Connect(Op),
    /// Take so many messages at a time from now on, or none: [`Input::Tapped`].
    Tap(Op, Option<u16>),
    /// Forget the line.
    DropLine(Op),
    /// Wait until nothing is in work: [`Input::Drained`].
    Drain(Op),
    /// Something in here is different.
    Status(Status),
    /// That is all.
    Finished,
}
