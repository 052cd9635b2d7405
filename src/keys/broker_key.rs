//! The key of the broker, and how a new one takes its place.
//!
//! A CURVE client knows one key of its broker. For some time after a rotation the broker answers
//! to both, so that its clients can be told the new one by and by.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::certificate::{Certificate, read_secret};
use super::disk::{self, PRIVATE, PUBLIC};
use super::error::KeyError;
use crate::proto::curve::KeyPair;

/// For how long the key before the present one is good, if nobody says otherwise.
pub const OVERLAP: Duration = Duration::from_secs(7 * 24 * 3600);

/// How far ahead a rotation may seem to be: clocks are set right by so much.
const AHEAD_MAX: Duration = Duration::from_secs(5 * 60);

/// Where a certificate says when it was replaced, in seconds since 1970.
const ROTATED: &str = "rotated";

/// The keys that a broker answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerKeys {
    /// The one that clients should know.
    pub present: Arc<KeyPair>,
    /// The one before, and the end of its time.
    pub old: Option<(Arc<KeyPair>, SystemTime)>,
}

/// What a rotation has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The new key, without its secret.
    pub present: Certificate,
    /// The one before, without its secret.
    pub old: Certificate,
    /// The secret file of the one before.
    pub old_file: PathBuf,
    /// The public file beside the secret one, if there is one; it has the new key.
    pub public_file: Option<PathBuf>,
}

impl BrokerKeys {
    /// Reads the secret file `file`, and `FILE.old` if a rotation has left one; that one is good
    /// until `overlap` after the rotation, and not at all if that is ahead of the clock.
    ///
    /// # Errors
    /// One of the files is readable by others, or no such certificate.
    pub fn read(file: &Path, overlap: Duration, now: SystemTime) -> Result<Self, KeyError> {
        let present = pair(read_secret(file)?, file)?;
        let path = old_file(file);
        let old = match read_secret(&path) {
            Ok(old) => old,
            Err(KeyError::Missing { .. }) => return Ok(Self { present, old: None }),
            Err(error) => return Err(error),
        };
        let said = old.metadata.iter().find(|(name, _)| name == ROTATED);
        let seconds = said.and_then(|(_, value)| value.parse().ok());
        let seconds = seconds.ok_or_else(|| KeyError::NoRotation { path: path.clone() })?;
        // A rotation that ended midway has left the same key twice.
        if old.public == present.public() {
            return Ok(Self { present, old: None });
        }
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        // A clock that was wrong makes no key live longer: its time would begin anew each time.
        let ahead = |at: &SystemTime| at.duration_since(now).unwrap_or_default();
        let Some(at) = at.filter(|at| ahead(at) <= AHEAD_MAX) else {
            let file = path.display();
            warn!(%file, "the old key is not used: it was replaced in the future by this clock");
            return Ok(Self { present, old: None });
        };
        let until = at.checked_add(overlap).unwrap_or(now);
        let old = if until > now { Some((pair(old, &path)?, until)) } else { None };
        Ok(Self { present, old })
    }
}

fn pair(certificate: Certificate, path: &Path) -> Result<Arc<KeyPair>, KeyError> {
    let secret = certificate.secret.ok_or_else(|| KeyError::NoSecretKey { path: path.into() })?;
    Ok(Arc::new(KeyPair::new(secret)))
}

/// Makes a new key for the broker. The present one becomes `FILE.old`, with the time of this
/// rotation; what stood there is gone. A public file beside `file` (`NAME.pub` of `NAME.secret`,
/// `NAME.key` of `NAME.key_secret`) gets the new key. At each moment there is a whole key in `file`.
///
/// # Errors
/// The present key cannot be used, or a file cannot be written.
pub fn rotate(file: &Path, now: SystemTime) -> Result<Rotated, KeyError> {
    // What is replaced is the file itself, not a link to it.
    let file = disk::real(file)?;
    let _held = disk::Held::open(&file)?;
    let mut old = read_secret(&file)?;
    let present = Certificate { metadata: old.metadata.clone(), ..Certificate::generate()? };
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    old.metadata.retain(|(name, _)| name != ROTATED);
    old.metadata.push((ROTATED.into(), seconds.to_string()));
    let old_file = old_file(&file);
    disk::replace(&old_file, PRIVATE, None, old.secret_text().as_bytes())?;
    // Whoever rotates it again waits until its public file is written, too.
    let _new = disk::replace(&file, PRIVATE, None, present.secret_text().as_bytes())?;
    let public_file = public_file(&file).filter(|public| public.exists());
    if let Some(public) = &public_file {
        disk::replace(public, PUBLIC, None, present.public_text().as_bytes())?;
    }
    let [present, old] = [present, old].map(|pair| Certificate { secret: None, ..pair });
    Ok(Rotated { present, old, old_file, public_file })
}

fn old_file(file: &Path) -> PathBuf {
    disk::with_suffix(file, ".old")
}

/// Where the public key of a secret file is.
fn public_file(file: &Path) -> Option<PathBuf> {
    match file.extension()?.to_str()? {
        "secret" => Some(file.with_extension("pub")),
        "key_secret" => Some(file.with_extension("key")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::certificate::{read_public, write_pair};
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_rotation_keeps_the_key_before_for_some_time() {
        let dir = tempfile::tempdir().unwrap();
        let (first, secret, public) = write_pair(dir.path(), "broker").unwrap();
        let read = |now| BrokerKeys::read(&secret, OVERLAP, now).unwrap();
        assert_eq!((read(at(0)).present.public(), read(at(0)).old), (first.public, None));
        let rotated = rotate(&secret, at(1000)).unwrap();
        assert_eq!(rotated.old.public, first.public);
        assert_ne!(rotated.present.public, first.public);
        assert_eq!(rotated.public_file.as_ref(), Some(&public));
        assert_eq!(read_public(&public).unwrap().public, rotated.present.public);
        let keys = read(at(1000));
        assert_eq!(keys.present.public(), rotated.present.public);
        let written = read_secret(&secret).unwrap();
        assert_eq!(written.metadata, [("name".into(), "broker".into())]);
        let (old, until) = keys.old.unwrap();
        assert_eq!((old.public(), until), (first.public, at(1000) + OVERLAP));
        for file in [&secret, &rotated.old_file] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(read(at(1000) + OVERLAP - Duration::from_secs(1)).old.is_some());
        assert_eq!(read(at(1000) + OVERLAP).old, None);
        // A clock that was set right; and one that was far ahead, which would have no end.
        assert_eq!(read(at(1000) - AHEAD_MAX).old.unwrap().1, at(1000) + OVERLAP);
        assert_eq!(read(at(999) - AHEAD_MAX).old, None);
        let again = rotate(&secret, at(2000)).unwrap();
        assert_eq!(again.old.public, rotated.present.public);
        assert_eq!(read(at(2000)).old.unwrap().0.public(), rotated.present.public);
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 3, "nothing is left behind");
    }

    #[test]
    fn a_link_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (first, secret, _) = write_pair(dir.path(), "broker").unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        let rotated = rotate(&link, at(0)).unwrap();
        assert!(link.is_symlink());
        assert_eq!(read_secret(&link).unwrap().public, rotated.present.public);
        assert_eq!(read_secret(&rotated.old_file).unwrap().public, first.public);
    }

    #[test]
    fn a_broken_rotation_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (_, secret, _) = write_pair(dir.path(), "broker").unwrap();
        let old = old_file(&secret);
        fs::copy(&secret, &old).unwrap();
        let said = BrokerKeys::read(&secret, OVERLAP, at(0)).unwrap_err();
        assert_eq!(said, KeyError::NoRotation { path: old.clone() });
        fs::set_permissions(&old, fs::Permissions::from_mode(0o644)).unwrap();
        let said = BrokerKeys::read(&secret, OVERLAP, at(0)).unwrap_err();
        assert!(matches!(said, KeyError::Exposed { mode: 0o644, .. }), "{said}");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(rotate(&secret, at(0)), Err(KeyError::Exposed { .. })));
        assert!(matches!(rotate(&dir.path().join("x"), at(0)), Err(KeyError::Missing { .. })));
    }
}
