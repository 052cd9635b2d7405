//! `majordomo bench`: how many calls a second a broker carries, and how long each takes.

mod load;
mod raw;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use majordomo::broker::Broker;
use majordomo::config::{BrokerConfig, Text};
use majordomo::wire::Protocol;
use serde_json::{Value, json};

use crate::connect::{ConnectArgs, Target, duration, protocol_name, some_time};
use crate::output::{Table, print};
use load::Load;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Kinds of load, in this order: some of W1, W2, W3, W4 [default: these], D1, D16, D128, D1024
    #[arg(long, value_delimiter = ',', value_name = "MODE,..", ignore_case = true)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    #[arg(default_values_t = [Mode::W1, Mode::W2, Mode::W3, Mode::W4])]
    modes: Vec<Mode>,
    /// How long each is measured
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = some_time)]
    time: Duration,
    /// How long each runs before it is measured
    #[arg(long, value_name = "DURATION", default_value = "300ms", value_parser = duration)]
    warm: Duration,
    /// Measure a broker of its own, started for this, instead of one that runs
    #[arg(long, conflicts_with_all = ["endpoint", "context"])]
    embedded: bool,
    /// Directory for the store of the broker of its own; it has to be empty or not there
    #[arg(long, value_name = "DIR", requires = "embedded")]
    store: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo bench --embedded
  majordomo bench --endpoint tcp://10.0.0.5:5555 --modes W2,W4 --time 10s --json
  majordomo bench --embedded --store /var/tmp/bench --modes D1,D16,D128,D1024

W1: 64 B, one call in flight. W2: 64 B, one client with 1,000 in flight, one worker.
W3: 64 B, 16 clients with 64 in flight each, 4 workers. W4: 1 MiB, 8 in flight.
D1, D16, D128, D1024: 64 B at level disk with so many in flight, one client, one worker. With --store
the raw rate of the disk is measured right before: one write of 4 KiB and its synchronisation at a time.
Clients and workers are those of the library, in this process: one thread for all clients, one for
all workers. Over MDP each call in flight has a connection of its own, and a broker that is not
told to `prefetch` gives a worker one request at a time. Every reply is checked.
What else this machine does shows in the figures: compare ratios of runs, not runs.";

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// 64 B, one call in flight
    #[value(name = "W1")]
    W1,
    /// 64 B, one client with 1,000 in flight, one worker
    #[value(name = "W2")]
    W2,
    /// 64 B, 16 clients with 64 in flight each, 4 workers
    #[value(name = "W3")]
    W3,
    /// 1 MiB, one client with 8 in flight, one worker
    #[value(name = "W4")]
    W4,
    /// 64 B at level disk, one call in flight
    #[value(name = "D1")]
    D1,
    /// 64 B at level disk, 16 in flight
    #[value(name = "D16")]
    D16,
    /// 64 B at level disk, 128 in flight
    #[value(name = "D128")]
    D128,
    /// 64 B at level disk, 1,024 in flight
    #[value(name = "D1024")]
    D1024,
}

/// The figures of a mode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) size: usize,
    pub(super) clients: usize,
    /// In flight at each client.
    pub(super) window: usize,
    pub(super) workers: usize,
    pub(super) credit: u16,
    /// At level disk.
    pub(super) disk: bool,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::W1 => "W1",
            Self::W2 => "W2",
            Self::W3 => "W3",
            Self::W4 => "W4",
            Self::D1 => "D1",
            Self::D16 => "D16",
            Self::D128 => "D128",
            Self::D1024 => "D1024",
        }
    }

    fn shape(self) -> Shape {
        let base = Shape { size: 64, clients: 1, window: 1, workers: 1, credit: 1, disk: false };
        let disk = |credit| Shape { window: usize::from(credit), credit, disk: true, ..base };
        match self {
            Self::W1 => base,
            Self::W2 => Shape { window: 1000, credit: 1000, ..base },
            Self::W3 => Shape { clients: 16, window: 64, workers: 4, credit: 64, ..base },
            Self::W4 => Shape { size: 1 << 20, window: 8, credit: 8, ..base },
            Self::D1 => disk(1),
            Self::D16 => disk(16),
            Self::D128 => disk(128),
            Self::D1024 => disk(1024),
        }
    }
}

/// As on the command line.
impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a mode gave.
pub(super) struct Figures {
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) seconds: f64,
    /// Nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// Synchronisations a second of the disk alone.
    pub(super) raw: Option<f64>,
}

impl Figures {
    fn per_second(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    /// Microseconds.
    fn quantile(&self, quantile: f64) -> f64 {
        (self.latency.value_at_quantile(quantile) as f64 / 1e2).round() / 10.0
    }
}

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let mut target = args.connect.target()?;
    let broker = args.embedded.then(|| embedded(args)).transpose()?;
    if let Some(endpoint) = broker.as_ref().and_then(|broker| broker.local_addrs().first()) {
        (target.endpoint, target.curve) = (endpoint.clone(), None);
    }
    let mut measured = Vec::new();
    for &mode in &args.modes {
        let progress = progress(mode);
        let shape = mode.shape();
        let load = Load { target: &target, shape, warm: args.warm, time: args.time };
        let store = args.store.as_deref().filter(|_| shape.disk);
        let raw = store.map(|dir| raw::synchronisations(dir, args.time / 2)).transpose()?;
        let figures = Figures { raw, ..load.run()? };
        progress.finish_and_clear();
        measured.push((mode, shape, figures));
    }
    report(args, &target, &measured)?;
    Ok(ExitCode::SUCCESS)
}

/// A broker with its defaults, on a free port of this machine.
fn embedded(args: &BenchArgs) -> Result<Broker> {
    let mut config = BrokerConfig::default();
    config.store.path.clone_from(&args.store);
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
    Ok(Broker::bind(config)?)
}

/// On a terminal only.
fn progress(mode: Mode) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
    let progress = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        .with_message(mode.name());
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}

type Measured = [(Mode, Shape, Figures)];

fn report(args: &BenchArgs, target: &Target, measured: &Measured) -> Result<()> {
    let (machine, settings, repeat) = (machine(), settings(args, target), repeat(args, target));
    if args.json {
        let modes = measured.iter().map(|(mode, shape, figures)| {
            json!({
                "mode": mode.name(), "bytes": shape.size, "clients": shape.clients,
                "in_flight": shape.window, "workers": shape.workers, "credit": shape.credit,
                "calls": figures.calls, "errors": figures.errors, "seconds": figures.seconds,
                "per_second": figures.per_second().round(), "us": {
                    "p50": figures.quantile(0.5), "p99": figures.quantile(0.99),
                    "p99.9": figures.quantile(0.999),
                },
                "raw_syncs_per_second": figures.raw.map(f64::round),
            })
        });
        let modes = Value::from(modes.collect::<Vec<_>>());
        let report = json!({
            "v": 1, "machine": machine, "settings": settings, "repeat": repeat, "modes": modes,
        });
        return print(format!("{report}\n"));
    }
    let mut table = Table::new([
        "MODE",
        "BYTES",
        "CLIENTS",
        "IN FLIGHT",
        "WORKERS",
        "CALLS/S",
        "P50 us",
        "P99 us",
        "P99.9 us",
        "ERRORS",
    ]);
    for (mode, shape, figures) in measured {
        table.row([
            mode.name(),
            &shape.size.to_string(),
            &shape.clients.to_string(),
            &shape.window.to_string(),
            &shape.workers.to_string(),
            &format!("{:.0}", figures.per_second()),
            &format!("{:.1}", figures.quantile(0.5)),
            &format!("{:.1}", figures.quantile(0.99)),
            &format!("{:.1}", figures.quantile(0.999)),
            &figures.errors.to_string(),
        ]);
    }
    let raws = measured.iter().filter_map(|(mode, _, figures)| {
        let rate = figures.raw?;
        Some(format!(
            "raw:      {rate:.0} writes of {} B and synchronisations/s before {mode}\n",
            raw::SIZE
        ))
    });
    let raws: String = raws.collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    print(format!(
        "{table}\n{raws}machine:  {}\nsettings: {}\nrepeat:   {repeat}\n",
        text(&machine),
        text(&settings)
    ))
}

/// The machine in one line.
fn machine() -> Value {
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    let info = file("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (kernel, load) = (file("/proc/sys/kernel/osrelease"), file("/proc/loadavg"));
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{model}, {cores} CPUs, Linux {}, load {load} at the end", kernel.trim()).into()
}

fn settings(args: &BenchArgs, target: &Target) -> Value {
    let debug = if cfg!(debug_assertions) { ", NOT an optimised build" } else { "" };
    let broker = if args.embedded { "a broker in this process" } else { "the broker there" };
    format!(
        "majordomo {}{debug}, {} by {}, {broker}, {} each behind {}",
        env!("CARGO_PKG_VERSION"),
        target.endpoint,
        protocol_name(target.protocol),
        args.time.write(),
        args.warm.write()
    )
    .into()
}

/// The command line that does the same again.
fn repeat(args: &BenchArgs, target: &Target) -> String {
    let modes: Vec<_> = args.modes.iter().map(|mode| mode.name()).collect();
    let place =
        if args.embedded { "--embedded".into() } else { format!("--endpoint {}", target.endpoint) };
    let protocol = match target.protocol {
        Protocol::Mjp => String::new(),
        other => format!(" --protocol {}", protocol_name(other)),
    };
    let store =
        args.store.as_ref().map_or_else(String::new, |dir| format!(" --store {}", dir.display()));
    format!(
        "majordomo bench {place}{store}{protocol} --modes {} --time {} --warm {}",
        modes.join(","),
        args.time.write(),
        args.warm.write()
    )
}

/// Why the threads could not be started.
pub(super) fn no_thread(error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot start a thread: {error}")
}
