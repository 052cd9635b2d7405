//! The directory of a store and the file in it: made, checked, and locked.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::Shared;
use super::disk::{DiskError, RedbDisk};
use super::error::StoreError;

/// The name of the file in the directory of a store.
pub const FILE: &str = "majordomo.redb";

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A directory of a store and its file, which is locked: no other process has it.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
    path: PathBuf,
    file: Arc<File>,
}

impl Place {
    /// Makes what is not there, checks what is, and locks it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { path: dir.into(), source };
        match DirBuilder::new().mode(DIR_MODE).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(open(error)),
        }
        check(dir, &fs::metadata(dir).map_err(open)?, DIR_MODE)?;
        if !dir.join(FILE).exists() {
            synchronise_parent(dir).map_err(open)?;
        }
        let place = Self::lock(dir, OpenOptions::new().create(true))?;
        // Whoever made the file may have been killed before this.
        synchronise(dir).map_err(open)?;
        Ok(place)
    }

    /// As [`Self::take`], but nothing is made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(dir: &Path) -> Result<Self, StoreError> {
        let metadata = fs::metadata(dir);
        let metadata = metadata.map_err(|source| StoreError::Open { path: dir.into(), source })?;
        check(dir, &metadata, DIR_MODE)?;
        Self::lock(dir, &mut OpenOptions::new())
    }

    fn lock(dir: &Path, options: &mut OpenOptions) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let open = |source| StoreError::Open { path: path.clone(), source };
        let file = options.read(true).write(true).mode(FILE_MODE).open(&path).map_err(open)?;
        check(&path, &file.metadata().map_err(open)?, FILE_MODE)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { dir: dir.into(), path, file: Arc::new(file) }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(open(source)),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Opens the database in the file.
    pub(super) fn open(
        &self,
        cache: usize,
    ) -> Result<RedbDisk<impl Fn() -> io::Result<Shared> + Send + use<>>, StoreError> {
        let file = self.file.clone();
        let disk = RedbDisk::open(move || Ok(Shared(file.clone())), cache);
        disk.map_err(|error| self.why(error))
    }

    /// Says where it happened, and what to do.
    pub(super) fn why(&self, error: DiskError) -> StoreError {
        let (path, dir) = (self.path.clone(), self.dir.clone());
        match error {
            DiskError::Full(what) => StoreError::Full { path, what },
            DiskError::Fatal(what) => StoreError::Failed { path, what },
            DiskError::Damaged(what) => StoreError::Damaged { path, dir, what },
            DiskError::Format(found) => {
                StoreError::Format { path, found, known: super::disk::FORMAT }
            }
        }
    }

    /// Free octets of the file system.
    pub(super) fn free(&self) -> Option<u64> {
        let system = rustix::fs::fstatvfs(&self.file).ok()?;
        Some(system.f_bavail.saturating_mul(system.f_frsize))
    }
}

/// Has the names in a directory survive the loss of power.
fn synchronise(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// As [`synchronise`], for the name of the directory itself. Whoever may not read the one that it is
/// in cannot do that, and has not made it as a rule.
fn synchronise_parent(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    match synchronise(parent.unwrap_or_else(|| Path::new("."))) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Whether only we can read and write it.
fn check(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), StoreError> {
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(StoreError::Owner { path: path.into(), owner, user });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Mode { path: path.into(), mode, wanted });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_slash_is_in_the_present_one() {
        for dir in ["store", "./store", "store/", "/store", "/", "."] {
            synchronise_parent(Path::new(dir)).unwrap();
        }
        assert!(synchronise_parent(Path::new("/there-is-no-such/store")).is_err());
    }
}
