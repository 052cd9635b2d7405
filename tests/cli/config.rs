//! Where values come from, and what is said about wrong ones.

use std::fmt::Write;
use std::fs;

use serde_json::Value;

use super::{home, majordomo, run};

/// Every value of `config show --effective --json` as (value, origin).
fn effective(home: &std::path::Path, flags: &[&str], key: &str) -> (Value, String) {
    let arguments = [&["config", "show", "--effective", "--json"], flags].concat();
    let (code, out, err) = run(&mut majordomo(home, &arguments));
    assert_eq!(code, 0, "{flags:?}: {err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["v"], 1);
    let values = report["values"].as_array().unwrap();
    let found = values.iter().find(|value| value["key"] == key).unwrap_or_else(|| panic!("{key}"));
    (found["value"].clone(), found["origin"].as_str().unwrap().into())
}

#[test]
fn each_flag_reaches_the_configuration() {
    let home = home();
    let bind = ["--bind", "tcp://127.0.0.1:0", "--bind", "ipc:///tmp/x"];
    for (flags, key, value) in [
        (&bind[..], "broker.bind", r#"["tcp://127.0.0.1:0", "ipc:///tmp/x"]"#),
        (&["--heartbeat", "1s"], "mdp.heartbeat", r#""1s""#),
        (&["--liveness", "5"], "mdp.liveness", "5"),
        (&["--busy-timeout", "off"], "service.busy_timeout", r#""off""#),
        (&["--busy-timeout", "1500ms"], "service.busy_timeout", r#""1500ms""#),
        (&["--handshake-timeout", "200ms"], "handshake.timeout", r#""200ms""#),
        (&["--prefetch", "100"], "service.prefetch", "100"),
        (&["--insecure"], "broker.insecure", "true"),
        (&["--http", "127.0.0.1:9464"], "broker.http", r#""127.0.0.1:9464""#),
        (&["-v"], "log.level", r#""debug""#),
        (&["-vv"], "log.level", r#""trace""#),
        (&["--log-level", "warn,majordomo=info"], "log.level", r#""warn,majordomo=info""#),
        (&["--log-format", "text"], "log.format", r#""text""#),
        (&["--log-file", "/tmp/log"], "log.file", r#""/tmp/log""#),
    ] {
        let flag = if flags[0] == "-vv" { "-v" } else { flags[0] };
        let value: Value = serde_json::from_str(value).unwrap();
        assert_eq!(effective(home.path(), flags, key), (value, flag.into()), "{flags:?}");
    }
    let flags = ["--set", "services.billing.*.prefetch=7", "--set", "limits.frame = 1MiB"];
    let billing = "services.\"billing.*\".prefetch";
    let origin = "--set services.billing.*.prefetch".into();
    assert_eq!(effective(home.path(), &flags, billing), (7.into(), origin));
    assert_eq!(effective(home.path(), &flags, "limits.frame").0, "1MiB");
    assert_eq!(effective(home.path(), &[], "mdp.liveness"), (3.into(), "default".into()));
}

#[test]
fn a_stronger_source_wins() {
    let home = home();
    let write = |name: &str, liveness: u32| {
        fs::write(home.path().join(name), format!("[mdp]\nliveness = {liveness}\n")).unwrap();
    };
    let liveness = |variable: Option<&str>, flags: &[&str]| {
        let mut command = majordomo(home.path(), &["config", "show"]);
        command.args(flags).envs(variable.map(|value| ("MAJORDOMO__MDP__LIVENESS", value)));
        let (code, out, err) = run(&mut command);
        assert_eq!(code, 0, "{err}");
        out.lines().find_map(|line| line.strip_prefix("liveness = ")).unwrap_or("").to_string()
    };
    assert_eq!(liveness(None, &[]), "", "nobody has set it");
    fs::create_dir_all(home.path().join(".config/majordomo")).unwrap();
    write(".config/majordomo/majordomo.toml", 9);
    assert_eq!(liveness(None, &[]), "9", "the file of the user");
    write("majordomo.toml", 10);
    assert_eq!(liveness(None, &[]), "10", "the file that is here");
    fs::create_dir(home.path().join("conf.d")).unwrap();
    write("conf.d/20.toml", 12);
    write("conf.d/10.toml", 11);
    write("conf.d/30.txt", 99);
    assert_eq!(liveness(None, &[]), "12", "the last of conf.d");
    assert_eq!(liveness(Some("13"), &[]), "13", "the environment");
    let set = ["--set", "mdp.liveness=14"];
    assert_eq!(liveness(Some("13"), &set), "14", "--set");
    let flag = ["--liveness", "15", "--set", "mdp.liveness=14"];
    assert_eq!(liveness(Some("13"), &flag), "15", "the flag, wherever it stands");
    write("other.toml", 16);
    assert_eq!(liveness(None, &["--config", "other.toml"]), "12", "conf.d is beside that file");
    let (value, origin) = effective(home.path(), &[], "mdp.liveness");
    assert_eq!((value, origin.as_str()), (12.into(), "conf.d/20.toml:2:12"));
}

const WRONG: [&str; 33] = [
    "[broker\n",
    "[broker]\nthreads = 1\nthreads = 2\n",
    "mdp = 3\n",
    "[mpd]\nliveness = 3\n",
    "[mdp]\nhearbeat = \"1s\"\n",
    "[mdp]\n\n  heartbeat = 1000\n",
    "[mdp]\nheartbeat = \"1000\"\n",
    "[mdp]\nheartbeat = \"1 sec\"\n",
    "[mdp]\nheartbeat = \"1ms\"\n",
    "[mdp]\nliveness = \"3\"\n",
    "[mdp]\nliveness = -1\n",
    "[mdp]\nliveness = 0\n",
    "[broker]\nbind = \"tcp://127.0.0.1:5555\"\n",
    "[broker]\nbind = [\"udp://127.0.0.1:5555\"]\n",
    "[broker]\nbind = [\"tcp://127.0.0.1\"]\n",
    "[broker]\nbind = [\"tcp://127.0.0.1:99999\"]\n",
    "[broker]\nbind = [\"tcp://::1:5555\"]\n",
    "[broker]\nbind = []\n",
    "[broker]\nbind = [\"tcp://*:5555\"]\n",
    "[broker]\nbind = [\"tcp://127.0.0.1:1\", \"tcp://127.0.0.1:1\"]\n",
    "[broker]\nhttp = \"localhost:9464\"\n",
    "[broker]\nhttp = \"0.0.0.0:9464\"\n",
    "[broker]\nthreads = 1.5\n",
    "[broker]\ninsecure = \"yes\"\n",
    "[limits]\nframe = \"16MB\"\n",
    "[limits]\nframe = \"64MiB\"\n",
    "[limits]\nmemory = \"1MiB\"\n",
    "[services.\"a*b\"]\nprefetch = 2\n",
    "[services.billing]\nprefech = 2\n",
    "[service]\nbusy_timeout = \"never\"\n",
    "[log]\nlevel = \"verbose\"\n",
    "[log]\nformat = \"xml\"\n",
    "[log]\nfile = \"\"\n",
];

#[test]
fn a_wrong_file_is_refused_with_the_place_and_a_hint() {
    let home = home();
    let mut report = String::new();
    for wrong in WRONG {
        fs::write(home.path().join("majordomo.toml"), wrong).unwrap();
        let (code, out, err) = run(&mut majordomo(home.path(), &["broker"]));
        assert_eq!((code, out.as_str()), (78, ""), "{wrong}");
        assert!(err.contains([';', '?']), "no hint: {err}");
        for line in err.lines() {
            let mut place = line.strip_prefix("majordomo.toml:").expect(line).split([':', ' ']);
            let numbers = [place.next(), place.next()].map(|n| n.unwrap().parse::<u32>());
            assert!(numbers.iter().all(Result::is_ok), "{line}");
        }
        write!(report, "{}\n{err}\n", wrong.trim_end().replace('\n', " | ")).unwrap();
        let checked = run(&mut majordomo(home.path(), &["config", "check"]));
        assert_eq!(checked, (78, String::new(), err), "check says what broker says");
    }
    insta::assert_snapshot!("wrong_files", report);
}

#[test]
fn a_wrong_value_from_elsewhere_is_refused_with_its_source_and_a_hint() {
    let home = home();
    let mut report = String::new();
    let mut note = |what: &str, (code, out, err): (i32, String, String)| {
        assert_eq!((code, out.as_str()), (78, ""), "{what}: {err}");
        write!(report, "{what}\n{err}\n").unwrap();
    };
    for (name, value) in [
        ("MAJORDOMO__MDP__HEARTBEET", "1s"),
        ("MAJORDOMO__MDP__HEARTBEAT", "1"),
        ("MAJORDOMO__LIVENESS", "1"),
        ("MAJORDOMO__MDP__LIVENESS", "three"),
        ("MAJORDOMO__BROKER__BIND", "tcp://127.0.0.1:1,tcp://nowhere"),
    ] {
        let mut command = majordomo(home.path(), &["broker"]);
        note(&format!("{name}={value}"), run(command.env(name, value)));
    }
    for flags in [
        "--set mdp.livenes=3",
        "--set broker.threads=0",
        "--set liveness=3",
        "--liveness 0",
        "--prefetch 70000",
        "--heartbeat 1h",
        "--bind tcp://0.0.0.0:5555",
        "--bind ipc:///a --bind ipc:///a",
        "--http 0.0.0.0:9464",
        "--log-level verbose",
        "--config nowhere.toml",
    ] {
        let arguments: Vec<_> = ["broker"].into_iter().chain(flags.split(' ')).collect();
        note(flags, run(&mut majordomo(home.path(), &arguments)));
    }
    insta::assert_snapshot!("wrong_values", report);
}

#[test]
fn wrong_usage_is_refused_with_what_is_right() {
    let home = home();
    let mut report = String::new();
    for arguments in [
        "brokr",
        "broker --bogus",
        "broker --heartbeat 5",
        "broker --busy-timeout soon",
        "broker --liveness many",
        "broker --bind nowhere",
        "broker --http localhost:1",
        "broker --set mdp.liveness",
        "broker --log-format xml",
        "broker -v --log-level info",
        "config",
        "completions csh",
    ] {
        let split: Vec<_> = arguments.split(' ').collect();
        let (code, out, err) = run(&mut majordomo(home.path(), &split));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments}");
        write!(report, "{arguments}\n{err}\n").unwrap();
    }
    insta::assert_snapshot!("wrong_usage", report);
}

#[test]
fn check_says_what_it_read_as_text_and_as_json() {
    let home = home();
    let check = |arguments: &[&str]| {
        run(&mut majordomo(home.path(), &[&["config", "check"], arguments].concat()))
    };
    assert_eq!(check(&[]), (0, "ok: no file\n".into(), String::new()));
    fs::write(home.path().join("a.toml"), "[mdp]\nliveness = 4\n").unwrap();
    assert_eq!(check(&["a.toml"]), (0, "ok: a.toml\n".into(), String::new()));
    let report = |(code, out, err): (i32, String, String)| {
        assert_eq!(err, "");
        (code, serde_json::from_str::<Value>(&out).unwrap())
    };
    let good = serde_json::json!({"v": 1, "ok": true, "files": ["a.toml"]});
    assert_eq!(report(check(&["--json", "a.toml"])), (0, good));
    fs::write(home.path().join("a.toml"), "[mdp]\nliveness = 0\n").unwrap();
    let problem = "a.toml:2:12: mdp.liveness: 0 is out of range; write 1 to 100";
    let bad = serde_json::json!({"v": 1, "ok": false, "problems": [problem]});
    assert_eq!(report(check(&["--json", "a.toml"])), (78, bad));
}

#[test]
fn what_show_and_default_print_can_be_read_again() {
    let home = home();
    let (code, default, _) = run(&mut majordomo(home.path(), &["config", "default"]));
    assert_eq!(code, 0);
    let json = |arguments: &[&str]| run(&mut majordomo(home.path(), arguments)).1;
    let default_json = json(&["config", "default", "--json"]);
    assert_eq!(default_json, json(&["config", "show", "--effective", "--json"]));
    let show = ["config", "show", "--effective"];
    let flags = ["--liveness", "4", "--set", "services.\"a b.*\".prefetch=2", "--http", "off"];
    let (_, shown, _) = run(&mut majordomo(home.path(), &[&show[..], &flags].concat()));
    insta::assert_snapshot!("config_show_effective", shown);
    let values = |text: &str| {
        let value = |line: &str| line.split("  # ").next().unwrap().to_string();
        text.lines().map(value).collect::<Vec<_>>()
    };
    fs::write(home.path().join("majordomo.toml"), &shown).unwrap();
    let (_, again, _) = run(&mut majordomo(home.path(), &show));
    assert_eq!(values(&again), values(&shown));
    fs::write(home.path().join("majordomo.toml"), default).unwrap();
    let (code, out, _) = run(&mut majordomo(home.path(), &["config", "show"]));
    assert_eq!((code, out.as_str()), (0, "# nothing is set, every value is its default\n"));
}

#[test]
fn a_broken_inventory_is_told_with_its_place_before_the_broker_starts() {
    let home = home();
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    let check = || run(&mut majordomo(home.path(), &["config", "check"]));
    write("majordomo.toml", "[nfp]\ninventory = \"inventory.yaml\"\n");
    let (code, _, err) = check();
    assert_eq!(code, 78);
    let place = "majordomo.toml:2:13: nfp.inventory: inventory.yaml: there is no such file";
    assert!(err.starts_with(place), "{err}");
    write("inventory.yaml", "workers:\n  w: [a.yaml\nbroker: {}\n");
    let (code, out, err) = run(&mut majordomo(home.path(), &["broker"]));
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.contains("nfp.inventory: inventory.yaml:3:7: "), "{err}");
    assert!(err.contains("must be YAML"), "{err}");
    assert_eq!(check(), (78, String::new(), err), "check says what broker says");
    // Files that it names are the business of the check, and of who asks for them.
    write("inventory.yaml", "workers: {w: [a.yaml, b.toml]}\n");
    write("a.yaml", "x: {{ env.HOME }}\ny: [1");
    write("b.toml", "x = ");
    let (code, _, err) = check();
    assert_eq!((code, err.lines().count()), (78, 2), "{err}");
    for line in ["nfp.inventory: a.yaml:2:", "nfp.inventory: b.toml:1:"] {
        assert!(err.contains(line), "{err}");
    }
    assert_eq!(run(&mut majordomo(home.path(), &["config", "show"])).0, 0);
    write("a.yaml", "x: {{ env.HOME }}\n");
    write("b.toml", "x = 1\n");
    assert_eq!(check(), (0, "ok: majordomo.toml\n".into(), String::new()));
}
