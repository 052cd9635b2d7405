//! The name of one value: `section.name`, or `services."pattern".name`.

use std::fmt;

use toml::{Table, Value};

/// The section whose tables are named by the operator.
const SERVICES: &str = "services";

/// The name of one value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The section.
    pub section: String,
    /// In `services`: the names of services it holds for.
    pub pattern: Option<String>,
    /// The name inside the section; empty where the whole section is meant.
    pub name: String,
}

impl Key {
    pub(super) fn new(section: &str, name: &str) -> Self {
        Self { section: section.into(), pattern: None, name: name.into() }
    }

    pub(super) fn service(pattern: &str, name: &str) -> Self {
        Self { section: SERVICES.into(), pattern: Some(pattern.into()), name: name.into() }
    }

    /// `section SEP name` or `services SEP pattern SEP name`, where the pattern may hold
    /// separators and may stand in quotes. `None`: no separator.
    pub(super) fn split(text: &str, separator: &str) -> Option<Self> {
        let (section, rest) = text.split_once(separator)?;
        let section = section.to_ascii_lowercase();
        match rest.rsplit_once(separator) {
            Some((pattern, name)) if section == SERVICES => {
                Some(Self::service(pattern.trim_matches('"'), &name.to_ascii_lowercase()))
            }
            _ => Some(Self::new(&section, &rest.to_ascii_lowercase())),
        }
    }

    /// The key whose default and kind this one shares.
    pub(super) fn like(&self) -> Self {
        if self.pattern.is_some() { Self::new("service", &self.name) } else { self.clone() }
    }

    /// Puts a value where this key says.
    pub(super) fn insert(&self, value: Value, root: &mut Table) {
        let steps = [Some(&self.section), self.pattern.as_ref()];
        let table = steps.into_iter().flatten().try_fold(root, |table, step| {
            let entry = table.entry(step.clone()).or_insert_with(|| Table::new().into());
            entry.as_table_mut()
        });
        if let Some(table) = table {
            table.insert(self.name.clone(), value);
        }
    }

    /// Every value of a configuration with its key.
    pub(super) fn walk(root: Table) -> Vec<(Self, Value)> {
        let mut values = Vec::new();
        for (section, table) in root {
            for (name, value) in into_table(table) {
                if section == SERVICES {
                    let leaf = |(leaf, value): (String, _)| (Self::service(&name, &leaf), value);
                    values.extend(into_table(value).into_iter().map(leaf));
                } else {
                    values.push((Self::new(&section, &name), value));
                }
            }
        }
        values
    }

    /// The variable of the environment that sets it.
    pub(super) fn variable(&self, prefix: &str) -> String {
        let section = self.section.to_ascii_uppercase();
        let pattern = self.pattern.as_ref().map(|pattern| format!("__{pattern}"));
        let name = self.name.to_ascii_uppercase();
        format!("{prefix}{section}{}__{name}", pattern.unwrap_or_default())
    }

    /// The header of the table it stands in: `broker` or `services."billing.*"`.
    #[must_use]
    pub fn table(&self) -> String {
        match &self.pattern {
            None => self.section.clone(),
            // A TOML string is the quoted form of a TOML key.
            Some(pattern) => format!("{}.{}", self.section, Value::from(pattern.as_str())),
        }
    }
}

/// What the type of a configuration rules out is taken as empty.
fn into_table(value: Value) -> Table {
    if let Value::Table(table) = value { table } else { Table::new() }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table())?;
        if self.name.is_empty() { Ok(()) } else { write!(f, ".{}", self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_split_at_its_first_and_last_separator() {
        for (text, separator, key) in [
            ("mdp.liveness", ".", Key::new("mdp", "liveness")),
            ("MDP__LIVENESS", "__", Key::new("mdp", "liveness")),
            ("services.a.b.*.prefetch", ".", Key::service("a.b.*", "prefetch")),
            ("services.\"a.b\".prefetch", ".", Key::service("a.b", "prefetch")),
            ("SERVICES__A__b__PREFETCH", "__", Key::service("A__b", "prefetch")),
            ("mdp.a.b", ".", Key::new("mdp", "a.b")),
        ] {
            assert_eq!(Key::split(text, separator), Some(key), "{text}");
        }
        assert_eq!(Key::split("liveness", "."), None);
        assert_eq!(Key::service("a.*", "prefetch").to_string(), "services.\"a.*\".prefetch");
    }
}
