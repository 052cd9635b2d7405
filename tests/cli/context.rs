//! Contexts: which one counts, and what the files hold.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{home, majordomo, run};

/// What a command prints that succeeds.
fn out(home: &Path, line: &str) -> String {
    let arguments: Vec<_> = line.split(' ').collect();
    let (code, out, err) = run(&mut majordomo(home, &arguments));
    assert_eq!(code, 0, "{line}: {err}");
    out
}

/// Where a command would go, from what it says when nobody is there.
fn endpoint(home: &Path, line: &str, environment: Option<&str>) -> String {
    let arguments: Vec<_> = line.split(' ').collect();
    let mut command = majordomo(home, &arguments);
    command.envs(environment.map(|name| ("MAJORDOMO_CONTEXT", name)));
    let (code, _, err) = run(&mut command);
    assert_eq!(code, 3, "{line}: {err}");
    let rest =
        err.strip_prefix("majordomo: no broker listens at ").unwrap_or_else(|| panic!("{err}"));
    rest.split(';').next().unwrap().into()
}

#[test]
fn a_flag_comes_before_the_variable_and_that_before_the_selection() {
    let home = home();
    let home = home.path();
    assert_eq!(out(home, "context ls"), "\tNAME\tENDPOINT\tPROTOCOL\tTIMEOUT\tDESCRIPTION\n");
    for name in ["one", "two", "three"] {
        let line = format!("context add {name} --endpoint ipc://{name}");
        assert!(out(home, &line).starts_with(&format!("{}/.config/", home.display())));
    }
    assert_eq!(out(home, "context select one"), "context `one` is used from now on\n");
    assert_eq!(endpoint(home, "ping", None), "ipc://one");
    assert_eq!(endpoint(home, "ping", Some("two")), "ipc://two");
    assert_eq!(endpoint(home, "ping --context three", Some("two")), "ipc://three");
    assert_eq!(endpoint(home, "ping --endpoint ipc://x --context three", None), "ipc://x");
    assert_eq!(out(home, "context rm one"), "context `one` is forgotten\n");
    assert!(!out(home, "context ls").contains('*'), "what is forgotten is not selected");
    out(home, "context select two");
    assert_eq!(out(home, "context select --none"), "no context is used from now on\n");
    assert!(!out(home, "context ls").contains('*'));
}

#[test]
fn a_context_is_a_file_that_people_can_write() {
    let home = home();
    let home = home.path();
    let add = "context add prod --endpoint tcp://10.0.0.5:5555 --protocol mdp01 --timeout 5s \
               --description ours --select --json";
    let path = home.join(".config/majordomo/context/prod.toml");
    let added: Value = serde_json::from_str(&out(home, &add.replace("  ", ""))).unwrap();
    assert_eq!(added, json!({"v": 1, "name": "prod", "path": path, "selected": true}));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        "endpoint = \"tcp://10.0.0.5:5555\"\nprotocol = \"mdp01\"\ntimeout = \"5s\"\n\
         description = \"ours\"\n"
    );
    fs::write(path.with_file_name("bare.toml"), "endpoint = \"ipc://bare\"\n").unwrap();
    fs::write(path.with_file_name("broken.toml"), "endpoint = 3\n").unwrap();
    fs::write(path.with_file_name("not a context.toml"), "").unwrap();
    let listed: Value = serde_json::from_str(&out(home, "context ls --json")).unwrap();
    let contexts = listed["contexts"].as_array().unwrap();
    let names: Vec<_> = contexts.iter().map(|context| context["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bare", "broken", "prod"]);
    assert_eq!(contexts[0]["context"], json!({"endpoint": "ipc://bare"}));
    assert!(contexts[1]["error"].as_str().unwrap().contains("broken.toml:1:12: "));
    assert_eq!(contexts[2]["selected"], true);
    assert_eq!(endpoint(home, "ping --context bare", None), "ipc://bare");
    let elsewhere = home.join("elsewhere");
    let mut command = majordomo(home, &["context", "ls"]);
    let (_, out, _) = run(command.env("XDG_CONFIG_HOME", elsewhere));
    assert_eq!(out.lines().count(), 1, "XDG_CONFIG_HOME counts: {out}");
}

#[test]
fn the_context_says_the_protocol_and_the_timeout() {
    let home = home();
    let home = home.path();
    let mut broker = super::process::Process::broker(home, &["--bind", "ipc://socket"]);
    broker.line();
    let add = "context add here --endpoint ipc://socket --protocol mdp02 --timeout 300ms --select";
    out(home, add);
    let ping: Value = serde_json::from_str(&out(home, "ping --count 1 --json")).unwrap();
    assert_eq!(ping["protocol"], "mdp02");
    let (code, _, err) = run(&mut majordomo(home, &["call", "nobody"]));
    assert_eq!(code, 6);
    assert!(err.starts_with("majordomo: nobody offered `nobody` within 300ms; "), "{err}");
}
