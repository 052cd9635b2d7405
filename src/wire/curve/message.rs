//! MESSAGE: what carries the traffic.

use super::super::frame::Header;
use super::TAG_LEN;

/// Octets of a MESSAGE besides what it carries: name, number, tag and flags.
pub const MESSAGE_OVERHEAD: usize = PREFIX.len() + 8 + TAG_LEN + 1;

const PREFIX: &[u8; 8] = b"\x07MESSAGE";

/// A frame on a CURVE channel that is no MESSAGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a frame of {len} octets on a CURVE channel is no MESSAGE of RFC 26, which has {MESSAGE_OVERHEAD} or more"
)]
pub struct NotAMessage {
    /// Its octets.
    pub len: usize,
}

/// A MESSAGE: one frame of ordinary traffic, in a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageFrame<'a> {
    /// The end of the nonce, which rises from box to box.
    pub number: u64,
    /// The tag of the box.
    pub tag: &'a [u8; TAG_LEN],
    /// Its inside: one octet of flags and the body of the plain frame.
    pub boxed: &'a [u8],
}

impl<'a> MessageFrame<'a> {
    /// Reads the body of a frame.
    ///
    /// # Errors
    /// It is no MESSAGE, or too short for one.
    #[inline]
    pub fn decode(body: &'a [u8]) -> Result<Self, NotAMessage> {
        let error = NotAMessage { len: body.len() };
        let rest = body.strip_prefix(PREFIX).ok_or(error)?;
        let (number, rest) = rest.split_first_chunk().ok_or(error)?;
        let (tag, boxed) = rest.split_first_chunk().ok_or(error)?;
        if boxed.is_empty() {
            return Err(error);
        }
        Ok(Self { number: u64::from_be_bytes(*number), tag, boxed })
    }

    /// Appends the frame up to the tag: its header, for a plain frame with `len` octets, the name
    /// and the number.
    #[inline]
    pub fn begin(number: u64, len: usize, out: &mut Vec<u8>) {
        Header::encode(0, MESSAGE_OVERHEAD + len, out);
        out.extend_from_slice(PREFIX);
        out.extend_from_slice(&number.to_be_bytes());
    }
}
