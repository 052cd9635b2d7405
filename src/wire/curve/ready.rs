//! READY: the server is content.

use super::super::command;
use super::{LayoutError, TAG_LEN};

/// The server's last command of the handshake.
///
/// ```text
/// 0      6        14    30
/// +------+--------+-----+---------------------+
/// | name | number | tag | metadata, boxed     |
/// +------+--------+-----+---------------------+
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Ready<'a> {
    /// The end of the nonce.
    pub number: u64,
    /// The tag of the box.
    pub tag: &'a [u8; TAG_LEN],
    /// Its inside, to be opened where it is: metadata.
    pub boxed: &'a mut [u8],
}

impl<'a> Ready<'a> {
    /// Its name.
    pub const NAME: &'static [u8] = b"READY";
    /// Octets of the command without any metadata.
    pub const LEN_MIN: usize = 30;

    /// Reads what follows the name.
    ///
    /// # Errors
    /// It is too short.
    pub fn decode(data: &'a mut [u8]) -> Result<Self, LayoutError> {
        let len = data.len() + Self::NAME.len() + 1;
        let error = LayoutError::Short { command: "READY", len, least: Self::LEN_MIN };
        let (number, rest) = data.split_first_chunk_mut().ok_or(error)?;
        let (tag, boxed) = rest.split_first_chunk_mut().ok_or(error)?;
        Ok(Self { number: u64::from_be_bytes(*number), tag, boxed })
    }

    /// Appends the whole frame.
    pub fn encode(number: u64, tag: &[u8; TAG_LEN], boxed: &[u8], out: &mut Vec<u8>) {
        command::frame(Self::NAME, &[&number.to_be_bytes(), tag, boxed], out);
    }
}
