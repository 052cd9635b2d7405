//! Calls at level disk, against an embedded broker with a store that is started anew.

use majordomo::client::Accepted;
use majordomo::wire::mjp::Level;

use super::*;

fn broker_over(dir: &std::path::Path) -> (Broker, String) {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    config.store.path = Some(dir.join("store"));
    let broker = Broker::bind(config).unwrap();
    let endpoint = broker.local_addrs()[0].to_string();
    (broker, endpoint)
}

async fn connect(endpoint: &str) -> Client {
    client(endpoint, Protocol::Mjp).connect().await.unwrap()
}

#[tokio::test]
async fn what_was_handed_in_is_answered_by_the_next_broker() {
    let dir = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(24 * 3600);
    let (broker, endpoint) = broker_over(dir.path());
    let caller = connect(&endpoint).await;
    let accepted = caller.call("pay", "order 7").key("order-7").timeout(day).hand_in().await;
    let accepted = accepted.unwrap();
    assert!(matches!(&accepted, Accepted { level: Level::Disk, repeat: false, .. }));
    let nameless = caller.call("pay", "order 8").timeout(day).hand_in().await.unwrap();
    assert_eq!(nameless.key.len(), 32, "it was given a key");
    let report = broker.shutdown(SOON).await;
    assert_eq!(report.abandoned, 0, "the next one has them");

    let (broker, endpoint) = broker_over(dir.path());
    let _worker = worker(&endpoint, "pay", echo).await;
    let caller = connect(&endpoint).await;
    for (body, key) in [("order 7", &accepted.key), ("order 8", &nameless.key)] {
        let answer = caller.call("pay", body).key(key).level(Level::Disk).await.unwrap();
        assert_eq!(answer.first(), body.as_bytes());
    }
    let again = caller.call("pay", "order 7").key("order-7").hand_in().await.unwrap();
    assert!(again.repeat);
    let refused = caller.call("pay", "order 9").key("order-7").level(Level::Disk).await;
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, CallError::Refused { code, .. } if code == "key_conflict"));
    drop(broker);
}

#[tokio::test]
async fn a_broker_without_a_store_refuses_the_level() {
    let (_broker, endpoint) = broker();
    let caller = connect(&endpoint).await;
    for refused in [
        caller.call("pay", "x").level(Level::Disk).await.map(drop),
        caller.call("pay", "x").hand_in().await.map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(&refused, CallError::Refused { code, .. } if code == "unsupported"));
    }
}

#[tokio::test]
async fn a_call_at_level_disk_is_carried_out_once_whatever_becomes_of_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, endpoint) = broker_over(dir.path());
    let done = Arc::new(AtomicUsize::new(0));
    let (counted, (begun, mut begins)) = (done.clone(), mpsc::channel(9));
    let _worker = worker(&endpoint, "pay", move |request: Request| {
        counted.fetch_add(1, Ordering::Relaxed);
        let begun = begun.clone();
        async move {
            let _ = begun.send(()).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(request.body)
        }
    })
    .await;
    let relay = relay::Relay::to(&endpoint).await;
    let caller = connect(&relay.endpoint).await;
    let call = tokio::spawn(caller.call("pay", "order 7").level(Level::Disk).into_future());
    begins.recv().await.unwrap();
    relay.cut();
    assert_eq!(call.await.unwrap().unwrap().first(), b"order 7");
    assert_eq!(done.load(Ordering::Relaxed), 1);
}
