//! Orders, delays, failures for now and dead letters, against an embedded broker with real workers.

use std::sync::Mutex;

use majordomo::wire::mjp::{AdminHeader, DeadHeader, Verb};

use super::*;

#[tokio::test]
async fn calls_of_one_order_run_one_at_a_time_and_a_delayed_one_waits() {
    let (_broker, endpoint) = broker();
    let (running, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (now, told) = (running.clone(), seen.clone());
    let _worker = worker(&endpoint, "book", move |request: Request| {
        let (now, told) = (now.clone(), told.clone());
        async move {
            assert_eq!(now.fetch_add(1, Ordering::SeqCst), 0, "two of one order run at a time");
            tokio::task::yield_now().await;
            told.lock().unwrap().push(request.body.first().to_vec());
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(request.body)
        }
    })
    .await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let began = Instant::now();
    let calls = (0..20).map(|number| {
        let call = client.call("book", format!("{number}")).order("account");
        let call = if number == 0 { call.delay(Duration::from_millis(200)) } else { call };
        call.into_future()
    });
    for reply in join_all(calls).await {
        reply.unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(200), "the first one holds up the others");
    let expected: Vec<Vec<u8>> = (0..20).map(|number| format!("{number}").into_bytes()).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
    let too_long = client.call("book", "x").order([7; 256]).await;
    assert_eq!(too_long, Err(CallError::Order { len: 256, max: 255 }));
}

#[tokio::test]
async fn what_a_handler_fails_for_now_is_done_again_and_then_kept() {
    let (_broker, endpoint) = broker();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let _worker = worker(&endpoint, "flaky", move |request: Request| {
        let tries = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if tries == 0 || request.body.first() == b"never" {
                let soon = Duration::from_millis(10);
                return Err(Failure::new("busy", "not now").again().retry_after(soon));
            }
            Ok(request.body)
        }
    })
    .await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    assert_eq!(client.call("flaky", "x").await.unwrap().first(), b"x");
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    let failed = client.call("flaky", "never").await.unwrap_err();
    assert!(matches!(failed, CallError::Refused { ref code, .. } if code == "busy"), "{failed}");
    assert_eq!(
        tries.load(Ordering::SeqCst),
        5,
        "the client does not try again what the broker has"
    );
    // With NULL on loopback there are no administrators.
    let list = client.dead_admin(&DeadHeader::new(Verb::DeadList), None).await;
    let denied =
        |error: &CallError| matches!(error, CallError::Refused { code, .. } if code == "denied");
    assert!(list.is_err_and(|error| denied(&error)));
    let says = AdminHeader { service: Some(b"flaky"), ..AdminHeader::new(Verb::Explain) };
    assert!(client.explain(&says).await.is_err_and(|error| denied(&error)));
}

#[tokio::test]
async fn mdp_says_neither_orders_nor_delays() {
    let (_broker, endpoint) = broker();
    let client = client(&endpoint, Protocol::Mdp02).connect().await.unwrap();
    let what = "an order or a delay";
    let ordered = client.call("echo", "x").order("a").await;
    assert_eq!(ordered, Err(CallError::Unsupported { what }));
    let delayed = client.call("echo", "x").delay(Duration::from_secs(1)).await;
    assert_eq!(delayed, Err(CallError::Unsupported { what }));
}
