//! A folder that is served, and what can be asked of it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, open, statat};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::beneath;
use super::digest::{self, Details};
use super::error::{FileError, Kind, plain};
use super::url::{FileUrl, is_hidden};

/// Octets of one chunk.
pub const CHUNK_MAX: usize = 1 << 20;
/// Names in one folder, or files below it, that are looked at for one answer.
pub const NAMES_MAX: usize = 100_000;
/// Octets of all names of one answer.
pub const NAMES_BYTES_MAX: usize = 8 << 20;
/// Requests that use the disk at a time.
const PERMITS: usize = 8;

/// A folder that is served. A clone is the same folder.
///
/// Nothing outside it can be had: the system holds every path to it, also while somebody renames
/// folders and changes links. Relative links within it are followed, all others are refused.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    root: OwnedFd,
    hidden: bool,
    permits: Semaphore,
}

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a folder, and not a file.
    pub folder: bool,
    /// Octets of a file; 0 for a folder.
    pub size: u64,
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its octets; fewer than were asked for only at the end of the file.
    pub octets: Bytes,
    /// Octets that the whole file has now.
    pub size: u64,
}

impl Store {
    /// Serves that folder, as it is under that path now: if it is renamed later, it is still
    /// served.
    ///
    /// # Errors
    /// [`FileError::Unusable`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, FileError> {
        let path = folder.into();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open(&path, flags, Mode::empty()) {
            Ok(root) => {
                let permits = Semaphore::new(PERMITS);
                Ok(Self { inner: Arc::new(Inner { path, root, hidden: false, permits }) })
            }
            Err(error) => Err(FileError::Unusable { path, reason: plain(&error.into()) }),
        }
    }

    /// The same, with [hidden](is_hidden) files if `hidden`.
    ///
    /// # Errors
    /// [`FileError::Unusable`].
    pub fn with_hidden(folder: impl Into<PathBuf>, hidden: bool) -> Result<Self, FileError> {
        let mut store = Self::open(folder)?;
        if let Some(inner) = Arc::get_mut(&mut store.inner) {
            inner.hidden = hidden;
        }
        Ok(store)
    }

    /// Where the folder was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Names, kinds and sizes of what is in a folder, by name. What no URL can name is left out.
    ///
    /// # Errors
    /// [`FileError`]; [`FileError::TooMany`] over [`NAMES_MAX`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn list(&self, url: &FileUrl) -> Result<Vec<Entry>, FileError> {
        self.blocking(url, |inner, url, given_up| inner.entries(url, given_up)).await
    }

    /// Size and digests of a file, read from its beginning to its end.
    ///
    /// # Errors
    /// [`FileError`].
    ///
    /// # Cancel safety
    /// The work ends soon.
    pub async fn details(&self, url: &FileUrl) -> Result<Details, FileError> {
        self.blocking(url, |inner, url, given_up| {
            let (file, _) = inner.file(url)?;
            digest::details(file, given_up)
                .map_err(|error| FileError::Io { url: url.clone(), reason: plain(&error) })
        })
        .await
    }

    /// All files below a folder, folder by folder, each by name. Links to folders are not
    /// followed.
    ///
    /// # Errors
    /// [`FileError`]; [`FileError::TooMany`] over [`NAMES_MAX`] or [`NAMES_BYTES_MAX`].
    ///
    /// # Cancel safety
    /// The work ends soon.
    pub async fn walk(&self, url: &FileUrl) -> Result<Vec<FileUrl>, FileError> {
        self.blocking(url, Inner::walk).await
    }

    /// Up to `length` octets of a file from `offset` on; none behind its end.
    ///
    /// # Errors
    /// [`FileError`]; [`FileError::ChunkTooBig`] over [`CHUNK_MAX`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn read(&self, url: &FileUrl, offset: u64, length: u64) -> Result<Chunk, FileError> {
        let wanted = usize::try_from(length).ok().filter(|wanted| *wanted <= CHUNK_MAX);
        let Some(wanted) = wanted else {
            return Err(FileError::ChunkTooBig { length, max: CHUNK_MAX });
        };
        self.blocking(url, move |inner, url, _| inner.read(url, offset, wanted)).await
    }

    /// Runs what blocks on a thread for that, a few at a time.
    async fn blocking<T: Send + 'static>(
        &self,
        url: &FileUrl,
        work: impl FnOnce(&Inner, &FileUrl, &AtomicBool) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        if url.is_hidden() && !self.inner.hidden {
            return Err(FileError::Hidden { url: url.clone() });
        }
        let stopped = |url: &FileUrl| {
            let reason = "the server stops".into();
            FileError::Io { url: url.clone(), reason }
        };
        // The semaphore is never closed.
        let _permit = self.inner.permits.acquire().await.map_err(|_| stopped(url))?;
        let given_up = GivenUp(Arc::default());
        let (inner, flag, name) = (self.inner.clone(), given_up.0.clone(), url.clone());
        let task = tokio::task::spawn_blocking(move || work(&inner, &name, &flag));
        task.await.unwrap_or_else(|_| Err(stopped(url)))
    }
}

/// Says to the thread that nobody waits any more.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Inner {
    fn file(&self, url: &FileUrl) -> Result<(File, u64), FileError> {
        let wrong = |error| FileError::of(url, error, Kind::File);
        let file = beneath::open(self.root.as_fd(), url.path(), OFlags::empty()).map_err(wrong)?;
        let stat = fstat(&file).map_err(wrong)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FileError::NoFile { url: url.clone() });
        }
        Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or_default()))
    }

    fn read(&self, url: &FileUrl, offset: u64, wanted: usize) -> Result<Chunk, FileError> {
        let (file, size) = self.file(url)?;
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut octets = vec![0; wanted.min(left)];
        let mut filled = 0;
        while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(FileError::Io { url: url.clone(), reason: plain(&error) });
                }
            }
        }
        octets.truncate(filled);
        Ok(Chunk { octets: octets.into(), size })
    }

    fn entries(&self, url: &FileUrl, given_up: &AtomicBool) -> Result<Vec<Entry>, FileError> {
        let wrong = |error| FileError::of(url, error, Kind::Folder);
        let folder = beneath::open(self.root.as_fd(), url.path(), OFlags::DIRECTORY);
        let folder = folder.map_err(wrong)?;
        let (mut entries, mut octets) = (Vec::new(), 0);
        for found in Dir::read_from(&folder).map_err(wrong)? {
            let found = found.map_err(wrong)?;
            let Ok(name) = found.file_name().to_str() else { continue };
            if matches!(name, "." | "..") || !self.hidden && is_hidden(name) {
                continue;
            }
            let Ok(below) = url.join(name) else { continue };
            octets += name.len();
            let over = entries.len() == NAMES_MAX;
            if over || octets > NAMES_BYTES_MAX || given_up.load(Ordering::Relaxed) {
                return Err(too_many(url, over));
            }
            if let Some((folder, size)) = self.kind(&folder, name, &below) {
                entries.push(Entry { name: name.into(), folder, size });
            }
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Whether it is a folder, and its size; none for what is neither that nor a file, for links
    /// that lead out or nowhere, and for what has gone meanwhile.
    fn kind(&self, folder: &OwnedFd, name: &str, url: &FileUrl) -> Option<(bool, u64)> {
        let mut stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let target = beneath::open(self.root.as_fd(), url.path(), OFlags::empty()).ok()?;
            stat = fstat(target).ok()?;
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some((false, u64::try_from(stat.st_size).unwrap_or_default())),
            FileType::Directory => Some((true, 0)),
            _ => None,
        }
    }

    fn walk(&self, url: &FileUrl, given_up: &AtomicBool) -> Result<Vec<FileUrl>, FileError> {
        let (mut folders, mut files) = (vec![url.clone()], Vec::new());
        let (mut seen, mut octets) = (0, 0);
        while let Some(folder) = folders.pop() {
            let entries = match self.entries(&folder, given_up) {
                // It has gone, or may not be read; the rest of the tree may.
                Err(FileError::NoFolder { .. } | FileError::NotAllowed { .. })
                    if folder != *url =>
                {
                    continue;
                }
                entries => entries?,
            };
            seen += entries.len();
            let mut deeper = Vec::new();
            for Entry { name, folder: is_folder, .. } in entries {
                // Deeper than a URL can say.
                let Ok(below) = folder.join(&name) else { continue };
                if is_folder {
                    if self.is_own_folder(&below) {
                        deeper.push(below);
                    }
                } else {
                    octets += below.path().len();
                    files.push(below);
                }
            }
            if seen > NAMES_MAX || octets > NAMES_BYTES_MAX {
                return Err(too_many(url, seen > NAMES_MAX));
            }
            folders.extend(deeper.into_iter().rev());
        }
        Ok(files)
    }

    /// Whether it is a folder itself and no link to one, which might lead in a circle, and is not
    /// kept from everybody, as `a__b/c__d` is.
    fn is_own_folder(&self, url: &FileUrl) -> bool {
        let twice = url.path().matches("__").count() >= 2;
        let itself = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        (self.hidden || !twice) && beneath::open(self.root.as_fd(), url.path(), itself).is_ok()
    }
}

fn too_many(url: &FileUrl, names: bool) -> FileError {
    let (what, max) =
        if names { ("names", NAMES_MAX) } else { ("octets of names", NAMES_BYTES_MAX) };
    FileError::TooMany { url: url.clone(), what, max }
}

#[cfg(test)]
mod tests;
