//! `lease`, and calls with an epoch.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::{PATIENCE, Process};
use super::{home, majordomo, run};

fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"))
}

struct Stage {
    home: tempfile::TempDir,
    broker: Process,
    endpoint: String,
}

impl Stage {
    fn new() -> Self {
        let home = home();
        let mut broker = Process::broker(home.path(), &["--bind", "tcp://127.0.0.1:0"]);
        let endpoint = broker.line();
        Self { home, broker, endpoint }
    }

    /// `words`, and where the broker is, before what stands behind `--`.
    fn at<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let cut = words.iter().position(|word| *word == "--").unwrap_or(words.len());
        [&words[..cut], &["--endpoint", &self.endpoint], &words[cut..]].concat()
    }

    fn start(&self, words: &[&str]) -> Process {
        Process::start(self.home.path(), &self.at(words))
    }

    fn run(&self, words: &[&str]) -> (i32, String, String) {
        run(&mut majordomo(self.home.path(), &self.at(words)))
    }

    fn row(&self, lease: &str) -> Value {
        let (code, out, err) = self.run(&["lease", "ls", lease, "--json"]);
        assert_eq!(code, 0, "{err}");
        object(&out)["leases"][0].clone()
    }

    fn wait_until(&self, lease: &str, is: impl Fn(&Value) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is(&self.row(lease)) {
            assert!(Instant::now() < until, "{}", self.row(lease));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_lease_is_held_listed_watched_and_handed_over() {
    let stage = Stage::new();
    let mut watch = stage.start(&["lease", "watch", "billing"]);
    assert_eq!(watch.line(), "billing\tfree");
    let words = ["lease", "campaign", "billing", "--name", "node-1", "--value", "10.0.0.1"];
    let mut first = stage.start(&words);
    let line = first.line();
    let epoch: u64 = line.strip_prefix("billing\theld\t").unwrap().parse().unwrap();
    assert_eq!(watch.line(), format!("billing\theld\t{epoch}\tnode-1\t10.0.0.1"));
    let mut second = stage.start(&["lease", "campaign", "billing", "--json"]);
    stage.wait_until("billing", |row| row["waiting"] == 1);
    let row = stage.row("billing");
    assert_eq!(
        (&row["lease"], &row["epoch"], &row["name"], &row["observers"]),
        (&json!("billing"), &json!(epoch), &json!("node-1"), &json!(1))
    );
    assert!(row["left_ms"].as_u64().unwrap() <= 5000, "{row}");
    let (code, table, _) = stage.run(&["lease", "ls"]);
    assert_eq!(code, 0);
    assert!(table.lines().nth(1).unwrap_or(&table).contains("node-1"), "{table}");
    let (code, out, _) = stage.run(&["lease", "campaign", "billing", "--wait", "0s", "--json"]);
    assert_eq!((code, &object(&out)["error"]["code"]), (8, &json!("held")));

    first.signal("INT");
    assert_eq!(first.line(), format!("billing\tresigned\t{epoch}"));
    assert!(first.wait().0.success());
    let held = object(&second.line());
    let next = held["epoch"].as_u64().unwrap();
    assert_eq!(held, json!({"v": 1, "event": "held", "lease": "billing", "epoch": next}));
    assert!(next > epoch);
    second.signal("TERM");
    assert_eq!(object(&second.line())["event"], "resigned");
    assert!(second.wait().0.success());
    // It may be free for a moment between the two.
    let mut line = watch.line();
    if line == format!("billing\tfree\t{epoch}") {
        line = watch.line();
    }
    assert_eq!(line, format!("billing\theld\t{next}"));
    assert_eq!(watch.line(), format!("billing\tfree\t{next}"));
}

#[test]
fn a_command_runs_while_the_lease_is_held_and_knows_its_epoch() {
    let stage = Stage::new();
    let script = "echo $MAJORDOMO_LEASE $MAJORDOMO_EPOCH; exit 7";
    let (code, out, err) = stage.run(&["lease", "campaign", "nightly", "--", "sh", "-c", script]);
    let epoch = out.trim_end().strip_prefix("nightly ").unwrap();
    assert!(epoch.parse::<u64>().is_ok(), "{out}");
    let said =
        ["held", "resigned"].map(|event| format!("majordomo: nightly: {event} by epoch {epoch}\n"));
    assert_eq!((code, err), (7, said.concat()));
    // With --json the words of the command go elsewhere.
    let words = ["lease", "campaign", "nightly", "--json", "--", "sh", "-c", script];
    let (code, out, err) = stage.run(&words);
    let events: Vec<_> = out.lines().map(|line| object(line)["event"].clone()).collect();
    assert_eq!((code, events), (7, vec![json!("held"), json!("resigned")]));
    assert!(err.starts_with("nightly "), "{err}");
    let (code, _, err) = stage.run(&["lease", "campaign", "nightly", "--", "no-such-command"]);
    assert_eq!(code, 6, "{err}");
}

#[test]
fn a_command_whose_lease_is_lost_is_killed_with_its_children() {
    let Stage { home, broker, endpoint } = Stage::new();
    let alive = home.path().join("alive");
    let script = format!("(while :; do date >> {}; sleep 0.02; done) & wait", alive.display());
    let words = ["lease", "campaign", "nightly", "--json", "--endpoint", &endpoint];
    let mut holder =
        Process::start(home.path(), &[&words[..], &["--", "sh", "-c", &script]].concat());
    assert_eq!(object(&holder.line())["event"], "held");
    let until = Instant::now() + PATIENCE;
    while !alive.exists() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    broker.signal("KILL");
    let lost = object(&holder.line());
    assert_eq!(lost["event"], "lost");
    assert!(lost["reason"].as_str().unwrap().contains("connection"), "{lost}");
    let (status, said) = holder.wait();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("majordomo: nightly: the connection was lost"), "{said}");
    let size = || fs::metadata(&alive).unwrap().len();
    let before = size();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(size(), before, "its child goes on");
}

#[test]
fn an_interrupted_campaign_ends_its_command_first() {
    let stage = Stage::new();
    let script = "trap 'echo ended; exit 3' TERM; echo begun; while :; do sleep 0.02; done";
    let mut holder = stage.start(&["lease", "campaign", "nightly", "--", "sh", "-c", script]);
    assert_eq!(holder.line(), "begun");
    holder.signal("INT");
    assert_eq!(holder.line(), "ended");
    let (status, said) = holder.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("resigned by epoch"), "{said}");
    // One that waits goes at once.
    let mut holder = stage.start(&["lease", "campaign", "nightly"]);
    holder.line();
    let waiting = stage.start(&["lease", "campaign", "nightly"]);
    stage.wait_until("nightly", |row| row["waiting"] == 1);
    waiting.signal("INT");
    assert_eq!(waiting.wait().0.code(), Some(130));
    stage.wait_until("nightly", |row| row["waiting"] == 0);
}

#[test]
fn a_call_with_an_old_epoch_is_refused() {
    let stage = Stage::new();
    let mut worker = stage.start(&["work", "pay", "--fence", "billing", "--json", "--", "cat"]);
    assert_eq!(object(&worker.line())["event"], "registered");
    let mut holder = stage.start(&["lease", "campaign", "billing", "--json"]);
    let epoch = object(&holder.line())["epoch"].as_u64().unwrap().to_string();
    let call = |more: &[&str]| stage.run(&[&["call", "pay", "7"], more].concat());
    let (code, out, err) = call(&["--lease", "billing", "--epoch", &epoch]);
    assert_eq!((code, out.as_str()), (0, "7\n"), "{err}");
    let (code, _, err) = call(&["--lease", "billing", "--epoch", "1"]);
    assert_eq!(code, 8, "{err}");
    assert!(err.contains(&format!("{epoch} does")), "{err}");
    let (code, out, _) = call(&["--json"]);
    assert_eq!((code, &object(&out)["error"]["code"]), (5, &json!("fence_required")));
    let (code, _, err) = call(&["--lease", "billing"]);
    assert_eq!(code, 2, "{err}");
    let (code, _, err) = call(&["--lease", "billing", "--epoch", "1", "--protocol", "mdp02"]);
    assert_eq!(code, 2, "{err}");
    let (code, out, err) = call(&["--to", "all", "--lease", "billing", "--epoch", &epoch]);
    assert!(code == 0 && out.contains("\treplied\t7"), "{out}{err}");
    let (code, _, err) = call(&["--to", "all", "--lease", "billing", "--epoch", "1"]);
    assert!(code == 8 && err.contains(&format!("{epoch} does")), "{err}");
    let (code, out, _) = call(&["--to", "all", "--json"]);
    assert_eq!((code, &object(&out)["error"]["code"]), (5, &json!("fence_required")));
    holder.signal("INT");
    holder.line();
    let (code, out, _) = call(&["--lease", "billing", "--epoch", &epoch, "--json"]);
    assert_eq!((code, &object(&out)["error"]["code"]), (8, &json!("stale_epoch")));
}

#[test]
fn what_is_published_with_an_old_epoch_is_heard_by_nobody() {
    let stage = Stage::new();
    let mut listener = stage.start(&["subscribe", "news", "--json"]);
    assert_eq!(object(&listener.line())["event"], "subscribed");
    let mut holder = stage.start(&["lease", "campaign", "desk", "--json"]);
    let epoch = object(&holder.line())["epoch"].as_u64().unwrap().to_string();
    let publish = |text: &str, epoch: &str| {
        stage.run(&["publish", "news", text, "--lease", "desk", "--epoch", epoch])
    };
    let (code, out, err) = publish("late", "1");
    assert_eq!((code, out.as_str()), (8, ""), "{err}");
    assert!(err.contains(&format!("{epoch} holds it")), "{err}");
    let (code, out, err) = publish("in time", &epoch);
    assert_eq!((code, out.as_str()), (0, "published to 1 subscription\n"), "{err}");
    assert_eq!(object(&listener.line())["frames"], json!(["in time"]));
    assert_eq!(stage.run(&["publish", "news", "x", "--lease", "desk"]).0, 2);
}
