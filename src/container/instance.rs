//! What a user holds of an instance.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::builder::Builder;
use super::client::{Caller, LineNow, Pending, fresh_id};
use super::coordinate::Store;
use super::counts::Served;
use super::health::{Care, Doctor};
use super::meter::{Meter, Pulse};
use super::operator::Wishes;
use super::queues::Queues;
use super::runtime::Runtime;
use super::serve::Shop;
use super::site;
use crate::proto::container::{Figures, Machine, Settings, Status};

/// Orders that were not yet read.
const CONTROLS_MAX: usize = 16;

/// Properties of a service, by name.
pub type Properties = BTreeMap<String, String>;

/// Why a property is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// Only the leader may.
    #[error("this instance does not lead; the leader is {}", .0.as_deref().unwrap_or("not known"))]
    NotLeader(Option<String>),
    /// Without coordination there are no properties.
    #[error("there is no coordination store")]
    NoCoordination,
    /// It is no name, or one that has another use.
    #[error("`{0}` cannot be set: it is no name, or it is that of the leader's key")]
    Name(String),
    /// The store has not done it.
    #[error("{0}")]
    Failed(String),
    /// The container has stopped.
    #[error("the container has stopped")]
    Stopped,
}

/// What the holder wants.
pub(super) enum Control {
    Stop(Duration),
    Put {
        name: String,
        value: String,
        done: oneshot::Sender<Result<(), PropertyError>>,
    },
    /// Whether it leads at this moment, by its clock, in that epoch.
    Leads {
        epoch: Option<u64>,
        done: oneshot::Sender<bool>,
    },
}

/// What an instance works with.
pub(super) struct Servers {
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) queues: Arc<dyn Queues>,
    pub(super) ttl: Duration,
    pub(super) hw_mark: Option<u64>,
}

/// Whom it tells how it stands.
pub(super) struct Tell {
    pub(super) status: watch::Sender<Status>,
    pub(super) properties: watch::Sender<Properties>,
    pub(super) line: watch::Sender<LineNow>,
    pub(super) pulse: Arc<Pulse>,
}

/// One instance of a service, from the start until it is stopped; dropped, it ends as if it had
/// been killed.
///
/// See the [module](super) for an example.
#[derive(Debug)]
pub struct ServiceContainer {
    instance: String,
    control: mpsc::Sender<Control>,
    status: watch::Receiver<Status>,
    properties: watch::Receiver<Properties>,
    caller: Caller,
    task: JoinHandle<()>,
    meter: Meter,
    /// Where it shows that.
    site: Option<Site>,
    /// Hears what operators want.
    hearing: Option<JoinHandle<()>>,
    /// Looks after the health of the service, if somebody may lead it.
    caring: Option<JoinHandle<()>>,
}

/// A server of HTTP, on a thread of its own.
#[derive(Debug)]
struct Site {
    address: SocketAddr,
    ended: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl std::fmt::Debug for Shop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shop").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Drop for ServiceContainer {
    fn drop(&mut self) {
        self.site.iter().for_each(|site| site.ended.cancel());
        self.task.abort();
        self.hearing.iter().for_each(JoinHandle::abort);
        self.caring.iter().for_each(JoinHandle::abort);
    }
}

impl ServiceContainer {
    /// Begins to build one.
    #[must_use]
    pub fn builder(service: impl Into<String>) -> Builder {
        Builder::new(service)
    }

    pub(super) fn run(
        shop: Arc<Shop>,
        instance: String,
        settings: Settings,
        servers: Servers,
        wishes: Option<Wishes>,
        care: Care,
    ) -> Self {
        let now = Instant::now().into_std();
        let seed = fresh_id();
        let seed = u64::from_str_radix(seed.get(..16).unwrap_or_default(), 16).unwrap_or_default();
        let led = settings.coordinated;
        let machine = Machine::new(now, settings, seed);
        let (status_to, status) = watch::channel(machine.status());
        let (properties_to, properties) = watch::channel(Properties::new());
        let (line_to, line) = watch::channel(Err("not yet connected".to_owned()));
        let (control, controls) = mpsc::channel(CONTROLS_MAX);
        let pending = Arc::new(Pending::default());
        let caller = Caller::new(line, pending);
        let pulse = Arc::new(Pulse::new());
        let tell = Tell {
            status: status_to,
            properties: properties_to,
            line: line_to,
            pulse: pulse.clone(),
        };
        let (runtime, inbox) =
            Runtime::new(machine, servers, tell, shop.clone(), caller.clone(), controls);
        let task = tokio::spawn(runtime.drive(inbox));
        let hearing = wishes.map(|it| tokio::spawn(it.run(control.clone(), status.clone())));
        let (figures_to, figures) = watch::channel(None);
        let doctor = Doctor {
            care,
            instance: instance.clone(),
            shop: shop.clone(),
            status: status.clone(),
            properties: properties.clone(),
            line: caller.line.clone(),
            control: control.clone(),
            caller: caller.clone(),
            figures: figures_to,
            told_at: Instant::now(),
        };
        let caring = led.then(|| tokio::spawn(doctor.run()));
        let meter = Meter {
            service: shop.service.as_str().into(),
            instance: instance.as_str().into(),
            started_at: SystemTime::now(),
            counters: shop.counters.clone(),
            status: status.clone(),
            figures,
            pulse,
        };
        Self {
            instance,
            control,
            status,
            properties,
            caller,
            task,
            meter,
            site: None,
            hearing,
            caring,
        }
    }

    /// Shows its health and its numbers over HTTP.
    pub(super) fn show(&mut self, listener: TcpListener, address: SocketAddr) -> io::Result<()> {
        let ended = CancellationToken::new();
        let thread = site::start(listener, self.meter.clone(), ended.clone())?;
        self.site = Some(Site { address, ended, thread });
        Ok(())
    }

    /// The name of this instance.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// How it stands, now and at each change.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until it serves. A container that has stopped never will.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn running(&self) -> Status {
        let mut status = self.status();
        match status.wait_for(|status| status.state.is_running()).await {
            Ok(status) => status.clone(),
            Err(_) => std::future::pending().await,
        }
    }

    /// How the service is, as this instance sees it while it leads; otherwise nothing.
    #[must_use]
    pub fn figures(&self) -> watch::Receiver<Option<Figures>> {
        self.meter.figures.clone()
    }

    /// What the leader says of the service, now and at each change: `consume` (False: no instance
    /// takes messages), `hw_mark`, `rmq-config-ok`, `wanted` (instances), `health` (its figures, as
    /// JSON), and whatever somebody has put there.
    #[must_use]
    pub fn properties(&self) -> watch::Receiver<Properties> {
        self.properties.clone()
    }

    /// Says something to all instances. Only the leader may; one that leads no more is refused by
    /// the store, whatever it believes.
    ///
    /// # Errors
    ///
    /// See [`PropertyError`].
    pub async fn update_service_property(
        &self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<(), PropertyError> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || name.contains('/') || name == "leader" || name.len() > 255 {
            return Err(PropertyError::Name(name.chars().take(64).collect()));
        }
        let (done, outcome) = oneshot::channel();
        let put = Control::Put { name, value, done };
        self.control.send(put).await.map_err(|_| PropertyError::Stopped)?;
        outcome.await.unwrap_or(Err(PropertyError::Stopped))
    }

    /// To call other services over this instance's connection.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// What it has done so far.
    #[must_use]
    pub fn served(&self) -> Served {
        self.meter.counters.served()
    }

    /// All numbers of it, and their text for Prometheus.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Where `/livez`, `/readyz` and `/metrics` are served.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.site.as_ref().map(|site| site.address)
    }

    /// Takes nothing new, gives up the lead at once, finishes what is in work within that time, and
    /// ends. What is not finished comes again, to another instance.
    ///
    /// # Cancel safety
    ///
    /// A stop that has begun goes on until the container is dropped.
    pub async fn stop(mut self, drain: Duration) -> Served {
        let _ = self.control.send(Control::Stop(drain)).await;
        // It has panicked, or was aborted: nothing is left to wait for.
        let _ = (&mut self.task).await;
        if let Some(Site { ended, thread, .. }) = self.site.take() {
            ended.cancel();
            // The address is free then.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        self.served()
    }
}
