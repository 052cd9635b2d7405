//! What a member is asked, and how it answers.

use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::Inner;
use super::error::GroupError;
use super::seat::Agreed;
use super::typed;
use super::words::{BrokerTime, MemberId, PollId};
use crate::proto::group::{Rule, Vote};
use crate::wire::message::Message;

/// What is to be done at the moment of an action; the text is why it failed.
pub(super) type Action = Box<dyn FnOnce() -> BoxFuture<'static, Result<(), String>> + Send>;

/// What members are asked about.
#[derive(Debug, Clone)]
pub struct Ballot {
    pub(super) group: Weak<Inner>,
    pub(super) asked: Asked,
}

/// What members are asked to do at a moment, all of them.
#[derive(Debug, Clone)]
pub struct ActionBallot {
    pub(super) group: Weak<Inner>,
    pub(super) asked: Asked,
    pub(super) when: BrokerTime,
    pub(super) error: Option<Duration>,
    pub(super) lateness: Duration,
}

/// A poll, as members are told of it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) poll: PollId,
    pub(super) topic: Message,
    pub(super) rule: Rule,
    pub(super) by: MemberId,
    pub(super) epoch: Option<u64>,
    pub(super) timeout: Duration,
    pub(super) elector: bool,
    pub(super) electorate: u64,
}

macro_rules! questions {
    ($($ballot:ty),*) => {$(
        impl $ballot {
            /// The poll.
            #[must_use]
            pub fn id(&self) -> &PollId {
                &self.asked.poll
            }

            /// What it is about: no frame or more, as whoever opened it has sent them.
            #[must_use]
            pub fn topic(&self) -> &Message {
                &self.asked.topic
            }

            /// What it is about, as a value: MessagePack in the first frame.
            ///
            /// # Errors
            /// [`GroupError::Convert`].
            pub fn decode<T: DeserializeOwned>(&self) -> Result<T, GroupError> {
                typed::read(&self.asked.topic)
            }

            /// What a yes takes.
            #[must_use]
            pub fn rule(&self) -> Rule {
                self.asked.rule
            }

            /// Who has opened it.
            #[must_use]
            pub fn by(&self) -> &MemberId {
                &self.asked.by
            }

            /// The leader under which it was opened.
            #[must_use]
            pub fn epoch(&self) -> Option<u64> {
                self.asked.epoch
            }

            /// The time that it had left when the broker has told of it.
            #[must_use]
            pub fn timeout(&self) -> Duration {
                self.asked.timeout
            }

            /// Whether this member may vote.
            #[must_use]
            pub fn is_elector(&self) -> bool {
                self.asked.elector
            }

            /// So many votes there could be.
            #[must_use]
            pub fn electorate(&self) -> u64 {
                self.asked.electorate
            }

            async fn give(&self, vote: Vote) -> Result<(), GroupError> {
                let group = self.group.upgrade().ok_or(GroupError::Left)?;
                group.vote(&self.asked.poll, vote).await
            }
        }
    )*};
}
questions!(Ballot, ActionBallot);

impl Ballot {
    /// Votes. The same vote again changes nothing.
    ///
    /// # Errors
    /// [`GroupError::VoteChanged`] if another one was given before, [`GroupError::PollOver`],
    /// [`GroupError::NotMember`] if this member is no elector, and as any question.
    ///
    /// # Cancel safety
    /// The vote may have been given, or not.
    pub async fn vote(&self, vote: Vote) -> Result<(), GroupError> {
        self.give(vote).await
    }
}

impl ActionBallot {
    /// The moment at which it is to be done.
    #[must_use]
    pub fn when(&self) -> BrokerTime {
        self.when
    }

    /// By how much the broker's clock may be wrong at whoever acts. A member that knows it less
    /// well votes no.
    #[must_use]
    pub fn clock_error(&self) -> Option<Duration> {
        self.error
    }

    /// How late the action may be begun, as when this process was busy or stopped at that moment;
    /// behind that it is missed. Default 100 ms.
    #[must_use]
    pub fn lateness(mut self, lateness: Duration) -> Self {
        self.lateness = lateness;
        self
    }

    /// Votes yes, and has `action` done at that moment if the poll says yes. It is begun on a
    /// monotonic timer: not before that moment of the broker's clock, and no later than twice the
    /// error of the clock and about a millisecond behind it, if the runtime has time; once for a
    /// poll, whatever happens; and not at all without a yes. What becomes of it is told to all
    /// members; an error or a panic means that it has failed.
    ///
    /// Where a connection was lost behind the yes it is begun all the same: the others count on it.
    ///
    /// # Errors
    /// [`GroupError::Clock`] if the broker's clock is not known well enough: then no is voted.
    /// [`GroupError::TooLate`] if that moment is over. Else as [`Ballot::vote`]. Nothing is done
    /// behind any of these but [`GroupError::Lost`] and [`GroupError::NoAnswer`].
    ///
    /// # Cancel safety
    /// The vote may have been given, or not; if it was, the action is done as was said.
    pub async fn yes<A, Fut, E>(&self, action: A) -> Result<(), GroupError>
    where
        A: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let group = self.group.upgrade().ok_or(GroupError::Left)?;
        let action: Action = Box::new(move || {
            let done = action();
            Box::pin(async move { done.await.map_err(|error| error.to_string()) })
        });
        let agreed = Agreed {
            poll: self.asked.poll.clone(),
            when: self.when,
            wanted: self.error,
            lateness: self.lateness,
            action,
        };
        group.agree(agreed).await
    }

    /// Votes no.
    ///
    /// # Errors
    /// As [`Ballot::vote`].
    ///
    /// # Cancel safety
    /// As [`Ballot::vote`].
    pub async fn no(&self) -> Result<(), GroupError> {
        self.give(Vote::No).await
    }

    /// Votes neither yes nor no, and does nothing.
    ///
    /// # Errors
    /// As [`Ballot::vote`].
    ///
    /// # Cancel safety
    /// As [`Ballot::vote`].
    pub async fn abstain(&self) -> Result<(), GroupError> {
        self.give(Vote::Abstain).await
    }

    /// How late an action may be begun, if nothing else is said.
    pub(super) const LATENESS: Duration = Duration::from_millis(100);
}
