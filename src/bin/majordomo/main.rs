//! The command `majordomo`: flags to configuration to role.

mod args;
mod broker;
mod config;
mod docs;
mod logging;
mod output;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use majordomo::config::ConfigError;

use args::{Cli, Command};

/// Exit code of a bad configuration; a service manager need not try again.
const BAD_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    run(&log, command).unwrap_or_else(|error| {
        if let Some(problems) = error.downcast_ref::<ConfigError>() {
            output::complain(problems);
            ExitCode::from(BAD_CONFIGURATION)
        } else {
            output::complain(&format_args!("majordomo: {error:#}"));
            ExitCode::FAILURE
        }
    })
}

fn run(log: &args::LogArgs, command: Command) -> Result<ExitCode> {
    match command {
        Command::Broker(flags) => {
            let loaded = flags.sources(log).load()?;
            logging::start(&loaded.config.log)?;
            tracing::debug!(files = ?loaded.files, "configuration read");
            broker::run(loaded.config)
        }
        Command::Config { action } => config::run(action, log),
        Command::Completions { shell } => docs::completions(shell),
        Command::Man { dir } => docs::man(dir.as_deref()),
    }
}
