//! What an instance says of itself.

use serde::Serialize;

/// The states of NuroPb, by its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not started; or without coordination, not yet consuming.
    Startup,
    /// Nobody knows yet who leads.
    StartupLeaderElection,
    /// It is known who leads; not yet consuming.
    StartupLeaderDecided,
    /// It leads, and serves.
    RunningLeader,
    /// Somebody else leads, or nobody; it serves.
    RunningFollower,
    /// There is no coordination; it serves.
    RunningStandalone,
    /// It has become the leader, serves, and sets up.
    TakingLeadership,
    /// It takes nothing new.
    Stopping,
    /// It has stopped.
    Shutdown,
}

impl State {
    /// All of them, in their order.
    pub const ALL: [Self; 9] = [
        Self::Startup,
        Self::StartupLeaderElection,
        Self::StartupLeaderDecided,
        Self::RunningLeader,
        Self::RunningFollower,
        Self::RunningStandalone,
        Self::TakingLeadership,
        Self::Stopping,
        Self::Shutdown,
    ];

    /// As NuroPb writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::StartupLeaderElection => "startup-leader-election",
            Self::StartupLeaderDecided => "startup-leader-decided",
            Self::RunningLeader => "running-leader",
            Self::RunningFollower => "running-follower",
            Self::RunningStandalone => "running-standalone",
            Self::TakingLeadership => "taking-leadership",
            Self::Stopping => "stopping",
            Self::Shutdown => "shutdown",
        }
    }

    /// Whether it has begun to serve and has not been told to stop.
    #[must_use]
    pub const fn is_running(self) -> bool {
        matches!(
            self,
            Self::RunningLeader
                | Self::RunningFollower
                | Self::RunningStandalone
                | Self::TakingLeadership
        )
    }
}

/// What it is at, in the order of a start and a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// It has not been started.
    New,
    /// It needs a session with the coordination store.
    Coordinate,
    /// It asks for the seat of the leader.
    Campaign,
    /// It makes the exchanges and queues.
    SetUp,
    /// It tells the others.
    Signal,
    /// It waits for the leader to do so.
    WaitForReady,
    /// It needs a line to the queue server.
    Connect,
    /// It has one, and begins to take messages.
    Consume,
    /// It takes messages, or is told not to.
    Serve,
    /// It stops taking messages.
    StopConsuming,
    /// It waits for those in work.
    Drain,
    /// It gives up its lease.
    HandOver,
    /// It has ended.
    Done,
}

/// One of the two servers, as this instance sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "link", content = "why")]
pub enum Link {
    /// There is none, and need not be.
    Unused,
    /// Not yet, or not yet again.
    Connecting,
    /// It answers.
    Up,
    /// It does not, and why.
    Down(String),
}

/// All of it at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The state.
    pub state: State,
    /// What it is at.
    pub step: Step,
    /// Whether this instance leads.
    pub leading: bool,
    /// The instance that leads, as far as this one knows.
    pub leader: Option<String>,
    /// The epoch of that leader.
    pub epoch: Option<u64>,
    /// The coordination store.
    pub coordination: Link,
    /// The queue server.
    pub queues: Link,
    /// Why the set-up failed last, until it succeeds.
    pub set_up_error: Option<String>,
    /// Whether the queues are set up.
    pub configured: bool,
    /// Whether instances are to consume.
    pub consume: bool,
    /// Messages that may be in work at a time; none while it does not consume.
    pub prefetch: Option<u16>,
}
