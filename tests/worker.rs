//! The worker library, against the embedded broker.

#[path = "common/caller.rs"]
mod caller;
#[path = "worker/stop.rs"]
mod stop;
#[path = "worker/storm.rs"]
mod storm;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use caller::Caller;
use majordomo::broker::Broker;
use majordomo::config::BrokerConfig;
use majordomo::transport::endpoint::Endpoint;
use majordomo::wire::Protocol;
use majordomo::worker::{Failure, PartError, Request, Worker, WorkerBuilder, json, msgpack};
use tokio::sync::{Barrier, Notify};

const PROTOCOLS: [Protocol; 2] = [Protocol::Mdp01, Protocol::Mdp02];

/// A broker on a port of its own, and where it listens.
fn broker(change: impl FnOnce(&mut BrokerConfig)) -> (Broker, Endpoint) {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    change(&mut config);
    let broker = Broker::bind(config).unwrap();
    let endpoint = broker.local_addrs()[0].clone();
    (broker, endpoint)
}

fn builder(endpoint: &Endpoint, protocol: Protocol) -> WorkerBuilder {
    let short = Duration::from_millis(20);
    let builder = Worker::builder(&endpoint.to_string(), "work").unwrap();
    builder.protocol(protocol).reconnect(short, 5 * short)
}

async fn echo(request: Request) -> Result<majordomo::wire::message::Message, Failure> {
    Ok(request.body)
}

#[tokio::test]
async fn a_worker_answers_in_every_protocol_whatever_the_frames() {
    for protocol in PROTOCOLS {
        let (_broker, endpoint) = broker(|_| {});
        let worker = builder(&endpoint, protocol).start(echo).unwrap();
        worker.registered().await;
        assert!(worker.is_registered());
        let mut caller = Caller::connect(&endpoint).await;
        for body in [vec![&b""[..]], vec![b"a", b"", b"b"], vec![&[7; 300_000], b"small"]] {
            let message = majordomo::wire::message::Message::new(body.clone());
            let reply = caller.call("work", message).await;
            assert!(reply.last);
            assert_eq!(reply.body, body);
        }
        let none = builder(&endpoint, protocol)
            .start(|_| async { Ok::<_, Failure>(majordomo::wire::message::Message::default()) });
        drop(worker);
        none.as_ref().unwrap().registered().await;
        let reply = caller.call("work", "x").await;
        assert_eq!(reply.body, [b""], "an answer without frames is one of an empty frame");
    }
}

#[tokio::test]
async fn as_many_requests_are_handled_at_a_time_as_the_credit_says() {
    const CREDIT: usize = 4;
    for protocol in PROTOCOLS {
        // More than the worker handles at a time: it has to hold back by itself.
        let (_broker, endpoint) = broker(|config| config.service.prefetch = 8);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let together = Arc::new(Barrier::new(CREDIT));
        let counts = (now.clone(), most.clone());
        let worker = builder(&endpoint, protocol).credit(4).start(move |request| {
            let ((now, most), together) = (counts.clone(), together.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Fewer than the credit would wait here for ever.
                together.wait().await;
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                echo(request).await
            }
        });
        let _worker = worker.unwrap();
        let mut caller = Caller::connect(&endpoint).await;
        for _ in 0..10 * CREDIT {
            caller.send("work", "x");
        }
        for _ in 0..10 * CREDIT {
            assert!(caller.reply().await.last);
        }
        assert_eq!((now.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (0, CREDIT));
    }
}

#[tokio::test]
async fn heartbeats_go_on_while_all_handlers_are_busy() {
    let beat = Duration::from_millis(40);
    for protocol in PROTOCOLS {
        // Silence for so long while it holds a request costs a worker the request.
        let (_broker, endpoint) = broker(|config| {
            config.mdp.heartbeat = beat;
            config.service.busy_timeout = Some(4 * beat);
        });
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let worker = builder(&endpoint, protocol).heartbeat(beat, 3).start(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(20 * beat).await;
                echo(request).await
            }
        });
        let _worker = worker.unwrap();
        let mut caller = Caller::connect(&endpoint).await;
        assert_eq!(caller.call("work", "long").await.text(), "long");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "it was delivered again");
    }
}

#[tokio::test]
async fn a_worker_registers_again_after_the_broker_was_restarted() {
    for protocol in PROTOCOLS {
        for graceful in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let socket = format!("ipc://{}/broker", dir.path().display());
            let endpoint: Endpoint = socket.parse().unwrap();
            let bind = || broker(|config| config.broker.bind = vec![endpoint.clone()]).0;
            // The worker is there before its broker.
            let worker = builder(&endpoint, protocol).start(echo).unwrap();
            for round in ["first", "second"] {
                let broker = bind();
                let mut caller = Caller::connect(&endpoint).await;
                assert_eq!(caller.call("work", round).await.text(), round);
                assert!(worker.is_registered());
                if graceful {
                    broker.shutdown(Duration::from_secs(5)).await;
                } else {
                    drop(broker);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_request_lost_with_the_connection_is_cancelled_and_answered_by_another_delivery() {
    for protocol in PROTOCOLS {
        let beat = Duration::from_millis(40);
        // A worker that holds a request may be silent for so long, and this one beats less.
        let (_broker, endpoint) = broker(|config| {
            config.mdp.heartbeat = beat;
            config.service.busy_timeout = Some(2 * beat);
        });
        let (calls, cancelled) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counted, told) = (calls.clone(), cancelled.clone());
        let worker = builder(&endpoint, protocol).credit(2).heartbeat(10 * beat, 100);
        let worker = worker.start(move |request: Request| {
            let (first, told) = (counted.fetch_add(1, Ordering::SeqCst) == 0, told.clone());
            async move {
                if first {
                    request.cancelled().cancelled().await;
                    told.notify_one();
                    let part = request.part("nobody wants it").await;
                    assert!(matches!(part, Err(PartError::Cancelled | PartError::Unsupported)));
                }
                echo(request).await
            }
        });
        let _worker = worker.unwrap();
        let mut caller = Caller::connect(&endpoint).await;
        caller.send("work", "x");
        caller.flush().await;
        tokio::join!(cancelled.notified(), async {
            assert_eq!(caller.reply().await.text(), "x");
        });
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn parts_come_before_the_answer_where_the_protocol_has_them() {
    let count = |request: Request| async move {
        for part in ["one", "two"] {
            request.part(part).await?;
        }
        Ok::<_, Failure>("three")
    };
    let (_broker, endpoint) = broker(|_| {});
    let worker = builder(&endpoint, Protocol::Mdp02).start(count).unwrap();
    let mut caller = Caller::connect(&endpoint).await;
    caller.send("work", "x");
    for (text, last) in [("one", false), ("two", false), ("three", true)] {
        let reply = caller.reply().await;
        assert_eq!((reply.text().as_str(), reply.last), (text, last));
    }
    drop(worker);
    let _worker = builder(&endpoint, Protocol::Mdp01).start(count).unwrap();
    let said = caller.call("work", "x").await.text();
    assert!(said.contains("MDP/0.1 has no partial answers"), "{said}");
}

#[tokio::test]
async fn a_handler_that_fails_or_panics_answers_and_the_worker_goes_on() {
    async fn fickle(request: Request) -> Result<&'static str, Failure> {
        match request.first() {
            b"panic" => panic!("as it was told"),
            b"fail" => {
                Err(Failure::new("no_ink", "refill").retry_after(Duration::from_millis(250)))
            }
            b"error" => Err("x".parse::<u8>().unwrap_err().into()),
            _ => Ok("done"),
        }
    }
    for protocol in PROTOCOLS {
        let (_broker, endpoint) = broker(|_| {});
        let _worker = builder(&endpoint, protocol).start(fickle).unwrap();
        let mut caller = Caller::connect(&endpoint).await;
        for (body, said) in [
            ("panic", r#"{"error":{"code":"failed","message":"the handler panicked"}}"#),
            ("fail", r#"{"error":{"code":"no_ink","message":"refill","retry":250}}"#),
            ("error", r#"{"error":{"code":"failed","message":"invalid digit found in string"}}"#),
            ("else", "done"),
        ] {
            assert_eq!(caller.call("work", body).await.text(), said);
        }
    }
}

#[tokio::test]
async fn typed_handlers_take_and_give_values() {
    let sum =
        |terms: Vec<i64>, _: Request| async move { Ok::<_, Failure>(terms.iter().sum::<i64>()) };
    let (_broker, endpoint) = broker(|_| {});
    let mut caller = Caller::connect(&endpoint).await;
    let worker = builder(&endpoint, Protocol::Mdp02).start(json(sum)).unwrap();
    assert_eq!(caller.call("work", "[1, 2, 3]").await.text(), "6");
    let said = caller.call("work", "[1,").await.text();
    assert!(said.contains("\"bad_request\"") && said.contains("cannot be read"), "{said}");
    drop(worker);
    let _worker = builder(&endpoint, Protocol::Mdp02).start(msgpack(sum)).unwrap();
    // 0x93 1 2 3: an array of three.
    assert_eq!(caller.call("work", vec![0x93, 1, 2, 3]).await.body, [[6]]);
    let said = caller.call("work", "\u{1}\u{1}").await.text();
    assert!(said.contains("\"bad_request\""), "{said}");
}

#[tokio::test]
async fn what_cannot_work_is_said_before_anything_is_started() {
    let start = |builder: WorkerBuilder| builder.start(echo).unwrap_err().to_string();
    let error = Worker::builder("127.0.0.1:5555", "work").unwrap_err().to_string();
    assert!(error.contains("tcp://127.0.0.1:5555"), "{error}");
    let endpoint = "tcp://127.0.0.1:5555";
    let error = start(Worker::builder(endpoint, "").unwrap());
    assert!(error.contains("the name is empty"), "{error}");
    let error = start(Worker::builder(endpoint, "work").unwrap().credit(0));
    assert!(error.contains("worker.credit: 0 is out of range; write 1 to 65535"), "{error}");
}
