//! What a container is told before it starts.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::client::fresh_id;
use super::coordinate::{Post, Reach, Store};
use super::counts::Counters;
use super::embedded::{Connection, Embedded};
use super::handler::{Event, Failure, Hearer, IntoMethod, Method, hearer};
use super::health::Care;
use super::instance::{Servers, ServiceContainer};
use super::operator::Wishes;
use super::queues::{BrokerQueues, Queues};
use super::seal::ServiceKey;
use super::serve::Shop;
use crate::config::ConfigError;
use crate::lease::Coordinator;
use crate::proto::container::{CallerSettings, Figures, HealthSettings, Settings, Signal};
use crate::wire::nuropb::fits_short_string;

/// What the names of the leases of leaders begin with, but for those of NuroPb.
pub(super) const LEASE_PREFIX: &str = "container.";
/// Longest random wait before a campaign at our broker.
const EMBEDDED_JITTER: Duration = Duration::from_millis(5);
/// Instances that may be wanted.
const INSTANCES_MAX: u64 = 1_000;

/// Why there is no container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A name is empty, too long, or has control characters.
    #[error("`{0}` is no name: 1 to 96 octets without control characters")]
    Name(String),
    /// A setting is out of its range.
    #[error("{name} is {value}, and has to be {range}")]
    Range {
        /// Its name.
        name: &'static str,
        /// What was said.
        value: String,
        /// What may be said.
        range: &'static str,
    },
    /// A topic that our broker cannot carry.
    #[error("`{topic}` is nothing that can be subscribed to at our broker: {why}")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        why: String,
    },
    /// A method wants to be encrypted.
    #[error("the method `{0}` has to be encrypted, and the service has no key")]
    NoKey(String),
    /// Health and metrics cannot be served there.
    #[error("cannot serve HTTP at {address}: {why}")]
    Http {
        /// Where.
        address: SocketAddr,
        /// Why not.
        why: String,
    },
    /// Our broker cannot be asked so.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Makes the store or the queues, once the names are known.
type Make<T> = Box<dyn FnOnce(&str, &str, Vec<String>) -> Arc<T> + Send>;

/// Where the lease of the leader is.
enum Leases {
    /// At our broker.
    Embedded,
    /// Nowhere: each instance sets up for itself.
    None,
    /// In that store.
    Store(Make<dyn Store>),
}

/// Builds a [`ServiceContainer`].
pub struct Builder {
    service: String,
    instance: String,
    version: String,
    description: Option<String>,
    methods: BTreeMap<String, Method>,
    hearers: Vec<(String, Hearer)>,
    broker: Embedded,
    leases: Leases,
    queues: Option<Make<dyn Queues>>,
    settings: Settings,
    call_again_max: u32,
    call_again_wait: Duration,
    care: Care,
    key: Option<ServiceKey>,
    http: Option<SocketAddr>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, instance, version, methods, settings, .. } = self;
        let mut debug = f.debug_struct("Builder");
        debug.field("service", service).field("instance", instance).field("version", version);
        debug.field("methods", methods).field("settings", settings).finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            instance: fresh_id(),
            version: String::new(),
            description: None,
            methods: BTreeMap::new(),
            hearers: Vec::new(),
            broker: Embedded::default(),
            leases: Leases::Embedded,
            queues: None,
            settings: Settings::default(),
            call_again_max: 3,
            call_again_wait: Duration::from_millis(100),
            care: Care::default(),
            key: None,
            http: None,
        }
    }

    /// The name of this instance, one of its own. Default 32 random hexadecimal digits.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = name.into();
        self
    }

    /// The version of the service, for its description.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// What the service is for.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// A method: an async function that takes a [`Call`](super::Call), or a [`Method`]. One whose
    /// name begins with `_` cannot be called.
    #[must_use]
    pub fn method<M>(mut self, name: impl Into<String>, method: impl IntoMethod<M>) -> Self {
        self.methods.insert(name.into(), method.into_method());
        self
    }

    /// A subscription: topics have words between dots, `*` is one word, `#` any number. An event
    /// goes to one instance of the service, and to all its subscriptions that match.
    #[must_use]
    pub fn on<F, Fut, T>(mut self, topics: impl Into<String>, function: F) -> Self
    where
        F: Fn(Event<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
        T: DeserializeOwned + Send + 'static,
    {
        self.hearers.push((topics.into(), hearer(function)));
        self
    }

    /// Our broker: the home of whatever is not said to be elsewhere. Default one at
    /// `tcp://127.0.0.1:5555`, for both the queues and the lease of the leader.
    #[must_use]
    pub fn broker(mut self, broker: Embedded) -> Self {
        self.broker = broker;
        self
    }

    /// Nobody leads: each instance sets up for itself.
    #[must_use]
    pub fn standalone(mut self) -> Self {
        self.leases = Leases::None;
        self
    }

    /// The lease of the leader is in that store, with the name `container.SERVICE`; what the leader
    /// says is its value, an object of JSON.
    #[must_use]
    pub fn leases<C: Coordinator + fmt::Debug>(mut self, store: C) -> Self {
        self.leases = Leases::Store(Box::new(move |service, instance, _| {
            let (lease, instance) = (lease_of(service), instance.to_owned());
            Arc::new(Post { reach: always(store), lease, instance, merges: false })
        }));
        self
    }

    /// The lease of the leader is in etcd, with the keys of NuroPb (SPEC 17.3), so that instances
    /// of its Python package compete for it, too.
    #[cfg(feature = "etcd")]
    #[must_use]
    pub fn etcd(mut self, etcd: crate::engine::etcd::Etcd) -> Self {
        let store = crate::engine::etcd::Leases::nuropb(etcd);
        self.leases = Leases::Store(Box::new(move |service, instance, _| {
            let (lease, instance) = (service.to_owned(), instance.to_owned());
            Arc::new(Post { reach: always(store), lease, instance, merges: true })
        }));
        self
    }

    /// Where requests and events come from instead of our broker; the function is told the service,
    /// the instance and the topics.
    #[must_use]
    pub fn queues<Q: Queues + 'static>(
        mut self,
        make: impl FnOnce(&str, &str, Vec<String>) -> Q + Send + 'static,
    ) -> Self {
        self.queues =
            Some(Box::new(|service, instance, topics| Arc::new(make(service, instance, topics))));
        self
    }

    /// Requests and events come from RabbitMQ, in the layout of NuroPb.
    #[cfg(feature = "rabbitmq")]
    #[must_use]
    pub fn rabbitmq(self, config: super::RabbitQueuesConfig) -> Self {
        self.queues(|service, instance, topics| {
            super::RabbitQueues::service(config, service, instance, topics)
        })
    }

    /// Messages in work at a time. Default 10 for those who follow, 5 for the leader; 1 to 65535.
    #[must_use]
    pub fn prefetch(mut self, followers: u16, leader: u16) -> Self {
        (self.settings.prefetch, self.settings.prefetch_leader) = (followers, leader);
        self
    }

    /// Life of the leader's lease. Default 15 s, 2 s to 10 min: the longest time without a leader
    /// after one was killed.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        (self.settings.patience, self.settings.stand_back) = (ttl, ttl);
        self
    }

    /// How often, and after which wait at the least, a message is tried again after
    /// [`Failure::CallAgain`]. Default 3 times, after 100 ms. With 1 it is as NuroPb has it.
    #[must_use]
    pub fn call_again(mut self, max: u32, wait: Duration) -> Self {
        (self.call_again_max, self.call_again_wait) = (max, wait);
        self
    }

    /// Messages in the service's queue above which more instances are wanted: a property that the
    /// leader publishes, and acts upon.
    #[must_use]
    pub fn hw_mark(mut self, messages: u64) -> Self {
        self.care.settings.hw_mark = Some(messages);
        self
    }

    /// Callers may encrypt what they say to the service, and have to where a method says so
    /// ([`Method::encrypted`]). All instances need the same key.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn service_key(mut self, key: ServiceKey) -> Self {
        self.key = Some(key);
        self
    }

    /// How the leader looks after the health of the service. All instances should have the same.
    #[must_use]
    pub fn health(mut self, settings: HealthSettings) -> Self {
        let hw_mark = settings.hw_mark.or(self.care.settings.hw_mark);
        self.care.settings = HealthSettings { hw_mark, ..settings };
        self
    }

    /// The leader ends the connections of callers whose messages fail too often. Default: of
    /// nobody. At our broker it needs the right `admin`; on RabbitMQ, the management interface.
    #[must_use]
    pub fn end_callers(mut self, settings: CallerSettings) -> Self {
        self.care.callers = Some(settings);
        self
    }

    /// What is done about a signal of the leader, by the instance that leads: beside the property
    /// `wanted`, and the event with the topic `container.SERVICE.SIGNAL` that it publishes.
    #[must_use]
    pub fn on_signal<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(Signal, Figures) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.care.hook = Some(Arc::new(move |signal, figures| Box::pin(function(signal, figures))));
        self
    }

    /// `/livez`, `/readyz` and `/metrics` of this instance are served there, on a thread of their
    /// own; with port 0 at a free one, see [`ServiceContainer::http_addr`]. Default: nowhere.
    #[must_use]
    pub fn http(mut self, address: SocketAddr) -> Self {
        self.http = Some(address);
        self
    }

    /// Starts the instance. It goes through its steps by itself, see
    /// [`ServiceContainer::status`]. To be called within a runtime of tokio.
    ///
    /// # Errors
    ///
    /// A name or a setting is wrong; nothing is started.
    pub fn start(self) -> Result<ServiceContainer, BuildError> {
        let topics = self.check()?;
        let mut settings = self.settings;
        let (service, instance) = (&*self.service, &*self.instance);
        let queues = match self.queues {
            Some(make) => make(service, instance, topics),
            None => {
                Arc::new(BrokerQueues::service(self.broker.clone(), service, instance, topics)?)
            }
        };
        let mut wishes = None;
        let store = match self.leases {
            Leases::None => None,
            Leases::Store(make) => Some(make(service, instance, Vec::new())),
            Leases::Embedded => {
                self.broker.validate()?;
                // The broker gives it to whoever comes first, and need not be spared.
                settings.jitter = EMBEDDED_JITTER;
                // A connection of its own: what waits on the others keeps no lease from being renewed.
                let connection = Connection::new(&self.broker);
                let (lease, own) = (lease_of(service), instance.to_owned());
                let reach = Embedded::reach(&connection);
                let post = Post { reach, lease, instance: own, merges: false };
                wishes = Some(Wishes { connection, service: service.into() });
                Some(Arc::new(post) as Arc<dyn Store>)
            }
        };
        settings.coordinated = store.is_some();
        let not_served = |address, error: std::io::Error| {
            let why = error.to_string();
            BuildError::Http { address, why }
        };
        let bind = |at| crate::http::bind(at).map_err(|error| not_served(at, error));
        let http = self.http.map(bind).transpose()?;
        let shop = Shop {
            service: self.service,
            version: self.version,
            description: self.description,
            methods: self.methods,
            hearers: self.hearers,
            call_again_max: self.call_again_max,
            call_again_wait: self.call_again_wait,
            counters: Arc::new(Counters::default()),
            key: self.key,
            tally: (settings.coordinated && self.care.callers.is_some()).then(Mutex::default),
        };
        let shop = Arc::new(shop);
        let mut care = self.care;
        care.settings.prefetch = settings.prefetch.into();
        let servers = Servers { store, queues, ttl: settings.ttl, hw_mark: care.settings.hw_mark };
        let mut container =
            ServiceContainer::run(shop, self.instance, settings, servers, wishes, care);
        if let Some((listener, at)) = http {
            container.show(listener, at).map_err(|error| not_served(at, error))?;
        }
        Ok(container)
    }

    /// Whether it can be started so; the topics that it hears.
    fn check(&self) -> Result<Vec<String>, BuildError> {
        for name in [&self.service, &self.instance] {
            // Names are parts of keys, too.
            if !fits_short_string(name) || name.contains('/') {
                return Err(BuildError::Name(name.chars().take(64).collect()));
            }
        }
        let topics: Vec<String> = self.hearers.iter().map(|(topics, _)| topics.clone()).collect();
        if let Some(topic) = topics.iter().find(|topic| !fits_short_string(topic)) {
            return Err(BuildError::Name(topic.chars().take(64).collect()));
        }
        let ttl = self.settings.ttl;
        if !(Duration::from_secs(2)..=Duration::from_secs(600)).contains(&ttl) {
            let (name, value, range) = ("ttl", format!("{} ms", ttl.as_millis()), "2 s to 10 min");
            return Err(BuildError::Range { name, value, range });
        }
        if self.settings.prefetch == 0 || self.settings.prefetch_leader == 0 {
            let (name, value, range) = ("prefetch", "0".into(), "1 to 65535");
            return Err(BuildError::Range { name, value, range });
        }
        validate(&self.care)?;
        let mut methods = self.methods.iter();
        if let (None, Some((name, _))) = (&self.key, methods.find(|(_, method)| method.encrypted)) {
            return Err(BuildError::NoKey(name.clone()));
        }
        Ok(topics)
    }
}

/// Whether the health of a service can be looked after so.
fn validate(care: &Care) -> Result<(), BuildError> {
    let HealthSettings { interval, window, instances, .. } = &care.settings;
    let millis = |time: &Duration| format!("{} ms", time.as_millis());
    if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(interval) {
        let (name, range) = ("interval", "100 ms to 1 min");
        return Err(BuildError::Range { name, value: millis(interval), range });
    }
    if !(*interval..=Duration::from_secs(3600)).contains(window) {
        let (name, range) = ("window", "the interval to 1 h");
        return Err(BuildError::Range { name, value: millis(window), range });
    }
    if *instances.start() == 0 || instances.is_empty() || *instances.end() > INSTANCES_MAX {
        let value = format!("{} to {}", instances.start(), instances.end());
        let (name, range) = ("instances", "1 to 1000, the fewest first");
        return Err(BuildError::Range { name, value, range });
    }
    if let Some(CallerSettings { percent, .. }) = &care.callers
        && !(1..=100).contains(percent)
    {
        let (name, value, range) = ("percent", percent.to_string(), "1 to 100");
        return Err(BuildError::Range { name, value, range });
    }
    Ok(())
}

/// The lease of the leader of a service, in a store with our own names.
fn lease_of(service: &str) -> String {
    format!("{LEASE_PREFIX}{service}")
}

/// A store that is there.
fn always<C: Coordinator>(store: C) -> Reach<C> {
    Box::new(move || {
        let store = store.clone();
        Box::pin(async move { Ok(store) })
    })
}
