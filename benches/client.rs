#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]
//! The client library beside a bare loop that speaks MJP/1 itself: calls a second with a thousand
//! in flight on one connection, and the time of the CPU that a call takes on the caller's side. The
//! library should reach half of the loop's calls; where the machine does other things meanwhile,
//! only the time of the CPU says something.
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

/// Calls a second, and nanoseconds of the CPU that one took on this thread.
#[derive(Debug, Clone, Copy)]
struct Rate {
    calls: f64,
    nanos: f64,
}

/// A moment in which so many calls are done.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    cpu: u64,
    done: u64,
}

impl Mark {
    fn new(done: u64) -> Self {
        let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let cpu = schedstat.split(' ').next().unwrap().parse().unwrap();
        Self { at: Instant::now(), cpu, done }
    }

    fn rate_since(self, earlier: Self) -> Rate {
        let done = (self.done - earlier.done) as f64;
        let seconds = (self.at - earlier.at).as_secs_f64();
        Rate { calls: done / seconds, nanos: (self.cpu - earlier.cpu) as f64 / done }
    }
}

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
            // Whoever measured before has left requests behind.
            Ok(FromBroker::Heartbeat | FromBroker::Cancel { .. }) => {}
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

/// A bare loop.
async fn bare(endpoint: &Endpoint) -> Rate {
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
    let mut since: Option<Mark> = None;
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
        match since {
            None if begin.elapsed() > WARM => since = Some(Mark::new(done)),
            Some(mark) if mark.at.elapsed() > MEASURE => return Mark::new(done).rate_since(mark),
            _ => {}
        }
    }
}

/// As many callers of the library.
async fn library(endpoint: &Endpoint) -> Rate {
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
    let mark = Mark::new(done.load(Ordering::Relaxed));
    tokio::time::sleep(MEASURE).await;
    let rate = Mark::new(done.load(Ordering::Relaxed)).rate_since(mark);
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
        for (name, rate) in [("bare", bare), ("library", library)] {
            println!("round {round}: {name:8} {:9.0} calls/s, {:5.0} ns", rate.calls, rate.nanos);
        }
        ratios.push((library.calls / bare.calls, bare.nanos / library.nanos));
    }
    let median = |ratio: fn(&(f64, f64)) -> f64| {
        let mut all: Vec<_> = ratios.iter().map(ratio).collect();
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    };
    let (calls, cpu) = (median(|ratio| ratio.0), median(|ratio| ratio.1));
    println!(
        "median: {calls:.2} of the calls, {cpu:.2} by time of the CPU; at least 0.50 is wanted"
    );
}
