//! The end that gives.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Sink;

use super::end::End;
use super::error::FlowError;
use super::message::FlowMessage;
use crate::wire::zio::Kind;

/// The end that gives: a [`Sink`] of messages, which takes one when the taker has paid for it.
///
/// Dropping it breaks the connection off: the broker tells the taker EOT, and what was not written
/// is lost. [`Self::finish`] ends the flow in order.
#[derive(Debug)]
pub struct Giver {
    end: End,
}

impl Giver {
    pub(super) fn new(end: End) -> Self {
        Self { end }
    }

    /// The other end's BOT: its attributes and its payload.
    #[must_use]
    pub fn answer(&self) -> &FlowMessage {
        self.end.answer()
    }

    /// The credit that was agreed on: no more messages than that are between the ends.
    #[must_use]
    pub fn credit(&self) -> u64 {
        self.end.shared.lock().total()
    }

    /// The credit in octets that was agreed on: no more than that of all messages are between the
    /// ends, and a message may have half of it. None if not both ends are within MJP.
    #[must_use]
    pub fn credit_bytes(&self) -> Option<u64> {
        self.end.shared.lock().octets().map(|(total, _)| total)
    }

    /// How many octets can be given now, without waiting for the taker. None as of
    /// [`Self::credit_bytes`].
    #[must_use]
    pub fn held_bytes(&self) -> Option<u64> {
        self.end.shared.lock().octets().map(|(_, held)| held)
    }

    /// How many messages can be given now, without waiting for the taker.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.end.shared.lock().held()
    }

    /// The other end's EOT, once it has come.
    #[must_use]
    pub fn ending(&self) -> Option<FlowMessage> {
        self.end.shared.lock().eot().cloned()
    }

    /// Waits until the taker has paid for a message and there is room for it, and gives it. It is
    /// written by itself, soon.
    ///
    /// # Errors
    /// [`FlowError::Ended`]: the taker wants no more. [`FlowError::TooBig`]: the flow goes on.
    /// [`FlowError::Lost`], [`FlowError::Violated`], [`FlowError::Closed`].
    ///
    /// # Cancel safety
    /// If it is given up, the message was not given.
    pub async fn give(&mut self, message: impl Into<FlowMessage>) -> Result<(), FlowError> {
        let message = message.into().into_dat().map_err(super::AttributeError::from)?;
        let cost = Some(message.cost());
        poll_fn(|cx| self.end.shared.lock().poll_give(cx, cost)).await?;
        self.end.shared.lock().say(Kind::Dat, message)
    }

    /// Ends the flow: says EOT behind all that was given, and waits for the taker's, which says
    /// that it has heard all of it. That is no more than 90 s if nothing else was said.
    ///
    /// # Errors
    /// [`FlowError::NoEnd`], [`FlowError::Lost`], [`FlowError::Violated`], [`FlowError::Closed`]:
    /// what was given may have arrived, or not.
    ///
    /// # Cancel safety
    /// Giving it up breaks the connection off.
    pub async fn finish(self) -> Result<(), FlowError> {
        self.finish_with(FlowMessage::default()).await
    }

    /// [`Self::finish`], with attributes and payload for the taker. If the taker has ended the flow
    /// already, it was answered without them.
    ///
    /// # Errors
    /// As [`Self::finish`], and [`FlowError::TooBig`].
    ///
    /// # Cancel safety
    /// As [`Self::finish`].
    pub async fn finish_with(self, eot: impl Into<FlowMessage>) -> Result<(), FlowError> {
        self.end.finish(eot.into()).await
    }
}

/// Closing it is [`Giver::finish`]. Within MJP it is ready when there is credit for any message, that
/// is for half of all octets; [`Giver::give`] waits for what its message needs. Messages are written by themselves, so that `feed` is enough;
/// `flush`, and with it `send`, waits until they are.
impl Sink<FlowMessage> for Giver {
    type Error = FlowError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), FlowError>> {
        self.end.shared.lock().poll_give(cx, None)
    }

    fn start_send(self: Pin<&mut Self>, message: FlowMessage) -> Result<(), FlowError> {
        self.end.shared.lock().say(Kind::Dat, message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), FlowError>> {
        self.end.shared.lock().poll_flushed(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), FlowError>> {
        self.end.poll_end(cx)
    }
}
