//! Messages and commands to octets.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::wire::frame::{self, Header};
use crate::wire::message::{Frames, LARGE};

/// Octets on their way out: small frames in one run, large bodies beside it, written together.
#[derive(Debug, Default)]
pub struct Encoder {
    run: Vec<u8>,
    /// Octets of `run` that have been written.
    written: usize,
    /// Large bodies: each follows the octets of `run` before its position.
    large: VecDeque<(usize, Bytes)>,
    /// Octets of `large` not yet written.
    large_bytes: usize,
}

/// The body of a frame that waits.
enum Body<'a> {
    /// It has a buffer of its own.
    Shared(&'a Bytes),
    /// It is a part of the run.
    Run(&'a [u8]),
    /// It lay in pieces.
    Gathered(Vec<u8>),
}

impl Encoder {
    /// An encoder that writes into `run`, an empty buffer with whatever capacity it brings.
    #[must_use]
    pub fn with_buffer(mut run: Vec<u8>) -> Self {
        run.clear();
        Self { run, ..Self::default() }
    }

    /// Gives back the buffer, leaving nothing.
    #[must_use]
    pub fn take_buffer(&mut self) -> Vec<u8> {
        self.written = 0;
        std::mem::take(&mut self.run)
    }

    /// Octets not yet written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.run.len() - self.written + self.large_bytes
    }

    /// Whether everything has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held, octets.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.run.capacity() + self.large_bytes + self.large.capacity() * size_of::<(usize, Bytes)>()
    }

    /// Appends octets that are encoded already: a greeting, a command.
    #[inline]
    pub fn octets(&mut self, octets: &[u8]) {
        self.run.extend_from_slice(octets);
    }

    /// Appends one frame of a message, to be followed by another one.
    #[inline]
    pub fn frame(&mut self, body: &[u8]) {
        Header::encode(frame::MORE, body.len(), &mut self.run);
        self.run.extend_from_slice(body);
    }

    /// Appends the last frame of a message.
    #[inline]
    pub fn last_frame(&mut self, body: &[u8]) {
        Header::encode(0, body.len(), &mut self.run);
        self.run.extend_from_slice(body);
    }

    /// Appends the header of a last frame of `len` octets, which are to follow in pieces, by
    /// [`Self::octets`] and [`Self::shared`].
    #[inline]
    pub fn last_header(&mut self, len: usize) {
        Header::encode(0, len, &mut self.run);
    }

    /// Appends octets of a frame that has its header; many of them are not copied.
    pub fn shared(&mut self, octets: Bytes) {
        if octets.len() < LARGE {
            self.run.extend_from_slice(&octets);
        } else {
            self.large_bytes += octets.len();
            self.large.push_back((self.run.len(), octets));
        }
    }

    /// Appends frames as they stand, the last one with the flag it has.
    #[inline]
    pub fn frames(&mut self, frames: &Frames<'_>) {
        match frames.parts() {
            (head, []) => self.run.extend_from_slice(head),
            _ => self.frames_with_large(*frames),
        }
    }

    fn frames_with_large(&mut self, mut rest: Frames<'_>) {
        while let (head, [body, ..]) = rest.parts() {
            let large_left = rest.parts().1.len();
            while rest.parts().1.len() == large_left {
                if rest.take_first().is_none() {
                    return;
                }
            }
            // Everything up to and with the header of the large frame, then its body.
            let upto = head.len() - rest.parts().0.len();
            self.run.extend_from_slice(head.get(..upto).unwrap_or_default());
            self.large.push_back((self.run.len(), body.clone()));
            self.large_bytes += body.len();
        }
        self.run.extend_from_slice(rest.parts().0);
    }

    /// Appends frames that another frame will follow: the last one gets the MORE flag.
    pub fn frames_and_more(&mut self, frames: &Frames<'_>) {
        let mut rest = *frames;
        let mut last = rest;
        while rest.len() > 1 {
            rest.take_first();
            last = rest;
        }
        let flags_from_end = last.parts().0.len();
        self.frames(frames);
        let at = self.run.len().wrapping_sub(flags_from_end);
        if let Some(flags) = self.run.get_mut(at) {
            *flags |= frame::MORE;
        }
    }

    /// Everything that waits, if that is one piece.
    #[must_use]
    pub fn run(&self) -> Option<&[u8]> {
        if self.large.is_empty() { self.run.get(self.written..) } else { None }
    }

    /// Everything that waits, in order, in at most `slices.len()` pieces; returns how many were
    /// filled.
    pub fn chunks<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut from = self.written;
        let mut filled = 0;
        let mut put = |octets: &'a [u8]| match slices.get_mut(filled) {
            _ if octets.is_empty() => true,
            Some(slice) => {
                *slice = IoSlice::new(octets);
                filled += 1;
                true
            }
            None => false,
        };
        for (at, body) in &self.large {
            if !put(self.run.get(from..*at).unwrap_or_default()) || !put(body) {
                return filled;
            }
            from = *at;
        }
        put(self.run.get(from..).unwrap_or_default());
        filled
    }

    /// Octets of the body of the next frame; 0 as well if nothing waits.
    #[must_use]
    pub fn next_body_len(&self) -> usize {
        self.next_header().map_or(0, |(_, _, size)| size)
    }

    /// Hands the next frame to `take`, its flags and its body, and forgets it. `None`: nothing
    /// waits. Only frames may wait, and none of them be written in part.
    pub fn take_frame<T>(&mut self, take: impl FnOnce(u8, &[u8]) -> T) -> Option<T> {
        let (flags, header_len, size) = self.next_header()?;
        let taken = match self.next_body(header_len, size)? {
            Body::Shared(body) => take(flags, body),
            Body::Run(body) => take(flags, body),
            Body::Gathered(body) => take(flags, &body),
        };
        self.advance(header_len + size);
        Some(taken)
    }

    /// As [`Self::take_frame`], and the body outlives the encoder; without a copy, if it is large.
    pub fn take_frame_shared(&mut self) -> Option<(u8, Bytes)> {
        let (flags, header_len, size) = self.next_header()?;
        let body = match self.next_body(header_len, size)? {
            Body::Shared(body) => body.clone(),
            Body::Run(body) => Bytes::copy_from_slice(body),
            Body::Gathered(body) => body.into(),
        };
        self.advance(header_len + size);
        Some((flags, body))
    }

    /// Flags of the next frame, and octets of its header and body.
    fn next_header(&self) -> Option<(u8, usize, usize)> {
        let rest = self.run.get(self.written..)?;
        let flags = *rest.first()?;
        let header = Header::decode(rest).ok().flatten()?;
        Some((flags, header.len, usize::try_from(header.size).ok()?))
    }

    fn next_body(&self, header_len: usize, size: usize) -> Option<Body<'_>> {
        let body_at = self.written + header_len;
        Some(match self.large.front() {
            // A large body belongs to the header that ends where it is to be written.
            Some((at, body)) if *at == body_at && body.len() == size => Body::Shared(body),
            Some((at, _)) if *at < body_at + size => Body::Gathered(self.gather(body_at, size)),
            _ => Body::Run(self.run.get(body_at..)?.get(..size)?),
        })
    }

    /// A body that lies in pieces, from that place in `run`.
    fn gather(&self, mut from: usize, size: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(size);
        for (at, piece) in &self.large {
            if *at - from >= size - body.len() {
                break;
            }
            body.extend_from_slice(self.run.get(from..*at).unwrap_or_default());
            body.extend_from_slice(piece);
            from = *at;
        }
        let rest = size.saturating_sub(body.len());
        body.extend_from_slice(self.run.get(from..from + rest).unwrap_or_default());
        body
    }

    /// Forgets the next `count` octets: they have been written.
    pub fn advance(&mut self, mut count: usize) {
        while let Some((at, body)) = self.large.front_mut() {
            let before = *at - self.written;
            if count < before {
                break;
            }
            count -= before;
            self.written = *at;
            let part = count.min(body.len());
            bytes::Buf::advance(body, part);
            self.large_bytes -= part;
            count -= part;
            if !body.is_empty() {
                break;
            }
            self.large.pop_front();
        }
        self.written += count;
        if self.is_empty() {
            self.run.clear();
            self.written = 0;
        } else if self.written > self.run.len() / 2 {
            // A slow reader must not make us keep what it has read already.
            self.run.drain(..self.written);
            self.large.iter_mut().for_each(|(at, _)| *at -= self.written);
            self.written = 0;
        }
    }
}
