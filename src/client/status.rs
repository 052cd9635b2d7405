//! Questions to the broker itself.

use tokio::sync::oneshot;

use super::Client;
use super::call::Guard;
use super::error::CallError;
use super::pending::{Ask, Pending, Query, Sink};
use crate::id::ServiceName;
use crate::wire::mjp::{Report, StatusHeader};

/// What a broker says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    octets: Vec<u8>,
}

impl Status {
    /// What it says. Of its keys the one that was asked for is there; if `next` is, too, there is
    /// more, and comes if it is given as `after`.
    #[must_use]
    pub fn report(&self) -> Report<'_> {
        // It could be read when it came.
        Report::decode(&self.octets).unwrap_or_default()
    }
}

impl Client {
    /// Asks the broker how it is: as a whole, its services, or their workers, up to 1,000 of them
    /// at a time. Needs MJP/1.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::Client;
    /// # use majordomo::config::BrokerConfig;
    /// use majordomo::wire::mjp::{StatusHeader, What};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(run())
    /// # }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut config = BrokerConfig::default();
    /// # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
    /// # let broker = Broker::bind(config)?;
    /// # let endpoint = broker.local_addrs()[0].to_string();
    /// let client = Client::connect(&endpoint).await?;
    /// let ask = StatusHeader { what: What::Broker, service: None, after: None, max: None };
    /// let status = client.status(&ask).await?;
    /// assert_eq!(status.report().broker.map(|broker| broker.peers), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As a call, [`CallError::Unsupported`] over MDP, and [`CallError::Convert`].
    ///
    /// # Cancel safety
    /// The question is forgotten.
    pub async fn status(&self, ask: &StatusHeader<'_>) -> Result<Status, CallError> {
        let service = ask.service.map(ServiceName::try_from).transpose()?;
        let (what, after, max) = (ask.what, ask.after, ask.max);
        let (to, answer) = oneshot::channel();
        let (timeout, attempts) = (self.config().timeout, self.config().attempts);
        let pending = Box::new(Pending {
            ask: Ask::Status(Query { what, service, after, max }),
            timeout,
            sink: Sink::Whole(to, Vec::new()),
        });
        let guard = Guard::submit(self.clone(), attempts, pending)?;
        let answer = answer.await.unwrap_or(Err(CallError::Closed));
        guard.ended();
        let octets = answer?.first().to_vec();
        if let Err(why) = Report::decode(&octets) {
            let (what, reason) = ("read the status", why.to_string());
            return Err(CallError::Convert { what, reason });
        }
        Ok(Status { octets })
    }
}
