//! The inventory: what workers are told when they start, from files of the operator.
//!
//! The file, YAML or (with the ending `.toml`) TOML, has the layout of NorFab's `inventory.yaml`:
//!
//! ```yaml
//! broker: {endpoint: "tcp://127.0.0.1:5555"}
//! workers:
//!   "nornir-*": [nornir/common.yaml]
//!   nornir-worker-1:
//!     - nornir/worker-1.yaml
//!     - {service: nornir, token: "{{ env.NORNIR_TOKEN }}"}
//! ```
//!
//! A key of `workers` is a glob over names of workers, its value is what holds for them: paths of
//! further files, taken from the folder of the inventory, and objects. What holds for a worker is
//! merged in the order of the file: objects key by key, lists get what they do not have yet, anything
//! else is replaced. Every file is a Jinja template first, with the
//! environment as `env`.
//!
//! Further files are read when they are asked for, so that a change needs no restart.

mod document;
mod error;
pub(crate) mod glob;
mod mask;
mod merge;
mod template;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use error::{InventoryError, Place};
pub use template::Environment;

use document::Main;
use mask::Mask;

/// Octets of one file, before and after it is rendered.
pub const FILE_BYTES_MAX: usize = 8 << 20;
/// Octets of all files that hold for one worker.
pub const WORKER_BYTES_MAX: usize = 64 << 20;
/// Files and objects that hold for one worker.
pub const ITEMS_MAX: usize = 1024;
/// Lists and objects within one another.
pub const DEPTH_MAX: usize = 64;

/// An inventory that was read.
#[derive(Debug, Clone)]
pub struct Inventory {
    path: PathBuf,
    environment: Environment,
    main: Main,
    mask: Mask,
}

impl Inventory {
    /// Reads the file itself. It blocks.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn load(
        path: impl Into<PathBuf>,
        environment: &Environment,
    ) -> Result<Self, InventoryError> {
        let path = path.into();
        let environment = environment.fresh();
        let main = document::main(&path, &render(&path, &environment, FILE_BYTES_MAX)?)?;
        let mask = Mask::new(environment.secrets_read());
        Ok(Self { path, environment, main, mask })
    }

    /// What holds for a worker of that name; none if nothing does. It reads files, and blocks.
    ///
    /// # Errors
    /// What is wrong with one of the files, and where.
    pub fn worker(&self, name: &str) -> Result<Option<Value>, InventoryError> {
        let matching = self.main.workers.iter().filter(|(glob, _)| glob::matches(glob, name));
        let mut items: Vec<&Value> = Vec::new();
        for item in matching.flat_map(|(_, items)| items) {
            if !items.iter().any(|other| merge::same(other, item)) {
                items.push(item);
            }
        }
        if items.len() > ITEMS_MAX {
            let found = items.len();
            return Err(InventoryError::TooMany {
                path: self.path.clone(),
                name: name.into(),
                found,
            });
        }
        let mut merged = Map::new();
        let mut room = WORKER_BYTES_MAX;
        for item in items {
            match item {
                Value::String(path) => merge::merge(&mut merged, self.file(path, &mut room)?),
                Value::Object(object) => merge::merge(&mut merged, object.clone()),
                // Whatever else there may be was refused when the file was read.
                _ => {}
            }
        }
        Ok((!merged.is_empty()).then_some(Value::Object(merged)))
    }

    /// Reads every file that some worker may be told.
    ///
    /// # Errors
    /// Everything that is wrong with them, each file once.
    pub fn check(&self) -> Result<(), Vec<InventoryError>> {
        let items = self.main.workers.iter().flat_map(|(_, items)| items);
        let paths: BTreeSet<_> = items.filter_map(Value::as_str).collect();
        let wrong = paths.into_iter().filter_map(|path| {
            let mut room = WORKER_BYTES_MAX;
            self.file(path, &mut room).err()
        });
        let wrong: Vec<_> = wrong.collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// The file for people: all sections, with the files of workers by path, functions of hooks by
    /// name, and `********` for each secret.
    #[must_use]
    pub fn broker_view(&self) -> Value {
        let Main { broker, workers, topology, logging, client, hooks, plugins } = &self.main;
        let workers = workers.iter().map(|(glob, items)| (glob.clone(), items.clone().into()));
        let hooks = document::by_name(hooks);
        let sections = [
            ("broker", broker.clone()),
            ("workers", Value::Object(workers.collect())),
            ("topology", topology.clone()),
            ("logging", logging.clone()),
            ("client", client.clone()),
            ("hooks", hooks),
            ("plugins", plugins.clone()),
        ];
        let sections = sections.into_iter().map(|(name, section)| (name.into(), section));
        self.mask.hide(Value::Object(sections.collect()))
    }

    /// A section of the file as it is, with its secrets; empty if it is not there.
    #[must_use]
    pub fn broker(&self) -> &Value {
        &self.main.broker
    }

    /// The file it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, path: &str, room: &mut usize) -> Result<Map<String, Value>, InventoryError> {
        let path = self.path.parent().unwrap_or_else(|| Path::new("")).join(path);
        let text = render(&path, &self.environment, (*room).min(FILE_BYTES_MAX))?;
        *room -= text.len().min(*room);
        document::object(&path, &text)
    }
}

/// The text of a file, rendered.
fn render(path: &Path, environment: &Environment, max: usize) -> Result<String, InventoryError> {
    let text = read(path, max)?;
    let rendered = template::render(path, &text, environment)?;
    if rendered.len() > max {
        return Err(InventoryError::TooBig { path: path.into(), max });
    }
    Ok(rendered)
}

fn read(path: &Path, max: usize) -> Result<String, InventoryError> {
    let unreadable = |error: std::io::Error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".into(),
            std::io::ErrorKind::InvalidData => "it is no text in UTF-8".into(),
            _ => error.to_string(),
        };
        InventoryError::Unreadable { path: path.into(), reason }
    };
    // Whoever opens a pipe waits for its other end, so the kind is asked first.
    let kind = path.metadata().map_err(unreadable)?;
    if !kind.is_file() {
        let reason = "it is no file".into();
        return Err(InventoryError::Unreadable { path: path.into(), reason });
    }
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(max as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > max {
        return Err(InventoryError::TooBig { path: path.into(), max });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
