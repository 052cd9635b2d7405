#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]
//! What a call to a service container costs: at our broker, on RabbitMQ, and beside NuroPb's Python
//! package on the same RabbitMQ.
//!
//! `cargo bench --all-features --bench container` compares them; it needs the environment of Python
//! and the RabbitMQ that `tests/run` installs. `compare.py` starts the servers, and this program in
//! the roles of a service and of its callers; `-- --help` lists what it can be told.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use majordomo::container::{
    BrokerQueues, Call, Caller, Client, Embedded, Failure, Queues, RabbitQueues,
    RabbitQueuesConfig, ServiceContainer,
};
use majordomo::engine::rabbitmq::RabbitConfig;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Calls before it counts, of each caller.
const WARM_UP: u64 = 100;
const SERVICE: &str = "bench";

#[derive(Debug, Parser)]
#[command(
    name = "container",
    about = "Compares service containers with NuroPb",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    compare: Compare,
    /// Given by `cargo bench`, not by `cargo test`.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// What compare.py is told.
#[derive(Debug, Args)]
struct Compare {
    /// Rounds; each figure is the median of them
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds that each peer is measured in each round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Calls in flight
    #[arg(long, default_value = "1,64", value_name = "COUNT,..")]
    windows: String,
    /// Messages that a service takes at a time; NuroPb's default is 1
    #[arg(long, default_value_t = 100)]
    prefetch: u16,
    /// Write all samples there
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// The Python that has NuroPb [default: nuropb/bin/python in the target directory]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A service that answers with what it is asked
    #[command(hide = true)]
    Service {
        #[command(flatten)]
        home: Home,
        #[arg(long)]
        prefetch: u16,
    },
    /// Its callers
    #[command(hide = true)]
    Callers {
        #[command(flatten)]
        home: Home,
        /// Calls at a time
        #[arg(long)]
        window: usize,
        #[arg(long)]
        seconds: f64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum At {
    Broker,
    Rabbitmq,
}

#[derive(Debug, Args)]
struct Home {
    #[arg(long)]
    at: At,
    #[arg(long)]
    url: String,
    /// RabbitMQ keeps messages on the disk, as it does by default here, and not for NuroPb
    #[arg(long)]
    keep: bool,
}

impl Home {
    fn rabbit(&self) -> Result<RabbitQueuesConfig> {
        let url = self.url.parse().context("the URL of RabbitMQ")?;
        let persistent = self.keep;
        Ok(RabbitQueuesConfig { persistent, ..RabbitQueuesConfig::new(RabbitConfig::new(url)) })
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // A task that panics must end its process, so that the run fails.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::exit(1);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.role {
        None if !cli.bench => {
            eprintln!("to compare, run `cargo bench --all-features --bench container`");
            Ok(())
        }
        None => cli.compare.run(),
        Some(Role::Service { home, prefetch }) => runtime.block_on(serve(&home, prefetch)),
        Some(Role::Callers { home, window, seconds }) => {
            runtime.block_on(call(&home, window, Duration::from_secs_f64(seconds)))
        }
    }
}

impl Compare {
    fn run(self) -> Result<()> {
        let own = std::env::current_exe()?;
        // It is in target/release/deps.
        let target = own.ancestors().nth(3).context("no target directory")?;
        let python = self.python.unwrap_or_else(|| target.join("nuropb/bin/python"));
        ensure!(python.exists(), "no {}: tests/run makes it, or give --python", python.display());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/container/compare.py");
        let mut command = Command::new(python);
        command.arg(script).arg("--bench").arg(own);
        command.args(["--majordomo", env!("CARGO_BIN_EXE_majordomo")]);
        command.args(["--rounds", &self.rounds.to_string()]);
        command.args(["--seconds", &self.seconds.to_string()]);
        command.args(["--windows", &self.windows, "--prefetch", &self.prefetch.to_string()]);
        if let Some(path) = self.json {
            command.arg("--json").arg(path);
        }
        let ended = command.status()?;
        ensure!(ended.success(), "it has failed: {ended}");
        Ok(())
    }
}

async fn echo(call: Call<Value>) -> Result<Value, Failure> {
    Ok(call.args)
}

/// Serves until its input ends.
async fn serve(home: &Home, prefetch: u16) -> Result<()> {
    let builder = ServiceContainer::builder(SERVICE).prefetch(prefetch, prefetch);
    let builder = match home.at {
        At::Broker => builder.broker(Embedded::at(&home.url)?),
        At::Rabbitmq => builder.rabbitmq(home.rabbit()?).standalone(),
    };
    let container = builder.method("echo", echo).start()?;
    container.running().await;
    println!("serves");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    container.stop(Duration::from_secs(5)).await;
    Ok(())
}

/// Says when it begins to count, and then what it has counted, and waits until its input ends.
async fn call(home: &Home, window: usize, time: Duration) -> Result<()> {
    let queues: Arc<dyn Queues> = match home.at {
        At::Broker => Arc::new(BrokerQueues::client(Embedded::at(&home.url)?, "bench")?),
        At::Rabbitmq => Arc::new(RabbitQueues::client(home.rabbit()?, "bench")),
    };
    let client = Client::start(queues);
    let caller = client.caller();
    all(window, |number| calls(caller.clone(), number, None)).await?;
    println!("begins");
    let began = Instant::now();
    let mut took = all(window, |number| calls(caller.clone(), number, Some(began + time))).await?;
    let seconds = began.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |part: usize| {
        let time = took.get((took.len() * part / 1000).min(took.len().saturating_sub(1)));
        time.map(|time| time.as_secs_f64() * 1e3)
    };
    println!(
        "{}",
        json!({"calls": took.len(), "seconds": seconds, "p50": at(500), "p99": at(990)})
    );
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    client.close().await;
    Ok(())
}

/// What so many do at a time.
async fn all<F>(window: usize, one: impl Fn(usize) -> F) -> Result<Vec<Duration>>
where
    F: Future<Output = Result<Vec<Duration>>> + Send + 'static,
{
    let mut callers: JoinSet<_> = (0..window).map(one).collect();
    let mut took = Vec::new();
    while let Some(more) = callers.join_next().await {
        took.extend(more??);
    }
    Ok(took)
}

/// One call after the other, and how long each took.
async fn calls(caller: Caller, number: usize, ends: Option<Instant>) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for count in 0_u64.. {
        let began = Instant::now();
        if ends.map_or(count >= WARM_UP, |ends| began >= ends) {
            break;
        }
        let asked = json!({"caller": number, "count": count});
        let answer = caller.request(SERVICE, "echo", &asked).await?;
        if answer != asked {
            bail!("{answer} is no answer to {asked}");
        }
        took.push(began.elapsed());
    }
    Ok(took)
}
