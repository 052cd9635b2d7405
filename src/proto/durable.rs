//! What the core wants kept on a disk, and how it is told what became of it.
//!
//! The core gives [`Order`]s, in the order of its decisions. A batch of writes has a number, is
//! stored whole or not at all, and after all batches with smaller numbers. The core acts on it only
//! when it is told that all up to that number are stored; what it has asked to be read comes by the
//! ticket.

use bytes::Bytes;
use smallvec::SmallVec;

/// A name under which something is kept. Its first octet says what it is: the *space*. Keys are in
/// the order of their octets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(SmallVec<[u8; 32]>);

impl Key {
    /// The key of `name` in a space.
    #[must_use]
    pub fn new(space: u8, name: &[u8]) -> Self {
        let mut octets = SmallVec::with_capacity(1 + name.len());
        octets.push(space);
        octets.extend_from_slice(name);
        Self(octets)
    }

    /// The octets, that of the space first.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// Something that is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// From now on this is kept under that key.
    Put(Key, Bytes),
    /// Nothing is kept under that key any more; it may be that nothing was.
    Remove(Key),
}

impl Write {
    /// Of what it changes.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Remove(key) => key,
        }
    }

    /// Octets that it makes the disk write, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put(key, value) => key.octets().len() + value.len(),
            Self::Remove(key) => key.octets().len(),
        }
    }
}

/// Writes that are stored together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Batches are numbered from 1 on, without a gap.
    pub number: u64,
    /// What it is for, as logs and named points call it.
    pub what: &'static str,
    /// What is to be changed.
    pub writes: Vec<Write>,
}

/// What the core wants of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Store this.
    Store(Batch),
    /// Read what is kept under a key, as it was stored last.
    Load {
        /// Comes back with what was read.
        ticket: u64,
        /// Where to look.
        key: Key,
    },
    /// Read some of what is kept under keys with the same beginning, in the order of the keys.
    Range {
        /// Comes back with what was read.
        ticket: u64,
        /// The beginning.
        prefix: Key,
        /// The first key to look at.
        from: Key,
        /// Records at most.
        count: usize,
        /// Octets of their values, at most; one is read in any case.
        bytes: usize,
    },
}

/// Some of what is kept under keys with the same beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Keys and values, in the order of the keys.
    pub records: Vec<(Bytes, Bytes)>,
    /// There may be more behind them.
    pub more: bool,
}

/// What a disk has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// All batches up to this number are stored, and stay so whatever happens to the machine.
    Stored(u64),
    /// What was asked for; `None` if nothing is kept there, or it cannot be read.
    Loaded(u64, Option<Bytes>),
    /// What was found in a range; nothing if it cannot be read.
    Ranged(u64, Found),
    /// There is no room: what is new should wait. Of the batches so far, those up to the second
    /// number that are not stored are dropped, if there is one.
    Full(Option<u64>),
    /// There is room again.
    Room,
    /// Nothing is stored any more, and what was not told to be stored may be or not.
    Failed,
}
