//! Publishing from within a handler.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::proto::topics::{Subject, SubjectError};
use crate::transport::session::Session;
use crate::wire::message::Message;
use crate::wire::mjp::{Packed, Publish, PublishHeader, ToBroker};

use super::Protocol;
use super::limits::TooBig;
use super::request::{Request, Said};

/// Why something was not published, or why nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// That is no subject.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The broker would not take it.
    #[error(transparent)]
    TooBig(#[from] TooBig),
    /// The broker has not taken it.
    #[error("{code}: {message}")]
    Refused {
        /// What is wrong, by name: one of [`Code`](crate::wire::mjp::Code).
        code: String,
        /// The same for people.
        message: String,
    },
    /// There is no connection, or it was lost: whether it was heard nobody knows.
    #[error("the connection to the broker was lost, or is not there yet")]
    Disconnected,
    /// MDP cannot say it.
    #[error("MDP has no word for publishing; speak MJP/1")]
    Unsupported,
}

/// Something that a handler wants to publish.
#[derive(Debug)]
pub(super) struct Publication {
    subject: Box<str>,
    body: Message,
    done: oneshot::Sender<Result<u64, PublishError>>,
}

impl Request {
    /// Publishes to all who have subscribed to the subject, and gives how many subscriptions that
    /// are: see [`Client::publish`](crate::client::Client::publish). It has nothing to do with the
    /// answer, and the caller hears of it only if it has subscribed.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::Client;
    /// # use majordomo::config::BrokerConfig;
    /// use majordomo::worker::{Failure, Request, Worker};
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
    /// let worker = Worker::builder(&endpoint, "print")?.start(|request: Request| async move {
    ///     request.publish("printed.office", ["3 pages"]).await?;
    ///     Ok::<_, Failure>("done")
    /// })?;
    /// # let client = Client::connect(&endpoint).await?;
    /// # let mut printed = client.subscribe("printed.*").await?;
    /// # assert_eq!(client.call("print", ["it"]).await?.first(), b"done");
    /// # assert_eq!(printed.next().await.expect("it goes on")?.body.first(), b"3 pages");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PublishError`].
    ///
    /// # Cancel safety
    /// It may have been published, or not.
    pub async fn publish(
        &self,
        subject: &str,
        body: impl Into<Message>,
    ) -> Result<u64, PublishError> {
        Subject::parse(subject)?;
        if self.protocol != Protocol::Mjp {
            return Err(PublishError::Unsupported);
        }
        let body = body.into();
        self.limits.check(&body)?;
        let (done, published) = oneshot::channel();
        let publication = Publication { subject: subject.into(), body, done };
        let said = self.said.send(Said::Publish(publication)).await;
        said.map_err(|_| PublishError::Disconnected)?;
        published.await.unwrap_or(Err(PublishError::Disconnected))
    }
}

/// What was published on this connection, and the broker has not answered.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    last: u64,
    open: HashMap<u64, oneshot::Sender<Result<u64, PublishError>>>,
}

impl Publishing {
    pub(super) fn say(&mut self, publication: Publication, session: Option<&mut Session>) {
        let Publication { subject, body, done } = publication;
        let Some(session) = session else {
            // A handler that has ended does not care.
            let _ = done.send(Err(PublishError::Disconnected));
            return;
        };
        self.last += 1;
        let says = PublishHeader::new(&subject);
        let header = Packed::new(&says);
        let (id, header, body) = (self.last, header.octets(), body.frames());
        session.send(|out| ToBroker::Publish(Publish { id, header, says, body }).encode(out));
        self.open.insert(id, done);
    }

    pub(super) fn done(&mut self, id: u64, result: Result<u64, PublishError>) {
        if let Some(done) = self.open.remove(&id) {
            let _ = done.send(result);
        }
    }

    /// The connection is gone, and with it every answer.
    pub(super) fn lost(&mut self) {
        self.open.clear();
    }
}
