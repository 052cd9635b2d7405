//! Rounds of measurements: every peer in every round, disturbed rounds thrown away.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use majordomo::keys::text_of_public;
use serde::Serialize;

use crate::boxes;
use crate::flow;
use crate::load::Calls;
use crate::mode::{Mode, Peer, Shape};
use crate::process::{Process, cpu_of, cpu_of_machine, ourselves};
use crate::report::{Report, Target};
use crate::server::{self, Server};

/// The rest of the machine may use that much of a core while a round counts.
const REST_MAX: f64 = 1.0 / 3.0;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Modes of load, in this order
    #[arg(long, value_delimiter = ',', value_name = "MODE,..",
          default_values_t = [Mode::W1, Mode::W2, Mode::S1, Mode::S64, Mode::W3, Mode::W4])]
    modes: Vec<Mode>,
    /// What is measured
    #[arg(long, value_delimiter = ',', value_name = "PEER,..",
          default_values_t = [Peer::Majordomo, Peer::MajordomoMjp, Peer::Relay, Peer::Zmq, Peer::Nats])]
    peers: Vec<Peer>,
    /// Leave these out
    #[arg(long, value_delimiter = ',', value_name = "PEER,..")]
    without: Vec<Peer>,
    #[command(flatten)]
    rounds: Rounds,
}

/// How often and how long.
#[derive(Debug, Args)]
pub(crate) struct Rounds {
    /// Rounds; each figure is the median of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that each peer is measured in each round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How often a disturbed round is repeated before it is kept, and the run does not count
    #[arg(long, default_value_t = 5)]
    repeats: u32,
    /// Write all samples and the medians there
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

/// One peer in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) mode: Mode,
    pub(crate) peer: Peer,
    pub(crate) round: u32,
    pub(crate) per_second: f64,
    /// Microseconds each.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// CPU of the peer for a call, microseconds.
    pub(crate) cpu: f64,
    /// CPU of the clients for a call, microseconds.
    pub(crate) client_cpu: f64,
    /// What the rest of the machine used, in cores.
    pub(crate) rest: f64,
}

/// Runs the comparison and prints it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let peers: Vec<Peer> = options
        .peers
        .iter()
        .filter(|peer| !options.without.contains(peer))
        .flat_map(|&peer| [Some(peer), (peer == Peer::Relay).then_some(Peer::RelayTurn)])
        .flatten()
        .collect();
    options.rounds.run(&options.modes, &peers, |report| report.targets())
}

/// Holds the client library against the clients of the load generator.
pub(crate) fn library(rounds: &Rounds) -> Result<()> {
    rounds.run(&[Mode::W2], &[Peer::MajordomoMjp, Peer::Library], |report| report.library())
}

/// Holds the broker's flows against the raw relay.
pub(crate) fn flow(rounds: &Rounds) -> Result<()> {
    let modes = [Mode::Flow, Mode::Tensors, Mode::Flows];
    let peers = [Peer::Majordomo, Peer::Relay, Peer::RelayTurn];
    rounds.run(&modes, &peers, |report| report.flows())
}

/// Holds the broker over CURVE against itself over NULL and against libzmq's proxy over CURVE.
pub(crate) fn curve(rounds: &Rounds) -> Result<()> {
    println!("one box, made or opened: {:.3} us", boxes::cost());
    let peers = [Peer::Majordomo, Peer::MajordomoCurve, Peer::ZmqCurve];
    rounds.run(&[Mode::W1, Mode::W2], &peers, |report| report.curve(boxes::cost()))
}

impl Rounds {
    /// Measures, prints, and says which targets are met.
    fn run(
        &self,
        modes: &[Mode],
        peers: &[Peer],
        targets: fn(&Report<'_>) -> Vec<Target>,
    ) -> Result<()> {
        let mut samples = Vec::new();
        let mut disturbed = 0;
        for round in 0..self.rounds {
            for &mode in modes {
                disturbed += u32::from(!round_of(mode, round, peers, self, &mut samples)?);
            }
        }
        let report = Report::new(&samples);
        print!("{report}");
        for target in targets(&report) {
            println!("{target}");
        }
        if disturbed > 0 {
            println!("THE RUN DOES NOT COUNT: {disturbed} rounds were disturbed and kept");
        }
        if let Some(path) = &self.json {
            let json = serde_json::json!({ "disturbed": disturbed, "samples": samples });
            let text = serde_json::to_string_pretty(&json)?;
            std::fs::write(path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

/// Measures the peers in one mode; false if the round was disturbed each time.
fn round_of(
    mode: Mode,
    round: u32,
    peers: &[Peer],
    rounds: &Rounds,
    samples: &mut Vec<Sample>,
) -> Result<bool> {
    let mut taken = Vec::new();
    for repeat in 0..=rounds.repeats {
        taken.clear();
        // Nobody is always first, or always behind the same neighbour.
        for step in 0..peers.len() {
            let peer = peers[(step + round as usize) % peers.len()];
            if mode.is_strict() && peer != Peer::Majordomo {
                continue;
            }
            let sample = measure(mode, peer, round, rounds.seconds)
                .with_context(|| format!("{mode:?} with {}", peer.name()))?;
            let disturbed = sample.rest > REST_MAX;
            eprintln!(
                "{mode:?} round {round} {:13} {:9.0} calls/s {:8.2} us CPU, rest {:.2} cores",
                peer.name(),
                sample.per_second,
                sample.cpu,
                sample.rest
            );
            taken.push(sample);
            if disturbed && repeat < rounds.repeats {
                break;
            }
        }
        if taken.iter().all(|sample| sample.rest <= REST_MAX) {
            samples.append(&mut taken);
            return Ok(true);
        }
    }
    samples.append(&mut taken);
    Ok(false)
}

/// Starts a peer and takes its figures.
fn measure(mode: Mode, peer: Peer, round: u32, seconds: f64) -> Result<Sample> {
    let shape = mode.shape();
    let (calls, used) = if mode.is_flow() {
        flow::drive(peer, &shape, seconds)?
    } else {
        let server = server::start(peer, shape.prefetch, shape.one_cpu)?;
        drive(&server, &shape, seconds, &[])?
    };
    Ok(Sample {
        mode,
        peer,
        round,
        per_second: calls.calls as f64 / calls.seconds,
        p50: calls.p50,
        p99: calls.p99,
        p999: calls.p999,
        cpu: used.first * 1e6 / calls.calls as f64,
        client_cpu: used.second * 1e6 / calls.calls as f64,
        rest: used.rest / used.seconds,
    })
}

/// A process of the load generator, not started yet.
pub(crate) fn load(role: &str, server: &Server, count: u32, shape: &Shape) -> Result<Command> {
    let mut command = ourselves(shape.one_cpu)?;
    let addr = if role == "workers" { &server.back } else { &server.front };
    command.args([role, &format!("--speech={:?}", server.speech).to_lowercase(), "--addr", addr]);
    command.arg(format!("--count={count}")).arg(format!("--size={}", shape.size));
    command.arg(format!("--credit={}", shape.prefetch));
    if let Some((key, _)) = &server.key {
        command.arg(format!("--server-key={}", text_of_public(key)));
    }
    Ok(command)
}

/// Puts load on a server for a while: what the clients saw, and what the server used.
/// `others` belong to the run as well.
pub(crate) fn drive(
    server: &Server,
    shape: &Shape,
    seconds: f64,
    others: &[u32],
) -> Result<(Calls, Used)> {
    const WARM_MILLIS: u32 = 300;
    let mut workers = Process::start(load("workers", server, shape.workers, shape)?)?;
    ensure!(workers.line()? == "ready", "the workers are not ready");
    let mut clients = load("clients", server, shape.clients, shape)?;
    clients.arg(format!("--window={}", shape.window)).arg(format!("--warm={WARM_MILLIS}"));
    clients.arg(format!("--measure={:.0}", seconds * 1e3));
    let mut clients = Process::start(clients)?;
    let ours = [server.process.id(), clients.id(), workers.id(), std::process::id()];
    let ours = [&ours, others].concat();
    ensure!(clients.line()? == "start", "the clients did not start");
    let before = Usage::now(&ours)?;
    let line = clients.line()?;
    let used = Usage::now(&ours)?.since(&before);
    let calls: Calls = serde_json::from_str(&line)?;
    ensure!(calls.calls > 0, "no call was answered");
    Ok((calls, used))
}

/// CPU time so far.
#[derive(Debug)]
pub(crate) struct Usage {
    at: Instant,
    each: Vec<f64>,
    machine: f64,
}

/// CPU time of a while.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) seconds: f64,
    /// Of the first process.
    pub(crate) first: f64,
    /// Of the second process.
    pub(crate) second: f64,
    /// Of everything but the processes.
    pub(crate) rest: f64,
}

impl Usage {
    pub(crate) fn now(processes: &[u32]) -> Result<Self> {
        let each = processes.iter().map(|id| cpu_of(*id)).collect::<Result<_>>()?;
        Ok(Self { at: Instant::now(), each, machine: cpu_of_machine()? })
    }

    pub(crate) fn since(&self, before: &Self) -> Used {
        let each: Vec<f64> =
            self.each.iter().zip(&before.each).map(|(now, before)| now - before).collect();
        Used {
            seconds: (self.at - before.at).as_secs_f64(),
            first: each[0],
            second: each[1],
            rest: (self.machine - before.machine) - each.iter().sum::<f64>(),
        }
    }
}
