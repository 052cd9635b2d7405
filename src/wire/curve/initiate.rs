//! INITIATE: the client says who it is.

use super::super::command;
use super::{LayoutError, PAIR_BOX_LEN, TAG_LEN};
use crate::id::PublicKey;

/// The client's second command.
///
/// ```text
/// 0      9         105      113   129
/// +------+---------+--------+-----+--------------------------------+
/// | name | cookie  | number | tag | 128 and the metadata, boxed    |
/// +------+---------+--------+-----+--------------------------------+
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Initiate<'a> {
    /// What the server gave.
    pub cookie: &'a [u8; PAIR_BOX_LEN],
    /// The end of the nonce.
    pub number: u64,
    /// The tag of the box.
    pub tag: &'a [u8; TAG_LEN],
    /// Its inside, to be opened where it is: C, a vouch for C', metadata.
    pub boxed: &'a mut [u8],
}

/// What came out of the box of an INITIATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitiateText<'a> {
    /// The client's long-term key, C.
    pub key: PublicKey,
    /// Its word that C' is its own.
    pub vouch: &'a [u8; PAIR_BOX_LEN],
    /// Its metadata.
    pub metadata: &'a [u8],
}

impl<'a> Initiate<'a> {
    /// Its name.
    pub const NAME: &'static [u8] = b"INITIATE";
    /// Octets of the command without any metadata.
    pub const LEN_MIN: usize = 257;
    /// Octets inside the box without any metadata.
    pub const TEXT_LEN_MIN: usize = PublicKey::LEN + PAIR_BOX_LEN;

    /// Reads what follows the name.
    ///
    /// # Errors
    /// It is too short.
    pub fn decode(data: &'a mut [u8]) -> Result<Self, LayoutError> {
        let len = data.len() + Self::NAME.len() + 1;
        let error = LayoutError::Short { command: "INITIATE", len, least: Self::LEN_MIN };
        let (cookie, rest) = data.split_first_chunk_mut().ok_or(error)?;
        let (number, rest) = rest.split_first_chunk_mut().ok_or(error)?;
        let (tag, boxed) = rest.split_first_chunk_mut().ok_or(error)?;
        if boxed.len() < Self::TEXT_LEN_MIN {
            return Err(error);
        }
        Ok(Self { cookie, number: u64::from_be_bytes(*number), tag, boxed })
    }

    /// Appends the whole frame.
    pub fn encode(
        cookie: &[u8; PAIR_BOX_LEN],
        number: u64,
        tag: &[u8; TAG_LEN],
        boxed: &[u8],
        out: &mut Vec<u8>,
    ) {
        command::frame(Self::NAME, &[cookie, &number.to_be_bytes(), tag, boxed], out);
    }

    /// What goes into the box.
    #[must_use]
    pub fn text(key: &PublicKey, vouch: &[u8; PAIR_BOX_LEN], metadata: &[u8]) -> Vec<u8> {
        [&key.0[..], vouch, metadata].concat()
    }

    /// What came out of it, if it is long enough.
    #[must_use]
    pub fn read_text(text: &[u8]) -> Option<InitiateText<'_>> {
        let (key, rest) = text.split_first_chunk()?;
        let (vouch, metadata) = rest.split_first_chunk()?;
        Some(InitiateText { key: PublicKey(*key), vouch, metadata })
    }
}
