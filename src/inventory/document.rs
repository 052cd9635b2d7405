//! Rendered text, YAML or TOML, as values.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{InventoryError, Place};
use super::{DEPTH_MAX, FILE_BYTES_MAX};

/// Objects, lists and scalars of one file.
const NODES_MAX: usize = 2_000_000;
/// What aliases may repeat of them.
const REPEATED_MAX: usize = 100_000;
/// What a file has to be.
const YAML: &str = "the file must be YAML, once it is rendered";
const TOML: &str = "the file must be TOML, once it is rendered";

/// The sections of an inventory. What else there may be is for others.
#[derive(Debug, Clone)]
pub(super) struct Main {
    pub(super) broker: Value,
    /// In the order of the file: a glob, and what holds for the workers that it matches.
    pub(super) workers: Vec<(String, Vec<Value>)>,
    pub(super) topology: Value,
    pub(super) logging: Value,
    pub(super) client: Value,
    pub(super) hooks: Value,
    pub(super) plugins: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sections {
    broker: Value,
    workers: Ordered,
    topology: Value,
    logging: Value,
    client: Value,
    hooks: Value,
    plugins: Value,
}

/// An object whose keys keep their order.
#[derive(Default)]
struct Ordered(Vec<(String, Value)>);

/// The inventory itself.
pub(super) fn main(path: &Path, text: &str) -> Result<Main, InventoryError> {
    let sections = if is_toml(path) {
        toml_sections(path, text)?
    } else {
        yaml::<Option<Sections>>(path, text)?.unwrap_or_default()
    };
    let workers = sections.workers.0.into_iter().map(|(glob, value)| {
        let items = items(path, &glob, value)?;
        Ok((glob, items))
    });
    let section = |name: &str, value: Value| match value {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(_) => Ok(value),
        other => Err(wrong_kind(path, format!("`{name}`"), "an object", &other)),
    };
    Ok(Main {
        workers: workers.collect::<Result<_, _>>()?,
        broker: section("broker", sections.broker)?,
        topology: section("topology", sections.topology)?,
        logging: section("logging", sections.logging)?,
        client: section("client", sections.client)?,
        hooks: section("hooks", sections.hooks)?,
        plugins: section("plugins", sections.plugins)?,
    })
}

/// A further file: one object, or nothing.
pub(super) fn object(path: &Path, text: &str) -> Result<Map<String, Value>, InventoryError> {
    let value: Value = if is_toml(path) { toml_value(path, text)? } else { yaml(path, text)? };
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        other => Err(wrong_kind(path, "the file".into(), "an object", &other)),
    }
}

/// What holds for the workers of a glob: a list of paths and objects, or one of them alone.
fn items(path: &Path, glob: &str, value: Value) -> Result<Vec<Value>, InventoryError> {
    let items = match value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        item => vec![item],
    };
    for item in &items {
        if !matches!(item, Value::String(_) | Value::Object(_)) {
            let what = format!("what holds for `workers.{glob}`");
            return Err(wrong_kind(path, what, "a list of paths and objects", item));
        }
    }
    Ok(items)
}

/// Hooks with the names of their functions: `module:name` is `name`.
pub(super) fn by_name(hooks: &Value) -> Value {
    let mut hooks = hooks.clone();
    let points = hooks.as_object_mut().into_iter().flat_map(|points| points.values_mut());
    for hook in points.filter_map(Value::as_array_mut).flatten() {
        if let Some(function) = hook.get_mut("function")
            && let Some((_, name)) = function.as_str().and_then(|text| text.rsplit_once(':'))
        {
            *function = name.to_owned().into();
        }
    }
    hooks
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

fn wrong_kind(path: &Path, what: String, expected: &'static str, found: &Value) -> InventoryError {
    let found = match found {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    InventoryError::Kind { path: path.into(), what, expected, found }
}

fn yaml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, InventoryError> {
    // Scalars as PyYAML reads them: `yes` and `off` are true and false, 0755 is octal.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_total_scalar_bytes: FILE_BYTES_MAX,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPEATED_MAX,
        },
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let number = |number: u64| usize::try_from(number).ok().filter(|number| *number > 0);
        let place = error.location().map(|at| (number(at.line()), number(at.column())));
        let (line, column) = place.unwrap_or_default();
        let at = Place { path: path.into(), line, column };
        InventoryError::Syntax { at, reason: reason(&error.to_string()), hint: YAML }
    })
}

/// What the parser says, without the place and without advice to programmers.
fn reason(text: &str) -> String {
    let text = one_line(text);
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    text.split(", set DuplicateKeyPolicy").next().unwrap_or_default().to_owned()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn toml_sections(path: &Path, text: &str) -> Result<Sections, InventoryError> {
    let root = DeTable::parse(text).map_err(|error| toml_error(path, text, &error))?.into_inner();
    let mut sections = Sections::default();
    for (name, value) in root {
        let start = value.span().start;
        let wrong = |reason: String| toml_wrong(path, text, start, reason);
        let slot = match name.get_ref().as_ref() {
            "workers" => {
                let DeValue::Table(table) = value.into_inner() else {
                    return Err(wrong("`workers` must be a table".into()));
                };
                let mut entries: Vec<_> = table.into_iter().collect();
                entries.sort_by_key(|(key, _)| key.span().start);
                let entries = entries.into_iter().map(|(key, value)| {
                    let glob = key.into_inner().into_owned();
                    Ok((glob, plain(value).map_err(wrong)?))
                });
                sections.workers = Ordered(entries.collect::<Result<_, InventoryError>>()?);
                continue;
            }
            "broker" => &mut sections.broker,
            "topology" => &mut sections.topology,
            "logging" => &mut sections.logging,
            "client" => &mut sections.client,
            "hooks" => &mut sections.hooks,
            "plugins" => &mut sections.plugins,
            _ => continue,
        };
        *slot = plain(value).map_err(wrong)?;
    }
    Ok(sections)
}

fn toml_value(path: &Path, text: &str) -> Result<Value, InventoryError> {
    let table: toml::Table = text.parse().map_err(|error| toml_error(path, text, &error))?;
    json(table.into(), 1).map_err(|reason| toml_wrong(path, text, 0, reason))
}

fn plain(value: Spanned<DeValue<'_>>) -> Result<Value, String> {
    let value = toml::Value::deserialize(value.into_deserializer());
    json(value.map_err(|error| error.message().to_owned())?, 1)
}

/// TOML's own parser stops at 80 levels, so the recursion is bounded.
fn json(value: toml::Value, depth: usize) -> Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err(format!("more than {DEPTH_MAX} tables and lists within one another"));
    }
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| format!("{number} is no number that JSON knows"))?,
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => {
            items.into_iter().map(|item| json(item, depth + 1)).collect::<Result<_, _>>()?
        }
        toml::Value::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| Ok((key, json(value, depth + 1)?)));
            Value::Object(entries.collect::<Result<_, String>>()?)
        }
    })
}

fn toml_error(path: &Path, text: &str, error: &toml::de::Error) -> InventoryError {
    let start = error.span().unwrap_or_default().start;
    toml_wrong(path, text, start, one_line(error.message()))
}

fn toml_wrong(path: &Path, text: &str, offset: usize, reason: String) -> InventoryError {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let at = Place { path: path.into(), line: Some(line), column: Some(column) };
    InventoryError::Syntax { at, reason, hint: TOML }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor)
    }
}

struct OrderedVisitor;

impl<'de> Visitor<'de> for OrderedVisitor {
    type Value = Ordered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object: names of workers, and what holds for them")
    }

    fn visit_unit<E>(self) -> Result<Ordered, E> {
        Ok(Ordered::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Ordered(entries))
    }
}
