//! What people and programs see: the demo, status, ping, bench, colours.

use std::path::Path;

use serde_json::Value;

use super::process::Process;
use super::{home, majordomo, run};

/// The objects that a command prints, one a line.
fn objects(home: &Path, line: &str) -> Vec<Value> {
    let arguments: Vec<_> = line.split(' ').collect();
    let (code, out, err) = run(&mut majordomo(home, &arguments));
    assert_eq!(code, 0, "{line}: {err}");
    let objects: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.iter().all(|object| object["v"] == 1), "{out}");
    objects
}

#[test]
fn the_demo_kills_a_worker_and_loses_no_call() {
    let home = home();
    let events = objects(home.path(), "demo --json");
    let of = |event: &str| events.iter().filter(|it| it["event"] == event).collect::<Vec<_>>();
    let (killed, replies) = (of("killed"), of("reply"));
    assert_eq!((killed.len(), replies.len(), of("call").len()), (1, 6, 6), "{events:?}");
    let fatal: Vec<_> = of("begin").into_iter().filter(|it| it["picture"] == "fox.jpg").collect();
    let [first, second] = fatal[..] else { panic!("{fatal:?}") };
    assert_eq!((&first["attempt"], &second["attempt"]), (&1.into(), &2.into()));
    assert_eq!(first["worker"], killed[0]["worker"], "the one that had it");
    assert_ne!(second["worker"], killed[0]["worker"], "and the other one");
    let saved = replies.iter().find(|it| it["picture"] == "fox.jpg").unwrap();
    let by = format!("by {}", second["worker"].as_str().unwrap());
    assert!(saved["reply"].as_str().unwrap().ends_with(&by), "{saved}");
    let summary = events.last().unwrap();
    assert_eq!((&summary["replied"], &summary["taken_over_by"]), (&6.into(), &second["worker"]));
}

#[test]
fn the_demo_explains_itself_and_says_what_to_try_next() {
    let home = home();
    let demo = |flags: &[&str], environment: &[(&str, &str)]| {
        let mut command = majordomo(home.path(), &[&["demo"], flags].concat());
        let (code, out, err) = run(command.envs(environment.iter().copied()));
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        out
    };
    let plain = demo(&[], &[]);
    for part in [
        "two workers, anna and ben, that offer the service `thumbnail`",
        "KILLED in the middle of fox.jpg: its connection is cut",
        "takes over fox.jpg (attempt 2)",
        "6 calls, 6 replies.",
        "Try next, each in a terminal of its own:\n  ",
        &format!("\n  {} work shout -- tr a-z A-Z    a command becomes", super::BINARY),
    ] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    assert!(!plain.contains('\u{1b}'), "no colour away from a terminal");
    let colour = demo(&["--color", "always"], &[("NO_COLOR", "1")]);
    assert!(colour.contains("\u{1b}[1m\u{1b}[31mKILLED "), "the flag counts: {colour}");
}

#[test]
fn help_has_colours_only_where_they_are_wanted() {
    let home = home();
    let help = |flags: &[&str]| run(&mut majordomo(home.path(), flags)).1;
    assert!(!help(&["--help"]).contains('\u{1b}'));
    assert!(help(&["--color", "always", "--help"]).contains('\u{1b}'));
    assert!(help(&["call", "--color=always", "--help"]).contains('\u{1b}'));
    let (code, _, err) = run(&mut majordomo(home.path(), &["--color=always", "brokr"]));
    assert_eq!(code, 2);
    assert!(err.contains('\u{1b}'), "{err}");
}

/// A broker, a worker that is busy, and a request that waits.
fn scene(home: &Path) -> [Process; 4] {
    let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
    broker.line();
    let endpoint = ["--endpoint", "ipc://socket"];
    let work = ["work", "nap", "--json", "--identity", "snail"];
    let nap = ["--", "sleep", "1000"];
    let mut worker = Process::start(home, &[&work[..], &endpoint, &nap].concat());
    worker.line();
    let call = || Process::start(home, &[&["call", "nap"], &endpoint[..]].concat());
    [broker, worker, call(), call()]
}

#[test]
fn status_shows_queues_and_workers() {
    let home = home();
    let home = home.path();
    let _scene = scene(home);
    let status = "status nap --endpoint ipc://socket --json";
    let seen = loop {
        // Until both requests are there.
        let seen = run(&mut majordomo(home, &status.split(' ').collect::<Vec<_>>()));
        if seen.0 == 0 && seen.1.contains("\"accepted\":2") {
            break serde_json::from_str::<Value>(&seen.1).unwrap();
        }
    };
    let service = &seen["services"][0];
    for (key, value) in [("workers", 1), ("waiting", 1), ("in_flight", 1), ("replied", 0)] {
        assert_eq!(service[key], value, "{key}: {service}");
    }
    assert!(service["oldest_ms"].as_u64().is_some());
    assert_eq!(service["per_second"], 0.0);
    let worker = &seen["workers"][0];
    assert_eq!((&worker["identity"], &worker["speaks"]), (&"snail".into(), &"MJP/1".into()));
    assert_eq!((&worker["credit"], &worker["ready"]), (&1.into(), &false.into()));
    assert_eq!(seen["broker"]["open"], 2);
    let line = ["status", "--workers", "--endpoint", "ipc://socket", "--interval", "0s"];
    let (code, out, err) = run(&mut majordomo(home, &line));
    assert_eq!(code, 0);
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0][..3], ["SERVICE", "WORKERS", "WAITING"]);
    assert_eq!(rows[1][..3], ["nap", "1", "1"]);
    assert_eq!(rows[4][..7], ["nap", "snail", "MJP/1", "1", "1", "busy", ""], "{out}");
    assert!(err.starts_with("ipc://socket  majordomo/"), "{err}");
}

#[test]
fn a_watch_goes_on_when_its_broker_is_started_anew() {
    let home = home();
    let home = home.path();
    let start = || {
        let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
        broker.line();
        broker
    };
    let first = start();
    let flags = ["--endpoint", "ipc://socket", "--interval", "20ms", "--json"];
    let mut watch = Process::start(home, &[&["status", "--watch"], &flags[..]].concat());
    let services = |watch: &mut Process| {
        let look: Value = serde_json::from_str(&watch.line()).unwrap();
        look["services"].as_array().unwrap().len()
    };
    assert_eq!([(); 3].map(|()| services(&mut watch)), [0; 3]);
    first.signal("KILL");
    let _ = first.wait();
    let _second = start();
    // Who sees it talks to the second one.
    let work = ["work", "new", "--endpoint", "ipc://socket", "--", "cat"];
    let _worker = Process::start(home, &work);
    let until = std::time::Instant::now() + super::process::PATIENCE;
    while services(&mut watch) == 0 {
        assert!(std::time::Instant::now() < until, "only the old broker was seen");
    }
}

#[test]
fn ping_tells_who_answers_and_how_fast() {
    let home = home();
    let home = home.path();
    let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
    broker.line();
    let agent: Value = format!("majordomo/{}", env!("CARGO_PKG_VERSION")).into();
    for (protocol, agent) in [("mjp", agent), ("mdp01", Value::Null), ("mdp02", Value::Null)] {
        let line = format!("ping --endpoint ipc://socket --protocol {protocol} -n 2 -i 0s --json");
        let answers = objects(home, &line);
        assert_eq!(answers.len(), 2);
        for answer in answers {
            assert_eq!((&answer["agent"], &answer["protocol"]), (&agent, &protocol.into()));
            assert!(answer["ms"].as_f64().unwrap() > 0.0);
        }
    }
    let line = ["ping", "--endpoint", "ipc://socket", "--count", "1"];
    let (code, out, _) = run(&mut majordomo(home, &line));
    assert_eq!(code, 0);
    assert!(out.starts_with("ipc://socket (majordomo/"), "{out}");
}

#[test]
fn bench_measures_and_says_how_to_do_it_again() {
    let home = home();
    let home = home.path();
    // A log of thousands of peers that nobody reads would stop it.
    let mut broker = Process::broker(home, &["--bind", "ipc://socket", "--log-level", "warn"]);
    broker.line();
    let flags = "--endpoint ipc://socket --modes w1,W3,W4 --time 500ms --warm 0s";
    for protocol in ["", " --protocol mdp02"] {
        let report = objects(home, &format!("bench {flags}{protocol} --json")).remove(0);
        let modes = report["modes"].as_array().unwrap();
        let names: Vec<_> = modes.iter().map(|mode| mode["mode"].as_str().unwrap()).collect();
        assert_eq!(names, ["W1", "W3", "W4"]);
        for mode in modes {
            assert!(mode["calls"].as_u64().unwrap() > 0, "{mode}");
            assert_eq!(mode["errors"], 0, "{mode}");
            assert!(mode["us"]["p50"].as_f64() <= mode["us"]["p99.9"].as_f64(), "{mode}");
        }
        let repeat = report["repeat"].as_str().unwrap();
        let words: Vec<_> = repeat.split(' ').skip(1).collect();
        let again = run(&mut majordomo(home, &words));
        assert_eq!(again.0, 0, "{repeat}: {}", again.2);
        assert!(again.1.starts_with("MODE\tBYTES\t"), "{}", again.1);
        assert!(again.1.ends_with(&format!("repeat:   {repeat}\n")), "{}", again.1);
    }
    let embedded = objects(home, "bench --embedded --modes W1 --time 100ms --json").remove(0);
    assert!(embedded["settings"].as_str().unwrap().contains("a broker in this process"));
    // Nobody's service is left behind.
    let status = ["status", "--endpoint", "ipc://socket", "--interval", "0s"];
    assert_eq!(run(&mut majordomo(home, &status)).1.lines().count(), 1);
}
