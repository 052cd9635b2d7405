//! What connections cost that do nothing, or next to nothing.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::compare::{Usage, drive, load};
use crate::mode::{Mode, Shape};
use crate::process::{Process, resident};
use crate::report::{at_least, at_most, median};
use crate::server::{self, Server};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Connected workers
    #[arg(long, default_value_t = 10_000)]
    count: u32,
    /// Seconds to measure
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Rounds of `crowd`; each figure is the median of them
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// The load of W2, on one worker of many.
fn shape() -> Shape {
    Mode::W2.shape()
}

fn broker(prefetch: u16, heartbeat: &str) -> Result<Server> {
    let prefetch = format!("--prefetch={prefetch}");
    let heartbeat = format!("--heartbeat={heartbeat}");
    server::majordomo(&[&prefetch, &heartbeat, "--set=limits.connections=100000"], false)
}

/// Connects workers and waits until all of them are there.
fn connect(server: &Server, count: u32, flags: &[&str]) -> Result<Process> {
    let mut workers = load("workers", server, count, &shape())?;
    workers.args(flags);
    let mut workers = Process::start(workers)?;
    ensure!(workers.line()? == "ready", "the workers are not ready");
    Ok(workers)
}

/// Resident memory of a connection after its handshake, READY and 100 messages.
pub(crate) fn memory(options: &Options) -> Result<()> {
    const MESSAGES: u64 = 100;
    let server = broker(1, "1m")?;
    // What the broker takes once, for calls as such, is no matter of the idle connections.
    drive(&server, &shape(), 1.0, &[])?;
    settle();
    let before = resident(server.process.id())?;
    let mut workers = connect(&server, options.count, &[])?;
    let connected = resident(server.process.id())?;
    let mut clients = load("clients", &server, 1, &shape())?;
    let calls = u64::from(options.count) * MESSAGES * 102 / 100;
    clients.args(["--window=1000", "--warm=0", "--measure=0"]).arg(format!("--calls={calls}"));
    let mut clients = Process::start(clients)?;
    ensure!(clients.line()? == "start", "the clients did not start");
    clients.line()?;
    drop(clients);
    settle();
    let after = resident(server.process.id())?;
    workers.end_input();
    let least: u64 = workers.line()?.parse()?;
    ensure!(least >= MESSAGES, "a worker has had only {least} messages");
    let each =
        |resident: u64| resident.saturating_sub(before) as f64 / f64::from(options.count) / 1024.0;
    println!("{} connections, KiB each: {:.2} when connected", options.count, each(connected));
    println!("{}", at_most("resident KiB of an idle connection", Some(each(after)), 12.0));
    Ok(())
}

/// Lets buffers go back that are held for a moment only.
pub(crate) fn settle() {
    sleep(Duration::from_secs(2));
}

/// CPU of a broker with many workers that only beat, against the bare loop.
pub(crate) fn heartbeats(options: &Options) -> Result<()> {
    let interval = Duration::from_millis(2500);
    let broker = used_by_beats(&broker(1, "2500ms")?, interval, options)?;
    let bare = used_by_beats(&server::beats(interval)?, interval, options)?;
    println!(
        "{} workers, beats every {interval:?}, CPU of a core: broker {:.2} %, bare loop {:.2} %",
        options.count,
        100.0 * broker,
        100.0 * bare
    );
    println!("{}", at_most("CPU of heartbeats to that of a bare loop", Some(broker / bare), 1.3));
    Ok(())
}

/// The share of a core that a server uses while workers beat.
fn used_by_beats(server: &Server, interval: Duration, options: &Options) -> Result<f64> {
    let beat = format!("--beat={}", interval.as_millis());
    let workers = connect(server, options.count, &["--own-services", &beat])?;
    // By then everybody has found its rhythm.
    sleep(2 * interval);
    let ours = [server.process.id(), workers.id(), std::process::id()];
    let before = Usage::now(&ours)?;
    sleep(Duration::from_secs_f64(options.seconds));
    let used = Usage::now(&ours)?.since(&before);
    let rest = used.rest / used.seconds;
    println!("the rest of the machine used {rest:.2} cores meanwhile");
    Ok(used.first / used.seconds)
}

/// What a call costs with and without many others.
pub(crate) fn crowd(options: &Options) -> Result<()> {
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let mut figures = Vec::new();
        for count in [0, options.count] {
            let server = broker(shape().prefetch, "1m")?;
            let others = match count {
                0 => None,
                _ => Some(connect(&server, count, &["--own-services", "--beat=30000"])?),
            };
            let others: Vec<u32> = others.iter().map(Process::id).collect();
            let (calls, used) = drive(&server, &shape(), options.seconds, &others)?;
            let rate = calls.calls as f64 / calls.seconds;
            let cost = used.first * 1e6 / calls.calls as f64;
            let rest = used.rest / used.seconds;
            println!(
                "round {round}, {count:6} others: {rate:9.0} calls/s {cost:6.2} us CPU, rest \
                 {rest:.2} cores"
            );
            figures.push((rate, cost));
        }
        if let [(rate, cost), (rate_in_crowd, cost_in_crowd)] = figures[..] {
            rates.push(rate_in_crowd / rate);
            costs.push(cost_in_crowd / cost);
        }
    }
    println!("{}", at_most("CPU per call in a crowd to that without", median(costs), 2.0));
    println!("{}", at_least("rate in a crowd to that without", median(rates), 0.5));
    Ok(())
}
