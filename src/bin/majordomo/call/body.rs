//! Bodies: from the command line, and to people and programs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use majordomo::config::{ClientConfig, Text};
use majordomo::wire::message::{Frames, Message};

use crate::failure::{CliError, Exit};

/// A frame for each argument; one that is empty if there is none.
pub(crate) fn read(arguments: &[OsString], literal: bool) -> Result<Message, CliError> {
    let mut frames = Vec::with_capacity(arguments.len().max(1));
    let mut stdin = Some(io::stdin());
    for argument in arguments {
        let octets = argument.as_bytes();
        frames.push(match octets {
            b"-" if !literal => {
                let Some(stdin) = stdin.take() else {
                    let error = CliError::usage("standard input can be one frame only");
                    return Err(error.hint("write `-` once"));
                };
                all_of(stdin.lock(), "standard input")?
            }
            [b'@', path @ ..] if !literal => file(Path::new(std::ffi::OsStr::from_bytes(path)))?,
            text => text.to_vec(),
        });
    }
    if frames.is_empty() {
        frames.push(Vec::new());
    }
    Ok(Message::new(frames))
}

fn file(path: &Path) -> Result<Vec<u8>, CliError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| unreadable(&name, &error))?;
    all_of(file, &name)
}

fn all_of(from: impl Read, name: &str) -> Result<Vec<u8>, CliError> {
    let max = ClientConfig::default().frame;
    let mut octets = Vec::new();
    let read = from.take(max as u64 + 1).read_to_end(&mut octets);
    read.map_err(|error| unreadable(name, &error))?;
    if octets.len() > max {
        let message =
            format!("{name} has more than {}, the most that a frame may have", max.write());
        return Err(CliError::new(Exit::Failed, "too_big", message).hint("send it in pieces"));
    }
    Ok(octets)
}

fn unreadable(name: &str, error: &io::Error) -> CliError {
    let what = match error.kind() {
        io::ErrorKind::NotFound => format!("there is no file `{name}`"),
        kind => format!("cannot read {name}: {kind}"),
    };
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
    let hint = "check the path, or use --literal if the body itself begins with `@`";
    CliError::new(exit, "no_body", what).hint(hint)
}

/// The frames for standard output. `raw`: octet by octet; otherwise each ends its line, and what a
/// worker says does not move the terminal.
pub(crate) fn show(frames: Frames<'_>, raw: bool) -> Vec<u8> {
    let mut shown = Vec::with_capacity(frames.bytes());
    let terminal = !raw && io::stdout().is_terminal();
    for frame in frames {
        if terminal {
            let text = String::from_utf8_lossy(frame);
            let lines: Vec<_> = text.split('\n').map(plain).collect();
            shown.extend_from_slice(lines.join("\n").as_bytes());
        } else {
            shown.extend_from_slice(frame);
        }
        if !raw && !frame.ends_with(b"\n") {
            shown.push(b'\n');
        }
    }
    shown
}

/// A line without what moves the terminal; a tab stays.
fn plain(line: &str) -> String {
    let cells: Vec<_> = line.split('\t').map(crate::output::harmless).collect();
    cells.join("\t")
}
