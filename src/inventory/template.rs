//! Files are Jinja templates, with the environment as `env`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object, Value};
use minijinja::{AutoEscape, ErrorKind};

use super::error::{InventoryError, Place};
use super::mask;

/// Steps of one template, each of which may take some 64 octets.
const FUEL: u64 = 1_000_000;

/// The variables that templates may read. Which of them were read is remembered.
#[derive(Clone)]
pub struct Environment {
    variables: Arc<BTreeMap<String, String>>,
    read: Arc<Mutex<BTreeSet<String>>>,
}

/// The names alone: what they hold may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self { variables: Arc::new(variables.into_iter().collect()), read: Arc::default() }
    }
}

impl Environment {
    /// The environment of this process; what is no UTF-8 is as near to it as it can be.
    #[must_use]
    pub fn of_process() -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect()
    }

    /// The same variables, none of them read.
    pub(super) fn fresh(&self) -> Self {
        Self { variables: self.variables.clone(), read: Arc::default() }
    }

    /// The values of variables that were read and have the name of a secret.
    pub(super) fn secrets_read(&self) -> Vec<String> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = read.iter().filter(|name| mask::is_secret(name));
        secrets.filter_map(|name| self.variables.get(name).cloned()).collect()
    }

    fn note(&self, names: impl IntoIterator<Item = String>) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }
}

impl Object for Environment {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let (name, value) = self.variables.get_key_value(key.as_str()?)?;
        self.note([name.clone()]);
        Some(value.clone().into())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.note(self.variables.keys().cloned());
        Enumerator::Values(self.variables.keys().map(|name| name.clone().into()).collect())
    }
}

/// What a template says.
pub(super) fn render(
    path: &Path,
    text: &str,
    environment: &Environment,
) -> Result<String, InventoryError> {
    let mut engine = minijinja::Environment::new();
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_fuel(Some(FUEL));
    // `env.get("NAME", "default")` and what else Python's own texts and maps can.
    engine.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    let variables = Value::from_object(environment.clone());
    let rendered = engine
        .template_from_str(text)
        .and_then(|template| template.render(minijinja::context! { env => variables }));
    rendered.map_err(|error| {
        let at = Place { path: path.into(), line: error.line(), column: None };
        let reason = match error.kind() {
            ErrorKind::OutOfFuel => format!("it takes more than {FUEL} steps"),
            kind => error.detail().map_or_else(|| kind.to_string(), |it| format!("{kind}: {it}")),
        };
        InventoryError::Template { at, reason }
    })
}
