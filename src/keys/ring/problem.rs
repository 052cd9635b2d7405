//! What is wrong with a file of authorized keys, and where.

use std::fmt;
use std::path::PathBuf;

use crate::keys::error::KeyError;

/// Problems that are told at most.
pub(super) const TOLD_MAX: usize = 100;

/// One thing that is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingProblem {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1 on.
    pub line: u32,
    /// The column in characters, from 1 on.
    pub column: u32,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for RingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, what } = self;
        write!(f, "{}:{line}:{column}: {what}", path.display())
    }
}

impl std::error::Error for RingProblem {}

/// Why a file of authorized keys cannot be used. Nothing of it holds then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The file, or one that it names, cannot be read.
    #[error(transparent)]
    File(#[from] KeyError),
    /// What it says is wrong: never empty, in the order of the lines.
    #[error("{}", lines(.0, *.1))]
    Content(Vec<RingProblem>, /** So many more are not told. */ usize),
}

fn lines(problems: &[RingProblem], more: usize) -> String {
    let mut lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}
