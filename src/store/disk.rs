//! Records in a database of redb.
//!
//! One table of octets by octets. redb keeps a checksum of each page, but looks at it only when a
//! file is opened or repaired; so each record has one of its own, over the key as well, that is
//! looked at whenever it is read. The file is checked whole at each opening.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use redb::{
    Database, Durability, Error as Redb, ReadTransaction, ReadableDatabase, StorageBackend,
    TableDefinition, TableError,
};

use crate::proto::durable::{Found, Key, Write};

use super::backend::{Fault, Faults, Watched};

/// The format of the file that this program reads and writes.
pub(super) const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("majordomo");
const FORMAT_KEY: &str = "format";
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// The name of the table of records in the file.
pub(super) const RECORDS_NAME: &[u8] = b"records";

/// Octets of the checksum behind each value.
const SUM: usize = 8;

/// Why a disk has not done something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DiskError {
    /// There is no room; nothing of it was done, or it will not be found.
    Full(String),
    /// Nobody knows what was done, and nothing more can be.
    Fatal(String),
    /// What is there is not what was written.
    Damaged(String),
    /// It has another format.
    Format(u64),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(what) | Self::Fatal(what) | Self::Damaged(what) => f.write_str(what),
            Self::Format(found) => write!(f, "format {found}, not {FORMAT}"),
        }
    }
}

/// What is done with each record.
pub(super) type Each<'a> = dyn FnMut(&[u8], Bytes) -> Result<(), DiskError> + 'a;

/// What the store needs of a database.
pub(super) trait Disk: Send {
    /// Does all of it or nothing; when it returns, it has been done for good.
    ///
    /// # Errors
    /// [`DiskError`]; after one that is not `Fatal` it may be tried again.
    fn commit(&mut self, writes: &mut dyn Iterator<Item = &Write>) -> Result<(), DiskError>;

    /// Reads what is kept.
    ///
    /// # Errors
    /// [`DiskError`]; it may be `Full`, as more may have to be written before.
    fn load(&mut self, key: &Key) -> Result<Option<Bytes>, DiskError>;

    /// Some of what is kept under keys with that beginning, from a key on. Records of which the
    /// checksum is wrong are left out, and told to `bad`.
    ///
    /// # Errors
    /// As [`Self::load`].
    fn range(
        &mut self,
        range: &Range<'_>,
        bad: &mut dyn FnMut(DiskError),
    ) -> Result<Found, DiskError>;

    /// All records of a space, in the order of their keys; of all spaces if there is none.
    ///
    /// # Errors
    /// [`DiskError`], or what `each` says.
    fn scan(&mut self, space: Option<u8>, each: &mut Each<'_>) -> Result<(), DiskError>;

    /// What is kept now, whatever is committed later; to be read on another thread.
    ///
    /// # Errors
    /// [`DiskError`].
    fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, DiskError>;

    /// Leaves the file so that it is opened fast, and lets go of it.
    ///
    /// # Errors
    /// [`DiskError`]; what was committed is there.
    fn close(&mut self) -> Result<(), DiskError>;

    /// Octets of the file.
    fn len(&self) -> u64;
}

/// All that was kept at one moment.
pub(super) trait Snapshot: Send {
    /// All records, in the order of their keys.
    ///
    /// # Errors
    /// [`DiskError`], or what `each` says.
    fn scan(&self, each: &mut Each<'_>) -> Result<(), DiskError>;
}

/// What one commit of a database has left.
struct RedbSnapshot {
    read: ReadTransaction,
    /// How often the database was opened when that was taken, and how often by now: whoever opens
    /// it anew knows nothing of who reads it.
    taken: u64,
    opened: Arc<AtomicU64>,
}

impl Snapshot for RedbSnapshot {
    fn scan(&self, each: &mut Each<'_>) -> Result<(), DiskError> {
        let damaged = |error: Redb| DiskError::Damaged(error.to_string());
        let table = self.read.open_table(RECORDS).map_err(|error| damaged(error.into()))?;
        let range = table.range::<&[u8]>(..).map_err(|error| damaged(error.into()))?;
        for record in range {
            let record = record.map_err(|error| damaged(error.into()));
            if self.opened.load(Ordering::Acquire) != self.taken {
                let what = "the store was opened anew while it was copied, as the disk was full";
                return Err(DiskError::Full(what.into()));
            }
            let (key, value) = record?;
            let key = key.value();
            each(key, checked(key, value.value())?)?;
        }
        Ok(())
    }
}

/// Which records are to be read.
#[derive(Debug)]
pub(super) struct Range<'a> {
    pub(super) prefix: &'a Key,
    pub(super) from: &'a Key,
    pub(super) count: usize,
    /// Octets of their values, at most; one is read in any case.
    pub(super) bytes: usize,
}

/// A database of redb over any backend.
pub(super) struct RedbDisk<M> {
    make: M,
    cache: usize,
    database: Option<Database>,
    faults: Faults,
    len: Arc<AtomicU64>,
    /// How often the database was opened.
    opened: Arc<AtomicU64>,
}

impl<M> fmt::Debug for RedbDisk<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbDisk").field("open", &self.database.is_some()).finish_non_exhaustive()
    }
}

/// The checksum of a record.
fn sum(key: &[u8], value: &[u8]) -> [u8; SUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_be_bytes()).update(key).update(value);
    let digest = hasher.finalize();
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The value of a record whose checksum holds.
pub(super) fn checked(key: &[u8], octets: &[u8]) -> Result<Bytes, DiskError> {
    let split = octets.len().checked_sub(SUM).and_then(|at| octets.split_at_checked(at));
    match split {
        Some((value, told)) if sum(key, value) == *told => Ok(Bytes::copy_from_slice(value)),
        _ => Err(DiskError::Damaged(format!("the checksum of record {} is wrong", hex(key)))),
    }
}

pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

impl<M, B> RedbDisk<M>
where
    M: Fn() -> io::Result<B> + Send,
    B: StorageBackend,
{
    /// Opens what `make` gives, or makes a database of it if it is empty.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(super) fn open(make: M, cache: usize) -> Result<Self, DiskError> {
        let (faults, len) = (Faults::default(), Arc::default());
        let opened = Arc::default();
        let mut disk = Self { make, cache, database: None, faults, len, opened };
        disk.reopen()?;
        Ok(disk)
    }

    fn reopen(&mut self) -> Result<(), DiskError> {
        self.database = None;
        self.opened.fetch_add(1, Ordering::AcqRel);
        let backend = (self.make)().map_err(|error| DiskError::Fatal(error.to_string()))?;
        let backend = Watched::new(backend, self.faults.clone(), self.len.clone());
        let opened = Database::builder()
            .set_cache_size(self.cache)
            .set_check_integrity_on_open(true)
            .create_with_backend(backend);
        let database = opened.map_err(|error| self.why(error))?;
        self.check_format(&database)?;
        self.database = Some(database);
        Ok(())
    }

    /// Writes the format into a new file, and compares it in one that is not.
    fn check_format(&self, database: &Database) -> Result<(), DiskError> {
        let read = database.begin_read().map_err(|error| self.why(error))?;
        match read.open_table(META) {
            Ok(meta) => {
                let found = meta.get(FORMAT_KEY).map_err(|error| self.why(error))?;
                match found.map(|found| found.value()) {
                    Some(FORMAT) => Ok(()),
                    Some(found) => Err(DiskError::Format(found)),
                    None => Err(DiskError::Damaged("it has no format".into())),
                }
            }
            Err(TableError::TableDoesNotExist(_)) => self.write_format(database),
            Err(error) => Err(self.why(error)),
        }
    }

    fn write_format(&self, database: &Database) -> Result<(), DiskError> {
        let write = database.begin_write().map_err(|error| self.why(error))?;
        {
            let mut meta = write.open_table(META).map_err(|error| self.why(error))?;
            meta.insert(FORMAT_KEY, FORMAT).map_err(|error| self.why(error))?;
            write.open_table(RECORDS).map_err(|error| self.why(error))?;
        }
        write.commit().map_err(|error| self.why(error))
    }

    fn fault(&self) -> Option<DiskError> {
        self.faults.take().map(|fault| match fault {
            Fault::Full(what) => DiskError::Full(what),
            Fault::Fatal(what) => DiskError::Fatal(what),
        })
    }

    /// What an error of redb means.
    fn why(&self, error: impl Into<Redb>) -> DiskError {
        if let Some(fault) = self.fault() {
            return fault;
        }
        match error.into() {
            Redb::Corrupted(what) => DiskError::Damaged(what),
            Redb::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
                DiskError::Fatal(error.to_string())
            }
            error @ Redb::PreviousIo => DiskError::Fatal(error.to_string()),
            error => DiskError::Damaged(error.to_string()),
        }
    }

    /// The database, opened again if it was let go of.
    fn database(&mut self) -> Result<&Database, DiskError> {
        if let Some(fatal @ DiskError::Fatal(_)) = self.fault() {
            return Err(fatal);
        }
        if self.database.is_none() {
            self.reopen()?;
        }
        self.database.as_ref().ok_or_else(|| DiskError::Fatal("it is closed".into()))
    }

    fn write_all(
        &mut self,
        writes: &mut dyn Iterator<Item = &Write>,
        quick: bool,
    ) -> Result<(), DiskError> {
        self.database()?;
        let Some(database) = &self.database else { return Ok(()) };
        let mut write = database.begin_write().map_err(|error| self.why(error))?;
        let durable = write.set_durability(Durability::Immediate);
        durable.map_err(|error| DiskError::Fatal(error.to_string()))?;
        write.set_quick_repair(quick);
        {
            let mut table = write.open_table(RECORDS).map_err(|error| self.why(error))?;
            let mut value = Vec::new();
            for write in writes {
                let done = match write {
                    Write::Put(key, octets) => {
                        value.clear();
                        value.extend_from_slice(octets);
                        value.extend_from_slice(&sum(key.octets(), octets));
                        table.insert(key.octets(), &value[..]).map(drop)
                    }
                    Write::Remove(key) => table.remove(key.octets()).map(drop),
                };
                done.map_err(|error| self.why(error))?;
            }
        }
        super::fail::point("store.before_commit");
        write.commit().map_err(|error| self.why(error))?;
        super::fail::point("store.after_commit");
        Ok(())
    }
}

impl<M, B> Disk for RedbDisk<M>
where
    M: Fn() -> io::Result<B> + Send,
    B: StorageBackend,
{
    fn commit(&mut self, writes: &mut dyn Iterator<Item = &Write>) -> Result<(), DiskError> {
        let done = self.write_all(writes, false);
        if done.is_err() {
            // redb answers nothing more after an error; what is on the disk is looked at anew.
            self.database = None;
        }
        done
    }

    fn load(&mut self, key: &Key) -> Result<Option<Bytes>, DiskError> {
        self.database()?;
        let Some(database) = &self.database else { return Ok(None) };
        let read = database.begin_read().map_err(|error| self.why(error))?;
        let table = read.open_table(RECORDS).map_err(|error| self.why(error))?;
        let found = table.get(key.octets()).map_err(|error| self.why(error))?;
        found.map(|found| checked(key.octets(), found.value())).transpose()
    }

    fn range(
        &mut self,
        range: &Range<'_>,
        bad: &mut dyn FnMut(DiskError),
    ) -> Result<Found, DiskError> {
        let mut found = Found::default();
        self.database()?;
        let Some(database) = &self.database else { return Ok(found) };
        let read = database.begin_read().map_err(|error| self.why(error))?;
        let table = read.open_table(RECORDS).map_err(|error| self.why(error))?;
        let mut bytes = 0;
        for record in table.range(range.from.octets()..).map_err(|error| self.why(error))? {
            let (key, value) = record.map_err(|error| self.why(error))?;
            let key = key.value();
            if !key.starts_with(range.prefix.octets()) {
                break;
            }
            if found.records.len() >= range.count || bytes >= range.bytes {
                found.more = true;
                break;
            }
            match checked(key, value.value()) {
                Ok(value) => {
                    bytes += value.len();
                    found.records.push((Bytes::copy_from_slice(key), value));
                }
                Err(error) => bad(error),
            }
        }
        Ok(found)
    }

    fn scan(&mut self, space: Option<u8>, each: &mut Each<'_>) -> Result<(), DiskError> {
        self.database()?;
        let Some(database) = &self.database else { return Ok(()) };
        let read = database.begin_read().map_err(|error| self.why(error))?;
        let table = read.open_table(RECORDS).map_err(|error| self.why(error))?;
        let from = [space.unwrap_or(0)];
        let range = table.range(&from[..]..).map_err(|error| self.why(error))?;
        for record in range {
            let (key, value) = record.map_err(|error| self.why(error))?;
            let key = key.value();
            if space.is_some_and(|space| key.first() != Some(&space)) {
                break;
            }
            each(key, checked(key, value.value())?)?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, DiskError> {
        let read = self.database()?.begin_read();
        let read = read.map_err(|error| self.why(error))?;
        let (taken, opened) = (self.opened.load(Ordering::Acquire), self.opened.clone());
        Ok(Box::new(RedbSnapshot { read, taken, opened }))
    }

    fn close(&mut self) -> Result<(), DiskError> {
        if self.database.is_none() {
            return Ok(());
        }
        let done = self.write_all(&mut std::iter::empty(), true);
        self.database = None;
        done
    }

    fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }
}

impl<M> RedbDisk<M> {
    /// Gives back what the file does not need. Returns whether it got smaller.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(super) fn compact(&mut self) -> Result<bool, DiskError> {
        let Some(database) = &mut self.database else { return Ok(false) };
        database.compact().map_err(|error| match self.faults.take() {
            Some(Fault::Full(what)) => DiskError::Full(what),
            _ => DiskError::Fatal(error.to_string()),
        })
    }
}
