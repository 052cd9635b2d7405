//! A client before it connects.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::ClientError;
use super::inbox::Inbox;
use super::line::connect;
use super::task::Task;
use super::{Client, Handle};
use crate::config::ClientConfig;
use crate::wire::Protocol;

/// A client before it connects.
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    config: ClientConfig,
}

impl From<ClientConfig> for ClientBuilder {
    fn from(config: ClientConfig) -> Self {
        Self { config }
    }
}

impl ClientBuilder {
    /// How it speaks. Default MJP/1.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.config.protocol = protocol;
        self
    }

    /// Connections of an MDP client, 1 to 1,024, each with one request in flight. Default 1.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.config.connections = connections;
        self
    }

    /// The name it gives itself, up to 255 octets. Default none.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.config.identity = Some(identity.into());
        self
    }

    /// Calls in flight on an MJP connection, 1 to 1,000,000; more of them wait for their turn.
    /// Default 1,000.
    #[must_use]
    pub fn in_flight_max(mut self, calls: usize) -> Self {
        self.config.in_flight_max = calls;
        self
    }

    /// How long a call may take, 1 ms to 30 d. Default 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// How often a call may be sent, 1 to 100. Default 3.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.config.attempts = attempts;
        self
    }

    /// First and longest wait before a call or a connection is tried again. Default 100 ms and 5 s.
    #[must_use]
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        (self.config.backoff_min, self.config.backoff_max) = (min, max);
        self
    }

    /// Everything else.
    pub fn config(&mut self) -> &mut ClientConfig {
        &mut self.config
    }

    /// Connects, and goes on connecting by itself whenever the connection is lost. Has to be
    /// called in a tokio runtime, in which the client's task runs from then on.
    ///
    /// # Errors
    /// [`ClientError::Config`], [`ClientError::Connect`] if no broker can be reached now,
    /// [`ClientError::Seed`].
    ///
    /// # Cancel safety
    /// The attempt is given up.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let config = self.config;
        config.validate()?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| ClientError::Seed(error.to_string()))?;
        let first = connect(config.clone()).await?;
        let inbox = Arc::new(Inbox::new(config.waiting_max));
        let ended = CancellationToken::new();
        let (seed, guard) = (u64::from_ne_bytes(seed), ended.clone().drop_guard());
        let task = Task::new(config.clone(), seed, first, inbox.clone(), guard);
        let task = tokio::spawn(task.run());
        Ok(Client { handle: Arc::new(Handle { config, inbox, ended, task }) })
    }
}
