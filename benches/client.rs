//! The client library beside a bare loop that speaks MJP/1 itself: calls a second with a thousand
//! in flight on one connection. The library should reach half of the loop.
//!
//! `cargo bench --bench client`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use majordomo::broker::Broker;
use majordomo::client::Client;
use majordomo::config::BrokerConfig;
use majordomo::transport::endpoint::Endpoint;
use majordomo::transport::session::{Session, SessionConfig};
use majordomo::wire::message::Message;
use majordomo::wire::mjp::{
    Answer, FromBroker, Packed, ReadyHeader, Request, RequestHeader, ToBroker,
};

const IN_FLIGHT: u64 = 1000;
const WARM: Duration = Duration::from_millis(500);
const MEASURE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const BODY: [u8; 64] = [7; 64];

fn run<T>(main: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(main)
}

/// Echoes, with nothing around it.
async fn work(endpoint: Endpoint) {
    let mut session = Session::connect(&endpoint, &SessionConfig::default()).await.unwrap();
    let credit = u16::try_from(IN_FLIGHT).ok().and_then(std::num::NonZeroU16::new);
    let ready = ReadyHeader { service: b"echo", credit, ..ReadyHeader::default() };
    session.send(|out| ToBroker::Ready(ready).encode(out));
    let mut work: Vec<(u64, Message)> = Vec::new();
    loop {
        let turn = session.turn(|frames| match FromBroker::decode(frames) {
            Ok(FromBroker::Request(request)) => work.push((request.id, request.body.to_message())),
            Ok(FromBroker::Heartbeat) => {}
            other => panic!("{other:?}"),
        });
        if turn.await.is_err() {
            return;
        }
        for (id, body) in work.drain(..) {
            let answer = Answer { id, header: b"", body: body.frames() };
            session.send(|out| ToBroker::Final(answer).encode(out));
        }
        session.send(|out| ToBroker::Heartbeat.encode(out));
    }
}

/// Calls a second of a bare loop.
async fn bare(endpoint: &Endpoint) -> f64 {
    let mut session = Session::connect(endpoint, &SessionConfig::default()).await.unwrap();
    let body = Message::new([BODY.to_vec()]);
    let says = RequestHeader {
        service: b"echo",
        timeout: Some(30_000),
        parts: Some(false),
        ..RequestHeader::default()
    };
    let header = Packed::new(&says);
    let (mut id, mut free, mut done) = (0, IN_FLIGHT, 0_u64);
    let begin = Instant::now();
    let mut since = None;
    loop {
        for _ in 0..free {
            id += 1;
            let request = Request { id, header: header.octets(), says, body: body.frames() };
            session.send(|out| request.encode(out));
        }
        free = 0;
        session
            .turn(|frames| match FromBroker::decode(frames) {
                Ok(FromBroker::Final(mut answer)) => {
                    assert_eq!(answer.body.take_first(), Some(&BODY[..]));
                    free += 1;
                }
                other => panic!("{other:?}"),
            })
            .await
            .unwrap();
        done += free;
        let now = Instant::now();
        match since {
            None if now - begin > WARM => since = Some((now, done)),
            Some((at, before)) if now - at > MEASURE => {
                return (done - before) as f64 / (now - at).as_secs_f64();
            }
            _ => {}
        }
    }
}

/// Calls a second of as many callers of the library.
async fn library(endpoint: &Endpoint) -> f64 {
    let mut builder = Client::builder(&endpoint.to_string()).unwrap();
    builder.config().in_flight_max = usize::try_from(IN_FLIGHT).unwrap();
    let client = builder.connect().await.unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (client, done) = (client.clone(), done.clone());
            tokio::spawn(async move {
                loop {
                    let reply = client.call("echo", BODY.to_vec()).await.unwrap();
                    assert_eq!(reply.first(), BODY);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(WARM).await;
    let (at, before) = (Instant::now(), done.load(Ordering::Relaxed));
    tokio::time::sleep(MEASURE).await;
    let rate = (done.load(Ordering::Relaxed) - before) as f64 / at.elapsed().as_secs_f64();
    for caller in callers {
        caller.abort();
    }
    client.close(Duration::from_secs(1)).await;
    rate
}

fn main() {
    // `cargo test --benches` only wants to know that it can be built.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    let broker = Broker::bind(config).unwrap();
    let endpoint = broker.local_addrs()[0].clone();
    let at = endpoint.clone();
    std::thread::spawn(move || run(work(at)));
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let (bare, library) = (run(bare(&endpoint)), run(library(&endpoint)));
        println!("round {round}: bare {bare:.0}/s, library {library:.0}/s, {:.2}", library / bare);
        ratios.push(library / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.2}; it should be 0.50 or more", ratios[ROUNDS / 2]);
}
