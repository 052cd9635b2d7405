//! What is wrong with an inventory, where, and what to do.

use std::fmt;
use std::path::PathBuf;

/// A place in a file; line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, if it is known.
    pub line: Option<usize>,
    /// The column in characters, if it is known.
    pub column: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        for number in [self.line, self.column].into_iter().map_while(|number| number) {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

/// Why an inventory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// A file is not there, or no text.
    #[error("{}: {reason}; check the path and its rights", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file is too large, as it is or rendered, or with those read before it.
    #[error("{}: more than {max} octets with what else holds for the worker; split it", path.display())]
    TooBig {
        /// The file.
        path: PathBuf,
        /// Octets that there may be.
        max: usize,
    },
    /// A file cannot be rendered.
    #[error("{at}: the template: {reason}; repair it, or write {{% raw %}} around what is none")]
    Template {
        /// Where.
        at: Place,
        /// What is wrong.
        reason: String,
    },
    /// A file is no YAML or TOML.
    #[error("{at}: {reason}; {hint}")]
    Syntax {
        /// Where, in the rendered text.
        at: Place,
        /// What is wrong.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// Something has another kind than it must have.
    #[error("{}: {what} must be {expected}, not {found}; see NorFab's inventory.yaml", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is about.
        what: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// Too much holds for one worker.
    #[error("{}: {found} files and objects hold for `{name}`; at most {} may", path.display(), super::ITEMS_MAX)]
    TooMany {
        /// The inventory.
        path: PathBuf,
        /// The worker.
        name: String,
        /// How many.
        found: usize,
    },
}
