//! Keys as text: Z85 (RFC 32), 40 characters.

use zeroize::Zeroizing;

use crate::id::PublicKey;
use crate::proto::curve::SecretKey;
use crate::wire::z85;

/// Characters of a key.
pub(super) const KEY_LEN: usize = z85::KEY_CHARS;

/// The public key of a text in Z85. `None`: it is none.
#[must_use]
pub fn public_from_text(text: &str) -> Option<PublicKey> {
    z85::decode_key(text).ok().map(PublicKey)
}

/// A public key in Z85.
#[must_use]
pub fn text_of_public(key: &PublicKey) -> String {
    z85::encode_key(&key.0)
}

pub(super) fn secret_from_text(text: &str) -> Option<SecretKey> {
    let octets = Zeroizing::new(z85::decode_key(text).ok()?);
    Some(SecretKey::new(*octets))
}

pub(super) fn text_of_secret(key: &SecretKey) -> Zeroizing<String> {
    Zeroizing::new(z85::encode_key(key.as_bytes()))
}
