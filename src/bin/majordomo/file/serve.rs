//! `majordomo file serve`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use majordomo::config::WorkerConfig;
use majordomo::file::words::SERVICE;
use majordomo::file::{Store, serve};
use majordomo::worker::{Report, WorkerBuilder};
use serde_json::json;

use super::native;
use super::trouble::of_folder;
use crate::connect::{ConnectArgs, duration};
use crate::output::{complain, harmless, print};
use crate::signals::Signals;
use crate::work::wrong_worker;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The folder
    folder: PathBuf,
    /// The service to offer
    #[arg(long, value_name = "NAME", default_value = SERVICE)]
    service: String,
    /// Requests that are handled at a time
    #[arg(long, short, value_name = "COUNT", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Serve dot files, too, and folders such as __norfab__, where NorFab keeps keys
    #[arg(long)]
    hidden: bool,
    /// Time that running requests have when it is stopped
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    drain: Duration,
    /// Print one JSON object for each event
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  majordomo file serve /srv/images
  majordomo file serve . --service mirror --concurrency 8

Whoever may call the service may read all files below the folder but hidden ones. Links that lead
out of it are refused. It connects again by itself. SIGTERM or Ctrl-C lets running requests finish.";

pub(super) async fn run(args: &ServeArgs) -> Result<ExitCode> {
    let target = native(&args.connect)?;
    let store = Store::with_hidden(&args.folder, args.hidden);
    let store = store.map_err(|error| of_folder(&error))?;
    let config = WorkerConfig {
        endpoint: target.endpoint.clone(),
        curve: target.curve.clone(),
        service: args.service.clone(),
        credit: args.concurrency,
        ..WorkerConfig::default()
    };
    config.validate().map_err(|error| wrong_worker(&error))?;
    let mut signals = Signals::new()?;
    if !args.json && io::stderr().is_terminal() {
        let folder = harmless(&args.folder.display().to_string());
        let (service, endpoint) = (&args.service, &target.endpoint);
        complain(&format_args!("serving {folder} as `{service}` at {endpoint}; Ctrl-C stops"));
    }
    let worker = WorkerBuilder::from(config).start(serve(store))?;
    tokio::select! {
        () = worker.registered() => {
            if args.json {
                // Events that nobody reads are no reason to stop serving.
                let _ = print(format!("{}\n", json!({"v": 1, "event": "registered"})));
            }
            signals.next().await;
        }
        () = signals.next() => {}
    }
    tokio::select! {
        Report { answered, given_back } = worker.stop(args.drain) => {
            if args.json {
                let stopped = json!({
                    "v": 1, "event": "stopped", "answered": answered, "given_back": given_back,
                });
                let _ = print(format!("{stopped}\n"));
            }
            Ok(if given_back == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        () = signals.next() => Ok(ExitCode::FAILURE),
    }
}
