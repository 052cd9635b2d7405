//! `file`: a folder that is served by one process and fetched by others, through a broker.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::{PATIENCE, Process};
use super::{home, majordomo, run};

/// A home with a folder to be served beside one that is not.
fn files(home: &Path) -> PathBuf {
    let folder = home.join("served");
    fs::create_dir_all(folder.join("sub/.git")).unwrap();
    fs::create_dir_all(folder.join("__norfab__")).unwrap();
    for (name, text) in [
        ("one.txt", "one\n"),
        ("empty", ""),
        ("sub/two.txt", "two\n"),
        ("sub/.git/config", "hidden"),
        ("__norfab__/key", "secret"),
        ("../outside", "secret"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    symlink("../outside", folder.join("out")).unwrap();
    folder
}

fn served(home: &Path) -> (Process, Process) {
    files(home);
    let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
    assert_eq!(broker.line(), "ipc://socket");
    (broker, serve(home))
}

fn serve(home: &Path) -> Process {
    let flags = ["file", "serve", "served", "--json", "--endpoint", "ipc://socket"];
    let mut server = Process::start(home, &flags);
    assert_eq!(server.line(), r#"{"event":"registered","v":1}"#);
    server
}

fn file(home: &Path, arguments: &str) -> (i32, String, String) {
    let words = arguments.split(' ').filter(|word| !word.is_empty());
    let words: Vec<_> =
        ["file"].into_iter().chain(words).chain(["--endpoint", "ipc://socket"]).collect();
    run(&mut majordomo(home, &words))
}

fn json_of(home: &Path, arguments: &str) -> Value {
    let (code, out, err) = file(home, &format!("{arguments} --json"));
    assert_eq!((code, err.as_str()), (0, ""), "{arguments}: {out}");
    serde_json::from_str(&out).unwrap()
}

/// The parts of files in the home.
fn parts(home: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|it| it == "part")).collect()
}

/// Octets that repeat nowhere, so that a chunk at the wrong place is seen.
fn octets(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(|_| next()).collect()
}

#[test]
fn a_folder_is_listed_and_its_files_have_digests() {
    let home = home();
    let home = home.path();
    let _running = served(home);
    let entry =
        |name: &str, folder: bool, size: u64| json!({"name": name, "folder": folder, "size": size});
    assert_eq!(
        json_of(home, "ls"),
        json!({"v": 1, "url": "nf://", "entries":
            [entry("empty", false, 0), entry("one.txt", false, 4), entry("sub", true, 0)]})
    );
    assert_eq!(file(home, "ls nf://sub").1, "NAME\tSIZE\ntwo.txt\t4\n");
    assert_eq!(file(home, "walk").1, "nf://empty\nnf://one.txt\nnf://sub/two.txt\n");
    assert_eq!(json_of(home, "walk nf://sub")["urls"], json!(["nf://sub/two.txt"]));
    assert_eq!(
        json_of(home, "info nf://empty"),
        json!({
            "v": 1, "url": "nf://empty", "size": 0, "md5": "d41d8cd98f00b204e9800998ecf8427e",
            "blake3": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        })
    );
    let (code, out, _) = file(home, "info nf://one.txt");
    assert_eq!(code, 0);
    assert!(out.ends_with(&format!("\t{}\n", blake3::hash(b"one\n").to_hex())), "{out}");
}

#[test]
fn a_file_is_fetched_whole_also_an_empty_one() {
    let home = home();
    let home = home.path();
    let _running = served(home);
    assert_eq!(file(home, "get nf://empty"), (0, "empty\n".into(), String::new()));
    assert_eq!(fs::read(home.join("empty")).unwrap(), b"");
    fs::create_dir(home.join("to")).unwrap();
    assert_eq!(file(home, "get nf://sub/two.txt to").1, "to/two.txt\n");
    assert_eq!(fs::read(home.join("to/two.txt")).unwrap(), b"two\n");
    let big = octets(10_000_000);
    fs::write(home.join("served/big"), &big).unwrap();
    let got = json_of(home, "get nf://big copy");
    assert_eq!(
        (&got["size"], &got["resumed"], &got["path"]),
        (&json!(10_000_000), &json!(0), &json!("copy"))
    );
    assert!(fs::read(home.join("copy")).unwrap() == big);
    assert_eq!(got["blake3"], json!(blake3::hash(&big).to_hex().to_string()));
    assert_eq!(parts(home), Vec::<PathBuf>::new());
    // It is not replaced unless that is wanted.
    let (code, _, err) = file(home, "get nf://one.txt copy");
    assert_eq!(code, 1);
    assert!(err.contains("there is a `copy` already") && err.contains("--force"), "{err}");
    assert_eq!(file(home, "get nf://one.txt copy --force").0, 0);
    assert_eq!(fs::read(home.join("copy")).unwrap(), b"one\n");
}

#[test]
fn an_interrupted_file_goes_on_where_it_stopped_and_a_damaged_part_is_found() {
    let home = home();
    let home = home.path();
    let (_broker, server) = served(home);
    let big = octets(10_000_000);
    fs::write(home.join("served/big"), &big).unwrap();
    // Its size is known, and then the server hangs: some of the file is here, and the rest is not.
    let flags = ["file", "get", "nf://big", "copy", "--endpoint", "ipc://socket"];
    let fetching = Process::start(home, &flags);
    let until = Instant::now() + PATIENCE;
    let here =
        || parts(home).first().and_then(|part| part.metadata().ok()).map_or(0, |it| it.len());
    while here() == 0 {
        assert!(Instant::now() < until, "nothing comes");
        std::thread::sleep(Duration::from_millis(1));
    }
    server.signal("STOP");
    fetching.signal("INT");
    let (status, said) = fetching.wait();
    server.signal("CONT");
    if status.success() {
        // It was faster than the signal: make what an interruption leaves.
        fs::remove_file(home.join("copy")).unwrap();
        let digest = blake3::hash(&big).to_hex();
        fs::write(home.join(format!("copy.{}.part", &digest[..16])), &big[..5_000_000]).unwrap();
    } else {
        assert!(said.contains("the same command goes on where it stopped"), "{said}");
        assert!(!home.join("copy").exists());
    }
    let [part] = &parts(home)[..] else { panic!("{:?}", parts(home)) };
    let kept = fs::read(part).unwrap();
    assert!(!kept.is_empty() && big.starts_with(&kept), "a part is the beginning of its file");
    let got = json_of(home, "get nf://big copy");
    assert_eq!(got["resumed"], json!(kept.len()));
    assert!(fs::read(home.join("copy")).unwrap() == big);

    // A part that was damaged meanwhile is found out and fetched anew.
    let mut damaged = big[..6_000_000].to_vec();
    damaged[3_000_000] ^= 1;
    fs::write(part, &damaged).unwrap();
    let (code, out, err) = file(home, "get nf://big again");
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "again\n", ""),
        "another name, another part"
    );
    fs::remove_file(home.join("copy")).unwrap();
    let (code, out, err) = file(home, "get nf://big copy");
    assert_eq!((code, out.as_str()), (0, "copy\n"), "{err}");
    assert!(err.contains("was damaged, so all of it was fetched anew"), "{err}");
    assert!(fs::read(home.join("copy")).unwrap() == big);
    assert_eq!(parts(home), Vec::<PathBuf>::new());
}

#[test]
fn a_part_of_an_older_version_is_not_mixed_with_a_newer_one() {
    let home = home();
    let home = home.path();
    let _running = served(home);
    let (old, new) = (octets(1_000_000), vec![7; 1_000_000]);
    let digest = blake3::hash(&old).to_hex();
    fs::write(home.join(format!("f.{}.part", &digest[..16])), &old[..600_000]).unwrap();
    fs::write(home.join("served/f"), &new).unwrap();
    assert_eq!(json_of(home, "get nf://f")["resumed"], json!(0));
    assert!(fs::read(home.join("f")).unwrap() == new);
}

#[test]
fn a_fetch_outlives_its_server_and_its_broker() {
    let home = home();
    let home = home.path();
    let (broker, server) = served(home);
    let big = octets(3_000_000);
    fs::write(home.join("served/big"), &big).unwrap();
    let flags = ["file", "get", "nf://big", "copy", "--endpoint", "ipc://socket"];
    let fetching = Process::start(home, &flags);
    let until = Instant::now() + PATIENCE;
    while parts(home).is_empty() && !home.join("copy").exists() {
        assert!(Instant::now() < until, "nothing comes");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(server);
    drop(broker);
    let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
    assert_eq!(broker.line(), "ipc://socket");
    let _server = serve(home);
    let (status, said) = fetching.wait();
    assert!(status.success(), "{said}");
    assert!(fs::read(home.join("copy")).unwrap() == big);
}

#[test]
fn what_is_refused_has_its_exit_code_and_says_why() {
    let home = home();
    let home = home.path();
    let (_broker, server) = served(home);
    for (arguments, code, text) in [
        ("get nf://../../etc/passwd", 2, "leads out of the folder"),
        ("get nf:///etc/passwd", 2, "leads out of the folder"),
        ("get one.txt", 2, "begins with nf://"),
        ("get nf://", 2, "nf:// is a folder"),
        ("get nf://out", 5, "a link leads out of the folder that is served"),
        ("get nf://sub/.git/config", 5, "hidden files are not served"),
        ("info nf://__norfab__/key", 5, "hidden files are not served"),
        ("get nf://nothing", 6, "nf://nothing: there is no such file"),
        ("get nf://sub", 6, "nf://sub: there is no such file"),
        ("ls nf://nothing", 6, "nf://nothing: there is no such folder"),
        ("walk nf://one.txt", 6, "there is no such folder"),
        ("ls --service other --timeout 300ms", 6, "nobody offer"),
        ("get nf://one.txt nowhere/x", 1, "nowhere/x"),
        ("ls --protocol mdp02", 2, "files need MJP/1"),
        ("serve nowhere", 1, "nowhere: No such file or directory"),
    ] {
        let (exit, out, err) = file(home, arguments);
        assert_eq!((exit, out.as_str()), (code, ""), "{arguments}: {err}");
        assert!(err.contains(text), "{arguments}: {err}");
        assert!(parts(home).is_empty(), "{arguments}");
    }
    // The server refuses it as well, whoever asks.
    for (body, code, text) in [
        (r#"{"task":"read","url":"nf://../../etc/passwd"}"#, "not_allowed", "leads out"),
        (r#"{"task":"read","url":"nf://out"}"#, "not_allowed", "leads out"),
        (r#"{"task":"read","url":"git://a"}"#, "bad_url", "nf://"),
        (r#"{"task":"read","url":"nf://one.txt","length":2000000}"#, "bad_request", "1048576"),
        ("nothing", "bad_request", "send such as"),
    ] {
        let call = ["call", "filesharing", body, "--json", "--endpoint", "ipc://socket"];
        let (_, out, _) = run(&mut majordomo(home, &call));
        let said: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(said["error"]["code"], code, "{body}: {out}");
        assert!(said["error"]["message"].as_str().unwrap().contains(text), "{body}: {out}");
    }
    let (code, out, _) = file(home, "info nf://nothing --json");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["error"]["code"]), (6, &json!("not_found")));
    server.signal("TERM");
    assert!(server.wait().0.success());
}

#[test]
fn hidden_files_are_served_if_that_is_asked_for() {
    let home = home();
    let home = home.path();
    files(home);
    let mut broker = Process::broker(home, &["--bind", "ipc://socket"]);
    assert_eq!(broker.line(), "ipc://socket");
    let flags = "file serve served --hidden --service all --json --endpoint ipc://socket";
    let mut server = Process::start(home, &flags.split(' ').collect::<Vec<_>>());
    assert_eq!(server.line(), r#"{"event":"registered","v":1}"#);
    assert_eq!(file(home, "get nf://__norfab__/key --service all").1, "key\n");
    let (_, walked, _) = file(home, "walk --service all");
    assert!(walked.contains("nf://sub/.git/config\n"), "{walked}");
}
