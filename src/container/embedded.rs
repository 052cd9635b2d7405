//! Our broker as the home of services: how it is reached.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::client::fresh_id;
use super::coordinate::Reach;
use crate::client::{Client, ClientBuilder};
use crate::config::{ClientConfig, ConfigError, WorkerConfig};
use crate::transport::endpoint::EndpointError;
use crate::wire::mjp::Level;

/// Longest wait before a connection is tried again: a leader is to be found soon.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Our broker, as the home of services.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Embedded {
    /// Where the broker is, our keys, and the limits of messages. It is spoken to by MJP/1.
    pub client: ClientConfig,
    /// What commands and events are to survive once the broker has taken them. Default: as the
    /// policy of the service has it, and that is by itself the loss of instances, but not of the
    /// broker's process. With [`Level::Disk`] the broker needs a store.
    pub level: Option<Level>,
}

impl Embedded {
    /// A broker at that endpoint.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn at(endpoint: &str) -> Result<Self, EndpointError> {
        let client = ClientConfig { endpoint: endpoint.parse()?, ..ClientConfig::default() };
        Ok(Self { client, ..Self::default() })
    }

    /// What commands and events are to survive.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.client.validate()
    }

    /// How its leases are reached, over a connection of their own: what waits on the others does
    /// not keep a lease from being renewed.
    pub(super) fn reach(connection: &Connection) -> Reach<Client> {
        let connection = connection.clone();
        Box::new(move || {
            let connection = connection.clone();
            Box::pin(async move { connection.client().await })
        })
    }

    /// What a worker of it is told.
    pub(super) fn worker(&self, service: &str, credit: u16) -> WorkerConfig {
        let ClientConfig {
            endpoint, curve, connect_timeout, frame, message, frames, outbox, ..
        } = self.client.clone();
        WorkerConfig {
            endpoint,
            service: service.into(),
            credit,
            curve,
            connect_timeout,
            frame,
            message,
            frames,
            outbox,
            ..WorkerConfig::default()
        }
    }
}

/// A connection that is made when it is first needed, and goes on by itself from then on. Clones
/// share it.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    config: ClientConfig,
    client: Arc<OnceCell<Client>>,
}

impl Connection {
    pub(super) fn new(home: &Embedded) -> Self {
        let mut config = home.client.clone();
        // Several connections cannot have one name.
        config.identity = None;
        config.backoff_max = config.backoff_max.min(BACKOFF_MAX).max(config.backoff_min);
        Self { config, client: Arc::default() }
    }

    /// With a name that nobody else has, so that the broker can be asked to end it.
    pub(super) fn named(mut self, name: &str) -> Self {
        let fresh: String = fresh_id().chars().take(8).collect();
        self.config.identity = Some(format!("container-{name}-{fresh}"));
        self
    }

    /// With so many calls that may wait for their answers.
    pub(super) fn in_flight(mut self, calls: usize) -> Self {
        self.config.in_flight_max = calls;
        self
    }

    pub(super) async fn client(&self) -> Result<Client, String> {
        let connect = || ClientBuilder::from(self.config.clone()).connect();
        let client = self.client.get_or_try_init(connect).await;
        client.cloned().map_err(|error| error.to_string())
    }
}
