//! The machine: inputs to where they belong, then whatever is due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::line::{Line, Tap};
use super::seat::{Role, SetUp};
use super::status::{Link, State, Status, Step};
use super::tie::Tie;
use super::{Input, Op, Output, Settings};
use crate::proto::backoff::Backoff;

/// A stop that may take longer is cut to this: no clock can hold any time.
const STOP_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Whether the instance lives.
#[derive(Debug)]
pub(super) enum Life {
    New,
    Running,
    Stopping { deadline: Instant, drain: Part, resign: Part },
    Done,
}

/// A part of the stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Ahead,
    Doing(Op),
    Done,
}

impl Life {
    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
}

/// One instance.
///
/// ```
/// use std::time::Duration;
/// use majordomo::proto::container::{Input, Machine, Op, Output, Settings};
///
/// let now = tokio::time::Instant::now().into_std();
/// let mut machine = Machine::new(now, Settings::default(), 7);
/// machine.handle(now, Input::Start);
/// assert_eq!(machine.poll_output(), Some(Output::Open(Op(1))));
/// ```
#[derive(Debug)]
pub struct Machine {
    pub(super) settings: Settings,
    /// The life of the lease as the store gave it.
    pub(super) ttl: Duration,
    pub(super) life: Life,
    pub(super) tie: Tie,
    pub(super) tie_waits: Backoff,
    pub(super) role: Role,
    pub(super) seat_waits: Backoff,
    /// Who leads, as far as this instance knows.
    pub(super) leader: Option<(String, u64)>,
    /// Holders up to that epoch have left the seat.
    pub(super) over: u64,
    pub(super) stand_back_until: Option<Instant>,
    pub(super) set_up: SetUp,
    pub(super) set_up_waits: Backoff,
    pub(super) set_up_error: Option<String>,
    /// The epoch whose set-up the others were told of.
    pub(super) signalled: Option<u64>,
    /// Since when the leader cannot do its work.
    pub(super) failing_since: Option<Instant>,
    pub(super) line: Line,
    pub(super) line_waits: Backoff,
    /// What the store says of the set-up.
    pub(super) configured: bool,
    /// What the store says of consuming.
    pub(super) consume: bool,
    /// It was known once who leads.
    pub(super) decided: bool,
    /// It has served.
    pub(super) served: bool,
    pub(super) out: VecDeque<Output>,
    told: Option<Status>,
    ops: u64,
    seed: u64,
}

impl Machine {
    /// An instance that has not been started. The seed decides the random waits.
    #[must_use]
    pub fn new(now: Instant, settings: Settings, seed: u64) -> Self {
        let backoff = |stream: u64| {
            let seed = seed.wrapping_add(stream.wrapping_mul(0xD6E8_FEB8_6659_FD93));
            Backoff::new(settings.backoff_base, settings.backoff_cap, seed)
        };
        let tie =
            if settings.coordinated { Tie::Down { retry: now, why: None } } else { Tie::Unused };
        Self {
            ttl: settings.ttl,
            life: Life::New,
            tie,
            tie_waits: backoff(1),
            role: Role::Following,
            seat_waits: backoff(2),
            leader: None,
            over: 0,
            stand_back_until: None,
            set_up: SetUp::Needed(now),
            set_up_waits: backoff(3),
            set_up_error: None,
            signalled: None,
            failing_since: None,
            line: Line::Down { retry: None, why: None },
            line_waits: backoff(4),
            configured: false,
            consume: true,
            decided: false,
            served: false,
            out: VecDeque::new(),
            told: None,
            ops: 0,
            seed,
            settings,
        }
    }

    /// Something has happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        // What has run out while we slept has run out before this came.
        self.due(now);
        match input {
            Input::Start if matches!(self.life, Life::New) => self.life = Life::Running,
            Input::Start => {}
            Input::Stop(within) => self.stop(now + within.min(STOP_MAX)),
            Input::Opened(op, outcome) => self.opened(now, op, outcome),
            Input::Broken(op, why) => {
                if self.tie.session() == Some(op) {
                    self.drop_tie(now, why);
                }
            }
            Input::Campaigned(op, outcome) => self.campaigned(now, op, outcome),
            Input::Renewed(op, outcome) => self.renewed(now, op, outcome),
            Input::Seen(op, seat) => {
                if self.tie.session() == Some(op) {
                    self.seen(now, seat);
                }
            }
            Input::SeenConfigured(op, configured) => {
                if self.tie.session() == Some(op) {
                    self.configured = configured;
                }
            }
            Input::SeenConsume(op, consume) => {
                if self.tie.session() == Some(op) {
                    self.consume = consume;
                }
            }
            Input::SetUp(op, outcome) => self.set_up_done(now, op, outcome),
            Input::Signalled(op, outcome) => self.said(now, op, outcome),
            Input::Connected(op, outcome) => self.connected(now, op, outcome),
            Input::Disconnected(op, why) => self.disconnected(now, op, why),
            Input::Tapped(op, outcome) => self.tapped(now, op, outcome),
            Input::Drained(op) => self.part_done(op),
            Input::Resigned(op) => self.part_done(op),
        }
        self.due(now);
        self.tell();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.due(now);
        self.tell();
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Machine::handle_timeout`] is to be called at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.life {
            Life::New | Life::Done => None,
            Life::Stopping { deadline, .. } => Some(*deadline),
            Life::Running => {
                let campaign = match (self.role, self.tie.session()) {
                    (Role::Unknown { campaign }, Some(_)) => Some(campaign),
                    _ => None,
                };
                let patience = self.epoch().and(self.failing_since);
                let patience = patience.map(|since| since + self.settings.patience);
                let set_up = self.set_up.timeout().filter(|_| self.sets_up());
                let all = [self.tie.timeout(), campaign, patience, set_up, self.line.timeout()];
                all.into_iter().flatten().min()
            }
        }
    }

    pub(super) fn next_op(&mut self) -> Op {
        self.ops += 1;
        Op(self.ops)
    }

    /// Up to so long.
    pub(super) fn random(&mut self, most: Duration) -> Duration {
        // Between the half and all of twice as much.
        let drawn = Backoff::new(most * 2, most * 2, self.seed).next_wait();
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        drawn.saturating_sub(most)
    }

    #[cfg(test)]
    pub(super) fn line_op(&self) -> Op {
        match &self.line {
            Line::Up { op, .. } | Line::Connecting { op, .. } => *op,
            Line::Down { .. } => Op(0),
        }
    }

    fn due(&mut self, now: Instant) {
        if matches!(self.life, Life::Running) {
            self.tie_due(now);
            self.seat_due(now);
            // It may have given up its session just now.
            self.tie_due(now);
            self.line_due(now);
        } else {
            self.stop_due(now);
        }
    }

    fn stop(&mut self, deadline: Instant) {
        match &mut self.life {
            Life::New => {
                self.life = Life::Done;
                self.out.push_back(Output::Finished);
            }
            Life::Running => {
                let (drain, resign) = (Part::Ahead, Part::Ahead);
                self.life = Life::Stopping { deadline, drain, resign };
            }
            Life::Stopping { deadline: earlier, .. } => *earlier = deadline.min(*earlier),
            Life::Done => {}
        }
    }

    fn part_done(&mut self, op: Op) {
        if let Life::Stopping { drain, resign, .. } = &mut self.life {
            for part in [drain, resign] {
                if *part == Part::Doing(op) {
                    *part = Part::Done;
                }
            }
        }
    }

    fn stop_due(&mut self, now: Instant) {
        if !matches!(self.life, Life::Stopping { .. }) {
            return;
        }
        self.line_due(now);
        let shut = match &self.line {
            Line::Up { tap, .. } => *tap == Tap::Is(None),
            Line::Down { .. } | Line::Connecting { .. } => true,
        };
        let session = self.tie.session();
        let (next, after) = (self.next_op(), self.next_op());
        let Life::Stopping { deadline, drain, resign } = &mut self.life else { return };
        // Another one can lead while this one finishes what it has.
        let resigns = *resign == Part::Ahead;
        if resigns {
            *resign = if session.is_some() { Part::Doing(next) } else { Part::Done };
            if session.is_some() {
                self.out.push_back(Output::Resign(next));
            }
        }
        if *drain == Part::Ahead && shut {
            *drain = Part::Doing(after);
            self.out.push_back(Output::Drain(after));
        }
        let done = *drain == Part::Done && *resign == Part::Done;
        let over = done || *deadline <= now;
        if resigns {
            self.unseat();
        }
        if over {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.life = Life::Done;
        if let Line::Up { op, .. } = self.line {
            self.out.push_back(Output::DropLine(op));
        }
        self.line = Line::Down { retry: None, why: None };
        if let Some(session) = self.tie.session() {
            self.out.push_back(Output::DropSession(session));
        }
        self.tie = Tie::Unused;
        self.unseat();
        self.leader = None;
        self.tell();
        self.out.push_back(Output::Finished);
    }

    fn tell(&mut self) {
        let status = self.status();
        if self.told.as_ref() != Some(&status) {
            self.told = Some(status.clone());
            self.out.push_back(Output::Status(status));
        }
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let done = matches!(self.life, Life::Done);
        let coordination = match &self.tie {
            _ if done || !self.settings.coordinated => Link::Unused,
            Tie::Unused => Link::Unused,
            Tie::Up(session) => session.trouble.clone().map_or(Link::Up, Link::Down),
            Tie::Down { why, .. } | Tie::Opening { why, .. } => {
                why.clone().map_or(Link::Connecting, Link::Down)
            }
        };
        let queues = match &self.line {
            _ if done => Link::Unused,
            Line::Up { .. } => Link::Up,
            Line::Down { why, .. } | Line::Connecting { why, .. } => {
                why.clone().map_or(Link::Connecting, Link::Down)
            }
        };
        let (leader, epoch) = self.leader.clone().unzip();
        Status {
            state: self.state(),
            step: self.step(),
            leading: self.epoch().is_some(),
            leader,
            epoch,
            coordination,
            queues,
            set_up_error: self.set_up_error.clone(),
            configured: if self.sets_up() { self.set_up == SetUp::Done } else { self.configured },
            consume: self.consume,
            prefetch: self.line.taken(),
        }
    }

    fn state(&self) -> State {
        match &self.life {
            Life::New => State::Startup,
            Life::Stopping { .. } => State::Stopping,
            Life::Done => State::Shutdown,
            Life::Running if !self.settings.coordinated => {
                if self.served {
                    State::RunningStandalone
                } else {
                    State::Startup
                }
            }
            Life::Running if !self.served => {
                if self.decided {
                    State::StartupLeaderDecided
                } else {
                    State::StartupLeaderElection
                }
            }
            Life::Running if self.epoch().is_none() => State::RunningFollower,
            Life::Running if self.signalled == self.epoch() => State::RunningLeader,
            Life::Running => State::TakingLeadership,
        }
    }

    fn step(&self) -> Step {
        match &self.life {
            Life::New => return Step::New,
            Life::Done => return Step::Done,
            Life::Stopping { drain, resign, .. } => {
                return match (drain, resign) {
                    (Part::Ahead, _) => Step::StopConsuming,
                    (Part::Doing(_), _) => Step::Drain,
                    (Part::Done, Part::Done) => Step::Done,
                    (Part::Done, _) => Step::HandOver,
                };
            }
            Life::Running => {}
        }
        if self.settings.coordinated && !self.decided {
            let up = self.tie.session().is_some();
            return if up { Step::Campaign } else { Step::Coordinate };
        }
        match self.set_up {
            SetUp::Needed(_) | SetUp::Doing(_) if self.sets_up() => return Step::SetUp,
            SetUp::Unsaid(_) | SetUp::Saying(_) if self.sets_up() => return Step::Signal,
            _ => {}
        }
        match &self.line {
            Line::Up { tap: Tap::Turning(..), .. } if !self.served => Step::Consume,
            Line::Up { .. } => Step::Serve,
            Line::Down { .. } | Line::Connecting { .. } if self.may_connect() => Step::Connect,
            Line::Down { .. } | Line::Connecting { .. } => Step::WaitForReady,
        }
    }
}
