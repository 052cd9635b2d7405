//! All workers at once.

use super::*;

/// Each takes a file here and one in the broker, which is in this process too.
const WORKERS: usize = 5000;

/// Each of the workers gets a request, and no answer is given until all have theirs.
async fn all_are_served(endpoint: &Endpoint) {
    let mut callers = Vec::new();
    for _ in 0..WORKERS / 1000 {
        let mut caller = Caller::connect(endpoint).await;
        for _ in 0..1000 {
            caller.send("work", "x");
        }
        caller.flush().await;
        callers.push(caller);
    }
    for caller in &mut callers {
        for _ in 0..1000 {
            assert_eq!(caller.reply().await.text(), "x");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_workers_come_back_to_a_broker_that_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint: Endpoint = format!("ipc://{}/broker", dir.path().display()).parse().unwrap();
    let first = broker_again(&endpoint).await;
    let together = Arc::new(Barrier::new(WORKERS));
    let start = |_| {
        let together = together.clone();
        let worker = Worker::builder(&endpoint.to_string(), "work").unwrap();
        let worker = worker.protocol(PROTOCOLS[PROTOCOLS.len() - 1]).start(move |request| {
            let together = together.clone();
            async move {
                together.wait().await;
                echo(request).await
            }
        });
        worker.unwrap()
    };
    let workers: Vec<_> = (0..WORKERS).map(start).collect();
    all_are_served(&endpoint).await;
    drop(first);
    let _second = broker_again(&endpoint).await;
    all_are_served(&endpoint).await;
    for worker in &workers {
        assert!(worker.is_registered());
    }
}
