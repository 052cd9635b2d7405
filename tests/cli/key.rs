//! `key`, `acl` and `admin reload`: keys on disk, in the file of authorized keys and at a broker
//! that speaks CURVE.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::process::{PATIENCE, Process};
use super::{home, majordomo, run};

/// A folder, and all that commands have said in it.
struct Desk<'a> {
    home: &'a Path,
    said: String,
}

impl<'a> Desk<'a> {
    fn new(home: &'a Path) -> Self {
        Self { home, said: String::new() }
    }

    /// Exit code, standard output and standard error.
    fn say(&mut self, line: &str) -> (i32, String, String) {
        let words: Vec<_> = line.split(' ').collect();
        self.say_words(&words)
    }

    fn say_words(&mut self, words: &[&str]) -> (i32, String, String) {
        let (code, out, err) = run(&mut majordomo(self.home, words));
        self.said += &format!("$ majordomo {words:?}\n{out}{err}");
        (code, out, err)
    }

    /// What a command says that succeeds.
    fn out(&mut self, line: &str) -> String {
        let (code, out, err) = self.say(line);
        assert_eq!((code, err.as_str()), (0, ""), "{line}: {out}");
        out
    }

    fn json(&mut self, line: &str) -> Value {
        let object: Value = serde_json::from_str(&self.out(&format!("{line} --json"))).unwrap();
        assert_eq!(object["v"], 1, "{line}");
        object
    }

    /// What standard error says of a command that fails so.
    fn fails(&mut self, exit: i32, line: &str) -> String {
        let (code, _, err) = self.say(line);
        assert_eq!(code, exit, "{line}: {err}");
        err
    }

    fn fingerprint(&mut self, name: &str) -> String {
        self.json(&format!("key show {name}"))["fingerprint"].as_str().unwrap().to_owned()
    }

    /// No secret key that is in a file here was said.
    fn has_kept_secrets(&self) {
        let mut secrets = 0;
        for entry in fs::read_dir(self.home).unwrap() {
            let Ok(text) = fs::read_to_string(entry.unwrap().path()) else { continue };
            for secret in text.lines().filter_map(|line| line.split_once("secret-key = ")) {
                let secret = secret.1.trim_matches('"');
                assert_eq!(secret.len(), 40);
                assert!(!self.said.contains(secret), "a secret was said:\n{}", self.said);
                secrets += 1;
            }
        }
        assert!(secrets > 0, "there is nothing to keep");
    }
}

/// A broker with keys, and the endpoint where it speaks CURVE.
fn broker(home: &Path) -> (Process, String) {
    let flags = "--bind tcp://127.0.0.1:0 --bind ipc://socket --curve-secret broker.secret \
                 --authorized-keys keys.toml";
    let flags: Vec<_> = flags.split(' ').collect();
    let mut broker = Process::broker(home, &flags);
    let endpoint = broker.line();
    assert!(endpoint.starts_with("tcp://"), "{endpoint}");
    assert_eq!(broker.line(), "ipc://socket");
    (broker, endpoint)
}

const ADMIN: &str = "--endpoint ipc://socket";

#[test]
fn a_pair_is_made_once_and_shown_without_its_secret() {
    let home = home();
    let mut desk = Desk::new(home.path());
    let out = desk.out("key new anna");
    let lines: Vec<_> = out.lines().map(|line| line.split_once("  ").unwrap()).collect();
    let names: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["name       ", "public key ", "fingerprint", "secret file", "public file"]
            .map(str::trim_end)
    );
    let mode = fs::metadata(home.path().join("anna.secret")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = desk.json("key show anna");
    assert_eq!((&shown["name"], &shown["file"]), (&json!("anna"), &json!("anna.pub")));
    for file in ["anna.pub", "anna.secret", "./anna"] {
        let other = desk.json(&format!("key show {file}"));
        assert_eq!((&other["key"], &other["fingerprint"]), (&shown["key"], &shown["fingerprint"]));
    }
    fs::remove_file(home.path().join("anna.pub")).unwrap();
    assert_eq!(desk.json("key show anna")["file"], "anna.secret");
    let again = desk.fails(1, "key new anna");
    assert!(again.contains("anna.secret: is there already, and no key is overwritten"), "{again}");
    desk.fails(1, "key new anna --dir none");
    desk.fails(2, "key new ../anna");
    desk.fails(6, "key show ben");
    desk.out("key new ben --dir .");
    let line = desk.out("key broker ben.secret --endpoint tcp://10.0.0.5:5555");
    let key = desk.json("key show ben")["key"].as_str().unwrap().to_owned();
    let expected = format!(
        "majordomo context add broker --endpoint tcp://10.0.0.5:5555 --curve-key YOURS.secret \
         --server-key '{key}' --select"
    );
    assert_eq!(line.lines().last(), Some(&*expected));
    desk.fails(2, "key broker");
    fs::write(
        home.path().join("majordomo.toml"),
        "auth.secret = \"ben.secret\"\n\
        auth.authorized = \"any\"\nbroker.bind = [\"ipc://x\", \"tcp://[::1]:77\"]\n",
    )
    .unwrap();
    assert_eq!(desk.json("key broker")["context"], expected.replace("10.0.0.5:5555", "[::1]:77"));
    desk.has_kept_secrets();
}

#[test]
fn certificates_of_other_programs_are_shown() {
    let home = home();
    let mut desk = Desk::new(home.path());
    // As pyzmq writes them; the keys are those of the secret key 11 x 32.
    let (public, secret) =
        ("DRPV(ZjlbI-atU=1asNq<5?U%9@f<CE@{I#U>Hu}", "5FkP!5FkP!5FkP!5FkP!5FkP!5FkP!5FkP!5FkP!");
    let begin =
        "#   ****  Generated on 2026-11-29 19:23:30.437708 by pyzmq  ****\n\nmetadata\ncurve\n";
    let public_line = format!("    public-key = \"{public}\"\n");
    let files = [
        ("broker.key", format!("{begin}{public_line}")),
        ("broker.key_secret", format!("{begin}{public_line}    secret-key = \"{secret}\"\n")),
        ("bare", format!("{public}\n")),
    ];
    for (name, text) in &files {
        fs::write(home.path().join(name), text).unwrap();
        let shown = desk.json(&format!("key show {name}"));
        assert_eq!(shown["key"], public, "{name}");
        assert_eq!(shown["fingerprint"], "3bn4-ay00-dxhc-hfq5");
    }
    // NorFab leaves secrets readable.
    let said = desk.fails(1, "key rotate broker.key_secret");
    assert!(
        said.contains("others can read this secret, its mode is 0644; run: chmod 600 "),
        "{said}"
    );
    let path = home.path().join("broker.key_secret");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let rotated = desk.json("key rotate broker.key_secret");
    assert_eq!(rotated["old_fingerprint"], "3bn4-ay00-dxhc-hfq5");
    let now = desk.json("key show broker.key");
    assert_eq!((&now["key"], &rotated["key"]), (&rotated["key"], &now["key"]));
    assert_ne!(now["key"], public);
    desk.has_kept_secrets();
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn a_file_of_keys_is_changed_without_a_broker() {
    let home = home();
    let home = home.path();
    let mut desk = Desk::new(home);
    for name in ["anna", "ben"] {
        desk.out(&format!("key new {name}"));
    }
    let [anna, ben] = ["anna", "ben"].map(|name| desk.fingerprint(name));
    let approve = "key approve anna.pub --name anna --role client --file keys.toml";
    assert_eq!(desk.out(approve), format!("added key anna ({anna})\n"));
    assert_eq!(desk.out(approve), "nothing has changed\n");
    let path = home.join("keys.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}# mine\n")).unwrap();
    let words = [
        "key",
        "approve",
        "ben.pub",
        "--service",
        "print",
        "--allow",
        "call audit.*",
        "--file",
        "keys.toml",
        "--json",
    ];
    let (code, out, err) = desk.say_words(&words);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let done: Value = serde_json::from_str(&out).unwrap();
    let name = format!("key-{}", &ben[..9]);
    let change = json!({"change": "added", "what": "key", "name": name, "fingerprint": ben});
    assert_eq!(done, json!({"v": 1, "changes": [change], "more": 0, "closed": 0}));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("# mine\n\n[[key]]\n"), "{text}");
    assert!(text.contains("allow = [\"serve print\", \"call audit.*\"]\n"), "{text}");

    let test = |desk: &mut Desk<'_>, exit, line: &str| {
        let (code, out, err) = desk.say(&format!("acl test {line} --file keys.toml"));
        assert_eq!((code, err.as_str()), (exit, ""), "{line}: {out}");
        out
    };
    assert_eq!(
        test(&mut desk, 0, "--key anna call print"),
        format!("allowed anna ({anna}): role client, built in\n")
    );
    assert_eq!(
        test(&mut desk, 0, "--key ben.pub call audit.log"),
        format!("allowed {name} ({ben}): key {name}, line 13: allow call audit.*\n")
    );
    assert_eq!(
        test(&mut desk, 5, &format!("--key {ben} serve other")),
        format!("denied {name} ({ben}): no rule allows it\n")
    );
    let (code, out, _) = desk.say("acl test --key anna serve x --file keys.toml --json");
    let why: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &why["allowed"]), (5, &json!(false)));
    assert_eq!(why["decisions"][0]["because"], "no rule allows it");
    desk.fails(6, "acl test --key carl call x --file keys.toml");
    desk.fails(6, "acl test --key anna call x --file none.toml");
    let said = desk.fails(2, "acl test --key anna cal x --file keys.toml");
    assert!(said.contains("`cal` is no right; did you mean `call`?"), "{said}");

    assert_eq!(
        desk.out(&format!("key deny {ben} --name mallory --file keys.toml")),
        format!("added denied mallory ({ben})\nremoved key {name} ({ben})\n")
    );
    assert_eq!(
        test(&mut desk, 5, "--key mallory call x"),
        format!("denied ({ben}): the key is denied\n")
    );
    assert_eq!(
        desk.out("key revoke anna --file keys.toml"),
        format!("removed key anna ({anna})\n")
    );
    desk.fails(6, "key revoke anna --file keys.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("# mine\n"), "{text}");
    desk.fails(2, "key approve anna.pub --file keys.toml");
    desk.out("key approve anna.pub --name x-1 --role worker --service x --file narrow.toml");
    let narrow = |desk: &mut Desk<'_>, rule: &str| {
        desk.say(&format!("acl test --key x-1 {rule} --file narrow.toml")).0
    };
    for (rule, exit) in
        [("serve x", 0), ("call sid.service.broker", 0), ("serve y", 5), ("call y", 5)]
    {
        assert_eq!(narrow(&mut desk, rule), exit, "{rule}");
    }
    let said = desk.fails(2, "key approve anna.pub --role clinet --file keys.toml");
    assert!(said.contains("there is no role `clinet`; did you mean `client`?"), "{said}");
    let said = desk.fails(6, "key approve anna --role client --file keys.toml");
    assert!(said.contains("a new key is named by its public file, or in Z85"), "{said}");
    desk.fails(2, "key approve anna.pub --role client --file keys.toml --endpoint ipc://x");
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "nothing of that has changed it");
    desk.has_kept_secrets();
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn a_stranger_is_approved_calls_and_is_revoked() {
    let home = home();
    let home = home.path();
    let mut desk = Desk::new(home);
    for name in ["broker", "anna", "ben", "carl"] {
        desk.out(&format!("key new {name}"));
    }
    fs::write(home.join("keys.toml"), "# ours\n").unwrap();
    let (broker, endpoint) = broker(home);
    let anna = format!("--endpoint {endpoint} --curve-key anna.secret --server-key broker.pub");
    let said = desk.fails(3, &format!("ping {anna}"));
    assert!(
        said.contains("hung up in the handshake; it has another key than --server-key says, or")
    );
    let fingerprint = desk.fingerprint("anna");
    let pending = desk.json(&format!("key pending {ADMIN}"));
    let [stranger] = &pending["pending"].as_array().unwrap()[..] else { panic!("{pending}") };
    assert_eq!(stranger["fingerprint"], fingerprint);
    assert_eq!((&stranger["address"], &stranger["attempts"]), (&json!("127.0.0.1"), &json!(1)));
    assert_eq!(
        desk.out(&format!("key approve {fingerprint} --name anna --role client {ADMIN}")),
        format!("added key anna ({fingerprint})\n")
    );
    assert_eq!(desk.json(&format!("key pending {ADMIN}"))["pending"], json!([]));
    let approve = format!("key approve ben.pub --name ben --service shout {ADMIN}");
    let ben = desk.fingerprint("ben");
    assert_eq!(desk.out(&approve), format!("added key ben ({ben})\n"));

    let work = format!(
        "work shout --json --endpoint {endpoint} --curve-key ben.secret --server-key broker.pub -- \
         tr a-z A-Z"
    );
    let work: Vec<_> = work.split(' ').collect();
    let mut worker = Process::start(home, &work);
    desk.said += &worker.line();
    assert_eq!(desk.out(&format!("call shout hello {anna}")), "HELLO\n");
    let said = desk.fails(5, &format!("key pending {anna}"));
    assert!(said.contains("key.pending"), "{said}");
    assert_eq!(
        desk.out(&format!("acl test --key ben serve shout {ADMIN}")),
        format!("allowed ben ({ben}): key ben, line 12: allow serve shout\n")
    );
    let (code, _, _) = desk.say(&format!("acl test --key anna serve shout {ADMIN}"));
    assert_eq!(code, 5);

    let removed = desk.json(&format!("key revoke ben {ADMIN}"));
    assert_eq!(
        (&removed["closed"], &removed["changes"][0]["change"]),
        (&json!(1), &json!("removed"))
    );
    // It comes again, and is a stranger.
    let end = Instant::now() + PATIENCE;
    loop {
        let pending = desk.json(&format!("key pending {ADMIN}"));
        if pending["pending"][0]["fingerprint"] == ben {
            break;
        }
        assert!(Instant::now() < end, "{pending}");
    }
    desk.out(&format!("key deny {ben} {ADMIN}"));
    assert_eq!(desk.json(&format!("key pending {ADMIN}"))["pending"], json!([]));
    desk.fails(6, &format!("key revoke ben {ADMIN}"));
    desk.fails(6, &format!("key approve carl --role client {ADMIN}"));
    let said = desk.fails(2, &format!("key approve carl.pub --role client --allow call {ADMIN}"));
    assert!(said.contains("`call` is no rule"), "{said}");
    let said = desk.fails(1, &format!("key approve anna.pub --role worker {ADMIN}"));
    assert!(said.contains("may come in already, as `anna` in line "), "{said}");
    let denied = format!("--endpoint {endpoint} --curve-key ben.secret --server-key broker.pub");
    let said = desk.fails(5, &format!("ping {denied}"));
    assert!(said.contains("denies our key"), "{said}");
    let said = desk.fails(3, &format!("ping --endpoint {endpoint}"));
    assert!(said.contains("name keys with --curve-key and --server-key"), "{said}");
    let said = desk.fails(
        3,
        &format!("ping --endpoint {endpoint} --curve-key anna.secret --server-key carl.pub"),
    );
    assert!(said.contains("another key than --server-key says"), "{said}");
    assert!(fs::read_to_string(home.join("keys.toml")).unwrap().starts_with("# ours\n"));

    broker.signal("TERM");
    let (status, log) = broker.wait();
    assert!(status.success(), "{log}");
    assert!(log.contains("removed key ben"), "{log}");
    desk.said += &log;
    desk.has_kept_secrets();
}

#[test]
fn files_are_read_again_whole_or_not_at_all() {
    let home = home();
    let home = home.path();
    let mut desk = Desk::new(home);
    for name in ["broker", "anna"] {
        desk.out(&format!("key new {name}"));
    }
    desk.out("key approve anna.pub --name anna --role client --file keys.toml");
    let (broker, endpoint) = broker(home);
    let add = format!(
        "context add here --endpoint {endpoint} --curve-key anna.secret --server-key broker.pub \
         --select"
    );
    desk.out(&add);
    // From another folder, too.
    let elsewhere = home.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let (code, out, err) = run(majordomo(home, &["ping", "--count", "1"]).current_dir(&elsewhere));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let contexts = desk.json("context ls");
    let kept = &contexts["contexts"][0]["context"];
    assert_eq!(kept["curve_key"], json!(home.join("anna.secret")));
    assert_eq!(kept["server_key"], json!(home.join("broker.pub")));
    // What guards an ipc:// endpoint is its file.
    desk.out(&format!("ping --count 1 {ADMIN}"));
    desk.fails(2, &format!("ping --curve-key anna.secret {ADMIN}"));

    let reload = format!("admin reload {ADMIN}");
    assert_eq!(desk.out(&reload), "nothing has changed\n");
    desk.out("key rotate broker.secret");
    assert_eq!(desk.out(&reload), "changed broker key\n");
    desk.out("ping --count 1");
    let good = fs::read_to_string(home.join("keys.toml")).unwrap();
    fs::write(home.join("keys.toml"), format!("{good}\nrole = []\n")).unwrap();
    let said = desk.fails(1, &reload);
    assert!(said.contains("keys.toml:8:1: unknown key `role`; did you mean `roles`?"), "{said}");
    desk.out("ping --count 1");
    fs::write(home.join("keys.toml"), good.replace("client", "worker")).unwrap();
    let changed = desk.json(&reload);
    assert_eq!(changed["changes"][0]["change"], "changed");
    assert_eq!(changed["changes"].as_array().unwrap().len(), 1);
    desk.fails(5, "call x y --attempts 1");
    fs::write(home.join("keys.toml"), "").unwrap();
    broker.signal("HUP");
    let end = Instant::now() + PATIENCE;
    while desk.say("ping --count 1").0 != 3 {
        assert!(Instant::now() < end, "SIGHUP has no effect");
    }
    drop(broker);
    desk.has_kept_secrets();
}

#[test]
fn a_lock_that_somebody_holds_stops_neither_operators_nor_signals() {
    let home = home();
    let home = home.path();
    let mut desk = Desk::new(home);
    for name in ["broker", "anna"] {
        desk.out(&format!("key new {name}"));
    }
    desk.out("key approve anna.pub --name anna --role client --file keys.toml");
    let (broker, _) = broker(home);
    let held = fs::File::open(home.join("keys.toml")).unwrap();
    held.lock().unwrap();
    let revoke = format!("key revoke anna {ADMIN}");
    for line in [&revoke, "key revoke anna --file keys.toml"] {
        let said = desk.fails(1, line);
        assert!(said.contains("keys.toml: another program has held its lock for 2s"), "{said}");
    }
    // Who only reads does not ask for it.
    assert_eq!(desk.out(&format!("admin reload {ADMIN}")), "nothing has changed\n");
    let words: Vec<_> = revoke.split(' ').collect();
    let waits = Process::start(home, &words);
    broker.signal("HUP");
    broker.signal("TERM");
    let (status, log) = broker.wait();
    assert!(status.success(), "{log}");
    drop((held, waits));
    desk.has_kept_secrets();
}

#[test]
fn a_broker_without_keys_and_one_that_takes_any_say_so() {
    let home = home();
    let home = home.path();
    let mut desk = Desk::new(home);
    let mut open = Process::broker(home, &["--bind", "ipc://socket"]);
    open.line();
    let said = desk.fails(1, &format!("key pending {ADMIN}"));
    assert!(
        said.contains("this broker asks nobody for a key; start it with --curve-secret"),
        "{said}"
    );
    assert_eq!(desk.out(&format!("admin reload {ADMIN}")), "nothing has changed\n");
    drop(open);
    for name in ["broker", "anna"] {
        desk.out(&format!("key new {name}"));
    }
    let flags = [
        "--bind",
        "tcp://127.0.0.1:0",
        "--bind",
        "ipc://other",
        "--curve-secret",
        "broker.secret",
        "--authorized-keys",
        "any",
    ];
    let mut any = Process::broker(home, &flags);
    let endpoint = any.line();
    any.line();
    let anna = format!("--endpoint {endpoint} --curve-key anna.secret --server-key broker.pub");
    desk.out(&format!("ping --count 1 {anna}"));
    let said = desk.fails(1, "key revoke anna --endpoint ipc://other");
    assert!(said.contains("every key may come in here (`any`)"), "{said}");
    desk.fails(5, &format!("key pending {anna}"));
    assert_eq!(
        desk.out("acl test --key anybody call x --endpoint ipc://other"),
        "allowed: built in\n"
    );
    desk.has_kept_secrets();
}
