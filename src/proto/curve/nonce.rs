//! Nonces: what for, and which one.

use super::crypto::Nonce;
use crate::wire::curve::NONCE_LEN;

// RFC 26: numbered boxes have a prefix of 16 octets, those with a random end one of 8.
pub(crate) const HELLO: &[u8; 16] = b"CurveZMQHELLO---";
pub(crate) const INITIATE: &[u8; 16] = b"CurveZMQINITIATE";
pub(crate) const READY: &[u8; 16] = b"CurveZMQREADY---";
pub(crate) const WELCOME: &[u8; 8] = b"WELCOME-";
pub(crate) const COOKIE: &[u8; 8] = b"COOKIE--";
pub(crate) const VOUCH: &[u8; 8] = b"VOUCH---";

/// The nonce of a box with a number.
#[inline]
pub(crate) fn numbered(prefix: &[u8; 16], number: u64) -> Nonce {
    joined(prefix, &number.to_be_bytes())
}

/// The nonce of a box with a random end.
pub(crate) fn random(prefix: &[u8; 8], end: &[u8; NONCE_LEN]) -> Nonce {
    joined(prefix, end)
}

#[inline]
fn joined(prefix: &[u8], end: &[u8]) -> Nonce {
    let mut nonce = [0; 24];
    for (to, from) in nonce.iter_mut().zip(prefix.iter().chain(end)) {
        *to = *from;
    }
    nonce
}
