//! A scatter before it is under way, and what is said of it on the wire.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Miss, Outcome, Scatter, Sink, TargetError, Told};
use crate::client::Client;
use crate::client::call::{Guard, checked};
use crate::client::error::CallError;
use crate::client::pending::{self, Pending};
use crate::client::updates::Event;
use crate::id::ServiceName;
use crate::lease::Fence;
use crate::wire::codec::Encoder;
use crate::wire::message::Message;
use crate::wire::mjp::{self, Fault, Malformed, Packed, Recipients, ScatterHeader, Targets};

/// Which workers of a service are asked.
///
/// ```
/// use majordomo::client::To;
///
/// assert_eq!(To::default(), To::All);
/// let _two = To::names(["printer-1", "printer-2"]);
/// let _those_in_a = To::labels([("zone", "a"), ("colour", "yes")]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum To {
    /// All that there are.
    #[default]
    All,
    /// Those of these names: a worker's identity, or what the broker calls it. Names that nobody
    /// has count for nothing.
    Names(Vec<String>),
    /// Those that have all these labels.
    Labels(BTreeMap<String, String>),
}

impl To {
    /// Workers by name.
    pub fn names<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::Names(names.into_iter().map(Into::into).collect())
    }

    /// Workers by label: name and value.
    pub fn labels<N: Into<String>, V: Into<String>>(
        labels: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let labels = labels.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self::Labels(labels.collect())
    }

    fn recipients(&self) -> Recipients<'_> {
        match self {
            Self::All => Recipients::All,
            Self::Names(names) => Recipients::Names(names.iter().map(String::as_str).collect()),
            Self::Labels(labels) => {
                let texts = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                Recipients::Labels(texts.collect())
            }
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub(in crate::client) struct Ask {
    service: ServiceName,
    to: To,
    events: bool,
    pub(in crate::client) body: Message,
    pub(in crate::client) fence: Option<Box<Fence>>,
}

impl Ask {
    /// Octets of names and labels in the header, with what MessagePack needs around them.
    pub(in crate::client) fn texts(&self) -> usize {
        const AROUND: usize = 5;
        let sum = |texts: &mut dyn Iterator<Item = &String>| -> usize {
            texts.map(|text| text.len() + AROUND).sum()
        };
        match &self.to {
            To::All => 0,
            To::Names(names) => sum(&mut names.iter()),
            To::Labels(labels) => sum(&mut labels.iter().flat_map(|(name, value)| [name, value])),
        }
    }
}

/// How much longer than its workers a broker has: it says what became of those that were late.
const GRACE: Duration = Duration::from_secs(1);

/// A scatter that has not been made yet: `.await` it.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited"]
pub struct ScatterCall {
    client: Client,
    ask: Result<Ask, CallError>,
    timeout: Duration,
}

impl ScatterCall {
    /// How long the workers may take. Whoever has not replied by then is [`Miss::TimedOut`]; the
    /// broker has one second more to say so. Default [`ClientConfig::timeout`].
    ///
    /// [`ClientConfig::timeout`]: crate::config::ClientConfig::timeout
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether [`Scatter::update`] tells what happens at the workers. Default no.
    pub fn events(mut self, events: bool) -> Self {
        if let Ok(ask) = &mut self.ask {
            ask.events = events;
        }
        self
    }

    /// The caller says that it holds a lease: `&held` of a [`Held`](crate::client::Held), or a
    /// [`Fence`]. If that epoch does not hold when the broker reads it, it is [`CallError::Stale`],
    /// and no worker has seen it. A worker that would get its part only when the epoch does not hold
    /// any more does not see it either: it is [`Miss::Refused`], with the code `stale_epoch`.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::config::BrokerConfig;
    /// # use majordomo::worker::{Failure, Request, Worker};
    /// use majordomo::client::{CallError, Client, To};
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
    /// # let echo = |request: Request| async move { Ok::<_, Failure>(request.body) };
    /// # let worker = Worker::builder(&endpoint, "update")?.start(echo)?;
    /// # worker.registered().await;
    /// # let client = Client::connect(&endpoint).await?;
    /// let held = client.lease("updates").campaign().await?;
    /// let mut scatter = client.scatter("update", To::All, ["2.0"]).fence(&held).await?;
    /// assert!(scatter.rest().await?.iter().all(|outcome| outcome.result.is_ok()));
    ///
    /// held.resign().await?;
    /// let late = client.scatter("update", To::All, ["1.9"]).fence(&held).await;
    /// assert_eq!(late.err(), Some(CallError::Stale { current: None }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fence(mut self, fence: impl Into<Fence>) -> Self {
        match (checked(fence.into()), &mut self.ask) {
            (Ok(fence), Ok(ask)) => ask.fence = Some(fence),
            (Err(error), Ok(_)) => self.ask = Err(error),
            (_, Err(_)) => {}
        }
        self
    }

    async fn begin(self) -> Result<Scatter, CallError> {
        let ask = self.ask?;
        // Events take places of their own: an outcome is not to be missed for them.
        let parts_max = self.client.config().parts_max;
        let events_max = if ask.events { parts_max } else { 0 };
        let places = parts_max.saturating_add(Sink::PLACES).saturating_add(events_max);
        let (to, mut told) = mpsc::channel(places);
        let timeout = self.timeout.saturating_add(GRACE);
        let ask = pending::Ask::Scatter(Box::new(ask));
        let sink = pending::Sink::Scatter(Sink { to, events_max, missed: 0 });
        let pending = Box::new(Pending { ask, timeout, sink });
        // Sent once: nobody knows how far a scatter came whose connection was lost.
        let guard = Guard::submit(self.client, 1, pending)?;
        match told.recv().await.unwrap_or(Err(CallError::Closed)) {
            Ok(Told::Targets(targets)) => Ok(Scatter::new(told, guard, targets)),
            Ok(Told::Outcome(_) | Told::Event { .. } | Told::End) => {
                let (what, reason) = ("read the answer", "no TARGETS came first".into());
                Err(CallError::Convert { what, reason })
            }
            Err(error) => {
                guard.ended();
                Err(error)
            }
        }
    }
}

impl IntoFuture for ScatterCall {
    type Output = Result<Scatter, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.begin())
    }
}

impl Client {
    /// Asks several workers of a service at once: the answer is a [`Scatter`], as soon as the
    /// broker has decided whom it is for. Each of them gets the request at most once, and no other
    /// in its place. Needs MJP/1.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use majordomo::broker::Broker;
    /// # use majordomo::config::BrokerConfig;
    /// # use majordomo::worker::{Failure, Request, Worker};
    /// use majordomo::client::{Client, To};
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
    /// # let version = |_: Request| async move { Ok::<_, Failure>("1.2") };
    /// # let one = Worker::builder(&endpoint, "version")?.start(version)?;
    /// # let two = Worker::builder(&endpoint, "version")?.start(version)?;
    /// # one.registered().await;
    /// # two.registered().await;
    /// let client = Client::connect(&endpoint).await?;
    /// let ask = client.scatter("version", To::All, "").timeout(Duration::from_secs(2));
    /// let mut scatter = ask.await?;
    /// assert_eq!(scatter.targets().len(), 2);
    /// while let Some(outcome) = scatter.next().await {
    ///     let outcome = outcome?;
    ///     match outcome.result {
    ///         Ok(reply) => assert_eq!(reply.first(), b"1.2"),
    ///         Err(error) => println!("{} has not replied: {error}", outcome.target),
    ///     }
    /// }
    /// assert_eq!(scatter.tally().map(|tally| tally.replied), Some(2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// To be awaited: [`CallError::Refused`] with `no_target` if nobody is meant, `too_big` if
    /// more than 1,000 workers are, `overloaded` or `draining`; and as a call. A scatter is sent
    /// once: if the connection is lost, it ends as [`CallError::Disconnected`].
    pub fn scatter(
        &self,
        service: impl AsRef<[u8]>,
        to: To,
        body: impl Into<Message>,
    ) -> ScatterCall {
        let service = ServiceName::try_from(service.as_ref()).map_err(CallError::Service);
        let body = body.into();
        let ask = service.map(|service| Ask { service, to, events: false, body, fence: None });
        ScatterCall { client: self.clone(), ask, timeout: self.config().timeout }
    }
}

/// Writes a scatter whose caller waits so long.
pub(in crate::client) fn encode(id: u64, ask: &Ask, left: Duration, out: &mut Encoder) {
    let left = left.saturating_sub(GRACE).as_millis();
    let says = ScatterHeader {
        timeout: Some(u64::try_from(left).unwrap_or(u64::MAX)),
        events: ask.events.then_some(true),
        lease: ask.fence.as_ref().map(|fence| fence.lease()),
        epoch: ask.fence.as_ref().map(|fence| fence.epoch()),
        ..ScatterHeader::new(ask.service.as_bytes(), ask.to.recipients())
    };
    let header = Packed::new(&says);
    let (header, body) = (header.octets(), ask.body.frames());
    mjp::Scatter { id, header, says: says.clone(), body }.encode(out);
}

/// What TARGETS says.
pub(in crate::client) fn heard_targets(targets: &Targets<'_>) -> Result<Told, Malformed> {
    targets.names().map(Told::Targets)
}

/// What NOTE says.
pub(in crate::client) fn heard_note(note: &mjp::Note<'_>) -> Told {
    let event = Event::new(note.header, note.body.to_message(), 0);
    Told::Event { target: note.says.target.to_owned(), event }
}

/// What OUTCOME says.
pub(in crate::client) fn heard_outcome(outcome: &mjp::Outcome<'_>) -> Told {
    let says = outcome.says;
    let miss = match says.outcome {
        "replied" => None,
        "refused" => Some(Miss::Refused),
        "lost" => Some(Miss::Lost),
        "timed_out" => Some(Miss::TimedOut),
        "cancelled" => Some(Miss::Cancelled),
        // What is new is no reply, either.
        _ => Some(Miss::Failed),
    };
    let result = match miss {
        None => Ok(outcome.body.to_message()),
        Some(miss) => {
            let worker = Fault::decode(outcome.header).ok();
            let text = |own: Option<&str>, other: Option<&str>| {
                own.or(other).unwrap_or_default().to_owned()
            };
            let code = text(says.code, worker.as_ref().map(|fault| fault.code));
            let message = text(says.message, worker.as_ref().and_then(|fault| fault.message));
            let code = if code.is_empty() { says.outcome.to_owned() } else { code };
            Err(TargetError { miss, code, message, epoch: says.epoch })
        }
    };
    Told::Outcome(Outcome { target: says.target.to_owned(), result })
}
