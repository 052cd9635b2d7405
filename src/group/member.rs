//! A membership, as its holders see it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;

use super::error::GroupError;
use super::event::{Ack, Parted, PollResult, To};
use super::events::Events;
use super::groups::{Channel, Command};
use super::handler::{self, Handler};
use super::leading::Leading;
use super::poll::Poll;
use super::seat::{Agreed, Opened, Reply, Send, Wish};
use super::shared::{Shared, Standing};
use super::typed;
use super::words::{Leader, MemberId, PollId, Reading, Recipient, View};
use crate::proto::group::{Charter, Vote};
use crate::wire::message::Message;

/// A membership of a group. A clone is the same one, and so is what joins the group again under
/// the same name over the same connection. When the last of them is dropped, and the last
/// [`Events`], the member leaves.
#[derive(Debug, Clone)]
pub struct Group {
    pub(super) inner: Arc<Inner>,
}

/// What all holders of a membership share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) name: Box<str>,
    /// What it sends to all comes back to it.
    pub(super) own: bool,
    pub(super) number: u32,
    pub(super) shared: Arc<Shared>,
    pub(super) channel: Arc<Channel>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.channel.abandon(self.number);
    }
}

impl Group {
    /// The group: by convention its type, a `.` and its instance.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Who this member is now. `None` while the connection is lost, and when it has left.
    #[must_use]
    pub fn id(&self) -> Option<MemberId> {
        self.view().map(|view| view.own.clone())
    }

    /// What kind of group it is. `None` before it has been joined.
    #[must_use]
    pub fn kind(&self) -> Option<Arc<Charter>> {
        self.inner.shared.known().charter.clone()
    }

    /// Who is in the group, and who leads. `None` while the connection is lost, and when this
    /// member has left.
    #[must_use]
    pub fn view(&self) -> Option<Arc<View>> {
        self.inner.shared.known().view.clone()
    }

    /// Members, this one and those that are suspect among them; 0 while the connection is lost.
    #[must_use]
    pub fn size(&self) -> usize {
        self.view().map_or(0, |view| view.members.len())
    }

    /// Who leads, as the broker has said last. That may be this member, and it may not believe it:
    /// see [`Self::is_leader`].
    #[must_use]
    pub fn leader(&self) -> Option<Leader> {
        self.inner.shared.known().leader().cloned()
    }

    /// Whether anybody leads, as the broker has said last.
    #[must_use]
    pub fn has_leader(&self) -> bool {
        self.inner.shared.known().leader().is_some()
    }

    /// Whether this member leads at this moment, by its own clock: exact, also right behind a time
    /// in which this process was stopped. What follows is later than this moment; what must not be
    /// late is said with [`Self::leading`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leads().is_some()
    }

    /// The leadership of this member, if it leads at this moment.
    #[must_use]
    pub fn leading(&self) -> Option<Leading> {
        let epoch = self.leads()?;
        Some(Leading { group: self.clone(), epoch })
    }

    pub(super) fn leads(&self) -> Option<u64> {
        self.inner.shared.known().leads(now())
    }

    /// Waits until somebody leads.
    ///
    /// # Errors
    /// [`GroupError::NotCoordinated`], [`GroupError::Left`], [`GroupError::Closed`].
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn leader_known(&self) -> Result<Leader, GroupError> {
        let mut changed = self.inner.shared.changed();
        loop {
            if matches!(*self.inner.shared.standing.borrow(), Standing::Over) {
                return Err(GroupError::Left);
            }
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            if self.kind().is_some_and(|kind| !kind.leader) {
                return Err(GroupError::NotCoordinated);
            }
            tokio::select! {
                changed = changed.changed() => changed.map_err(|_| GroupError::Closed)?,
                () = self.inner.channel.ended.cancelled() => return Err(GroupError::Closed),
            }
        }
    }

    /// What the broker's clock says at this moment, and by how much that may be wrong. `None` while
    /// the connection is lost.
    #[must_use]
    pub fn clock(&self) -> Option<Reading> {
        Reading::of(&self.inner.shared.known().clock, now())
    }

    /// Says something to all members, one frame or more: a text, octets, or an array of them. It
    /// comes back to this member, too, unless it has joined without that. If this member leads, it
    /// is said as the leader.
    ///
    /// The answer says that the broker has put it behind all that it had taken before. Nobody waits
    /// for members: one that has no room for it is told that something is missing.
    ///
    /// # Errors
    /// [`GroupError::Apart`], [`GroupError::TooBig`], [`GroupError::Overloaded`],
    /// [`GroupError::NotLeading`]; nothing was sent then. [`GroupError::Lost`] and
    /// [`GroupError::NoAnswer`]: nobody knows.
    ///
    /// # Cancel safety
    /// It may have been sent, or not.
    pub async fn send(&self, body: impl Into<Message>) -> Result<Ack, GroupError> {
        self.inner.send(To::All, None, None, body.into()).await
    }

    /// As [`Self::send`], for a value.
    ///
    /// # Errors
    /// As [`Self::send`], and [`GroupError::Convert`].
    ///
    /// # Cancel safety
    /// As [`Self::send`].
    pub async fn send_value<T: Serialize + ?Sized>(&self, value: &T) -> Result<Ack, GroupError> {
        self.send(typed::write(value)?).await
    }

    /// Says something to whoever leads.
    ///
    /// # Errors
    /// [`GroupError::NoLeader`], [`GroupError::NotCoordinated`] if there never is one; else as
    /// [`Self::send`].
    ///
    /// # Cancel safety
    /// As [`Self::send`].
    pub async fn send_to_leader(&self, body: impl Into<Message>) -> Result<Ack, GroupError> {
        self.inner.send(To::Leader, None, None, body.into()).await
    }

    /// As [`Self::send_to_leader`], for a value.
    ///
    /// # Errors
    /// As [`Self::send_to_leader`], and [`GroupError::Convert`].
    ///
    /// # Cancel safety
    /// As [`Self::send`].
    pub async fn send_value_to_leader<T: Serialize + ?Sized>(
        &self,
        value: &T,
    ) -> Result<Ack, GroupError> {
        self.send_to_leader(typed::write(value)?).await
    }

    /// Says something to one member: by its name, or to that incarnation only. If this member
    /// leads, it is said as the leader.
    ///
    /// # Errors
    /// [`GroupError::NotMember`]; else as [`Self::send`].
    ///
    /// # Cancel safety
    /// As [`Self::send`].
    pub async fn send_to_member(
        &self,
        member: impl Into<Recipient>,
        body: impl Into<Message>,
    ) -> Result<Ack, GroupError> {
        self.inner.send(To::Member, Some(member.into()), None, body.into()).await
    }

    /// As [`Self::send_to_member`], for a value.
    ///
    /// # Errors
    /// As [`Self::send_to_member`], and [`GroupError::Convert`].
    ///
    /// # Cancel safety
    /// As [`Self::send`].
    pub async fn send_value_to_member<T: Serialize + ?Sized>(
        &self,
        member: impl Into<Recipient>,
        value: &T,
    ) -> Result<Ack, GroupError> {
        self.send_to_member(member, typed::write(value)?).await
    }

    /// A poll on a value: more than half of the electorate have to say yes. Nothing happens before
    /// [`Poll::open`].
    pub fn poll(&self, topic: impl Into<Message>) -> Poll {
        Poll::new(self.inner.clone(), topic.into())
    }

    /// As [`Self::poll`], about a value.
    ///
    /// # Errors
    /// [`GroupError::Convert`].
    pub fn poll_value<T: Serialize + ?Sized>(&self, topic: &T) -> Result<Poll, GroupError> {
        Ok(self.poll(typed::write(topic)?))
    }

    /// A poll on an action that all electors do at one moment, so long from when it is opened: all
    /// of them have to say yes. Nothing happens before [`Poll::open`].
    pub fn poll_action(&self, topic: impl Into<Message>, after: Duration) -> Poll {
        self.poll(topic).unanimous().after(after)
    }

    /// As [`Self::poll_action`], about a value.
    ///
    /// # Errors
    /// [`GroupError::Convert`].
    pub fn poll_action_value<T: Serialize + ?Sized>(
        &self,
        topic: &T,
        after: Duration,
    ) -> Result<Poll, GroupError> {
        Ok(self.poll_action(typed::write(topic)?, after))
    }

    /// Votes in a poll on a value, as [`Ballot::vote`](super::Ballot::vote) does.
    ///
    /// # Errors
    /// As there; [`GroupError::NeedsAction`] if it says yes to an action with a bound for clocks
    /// ([`Poll::clock_error`]): it counts as a no.
    ///
    /// # Cancel safety
    /// The vote may have been given, or not.
    pub async fn vote(&self, poll: &PollId, vote: Vote) -> Result<(), GroupError> {
        self.inner.vote(poll, vote).await
    }

    /// The result of a poll, whoever has opened it; `None` as long as it is open. The broker keeps
    /// results for a while.
    ///
    /// # Errors
    /// [`GroupError::PollOver`] if the broker does not know it, or not any more; else as any
    /// question.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn result(&self, poll: &PollId) -> Result<Option<PollResult>, GroupError> {
        self.inner.ask(|reply| Wish::Result { poll: poll.clone(), reply }).await
    }

    /// Hands over to whoever has been a member for longest, and does not lead any more from the
    /// moment of the call.
    ///
    /// # Errors
    /// [`GroupError::NotLeading`], and as any question.
    ///
    /// # Cancel safety
    /// It may have resigned, or not, and does not believe that it leads.
    pub async fn resign(&self) -> Result<(), GroupError> {
        self.inner.resign(None, None).await
    }

    /// Hands over to that member. It does not believe that it leads while the broker is asked.
    ///
    /// # Errors
    /// [`GroupError::NotMember`] if there is no such member, or it is suspect: then this one goes
    /// on leading. Else as [`Self::resign`].
    ///
    /// # Cancel safety
    /// As [`Self::resign`].
    pub async fn resign_to(&self, member: impl Into<Recipient>) -> Result<(), GroupError> {
        self.inner.resign(None, Some(member.into())).await
    }

    /// Leaves, for all who hold this membership. Whoever joins anew is another incarnation.
    ///
    /// # Errors
    /// [`GroupError::NoAnswer`]; the member leaves all the same.
    ///
    /// # Cancel safety
    /// It leaves, or not.
    pub async fn leave(&self) -> Result<(), GroupError> {
        self.inner.ask(|reply| Wish::Leave { reply }).await
    }

    /// What happens in the group: the first one that is taken begins with the joining, those that
    /// are taken later with how things are then.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.inner.clone())
    }

    /// Has a handler told of all that happens, one event after the other, until this member has
    /// left for good.
    ///
    /// # Cancel safety
    /// The call under way is given up. What comes later goes to whoever asks next.
    pub async fn handle(&self, handler: impl Handler) -> Parted {
        handler::run(self, handler).await
    }
}

impl Inner {
    /// Asks the task for something, and waits for the answer.
    pub(super) async fn ask<T>(
        &self,
        wish: impl FnOnce(Reply<T>) -> Wish,
    ) -> Result<T, GroupError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Wish { seat: self.number, wish: wish(reply) };
        self.channel.commands.send(command).await.map_err(|_| GroupError::Closed)?;
        answer.await.unwrap_or(Err(GroupError::Closed))
    }

    pub(super) async fn send(
        &self,
        to: To,
        member: Option<Recipient>,
        epoch: Option<u64>,
        body: Message,
    ) -> Result<Ack, GroupError> {
        self.channel.check(&body)?;
        let send = Box::new(Send { to, member, epoch, sent: None, body });
        self.ask(|reply| Wish::Send { send, reply }).await
    }

    pub(super) async fn resign(
        &self,
        epoch: Option<u64>,
        to: Option<Recipient>,
    ) -> Result<(), GroupError> {
        self.ask(|reply| Wish::Resign { epoch, to, reply }).await
    }

    pub(super) async fn vote(&self, poll: &PollId, vote: Vote) -> Result<(), GroupError> {
        self.ask(|reply| Wish::Vote { poll: poll.clone(), vote, reply }).await
    }

    pub(super) async fn agree(&self, agreed: Agreed) -> Result<(), GroupError> {
        self.ask(|reply| Wish::Agree { agreed: Box::new(agreed), reply }).await
    }

    pub(super) async fn open(&self, opened: Opened) -> Result<PollResult, GroupError> {
        self.channel.check(&opened.topic)?;
        self.ask(|reply| Wish::Open { opened, reply }).await
    }

    /// Waits until it is a member for the first time.
    pub(super) async fn joined(&self) -> Result<(), GroupError> {
        let mut standing = self.shared.standing.subscribe();
        let joined = standing.wait_for(|standing| *standing != Standing::New);
        let standing = tokio::select! {
            standing = joined => standing.map_err(|_| GroupError::Closed)?.clone(),
            () = self.channel.ended.cancelled() => return Err(GroupError::Closed),
        };
        match standing {
            Standing::New | Standing::Member => Ok(()),
            Standing::Refused(error) => Err(error),
            Standing::Over => Err(GroupError::Left),
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
