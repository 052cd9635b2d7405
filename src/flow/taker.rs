//! The end that takes.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use super::end::End;
use super::error::FlowError;
use super::message::FlowMessage;

/// The end that takes: a [`Stream`] of messages, which ends when the giver has ended the flow.
///
/// Messages wait here until they are taken, no more of them than the credit; the giver is paid
/// as they are. Dropping it breaks the connection off, and the broker tells the giver EOT.
#[derive(Debug)]
pub struct Taker {
    end: End,
}

impl Taker {
    pub(super) fn new(end: End) -> Self {
        Self { end }
    }

    /// The other end's BOT: its attributes and its payload.
    #[must_use]
    pub fn answer(&self) -> &FlowMessage {
        self.end.answer()
    }

    /// The credit that was agreed on. If it is more than was asked for, no more than that is handed
    /// out.
    #[must_use]
    pub fn credit(&self) -> u64 {
        self.end.shared.lock().total()
    }

    /// The credit in octets that was agreed on: no more than that of all messages wait here. None
    /// if not both ends are within MJP.
    #[must_use]
    pub fn credit_bytes(&self) -> Option<u64> {
        self.end.shared.lock().octets().map(|(total, _)| total)
    }

    /// The other end's EOT, once it has come: before the messages that wait have been taken.
    #[must_use]
    pub fn ending(&self) -> Option<FlowMessage> {
        self.end.shared.lock().eot().cloned()
    }

    /// The next message; `None` behind the last one, when the giver has ended the flow. A lost
    /// giver looks the same if its broker lives: whoever has to know lets EOT say how much there
    /// was ([`Self::ending`]).
    ///
    /// # Errors
    /// [`FlowError::Lost`], [`FlowError::Violated`], behind all that was read before.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<FlowMessage, FlowError>> {
        poll_fn(|cx| self.end.shared.lock().poll_take(cx)).await
    }

    /// Ends the flow: says EOT, and waits for the giver's. What has not been taken is dropped, and
    /// so is what the giver still gives. Nothing happens if the giver has ended it.
    ///
    /// # Errors
    /// [`FlowError::NoEnd`], [`FlowError::Lost`], [`FlowError::Violated`], [`FlowError::Closed`].
    ///
    /// # Cancel safety
    /// Giving it up breaks the connection off.
    pub async fn finish(self) -> Result<(), FlowError> {
        self.finish_with(FlowMessage::default()).await
    }

    /// [`Self::finish`], with attributes and payload for the giver.
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

impl Stream for Taker {
    type Item = Result<FlowMessage, FlowError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.end.shared.lock().poll_take(cx)
    }
}
