//! A large body that is still arriving.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes};

/// Where the buffers of large bodies go when nobody reads them any more, and the next ones come
/// from: memory that the system does not have to map and clear again.
pub trait Shelf: fmt::Debug + Send + Sync {
    /// An empty buffer that holds `size` octets and hardly more, if there is one.
    fn take(&self, size: usize) -> Option<Vec<u8>>;

    /// Keeps a buffer for a later body, or frees it.
    fn put(&self, buffer: Vec<u8>);

    /// An empty buffer that holds `size` octets: one that was put here, or a new one.
    fn buffer(&self, size: usize) -> Vec<u8> {
        self.take(size).unwrap_or_else(|| Vec::with_capacity(size.next_multiple_of(PAGE)))
    }
}

/// A new buffer that is to be kept ends where a page of memory does, octets: so it also holds a body
/// that is a little larger.
const PAGE: usize = 4096;

/// A large body that is still arriving. Its buffer grows with what has arrived, not with what was
/// announced, and ends up no larger than the body, or hardly so if it is from a [`Shelf`].
#[derive(Debug)]
pub struct LargeBody {
    buffer: Buffer,
    size: usize,
    more: bool,
}

/// Octets, and the shelf that their buffer goes to in the end.
#[derive(Debug, Default)]
struct Buffer {
    octets: Vec<u8>,
    shelf: Option<Arc<dyn Shelf>>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(shelf) = &self.shelf {
            shelf.put(std::mem::take(&mut self.octets));
        }
    }
}

impl LargeBody {
    /// First allocation, octets.
    const FIRST: usize = 16 << 10;

    /// A body of `size` octets, of which none has arrived.
    pub(super) fn new(size: usize, more: bool) -> Self {
        Self { buffer: Buffer::default(), size, more }
    }

    /// Octets of the whole body.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Octets still to come.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.size - self.arrived()
    }

    /// Octets that have arrived.
    #[must_use]
    pub fn arrived(&self) -> usize {
        self.buffer.octets.len()
    }

    /// Goes on in a buffer of `shelf`, if that has one for it; its buffer ends there in any case.
    pub fn shelve(&mut self, shelf: Arc<dyn Shelf>) {
        if let Some(mut octets) = shelf.take(self.size) {
            octets.extend_from_slice(&self.buffer.octets);
            self.buffer.octets = octets;
        }
        self.buffer.shelf = Some(shelf);
    }

    /// Room for the next octets of the body and of nothing else: read from the socket into it.
    /// Its buffer doubles at most.
    pub fn spare(&mut self) -> impl BufMut + '_ {
        let (missing, arrived) = (self.missing(), self.arrived());
        let octets = &mut self.buffer.octets;
        if octets.capacity() == arrived {
            let wanted = arrived + missing.min(arrived.max(Self::FIRST));
            let page = if self.buffer.shelf.is_some() { PAGE } else { 1 };
            octets.reserve_exact(wanted.next_multiple_of(page) - arrived);
        }
        let room = octets.capacity() - arrived;
        octets.limit(missing.min(room))
    }

    /// The octets that have arrived, to be changed where they lie.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.octets
    }

    /// Memory held, octets.
    pub(super) fn bytes_held(&self) -> usize {
        self.buffer.octets.capacity()
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

    /// The body, complete, without a copy.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        match self.buffer.shelf {
            // The buffer has its very size.
            None => std::mem::take(&mut self.buffer.octets).into(),
            Some(_) => Bytes::from_owner(self.buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct One(Mutex<Option<Vec<u8>>>);

    impl Shelf for One {
        fn take(&self, _: usize) -> Option<Vec<u8>> {
            self.0.lock().unwrap().take()
        }

        fn put(&self, mut buffer: Vec<u8>) {
            buffer.clear();
            *self.0.lock().unwrap() = Some(buffer);
        }
    }

    fn fill(body: &mut LargeBody, octet: u8, count: usize) {
        let octets = vec![octet; count];
        body.take_from(&mut &octets[..]);
    }

    #[test]
    fn a_body_goes_on_in_the_buffer_of_one_that_is_read() {
        let shelf = Arc::new(One::default());
        let mut first = LargeBody::new(100_000, false);
        fill(&mut first, 1, 70_000);
        first.shelve(shelf.clone());
        fill(&mut first, 2, 30_000);
        let first = first.into_bytes();
        let (start, part) = (first.as_ptr(), first.slice(69_999..));
        drop(first);
        assert!(shelf.0.lock().unwrap().is_none(), "a part of it is still read");
        assert_eq!(part[..2], [1, 2]);
        drop(part);

        let mut second = LargeBody::new(100_000, false);
        fill(&mut second, 3, 70_000);
        second.shelve(shelf.clone());
        fill(&mut second, 4, 30_000);
        let second = second.into_bytes();
        assert_eq!(second.as_ptr(), start);
        assert!(second == [vec![3; 70_000], vec![4; 30_000]].concat(), "nothing of the first one");
    }

    #[test]
    fn a_body_that_ends_halfway_leaves_its_buffer() {
        let shelf = Arc::new(One(Mutex::new(Some(Vec::with_capacity(100_000)))));
        let mut body = LargeBody::new(100_000, false);
        fill(&mut body, 1, 10);
        body.shelve(shelf.clone());
        assert_eq!((body.arrived(), body.bytes_held()), (10, 100_000));
        drop(body);
        assert_eq!(shelf.0.lock().unwrap().as_ref().map(Vec::capacity), Some(100_000));
    }
}
