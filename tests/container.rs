//! The container role as a Rust program holds it: the same behaviour in each home, real servers
//! under them. What NuroPb's package and these say to one another, and what outages of RabbitMQ and
//! etcd do, is in `tests/nuropb`.

#[path = "container/behaviour.rs"]
mod behaviour;
#[path = "container/embedded.rs"]
mod embedded;
#[path = "common/etcd.rs"]
#[expect(dead_code, reason = "leases need more of it")]
mod etcd;
#[path = "container/health.rs"]
mod health;
#[path = "container/homes.rs"]
mod homes;
#[path = "container/metrics.rs"]
mod metrics;
#[path = "http/openmetrics.rs"]
#[expect(dead_code, reason = "brokers need more of it")]
mod openmetrics;
#[path = "common/relay.rs"]
#[expect(dead_code, reason = "groups need more of it")]
mod relay;
#[path = "container/servers.rs"]
mod servers;

use std::time::Duration;

use behaviour::{Home, PATIENCE, every_home_does_it};
use etcd::EtcdServer;
use health::{a_bad_caller_is_ended, a_leader_looks_after_its_service};
use homes::{AtBroker, AtRabbit, RabbitLeases, Standalone, broker_with};
use majordomo::container::ServiceContainer;
use majordomo::engine::etcd::{Etcd, EtcdConfig, EtcdError, Txn, WatchEvent};
use metrics::{a_loop_that_does_not_run_is_not_live, an_instance_shows_its_numbers};
use servers::RabbitServer;
use tokio::time::timeout;

#[tokio::test]
async fn our_broker_is_a_home() {
    every_home_does_it(&AtBroker::new(None)).await;
}

#[tokio::test]
async fn a_leader_at_our_broker_looks_after_its_service() {
    let home = AtBroker::new(None);
    a_leader_looks_after_its_service(&home, "cared").await;
    a_bad_caller_is_ended(&home, "strict", async |caller| home.connection(caller).await).await;
}

#[tokio::test]
async fn an_instance_at_our_broker_shows_its_numbers() {
    let home = AtBroker::new(None);
    an_instance_shows_its_numbers(&home, "counted").await;
    a_loop_that_does_not_run_is_not_live(home.instance("stuck", "one")).await;
}

#[tokio::test]
async fn our_broker_is_a_home_without_a_leader() {
    every_home_does_it(&Standalone(AtBroker::new(None))).await;
}

#[tokio::test]
async fn our_broker_is_a_home_with_the_leader_in_etcd() {
    let server = EtcdServer::start().await;
    every_home_does_it(&AtBroker::new(Some(homes::etcd(&server)))).await;
}

/// Two homes with one RabbitMQ, since that takes seconds to start.
#[tokio::test]
async fn rabbitmq_is_a_home_with_the_leader_in_etcd_or_at_our_broker() {
    let (rabbit, server) = tokio::join!(RabbitServer::start(), EtcdServer::start());
    let etcd = homes::etcd(&server);
    let leases = RabbitLeases::Etcd(etcd.clone());
    let home = AtRabbit { rabbit: &rabbit, vhost: "rust", leases };
    every_home_does_it(&home).await;
    a_leader_looks_after_its_service(&home, "cared").await;
    a_bad_caller_is_ended(&home, "strict", async |caller| home.connection(caller).await).await;
    an_instance_shows_its_numbers(&home, "counted").await;
    homes::a_client_whose_queue_is_gone_makes_it_anew(&home).await;
    homes::what_a_full_disk_holds_up_is_done_once(&home).await;
    let (_broker, embedded) = broker_with(|_| ());
    let leases = RabbitLeases::Broker(Box::new(embedded));
    every_home_does_it(&AtRabbit { rabbit: &rabbit, vhost: "mixed", leases }).await;
    engine(&etcd).await;
}

/// What the client of etcd promises by itself.
async fn engine(etcd: &Etcd) {
    let lease = etcd.grant(Duration::from_secs(5)).await.unwrap();
    let put =
        |lease| Txn::default().if_missing("/t/k").then_put("/t/k", b"1", lease).else_get("/t/k");
    let before = etcd.prefix("/t/").await.unwrap();
    let mut watch = etcd.watch("/t/", before.revision + 1);
    assert!(etcd.txn(put(lease.id)).await.unwrap().succeeded);
    let second = etcd.txn(put(lease.id)).await.unwrap();
    assert!(!second.succeeded);
    assert_eq!(second.ranges[0][0].value, b"1");
    assert!(etcd.keep_alive(lease.id).await.unwrap() >= Duration::from_secs(4));
    let WatchEvent::Changes(changes) = timeout(PATIENCE, watch.next()).await.unwrap() else {
        panic!("no change");
    };
    assert_eq!(changes[0].value.as_deref(), Some(&b"1"[..]));
    etcd.revoke(lease.id).await.unwrap();
    let WatchEvent::Changes(changes) = timeout(PATIENCE, watch.next()).await.unwrap() else {
        panic!("no change");
    };
    assert_eq!(changes[0].value, None);
    assert_eq!(etcd.keep_alive(lease.id).await, Err(EtcdError::LeaseGone));
    assert_eq!(etcd.revoke(lease.id).await, Err(EtcdError::LeaseGone));
    assert_eq!(etcd.txn(put(lease.id)).await, Err(EtcdError::LeaseGone));
    etcd.put("/t/k", b"2", 0).await.unwrap();
    assert_eq!(etcd.get("/t/k").await.unwrap().unwrap().value, b"2");
    assert!(etcd.delete("/t/k").await.unwrap());
    assert!(!etcd.delete("/t/k").await.unwrap());
    // Of several members the next one is asked when one is not there.
    let mut config = EtcdConfig::new("http://127.0.0.1:1");
    config.endpoints.push("http://127.0.0.1:1".into());
    let nowhere = Etcd::new(config).unwrap();
    for _ in 0..3 {
        let refused = nowhere.get("/t/k").await;
        assert!(matches!(refused, Err(EtcdError::Unreachable { .. })), "{refused:?}");
    }
}

#[test]
fn what_cannot_be_a_container_is_refused() {
    for name in ["", "a/b", "a\n", &"x".repeat(97)] {
        let refused = ServiceContainer::builder(name).start();
        assert!(refused.is_err(), "{name:?}");
    }
    let refused = ServiceContainer::builder("a").ttl(Duration::from_secs(1)).start().unwrap_err();
    assert_eq!(refused.to_string(), "ttl is 1000 ms, and has to be 2 s to 10 min");
    let refused = ServiceContainer::builder("a").prefetch(0, 1).start().unwrap_err();
    assert_eq!(refused.to_string(), "prefetch is 0, and has to be 1 to 65535");
    let deaf = async |_: majordomo::container::Event<()>| Ok(());
    let refused = ServiceContainer::builder("a").on("a..b", deaf).start().unwrap_err();
    let refused = refused.to_string();
    assert!(refused.starts_with("`a..b` is nothing that can be subscribed to"), "{refused}");
}
