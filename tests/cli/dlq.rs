//! `dlq` and `explain`: dead letters, and why a request is not at a worker.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::process::Process;
use super::{home, majordomo, run};

/// A broker that keeps what fails, and its administration listener.
fn broker(home: &Path) -> Process {
    fs::write(
        home.join("broker.toml"),
        "[services.\"pay*\"]\ndead_letters = [\"failed\", \"exhausted\"]\nbackoff = \"20ms\"\n\
         attempts = 2\nqueue_messages_max = 1\n",
    )
    .unwrap();
    let binds =
        ["--config", "broker.toml", "--bind", "ipc://socket", "--bind", "tcp://127.0.0.1:0"];
    let mut broker = Process::broker(home, &binds);
    assert_eq!(broker.line(), "ipc://socket");
    broker
}

fn said(home: &Path, line: &str) -> (i32, String, String) {
    let words: Vec<_> = line.split(' ').chain(["--endpoint", "ipc://socket"]).collect();
    run(&mut majordomo(home, &words))
}

fn json_of(home: &Path, line: &str) -> Value {
    let (code, out, err) = said(home, &format!("{line} --json"));
    assert_eq!((code, err.as_str()), (0, ""), "{line}: {out}");
    serde_json::from_str(&out).unwrap()
}

fn worker(home: &Path, command: &[&str]) -> Process {
    let work = ["work", "pay", "--json", "--identity", "w", "--endpoint", "ipc://socket", "--"];
    let mut worker = Process::start(home, &[&work[..], command].concat());
    worker.line();
    worker
}

#[test]
fn letters_are_listed_shown_edited_requeued_and_dropped() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let failing = worker(home, &["sh", "-c", "echo no paper >&2; exit 75"]);
    assert_eq!(json_of(home, "dlq ls"), json!({"v": 1, "letters": []}));
    assert_eq!(said(home, "dlq ls").1, "no dead letters\n");
    let (code, _, err) = said(home, "call pay seven --order o --attempts 1 --timeout 5s");
    assert_eq!(code, 1, "{err}");
    let (code, _, err) = said(home, "call pay seven --order o --timeout 5s");
    assert_eq!(code, 1, "{err}");
    let letters = json_of(home, "dlq ls --service pay --cause exhausted");
    let letters = letters["letters"].as_array().unwrap().clone();
    assert_eq!(letters.len(), 2, "{letters:?}");
    let letter = &letters[1];
    assert_eq!((&letter["attempts"], &letter["order"]), (&json!(2), &json!("o")));
    let id = letter["id"].as_str().unwrap();
    let shown = json_of(home, &format!("dlq show {id}"));
    assert_eq!(shown["frames"], json!(["seven"]));
    assert_eq!(shown["seen"][0]["worker"], "w");
    assert_eq!(said(home, &format!("dlq show {id} --raw")).1, "seven");
    let (_, text, _) = said(home, &format!("dlq show {id}"));
    assert!(text.contains("exhausted after 2 deliveries") && text.contains("> seven"), "{text}");
    let explained = json_of(home, &format!("explain request {id}"));
    assert_eq!(explained["requests"][0]["state"], "dead");
    drop(failing);

    fs::write(home.join("body"), "eight").unwrap();
    let dry = said(home, &format!("dlq edit {id} --body body --requeue --dry-run"));
    assert_eq!(dry, (0, format!("would have edited and requeued {id}\n"), String::new()));
    let edited = said(home, &format!("dlq edit {id} --body body"));
    assert_eq!(edited, (0, format!("edited {id}\n"), String::new()));
    let mut editor = majordomo(home, &["dlq", "edit", id, "--endpoint", "ipc://socket"]);
    let edited = run(editor.env("EDITOR", "sed -i s/eight/nine/").env_remove("VISUAL"));
    assert_eq!(edited, (0, format!("edited {id}\n"), String::new()));
    let mut editor = majordomo(home, &["dlq", "edit", id, "--endpoint", "ipc://socket"]);
    let edited = run(editor.env("EDITOR", "true").env_remove("VISUAL"));
    assert_eq!(edited, (0, "nothing was changed\n".into(), String::new()));

    // The queue takes one: the other one is dead as before.
    let dry = json_of(home, "dlq requeue --all --dry-run");
    assert_eq!((&dry["requeued"], &dry["dry_run"]), (&json!(2), &json!(true)));
    let (code, out, err) = said(home, "dlq requeue --service pay");
    assert_eq!((code, out.as_str()), (9, "requeued 1\n"), "{err}");
    let stands = json_of(home, "explain service pay");
    assert_eq!(stands["service"]["because"], "no worker offers the service");
    assert_eq!(stands["policy"]["pattern"], "pay*");
    assert_eq!(stands["policy"]["at"], "broker.toml:2", "where its first key stands");
    assert_eq!(stands["service"]["dead"], 1);
    let _worker = worker(home, &["cat"]);
    assert_eq!(json_of(home, &format!("dlq requeue {id}"))["requeued"], 1);
    assert_eq!(json_of(home, "dlq ls")["letters"], json!([]));
    assert_eq!(said(home, "dlq drop --all").1, "dropped 0\n");
}

#[test]
fn a_call_may_be_delayed_and_explained_meanwhile() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let _worker = worker(home, &["cat"]);
    let call = ["call", "pay", "tea", "--delay", "2s", "--endpoint", "ipc://socket"];
    let mut call = Process::start(home, &call);
    let stands = loop {
        let (code, out, _) = said(home, "explain service pay --json");
        let stands: Value = serde_json::from_str(out.trim()).unwrap_or_default();
        if code == 0 && stands["service"]["delayed"] == 1 {
            break stands;
        }
    };
    let request = &stands["requests"][0];
    assert_eq!(request["state"], "delayed");
    let id = request["id"].as_str().unwrap();
    let (_, text, _) = said(home, &format!("explain request {id}"));
    assert!(text.contains("because: its caller wants it to be delayed"), "{text}");
    assert!(text.contains("policy: [services.\"pay*\"]"), "{text}");
    assert_eq!(call.line(), "tea");
}

#[test]
fn what_is_not_there_or_not_said_has_its_exit_code() {
    let home = home();
    let home = home.path();
    let mut broker = broker(home);
    let open = broker.line();
    for (line, code) in [
        ("dlq show 00000001000000ff", 6),
        ("dlq requeue 00000001000000ff", 6),
        ("dlq edit 00000001000000ff --to pay", 6),
        ("dlq drop 00000001000000ff", 6),
        ("explain request 00000001000000ff", 6),
        ("explain service nobody", 6),
        ("dlq requeue", 2),
        ("dlq drop", 2),
        ("dlq drop x --all", 2),
        ("dlq ls --cause boredom", 2),
        ("dlq edit x --body /nothing/there", 1),
        ("call pay x --delay 5s --timeout 1s", 1),
        ("call pay x --order o --protocol mdp01", 2),
        ("call pay x --delay 1s --protocol mdp02", 2),
    ] {
        let (seen, out, err) = said(home, line);
        assert_eq!(seen, code, "{line}: {out}{err}");
        assert!(!err.is_empty(), "{line}");
    }
    for line in ["dlq ls", "dlq drop --all", "explain service pay"] {
        let words: Vec<_> = line.split(' ').chain(["--endpoint", &open]).collect();
        let (code, _, err) = run(&mut majordomo(home, &words));
        assert_eq!(code, 5, "{line}: {err}");
    }
}
