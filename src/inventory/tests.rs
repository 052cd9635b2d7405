//! Golden results, computed by hand from the rules of NorFab.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn environment() -> Environment {
    [("NORNIR_PASSWORD", "hunter2"), ("PORT", "5555"), ("EMPTY", "")]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn load(folder: &TempDir, name: &str) -> Result<Inventory, InventoryError> {
    Inventory::load(folder.path().join(name), &environment())
}

const MAIN: &str = r#"
broker:
  endpoint: "tcp://127.0.0.1:{{ env.PORT }}"
  zmq_auth: off
  shared_key: abc
workers:
  z-*:
    - common.yaml
  nornir-*:
    - common.yaml
    - {runner: {options: {workers: 10}}, groups: [b, a]}
  nornir-worker-1:
    - sub/one.toml
    - common.yaml
  "[!n]*":
    other: true
  nothing:
topology: {broker: true, workers: [nornir-worker-1]}
hooks:
  startup: [{function: "my.module:begin", args: [1]}]
client: {password: "{{ env.NORNIR_PASSWORD }}", note: "at {{ env['NORNIR_PASSWORD'] }}!"}
"#;

const COMMON: &str = r#"{# shared by all #}
service: nornir
runner:
  plugin: RetryRunner
  options: {workers: 100, reconnect: yes, mode: 0755}
groups: [a]
{% for n in range(2) %}host{{ n }}: {port: {{ env.PORT }}}
{% endfor %}missing: "{{ env.NOT_THERE }}{{ env.get('ALSO_NOT', 'default') }}"
"#;

const ONE: &str = r#"
groups = ["c", "a"]
service = "own"
since = 2026-11-25
[runner.options]
workers = 1
password = "{{ env.NORNIR_PASSWORD }}"
"#;

fn all() -> TempDir {
    folder(&[("inventory.yaml", MAIN), ("common.yaml", COMMON), ("sub/one.toml", ONE)])
}

#[test]
fn what_matches_is_merged_in_the_order_of_the_file() {
    let folder = all();
    let inventory = load(&folder, "inventory.yaml").unwrap();
    let common = |workers: u32| {
        json!({
            "service": "nornir",
            "runner": {"plugin": "RetryRunner", "options": {"workers": workers, "reconnect": true, "mode": 493}},
            "groups": ["a"], "host0": {"port": 5555}, "host1": {"port": 5555}, "missing": "default",
        })
    };
    let mut two = common(10);
    two["groups"] = json!(["a", "b"]);
    assert_eq!(inventory.worker("nornir-worker-2").unwrap(), Some(two.clone()));
    // common.yaml stands twice and counts where it stands first; the list goes on growing.
    let mut one = two;
    one["groups"] = json!(["a", "b", "c"]);
    one["service"] = json!("own");
    one["since"] = json!("2026-11-25");
    one["runner"]["options"]["workers"] = json!(1);
    one["runner"]["options"]["password"] = json!("hunter2");
    assert_eq!(inventory.worker("nornir-worker-1").unwrap(), Some(one));
    let mut z = common(100);
    z["other"] = json!(true);
    assert_eq!(inventory.worker("z-1").unwrap(), Some(z));
    for nobody in ["nornir", "nothing", "", "Nornir-1"] {
        let found = inventory.worker(nobody).unwrap();
        let other = !nobody.is_empty() && !nobody.starts_with('n');
        assert_eq!(found, other.then(|| json!({"other": true})), "{nobody}");
    }
    assert_eq!(inventory.check(), Ok(()));
}

#[test]
fn toml_says_the_same_as_yaml_in_its_own_order() {
    let text = r#"
        [workers."w*"]
        list = [1]
        which = "first"
        [broker]
        endpoint = "tcp://127.0.0.1:{{ env.PORT }}"
        [workers]
        "a*" = ["a.yaml", {which = "a"}]
        "*1" = [{list = [2, 1], which = "last"}]
    "#;
    let folder = folder(&[("inventory.toml", text), ("a.yaml", "list: [0]\n")]);
    // TOML opens `workers` by its first sub-table and may define it once behind that.
    let inventory = load(&folder, "inventory.toml").unwrap();
    assert_eq!(inventory.worker("w1").unwrap(), Some(json!({"list": [1, 2], "which": "last"})));
    assert_eq!(inventory.worker("a1").unwrap(), Some(json!({"list": [0, 2, 1], "which": "last"})));
    assert_eq!(inventory.broker(), &json!({"endpoint": "tcp://127.0.0.1:5555"}));
}

#[test]
fn the_view_has_every_section_and_no_secret() {
    let folder = all();
    let view = load(&folder, "inventory.yaml").unwrap().broker_view();
    let expected = json!({
        "broker": {"endpoint": "tcp://127.0.0.1:5555", "zmq_auth": false, "shared_key": "********"},
        "workers": {
            "z-*": ["common.yaml"],
            "nornir-*": ["common.yaml", {"runner": {"options": {"workers": 10}}, "groups": ["b", "a"]}],
            "nornir-worker-1": ["sub/one.toml", "common.yaml"],
            "[!n]*": [{"other": true}],
            "nothing": [],
        },
        "topology": {"broker": true, "workers": ["nornir-worker-1"]},
        "logging": {},
        "client": {"password": "********", "note": "at ********!"},
        "hooks": {"startup": [{"function": "begin", "args": [1]}]},
        "plugins": {},
    });
    assert_eq!(view, expected);
    assert!(!format!("{:?}", environment()).contains("hunter2"));
}

#[test]
fn an_empty_file_is_an_empty_inventory() {
    for (name, text) in
        [("i.yaml", ""), ("i.yaml", "# nothing\n"), ("i.toml", ""), ("i.yml", "workers:\n")]
    {
        let folder = folder(&[(name, text)]);
        let inventory = load(&folder, name).unwrap();
        assert_eq!(inventory.worker("w").unwrap(), None, "{text:?}");
        assert_eq!(inventory.broker_view()["workers"], json!({}));
    }
}

#[test]
fn a_change_of_a_further_file_is_seen_at_the_next_call() {
    let folder = folder(&[("i.yaml", "workers: {w: [a.yaml]}"), ("a.yaml", "x: 1")]);
    let inventory = load(&folder, "i.yaml").unwrap();
    assert_eq!(inventory.worker("w").unwrap(), Some(json!({"x": 1})));
    fs::write(folder.path().join("a.yaml"), "x: 2").unwrap();
    assert_eq!(inventory.worker("w").unwrap(), Some(json!({"x": 2})));
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    let error = inventory.worker("w").unwrap_err();
    assert_eq!(
        said(&error, folder.path()),
        "/a.yaml: there is no such file; check the path and its rights"
    );
}

/// Without the folder.
fn said(error: &InventoryError, folder: &Path) -> String {
    error.to_string().replace(folder.to_str().unwrap(), "")
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_to_do() {
    let mut report = String::new();
    for (name, text) in [
        ("i.yaml", "workers:\n  w: [a.yaml\nbroker: {}\n"),
        ("i.yaml", "workers:\n\tw: 1\n"),
        ("i.yaml", "workers:\n  w: [1]\n"),
        ("i.yaml", "workers: [w]\n"),
        ("i.yaml", "broker: [1]\n"),
        ("i.yaml", "a: 1\n---\nb: 2\n"),
        ("i.yaml", "workers:\n  w: []\n  w: []\n"),
        ("i.yaml", "broker:\n  x: *nowhere\n"),
        ("i.yaml", "broker:\n  x: .inf\n"),
        ("i.yaml", "just text\n"),
        ("i.yaml", "a: 1\nb: {{ env.X\n"),
        ("i.yaml", "a: 1\nb: {{ nothing.at.all }}\n"),
        (
            "i.yaml",
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        ),
        ("i.yaml", "{% include 'other' %}"),
        ("i.toml", "[workers]\nw = [\"a.yaml\"\nx = 1\n"),
        ("i.toml", "workers = 1\n"),
        ("i.toml", "[workers]\nw = 1\n"),
        ("i.toml", "broker.x = inf\n"),
    ] {
        let folder = folder(&[(name, text)]);
        let error = load(&folder, name).unwrap_err();
        report += &format!(
            "{}\n{}\n\n",
            text.trim_end().replace('\n', " | "),
            said(&error, folder.path())
        );
    }
    insta::assert_snapshot!("wrong_inventories", report);
}

#[test]
fn every_broken_further_file_is_found_by_the_check() {
    let folder = folder(&[
        ("i.yaml", "workers: {a*: [good.yaml, bad.yaml], b: [none.yaml, list.yaml, bad.yaml]}"),
        ("good.yaml", "x: 1"),
        ("bad.yaml", "x: [1"),
        ("list.yaml", "- 1"),
    ]);
    let wrong = load(&folder, "i.yaml").unwrap().check().unwrap_err();
    let wrong: Vec<_> = wrong.iter().map(|error| said(error, folder.path())).collect();
    assert_eq!(wrong.len(), 3, "{wrong:#?}");
    assert!(wrong[0].starts_with("/bad.yaml:1:"), "{wrong:#?}");
    assert_eq!(
        wrong[1],
        "/list.yaml: the file must be an object, not a list; see NorFab's inventory.yaml"
    );
    assert!(wrong[2].starts_with("/none.yaml: there is no such file"), "{wrong:#?}");
}

#[test]
fn nothing_grows_without_a_limit() {
    let deep = |levels: usize| format!("broker: {}{}", "{a: ".repeat(levels), "}".repeat(levels));
    let bomb = |width: usize| {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let last = level - 1;
            text +=
                &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{last}"); width].join(", "));
        }
        text + "broker: {x: *a9}"
    };
    let long =
        format!("a: &a {}\nbroker: [{}]", "x".repeat(1 << 20), vec!["*a"; 50_000].join(", "));
    let toml = format!("broker{} = 1", ".a".repeat(70));
    for (name, text, good) in [
        ("i.yaml", deep(DEPTH_MAX - 2), true),
        ("i.yaml", deep(DEPTH_MAX + 1), false),
        ("i.yaml", deep(100_000), false),
        ("i.yaml", bomb(1), true),
        ("i.yaml", bomb(10), false),
        ("i.yaml", long, false),
        ("i.toml", toml, false),
        ("i.toml", format!("broker = {}1{}", "[".repeat(100_000), "]".repeat(100_000)), false),
        ("i.yaml", "#".repeat(FILE_BYTES_MAX + 1), false),
        (
            "i.yaml",
            "{% set a = '########' %}{% for i in range(12) %}{% set a = a ~ a %}{% endfor %}"
                .to_owned()
                + &"{{ '#' * 1000000 }}".repeat(9),
            false,
        ),
    ] {
        let folder = folder(&[(name, &text)]);
        let start: String = text.chars().take(40).collect();
        assert_eq!(load(&folder, name).is_ok(), good, "{start}");
    }
    let many: Vec<Value> = (0..=ITEMS_MAX).map(|n| json!({"x": n})).collect();
    let folder = folder(&[("i.yaml", &json!({"workers": {"w": many}}).to_string())]);
    let error = load(&folder, "i.yaml").unwrap().worker("w").unwrap_err();
    assert!(matches!(error, InventoryError::TooMany { found: 1025, .. }), "{error}");
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = Inventory::load(&pipe, &environment()).unwrap_err();
    assert!(error.to_string().contains("it is no file"), "{error}");
}

#[test]
fn inventories_are_merged_as_the_real_norfab_merges_them() {
    // Made by tests/interop/inventory_golden.py with the package itself.
    let golden: Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    let variables = golden["environment"].as_object().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let environment = variables.map(|(name, value)| (name.clone(), text(value))).collect();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 40);
    for (number, case) in cases.iter().enumerate() {
        let files = case["files"].as_object().unwrap();
        let files: Vec<_> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str().unwrap())).collect();
        let folder = folder(&files);
        let inventory = Inventory::load(folder.path().join("inventory.yaml"), &environment);
        let inventory = inventory.unwrap_or_else(|error| panic!("case {number}: {error}"));
        for (name, expected) in case["workers"].as_object().unwrap() {
            let found = inventory.worker(name).unwrap().unwrap_or(Value::Null);
            assert!(
                merge::same(&found, expected),
                "case {number}, {name}: {found:#}\n{expected:#}\n{files:#?}"
            );
        }
    }
}
