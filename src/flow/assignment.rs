//! A flow that a handler is to come for.

use std::num::NonZeroU32;

use bytes::Bytes;

use super::error::AssignmentError;
use super::message::FlowMessage;
use super::{Giver, Taker};
use crate::wire::message::{Frames, Message};
use crate::wire::zio::{Cid, Direction, FlowLabel, Kind, Shape, Zio};

/// A flow that a handler is to come for: its client's BOT, as the broker shows it to whoever
/// decides, with the client's `cid` and the direction of the handler.
///
/// ```
/// use majordomo::flow::Assignment;
/// use majordomo::wire::zio::Direction;
///
/// let label = r#"{"flow": "BOT", "credit": 5, "direction": "inject", "cid": 7, "run": 3}"#;
/// let mut bot = format!("\x4fZIO0FLOW{label}\x18").into_bytes();
/// bot.resize(bot.len() + 24, 0);
/// let assignment = Assignment::read(bot)?;
/// assert_eq!((assignment.cid().get(), assignment.credit()), (7, Some(5)));
/// assert_eq!(assignment.direction(), Direction::Inject);
/// assert_eq!(assignment.bot().get::<u32>("run"), Some(3));
/// # Ok::<(), majordomo::flow::AssignmentError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    bot: FlowMessage,
    cid: NonZeroU32,
    direction: Direction,
    credit: Option<u32>,
    credit_bytes: Option<u64>,
}

/// What a handler has once it has come for a flow.
#[derive(Debug)]
pub enum Opened {
    /// The client takes.
    Gives(Giver),
    /// The client gives.
    Takes(Taker),
}

impl Assignment {
    /// Reads a BOT in the one-frame encoding, as the factory link and MJP carry it.
    ///
    /// # Errors
    /// It is no BOT for a handler.
    pub fn read(bot: impl Into<Bytes>) -> Result<Self, AssignmentError> {
        Self::of(Message::from(bot.into()).frames())
    }

    /// Reads a message of that one frame.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of(bot: Frames<'_>) -> Result<Self, AssignmentError> {
        let zio = Zio::decode(Shape::Single, bot)?;
        let label = FlowLabel::read(zio.label)?;
        if label.kind() != Kind::Bot {
            return Err(AssignmentError::NoBot);
        }
        let Cid::Is(cid) = label.cid() else { return Err(AssignmentError::NoCid) };
        let direction = label.direction().ok_or(AssignmentError::NoDirection)?;
        let credit = label.credit().filter(|credit| *credit > 0);
        let credit = credit.map(|credit| u32::try_from(credit).unwrap_or(u32::MAX));
        Ok(Self { bot: FlowMessage::of(&zio), cid, direction, credit, credit_bytes: None })
    }

    /// The same, for a client that has asked for a credit in octets.
    pub(super) fn with_credit_bytes(self, credit_bytes: Option<u64>) -> Self {
        Self { credit_bytes, ..self }
    }

    /// The BOT: attributes and payload of the client's.
    #[must_use]
    pub fn bot(&self) -> &FlowMessage {
        &self.bot
    }

    /// Which client waits.
    #[must_use]
    pub fn cid(&self) -> NonZeroU32 {
        self.cid
    }

    /// What the handler is to do.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The credit that the client asks for, if it is one that can be.
    #[must_use]
    pub fn credit(&self) -> Option<u32> {
        self.credit
    }

    /// The credit in octets that the client asks for. None if it is not within MJP, or if nobody
    /// has told: the factory link does not.
    #[must_use]
    pub fn credit_bytes(&self) -> Option<u64> {
        self.credit_bytes
    }
}
