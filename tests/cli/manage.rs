//! `job`, `service`, `worker`, `client` and `events`: looking at a broker and changing how it runs.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::process::{PATIENCE, Process};
use super::{home, majordomo, run};

/// A broker with an administration listener and another one, whose endpoint is returned.
fn broker(home: &Path) -> (Process, String) {
    let binds = ["--bind", "ipc://socket", "--bind", "tcp://127.0.0.1:0"];
    let mut broker = Process::broker(home, &binds);
    assert_eq!(broker.line(), "ipc://socket");
    let open = broker.line();
    (broker, open)
}

fn said(home: &Path, line: &str, endpoint: &str) -> (i32, String, String) {
    let words: Vec<_> = line.split(' ').chain(["--endpoint", endpoint]).collect();
    run(&mut majordomo(home, &words))
}

/// What a command says by the administration listener.
fn json_of(home: &Path, line: &str) -> Value {
    let (code, out, err) = said(home, &format!("{line} --json"), "ipc://socket");
    assert_eq!((code, err.as_str()), (0, ""), "{line}: {out}");
    let object: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(object["v"], 1, "{line}: {out}");
    object
}

fn worker(home: &Path, name: &str, command: &[&str]) -> Process {
    let work = ["work", "nap", "--json", "--identity", name, "--endpoint", "ipc://socket", "--"];
    let mut worker = Process::start(home, &[&work[..], command].concat());
    worker.line();
    worker
}

/// Asks again until it is so.
fn until(home: &Path, line: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = json_of(home, line);
        if is_so(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "{line}: {seen}");
    }
}

#[test]
fn a_service_is_paused_drained_and_resumed() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let _worker = worker(home, "snail", &["cat"]);
    assert_eq!(json_of(home, "service ls")["services"][0]["state"], "open");
    let paused = json!({"v": 1, "done": "paused", "name": "nap"});
    assert_eq!(json_of(home, "service pause nap"), paused);
    let call = ["call", "nap", "hello", "--endpoint", "ipc://socket"];
    let mut call = Process::start(home, &call);
    let seen = until(home, "service info nap", |seen| seen["service"]["waiting"] == 1);
    assert_eq!(
        (&seen["service"]["state"], &seen["service"]["in_flight"]),
        (&json!("paused"), &json!(0))
    );
    assert_eq!(seen["workers"][0]["name"], "snail");
    let (code, out, _) = said(home, "service resume nap", "ipc://socket");
    assert_eq!((code, out.as_str()), (0, "resumed nap\n"));
    assert_eq!(call.line(), "hello");
    json_of(home, "service drain nap");
    let (code, _, err) = said(home, "call nap hello --attempts 1", "ipc://socket");
    assert_eq!(code, 9, "{err}");
    let (code, out, _) = said(home, "service ls", "ipc://socket");
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(code, 0);
    assert_eq!(rows[0][..4], ["SERVICE", "STATE", "WORKERS", "WAITING"]);
    assert_eq!(rows[1][..4], ["nap", "draining", "1", "0"]);
}

#[test]
fn a_job_is_listed_shown_watched_and_cancelled() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let _worker = worker(home, "snail", &["sleep", "60"]);
    let call = ["call", "nap", "x", "--to", "all", "--endpoint", "ipc://socket"];
    let _call = Process::start(home, &call);
    let seen = until(home, "job ls --state open", |seen| seen["jobs"][0].is_object());
    let job = &seen["jobs"][0];
    assert_eq!((&job["service"], &job["open"]), (&json!("nap"), &json!(1)));
    let uuid = job["uuid"].as_str().unwrap();
    let shown = json_of(home, &format!("job show {uuid}"));
    assert_eq!(shown["workers"], json!([{"name": "snail", "state": "dispatched"}]));
    let watch = ["job", "watch", uuid, "--interval", "20ms", "--endpoint", "ipc://socket"];
    let mut watch = Process::start(home, &watch);
    assert_eq!(watch.line(), format!("{uuid} at nap: dispatched, 0/1 workers done"));
    json_of(home, &format!("job cancel {uuid}"));
    assert_eq!(watch.line(), format!("{uuid} at nap: cancelled, 1/1 workers done"));
    assert_eq!(watch.wait().0.code(), Some(1));
    assert_eq!(json_of(home, "job ls --state open")["jobs"], json!([]));
}

#[test]
fn what_happens_is_followed_and_a_worker_is_kicked() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let follow = ["events", "--follow", "worker.", "--json", "--endpoint", "ipc://socket"];
    let mut events = Process::start(home, &follow);
    let next = |events: &mut Process| -> Value { serde_json::from_str(&events.line()).unwrap() };
    assert_eq!(next(&mut events)["event"], "following");
    let _worker = worker(home, "snail", &["cat"]);
    let registered = next(&mut events);
    assert_eq!(registered["event"], "worker.registered");
    assert_eq!((&registered["name"], &registered["service"]), (&json!("snail"), &json!("nap")));
    assert_eq!(json_of(home, "worker ls")["workers"][0]["name"], "snail");
    assert_eq!(json_of(home, "worker info snail")["worker"]["speaks"], "MJP/1");
    let clients = json_of(home, "client ls");
    assert!(clients["clients"].as_array().unwrap().iter().all(|row| row["admin"] == true));
    json_of(home, "worker kick snail");
    assert_eq!(next(&mut events)["event"], "worker.lost");
    // It comes again.
    assert_eq!(next(&mut events)["event"], "worker.registered");
}

#[test]
fn what_is_not_allowed_or_not_there_has_its_exit_code() {
    let home = home();
    let home = home.path();
    let (_broker, open) = broker(home);
    let _worker = worker(home, "snail", &["cat"]);
    for line in [
        "service pause nap",
        "service resume nap",
        "service drain nap",
        "worker kick snail",
        "job cancel x",
        "events --follow",
    ] {
        let (code, _, err) = said(home, line, &open);
        assert_eq!(code, 5, "{line}: {err}");
        assert!(err.contains("ipc://"), "{line}: {err}");
        let (_, out, _) = said(home, &format!("{line} --json"), &open);
        let error: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "denied", "{line}");
    }
    for line in [
        "service pause nobody",
        "service info nobody",
        "worker info nobody",
        "worker kick nobody",
        "job show x",
        "job watch x",
        "job cancel x",
    ] {
        let (code, _, err) = said(home, line, "ipc://socket");
        assert_eq!(code, 6, "{line}: {err}");
    }
    for line in ["service ls", "worker ls", "client ls", "job ls"] {
        let (code, _, err) = said(home, line, &open);
        assert_eq!(code, 0, "{line}: {err}");
        let (code, _, err) = said(home, &format!("{line} --protocol mdp01"), &open);
        assert_eq!(code, 2, "{line}: {err}");
        let (code, _, err) = said(home, line, "ipc://nothing");
        assert_eq!(code, 3, "{line}: {err}");
    }
    assert_eq!(said(home, "events", "ipc://socket").0, 2);
    assert_eq!(said(home, "job ls --state happy", "ipc://socket").0, 2);
}
