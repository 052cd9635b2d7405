//! The session with the coordination store, and its lease.

use std::time::Instant;

use super::machine::Machine;
use super::{Op, Output, Refusal};

/// The session.
#[derive(Debug)]
pub(super) enum Tie {
    /// There is no store.
    Unused,
    /// None; the next attempt is then.
    Down { retry: Instant, why: Option<String> },
    /// Asked for, at that time.
    Opening { op: Op, asked: Instant, why: Option<String> },
    /// There is one.
    Up(Session),
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) op: Op,
    /// By our clock the lease is good until then.
    until: Instant,
    renew: Instant,
    renewing: Option<(Op, Instant)>,
    /// Why the last renewal failed.
    pub(super) trouble: Option<String>,
}

impl Tie {
    pub(super) fn session(&self) -> Option<Op> {
        match self {
            Self::Up(session) => Some(session.op),
            Self::Unused | Self::Down { .. } | Self::Opening { .. } => None,
        }
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        match self {
            Self::Unused | Self::Opening { .. } => None,
            Self::Down { retry, .. } => Some(*retry),
            Self::Up(session) => {
                let renew = session.renewing.is_none().then_some(session.renew);
                Some(renew.map_or(session.until, |renew| renew.min(session.until)))
            }
        }
    }
}

impl Machine {
    pub(super) fn opened(
        &mut self,
        now: Instant,
        op: Op,
        outcome: Result<std::time::Duration, String>,
    ) {
        let asked = match &self.tie {
            Tie::Opening { op: expected, asked, .. } if *expected == op => *asked,
            // Nobody waits for it any more.
            _ => {
                if outcome.is_ok() {
                    self.out.push_back(Output::DropSession(op));
                }
                return;
            }
        };
        match outcome {
            Ok(ttl) => {
                let ttl = ttl.min(self.settings.ttl);
                self.ttl = ttl;
                self.tie_waits.reset();
                self.tie = Tie::Up(Session {
                    op,
                    until: asked + (ttl - ttl / 15),
                    renew: asked + ttl / 3,
                    renewing: None,
                    trouble: None,
                });
                self.seat_again(now);
            }
            Err(why) => self.tie_down(now, why),
        }
    }

    pub(super) fn renewed(&mut self, now: Instant, op: Op, outcome: Result<(), Refusal>) {
        let wait = self.ttl / 15;
        let Tie::Up(session) = &mut self.tie else { return };
        let Some((_, asked)) = session.renewing.take_if(|(expected, _)| *expected == op) else {
            return;
        };
        match outcome {
            Ok(()) => {
                session.until = asked + (self.ttl - self.ttl / 15);
                session.renew = asked + self.ttl / 3;
                session.trouble = None;
            }
            Err(Refusal::Failed(why)) => {
                session.renew = now + wait;
                session.trouble = Some(why);
            }
            Err(Refusal::Gone) => self.drop_tie(now, "the lease is gone".into()),
        }
    }

    /// The session is over, for us.
    pub(super) fn drop_tie(&mut self, now: Instant, why: String) {
        if let Some(session) = self.tie.session() {
            self.out.push_back(Output::DropSession(session));
            self.tie_down(now, why);
        }
    }

    fn tie_down(&mut self, now: Instant, why: String) {
        let retry = now + self.tie_waits.next_wait();
        self.tie = Tie::Down { retry, why: Some(why) };
        self.unseat();
        self.leader = None;
    }

    /// What is due.
    pub(super) fn tie_due(&mut self, now: Instant) {
        match &mut self.tie {
            Tie::Down { retry, why } if *retry <= now && self.life.is_running() => {
                let why = why.take();
                let op = self.next_op();
                self.tie = Tie::Opening { op, asked: now, why };
                self.out.push_back(Output::Open(op));
            }
            Tie::Up(session) if session.until <= now => {
                let why = session.trouble.take();
                let why = why.unwrap_or_else(|| "no answer".into());
                self.drop_tie(now, format!("the lease has run out: {why}"));
            }
            Tie::Up(session) if session.renew <= now && session.renewing.is_none() => {
                if self.life.is_running() {
                    let op = self.next_op();
                    if let Tie::Up(session) = &mut self.tie {
                        session.renewing = Some((op, now));
                    }
                    self.out.push_back(Output::Renew(op));
                }
            }
            Tie::Unused | Tie::Down { .. } | Tie::Opening { .. } | Tie::Up(_) => {}
        }
    }
}
