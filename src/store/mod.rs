//! The store: what the core wants kept survives the end of the process and of the machine's power.
//!
//! One directory, one file in it, of the embedded database redb. One thread writes and reads: the
//! core's batches are committed in groups, and what is told to be stored has been synchronised.
//! What the rest of the broker knows of it is [`Store`]; what that knows of redb is behind a trait.

mod backend;
mod check;
mod disk;
mod error;
mod fail;
mod files;
mod group;
#[cfg(test)]
mod model;
mod repair;
mod salvage;
#[cfg(test)]
mod tests;
mod thread;

pub use check::{Census, backup, check, compact};
pub use error::StoreError;
pub use files::{FILE, Place};
pub use repair::{Lost, Repair, repair};
pub use salvage::Gap;
pub use thread::{Figures, Opened, Store};

/// What a store is told before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// The directory.
    pub path: std::path::PathBuf,
    /// Free space of the file system below which nothing new is taken, octets.
    pub min_free: u64,
    /// Memory for pages of the file, octets.
    pub cache: usize,
}
