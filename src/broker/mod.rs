//! The broker role: what a program holds that embeds a broker, and what the binary runs.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use majordomo::broker::Broker;
//! use majordomo::config::BrokerConfig;
//!
//! # async fn run() -> Result<(), majordomo::broker::BrokerError> {
//! let broker = Broker::bind(BrokerConfig::default())?;
//! println!("{}", broker.local_addrs()[0]);
//! let report = broker.shutdown(Duration::from_secs(10)).await;
//! assert_eq!(report.abandoned, 0);
//! # Ok(())
//! # }
//! ```

mod acceptor;
mod connection;
mod counters;
mod crowd;
mod durable;
mod entrance;
mod epochs;
mod factory;
mod guard;
mod house;
mod http;
mod logs;
mod metrics;
mod outboxes;
mod pace;
mod permits;
mod rates;
mod shared;
mod shortage;
mod survey;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::{Authorized, BrokerConfig, ConfigError};
use crate::folder::FileError;
use crate::inventory::InventoryError;
use crate::store::StoreError;
use crate::transport::endpoint::Endpoint;
use crate::transport::listener::Bound;
use crate::transport::workbench::Workbench;
use crate::wire::greeting::Mechanism;
use crate::wire::nfp::Era;

use entrance::Door;
pub use factory::{AskedFlow, FlowFactory};
use guard::Guard;
pub use guard::{GuardError, Reloaded};
pub use logs::{LogLimits, LogRing};
use shared::{Shared, now};

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An endpoint cannot be bound.
    #[error("cannot bind {endpoint}: {source}; choose another endpoint or end what uses it")]
    Bind {
        /// The endpoint.
        endpoint: String,
        /// What the system says.
        source: io::Error,
    },
    /// The inventory cannot be used.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The folder of the file service cannot be used.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The broker's key or the file of authorized keys cannot be used.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody can be told where it listens.
    #[error("cannot print the endpoints: {0}; give it a standard output that somebody reads")]
    Announce(#[source] io::Error),
    /// A thread or its runtime cannot be started.
    #[error("cannot start a thread for connections: {0}")]
    Thread(#[source] io::Error),
    /// No seed from the system.
    #[error("the system gives no random seed: {0}")]
    Seed(String),
}

/// A broker that runs, on threads of its own.
///
/// Dropping it ends it at once; [`Self::shutdown`] lets work finish first.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint>,
    http: Option<SocketAddr>,
    tasks: TaskTracker,
    threads: Vec<JoinHandle<()>>,
    factory: Option<Arc<dyn FlowFactory>>,
}

/// What the program around a broker has for it.
#[derive(Debug, Default)]
pub struct Around {
    /// Log records, for whoever may ask for them.
    pub logs: Option<LogRing>,
    /// Who decides about flows, in place of `flow.factory`.
    pub factory: Option<Arc<dyn FlowFactory>>,
}

/// What an administrator wants of the program that a broker is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdminRequest {
    /// A drained stop, and a start with the same arguments.
    Restart,
    /// A drained stop.
    Shutdown,
}

/// What a shutdown left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Accepted requests that did not end before the deadline; they are lost with the process.
    pub abandoned: usize,
}

impl Broker {
    /// Binds every endpoint and starts to serve.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing runs then.
    pub fn bind(config: BrokerConfig) -> Result<Self, BrokerError> {
        Self::bind_then(config, |_, _| Ok(()))
    }

    /// Binds every endpoint, has `announce` tell where (the endpoints, and the address of the
    /// HTTP side), and only then starts to serve: who connects before has to wait.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing runs then.
    pub fn bind_then(
        config: BrokerConfig,
        announce: impl FnOnce(&[Endpoint], Option<SocketAddr>) -> io::Result<()>,
    ) -> Result<Self, BrokerError> {
        Self::bind_around(config, Around::default(), announce)
    }

    /// As [`Self::bind_then`], with all that the program around it has for it.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing runs then.
    pub fn bind_around(
        config: BrokerConfig,
        around: Around,
        announce: impl FnOnce(&[Endpoint], Option<SocketAddr>) -> io::Result<()>,
    ) -> Result<Self, BrokerError> {
        let Around { logs, factory } = around;
        config.validate()?;
        let (mut seed, mut secret) = ([0; 8], [0; 32]);
        for octets in [&mut seed[..], &mut secret] {
            getrandom::fill(octets).map_err(|error| BrokerError::Seed(error.to_string()))?;
        }
        let stock = house::Stock::read(&config.nfp)?;
        let guard = Guard::read(&config.auth, SystemTime::now())?;
        let found = durable::Found::read(&config, SystemTime::now())?;
        let bound = bind_all(&config.broker.bind)?;
        let http = config.broker.http.map(http::bind).transpose()?;
        let http_addr = http.as_ref().map(|(_, address)| *address);
        let endpoints: Vec<_> = bound.iter().map(|(_, endpoint)| endpoint.clone()).collect();
        announce(&endpoints, http_addr).map_err(BrokerError::Announce)?;
        let runtimes = (0..config.broker.threads.max(1))
            .map(|_| tokio::runtime::Builder::new_current_thread().enable_all().build())
            .collect::<io::Result<Vec<Runtime>>>()
            .map_err(BrokerError::Thread)?;
        let doors: Vec<Door> = config.broker.bind.iter().map(|e| door_of(e, &config)).collect();
        warn_of_openness(&config);
        let curve = doors.iter().any(|door| door.mechanism == Mechanism::Curve);
        let queue_max = config.handshake.curve_queue;
        let mut shared = Shared::new(config, guard, u64::from_ne_bytes(seed), secret);
        (shared.endpoints, shared.logs) = (endpoints.clone(), logs);
        if curve {
            let bench = Workbench::start("majordomo-curve", queue_max);
            shared.bench = Some(bench.map_err(BrokerError::Thread)?);
            // Each connection has at most one at a time, and waits for its turn.
            let bench = Workbench::start_modest("majordomo-boxes", runtimes.len(), 1);
            shared.box_bench = Some(bench.map_err(BrokerError::Thread)?);
        }
        let shared = Arc::new(shared);
        match found {
            Some(found) => found.start(&shared)?,
            None => shared.begin_epochs(epochs::epoch_at(SystemTime::now())),
        }
        let tasks = TaskTracker::new();
        let handles: Vec<_> = runtimes.iter().map(|runtime| runtime.handle().clone()).collect();
        let acceptor = acceptor::Acceptor::new(shared.clone(), handles, tasks.clone());
        let acceptor = Arc::new(acceptor);
        if let Some(first) = runtimes.first() {
            for ((listener, endpoint), door) in bound.into_iter().zip(doors) {
                tasks.spawn_on(acceptor.clone().run(listener, endpoint, door), first.handle());
            }
            tasks.spawn_on(keep_time(shared.clone()), first.handle());
        }
        let threads = Vec::new();
        let mut broker = Self { shared, endpoints, http: http_addr, tasks, threads, factory };
        let factory = broker.factory.clone();
        broker.threads.push(house::start(broker.shared.clone(), acceptor, stock, factory)?);
        if let Some((listener, _)) = http {
            broker.threads.push(http::start(listener, broker.shared.clone())?);
        }
        for (number, runtime) in runtimes.into_iter().enumerate() {
            broker.threads.push(broker.start_thread(number, runtime)?);
        }
        Ok(broker)
    }

    /// The endpoints as they are, with real ports, in the order of the configuration.
    #[must_use]
    pub fn local_addrs(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Where `/livez`, `/readyz` and `/metrics` are served.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Whether it serves: it listens, the core's loop runs, requests are accepted, and memory is
    /// below its mark. `/readyz` says the same, and why not.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.shared.unready().is_none()
    }

    /// Reads the broker's key and the file of authorized keys again: all of it holds from now on,
    /// for those who are connected too, or nothing has changed. The log says
    /// which. It blocks.
    ///
    /// # Errors
    /// What is wrong with one of the files.
    pub fn reload(&self) -> Result<Reloaded, GuardError> {
        self.shared.reload()
    }

    /// As [`Self::reload`], on a thread of its own: for who has other things to do meanwhile. The
    /// log says what came of it.
    ///
    /// # Cancel safety
    /// What has begun goes on.
    pub fn reload_aside(&self) -> impl Future<Output = ()> + use<> {
        let shared = self.shared.clone();
        async move {
            let _ = tokio::task::spawn_blocking(move || shared.reload()).await;
        }
    }

    /// Waits until an administrator, with the right `admin`, wants a restart or a stop, and says
    /// which. The broker does neither by itself: call [`Self::shutdown`]. As
    /// long as nobody has called this, such requests are refused.
    ///
    /// # Cancel safety
    /// Nothing is lost: who calls it again is told.
    pub fn asked(&self) -> impl Future<Output = AdminRequest> + use<> {
        self.shared.heeded.store(true, Ordering::Relaxed);
        let mut asked = self.shared.asked.subscribe();
        async move {
            let asked = asked.wait_for(Option::is_some).await.ok().and_then(|asked| *asked);
            match asked {
                Some(asked) => asked,
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until the store has failed, and says how: nothing is acknowledged any more that is to
    /// survive the broker, and it should be started anew. Never, if there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost: who calls it again is told.
    pub fn failed(&self) -> impl Future<Output = Arc<StoreError>> + use<> {
        let mut failed = self.shared.store_failed.subscribe();
        async move {
            let error = failed.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
            match error {
                Some(error) => error,
                None => std::future::pending().await,
            }
        }
    }

    /// Stops taking requests, lets those that have a worker finish until the deadline, dismisses
    /// the workers and ends.
    ///
    /// # Cancel safety
    /// Giving it up ends the broker at once.
    pub async fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        /// How often to look whether all is done.
        const POLL: Duration = Duration::from_millis(10);
        /// How long the last words to the peers may take.
        const LAST_WORDS: Duration = Duration::from_secs(1);
        self.shared.accepting.cancel();
        self.shared.with_core(|core, out| core.drain(now(), deadline, out));
        let drained = wait_until(POLL, deadline, || self.shared.lock().core.is_drained()).await;
        if let Some(factory) = &self.factory {
            factory.stop();
        }
        self.shared.with_core(|core, out| core.dismiss_all(now(), out));
        wait_until(POLL, LAST_WORDS, || self.shared.is_quiet()).await;
        let abandoned = self.shared.lock().core.lost_with_the_process();
        if abandoned > 0 {
            warn!(abandoned, drained, "stopped; these accepted requests are lost");
        } else {
            info!("stopped; nothing was lost");
        }
        self.shared.end();
        self.tasks.close();
        self.tasks.wait().await;
        self.join_threads();
        self.shared.stop_store();
        ShutdownReport { abandoned }
    }

    fn start_thread(&self, number: usize, runtime: Runtime) -> Result<JoinHandle<()>, BrokerError> {
        let running = self.shared.running.clone();
        let tasks = self.tasks.clone();
        std::thread::Builder::new()
            .name(format!("majordomo-{number}"))
            .spawn(move || {
                runtime.block_on(async {
                    running.cancelled().await;
                    tasks.close();
                    tasks.wait().await;
                });
            })
            .map_err(BrokerError::Thread)
    }

    fn join_threads(&mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.accepting.cancel();
        self.shared.end();
        self.tasks.close();
        self.shared.stop_store();
    }
}

/// What is known of who comes in at an endpoint.
fn door_of(endpoint: &Endpoint, config: &BrokerConfig) -> Door {
    let era = if config.nfp.old.contains(endpoint) { Era::Old } else { Era::Current };
    let flows_only = config.flow.only.contains(endpoint);
    Door { mechanism: config.mechanism_at(endpoint), era, flows_only, house: false }
}

/// What an operator should be told at each start.
fn warn_of_openness(config: &BrokerConfig) {
    if config.auth.authorized == Authorized::Any {
        warn!("auth.authorized is \"any\": whoever has any CURVE key comes in");
    }
    for endpoint in config.broker.bind.iter().filter(|endpoint| config.is_open(endpoint)) {
        let mechanism = config.mechanism_at(endpoint);
        warn!(%endpoint, %mechanism, "insecure: other machines reach it, and it is not encrypted");
    }
}

fn bind_all(endpoints: &[Endpoint]) -> Result<Vec<(Bound, Endpoint)>, BrokerError> {
    let bind = |endpoint: &Endpoint| {
        let bound = Bound::new(endpoint)?;
        let real = bound.endpoint()?;
        Ok((bound, real))
    };
    let error =
        |endpoint: &Endpoint, source| BrokerError::Bind { endpoint: endpoint.to_string(), source };
    endpoints.iter().map(|e| bind(e).map_err(|source| error(e, source))).collect()
}

/// Does what is due, when it is due.
async fn keep_time(shared: Arc<Shared>) {
    loop {
        let wait = shared.tick();
        tokio::select! {
            () = shared.running.cancelled() => return,
            () = shared.roused() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Looks again and again until `done` or the deadline; returns whether it was done.
async fn wait_until(poll: Duration, deadline: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = tokio::time::Instant::now() + deadline;
    while !done() {
        if tokio::time::Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(poll).await;
    }
    true
}
