//! Defaults < file < conf.d < environment < `--set` < flags, each value with its origin.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::de::{DeString, DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::BrokerConfig;
use super::key::Key;
use super::problem::{ConfigError, Origin, Problem};
use crate::inventory::{Inventory, InventoryError};
use crate::nearest::nearest;

/// First octets of every variable that belongs to the configuration.
const PREFIX: &str = "MAJORDOMO__";

/// A flag of the command line that stands for a key, such as `--liveness 3`.
#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    /// The flag as the user writes it, `--liveness`.
    pub flag: &'static str,
    /// The key it stands for, `mdp.liveness`.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
}

/// Where the values of a configuration come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sources {
    /// The main file. `None`: the first of [`Sources::search`] that is there, if any.
    pub file: Option<PathBuf>,
    /// The environment; only names that start with `MAJORDOMO__` count.
    pub environment: Vec<(String, String)>,
    /// `--set key=value`, in order.
    pub set: Vec<(String, String)>,
    /// Flags of their own, in order.
    pub flags: Vec<Flag>,
}

/// A configuration that passed its check, and where its values came from. The default one comes
/// from nowhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: BrokerConfig,
    /// The files that were read, weakest first.
    pub files: Vec<PathBuf>,
    origins: BTreeMap<Key, Origin>,
}

impl Sources {
    /// Where the main file is looked for: here, then for this user, then for this machine.
    #[must_use]
    pub fn search(&self) -> Vec<PathBuf> {
        let variable = |name: &str| {
            let found =
                self.environment.iter().find(|(key, value)| key == name && !value.is_empty());
            found.map(|(_, value)| PathBuf::from(value))
        };
        let user = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
        [Some(PathBuf::new()), user.map(|dir| dir.join("majordomo")), Some("/etc/majordomo".into())]
            .into_iter()
            .flatten()
            .map(|dir| dir.join("majordomo.toml"))
            .collect()
    }

    /// Reads all sources and puts them together. The inventory, if there is one, is read, too; what
    /// it names is not.
    ///
    /// # Errors
    /// Every problem of every source, or, if each source is good, of the result.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let loaded = self.put_together()?;
        self.inventory(&loaded).map(|_| loaded)
    }

    /// The same, and whether all files can be used that the inventory names.
    ///
    /// # Errors
    /// As [`Self::load`], and every problem of these files.
    pub fn check(&self) -> Result<Loaded, ConfigError> {
        let loaded = self.put_together()?;
        if let Some(inventory) = self.inventory(&loaded)? {
            inventory.check().map_err(|errors| loaded.wrong_inventory(errors))?;
        }
        Ok(loaded)
    }

    fn inventory(&self, loaded: &Loaded) -> Result<Option<Inventory>, ConfigError> {
        let Some(path) = &loaded.config.nfp.inventory else { return Ok(None) };
        let environment = self.environment.iter().cloned().collect();
        let inventory = Inventory::load(path, &environment);
        inventory.map(Some).map_err(|error| loaded.wrong_inventory(vec![error]))
    }

    fn put_together(&self) -> Result<Loaded, ConfigError> {
        let mut layers = Layers::default();
        let main = self.file.clone().or_else(|| self.search().into_iter().find(|at| at.exists()));
        if let Some(main) = main {
            layers.file(&main);
            layers.directory(&main.with_file_name("conf.d"));
        }
        let mut environment: Vec<_> = self.environment.iter().collect();
        environment.sort();
        for (name, value) in environment {
            if let Some(key) = name.strip_prefix(PREFIX) {
                layers.text(Key::split(key, "__"), key, value, Origin::Environment(name.clone()));
            }
        }
        for (key, value) in &self.set {
            layers.text(Key::split(key, "."), key, value, Origin::Set(key.clone()));
        }
        for Flag { flag, key, value } in &self.flags {
            let at = Origin::Flag((*flag).into());
            if let Some(key) = Key::split(key, ".") {
                layers.put(key, value.clone(), &at, at.clone());
            }
        }
        layers.finish()
    }
}

impl Loaded {
    /// Every value, section by section, with the place it came from.
    #[must_use]
    pub fn values(&self) -> Vec<(Key, Value, Origin)> {
        let origin = |key: &Key| self.origins.get(key).cloned().unwrap_or(Origin::Default);
        let values = Key::walk(table_of(&self.config)).into_iter();
        values.map(|(key, value)| (key.clone(), value, origin(&key))).collect()
    }
}

impl Loaded {
    /// What is wrong with the inventory, said where it was named.
    fn wrong_inventory(&self, errors: Vec<InventoryError>) -> ConfigError {
        let key = Key::new("nfp", "inventory");
        let at = self.origins.get(&key).cloned().unwrap_or(Origin::Default);
        let problem = |error: InventoryError| {
            let (at, key) = (at.clone(), key.clone());
            Problem::Refused { at, key, reason: error.to_string() }
        };
        ConfigError { problems: errors.into_iter().map(problem).collect() }
    }
}

/// A configuration always has a table: its keys are text and its values are plain.
fn table_of(config: &BrokerConfig) -> Table {
    Table::try_from(config).unwrap_or_default()
}

/// What has been put together so far.
struct Layers {
    defaults: BTreeMap<Key, Value>,
    values: BTreeMap<Key, (Value, Origin)>,
    files: Vec<PathBuf>,
    problems: Vec<Problem>,
}

impl Default for Layers {
    fn default() -> Self {
        Self {
            defaults: Key::walk(table_of(&BrokerConfig::default())).into_iter().collect(),
            values: BTreeMap::new(),
            files: Vec::new(),
            problems: Vec::new(),
        }
    }
}

impl Layers {
    fn directory(&mut self, dir: &Path) {
        let mut files = match fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries.iter().map(fs::DirEntry::path).collect::<Vec<_>>(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unreadable(dir, &error),
        };
        files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        files.iter().for_each(|path| self.file(path));
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.problems.push(Problem::Unreadable { path: path.into(), reason: error.to_string() });
    }

    fn file(&mut self, path: &Path) {
        self.files.push(path.into());
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.unreadable(path, &error),
        };
        let file = File { path, text: &text };
        match DeTable::parse(&text) {
            Ok(root) => self.root(&file, root.into_inner()),
            Err(error) => self.problems.push(Problem::Syntax {
                at: file.at(error.span().unwrap_or_default().start),
                reason: error.message().trim().replace('\n', ", "),
                hint: "the file must be TOML, see `majordomo config default`".into(),
            }),
        }
    }

    fn root(&mut self, file: &File<'_>, root: DeTable<'_>) {
        for (section, value) in root {
            let (at, section) = file.key(section);
            if section != "services" && !self.defaults.keys().any(|key| key.section == section) {
                self.unknown(at, Key::new(&section, ""));
                continue;
            }
            let Some(table) = self.table(&at, &section, value) else { continue };
            for (name, value) in table {
                let (at, name) = file.key(name);
                if section != "services" {
                    self.leaf(file, Key::new(&section, &name), at, value);
                    continue;
                }
                let title = Key::service(&name, "").table();
                let Some(table) = self.table(&at, &title, value) else { continue };
                for (leaf, value) in table {
                    let (at, leaf) = file.key(leaf);
                    self.leaf(file, Key::service(&name, &leaf), at, value);
                }
            }
        }
    }

    fn table<'i>(
        &mut self,
        at: &Origin,
        title: &str,
        value: Spanned<DeValue<'i>>,
    ) -> Option<DeTable<'i>> {
        if let DeValue::Table(table) = value.into_inner() {
            return Some(table);
        }
        self.problems.push(Problem::Syntax {
            at: at.clone(),
            reason: format!("`{title}` is a section, not a value"),
            hint: format!("write [{title}] and the values below it"),
        });
        None
    }

    fn leaf(&mut self, file: &File<'_>, key: Key, key_at: Origin, value: Spanned<DeValue<'_>>) {
        let value_at = file.at(value.span().start);
        match Value::deserialize(value.into_deserializer()) {
            Ok(value) => self.put(key, value, &key_at, value_at),
            Err(error) => {
                let (reason, hint) = (error.message().into(), self.hint(&key));
                self.problems.push(Problem::Value { at: value_at, key, reason, hint });
            }
        }
    }

    /// A value from the environment or the command line: read as what its default is.
    fn text(&mut self, key: Option<Key>, name: &str, text: &str, at: Origin) {
        let Some(key) = key else { return self.unknown(at, Key::new("", name)) };
        let value = match self.defaults.get(&key.like()) {
            Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
            Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
            Some(Value::Array(_)) if text.trim_start().starts_with('[') => text.parse().ok(),
            Some(Value::Table(_)) => text.parse().ok(),
            Some(Value::Array(_)) => {
                Some(text.split(',').map(str::trim).collect::<Vec<_>>().into())
            }
            _ => None,
        };
        self.put(key, value.unwrap_or_else(|| text.into()), &at, at.clone());
    }

    /// Takes a value that stands alone; whether it fits its neighbours is seen at the end.
    fn put(&mut self, key: Key, value: Value, key_at: &Origin, value_at: Origin) {
        let Some(default) = self.defaults.get(&key.like()) else {
            return self.unknown(key_at.clone(), key);
        };
        let mut alone = Table::new();
        key.insert(value.clone(), &mut alone);
        let Err(error) = BrokerConfig::deserialize(alone) else {
            self.values.insert(key, (value, value_at));
            return;
        };
        let reason = match (default, &value) {
            (Value::Integer(_), Value::Integer(number)) => format!("{number} is out of range"),
            (Value::String(_), _) => error.message().into(),
            _ if kind(default) == kind(&value) => error.message().into(),
            _ => format!("expected {}, found {}", kind(default), kind(&value)),
        };
        let hint = self.hint(&key);
        self.problems.push(Problem::Value { at: value_at, key, reason, hint });
    }

    fn hint(&self, key: &Key) -> String {
        let default = self.defaults.get(&key.like());
        default.map_or_else(String::new, |value| format!("the default is {} = {value}", key.name))
    }

    fn unknown(&mut self, at: Origin, key: Key) {
        let hint = self.nearest(&at, &key);
        let key = if key.section.is_empty() { key.name } else { key.to_string() };
        self.problems.push(Problem::UnknownKey { at, key, hint });
    }

    /// The same name in another section, else the nearest name in this one, else the names of
    /// this one, else the sections.
    fn nearest(&self, at: &Origin, wanted: &Key) -> String {
        let spell = |key: &Key| match at {
            Origin::Environment(_) => key.variable(PREFIX),
            _ => key.to_string(),
        };
        let name = wanted.name.to_ascii_lowercase();
        let like = wanted.like().section;
        let here: Vec<_> = self.defaults.keys().filter(|key| key.section == like).collect();
        if let Some(key) = self.defaults.keys().find(|key| key.name == name) {
            let key = Key {
                pattern: wanted.pattern.clone().filter(|_| key.section == like),
                ..key.clone()
            };
            return format!("did you mean `{}`?", spell(&key));
        }
        if here.is_empty() || name.is_empty() {
            let mut sections: Vec<_> =
                self.defaults.keys().map(|key| key.section.as_str()).collect();
            sections.push("services");
            sections.dedup();
            return nearest(&like, &sections).map_or_else(
                || format!("the sections are {}", sections.join(", ")),
                |section| format!("did you mean `{section}`?"),
            );
        }
        let names: Vec<_> = here.iter().map(|key| key.name.as_str()).collect();
        nearest(&name, &names).map_or_else(
            || format!("the keys of [{}] are {}", wanted.table(), names.join(", ")),
            |name| format!("did you mean `{name}`?"),
        )
    }

    fn finish(self) -> Result<Loaded, ConfigError> {
        let Self { values, files, mut problems, .. } = self;
        let mut table = Table::new();
        let mut origins = BTreeMap::new();
        for (key, (value, origin)) in values {
            key.insert(value, &mut table);
            origins.insert(key, origin);
        }
        let mut config = BrokerConfig::deserialize(table).unwrap_or_else(|error| {
            // Each value has passed alone, so all of them together should.
            let hint = "this is a defect of majordomo, please report it".into();
            problems.push(Problem::Syntax { at: Origin::Default, reason: error.to_string(), hint });
            BrokerConfig::default()
        });
        for (pattern, patch) in &mut config.services {
            let mine = |(key, _): &(&Key, &Origin)| key.pattern.as_ref() == Some(pattern);
            let first = origins.iter().filter(mine).map(|(_, origin)| origin).min();
            patch.at = first.map(|origin| origin.line().into());
        }
        if problems.is_empty() {
            let origin = |key: &Key| {
                let mut at = origins.range(key.clone()..);
                let found = at.find(|(other, _)| *other == key || key.name.is_empty());
                found.map(|(_, origin): (&Key, &Origin)| origin.clone())
            };
            problems.extend(config.refusals().into_iter().map(|refusal| refusal.blame(origin)));
        }
        if problems.is_empty() {
            Ok(Loaded { config, files, origins })
        } else {
            Err(ConfigError { problems })
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

/// A file whose octets are counted as lines and columns.
struct File<'f> {
    path: &'f Path,
    text: &'f str,
}

impl File<'_> {
    fn at(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Origin::File { path: self.path.into(), line, column }
    }

    fn key(&self, key: Spanned<DeString<'_>>) -> (Origin, String) {
        (self.at(key.span().start), key.into_inner().into_owned())
    }
}
