//! `get_logs`: the last records of the log ring.

use std::process;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::broker::logs::{LogRecord, LogRing};

use super::super::{Asked, clock};
use super::listing::Listing;
use super::{NAME, ROLE};

/// Records if nobody says how many.
const LAST: usize = 100;
/// NorFab's levels, and the one that it has not.
const LEVELS: [&str; 7] = ["NOTSET", "TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

/// Which records are wanted.
#[derive(Debug)]
struct Filter<'a> {
    level: Option<String>,
    logger: Option<&'a str>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    last: usize,
}

impl<'a> Filter<'a> {
    fn of(asked: &'a Asked) -> Result<Self, String> {
        let moment = |name| match asked.text(name)?.filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => clock::read(text)
                .map(Some)
                .ok_or_else(|| format!("argument {name} is {}, not {text}", clock::FORM)),
        };
        let level = asked.text("level")?.filter(|level| !level.is_empty());
        let level = level.map(str::to_ascii_uppercase);
        let known = level.as_ref().is_none_or(|level| LEVELS.contains(&level.as_str()));
        if !known {
            return Err(format!("argument level is one of {}", LEVELS.join(", ")));
        }
        Ok(Self {
            level: level.filter(|level| level != "NOTSET"),
            logger: asked.text("logger")?.filter(|logger| !logger.is_empty()),
            since: moment("since")?,
            until: moment("until")?,
            last: match asked.count("last")? {
                None => LAST,
                // NorFab's way to say all.
                Some(0) => usize::MAX,
                Some(last) => last,
            },
        })
    }

    fn takes(&self, record: &LogRecord) -> bool {
        let logger = record.about.target();
        let below = |wanted: &str| {
            let rest = logger.strip_prefix(wanted);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        self.level.as_ref().is_none_or(|level| level == record.level())
            && self.logger.is_none_or(below)
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at <= until)
    }
}

/// The records as NorFab has them. What is wrong is said in a record, too: whoever reads the answer
/// expects nothing else.
pub(super) fn get(ring: Option<&LogRing>, asked: &Asked, max: usize) -> Vec<u8> {
    let found = ring
        .ok_or_else(|| "this broker keeps no log records".to_owned())
        .and_then(|ring| Filter::of(asked).map(|filter| wanted(&filter, ring)));
    match found {
        Ok(records) => listed(&records, max),
        Err(why) => super::super::written(&json!([trouble("ERROR", &why)])),
    }
}

/// The last records that are wanted, the oldest first.
fn wanted(filter: &Filter<'_>, ring: &LogRing) -> Vec<Arc<LogRecord>> {
    let records = ring.records().into_iter().rev();
    let mut last: Vec<_> =
        records.filter(|record| filter.takes(record)).take(filter.last).collect();
    last.reverse();
    last
}

/// As many of the last ones as there is room for, and how many are not there.
fn listed(records: &[Arc<LogRecord>], max: usize) -> Vec<u8> {
    /// For what says that some are left out.
    const NOTICE: usize = 512;
    let rows: Vec<_> = records.iter().map(|record| row(record)).collect();
    let size = |row: &Value| super::super::written(row).len() + 1;
    let mut room = max.saturating_sub(NOTICE);
    let fit = rows.iter().rev().take_while(|row| match room.checked_sub(size(row)) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    let left_out = rows.len() - fit.count();
    let mut listing = Listing::new(usize::MAX);
    if left_out > 0 {
        listing.push(&trouble("WARNING", &format!("{left_out} older records find no room")));
    }
    rows.iter().skip(left_out).for_each(|row| listing.push(row));
    listing.finish(None)
}

/// A record that stands for none.
fn trouble(level: &str, message: &str) -> Value {
    json!({
        "ts": stamp(SystemTime::now()),
        "level": level,
        "logger": module_path!(),
        "message": message,
        "pid": process::id(),
        "role": ROLE,
        "name": NAME,
    })
}

fn stamp(at: SystemTime) -> String {
    format!("{}+00:00", clock::written(at))
}

fn row(record: &LogRecord) -> Value {
    let about = record.about;
    let mut row = Map::new();
    let mut put = |key: &str, value: Value| {
        row.insert(key.into(), value);
    };
    put("ts", stamp(record.at).into());
    put("level", record.level().into());
    put("logger", about.target().into());
    put("message", sentence(record).into());
    put("pid", process::id().into());
    put("processName", env!("CARGO_PKG_NAME").into());
    if let Some(thread) = &record.thread {
        put("threadName", (**thread).into());
    }
    put("role", ROLE.into());
    put("name", NAME.into());
    if let Some(module) = about.module_path() {
        put("module", module.into());
    }
    if let Some(line) = about.line() {
        put("line", line.into());
    }
    if let Some(path) = about.file() {
        put("filename", path.rsplit('/').next().unwrap_or(path).into());
    }
    if !record.fields.is_empty() {
        put("fields", record.fields.clone().into());
    }
    Value::Object(row)
}

/// What a person reads: the message, and each field.
fn sentence(record: &LogRecord) -> String {
    let fields = record.fields.iter().map(|(name, value)| match value {
        Value::String(text) => format!(" {name}={text}"),
        other => format!(" {name}={other}"),
    });
    fields.fold(record.message.clone(), |sentence, field| sentence + &field)
}
