//! `call --to`: several workers, a line for each, and the tally.

use std::path::Path;

use serde_json::Value;

use super::process::Process;
use super::{home, majordomo, run};

/// A broker in the selected context, and workers of `who`: `a` and `b` say so, `c` fails.
struct Stage {
    home: tempfile::TempDir,
    broker: Process,
    workers: Vec<Process>,
}

impl Stage {
    fn new() -> Self {
        let home = home();
        let mut broker = Process::broker(home.path(), &["--bind", "ipc://socket"]);
        broker.line();
        let here = ["context", "add", "here", "--endpoint", "ipc://socket", "--select"];
        assert_eq!(run(&mut majordomo(home.path(), &here)).0, 0);
        let mut stage = Self { home, broker, workers: Vec::new() };
        stage.work("a", "north", "printf 'a: %s' \"$(cat)\"");
        stage.work("b", "south", "printf 'b\\nand more\\n'");
        stage.work("c", "south", "echo 'no paper' >&2; exit 3");
        stage
    }

    fn work(&mut self, name: &str, zone: &str, script: &str) {
        let label = format!("zone={zone}");
        let begin = ["work", "who", "--json", "--identity", name, "--label", &label];
        let command = ["--label", "kind=test", "--", "sh", "-c", script];
        let mut worker = Process::start(self.home(), &[&begin[..], &command].concat());
        worker.line();
        self.workers.push(worker);
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    /// Exit code, the lines of standard output in the order of names, standard error.
    fn call(&self, flags: &str) -> (i32, Vec<String>, String) {
        let arguments: Vec<_> = ["call", "who"].into_iter().chain(flags.split(' ')).collect();
        let (code, out, err) = run(&mut majordomo(self.home(), &arguments));
        let mut lines: Vec<_> = out.lines().map(str::to_owned).collect();
        lines.sort();
        (code, lines, err)
    }
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn there_is_a_line_for_each_worker_and_the_tally() {
    let stage = Stage::new();
    let (code, out, err) = stage.call("hi --to all");
    let all = [
        "a\treplied\ta: hi",
        "b\treplied\tb\\nand more",
        "c\tfailed\tfailed: exit code 3: no paper",
    ];
    assert_eq!((code, out), (1, lines(&all)));
    assert_eq!(err, "3 workers of `who`: 2 replied, 1 failed\n");
    let (code, out, err) = stage.call("hi --to b,a,nobody");
    assert_eq!((code, out), (0, lines(&all[..2])));
    assert_eq!(err, "2 workers of `who`: 2 replied\n");
    let (code, out, err) = stage.call("hi --to zone=north,kind=test");
    assert_eq!((code, out), (0, lines(&all[..1])));
    assert_eq!(err, "1 worker of `who`: 1 replied\n");
}

#[test]
fn programs_get_an_object_for_each_worker_and_the_tally() {
    let stage = Stage::new();
    let (code, out, err) =
        run(&mut majordomo(stage.home(), &["call", "who", "hi", "--to", "all", "--json"]));
    assert_eq!((code, err.as_str()), (1, ""));
    let mut said: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(said.iter().all(|object| object["v"] == 1), "{out}");
    assert_eq!(
        said.remove(0),
        serde_json::json!({"v": 1, "event": "targets", "targets": ["a", "b", "c"]})
    );
    let tally = said.pop().unwrap();
    assert_eq!(
        tally,
        serde_json::json!({
            "v": 1, "event": "tally", "targets": 3, "replied": 2, "failed": 1, "refused": 0, "lost": 0,
            "timed_out": 0, "cancelled": 0,
        })
    );
    said.sort_by_key(|object| object["target"].as_str().unwrap().to_owned());
    let [a, b, c] = &said[..] else { panic!("{out}") };
    assert!(said.iter().all(|it| it["event"] == "outcome" && it["ms"].as_f64().unwrap() > 0.0));
    assert_eq!((&a["outcome"], &a["frames"]), (&"replied".into(), &serde_json::json!(["a: hi"])));
    assert_eq!(b["frames"], serde_json::json!(["b\nand more\n"]));
    assert_eq!(c["outcome"], "failed");
    assert_eq!(
        c["error"],
        serde_json::json!({"code": "failed", "message": "exit code 3: no paper"})
    );
}

#[test]
fn a_worker_that_is_slow_or_lost_is_said_to_be_that() {
    let mut stage = Stage::new();
    stage.work("slow", "east", "sleep 1000");
    let (code, out, err) = stage.call("hi --to slow,a --timeout 300ms");
    assert_eq!((code, out.len()), (1, 2), "{err}");
    assert_eq!(out[0], "a\treplied\ta: hi");
    assert!(out[1].starts_with("slow\ttimed_out\ttimeout: "), "{out:?}");
    assert_eq!(err, "2 workers of `who`: 1 replied, 1 timed out\n");

    stage.work("killed", "west", "sleep 1000");
    let mut call = Process::start(stage.home(), &["call", "who", "--to", "zone=west", "--json"]);
    let targets: Value = serde_json::from_str(&call.line()).unwrap();
    assert_eq!(targets["targets"], serde_json::json!(["killed"]));
    stage.workers.pop().unwrap().signal("KILL");
    let outcome: Value = serde_json::from_str(&call.line()).unwrap();
    assert_eq!(
        (&outcome["outcome"], &outcome["error"]["code"]),
        (&"lost".into(), &"worker_lost".into())
    );
    assert_eq!(call.wait().0.code(), Some(1));
}

#[test]
fn a_broker_that_is_lost_ends_the_call() {
    let mut stage = Stage::new();
    stage.work("slow", "east", "sleep 1000");
    let mut call = Process::start(stage.home(), &["call", "who", "--to", "slow", "--json"]);
    call.line();
    stage.broker.signal("KILL");
    let said: Value = serde_json::from_str(&call.line()).unwrap();
    assert_eq!(said["error"]["code"], "disconnected");
    let (status, err) = call.wait();
    assert_eq!(status.code(), Some(3), "{err}");
}
