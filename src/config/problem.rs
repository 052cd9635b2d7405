//! What is wrong with a configuration, where it stands, and what to write instead.

use std::fmt;
use std::path::PathBuf;

use super::key::Key;

/// Where a value came from, from the weakest source to the strongest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A place in a file; line and column count from 1, the column in characters.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// `--set` with that key.
    Set(String),
    /// A flag of its own.
    Flag(String),
}

impl Origin {
    /// The same without the column.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::File { path, line, .. } => format!("{}:{line}", path.display()),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Set(key) => write!(f, "--set {key}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A file cannot be read.
    #[error("{}: cannot read the configuration: {reason}; check the path and its rights", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A file is no TOML, or a value stands where a section belongs.
    #[error("{at}: {reason}; {hint}")]
    Syntax {
        /// Where.
        at: Origin,
        /// What.
        reason: String,
        /// What to write instead.
        hint: String,
    },
    /// There is no such key.
    #[error("{at}: unknown key `{key}`; {hint}")]
    UnknownKey {
        /// Where.
        at: Origin,
        /// The key as far as it was understood.
        key: String,
        /// The nearest key, or all keys.
        hint: String,
    },
    /// A value of the wrong kind, or without its unit.
    #[error("{at}: {key}: {reason}; {hint}")]
    Value {
        /// Where.
        at: Origin,
        /// The key.
        key: Key,
        /// What is wrong.
        reason: String,
        /// The default.
        hint: String,
    },
    /// A value that cannot be accepted, alone or beside others.
    #[error("{at}: {key}: {reason}")]
    Refused {
        /// Where.
        at: Origin,
        /// The key.
        key: Key,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// Everything that is wrong with a configuration, one line each; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems in the order of the sources.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
