//! `group`.

use serde_json::{Value, json};

use super::process::Process;
use super::{home, majordomo, run};

/// A group that a busy machine takes for nobody's death.
const LED: [&str; 9] = [
    "--leader",
    "--ttl",
    "10s",
    "--election-max",
    "20s",
    "--peer-timeout",
    "30s",
    "--consensus-timeout",
    "8s",
];

/// A broker, and where it listens: for all, and for who administers it.
struct House {
    home: tempfile::TempDir,
    _broker: Process,
    endpoint: String,
    office: String,
}

impl House {
    fn new() -> Self {
        let home = home();
        let office = format!("ipc://{}", home.path().join("office").display());
        let flags = ["--bind", "tcp://127.0.0.1:0", "--bind", &office];
        let mut broker = Process::broker(home.path(), &flags);
        let endpoint = broker.line();
        broker.line();
        Self { home, _broker: broker, endpoint, office }
    }

    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let at = ["--endpoint", &self.endpoint];
        run(&mut majordomo(self.home.path(), &[&["group"], words, &at].concat()))
    }

    fn json(&self, words: &[&str]) -> (i32, Value) {
        let (code, out, err) = self.run(&[words, &["--json"]].concat());
        let last = out.lines().last().unwrap_or_else(|| panic!("{words:?}: {err}"));
        (code, serde_json::from_str(last).unwrap())
    }

    /// A member that goes on, and has joined.
    fn member(&self, name: &str, more: &[&str]) -> Member {
        let words = ["group", "join", "Escort.1", "--member", name, "--json"];
        let at = ["--endpoint", &self.endpoint];
        let process = Process::start(self.home.path(), &[&words, more, &LED, &at].concat());
        let mut member = Member(process);
        member.until("joined");
        member
    }
}

struct Member(Process);

impl Member {
    /// The next event of that kind.
    fn until(&mut self, event: &str) -> Value {
        loop {
            let line = self.0.line();
            assert!(!line.is_empty(), "it ends without {event}");
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["event"] == event {
                return value;
            }
        }
    }
}

#[test]
fn members_talk_and_are_seen_from_outside() {
    let house = House::new();
    let mut anna = house.member("anna", &[]);
    let mut bert = house.member("bert", &["--no-own"]);
    let leads = anna.until("leader_elected");
    assert_eq!(leads["leader"]["member"], "anna");
    assert_eq!(bert.until("leader_elected"), leads);
    let epoch = &leads["leader"]["epoch"];

    let (code, out, err) = house.run(&["send", "Escort.1", "to all", ""]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "sent to 2 members\n", ""));
    for member in [&mut anna, &mut bert] {
        let message = member.until("message");
        assert_eq!((&message["to"], &message["frames"]), (&json!("all"), &json!(["to all", ""])));
    }
    let (code, said) = house.json(&["send", "Escort.1", "to you", "--to", "leader"]);
    assert_eq!((code, &said["members"]), (0, &json!(1)));
    assert_eq!(anna.until("message")["frames"], json!(["to you"]));
    let words = ["send", "Escort.1", "-1", "--to-member", "bert", "--member", "cleo"];
    assert_eq!(house.run(&words).0, 0);
    let message = bert.until("message");
    assert_eq!((&message["from"]["member"], &message["to"]), (&json!("cleo"), &json!("member")));

    let (code, said) = house.json(&["ls", "Esc"]);
    let row = &said["groups"][0];
    assert_eq!((code, &row["group"], &row["size"]), (0, &json!("Escort.1"), &json!(2)));
    assert_eq!((&row["leader"], &row["epoch"]), (&json!("anna"), epoch));
    assert_eq!(house.json(&["ls", "Other"]).1, json!({"v": 1, "groups": []}));
    let (_, table, _) = house.run(&["ls"]);
    assert!(table.starts_with("GROUP\tMEMBERS\tLEADER\tEPOCH\tVIEW\tPOLLS\nEscort.1\t2\tanna\t"));
    let (code, said) = house.json(&["info", "Escort.1"]);
    let names: Vec<_> =
        said["members"].as_array().unwrap().iter().map(|it| &it["member"]).collect();
    assert_eq!((code, json!(names)), (0, json!(["anna", "bert"])));
    assert_eq!((&said["kind"]["leader"], &said["kind"]["ttl_ms"]), (&json!(true), &json!(10_000)));
    let (_, table, _) = house.run(&["info", "Escort.1"]);
    assert!(table.contains("\nanna\t") && table.contains("\tleads\t"), "{table}");
    assert!(
        table.starts_with("leader: yes, timed: no, min size: 2, voters: who is there"),
        "{table}"
    );
    assert!(table.contains("ttl: 10s; unused: election min: "), "{table}");
    assert_eq!(said["kind"]["unused"], json!(["election_min", "election_max"]));
    let status = ["status", "--interval", "0s", "--endpoint", &house.endpoint];
    let (_, _, status) = run(&mut majordomo(house.home.path(), &status));
    assert!(status.contains(", leases: 0, groups: 1"), "{status}");
    let lease = ["lease", "ls", "$group.", "--json", "--endpoint", &house.endpoint];
    let (_, leases, _) = run(&mut majordomo(house.home.path(), &lease));
    let leases: Value = serde_json::from_str(&leases).unwrap();
    assert_eq!(leases["leases"][0]["lease"], "$group.Escort.1");
    assert_eq!(
        (&leases["leases"][0]["name"], &leases["leases"][0]["epoch"]),
        (&json!("anna"), epoch)
    );

    let words = ["watch", "Escort.1", "--count", "3"];
    let (code, out, _) = house.run(&words);
    let lines: Vec<_> = out.lines().map(|line| line.split('#').next().unwrap()).collect();
    let expected = ["member joined: anna", "member joined: bert", "leader elected: anna"];
    assert_eq!((code, lines.as_slice()), (0, &expected[..]));
    let words = ["group", "watch", "Escort.1", "--json", "--endpoint", &house.endpoint];
    let mut watch = Member(Process::start(house.home.path(), &words));
    watch.until("leader_elected");

    // It leaves when it is told to end.
    bert.0.signal("TERM");
    assert!(bert.0.wait().0.success());
    // Who has only sent something has come and gone before.
    let left = std::iter::repeat_with(|| anna.until("member_left"));
    let left = left.into_iter().find(|left| left["member"] == "bert").unwrap();
    assert_eq!(left["reason"], "said");
    assert_eq!(anna.until("leader_exited")["reason"], "too_few");
    // Who looks on is told the same, as it happens.
    assert_eq!(watch.until("member_left"), left);
    assert_eq!(watch.until("leader_exited")["reason"], "too_few");
}

#[test]
fn a_group_decides_and_acts_and_its_leader_is_deposed() {
    let house = House::new();
    let mut anna = house.member("anna", &["--vote", "yes"]);
    let mut bert = house.member("bert", &["--vote", "yes"]);
    bert.until("leader_elected");
    let (code, out, err) = house.run(&["poll", "Escort.1", "north?", "--id", "p1"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("yes: 2 yes, 0 no, ") && out.ends_with(" of 3\n"), "{out}");
    let asked = bert.until("poll");
    assert_eq!((&asked["poll"], &asked["frames"]), (&json!("p1"), &json!(["north?"])));
    assert_eq!(bert.until("result")["status"], "yes");
    // Who asks has a vote itself.
    let words = ["poll", "Escort.1", "all?", "--unanimous", "--vote", "no"];
    let (code, said) = house.json(&words);
    assert_eq!((code, &said["status"], &said["no"]), (1, &json!("no"), &json!(1)));

    // Whoever asks the same again has the same answer, under whichever name.
    let (code, again, err) = house.run(&["poll", "Escort.1", "north?", "--id", "p1"]);
    assert_eq!((code, again, err.as_str()), (0, out, ""));
    let (code, said) = house.json(&["poll", "Escort.1", "south?", "--id", "p1"]);
    assert_eq!((code, &said["error"]["code"]), (8, &json!("poll_taken")), "{said}");

    let words = ["poll", "Escort.1", "brake", "--in", "1500ms", "--timeout", "1s", "--vote", "yes"];
    let words = [&words[..], &["--member", "cleo"]].concat();
    // Who has just come to a busy machine may not know the time well enough, and says "missed".
    let all_do = || {
        let (code, said) = house.json(&words);
        assert_eq!((code, &said["event"]), (0, &json!("outcomes")), "{said}");
        let done = said["members"].as_array().unwrap();
        assert_eq!(done.len(), 3, "{said}");
        done.iter().all(|it| it["outcome"] == "done")
    };
    assert!(std::iter::repeat_with(all_do).take(5).any(|all| all));
    assert_eq!(anna.until("acted")["outcome"], "done");
    // An action, too: it is not done a second time.
    let words = ["poll", "Escort.1", "halt", "--in", "1500ms", "--timeout", "1s", "--id", "p2"];
    let words = [&words[..], &["--vote", "yes"]].concat();
    let first = house.run(&words);
    let again = house.run(&words);
    assert_eq!((first.0, again.0), (0, 0), "{first:?} {again:?}");
    assert!(first.1.starts_with(&again.1) && again.1.starts_with("yes: "), "{again:?}");

    let (code, _, err) = house.run(&["resign", "Escort.1"]);
    assert_eq!(code, 5, "{err}");
    let resign = |more: &[&str]| {
        let words = ["group", "resign", "Escort.1", "--endpoint", &house.office];
        run(&mut majordomo(house.home.path(), &[&words, more].concat()))
    };
    let (code, out, _) = resign(&["--to", "bert"]);
    assert_eq!((code, out.as_str()), (0, "resigned Escort.1\n"));
    assert_eq!(anna.until("leader_exited")["reason"], "resigned");
    assert_eq!(anna.until("leader_elected")["leader"]["member"], "bert");
    assert_eq!(resign(&["--to", "dora"]).0, 6);
}

#[test]
fn what_goes_wrong_with_a_group_has_its_exit_code() {
    let house = House::new();
    let _anna = house.member("anna", &["--min-size", "3"]);
    let code = |words: &[&str]| {
        let (code, said) = house.json(words);
        (code, said["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let said = |code, name: &str| (code, name.to_owned());
    assert_eq!(code(&["info", "Escort.2"]), said(6, "not_found"));
    let leader = ["send", "Escort.1", "x", "--to", "leader"];
    assert_eq!(code(&leader), said(1, "no_leader"));
    assert_eq!(code(&["send", "Flat.1", "x", "--to", "leader"]), said(1, "not_coordinated"));
    let member = ["send", "Escort.1", "x", "--to-member", "bert"];
    assert_eq!(code(&member), said(6, "not_member"));
    assert_eq!(code(&["send", "Escort.1", "x", "--member", "anna"]), said(8, "name_taken"));
    assert_eq!(code(&["join", "Escort.1", "--min-size", "7"]), said(8, "group_conflict"));
    assert_eq!(code(&["poll", "Escort.1", "x", "--wait", "50ms"]), said(1, "no_leader"));
    assert_eq!(code(&["join", "Escort.3", "--heartbeat", "3s"]), said(2, "usage"));
    assert_eq!(code(&["join", "Escort.3", "--ttl", "1ms"]), said(2, "usage"));
    assert_eq!(code(&["join", ""]), said(2, "usage"));
    assert_eq!(code(&["ls", "--protocol", "mdp02"]), said(2, "usage"));
    for words in [
        &["join"][..],
        &["poll", "g", "x", "--clock-error", "1ms"],
        &["send", "g", "x", "--to", "bert"],
        &["join", "g", "--voters", "a", "--expected-size", "2"],
        &["join", "g", "--polls", "sometimes"],
    ] {
        assert_eq!(house.run(words).0, 2, "{words:?}");
    }
    let nobody = ["group", "ls", "--endpoint", "ipc:///nowhere/at/all"];
    assert_eq!(run(&mut majordomo(house.home.path(), &nobody)).0, 3);
}
