//! An end before it connects.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::assignment::{Assignment, Opened};
use super::end::End;
use super::error::{AttributeError, FlowError};
use super::message::{FlowMessage, is_reserved};
use super::{Giver, Taker};
use crate::config::FlowConfig;
use crate::transport::endpoint::Endpoint;
use crate::wire::zio::Direction;

/// An end of a flow before it connects.
#[derive(Debug, Clone)]
pub struct FlowBuilder {
    config: FlowConfig,
    /// In the order in which they were given, the value as JSON.
    attributes: Vec<(String, serde_json::Value)>,
    payload: Vec<Bytes>,
    origin: u64,
}

impl From<FlowConfig> for FlowBuilder {
    fn from(config: FlowConfig) -> Self {
        Self { config, attributes: Vec::new(), payload: Vec::new(), origin: 0 }
    }
}

impl FlowBuilder {
    /// An end that is yet to be told how to behave.
    ///
    /// # Errors
    /// [`FlowError::Endpoint`].
    pub fn new(endpoint: &str) -> Result<Self, FlowError> {
        let endpoint: Endpoint = endpoint.parse()?;
        Ok(FlowConfig { endpoint, ..FlowConfig::default() }.into())
    }

    /// Messages that may be on their way or wait for the taker, 1 to 1,000,000. Default 100.
    #[must_use]
    pub fn credit(mut self, credit: u32) -> Self {
        self.config.credit = credit;
        self
    }

    /// Goes over MJP/1 and not as a ZIO socket, with a credit in octets, too: so many may be on
    /// their way or wait for the taker, 64 KiB to 1 GiB. A message may have half of it.
    #[must_use]
    pub fn over_mjp(mut self, credit_bytes: usize) -> Self {
        self.config.credit_bytes = Some(credit_bytes);
        self
    }

    /// One more attribute of BOT: rules and handlers go by them.
    ///
    /// # Errors
    /// It is the protocol's, or cannot be written.
    pub fn attribute(
        mut self,
        name: impl Into<String>,
        value: impl Serialize,
    ) -> Result<Self, AttributeError> {
        let name = name.into();
        if is_reserved(&name) {
            return Err(AttributeError::Reserved { name });
        }
        let value = serde_json::to_value(value)
            .map_err(|error| AttributeError::Value { reason: error.to_string() })?;
        FlowMessage::default().with(&name, &value)?;
        self.attributes.push((name, value));
        Ok(self)
    }

    /// The payload of BOT. Default none.
    #[must_use]
    pub fn payload<I>(mut self, parts: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Bytes>,
    {
        self.payload = parts.into_iter().map(Into::into).collect();
        self
    }

    /// Who makes BOT. Default 0.
    #[must_use]
    pub fn origin(mut self, origin: u64) -> Self {
        self.origin = origin;
        self
    }

    /// How long the answers to BOT and to EOT are waited for. Default 1 min and 90 s; `None` is for
    /// ever.
    #[must_use]
    pub fn timeouts(mut self, answer: Option<Duration>, end: Option<Duration>) -> Self {
        (self.config.answer_timeout, self.config.end_timeout) = (answer, end);
        self
    }

    /// Everything else.
    pub fn config(&mut self) -> &mut FlowConfig {
        &mut self.config
    }

    pub(super) fn peek(&self) -> &FlowConfig {
        &self.config
    }

    /// Asks for a flow to give into. Has to be called in a tokio runtime, in which the task of the
    /// flow runs from then on.
    ///
    /// # Errors
    /// [`FlowError::Config`], [`FlowError::Keys`], [`FlowError::Connect`], [`FlowError::Refused`],
    /// [`FlowError::NoAnswer`], [`FlowError::Lost`], [`FlowError::Violated`].
    ///
    /// # Cancel safety
    /// The flow is given up.
    pub async fn give(self) -> Result<Giver, FlowError> {
        self.open_as(Direction::Extract).await.map(Giver::new)
    }

    /// Asks for a flow to take from. Has to be called in a tokio runtime, in which the task of the
    /// flow runs from then on.
    ///
    /// # Errors
    /// As [`Self::give`].
    ///
    /// # Cancel safety
    /// The flow is given up.
    pub async fn take(self) -> Result<Taker, FlowError> {
        self.open_as(Direction::Inject).await.map(Taker::new)
    }

    /// Comes as a handler for a flow that was assigned: with its attributes and those that were
    /// given here, and with its credit if that is not more than was given here. The payload of
    /// its BOT is not sent back.
    ///
    /// # Errors
    /// As [`Self::give`]. It is refused if its client waits no longer.
    ///
    /// # Cancel safety
    /// The connection is given up; the client waits on.
    pub async fn open(self, assignment: &Assignment) -> Result<Opened, FlowError> {
        let own = self.config.credit;
        let credit = assignment.credit().map_or(own, |asked| asked.min(own));
        let direction = assignment.direction();
        let bot = self.bot(FlowMessage::default().with_label(assignment.bot().label())?)?;
        let end = End::open(&self.config, direction, credit, bot).await?;
        Ok(match direction {
            Direction::Extract => Opened::Gives(Giver::new(end)),
            Direction::Inject => Opened::Takes(Taker::new(end)),
        })
    }

    async fn open_as(self, direction: Direction) -> Result<End, FlowError> {
        let bot = self.bot(FlowMessage::default())?;
        End::open(&self.config, direction, self.config.credit, bot).await
    }

    fn bot(&self, mut bot: FlowMessage) -> Result<FlowMessage, AttributeError> {
        for (name, value) in &self.attributes {
            bot = bot.with(name, value)?;
        }
        bot.origin = self.origin;
        bot.payload.clone_from(&self.payload);
        Ok(bot)
    }
}
