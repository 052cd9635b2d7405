//! Why a store cannot be used, or not any more.

use std::io;
use std::path::PathBuf;

use crate::proto::titanic::RecordError;

/// Why a store cannot be used. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory or the file cannot be made, opened or looked at.
    #[error("cannot open the store {}: {source}", path.display())]
    Open {
        /// What cannot be opened.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "the store {} is used by another process; stop that one, or name another directory with \
         store.path", path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Others may read or write it.
    #[error(
        "{} has mode {mode:04o}, and others could read or change what is stored; run \
         `chmod {wanted:04o} {}`", path.display(), path.display()
    )]
    Mode {
        /// The directory or the file.
        path: PathBuf,
        /// What it has.
        mode: u32,
        /// What it should have.
        wanted: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "{} belongs to the user {owner} and the broker runs as {user}; run it as {owner}, or give \
         the store to {user} with chown", path.display()
    )]
    Owner {
        /// The directory or the file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// It was written in another format.
    #[error(
        "the store {} has format {found} and this program knows format {known}; use the version \
         of majordomo that has written it", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: u64,
        /// What is known.
        known: u64,
    },
    /// What is in it is not what was written.
    #[error(
        "the store {} is damaged: {what}; nothing was changed. Look at it with `majordomo store \
         check {}`, and put a backup in its place, or save what can be read with `majordomo store \
         repair {} NEW`", path.display(), dir.display(), dir.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its directory.
        dir: PathBuf,
        /// What was found.
        what: String,
    },
    /// A record in it is none of ours.
    #[error(
        "the store {} has a record that cannot be read ({key}): {source}; look at it with \
         `majordomo store check {}`, or save the others with `majordomo store repair {} NEW`",
        path.display(), dir.display(), dir.display()
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// Its directory.
        dir: PathBuf,
        /// The key of the record.
        key: String,
        /// What is wrong with it.
        source: RecordError,
    },
    /// There is no room to write.
    #[error("there is no room for the store {}: {what}; free some space", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system says.
        what: String,
    },
    /// Reading or writing failed, and nobody knows what is on the disk.
    #[error(
        "the store {} failed: {what}; nothing is stored any more. Look after the disk, then start \
         again: what was acknowledged is found then", path.display()
    )]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the system says.
        what: String,
    },
    /// A thread cannot be started.
    #[error("cannot start the thread of the store: {0}")]
    Thread(#[source] io::Error),
}
