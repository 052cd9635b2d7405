//! `/livez`, `/readyz` and `/metrics` of a broker that serves real peers.
#![expect(clippy::disallowed_methods, reason = "real sockets, real time")]

#[path = "http/openmetrics.rs"]
mod openmetrics;
#[path = "common/peer.rs"]
mod peer;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use majordomo::broker::{Broker, BrokerError};
use majordomo::config::BrokerConfig;
use majordomo::transport::endpoint::Endpoint;

use openmetrics::Scrape;
use peer::{Peer, connect};

const PATIENCE: Duration = Duration::from_secs(10);

fn config() -> BrokerConfig {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    config.broker.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    // No heartbeats among the octets that are counted.
    config.mdp.heartbeat = Duration::from_secs(60);
    config
}

fn broker() -> Broker {
    Broker::bind(config()).unwrap()
}

fn zmtp(broker: &Broker) -> SocketAddr {
    let Endpoint::Tcp(address) = broker.local_addrs()[0] else { panic!("no TCP endpoint") };
    address
}

fn open(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.http_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Status and body.
fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    (head["HTTP/1.1 ".len()..][..3].parse().unwrap(), body.into())
}

fn get(broker: &Broker, path: &str) -> (u16, String) {
    let mut stream = open(broker);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: broker\r\n\r\n").unwrap();
    answer(stream)
}

fn scrape(broker: &Broker) -> Scrape {
    let (status, text) = get(broker, "/metrics");
    assert_eq!(status, 200, "{text}");
    Scrape::read(&text)
}

/// Looks until `done`; what a peer wrote takes a moment to arrive.
fn eventually<T>(mut look: impl FnMut() -> T, done: impl Fn(&T) -> bool) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if done(&seen) {
            return seen;
        }
        assert!(Instant::now() < until, "not seen within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_scrape_tells_who_subscribes_and_what_was_published() {
    let broker = broker();
    let (mut one, mut other) = (Peer::dealer(zmtp(&broker)), Peer::dealer(zmtp(&broker)));
    let second = |kind: u8, id: u64| [&[kind][..], &id.to_be_bytes()].concat();
    let subject = b"\x81\xa7subject\xa1a";
    one.send(&[b"MJP1", &second(0x13, 1), b"\x82\xa7subject\xa1*\xa3ack\xc3"]);
    one.receive();
    for id in 1..=3 {
        other.send(&[b"MJP1", &second(0x15, id), subject, b"hi"]);
        assert_eq!(other.receive()[1], second(0x2A, id));
    }
    other.send(&[b"MJP1", &second(0x15, 4), b"\x81\xa7subject\xa2$a", b"hi"]);
    other.receive();
    let scrape = scrape(&broker);
    for (name, labels, value) in [
        ("subscriptions", &[][..], 1.0),
        ("publications_total", &[("outcome", "published")], 3.0),
        ("publications_total", &[("outcome", "refused")], 1.0),
        ("publication_messages_total", &[("outcome", "delivered")], 3.0),
        ("publication_messages_total", &[("outcome", "dropped")], 0.0),
    ] {
        assert_eq!(scrape.sum(&format!("majordomo_{name}"), labels), value, "{name} {labels:?}");
    }
}

#[test]
fn a_scrape_tells_what_happened() {
    let broker = broker();
    let mut worker = Peer::worker(zmtp(&broker), b"echo");
    let mut client = Peer::dealer(zmtp(&broker));
    for _ in 0..5 {
        client.request(b"echo");
        worker.serve();
        assert_eq!(client.receive()[3], b"answer");
    }
    client.request(b"nobody");
    client.send(&[b"nonsense"]);
    client.request(b"echo");
    let held = worker.receive();
    let mut stranger = connect(zmtp(&broker));
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(stranger.read_to_end(&mut Vec::new()).unwrap(), 64, "our greeting, and the end");
    let mut broken = Peer::dealer(zmtp(&broker));
    broken.write(b"\x80\x00");

    let left = |scrape: &Scrape| {
        scrape.sum("majordomo_frames_invalid_total", &[("reason", "reserved_flags")]) == 1.0
            && scrape.sum("majordomo_connections", &[]) == 2.0
    };
    let scrape = eventually(|| scrape(&broker), left);
    let echo = ("service", "echo");
    for (name, labels, value) in [
        ("requests_accepted_total", &[echo][..], 6.0),
        ("requests_total", &[echo, ("outcome", "replied")], 5.0),
        ("requests_in_flight", &[echo], 1.0),
        ("queue_wait_seconds_count", &[echo], 6.0),
        ("service_time_seconds_count", &[echo], 5.0),
        ("service_time_seconds_bucket", &[echo, ("le", "+Inf")], 5.0),
        ("workers", &[echo, ("state", "busy")], 1.0),
        ("workers", &[echo, ("state", "ready")], 0.0),
        ("queue_messages", &[echo], 0.0),
        ("queue_messages", &[("service", "nobody")], 1.0),
        ("services", &[], 2.0),
        ("connections", &[("role", "client")], 1.0),
        ("connections", &[("role", "worker")], 1.0),
        ("connections_accepted_total", &[], 4.0),
        ("handshakes_total", &[("outcome", "done")], 3.0),
        ("handshakes_total", &[("outcome", "refused")], 1.0),
        ("messages_invalid_total", &[("reason", "no_header")], 1.0),
        ("loop_stalls_total", &[], 0.0),
    ] {
        assert_eq!(scrape.sum(&format!("majordomo_{name}"), labels), value, "{name} {labels:?}");
    }
    let positive = ["majordomo_queue_bytes", "majordomo_queue_oldest_age_seconds"];
    for name in positive.into_iter().chain(["process_resident_memory_bytes", "process_open_fds"]) {
        assert!(scrape.sum(name, &[]) > 0.0, "{name}");
    }
    let octets = |frames: &[&[u8]]| frames.iter().map(|frame| 2 + frame.len()).sum::<usize>();
    let address = &[0; 8];
    let received = octets(&[b"MDPW02", b"\x01", b"echo"])
        + 6 * octets(&[b"MDPC02", b"\x01", b"echo", b"body"])
        + 5 * octets(&[b"MDPW02", b"\x04", address, b"", b"answer"])
        + octets(&[b"MDPC02", b"\x01", b"nobody", b"body"])
        + octets(&[b"nonsense"])
        + b"\x80\x00".len();
    // A worker is asked at once whether it answers PINGs.
    let sent = b"\x04\x07\x04PING\0\0".len()
        + 6 * octets(&[b"MDPW02", b"\x02", address, b"", b"body"])
        + 5 * octets(&[b"MDPC02", b"\x03", b"echo", b"answer"]);
    assert_eq!(scrape.sum("majordomo_bytes_received_total", &[]), received as f64);
    assert_eq!(scrape.sum("majordomo_bytes_sent_total", &[]), sent as f64, "both still live");
    drop(held);
}

#[test]
fn octets_are_counted_whoever_writes_them() {
    let broker = broker();
    let mut worker = Peer::worker(zmtp(&broker), b"big");
    let mut client = Peer::dealer(zmtp(&broker));
    let body = vec![7; 200 << 10];
    let call = [2 + 6, 2 + 1, 2 + 8, 2, 2 + 4, 2 + 6, 2 + 1, 2 + 3, 9 + body.len()];
    let call = call.iter().sum::<usize>() as f64;
    let sent = || scrape(&broker).sum("majordomo_bytes_sent_total", &[]);
    let mut before = None;
    for _ in 0..3 {
        client.request(b"big");
        let request = worker.receive();
        worker.send(&[b"MDPW02", b"\x04", &request[2], b"", &body]);
        assert_eq!(client.receive()[3], body);
        // They are counted once they are written, which the peer may see first.
        let enough = |sent: &f64| before.map_or(*sent >= call, |before| *sent >= before + call);
        let now = eventually(sent, enough);
        assert!(before.is_none_or(|before| now == before + call), "{before:?} {now}");
        before = Some(now);
    }
}

#[test]
fn a_large_body_leaves_its_buffer_to_the_next_one() {
    let mut config = config();
    config.limits.spares = 3 << 20;
    let broker = Broker::bind(config).unwrap();
    let mut worker = Peer::worker(zmtp(&broker), b"big");
    let mut client = Peer::dealer(zmtp(&broker));
    let octets = |part| scrape(&broker).sum("majordomo_memory_accounted_bytes", &[("part", part)]);
    let mut keeps = |size: usize, kept: usize| {
        for fill in 1..4 {
            let body = vec![fill; size];
            client.request(b"big");
            let request = worker.receive();
            worker.send(&[b"MDPW02", b"\x04", &request[2], b"", &body]);
            assert!(client.receive()[3] == body, "{size} {fill}: nothing of another body");
            eventually(|| octets("spare"), |spare| *spare == kept as f64);
        }
    };
    keeps(2 << 20, 2 << 20);
    keeps(1 << 20, 3 << 20);
    keeps(3 << 19, 5 << 19);
    keeps(4 << 20, 5 << 19);
    keeps(200 << 10, 5 << 19);
}

#[test]
fn at_most_500_services_have_labels_and_the_rest_are_one() {
    let mut config = config();
    config.client.services_max = 300;
    let broker = Broker::bind(config).unwrap();
    let mut client = Peer::dealer(zmtp(&broker));
    for number in 0..300u16 {
        client.request(&[b"made-up\xff\"\n".as_slice(), &number.to_be_bytes()].concat());
    }
    let waiting = |scrape: &Scrape| scrape.sum("majordomo_queue_messages", &[]) == 300.0;
    let first = eventually(|| scrape(&broker), waiting);
    let other = [("service", "_other")];
    assert_eq!(first.values("service").len(), 251, "names that nobody serves leave room");
    assert_eq!(first.sum("majordomo_queue_messages", &other), 50.0);

    let names = (0..300).map(|number| format!("service-{number}"));
    let mut workers: Vec<_> =
        names.map(|name| Peer::worker(zmtp(&broker), name.as_bytes())).collect();
    let all = |scrape: &Scrape| scrape.sum("majordomo_workers", &[]) == 300.0;
    let second = eventually(|| scrape(&broker), all);
    assert_eq!(second.values("service").len(), 501);
    assert_eq!(second.sum("majordomo_workers", &other), 50.0);
    assert_eq!(second.sum("majordomo_services", &[]), 600.0);
    assert!(first.values("service").is_subset(&second.values("service")), "labels stay");

    for number in 0..300 {
        client.request(format!("service-{number}").as_bytes());
    }
    workers.iter_mut().for_each(Peer::serve);
    (0..300).for_each(|_| drop(client.receive()));
    let began = Instant::now();
    let third = scrape(&broker);
    eprintln!("{} octets in {:?} with 600 services", third.octets, began.elapsed());
    assert_eq!(third.sum("majordomo_requests_total", &[]), 300.0);
    assert_eq!(third.values("service"), second.values("service"));
    assert!(third.octets < 2 << 20, "{}", third.octets);
}

#[test]
fn what_a_service_counted_is_counted_once_when_it_is_forgotten() {
    let broker = broker();
    let replied = |scrape: &Scrape, service| {
        let labels = [("service", service), ("outcome", "replied")];
        scrape.sum("majordomo_requests_total", &labels)
    };
    let mut client = Peer::dealer(zmtp(&broker));
    for (calls, seen) in [(3, true), (2, false)] {
        let mut worker = Peer::worker(zmtp(&broker), b"_passing");
        for _ in 0..calls {
            client.request(b"_passing");
            worker.serve();
            client.receive();
        }
        if seen {
            assert_eq!(replied(&scrape(&broker), r"\x5fpassing"), 3.0);
        }
        drop(worker);
        // No scrape may look before it is forgotten.
        eventually(|| get(&broker, "/readyz?service=_passing").0, |status| *status == 503);
        let scrape = scrape(&broker);
        assert_eq!(scrape.sum("majordomo_services", &[]), 0.0);
        let other = if seen { 0.0 } else { 2.0 };
        assert_eq!(replied(&scrape, "_other"), other, "only what no scrape has shown");
    }
}

#[test]
fn readiness_of_the_broker_and_of_a_service() {
    let broker = broker();
    assert_eq!(get(&broker, "/livez"), (200, "live\n".into()));
    assert_eq!(get(&broker, "/readyz"), (200, "ready\n".into()));
    assert!(broker.ready());
    let path = "/readyz?service=a%00b%2f";
    assert_eq!(get(&broker, path), (503, "no worker offers `a\\x00b/`\n".into()));
    let worker = Peer::worker(zmtp(&broker), b"a\0b/");
    eventually(|| get(&broker, path), |answer| *answer == (200, "ready\n".into()));
    drop(worker);
    eventually(|| get(&broker, path).0, |status| *status == 503);
    for (path, status) in [("/readyz?servce=a", 400), ("/readyz?service=%f", 400), ("/", 404)] {
        assert_eq!(get(&broker, path).0, status, "{path}");
    }
}

#[tokio::test]
async fn a_broker_that_drains_lives_and_is_not_ready() {
    let broker = broker();
    let http = broker.http_addr().unwrap();
    let mut worker = Peer::worker(zmtp(&broker), b"slow");
    let mut client = Peer::dealer(zmtp(&broker));
    client.request(b"slow");
    let request = worker.receive();
    let ask = move |path: &str| {
        let mut stream = TcpStream::connect(http).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        answer(stream)
    };
    let shutdown = tokio::spawn(broker.shutdown(PATIENCE));
    tokio::task::spawn_blocking(move || {
        let (_, why) = eventually(|| ask("/readyz"), |(status, _)| *status == 503);
        assert_eq!(why, "draining: the broker is being stopped\n");
        assert_eq!(ask("/livez").0, 200);
        assert_eq!(ask("/metrics").0, 200);
        worker.send(&[b"MDPW02", b"\x04", &request[2], b"", b"done"]);
        assert_eq!(client.receive()[3], b"done");
    })
    .await
    .unwrap();
    assert_eq!(shutdown.await.unwrap().abandoned, 0);
    assert!(TcpStream::connect(http).is_err(), "the port is free again");
}

#[test]
fn clients_that_are_slow_or_talk_nonsense_cost_nothing() {
    let broker = broker();
    let mut worker = Peer::worker(zmtp(&broker), b"echo");
    let mut client = Peer::dealer(zmtp(&broker));
    // More than there may be at a time: those behind them wait for their end, two seconds.
    let opened = Instant::now();
    let mut silent: Vec<_> = (0..40).map(|_| open(&broker)).collect();
    silent.iter_mut().step_by(2).for_each(|stream| stream.write_all(b"GET /met").unwrap());
    for _ in 0..100 {
        client.request(b"echo");
        worker.serve();
        assert_eq!(client.receive()[3], b"answer");
    }
    assert_eq!(get(&broker, "/livez").0, 200);
    for stream in &mut silent {
        let mut octets = Vec::new();
        let _ = stream.read_to_end(&mut octets);
        assert!(octets.is_empty() || octets.starts_with(b"HTTP/1.1 408"), "{octets:?}");
    }
    assert!(opened.elapsed() < Duration::from_secs(8), "{:?}", opened.elapsed());
    let mut garbage = open(&broker);
    garbage.write_all(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL\r\n\r\n").unwrap();
    assert_eq!(answer(garbage).0, 400);
    let mut long = open(&broker);
    let _ = long.write_all(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(1 << 20)).as_bytes());
    let _ = long.read_to_end(&mut Vec::new());
    let mut post = open(&broker);
    post.write_all(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(answer(post).0, 405);
    assert_eq!(scrape(&broker).sum("majordomo_requests_total", &[]), 100.0);
}

#[test]
fn a_port_in_use_is_said_before_anything_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    config.broker.http = Some(taken.local_addr().unwrap());
    let error = Broker::bind(config).unwrap_err();
    let start = format!("cannot bind http://{}: ", taken.local_addr().unwrap());
    assert!(matches!(error, BrokerError::Bind { .. }), "{error}");
    assert!(error.to_string().starts_with(&start), "{error}");
}
