//! How a worker ends.

use std::collections::BTreeSet;

use futures::FutureExt;

use super::*;

#[tokio::test]
async fn a_graceful_stop_under_load_loses_nothing_and_does_nothing_twice() {
    const REQUESTS: usize = 900;
    for protocol in PROTOCOLS {
        let (_broker, endpoint) = broker(|config| config.service.prefetch = 8);
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = begun.clone();
        let start = || {
            let begun = counted.clone();
            let worker = builder(&endpoint, protocol).credit(8).start(move |request: Request| {
                begun.fetch_add(1, Ordering::SeqCst);
                async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    echo(request).await
                }
            });
            worker.unwrap()
        };
        let mut workers = vec![start(), start()];
        let mut caller = Caller::connect(&endpoint).await;
        for number in 0..REQUESTS {
            caller.send("work", number.to_string());
        }
        let mut answers = BTreeSet::new();
        let mut stops = tokio::task::JoinSet::new();
        while answers.len() < REQUESTS {
            let reply = caller.reply().await;
            assert!(answers.insert(reply.text()), "{} was answered twice", reply.text());
            // One goes and one comes, again and again, while all are busy.
            if answers.len() % 100 == 0 {
                let old = workers.remove(0);
                workers.push(start());
                stops.spawn(old.stop(Duration::from_secs(30)));
            }
        }
        while let Some(report) = stops.join_next().await {
            let report = report.unwrap();
            assert!(protocol != Protocol::Mjp || report.given_back == 0, "{report:?}");
        }
        assert_eq!(begun.load(Ordering::SeqCst), REQUESTS, "something was begun twice");
    }
}

#[tokio::test]
async fn when_the_time_for_a_stop_is_up_the_request_goes_to_another_worker() {
    for protocol in PROTOCOLS {
        let (_broker, endpoint) = broker(|_| {});
        let (started, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        struct Tell(Arc<Notify>);
        impl Drop for Tell {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let signals = (started.clone(), dropped.clone());
        let stuck = builder(&endpoint, protocol).start(move |_| {
            let (started, tell) = (signals.0.clone(), Tell(signals.1.clone()));
            async move {
                let _tell = tell;
                started.notify_one();
                std::future::pending::<Result<&str, Failure>>().await
            }
        });
        let mut caller = Caller::connect(&endpoint).await;
        caller.send("work", "x");
        caller.flush().await;
        started.notified().await;
        let report = stuck.unwrap().stop(Duration::from_millis(50)).await;
        assert_eq!((report.answered, report.given_back), (0, 1));
        dropped.notified().await;
        let _worker = builder(&endpoint, protocol).start(echo).unwrap();
        assert_eq!(caller.reply().await.text(), "x");
    }
}

#[tokio::test]
async fn a_worker_that_holds_a_request_answers_it_before_it_goes() {
    for protocol in PROTOCOLS {
        let (_broker, endpoint) = broker(|_| {});
        let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let signals = (started.clone(), go.clone());
        let worker = builder(&endpoint, protocol).start(move |request| {
            let (started, go) = signals.clone();
            async move {
                started.notify_one();
                go.notified().await;
                echo(request).await
            }
        });
        // Large: the answer has to be written before the connection ends.
        let body = vec![7; 4 << 20];
        let mut caller = Caller::connect(&endpoint).await;
        caller.send("work", body.clone());
        caller.flush().await;
        started.notified().await;
        let mut stop = Box::pin(worker.unwrap().stop(Duration::from_secs(60)));
        assert!((&mut stop).now_or_never().is_none(), "it holds a request");
        go.notify_one();
        let report = stop.await;
        assert_eq!((report.answered, report.given_back), (1, 0));
        assert_eq!(caller.reply().await.body(), [body]);
    }
}

#[tokio::test]
async fn a_worker_without_a_broker_stops_at_once() {
    let nowhere: Endpoint = "tcp://127.0.0.1:9".parse().unwrap();
    let worker = builder(&nowhere, Protocol::Mdp02).start(echo).unwrap();
    assert!(!worker.is_registered());
    let report = worker.stop(Duration::MAX).await;
    assert_eq!((report.answered, report.given_back), (0, 0));
}
