//! `container run`: an instance whose methods are commands.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::care::CareArgs;
use super::servers::WhereArgs;
use crate::connect::{duration, some_time};

pub(super) const EXAMPLES: &str = "\
Examples:
  majordomo container run sums --method add='jq .a+.b'
  majordomo container run audit --on 'orders.#=cat >> orders.log' --prefetch 1
  majordomo container run sums --method add='jq .a+.b' --hw-mark 100 --min 1 --max 8
  majordomo container run sums --method add='jq .a+.b' --http 127.0.0.1:9465
  majordomo container run sums --method add='jq .a+.b' --queues rabbitmq --leases etcd

The command is run by `sh -c` for each call, the arguments are one line of JSON on its standard
input; what it prints is the value, as JSON if it is JSON, otherwise as text. It also gets
MAJORDOMO_SERVICE, MAJORDOMO_INSTANCE, MAJORDOMO_METHOD or MAJORDOMO_TOPIC, and
MAJORDOMO_CORRELATION_ID.
Exit code 75 has it called again, by whichever instance is next; with any other than 0 the caller is
told the last line of standard error, and the message becomes a dead letter.
Everything is at our broker, unless --queues and --leases say otherwise: two independent choices.
With --leases none there is no leader, and each instance sets up what it needs.
SIGTERM or Ctrl-C gives up the lead at once, and lets running commands finish.
With --min or --max this command is no instance but starts and stops instances, each a process of
its own, as many as the leader wants: more while more than --hw-mark messages wait, fewer when there
is little to do. A leader that nobody does that for says it all the same: as the property `wanted`,
as events container.SERVICE.scale_up and so on, and to the commands of --on-signal, which get signal
and figures as one line of JSON, and MAJORDOMO_SIGNAL.
With --json each change of state is printed as one JSON object.";

/// A service and its commands.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The service
    service: String,
    /// A method, and the command that is run for it; may be given again
    #[arg(long = "method", value_name = "NAME=COMMAND", value_parser = pair)]
    methods: Vec<(String, String)>,
    /// Topics of events, and the command that is run for them; may be given again
    #[arg(long = "on", value_name = "TOPICS=COMMAND", value_parser = pair)]
    topics: Vec<(String, String)>,
    /// The name of this instance [default: random]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["min", "max"])]
    instance: Option<String>,
    /// One of the instances that --min and --max have started: its name
    #[arg(long, value_name = "NAME", hide = true)]
    supervised: Option<String>,
    /// Messages in work at a time
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    prefetch: u16,
    /// The same while this instance leads
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    leader_prefetch: u16,
    /// Life of the leader's lease
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = some_time)]
    ttl: Duration,
    /// How often a call is tried again that asks for it
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    call_again: u32,
    /// Kill a command that takes longer
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = some_time)]
    timeout: Duration,
    /// Time that running commands have when the instance is stopped
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    drain: Duration,
    /// Share the queue as a quorum queue; instances of NuroPb's Python package cannot
    #[arg(long)]
    quorum: bool,
    /// Serve /livez, /readyz and /metrics of this instance there
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["min", "max"])]
    http: Option<SocketAddr>,
    /// Print one JSON object for each change of state
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    seal: SealArgs,
    #[command(flatten)]
    home: WhereArgs,
    // Last, since the heading holds for whatever comes next.
    #[command(flatten)]
    care: CareArgs,
}

/// What only callers and the service can read.
#[derive(Debug, Args)]
struct SealArgs {
    /// The private key of the service, RSA in PEM; all its instances need the same. With it callers
    /// may encrypt what they say
    #[cfg(feature = "encryption")]
    #[arg(long, value_name = "FILE")]
    service_key: Option<std::path::PathBuf>,
    /// A method whose calls have to be encrypted; may be given again
    #[cfg(feature = "encryption")]
    #[arg(long, value_name = "METHOD", requires = "service_key")]
    encrypted: Vec<String>,
}

/// Reads `add=jq .a+.b`.
fn pair(text: &str) -> Result<(String, String), String> {
    let pair =
        text.split_once('=').filter(|(name, command)| !name.is_empty() && !command.is_empty());
    let (name, command) = pair.ok_or("write NAME=COMMAND")?;
    Ok((name.to_owned(), command.to_owned()))
}

pub(super) use running::run;

mod running {
    use std::sync::Arc;

    #[cfg(feature = "encryption")]
    use majordomo::container::ServiceKey;
    use majordomo::container::{
        BuildError, Builder, Call, Event, Method, Properties, Served, ServiceContainer, State,
        Status,
    };
    use serde_json::{Value, json};
    use tokio::sync::{oneshot, watch};

    use super::super::command::Command;
    use super::super::servers::{LeasesAt, QueuesAt};
    use super::super::supervise::supervise;
    use super::{ExitCode, Result, RunArgs};
    #[cfg(not(all(feature = "rabbitmq", feature = "etcd")))]
    use crate::etcd::not_built;
    use crate::failure::CliError;
    use crate::output::{complain, print};
    use crate::signals::Signals;

    pub(in super::super) async fn run(args: RunArgs) -> Result<ExitCode> {
        if args.methods.is_empty() && args.topics.is_empty() {
            let error = CliError::usage("the service can do nothing");
            return Err(error.hint("give --method or --on").into());
        }
        let (json, drain) = (args.json, args.drain);
        let supervised = args.supervised.is_some();
        if let Some(range) = args.care.supervised()?.filter(|_| !supervised) {
            let name = format!("{}-{}", host(), std::process::id());
            return supervise(name, range, json).await;
        }
        let mut signals = Signals::new()?;
        let container = start(args)?;
        if let Some(address) = container.http_addr() {
            let address = format!("http://{address}");
            let told = json!({"v": 1, "event": "http", "address": address});
            print(if json { format!("{told}\n") } else { format!("{address}\n") })?;
        }
        let telling = (json || supervised).then(|| {
            tokio::spawn(tell(container.status(), supervised.then(|| container.properties())))
        });
        tokio::select! {
            () = signals.next() => {}
            () = orphaned(), if supervised => {}
        }
        let served = tokio::select! {
            served = container.stop(drain) => served,
            () = signals.next() => return Ok(ExitCode::FAILURE),
        };
        if let Some(telling) = telling {
            // It ends with the container.
            let _ = telling.await;
        }
        Ok(stopped(served, json))
    }

    fn start(args: RunArgs) -> Result<ServiceContainer> {
        let builder = ServiceContainer::builder(&args.service)
            .prefetch(args.prefetch, args.leader_prefetch)
            .call_again(args.call_again, std::time::Duration::from_millis(100))
            .version(env!("CARGO_PKG_VERSION"))
            .ttl(args.ttl);
        let mut builder = at_home(builder, &args)?;
        let instance = args.supervised.or(args.instance);
        let instance = instance.unwrap_or_else(|| format!("{}-{}", host(), std::process::id()));
        builder = builder.instance(&instance);
        if let Some(address) = args.http {
            builder = builder.http(address);
        }
        let command = |text: String| {
            let (service, instance) = (args.service.clone(), instance.clone());
            Arc::new(Command { text, service, instance, timeout: args.timeout })
        };
        builder = args.care.apply(builder, command)?;
        #[cfg(feature = "encryption")]
        if let Some(file) = &args.seal.service_key {
            let key = ServiceKey::read(file).map_err(|error| {
                let error = CliError::usage(format!("{}: {error}", file.display()));
                error.hint("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 makes one")
            })?;
            builder = builder.service_key(key);
        }
        for (name, text) in args.methods {
            let (command, own) = (command(text), name.clone());
            let run = move |call: Call<Value>| {
                let (command, own) = (command.clone(), own.clone());
                async move { command.run("METHOD", &own, &call.correlation_id, &call.args).await }
            };
            #[cfg_attr(not(feature = "encryption"), expect(unused_mut, reason = "as it is"))]
            let mut method = Method::new(run);
            #[cfg(feature = "encryption")]
            if args.seal.encrypted.contains(&name) {
                method = method.encrypted();
            }
            builder = builder.method(name, method);
        }
        for (topics, text) in args.topics {
            let command = command(text);
            builder = builder.on(topics, move |told: Event<Value>| {
                let command = command.clone();
                async move {
                    let Event { topic, event, correlation_id, .. } = told;
                    command.run("TOPIC", &topic, &correlation_id, &event).await.map(|_| ())
                }
            });
        }
        builder.start().map_err(|error| match error {
            error @ BuildError::Http { .. } => error.into(),
            error => CliError::usage(error.to_string()).into(),
        })
    }

    /// Where it has its messages and its leader from.
    fn at_home(mut builder: Builder, args: &RunArgs) -> Result<Builder> {
        let queues = &args.home.queues;
        let leases = args.home.leases();
        if queues.at() == QueuesAt::Embedded || leases == LeasesAt::Embedded {
            builder = builder.broker(queues.embedded()?);
        }
        builder = match queues.at() {
            QueuesAt::Embedded if args.quorum => {
                let error = CliError::usage("our broker has no quorum queues");
                return Err(error.hint("leave --quorum out, or use --queues rabbitmq").into());
            }
            QueuesAt::Embedded => builder,
            QueuesAt::Rabbitmq => at_rabbit(builder, args)?,
        };
        Ok(match leases {
            LeasesAt::None => builder.standalone(),
            LeasesAt::Embedded => builder,
            LeasesAt::Etcd => in_etcd(builder, args)?,
        })
    }

    #[cfg(feature = "rabbitmq")]
    fn at_rabbit(builder: Builder, args: &RunArgs) -> Result<Builder> {
        let mut config = args.home.queues.rabbit()?;
        config.quorum = args.quorum;
        Ok(builder.rabbitmq(config))
    }

    #[cfg(not(feature = "rabbitmq"))]
    fn at_rabbit(_: Builder, _: &RunArgs) -> Result<Builder> {
        Err(not_built("RabbitMQ", "rabbitmq").into())
    }

    #[cfg(feature = "etcd")]
    fn in_etcd(builder: Builder, args: &RunArgs) -> Result<Builder> {
        Ok(builder.etcd(args.home.etcd.needed()?))
    }

    #[cfg(not(feature = "etcd"))]
    fn in_etcd(_: Builder, _: &RunArgs) -> Result<Builder> {
        Err(not_built("etcd", "etcd").into())
    }

    fn host() -> String {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).take(63).collect()
    }

    /// Waits until whoever has started this instance has ended.
    async fn orphaned() {
        let (sender, ended) = oneshot::channel();
        // A thread that nobody waits for: it may read for ever.
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = sender.send(());
        });
        let _ = ended.await;
    }

    /// Says each change of state, and of how many instances are wanted.
    async fn tell(
        mut status: watch::Receiver<Status>,
        mut properties: Option<watch::Receiver<Properties>>,
    ) {
        let mut wanted = None;
        loop {
            let now = properties.as_mut().and_then(|properties| {
                properties.borrow_and_update().get("wanted")?.parse::<u64>().ok()
            });
            if now.is_some() && now != wanted {
                wanted = now;
                let _ = print(format!("{}\n", json!({"v": 1, "event": "wanted", "wanted": now})));
            }
            let now = status.borrow_and_update().clone();
            let mut told = json!({"v": 1, "event": "status"});
            if let (Some(told), Ok(Value::Object(now))) =
                (told.as_object_mut(), serde_json::to_value(&now))
            {
                told.extend(now);
            }
            // Nobody need read it.
            let _ = print(format!("{told}\n"));
            if now.state == State::Shutdown {
                return;
            }
            let changed = match &mut properties {
                Some(properties) => tokio::select! {
                    changed = status.changed() => changed,
                    // They end with the status.
                    Ok(()) = properties.changed() => Ok(()),
                },
                None => status.changed().await,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    fn stopped(served: Served, json: bool) -> ExitCode {
        if json {
            let mut told = json!({"v": 1, "event": "stopped"});
            if let (Some(told), Ok(Value::Object(served))) =
                (told.as_object_mut(), serde_json::to_value(served))
            {
                told.extend(served);
            }
            let _ = print(format!("{told}\n"));
        } else if served.unsettled > 0 {
            complain(&format_args!(
                "majordomo: {} messages were not finished; others get them again",
                served.unsettled
            ));
        }
        ExitCode::SUCCESS
    }
}
