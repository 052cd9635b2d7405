//! The parts behind prefix and coordinates.

use bytes::Bytes;

use super::part;
use crate::wire::message::Frames;

/// The parts of a payload, one after the other; they may be empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Payload<'a>(Parts<'a>);

#[derive(Debug, Clone, Copy)]
enum Parts<'a> {
    /// Sized parts, all of them whole, in a frame that may lie in `shared`.
    Sized { rest: &'a [u8], count: usize, shared: Option<&'a Bytes> },
    /// A frame for each.
    Frames(Frames<'a>),
    /// What is to be written.
    Given(&'a [Bytes]),
}

impl Default for Parts<'_> {
    fn default() -> Self {
        Self::Given(&[])
    }
}

impl<'a> Payload<'a> {
    /// `count` sized parts, which were checked to be whole.
    pub(super) fn sized(rest: &'a [u8], count: usize, shared: Option<&'a Bytes>) -> Self {
        Self(Parts::Sized { rest, count, shared })
    }

    /// A part for each frame.
    pub(super) fn frames(frames: Frames<'a>) -> Self {
        Self(Parts::Frames(frames))
    }

    /// How many parts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Parts::Sized { count, .. } => count,
            Parts::Frames(frames) => frames.len(),
            Parts::Given(parts) => parts.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of this payload as a buffer of its own, without a copy where that can be.
    #[must_use]
    pub fn share(&self, part: &'a [u8]) -> Bytes {
        let within = |whole: &Bytes| {
            let (all, one) = (whole.as_ptr_range(), part.as_ptr_range());
            !part.is_empty() && all.start <= one.start && one.end <= all.end
        };
        let whole = match self.0 {
            Parts::Sized { shared, .. } => shared.filter(|shared| within(shared)),
            Parts::Frames(frames) => frames.parts().1.iter().find(|large| within(large)),
            Parts::Given(parts) => parts.iter().find(|given| within(given)),
        };
        whole.map_or_else(|| Bytes::copy_from_slice(part), |whole| whole.slice_ref(part))
    }
}

/// What is to be written.
impl<'a> From<&'a [Bytes]> for Payload<'a> {
    fn from(parts: &'a [Bytes]) -> Self {
        Self(Parts::Given(parts))
    }
}

impl<'a> Iterator for Payload<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match &mut self.0 {
            Parts::Sized { rest, count, .. } => {
                *count = count.checked_sub(1)?;
                part::take(rest, 0).ok()
            }
            Parts::Frames(frames) => frames.next(),
            Parts::Given(parts) => {
                let (first, rest) = parts.split_first()?;
                *parts = rest;
                Some(first)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}
