//! Polls that were opened here, and actions that were agreed to.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::{Ask, Reply};
use super::{Open, Output, Phase, Say, Seat};
use crate::group::ballot::Action;
use crate::group::error::GroupError;
use crate::group::event::{Event, Outcome, PollResult};
use crate::group::words::{BrokerTime, PollId};
use crate::proto::group::{Rule, Vote};
use crate::wire::message::Message;

/// A poll, as whoever opens it says it.
#[derive(Debug, Clone)]
pub(in crate::group) struct Opened {
    pub(in crate::group) poll: PollId,
    pub(in crate::group) rule: Rule,
    pub(in crate::group) timeout: Option<Duration>,
    pub(in crate::group) when: Option<When>,
    pub(in crate::group) error: Option<Duration>,
    pub(in crate::group) topic: Message,
}

/// The moment of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::group) enum When {
    At(BrokerTime),
    /// So long from when the broker opens the poll.
    In(Duration),
}

/// A poll whose result is awaited.
pub(super) struct Request {
    open: Arc<Open>,
    replies: Vec<Reply<PollResult>>,
    /// When the poll is over.
    ends: Instant,
    /// How long it is waited for, and until when.
    patience: Duration,
    pub(super) until: Instant,
}

/// An action that is agreed to.
pub(in crate::group) struct Agreed {
    pub(in crate::group) poll: PollId,
    pub(in crate::group) when: BrokerTime,
    /// By how much the broker's clock may be wrong.
    pub(in crate::group) wanted: Option<Duration>,
    pub(in crate::group) lateness: Duration,
    pub(in crate::group) action: Action,
}

impl fmt::Debug for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agreed({} at {})", self.poll, self.when)
    }
}

/// An action that is begun if its poll says yes.
pub(super) struct Promise(Agreed);

impl Request {
    pub(super) fn end(self, result: &Result<PollResult, GroupError>) {
        for reply in self.replies {
            let _ = reply.send(result.clone());
        }
    }
}

impl Seat {
    /// Opens a poll, and has whoever asks for it wait for the result.
    pub(super) fn open_poll(&mut self, opened: Opened, reply: Reply<PollResult>) {
        let Phase::Member(inside) = &self.phase else { return };
        let time = opened.timeout.unwrap_or(inside.charter.consensus_timeout);
        let Opened { poll, rule, timeout, when, error, topic } = opened;
        let open = Arc::new(Open { poll: poll.clone(), rule, timeout, when, error, topic });
        if let Some(request) = self.requests.get_mut(&poll) {
            if request.open.is_same(&open) {
                request.replies.push(reply);
            } else {
                let _ = reply.send(Err(GroupError::PollTaken));
            }
            return;
        }
        let patience = time.saturating_add(self.answer_timeout);
        let after = |time| self.now.checked_add(time).unwrap_or(self.now + YEAR);
        let (ends, until) = (after(time), after(patience));
        let replies = vec![reply];
        self.requests.insert(poll, Request { open: open.clone(), replies, ends, patience, until });
        self.ask(Say::Open(open.clone()), Ask::Open(open));
    }

    /// On a new connection: the broker is asked for what became of polls, and polls on values are
    /// opened again if it does not know them. Actions are not: their moment is by the clock of
    /// the broker that they were opened at.
    pub(super) fn ask_again(&mut self) {
        let now = self.now;
        let again: Vec<_> = self.requests.values().map(|it| (it.open.clone(), it.ends)).collect();
        for (open, ends) in again {
            if open.when.is_some() || ends <= now {
                self.ask(Say::Result(open.poll.clone()), Ask::Again(open.poll.clone()));
            } else {
                let left = (ends - now).max(Duration::from_millis(1));
                let open = Arc::new(Open { timeout: Some(left), ..Open::clone(&open) });
                self.ask(Say::Open(open.clone()), Ask::Open(open));
            }
        }
        let promised = self.promises.keys().filter(|poll| !self.requests.contains_key(*poll));
        for poll in promised.cloned().collect::<Vec<_>>() {
            self.ask(Say::Result(poll.clone()), Ask::Again(poll));
        }
    }

    /// Ends those whose results were not heard in time.
    pub(super) fn expire_requests(&mut self) {
        let now = self.now;
        let late = self.requests.iter().filter(|(_, request)| request.until <= now);
        for poll in late.map(|(poll, _)| poll.clone()).collect::<Vec<_>>() {
            if let Some(request) = self.requests.remove(&poll) {
                let after = request.patience;
                request.end(&Err(GroupError::NoResult { after }));
            }
        }
    }

    pub(super) fn request_ended(&mut self, poll: &PollId, result: &Result<PollResult, GroupError>) {
        if let Some(request) = self.requests.remove(poll) {
            request.end(result);
        }
    }

    /// Says yes to an action, if it can be done.
    pub(super) fn agree(&mut self, agreed: Agreed, reply: Reply<()>) {
        let (poll, wanted) = (agreed.poll.clone(), agreed.wanted);
        if self.acted.contains(&poll) {
            let _ = reply.send(Err(GroupError::PollOver));
            return;
        }
        if let Some(at) = self.wanted.iter().position(|result| result.poll == poll)
            && let Some(result) = self.wanted.remove(at)
        {
            // It was decided before this member could say anything, which acts as all others do.
            self.promises.insert(poll, Promise(agreed));
            self.poll_ended(&result);
            let _ = reply.send(Ok(()));
            return;
        }
        let known = self.clock.not_before(agreed.when.0);
        let Some((at, error)) = known.and_then(|at| Some((at, self.clock.error(at)?))) else {
            let wanted = wanted.unwrap_or_default();
            return self.decline(
                poll,
                None,
                GroupError::Clock { error: Duration::MAX, wanted },
                reply,
            );
        };
        if let Some(wanted) = wanted.filter(|wanted| error > *wanted) {
            return self.decline(poll, Some(error), GroupError::Clock { error, wanted }, reply);
        }
        if at <= self.now {
            let message = format!("{} is over", agreed.when);
            return self.decline(poll, Some(error), GroupError::TooLate { message }, reply);
        }
        // Whoever says it again has said it before: what is done is what was said first.
        self.promises.entry(poll.clone()).or_insert(Promise(agreed));
        let say = Say::Vote { poll: poll.clone(), vote: Vote::Yes, error: Some(error) };
        self.ask(say, Ask::Agree { poll, error, wanted, reply });
    }

    /// Votes no, and says why.
    fn decline(
        &mut self,
        poll: PollId,
        error: Option<Duration>,
        because: GroupError,
        reply: Reply<()>,
    ) {
        let Phase::Member(inside) = &self.phase else { return };
        let seat = inside.id;
        self.say_at(seat, 0, Say::Vote { poll, vote: Vote::No, error });
        let _ = reply.send(Err(because));
    }

    /// A poll has ended: whoever waits for that is told, and what was promised is begun in time.
    pub(super) fn poll_ended(&mut self, result: &PollResult) {
        self.request_ended(&result.poll, &Ok(result.clone()));
        let promise = self.promises.remove(&result.poll);
        if !result.is_yes() {
            return;
        }
        let Some(Promise(agreed)) = promise else { return self.note_wanted(result) };
        let Agreed { poll, when, wanted, lateness, action } = agreed;
        self.acted.push_back(poll.clone());
        if self.acted.len() > Self::ACTED_MAX {
            self.acted.pop_front();
        }
        let known = |at: Instant| match (wanted, self.clock.error(at)) {
            (Some(wanted), Some(error)) => error <= wanted,
            (wanted, _) => wanted.is_none(),
        };
        let at = self.clock.not_before(when.0).filter(|at| known(*at));
        match at.map(|at| (at, at + lateness)) {
            Some((at, until)) if self.now <= until => {
                self.outputs.push_back(Output::Act { poll, at, until, action });
            }
            _ => self.account(poll, Outcome::Missed),
        }
    }

    /// An action is wanted, and this member has not agreed to it, or not yet.
    fn note_wanted(&mut self, result: &PollResult) {
        if result.when.is_some() && !self.acted.contains(&result.poll) {
            self.wanted.push_back(result.clone());
            if self.wanted.len() > Self::WANTED_MAX {
                self.wanted.pop_front();
            }
        }
    }

    /// An action was done, or not.
    pub(in crate::group) fn acted(&mut self, now: Instant, poll: PollId, outcome: Outcome) {
        self.now = now;
        self.account(poll, outcome);
        self.settle();
    }

    fn account(&mut self, poll: PollId, outcome: Outcome) {
        if let Phase::Member(inside) = &self.phase {
            let seat = inside.id;
            self.say_at(seat, 0, Say::Outcome { poll: poll.clone(), outcome });
        }
        self.tell(Event::Acted { poll, outcome });
    }
}

/// The longest that anybody waits: a time that no clock can hold is cut to it.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Open {
    /// Whether the broker takes it for the same poll.
    fn is_same(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.poll.clone(), it.rule, it.when, it.error);
        of(self) == of(other) && self.topic == other.topic
    }
}
