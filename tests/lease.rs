//! Leases from outside: what every store promises, and what each does when it breaks and starts
//! again.

#[cfg(feature = "etcd")]
#[path = "lease/etcd.rs"]
mod etcd;
#[path = "lease/promises.rs"]
mod promises;
#[path = "common/relay.rs"]
#[expect(dead_code, reason = "groups need more of it")]
mod relay;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use majordomo::broker::Broker;
use majordomo::client::{CallError, Client, To};
use majordomo::config::BrokerConfig;
use majordomo::lease::{Fence, Held, LeaseError, Lost, Seat, Seen};
use majordomo::wire::mjp::{AdminHeader, Verb};
use majordomo::worker::{Failure, Request, Worker};
use tokio::time::{Instant, sleep, timeout};

use promises::{SOON, soon};
use relay::Relay;

const TTL: Duration = Duration::from_millis(600);

fn broker_with(change: impl FnOnce(&mut BrokerConfig)) -> (Broker, String) {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    change(&mut config);
    let broker = Broker::bind(config).unwrap();
    let endpoint = broker.local_addrs()[0].to_string();
    (broker, endpoint)
}

fn broker() -> (Broker, String) {
    broker_with(|_| ())
}

/// A client that comes back soon.
async fn client(endpoint: &str) -> Client {
    let builder = Client::builder(endpoint).unwrap();
    let builder = builder.backoff(Duration::from_millis(10), Duration::from_millis(50));
    builder.connect().await.unwrap()
}

/// A service that only the holder of `billing` may ask, and how often it was asked.
async fn till(endpoint: &str) -> (Worker, Arc<AtomicUsize>) {
    let paid = Arc::new(AtomicUsize::new(0));
    let counted = paid.clone();
    let pay = move |request: Request| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, Failure>(request.body) }
    };
    let worker = Worker::builder(endpoint, "pay").unwrap().fence("billing").start(pay).unwrap();
    worker.registered().await;
    (worker, paid)
}

#[tokio::test]
async fn the_broker_keeps_what_every_store_promises() {
    let (_broker, endpoint) = broker();
    let connect = async || client(&endpoint).await;
    promises::every_store_keeps_them(connect, "embedded").await;
}

#[tokio::test]
async fn who_dies_without_a_grace_is_succeeded_at_once() {
    let (_broker, endpoint) = broker();
    let relay = Relay::to(&endpoint).await;
    let (first, second) = (client(&relay.endpoint).await, client(&endpoint).await);
    let held = first.lease("a").ttl(Duration::from_secs(60)).campaign().await.unwrap();
    let next = tokio::spawn(async move { second.lease("a").campaign().await });
    promises::wait_for_line(&first, "a", 1).await;
    relay.cut();
    let next = soon(next).await.unwrap().unwrap();
    assert!(next.epoch() > held.epoch());
    assert_eq!(soon(held.lost()).await, Lost::Disconnected);
    assert_eq!(held.standing(), Err(Lost::Disconnected));
}

#[tokio::test]
async fn with_a_grace_a_holder_comes_back_over_another_connection() {
    let (_broker, endpoint) = broker();
    let relay = Relay::to(&endpoint).await;
    let (first, second) = (client(&relay.endpoint).await, client(&endpoint).await);
    let lease = first.lease("a").ttl(TTL).grace(2 * TTL);
    let held = lease.campaign().await.unwrap();
    let (_worker, paid) = till(&endpoint).await;
    for round in 1..=3 {
        relay.cut();
        // It has to renew over the new connection to go on for so long.
        sleep(2 * TTL).await;
        assert!(held.holds(), "round {round}: {:?}", held.standing());
        let refused = second.lease("a").wait(Duration::ZERO).campaign().await;
        assert_eq!(refused.unwrap_err(), LeaseError::Held { current: Some(held.epoch()) });
    }
    assert!(relay.accepted() > 3, "{} connections", relay.accepted());
    // The seat is on the newest connection: what is said there counts, and its end frees it.
    held.proclaim("here").await.unwrap();
    drop(held);
    let next = soon(second.lease("a").campaign()).await.unwrap();
    assert!(next.holds());
    assert_eq!(paid.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_holder_that_hears_nothing_stops_before_the_broker_gives_the_lease_away() {
    let (_broker, endpoint) = broker();
    let relay = Relay::to(&endpoint).await;
    let (first, second) = (client(&relay.endpoint).await, client(&endpoint).await);
    let held = first.lease("billing").ttl(TTL).grace(TTL).campaign().await.unwrap();
    let (_worker, paid) = till(&endpoint).await;
    first.call("pay", ["1"]).fence(&held).await.unwrap();
    let fence = Fence::from(&held);
    let campaign = second.clone();
    let next = tokio::spawn(async move {
        let held = campaign.lease("billing").campaign().await;
        (held, Instant::now())
    });
    promises::wait_for_line(&second, "billing", 1).await;
    relay.hold_up(true);
    // What it says while it believes reaches the broker when it does not hold any more.
    let late = first.call("pay", ["2"]).fence(fence.clone()).timeout(SOON);
    let late = tokio::spawn(async move { late.await });
    assert_eq!(soon(held.lost()).await, Lost::Expired);
    let stopped = Instant::now();
    let (next, began) = soon(next).await.unwrap();
    let next = next.unwrap();
    assert!(stopped <= began, "it believed for {:?} too long", stopped - began);
    relay.hold_up(false);
    let stale = CallError::Stale { current: Some(next.epoch()) };
    assert_eq!(soon(late).await.unwrap(), Err(stale.clone()));
    assert_eq!(second.call("pay", ["3"]).fence(fence).await, Err(stale));
    let unfenced = second.call("pay", ["4"]).await.unwrap_err();
    let CallError::Refused { code, .. } = unfenced else { panic!("{unfenced}") };
    assert_eq!(code, "fence_required");
    second.call("pay", ["5"]).fence(&next).await.unwrap();
    assert_eq!(paid.load(Ordering::SeqCst), 2, "the first one, and that of the second holder");
}

#[tokio::test]
async fn what_a_holder_that_hears_nothing_publishes_scatters_and_asks_comes_too_late() {
    let (_broker, endpoint) = broker();
    let relay = Relay::to(&endpoint).await;
    let (first, second) = (client(&relay.endpoint).await, client(&endpoint).await);
    let (_worker, paid) = till(&endpoint).await;
    let mut news = second.subscribe("news").await.unwrap();
    let held = first.lease("billing").ttl(TTL).grace(TTL).campaign().await.unwrap();
    let clients = AdminHeader::new(Verb::Clients);
    assert_eq!(first.publish("news", "1").fence(&held).await, Ok(1));
    let mut scatter = first.scatter("pay", To::All, "1").fence(&held).await.unwrap();
    assert!(scatter.rest().await.unwrap()[0].result.is_ok());
    first.admin(&clients).fence(&held).await.unwrap();
    let fence = Fence::from(&held);
    let campaign = second.clone();
    let next = tokio::spawn(async move { campaign.lease("billing").campaign().await });
    promises::wait_for_line(&second, "billing", 1).await;
    relay.hold_up(true);
    let (one, other) = (first.clone(), fence.clone());
    let late = tokio::spawn(async move {
        tokio::join!(
            one.publish("news", "2").fence(other.clone()).into_future(),
            one.scatter("pay", To::All, "2").fence(other.clone()).timeout(SOON).into_future(),
            one.admin(&clients).fence(other).into_future(),
        )
    });
    let next = soon(next).await.unwrap().unwrap();
    relay.hold_up(false);
    let stale = CallError::Stale { current: Some(next.epoch()) };
    let (published, scattered, asked) = soon(late).await.unwrap();
    assert_eq!(published, Err(stale.clone()));
    assert_eq!(scattered.err(), Some(stale.clone()));
    assert_eq!(asked, Err(stale));
    assert_eq!(second.publish("news", "3").fence(&next).await, Ok(1));
    for expected in [b"1", b"3"] {
        assert_eq!(news.next().await.unwrap().unwrap().body.first(), expected);
    }
    assert_eq!(paid.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_grace_that_is_shorter_than_the_lease_limits_what_is_believed() {
    let (_broker, endpoint) = broker();
    let relay = Relay::to(&endpoint).await;
    let builder = Client::builder(&relay.endpoint).unwrap();
    // It does not come back in time.
    let first = builder.backoff(SOON, SOON).connect().await.unwrap();
    let second = client(&endpoint).await;
    let grace = Duration::from_millis(300);
    let held = first.lease("a").ttl(SOON).grace(grace).campaign().await.unwrap();
    let next = tokio::spawn(async move {
        let held = second.lease("a").campaign().await;
        (held, Instant::now())
    });
    relay.cut();
    assert_eq!(soon(held.lost()).await, Lost::Expired);
    let stopped = Instant::now();
    let (_next, began) = soon(next).await.unwrap();
    assert!(stopped <= began);
}

#[tokio::test]
async fn a_client_that_is_closed_lets_go_of_all_it_holds() {
    let (_broker, endpoint) = broker();
    let (first, second) = (client(&endpoint).await, client(&endpoint).await);
    let held = first.lease("a").ttl(SOON).grace(SOON).campaign().await.unwrap();
    first.close(Duration::from_secs(1)).await;
    assert_eq!(soon(held.lost()).await, Lost::Closed);
    assert!(soon(second.lease("a").campaign()).await.unwrap().holds());
    assert_eq!(first.lease("a").campaign().await.unwrap_err(), LeaseError::Closed);
}

#[tokio::test]
async fn an_observer_is_told_when_it_does_not_know_and_when_it_does_again() {
    let (_broker, endpoint) = broker();
    let relay = Relay::to(&endpoint).await;
    let (first, second) = (client(&relay.endpoint).await, client(&endpoint).await);
    let mut seen = first.lease("a").observe().unwrap();
    assert_eq!(soon(seen.next()).await, Some(Ok(Seen::Free { last: None })));
    relay.cut();
    assert_eq!(soon(seen.next()).await, Some(Ok(Seen::Unknown)));
    let held = second.lease("a").name("node-2").campaign().await.unwrap();
    let holder = Seen::Held { epoch: held.epoch(), name: Some("node-2".into()), value: Vec::new() };
    while soon(seen.next()).await != Some(Ok(holder.clone())) {}
}

#[tokio::test]
async fn a_candidate_waits_over_a_restart_of_the_broker() {
    let (broker, endpoint) = broker();
    let port = endpoint.clone();
    let (first, second) = (client(&endpoint).await, client(&endpoint).await);
    let held = first.lease("a").campaign().await.unwrap();
    let before = held.epoch();
    let next = tokio::spawn(async move { second.lease("a").campaign().await });
    promises::wait_for_line(&first, "a", 1).await;
    broker.shutdown(Duration::ZERO).await;
    assert_eq!(soon(held.lost()).await, Lost::Disconnected);
    drop((held, first));
    let (_broker, _) = broker_with(|config| config.broker.bind = vec![port.parse().unwrap()]);
    let next = soon(next).await.unwrap().unwrap();
    assert!(next.epoch() > before, "{} behind {before}", next.epoch());
}

#[tokio::test]
async fn what_no_lease_can_be_is_refused_at_once() {
    let (_broker, endpoint) = broker();
    let client = client(&endpoint).await;
    let said = |held: Result<Held<_>, LeaseError>| held.map(|it| it.epoch()).unwrap_err();
    let invalid = |error| matches!(error, LeaseError::Invalid { .. });
    assert!(invalid(said(client.lease("").campaign().await)));
    assert!(invalid(said(client.lease("x".repeat(256)).campaign().await)));
    assert!(invalid(said(client.lease("a").name("").campaign().await)));
    assert!(invalid(said(client.lease("a").value(vec![0; 12_289]).campaign().await)));
    assert!(invalid(said(client.lease("a").ttl(Duration::ZERO).campaign().await)));
    assert!(client.lease("").observe().is_err());
    let short = said(client.lease("a").ttl(Duration::from_millis(99)).campaign().await);
    let LeaseError::Refused { code, message } = short else { panic!("{short}") };
    assert_eq!(code, "bad_request");
    assert!(message.contains("100 to 3600000 ms"), "{message}");
    let fence = client.call("x", ["1"]).fence(Fence::new("", 1)).await.unwrap_err();
    assert_eq!(fence, CallError::LeaseName { len: 0, max: 255 });
}

#[tokio::test]
async fn renewals_do_not_wait_for_calls() {
    let (_broker, endpoint) = broker();
    let builder = Client::builder(&endpoint).unwrap().in_flight_max(1);
    let client = builder.connect().await.unwrap();
    let held = client.lease("a").ttl(TTL).campaign().await.unwrap();
    // Nobody answers it, and no other call may go before it has an answer.
    let silent = |_: Request| std::future::pending::<Result<&[u8], Failure>>();
    let worker = Worker::builder(&endpoint, "silent").unwrap().start(silent).unwrap();
    worker.registered().await;
    let calls: Vec<_> = (0..100)
        .map(|_| tokio::spawn(client.call("silent", ["x"]).timeout(SOON).into_future()))
        .collect();
    assert!(timeout(4 * TTL, held.lost()).await.is_err(), "{:?}", held.standing());
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

/// As a user would write it: for any store.
async fn hand_over<S: Seat>(held: &Held<S>) -> Result<(), LeaseError> {
    held.proclaim("going").await?;
    held.resign().await
}

#[tokio::test]
async fn who_has_resigned_can_do_nothing_more() {
    let (_broker, endpoint) = broker();
    let client = client(&endpoint).await;
    let held = client.lease("a").campaign().await.unwrap();
    hand_over(&held).await.unwrap();
    assert_eq!(held.standing(), Err(Lost::Resigned));
    assert_eq!(held.lost().await, Lost::Resigned);
    assert_eq!(held.proclaim("x").await, Err(Lost::Resigned.into()));
    assert_eq!(held.resign().await, Err(Lost::Resigned.into()));
}
