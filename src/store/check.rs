//! What an operator does with a store that no broker has open: look at it, copy it, make it small.

use std::io;
use std::path::Path;

use crate::proto::depot::{APART, Depot, DepotLimits, LETTERS, MARKS, OUTCOMES, REQUESTS};
use crate::proto::durable::{Key, Write};
use crate::proto::titanic::{ANSWERS, BODIES, HEADS, RecordError, Titanic, TitanicLimits};

use super::disk::{Disk, DiskError, Each};
use super::error::StoreError;
use super::files::{FILE, Place};

/// Memory for pages of the file, octets.
const CACHE: usize = 32 << 20;
/// Records that a copy is committed with at a time, octets.
pub(super) const GROUP: usize = 4 << 20;

/// What is in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Requests of Titanic.
    pub requests: u64,
    /// Bodies of those that are not answered.
    pub bodies: u64,
    /// Answers.
    pub answers: u64,
    /// Requests of level disk without an outcome.
    pub waiting: u64,
    /// Outcomes of such.
    pub outcomes: u64,
    /// Dead letters.
    pub letters: u64,
    /// Records of other kinds.
    pub others: u64,
    /// Octets of all values.
    pub bytes: u64,
    /// Octets of the file.
    pub file: u64,
}

impl Census {
    /// All records.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { requests, bodies, answers, waiting, outcomes, letters, others, .. } = self;
        requests + bodies + answers + waiting + outcomes + letters + others
    }
}

/// What to say of a record that is none of ours.
fn unreadable(key: &[u8]) -> impl FnOnce(RecordError) -> DiskError {
    let key = super::disk::hex(key);
    move |error| DiskError::Damaged(format!("the record {key} cannot be read: {error}"))
}

/// Reads all of a store and says what is in it.
///
/// # Errors
/// [`StoreError`], the first thing that is wrong.
pub fn check(dir: &Path) -> Result<Census, StoreError> {
    let place = Place::find(dir)?;
    let mut disk = place.open(CACHE)?;
    let mut census = Census::default();
    let mut table = Titanic::new(TitanicLimits::default(), [0; 32], 0);
    let mut depot = Depot::new(DepotLimits::default(), 0, 0);
    let scanned = disk.scan(None, &mut |key, value| {
        match key.first() {
            Some(&HEADS) => {
                census.requests += 1;
                table.recover(key, &value).map_err(unreadable(key))?;
            }
            Some(&REQUESTS | &APART | &OUTCOMES | &MARKS | &LETTERS) => {
                let counted = match key.first() {
                    Some(&REQUESTS | &APART) => &mut census.waiting,
                    Some(&OUTCOMES) => &mut census.outcomes,
                    Some(&LETTERS) => &mut census.letters,
                    _ => &mut census.others,
                };
                *counted += 1;
                depot.recover(key, &value).map_err(unreadable(key))?;
            }
            Some(&BODIES) => census.bodies += 1,
            Some(&ANSWERS) => census.answers += 1,
            _ => census.others += 1,
        }
        census.bytes += value.len() as u64;
        Ok(())
    });
    census.file = disk.len();
    let closed = scanned.and_then(|()| disk.close());
    closed.map_err(|error| place.why(error))?;
    Ok(census)
}

/// A directory for a new store: there is none in it.
pub(super) fn new_place(to: &Path) -> Result<Place, StoreError> {
    let taken = || io::Error::new(io::ErrorKind::AlreadyExists, "a store is there already");
    if to.join(FILE).exists() {
        return Err(StoreError::Open { path: to.join(FILE), source: taken() });
    }
    Place::take(to)
}

/// Why a copy was not made.
pub(super) enum CopyError {
    /// What is copied cannot be read.
    Source(DiskError),
    /// Anything else.
    Target(StoreError),
}

impl CopyError {
    /// With what is wrong with what is copied.
    pub(super) fn of(self, source: impl FnOnce(DiskError) -> StoreError) -> StoreError {
        match self {
            Self::Source(error) => source(error),
            Self::Target(error) => error,
        }
    }
}

/// Puts the records that `scan` gives into a new directory, and reads the copy again.
pub(super) fn copy(
    to: &Path,
    scan: impl FnOnce(&mut Each<'_>) -> Result<(), DiskError>,
) -> Result<Census, CopyError> {
    let target = new_place(to).map_err(CopyError::Target)?;
    let mut disk = target.open(CACHE).map_err(CopyError::Target)?;
    let (mut writes, mut held, mut bad) = (Vec::new(), 0, None);
    let scanned = scan(&mut |key, value| {
        let (space, name) = key.split_first().unwrap_or((&0, &[]));
        held += value.len();
        writes.push(Write::Put(Key::new(*space, name), value));
        if held >= GROUP {
            held = 0;
            let copied = disk.commit(&mut std::mem::take(&mut writes).iter());
            super::fail::point("backup.mid");
            if let Err(error) = copied {
                bad = Some(error.clone());
                return Err(error);
            }
        }
        Ok(())
    });
    if let Some(error) = bad {
        return Err(CopyError::Target(target.why(error)));
    }
    scanned.map_err(CopyError::Source)?;
    let done = disk.commit(&mut writes.iter()).and_then(|()| disk.close());
    done.map_err(|error| CopyError::Target(target.why(error)))?;
    drop((disk, target));
    check(to).map_err(CopyError::Target)
}

/// Copies a store into a new directory, record by record, each checked.
///
/// # Errors
/// [`StoreError`]; what is there of the copy is of no use then.
pub fn backup(dir: &Path, to: &Path) -> Result<Census, StoreError> {
    let place = Place::find(dir)?;
    let mut disk = place.open(CACHE)?;
    let copied = copy(to, |each| disk.scan(None, each));
    let census = copied.map_err(|error| error.of(|error| place.why(error)))?;
    disk.close().map_err(|error| place.why(error))?;
    Ok(census)
}

/// Gives space back that the file does not need; returns its size before and after, octets.
///
/// # Errors
/// [`StoreError`].
pub fn compact(dir: &Path) -> Result<(u64, u64), StoreError> {
    let place = Place::find(dir)?;
    let mut disk = place.open(CACHE)?;
    let before = disk.len();
    let done = disk.compact().and_then(|_| disk.close());
    done.map_err(|error| place.why(error))?;
    Ok((before, disk.len()))
}
