//! `container`: what is said when there are no servers. With servers: `tests/nuropb`, and
//! `tests/interop/test_container.py`.
#![cfg(all(feature = "etcd", feature = "rabbitmq"))]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::process::{PATIENCE, Process};
use super::{home, majordomo, run};

const NOWHERE: &str = "amqp://joe:s3cret@127.0.0.1:1/mesh";

/// They are no good usage, and the error begins so.
fn refused(cases: &[(&[&str], &str)]) {
    let home = home();
    for (arguments, text) in cases {
        let (exit, _, err) =
            run(&mut majordomo(home.path(), &[&["container"], *arguments].concat()));
        assert_eq!(exit, 2, "{arguments:?}: {err}");
        assert!(err.starts_with(text), "{arguments:?}: {err}");
    }
}

#[test]
fn what_cannot_be_asked_is_refused_before_anybody_is_asked() {
    refused(&[
        (
            &["call", "sums", "add", "--queues", "rabbitmq"],
            "majordomo: say where RabbitMQ is; give --amqp",
        ),
        (
            &["call", "sums", "add", "--queues", "x"],
            "error: invalid value 'x' for '--queues <QUEUES>'",
        ),
        (&["call", "sums", "add", "--level", "x"], "error: invalid value 'x' for '--level <"),
        (&["call", "sums", "add", "--protocol", "mdp01"], "majordomo: service containers speak"),
        (&["call", "sums", "add", "[1]"], "error: invalid value '[1]' for '[JSON]'"),
        (&["call", "sums", "add", "{"], "error: invalid value '{' for '[JSON]'"),
        (&["event", "a", "x"], "error: invalid value 'x' for '[JSON]'"),
        (&["set", "sums", "wanted", "9"], "error: invalid value 'wanted' for '<NAME>': it is no"),
        (&["ls", "--leases", "etcd"], "majordomo: say where etcd is; give --etcd"),
        (&["pause", "sums", "--leases", "etcd"], "majordomo: say where etcd is; give --etcd"),
        (&["pause", "sums", "--leases", "none"], "majordomo: without a leader nobody says it"),
        (
            &["describe", "a", "--queues", "rabbitmq", "--amqp", "amqps://h/x"],
            "majordomo: the URL of RabbitMQ: only",
        ),
        (
            &["describe", "a", "--queues", "rabbitmq", "--amqp", "nonsense"],
            "majordomo: the URL of RabbitMQ: ",
        ),
        (
            &["ls", "--leases", "etcd", "--etcd", "localhost:2379"],
            "majordomo: `localhost:2379` is no endpoint",
        ),
    ]);
}

#[test]
fn what_cannot_be_run_is_refused_before_anybody_is_asked() {
    refused(&[
        (
            &["run", "sums", "--method", "m=cat", "--quorum"],
            "majordomo: our broker has no quorum queues",
        ),
        (
            &["run", "sums", "--on", "a..b=cat"],
            "majordomo: `a..b` is nothing that can be subscribed to",
        ),
        (&["run", "sums", "--amqp", NOWHERE], "majordomo: the service can do nothing"),
        (&["run", "sums", "--method", "add"], "error: invalid value 'add' for '--method"),
        (
            &["run", "sums", "--method", "m=cat", "--min", "3", "--max", "2"],
            "majordomo: --min 3 is more than --max 2",
        ),
        (
            &["run", "sums", "--method", "m=cat", "--on-signal", "bored=cat"],
            "error: invalid value 'bored=cat' for '--on-signal <SIGNAL=COMMAND>': there is no signal",
        ),
        (
            &["run", "sums", "--method", "m=cat", "--http", "127.0.0.1:0", "--max", "2"],
            "error: the argument '--http <ADDRESS>' cannot be used with '--max <COUNT>'",
        ),
        (
            &["run", "sums", "--method", "m=cat", "--http", "x"],
            "error: invalid value 'x' for '--http",
        ),
        (&["run", "sums", "--prefetch", "0"], "error: invalid value '0' for '--prefetch"),
        (
            &["run", "a/b", "--method", "m=cat", "--amqp", NOWHERE],
            "majordomo: `a/b` is no name: 1 to 96 octets",
        ),
        (
            &["run", "a", "--method", "m=cat", "--ttl", "1s", "--amqp", NOWHERE],
            "majordomo: ttl is 1000 ms, and has to be 2 s to 10 min",
        ),
    ]);
}

#[test]
fn servers_that_are_not_there_are_3_and_their_passwords_are_not_shown() {
    let home = home();
    for arguments in [
        &["call", "sums", "add", "--timeout", "300ms", "--queues", "rabbitmq"][..],
        &["event", "sums.done", "--timeout", "300ms", "--queues", "rabbitmq"],
        &["describe", "sums", "--timeout", "300ms", "--queues", "rabbitmq"],
        &["ls", "--leases", "etcd", "--etcd", "http://127.0.0.1:1"],
        &["ls", "--queues", "rabbitmq", "--amqp-api", "http://joe:s3cret@127.0.0.1:1/api"],
        &["pause", "sums", "--leases", "etcd", "--etcd", "http://127.0.0.1:1"],
        &["call", "sums", "add", "--timeout", "300ms", "--endpoint", "tcp://127.0.0.1:1"],
        &["event", "sums.done", "--timeout", "300ms", "--endpoint", "tcp://127.0.0.1:1"],
        &["ls", "--endpoint", "tcp://127.0.0.1:1"],
        &["pause", "sums", "--endpoint", "tcp://127.0.0.1:1"],
    ] {
        let words = [&["container"], arguments, &["--json"]].concat();
        let mut command = majordomo(home.path(), &words);
        let (exit, out, err) = run(command.env("MAJORDOMO_AMQP", NOWHERE));
        assert_eq!(exit, 3, "{arguments:?}: {err}");
        let said: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&said["v"], &said["error"]["code"]), (&json!(1), &json!("cannot_connect")));
        assert!(err.contains("refused"), "{err}");
        assert!(!format!("{out}{err}").contains("s3cret"), "{err}");
    }
}

/// A load that rises and falls: instances are started and stopped for it, one that dies is
/// replaced, and none is left when whoever has started them is killed.
#[test]
fn instances_are_started_and_stopped_as_they_are_wanted() {
    let home = home();
    let home = home.path();
    let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
    broker.line();
    let start = ["container", "run", "slow", "--method", "go=sleep 0.2", "--on-signal"];
    let often = ["--interval", "200ms", "--hold", "400ms", "--calm", "1s", "--cool-down", "500ms"];
    let few = ["--prefetch", "1", "--leader-prefetch", "1", "--hw-mark", "4", "--min", "1"];
    let rest = ["scale_up=cat >> signals", "--max", "3", "--json", "--endpoint", "ipc://socket"];
    let mut crew = Process::start(home, &[&start[..], &rest, &few, &often].concat());
    let mut heard = |event: &str| loop {
        let line: Value = serde_json::from_str(&crew.line()).unwrap();
        if line["event"] == event {
            return line;
        }
    };
    let first = heard("starting");
    instances(home, Some(1));
    let call = ["container", "call", "slow", "go", "--endpoint", "ipc://socket"];
    let calls: Vec<_> = (0..40).map(|_| Process::start(home, &call)).collect();
    heard("starting");
    let third = heard("starting");
    for call in calls {
        assert_eq!(call.wait().0.code(), Some(0));
    }
    // Fewer again, the youngest first, and the leader stays.
    assert_eq!(heard("stopping")["instance"], third["instance"]);
    assert_eq!(heard("ended")["instance"], third["instance"]);
    assert_ne!(heard("ended")["instance"], first["instance"]);
    instances(home, Some(1));
    let said = std::fs::read_to_string(home.join("signals")).unwrap();
    let said: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(said["signal"], json!({"signal": "scale_up", "wanted": 2}));
    assert!(said["figures"]["waiting"].as_u64() > Some(4), "{said}");
    // One that dies is replaced.
    let kill = format!("kill -KILL {}", first["pid"]);
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(heard("died")["instance"], first["instance"]);
    heard("starting");
    instances(home, Some(1));
    // An operator says something else, but not what is up to the leader.
    let set = ["container", "set", "slow", "hw_mark", "9", "--json", "--endpoint", "ipc://socket"];
    let (code, out, err) = run(&mut majordomo(home, &set));
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &out["value"]), (0, &json!("9")), "{err}");
    crew.signal("KILL");
    instances(home, None);
}

/// Waits until so many instances take messages; none: until nobody leads.
fn instances(home: &Path, count: Option<u64>) {
    let ls = ["container", "ls", "--json", "--endpoint", "ipc://socket"];
    let ends = Instant::now() + PATIENCE;
    loop {
        let (code, out, err) = run(&mut majordomo(home, &ls));
        assert_eq!(code, 0, "{err}");
        let seen: Value = serde_json::from_str(&out).unwrap();
        if seen["services"][0]["consumers"].as_u64() == count {
            return;
        }
        assert!(Instant::now() < ends, "{count:?}: {seen}");
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks until the answer has it.
fn shown(address: SocketAddr, path: &str, wanted: &str) {
    let ends = Instant::now() + PATIENCE;
    loop {
        let answer = get(address, path);
        if answer.contains(wanted) {
            return;
        }
        assert!(Instant::now() < ends, "no {wanted:?} in {answer}");
    }
}

#[test]
fn an_instance_shows_its_health_and_its_numbers() {
    let home = home();
    let home = home.path();
    let flags = ["--http", "127.0.0.1:0", "--endpoint", "ipc://socket"];
    let start = ["container", "run", "sums", "--method", "echo=cat", "--interval", "200ms"];
    let mut instance = Process::start(home, &[&start[..], &flags].concat());
    let address = instance.address("http://");
    shown(address, "/readyz", "503 Service Unavailable");
    shown(address, "/livez", "200 OK");
    shown(
        address,
        "/metrics",
        "container_state{service=\"sums\",state=\"startup-leader-election\"} 1",
    );
    let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
    broker.line();
    shown(address, "/readyz", "200 OK");
    let call = ["container", "call", "sums", "echo", "{\"a\": 1}", "--endpoint", "ipc://socket"];
    let (code, out, err) = run(&mut majordomo(home, &call));
    assert_eq!((code, out.as_str()), (0, "{\"a\":1}\n"), "{err}");
    for line in [
        "messages_total{service=\"sums\",kind=\"request\",outcome=\"done\"} 1\n",
        "leader{service=\"sums\"} 1",
        "instances{service=\"sums\"} 1",
        "connected{service=\"sums\",server=\"queues\"} 1",
    ] {
        shown(address, "/metrics", &format!("\nmajordomo_container_{line}"));
    }
    // A port in use is no good usage, and known before anything is done.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let (code, out, err) = run(&mut majordomo(home, &[&start[..], &["--http", &at]].concat()));
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.starts_with(&format!("majordomo: cannot serve HTTP at {at}: ")), "{err}");
    broker.signal("KILL");
    shown(address, "/readyz", "503 Service Unavailable");
    shown(
        address,
        "/metrics",
        "container_connections_lost_total{service=\"sums\",server=\"queues\"} 1\n",
    );
    instance.signal("TERM");
    assert_eq!(instance.wait().0.code(), Some(0));
}
