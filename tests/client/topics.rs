//! Publishing and subscribing, against an embedded broker.

use majordomo::client::{Lapse, Published, Subscription};
use majordomo::proto::topics::SubjectError;
use majordomo::worker::PublishError;
use tokio::time::timeout;

use super::*;

async fn heard(subscription: &mut Subscription) -> Result<Published, Lapse> {
    timeout(SOON, subscription.next()).await.expect("something").expect("it goes on")
}

async fn text(subscription: &mut Subscription) -> String {
    let published = heard(subscription).await.unwrap();
    format!("{}: {}", published.subject, published.body.first().escape_ascii())
}

async fn connected(endpoint: &str) -> Client {
    let fast = (Duration::from_millis(5), Duration::from_millis(50));
    client(endpoint, Protocol::Mjp).backoff(fast.0, fast.1).connect().await.unwrap()
}

#[tokio::test]
async fn what_is_published_is_heard_by_each_subscription_that_means_it() {
    let (_broker, endpoint) = broker();
    let listener = connected(&endpoint).await;
    let mut wind = listener.subscribe("weather.*.wind").await.unwrap();
    let mut all = listener.subscribe(">").await.unwrap();
    let station = client(&endpoint, Protocol::Mjp).identity("oslo").connect().await.unwrap();
    assert_eq!(station.publish("weather.oslo.wind", ["9 m/s", ""]).await, Ok(2));
    assert_eq!(station.publish("weather.oslo.rain", "none").await, Ok(1));
    let first = heard(&mut wind).await.unwrap();
    assert_eq!(
        (first.subject.as_str(), first.publisher),
        ("weather.oslo.wind", Some(b"oslo".into()))
    );
    assert_eq!(first.body, Message::from(["9 m/s", ""]));
    assert_eq!(text(&mut all).await, "weather.oslo.wind: 9 m/s");
    assert_eq!(text(&mut all).await, "weather.oslo.rain: none");
    // A subscription is a stream; dropped, it is none any more.
    drop(wind);
    while station.publish("weather.oslo.wind", "calm").await != Ok(1) {
        tokio::task::yield_now().await;
    }
    let next = all.next().await.unwrap().unwrap();
    assert_eq!(next.body.first(), b"calm");
}

#[tokio::test]
async fn a_subscription_goes_on_over_the_next_connection_and_says_that_something_may_be_missing() {
    let (broker, endpoint) = broker();
    let client = connected(&endpoint).await;
    let mut all = client.subscribe("a.>").await.unwrap();
    client.publish("a.b", "before").await.unwrap();
    assert_eq!(text(&mut all).await, "a.b: before");
    drop(broker);
    let at: Endpoint = endpoint.parse().unwrap();
    let mut again = None;
    while again.is_none() {
        let mut config = BrokerConfig::default();
        config.broker.bind = vec![at.clone()];
        // The old one may not have let go of its port yet.
        again = Broker::bind(config).ok();
        tokio::task::yield_now().await;
    }
    assert_eq!(heard(&mut all).await, Err(Lapse::Unknown));
    assert_eq!(client.publish("a.c", "after").await, Ok(1));
    assert_eq!(text(&mut all).await, "a.c: after");
}

#[tokio::test]
async fn what_is_not_read_in_time_is_dropped_and_counted() {
    let (_broker, endpoint) = broker();
    let mut builder = client(&endpoint, Protocol::Mjp);
    builder.config().parts_max = 3;
    let client = builder.connect().await.unwrap();
    let mut slow = client.subscribe("a").await.unwrap();
    for number in 0..10 {
        assert_eq!(client.publish("a", number.to_string()).await, Ok(1));
    }
    for number in 0..3 {
        assert_eq!(text(&mut slow).await, format!("a: {number}"));
    }
    assert_eq!(heard(&mut slow).await, Err(Lapse::Missed(7)));
    client.publish("a", "next").await.unwrap();
    assert_eq!(text(&mut slow).await, "a: next");
}

#[tokio::test]
async fn a_worker_publishes_while_it_works() {
    let (_broker, endpoint) = broker();
    let client = connected(&endpoint).await;
    let mut progress = client.subscribe("progress.*").await.unwrap();
    let handler = |request: Request| async move {
        let subscriptions = request.publish("progress.print", "half").await?;
        let none = request.publish("nobody.hears", "it").await?;
        let wrong = request.publish("a..b", "it").await;
        assert_eq!(wrong, Err(PublishError::Subject(SubjectError::EmptyToken)));
        let own = request.publish("$a", "it").await;
        assert!(matches!(own, Err(PublishError::Refused { code, .. }) if code == "forbidden"));
        Ok(Message::from(format!("{subscriptions} {none}")))
    };
    let _worker = worker(&endpoint, "print", handler).await;
    assert_eq!(client.call("print", "x").await.unwrap().first(), b"1 0");
    assert_eq!(text(&mut progress).await, "progress.print: half");
}

#[tokio::test]
async fn a_subscription_ends_with_its_client() {
    let (_broker, endpoint) = broker();
    let client = connected(&endpoint).await;
    let mut all = client.subscribe(">").await.unwrap();
    let began = Instant::now();
    client.close(SOON).await;
    assert!(began.elapsed() < SOON, "nobody waits for a subscription to end");
    assert_eq!(heard(&mut all).await, Err(Lapse::Ended(CallError::Closed)));
    assert!(all.next().await.is_none());
    assert_eq!(client.publish("a", "x").await, Err(CallError::Closed));
    assert!(matches!(client.subscribe("a").await, Err(CallError::Closed)));
}

#[tokio::test]
async fn what_cannot_be_published_or_subscribed_to_is_refused() {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    config.limits.subscriptions_per_peer = 1;
    let broker = Broker::bind(config).unwrap();
    let endpoint = broker.local_addrs()[0].to_string();
    let listener = client(&endpoint, Protocol::Mjp).timeout(Duration::from_millis(300));
    let listener = listener.connect().await.unwrap();
    let wrong = listener.publish("a.*", "x").await;
    assert_eq!(wrong, Err(CallError::Subject(SubjectError::Wildcard)));
    let wrong = listener.subscribe("a.").await.map(drop);
    assert_eq!(wrong, Err(CallError::Subject(SubjectError::EmptyToken)));
    let own = listener.publish("$a", "x").await;
    assert!(matches!(own, Err(CallError::Refused { code, .. }) if code == "forbidden"));
    // What may pass is tried again, as long as its caller waits.
    let one = listener.subscribe("a").await.unwrap();
    let full = listener.subscribe("b").await.map(drop);
    assert!(matches!(full, Err(CallError::Timeout { .. })), "{full:?}");
    drop(one);
    listener.subscribe("b").await.unwrap();
    let stock = client(&endpoint, Protocol::Mdp02).connect().await.unwrap();
    let what = "PUBLISH and SUBSCRIBE";
    assert_eq!(stock.publish("a", "x").await, Err(CallError::Unsupported { what }));
    assert_eq!(stock.subscribe("a").await.map(drop), Err(CallError::Unsupported { what }));
}
