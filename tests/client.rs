//! The client against an embedded broker, with real workers, over sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use majordomo::broker::Broker;
use majordomo::client::{CallError, Client, ClientBuilder, Reply};
use majordomo::config::BrokerConfig;
use majordomo::transport::endpoint::Endpoint;
use majordomo::wire::Protocol;
use majordomo::wire::message::Message;
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

/// A worker of MDP/0.2 at work.
async fn worker<F, Fut>(endpoint: &str, service: &str, handler: F) -> Worker
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Message, Failure>> + Send + 'static,
{
    let builder = Worker::builder(endpoint, service).unwrap().protocol(Protocol::Mdp02);
    let worker = builder.credit(1000).start(handler).unwrap();
    worker.registered().await;
    worker
}

const MDP: [Protocol; 2] = [Protocol::Mdp01, Protocol::Mdp02];

#[tokio::test]
async fn calls_are_answered_in_every_protocol() {
    let (_broker, endpoint) = broker();
    let _worker = worker(&endpoint, "echo", echo).await;
    for protocol in MDP {
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
    for protocol in MDP {
        let client = client(&endpoint, protocol).connect().await.unwrap();
        let started = Instant::now();
        let after = Duration::from_millis(150);
        let error = client.call("nobody", "x").timeout(after).await.unwrap_err();
        assert_eq!(error, CallError::Timeout { after, sent: true, because: None });
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
    let (_broker, endpoint) = broker();
    let count = |request: Request| async move {
        for number in 0..3 {
            request.part(vec![number]).await?;
        }
        Ok(Message::from("end"))
    };
    let _worker = worker(&endpoint, "count", count).await;
    let client = client(&endpoint, Protocol::Mdp02).connect().await.unwrap();
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
    assert!(total >= 4 * callers, "{total} answered");
}

#[tokio::test]
async fn a_restart_of_the_broker_costs_the_callers_of_mdp_nothing_but_time() {
    restart_under(Protocol::Mdp02, 100, 8).await;
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
