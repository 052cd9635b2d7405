//! What a container is told before it starts.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::client::fresh_id;
use super::coordinate::Coordinator;
use super::handler::{Event, Failure, Hearer, IntoMethod, Method, hearer};
use super::instance::ServiceContainer;
use super::queues::Queues;
use super::serve::{Counters, Shop};
use crate::proto::container::Settings;
use crate::wire::nuropb::fits_short_string;

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
    /// There is no queue server.
    #[error("say where requests and events come from: .queues(...)")]
    NoQueues,
}

/// Makes the coordinator or the queues, once the names are known.
type Make<T> = Box<dyn FnOnce(&str, &str, Vec<String>) -> Arc<T> + Send>;

/// Builds a [`ServiceContainer`].
pub struct Builder {
    service: String,
    instance: String,
    version: String,
    description: Option<String>,
    methods: BTreeMap<String, Method>,
    hearers: Vec<(String, Hearer)>,
    coordinator: Option<Make<dyn Coordinator>>,
    queues: Option<Make<dyn Queues>>,
    settings: Settings,
    call_again_max: u32,
    call_again_wait: Duration,
    hw_mark: Option<u64>,
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
            coordinator: None,
            queues: None,
            settings: Settings::default(),
            call_again_max: 3,
            call_again_wait: Duration::from_millis(100),
            hw_mark: None,
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

    /// How the instances find out who leads. Without it each sets up for itself.
    #[must_use]
    pub fn coordinator<C: Coordinator + 'static>(
        mut self,
        make: impl FnOnce(&str, &str) -> C + Send + 'static,
    ) -> Self {
        self.coordinator = Some(Box::new(|service, instance, _| Arc::new(make(service, instance))));
        self
    }

    /// Where requests and events come from; the function is told the service, the instance and the
    /// topics.
    #[must_use]
    pub fn queues<Q: Queues + 'static>(
        mut self,
        make: impl FnOnce(&str, &str, Vec<String>) -> Q + Send + 'static,
    ) -> Self {
        self.queues =
            Some(Box::new(|service, instance, topics| Arc::new(make(service, instance, topics))));
        self
    }

    /// RabbitMQ, in the layout of NuroPb.
    #[cfg(feature = "rabbitmq")]
    #[must_use]
    pub fn rabbitmq(self, config: super::RabbitQueuesConfig) -> Self {
        self.queues(|service, instance, topics| {
            super::RabbitQueues::service(config, service, instance, topics)
        })
    }

    /// etcd, with the keys of NuroPb.
    #[cfg(feature = "etcd")]
    #[must_use]
    pub fn etcd(self, etcd: crate::engine::etcd::Etcd) -> Self {
        self.coordinator(|service, instance| super::EtcdCoordinator::new(etcd, service, instance))
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
    /// leader publishes.
    #[must_use]
    pub fn hw_mark(mut self, messages: u64) -> Self {
        self.hw_mark = Some(messages);
        self
    }

    /// Starts the instance. It goes through its steps by itself, see
    /// [`ServiceContainer::status`]. To be called within a runtime of tokio.
    ///
    /// # Errors
    ///
    /// A name or a setting is wrong; nothing is started.
    pub fn start(self) -> Result<ServiceContainer, BuildError> {
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
        let queues = self.queues.ok_or(BuildError::NoQueues)?;
        let queues = queues(&self.service, &self.instance, topics);
        let coordinator =
            self.coordinator.map(|make| make(&self.service, &self.instance, Vec::new()));
        let settings = Settings { coordinated: coordinator.is_some(), ..self.settings };
        let shop = Shop {
            service: self.service,
            version: self.version,
            description: self.description,
            methods: self.methods,
            hearers: self.hearers,
            call_again_max: self.call_again_max,
            call_again_wait: self.call_again_wait,
            counters: Counters::default(),
        };
        let shop = Arc::new(shop);
        Ok(ServiceContainer::run(shop, self.instance, settings, coordinator, queues, self.hw_mark))
    }
}
