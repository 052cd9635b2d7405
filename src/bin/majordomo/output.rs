//! Standard output for data, standard error for the rest. Neither panics when nobody reads it.

use std::fmt::{self, Display, Write as _};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::builder::styling::{AnsiColor, Style};
use clap::{ColorChoice, ValueEnum};
use serde_json::{Value, json};

/// What `--color` said.
static COLOUR: OnceLock<ColorChoice> = OnceLock::new();

/// Says once what `--color` said.
pub(crate) fn set_colour(choice: ColorChoice) {
    let _ = COLOUR.set(choice);
}

/// The value of `--color`, found before the command line is understood: what clap itself says of a
/// wrong one has to be of the right colour, too.
pub(crate) fn colour_asked(arguments: impl Iterator<Item = String>) -> ColorChoice {
    let mut arguments = arguments.take_while(|argument| argument != "--");
    let mut asked = ColorChoice::Auto;
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix("--color") {
            Some("") => arguments.next(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        if let Some(choice) = value.and_then(|value| ColorChoice::from_str(&value, false).ok()) {
            asked = choice;
        }
    }
    asked
}

/// Whether that stream is to be coloured. <https://no-color.org>
pub(crate) fn has_colour(stream: &impl IsTerminal) -> bool {
    match COLOUR.get() {
        Some(ColorChoice::Always) => true,
        Some(ColorChoice::Never) => false,
        Some(ColorChoice::Auto) | None => {
            let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            stream.is_terminal() && !no_color && !dumb
        }
    }
}

/// Text for standard output, coloured if that is wanted there.
pub(crate) fn paint(style: Style, text: &str) -> String {
    if style != Style::new() && has_colour(&io::stdout()) {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}

/// Whoever read standard output has seen enough. That ends a command, and is no failure.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub(crate) struct ReaderGone;

/// Writes data to standard output, flushed; [`ReaderGone`] if nobody is there.
pub(crate) fn print(data: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(data.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        done => done.context("cannot write to standard output"),
    }
}

/// Prints one object on a line of its own, for a command that has nothing else to say.
#[expect(clippy::needless_pass_by_value, reason = "callers build it in place")]
pub(crate) fn print_json(object: Value) -> Result<ExitCode> {
    print(format!("{object}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Says on standard error why a command has failed; its name is red where that is wanted.
pub(crate) fn complain_of(error: &str) {
    let red = AnsiColor::Red.on_default().bold();
    match error.strip_prefix("majordomo:") {
        Some(rest) if has_colour(&io::stderr()) => {
            complain(&format_args!("{red}majordomo:{red:#}{rest}"));
        }
        _ => complain(&error),
    }
}

/// Milliseconds, to the microsecond.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// Writes a line to standard error. Nothing can be done if that fails.
pub(crate) fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// What peers say, for people: nothing in it moves the terminal or looks like another line.
pub(crate) fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(harmless, "{}", c.escape_default());
        } else {
            harmless.push(c);
        }
    }
    harmless
}

/// Octets as JSON: text if they are text.
pub(crate) fn octets_json(octets: &[u8]) -> Value {
    match std::str::from_utf8(octets) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": base64(octets) }),
    }
}

/// RFC 4648, section 4.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for chunk in octets.chunks(3) {
        let octet = |at| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for at in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * at) & 63) as usize).copied();
            let digit = digit.filter(|_| at <= chunk.len());
            text.push(digit.map_or('=', char::from));
        }
    }
    text
}

/// Rows of text: aligned on a terminal, separated by tabs elsewhere.
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const COLUMNS: usize>(header: [&'static str; COLUMNS]) -> Self {
        Self { header: header.into(), rows: Vec::new() }
    }

    pub(crate) fn row<const COLUMNS: usize>(&mut self, cells: [&str; COLUMNS]) {
        self.rows.push(cells.map(harmless).into());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn tabs(&self) -> String {
        let rows = self.rows.iter().map(|row| row.join("\t") + "\n");
        std::iter::once(self.header.join("\t") + "\n").chain(rows).collect()
    }

    fn aligned(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(&self.header).add_rows(&self.rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines = table.lines().enumerate().map(|(number, line)| {
            let line = line.trim_end();
            let style = if number == 0 { Style::new().bold() } else { Style::new() };
            paint(style, line) + "\n"
        });
        lines.collect()
    }
}

/// Nothing at all without rows on a terminal; the header alone elsewhere, for programs.
impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (io::stdout().is_terminal(), self.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => f.write_str(&self.aligned()),
            (false, _) => f.write_str(&self.tabs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (octets, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(octets.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
        assert_eq!(octets_json(b"\xff"), json!({"base64": "/w=="}));
        assert_eq!(octets_json("ü".as_bytes()), json!("ü"));
    }
}
