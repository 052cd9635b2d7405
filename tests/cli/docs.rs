//! Help, completions and manual pages.

use std::fs;

use super::{home, majordomo, run};

const COMMANDS: [&str; 82] = [
    "",
    "demo",
    "broker",
    "work",
    "call",
    "publish",
    "subscribe",
    "status",
    "ping",
    "bench",
    "file",
    "file ls",
    "file info",
    "file walk",
    "file get",
    "file serve",
    "flow",
    "flow send",
    "flow recv",
    "flow ls",
    "flow peers",
    "container",
    "container run",
    "container ls",
    "container describe",
    "container call",
    "container event",
    "container pause",
    "container resume",
    "container set",
    "group",
    "group ls",
    "group info",
    "group watch",
    "group join",
    "group send",
    "group poll",
    "group resign",
    "job",
    "job ls",
    "job show",
    "job watch",
    "job cancel",
    "service",
    "service ls",
    "service info",
    "service pause",
    "service resume",
    "service drain",
    "worker",
    "worker ls",
    "worker info",
    "worker kick",
    "client",
    "client ls",
    "lease",
    "lease ls",
    "lease campaign",
    "lease watch",
    "key",
    "key new",
    "key show",
    "key broker",
    "key rotate",
    "key pending",
    "key approve",
    "key deny",
    "key revoke",
    "store",
    "store check",
    "store repair",
    "store backup",
    "store compact",
    "acl",
    "acl test",
    "admin",
    "admin reload",
    "events",
    "context",
    "config",
    "completions",
    "man",
];

#[test]
fn every_command_explains_itself_with_examples() {
    let home = home();
    let mut report = String::new();
    for command in COMMANDS {
        let words: Vec<_> = command.split(' ').filter(|word| !word.is_empty()).collect();
        for help in ["--help", "-h"] {
            let (code, out, err) =
                run(&mut majordomo(home.path(), &[&words, &[help][..]].concat()));
            assert_eq!((code, err.as_str()), (0, ""), "{command:?}");
            assert!(out.contains("Examples:\n  majordomo "), "{command:?}: {out}");
            if help == "--help" && command != "broker" {
                report += &format!("$ majordomo {command} --help\n{out}\n");
            }
        }
    }
    insta::assert_snapshot!("help", report);
    let (_, help, _) = run(&mut majordomo(home.path(), &["broker", "--help"]));
    insta::assert_snapshot!("broker_help", help);
}

#[test]
fn there_are_completions_for_each_shell() {
    let home = home();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, _) = run(&mut majordomo(home.path(), &["completions", shell]));
        assert_eq!(code, 0, "{shell}");
        for word in [
            "busy-timeout",
            "handshake-timeout",
            "completions",
            "effective",
            "concurrency",
            "embedded",
            "label",
        ] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let home = home();
    let (code, page, _) = run(&mut majordomo(home.path(), &["man"]));
    assert_eq!(code, 0);
    assert!(page.contains(".TH majordomo 1"), "{page}");
    let (code, ..) = run(&mut majordomo(home.path(), &["man", "--dir", "man/man1"]));
    assert_eq!(code, 0);
    for name in ["", "-broker", "-call", "-work", "-context-add", "-config-check", "-man"] {
        let page =
            fs::read_to_string(home.path().join(format!("man/man1/majordomo{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    fs::write(home.path().join("file"), "").unwrap();
    let (code, _, err) = run(&mut majordomo(home.path(), &["man", "--dir", "file"]));
    assert_eq!(code, 1);
    assert!(err.starts_with("majordomo: cannot write manual pages to file: "), "{err}");
}
