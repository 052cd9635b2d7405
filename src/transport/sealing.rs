//! What goes to a CURVE channel: plain frames in, boxes out, in the order of their writing.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::proto::curve::{Dryoc, Sealer};
use crate::wire::codec::{Encoder, Shelf};

use super::opening::ASIDE_BYTES;
use super::stream::WriteHalf;
use super::workbench::{Lent, Workbench};

/// Plain octets that are put into boxes before they are written; one frame may be more.
const BATCH_BYTES: usize = 64 << 10;
/// A larger buffer of boxes is not kept, octets.
const SEALED_BYTES_MAX: usize = 256 << 10;

/// Frames that have left the outbox of a connection and are not written.
#[derive(Debug)]
pub(super) struct Sealing {
    sealer: Lent<Sealer, Vec<u8>>,
    aside: Option<Aside>,
    /// Frames that are in no box yet.
    plain: Encoder,
    /// Boxes.
    sealed: Vec<u8>,
    /// Octets of them that have been written.
    written: usize,
    /// Octets of the plain frames that are in them.
    covers: usize,
}

/// Where large boxes are made.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) bench: Workbench,
    /// Where their buffers come from and go to.
    pub(super) shelf: Arc<dyn Shelf>,
}

/// What one write did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Octets on the wire.
    pub(super) octets: usize,
    /// Octets of plain frames of which the last box was written.
    pub(super) plain: usize,
}

impl Sealing {
    /// Large boxes are made aside, if that is given.
    pub(super) fn new(sealer: Sealer, aside: Option<Aside>) -> Self {
        let (plain, sealed) = (Encoder::default(), Vec::new());
        Self { sealer: Lent::Here(sealer), aside, plain, sealed, written: 0, covers: 0 }
    }

    /// Octets of plain frames that are not written.
    pub(super) fn waiting(&self) -> usize {
        self.plain.len() + self.covers
    }

    /// Memory held, octets.
    pub(super) fn bytes_held(&self) -> usize {
        let away = if self.sealer.is_away() { self.covers } else { 0 };
        self.plain.bytes_held() + self.sealed.capacity() + away
    }

    /// Whether the frames taken last are all in boxes, and others can be taken.
    pub(super) fn wants_more(&self) -> bool {
        self.plain.is_empty()
    }

    /// Takes frames to be sent after what is here, which has to be in boxes already. Returns the
    /// encoder of those.
    pub(super) fn take(&mut self, plain: Encoder) -> Encoder {
        std::mem::replace(&mut self.plain, plain)
    }

    /// Waits for the box that is made at the bench, if one is.
    pub(super) fn poll_made(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sealed) = ready!(self.sealer.poll_back(cx)) {
            self.sealed = sealed;
        }
        Poll::Ready(())
    }

    /// Writes once, after it has put frames into boxes if there are none; nothing while a box is made
    /// at the bench.
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them; what was not written still waits. `Other`: a
    /// box was not made, as the thread for it has failed.
    pub(super) fn write(&mut self, writer: &WriteHalf) -> io::Result<Written> {
        if self.sealed.is_empty() {
            self.seal_batch()?;
        }
        let rest = self.sealed.get(self.written..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Written::default());
        }
        let octets = match writer.try_write(rest)? {
            0 => return Err(ErrorKind::WriteZero.into()),
            octets => octets,
        };
        self.written += octets;
        let mut plain = 0;
        if self.written == self.sealed.len() {
            (plain, self.covers, self.written) = (self.covers, 0, 0);
            self.sealed.clear();
            if self.sealed.capacity() > SEALED_BYTES_MAX || self.plain.is_empty() {
                let buffer = std::mem::take(&mut self.sealed);
                if let Some(aside) = &self.aside {
                    aside.shelf.put(buffer);
                }
            }
        }
        Ok(Written { octets, plain })
    }

    fn seal_batch(&mut self) -> io::Result<()> {
        let before = self.plain.len();
        let sealer = match &mut self.sealer {
            Lent::Here(sealer) => sealer,
            Lent::Away(_) => return Ok(()),
            Lent::Lost => return Err(io::Error::other("the thread that makes boxes has failed")),
        };
        let here_max = if self.aside.is_some() { ASIDE_BYTES } else { usize::MAX };
        let sealed = &mut self.sealed;
        while sealed.len() < BATCH_BYTES
            && self.plain.next_body_len() < here_max
            && self.plain.take_frame(|flags, body| sealer.seal(flags, body, sealed)).is_some()
        {
        }
        if let Some(Aside { bench, shelf }) = self.aside.as_ref().filter(|_| self.sealed.is_empty())
            && let Some((flags, body)) = self.plain.take_frame_shared()
        {
            let shelf = shelf.clone();
            self.sealer.lend(bench, move |sealer| {
                let mut sealed = shelf.buffer(body.len() + Sealer::<Dryoc>::OVERHEAD);
                sealer.seal(flags, &body, &mut sealed);
                sealed
            });
        }
        self.covers = before - self.plain.len();
        Ok(())
    }
}
