//! `majordomo work`: a command becomes a service, a process for each request.

mod child;
mod framing;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use majordomo::config::WorkerConfig;
use majordomo::wire::Protocol;
use majordomo::wire::message::Message;
use majordomo::worker::{Failure, Report, Request, Worker, WorkerBuilder};
use serde_json::{Value, json};
use tokio::time::Instant as Clock;

use crate::connect::{ConnectArgs, Target, duration, protocol_name, some_time};
use crate::failure::{CliError, Exit};
use crate::output::{complain, millis, print};
use crate::signals::Signals;
use child::Outcome;
use framing::Framing;

#[derive(Debug, Args)]
pub(crate) struct WorkArgs {
    /// The service to offer
    service: String,
    /// The command and its arguments, run once for each request
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Commands that run at a time
    #[arg(long, short, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// How the frames of a body stand on the command's input and output: lines or netstrings
    #[arg(long, value_enum, default_value_t = Framing::Lines, hide_possible_values = true)]
    frames: Framing,
    /// Send each line of the output as a part of the reply, as soon as it comes
    #[arg(long, conflicts_with = "frames")]
    stream: bool,
    /// Tell each line of standard error to a caller that wants to know, as an event (mjp)
    #[arg(long)]
    events: bool,
    /// Kill a command that takes longer [default: only when its caller gives up]
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    timeout: Option<Duration>,
    /// Time that a killed command has between SIGTERM and SIGKILL
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    grace: Duration,
    /// Time that running commands have when the worker is stopped
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    drain: Duration,
    /// The name that the worker gives itself
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// A label, by which callers may choose workers (mjp); may be given again
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Only the holder of this lease may ask (mjp)
    #[arg(long, value_name = "LEASE")]
    fence: Option<String>,
    /// Print one JSON object for each request
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo work shout -- tr a-z A-Z
  majordomo work thumbnail --concurrency 4 --timeout 20s -- convert - -resize 200 png:-
  majordomo work count --stream -- sh -c 'seq \"$(cat)\"'
  majordomo work copy --events -- rsync -v /a /b

The body of a request is the command's standard input, its standard output is the reply, octet by
octet. Frames of a body: with `lines` one after the other with a line end between them, and the
reply is one frame; with `netstrings` each as `5:hello,` there and back.
A command that ends with another exit code than 0 answers with the error `failed` and the last line
of its standard error; with 75 the caller is told that it may try again. MDP has no errors: there
the reply is a JSON object, {\"error\": {\"code\": ..., \"message\": ...}}.
The command also gets MAJORDOMO_SERVICE, MAJORDOMO_ATTEMPT, MAJORDOMO_FRAMES, MAJORDOMO_TIMEOUT_MS,
MAJORDOMO_KEY and TRACEPARENT, as far as they are known.
When its caller gives up, the command and its children get SIGTERM, and then SIGKILL.
The worker connects again by itself. SIGTERM or Ctrl-C lets running commands finish.";

/// What all requests share.
struct Shop {
    program: PathBuf,
    arguments: Vec<OsString>,
    service: String,
    framing: Framing,
    stream: bool,
    events: bool,
    timeout: Option<Duration>,
    grace: Duration,
    output_max: usize,
    json: bool,
}

pub(crate) fn run(args: WorkArgs) -> Result<ExitCode> {
    let target = args.connect.target()?;
    let shop = shop(&args, &target)?;
    let config = WorkerConfig {
        endpoint: target.endpoint.clone(),
        curve: target.curve.clone(),
        service: args.service.clone(),
        protocol: target.protocol,
        credit: args.concurrency,
        identity: args.identity.clone(),
        labels: args.labels.iter().cloned().collect(),
        fence: args.fence.clone(),
        ..WorkerConfig::default()
    };
    config.validate().map_err(|error| wrong_worker(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config.into(), shop, &target, args.drain))
}

/// Reads `zone=a`.
fn label(text: &str) -> Result<(String, String), String> {
    let label = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = label.ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn shop(args: &WorkArgs, target: &Target) -> Result<Shop, CliError> {
    if args.stream && target.protocol == Protocol::Mdp01 {
        let error = CliError::usage("MDP/0.1 has no partial replies, so --stream cannot work");
        return Err(error.hint("use --protocol mjp or mdp02, or leave --stream out"));
    }
    let mut command = args.command.iter();
    let program = command.next().cloned().unwrap_or_default();
    let Some(program) = find(Path::new(&program)) else {
        let message = format!("there is no command `{}`", program.display());
        let error = CliError::new(Exit::NotFound, "no_command", message);
        return Err(error.hint("check its name, its rights and PATH"));
    };
    Ok(Shop {
        program,
        arguments: command.cloned().collect(),
        service: args.service.clone(),
        framing: args.frames,
        stream: args.stream,
        events: args.events,
        timeout: args.timeout,
        grace: args.grace,
        output_max: WorkerConfig::default().message,
        json: args.json,
    })
}

/// Where the command is, if it can be run.
pub(crate) fn find(program: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &PathBuf| {
        path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 || program.is_absolute() {
        return Some(program.to_path_buf()).filter(runs);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(runs)
}

pub(crate) fn wrong_worker(error: &majordomo::config::ConfigError) -> CliError {
    let reasons = error.problems.iter().map(ToString::to_string);
    let reasons: Vec<_> =
        reasons.map(|it| it.trim_start_matches("default: worker.").to_owned()).collect();
    CliError::usage(reasons.join("\n"))
}

async fn serve(
    worker: WorkerBuilder,
    shop: Shop,
    target: &Target,
    drain: Duration,
) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    let json = shop.json;
    // Elsewhere the log says it, as JSON.
    if !json && io::stderr().is_terminal() {
        complain(&format_args!(
            "offering `{}` at {} ({}); Ctrl-C lets running commands finish",
            shop.service,
            target.endpoint,
            protocol_name(target.protocol)
        ));
    }
    let worker = start(worker, Arc::new(shop))?;
    tokio::select! {
        () = worker.registered() => {
            if json {
                say(&json!({"v": 1, "event": "registered"}));
            }
            signals.next().await;
        }
        () = signals.next() => {}
    }
    tokio::select! {
        report = worker.stop(drain) => Ok(stopped(report, json)),
        () = signals.next() => Ok(ExitCode::FAILURE),
    }
}

fn stopped(Report { answered, given_back }: Report, json: bool) -> ExitCode {
    if json {
        say(&json!({
            "v": 1, "event": "stopped", "answered": answered, "given_back": given_back,
        }));
    } else if given_back > 0 {
        complain(&format_args!(
            "majordomo: {given_back} requests were not finished in time; the broker has them again"
        ));
    }
    if given_back == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Events that nobody reads are no reason to stop working.
fn say(event: &Value) {
    let _ = print(format!("{event}\n"));
}

fn start(worker: WorkerBuilder, shop: Arc<Shop>) -> Result<Worker> {
    let handler = move |request: Request| {
        let shop = shop.clone();
        async move { handle(&shop, request).await }
    };
    Ok(worker.start(handler)?)
}

async fn handle(shop: &Shop, request: Request) -> Result<Message, Failure> {
    let began: Instant = Clock::now().into_std();
    let Outcome { exit, said } = child::run(shop, &request).await;
    let took = Clock::now().into_std() - began;
    if let Err(failure) = &said {
        tracing::warn!(code = failure.code, message = failure.message, "the command failed");
    }
    if shop.json {
        say(&json!({
            "v": 1,
            "event": "request",
            "service": shop.service,
            "attempt": request.attempt(),
            "ok": said.is_ok(),
            "exit": exit,
            "ms": millis(took),
            "error": said.as_ref().err().map(|it| json!({"code": it.code, "message": it.message})),
        }));
    }
    said
}
