//! Starts what is measured.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use majordomo::id::PublicKey;
use majordomo::keys::write_pair;
use tempfile::TempDir;

use crate::load::Speech;
use crate::mode::Peer;
use crate::process::{Process, command, ourselves};

/// A peer that listens.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) speech: Speech,
    /// Where clients connect.
    pub(crate) front: String,
    /// Where workers connect.
    pub(crate) back: String,
    /// The key of one that speaks CURVE, and the folder with its secret.
    pub(crate) key: Option<(PublicKey, TempDir)>,
}

/// Starts a peer and waits until it listens.
pub(crate) fn start(peer: Peer, prefetch: u16, one_cpu: bool) -> Result<Server> {
    match peer {
        Peer::Majordomo => majordomo(&[&format!("--prefetch={prefetch}")], one_cpu),
        // The credit of its workers takes the place of `prefetch`.
        Peer::MajordomoMjp => Ok(Server { speech: Speech::Mjp, ..majordomo(&[], one_cpu)? }),
        Peer::Library => Ok(Server { speech: Speech::Library, ..majordomo(&[], one_cpu)? }),
        Peer::Relay => relay("connection", one_cpu),
        Peer::RelayTurn => relay("turn", one_cpu),
        Peer::Zmq => zmq_proxy(one_cpu, false),
        Peer::ZmqCurve => zmq_proxy(one_cpu, true),
        Peer::MajordomoCurve => {
            let key = new_key()?;
            let secret = format!("--curve-secret={}", secret_in(&key.1).display());
            let flags = [&format!("--prefetch={prefetch}"), &secret, "--authorized-keys=any"];
            Ok(Server { key: Some(key), ..majordomo(&flags, one_cpu)? })
        }
        Peer::Nats => nats_server(one_cpu),
    }
}

/// The program of this build, or the one that MAJORDOMO_BROKER names.
pub(crate) fn program() -> OsString {
    let own = || env!("CARGO_BIN_EXE_majordomo").into();
    std::env::var_os("MAJORDOMO_BROKER").unwrap_or_else(own)
}

/// The broker, spoken to in MDP.
pub(crate) fn majordomo(flags: &[&str], one_cpu: bool) -> Result<Server> {
    let mut broker = command(program(), one_cpu);
    broker.args(["broker", "--bind=tcp://127.0.0.1:0", "--log-level=warn"]).args(flags);
    let mut process = Process::start(broker)?;
    let line = process.line()?;
    let addr = line.strip_prefix("tcp://").context("no endpoint")?.to_owned();
    Ok(Server { process, speech: Speech::Mdp, back: addr.clone(), front: addr, key: None })
}

/// The bare loop of [`crate::beats`].
pub(crate) fn beats(interval: Duration) -> Result<Server> {
    let mut beats = ourselves(false)?;
    beats.arg("beat").arg(interval.as_millis().to_string());
    let mut process = Process::start(beats)?;
    let addr = process.line()?;
    Ok(Server { process, speech: Speech::Mdp, back: addr.clone(), front: addr, key: None })
}

fn relay(flush: &str, one_cpu: bool) -> Result<Server> {
    let mut relay = ourselves(one_cpu)?;
    relay.args(["relay", flush]);
    let mut process = Process::start(relay)?;
    let addr = process.line()?;
    Ok(Server { process, speech: Speech::Length, back: addr.clone(), front: addr, key: None })
}

/// A new key of a server, and the folder with its secret.
fn new_key() -> Result<(PublicKey, TempDir)> {
    let folder = tempfile::tempdir()?;
    let (key, _, _) = write_pair(folder.path(), "server")?;
    Ok((key.public, folder))
}

fn secret_in(folder: &TempDir) -> PathBuf {
    folder.path().join("server.secret")
}

/// A Python that has pyzmq: what MAJORDOMO_PYTHON names, or `python3`.
fn python() -> PathBuf {
    std::env::var_os("MAJORDOMO_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

fn zmq_proxy(one_cpu: bool, curve: bool) -> Result<Server> {
    let mut proxy = command(python(), one_cpu);
    proxy.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/broker/zmq_proxy.py"));
    let key = curve.then(new_key).transpose()?;
    if let Some((_, folder)) = &key {
        proxy.arg(secret_in(folder));
    }
    let mut process = Process::start(proxy)?;
    let line = process.line().context(
        "the proxy needs pyzmq: set MAJORDOMO_PYTHON to a python that has it, or leave it out \
         with --without zmq",
    )?;
    let (front, back) = line.split_once(' ').context("two addresses")?;
    let (front, back) = (front.to_owned(), back.to_owned());
    let speech = if key.is_some() { Speech::Padded } else { Speech::Plain };
    Ok(Server { process, speech, front, back, key })
}

fn nats_server(one_cpu: bool) -> Result<Server> {
    let mut nats = command("sh", one_cpu);
    // It logs where it listens to standard error.
    nats.args(["-c", "exec nats-server -a 127.0.0.1 -p -1 2>&1"]);
    let mut process = Process::start(nats)?;
    loop {
        let line = process.line().context("nats-server is needed, or --without nats")?;
        if let Some((_, addr)) = line.split_once("Listening for client connections on ") {
            let addr = addr.trim().to_owned();
            return Ok(Server {
                process,
                speech: Speech::Nats,
                back: addr.clone(),
                front: addr,
                key: None,
            });
        }
    }
}
