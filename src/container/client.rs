//! Calls to services: over the connection of a container, or over one of a client's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::queues::{Line, Outgoing, Queues, Reply, SendError, Sent};
use super::seal::{PublicKey, PublicKeys, Seal};
use crate::proto::backoff::Backoff;
use crate::wire::nuropb::{
    Body, Call, CallType, DESCRIBE, Event, Kind, Response, decode, fits_short_string,
};

/// Answers that are waited for at a time.
const PENDING_MAX: usize = 100_000;
/// Answers that have come and are not yet handed out.
const ANSWERS_MAX: usize = 256;
/// The longest that anybody waits for an answer: RabbitMQ keeps no message for 50 days.
const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an orderly end may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody offers the service.
    #[error("nobody offers the service `{0}`")]
    NoService(String),
    /// The method has failed, or refuses.
    #[error("{class}: {text}")]
    Remote {
        /// The class of the error, by the name it has over there.
        class: String,
        /// For people.
        text: String,
    },
    /// There was no answer in time. It may have been carried out.
    #[error("no answer within {} ms; it may have been carried out", .0.as_millis())]
    TimedOut(Duration),
    /// There was no connection in time. It was not sent.
    #[error("no connection within {} ms: {why}", waited.as_millis())]
    NotConnected {
        /// How long it was waited for.
        waited: Duration,
        /// Why there is none.
        why: String,
    },
    /// It is not known whether it was sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Too many calls wait for an answer.
    #[error("{PENDING_MAX} calls wait for an answer; wait for some of them first")]
    TooMany,
    /// The name of a service or a topic is empty, too long, or has control characters.
    #[error("`{0}` is no name of a service or a topic: 1 to 96 octets without control characters")]
    Name(String),
    /// The arguments or the value cannot be converted.
    #[error("cannot convert: {0}")]
    Convert(String),
    /// It was to be encrypted, and cannot be; it was not sent.
    #[error("the call to `{service}` cannot be encrypted: {why}")]
    NotEncrypted {
        /// The service.
        service: String,
        /// Why.
        why: String,
    },
    /// The answer cannot be read, or is not encrypted though the call was.
    #[error("the answer is not to be trusted: {0}")]
    Opened(String),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

/// Who waits for which answer.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<String, oneshot::Sender<Reply>>>);

impl Pending {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, oneshot::Sender<Reply>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An answer has come.
    pub(super) fn answered(&self, reply: Reply) {
        let id = match &reply {
            Reply::Open(response) => &response.correlation_id,
            Reply::Sealed { correlation_id, .. } => correlation_id,
        };
        match self.with(|pending| pending.remove(id)) {
            // Whoever waited has gone.
            Some(waiting) => drop(waiting.send(reply)),
            // NuroPb answers twice after an exception.
            None => tracing::debug!("an answer that nobody waits for; dropped"),
        }
    }
}

/// A place in the table of those who wait; left when it is dropped.
struct Place<'a> {
    pending: &'a Pending,
    id: String,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pending.with(|pending| pending.remove(&self.id));
    }
}

/// The line of the moment, or why there is none.
pub(super) type LineNow = Result<Arc<dyn Line>, String>;

/// Calls services. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(super) line: watch::Receiver<LineNow>,
    pub(super) pending: Arc<Pending>,
    pub(super) context: Map<String, Value>,
    pub(super) timeout: Duration,
    pub(super) encrypt: bool,
    pub(super) keys: Arc<PublicKeys>,
}

impl Caller {
    pub(super) fn new(line: watch::Receiver<LineNow>, pending: Arc<Pending>) -> Self {
        let timeout = Duration::from_secs(30);
        Self { line, pending, context: Map::new(), timeout, encrypt: false, keys: Arc::default() }
    }

    /// With arguments, values and errors that only this end and the service can read: each service
    /// is asked for its public key first, at most once a minute. Events cannot be encrypted. Needs
    /// the feature `encryption`.
    #[must_use]
    pub fn encrypted(mut self) -> Self {
        self.encrypt = true;
        self
    }

    /// With this in the context of each call, by name.
    #[must_use]
    pub fn with_context(mut self, context: Map<String, Value>) -> Self {
        self.context = context;
        self
    }

    /// With another limit for each call. Default 30 s; 30 days at the most, to which a longer one is
    /// cut.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(TIMEOUT_MAX);
        self
    }

    /// Asks a service, and waits for the value. The time limit is also how long the message may
    /// wait in the service's queue.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    ///
    /// # Cancel safety
    ///
    /// A request that has been sent is carried out; its answer is dropped.
    pub async fn request<A: Serialize>(
        &self,
        service: &str,
        method: &str,
        args: &A,
    ) -> Result<Value, CallError> {
        let ends = Instant::now() + self.timeout;
        let call = self.call(service, method, args)?;
        let (sender, answer) = oneshot::channel();
        let id = call.correlation_id.clone();
        let full = self.pending.with(|pending| {
            let full = pending.len() >= PENDING_MAX;
            if !full {
                pending.insert(id.clone(), sender);
            }
            full
        });
        if full {
            return Err(CallError::TooMany);
        }
        let _place = Place { pending: &self.pending, id };
        let seal = self.seal(service, method, ends).await?;
        let line = self.line(ends).await?;
        let left = ends.saturating_duration_since(Instant::now());
        let sent = line.send(Outgoing::Call(call, CallType::Request, left, seal.clone()));
        match timeout_at(ends, sent).await {
            Err(_) => return Err(CallError::TimedOut(self.timeout)),
            Ok(sent) => {
                if sent? == Sent::Unroutable {
                    return Err(CallError::NoService(service.into()));
                }
            }
        }
        let response = match timeout_at(ends, answer).await {
            Err(_) => return Err(CallError::TimedOut(self.timeout)),
            Ok(Err(_)) => return Err(CallError::Closed),
            Ok(Ok(reply)) => opened(reply, seal.as_ref())?,
        };
        match response.error {
            Some(error) => Err(CallError::Remote { class: error.error, text: error.description }),
            None => Ok(response.result),
        }
    }

    /// A seal for a call, if calls are to be encrypted. The question for the key is not.
    async fn seal(
        &self,
        service: &str,
        method: &str,
        ends: Instant,
    ) -> Result<Option<Seal>, CallError> {
        if !self.encrypt || method == DESCRIBE {
            return Ok(None);
        }
        let refused = |why: String| CallError::NotEncrypted { service: service.into(), why };
        let key = match self.keys.get(service) {
            Some(key) => key,
            None => {
                let left = ends.saturating_duration_since(Instant::now());
                let asker = self.clone().with_timeout(left);
                let described = Box::pin(asker.describe_service(service)).await?;
                let pem = described.get("public_key").and_then(Value::as_str);
                let pem = pem.ok_or_else(|| refused("it says no public key".into()))?;
                let key = PublicKey::from_pem(pem).map_err(|error| refused(error.to_string()))?;
                self.keys.put(service, key.clone());
                key
            }
        };
        Seal::fresh(key).map(Some).map_err(|error| refused(error.to_string()))
    }

    /// Tells a service to do something, and waits until the queue server has it.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; what the method says is not known.
    pub async fn command<A: Serialize>(
        &self,
        service: &str,
        method: &str,
        args: &A,
    ) -> Result<(), CallError> {
        let ends = Instant::now() + self.timeout;
        let call = self.call(service, method, args)?;
        let seal = self.seal(service, method, ends).await?;
        let line = self.line(ends).await?;
        match line.send(Outgoing::Call(call, CallType::Command, self.timeout, seal)).await? {
            Sent::Taken => Ok(()),
            Sent::Unroutable => Err(CallError::NoService(service.into())),
        }
    }

    /// Publishes an event, and waits until the queue server has it. Each service that listens is
    /// told once; if there is none, nobody is told.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn publish_event<T: Serialize>(
        &self,
        topic: &str,
        event: &T,
    ) -> Result<(), CallError> {
        check_topic(topic)?;
        let event = serde_json::to_value(event);
        let event = Event {
            topic: topic.into(),
            event: event.map_err(|error| CallError::Convert(error.to_string()))?,
            context: self.context.clone(),
            trace_id: None,
            correlation_id: fresh_id(),
            target: Value::Null,
        };
        let ends = Instant::now() + self.timeout;
        let line = self.line(ends).await?;
        let sent = timeout_at(ends, line.send(Outgoing::Event(event))).await;
        sent.map_err(|_| CallError::TimedOut(self.timeout))??;
        Ok(())
    }

    /// Asks a service what it can do: see SPEC 17.2 for the form.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn describe_service(&self, service: &str) -> Result<Value, CallError> {
        self.request(service, DESCRIBE, &Map::new()).await
    }

    fn call<A: Serialize>(&self, service: &str, method: &str, args: &A) -> Result<Call, CallError> {
        if !fits_short_string(service) {
            return Err(CallError::Name(service.chars().take(64).collect()));
        }
        let params = match serde_json::to_value(args) {
            Ok(Value::Object(params)) => params,
            Ok(Value::Null) => Map::new(),
            Ok(_) => return Err(CallError::Convert("arguments have names: give a struct".into())),
            Err(error) => return Err(CallError::Convert(error.to_string())),
        };
        Ok(Call {
            service: service.into(),
            method: method.into(),
            params,
            correlation_id: fresh_id(),
            context: self.context.clone(),
            trace_id: None,
        })
    }

    /// The line, as soon as there is one.
    async fn line(&self, ends: Instant) -> Result<Arc<dyn Line>, CallError> {
        let began = Instant::now();
        let mut line = self.line.clone();
        loop {
            let why = match &*line.borrow_and_update() {
                Ok(line) => return Ok(line.clone()),
                Err(why) => why.clone(),
            };
            match timeout_at(ends, line.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(CallError::Closed),
                Err(_) => {
                    let waited = ends.saturating_duration_since(began);
                    return Err(CallError::NotConnected { waited, why });
                }
            }
        }
    }
}

/// An answer as it was meant. One that should be encrypted and is not may say why something has
/// failed, as queue servers do who cannot read it, and nothing else.
fn opened(reply: Reply, seal: Option<&Seal>) -> Result<Response, CallError> {
    match (reply, seal) {
        (Reply::Open(response), None) => Ok(response),
        (Reply::Open(response), Some(_)) if response.error.is_some() => Ok(response),
        (Reply::Open(_), Some(_)) => Err(CallError::Opened("it is not encrypted".into())),
        (Reply::Sealed { .. }, None) => Err(CallError::Opened("it is encrypted".into())),
        (Reply::Sealed { correlation_id, octets }, Some(seal)) => {
            let plain = seal.open(&octets).map_err(|error| CallError::Opened(error.to_string()))?;
            match decode(Kind::Response, &plain) {
                Ok(Body::Response(response)) => Ok(Response { correlation_id, ..response }),
                Ok(_) => Err(CallError::Opened("it is no answer".into())),
                Err(error) => Err(CallError::Opened(error.to_string())),
            }
        }
    }
}

/// Whether something can be published of that topic.
pub(super) fn check_topic(topic: &str) -> Result<(), CallError> {
    if fits_short_string(topic) {
        return Ok(());
    }
    Err(CallError::Name(topic.chars().take(64).collect()))
}

/// 32 hexadecimal digits.
pub(super) fn fresh_id() -> String {
    use std::fmt::Write as _;
    let mut octets = [0; 16];
    // Without randomness a number of this process has to do.
    if getrandom::fill(&mut octets).is_err() {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let own = u64::from(std::process::id()) << 32;
        octets = ((u128::from(own) << 64) | u128::from(count)).to_be_bytes();
    }
    octets.iter().fold(String::with_capacity(32), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// A client of its own, with a connection that comes back by itself.
#[derive(Debug)]
pub struct Client {
    caller: Caller,
    task: JoinHandle<()>,
}

impl Client {
    /// Begins to connect.
    #[must_use]
    pub fn start(queues: Arc<dyn Queues>) -> Self {
        let (sender, line) = watch::channel(Err("not yet connected".to_owned()));
        let pending = Arc::new(Pending::default());
        let task = tokio::spawn(keep_up(queues, sender, pending.clone()));
        Self { caller: Caller::new(line, pending), task }
    }

    /// To call services.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// Ends the connection.
    pub async fn close(self) {
        let line = self.caller.line.borrow().clone();
        self.task.abort();
        if let Ok(line) = line {
            let _ = tokio::time::timeout(CLOSE_MAX, line.close()).await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects, again and again. What a client needs may not be set up yet, so it does that, too.
async fn keep_up(queues: Arc<dyn Queues>, line: watch::Sender<LineNow>, pending: Arc<Pending>) {
    let seed =
        fresh_id().bytes().fold(0, |seed: u64, digit| seed.rotate_left(5) ^ u64::from(digit));
    let mut waits = Backoff::new(Duration::from_millis(200), Duration::from_secs(5), seed);
    let (sender, mut answers) = mpsc::channel(ANSWERS_MAX);
    loop {
        match queues.connect(sender.clone()).await {
            Ok(connected) => {
                waits.reset();
                let _ = line.send_replace(Ok(connected.clone()));
                let why = loop {
                    tokio::select! {
                        why = connected.broken() => break why,
                        Some(answer) = answers.recv() => pending.answered(answer),
                    }
                };
                let _ = line.send_replace(Err(why));
            }
            Err(why) => drop(line.send_replace(Err(why))),
        }
        sleep(waits.next_wait()).await;
    }
}
