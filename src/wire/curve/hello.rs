//! HELLO: a client knocks.

use super::super::command;
use super::{LayoutError, PAIR_LEN, TAG_LEN};
use crate::id::PublicKey;

const PADDING_LEN: usize = 72;

/// The first command, from the client.
///
/// ```text
/// 0      6          8             80    112      120   136
/// +------+----------+-------------+-----+--------+-----+----------------+
/// | name | 01 00    | 72 octets   | C'  | number | tag | 64, boxed      |
/// +------+----------+-------------+-----+--------+-----+----------------+
/// ```
///
/// The padding makes it longer than its answer. It is written as zeros and not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The client's short-term key, C'.
    pub short_term: PublicKey,
    /// The end of the nonce.
    pub number: u64,
    /// The tag of the box.
    pub tag: &'a [u8; TAG_LEN],
    /// Its inside: 64 zeros.
    pub boxed: &'a [u8; PAIR_LEN],
}

impl<'a> Hello<'a> {
    /// Its name.
    pub const NAME: &'static [u8] = b"HELLO";
    /// Octets of the command.
    pub const LEN: usize = 200;

    /// Reads what follows the name.
    ///
    /// # Errors
    /// It is not of the one length, or of another version than 1.0.
    pub fn decode(data: &'a [u8]) -> Result<Self, LayoutError> {
        let len = data.len() + Self::NAME.len() + 1;
        let error = LayoutError::Length { command: "HELLO", len, expected: Self::LEN };
        let ([major, minor], rest) = data.split_first_chunk().ok_or(error)?;
        let (_, rest) = rest.split_first_chunk::<PADDING_LEN>().ok_or(error)?;
        let (short_term, rest) = rest.split_first_chunk().ok_or(error)?;
        let (number, rest) = rest.split_first_chunk().ok_or(error)?;
        let (tag, rest) = rest.split_first_chunk().ok_or(error)?;
        let boxed = rest.try_into().map_err(|_| error)?;
        if (*major, *minor) != (1, 0) {
            return Err(LayoutError::Version { major: *major, minor: *minor });
        }
        let (short_term, number) = (PublicKey(*short_term), u64::from_be_bytes(*number));
        Ok(Self { short_term, number, tag, boxed })
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let number = self.number.to_be_bytes();
        let padding = [0; PADDING_LEN];
        let parts: [&[u8]; 6] =
            [&[1, 0], &padding, &self.short_term.0, &number, self.tag, self.boxed];
        command::frame(Self::NAME, &parts, out);
    }
}
