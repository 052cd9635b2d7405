//! What the broker takes before it has done anything: time, memory, disk.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::idle::settle;
use crate::load::first_call;
use crate::process::resident;
use crate::report::{at_most, median};
use crate::server;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Starts; each figure is the median of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// Starts brokers, and weighs the program.
pub(crate) fn run(options: &Options) -> Result<()> {
    const MIB: f64 = (1 << 20) as f64;
    let (mut bound, mut answered, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let begin = Instant::now();
        let millis = || begin.elapsed().as_secs_f64() * 1e3;
        let server = server::majordomo(&[], false)?;
        bound.push(millis());
        first_call(server.front.parse()?).context("the first call")?;
        answered.push(millis());
        settle();
        idle.push(resident(server.process.id())? as f64 / MIB);
        println!(
            "start {round}: bound after {:.1} ms, first reply after {:.1} ms, {:.2} MiB",
            bound.last().copied().unwrap_or_default(),
            answered.last().copied().unwrap_or_default(),
            idle.last().copied().unwrap_or_default()
        );
    }
    let size = stripped()? as f64 / MIB;
    println!("{}", at_most("ms from the start to the line that says bound", median(bound), 100.0));
    println!("{}", at_most("ms from the start to the first reply", median(answered), 100.0));
    println!("{}", at_most("resident MiB of an idle broker", median(idle), 20.0));
    println!("{}", at_most("MiB of the program without symbols", Some(size), 15.0));
    Ok(())
}

/// Octets of a stripped copy of the program.
fn stripped() -> Result<u64> {
    let place = tempfile::tempdir()?;
    let copy = place.path().join("majordomo");
    let status = Command::new("strip").arg("-o").arg(&copy).arg(server::program()).status();
    ensure!(status.context("strip is needed, of binutils")?.success(), "strip failed");
    Ok(copy.metadata()?.len())
}
