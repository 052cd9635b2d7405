//! The worker role: a function in, a service out.
//!
//! ```
//! use std::time::Duration;
//!
//! use majordomo::broker::Broker;
//! use majordomo::config::BrokerConfig;
//! use majordomo::worker::{Failure, Request, Worker};
//!
//! async fn shout(request: Request) -> Result<String, Failure> {
//!     Ok(std::str::from_utf8(request.first())?.to_uppercase())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(run())
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = BrokerConfig::default();
//! config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
//! let broker = Broker::bind(config)?;
//! let endpoint = broker.local_addrs()[0].to_string();
//!
//! let worker = Worker::builder(&endpoint, "shout")?.credit(16).start(shout)?;
//! worker.registered().await;
//! // ... clients are served, until:
//! let report = worker.stop(Duration::from_secs(10)).await;
//! assert_eq!(report.given_back, 0);
//! # Ok(())
//! # }
//! ```
//!
//! The worker connects, registers, and does so again whenever the connection is lost. Each request
//! is handled in a task of its own, as many at a time as [`WorkerConfig::credit`] says, and
//! heartbeats go out meanwhile, as long as no handler blocks its thread: work that computes or
//! waits for long without `.await` belongs into `tokio::task::spawn_blocking`.
//!
//! A handler that fails answers with its [`Failure`]; one that panics with the code `failed`, and
//! the worker goes on. What happens to requests when a worker stops is told in
//! [`serve`](crate::proto::serve#the-stop).

mod limits;
mod publish;
mod request;
mod talk;
mod task;
mod typed;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use crate::proto::serve::Report;
pub use crate::proto::serve::words::{Caller, Failure};
pub use limits::TooBig;
pub use publish::PublishError;
pub use request::{PartError, Request};
pub use talk::{AskError, Event, Question};
pub use typed::{json, msgpack};

use crate::config::{ConfigError, CurveFiles, WorkerConfig};
use crate::id::{NameError, ServiceName};
use crate::keys::KeyError;
use crate::transport::endpoint::{Endpoint, EndpointError};
use crate::wire::Protocol;
use crate::wire::message::Message;
use task::{Control, Task};

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The endpoint cannot be read.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No service can have that name.
    #[error("the service: {0}")]
    Service(#[from] NameError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Our key, or that of the broker, cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// No seed from the system.
    #[error("the system gives no random seed: {0}")]
    Seed(String),
}

/// A worker that runs, in a task of its own.
///
/// Dropping it ends it at once: handlers are dropped at their next `.await`, the connection is
/// closed, and the broker gives what was held to other workers. [`Self::stop`] finishes it first.
#[derive(Debug)]
pub struct Worker {
    control: mpsc::Sender<Control>,
    state: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Worker {
    /// What is needed: where the broker listens, and the service that is offered.
    ///
    /// # Errors
    /// [`WorkerError::Endpoint`].
    pub fn builder(
        endpoint: &str,
        service: impl Into<String>,
    ) -> Result<WorkerBuilder, WorkerError> {
        let endpoint: Endpoint = endpoint.parse()?;
        let config = WorkerConfig { endpoint, service: service.into(), ..WorkerConfig::default() };
        Ok(config.into())
    }

    /// Waits until it has said READY on a connection, if it has not done so already. Whether the
    /// broker takes it, no protocol says; if not, it dismisses it.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn registered(&self) {
        // It can only fail with the task, which lives as long as the handle unless it panicked.
        let _ = self.state.clone().wait_for(|registered| *registered).await;
    }

    /// Whether it is connected and has said READY.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        *self.state.borrow()
    }

    /// Whether it is connected and has said READY, now and at each change. One that has been told to
    /// stop is none any more as soon as the broker has confirmed that it sends nothing more.
    #[must_use]
    pub fn registration(&self) -> watch::Receiver<bool> {
        self.state.clone()
    }

    /// Handles so many requests at a time from now on, at least 1. An MJP broker is told.
    ///
    /// # Cancel safety
    /// It takes effect or not.
    pub async fn set_credit(&self, credit: u16) {
        let _ = self.control.send(Control::Credit(credit.max(1))).await;
    }

    /// Takes no more work, finishes what it holds, says goodbye and ends; at the deadline at the
    /// latest, and then what it holds goes back to the broker.
    ///
    /// # Cancel safety
    /// Giving it up ends the worker at once.
    pub async fn stop(self, deadline: Duration) -> Report {
        let (done, report) = oneshot::channel();
        let _ = self.control.send(Control::Stop { deadline, done }).await;
        // No report: the task has panicked, and what it held goes back with the connection.
        report.await.unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A worker before it starts.
#[derive(Debug, Clone)]
pub struct WorkerBuilder {
    config: WorkerConfig,
}

impl From<WorkerConfig> for WorkerBuilder {
    fn from(config: WorkerConfig) -> Self {
        Self { config }
    }
}

impl WorkerBuilder {
    /// How it speaks. Default MJP/1.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.config.protocol = protocol;
        self
    }

    /// Requests that it handles at a time, 1 to 65,535. Default 1.
    #[must_use]
    pub fn credit(mut self, credit: u16) -> Self {
        self.config.credit = credit;
        self
    }

    /// The name it gives itself, up to 255 octets. Default none.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.config.identity = Some(identity.into());
        self
    }

    /// One more label, for people and for listings. MDP does not say it.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.labels.insert(name.into(), value.into());
        self
    }

    /// The version of the worker's program. MDP does not say it.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.config.version = Some(version.into());
        self
    }

    /// What the service is. MDP does not say it.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.config.description = Some(description.into());
        self
    }

    /// Only the holder of this lease may ask: other requests never come here, and neither do those
    /// of a holder that holds no more when they could be delivered (SPEC 9.14). All workers of a
    /// service that want a lease have to want the same one; a broker that knows no leases would let
    /// all through. MJP only.
    #[must_use]
    pub fn fence(mut self, lease: impl Into<String>) -> Self {
        self.config.fence = Some(lease.into());
        self
    }

    /// Time between heartbeats, and how many the broker may miss. Default 2500 ms and 3.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration, liveness: u32) -> Self {
        (self.config.heartbeat, self.config.liveness) = (interval, liveness);
        self
    }

    /// First and longest wait before it connects again. Default 100 ms and 5 s.
    #[must_use]
    pub fn reconnect(mut self, min: Duration, max: Duration) -> Self {
        (self.config.reconnect_min, self.config.reconnect_max) = (min, max);
        self
    }

    /// Everything else.
    pub fn config(&mut self) -> &mut WorkerConfig {
        &mut self.config
    }

    /// Starts the worker; it connects by itself, now or when there is a broker. Has to be called
    /// in a tokio runtime.
    ///
    /// # Errors
    /// [`WorkerError::Service`], [`WorkerError::Config`], [`WorkerError::Keys`],
    /// [`WorkerError::Seed`].
    pub fn start<H, Fut, M, E>(self, handler: H) -> Result<Worker, WorkerError>
    where
        H: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<M, E>> + Send + 'static,
        M: Into<Message> + 'static,
        E: Into<Failure> + 'static,
    {
        let service = ServiceName::try_from(self.config.service.as_bytes())?;
        self.config.validate()?;
        // They are read again whenever it connects; what is wrong from the start is said at once.
        self.config.curve.as_ref().map(CurveFiles::load).transpose()?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| WorkerError::Seed(error.to_string()))?;
        let (control, controlled) = mpsc::channel(8);
        let (registered, state) = watch::channel(false);
        let task = Task::new(self.config, service, u64::from_ne_bytes(seed), handler, registered);
        let task = tokio::spawn(task.run(controlled));
        Ok(Worker { control, state, task })
    }

    /// Starts the worker and runs it for ever. Dropping the future ends it as dropping a
    /// [`Worker`] does.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn serve<H, Fut, M, E>(self, handler: H) -> Result<(), WorkerError>
    where
        H: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<M, E>> + Send + 'static,
        M: Into<Message> + 'static,
        E: Into<Failure> + 'static,
    {
        let _worker = self.start(handler)?;
        std::future::pending().await
    }

    /// Starts the worker, runs it until `signal`, and stops it as [`Worker::stop`] does.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use majordomo::worker::{Failure, Request, Worker};
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let echo = |request: Request| async move { Ok::<_, Failure>(request.body) };
    /// let report = Worker::builder("tcp://127.0.0.1:5555", "echo")?
    ///     .serve_until(echo, tokio::signal::ctrl_c(), Duration::from_secs(30))
    ///     .await?;
    /// println!("{} answered while it stopped, {} given back", report.answered, report.given_back);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn serve_until<H, Fut, M, E, S>(
        self,
        handler: H,
        signal: S,
        deadline: Duration,
    ) -> Result<Report, WorkerError>
    where
        H: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<M, E>> + Send + 'static,
        M: Into<Message> + 'static,
        E: Into<Failure> + 'static,
        S: Future,
    {
        let worker = self.start(handler)?;
        signal.await;
        Ok(worker.stop(deadline).await)
    }
}
