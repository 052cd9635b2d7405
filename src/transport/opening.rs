//! What comes from a CURVE channel: boxes in, plain frames out, for a decoder that never sees a box.

use std::cell::RefCell;

use crate::proto::curve::{ChannelError, Opener};
use crate::wire::Limits;
use crate::wire::codec::{CodecError, Decoder, Item};
use crate::wire::curve::{MESSAGE_OVERHEAD, NotAMessage};

/// A larger buffer of plain frames is not kept, octets.
const PLAIN_BYTES_MAX: usize = 256 << 10;

thread_local! {
    /// One buffer a thread, not a connection: the inner decoder keeps what is incomplete.
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why no more can be read from a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpeningError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// Opens the boxes of one connection.
#[derive(Debug)]
pub(super) struct Opening {
    opener: Opener,
    /// Plain frames to messages.
    inner: Decoder,
}

impl Opening {
    pub(super) fn new(opener: Opener, limits: Limits) -> Self {
        Self { opener, inner: Decoder::new(limits) }
    }

    /// Limits of what carries the boxes: one frame a message, as large as the box of the largest
    /// plain frame.
    pub(super) fn outer_limits(limits: Limits) -> Limits {
        let frame_bytes_max = limits.frame_bytes_max.saturating_add(MESSAGE_OVERHEAD);
        Limits {
            frame_bytes_max,
            message_bytes_max: frame_bytes_max,
            message_frames_max: 1,
            ..limits
        }
    }

    /// The decoder of plain frames.
    pub(super) fn inner(&mut self) -> &mut Decoder {
        &mut self.inner
    }

    pub(super) fn in_message(&self) -> bool {
        self.inner.in_message()
    }

    /// Octets that have come of a message that is not complete.
    pub(super) fn bytes_arrived(&self) -> usize {
        self.inner.bytes_arrived()
    }

    /// Memory held, octets.
    pub(super) fn bytes_held(&self) -> usize {
        self.inner.bytes_held()
    }

    /// Opens what `outer` finds in `octets`, and hands all of it to `turn` at once. What came
    /// before a box that does not open is handed over as well.
    pub(super) fn open<T>(
        &mut self,
        outer: &mut Decoder,
        mut octets: &[u8],
        turn: impl FnOnce(&mut Decoder, &[u8]) -> T,
    ) -> Result<T, OpeningError> {
        PLAIN.with_borrow_mut(|plain| {
            plain.clear();
            let opened = self.open_into(outer, &mut octets, plain);
            let taken = turn(&mut self.inner, plain);
            if plain.capacity() > PLAIN_BYTES_MAX {
                *plain = Vec::new();
            }
            opened.map(|()| taken)
        })
    }

    fn open_into(
        &mut self,
        outer: &mut Decoder,
        octets: &mut &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), OpeningError> {
        while let Some(item) = outer.next(octets)? {
            match item {
                Item::Message(mut frames) => {
                    let message = frames.take_first().unwrap_or_default();
                    self.opener.open(message, plain)?;
                }
                Item::Command(body) => {
                    return Err(ChannelError::NotAMessage(NotAMessage { len: body.len() }).into());
                }
            }
        }
        Ok(())
    }
}
