//! The file below the database, watched: how it fails decides what the store does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;

/// How something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no room. Nothing was said to be stored.
    Full(String),
    /// Anything else, and whatever a synchronisation says: nobody knows what is on the disk then,
    /// and one that succeeds later says nothing about what was written before.
    Fatal(String),
}

/// What has gone wrong, the first fatal fault before all others.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Option<Fault>>>);

impl Faults {
    fn note(&self, what: &str, error: &io::Error) {
        let is_full =
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let said = format!("{what}: {error}");
        let fault = if is_full && what != SYNC { Fault::Full(said) } else { Fault::Fatal(said) };
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*first, Some(Fault::Fatal(_))) {
            *first = Some(fault);
        }
    }

    /// What has gone wrong since the last call. A fatal fault stays.
    pub(super) fn take(&self) -> Option<Fault> {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*first {
            Some(Fault::Fatal(_)) => first.clone(),
            _ => first.take(),
        }
    }
}

const SYNC: &str = "synchronising";

/// A backend whose faults are noted.
#[derive(Debug)]
pub(super) struct Watched<B> {
    inner: B,
    faults: Faults,
    /// Octets that it has.
    len: Arc<AtomicU64>,
}

impl<B: StorageBackend> Watched<B> {
    pub(super) fn new(inner: B, faults: Faults, len: Arc<AtomicU64>) -> Self {
        Self { inner, faults, len }
    }

    fn noted<T>(&self, what: &str, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| self.faults.note(what, error))
    }
}

impl<B: StorageBackend> StorageBackend for Watched<B> {
    fn len(&self) -> io::Result<u64> {
        let len = self.noted("asking for the length", self.inner.len())?;
        self.len.store(len, Ordering::Relaxed);
        Ok(len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.noted(
            &format!("reading {} octets at {offset}", out.len()),
            self.inner.read(offset, out),
        )
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.noted("setting the length", self.inner.set_len(len))?;
        self.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.noted(SYNC, self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.noted(
            &format!("writing {} octets at {offset}", data.len()),
            self.inner.write(offset, data),
        )
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

/// A file that is locked for as long as the store is open, however often the database is.
#[derive(Debug, Clone)]
pub(super) struct Shared(pub(super) Arc<File>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        super::fail::point("store.sync");
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
