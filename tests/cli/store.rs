//! `store`: a store is looked at, copied, and saved when it is damaged.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::process::Process;
use super::{home, majordomo, run};

/// A broker with a store, and its administration listener.
fn broker(home: &Path) -> Process {
    let flags = ["--store", "kept", "--bind", "ipc://socket", "--bind", "tcp://127.0.0.1:0"];
    let mut broker = Process::broker(home, &flags);
    assert_eq!(broker.line(), "ipc://socket");
    broker
}

fn said(home: &Path, words: &[&str]) -> (i32, String, String) {
    run(&mut majordomo(home, words))
}

/// Hands some requests in, of which no one is carried out.
fn hand_in(home: &Path, count: usize) {
    for number in 0..count {
        let (key, body) = (format!("k{number}"), format!("needle {number}"));
        let call = ["call", "nobody", &body, "--key", &key, "--hand-in", "--timeout", "1h"];
        let (code, _, err) = said(home, &[&call[..], &["--endpoint", "ipc://socket"]].concat());
        assert_eq!(code, 0, "{err}");
    }
}

fn json_of(home: &Path, words: &[&str]) -> (i32, Value) {
    let (code, out, err) = said(home, &[words, &["--json"]].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}")))
}

#[test]
fn a_damaged_store_is_refused_and_the_rest_of_it_is_saved() {
    let home = home();
    let home = home.path();
    let running = broker(home);
    hand_in(home, 20);
    running.signal("TERM");
    running.wait();
    let (code, whole) = json_of(home, &["store", "repair", "kept", "whole"]);
    assert_eq!((code, &whole["ok"], &whole["lost"]), (0, &true.into(), &Value::Array(vec![])));
    assert_eq!(whole["waiting"], 20);
    // One bit of one body.
    let file = home.join("kept/majordomo.redb");
    let mut octets = fs::read(&file).unwrap();
    let needle = b"needle 7";
    let places: Vec<_> = (0..octets.len()).filter(|at| octets[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty());
    for at in places {
        octets[at] ^= 1;
    }
    fs::write(&file, &octets).unwrap();
    let (code, _, err) = said(home, &["store", "check", "kept"]);
    assert_eq!(code, 65, "{err}");
    assert!(err.contains("majordomo store repair kept NEW"), "{err}");
    let (code, saved) = json_of(home, &["store", "repair", "kept", "saved"]);
    assert_eq!((code, &saved["ok"], &saved["waiting"]), (65, &false.into(), &19.into()));
    assert_eq!(saved["lost"].as_array().unwrap().len(), 1, "{saved}");
    assert!(saved["lost"][0]["key"].as_str().unwrap().starts_with("72"), "{saved}");
    assert_eq!(fs::read(&file).unwrap(), octets, "the damaged one is as it was");
    assert_eq!(json_of(home, &["store", "check", "saved"]).1["waiting"], 19);
    let (code, _, err) = said(home, &["store", "repair", "kept", "saved"]);
    assert_eq!(code, 78, "there is one already: {err}");
    let (code, out, _) = said(home, &["store", "repair", "kept", "again"]);
    assert_eq!(code, 65);
    assert!(out.contains("the checksum of record 72"), "{out}");
    assert!(out.contains("of") && out.ends_with("are saved\n"), "{out}");
}

#[test]
fn a_store_is_copied_while_its_broker_works_and_when_it_does_not() {
    let home = home();
    let home = home.path();
    let running = broker(home);
    hand_in(home, 5);
    let path = home.join("today");
    let path = path.to_str().unwrap();
    let online = ["store", "backup", "--online", path, "--endpoint", "ipc://socket"];
    let (code, told) = json_of(home, &online);
    assert_eq!((code, &told["ok"], &told["records"]), (0, &true.into(), &6.into()));
    let (code, _, err) = said(home, &online);
    assert_eq!(code, 1, "there is one already: {err}");
    let (code, _, err) = said(home, &["store", "backup", "kept", "later"]);
    assert_eq!(code, 8, "a broker has it: {err}");
    for (words, wanted) in [
        (&["store", "backup", "kept"][..], 2),
        (&["store", "backup", "--online", "kept", "later"][..], 2),
        (&["store", "backup", "--online", "later", "--endpoint", "ipc://socket"][..], 2),
    ] {
        let (code, _, err) = said(home, words);
        assert_eq!(code, wanted, "{words:?}: {err}");
    }
    hand_in(home, 1);
    running.signal("TERM");
    running.wait();
    assert_eq!(json_of(home, &["store", "check", "today"]).1["waiting"], 5);
    let (code, later) = json_of(home, &["store", "backup", "kept", "later"]);
    assert_eq!((code, &later["letters"]), (0, &0.into()));
    let (code, out, _) = said(home, &["store", "compact", "later"]);
    assert_eq!(code, 0);
    assert!(out.contains("octets before"), "{out}");
}
