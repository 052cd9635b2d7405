//! Where log records go and how they look.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use majordomo::broker::LogRing;
use majordomo::config::{LogFormat, LogSection};
use tokio::time::Instant;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::output::has_colour;

/// Records that wait for a log whose reader is slow. More are lost.
const WAITING_MAX: usize = 10_000;
/// How long the last records may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Sends all records of this process to where `log` says, and to `ring` if there is one. When what is returned is dropped, those
/// that wait are written.
pub(crate) fn start(log: &LogSection, ring: Option<LogRing>) -> Result<Records> {
    let filter: Targets = log.level.replace(' ', "").parse().context("log.level")?;
    // It shows messages with their bodies when they come back, and each frame at its lower levels.
    let filter = filter
        .with_target("lapin", LevelFilter::WARN)
        .with_target("lapin::returned_messages", LevelFilter::OFF);
    let file = log.file.as_deref().map(append).transpose()?;
    let file_less = file.is_none();
    let terminal = file_less && io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let layer = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let (records, waiting) = sync_channel(WAITING_MAX);
    let writer = thread::Builder::new().name("log".into()).spawn(move || match file {
        Some(file) => write_all(&waiting, file),
        None => write_all(&waiting, io::stderr()),
    })?;
    let guard = Records { records: records.clone(), writer };
    let layer = layer.with_writer(Sink { records, text: !json });
    let layer = if json {
        layer.json().flatten_event(true).boxed()
    } else {
        layer.with_ansi(file_less && has_colour(&io::stderr())).boxed()
    };
    let ring = ring.map(|ring| ring.with_filter(filter.clone()));
    tracing_subscriber::registry().with(layer.with_filter(filter)).with(ring).try_init()?;
    Ok(guard)
}

fn append(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.with_context(|| format!("cannot open the log file {}", path.display()))
}

/// Writes records until there is an empty one. This has a thread of its own: a disk that hangs, or
/// a pipe that nobody reads, must not stop whoever has something to say. A full disk or a closed
/// pipe loses records.
fn write_all(records: &Receiver<Vec<u8>>, mut log: impl Write) {
    for record in records.iter().take_while(|record| !record.is_empty()) {
        let _ = log.write_all(&record);
    }
}

/// The way of records to the log. Dropped, it waits until they are written, but not for long.
pub(crate) struct Records {
    records: SyncSender<Vec<u8>>,
    writer: JoinHandle<()>,
}

impl Drop for Records {
    fn drop(&mut self) {
        const PAUSE: Duration = Duration::from_millis(1);
        let until = Instant::now() + LAST_WORDS;
        while self.records.try_send(Vec::new()).is_err() && Instant::now() < until {
            thread::sleep(PAUSE);
        }
        while !self.writer.is_finished() && Instant::now() < until {
            thread::sleep(PAUSE);
        }
    }
}

struct Sink {
    records: SyncSender<Vec<u8>>,
    text: bool,
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Sink {
    /// Takes one whole record.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let escaped = if self.text { one_line(record) } else { record.to_vec() };
        let _ = self.records.try_send(escaped);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Text from peers may hold line ends, and a record must not look like two. The subscriber has
/// escaped those control characters of a field that move a terminal; the ESC left is its colour.
fn one_line(record: &[u8]) -> Vec<u8> {
    let record = String::from_utf8_lossy(record);
    let mut line = String::with_capacity(record.len());
    for c in record.trim_end_matches('\n').chars() {
        if c.is_control() && c != '\u{1b}' && c != '\t' {
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stays_on_its_line() {
        let record = b"INFO peer=\x1b[3mx\x1b[0m a\nINFO forged\r\0\t.\n";
        let line = "INFO peer=\u{1b}[3mx\u{1b}[0m a\\nINFO forged\\r\\u{0}\t.\n";
        assert_eq!(one_line(record), line.as_bytes());
    }
}
