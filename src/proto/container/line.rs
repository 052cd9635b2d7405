//! The line to the queue server, and what is taken from it.

use std::time::Instant;

use super::machine::Machine;
use super::seat::SetUp;
use super::{Op, Output};

/// The line.
#[derive(Debug)]
pub(super) enum Line {
    /// None; the next attempt is then.
    Down { retry: Option<Instant>, why: Option<String> },
    /// Asked for.
    Connecting { op: Op, why: Option<String> },
    /// There is one.
    Up { op: Op, tap: Tap },
}

/// How many messages are taken at a time; `None`: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tap {
    Is(Option<u16>),
    Turning(Op, Option<u16>),
}

impl Line {
    pub(super) fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// What is taken at a time.
    pub(super) fn taken(&self) -> Option<u16> {
        match self {
            Self::Up { tap: Tap::Is(taken), .. } => *taken,
            Self::Up { .. } | Self::Down { .. } | Self::Connecting { .. } => None,
        }
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        match self {
            Self::Down { retry, .. } => *retry,
            Self::Connecting { .. } | Self::Up { .. } => None,
        }
    }
}

impl Machine {
    /// Whether there is something to connect for.
    pub(super) fn may_connect(&self) -> bool {
        if self.sets_up() {
            self.set_up == SetUp::Done
        } else {
            self.served || (self.decided && self.configured)
        }
    }

    pub(super) fn connected(&mut self, now: Instant, op: Op, outcome: Result<(), String>) {
        if !matches!(&self.line, Line::Connecting { op: expected, .. } if *expected == op) {
            if outcome.is_ok() {
                self.out.push_back(Output::DropLine(op));
            }
            return;
        }
        match outcome {
            Ok(()) => {
                self.failing_since = None;
                self.line = Line::Up { op, tap: Tap::Is(None) };
            }
            Err(why) => self.line_down(now, why),
        }
    }

    pub(super) fn disconnected(&mut self, now: Instant, op: Op, why: String) {
        if matches!(&self.line, Line::Up { op: expected, .. } if *expected == op) {
            self.out.push_back(Output::DropLine(op));
            self.line_down(now, why);
        }
    }

    fn line_down(&mut self, now: Instant, why: String) {
        let retry = now + self.line_waits.next_wait();
        self.line = Line::Down { retry: Some(retry), why: Some(why) };
        if self.sets_up() {
            // The server may have come back without what was set up.
            self.failing_since.get_or_insert(now);
            self.set_up = SetUp::Needed(retry);
        }
    }

    pub(super) fn tapped(&mut self, now: Instant, op: Op, outcome: Result<(), String>) {
        let Line::Up { op: line, tap } = &mut self.line else { return };
        let line = *line;
        let Tap::Turning(expected, wanted) = *tap else { return };
        if expected != op {
            return;
        }
        match outcome {
            Ok(()) => {
                *tap = Tap::Is(wanted);
                self.line_waits.reset();
            }
            Err(why) => self.disconnected(now, line, why),
        }
    }

    fn wanted(&self) -> Option<u16> {
        let settings = &self.settings;
        let prefetch =
            if self.epoch().is_some() { settings.prefetch_leader } else { settings.prefetch };
        (self.life.is_running() && self.consume).then_some(prefetch)
    }

    /// What is due.
    pub(super) fn line_due(&mut self, now: Instant) {
        let wanted = self.wanted();
        match &mut self.line {
            Line::Down { retry, why } => {
                let due = retry.is_none_or(|retry| retry <= now);
                if due && self.life.is_running() {
                    let why = why.take();
                    if self.may_connect() {
                        let op = self.next_op();
                        self.line = Line::Connecting { op, why };
                        self.out.push_back(Output::Connect(op));
                    } else {
                        self.line = Line::Down { retry: None, why };
                    }
                }
            }
            Line::Up { tap, .. } => {
                if *tap == Tap::Is(wanted) {
                    self.served |= self.life.is_running();
                } else if matches!(tap, Tap::Is(_)) {
                    let op = self.next_op();
                    if let Line::Up { tap, .. } = &mut self.line {
                        *tap = Tap::Turning(op, wanted);
                    }
                    self.out.push_back(Output::Tap(op, wanted));
                }
            }
            Line::Connecting { .. } => {}
        }
    }
}
