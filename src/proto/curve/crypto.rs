//! The arithmetic of CURVE behind a small trait, and the library we use for it.

use std::fmt;

use dryoc::classic::{crypto_box, crypto_core};
use zeroize::Zeroize;

use crate::id::PublicKey;

/// Octets of the tag of a box (Poly1305). A box of n octets is n + 16.
pub const TAG_LEN: usize = 16;

/// What makes every box under one key another one: a prefix that says what for, and a number.
pub type Nonce = [u8; 24];

macro_rules! secret {
    ($(#[doc = $doc:literal])* $name:ident) => {
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(Box<[u8; Self::LEN]>);

        impl $name {
            /// Octets of a key.
            pub const LEN: usize = 32;

            /// The key of these octets; any 32 are one.
            #[must_use]
            pub fn new(octets: [u8; Self::LEN]) -> Self {
                Self(Box::new(octets))
            }

            /// The octets, not to be kept.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; Self::LEN] {
                &self.0
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                (*self.0).zeroize();
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret! {
    /// A secret key: it is not shown, and wiped when it is dropped. It stays in one place, so that a
    /// value that is handed on leaves no copy behind.
    SecretKey
}

secret! {
    /// The key of all boxes between two keys, or of a secret box: not shown, wiped when it is dropped,
    /// and in one place until then.
    SharedKey
}

/// What CURVE needs of a library: X25519 with HSalsa20, and XSalsa20-Poly1305. All of it is
/// deterministic; randomness comes from outside.
pub trait Crypto {
    /// The public key that belongs to a secret one.
    fn public_key(secret: &SecretKey) -> PublicKey;

    /// The key between two (`crypto_box_beforenm`). `None`: the public key is of low order, and the
    /// shared one would be known to everybody.
    fn agree(theirs: &PublicKey, ours: &SecretKey) -> Option<SharedKey>;

    /// Makes `text` the inside of a box, and returns its tag.
    fn seal(key: &SharedKey, nonce: &Nonce, text: &mut [u8]) -> [u8; TAG_LEN];

    /// Makes the inside of a box the text again; false, and `text` is worth nothing, if the box was
    /// not made with this key and nonce.
    #[must_use]
    fn open(key: &SharedKey, nonce: &Nonce, tag: &[u8; TAG_LEN], text: &mut [u8]) -> bool;
}

/// The crate dryoc.
#[derive(Debug, Clone, Copy)]
pub struct Dryoc;

impl Crypto for Dryoc {
    fn public_key(secret: &SecretKey) -> PublicKey {
        let mut public = [0; PublicKey::LEN];
        crypto_core::crypto_scalarmult_base(&mut public, secret.as_bytes());
        PublicKey(public)
    }

    fn agree(theirs: &PublicKey, ours: &SecretKey) -> Option<SharedKey> {
        crypto_box::crypto_box_beforenm(&theirs.0, ours.as_bytes()).ok().map(SharedKey::new)
    }

    #[inline]
    fn seal(key: &SharedKey, nonce: &Nonce, text: &mut [u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        crypto_box::crypto_box_detached_afternm_inplace(text, &mut tag, nonce, &key.0);
        tag
    }

    #[inline]
    fn open(key: &SharedKey, nonce: &Nonce, tag: &[u8; TAG_LEN], text: &mut [u8]) -> bool {
        crypto_box::crypto_box_open_detached_afternm_inplace(text, tag, nonce, &key.0).is_ok()
    }
}
