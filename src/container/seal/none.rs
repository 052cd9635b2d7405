//! Without the feature `encryption` there are no keys, and so nothing is ever encrypted or read.

use super::{Seal, SealError};

/// There is none.
#[derive(Debug, Clone)]
pub(in crate::container) enum PublicKey {}

impl PublicKey {
    pub(in crate::container) fn from_pem(_: &str) -> Result<Self, SealError> {
        Err(SealError::NotBuilt)
    }
}

/// There is none.
#[derive(Debug, Clone)]
pub(in crate::container) enum ServiceKey {}

impl ServiceKey {
    pub(in crate::container) fn public_pem(&self) -> &str {
        match *self {}
    }

    pub(in crate::container) fn open(&self, _: &[u8]) -> Result<(Seal, Vec<u8>), SealError> {
        match *self {}
    }
}

/// There is none.
#[derive(Debug, Clone)]
pub(in crate::container) enum Session {}

impl Session {
    pub(in crate::container) fn fresh() -> Result<Self, SealError> {
        Err(SealError::NotBuilt)
    }

    pub(in crate::container) fn seal(&self, _: &PublicKey, _: &[u8]) -> Result<Vec<u8>, SealError> {
        match *self {}
    }

    pub(in crate::container) fn open(&self, _: &[u8]) -> Result<Vec<u8>, SealError> {
        match *self {}
    }
}
