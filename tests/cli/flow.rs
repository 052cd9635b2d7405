//! `flow`: what is said when there is no flow. Flows that run are in `tests/interop`.

use std::fs;

use serde_json::Value;

use super::process::Process;
use super::{home, majordomo, run};

#[test]
fn what_cannot_be_a_flow_is_refused_before_anybody_is_asked() {
    let home = home();
    let home = home.path();
    fs::create_dir(home.join("folder")).unwrap();
    fs::write(home.join("here"), "").unwrap();
    for (arguments, code, text) in [
        (&["send", "nowhere"][..], 6, "majordomo: there is no file `nowhere`; check the path"),
        (&["send", "folder"], 2, "majordomo: folder is a folder; send a file, or `tar c DIR |"),
        (
            &["send", "here", "--attr", "cid=7"],
            2,
            "majordomo: the attribute `cid` is the protocol's",
        ),
        (&["send", "here", "--attr", "a\"=7"], 2, "majordomo: the attribute `a\\\"` needs escapes"),
        (
            &["send", "here", "--attr", "run"],
            2,
            "error: invalid value 'run' for '--attr <NAME=VALUE>'",
        ),
        (
            &["send", "here", "--chunk", "1GiB"],
            2,
            "error: invalid value '1GiB' for '--chunk <SIZE>'",
        ),
        (&["send", "here", "--credit", "0"], 2, "error: invalid value '0' for '--credit <COUNT>'"),
        (
            &["send", "here", "--credit-bytes", "1KiB"],
            2,
            "error: invalid value '1KiB' for '--credit-bytes <SIZE>': a credit has 64KiB to 1GiB",
        ),
        (&["recv", "--json"], 2, "majordomo: payload and JSON cannot both go to standard output"),
        (&["recv", "-o", "here"], 1, "majordomo: there is a `here` already; name another place"),
        (&["recv", "-o", "folder"], 2, "majordomo: folder is a folder; name a file in it"),
        (&["recv", "--endpoint", "ipc://none"], 3, "majordomo: no broker listens at ipc://none"),
    ] {
        let (exit, _, err) = run(&mut majordomo(home, &[&["flow"], arguments].concat()));
        assert_eq!(exit, code, "{arguments:?}: {err}");
        assert!(err.starts_with(text), "{arguments:?}: {err}");
    }
    assert_eq!(fs::read_dir(home).unwrap().count(), 2, "nothing was begun");
}

#[test]
fn a_flow_for_which_there_is_no_rule_is_refused() {
    let home = home();
    let home = home.path();
    let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
    assert_eq!(broker.line(), "ipc://socket");
    for arguments in [&["send", "/dev/null"][..], &["recv", "-o", "x"]] {
        let words = [&["flow"], arguments, &["--endpoint", "ipc://socket", "--json"]].concat();
        let (exit, out, err) = run(&mut majordomo(home, &words));
        assert_eq!(exit, 1, "{err}");
        assert!(err.starts_with("majordomo: the flow was refused; a rule of the broker"), "{err}");
        let said: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(said["error"]["code"], "refused");
    }
    assert!(!home.join("x.part").exists());
}

#[test]
fn status_tells_of_flows_and_who_comes_for_them() {
    let home = home();
    let home = home.path();
    let config = "[flow.handlers.hole]\nkind = \"dump\"\n";
    fs::write(home.join("m.toml"), config).unwrap();
    let mut broker = Process::broker(home, &["--config", "m.toml", "--bind", "ipc://socket"]);
    assert_eq!(broker.line(), "ipc://socket");
    let (exit, out, err) =
        run(&mut majordomo(home, &["status", "--endpoint", "ipc://socket", "--json"]));
    assert_eq!(exit, 0, "{err}");
    let said: Value = serde_json::from_str(&out).unwrap();
    let flows = serde_json::json!({"open": 0, "waiting": 0, "handlers": 1});
    assert_eq!(said["broker"]["flows"], flows, "{out}");
}

#[test]
fn a_file_goes_through_a_flow_within_mjp_and_comes_back() {
    let home = home();
    let home = home.path();
    let config = format!(
        "[flow]\notherwise = \"store\"\n[flow.handlers.store]\nkind = \"file\"\nfolder = {:?}\n",
        home.join("store")
    );
    fs::create_dir(home.join("store")).unwrap();
    fs::write(home.join("m.toml"), config).unwrap();
    let photo: Vec<u8> = (0..300_000_u32).flat_map(|it| it.to_le_bytes()).collect();
    fs::write(home.join("photo"), &photo).unwrap();
    let mut broker = Process::broker(home, &["--config", "m.toml", "--bind", "ipc://socket"]);
    assert_eq!(broker.line(), "ipc://socket");
    let flow = |arguments: &[&str]| {
        let all = ["--credit-bytes", "256KiB", "--attr", "file=p", "--endpoint", "ipc://socket"];
        run(&mut majordomo(home, &[&["flow"], arguments, &all].concat()))
    };
    // A message may have half of it, and has a label, too.
    let (exit, _, err) = flow(&["send", "photo", "--chunk", "128KiB"]);
    assert_eq!(exit, 1, "{err}");
    assert!(err.contains("more than 131072") && err.contains("take a smaller --chunk"), "{err}");
    fs::remove_file(home.join("store/p")).unwrap();
    let (exit, out, err) = flow(&["send", "photo", "--chunk", "64KiB", "--json"]);
    assert_eq!(exit, 0, "{err}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&said["messages"], &said["octets"]), (&19.into(), &1_200_000.into()));
    let (exit, _, err) = flow(&["recv", "-o", "back"]);
    assert_eq!(exit, 0, "{err}");
    assert_eq!(fs::read(home.join("back")).unwrap(), photo);
}
