//! The randomness of one connection.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Octets for one handshake of CURVE, and for no other one: all of them random. They stay in their
/// box and are wiped when it is dropped, which is when the handshake ends.
///
/// A server uses the first four, a client the first and the last.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub struct Fresh {
    /// The secret half of our short-term key: s' or c'.
    pub short_term: [u8; 32],
    /// The key of the cookie.
    pub cookie_key: [u8; 32],
    /// The end of the cookie's nonce.
    pub cookie_nonce: [u8; 16],
    /// The end of the nonce of WELCOME.
    pub welcome_nonce: [u8; 16],
    /// The end of the vouch's nonce.
    pub vouch_nonce: [u8; 16],
}

impl Fresh {
    /// Has each field filled with random octets by `fill`, in the order in which they stand here.
    ///
    /// ```
    /// # use majordomo::proto::handshake::Fresh;
    /// let fresh = Fresh::filled(getrandom::fill).unwrap();
    /// assert_ne!(fresh.short_term, fresh.cookie_key);
    /// ```
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn filled<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Box<Self>, E> {
        // Where it stays before anything secret is in it.
        let mut fresh = Box::new(Self::default());
        let Self { short_term, cookie_key, cookie_nonce, welcome_nonce, vouch_nonce } = &mut *fresh;
        for octets in [&mut short_term[..], cookie_key, cookie_nonce, welcome_nonce, vouch_nonce] {
            fill(octets)?;
        }
        Ok(fresh)
    }
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh(..)")
    }
}
