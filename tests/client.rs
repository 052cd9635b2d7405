//! The client against an embedded broker, with real workers, over sockets.

#[path = "client/disk.rs"]
mod disk;
#[path = "client/events.rs"]
mod events;
#[path = "client/keys.rs"]
mod keys;
#[path = "client/old_broker.rs"]
mod old_broker;
#[path = "common/relay.rs"]
#[expect(dead_code, reason = "leases and groups need more of it")]
mod relay;
#[path = "client/retry.rs"]
mod retry;
#[path = "client/runtimes.rs"]
mod runtimes;
#[path = "client/scatter.rs"]
mod scatter;
#[path = "client/topics.rs"]
mod topics;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use majordomo::broker::Broker;
use majordomo::client::{Call, CallError, Client, ClientBuilder, Reply};
use majordomo::config::BrokerConfig;
use majordomo::transport::endpoint::Endpoint;
use majordomo::wire::Protocol;
use majordomo::wire::message::Message;
use majordomo::wire::mjp::{StatusHeader, What};
use majordomo::worker::{Failure, Request, Worker};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(10);

fn broker_at(endpoint: &str) -> Broker {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec![endpoint.parse().unwrap()];
    config.service.prefetch = 1000;
    Broker::bind(config).unwrap()
}

fn broker() -> (Broker, String) {
    let broker = broker_at("tcp://127.0.0.1:0");
    let endpoint = broker.local_addrs()[0].to_string();
    (broker, endpoint)
}

fn client(endpoint: &str, protocol: Protocol) -> ClientBuilder {
    Client::builder(endpoint).unwrap().protocol(protocol)
}

async fn echo(request: Request) -> Result<Message, Failure> {
    Ok(request.body)
}

/// A worker at work: of MJP/1, which clients of any protocol can call.
async fn worker<F, Fut>(endpoint: &str, service: &str, handler: F) -> Worker
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Message, Failure>> + Send + 'static,
{
    let builder = Worker::builder(endpoint, service).unwrap();
    let worker = builder.credit(1000).start(handler).unwrap();
    worker.registered().await;
    worker
}

const ALL: [Protocol; 3] = [Protocol::Mjp, Protocol::Mdp01, Protocol::Mdp02];

#[tokio::test]
async fn calls_are_answered_in_every_protocol() {
    let (_broker, endpoint) = broker();
    let _worker = worker(&endpoint, "echo", echo).await;
    for protocol in ALL {
        let client = client(&endpoint, protocol).connect().await.unwrap();
        let body = [vec![1; 3], vec![], vec![2; 100_000]];
        assert_eq!(client.call("echo", body.clone()).await.unwrap(), Message::new(body));
        let calls = (0..50).map(|number| client.call("echo", format!("{number}")).into_future());
        for (number, reply) in join_all(calls).await.into_iter().enumerate() {
            assert_eq!(reply.unwrap().first(), number.to_string().as_bytes());
        }
        client.close(SOON).await;
        assert_eq!(client.call("echo", "late").await, Err(CallError::Closed));
        assert!(client.is_closed());
    }
}

#[tokio::test]
async fn a_call_without_an_answer_ends_at_its_deadline() {
    let (_broker, endpoint) = broker();
    for protocol in ALL {
        let client = client(&endpoint, protocol).connect().await.unwrap();
        let started = Instant::now();
        let after = Duration::from_millis(150);
        let error = client.call("nobody", "x").timeout(after).await.unwrap_err();
        assert_eq!(error, CallError::Timeout { after, sent: true, because: None });
        assert!(error.to_string().contains("may have been executed"), "{error}");
        assert!((after..after + SOON / 2).contains(&started.elapsed()));
        // The connection, or the one that has replaced it, is of use.
        assert_eq!(client.call("mmi.service", "nobody").await.unwrap().first(), b"404");
    }
}

#[tokio::test]
async fn a_given_up_mdp_call_takes_its_connection_and_no_other_call_with_it() {
    let (_broker, endpoint) = broker();
    let (seen, mut came) = mpsc::channel(8);
    let go = Arc::new(Notify::new());
    let held = go.clone();
    let slow = move |request: Request| {
        let (seen, held) = (seen.clone(), held.clone());
        async move {
            seen.send(request.first().to_vec()).await.unwrap();
            held.notified().await;
            Ok(request.body)
        }
    };
    let _slow = worker(&endpoint, "slow", slow).await;
    let _echo = worker(&endpoint, "echo", echo).await;
    let client = client(&endpoint, Protocol::Mdp02).connections(2).connect().await.unwrap();
    let given_up = tokio::spawn(client.call("slow", "given up").into_future());
    assert_eq!(came.recv().await.unwrap(), b"given up");
    let neighbour = tokio::spawn(client.call("slow", "neighbour").into_future());
    assert_eq!(came.recv().await.unwrap(), b"neighbour");
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    // Both lanes are free again, and the answers are the right ones.
    go.notify_one();
    go.notify_one();
    assert_eq!(neighbour.await.unwrap().unwrap().first(), b"neighbour");
    for number in 0..10 {
        let reply = client.call("echo", format!("{number}")).await.unwrap();
        assert_eq!(reply.first(), number.to_string().as_bytes());
    }
}

#[tokio::test]
async fn parts_come_as_a_stream_and_joined_for_whoever_wants_one_answer() {
    for protocol in [Protocol::Mjp, Protocol::Mdp02] {
        parts(protocol).await;
    }
}

async fn parts(protocol: Protocol) {
    let (_broker, endpoint) = broker();
    let count = |request: Request| async move {
        for number in 0..3 {
            request.part(vec![number]).await?;
        }
        Ok(Message::from("end"))
    };
    let _worker = worker(&endpoint, "count", count).await;
    let client = client(&endpoint, protocol).connect().await.unwrap();
    let replies: Vec<_> = client.call("count", "3").stream().collect().await;
    let part = |number: u8| Ok(Reply::Partial(Message::from(vec![number])));
    let end = Ok(Reply::Final(Message::from("end")));
    assert_eq!(replies, [part(0), part(1), part(2), end]);
    let whole = client.call("count", "3").await.unwrap();
    assert_eq!(whole, Message::new([&[0][..], &[1], &[2], b"end"]));
    // A stream that is not read to its end does not stop the others.
    drop(client.call("count", "3").stream());
    assert_eq!(client.call("count", "3").await.unwrap(), whole);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_at_once_and_harms_nobody() {
    let (_broker, endpoint) = broker();
    let _worker = worker(&endpoint, "echo", echo).await;
    let mut builder = client(&endpoint, Protocol::Mdp02);
    (builder.config().frame, builder.config().message) = (1 << 20, 2 << 20);
    let client = builder.connect().await.unwrap();
    let error = client.call("echo", vec![0; (1 << 20) + 1]).await.unwrap_err();
    assert_eq!(error, CallError::TooBig { what: "frame", size: (1 << 20) + 1, max: 1 << 20 });
    let body = [vec![0; 1 << 20], vec![0; 1 << 20], vec![0; 1]];
    let error = client.call("echo", body).await.unwrap_err();
    assert!(matches!(error, CallError::TooBig { what: "message", .. }), "{error}");
    let error = client.call("", "x").await.unwrap_err();
    assert!(matches!(error, CallError::Service(_)), "{error}");
    assert_eq!(client.call("echo", vec![7; 1 << 20]).await.unwrap().first().len(), 1 << 20);
}

#[tokio::test]
async fn typed_calls_take_and_give_values() {
    let (_broker, endpoint) = broker();
    let sum = majordomo::worker::json(|terms: Vec<u64>, _| async move {
        Ok::<_, Failure>(terms.iter().sum::<u64>())
    });
    let builder = Worker::builder(&endpoint, "sum").unwrap().protocol(Protocol::Mdp02);
    let _worker = builder.start(sum).unwrap();
    let client = client(&endpoint, Protocol::Mdp01).connect().await.unwrap();
    let total: u64 = client.call_json("sum", &[1, 2, 3]).await.unwrap();
    assert_eq!(total, 6);
    let error = client.call_json::<_, String>("sum", &[1]).await.unwrap_err();
    assert!(matches!(error, CallError::Convert { .. }), "{error}");
    let _worker = worker(&endpoint, "echo", echo).await;
    let value: (u8, String) = client.call_msgpack("echo", &(7, "seven")).await.unwrap();
    assert_eq!(value, (7, "seven".into()));
}

#[tokio::test]
async fn a_client_connects_to_a_broker_that_is_there() {
    let (broker, endpoint) = broker();
    broker.shutdown(SOON).await;
    let error = client(&endpoint, Protocol::Mdp02).connect().await.unwrap_err();
    assert!(error.to_string().contains("cannot connect to"), "{error}");
    assert!(Client::builder("nonsense").is_err());
    assert!(client(&endpoint, Protocol::Mdp02).attempts(0).connect().await.is_err());
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_task() {
    let (_broker, endpoint) = broker();
    let client = client(&endpoint, Protocol::Mdp02).connect().await.unwrap();
    let other = client.clone();
    drop(client);
    assert_eq!(other.call("mmi.service", "echo").await.unwrap().first(), b"404");
    let metrics = tokio::runtime::Handle::current().metrics();
    let tasks = metrics.num_alive_tasks();
    assert!(tasks > 0);
    drop(other);
    tokio::time::timeout(SOON, async {
        while metrics.num_alive_tasks() >= tasks {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

/// The broker goes away under its callers and comes back at the same place.
async fn restart_under(protocol: Protocol, callers: usize, connections: usize) {
    let (broker, endpoint) = broker();
    let served = Arc::new(AtomicUsize::new(0));
    let counts = served.clone();
    let counted = move |request: Request| {
        counts.fetch_add(1, Ordering::Relaxed);
        async move { Ok(request.body) }
    };
    let _worker = worker(&endpoint, "echo", counted).await;
    let builder = client(&endpoint, protocol).connections(connections).timeout(SOON);
    let waits = (Duration::from_millis(5), Duration::from_millis(50));
    let client = builder.backoff(waits.0, waits.1).attempts(100).connect().await.unwrap();
    let stop = Arc::new(AtomicUsize::new(0));
    let loops: Vec<_> = (0..callers)
        .map(|caller| {
            let (client, stop) = (client.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut answered, mut failed) = (0, Vec::new());
                while stop.load(Ordering::Relaxed) == 0 {
                    let body = format!("{caller}.{answered}");
                    let started = Instant::now();
                    match client.call("echo", body.clone()).await {
                        Ok(reply) => {
                            assert_eq!(reply.first(), body.as_bytes());
                            answered += 1;
                        }
                        Err(error) => failed.push(error),
                    }
                    assert!(
                        started.elapsed() < SOON + Duration::from_secs(2),
                        "after its deadline"
                    );
                }
                (answered, failed)
            })
        })
        .collect();
    let calls = |count| {
        let served = served.clone();
        async move {
            let more = served.load(Ordering::Relaxed) + count;
            while served.load(Ordering::Relaxed) < more {
                tokio::task::yield_now().await;
            }
        }
    };
    let at: Endpoint = endpoint.parse().unwrap();
    tokio::time::timeout(SOON, calls(2 * callers)).await.expect("calls before");
    drop(broker);
    let mut broker = None;
    while broker.is_none() {
        let mut config = BrokerConfig::default();
        config.broker.bind = vec![at.clone()];
        config.service.prefetch = 1000;
        // The old one may not have let go of its port yet.
        broker = Broker::bind(config).ok();
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(SOON, calls(2 * callers)).await.expect("calls after");
    stop.store(1, Ordering::Relaxed);
    let mut total = 0;
    for task in loops {
        let (answered, failed) = task.await.unwrap();
        assert_eq!(failed, [], "every one may be sent again, and there was time");
        total += answered;
    }
    // What was lost with the broker had been served, but not answered.
    assert!(total >= 2 * callers, "{total} answered");
}

#[tokio::test]
async fn a_restart_of_the_broker_costs_the_callers_of_mdp_nothing_but_time() {
    restart_under(Protocol::Mdp02, 100, 8).await;
}

#[tokio::test]
async fn a_restart_of_the_broker_costs_a_thousand_callers_nothing_but_time() {
    restart_under(Protocol::Mjp, 1000, 1).await;
}

#[tokio::test]
async fn a_request_lost_on_its_way_is_an_error_for_whoever_allows_one_attempt() {
    let (broker, endpoint) = broker();
    let (seen, mut came) = mpsc::channel(8);
    let hold = Arc::new(Semaphore::new(0));
    let handler = move |request: Request| {
        let (seen, hold) = (seen.clone(), hold.clone());
        async move {
            seen.send(()).await.unwrap();
            hold.acquire().await.unwrap().forget();
            Ok(request.body)
        }
    };
    let _worker = worker(&endpoint, "hold", handler).await;
    // By MJP/1 the broker might still say that the worker was lost.
    let client = client(&endpoint, Protocol::Mdp02).connect().await.unwrap();
    let call = tokio::spawn(client.call("hold", "x").attempts(1).into_future());
    came.recv().await.unwrap();
    drop(broker);
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Disconnected { .. }), "{error}");
    // Nothing is sent while nobody is there, and the error says so.
    let after = Duration::from_millis(200);
    let error = client.call("echo", "x").timeout(after).await.unwrap_err();
    assert!(matches!(&error, CallError::Timeout { sent: false, .. }), "{error}");
    assert!(error.to_string().contains("the request was not sent: "), "{error}");
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_its_worker_and_its_neighbours_are_not() {
    let (_broker, endpoint) = broker();
    let (seen, mut came) = mpsc::channel(8);
    let go = Arc::new(Notify::new());
    let held = go.clone();
    let handler = move |request: Request| {
        let (seen, held) = (seen.clone(), held.clone());
        async move {
            let name = String::from_utf8_lossy(request.first()).into_owned();
            seen.send(format!("{name} began")).await.unwrap();
            tokio::select! {
                () = request.cancelled().cancelled() => {
                    seen.send(format!("{name} was cancelled")).await.unwrap();
                    Err(Failure::new("cancelled", "as its caller wished"))
                }
                () = held.notified() => Ok(request.body),
            }
        }
    };
    let _worker = worker(&endpoint, "slow", handler).await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let neighbour = tokio::spawn(client.call("slow", "neighbour").into_future());
    assert_eq!(came.recv().await.unwrap(), "neighbour began");
    let given_up = tokio::spawn(client.call("slow", "given up").into_future());
    assert_eq!(came.recv().await.unwrap(), "given up began");
    given_up.abort();
    assert_eq!(came.recv().await.unwrap(), "given up was cancelled");
    let mut stream = client.call("slow", "stream").stream();
    assert!(futures::poll!(std::pin::pin!(stream.next())).is_pending());
    assert_eq!(came.recv().await.unwrap(), "stream began");
    drop(stream);
    assert_eq!(came.recv().await.unwrap(), "stream was cancelled");
    go.notify_one();
    assert_eq!(neighbour.await.unwrap().unwrap().first(), b"neighbour");
}

#[tokio::test]
async fn a_call_that_was_cancelled_before_the_client_was_dropped_is_told_all_the_same() {
    let (_broker, endpoint) = broker();
    let (seen, mut came) = mpsc::channel(8);
    let handler = move |request: Request| {
        let seen = seen.clone();
        async move {
            seen.send("began").await.unwrap();
            request.cancelled().cancelled().await;
            seen.send("cancelled").await.unwrap();
            Ok(request.body)
        }
    };
    let _worker = worker(&endpoint, "slow", handler).await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let call = tokio::spawn(client.call("slow", "x").into_future());
    drop(client);
    assert_eq!(came.recv().await.unwrap(), "began");
    call.abort();
    assert_eq!(came.recv().await.unwrap(), "cancelled");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_as_often_as_allowed() {
    let (_broker, endpoint) = broker();
    let tries = Arc::new(AtomicUsize::new(0));
    let count = tries.clone();
    let handler = move |request: Request| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            if number.is_multiple_of(3) {
                return Ok(request.body);
            }
            Err(Failure::new("busy", "come back").retry_after(Duration::from_millis(1)))
        }
    };
    let _worker = worker(&endpoint, "busy", handler).await;
    let waits = (Duration::from_millis(1), Duration::from_millis(5));
    let client =
        client(&endpoint, Protocol::Mjp).backoff(waits.0, waits.1).connect().await.unwrap();
    assert_eq!(client.call("busy", "x").await.unwrap().first(), b"x");
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    let error = client.call("busy", "x").attempts(2).await.unwrap_err();
    let expected = CallError::Refused {
        code: "busy".into(),
        message: "come back".into(),
        retry: Some(Duration::from_millis(1)),
    };
    assert_eq!(error, expected);
    assert_eq!(tries.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_allowed_and_every_caller_has_its_turn() {
    for (ours, brokers) in [(7, 1024), (1000, 7)] {
        let mut config = BrokerConfig::default();
        config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
        config.client.requests_max = brokers;
        let broker = Broker::bind(config).unwrap();
        let endpoint = broker.local_addrs()[0].to_string();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (now.clone(), most.clone());
        let handler = move |request: Request| {
            let (now, most) = counts.clone();
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(request.body)
            }
        };
        let _worker = worker(&endpoint, "count", handler).await;
        // One attempt: nobody may be refused for being too many.
        let builder = client(&endpoint, Protocol::Mjp).in_flight_max(ours).attempts(1);
        let client = builder.connect().await.unwrap();
        let calls = (0..200).map(|number| client.call("count", format!("{number}")).into_future());
        for (number, reply) in join_all(calls).await.into_iter().enumerate() {
            assert_eq!(reply.unwrap().first(), number.to_string().as_bytes());
        }
        assert_eq!(most.load(Ordering::SeqCst), 7);
    }
}

#[tokio::test]
async fn more_callers_than_may_wait_are_told_at_once() {
    let (_broker, endpoint) = broker();
    let mut builder = client(&endpoint, Protocol::Mjp).in_flight_max(1);
    builder.config().waiting_max = 10;
    let client = builder.connect().await.unwrap();
    let after = Duration::from_millis(300);
    let calls = (0..15).map(|_| client.call("nobody", "x").timeout(after).into_future());
    let errors = join_all(calls).await.into_iter().map(Result::unwrap_err);
    let too_many = errors.filter(|error| *error == CallError::TooMany { max: 10 }).count();
    assert!((4..=5).contains(&too_many), "{too_many}");
}

#[tokio::test]
async fn a_stream_that_is_not_read_costs_its_own_call_and_nothing_else() {
    let (_broker, endpoint) = broker();
    let (seen, mut came) = mpsc::channel(8);
    let flood = move |request: Request| {
        let seen = seen.clone();
        async move {
            while request.part("part").await.is_ok() {
                tokio::task::yield_now().await;
            }
            seen.send(()).await?;
            Ok(request.body)
        }
    };
    let _flood = worker(&endpoint, "flood", flood).await;
    let _echo = worker(&endpoint, "echo", echo).await;
    let mut builder = client(&endpoint, Protocol::Mjp);
    builder.config().parts_max = 10;
    let client = builder.connect().await.unwrap();
    let stream = client.call("flood", "x").stream();
    came.recv().await.expect("it is cancelled");
    assert_eq!(client.call("echo", "x").await.unwrap().first(), b"x");
    let replies: Vec<_> = stream.collect().await;
    assert_eq!(replies.len(), 11);
    assert_eq!(replies[10], Err(CallError::Overrun { max: 10 }));
}

#[tokio::test]
async fn a_request_too_large_for_the_broker_is_not_sent_and_the_connection_stays() {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    config.limits.frame = 64 << 10;
    let broker = Broker::bind(config).unwrap();
    let endpoint = broker.local_addrs()[0].to_string();
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let waits = tokio::spawn(client.call("later", "x").attempts(1).into_future());
    let error = client.call("echo", vec![0; (64 << 10) + 1]).await.unwrap_err();
    assert_eq!(error, CallError::TooBig { what: "frame", size: (64 << 10) + 1, max: 64 << 10 });
    let _worker = worker(&endpoint, "later", echo).await;
    assert_eq!(waits.await.unwrap().unwrap().first(), b"x", "the connection was not lost");
}

#[tokio::test]
async fn a_peer_that_does_not_know_mjp_is_found_out() {
    use majordomo::proto::handshake::{Local, Role, Security};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let mut builder = client(&endpoint, Protocol::Mjp);
    builder.config().connect_timeout = Duration::from_millis(300);
    let connecting = tokio::spawn(builder.connect());
    let (stream, _) = listener.accept().await.unwrap();
    let (mut reader, writer) = majordomo::transport::stream::Stream::Tcp(stream).into_split();
    let limits = majordomo::wire::Limits::default();
    let local = Local { role: Role::Accept, security: Security::Null, limits };
    majordomo::transport::greet::greet(&mut reader, &writer, local, Default::default())
        .await
        .unwrap();
    let error = connecting.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("did not answer HELLO"), "{error}");
}

#[tokio::test]
async fn the_broker_tells_its_status_page_by_page() {
    let (_broker, endpoint) = broker();
    let mut workers = Vec::new();
    for name in ["a", "b", "c"] {
        workers.push(worker(&endpoint, name, echo).await);
    }
    let mjp = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    for name in ["a", "b", "c"] {
        mjp.call(name, "x").await.unwrap();
    }
    let mut ask =
        StatusHeader { what: What::Services, service: None, after: None, max: 1.try_into().ok() };
    let mut names = Vec::new();
    loop {
        let status = mjp.status(&ask).await.unwrap();
        let report = status.report();
        names.extend(report.services.unwrap().iter().map(|it| (it.service.to_vec(), it.replied)));
        ask.after = report.next;
        if report.next.is_none() {
            break;
        }
    }
    names.sort();
    assert_eq!(names, [(b"a".to_vec(), 1), (b"b".to_vec(), 1), (b"c".to_vec(), 1)]);
    let mdp = client(&endpoint, Protocol::Mdp02).connect().await.unwrap();
    let error = mdp.status(&ask).await.unwrap_err();
    assert_eq!(error, CallError::Unsupported { what: "STATUS" });
}

#[tokio::test]
async fn a_broker_that_stops_answers_what_it_has_and_the_rest_goes_to_the_next_one() {
    let (broker, endpoint) = broker();
    let (seen, mut came) = mpsc::channel(8);
    let go = Arc::new(Notify::new());
    let held = go.clone();
    let handler = move |request: Request| {
        let (seen, held) = (seen.clone(), held.clone());
        async move {
            seen.send(()).await.unwrap();
            held.notified().await;
            Ok(request.body)
        }
    };
    let _worker = worker(&endpoint, "slow", handler).await;
    let waits = (Duration::from_millis(5), Duration::from_millis(20));
    let client =
        client(&endpoint, Protocol::Mjp).backoff(waits.0, waits.1).connect().await.unwrap();
    let first = tokio::spawn(client.call("slow", "first").attempts(1).into_future());
    came.recv().await.unwrap();
    let stopping = tokio::spawn(broker.shutdown(SOON));
    // It is refused, or waits, until there is another broker.
    let second = tokio::spawn(client.call("slow", "second").attempts(100).into_future());
    go.notify_one();
    assert_eq!(first.await.unwrap().unwrap().first(), b"first");
    stopping.await.unwrap();
    let _broker = broker_at(&endpoint);
    go.notify_one();
    assert_eq!(second.await.unwrap().unwrap().first(), b"second");
}
