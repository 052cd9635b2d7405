//! `call --events` and `--answer`, `work --events`: what happens in the middle of a call.

use std::time::Duration;

use serde_json::Value;

use super::process::{PATIENCE, Process};
use super::{home, majordomo, run};

#[test]
fn what_happens_is_said_on_standard_error_or_in_its_place_among_objects() {
    let home = home();
    let mut broker = Process::broker(home.path(), &["--bind", "ipc://socket"]);
    broker.line();
    let here = ["context", "add", "here", "--endpoint", "ipc://socket", "--select"];
    assert_eq!(run(&mut majordomo(home.path(), &here)).0, 0);
    let script = "echo begun >&2; echo 'half\tdone' >&2; printf done";
    let command = ["work", "copy", "--json", "--events", "--", "sh", "-c", script];
    let mut worker = Process::start(home.path(), &command);
    worker.line();
    let (code, out, err) = run(&mut majordomo(home.path(), &["call", "copy", "--events"]));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "done\n", "begun\nhalf\\tdone\n"));
    let (code, out, err) = run(&mut majordomo(home.path(), &["call", "copy"]));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "done\n", ""));
    let asked = ["call", "copy", "--events", "--json"];
    let (code, out, err) = run(&mut majordomo(home.path(), &asked));
    assert_eq!((code, err.as_str()), (0, ""));
    let said: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let words: Vec<_> = said.iter().map(|it| (&it["event"], &it["message"])).collect();
    let (event, last) = (Value::from("event"), Value::from("final"));
    let (begun, half) = (Value::from("begun"), Value::from("half\tdone"));
    assert_eq!(words, [(&event, &begun), (&event, &half), (&last, &Value::Null)]);
    assert_eq!(said[2]["frames"], serde_json::json!(["done"]));
}

#[test]
fn majordomo_has_no_events() {
    let home = home();
    let usage = ["call", "copy", "--events", "--protocol", "mdp02", "--endpoint", "ipc://none"];
    let (code, _, err) = run(&mut majordomo(home.path(), &usage));
    assert_eq!(code, 2, "{err}");
}

#[test]
fn questions_are_answered_from_the_command_line_and_then_declined() {
    let home = home();
    let mut broker = Process::broker(home.path(), &["--bind", "tcp://127.0.0.1:0"]);
    let endpoint = broker.line();
    let endpoint = endpoint.split_whitespace().find(|word| word.starts_with("tcp://")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let handler = |request: majordomo::worker::Request| async move {
        let first = request.ask("name?").await?;
        let second = request.ask("sure?").await;
        let second = second.map_or_else(|error| error.to_string(), |_| "sure".into());
        Ok::<_, majordomo::worker::Failure>(majordomo::wire::message::Message::new([
            first.first().to_vec(),
            second.into_bytes(),
        ]))
    };
    let worker = majordomo::worker::Worker::builder(endpoint, "asks").unwrap();
    let worker = worker.start(handler).unwrap();
    runtime.block_on(worker.registered());
    let call = |answers: &[&str]| {
        let asks = ["call", "asks", "--endpoint", endpoint];
        run(&mut majordomo(home.path(), &[&asks[..], answers].concat()))
    };
    let (code, out, err) = call(&["--answer", "me", "--answer", "yes", "--events"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "me\nsure\n", "name?\nsure?\n"));
    let (code, out, _) = call(&["--answer=me"]);
    assert_eq!((code, out.lines().next()), (0, Some("me")));
    assert!(out.contains("declined"), "{out}");
    assert_eq!(call(&[]).0, 1, "nobody is there to be asked");
}

/// The broker stands still meanwhile.
#[test]
fn a_command_that_ends_before_its_lines_can_be_sent_loses_none_and_says_none_twice() {
    let home = home();
    let (records, ended) = (home.path().join("records"), home.path().join("ended"));
    let line = format!("{}\n", "x".repeat(63));
    // A pipe takes 4 KiB whole or not at all.
    std::fs::write(home.path().join("lines"), line.repeat(64 << 13)).unwrap();
    let mut broker = Process::broker(home.path(), &["--bind", "ipc://socket"]);
    broker.line();
    let here = ["context", "add", "here", "--endpoint", "ipc://socket", "--select"];
    assert_eq!(run(&mut majordomo(home.path(), &here)).0, 0);
    // It tells how many blocks have gone out, and is killed when no more go.
    let script = "timeout -s USR1 -k 0.5 2 dd if=lines bs=4096 2>records; touch ended";
    let command = ["work", "copy", "--json", "--stream", "--", "sh", "-c", script];
    let mut worker = Process::start(home.path(), &command);
    worker.line();
    let wait_for = |path: &std::path::Path| {
        let until = std::time::Instant::now() + PATIENCE;
        while !path.exists() {
            assert!(std::time::Instant::now() < until, "no {}", path.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let endpoint = format!("ipc://{}/socket", home.path().display());
    let mut client = majordomo::client::Client::builder(&endpoint).unwrap();
    client.config().parts_max = 1_000_000;
    let client = runtime.block_on(client.connect()).unwrap();
    let told = runtime.spawn(async move {
        let (mut replies, mut count) = (client.call("copy", ["x"]).stream(), 0);
        while let Some(reply) = replies.next().await {
            assert_eq!(reply.unwrap().into_message().first().len(), 63);
            count += 1;
        }
        count
    });
    wait_for(&records);
    broker.signal("STOP");
    wait_for(&ended);
    std::thread::sleep(Duration::from_secs(1));
    broker.signal("CONT");
    let told: usize = runtime.block_on(told).unwrap();
    let records = std::fs::read_to_string(records).unwrap();
    let out = records.lines().find_map(|line| line.strip_suffix("+0 records out"));
    let out: usize = out.unwrap_or_else(|| panic!("{records:?}")).parse().unwrap();
    assert!(out < 1 << 13, "it did not wait");
    assert_eq!(told, 64 * out);
}
