//! Standard output for data, standard error for the rest. Neither panics when nobody reads it.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes data to standard output, flushed. A reader that has seen enough is no failure.
pub(crate) fn print(data: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(data.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error. Nothing can be done if that fails.
pub(crate) fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "{what}");
}
