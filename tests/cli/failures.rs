//! What goes wrong, what is said about it, and the exit code. The texts are in a snapshot.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use super::process::Process;
use super::{home, majordomo, run};

/// A report about failures: for each what was tried, the exit code, and standard error.
struct Report<'a> {
    home: &'a Path,
    text: String,
    /// What differs from run to run, and what stands for it.
    variable: Vec<(String, &'static str)>,
}

impl<'a> Report<'a> {
    fn new(home: &'a Path) -> Self {
        let variable = vec![(home.display().to_string(), "HOME")];
        Self { home, text: String::new(), variable }
    }

    fn fixed(&self, text: &str) -> String {
        self.variable.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// A command that fails in that way, and with `--json` in the same way.
    fn add(&mut self, exit: i32, line: &str) {
        let word = |word| if word == "''" { "" } else { word };
        let arguments: Vec<_> = line.split(' ').map(word).collect();
        let (code, out, err) = run(&mut majordomo(self.home, &arguments));
        let line = self.fixed(line);
        assert_eq!((code, out.as_str()), (exit, ""), "{line}: {err}");
        assert!(!err.contains("os error"), "{line}: {err}");
        writeln!(self.text, "$ majordomo {line}\n{}[{code}]\n", self.fixed(&err)).unwrap();
    }

    /// The same failure for programs: the last line is an object with the same words.
    fn add_json(&mut self, exit: i32, line: &str) {
        self.add(exit, line);
        let arguments: Vec<_> = line.split(' ').collect();
        let at = arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len());
        let arguments = [&arguments[..at], &["--json"], &arguments[at..]].concat();
        let (code, out, err) = run(&mut majordomo(self.home, &arguments));
        assert_eq!(code, exit, "{line}");
        let object: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        assert_eq!(object["v"], 1, "{line}");
        let message = object["error"]["message"].as_str().unwrap();
        let hint = object["error"]["hint"].as_str().map_or(String::new(), |it| format!("; {it}"));
        let said = format!("{message}{hint}\n");
        assert!(err == said || err == format!("majordomo: {said}"), "{line}: {err} {said}");
        assert!(object["error"]["code"].as_str().is_some_and(|code| !code.is_empty()), "{line}");
    }
}

#[test]
fn wrong_flags_are_refused_with_what_is_right() {
    let home = home();
    let mut report = Report::new(home.path());
    for line in [
        "demo --nonsense",
        "call",
        "call echo --timeout 5",
        "call echo --timeout 0s",
        "call echo --count 0",
        "call echo --attempts 101",
        "call echo --protocol http",
        "call echo --endpoint nowhere",
        "call echo --raw --json",
        "call echo --color pink",
        "call echo - -",
        "call echo --protocol mdp01 --count 2000 --concurrency 2000",
        "call echo --to a,",
        "call echo --to a,zone=b",
        "call echo --to all --count 2",
        "call echo --to all --protocol mdp02",
        "work echo",
        "work echo --concurrency 0 -- cat",
        "work echo --label zone -- cat",
        "work '' -- cat",
        "work mmi.service -- cat",
        "work echo --stream --protocol mdp01 -- cat",
        "work echo --frames xml -- cat",
        "status --protocol mdp02",
        "status --watch --interval 0s",
        "ping --count none",
        "bench --modes W9",
        "bench --embedded --endpoint ipc://x",
        "context",
        "context select",
        "context add a/b --endpoint ipc://x",
        "context add .hidden --endpoint ipc://x",
    ] {
        report.add(2, line);
    }
    insta::assert_snapshot!("failures_usage", report.text);
}

#[test]
fn what_is_not_there_is_said_with_how_to_get_it() {
    let home = home();
    let mut report = Report::new(home.path());
    fs::write(home.path().join("not-to-be-run"), "").unwrap();
    for line in [
        "call echo @missing",
        "call echo --context missing",
        "context rm missing",
        "context select missing",
        "work echo -- no-such-command",
        "work echo -- ./not-to-be-run",
    ] {
        report.add_json(6, line);
    }
    let (code, out, _) = run(&mut majordomo(home.path(), &["context", "ls"]));
    assert_eq!((code, out.lines().count()), (0, 1), "an empty list is no failure");
    insta::assert_snapshot!("failures_not_there", report.text);
}

#[test]
fn keys_that_cannot_be_used_are_said_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;

    let home = home();
    let (code, _, _) = run(&mut majordomo(home.path(), &["key", "new", "anna"]));
    assert_eq!(code, 0);
    let file = |name: &str, text: &str, mode| {
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let secret = fs::read_to_string(home.path().join("anna.secret")).unwrap();
    file("open.secret", &secret, 0o644);
    file("public.secret", &fs::read_to_string(home.path().join("anna.pub")).unwrap(), 0o600);
    file("empty.secret", "", 0o600);
    file("wrong.secret", "curve\n    secret-key = \"x\"\n", 0o600);
    file("open.toml", "", 0o666);
    file("wrong.toml", "[[key]]\nname = \"anna\"\n[roles.x]\nallow = [\"call\"]\n", 0o600);
    let mut report = Report::new(home.path());
    report.add(2, "ping --curve-key anna.secret");
    report.add(2, "ping --server-key anna.pub");
    report.add(2, "ping --curve-key anna.secret --server-key anna.pub --endpoint ipc://x");
    report.add(2, "context add x --endpoint ipc://x --curve-key anna.secret");
    report.add(2, "key new .anna");
    report.add(2, "key approve anna.pub");
    for (exit, line) in [
        (6, "ping --curve-key none.secret --server-key anna.pub"),
        (6, "ping --curve-key anna.secret --server-key none.pub"),
        (1, "ping --curve-key open.secret --server-key anna.pub"),
        (1, "ping --curve-key public.secret --server-key anna.pub"),
        (1, "ping --curve-key empty.secret --server-key anna.pub"),
        (1, "ping --curve-key wrong.secret --server-key anna.pub"),
        (1, "ping --curve-key . --server-key anna.pub"),
        (6, "key show none"),
        (1, "key new anna"),
        (6, "key rotate none"),
        (6, "acl test --key anna call x --file none.toml"),
        (1, "acl test --key anna call x --file open.toml"),
        (78, "acl test --key anna call x --file wrong.toml"),
        (78, "key revoke anna --file wrong.toml"),
        (6, "key revoke anna --file none.toml"),
    ] {
        report.add_json(exit, line);
    }
    insta::assert_snapshot!("failures_keys", report.text);
}

#[test]
fn a_context_that_cannot_be_read_is_a_bad_configuration() {
    let home = home();
    let mut report = Report::new(home.path());
    let contexts = home.path().join(".config/majordomo/context");
    fs::create_dir_all(&contexts).unwrap();
    for (name, text) in [
        ("broken", "endpoint = \n"),
        ("unknown", "endpoint = \"ipc://x\"\nendpiont = \"ipc://y\"\n"),
        ("number", "timeout = 5\n"),
        ("unit", "\ntimeout = \"5\"\n"),
        ("protocol", "protocol = \"http\"\n"),
    ] {
        fs::write(contexts.join(format!("{name}.toml")), text).unwrap();
        report.add_json(78, &format!("call echo --context {name}"));
    }
    report.add(78, "call echo --log-level loud");
    fs::write(contexts.join("good.toml"), "endpoint = \"ipc://x\"\n").unwrap();
    report.add_json(1, "context add good --endpoint ipc://y");
    insta::assert_snapshot!("failures_context", report.text);
}

#[test]
fn a_broker_that_is_not_there_is_said_with_what_to_do() {
    let home = home();
    let mut report = Report::new(home.path());
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    report.variable.push((closed.port().to_string(), "PORT"));
    for line in ["call echo", "status", "ping", "bench --modes W1"] {
        report.add_json(3, &format!("{line} --endpoint ipc://nobody"));
        report.add_json(3, &format!("{line} --endpoint tcp://{closed}"));
    }
    fs::write(home.path().join("file"), "").unwrap();
    report.add(3, "ping --endpoint ipc://file");
    let unknown = ["ping", "--endpoint", "tcp://no-such-host.invalid:5555"];
    let (code, _, err) = run(&mut majordomo(home.path(), &unknown));
    assert_eq!(code, 3);
    let said = "majordomo: cannot connect to tcp://no-such-host.invalid:5555: ";
    assert!(err.starts_with(said) && !err.contains("os error"), "{err}");
    insta::assert_snapshot!("failures_no_broker", report.text);
}

#[test]
fn who_is_no_broker_is_told_from_one() {
    let home = home();
    let mut report = Report::new(home.path());
    // It takes connections, and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    report.variable.push((mute.local_addr().unwrap().port().to_string(), "MUTE"));
    let mute = mute.local_addr().unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = web.local_addr().unwrap();
    report.variable.push((address.port().to_string(), "WEB"));
    std::thread::spawn(move || {
        for stream in web.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 64]);
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    report.add_json(3, &format!("ping --timeout 200ms --endpoint tcp://{mute}"));
    report.add_json(3, &format!("call echo --timeout 200ms --endpoint tcp://{mute}"));
    report.add_json(3, &format!("ping --endpoint tcp://{address}"));
    insta::assert_snapshot!("failures_no_zmtp", report.text);
}

#[test]
fn calls_fail_with_the_code_of_what_happened() {
    let home = home();
    let home = home.path();
    let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
    broker.line();
    let (code, _, _) = run(&mut majordomo(
        home,
        &["context", "add", "here", "--endpoint", "ipc://socket", "--select"],
    ));
    assert_eq!(code, 0);
    let work = |service: &str, flags: &[&str], script: &str| {
        let command = ["--", "sh", "-c", script];
        let begin = ["work", service, "--json"];
        let mut worker = Process::start(home, &[&begin[..], flags, &command].concat());
        worker.line();
        worker
    };
    let _workers = [
        work("slow", &["--concurrency", "9"], "sleep 1000"),
        work("late", &["--timeout", "100ms"], "sleep 1000"),
        work("fail", &[], "echo 'no such \u{1b}[31mcat' >&2; exit 3"),
        work("quiet", &[], "exit 1"),
        work("busy", &[], "echo later >&2; exit 75"),
        work("dies", &[], "kill -SEGV $$"),
        work("frames", &["--frames", "netstrings"], "echo 5:hello,6:wrong,"),
    ];
    let mut report = Report::new(home);
    report.add_json(6, "call nobody x --timeout 300ms");
    report.add_json(6, "call nobody x --timeout 300ms --protocol mdp01");
    report.add_json(6, "status nobody --interval 0s");
    report.add_json(4, "call slow x --timeout 300ms");
    report.add_json(4, "call slow x --timeout 300ms --protocol mdp02");
    report.add_json(1, "call late x");
    report.add_json(1, "call fail x");
    report.add_json(1, "call quiet x");
    report.add_json(1, "call busy x --attempts 1");
    report.add_json(1, "call dies x");
    report.add_json(1, "call frames x");
    report.add_json(6, "call nobody x --to all");
    report.add_json(6, "call slow x --to nobody");
    report.add_json(6, "call slow x --to zone=a");
    report.add(2, &format!("call {} x", "n".repeat(256)));
    File::create(home.join("large")).unwrap().set_len((16 << 20) + 1).unwrap();
    report.add_json(1, "call slow @large");
    report.add_json(1, "call slow @.");
    insta::assert_snapshot!("failures_of_calls", report.text);
}

#[test]
fn too_many_calls_are_told_that_the_broker_is_overloaded() {
    let home = home();
    let home = home.path();
    let mut broker =
        Process::broker(home, &["--bind", "ipc://socket", "--set", "service.queue_messages_max=1"]);
    broker.line();
    let flags = ["--endpoint", "ipc://socket", "--json"];
    let sleep = ["--", "sleep", "0.5"];
    let mut worker = Process::start(home, &[&["work", "nap"], &flags[..], &sleep].concat());
    worker.line();
    let many = ["call", "nap", "--count", "3", "--concurrency", "3", "--attempts", "1"];
    let (code, out, err) = run(&mut majordomo(home, &[&many[..], &flags].concat()));
    assert_eq!(code, 9, "{out}{err}");
    let events: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, events) = events.split_last().unwrap();
    let refused: Vec<_> = events.iter().filter(|it| it["event"] == "error").collect();
    assert!(refused.iter().all(|it| it["error"]["code"] == "overloaded"), "{out}");
    assert_eq!((&summary["calls"], &summary["failed"]), (&3.into(), &refused.len().into()));
    assert!((1..=2).contains(&refused.len()), "its neighbours are answered: {out}");
    assert!(err.starts_with("majordomo: `nap` is overloaded: "), "{err}");
    assert!(err.contains("; send less at a time, or try again in "), "{err}");
}
