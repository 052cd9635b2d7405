//! The command `majordomo`: flags to configuration to role.

mod args;
mod bench;
mod broker;
mod call;
mod config;
mod connect;
mod container;
mod context;
mod demo;
mod docs;
mod etcd;
mod failure;
mod fence;
mod file;
mod flow;
mod group;
mod groups;
mod key;
mod lease;
mod logging;
mod manage;
mod output;
mod ping;
mod signals;
mod status;
mod store;
mod topics;
mod work;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};
use serde_json::json;

use args::{Cli, Command};
use container::ContainerAction;
use file::FileAction;

fn main() -> ExitCode {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let matches = Cli::command().color(output::colour_asked(words)).get_matches();
    let Cli { log, color, command } =
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    output::set_colour(color);
    let json = wants_json(&command);
    run(&log, command).unwrap_or_else(|error| {
        if error.is::<output::ReaderGone>() {
            return ExitCode::SUCCESS;
        }
        let (text, error, exit) = failure::explain(&error);
        if json {
            // Standard error is told in any case.
            let _ = output::print(format!("{}\n", json!({"v": 1, "error": error})));
        }
        output::complain_of(&text);
        exit.into()
    })
}

fn run(log: &args::LogArgs, command: Command) -> Result<ExitCode> {
    let _records = match &command {
        Command::Work(_)
        | Command::File { action: FileAction::Serve(_) }
        | Command::Container { action: ContainerAction::Run(_) } => {
            Some(logging::start(&log.section("info")?, None)?)
        }
        Command::Demo(_)
        | Command::Call(_)
        | Command::Publish(_)
        | Command::Subscribe(_)
        | Command::Status(_)
        | Command::Ping(_)
        | Command::Bench(_)
        | Command::File { .. }
        | Command::Flow { .. }
        | Command::Container { .. }
        | Command::Group { .. }
        | Command::Job { .. }
        | Command::Dlq { .. }
        | Command::Explain { .. }
        | Command::Service { .. }
        | Command::Worker { .. }
        | Command::Client { .. }
        | Command::Lease { .. }
        | Command::Key { .. }
        | Command::Acl { .. }
        | Command::Admin { .. }
        | Command::Events(_) => Some(logging::start(&log.section("off")?, None)?),
        // The broker's configuration says it, and the rest has nothing to log.
        Command::Broker(_)
        | Command::Store { .. }
        | Command::Context { .. }
        | Command::Config { .. }
        | Command::Completions { .. }
        | Command::Man { .. } => None,
    };
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Broker(flags) => {
            let loaded = flags.sources(log).load()?;
            broker::run(loaded)
        }
        Command::Work(args) => work::run(args),
        Command::Call(args) => call::run(&args),
        Command::Publish(args) => topics::publish(&args),
        Command::Subscribe(args) => topics::subscribe(&args),
        Command::Status(args) => status::run(&args),
        Command::Ping(args) => ping::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::File { action } => file::run(action),
        Command::Flow { action } => flow::run(action),
        Command::Container { action } => container::run(action),
        Command::Group { action } => groups::run(action),
        Command::Job { action } => manage::job::run(action),
        Command::Dlq { action } => manage::dlq::run(action),
        Command::Explain { action } => manage::explain::run(action),
        Command::Service { action } => manage::service::run(action),
        Command::Worker { action } => manage::worker::run(action),
        Command::Client { action } => manage::client::run(action),
        Command::Lease { action } => lease::run(action),
        Command::Key { action } => key::run(action),
        Command::Store { action } => store::run(action),
        Command::Acl { action } => key::acl::run(action),
        Command::Admin { action } => key::admin::run(action),
        Command::Events(args) => manage::events::run(&args),
        Command::Context { action } => context::run(action),
        Command::Config { action } => config::run(action, log),
        Command::Completions { shell } => docs::completions(shell),
        Command::Man { dir } => docs::man(dir.as_deref()),
    }
}

/// Whether an error is to be told as JSON as well.
fn wants_json(command: &Command) -> bool {
    match command {
        Command::Demo(args) => args.json,
        Command::Work(args) => args.json,
        Command::Call(args) => args.json,
        Command::Publish(args) => args.json(),
        Command::Subscribe(args) => args.json(),
        Command::Status(args) => args.json,
        Command::Ping(args) => args.json,
        Command::Bench(args) => args.json,
        Command::File { action } => action.json(),
        Command::Flow { action } => action.json(),
        Command::Container { action } => action.json(),
        Command::Group { action } => action.json(),
        Command::Job { action } => action.json(),
        Command::Dlq { action } => action.json(),
        Command::Explain { action } => action.json(),
        Command::Service { action } => action.json(),
        Command::Worker { action } => action.json(),
        Command::Client { action } => action.json(),
        Command::Lease { action } => action.json(),
        Command::Key { action } => action.json(),
        Command::Store { action } => action.json(),
        Command::Acl { action } => action.json(),
        Command::Admin { action } => action.json(),
        Command::Events(args) => args.json(),
        Command::Context { action } => action.json(),
        _ => false,
    }
}
