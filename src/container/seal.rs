//! Bodies that only the two ends can read (SPEC 17.2, "Encrypted bodies"): a key of its own for each
//! call, which the service alone can find out.

#[cfg(feature = "encryption")]
mod fernet;
#[cfg(not(feature = "encryption"))]
mod none;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

#[cfg(feature = "encryption")]
pub use fernet::ServiceKey;
#[cfg(feature = "encryption")]
pub(super) use fernet::{PublicKey, Session};
#[cfg(not(feature = "encryption"))]
pub(super) use none::{PublicKey, ServiceKey, Session};

/// Octets of a file with a key.
#[cfg(feature = "encryption")]
const FILE_MAX: usize = 64 << 10;
/// Services whose public keys are known, at most.
const KNOWN_MAX: usize = 1_000;
/// How long a public key is used without asking for it again.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// Why something is not encrypted, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It is no key.
    #[error("it is no RSA key in PEM, PKCS #8 or PKCS #1, of 2048 bits at the least: {0}")]
    Key(String),
    /// The file of the key cannot be used.
    #[error(transparent)]
    File(#[from] crate::keys::KeyError),
    /// The body is not of that form, was changed on its way, or is for another key.
    #[error("the encrypted body cannot be read: {0}")]
    Opened(&'static str),
    /// There is no randomness.
    #[error("the system gives no random octets")]
    Random,
    /// This library was built without it.
    #[error("this library was built without the feature `encryption`")]
    NotBuilt,
}

/// One call between two ends: the key that both know, and the public one of the service.
#[derive(Debug, Clone)]
pub struct Seal {
    session: Session,
    service: PublicKey,
}

impl Seal {
    /// A fresh key for a call of whoever has that public key.
    pub(super) fn fresh(service: PublicKey) -> Result<Self, SealError> {
        Ok(Self { session: Session::fresh()?, service })
    }

    /// Makes it a body that only the two ends can read.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        self.session.seal(&self.service, plain)
    }

    /// Reads a body of the other end.
    ///
    /// # Errors
    /// [`SealError::Opened`].
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.session.open(sealed)
    }
}

/// Public keys of services.
#[derive(Debug, Default)]
pub(super) struct PublicKeys(Mutex<BTreeMap<String, (Instant, PublicKey)>>);

impl PublicKeys {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, (Instant, PublicKey)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key of a service, if it is known and not too old.
    pub(super) fn get(&self, service: &str) -> Option<PublicKey> {
        self.with(|known| {
            let (at, key) = known.get(service)?;
            (at.elapsed() < KNOWN_FOR).then(|| key.clone())
        })
    }

    pub(super) fn put(&self, service: &str, key: PublicKey) {
        self.with(|known| {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(service.to_owned(), (Instant::now(), key));
        });
    }
}
