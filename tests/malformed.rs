//! Every malformed handshake over a socket, while healthy peers go on: each gets the answer of its
//! case, and the healthy ones hardly notice.
//!
//! `MAJORDOMO_FLOODS=full` has a hundred healthy peers instead of twenty, and the strict limit.
#![expect(clippy::disallowed_methods, reason = "real sockets, real time")]

#[path = "malformed/healthy.rs"]
mod healthy;
#[path = "malformed/played.rs"]
mod played;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use majordomo::fuzzing::handshakes::{
    self, ADMITTED, Case, End, OLD_SERVER, Ours, PASSWORD, REFUSED, SERVER, USER,
};
use majordomo::id::PublicKey;
use majordomo::keys::{Certificate, text_of_public};
use majordomo::proto::curve::{KeyPair, SecretKey};
use majordomo::transport::endpoint::Endpoint;
use majordomo::transport::session::{CurveIdentity, Session, SessionConfig};
use majordomo::wire::greeting::Mechanism;

use healthy::{Healthy, Phase};
use played::{Outcome, play};

const BINARY: &str = env!("CARGO_BIN_EXE_majordomo");
/// Pieces that the table is cut into, with a pause before each, in which nothing happens.
const PIECES: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

fn is_full() -> bool {
    std::env::var("MAJORDOMO_FLOODS").is_ok_and(|value| value == "full")
}

fn pair(octet: u8) -> Certificate {
    Certificate::of_secret(SecretKey::new([octet; 32]))
}

/// Writes what nobody else may read.
fn write(path: &Path, text: &str) {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A broker with a listener of each mechanism, which knows whom the table knows.
struct Scene {
    process: Child,
    listeners: BTreeMap<&'static str, SocketAddr>,
    _home: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        write(&home.join("broker.secret"), &pair(SERVER).secret_text());
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let metadata = vec![("rotated".to_owned(), since.to_string())];
        let old = Certificate { metadata, ..pair(OLD_SERVER) };
        write(&home.join("broker.secret.old"), &old.secret_text());
        write(&home.join("password"), PASSWORD);
        let [admitted, refused] = [ADMITTED, REFUSED].map(|key| text_of_public(&pair(key).public));
        let authorized = format!(
            "[[key]]\nname = \"admitted\"\nkey = \"{admitted}\"\nroles = [\"client\"]\n\
             [[denied]]\nname = \"refused\"\nkey = \"{refused}\"\n\
             [[user]]\nname = \"{USER}\"\npassword_file = \"password\"\nroles = [\"client\"]\n"
        );
        write(&home.join("authorized.toml"), &authorized);
        let binds = ["tcp://127.0.0.1:0", "tcp://127.0.0.2:0", "tcp://127.0.0.3:0"];
        let flags = [
            ["--curve-secret", "broker.secret"],
            ["--authorized-keys", "authorized.toml"],
            ["--set", "auth.plain=[\"tcp://127.0.0.2:0\"]"],
            ["--set", "auth.null=[\"tcp://127.0.0.3:0\"]"],
            ["--log-file", "log"],
        ];
        let binds = binds.iter().flat_map(|bind| ["--bind", bind]);
        let flags: Vec<_> = flags.into_iter().flatten().chain(binds).collect();
        let mut command = Command::new(BINARY);
        command.env_clear().env("HOME", home).current_dir(home).arg("broker").args(flags);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let addresses = lines.map(|line| line.unwrap().replace("tcp://", "").parse().unwrap());
        let listeners = ["CURVE", "PLAIN", "NULL"].into_iter().zip(addresses).collect();
        Self { process, listeners, _home: folder }
    }

    fn listener(&self, mechanism: Mechanism) -> SocketAddr {
        self.listeners[mechanism.to_string().as_str()]
    }

    /// Resident memory of the broker, KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Plays these cases; what came of them that should not.
    fn play<'c>(&self, cases: impl IntoIterator<Item = &'c Case>) -> Vec<String> {
        let wrong = |case: &Case| {
            let Ours::Listener(mechanism) = case.ours else { return None };
            let outcome = play(case, self.listener(mechanism));
            let expected = Outcome::of(&case.end);
            (outcome != expected).then(|| format!("{}: {outcome:?}, not {expected:?}", case.name))
        };
        cases.into_iter().filter_map(wrong).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a client with the key of the table needs.
fn curve() -> CurveIdentity {
    let own = Arc::new(KeyPair::new(SecretKey::new([ADMITTED; 32])));
    CurveIdentity { own, server: public(SERVER) }
}

fn public(octet: u8) -> PublicKey {
    pair(octet).public
}

/// The cases of our listeners. A broker knows of no user that has to wait.
fn at_listeners() -> Vec<Case> {
    let mut cases = handshakes::cases();
    cases.retain(|case| {
        matches!(case.ours, Ours::Listener(_)) && !case.name.ends_with("user who has to wait")
    });
    let wrong = cases.iter().filter(|case| !matches!(case.end, End::Served(_))).count();
    assert!(wrong >= 200, "{wrong} of {} are wrong", cases.len());
    cases
}

#[test]
fn each_malformed_handshake_gets_its_answer_and_healthy_peers_go_on() {
    let (scene, cases) = (Scene::new(), at_listeners());
    // Once without anybody, so that what is allocated once is there.
    assert_eq!(scene.play(&cases), [""; 0]);
    let memory = scene.memory();
    let count = if is_full() { 100 } else { 20 };
    let healthy = Healthy::start(count, scene.listener(Mechanism::Curve), curve());
    for piece in cases.chunks(cases.len().div_ceil(PIECES)) {
        healthy.phase(Phase::Quiet);
        std::thread::sleep(PAUSE);
        healthy.phase(Phase::Busy);
        assert_eq!(scene.play(piece), [""; 0]);
    }
    let (quiet, busy) = healthy.stop();
    let ratio = busy.median.as_secs_f64() / quiet.median.as_secs_f64();
    println!(
        "{} handshakes beside {count} healthy peers: median {:?} -> {:?} (x {ratio:.2}), p99 {:?} -> \
         {:?}, worst {:?} -> {:?}, {} and {} calls",
        cases.len(),
        quiet.median,
        busy.median,
        quiet.p99,
        busy.p99,
        quiet.worst,
        busy.worst,
        quiet.calls,
        busy.calls,
    );
    assert!(ratio <= if is_full() { 1.5 } else { 3.0 }, "{quiet:?} {busy:?}");
    assert_eq!(scene.play(&cases), [""; 0]);
    let now = scene.memory();
    println!("resident: {memory} KiB before, {now} KiB after");
    assert!(now <= memory + (8 << 10), "{memory} KiB before, {now} KiB after");
}

/// The other role: servers that do it wrong, and our dialing side.
#[tokio::test]
async fn each_malformed_server_is_left() {
    let mut cases = handshakes::cases();
    // What dials has a key or nothing; no role of ours has a password.
    let dials = |case: &Case| matches!(case.ours, Ours::Dialer(Mechanism::Null | Mechanism::Curve));
    cases.retain(dials);
    assert!(cases.len() >= 50, "{}", cases.len());
    for case in cases {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
        let curve = matches!(case.ours, Ours::Dialer(Mechanism::Curve)).then(curve);
        let config = SessionConfig { curve, ..SessionConfig::default() };
        let (name, served) = (case.name.clone(), matches!(case.end, End::Served(_)));
        let server = std::thread::spawn(move || played::serve(&case, &listener));
        let session = Session::connect(&endpoint, &config).await;
        assert_eq!(session.is_ok(), served, "{name}: {session:?}");
        drop(session);
        server.join().unwrap();
    }
}
