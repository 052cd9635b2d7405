//! Idempotency keys, against an embedded broker with real workers, over connections that break.

use super::relay::Relay;
use super::*;

/// A service that counts what it does, says when it has begun, and goes on when it may.
struct Till {
    _worker: Worker,
    done: Arc<AtomicUsize>,
    begun: Arc<Semaphore>,
    may: Arc<Semaphore>,
}

impl Till {
    async fn at(endpoint: &str) -> Self {
        let done = Arc::new(AtomicUsize::new(0));
        let (begun, may) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, starts, permits) = (done.clone(), begun.clone(), may.clone());
        let pay = move |request: Request| {
            let (counted, starts, permits) = (counted.clone(), starts.clone(), permits.clone());
            async move {
                starts.add_permits(1);
                permits.acquire().await?.forget();
                let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
                let key = request.key().unwrap_or(b"no key").to_vec();
                Ok(Message::new([key, number.to_string().into_bytes()]))
            }
        };
        let _worker = worker(endpoint, "pay", pay).await;
        Self { _worker, done, begun, may }
    }

    async fn has_begun(&self) {
        self.begun.acquire().await.unwrap().forget();
    }
}

fn receipt(key: &'static str, number: &'static str) -> Message {
    Message::from([key, number])
}

#[tokio::test]
async fn a_call_over_a_connection_that_breaks_is_carried_out_once() {
    let (_broker, endpoint) = broker();
    let till = Till::at(&endpoint).await;
    let relay = Relay::to(&endpoint).await;
    let quick = client(&relay.endpoint, Protocol::Mjp);
    let quick = quick.backoff(Duration::from_millis(5), Duration::from_millis(20));
    let client = quick.connect().await.unwrap();
    let call = client.call("pay", ["order 7"]).key("order-7").timeout(SOON);
    let call = tokio::spawn(call.into_future());
    till.has_begun().await;
    // More often than it has attempts.
    for cut in 1..=5 {
        relay.cut();
        while relay.accepted() <= cut {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    till.may.add_permits(2);
    assert_eq!(call.await.unwrap().unwrap(), receipt("order-7", "1"));
    assert_eq!(till.done.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_lost_its_answer_with_its_connection_finds_it_later() {
    let (_broker, endpoint) = broker();
    let till = Till::at(&endpoint).await;
    let relay = Relay::to(&endpoint).await;
    let first = client(&relay.endpoint, Protocol::Mjp).connect().await.unwrap();
    let call = first.call("pay", ["order 7"]).key("order-7").attempts(1);
    let call = tokio::spawn(call.into_future());
    till.has_begun().await;
    relay.cut();
    let lost = call.await.unwrap().unwrap_err();
    assert!(matches!(lost, CallError::Disconnected { .. }), "one attempt is one: {lost}");
    till.may.add_permits(2);
    let other = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    for _ in 0..3 {
        let answer = other.call("pay", ["order 7"]).key("order-7").await.unwrap();
        assert_eq!(answer, receipt("order-7", "1"));
    }
    assert_eq!(till.done.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn calls_of_one_key_at_a_time_are_one_and_another_body_is_refused() {
    let (_broker, endpoint) = broker();
    let till = Till::at(&endpoint).await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let pay = |body| client.call("pay", [body]).key("order-7");
    let calls = join_all([pay("order 7"), pay("order 7"), pay("order 7")].map(Call::into_future));
    let conflict = async {
        till.has_begun().await;
        let error = pay("order 8").await.unwrap_err();
        till.may.add_permits(1);
        error
    };
    let (answers, error) = tokio::join!(calls, conflict);
    assert!(matches!(&error, CallError::Refused { code, .. } if code == "key_conflict"), "{error}");
    for answer in answers {
        assert_eq!(answer.unwrap(), receipt("order-7", "1"));
    }
    let status =
        client.status(&StatusHeader { what: What::Broker, service: None, after: None, max: None });
    assert_eq!(status.await.unwrap().report().broker.unwrap().keys, 1);
    till.may.add_permits(1);
    assert_eq!(client.call("pay", ["order 7"]).await.unwrap(), receipt("no key", "2"));
}

#[tokio::test]
async fn a_key_has_1_to_128_octets_and_needs_a_protocol_that_can_say_it() {
    let (_broker, endpoint) = broker();
    let native = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    for len in [0, 129] {
        let error = native.call("pay", ["order 7"]).key(vec![7; len]).await.unwrap_err();
        assert_eq!(error, CallError::Key { len, max: 128 });
    }
    let stock = client(&endpoint, Protocol::Mdp02).connect().await.unwrap();
    let error = stock.call("pay", ["order 7"]).key("order-7").await.unwrap_err();
    assert_eq!(error, CallError::Unsupported { what: "a key" });
}
