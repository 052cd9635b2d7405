//! `majordomo flow recv`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::JoinHandle;

use anyhow::Result;
use clap::Args;
use majordomo::flow::{FlowMessage, Opened, Taker};
use majordomo::wire::zio::Direction;
use serde_json::json;
use tokio::sync::mpsc;

use super::FlowArgs;
use super::tally::Tally;
use super::trouble::of_flow;
use crate::connect::Target;
use crate::failure::{CliError, Exit};
use crate::output::{ReaderGone, complain, harmless, print_json};
use crate::signals::Signals;

/// Messages that were taken and are not written.
const WRITE_BEHIND: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct RecvArgs {
    /// Where the payload goes; `-` is standard output
    #[arg(long, short, value_name = "FILE|-", default_value = "-")]
    output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// End the flow behind so many messages [default: when the other end does]
    #[arg(long, short = 'n', value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// The most octets of one message
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = super::send::chunk)]
    chunk: usize,
    #[command(flatten)]
    pub(super) flow: FlowArgs,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  majordomo flow recv -o run7.raw --attr stream=raw --attr run=7
  majordomo flow recv --attr stream=logs | grep ERROR
  majordomo flow recv --service writers -o next    take from the next who gives to it
  majordomo flow recv --attr stream=raw --count 1000 -o sample --json

The payloads are written one behind the other. A file appears under its name when the flow has
ended in order; until then it is a .part file beside it. If EOT says in `messages` and `octets` how
much there was, as `flow send` does, that is held against what has come.
Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed";

pub(super) async fn run(args: &RecvArgs) -> Result<ExitCode> {
    let output = Output::new(args)?;
    let mut signals = Signals::new()?;
    let (target, builder) = args.flow.builder(args.chunk)?;
    let opened = tokio::select! {
        opened = args.flow.open(builder, Direction::Inject) => opened,
        () = signals.next() => return Err(interrupted().into()),
    };
    let Opened::Takes(mut taker) = opened.map_err(|error| of_flow(&target, &error))? else {
        anyhow::bail!("the flow has another direction than was asked for");
    };
    let mut receiving = Receiving {
        target,
        tally: Tally::new(None, args.flow.json),
        left: args.count,
        writer: output.begin()?,
    };
    let taken = tokio::select! {
        taken = receiving.take(&mut taker) => taken,
        () = signals.next() => Err(interrupted().into()),
    };
    let eot = taker.ending();
    let said = eot.as_ref().and_then(Tally::of);
    let gave_up = eot.and_then(|eot| eot.get::<String>("reason"));
    let complete = match &taken {
        Ok(()) if receiving.left == Some(0) => None,
        Ok(()) => said.map(|said| said == (receiving.tally.messages, receiving.tally.octets)),
        Err(_) => Some(false),
    };
    let ended = tokio::select! {
        ended = taker.finish() => ended,
        () = signals.next() => return Err(interrupted().into()),
    };
    let took = receiving.tally.finish();
    let Receiving { target, tally, writer, left, .. } = receiving;
    let written = writer.end();
    // If nobody reads any more, that is why nothing was taken any more.
    written?;
    taken?;
    if let Some(why) = gave_up.filter(|_| left != Some(0)) {
        let message = format!("the other end gave up: {}", harmless(&why));
        return Err(part_of_it("given_up", message, args).into());
    }
    if complete == Some(false) {
        return Err(incomplete(&tally, said, args).into());
    }
    ended.map_err(|error| of_flow(&target, &error))?;
    output.appear()?;
    if args.flow.json {
        let mut said = tally.json(took);
        said["complete"] = json!(complete);
        return print_json(said);
    }
    if complete.is_none() && left != Some(0) {
        complain(&"majordomo: the other end did not say how much there was");
    }
    tally.say("received", took);
    Ok(ExitCode::SUCCESS)
}

struct Receiving {
    target: Target,
    tally: Tally,
    /// Messages until there are enough.
    left: Option<u64>,
    writer: Writer,
}

impl Receiving {
    async fn take(&mut self, taker: &mut Taker) -> Result<()> {
        while self.left != Some(0) {
            let Some(message) = taker.next().await else { break };
            let message = message.map_err(|error| of_flow(&self.target, &error))?;
            self.tally.count(message.len());
            self.left = self.left.map(|left| left - 1);
            self.writer.write(message).await?;
        }
        Ok(())
    }
}

fn interrupted() -> CliError {
    CliError::new(Exit::Failed, "interrupted", "interrupted")
        .hint("the other end was told that no more is wanted")
}

fn incomplete(tally: &Tally, said: Option<(u64, u64)>, args: &RecvArgs) -> CliError {
    let (messages, octets) = said.unwrap_or_default();
    let message = format!(
        "{} messages of {} octets came, and the other end says that there were {messages} of \
         {octets}",
        tally.messages, tally.octets
    );
    part_of_it("incomplete", message, args)
}

fn part_of_it(code: &str, message: String, args: &RecvArgs) -> CliError {
    let error = CliError::new(Exit::Failed, code, message);
    if args.output == Path::new("-") { error } else { error.hint("what came is in the .part file") }
}

/// Where the payload goes.
struct Output {
    /// None: standard output.
    file: Option<(PathBuf, PathBuf)>,
    force: bool,
}

impl Output {
    fn new(args: &RecvArgs) -> Result<Self, CliError> {
        let (output, force) = (&args.output, args.force);
        if output == Path::new("-") {
            if args.flow.json {
                let error = CliError::usage("payload and JSON cannot both go to standard output");
                return Err(error.hint("name a file with --output"));
            }
            return Ok(Self { file: None, force });
        }
        let name = harmless(&output.display().to_string());
        if output.is_dir() {
            return Err(CliError::usage(format!("{name} is a folder")).hint("name a file in it"));
        }
        if !force && output.symlink_metadata().is_ok() {
            let error =
                CliError::new(Exit::Failed, "exists", format!("there is a `{name}` already"));
            return Err(error.hint("name another place, or replace it with --force"));
        }
        let mut part = output.clone().into_os_string();
        part.push(".part");
        Ok(Self { file: Some((output.clone(), part.into())), force })
    }

    fn begin(&self) -> Result<Writer, CliError> {
        let to: Box<dyn Write + Send> = match &self.file {
            None => Box::new(io::stdout()),
            Some((_, part)) => {
                Box::new(File::create(part).map_err(|error| unwritable(part, &error))?)
            }
        };
        Ok(Writer::new(to))
    }

    /// The file gets its name.
    fn appear(&self) -> Result<(), CliError> {
        let Some((output, part)) = &self.file else { return Ok(()) };
        let done = if self.force {
            fs::rename(part, output)
        } else {
            // Not over one that has come to be meanwhile.
            fs::hard_link(part, output).and_then(|()| fs::remove_file(part))
        };
        done.map_err(|error| unwritable(output, &error))
    }
}

fn unwritable(path: &Path, error: &io::Error) -> CliError {
    let name = harmless(&path.display().to_string());
    let what = match error.kind() {
        ErrorKind::AlreadyExists => {
            return CliError::new(Exit::Failed, "exists", format!("there is a `{name}` already"));
        }
        kind => format!("cannot write {name}: {kind}"),
    };
    CliError::new(Exit::Failed, "unwritable", what)
}

/// Writes in a thread of its own: whoever reads may take his time, and the broker is answered
/// meanwhile.
struct Writer {
    to: mpsc::Sender<FlowMessage>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writer {
    fn new(mut to: Box<dyn Write + Send>) -> Self {
        let (sender, mut messages) = mpsc::channel::<FlowMessage>(WRITE_BEHIND);
        let thread = std::thread::spawn(move || {
            while let Some(message) = messages.blocking_recv() {
                for part in &message.payload {
                    to.write_all(part)?;
                }
                if messages.is_empty() {
                    to.flush()?;
                }
            }
            to.flush()
        });
        Self { to: sender, thread }
    }

    async fn write(&self, message: FlowMessage) -> Result<()> {
        if self.to.send(message).await.is_err() {
            // The thread has failed; its error is told when it is asked for.
            return Err(WriterGone.into());
        }
        Ok(())
    }

    /// Waits until all is written.
    fn end(self) -> Result<()> {
        drop(self.to);
        match self.thread.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
            Ok(Err(error)) => Err(anyhow::Error::new(error).context("cannot write what came")),
            Err(_) => Err(anyhow::anyhow!("the thread that writes has panicked")),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("what came cannot be written")]
struct WriterGone;
