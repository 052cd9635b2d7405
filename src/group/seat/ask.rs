//! What the holders of a group want, and what becomes of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::polls::{Agreed, Opened};
use super::{Open, Phase, Say, Seat, Send};
use crate::group::error::GroupError;
use crate::group::event::{Ack, Parted, PollResult};
use crate::group::words::{BrokerTime, PollId, Recipient};
use crate::proto::group::Vote;
use crate::wire::mjp::{Code, GroupReport};

/// Where an answer goes.
pub(in crate::group) type Reply<T> = oneshot::Sender<Result<T, GroupError>>;

/// What a holder of the group wants.
pub(in crate::group) enum Wish {
    /// `epoch` is asked for by who leads; without it a message is a leader's if this member leads.
    Send {
        send: Box<Send>,
        reply: Reply<Ack>,
    },
    Resign {
        epoch: Option<u64>,
        to: Option<Recipient>,
        reply: Reply<()>,
    },
    Open {
        opened: Opened,
        reply: Reply<PollResult>,
    },
    Vote {
        poll: PollId,
        vote: Vote,
        reply: Reply<()>,
    },
    Agree {
        agreed: Box<Agreed>,
        reply: Reply<()>,
    },
    Result {
        poll: PollId,
        reply: Reply<Option<PollResult>>,
    },
    Leave {
        reply: Reply<()>,
    },
}

/// A question that was sent and has no answer yet.
pub(super) enum Ask {
    Send(Reply<Ack>),
    Resign(Reply<()>),
    Open(Arc<Open>),
    Vote {
        vote: Vote,
        reply: Reply<()>,
    },
    Agree {
        poll: PollId,
        error: Duration,
        wanted: Option<Duration>,
        reply: Reply<()>,
    },
    Result(Reply<Option<PollResult>>),
    /// The result of a poll that was opened here, or agreed to, on a connection before.
    Again(PollId),
    Leave(Reply<()>),
}

/// Questions by their ids. All of them have the same time, so the first one is due first.
#[derive(Default)]
pub(super) struct Asks {
    open: BTreeMap<u64, Ask>,
    due: VecDeque<(Instant, u64)>,
}

impl Asks {
    fn put(&mut self, id: u64, ask: Ask, until: Instant) {
        self.open.insert(id, ask);
        self.due.push_back((until, id));
    }

    pub(super) fn take(&mut self, id: u64) -> Option<Ask> {
        let ask = self.open.remove(&id);
        while self.due.front().is_some_and(|(_, id)| !self.open.contains_key(id)) {
            self.due.pop_front();
        }
        ask
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due.front().map(|(until, _)| *until)
    }

    /// Ends those whose time is over.
    pub(super) fn expire(&mut self, now: Instant, after: Duration) {
        while let Some((until, id)) = self.due.front().copied()
            && until <= now
        {
            self.due.pop_front();
            if let Some(ask) = self.open.remove(&id) {
                ask.fail(&GroupError::NoAnswer { after });
            }
        }
    }

    /// The connection is lost. Whether this member was about to leave: then it has.
    pub(super) fn lose(&mut self, error: &GroupError) -> bool {
        self.due.clear();
        let mut left = false;
        for ask in std::mem::take(&mut self.open).into_values() {
            match ask {
                Ask::Leave(reply) => {
                    left = true;
                    let _ = reply.send(Ok(()));
                }
                ask => ask.fail(error),
            }
        }
        left
    }

    /// Nobody answers any more.
    pub(super) fn end(&mut self, error: &GroupError) {
        self.due.clear();
        for ask in std::mem::take(&mut self.open).into_values() {
            match ask {
                Ask::Leave(reply) => drop(reply.send(Ok(()))),
                ask => ask.fail(error),
            }
        }
    }
}

impl Ask {
    fn fail(self, error: &GroupError) {
        let error = error.clone();
        match self {
            Self::Send(reply) => drop(reply.send(Err(error))),
            Self::Resign(reply)
            | Self::Vote { reply, .. }
            | Self::Agree { reply, .. }
            | Self::Leave(reply) => drop(reply.send(Err(error))),
            Self::Result(reply) => drop(reply.send(Err(error))),
            // Who waits for it has a time of its own.
            Self::Open(_) | Self::Again(_) => {}
        }
    }
}

impl Wish {
    /// It cannot be had.
    pub(in crate::group) fn fail(self, error: GroupError) {
        match self {
            Self::Send { reply, .. } => drop(reply.send(Err(error))),
            Self::Open { reply, .. } => drop(reply.send(Err(error))),
            Self::Result { reply, .. } => drop(reply.send(Err(error))),
            // Who is no member has left.
            Self::Leave { reply } if error == GroupError::Left => drop(reply.send(Ok(()))),
            Self::Resign { reply, .. }
            | Self::Vote { reply, .. }
            | Self::Agree { reply, .. }
            | Self::Leave { reply } => drop(reply.send(Err(error))),
        }
    }
}

impl Seat {
    /// Somebody wants something.
    pub(in crate::group) fn wish(&mut self, now: Instant, wish: Wish) {
        self.now = now;
        match (&self.phase, wish) {
            (Phase::Over, wish) => wish.fail(GroupError::Left),
            (Phase::Member(_), wish) => self.grant(wish),
            (
                Phase::Apart | Phase::Joining { .. } | Phase::Waiting { .. },
                Wish::Leave { reply },
            ) => {
                let _ = reply.send(Ok(()));
                self.abandon(now, Parted::Left);
            }
            (Phase::Apart | Phase::Joining { .. } | Phase::Waiting { .. }, wish) => {
                let because = self.shared.known().because.clone();
                let because = because.unwrap_or_else(|| "it has not joined yet".into());
                wish.fail(GroupError::Apart { because });
            }
        }
        self.settle();
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Send { mut send, reply } => {
                if send.epoch.is_none() {
                    send.epoch = self.leads();
                }
                if self.is_timed() {
                    send.sent = self.received();
                }
                self.ask(Say::Send(send), Ask::Send(reply));
            }
            Wish::Resign { epoch, to, reply } => self.resign(epoch, to, reply),
            Wish::Open { opened, reply } => self.open_poll(opened, reply),
            Wish::Vote { poll, vote, reply } => {
                // A yes without an action is one to a value, and says nothing of clocks.
                self.ask(Say::Vote { poll, vote, error: None }, Ask::Vote { vote, reply });
            }
            Wish::Agree { agreed, reply } => self.agree(*agreed, reply),
            Wish::Result { poll, reply } => self.ask(Say::Result(poll), Ask::Result(reply)),
            Wish::Leave { reply } => self.ask(Say::Leave, Ask::Leave(reply)),
        }
    }

    /// Says something that will be answered.
    pub(super) fn ask(&mut self, say: Say, ask: Ask) {
        let id = self.next_id();
        let Phase::Member(inside) = &self.phase else { return };
        let seat = inside.id;
        self.asks.put(id, ask, self.now + self.answer_timeout);
        self.say_at(seat, id, say);
    }

    fn leads(&self) -> Option<u64> {
        let Phase::Member(inside) = &self.phase else { return None };
        let lead = inside.lead.as_ref()?;
        inside.point.leads(self.now).filter(|_| !lead.leaving)
    }

    fn is_timed(&self) -> bool {
        matches!(&self.phase, Phase::Member(inside) if inside.charter.timed)
    }

    fn resign(&mut self, epoch: Option<u64>, to: Option<Recipient>, reply: Reply<()>) {
        let Phase::Member(inside) = &mut self.phase else { return };
        let lead = inside.lead.as_mut().filter(|lead| epoch.is_none_or(|it| it == lead.epoch));
        let Some(lead) = lead else {
            let _ = reply.send(Err(GroupError::NotLeading));
            return;
        };
        // It does not act any more from the moment of the call.
        lead.leaving = true;
        let epoch = lead.epoch;
        self.ask(Say::Resign { epoch, to }, Ask::Resign(reply));
    }

    /// The broker has answered what was asked with that id.
    pub(super) fn answered(&mut self, id: u64, report: &GroupReport<'_>) {
        match (self.asks.take(id), report.event) {
            (Some(Ask::Send(reply)), "ack") => {
                let (seq, size) = (report.seq.unwrap_or_default(), report.size.unwrap_or_default());
                let _ = reply.send(Ok(Ack { seq, size }));
            }
            (Some(Ask::Resign(reply)), "resigned") => drop(reply.send(Ok(()))),
            (Some(Ask::Vote { vote, reply }), "voted") => {
                // An action wants more than a yes.
                let counts = report.vote.is_none_or(|counted| counted == vote.as_str());
                let counts = if counts { Ok(()) } else { Err(GroupError::NeedsAction) };
                let _ = reply.send(counts);
            }
            (Some(Ask::Agree { poll, error, wanted, reply }), "voted") => {
                let agreed = if report.vote == Some(Vote::No.as_str()) {
                    self.promises.remove(&poll);
                    let wanted = wanted.unwrap_or_default();
                    Err(GroupError::Clock { error, wanted })
                } else {
                    Ok(())
                };
                let _ = reply.send(agreed);
            }
            (Some(Ask::Open(_)), "opened") => {}
            (Some(Ask::Result(reply)), "result") => {
                let result = super::report::result(report);
                // A poll that is open has no result yet.
                let open = report.status == Some("open");
                let _ = reply.send(Ok(result.filter(|_| !open)));
            }
            (Some(Ask::Open(_) | Ask::Again(_)), "result") => {
                if report.status != Some("open")
                    && let Some(result) = super::report::result(report)
                {
                    self.poll_ended(&result);
                }
            }
            (Some(Ask::Leave(reply)), "left") => {
                let _ = reply.send(Ok(()));
                self.over(Parted::Left);
            }
            (Some(ask), other) => ask.fail(&GroupError::Refused {
                code: "malformed_answer".into(),
                message: format!("the broker has answered `{other}`"),
            }),
            (None, _) => {}
        }
    }

    /// The broker has refused what was asked with that id.
    pub(super) fn refused(&mut self, id: u64, code: &str, message: &str) {
        let error = match Code::from_name(code) {
            Some(Code::NotFound) => GroupError::PollOver,
            _ => GroupError::of(code, message),
        };
        match self.asks.take(id) {
            Some(Ask::Open(open)) => self.request_ended(&open.poll, &Err(error)),
            Some(Ask::Again(poll)) => {
                // That broker knows nothing of it: it will not say yes any more.
                self.promises.remove(&poll);
                let because = "the broker does not know the poll any more".into();
                self.request_ended(&poll, &Err(GroupError::Lost { because }));
            }
            Some(Ask::Agree { poll, reply, .. }) => {
                self.promises.remove(&poll);
                // It was decided before this yes came, and is done as it was agreed to.
                let done = self.acted.contains(&poll);
                let _ = reply.send(if done { Ok(()) } else { Err(error) });
            }
            Some(Ask::Resign(reply)) => {
                // If nobody is there to hand over to, it goes on leading.
                if let (Phase::Member(inside), GroupError::NotMember { .. }) =
                    (&mut self.phase, &error)
                    && let Some(lead) = &mut inside.lead
                {
                    lead.leaving = false;
                }
                let _ = reply.send(Err(error));
            }
            Some(ask) => ask.fail(&error),
            None => {
                self.beat_refused(id);
            }
        }
    }

    /// The broker's clock, as it is known at that moment.
    pub(super) fn received(&self) -> Option<BrokerTime> {
        self.clock.clock(self.now).map(BrokerTime)
    }
}
