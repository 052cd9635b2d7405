//! The layers of the library, and the habits that a compiler does not hold us to.
//!
//! ```text
//! id <- wire <- proto <- transport <- config <- broker, client, worker, flow, group <- file <- bin
//!                                                                      imports go left only
//! ```
//!
//! `config` gathers the settings of the layers, so it stands right of them, and only roles and the
//! binary may use it. What is for tests alone (`#[cfg(test)]`) is not looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The parts of the library; each may use itself and those of a lower rank.
const RANKS: &[(&str, u32)] = &[
    ("id", 0),
    ("nearest", 0),
    ("wire", 1),
    ("proto", 2),
    ("transport", 3),
    // They know nothing of the rest: what a folder has, and what workers are told.
    ("folder", 1),
    ("inventory", 1),
    // Who may come in: files of keys, judged by what is pure.
    ("keys", 3),
    // What any store of leases can do.
    ("lease", 3),
    // How health and metrics are shown.
    ("http", 3),
    // What is kept on a disk; it knows what the core orders.
    ("store", 3),
    // Servers of others; one of them keeps leases.
    ("engine", 4),
    ("config", 4),
    // Roles do not import each other, and nobody imports the bodies of the fuzz targets.
    ("broker", 5),
    ("client", 5),
    ("worker", 5),
    ("flow", 5),
    ("group", 5),
    // It serves as a worker and fetches as a client.
    ("file", 6),
    ("container", 6),
    ("fuzzing", 7),
    ("bin", 8),
];

/// Parts without a socket, a clock, a thread or randomness, and what would bring them in.
const PURE: &[&str] = &["id", "wire", "proto"];
const IMPURE: &[&str] = &[
    "tokio",
    "futures",
    "socket2",
    "getrandom",
    "rand::",
    "std::net",
    "std::os",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "std::io::stdin",
    "std::io::stdout",
    "SystemTime",
    "UNIX_EPOCH",
    "Instant::now",
];

const LINES_MAX: usize = 500;

/// A file of `src`, by its path in there.
struct File {
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// The part of the library that it belongs to; none for `lib.rs`.
    fn part(&self) -> Option<&str> {
        let first = self.path.split('/').next().unwrap_or_default();
        let part = first.strip_suffix(".rs").unwrap_or(first);
        (part != "lib").then_some(part)
    }

    /// Modules from the root of the crate to this one.
    fn depth(&self) -> usize {
        let segments = self.path.split('/').count();
        if self.path.ends_with("mod.rs") { segments - 1 } else { segments }
    }

    /// The lines that are not for tests, each with its number.
    fn lines(&self) -> Vec<(usize, &str)> {
        let mut kept = Vec::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            if line.trim() != "#[cfg(test)]" {
                kept.push((number + 1, line));
                continue;
            }
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indent}}}");
            // The item that follows: up to its closing brace, or to the end of a statement.
            let item = lines.by_ref().find(|(_, line)| !line.trim_start().starts_with("#["));
            let is_end = |line: &str| line.trim_end().ends_with([';', ',', '}']);
            if item.is_some_and(|(_, line)| line.trim_end().ends_with('{')) {
                lines.by_ref().find(|(_, line)| line.starts_with(&end));
            } else if item.is_some_and(|(_, line)| !is_end(line)) {
                lines.by_ref().find(|(_, line)| is_end(line));
            }
        }
        kept
    }

    /// Modules that are declared here for tests alone, as paths in `src` without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let dir =
            match self.path.strip_suffix("mod.rs").or_else(|| self.path.strip_suffix("lib.rs")) {
                Some(dir) => dir.to_owned(),
                None => format!("{}/", self.path.trim_end_matches(".rs")),
            };
        let mut lines = self.text.lines();
        let mut modules = Vec::new();
        while let Some(line) = lines.next() {
            if line.trim() != "#[cfg(test)]" {
                continue;
            }
            let item = lines.by_ref().find(|line| !line.trim_start().starts_with("#["));
            let name = item.and_then(|item| {
                item.trim().rsplit_once("mod ").and_then(|(_, name)| name.strip_suffix(';'))
            });
            modules.extend(name.map(|name| format!("{dir}{name}")));
        }
        modules
    }
}

/// Everything that is wrong with these files.
fn problems(files: &[File]) -> Vec<String> {
    let tests: Vec<_> = files.iter().flat_map(File::test_modules).collect();
    let for_tests = |file: &&File| {
        let in_module = |module: &String| {
            let rest = file.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        tests.iter().any(in_module)
    };
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !for_tests(file)) {
        check(file, &mut found);
    }
    found
}

fn check(file: &File, found: &mut Vec<String>) {
    let lines = file.lines();
    let path = &file.path;
    if lines.len() > LINES_MAX {
        found.push(format!("{path}: {} lines, more than {LINES_MAX}; split it", lines.len()));
    }
    let own_clock = lines.iter().any(|(_, line)| {
        line.starts_with("use tokio::time::")
            && line.split(['{', ',', ' ', ':', '}', ';']).any(|word| word == "Instant")
    });
    for (number, line) in lines {
        let code = line.split("//").next().unwrap_or_default();
        let mut complain = |what: String| found.push(format!("{path}:{number}: {what}"));
        if code.contains("unbounded_channel") {
            complain("an unbounded channel; everything is bounded".into());
        }
        let std_clock = code.replace("tokio::time::Instant::now", "").contains("Instant::now");
        if std_clock && !own_clock {
            complain("std::time::Instant::now; ask tokio's clock, which tests can pause".into());
        }
        let Some(part) = file.part() else { continue };
        if PURE.contains(&part) {
            for word in IMPURE.iter().filter(|word| begins_in(code, word)) {
                complain(format!("`{word}` in {part}, which is pure"));
            }
        }
        for used in imports(code, part == "bin") {
            if let Err(why) = may_use(part, &used) {
                complain(why);
            }
        }
        if supers(code) >= file.depth() {
            complain("`super` up to the root of the crate; write `crate::`".into());
        }
    }
}

/// Whether a name in the code begins with these letters.
fn begins_in(code: &str, letters: &str) -> bool {
    code.match_indices(letters).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The parts that a line of code names: `crate::wire`, `crate::{id, wire}`; the binary, which is a
/// crate of its own, says `majordomo::wire`.
fn imports(code: &str, binary: bool) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let roots: &[&str] = if binary { &["majordomo::"] } else { &["crate::"] };
    for root in roots {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                None => used.extend(word(rest)),
                Some(group) => {
                    let (mut depth, mut begins) = (0, true);
                    for (at, c) in group.char_indices() {
                        match c {
                            '{' => depth += 1,
                            '}' if depth == 0 => break,
                            '}' => depth -= 1,
                            ',' if depth == 0 => begins = true,
                            c if begins && !c.is_whitespace() => {
                                used.extend(word(&group[at..]));
                                begins = false;
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
    }
    used
}

/// The name of a module at the front of `text`; a macro or a type is none.
fn word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let module = word.starts_with(|c: char| c.is_ascii_lowercase()) && !rest.starts_with('!');
    module.then(|| word.into())
}

fn may_use(part: &str, used: &str) -> Result<(), String> {
    let rank = |name: &str| RANKS.iter().find(|(part, _)| *part == name).map(|(_, rank)| *rank);
    let unknown = |name: &str| format!("`{name}` has no place among the layers; give it one");
    let (own, other) =
        (rank(part).ok_or_else(|| unknown(part))?, rank(used).ok_or_else(|| unknown(used))?);
    if used == part || other < own {
        Ok(())
    } else {
        Err(format!("{part} imports {used}; imports go from right to left only"))
    }
}

/// The longest chain of `super::` on a line.
fn supers(code: &str) -> usize {
    let mut longest = 0;
    let mut rest = code;
    while let Some(at) = rest.find("super::") {
        let mut chain = 0;
        rest = &rest[at..];
        while let Some(after) = rest.strip_prefix("super::") {
            (chain, rest) = (chain + 1, after);
        }
        longest = longest.max(chain);
    }
    longest
}

fn read(dir: &Path, below: &Path, files: &mut Vec<File>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read(&path, below, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(below).unwrap().to_str().unwrap();
            files.push(File::new(name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn imports_go_left_and_habits_are_kept() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    read(&src, &src, &mut files);
    assert!(files.len() > 50, "{} files in {}", files.len(), src.display());
    let found = problems(&files);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn each_wrong_line_is_found() {
    let long = "fn f() {}\n".repeat(LINES_MAX + 1);
    let cases: &[(&str, &str, &str)] = &[
        ("wire/frame.rs", "use crate::proto::core::Core;", "wire imports proto"),
        ("wire/mod.rs", "use crate::{id, transport::link};", "wire imports transport"),
        ("proto/core/mod.rs", "fn f(_: crate::broker::Broker) {}", "proto imports broker"),
        ("transport/link.rs", "use crate::config::BrokerConfig;", "transport imports config"),
        ("config/mod.rs", "use crate::broker::Broker;", "config imports broker"),
        ("broker/mod.rs", "use crate::fuzzing::all;", "broker imports fuzzing"),
        ("proto/clock.rs", "let x = std::time::Instant::now();", "std::time::Instant::now"),
        ("broker/shared.rs", "use std::time::Instant;\nlet x = Instant::now();", ":2: std::time"),
        ("proto/core/mod.rs", "use tokio::sync::Mutex;", "`tokio` in proto"),
        ("wire/codec.rs", "use std::net::IpAddr;", "`std::net` in wire"),
        ("id.rs", "getrandom::fill(&mut seed)?;", "`getrandom` in id"),
        ("broker/mod.rs", "let (a, b) = mpsc::unbounded_channel();", "unbounded channel"),
        ("wire/mod.rs", "use super::proto::core;", "up to the root"),
        ("wire/command/reader.rs", "use super::super::super::proto::core;", "up to the root"),
        ("extra/mod.rs", "use crate::id::PeerId;", "`extra` has no place"),
        ("bin/majordomo/main.rs", "use majordomo::extra::Extra;", "`extra` has no place"),
        ("id.rs", &long, "501 lines"),
    ];
    for (path, text, expected) in cases {
        let found = problems(&[File::new(path, text)]);
        assert_eq!(found.len(), 1 + usize::from(path.starts_with("proto/clock")), "{found:?}");
        assert!(found.iter().any(|found| found.contains(expected)), "{expected}: {found:?}");
    }
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    let tests = "#[cfg(test)]\n#[expect(clippy::disallowed_methods, reason = \"an epoch\")]\nmod tests {\n    use tokio::time;\n}\n";
    let good = [
        File::new("proto/mod.rs", "pub mod clock;\n#[cfg(test)]\nmod simulation;\n"),
        File::new("proto/simulation/mod.rs", "use std::thread;\n"),
        File::new("proto/clock.rs", &format!("use crate::wire::Limits;\n{tests}")),
        File::new("wire/command/reader.rs", "use super::super::frame::Header;"),
        File::new("broker/mod.rs", "let now = tokio::time::Instant::now().into_std();"),
        File::new("transport/inbound.rs", "use tokio::time::{Instant, Sleep};\nInstant::now();"),
        File::new("bin/majordomo/main.rs", "use majordomo::broker::Broker;\nuse crate::args::Cli;"),
        File::new("wire/mdp.rs", "// what tokio and crate::broker do with it"),
    ];
    let found = problems(&good);
    assert!(found.is_empty(), "{found:?}");
    let after = File::new("proto/timers.rs", &format!("{tests}use tokio::time;\n"));
    assert_eq!(problems(&[after]).len(), 1, "code behind the tests is code");
}
