//! Calls to services: over the connection of a container, or over one of a client's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::queues::{Line, Outgoing, Queues, SendError, Sent};
use crate::proto::backoff::Backoff;
use crate::wire::nuropb::{Call, CallType, DESCRIBE, Event, Response, fits_short_string};

/// Answers that are waited for at a time.
const PENDING_MAX: usize = 100_000;
/// Answers that have come and are not yet handed out.
const ANSWERS_MAX: usize = 256;
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
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

/// Who waits for which answer.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<String, oneshot::Sender<Response>>>);

impl Pending {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut HashMap<String, oneshot::Sender<Response>>) -> T,
    ) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An answer has come.
    pub(super) fn answered(&self, response: Response) {
        match self.with(|pending| pending.remove(&response.correlation_id)) {
            // Whoever waited has gone.
            Some(waiting) => drop(waiting.send(response)),
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
}

impl Caller {
    /// With this in the context of each call, by name.
    #[must_use]
    pub fn with_context(mut self, context: Map<String, Value>) -> Self {
        self.context = context;
        self
    }

    /// With another limit for each call. Default 30 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
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
        let line = self.line(ends).await?;
        let left = ends.saturating_duration_since(Instant::now());
        let sent = line.send(Outgoing::Call(call, CallType::Request, left));
        match timeout_at(ends, sent).await {
            Err(_) => return Err(CallError::TimedOut(self.timeout)),
            Ok(sent) => {
                if sent? == Sent::Unroutable {
                    return Err(CallError::NoService(service.into()));
                }
            }
        }
        match timeout_at(ends, answer).await {
            Err(_) => Err(CallError::TimedOut(self.timeout)),
            Ok(Err(_)) => Err(CallError::Closed),
            Ok(Ok(Response { error: Some(error), .. })) => {
                Err(CallError::Remote { class: error.error, text: error.description })
            }
            Ok(Ok(response)) => Ok(response.result),
        }
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
        let line = self.line(ends).await?;
        match line.send(Outgoing::Call(call, CallType::Command, self.timeout)).await? {
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
        if !fits_short_string(topic) {
            return Err(CallError::Name(topic.chars().take(64).collect()));
        }
        let event = serde_json::to_value(event);
        let event = Event {
            topic: topic.into(),
            event: event.map_err(|error| CallError::Convert(error.to_string()))?,
            context: self.context.clone(),
            trace_id: None,
            correlation_id: fresh_id(),
            target: Value::Null,
        };
        let line = self.line(Instant::now() + self.timeout).await?;
        line.send(Outgoing::Event(event)).await?;
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
        let (context, timeout) = (Map::new(), Duration::from_secs(30));
        Self { caller: Caller { line, pending, context, timeout }, task }
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
