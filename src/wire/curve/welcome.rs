//! WELCOME: the server answers, and remembers in a cookie.

use super::super::command;
use super::{LayoutError, NONCE_LEN, PAIR_BOX_LEN, TAG_LEN};
use crate::id::PublicKey;

/// Octets inside the box of WELCOME.
pub const WELCOME_TEXT_LEN: usize = PublicKey::LEN + PAIR_BOX_LEN;

/// The server's answer to HELLO.
///
/// ```text
/// 0      8        24    40
/// +------+--------+-----+-----------------+
/// | name | nonce  | tag | 128, boxed      |
/// +------+--------+-----+-----------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The end of the nonce.
    pub nonce: &'a [u8; NONCE_LEN],
    /// The tag of the box.
    pub tag: &'a [u8; TAG_LEN],
    /// Its inside: S' and the cookie.
    pub boxed: &'a [u8; WELCOME_TEXT_LEN],
}

impl<'a> Welcome<'a> {
    /// Its name.
    pub const NAME: &'static [u8] = b"WELCOME";
    /// Octets of the command.
    pub const LEN: usize = 168;

    /// Reads what follows the name.
    ///
    /// # Errors
    /// It is not of the one length.
    pub fn decode(data: &'a [u8]) -> Result<Self, LayoutError> {
        let len = data.len() + Self::NAME.len() + 1;
        let error = LayoutError::Length { command: "WELCOME", len, expected: Self::LEN };
        let (nonce, rest) = data.split_first_chunk().ok_or(error)?;
        let (tag, rest) = rest.split_first_chunk().ok_or(error)?;
        let boxed = rest.try_into().map_err(|_| error)?;
        Ok(Self { nonce, tag, boxed })
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        command::frame(Self::NAME, &[self.nonce, self.tag, self.boxed], out);
    }

    /// What goes into the box.
    #[must_use]
    pub fn text(short_term: &PublicKey, cookie: &[u8; PAIR_BOX_LEN]) -> [u8; WELCOME_TEXT_LEN] {
        let mut text = [0; WELCOME_TEXT_LEN];
        for (to, from) in text.iter_mut().zip(short_term.0.iter().chain(cookie)) {
            *to = *from;
        }
        text
    }

    /// What came out of it: the server's short-term key, S', and the cookie. `None` cannot happen.
    #[must_use]
    pub fn read_text(text: &[u8; WELCOME_TEXT_LEN]) -> Option<(PublicKey, &[u8; PAIR_BOX_LEN])> {
        let (short_term, cookie) = text.split_first_chunk()?;
        Some((PublicKey(*short_term), cookie.try_into().ok()?))
    }
}
