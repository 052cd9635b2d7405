//! Why a file of keys cannot be used or written.

use std::path::PathBuf;

use super::disk::LOCK_WAIT;

/// Why a file of keys cannot be used or written. No text of it holds any part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no such file.
    #[error("{}: there is no such file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The system does not let us read it.
    #[error("{}: cannot be read: {reason}; check the path and its rights", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Others hold its lock, and have not let go of it.
    #[error(
        "{path}: another program has held its lock for {wait:?}; try again when it is done, \
         `fuser -v {path}` shows it",
        path = path.display(),
        wait = LOCK_WAIT
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A folder, a pipe or a device.
    #[error("{}: is no regular file; name the file itself", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// It is larger than such a file ever is.
    #[error("{}: has more than {max} octets; it is no file of this kind", path.display())]
    TooBig {
        /// The file.
        path: PathBuf,
        /// Octets that it may have.
        max: usize,
    },
    /// Others can read a secret.
    #[error(
        "{path}: others can read this secret, its mode is {mode:04o}; run: chmod 600 {path}",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Others can write what says who may come in.
    #[error(
        "{path}: everybody can change this file, its mode is {mode:04o}; run: chmod o-w {path}",
        path = path.display()
    )]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A secret that belongs to another user of the system.
    #[error(
        "{path}: this secret belongs to user {owner} and we are user {us}; run: chown {us} {path}",
        path = path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// The number of its owner.
        owner: u32,
        /// The number of the user of this process.
        us: u32,
    },
    /// A line that is none of a certificate.
    #[error("{}:{line}: {reason}; a certificate looks as `majordomo key new` writes it", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A certificate without a public key.
    #[error("{}: has no `public-key` under `curve`; it is no certificate", path.display())]
    NoPublicKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate without a secret key, where one is needed.
    #[error("{}: has no `secret-key`; name the secret file of the pair, not the public one", path.display())]
    NoSecretKey {
        /// The file.
        path: PathBuf,
    },
    /// The two keys of a certificate are no pair.
    #[error("{}: its `public-key` does not belong to its `secret-key`; make a new pair", path.display())]
    NoPair {
        /// The file.
        path: PathBuf,
    },
    /// The key before a rotation, without the time of it.
    #[error("{}: does not say when it was `rotated`; remove it, or rotate again", path.display())]
    NoRotation {
        /// The file.
        path: PathBuf,
    },
    /// A file that is not replaced.
    #[error("{}: is there already, and no key is overwritten; choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system does not let us write it.
    #[error("{}: cannot be written: {reason}; check the folder and its rights", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A name that cannot be that of a file everywhere.
    #[error(
        "`{name}` is no name for a key; use up to 64 letters, digits, `-`, `_` and `.`, with a \
         letter or a digit first"
    )]
    BadName {
        /// What was given, escaped.
        name: String,
    },
    /// No randomness for a new key.
    #[error("the system gives no randomness for a key: {reason}")]
    NoRandomness {
        /// What the system says.
        reason: String,
    },
}
