//! A secret key together with its public one.

use super::crypto::{Crypto, Dryoc, SecretKey};
use crate::id::PublicKey;

/// A secret key, and the public key that belongs to it, which takes time to work out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    secret: SecretKey,
    public: PublicKey,
}

impl KeyPair {
    /// The pair of this secret key.
    #[must_use]
    pub fn new(secret: SecretKey) -> Self {
        let public = Dryoc::public_key(&secret);
        Self { secret, public }
    }

    /// What others know us by.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// What only we know.
    #[must_use]
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }
}
