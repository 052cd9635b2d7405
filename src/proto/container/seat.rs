//! The seat of the leader, and what the leader does first: the set-up.

use std::time::Instant;

use super::machine::Machine;
use super::{Op, Output, Refusal, Seat};

/// What this instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It does not know; the next campaign is then.
    Unknown { campaign: Instant },
    /// It has asked for the seat.
    Campaigning(Op),
    /// Somebody else has it.
    Following,
    /// It has it.
    Leading { epoch: u64 },
}

/// How far the set-up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetUp {
    /// It is to be done, at that time.
    Needed(Instant),
    /// It is being done.
    Doing(Op),
    /// It is done, and the others are to be told, at that time.
    Unsaid(Instant),
    /// They are being told.
    Saying(Op),
    /// It is done.
    Done,
}

impl SetUp {
    pub(super) fn timeout(self) -> Option<Instant> {
        match self {
            Self::Needed(at) | Self::Unsaid(at) => Some(at),
            Self::Doing(_) | Self::Saying(_) | Self::Done => None,
        }
    }
}

impl Machine {
    /// The epoch, if this instance leads.
    pub(super) fn epoch(&self) -> Option<u64> {
        match self.role {
            Role::Leading { epoch } => Some(epoch),
            Role::Unknown { .. } | Role::Campaigning(_) | Role::Following => None,
        }
    }

    /// Whether the set-up is up to this instance.
    pub(super) fn sets_up(&self) -> bool {
        !self.settings.coordinated || self.epoch().is_some()
    }

    /// The seat may be free: campaign soon.
    pub(super) fn seat_again(&mut self, now: Instant) {
        let wait = self.random(self.settings.jitter);
        let campaign = (now + wait).max(self.stand_back_until.unwrap_or(now));
        self.role = Role::Unknown { campaign };
        self.failing_since = None;
    }

    /// This instance leads no more, and does not know who does.
    pub(super) fn unseat(&mut self) {
        self.role = Role::Following;
        self.failing_since = None;
        self.set_up_error = None;
        self.signalled = None;
    }

    pub(super) fn campaigned(&mut self, now: Instant, op: Op, outcome: Result<Seat, Refusal>) {
        if self.role != Role::Campaigning(op) {
            return;
        }
        match outcome {
            // It has changed hands since, and we have seen that first.
            Ok(Seat::Held { epoch, .. }) if epoch <= self.over => self.seat_again(now),
            Ok(Seat::Held { by, epoch, ours: true }) => {
                self.decided = true;
                self.leader = Some((by, epoch));
                self.role = Role::Leading { epoch };
                self.seat_waits.reset();
                self.set_up = SetUp::Needed(now);
                // A line that is up shows that the queue server is well.
                self.failing_since = (!self.line.is_up()).then_some(now);
            }
            Ok(Seat::Held { by, epoch, ours: false }) => self.follow(by, epoch),
            Ok(Seat::Vacant { .. }) => self.seat_again(now),
            Err(Refusal::Gone) => self.drop_tie(now, "the lease is gone".into()),
            Err(Refusal::Failed(_)) => {
                self.role = Role::Unknown { campaign: now + self.seat_waits.next_wait() };
            }
        }
    }

    fn follow(&mut self, by: String, epoch: u64) {
        self.unseat();
        self.decided = true;
        self.leader = Some((by, epoch));
    }

    pub(super) fn seen(&mut self, now: Instant, seat: Seat) {
        if let Seat::Vacant { after } = seat {
            self.over = self.over.max(after);
        }
        let known = self.leader.as_ref().map_or(0, |(_, epoch)| *epoch);
        match (seat, self.role) {
            (Seat::Vacant { .. }, Role::Campaigning(_)) => self.leader = None,
            // What we see may be older than what we know.
            (Seat::Vacant { after }, _) if known > after => {}
            (
                Seat::Vacant { .. },
                Role::Unknown { .. } | Role::Following | Role::Leading { .. },
            ) => {
                self.leader = None;
                self.unseat();
                self.seat_again(now);
            }
            // The answer to a campaign says it better.
            (Seat::Held { .. }, Role::Campaigning(_)) => {}
            (Seat::Held { epoch, .. }, _) if epoch <= known.max(self.over) => {}
            (Seat::Held { ours: true, .. }, _) => {
                // The answer to a campaign was lost; the next one says that the seat is ours.
                self.role = Role::Unknown { campaign: now };
            }
            (Seat::Held { by, epoch, ours: false }, _) => self.follow(by, epoch),
        }
    }

    pub(super) fn set_up_done(&mut self, now: Instant, op: Op, outcome: Result<(), String>) {
        if self.set_up != SetUp::Doing(op) {
            return;
        }
        match outcome {
            Ok(()) => {
                self.set_up_error = None;
                self.set_up_waits.reset();
                let said = self.signalled == self.epoch();
                self.set_up = if said { SetUp::Done } else { SetUp::Unsaid(now) };
            }
            Err(why) => {
                self.set_up_error = Some(why);
                self.failing_since.get_or_insert(now);
                self.set_up = SetUp::Needed(now + self.set_up_waits.next_wait());
            }
        }
    }

    pub(super) fn said(&mut self, now: Instant, op: Op, outcome: Result<(), Refusal>) {
        if self.set_up != SetUp::Saying(op) {
            return;
        }
        match (outcome, self.epoch()) {
            (Ok(()), epoch) => {
                self.signalled = epoch;
                self.set_up = SetUp::Done;
            }
            (Err(Refusal::Failed(_)), _) => {
                self.set_up = SetUp::Unsaid(now + self.set_up_waits.next_wait());
            }
            // Somebody else leads by now.
            (Err(Refusal::Gone), _) => {
                self.set_up = SetUp::Needed(now);
                self.unseat();
                self.seat_again(now);
            }
        }
    }

    /// What is due.
    pub(super) fn seat_due(&mut self, now: Instant) {
        if !self.life.is_running() {
            return;
        }
        if let (Role::Unknown { campaign }, Some(_)) = (self.role, self.tie.session())
            && campaign <= now
        {
            let op = self.next_op();
            self.role = Role::Campaigning(op);
            self.stand_back_until = None;
            self.out.push_back(Output::Campaign(op));
        }
        if let (Some(since), Some(_)) = (self.failing_since, self.epoch())
            && since + self.settings.patience <= now
        {
            // Another one may be luckier.
            self.stand_back_until = Some(now + self.settings.stand_back);
            self.drop_tie(now, "made room: the queue server cannot be reached".into());
        }
        if !self.sets_up() {
            return;
        }
        match self.set_up {
            SetUp::Needed(at) if at <= now => {
                let op = self.next_op();
                self.set_up = SetUp::Doing(op);
                self.out.push_back(Output::SetUp(op, self.epoch()));
            }
            SetUp::Unsaid(at) if at <= now => match self.epoch() {
                Some(epoch) => {
                    let op = self.next_op();
                    self.set_up = SetUp::Saying(op);
                    self.out.push_back(Output::Signal(op, epoch));
                }
                None => self.set_up = SetUp::Done,
            },
            SetUp::Needed(_)
            | SetUp::Doing(_)
            | SetUp::Unsaid(_)
            | SetUp::Saying(_)
            | SetUp::Done => {}
        }
    }
}
