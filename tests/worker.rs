//! The worker library, against the embedded broker.

#[path = "common/caller.rs"]
mod caller;
#[path = "worker/stop.rs"]
mod stop;
#[path = "worker/storm.rs"]
mod storm;

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use caller::{Caller, Reply};
use majordomo::broker::{Broker, BrokerError};
use majordomo::config::BrokerConfig;
use majordomo::transport::endpoint::Endpoint;
use majordomo::wire::Protocol;
use majordomo::wire::message::Message;
use majordomo::wire::mjp::RequestHeader;
use majordomo::worker::{Failure, PartError, Request, Worker, WorkerBuilder, json, msgpack};
use tokio::sync::{Barrier, Notify};

const PROTOCOLS: [Protocol; 3] = [Protocol::Mdp01, Protocol::Mdp02, Protocol::Mjp];

/// A broker on a port of its own, and where it listens.
fn broker(change: impl FnOnce(&mut BrokerConfig)) -> (Broker, Endpoint) {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    change(&mut config);
    let broker = Broker::bind(config).unwrap();
    let endpoint = broker.local_addrs()[0].clone();
    (broker, endpoint)
}

/// A broker where another one was that may not be gone yet.
async fn broker_again(endpoint: &Endpoint) -> Broker {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec![endpoint.clone()];
    loop {
        match Broker::bind(config.clone()) {
            Err(BrokerError::Bind { source, .. }) if source.kind() == ErrorKind::AddrInUse => {
                tokio::task::yield_now().await;
            }
            bound => return bound.unwrap(),
        }
    }
}

fn builder(endpoint: &Endpoint, protocol: Protocol) -> WorkerBuilder {
    let short = Duration::from_millis(20);
    let builder = Worker::builder(&endpoint.to_string(), "work").unwrap();
    builder.protocol(protocol).reconnect(short, 5 * short)
}

type Echo = Result<Message, Failure>;
type EchoFuture = Pin<Box<dyn Future<Output = Echo> + Send>>;

async fn echo(request: Request) -> Echo {
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
            let message = Message::new(body.clone());
            assert_eq!(caller.call("work", message).await.body(), body);
        }
        let none =
            builder(&endpoint, protocol).start(|_| async { Ok::<_, Failure>(Message::default()) });
        drop(worker);
        none.as_ref().unwrap().registered().await;
        let reply = caller.call("work", "x").await;
        assert_eq!(reply.body(), [b""], "an answer without frames is one of an empty frame");
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
            assert_eq!(caller.reply().await.text(), "x");
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
            // The worker is there before its broker.
            let worker = builder(&endpoint, protocol).start(echo).unwrap();
            for round in ["first", "second"] {
                let broker = broker_again(&endpoint).await;
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

/// The first request is handled until nobody wants its answer any more, the others are echoed.
fn stubborn() -> (impl Fn(Request) -> EchoFuture + Send + Sync + 'static, Arc<Notify>, Arc<Notify>)
{
    let (begun, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (signals, calls) = ((begun.clone(), told.clone()), AtomicUsize::new(0));
    let handler = move |request: Request| {
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        let (begun, told) = signals.clone();
        let handle = async move {
            if first {
                begun.notify_one();
                request.cancelled().cancelled().await;
                let part = request.part("nobody wants it").await;
                assert!(matches!(part, Err(PartError::Cancelled | PartError::Unsupported)));
                told.notify_one();
            }
            echo(request).await
        };
        Box::pin(handle) as EchoFuture
    };
    (handler, begun, told)
}

#[tokio::test]
async fn requests_of_a_connection_that_is_lost_are_cancelled() {
    for protocol in PROTOCOLS {
        let dir = tempfile::tempdir().unwrap();
        let endpoint: Endpoint = format!("ipc://{}/broker", dir.path().display()).parse().unwrap();
        let first = broker_again(&endpoint).await;
        let (handler, begun, told) = stubborn();
        let _worker = builder(&endpoint, protocol).start(handler).unwrap();
        let mut caller = Caller::connect(&endpoint).await;
        caller.send("work", "x");
        caller.flush().await;
        begun.notified().await;
        drop(first);
        told.notified().await;
        let _second = broker_again(&endpoint).await;
        let mut caller = Caller::connect(&endpoint).await;
        assert_eq!(caller.call("work", "y").await.text(), "y");
    }
}

#[tokio::test]
async fn an_mdp_worker_that_is_dismissed_registers_anew_and_gets_its_request_again() {
    for protocol in [Protocol::Mdp01, Protocol::Mdp02] {
        let beat = Duration::from_millis(40);
        // A worker that holds a request may be silent for so long, and this one beats less.
        let (_broker, endpoint) = broker(|config| {
            config.mdp.heartbeat = beat;
            config.service.busy_timeout = Some(2 * beat);
        });
        let (handler, _, told) = stubborn();
        let worker = builder(&endpoint, protocol).credit(2).heartbeat(10 * beat, 100);
        let _worker = worker.start(handler).unwrap();
        let mut caller = Caller::connect(&endpoint).await;
        caller.send("work", "x");
        caller.flush().await;
        tokio::join!(told.notified(), async {
            assert_eq!(caller.reply().await.text(), "x");
        });
    }
}

#[tokio::test]
async fn a_caller_that_cancels_or_goes_or_runs_out_of_time_is_noticed_by_the_handler() {
    for why in ["cancel", "leave", "timeout"] {
        let (_broker, endpoint) = broker(|_| {});
        let (handler, begun, told) = stubborn();
        let _worker = builder(&endpoint, Protocol::Mjp).start(handler).unwrap();
        let mut caller = Caller::connect(&endpoint).await;
        let timeout = (why == "timeout").then_some(100);
        let says = RequestHeader { service: b"work", timeout, ..RequestHeader::default() };
        let id = caller.send_with(says, "x");
        caller.flush().await;
        begun.notified().await;
        match why {
            "cancel" => {
                caller.cancel(id);
                assert_eq!(caller.reply().await.failure().0, "cancelled");
            }
            "timeout" => assert_eq!(caller.reply().await.failure().0, "timeout"),
            _ => drop(caller),
        }
        told.notified().await;
        // The answer that is owed gives the credit back.
        let mut caller = Caller::connect(&endpoint).await;
        assert_eq!(caller.call("work", "y").await.text(), "y");
    }
}

#[tokio::test]
async fn a_handler_sees_what_mjp_says_of_a_request() {
    let (_broker, endpoint) = broker(|_| {});
    let worker = builder(&endpoint, Protocol::Mjp).start(|request: Request| async move {
        let left = request.time_left().is_some_and(|left| left <= Duration::from_secs(60));
        let identity = request.identity().map(|it| String::from_utf8_lossy(it).into_owned());
        let said = (request.attempt(), left, identity, request.trace(), request.trace_state());
        Ok::<_, Failure>(format!("{said:?}"))
    });
    let worker = worker.unwrap();
    let mut caller = Caller::connect_as(&endpoint, Protocol::Mjp, "one").await;
    let says = RequestHeader {
        service: b"work",
        timeout: Some(60_000),
        trace: Some("00-1"),
        state: Some("a=b"),
        ..RequestHeader::default()
    };
    caller.send_with(says, "x");
    let said = caller.reply().await.text();
    assert_eq!(said, r#"(1, true, Some("one"), Some("00-1"), Some("a=b"))"#);
    // A caller of MDP says less.
    let mut plain = Caller::connect_as(&endpoint, Protocol::Mdp02, "two").await;
    let said = plain.call("work", "x").await.text();
    assert_eq!(said, r#"(1, false, Some("two"), None, None)"#);
    worker.set_credit(3).await;
    assert!(plain.call("work", "x").await.text().starts_with("(1,"));
}

#[tokio::test]
async fn parts_come_before_the_answer_where_the_protocol_has_them() {
    let count = |request: Request| async move {
        for part in ["one", "two"] {
            request.part(part).await?;
        }
        Ok::<_, Failure>("three")
    };
    for protocol in PROTOCOLS {
        let (_broker, endpoint) = broker(|_| {});
        let _worker = builder(&endpoint, protocol).start(count).unwrap();
        let mut caller = Caller::connect(&endpoint).await;
        caller.send("work", "x");
        if protocol == Protocol::Mdp01 {
            let (code, text) = caller.reply().await.failure();
            assert_eq!(code, "failed");
            assert!(text.contains("MDP/0.1 has no partial answers"), "{text}");
            continue;
        }
        for part in ["one", "two"] {
            assert_eq!(caller.reply().await, Reply::Part(vec![part.into()]));
        }
        assert_eq!(caller.reply().await, Reply::Final(vec!["three".into()]));
    }
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
            ("panic", "failed the handler panicked None"),
            ("fail", "no_ink refill Some(250)"),
            ("error", "failed invalid digit found in string None"),
        ] {
            let reply = caller.call("work", body).await;
            // Only MJP has errors.
            assert_eq!(matches!(reply, Reply::Error { .. }), protocol == Protocol::Mjp);
            assert_eq!(reply.failure().1, said);
        }
        assert_eq!(caller.call("work", "else").await.text(), "done");
    }
}

#[tokio::test]
async fn an_answer_that_the_broker_would_not_take_is_a_failure_and_costs_no_connection() {
    for protocol in PROTOCOLS {
        let (_broker, endpoint) = broker(|config| {
            config.limits.frame = 100_000;
            config.limits.message = 100_000;
        });
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let mut builder = builder(&endpoint, protocol);
        if protocol != Protocol::Mjp {
            // MDP does not say what a broker takes.
            (builder.config().frame, builder.config().message) = (100_000, 100_000);
        }
        let worker = builder.start(move |request: Request| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let octets: usize = std::str::from_utf8(request.first())?.parse()?;
                Ok::<_, Failure>(vec![7; octets])
            }
        });
        let _worker = worker.unwrap();
        let mut caller = Caller::connect(&endpoint).await;
        assert_eq!(caller.call("work", "90000").await.body()[0].len(), 90_000);
        let (code, text) = caller.call("work", "100001").await.failure();
        assert!(code == "too_big" && text.contains("100001"), "{text}");
        assert_eq!(calls.load(Ordering::SeqCst), 2, "it was delivered again");
    }
}

#[tokio::test]
async fn typed_handlers_take_and_give_values() {
    let sum =
        |terms: Vec<i64>, _: Request| async move { Ok::<_, Failure>(terms.iter().sum::<i64>()) };
    let (_broker, endpoint) = broker(|_| {});
    let mut caller = Caller::connect(&endpoint).await;
    let worker = builder(&endpoint, Protocol::Mjp).start(json(sum)).unwrap();
    assert_eq!(caller.call("work", "[1, 2, 3]").await.text(), "6");
    let (code, text) = caller.call("work", "[1,").await.failure();
    assert!(code == "bad_request" && text.contains("cannot be read"), "{text}");
    drop(worker);
    let _worker = builder(&endpoint, Protocol::Mjp).start(msgpack(sum)).unwrap();
    // 0x93 1 2 3: an array of three.
    assert_eq!(caller.call("work", vec![0x93, 1, 2, 3]).await.body(), [[6]]);
    let (code, _) = caller.call("work", "\u{1}\u{1}").await.failure();
    assert_eq!(code, "bad_request");
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
