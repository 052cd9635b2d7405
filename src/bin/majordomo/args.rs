//! The command line, as clap reads it, and what it says about the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand};
use majordomo::config::{Authorized, BrokerConfig, Flag, LogFormat, LogSection, Sources, Text};
use majordomo::transport::endpoint::Endpoint;

use crate::bench::{self, BenchArgs};
use crate::call::{self, CallArgs};
use crate::container::{self, ContainerAction};
use crate::context::{self, ContextAction};
use crate::demo::{self, DemoArgs};
use crate::failure::{CliError, Exit};
use crate::file::{self, FileAction};
use crate::flow::{self, FlowAction};
use crate::groups::{self, GroupAction};
use crate::key::acl::{self, AclAction};
use crate::key::admin::{self, AdminAction};
use crate::key::{self, KeyAction};
use crate::lease::{self, LeaseAction};
use crate::manage::client::{self, ClientAction};
use crate::manage::dlq::{self, DlqAction};
use crate::manage::events::{self, EventsArgs};
use crate::manage::explain::{self, ExplainAction};
use crate::manage::job::{self, JobAction};
use crate::manage::service::{self, ServiceAction};
use crate::manage::worker::{self, WorkerAction};
use crate::ping::{self, PingArgs};
use crate::status::{self, StatusArgs};
use crate::store::{self, StoreAction};
use crate::topics::{self, PublishArgs, SubscribeArgs};
use crate::work::{self, WorkArgs};

/// A service broker: clients name a service, workers offer it, any ZeroMQ peer connects
#[derive(Debug, Parser)]
#[command(name = "majordomo", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// Use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = None)]
    #[arg(display_order = 900)]
    pub(crate) color: ColorChoice,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  majordomo demo                             see what this is for
  majordomo broker                           listen on tcp://127.0.0.1:5555
  majordomo work shout -- tr a-z A-Z         offer a service there: a command
  majordomo call shout hello                 and call it
  majordomo config default > majordomo.toml  every setting of the broker, explained

Exit codes: 0 ok, 1 failed (also: cannot bind), 2 usage, 3 cannot connect, 4 timed out,
5 not allowed, 6 not found, 9 overloaded, 78 bad configuration";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See what this is for: a broker, two workers and a client, and one of them is killed
    #[command(after_help = demo::EXAMPLES)]
    Demo(DemoArgs),
    /// Run the broker in the foreground until SIGTERM or SIGINT; a second signal stops it at once
    #[command(after_help = BROKER_EXAMPLES)]
    Broker(BrokerArgs),
    /// Offer a service: a command that is run for each request
    #[command(after_help = work::EXAMPLES)]
    Work(WorkArgs),
    /// Call a service and print its reply
    #[command(after_help = call::EXAMPLES)]
    Call(CallArgs),
    /// Publish to all who have subscribed to a subject
    #[command(after_help = topics::PUBLISH_EXAMPLES)]
    Publish(PublishArgs),
    /// Print what is published of some subjects, as it comes
    #[command(after_help = topics::SUBSCRIBE_EXAMPLES)]
    Subscribe(SubscribeArgs),
    /// Show a broker's services, queues and workers
    #[command(after_help = status::EXAMPLES)]
    Status(StatusArgs),
    /// Ask a broker whether it is there
    #[command(after_help = ping::EXAMPLES)]
    Ping(PingArgs),
    /// Measure a broker: calls a second, and how long each takes
    #[command(after_help = bench::EXAMPLES)]
    Bench(BenchArgs),
    /// List and fetch files that somebody serves, or serve a folder
    #[command(after_help = file::EXAMPLES)]
    File {
        #[command(subcommand)]
        action: FileAction,
    },
    /// Send and receive streams of messages, with credit
    #[command(after_help = flow::EXAMPLES)]
    Flow {
        #[command(subcommand)]
        action: FlowAction,
    },
    /// Run and call services on RabbitMQ and etcd, together with those of NuroPb
    #[command(after_help = container::EXAMPLES)]
    Container {
        #[command(subcommand)]
        action: ContainerAction,
    },
    /// Be a member of groups, talk in them, have them decide, and look at them
    #[command(after_help = groups::EXAMPLES)]
    Group {
        #[command(subcommand)]
        action: GroupAction,
    },
    /// List, show, watch and cancel jobs
    #[command(after_help = job::EXAMPLES)]
    Job {
        #[command(subcommand)]
        action: JobAction,
    },
    /// List, show, pause, resume and drain services
    #[command(after_help = service::EXAMPLES)]
    Service {
        #[command(subcommand)]
        action: ServiceAction,
    },
    /// List, show and kick workers
    #[command(after_help = worker::EXAMPLES)]
    Worker {
        #[command(subcommand)]
        action: WorkerAction,
    },
    /// List clients
    #[command(after_help = client::EXAMPLES)]
    Client {
        #[command(subcommand)]
        action: ClientAction,
    },
    /// List, show, requeue, edit and drop dead letters
    #[command(after_help = dlq::EXAMPLES)]
    Dlq {
        #[command(subcommand)]
        action: DlqAction,
    },
    /// Tell where a request is, and why it is not at a worker
    #[command(after_help = explain::EXAMPLES)]
    Explain {
        #[command(subcommand)]
        action: ExplainAction,
    },
    /// List leases, hold one, and watch who does
    #[command(after_help = lease::EXAMPLES)]
    Lease {
        #[command(subcommand)]
        action: LeaseAction,
    },
    /// Make keys, and say whose may come in
    #[command(after_help = key::EXAMPLES)]
    Key {
        #[command(subcommand)]
        action: KeyAction,
    },
    /// Check, copy and compact the store of a broker that does not run
    #[command(after_help = store::EXAMPLES)]
    Store {
        #[command(subcommand)]
        action: StoreAction,
    },
    /// Tell what somebody may do, and why
    #[command(after_help = acl::EXAMPLES)]
    Acl {
        #[command(subcommand)]
        action: AclAction,
    },
    /// Have the broker read its files of keys again
    #[command(after_help = admin::EXAMPLES)]
    Admin {
        #[command(subcommand)]
        action: AdminAction,
    },
    /// Follow what happens at a broker
    #[command(after_help = events::EXAMPLES)]
    Events(EventsArgs),
    /// Keep brokers under a name
    #[command(after_help = context::EXAMPLES)]
    Context {
        #[command(subcommand)]
        action: ContextAction,
    },
    /// Check, show or explain the configuration
    #[command(after_help = CONFIG_EXAMPLES)]
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write the pages of all commands
    #[command(after_help = MAN_EXAMPLES)]
    Man {
        /// Write majordomo.1, majordomo-broker.1 and so on there
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

const BROKER_EXAMPLES: &str = "\
Examples:
  majordomo broker --bind tcp://127.0.0.1:0 --http 127.0.0.1:9464
  majordomo broker --config prod.toml --set 'services.billing.*.prefetch=100'

Each bound endpoint is printed on a line of its own, with its real port, before any peer is
answered.";

const CONFIG_EXAMPLES: &str = "\
Examples:
  majordomo config check majordomo.toml
  majordomo config show --effective";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  majordomo completions bash > ~/.local/share/bash-completion/completions/majordomo
  majordomo completions fish > ~/.config/fish/completions/majordomo.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  majordomo man | man -l -
  majordomo man --dir ~/.local/share/man/man1";

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Check a configuration as the broker would read it
    Check {
        /// The file; without it, the one the broker would find
        file: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the values that are set, as TOML
    Show {
        /// Print every value, with the place it came from
        #[arg(long)]
        effective: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        flags: Box<BrokerArgs>,
    },
    /// Print a file with every key, explained and commented out
    Default {
        /// Print one JSON object, without the explanations
        #[arg(long)]
        json: bool,
    },
}

/// What `broker` can be told; each flag stands for one key of the configuration.
#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    /// Read this file instead of ./majordomo.toml, the user's or the machine's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set any key of the configuration; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Listen there; may be repeated [default: tcp://127.0.0.1:5555]
    #[arg(long, value_name = "ENDPOINT", value_parser = text::<Endpoint>)]
    bind: Vec<String>,
    /// Time between heartbeats of MDP [default: 2500ms]
    #[arg(long, value_name = "DURATION", value_parser = text::<Duration>)]
    heartbeat: Option<String>,
    /// Heartbeats missed until a peer is gone [default: 3]
    #[arg(long, value_name = "COUNT")]
    liveness: Option<u32>,
    /// Silence allowed to a busy worker [default: 15m]
    #[arg(long, value_name = "DURATION|off", value_parser = text::<Option<Duration>>)]
    busy_timeout: Option<String>,
    /// Time a peer has for its handshake [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = text::<Duration>)]
    handshake_timeout: Option<String>,
    /// Requests in flight at one worker [default: 1]
    #[arg(long, value_name = "COUNT")]
    prefetch: Option<u32>,
    /// Listen beyond this machine although nobody is authenticated
    #[arg(long)]
    insecure: bool,
    /// Speak CURVE, with the secret key in this file (majordomo key new broker) [default: off]
    #[arg(long, value_name = "FILE|off", value_parser = text::<Option<PathBuf>>)]
    curve_secret: Option<String>,
    /// Admit the keys of this file and no others, or any key [default: off]
    #[arg(long, value_name = "FILE|any|off", value_parser = text::<Authorized>)]
    authorized_keys: Option<String>,
    /// Ask the factory there who handles a flow: HOST:PORT [default: off]
    #[arg(long, value_name = "ADDRESS|off", value_parser = factory)]
    flow_factory: Option<String>,
    /// Serve /livez, /readyz and /metrics there [default: off]
    #[arg(long, value_name = "ADDRESS|off", value_parser = text::<Option<SocketAddr>>)]
    http: Option<String>,
    /// Keep there what is to survive the broker, and serve Titanic [default: off]
    #[arg(long, value_name = "DIR|off", value_parser = text::<Option<PathBuf>>)]
    store: Option<String>,
}

/// What every command can be told about its log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// Log more: -v debug, -vv trace
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "log_level")]
    verbose: u8,
    /// Log that much: info, or such as info,majordomo::wire=trace
    #[arg(long, global = true, value_name = "FILTER")]
    log_level: Option<String>,
    /// Log as text or JSON [default: text on a terminal]
    #[arg(long, global = true, value_parser = PossibleValuesParser::new(["text", "json"]))]
    log_format: Option<String>,
    /// Append the log to a file instead of standard error
    #[arg(long, global = true, value_name = "PATH", value_parser = text::<Option<PathBuf>>)]
    log_file: Option<String>,
}

impl BrokerArgs {
    /// The configuration that these flags, the environment and the files make together.
    pub(crate) fn sources(&self, log: &LogArgs) -> Sources {
        let mut flags = Vec::new();
        let mut put = |flag, key, value: Option<toml::Value>| {
            flags.extend(value.map(|value| Flag { flag, key, value }));
        };
        let bind = (!self.bind.is_empty()).then(|| self.bind.clone().into());
        put("--bind", "broker.bind", bind);
        put("--heartbeat", "mdp.heartbeat", value(&self.heartbeat));
        put("--liveness", "mdp.liveness", value(&self.liveness));
        put("--busy-timeout", "service.busy_timeout", value(&self.busy_timeout));
        put("--handshake-timeout", "handshake.timeout", value(&self.handshake_timeout));
        put("--prefetch", "service.prefetch", value(&self.prefetch));
        put("--insecure", "broker.insecure", self.insecure.then(|| true.into()));
        put("--curve-secret", "auth.secret", value(&self.curve_secret));
        put("--authorized-keys", "auth.authorized", value(&self.authorized_keys));
        put("--flow-factory", "flow.factory", value(&self.flow_factory));
        put("--http", "broker.http", value(&self.http));
        put("--store", "store.path", value(&self.store));
        put("-v", "log.level", log.verbosity().map(Into::into));
        put("--log-level", "log.level", value(&log.log_level));
        put("--log-format", "log.format", value(&log.log_format));
        put("--log-file", "log.file", value(&log.log_file));
        Sources { flags, set: self.set.clone(), ..sources(self.config.clone()) }
    }
}

impl LogArgs {
    fn verbosity(&self) -> Option<&'static str> {
        match self.verbose {
            0 => None,
            1 => Some("debug"),
            _ => Some("trace"),
        }
    }

    /// The log of a command that has no configuration, at `level` if nobody says otherwise.
    pub(crate) fn section(&self, level: &str) -> Result<LogSection> {
        let level = self.log_level.as_deref().or_else(|| self.verbosity()).unwrap_or(level).into();
        let format = match self.log_format.as_deref() {
            Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            _ => LogFormat::Auto,
        };
        let file = self.log_file.as_deref().filter(|file| *file != "off").map(PathBuf::from);
        let log = LogSection { level, format, file, ..LogSection::default() };
        let config = BrokerConfig { log, ..BrokerConfig::default() };
        config.validate().map_err(|error| {
            let why = error.to_string().replace("default: log.level", "--log-level");
            CliError::new(Exit::Configuration, "configuration", why)
        })?;
        Ok(config.log)
    }
}

/// The configuration of a file, or of the one that is found, and of the environment.
pub(crate) fn sources(file: Option<PathBuf>) -> Sources {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let environment = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
    Sources { file, environment: environment.collect(), ..Sources::default() }
}

fn value<T: Clone + Into<toml::Value>>(flag: &Option<T>) -> Option<toml::Value> {
    flag.clone().map(Into::into)
}

/// Refuses at once what is no `T`; its range is checked with the whole configuration.
fn text<T: Text>(text: &str) -> Result<String, String> {
    T::read(text).map(|value| value.write())
}

/// An address may stand there without its transport.
fn factory(address: &str) -> Result<String, String> {
    let whole = address == "off" || address.contains("://");
    let address = if whole { address.into() } else { format!("tcp://{address}") };
    text::<Option<Endpoint>>(&address)
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write section.key=value")?;
    Ok((key.trim().into(), value.trim().into()))
}
