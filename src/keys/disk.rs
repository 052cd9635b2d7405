//! Files of keys: read with a look at who else can, written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use super::error::KeyError;

/// The permissions of a file.
const PERMISSIONS: u32 = 0o7777;
/// Of a secret.
pub(super) const PRIVATE: u32 = 0o600;
/// Of what everybody may know.
pub(super) const PUBLIC: u32 = 0o644;
/// Behind the name of a file that is to be replaced, that of the one which is written for it: always
/// the same, so that what a killed process has left there, a secret maybe, is gone with the next one.
const BESIDE: &str = ".new-majordomo";
/// How long the lock of a file is waited for: whoever can read the file can hold it.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How often it is tried meanwhile.
const LOCK_TRIES: u32 = 200;

/// Opens a regular file; a pipe is not waited for.
pub(super) fn open_file(path: &Path) -> Result<(File, fs::Metadata), KeyError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Err(KeyError::Missing { path: path.into() }),
        // A socket.
        Err(Errno::NXIO) => return Err(KeyError::NotAFile { path: path.into() }),
        Err(error) => return Err(unreadable(path, &error.into())),
    };
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(KeyError::NotAFile { path: path.into() });
    }
    Ok((file, metadata))
}

/// The permissions of a file.
pub(super) fn mode_of(metadata: &fs::Metadata) -> u32 {
    metadata.mode() & PERMISSIONS
}

/// Reads what everybody may know, at most `max` octets.
pub(super) fn read(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (file, _) = open_file(path)?;
    read_from(&file, path, max)
}

/// Reads a secret, at most `max` octets of it.
///
/// What is looked at is the file that is read, whatever is done to its name meanwhile.
pub fn read_secret(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (file, metadata) = open_file(path)?;
    let (owner, us) = (metadata.uid(), geteuid().as_raw());
    if owner != us {
        return Err(KeyError::NotOurs { path: path.into(), owner, us });
    }
    let mode = mode_of(&metadata);
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.into(), mode });
    }
    read_from(&file, path, max)
}

/// Reads all of a file that was opened.
pub(super) fn read_from(
    file: &File,
    path: &Path,
    max: usize,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let expected = file.metadata().map_or(0, |metadata| metadata.len());
    let expected = usize::try_from(expected).unwrap_or(usize::MAX).min(max);
    // With room for all of it, no copy is left behind where it grew.
    let mut octets = Zeroizing::new(Vec::with_capacity(expected + 64));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut octets).map_err(|error| unreadable(path, &error))?;
    if octets.len() > max {
        return Err(KeyError::TooBig { path: path.into(), max });
    }
    Ok(octets)
}

/// Writes a file that is not there yet: it is there whole or not at all. A secret has its mode from
/// its first moment on.
pub(super) fn create(path: &Path, mode: u32, octets: &[u8]) -> Result<(), KeyError> {
    // Nobody holds a lock here: others who make the same file have another name beside it.
    let mut number = [0; 8];
    getrandom::fill(&mut number)
        .map_err(|error| KeyError::NoRandomness { reason: error.to_string() })?;
    let beside = with_suffix(path, &format!(".new-{:016x}", u64::from_ne_bytes(number)));
    let attempt = || {
        let options = &mut File::options();
        let mut file = options.write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(octets)?;
        file.sync_all()?;
        rename_to_new(&beside, path)
    };
    attempt().map_err(|error| {
        let _ = fs::remove_file(&beside);
        match error.kind() {
            ErrorKind::AlreadyExists => KeyError::Exists { path: path.into() },
            _ => unwritable(path, &error),
        }
    })?;
    sync_folder_of(path)
}

/// Gives a file a name that none has.
fn rename_to_new(beside: &Path, path: &Path) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    match renameat_with(CWD, beside, CWD, path, RenameFlags::NOREPLACE) {
        // Not every file system can do that.
        Err(Errno::INVAL | Errno::NOSYS) => {}
        renamed => return Ok(renamed?),
    }
    fs::hard_link(beside, path)?;
    fs::remove_file(beside)
}

/// Puts a file in the place of the one of that name, if there is one: at no time is there half of
/// it, nor none. `like` is the file whose mode and owner it gets; without, it has `mode`.
///
/// Who calls it holds the lock of the file, or of another one beside which it stands ([`Held`]), and
/// that of the new one until what this returns is dropped.
pub(super) fn replace(
    path: &Path,
    mode: u32,
    like: Option<&fs::Metadata>,
    octets: &[u8],
) -> Result<File, KeyError> {
    let beside = with_suffix(path, BESIDE);
    // Left behind by a process that ended midway.
    let _ = fs::remove_file(&beside);
    let attempt = || {
        let options = &mut File::options();
        let mut file = options.write(true).create_new(true).mode(PRIVATE & mode).open(&beside)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(octets)?;
        if let Some(like) = like {
            let ours = file.metadata()?;
            if (ours.uid(), ours.gid()) != (like.uid(), like.gid()) {
                std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))?;
            }
        }
        let mode = like.map_or(mode, mode_of);
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        Ok(file)
    };
    let file = attempt().map_err(|error| {
        let _ = fs::remove_file(&beside);
        unwritable(path, &error)
    })?;
    sync_folder_of(path)?;
    Ok(file)
}

/// Keeps others from changing a file, until it is dropped. Whoever replaces the file holds the lock
/// of the one that is replaced, and that of the new one from its first moment on.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) file: File,
    pub(super) metadata: fs::Metadata,
}

impl Held {
    /// Waits for the lock, [`LOCK_WAIT`] at most. `path` is the file itself, not a link to it.
    pub(super) fn open(path: &Path) -> Result<Self, KeyError> {
        for _ in 0..LOCK_TRIES {
            let (file, metadata) = open_file(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    thread::sleep(LOCK_WAIT / LOCK_TRIES);
                    continue;
                }
                Err(error) => return Err(unreadable(path, &error.into())),
            }
            // Who had it before may have put another file there.
            let now = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
            if (now.dev(), now.ino()) == (metadata.dev(), metadata.ino()) {
                return Ok(Self { file, metadata });
            }
        }
        Err(KeyError::Locked { path: path.into() })
    }
}

/// The file that a path means in the end: what is replaced is no link.
pub(super) fn real(path: &Path) -> Result<PathBuf, KeyError> {
    fs::canonicalize(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => KeyError::Missing { path: path.into() },
        _ => unreadable(path, &error),
    })
}

/// A name with more behind it, in the same folder.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn sync_folder_of(path: &Path) -> Result<(), KeyError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| unwritable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> KeyError {
    KeyError::Unreadable { path: path.into(), reason: plain(error) }
}

fn unwritable(path: &Path, error: &std::io::Error) -> KeyError {
    KeyError::Unwritable { path: path.into(), reason: plain(error) }
}

/// What the system says, without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let text = vec![b'x'; 1 << 20];
        let at = |number: u32| dir.path().join(number.to_string());
        thread::scope(|scope| {
            scope.spawn(|| (0..20).for_each(|number| create(&at(number), PUBLIC, &text).unwrap()));
            for number in 0..20 {
                let found = loop {
                    if let Ok(found) = fs::metadata(at(number)) {
                        break found.len();
                    }
                };
                assert_eq!(found, 1 << 20);
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 20, "nothing is left behind");
    }

    #[test]
    fn what_a_killed_process_has_left_is_gone_with_the_next_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.secret");
        for text in ["first", "second"] {
            fs::write(with_suffix(&path, BESIDE), "half a sec").unwrap();
            replace(&path, PRIVATE, None, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn who_replaces_a_file_holds_the_lock_of_the_new_one_until_all_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.secret");
        let new = replace(&path, PRIVATE, None, b"x").unwrap();
        assert!(matches!(Held::open(&path), Err(KeyError::Locked { .. })));
        drop(new);
        Held::open(&path).unwrap();
    }

    #[test]
    fn a_lock_that_others_hold_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        fs::write(&path, "").unwrap();
        let other = File::open(&path).unwrap();
        flock(&other, FlockOperation::LockExclusive).unwrap();
        let said = Held::open(&path).unwrap_err();
        assert_eq!(said, KeyError::Locked { path: path.clone() });
        drop(other);
        Held::open(&path).unwrap();
    }
}
