//! One call: where it is, and what an event makes of it.

use std::time::{Duration, Instant};

use super::LaneId;

/// What a caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// From then on nobody waits for an answer.
    pub deadline: Instant,
    /// How often it may be sent, 1 or more.
    pub attempts: u32,
    /// A repeat of it is known as one: it may be sent again whenever its connection was lost, and
    /// that is no attempt.
    pub repeats: bool,
}

/// Why a call ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The deadline passed.
    Expired {
        /// Whether it was sent, ever.
        sent: bool,
    },
    /// The connection that it was sent on was lost, and it may not be sent again.
    Lost,
    /// Too many calls wait already.
    TooMany,
    /// The client is closed.
    Closed,
}

/// Where a call is.
///
/// ```text
///                 a lane is free                    FINAL, ERROR for good
///   Waiting ---------------------------> Sent ----------------------------> ended
///    ^   ^                               |  |                                 ^
///    |   |  lost, with attempts left     |  | ERROR that may pass,            |
///    |   +-------------------------------+  | with attempts and time left     |
///    |                                      v                                 |
///    +------------- its time has come --- Resting                             |
///                                                                             |
///   any: deadline, cancelled, client closed; Sent: lost, without attempts ----+
/// ```
///
/// What [`Terms::repeats`] needs no attempt to go again when it is lost.
///
/// What has had a PARTIAL is not sent again: its caller has seen a part of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// For a free place on a lane.
    Waiting,
    /// On its way, or at work.
    Sent { lane: LaneId, heard: bool },
    /// Until it makes sense to try again.
    Resting { until: Instant },
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A lane has a place for it.
    Chosen(LaneId),
    /// A part of the answer came on that lane.
    Part(LaneId),
    /// All the rest of the answer came.
    Final(LaneId),
    /// The request was refused; with a time after which it may be tried again.
    Refused(LaneId, Option<Instant>),
    /// That lane was lost.
    Lost(LaneId),
    /// It has rested until then.
    Rested(Instant),
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: the event is none of its own.
    Ignore,
    /// Only the state changes.
    Go,
    /// It has to wait for a place, before those that have never been sent.
    WaitFirst,
    /// It has to wait for a place, behind the others.
    WaitLast,
    /// A timer has to be armed.
    Rest(Instant),
    /// It has its answer.
    Done,
    /// It has none.
    Fail(Failure),
}

/// One call; `P` is what its owner wants to know about it.
#[derive(Debug)]
pub(super) struct Call<P> {
    pub(super) payload: P,
    pub(super) terms: Terms,
    pub(super) state: State,
    /// How often it was sent.
    pub(super) sent: u32,
    /// How often that was no attempt of its own, but the same once more.
    resent: u32,
}

impl<P> Call<P> {
    pub(super) fn new(payload: P, terms: Terms) -> Self {
        Self { payload, terms, state: State::Waiting, sent: 0, resent: 0 }
    }

    /// Whether it may be sent once more.
    fn may_go_again(&self, heard: bool) -> bool {
        !heard && self.attempts() < self.terms.attempts
    }

    /// How often it was sent, not counting what was only the same once more.
    pub(super) fn attempts(&self) -> u32 {
        self.sent.saturating_sub(self.resent)
    }

    /// Takes an event.
    pub(super) fn on(&mut self, event: Event) -> Step {
        use Event::{Chosen, Final, Lost, Part, Refused, Rested};
        use State::{Resting, Sent, Waiting};
        match (self.state, event) {
            (Waiting, Chosen(lane)) => {
                self.sent = self.sent.saturating_add(1);
                self.state = Sent { lane, heard: false };
                Step::Go
            }
            (Sent { lane, .. }, Part(on)) if lane == on => {
                self.state = Sent { lane, heard: true };
                Step::Go
            }
            (Sent { lane, .. }, Final(on)) if lane == on => Step::Done,
            (Sent { lane, heard }, Refused(on, again)) if lane == on => match again {
                Some(until) if self.may_go_again(heard) && until < self.terms.deadline => {
                    self.state = Resting { until };
                    Step::Rest(until)
                }
                Some(_) | None => Step::Done,
            },
            (Sent { lane, heard }, Lost(on)) if lane == on => {
                let repeats = self.terms.repeats && !heard;
                if repeats || self.may_go_again(heard) {
                    self.resent = self.resent.saturating_add(u32::from(repeats));
                    self.state = Waiting;
                    Step::WaitFirst
                } else {
                    Step::Fail(Failure::Lost)
                }
            }
            (Resting { until }, Rested(at)) if until == at => {
                self.state = Waiting;
                Step::WaitLast
            }
            // What comes late, or on a lane that has been replaced, or for a timer of old.
            (Waiting, Part(_) | Final(_) | Refused(..) | Lost(_) | Rested(_))
            | (Sent { .. }, Chosen(_) | Part(_) | Final(_) | Refused(..) | Lost(_) | Rested(_))
            | (
                Resting { .. },
                Chosen(_) | Part(_) | Final(_) | Refused(..) | Lost(_) | Rested(_),
            ) => Step::Ignore,
        }
    }

    /// Where it is at work.
    pub(super) fn lane(&self) -> Option<LaneId> {
        match self.state {
            State::Sent { lane, .. } => Some(lane),
            State::Waiting | State::Resting { .. } => None,
        }
    }

    /// How often it may be sent, counting the time that it was sent last.
    pub(super) fn attempts_left(&self) -> u32 {
        self.terms.attempts.saturating_sub(self.attempts()).saturating_add(1)
    }

    /// Time left at `now`.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.terms.deadline.saturating_duration_since(now)
    }
}
