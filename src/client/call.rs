//! One call, as its caller holds it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};

use super::Client;
use super::error::CallError;
use super::pending::{Ask, Pending, Reply, Request, Sink};
use super::updates::Updates;
use crate::id::ServiceName;
use crate::lease::Fence;
use crate::wire::Protocol;
use crate::wire::message::Message;
use crate::wire::mjp::{LEASE_NAME_MAX, RequestHeader};

/// A call that has not been made yet: `.await` it, or read its answer as a [`stream`].
///
/// [`stream`]: Self::stream
///
/// # Cancel safety
/// Whoever drops a call that is under way gives it up: an MJP worker that has it is told, and with
/// MDP the connection is replaced.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited"]
pub struct Call {
    client: Client,
    /// Boxed from the start: it is handed on from here to the task, and there till its end.
    pending: Result<Box<Pending>, CallError>,
    attempts: u32,
}

impl Call {
    pub(super) fn new(client: Client, service: &[u8], body: Message) -> Self {
        let config = client.config();
        let (timeout, attempts) = (config.timeout, config.attempts);
        let pending = ServiceName::check(service).map_err(CallError::Service).map(|()| {
            let request = Request {
                service: SmallVec::from_slice(service),
                body,
                limited: attempts == 1,
                trace: None,
                state: None,
                key: None,
                order: None,
                delay: None,
                level: None,
                handed_in: false,
                notice: None,
                fence: None,
            };
            Box::new(Pending { ask: Ask::Request(request), timeout, sink: Sink::None })
        });
        Self { client, pending, attempts }
    }

    /// How its client speaks.
    pub(super) fn protocol(&self) -> Protocol {
        self.client.config().protocol
    }

    /// Why there can be no such call.
    pub(super) fn refusal(self) -> CallError {
        self.pending.err().unwrap_or(CallError::Closed)
    }

    /// The request, if there can be such a call.
    pub(super) fn request(&mut self) -> Option<&mut Request> {
        match self.pending.as_mut().map(|pending| &mut pending.ask) {
            Ok(Ask::Request(request)) => Some(request),
            Ok(_) | Err(_) => None,
        }
    }

    /// How long it may take, waiting and retries included. Default [`ClientConfig::timeout`].
    ///
    /// [`ClientConfig::timeout`]: crate::config::ClientConfig::timeout
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if let Ok(pending) = &mut self.pending {
            pending.timeout = timeout;
        }
        self
    }

    /// How often it may be sent, 1 or more. With 1 it is delivered to one worker at most (MJP).
    /// Default [`ClientConfig::attempts`].
    ///
    /// [`ClientConfig::attempts`]: crate::config::ClientConfig::attempts
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        if let Some(request) = self.request() {
            request.limited = true;
        }
        self
    }

    /// The idempotency key, 1 to 128 octets: as long as the broker knows it, the same call with the
    /// same key is one, however often it is made from this machine. A call that is made again, here
    /// or by another client, waits for the answer to the first, or gets the answer that was kept;
    /// another body under the same key is refused with `key_conflict`.
    ///
    /// A call with a key is sent again whenever its connection is lost, until its time is over,
    /// unless [`attempts`](Self::attempts) limits it. Choose what no other call has, such as the
    /// number of an order or a UUID. MJP only.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::Client;
    /// # use majordomo::config::BrokerConfig;
    /// # use majordomo::worker::{Failure, Request, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(run())
    /// # }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut config = BrokerConfig::default();
    /// # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
    /// # let broker = Broker::bind(config)?;
    /// # let endpoint = broker.local_addrs()[0].to_string();
    /// # let echo = |request: Request| async move { Ok::<_, Failure>(request.body) };
    /// # let worker = Worker::builder(&endpoint, "pay")?.start(echo)?;
    /// let client = Client::connect(&endpoint).await?;
    /// let first = client.call("pay", ["order 7"]).key("order-7").await?;
    /// let again = client.call("pay", ["order 7"]).key("order-7").await?;
    /// assert_eq!(first, again); // and the worker had it once
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        let key = key.as_ref();
        if !(1..=RequestHeader::KEY_MAX).contains(&key.len()) {
            self.pending = Err(CallError::Key { len: key.len(), max: RequestHeader::KEY_MAX });
        } else if let Some(request) = self.request() {
            request.key = Some(key.into());
        }
        self
    }

    /// The order, 1 to 255 octets: calls of the service with the same one are carried out one at a
    /// time, in the order in which the broker has accepted them, whoever makes them and whatever
    /// becomes of workers, and at [level disk](crate::wire::mjp::Level::Disk) of the broker. An order
    /// is one for both levels. MJP only.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::Client;
    /// # use majordomo::config::BrokerConfig;
    /// # use majordomo::worker::{Failure, Request, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(run())
    /// # }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut config = BrokerConfig::default();
    /// # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
    /// # let broker = Broker::bind(config)?;
    /// # let endpoint = broker.local_addrs()[0].to_string();
    /// # let echo = |request: Request| async move { Ok::<_, Failure>(request.body) };
    /// # let worker = Worker::builder(&endpoint, "book")?.credit(8).start(echo)?;
    /// let client = Client::connect(&endpoint).await?;
    /// let debit = client.call("book", ["-7"]).order("account 12");
    /// let credit = client.call("book", ["+7"]).order("account 12");
    /// tokio::try_join!(debit.into_future(), credit.into_future())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn order(mut self, order: impl AsRef<[u8]>) -> Self {
        let order = order.as_ref();
        if !(1..=RequestHeader::ORDER_MAX).contains(&order.len()) {
            self.pending =
                Err(CallError::Order { len: order.len(), max: RequestHeader::ORDER_MAX });
        } else if let Some(request) = self.request() {
            request.order = Some(order.into());
        }
        self
    }

    /// No worker gets it before so much time has passed; it counts towards
    /// [`timeout`](Self::timeout), which has to be longer. At [level disk](crate::wire::mjp::Level::Disk)
    /// it goes on while there is no broker. MJP only.
    pub fn delay(mut self, delay: Duration) -> Self {
        if let Some(request) = self.request() {
            request.delay = Some(delay);
        }
        self
    }

    /// The caller says that it holds a lease: `&held` of a [`Held`](super::Held), or a [`Fence`]. The
    /// request is taken only if that epoch holds, and delivered only if it still does then; if not,
    /// it is [`CallError::Stale`], and no worker has seen it (SPEC 9.14). MJP only.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::{CallError, Client};
    /// # use majordomo::config::BrokerConfig;
    /// # use majordomo::worker::{Failure, Request, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(run())
    /// # }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut config = BrokerConfig::default();
    /// # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
    /// # let broker = Broker::bind(config)?;
    /// # let endpoint = broker.local_addrs()[0].to_string();
    /// # let echo = |request: Request| async move { Ok::<_, Failure>(request.body) };
    /// # let worker = Worker::builder(&endpoint, "pay")?.fence("billing").start(echo)?;
    /// # worker.registered().await;
    /// # let client = Client::connect(&endpoint).await?;
    /// let held = client.lease("billing").campaign().await?;
    /// client.call("pay", ["order 7"]).fence(&held).await?;
    ///
    /// held.resign().await?;
    /// let late = client.call("pay", ["order 8"]).fence(&held).await;
    /// assert_eq!(late, Err(CallError::Stale { current: None }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fence(mut self, fence: impl Into<Fence>) -> Self {
        match checked(fence.into()) {
            Err(error) => self.pending = Err(error),
            Ok(fence) => {
                if let Some(request) = self.request() {
                    request.fence = Some(fence);
                }
            }
        }
        self
    }

    /// The `traceparent` of W3C Trace Context, which the worker gets. MDP does not say it.
    pub fn trace(mut self, parent: impl Into<String>) -> Self {
        if let Some(request) = self.request() {
            request.trace = Some(parent.into().into_boxed_str());
        }
        self
    }

    /// The `tracestate` of W3C Trace Context. MDP does not say it.
    pub fn trace_state(mut self, state: impl Into<String>) -> Self {
        if let Some(request) = self.request() {
            request.state = Some(state.into().into_boxed_str());
        }
        self
    }

    /// Makes the call and gives its answer as it comes: parts, and then the last of it. An error
    /// is the last item, too.
    pub fn stream(self) -> Replies {
        let places = self.client.config().parts_max.saturating_add(1);
        let (to, replies) = mpsc::channel(places);
        // A refusal at once is an item, too: the channel is new and has room.
        let refused = to.clone();
        let guard = self.make(Sink::Parts(to)).map_err(|error| drop(refused.try_send(Err(error))));
        Replies { replies, guard: guard.ok() }
    }

    /// Makes the call, and gives its answer as it comes, what happens meanwhile, and what the worker
    /// asks: [`Update`](super::Update). Over MDP it is as [`stream`](Self::stream).
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::{Client, Update};
    /// # use majordomo::config::BrokerConfig;
    /// # use majordomo::worker::{Failure, Request, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(run())
    /// # }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut config = BrokerConfig::default();
    /// # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
    /// # let broker = Broker::bind(config)?;
    /// # let endpoint = broker.local_addrs()[0].to_string();
    /// # let handler = |request: Request| async move {
    /// #     request.event("looking").await?;
    /// #     let answer = request.ask("sure?").await?;
    /// #     Ok::<_, Failure>(answer)
    /// # };
    /// # let worker = Worker::builder(&endpoint, "copy")?.start(handler)?;
    /// # let client = Client::connect(&endpoint).await?;
    /// let mut updates = client.call("copy", ["a", "b"]).updates();
    /// while let Some(update) = updates.next().await {
    ///     match update? {
    ///         Update::Event(event) => println!("{}", event.message.unwrap_or_default()),
    ///         // Dropped, it would be declined.
    ///         Update::Question(question) => question.answer("yes")?,
    ///         Update::Partial(part) => println!("{} octets", part.bytes()),
    ///         Update::Final(reply) => assert_eq!(reply.first(), b"yes"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn updates(self) -> Updates {
        let places = self.client.config().parts_max.saturating_add(1);
        Updates::of(places, |sink| self.make(sink))
    }

    /// The answer, read as JSON in its first frame.
    ///
    /// # Errors
    /// As the call, and [`CallError::Convert`].
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, CallError> {
        super::typed::read_json(&self.await?)
    }

    /// The answer, read as MessagePack in its first frame.
    ///
    /// # Errors
    /// As the call, and [`CallError::Convert`].
    pub async fn msgpack<T: DeserializeOwned>(self) -> Result<T, CallError> {
        super::typed::read_msgpack(&self.await?)
    }

    pub(super) fn make(mut self, sink: Sink) -> Result<Guard, CallError> {
        self.choose_key();
        let mut pending = self.pending?;
        pending.sink = sink;
        Guard::submit(self.client, self.attempts, pending)
    }
}

impl IntoFuture for Call {
    type Output = Result<Message, CallError>;
    type IntoFuture = Answer;

    fn into_future(self) -> Answer {
        Answer { state: AnswerState::Made(self) }
    }
}

/// The answer to a call that is made when this is polled first.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited"]
pub struct Answer {
    state: AnswerState,
}

#[derive(Debug)]
enum AnswerState {
    Made(Call),
    Sent(oneshot::Receiver<Result<Message, CallError>>, Guard),
    Over,
}

impl Answer {
    /// To a call that has been made.
    pub(super) fn of(answer: oneshot::Receiver<Result<Message, CallError>>, guard: Guard) -> Self {
        Self { state: AnswerState::Sent(answer, guard) }
    }

    /// Nobody waits for it any more, and the call goes on: it is not cancelled, as it would be if
    /// this were dropped. With a key it outlives its client, too, if it was
    /// [accepted](Call::accepted).
    pub fn leave(mut self) {
        if let AnswerState::Sent(_, guard) = std::mem::replace(&mut self.state, AnswerState::Over) {
            guard.ended();
        }
    }
}

impl Future for Answer {
    type Output = Result<Message, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let AnswerState::Made(_) = self.state
            && let AnswerState::Made(call) = std::mem::replace(&mut self.state, AnswerState::Over)
        {
            let (to, answer) = oneshot::channel();
            self.state = AnswerState::Sent(answer, call.make(Sink::Whole(to, Vec::new()))?);
        }
        let AnswerState::Sent(answer, _) = &mut self.state else {
            return Poll::Ready(Err(CallError::Closed));
        };
        // The task drops what it cannot answer any more only when it ends.
        let answer = ready!(Pin::new(answer).poll(cx)).unwrap_or(Err(CallError::Closed));
        if let AnswerState::Sent(_, guard) = std::mem::replace(&mut self.state, AnswerState::Over) {
            guard.ended();
        }
        Poll::Ready(answer)
    }
}

/// The answer to a call as it comes.
///
/// # Cancel safety
/// Dropping it gives the call up.
#[derive(Debug)]
pub struct Replies {
    replies: mpsc::Receiver<Result<Reply, CallError>>,
    guard: Option<Guard>,
}

impl Replies {
    pub(super) fn of(replies: mpsc::Receiver<Result<Reply, CallError>>, guard: Guard) -> Self {
        Self { replies, guard: Some(guard) }
    }

    /// The next part, or the last; `None` behind the last.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Reply, CallError>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply, CallError>>> {
        let reply = ready!(self.replies.poll_recv(cx));
        if !matches!(reply, Some(Ok(Reply::Partial(_))))
            && let Some(guard) = self.guard.take()
        {
            guard.ended();
        }
        Poll::Ready(reply)
    }
}

impl Stream for Replies {
    type Item = Result<Reply, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

/// A fence of which there can be one.
pub(super) fn checked(fence: Fence) -> Result<Box<Fence>, CallError> {
    let len = fence.lease().len();
    if (1..=LEASE_NAME_MAX).contains(&len) {
        Ok(Box::new(fence))
    } else {
        Err(CallError::LeaseName { len, max: LEASE_NAME_MAX })
    }
}

/// A call under way; dropped before its end, it cancels it.
#[derive(Debug)]
pub(super) struct Guard {
    client: Client,
    id: u64,
}

impl Guard {
    /// Leaves a call for the task. Only then it owes whoever waits a word: what is refused is told
    /// here.
    pub(super) fn submit(
        client: Client,
        attempts: u32,
        mut pending: Box<Pending>,
    ) -> Result<Self, CallError> {
        let sink = std::mem::take(&mut pending.sink);
        client.check(&pending)?;
        let id = client.leave(attempts, pending, sink)?;
        Ok(Self { client, id })
    }

    /// What the task calls it.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The call has ended: there is nothing to cancel.
    pub(super) fn ended(mut self) {
        self.id = 0;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.id != 0 {
            self.client.cancel(self.id);
        }
    }
}
