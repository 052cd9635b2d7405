//! `work` and `call` alone, as a shell user has them: no other program, no library.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::{PATIENCE, Process};
use super::{BINARY, home};

/// A broker on a socket in the home, which is the selected context.
fn broker(home: &Path) -> Process {
    let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
    assert_eq!(broker.line(), "ipc://socket");
    let output = sh(home, "majordomo context add here --endpoint ipc://socket --select");
    assert!(output.status.success(), "{output:?}");
    broker
}

/// A line of shell, which finds the command by its name.
fn sh(home: &Path, line: &str) -> Output {
    let bin = Path::new(BINARY).parent().unwrap().display();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", line]).env_clear().env("HOME", home).env("PATH", path).current_dir(home);
    command.output().unwrap()
}

/// What a line prints that succeeds.
fn out(home: &Path, line: &str) -> String {
    let output = sh(home, line);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{line}: {err}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code and standard error of a line that fails.
fn fails(home: &Path, line: &str) -> (i32, String) {
    let output = sh(home, line);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A worker that has registered.
fn work(home: &Path, arguments: &[&str]) -> Process {
    let mut worker = Process::start(home, &[&["work", "--json"], arguments].concat());
    assert_eq!(worker.line(), r#"{"event":"registered","v":1}"#);
    worker
}

fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process of that number runs.
fn lives(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// What a file says once it says something.
fn content(path: &Path) -> String {
    let mut text = String::new();
    eventually(&path.display().to_string(), || {
        text = fs::read_to_string(path).unwrap_or_default();
        text.ends_with('\n')
    });
    text
}

#[test]
fn a_command_is_a_service_in_every_protocol() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    for protocol in ["mjp", "mdp01", "mdp02"] {
        let service = format!("shout.{protocol}");
        let flags = [&service, "--protocol", protocol, "--", "tr", "a-z", "A-Z"];
        let _worker = work(home, &flags);
        for caller in ["mjp", "mdp01", "mdp02"] {
            let call = format!("majordomo call {service} hello --protocol {caller}");
            assert_eq!(out(home, &call), "HELLO\n", "{call}");
        }
    }
}

#[test]
fn bodies_come_from_arguments_files_and_standard_input_and_go_back_octet_by_octet() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let _worker = work(home, &["cat", "--", "cat"]);
    let octets: Vec<u8> = (0..750_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(home.join("octets"), &octets).unwrap();
    for line in ["majordomo call cat @octets --raw", "majordomo call cat - --raw < octets | cat"] {
        let output = sh(home, line);
        assert!(output.status.success(), "{line}: {output:?}");
        assert!(output.stdout == octets, "{line}");
    }
    assert_eq!(out(home, "majordomo call cat"), "\n", "no body is an empty one");
    assert_eq!(
        out(home, "printf 'a\\nb\\n' | majordomo call cat -"),
        "a\nb\n",
        "no second line end"
    );
    assert_eq!(out(home, "majordomo call cat --literal @octets -- -"), "@octets\n-\n");
    assert_eq!(out(home, "majordomo call cat one -5 --raw"), "one\n-5");
    let json = out(home, "majordomo call cat @octets --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["frames"][0]["base64"].as_str().unwrap().len() == octets.len().div_ceil(3) * 4);
}

#[test]
fn frames_keep_their_borders_as_netstrings() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let flags = ["frames", "--frames", "netstrings", "--", "cat"];
    let _worker = work(home, &flags);
    let reply = out(home, "majordomo call frames hello '' 'two\nlines' --json");
    let reply: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(reply["frames"], serde_json::json!(["hello", "", "two\nlines"]));
    assert_eq!((&reply["v"], &reply["event"]), (&1.into(), &"final".into()));
}

#[test]
fn lines_are_sent_as_parts_while_the_command_still_runs() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    // It ends only when somebody has seen its first line.
    let script = "echo one; echo two; while [ ! -e seen ]; do sleep 0.01; done; echo three";
    let _worker = work(home, &["count", "--stream", "--", "sh", "-c", script]);
    let mut call = Process::start(home, &["call", "count", "--json"]);
    let part: Value = serde_json::from_str(&call.line()).unwrap();
    assert_eq!((&part["event"], &part["frames"][0]), (&"partial".into(), &"one".into()));
    fs::write(home.join("seen"), "").unwrap();
    let rest: Vec<Value> = (0..2).map(|_| serde_json::from_str(&call.line()).unwrap()).collect();
    let said = |at: usize| (rest[at]["event"].as_str().unwrap(), rest[at]["frames"][0].as_str());
    assert_eq!((said(0), said(1)), (("partial", Some("two")), ("final", Some("three"))));
    assert_eq!(call.wait().0.code(), Some(0));
    assert_eq!(out(home, "majordomo call count"), "one\ntwo\nthree\n");
}

#[test]
fn the_command_knows_what_it_is_run_for() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let script = "echo $MAJORDOMO_SERVICE $MAJORDOMO_ATTEMPT $MAJORDOMO_FRAMES; \
                  test $MAJORDOMO_TIMEOUT_MS -gt 1000 -a $MAJORDOMO_TIMEOUT_MS -le 7001";
    let _worker = work(home, &["env", "--", "sh", "-c", script]);
    assert_eq!(out(home, "majordomo call env a b c --timeout 7s"), "env 1 3\n");
}

#[test]
fn a_failure_of_the_command_is_one_of_the_call() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let script = "read code; printf 'first\\n%s\\n\\n' \"no such cat\" >&2; exit $code";
    let mut worker = work(home, &["fail", "--", "sh", "-c", script]);
    let (code, err) = fails(home, "majordomo call fail 3");
    assert_eq!((code, err.as_str()), (1, "majordomo: `fail` failed: exit code 3: no such cat\n"));
    let event: Value = serde_json::from_str(&worker.line()).unwrap();
    assert_eq!((&event["ok"], &event["exit"]), (&false.into(), &3.into()));
    let (code, err) = fails(home, "majordomo call fail 75 --attempts 1");
    assert_eq!(code, 1);
    assert!(err.ends_with("exit code 75: no such cat; try again in 1s\n"), "{err}");
    assert_eq!(out(home, "majordomo call fail 0"), "\n", "what it says there is not the reply");
    worker.signal("TERM");
    let (status, log) = worker.wait();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("no such cat\n"), "standard error is passed on: {log}");
}

#[test]
fn as_many_commands_run_at_a_time_as_was_said() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    // Each ends when all three run.
    let script = "touch at.$$; until [ $(ls at.* | wc -l) = 3 ]; do sleep 0.01; done";
    let _worker = work(home, &["three", "--concurrency", "3", "--", "sh", "-c", script]);
    let err = sh(home, "majordomo call three --count 3 --concurrency 3 --timeout 10s").stderr;
    let err = String::from_utf8(err).unwrap();
    assert!(err.contains(": 3 replied, 0 failed, "), "{err}");
}

#[test]
fn many_calls_are_made_and_counted() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let _worker = work(home, &["cat", "--concurrency", "4", "--", "cat"]);
    for protocol in ["mjp", "mdp02"] {
        let line =
            format!("majordomo call cat x --count 60 --concurrency 8 --json --protocol {protocol}");
        let text = out(home, &line);
        let events: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (summary, replies) = events.split_last().unwrap();
        assert_eq!((&summary["calls"], &summary["replied"]), (&60.into(), &60.into()));
        let mut calls: Vec<_> =
            replies.iter().map(|reply| reply["call"].as_u64().unwrap()).collect();
        calls.sort_unstable();
        assert_eq!(calls, (1..=60).collect::<Vec<_>>());
        assert!(replies.iter().all(|reply| reply["frames"][0] == "x"));
    }
}

#[test]
fn a_command_that_nobody_waits_for_is_killed_with_its_children() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let script = "sleep 1000 & echo $! > child; echo $$ > parent; wait";
    let stubborn = "trap '' TERM; echo $$ > stubborn; while :; do sleep 0.01; done";
    let _worker = work(home, &["sleep", "--", "sh", "-c", script]);
    let flags = ["stay", "--grace", "50ms", "--", "sh", "-c", stubborn];
    let mut stay = work(home, &flags);
    let (code, _) = fails(home, "majordomo call sleep --timeout 500ms");
    assert_eq!(code, 4);
    for who in ["parent", "child"] {
        let pid = content(&home.join(who));
        eventually(&format!("the {who} is gone"), || !lives(&pid));
    }
    let caller = Process::start(home, &["call", "stay"]);
    let pid = content(&home.join("stubborn"));
    assert!(lives(&pid));
    // It goes away without a word.
    drop(caller);
    eventually("SIGKILL comes behind SIGTERM", || !lives(&pid));
    let event: Value = serde_json::from_str(&stay.line()).unwrap();
    assert_eq!(event["error"]["code"], "cancelled");
}

#[test]
fn sigterm_lets_the_command_finish_and_a_second_one_does_not() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let script = "echo $$ > running; until [ -e go ]; do sleep 0.01; done; echo $MAJORDOMO_ATTEMPT";
    let mut worker = work(home, &["slow", "--", "sh", "-c", script]);
    let mut call = Process::start(home, &["call", "slow"]);
    content(&home.join("running"));
    worker.signal("TERM");
    // From the moment it is told it is given no more work.
    eventually("it drains", || {
        out(home, "majordomo status slow --json --interval 0s").contains("\"ready\":false")
    });
    fs::write(home.join("go"), "").unwrap();
    assert_eq!(call.line(), "1");
    worker.line();
    assert!(worker.line().contains("\"answered\":1,\"event\":\"stopped\",\"given_back\":0"));
    assert_eq!(worker.wait().0.code(), Some(0));

    fs::remove_file(home.join("go")).unwrap();
    fs::remove_file(home.join("running")).unwrap();
    let worker = work(home, &["slow", "--", "sh", "-c", script]);
    let mut call = Process::start(home, &["call", "slow"]);
    let pid = content(&home.join("running"));
    worker.signal("TERM");
    worker.signal("INT");
    assert_eq!(worker.wait().0.code(), Some(1));
    eventually("its command is gone", || !lives(&pid));
    fs::write(home.join("go"), "").unwrap();
    let _other = work(home, &["slow", "--", "sh", "-c", script]);
    assert_eq!(call.line(), "2", "the other worker has it");
}

#[test]
fn a_worker_killed_in_the_middle_is_replaced_unless_that_was_forbidden() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let script = "echo $$ >> pids; [ $MAJORDOMO_ATTEMPT = 2 ] || sleep 1000; echo done";
    for (attempts, expected) in [("3", 0), ("1", 1)] {
        let _ = fs::remove_file(home.join("pids"));
        let worker = work(home, &["slow", "--", "sh", "-c", script]);
        let mut call = Process::start(home, &["call", "slow", "--attempts", attempts]);
        let pid = content(&home.join("pids"));
        worker.signal("KILL");
        let _ = worker.wait();
        let _other = work(home, &["slow", "--", "sh", "-c", script]);
        if expected == 0 {
            assert_eq!(call.line(), "done");
        }
        let (status, err) = call.wait();
        assert_eq!(status.code(), Some(expected), "{err}");
        assert_eq!(err.contains("the worker of `slow` was lost"), expected == 1, "{err}");
        // Nobody can kill the children of a process that was killed itself.
        let kill = format!("kill -KILL -{}", pid.lines().next().unwrap());
        let _ = sh(home, &kill);
    }
}

#[test]
fn a_worker_comes_back_when_its_broker_does() {
    let home = home();
    let home = home.path();
    let first = broker(home);
    let _worker = work(home, &["cat", "--", "cat"]);
    assert_eq!(out(home, "majordomo call cat 1"), "1\n");
    first.signal("KILL");
    let _ = first.wait();
    let (code, err) = fails(home, "majordomo call cat 2");
    assert_eq!(code, 3);
    assert!(err.starts_with("majordomo: no broker listens at ipc://socket; "), "{err}");
    let mut second = Process::broker(home, &["--bind", "ipc://socket"]);
    second.line();
    assert_eq!(out(home, "majordomo call cat 3"), "3\n");
}

#[test]
fn what_a_command_leaves_running_does_not_hold_its_reply_back() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    // It holds the pipes of its parent open.
    let script = "sleep 1000 & echo $! > child; echo done";
    let _worker = work(home, &["leave", "--", "sh", "-c", script]);
    assert_eq!(out(home, "majordomo call leave --timeout 10s"), "done\n");
    let child = content(&home.join("child"));
    assert!(lives(&child), "and is not killed: the command has ended well");
    assert!(sh(home, &format!("kill {child}")).status.success());
}

#[test]
fn whoever_has_seen_enough_ends_a_command_without_a_word() {
    let home = home();
    let home = home.path();
    let _broker = broker(home);
    let _worker = work(home, &["cat", "--concurrency", "4", "--", "cat"]);
    for (command, lines) in [
        ("status --watch --interval 20ms --json", 2),
        ("ping --count 100000 --interval 1ms", 2),
        ("call cat x --count 100000 --concurrency 4", 2),
    ] {
        // `timeout` would end it with 124.
        let line = format!(
            "{{ timeout 60 majordomo {command}; echo $? > code; }} 2> err | head -n {lines}"
        );
        assert_eq!(out(home, &line).lines().count(), lines, "{command}");
        assert_eq!(content(&home.join("code")), "0\n", "{command}");
        assert_eq!(fs::read_to_string(home.join("err")).unwrap(), "", "{command}");
        fs::remove_file(home.join("code")).unwrap();
    }
}
