//! A file comes here in chunks, and goes on where it was interrupted.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::remote::{Remote, RemoteError};
use super::words::Detailed;
use super::{CHUNK, CHUNKS_IN_FLIGHT};
use crate::folder::{FileUrl, plain};

/// Why a file did not come, or not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No answer, or the server said no. What came is kept.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The file changed while it was fetched. What came is kept under the name of the old one.
    #[error("{url} changed while it was fetched; fetch it again")]
    Changed {
        /// The file.
        url: FileUrl,
    },
    /// All of it came, and it is not what the server has. What came was removed.
    #[error("{url}: what came has the digest {found}, and not {expected}; fetch it again")]
    Digest {
        /// The file.
        url: FileUrl,
        /// As the server says.
        expected: String,
        /// As it came.
        found: String,
    },
    /// Somebody else fetches the same to the same place.
    #[error("{}: another process fetches it already; wait for it", path.display())]
    Busy {
        /// Where it goes.
        path: PathBuf,
    },
    /// It cannot be written here.
    #[error("{}: {reason}; look at the path, its rights and the disk", path.display())]
    Local {
        /// Where.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// A file that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its octets.
    pub size: u64,
    /// Those of them that were here before.
    pub resumed: u64,
    /// Whether what was here before was not what the server has, so that all of it came anew.
    pub repaired: bool,
    /// MD5 as the server says.
    pub md5: String,
    /// BLAKE3, as the server says and as it is here.
    pub blake3: String,
}

impl Remote {
    /// Fetches a file to `to`, which is replaced when all of it has come and its digest is that of
    /// the server.
    ///
    /// Until then it is `to` with `.DIGEST.part` behind it, where DIGEST is the beginning of the
    /// file's own; the next call goes on where that ends. If it turns out that it was damaged, the
    /// file is fetched anew. `progress` is told octets that are here and octets in all.
    ///
    /// # Errors
    /// [`FetchError`].
    ///
    /// # Cancel safety
    /// What came is kept, and the next call goes on there.
    pub async fn fetch(
        &self,
        url: &FileUrl,
        to: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Fetched, FetchError> {
        let Detailed { size, md5, blake3 } = self.details(url).await?;
        let path = part_path(to, &blake3);
        let mut part = blocking(&path, {
            let path = path.clone();
            move || Part::open(&path, size)
        })
        .await?;
        let resumed = part.length;
        let mut repaired = false;
        loop {
            part = self.rest(url, part, size, &path, &mut progress).await?;
            let found = part.digest.finalize().to_hex().to_string();
            if found == blake3 {
                break;
            }
            if resumed == 0 || repaired {
                let _ = std::fs::remove_file(&path);
                return Err(FetchError::Digest { url: url.clone(), expected: blake3, found });
            }
            repaired = true;
            part = blocking(&path, move || part.empty()).await?;
        }
        let (from, to) = (path.clone(), to.to_owned());
        blocking(&path, move || {
            part.file.sync_all()?;
            std::fs::rename(&from, &to)
        })
        .await?;
        let resumed = if repaired { 0 } else { resumed };
        Ok(Fetched { size, resumed, repaired, md5, blake3 })
    }

    /// What is missing, in order, so that a part never has a hole.
    async fn rest(
        &self,
        url: &FileUrl,
        mut part: Part,
        size: u64,
        path: &Path,
        progress: &mut impl FnMut(u64, u64),
    ) -> Result<Part, FetchError> {
        progress(part.length, size);
        let pieces = pieces(part.length, size);
        let asked = pieces.map(|(offset, length)| self.read(url, offset, length));
        let mut chunks = stream::iter(asked).buffered(CHUNKS_IN_FLIGHT);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            if chunk.size != size {
                return Err(FetchError::Changed { url: url.clone() });
            }
            part = blocking(path, move || part.append(&chunk.octets)).await?;
            progress(part.length, size);
        }
        Ok(part)
    }
}

/// Offsets and lengths from `from` to `size`.
fn pieces(from: u64, size: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut offset = from;
    std::iter::from_fn(move || {
        let length = (CHUNK as u64).min(size.checked_sub(offset).filter(|left| *left > 0)?);
        let piece = (offset, length);
        offset += length;
        Some(piece)
    })
}

/// Parts of different versions of a file have different names.
fn part_path(to: &Path, blake3: &str) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(format!(".{}.part", blake3.get(..16).unwrap_or(blake3)));
    name.into()
}

/// What is here of a file: its beginning.
struct Part {
    file: File,
    length: u64,
    digest: blake3::Hasher,
}

impl Part {
    /// Takes what is there, locked against others. What is longer than the file is none of it.
    fn open(path: &Path, size: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut digest = blake3::Hasher::new();
        let mut length = file.metadata()?.len();
        if length > size {
            file.set_len(0)?;
            length = 0;
        }
        digest.update_reader((&mut file).take(length))?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Self { file, length, digest })
    }

    fn append(mut self, octets: &Bytes) -> io::Result<Self> {
        self.file.write_all(octets)?;
        self.digest.update(octets);
        self.length += octets.len() as u64;
        Ok(self)
    }

    fn empty(mut self) -> io::Result<Self> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        Ok(Self { file: self.file, length: 0, digest: blake3::Hasher::new() })
    }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, FetchError> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.into()));
    done.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => FetchError::Busy { path: path.into() },
        _ => FetchError::Local { path: path.into(), reason: plain(&error) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_rest_of_a_file_once() {
        let chunk = CHUNK as u64;
        for (from, size, expected) in [
            (0, 0, vec![]),
            (5, 5, vec![]),
            (9, 5, vec![]),
            (0, 1, vec![(0, 1)]),
            (0, chunk, vec![(0, chunk)]),
            (0, chunk + 1, vec![(0, chunk), (chunk, 1)]),
            (7, 2 * chunk, vec![(7, chunk), (7 + chunk, chunk - 7)]),
        ] {
            assert_eq!(pieces(from, size).collect::<Vec<_>>(), expected, "{from} {size}");
        }
    }

    #[test]
    fn a_part_is_taken_up_at_its_end_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = part_path(&folder.path().join("f"), &"ab".repeat(32));
        assert!(path.ends_with("f.abababababababab.part"));
        let part = Part::open(&path, 6).unwrap().append(&Bytes::from_static(b"one")).unwrap();
        assert_eq!(Part::open(&path, 6).err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
        drop(part);
        let part = Part::open(&path, 6).unwrap();
        assert_eq!(part.length, 3);
        let part = part.append(&Bytes::from_static(b"two")).unwrap();
        assert_eq!(part.digest.finalize(), blake3::hash(b"onetwo"));
        drop(part);
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwo");
        let part = Part::open(&path, 5).unwrap();
        assert_eq!((part.length, part.digest.finalize()), (0, blake3::hash(b"")), "it is too long");
    }
}
