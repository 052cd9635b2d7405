//! What goes to a CURVE channel: plain frames in, boxes out, in the order of their writing.

use std::io::{self, ErrorKind};

use crate::proto::curve::Sealer;
use crate::wire::codec::Encoder;

use super::stream::WriteHalf;

/// Plain octets that are put into boxes before they are written; one frame may be more.
const BATCH_BYTES: usize = 64 << 10;
/// A larger buffer of boxes is not kept, octets.
const SEALED_BYTES_MAX: usize = 256 << 10;

/// Frames that have left the outbox of a connection and are not written.
#[derive(Debug)]
pub(super) struct Sealing {
    sealer: Sealer,
    /// Frames that are in no box yet.
    plain: Encoder,
    /// Boxes.
    sealed: Vec<u8>,
    /// Octets of them that have been written.
    written: usize,
    /// Octets of the plain frames that are in them.
    covers: usize,
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
    pub(super) fn new(sealer: Sealer) -> Self {
        Self { sealer, plain: Encoder::default(), sealed: Vec::new(), written: 0, covers: 0 }
    }

    /// Octets of plain frames that are not written.
    pub(super) fn waiting(&self) -> usize {
        self.plain.len() + self.covers
    }

    /// Memory held, octets.
    pub(super) fn bytes_held(&self) -> usize {
        self.plain.bytes_held() + self.sealed.capacity()
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

    /// Writes once, after it has put frames into boxes if there are none.
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them; what was not written still waits.
    pub(super) fn write(&mut self, writer: &WriteHalf) -> io::Result<Written> {
        if self.sealed.is_empty() {
            self.seal_batch();
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
                self.sealed = Vec::new();
            }
        }
        Ok(Written { octets, plain })
    }

    fn seal_batch(&mut self) {
        let before = self.plain.len();
        let (sealer, sealed) = (&mut self.sealer, &mut self.sealed);
        while sealed.len() < BATCH_BYTES
            && self.plain.take_frame(|flags, body| sealer.seal(flags, body, sealed)).is_some()
        {
        }
        self.covers = before - self.plain.len();
    }
}
