//! How a command ends that has not succeeded: what happened, what to do, and the exit code.

use std::fmt;
use std::process::ExitCode;

use majordomo::config::ConfigError;
use serde_json::{Value, json};

/// The exit codes of every command, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    CannotConnect = 3,
    TimedOut = 4,
    NotAllowed = 5,
    NotFound = 6,
    /// Somebody else has it.
    Conflict = 8,
    Overloaded = 9,
    /// What was read is not what was written.
    Damaged = 65,
    /// The disk has failed: what was acknowledged is found at the next start.
    Store = 74,
    /// A service manager need not try again.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What happened, by name and for people, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    /// Stable, for programs.
    pub(crate) code: String,
    /// What happened and why.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl CliError {
    pub(crate) fn new(exit: Exit, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { exit, code: code.into(), message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for CliError {}

/// What standard error is told, what `--json` tells, and the exit code.
pub(crate) fn explain(error: &anyhow::Error) -> (String, Value, Exit) {
    if let Some(problems) = error.downcast_ref::<ConfigError>() {
        let lines: Vec<_> = problems.problems.iter().map(ToString::to_string).collect();
        let error = json!({"code": "configuration", "message": lines.join("\n")});
        return (problems.to_string(), error, Exit::Configuration);
    }
    if let Some(error) = error.downcast_ref::<CliError>() {
        let CliError { exit, code, message, hint } = error;
        let value = json!({"code": code, "message": message, "hint": hint});
        return (format!("majordomo: {error}"), value, *exit);
    }
    let message = format!("{error:#}");
    let value = json!({"code": "failed", "message": message});
    (format!("majordomo: {message}"), value, Exit::Failed)
}
