//! A message: frames that travel together, kept as they stood on the wire.
//!
//! The broker forwards bodies it never looks into. So a message is not a list of buffers but one
//! run of encoded frames (the *head*); only bodies of [`LARGE`] octets and more lie beside it, in a
//! buffer of their own, with just their header in the head. A small message is forwarded with a
//! single copy, a large body with none.

use bytes::Bytes;
use smallvec::SmallVec;

use super::frame::{HEADER_LEN_MAX, Header, MORE};

/// Bodies of this many octets and more have a buffer of their own.
pub const LARGE: usize = 4096;

/// Octets of encoded frames that a [`Message`] holds within itself, without a buffer.
const INLINE: usize = 104;

/// A view of some frames of a message.
///
/// It can be read frame by frame from the front; what is left is again a view of frames, ready to
/// be forwarded. The views the decoder hands out hold complete frames only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frames<'a> {
    head: &'a [u8],
    large: &'a [Bytes],
    count: usize,
}

impl<'a> Frames<'a> {
    /// The empty frame before a body (RFC 28), with more frames to come.
    pub const DELIMITER: Frames<'static> = Frames { head: &[MORE, 0], large: &[], count: 1 };

    /// A view of `count` complete frames in `head`, whose large bodies are in `large`, in order.
    pub(super) fn new(head: &'a [u8], large: &'a [Bytes], count: usize) -> Self {
        Self { head, large, count }
    }

    /// Frames left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no frame is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Octets that the frames take in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head.len() + self.large.iter().map(Bytes::len).sum::<usize>()
    }

    /// Of those, octets that are copied wherever the frames go; the rest is shared.
    #[must_use]
    pub fn bytes_copied(&self) -> usize {
        self.head.len()
    }

    /// What follows `prefix`, the encoding of the first `count` frames, if `self` begins with it.
    #[inline]
    pub(super) fn strip_prefix(&self, prefix: &[u8], count: usize) -> Option<Self> {
        let head = self.head.strip_prefix(prefix)?;
        Some(Frames { head, large: self.large, count: self.count.saturating_sub(count) })
    }

    /// The first `LEN` octets of the encoding, which are to be `count` frames, and what follows.
    #[inline]
    pub(super) fn split_prefix<const LEN: usize>(
        &self,
        count: usize,
    ) -> Option<(&'a [u8; LEN], Self)> {
        let (prefix, head) = self.head.split_first_chunk()?;
        let rest = Frames { head, large: self.large, count: self.count.saturating_sub(count) };
        Some((prefix, rest))
    }

    /// The encoded frames, and the large bodies that belong between them.
    pub(super) fn parts(&self) -> (&'a [u8], &'a [Bytes]) {
        (self.head, self.large)
    }

    /// The encoded frames that stand in `self` before `rest`, a later view of the same message.
    #[must_use]
    pub fn before(&self, rest: &Self) -> Self {
        let cut = self.head.len().saturating_sub(rest.head.len());
        let large = self.large.len().saturating_sub(rest.large.len());
        Frames {
            head: self.head.get(..cut).unwrap_or_default(),
            large: self.large.get(..large).unwrap_or_default(),
            count: self.count.saturating_sub(rest.count),
        }
    }

    /// Takes the first frame and returns its body.
    #[inline]
    pub fn take_first(&mut self) -> Option<&'a [u8]> {
        if let Some((&[flags, size], after)) = self.head.split_first_chunk()
            && flags <= MORE
        {
            let (body, rest) = after.split_at_checked(usize::from(size))?;
            self.head = rest;
            self.count = self.count.saturating_sub(1);
            return Some(body);
        }
        self.take_first_long()
    }

    fn take_first_long(&mut self) -> Option<&'a [u8]> {
        let header = Header::decode(self.head).ok().flatten()?;
        let size = usize::try_from(header.size).ok()?;
        let after = self.head.get(header.len..)?;
        let body = if size < LARGE {
            let (body, rest) = after.split_at_checked(size)?;
            self.head = rest;
            body
        } else {
            let (body, rest) = self.large.split_first()?;
            self.head = after;
            self.large = rest;
            body
        };
        self.count = self.count.saturating_sub(1);
        Some(body)
    }

    /// A copy that stands on its own: small frames in a buffer of their exact size, large bodies
    /// shared.
    #[must_use]
    pub fn to_message(&self) -> Message {
        let mut message = Message::default();
        message.assign(self);
        message
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.take_first()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

/// Frames that stand on their own: a message, or the body of a request that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    head: SmallVec<[u8; INLINE]>,
    large: Vec<Bytes>,
    count: usize,
}

impl Message {
    /// A message of the given frames; at least one, or nothing can be sent.
    #[must_use]
    pub fn new<I>(frames: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Bytes>,
    {
        let mut frames = frames.into_iter().map(Into::into).peekable();
        let mut message = Self::default();
        while let Some(body) = frames.next() {
            let more = if frames.peek().is_some() { MORE } else { 0 };
            if body.len() < LARGE {
                message.push_small(more, &body);
            } else {
                let mut header = Vec::with_capacity(HEADER_LEN_MAX);
                Header::encode(more, body.len(), &mut header);
                message.head.extend_from_slice(&header);
                message.large.push(body);
                message.count += 1;
            }
        }
        message.head.shrink_to_fit();
        message
    }

    /// Appends a frame of less than [`LARGE`] octets.
    #[inline]
    fn push_small(&mut self, more: u8, body: &[u8]) {
        if let Ok(size) = u8::try_from(body.len()) {
            self.head.reserve(2 + body.len());
            self.head.extend_from_slice(&[more, size]);
        } else {
            let mut header = Vec::with_capacity(HEADER_LEN_MAX);
            Header::encode(more, body.len(), &mut header);
            self.head.reserve(header.len() + body.len());
            self.head.extend_from_slice(&header);
        }
        self.head.extend_from_slice(body);
        self.count += 1;
    }

    /// Becomes what [`Frames::to_message`] gives, without being moved.
    #[inline]
    pub fn assign(&mut self, frames: &Frames<'_>) {
        self.clear();
        self.head.reserve_exact(frames.head.len());
        self.head.extend_from_slice(frames.head);
        self.large.reserve_exact(frames.large.len());
        self.large.extend_from_slice(frames.large);
        self.count = frames.count;
    }

    /// Keeps no frame, and no memory.
    #[inline]
    pub fn clear(&mut self) {
        self.head.clear();
        if self.head.spilled() {
            self.head = SmallVec::new();
        }
        if self.large.capacity() > 0 {
            self.large = Vec::new();
        }
        self.count = 0;
    }

    /// A view of all its frames.
    #[must_use]
    pub fn frames(&self) -> Frames<'_> {
        Frames::new(&self.head, &self.large, self.count)
    }

    /// The frames of all `parts`, one after the other.
    #[must_use]
    pub fn joined(parts: &[Self]) -> Self {
        let mut whole = (Vec::new(), Vec::new(), 0);
        for part in parts {
            let mut last = part.frames();
            while last.count > 1 && last.take_first().is_some() {}
            let at = whole.0.len() + part.head.len() - last.head.len();
            whole.0.extend_from_slice(&part.head);
            whole.1.extend_from_slice(&part.large);
            whole.2 += part.count;
            let more = if std::ptr::eq(part, parts.last().unwrap_or(part)) { 0 } else { MORE };
            if let Some(flags) = whole.0.get_mut(at) {
                *flags = *flags & !MORE | more;
            }
        }
        Self { head: SmallVec::from_slice(&whole.0), large: whole.1, count: whole.2 }
    }

    /// The first frame: all there is of a message that has one. Empty if there is none.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        self.frames().take_first().unwrap_or_default()
    }

    /// Memory the message holds, octets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let table = self.large.capacity() * size_of::<Bytes>();
        self.frames().bytes() + table
    }
}

/// A message of one frame.
macro_rules! one_frame {
    ($($body:ty),*) => {$(
        impl From<$body> for Message {
            #[inline]
            fn from(body: $body) -> Self {
                let octets: &[u8] = body.as_ref();
                if octets.len() >= LARGE {
                    return Self::new([body]);
                }
                let mut message = Self::default();
                message.head.reserve_exact(HEADER_LEN_MAX + octets.len());
                message.push_small(0, octets);
                message
            }
        }
    )*};
}
one_frame!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

/// A message of as many frames.
impl<T: Into<Bytes>, const FRAMES: usize> From<[T; FRAMES]> for Message {
    fn from(frames: [T; FRAMES]) -> Self {
        Self::new(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_in_order_large_ones_too() {
        let bodies = [vec![1; 3], vec![2; LARGE], vec![], vec![3; LARGE - 1], vec![4; LARGE + 1]];
        let message = Message::new(bodies.clone());
        assert_eq!(message.frames().len(), 5);
        assert_eq!(message.frames().map(<[u8]>::to_vec).collect::<Vec<_>>(), bodies);
    }

    #[test]
    fn a_message_divides_into_what_was_read_and_what_is_left() {
        let message = Message::new(vec![vec![1; 3], vec![2; LARGE], vec![3; 5]]);
        let whole = message.frames();
        let mut rest = whole;
        rest.take_first();
        rest.take_first();
        let before = whole.before(&rest);
        assert_eq!((before.len(), rest.len()), (2, 1));
        assert_eq!(before.map(<[u8]>::len).collect::<Vec<_>>(), [3, LARGE]);
        assert_eq!(rest.to_message(), Message::new(vec![vec![3; 5]]));
    }

    #[test]
    fn joined_parts_are_one_message_in_their_order() {
        let parts = [
            Message::new([vec![1; 3], vec![2; LARGE]]),
            Message::new([vec![3; LARGE]]),
            Message::new([vec![], vec![4; 2]]),
        ];
        let all = [vec![1; 3], vec![2; LARGE], vec![3; LARGE], vec![], vec![4; 2]];
        assert_eq!(Message::joined(&parts), Message::new(all));
        assert_eq!(Message::joined(&parts[1..2]), parts[1]);
        assert_eq!(Message::joined(&[]), Message::default());
        assert_eq!(parts[0].first(), [1, 1, 1]);
    }

    #[test]
    fn a_view_of_broken_octets_ends_instead_of_panicking() {
        for head in [&b"\x00\x05abc"[..], b"\xff", b"\x02\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(Frames::new(head, &[], 1).take_first(), None);
        }
    }
}
