//! What a leader does as such.

use serde::Serialize;

use super::error::GroupError;
use super::event::{Ack, To};
use super::member::Group;
use super::typed;
use super::words::Recipient;
use crate::lease::Fence;
use crate::proto::lease::WARD;
use crate::wire::message::Message;

/// The leadership of a member, by one epoch. All that is said with it carries that epoch, and the
/// broker refuses it when the member does not lead by it any more: also behind a time in which
/// this process was stopped, and had no way to know.
///
/// It is a proof for other systems, too: epochs only grow, so whoever keeps the highest one that it
/// has seen can refuse lower ones.
#[derive(Debug, Clone)]
pub struct Leading {
    pub(super) group: Group,
    pub(super) epoch: u64,
}

impl Leading {
    /// By which this member leads, or did.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The same as a fence: what is asked for with it ([`Call::fence`](crate::client::Call::fence))
    /// is done only as long as this member leads by this epoch.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence::new([WARD, self.group.name()].concat(), self.epoch)
    }

    /// Whether it still leads by it, as far as its own clock says at this moment.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.group.leads() == Some(self.epoch)
    }

    /// Says something to all members, as their leader.
    ///
    /// # Errors
    /// [`GroupError::NotLeading`] if it does not lead any more; else as [`Group::send`].
    ///
    /// # Cancel safety
    /// As [`Group::send`].
    pub async fn send(&self, body: impl Into<Message>) -> Result<Ack, GroupError> {
        self.group.inner.send(To::All, None, Some(self.epoch), body.into()).await
    }

    /// As [`Self::send`], for a value.
    ///
    /// # Errors
    /// As [`Self::send`], and [`GroupError::Convert`].
    ///
    /// # Cancel safety
    /// As [`Group::send`].
    pub async fn send_value<T: Serialize + ?Sized>(&self, value: &T) -> Result<Ack, GroupError> {
        self.send(typed::write(value)?).await
    }

    /// Says something to one member, as its leader.
    ///
    /// # Errors
    /// As [`Self::send`], and [`GroupError::NotMember`].
    ///
    /// # Cancel safety
    /// As [`Group::send`].
    pub async fn send_to_member(
        &self,
        member: impl Into<Recipient>,
        body: impl Into<Message>,
    ) -> Result<Ack, GroupError> {
        let member = Some(member.into());
        self.group.inner.send(To::Member, member, Some(self.epoch), body.into()).await
    }

    /// As [`Self::send_to_member`], for a value.
    ///
    /// # Errors
    /// As [`Self::send_to_member`], and [`GroupError::Convert`].
    ///
    /// # Cancel safety
    /// As [`Group::send`].
    pub async fn send_value_to_member<T: Serialize + ?Sized>(
        &self,
        member: impl Into<Recipient>,
        value: &T,
    ) -> Result<Ack, GroupError> {
        self.send_to_member(member, typed::write(value)?).await
    }

    /// Hands over, as [`Group::resign`] does.
    ///
    /// # Errors
    /// As [`Group::resign`].
    ///
    /// # Cancel safety
    /// As [`Group::resign`].
    pub async fn resign(self) -> Result<(), GroupError> {
        self.group.inner.resign(Some(self.epoch), None).await
    }

    /// Hands over, as [`Group::resign_to`] does.
    ///
    /// # Errors
    /// As [`Group::resign_to`].
    ///
    /// # Cancel safety
    /// As [`Group::resign`].
    pub async fn resign_to(&self, member: impl Into<Recipient>) -> Result<(), GroupError> {
        self.group.inner.resign(Some(self.epoch), Some(member.into())).await
    }
}
