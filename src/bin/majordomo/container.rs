//! `majordomo container run|ls|describe|call|event|pause|resume|set`: services at our broker, or on
//! RabbitMQ and etcd.
#![cfg_attr(
    not(all(feature = "etcd", feature = "rabbitmq")),
    allow(dead_code, reason = "without the servers there is less to do")
)]

mod ask;
mod care;
mod command;
mod known;
mod list;
mod run;
mod servers;
mod supervise;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use ask::{CallArgs, DescribeArgs, EventArgs};
use list::{ListArgs, SetArgs, SwitchArgs};
use run::RunArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerAction {
    /// Run an instance of a service: a command for each method and each topic
    #[command(after_help = run::EXAMPLES)]
    Run(Box<RunArgs>),
    /// List services, who leads them, and their queues
    #[command(after_help = list::EXAMPLES)]
    Ls(ListArgs),
    /// Show what a service can do, and what its leader says of it
    #[command(after_help = ask::DESCRIBE_EXAMPLES)]
    Describe(DescribeArgs),
    /// Call a method of a service and print its value
    #[command(after_help = ask::CALL_EXAMPLES)]
    Call(CallArgs),
    /// Publish an event
    #[command(after_help = ask::EVENT_EXAMPLES)]
    Event(EventArgs),
    /// Have all instances of a service take no messages
    #[command(after_help = list::PAUSE_EXAMPLES)]
    Pause(SwitchArgs),
    /// Have all instances of a service take messages again
    #[command(after_help = list::RESUME_EXAMPLES)]
    Resume(SwitchArgs),
    /// Have a property of a service said to all its instances
    #[command(after_help = list::SET_EXAMPLES)]
    Set(SetArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo container run sums --method add='jq .a+.b'
  majordomo container call sums add '{\"a\": 1, \"b\": 2}'
  majordomo container ls

Services are at our broker. On RabbitMQ and etcd those of the Python package NuroPb and these call
one another, and may be instances of one service; for all of these commands:
  export MAJORDOMO_QUEUES=rabbitmq MAJORDOMO_AMQP=amqp://guest:guest@127.0.0.1:5672/mesh
  export MAJORDOMO_LEASES=etcd MAJORDOMO_ETCD=http://127.0.0.1:2379
SPEC.md section 17.

Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed, 6 no such service";

impl ContainerAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Run(args) => args.json,
            Self::Ls(args) => args.json,
            Self::Describe(args) => args.json,
            Self::Call(args) => args.json,
            Self::Event(args) => args.json,
            Self::Pause(args) | Self::Resume(args) => args.json,
            Self::Set(args) => args.json,
        }
    }
}

pub(crate) fn run(action: ContainerAction) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match action {
            ContainerAction::Run(args) => run::run(*args).await,
            ContainerAction::Ls(args) => list::list(&args).await,
            ContainerAction::Describe(args) => ask::describe(&args).await,
            ContainerAction::Call(args) => ask::call(&args).await,
            ContainerAction::Event(args) => ask::event(&args).await,
            ContainerAction::Pause(args) => list::switch(&args, false).await,
            ContainerAction::Resume(args) => list::switch(&args, true).await,
            ContainerAction::Set(args) => list::set(&args).await,
        }
    })
}
