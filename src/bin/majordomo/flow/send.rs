//! `majordomo flow send`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use majordomo::config::Text;
use majordomo::flow::{FlowError, FlowMessage, Giver, Opened};
use majordomo::wire::zio::Direction;
use tokio::sync::mpsc;

use super::FlowArgs;
use super::tally::Tally;
use super::trouble::{of_flow, of_label};
use crate::connect::Target;
use crate::failure::{CliError, Exit};
use crate::output::{harmless, print_json};
use crate::signals::Signals;

/// Pieces that were read and are not given.
const READ_AHEAD: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// What is sent; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The most octets of one message
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = chunk)]
    chunk: usize,
    #[command(flatten)]
    pub(super) flow: FlowArgs,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  majordomo flow send run7.raw --attr stream=raw --attr run=7
  tail -f app.log | majordomo flow send --attr stream=logs
  majordomo flow send big.tensor --chunk 4MiB --credit 8 --json
  majordomo flow send big.tensor --chunk 4MiB --credit-bytes 32MiB
  majordomo flow send run7.raw --service archive    give to the next who asks for it

Each message has what one read gave, up to --chunk. EOT, the last one, says in `messages` and
`octets` how much there was; the command ends when the other end has answered that.
Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed, 6 no such file";

pub(super) async fn run(args: &SendArgs) -> Result<ExitCode> {
    let (from, size) = open(&args.file)?;
    let mut signals = Signals::new()?;
    let (target, builder) = args.flow.builder(args.chunk)?;
    let opened = tokio::select! {
        opened = args.flow.open(builder, Direction::Extract) => opened,
        () = signals.next() => return Err(interrupted().into()),
    };
    let Opened::Gives(mut giver) = opened.map_err(|error| of_flow(&target, &error))? else {
        anyhow::bail!("the flow has another direction than was asked for");
    };
    let mut sending = Sending {
        target,
        name: harmless(&args.file.display().to_string()),
        tally: Tally::new(size, args.flow.json),
    };
    let mut pieces = read(from, args.chunk);
    let given = tokio::select! {
        given = sending.give(&mut giver, &mut pieces) => given,
        () = signals.next() => Err(interrupted()),
    };
    // Whoever has heard a part of it hears that no more comes, and how much it was or why.
    let ended = match &given {
        Err(error) if error.code != "interrupted" && error.code != "unreadable" => Ok(()),
        Ok(()) | Err(_) => {
            let eot = match &given {
                Ok(()) => sending.tally.eot(),
                Err(error) => FlowMessage::default().with("reason", &error.message),
            };
            let eot = eot.map_err(|error| of_label(&error))?;
            tokio::select! {
                ended = giver.finish_with(eot) => ended,
                () = signals.next() => return Err(interrupted().into()),
            }
        }
    };
    let took = sending.tally.finish();
    given?;
    ended.map_err(|error| of_flow(&sending.target, &error))?;
    if args.flow.json {
        return print_json(sending.tally.json(took));
    }
    sending.tally.say("sent", took);
    Ok(ExitCode::SUCCESS)
}

struct Sending {
    target: Target,
    name: String,
    tally: Tally,
}

impl Sending {
    async fn give(
        &mut self,
        giver: &mut Giver,
        pieces: &mut mpsc::Receiver<io::Result<Vec<u8>>>,
    ) -> Result<(), CliError> {
        while let Some(piece) = pieces.recv().await {
            let piece = piece.map_err(|error| unreadable(&self.name, &error))?;
            let octets = piece.len();
            match giver.give(piece).await {
                Ok(()) => self.tally.count(octets),
                Err(FlowError::Ended) => {
                    let Tally { messages, octets, .. } = self.tally;
                    let message = format!(
                        "the other end has ended the flow after {messages} messages, {octets} octets"
                    );
                    return Err(CliError::new(Exit::Failed, "ended", message)
                        .hint("look there why it wants no more"));
                }
                Err(error) => return Err(of_flow(&self.target, &error)),
            }
        }
        Ok(())
    }
}

fn interrupted() -> CliError {
    CliError::new(Exit::Failed, "interrupted", "interrupted")
        .hint("the other end was told that no more comes")
}

/// The file and its size; standard input has none.
fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), CliError> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let name = harmless(&path.display().to_string());
    let file = File::open(path).map_err(|error| unreadable(&name, &error))?;
    let about = file.metadata().map_err(|error| unreadable(&name, &error))?;
    if about.is_dir() {
        let error = CliError::usage(format!("{name} is a folder"));
        return Err(error.hint("send a file, or `tar c DIR | majordomo flow send`"));
    }
    Ok((Box::new(file), about.is_file().then_some(about.len())))
}

fn unreadable(name: &str, error: &io::Error) -> CliError {
    if error.kind() == io::ErrorKind::NotFound {
        let error = CliError::new(Exit::NotFound, "no_file", format!("there is no file `{name}`"));
        return error.hint("check the path; `-` is standard input");
    }
    CliError::new(Exit::Failed, "unreadable", format!("cannot read {name}: {}", error.kind()))
}

/// Reads in a thread of its own: a terminal or a pipe may take its time. It ends with the process.
fn read(mut from: Box<dyn Read + Send>, chunk: usize) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (to, pieces) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut piece = vec![0; chunk];
            let read = match from.read(&mut piece) {
                Ok(0) => return,
                Ok(count) => {
                    piece.truncate(count);
                    Ok(piece)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if to.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    pieces
}

/// Reads `64KiB`, up to what one message may have.
pub(super) fn chunk(text: &str) -> Result<usize, String> {
    const MAX: usize = 512 << 20;
    let size = usize::read(text)?;
    if (1..=MAX).contains(&size) {
        Ok(size)
    } else {
        Err(format!("a message has 1B to {}", MAX.write()))
    }
}
