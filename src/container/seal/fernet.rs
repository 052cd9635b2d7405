//! As NuroPb has it: Fernet under a fresh key, and that key under RSA with OAEP and SHA-256.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fernet::Fernet;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding,
};
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts;
use rsa::{Oaep, RsaPrivateKey, RsaPublicKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{FILE_MAX, Seal, SealError};

/// Bits of a key, at the least; and of one that is made here.
const BITS: usize = 2048;

/// The public key of a service.
#[derive(Clone)]
pub(in crate::container) struct PublicKey(Arc<RsaPublicKey>);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.0.n().bits()).finish()
    }
}

impl PublicKey {
    /// From PEM, as services describe themselves.
    pub(in crate::container) fn from_pem(text: &str) -> Result<Self, SealError> {
        let key = RsaPublicKey::from_public_key_pem(text)
            .map_err(|error| SealError::Key(error.to_string()))?;
        strong(&key)?;
        Ok(Self(Arc::new(key)))
    }
}

fn strong(key: &RsaPublicKey) -> Result<(), SealError> {
    let bits = key.n().bits();
    if bits < BITS {
        return Err(SealError::Key(format!("it has {bits} bits")));
    }
    Ok(())
}

/// The private key of a service. All its instances have the same.
#[derive(Clone)]
pub struct ServiceKey {
    private: Arc<RsaPrivateKey>,
    public: PublicKey,
    public_pem: Arc<str>,
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl ServiceKey {
    /// A new one, of 2048 bits; that takes a moment.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn generate() -> Result<Self, SealError> {
        let key = RsaPrivateKey::new(&mut OsRng, BITS).map_err(|_| SealError::Random)?;
        Self::new(key)
    }

    /// From PEM, PKCS #8 or PKCS #1.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn from_pem(text: &str) -> Result<Self, SealError> {
        let key = RsaPrivateKey::from_pkcs8_pem(text)
            .or_else(|error| RsaPrivateKey::from_pkcs1_pem(text).map_err(|_| error))
            .map_err(|error| SealError::Key(error.to_string()))?;
        Self::new(key)
    }

    /// From a file in PEM, which only its owner may read.
    ///
    /// # Errors
    /// [`SealError::File`], [`SealError::Key`].
    pub fn read(path: &Path) -> Result<Self, SealError> {
        let octets = crate::keys::read_private(path, FILE_MAX)?;
        let text = str::from_utf8(&octets).map_err(|_| SealError::Key("it is no text".into()))?;
        Self::from_pem(text)
    }

    fn new(private: RsaPrivateKey) -> Result<Self, SealError> {
        let public = private.to_public_key();
        strong(&public)?;
        let pem = public
            .to_public_key_pem(LineEnding::LF)
            .map_err(|error| SealError::Key(error.to_string()))?;
        let public = PublicKey(Arc::new(public));
        Ok(Self { private: Arc::new(private), public, public_pem: pem.into() })
    }

    /// The private key as PEM, PKCS #8. Whoever has it can read what is meant for the service.
    ///
    /// # Errors
    /// None that a key could cause.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, SealError> {
        let pem = self.private.to_pkcs8_pem(LineEnding::LF);
        pem.map_err(|error| SealError::Key(error.to_string()))
    }

    /// The public key as PEM, as the service describes itself.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Finds out the key of a call, and reads its body.
    pub(in crate::container) fn open(&self, sealed: &[u8]) -> Result<(Seal, Vec<u8>), SealError> {
        let (key, _) = halves(sealed)?;
        let sealed_key = decoded(key)?;
        // Blinded, so that the time it takes says less of the private key.
        let key = self.private.decrypt_blinded(&mut OsRng, oaep(), &sealed_key);
        let key = key.map_err(|_| SealError::Opened("its key is for another service key"))?;
        let key = String::from_utf8(key).map_err(|_| SealError::Opened("its key is no text"))?;
        let session = Session(Zeroizing::new(key));
        let plain = session.open(sealed)?;
        Ok((Seal { session, service: self.public.clone() }, plain))
    }
}

fn oaep() -> Oaep {
    Oaep::new::<Sha256>()
}

/// The key of one call, as text.
#[derive(Clone)]
pub(in crate::container) struct Session(Zeroizing<String>);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(in crate::container) fn fresh() -> Result<Self, SealError> {
        let mut octets = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *octets).map_err(|_| SealError::Random)?;
        let text = base64::engine::general_purpose::URL_SAFE.encode(*octets);
        Ok(Self(Zeroizing::new(text)))
    }

    fn fernet(&self) -> Result<Fernet, SealError> {
        Fernet::new(&self.0).ok_or(SealError::Opened("its key is none"))
    }

    pub(in crate::container) fn seal(
        &self,
        service: &PublicKey,
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let key = service.0.encrypt(&mut OsRng, oaep(), self.0.as_bytes());
        let key = STANDARD.encode(key.map_err(|_| SealError::Random)?);
        let token = STANDARD.encode(self.fernet()?.encrypt(plain));
        Ok(format!("{key}.{token}").into_bytes())
    }

    pub(in crate::container) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (_, token) = halves(sealed)?;
        let token = decoded(token)?;
        let token = str::from_utf8(&token).map_err(|_| SealError::Opened("it is no token"))?;
        let plain = self.fernet()?.decrypt(token);
        plain.map_err(|_| SealError::Opened("it is for another key, or was changed on its way"))
    }
}

/// The key and the token, each in Base64 with a dot between them.
fn halves(sealed: &[u8]) -> Result<(&str, &str), SealError> {
    let text = str::from_utf8(sealed).map_err(|_| SealError::Opened("it is no text"))?;
    text.split_once('.').ok_or(SealError::Opened("it has no dot in it"))
}

fn decoded(text: &str) -> Result<Vec<u8>, SealError> {
    STANDARD.decode(text).map_err(|_| SealError::Opened("it is not in Base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_read_one_another_and_nobody_else_does() {
        let service = ServiceKey::generate().unwrap();
        let public = PublicKey::from_pem(service.public_pem()).unwrap();
        let caller = Seal::fresh(public).unwrap();
        let request = caller.seal(b"{\"a\": 1}").unwrap();
        assert!(!String::from_utf8_lossy(&request).contains("\"a\""));
        let (found, plain) = service.open(&request).unwrap();
        assert_eq!(plain, b"{\"a\": 1}");
        let answer = found.seal(b"{}").unwrap();
        assert_eq!(caller.open(&answer).unwrap(), b"{}");
        // The same key in a file is the same key.
        let again = ServiceKey::from_pem(&service.to_pem().unwrap()).unwrap();
        assert_eq!(again.open(&request).unwrap().1, plain);

        let other = ServiceKey::generate().unwrap();
        let refused = other.open(&request).unwrap_err();
        assert_eq!(refused, SealError::Opened("its key is for another service key"));
        let stranger = Seal::fresh(other.public.clone()).unwrap();
        assert!(stranger.open(&answer).is_err());
        let mut changed = answer;
        let last = changed.len() - 6;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        assert!(caller.open(&changed).is_err());
        for broken in [&b""[..], b".", b"a.b", b"\xff.x", b"nodot", b"AAAA.AAAA"] {
            assert!(service.open(broken).is_err(), "{broken:?}");
            assert!(caller.open(broken).is_err(), "{broken:?}");
        }
        let shown = format!("{service:?} {caller:?}");
        assert!(!shown.contains("PRIVATE") && shown.contains("2048"), "{shown}");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(matches!(ServiceKey::from_pem("nonsense"), Err(SealError::Key(_))));
        assert!(matches!(PublicKey::from_pem("nonsense"), Err(SealError::Key(_))));
        let short = RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
        let refused = ServiceKey::new(short).unwrap_err();
        assert_eq!(refused, SealError::Key("it has 1024 bits".into()));
    }
}
