//! A large body that is still arriving.

use bytes::{BufMut, Bytes};

/// A large body that is still arriving. Its buffer grows with what has arrived, not with what was
/// announced, and ends up no larger than the body.
#[derive(Debug)]
pub struct LargeBody {
    octets: Vec<u8>,
    size: usize,
    more: bool,
}

impl LargeBody {
    /// First allocation, octets.
    const FIRST: usize = 16 << 10;

    /// A body of `size` octets, of which none has arrived.
    pub(super) fn new(size: usize, more: bool) -> Self {
        Self { octets: Vec::new(), size, more }
    }

    /// Octets still to come.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.size - self.octets.len()
    }

    /// Octets that have arrived.
    #[must_use]
    pub fn arrived(&self) -> usize {
        self.octets.len()
    }

    /// Room for the next octets of the body and of nothing else: read from the socket into it.
    /// Its buffer doubles at most.
    pub fn spare(&mut self) -> impl BufMut + '_ {
        let (missing, arrived) = (self.missing(), self.octets.len());
        if self.octets.capacity() == arrived {
            self.octets.reserve_exact(missing.min(arrived.max(Self::FIRST)));
        }
        let room = self.octets.capacity() - arrived;
        (&mut self.octets).limit(missing.min(room))
    }

    /// Memory held, octets.
    pub(super) fn bytes_held(&self) -> usize {
        self.octets.capacity()
    }

    /// Whether another frame of the message follows.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// Moves what belongs to the body from the front of `input`.
    pub(super) fn take_from(&mut self, input: &mut &[u8]) {
        while self.missing() > 0 && !input.is_empty() {
            let mut spare = self.spare();
            let (now, later) = input.split_at(input.len().min(spare.remaining_mut()));
            spare.put_slice(now);
            *input = later;
        }
    }

    /// The body, complete; without a copy, since the buffer has its very size.
    pub(super) fn into_bytes(self) -> Bytes {
        self.octets.into()
    }
}
