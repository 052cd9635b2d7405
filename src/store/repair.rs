//! What can be saved of a store that is damaged, in a new one. The damaged one is not changed.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use crate::proto::depot::{APART, Depot, DepotLimits, LETTERS, MARKS, OUTCOMES, REQUESTS};
use crate::proto::durable::{Key, Write};
use crate::proto::titanic::{HEADS, Titanic, TitanicLimits, companion};

use super::check::{Census, GROUP, check, new_place};
use super::disk::{Disk, DiskError, RECORDS_NAME, checked, hex};
use super::error::StoreError;
use super::files::Place;
use super::salvage::{Gap, walk};

/// Memory for pages of the new file, octets.
const CACHE: usize = 32 << 20;

/// A record that was found and is not in the new store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Its key, in hexadecimal digits; the first octet says of which kind it is (SPEC 15.4).
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

/// What was saved, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// What is in the new store.
    pub saved: Census,
    /// Records that the damaged one said to have.
    pub told: u64,
    /// Records that were found and cannot be used.
    pub lost: Vec<Lost>,
    /// Pages that cannot be read: what was in them is not known.
    pub gaps: Vec<Gap>,
}

impl Repair {
    /// Whether all that there was is in the new store.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.gaps.is_empty() && self.told == self.saved.total()
    }
}

/// Records on their way into the new store.
struct Sieve<'a> {
    disk: &'a mut dyn Disk,
    titanic: Titanic,
    depot: Depot,
    /// Heads of Titanic wait for their bodies and answers.
    heads: BTreeMap<Key, (Key, Bytes)>,
    writes: Vec<Write>,
    held: usize,
    lost: Vec<Lost>,
    failed: Option<DiskError>,
}

impl Sieve<'_> {
    /// Takes a record if its checksum holds and a broker can read it.
    fn take(&mut self, key: &[u8], octets: &[u8]) {
        let lose = |why: String| Lost { key: hex(key), why };
        let value = match checked(key, octets) {
            Ok(value) => value,
            Err(error) => return self.lost.push(lose(error.to_string())),
        };
        let read = match key.first() {
            Some(&HEADS) => self.titanic.recover(key, &value),
            Some(&(REQUESTS | APART | OUTCOMES | MARKS | LETTERS)) => {
                self.depot.recover(key, &value)
            }
            _ => Ok(()),
        };
        if let Err(error) = read {
            return self.lost.push(lose(error.to_string()));
        }
        let (space, name) = key.split_first().unwrap_or((&0, &[]));
        let key = Key::new(*space, name);
        match companion(key.octets(), &value) {
            Some(other) => drop(self.heads.insert(other, (key, value))),
            None => self.write(key, value),
        }
    }

    fn write(&mut self, key: Key, value: Bytes) {
        self.held += value.len();
        self.writes.push(Write::Put(key, value));
        if self.held >= GROUP {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.held = 0;
        let writes = std::mem::take(&mut self.writes);
        if self.failed.is_none() {
            self.failed = self.disk.commit(&mut writes.iter()).err();
        }
    }

    /// Heads without what they are the heads of are of no use.
    fn settle_heads(&mut self) -> Result<(), DiskError> {
        self.flush();
        for (other, (key, value)) in std::mem::take(&mut self.heads) {
            if self.failed.is_none() && self.disk.load(&other)?.is_some() {
                self.write(key, value);
            } else {
                let why = format!("what belongs to it is lost ({})", hex(other.octets()));
                self.lost.push(Lost { key: hex(key.octets()), why });
            }
        }
        self.flush();
        self.failed.take().map_or(Ok(()), Err)
    }
}

/// Puts into a new store every record of a damaged one that can be reached and whose checksum holds.
///
/// # Errors
/// [`StoreError`], if nothing can be read, or the new one cannot be written.
pub fn repair(dir: &Path, to: &Path) -> Result<Repair, StoreError> {
    let place = Place::find(dir)?;
    let target = new_place(to)?;
    let mut copy = target.open(CACHE)?;
    let mut sieve = Sieve {
        disk: &mut copy,
        titanic: Titanic::new(TitanicLimits::default(), [0; 32], 0),
        depot: Depot::new(DepotLimits::default(), 0, 0),
        heads: BTreeMap::new(),
        writes: Vec::new(),
        held: 0,
        lost: Vec::new(),
        failed: None,
    };
    let found = walk(place.file(), RECORDS_NAME, &mut |key, value| sieve.take(key, value));
    let found = found.map_err(|what| place.why(DiskError::Damaged(what.into())))?;
    let settled = sieve.settle_heads();
    let lost = sieve.lost;
    settled.and_then(|()| copy.close()).map_err(|error| target.why(error))?;
    drop((copy, target, place));
    Ok(Repair { saved: check(to)?, told: found.told, lost, gaps: found.gaps })
}
