//! Flows through the broker, and the same messages through the raw relay.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::compare::{Usage, Used};
use crate::load::Calls;
use crate::mode::{Peer, Shape};
use crate::process::{Process, ourselves};
use crate::server::{self, Server};

/// Has flows run for a while: what the takers saw, and what the server used.
pub(crate) fn drive(peer: Peer, shape: &Shape, seconds: f64) -> Result<(Calls, Used)> {
    let factory = free_address()?;
    let server = match peer {
        Peer::Majordomo => server::majordomo(&[&format!("--flow-factory={factory}")], false)?,
        relay => server::start(relay, 1, false)?,
    };
    let mut takers = ends("takers", &server, shape)?;
    takers.arg(format!("--measure={:.0}", seconds * 1e3));
    if peer == Peer::Majordomo {
        takers.arg(format!("--factory={factory}"));
    }
    let mut takers = Process::start(takers)?;
    ensure!(takers.line()? == "ready", "the takers are not ready");
    let givers = Process::start(ends("givers", &server, shape)?)?;
    ensure!(takers.line()? == "start", "nothing is given");
    let ours = [server.process.id(), givers.id(), takers.id(), std::process::id()];
    let before = Usage::now(&ours)?;
    let line = takers.line()?;
    let used = Usage::now(&ours)?.since(&before);
    let calls: Calls = serde_json::from_str(&line)?;
    ensure!(calls.calls > 0, "nothing was taken");
    Ok((calls, used))
}

fn ends(role: &str, server: &Server, shape: &Shape) -> Result<Command> {
    let mut command = ourselves(false)?;
    command.args([role, "--addr", if role == "takers" { &server.back } else { &server.front }]);
    if server.speech == crate::load::Speech::Length {
        command.arg("--relay");
    }
    command.arg(format!("--count={}", shape.clients)).arg(format!("--size={}", shape.size));
    command.arg(format!("--window={}", shape.window));
    Ok(command)
}

/// A port that nobody has, for the factory: the broker is told of it before anybody listens.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
