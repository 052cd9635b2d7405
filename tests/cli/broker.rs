//! `majordomo broker`: what it prints, what it logs, how it ends.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use majordomo::broker::Broker;
use majordomo::config::BrokerConfig;
use majordomo::transport::endpoint::Endpoint;
use serde_json::Value;

use super::peer::{Peer, connect};
use super::process::{PATIENCE, Process};
use super::{home, majordomo, run};

const ANY: [&str; 2] = ["--bind", "tcp://127.0.0.1:0"];

#[test]
fn it_prints_where_it_listens_and_serves_there() {
    let home = home();
    let began = Instant::now();
    let more = ["--bind", "ipc://socket", "--http", "127.0.0.1:0", "--bind", "tcp://[::1]:0"];
    let mut broker = Process::broker(home.path(), &[&ANY[..], &more].concat());
    let first = broker.address("tcp://");
    assert_eq!(broker.line(), "ipc://socket");
    let second = broker.address("tcp://");
    let http = broker.address("http://");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(second.is_ipv6() && [first, second, http].iter().all(|at| at.port() != 0));
    let mut worker = Peer::worker(first, b"echo");
    let mut client = Peer::dealer(second);
    client.request(b"echo");
    worker.serve();
    assert_eq!(client.receive()[3], b"answer");
    let mut ready = TcpStream::connect(http).unwrap();
    ready.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    ready.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
    assert!(home.path().join("socket").exists());
    broker.signal("TERM");
    assert_eq!(broker.wait().0.code(), Some(0));
    assert!(!home.path().join("socket").exists(), "the file of the socket goes with it");
}

#[test]
fn nobody_is_answered_before_the_endpoints_are_announced() {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    let mut early = None;
    let broker = Broker::bind_then(config, |endpoints, http| {
        assert_eq!(http, None);
        let Endpoint::Tcp(address) = endpoints[0] else { panic!("{endpoints:?}") };
        let mut stream = connect(address);
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        early = Some(stream);
        Ok(())
    });
    let (mut stream, _broker) = (early.unwrap(), broker.unwrap());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut [0; 64]).expect("who came early is served");
}

#[test]
fn sigterm_lets_work_finish_and_a_second_signal_does_not() {
    let home = home();
    for (second, code) in [(false, 0), (true, 1)] {
        let mut broker = Process::broker(home.path(), &ANY);
        let address = broker.address("tcp://");
        let mut worker = Peer::worker(address, b"slow");
        let mut client = Peer::dealer(address);
        client.request(b"slow");
        let request = worker.receive();
        broker.signal(if second { "INT" } else { "TERM" });
        // It accepts nobody from the moment it drains.
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_ok() {
            assert!(Instant::now() < until, "still accepting");
        }
        if second {
            let signalled = Instant::now();
            broker.signal("TERM");
            let (status, _) = broker.wait();
            assert_eq!(status.code(), Some(code));
            assert!(signalled.elapsed() < Duration::from_secs(2), "{:?}", signalled.elapsed());
        } else {
            worker.send(&[b"MDPW02", b"\x04", &request[2], b"", b"done"]);
            assert_eq!(client.receive()[3], b"done");
            assert_eq!(worker.receive(), [b"MDPW02".to_vec(), b"\x06".to_vec()], "DISCONNECT");
            let (status, log) = broker.wait();
            assert_eq!(status.code(), Some(code), "{log}");
        }
    }
}

#[test]
fn what_cannot_be_bound_is_said_with_what_to_do() {
    let home = home();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let tcp = format!("tcp://{taken}");
    for (flags, what) in [
        (&["--bind", &tcp][..], tcp.clone()),
        (&["--bind", "ipc://no/such/directory"], "ipc://no/such/directory".into()),
        (&["--bind", "tcp://127.0.0.1:0", "--http", &taken.to_string()], format!("http://{taken}")),
    ] {
        let (code, out, err) = run(&mut majordomo(home.path(), &[&["broker"], flags].concat()));
        assert_eq!((code, out.as_str()), (1, ""), "{flags:?}");
        assert!(err.contains(&format!("cannot bind {what}: ")), "{err}");
        assert!(err.contains("; choose another endpoint or end what uses it"), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    let (code, _, err) = run(&mut majordomo(home.path(), &["broker", "--log-file", "no/log"]));
    assert_eq!(code, 1);
    assert!(err.contains("cannot open the log file no/log: "), "{err}");
}

#[test]
fn it_listens_beyond_this_machine_only_if_told_to() {
    let home = home();
    let bind = ["--bind", "tcp://*:0"];
    let (code, _, err) = run(&mut majordomo(home.path(), &[&["broker"], &bind[..]].concat()));
    assert_eq!(code, 78);
    assert!(err.contains("nobody is authenticated") && err.contains("--insecure"), "{err}");
    let mut broker = Process::broker(home.path(), &[&bind[..], &["--insecure"]].concat());
    assert!(broker.line().starts_with("tcp://*:"));
}

/// The records of a broker that a stranger has tried to talk to.
fn log_of(home: &Path, flags: &[&str]) -> String {
    let mut broker = Process::broker(home, &[&ANY[..], flags].concat());
    let mut stranger = connect(broker.address("tcp://"));
    stranger.write_all(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01CURVE").unwrap();
    stranger.write_all(&[0; 47]).unwrap();
    let _ = stranger.read_to_end(&mut Vec::new());
    broker.signal("TERM");
    let (status, log) = broker.wait();
    assert_eq!(status.code(), Some(0));
    log
}

#[test]
fn the_log_is_one_json_object_a_line_away_from_a_terminal() {
    let home = home();
    let log = log_of(home.path(), &[]);
    let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields = ["timestamp", "level", "target", "message"];
    assert!(records.iter().all(|record| fields.iter().all(|name| record[name].is_string())));
    let refused = records.iter().find(|record| record["message"] == "handshake refused").unwrap();
    assert_eq!(refused["level"], "WARN");
    assert!(refused["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("mechanism is not NULL"), "{refused}");
    assert_eq!(log_of(home.path(), &["--log-level", "error"]), "");
}

#[test]
fn the_log_goes_where_the_flags_say() {
    let home = home();
    let text = log_of(home.path(), &["--log-format", "text", "-v"]);
    assert!(
        text.lines().next().unwrap().contains(" DEBUG majordomo::broker: configuration read"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colour away from a terminal");
    let file = ["--log-file", "log", "--log-format", "json"];
    for runs in 1..=2 {
        assert_eq!(log_of(home.path(), &file), "", "nothing on standard error");
        let log = fs::read_to_string(home.path().join("log")).unwrap();
        let listening = log.lines().filter(|line| line.contains("\"listening\"")).count();
        assert_eq!(listening, runs, "it is appended to: {log}");
    }
}

#[test]
fn what_peers_say_is_escaped_and_bodies_are_never_logged() {
    let home = home();
    for format in ["text", "json"] {
        let flags = ["-vv", "--log-format", format];
        let mut broker = Process::broker(home.path(), &[&ANY[..], &flags].concat());
        let address = broker.address("tcp://");
        let mut worker = Peer::worker(address, b"echo");
        let mut client = Peer::named(address, b"joe\nWARN forged\x1b[31m");
        client.send(&[b"MDPC02", b"\x01", b"echo", b"canary"]);
        let request = worker.receive();
        assert_eq!(request[4], b"canary");
        worker.send(&[b"MDPW02", b"\x04", &request[2], b"", b"canary"]);
        client.receive();
        // ERROR, with a reason in the peer's own words.
        client.write(b"\x04\x0b\x05ERROR\x04\x1b\n\x07!");
        drop((worker, client));
        broker.signal("TERM");
        let (_, log) = broker.wait();
        assert!(!log.contains("canary"), "{log}");
        assert!(!log.contains(['\u{1b}', '\u{7}']), "{log}");
        assert_eq!(log.lines().filter(|line| line.contains("WARN forged")).count(), 1, "{log}");
        assert!(!log.lines().any(|line| line.starts_with("WARN forged")), "{log}");
    }
}

#[test]
fn strangers_do_not_fill_the_log() {
    const STRANGERS: usize = 200;
    let home = home();
    let began = Instant::now();
    let mut broker = Process::broker(home.path(), &ANY);
    let address = broker.address("tcp://");
    for _ in 0..STRANGERS {
        let mut stranger = connect(address);
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let _ = stranger.read_to_end(&mut Vec::new());
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    broker.signal("TERM");
    let (_, log) = broker.wait();
    let lines = log.lines().filter(|line| line.contains("handshake refused")).count();
    assert!((10..=10 * (seconds + 1)).contains(&lines), "{lines} lines in {seconds} s");
    assert!(lines < STRANGERS / 2, "{lines}");
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let home = home();
    // Some kilooctets a connection, and a pipe takes 64 KiB: its other end is read at last only.
    let flags = ["--log-level", "trace", "--log-format", "json"];
    let mut broker = Process::broker(home.path(), &[&ANY[..], &flags].concat());
    let address = broker.address("tcp://");
    for _ in 0..500 {
        Peer::dealer(address);
    }
    let mut worker = Peer::worker(address, b"echo");
    let mut client = Peer::dealer(address);
    client.request(b"echo");
    worker.serve();
    assert_eq!(client.receive()[3], b"answer");
}
