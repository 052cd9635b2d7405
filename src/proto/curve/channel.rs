//! What a finished handshake leaves: a key, and a number in each direction.

use std::marker::PhantomData;

use crate::wire::curve::{MESSAGE_OVERHEAD, MessageFrame, NotAMessage};
use crate::wire::frame::{COMMAND, Header, LONG, MORE};

use super::crypto::{Crypto, Dryoc, Nonce, SharedKey, TAG_LEN};
use super::nonce::numbered;

/// Which side of the channel we are: the nonces of the two have different prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// We dialed, and knew the server's key before.
    Client,
    /// We were dialed.
    Server,
}

impl Side {
    /// The prefix of the nonces of what this side sends.
    fn prefix(self) -> &'static [u8; 16] {
        match self {
            Self::Client => b"CurveZMQMESSAGEC",
            Self::Server => b"CurveZMQMESSAGES",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Octets that end a connection: they are no box of this channel, or not the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// Something else than a MESSAGE.
    #[error(transparent)]
    NotAMessage(#[from] NotAMessage),
    /// The number of the box is not above that of the last one: it was sent before.
    #[error("a CURVE box with number {nonce} came after one with number {last}; it was replayed")]
    Replayed {
        /// Its number.
        nonce: u64,
        /// The last one taken.
        last: u64,
    },
    /// The box does not open.
    #[error("a CURVE box does not open; it was changed, or made with another key")]
    Forged,
    /// Flags that no frame has.
    #[error("a CURVE box has flags {flags:#04x}; only MORE and COMMAND exist there")]
    Flags {
        /// The octet inside the box.
        flags: u8,
    },
}

impl ChannelError {
    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotAMessage(_) => "curve_not_a_message",
            Self::Replayed { .. } => "curve_replayed",
            Self::Forged => "curve_forged",
            Self::Flags { .. } => "curve_flags",
        }
    }
}

/// Both directions of a channel, as a handshake leaves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Which side we are.
    pub side: Side,
    /// The key between the two short-term keys.
    pub key: SharedKey,
    /// The last number we used: 1 of a server's READY, 2 of a client's INITIATE.
    pub sent: u64,
    /// The last number the other side used.
    pub received: u64,
}

impl Channel {
    /// One end for what we send and one for what we receive.
    #[must_use]
    pub fn split(self) -> (Sealer, Opener) {
        let Self { side, key, sent, received } = self;
        let sealer = Sealer { key: key.clone(), side, last: sent, crypto: PhantomData };
        let opener = Opener { key, side: side.other(), last: received, crypto: PhantomData };
        (sealer, opener)
    }
}

fn nonce(side: Side, number: u64) -> Nonce {
    numbered(side.prefix(), number)
}

/// Makes boxes of frames, in the order in which they are to be sent.
#[derive(Debug)]
pub struct Sealer<C = Dryoc> {
    key: SharedKey,
    side: Side,
    last: u64,
    crypto: PhantomData<C>,
}

impl<C: Crypto> Sealer<C> {
    /// Octets that a frame grows by, at most.
    pub const OVERHEAD: usize = 9 + MESSAGE_OVERHEAD;

    /// Appends to `out` the MESSAGE frame that carries a plain frame with these `flags`
    /// ([`MORE`], [`COMMAND`]; [`LONG`] says nothing here).
    ///
    /// RFC 26 ends a channel before its numbers do: after 2^64 - 1 frames, which nobody sends.
    #[inline]
    pub fn seal(&mut self, flags: u8, body: &[u8], out: &mut Vec<u8>) {
        self.last = self.last.wrapping_add(1);
        out.reserve(body.len() + Self::OVERHEAD);
        MessageFrame::begin(self.last, body.len(), out);
        // The tag stands before the inside: it is filled in when that is done.
        let tag_at = out.len();
        out.extend_from_slice(&[0; TAG_LEN]);
        let inner = flags & MORE | (flags & COMMAND) >> 1;
        out.push(inner);
        out.extend_from_slice(body);
        if let Some((tag, text)) =
            out.get_mut(tag_at..).and_then(|boxed| boxed.split_first_chunk_mut::<TAG_LEN>())
        {
            *tag = C::seal(&self.key, &nonce(self.side, self.last), text);
        }
    }
}

/// Opens boxes, in the order in which they came.
#[derive(Debug)]
pub struct Opener<C = Dryoc> {
    key: SharedKey,
    /// The side that made them.
    side: Side,
    last: u64,
    crypto: PhantomData<C>,
}

impl<C: Crypto> Opener<C> {
    /// Appends to `plain` the frame that a MESSAGE carries, header and body. `message` is the body
    /// of a frame that is neither a command nor one of several.
    ///
    /// # Errors
    /// The channel is of no use any more.
    #[inline]
    pub fn open(&mut self, message: &[u8], plain: &mut Vec<u8>) -> Result<(), ChannelError> {
        let MessageFrame { number, tag, boxed } = MessageFrame::decode(message)?;
        // The text begins with its flags, where the header of the plain frame ends: that octet is
        // put back when the flags are read, and nothing has to be moved.
        let size = boxed.len().saturating_sub(1);
        let start = plain.len();
        Header::encode(0, size, plain);
        let Some(header_end) = plain.pop() else { return Err(ChannelError::Forged) };
        let text_at = plain.len();
        plain.extend_from_slice(boxed);
        let text = plain.get_mut(text_at..).unwrap_or_default();
        let flags = match self.open_text(number, tag, text) {
            Ok(flags) => flags,
            Err(error) => {
                plain.truncate(start);
                return Err(error);
            }
        };
        if let Some(octet) = plain.get_mut(text_at) {
            *octet = header_end;
        }
        if let Some(octet) = plain.get_mut(start) {
            *octet |= flags;
        }
        Ok(())
    }

    /// Opens a MESSAGE where it lies. Returns the flags of its plain frame, and where in `message`
    /// the body of that begins.
    ///
    /// # Errors
    /// The channel is of no use any more.
    pub fn open_in_place(&mut self, message: &mut [u8]) -> Result<(u8, usize), ChannelError> {
        let MessageFrame { number, tag, boxed } = MessageFrame::decode(message)?;
        let (tag, text_at) = (*tag, message.len() - boxed.len());
        let text = message.get_mut(text_at..).unwrap_or_default();
        Ok((self.open_text(number, &tag, text)?, text_at + 1))
    }

    /// Makes the inside of a box plain: one octet of flags, which are returned as those of a frame,
    /// and the body.
    #[inline]
    fn open_text(
        &mut self,
        number: u64,
        tag: &[u8; TAG_LEN],
        text: &mut [u8],
    ) -> Result<u8, ChannelError> {
        if number <= self.last {
            return Err(ChannelError::Replayed { nonce: number, last: self.last });
        }
        if !C::open(&self.key, &nonce(self.side, number), tag, text) {
            return Err(ChannelError::Forged);
        }
        let inner = text.first().copied().unwrap_or_default();
        if inner & !(MORE | INNER_COMMAND) != 0 || inner == MORE | INNER_COMMAND {
            return Err(ChannelError::Flags { flags: inner });
        }
        self.last = number;
        Ok(inner & MORE | (inner & INNER_COMMAND) << 1)
    }
}

/// The flag of a command inside a box.
const INNER_COMMAND: u8 = COMMAND >> 1;
const _: () = assert!(INNER_COMMAND == LONG);
