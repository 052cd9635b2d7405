//! A poll before it is opened.

use std::sync::Arc;
use std::time::Duration;

use super::error::GroupError;
use super::event::PollResult;
use super::member::Inner;
use super::seat::{Opened, When};
use super::words::{BrokerTime, PollId};
use crate::proto::group::Rule;
use crate::wire::message::Message;

/// A poll before it is opened.
#[derive(Debug, Clone)]
#[must_use = "a poll is opened by `open`"]
pub struct Poll {
    group: Arc<Inner>,
    poll: Option<PollId>,
    rule: Rule,
    timeout: Option<Duration>,
    when: Option<When>,
    error: Option<Duration>,
    topic: Message,
}

impl Poll {
    pub(super) fn new(group: Arc<Inner>, topic: Message) -> Self {
        let rule = Rule::Majority;
        Self { group, poll: None, rule, timeout: None, when: None, error: None, topic }
    }

    /// What it is called. Whoever opens the same poll twice asks once, and both have its result, as
    /// long as the broker keeps it: also over another connection, and on an action that is
    /// [so long from when it is opened](Self::after). Default: 16 random octets.
    pub fn id(mut self, poll: PollId) -> Self {
        self.poll = Some(poll);
        self
    }

    /// More than half of the electorate have to say yes.
    pub fn majority(mut self) -> Self {
        self.rule = Rule::Majority;
        self
    }

    /// Nobody may say no, and all of the electorate who do not abstain have to say yes, which have
    /// to be more than half of it.
    pub fn unanimous(mut self) -> Self {
        self.rule = Rule::Unanimous;
        self
    }

    /// It ends then at the latest, whole ms from 1 up. Default: `consensus_timeout` of the group.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// It is about an action, so long from when the broker opens it. That has to be later than the
    /// end of the poll, and a margin that the broker has (50 ms).
    pub fn after(mut self, time: Duration) -> Self {
        self.when = Some(When::In(time));
        self
    }

    /// It is about an action at that moment.
    pub fn at(mut self, when: BrokerTime) -> Self {
        self.when = Some(When::At(when));
        self
    }

    /// By how much the broker's clock may be wrong at whoever acts: who knows it less well votes
    /// no. Whole µs; default: any.
    pub fn clock_error(mut self, error: Duration) -> Self {
        self.error = Some(error);
        self
    }

    /// Opens it, and waits for its result. There always is one, or an error: the broker says it in
    /// time, and who does not hear it has a clock of its own, `timeout` of the poll and
    /// [`MemberConfig::timeout`](crate::config::MemberConfig::timeout) together. Over a lost
    /// connection a poll on a value is opened again, with the time that is left.
    ///
    /// # Errors
    /// [`GroupError::NoLeader`], [`GroupError::NotCoordinated`], [`GroupError::TooLate`],
    /// [`GroupError::PollTaken`], [`GroupError::NoResult`], and as any question.
    ///
    /// # Cancel safety
    /// The poll is opened, or not, and goes on.
    pub async fn open(self) -> Result<PollResult, GroupError> {
        let Self { group, poll, rule, timeout, when, error, topic } = self;
        let poll = poll.map_or_else(PollId::random, Ok)?;
        group.open(Opened { poll, rule, timeout, when, error, topic }).await
    }
}
