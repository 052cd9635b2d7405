//! `majordomo lease campaign`: a lease is held until somebody interrupts, or as long as a command
//! runs.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use majordomo::lease::{Coordinator, Held, Lease, Lost, Seat};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::trouble;
use crate::connect::{duration, some_time};
use crate::etcd::InEtcdArgs;
use crate::failure::{CliError, Exit};
use crate::group::Group;
use crate::manage::AskArgs;
use crate::output::{complain, harmless, print};
use crate::signals::Signals;
use crate::work::find;

#[derive(Debug, Args)]
pub(crate) struct CampaignArgs {
    /// The lease
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    lease: String,
    /// A command and its arguments, run while the lease is held and killed when it is lost
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// What the candidate calls itself
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// What the holder says to all who watch
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// The lease is freed if the broker hears nothing for so long
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = some_time)]
    ttl: Duration,
    /// The broker keeps the lease for so long when the connection is lost
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    grace: Duration,
    /// The lease is nobody's for so long when it was lost: for work that cannot be fenced
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    lock_delay: Duration,
    /// Wait in line for so long; with 0s not at all [default: as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// Time that the command has between SIGTERM and SIGKILL when we are interrupted
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    stop: Duration,
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    store: InEtcdArgs,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  majordomo lease campaign billing
  majordomo lease campaign billing --wait 0s -- ./charge-customers
  majordomo lease campaign billing --ttl 2s --grace 2s --name node-1 --value 10.0.0.1:80 --json

The command gets MAJORDOMO_LEASE and MAJORDOMO_EPOCH, for `majordomo call --lease --epoch` and the
like. When the lease is lost it and its children are killed at once; when it ends the lease goes to
whoever waits next, whatever it has left running. SIGTERM or Ctrl-C ends the command, and then lets go of the lease.
With --json what happens is told on standard output, an object a line, and what the command writes
there goes to standard error.
Exit codes: that of the command; 0 let go, 1 lost, 2 usage, 3 cannot connect, 4 timed out, 5 not
allowed, 6 no such command, 8 another one holds it, 9 overloaded";

impl CampaignArgs {
    pub(super) fn json(&self) -> bool {
        self.ask.json
    }
}

/// How it ended.
enum End {
    Interrupted,
    Lost(Lost),
    Exited(ExitStatus),
}

pub(super) async fn run(args: &CampaignArgs) -> Result<ExitCode> {
    let program = program(args)?;
    let signals = Signals::new()?;
    #[cfg(feature = "etcd")]
    if let Some(etcd) = args.store.client()? {
        let lease = Lease::new(majordomo::engine::etcd::Leases::new(etcd), &args.lease);
        // It is given up by a question that takes its time; what is not, runs out.
        let bye = async || tokio::time::sleep(Duration::from_millis(100)).await;
        return hold(args, program, signals, lease, bye).await;
    }
    #[cfg(not(feature = "etcd"))]
    args.store.none()?;
    let desk = args.ask.connect().await?;
    let lease = desk.client.lease(&args.lease);
    let bye = async || desk.client.close(Duration::from_secs(1)).await;
    hold(args, program, signals, lease, bye).await
}

/// Holds it, and says goodbye to its store.
async fn hold<C: Coordinator>(
    args: &CampaignArgs,
    program: Option<std::path::PathBuf>,
    mut signals: Signals,
    lease: Lease<C>,
    bye: impl AsyncFnOnce(),
) -> Result<ExitCode> {
    let lease = lease.value(args.value.as_bytes());
    let lease = lease.ttl(args.ttl).grace(args.grace).lock_delay(args.lock_delay);
    let lease = args.wait.map_or_else(|| lease.clone(), |wait| lease.clone().wait(wait));
    let lease = args.name.as_ref().map_or_else(|| lease.clone(), |name| lease.clone().name(name));
    let held = tokio::select! {
        held = lease.campaign() => held.map_err(|error| trouble(&args.lease, &error))?,
        () = signals.next() => {
            // It is dropped with its client, and said so first.
            bye().await;
            return Ok(ExitCode::from(130));
        }
    };
    say(args, "held", held.epoch(), &json!({}))?;
    let end = match program {
        Some(program) => command(args, &program, &held, &mut signals).await?,
        None => tokio::select! {
            lost = held.lost() => End::Lost(lost),
            () = signals.next() => End::Interrupted,
        },
    };
    let epoch = held.epoch();
    if let End::Lost(lost) = end {
        let error = CliError::new(Exit::Failed, "lost", format!("{}: {lost}", args.lease));
        say(args, "lost", epoch, &json!({"reason": lost.to_string()}))?;
        return Err(error.into());
    }
    // It may have been lost at the last moment; whoever is next need not wait in any case.
    let resigned = held.resign().await.is_ok();
    bye().await;
    say(args, if resigned { "resigned" } else { "lost" }, epoch, &json!({}))?;
    Ok(match end {
        End::Exited(status) => code_of(status),
        End::Interrupted | End::Lost(_) => ExitCode::SUCCESS,
    })
}

fn program(args: &CampaignArgs) -> Result<Option<std::path::PathBuf>, CliError> {
    let Some(program) = args.command.first() else { return Ok(None) };
    let found = find(Path::new(program)).ok_or_else(|| {
        let message = format!("there is no command `{}`", program.display());
        let error = CliError::new(Exit::NotFound, "no_command", message);
        error.hint("check its name, its rights and PATH")
    });
    found.map(Some)
}

/// Runs the command while the lease is held.
async fn command<S: Seat>(
    args: &CampaignArgs,
    program: &Path,
    held: &Held<S>,
    signals: &mut Signals,
) -> Result<End> {
    let mut child = start(args, program, held.epoch())?;
    let group = Group::of(&child);
    let end = tokio::select! {
        status = child.wait() => End::Exited(status?),
        lost = held.lost() => End::Lost(lost),
        () = signals.next() => End::Interrupted,
    };
    match end {
        End::Exited(_) => group.forget(),
        End::Lost(_) => group.kill(&mut child).await,
        End::Interrupted => {
            let stop = group.end(&mut child, args.stop);
            tokio::select! {
                () = stop => {}
                lost = held.lost() => {
                    child.start_kill()?;
                    return Ok(End::Lost(lost));
                }
            }
        }
    }
    Ok(end)
}

fn start(args: &CampaignArgs, program: &Path, epoch: u64) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(args.command.iter().skip(1)).kill_on_drop(true).process_group(0);
    command.env("MAJORDOMO_LEASE", &args.lease).env("MAJORDOMO_EPOCH", epoch.to_string());
    if args.ask.json {
        command.stdout(Stdio::from(std::io::stderr()));
    }
    let child = command.spawn();
    child.map_err(|error| {
        let message = format!("cannot run {}: {error}", program.display());
        CliError::new(Exit::Failed, "failed", message).into()
    })
}

/// As a shell has it: 128 and the number of the signal.
fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Standard output is the command's, unless it is to be JSON.
fn say(args: &CampaignArgs, event: &str, epoch: u64, more: &Value) -> Result<()> {
    if args.ask.json {
        let mut said = json!({"v": 1, "event": event, "lease": args.lease, "epoch": epoch});
        if let (Some(said), Some(more)) = (said.as_object_mut(), more.as_object()) {
            said.extend(more.clone());
        }
        return print(format!("{said}\n"));
    }
    let lease = harmless(&args.lease);
    if args.command.is_empty() {
        return print(format!("{lease}\t{event}\t{epoch}\n"));
    }
    complain(&format_args!("majordomo: {lease}: {event} by epoch {epoch}"));
    Ok(())
}
