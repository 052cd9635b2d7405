//! A client that is used by another runtime than the one that it runs in.

use std::time::Duration;

use majordomo::client::{CallError, Client, Lapse};
use majordomo::lease::{Coordinator, LeaseError, Seen};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{SOON, broker};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn what_its_runtime_leaves_undone_when_it_ends_fails() {
    let brokers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (_broker, endpoint) = brokers.block_on(async { broker() });
    let (own, other) = (runtime(), runtime());
    let client = own.block_on(Client::connect(&endpoint)).unwrap();
    let mut heard = own.block_on(client.subscribe("a")).unwrap();
    let mut seen = client.observe("lease").unwrap();
    assert_eq!(own.block_on(seen.next()), Some(Ok(Seen::Free { last: None })));
    // From here on the client's task does not run any more.
    other.block_on(async {
        let call = || client.call("nobody", ["x"]).timeout(10 * SOON);
        let mut replies = call().stream();
        let mut updates = call().updates();
        let mut unseen = client.observe("other").unwrap();
        let lease = client.lease("third");
        let ends = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // By another thread: one that drives a runtime may not wait for the end of one.
            tokio::task::spawn_blocking(move || drop(own)).await.unwrap();
        };
        let closed = async {
            tokio::join!(
                async { assert_eq!(call().await, Err(CallError::Closed)) },
                async { assert_eq!(replies.next().await, Some(Err(CallError::Closed))) },
                async { assert_eq!(updates.next().await.unwrap().unwrap_err(), CallError::Closed) },
                async {
                    assert_eq!(heard.next().await, Some(Err(Lapse::Ended(CallError::Closed))));
                },
                async { assert_eq!(seen.next().await, Some(Err(LeaseError::Closed))) },
                async { assert_eq!(unseen.next().await, Some(Err(LeaseError::Closed))) },
                async { assert_eq!(lease.campaign().await.unwrap_err(), LeaseError::Closed) },
                ends,
            )
        };
        timeout(SOON, closed).await.expect("nobody waits for ever");
        assert!(client.is_closed());
        assert_eq!(call().await, Err(CallError::Closed));
    });
}
