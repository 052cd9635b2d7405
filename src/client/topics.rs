//! Publishing, and hearing what is published.

mod queue;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::oneshot;

use super::call::{Guard, checked};
use super::error::CallError;
use super::pending::{Ask, Pending, Sink as AnySink};
use super::{Client, FOREVER};
use crate::lease::Fence;
use crate::proto::topics::{Pattern, Subject};
use crate::wire::codec::Encoder;
use crate::wire::message::Message;
use crate::wire::mjp::{self, Packed, PublishHeader, SubscribeHeader, ToBroker};

use queue::Queue;

/// Something that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// What it is about.
    pub subject: String,
    /// One frame or more, as they were sent.
    pub body: Message,
    /// The name that the publisher gave itself. It proves nothing.
    pub publisher: Option<Vec<u8>>,
}

/// What a subscriber hears instead of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lapse {
    /// So many messages were dropped here, right before what follows, as there was no room for
    /// them: in this subscription, or at the broker.
    #[error("{0} messages were dropped, as they were not read in time")]
    Missed(u64),
    /// The connection was lost, and is there again: what was published meanwhile is not known.
    #[error("the connection was lost, and with it what was published until now")]
    Unknown,
    /// The subscription has ended. Nothing comes behind that.
    #[error(transparent)]
    Ended(#[from] CallError),
}

/// What is published of some subjects, as it comes: at most once each, and in the order in which
/// each publisher sent it. Where something is missing there is a [`Lapse`] instead, and it goes on
/// behind that, over as many connections as it takes.
///
/// It is a [`Stream`], too. What comes waits in a buffer of [`ClientConfig::parts_max`] messages and
/// [`ClientConfig::unread`] octets; what finds no room there is dropped and counted.
///
/// [`ClientConfig::parts_max`]: crate::config::ClientConfig::parts_max
/// [`ClientConfig::unread`]: crate::config::ClientConfig::unread
///
/// # Cancel safety
/// Dropping it tells the broker that nobody listens.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
    /// Gone when it has ended.
    guard: Option<Guard>,
}

impl Subscription {
    /// The next message, or what has happened instead; `None` behind [`Lapse::Ended`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Published, Lapse>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Published, Lapse>>> {
        if self.guard.is_none() {
            return Poll::Ready(None);
        }
        let next = self.queue.poll(cx);
        if let Poll::Ready(Err(Lapse::Ended(_))) = next
            && let Some(guard) = self.guard.take()
        {
            guard.ended();
        }
        next.map(Some)
    }
}

impl Stream for Subscription {
    type Item = Result<Published, Lapse>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// What the task hears for a subscription.
#[derive(Debug)]
pub(super) enum News {
    /// The broker has taken it, for the first time or again.
    Accepted,
    /// Something that was published, and how many were dropped right before it. Boxed: it is large.
    Published { missed: Option<u64>, published: Box<Published> },
    /// So many were dropped, and nothing has come behind them.
    Missed(u64),
}

impl News {
    /// What a MESSAGE says.
    pub(super) fn of(news: &mjp::News<'_>) -> Self {
        let published = Box::new(Published {
            subject: news.says.subject.to_owned(),
            body: news.body.to_message(),
            publisher: news.says.identity.map(<[u8]>::to_vec),
        });
        Self::Published { missed: news.says.missed, published }
    }
}

/// Where the task leaves what comes for a subscription.
#[derive(Debug)]
pub(super) struct Sink {
    queue: Arc<Queue>,
    /// Who waits to be subscribed first.
    first: Option<oneshot::Sender<Result<(), CallError>>>,
}

impl Sink {
    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub(super) fn hear(&mut self, news: News) {
        match (news, self.first.take()) {
            (News::Accepted, Some(first)) => drop(first.send(Ok(()))),
            // It was taken before, on a connection that was lost.
            (News::Accepted, None) => self.queue.miss(Lapse::Unknown),
            (News::Missed(missed), first) => {
                self.first = first;
                self.queue.miss(Lapse::Missed(missed));
            }
            (News::Published { missed, published }, first) => {
                self.first = first;
                if let Some(missed) = missed {
                    self.queue.miss(Lapse::Missed(missed));
                }
                self.queue.push(*published);
            }
        }
    }

    pub(super) fn end(self, error: CallError) {
        match self.first {
            Some(first) => drop(first.send(Err(error))),
            None => self.queue.end(error),
        }
    }
}

/// What is published.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) subject: Box<str>,
    pub(super) body: Message,
    pub(super) fence: Option<Box<Fence>>,
}

/// Something that has not been published yet: `.await` it.
///
/// # Cancel safety
/// It may have been published, or not.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited"]
pub struct PublishCall {
    client: Client,
    publication: Result<Publication, CallError>,
}

impl PublishCall {
    /// The publisher says that it holds a lease: `&held` of a [`Held`](super::Held), or a [`Fence`].
    /// If that epoch does not hold when the broker reads it, it is [`CallError::Stale`], and nobody
    /// has heard it. Who hears it may read the lease and the epoch in its header.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::{CallError, Client};
    /// # use majordomo::config::BrokerConfig;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(run())
    /// # }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut config = BrokerConfig::default();
    /// # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
    /// # let broker = Broker::bind(config)?;
    /// # let endpoint = broker.local_addrs()[0].to_string();
    /// # let client = Client::connect(&endpoint).await?;
    /// let held = client.lease("weather").campaign().await?;
    /// client.publish("weather.oslo.wind", ["9 m/s"]).fence(&held).await?;
    ///
    /// held.resign().await?;
    /// let late = client.publish("weather.oslo.wind", ["8 m/s"]).fence(&held).await;
    /// assert_eq!(late, Err(CallError::Stale { current: None }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fence(mut self, fence: impl Into<Fence>) -> Self {
        match (checked(fence.into()), &mut self.publication) {
            (Ok(fence), Ok(publication)) => publication.fence = Some(fence),
            (Err(error), Ok(_)) => self.publication = Err(error),
            (_, Err(_)) => {}
        }
        self
    }

    async fn publish(self) -> Result<u64, CallError> {
        let (to, answer) = oneshot::channel();
        let pending = Box::new(Pending {
            ask: Ask::Publish(Box::new(self.publication?)),
            timeout: self.client.config().timeout,
            sink: AnySink::Whole(to, Vec::new()),
        });
        let guard = Guard::submit(self.client, 1, pending)?;
        let answer = answer.await.unwrap_or(Err(CallError::Closed));
        guard.ended();
        let count = answer?.first().try_into().map(u64::from_be_bytes);
        count.map_err(|_| CallError::Convert {
            what: "read the answer to PUBLISH",
            reason: "it is none".into(),
        })
    }
}

impl IntoFuture for PublishCall {
    type Output = Result<u64, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.publish())
    }
}

impl Client {
    /// Publishes to all who have subscribed to the subject, and gives how many subscriptions that
    /// are. Each of them gets it once at most: the broker keeps nothing, and drops what a slow
    /// subscriber has no room for. A subject is tokens with a `.` between them, see [`Subject`].
    /// The body is one frame or more. Needs MJP/1.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::Client;
    /// # use majordomo::config::BrokerConfig;
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
    /// let mut wind = client.subscribe("weather.*.wind").await?;
    /// let subscriptions = client.publish("weather.oslo.wind", ["9 m/s"]).await?;
    /// assert_eq!(subscriptions, 1);
    ///
    /// let heard = wind.next().await.expect("it goes on")?;
    /// assert_eq!(heard.subject, "weather.oslo.wind");
    /// assert_eq!(heard.body.first(), b"9 m/s");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// To be awaited: [`CallError::Subject`], [`CallError::Unsupported`] over MDP,
    /// [`CallError::Refused`] with `overloaded`, `too_big`, `denied` or `forbidden`, and as a call. It
    /// is sent once: with [`CallError::Disconnected`] or [`CallError::Timeout`] nobody knows whether
    /// it was heard.
    pub fn publish(&self, subject: &str, body: impl Into<Message>) -> PublishCall {
        let subject = Subject::parse(subject).map_err(CallError::Subject);
        let publication = subject.map(|subject| Publication {
            subject: subject.as_str().into(),
            body: body.into(),
            fence: None,
        });
        PublishCall { client: self.clone(), publication }
    }

    /// Subscribes to all subjects that `pattern` means, until the result is dropped: a subject, in
    /// which `*` stands for any one token, and `>` at the end for any one or more, see [`Pattern`].
    /// What is published once this has returned, is heard. Needs MJP/1.
    ///
    /// When the connection is lost the subscription goes on over the next one. What was published
    /// in between is lost, and [`Lapse::Unknown`] says so.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::Client;
    /// # use majordomo::config::BrokerConfig;
    /// use majordomo::client::Lapse;
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
    /// # let client = Client::connect(&endpoint).await?;
    /// let mut all = client.subscribe("orders.>").await?;
    /// # for number in 1..=3 {
    /// #     client.publish(&format!("orders.{number}"), ["paid"]).await?;
    /// # }
    /// # let (mut heard, mut client) = (0, Some(client));
    /// while let Some(next) = all.next().await {
    ///     match next {
    ///         Ok(order) => println!("{}: {:?}", order.subject, order.body.first()),
    ///         Err(Lapse::Ended(error)) => return Err(error.into()),
    ///         // Something is missing here; it goes on.
    ///         Err(lapse) => eprintln!("{lapse}"),
    ///     }
    /// #     heard += 1;
    /// #     if heard == 3 { break }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Subject`], [`CallError::Unsupported`] over MDP, and as a call.
    ///
    /// # Cancel safety
    /// The broker is told that nobody listens.
    pub async fn subscribe(&self, pattern: &str) -> Result<Subscription, CallError> {
        Pattern::parse(pattern)?;
        let config = self.config();
        let (first, subscribed) = oneshot::channel();
        let queue = Arc::new(Queue::new(config.parts_max, config.unread));
        let sink = Sink { queue: queue.clone(), first: Some(first) };
        let pending = Box::new(Pending {
            ask: Ask::Subscribe(pattern.into()),
            timeout: FOREVER,
            sink: AnySink::Topic(sink),
        });
        let guard = Guard::submit(self.clone(), 1, pending)?;
        let subscription = Subscription { queue, guard: Some(guard) };
        match tokio::time::timeout(config.timeout, subscribed).await {
            Ok(subscribed) => subscribed.unwrap_or(Err(CallError::Closed)).map(|()| subscription),
            Err(_) => {
                let (after, because) = (config.timeout, None);
                Err(CallError::Timeout { after, sent: false, because })
            }
        }
    }
}

/// Writes SUBSCRIBE.
pub(super) fn encode_subscribe(id: u64, pattern: &str, out: &mut Encoder) {
    let says = SubscribeHeader { subject: pattern, ack: Some(true) };
    ToBroker::Subscribe { id, says }.encode(out);
}

/// Writes UNSUBSCRIBE.
pub(super) fn encode_unsubscribe(id: u64, out: &mut Encoder) {
    ToBroker::Unsubscribe { id }.encode(out);
}

/// Writes PUBLISH.
pub(super) fn encode_publish(id: u64, publication: &Publication, out: &mut Encoder) {
    let says = PublishHeader {
        lease: publication.fence.as_ref().map(|fence| fence.lease()),
        epoch: publication.fence.as_ref().map(|fence| fence.epoch()),
        ..PublishHeader::new(&publication.subject)
    };
    let header = Packed::new(&says);
    let (header, body) = (header.octets(), publication.body.frames());
    mjp::Publish { id, header, says, body }.encode(out);
}
