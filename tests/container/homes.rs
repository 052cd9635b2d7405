//! The homes of services: our broker, or RabbitMQ and etcd, and what is between.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use majordomo::broker::Broker;
use majordomo::client::Happenings;
use majordomo::config::BrokerConfig;
use majordomo::container::{
    BrokerQueues, Builder, Call, Client, Embedded, Failure, RabbitQueues, RabbitQueuesConfig,
    ServiceContainer,
};
use majordomo::engine::etcd::{Etcd, EtcdConfig};
use majordomo::engine::rabbitmq::{Management, RabbitConfig};
use majordomo::proto::dead::Causes;
use majordomo::wire::mjp::{DeadHeader, Verb};
use majordomo::wire::nuropb::Topology;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

use super::behaviour::{Home, PATIENCE, TTL, running};
use super::etcd::EtcdServer;
use super::servers::RabbitServer;

/// A broker whose services keep what has failed.
pub(crate) fn broker_with(change: impl FnOnce(&mut BrokerConfig)) -> (Broker, Embedded) {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    config.service.dead.causes = Causes::ALL;
    change(&mut config);
    let broker = Broker::bind(config).unwrap();
    let embedded = Embedded::at(&broker.local_addrs()[0].to_string()).unwrap();
    (broker, embedded)
}

async fn letters(endpoint: &str, service: &str) -> usize {
    let client = majordomo::client::Client::connect(endpoint).await.unwrap();
    let ask = DeadHeader { service: Some(service.as_bytes()), ..DeadHeader::new(Verb::DeadList) };
    let listed = client.dead_admin(&ask, None).await.unwrap();
    listed.report().letters.map_or(0, |letters| letters.len())
}

/// Everything at our broker; its leases in etcd instead, or none.
pub(crate) struct AtBroker {
    pub(crate) embedded: Embedded,
    pub(crate) etcd: Option<Etcd>,
    /// Where it is administered.
    admin: String,
    /// Who has connected since somebody wanted to know.
    following: Mutex<Option<(majordomo::client::Client, Happenings, Vec<String>)>>,
    _broker: Broker,
    _socket: TempDir,
}

impl AtBroker {
    pub(crate) fn new(etcd: Option<Etcd>) -> Self {
        let socket = tempfile::tempdir().unwrap();
        let admin = format!("ipc://{}/admin", socket.path().display());
        let (broker, embedded) =
            broker_with(|config| config.broker.bind.push(admin.parse().unwrap()));
        let following = Mutex::default();
        Self { embedded, etcd, admin, following, _broker: broker, _socket: socket }
    }
}

impl AtBroker {
    /// Which connection of a client it is that is there, counted from the first time that this was
    /// asked of anybody.
    pub(crate) async fn connection(&self, client: &str) -> Option<String> {
        let mut following = self.following.lock().await;
        if following.is_none() {
            let admin = majordomo::client::Client::connect(&self.admin).await.unwrap();
            let happenings = admin.follow("peer.joined").await.unwrap();
            *following = Some((admin, happenings, Vec::new()));
        }
        let (_, happenings, joined) = following.as_mut()?;
        while let Some(Some(happening)) = happenings.next().now_or_never() {
            joined.extend(happening.unwrap().event().name.map(str::to_owned));
        }
        let own = Self::caller_name(client);
        let own = joined.iter().filter(|name| name.starts_with(own.trim_end_matches('*')));
        Some(own.count().to_string())
    }
}

impl Home for AtBroker {
    const LED: bool = true;

    fn instance(&self, service: &str, name: &str) -> Builder {
        let builder = ServiceContainer::builder(service).instance(name);
        let builder = builder.broker(self.embedded.clone()).ttl(TTL);
        match &self.etcd {
            Some(etcd) => builder.leases(majordomo::engine::etcd::Leases::new(etcd.clone())),
            None => builder,
        }
    }

    fn keeper(&self, service: &str, name: &str) -> Builder {
        let admin = Embedded::at(&self.admin).unwrap();
        self.instance(service, name).broker(admin)
    }

    fn caller_name(client: &str) -> String {
        format!("container-client-{client}-*")
    }

    fn client(&self, name: &str) -> Client {
        Client::start(Arc::new(BrokerQueues::client(self.embedded.clone(), name).unwrap()))
    }

    async fn dead(&self, service: &str) -> usize {
        letters(&self.admin, service).await
    }
}

/// The same, and nobody leads.
pub(crate) struct Standalone(pub(crate) AtBroker);

impl Home for Standalone {
    const LED: bool = false;

    fn instance(&self, service: &str, name: &str) -> Builder {
        self.0.instance(service, name).standalone()
    }

    fn caller_name(client: &str) -> String {
        AtBroker::caller_name(client)
    }

    fn client(&self, name: &str) -> Client {
        self.0.client(name)
    }

    async fn dead(&self, service: &str) -> usize {
        self.0.dead(service).await
    }
}

/// RabbitMQ, and who leads is in etcd or at our broker.
pub(crate) struct AtRabbit<'a> {
    pub(crate) rabbit: &'a RabbitServer,
    pub(crate) vhost: &'static str,
    pub(crate) leases: RabbitLeases,
}

pub(crate) enum RabbitLeases {
    Etcd(Etcd),
    Broker(Box<Embedded>),
}

pub(crate) fn etcd(server: &EtcdServer) -> Etcd {
    Etcd::new(EtcdConfig::new(server.url())).unwrap()
}

impl AtRabbit<'_> {
    /// The connection of a client, by the name that the server gave it.
    pub(crate) async fn connection(&self, client: &str) -> Option<String> {
        let consumers = self.management().consumers(self.vhost).await.unwrap();
        let queue = format!("nuropb-{}-client-{client}-rq", self.vhost);
        let own = consumers.into_iter().find(|consumer| consumer.queue.name == queue)?;
        Some(own.channel_details.connection_name)
    }

    fn management(&self) -> Management {
        Management::new(&self.rabbit.api(), Duration::from_secs(5)).unwrap()
    }

    fn config(&self) -> RabbitQueuesConfig {
        let url = self.rabbit.url(self.vhost).parse().unwrap();
        let mut config = RabbitQueuesConfig::new(RabbitConfig::new(url));
        config.management = Some(self.management());
        config
    }
}

impl Home for AtRabbit<'_> {
    const LED: bool = true;

    fn instance(&self, service: &str, name: &str) -> Builder {
        let builder = ServiceContainer::builder(service).instance(name);
        let builder = builder.rabbitmq(self.config()).ttl(TTL);
        match &self.leases {
            RabbitLeases::Etcd(etcd) => builder.etcd(etcd.clone()),
            RabbitLeases::Broker(embedded) => builder.broker((**embedded).clone()),
        }
    }

    fn caller_name(client: &str) -> String {
        format!("nuropb-rust-client-{client}-*")
    }

    fn client(&self, name: &str) -> Client {
        Client::start(Arc::new(RabbitQueues::client(self.config(), name)))
    }

    async fn dead(&self, service: &str) -> usize {
        let queue = self.management().queue(self.vhost, &Topology::dl_queue(service)).await;
        queue.unwrap().map_or(0, |queue| usize::try_from(queue.messages).unwrap())
    }
}

/// Somebody deletes the queue of its answers.
pub(crate) async fn a_client_whose_queue_is_gone_makes_it_anew(home: &AtRabbit<'_>) {
    let who = async |_: Call<Value>| Ok::<_, Failure>("one");
    let instance = home.instance("known", "one").method("who", who).start().unwrap();
    running(&instance).await;
    let client = home.client("deaf");
    let ask = async || client.caller().request("known", "who", &json!({})).await;
    assert_eq!(ask().await, Ok(json!("one")));
    home.rabbit.delete_queue(home.vhost, &format!("nuropb-{}-client-deaf-rq", home.vhost)).await;
    let again = async {
        let short = client.caller().with_timeout(Duration::from_secs(1));
        while short.request("known", "who", &json!({})).await.is_err() {}
    };
    timeout(PATIENCE, again).await.expect("it hears again");
    client.close().await;
    instance.stop(PATIENCE).await;
}

/// RabbitMQ takes nothing for a while, and says so.
pub(crate) async fn what_a_full_disk_holds_up_is_done_once(home: &AtRabbit<'_>) {
    let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (begins, waits) = (begun.clone(), go.clone());
    let work = move |_: Call<Value>| {
        begins.fetch_add(1, Ordering::SeqCst);
        let waits = waits.clone();
        async move {
            waits.acquire().await?.forget();
            Ok::<_, Failure>("done")
        }
    };
    let instance = home.instance("heavy", "one").method("work", work).start().unwrap();
    running(&instance).await;
    let client = home.client("patient");
    let asked = (0..4).map(|_| {
        let caller = client.caller().with_timeout(2 * PATIENCE);
        tokio::spawn(async move { caller.request("heavy", "work", &json!({})).await })
    });
    let asked: Vec<_> = asked.collect();
    let all = async {
        while begun.load(Ordering::SeqCst) < 4 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("all are begun");
    home.rabbit.hold_up(true).await;
    go.add_permits(4);
    // Longer than a confirmation may take.
    sleep(Duration::from_secs(8)).await;
    go.add_permits(100);
    home.rabbit.hold_up(false).await;
    for asked in asked {
        assert_eq!(timeout(PATIENCE, asked).await.unwrap().unwrap(), Ok(json!("done")));
    }
    assert_eq!(begun.load(Ordering::SeqCst), 4, "each once");
    client.close().await;
    instance.stop(PATIENCE).await;
}
