//! What comes from a CURVE channel: boxes in, plain frames out, for a decoder that never sees a box.

use std::cell::RefCell;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::proto::curve::{ChannelError, Opener};
use crate::wire::Limits;
use crate::wire::codec::{CodecError, Decoder, Item};
use crate::wire::curve::{MESSAGE_OVERHEAD, NotAMessage};
use crate::wire::frame::{COMMAND, Header, MORE};

use super::workbench::{Lent, Workbench};

/// Boxes of so many octets and more are opened and made at a workbench: to wait for one takes longer
/// than all that is otherwise done in a turn.
pub(super) const ASIDE_BYTES: usize = 128 << 10;

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
    #[error("a box was not opened, as the thread for it has failed")]
    Workbench,
}

/// Opens the boxes of one connection.
#[derive(Debug)]
pub(super) struct Opening {
    opener: Lent<Opener, Result<PlainFrame, ChannelError>>,
    bench: Option<Workbench>,
    /// Octets of the box at the bench.
    away_bytes: usize,
    /// Plain frames to messages.
    inner: Decoder,
}

/// What was in a large box.
struct PlainFrame {
    flags: u8,
    body: Bytes,
}

impl Opening {
    /// Large boxes are opened at the bench, if there is one.
    pub(super) fn new(opener: Opener, bench: Option<Workbench>, limits: Limits) -> Self {
        let (opener, inner) = (Lent::Here(opener), Decoder::new(limits));
        Self { opener, bench, away_bytes: 0, inner }
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
        self.inner.in_message() || self.is_away()
    }

    /// Whether a box is being opened at the bench: nothing can be read until it is.
    pub(super) fn is_away(&self) -> bool {
        self.opener.is_away()
    }

    /// Has the large box opened at the bench that `outer` has just completed, if there are both.
    pub(super) fn open_aside(&mut self, outer: &mut Decoder) {
        let Some(bench) = &self.bench else { return };
        let Some(mut boxed) = outer.take_body(ASIDE_BYTES) else { return };
        self.away_bytes = boxed.size();
        self.opener.lend(bench, move |opener| {
            let (flags, body_at) = opener.open_in_place(boxed.octets_mut())?;
            Ok(PlainFrame { flags, body: boxed.into_bytes().slice(body_at..) })
        });
    }

    /// Waits for the box at the bench, and hands its frame to `turn`.
    pub(super) fn poll_aside<T>(
        &mut self,
        cx: &mut Context<'_>,
        turn: impl FnOnce(&mut Decoder, &[u8]) -> T,
    ) -> Poll<Result<T, OpeningError>> {
        let opened = ready!(self.opener.poll_back(cx));
        self.away_bytes = 0;
        let PlainFrame { flags, body } = opened.ok_or(OpeningError::Workbench)??;
        let mut octets = Vec::new();
        if flags & COMMAND == 0 {
            self.inner.take_whole(flags & MORE != 0, body)?;
        } else {
            Header::encode(flags, body.len(), &mut octets);
            octets.extend_from_slice(&body);
        }
        Poll::Ready(Ok(turn(&mut self.inner, &octets)))
    }

    /// Octets that have come of a message that is not complete.
    pub(super) fn bytes_arrived(&self) -> usize {
        self.inner.bytes_arrived() + self.away_bytes
    }

    /// Memory held, octets.
    pub(super) fn bytes_held(&self) -> usize {
        self.inner.bytes_held() + self.away_bytes
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
                    let Lent::Here(opener) = &mut self.opener else {
                        return Err(OpeningError::Workbench);
                    };
                    opener.open(frames.take_first().unwrap_or_default(), plain)?;
                }
                Item::Command(body) => {
                    return Err(ChannelError::NotAMessage(NotAMessage { len: body.len() }).into());
                }
            }
        }
        Ok(())
    }
}
