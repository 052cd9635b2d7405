//! Octets to messages and commands, and back: incremental, and bounded whatever a peer announces.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{BufMut, Bytes, BytesMut};

use super::Limits;
use super::frame::{self, FrameError, Header};
use super::message::{Frames, LARGE};

/// Octets that end a connection: the peer broke the framing or one of our limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The flags of a frame are wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// One frame is too big.
    #[error("frame of {size} octets exceeds limits.frame = {max}; raise it or send chunks")]
    FrameTooBig {
        /// Octets announced.
        size: u64,
        /// The limit.
        max: usize,
    },
    /// The frames of a message are too big together.
    #[error(
        "message of {size} octets so far exceeds limits.message = {max}; raise it or send chunks"
    )]
    MessageTooBig {
        /// Octets of the frames so far, the announced one included.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// A message has too many frames.
    #[error("message has more than limits.frames = {max} frames; raise it or send fewer")]
    TooManyFrames {
        /// The limit.
        max: usize,
    },
    /// A command is too big.
    #[error("command of {size} octets exceeds limits.command = {max}")]
    CommandTooBig {
        /// Octets announced.
        size: u64,
        /// The limit.
        max: usize,
    },
}

impl CodecError {
    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Frame(FrameError::ReservedFlags { .. }) => "reserved_flags",
            Self::Frame(FrameError::MoreOnCommand { .. }) => "more_on_command",
            Self::FrameTooBig { .. } => "frame_too_big",
            Self::MessageTooBig { .. } => "message_too_big",
            Self::TooManyFrames { .. } => "too_many_frames",
            Self::CommandTooBig { .. } => "command_too_big",
        }
    }
}

/// What a peer said.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// A complete message.
    Message(Frames<'a>),
    /// The body of a command frame. It may come between two frames of a message.
    Command(&'a [u8]),
}

/// Cuts the octets after the handshake into messages and commands.
///
/// A small message that lies whole in the input is handed out as a view of the input, without a
/// copy. Otherwise the decoder keeps what has arrived, in buffers that grow with it.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// Complete frames of the message under way, encoded; of large ones the header only.
    head: Vec<u8>,
    /// Bodies of its large frames.
    large: Vec<Bytes>,
    /// Frames of it, the one being filled included.
    frames: usize,
    /// Octets of their bodies.
    bytes: usize,
    /// An incomplete small frame or header.
    partial: Vec<u8>,
    /// A large body under way.
    filling: Option<LargeBody>,
    /// The item handed out last was kept here and has to go before the next one.
    spent: Option<Spent>,
}

#[derive(Debug, Clone, Copy)]
enum Spent {
    Message,
    Command,
}

/// A large body that is still arriving. Its buffer grows with what has arrived, not with what was
/// announced.
#[derive(Debug)]
pub struct LargeBody {
    body: BytesMut,
    size: usize,
    more: bool,
}

impl LargeBody {
    /// First allocation, octets.
    const FIRST: usize = 16 << 10;

    /// Octets still to come.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.size - self.body.len()
    }

    /// Octets that have arrived.
    #[must_use]
    pub fn arrived(&self) -> usize {
        self.body.len()
    }

    /// Room for the next octets of the body and of nothing else: read from the socket into it.
    /// Its buffer doubles at most.
    pub fn spare(&mut self) -> impl BufMut + '_ {
        let missing = self.missing();
        if self.body.capacity() == self.body.len() {
            self.body.reserve(missing.min(self.body.len().max(Self::FIRST)));
        }
        let room = self.body.capacity() - self.body.len();
        (&mut self.body).limit(missing.min(room))
    }

    fn take_from(&mut self, input: &mut &[u8]) {
        while self.missing() > 0 && !input.is_empty() {
            let mut spare = self.spare();
            let (now, later) = input.split_at(input.len().min(spare.remaining_mut()));
            spare.put_slice(now);
            *input = later;
        }
    }
}

impl Decoder {
    /// A decoder for the octets that follow a handshake.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            head: Vec::new(),
            large: Vec::new(),
            frames: 0,
            bytes: 0,
            partial: Vec::new(),
            filling: None,
            spent: None,
        }
    }

    /// Memory the decoder holds, octets.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        let large: usize = self.large.iter().map(Bytes::len).sum();
        let filling = self.filling.as_ref().map_or(0, |large| large.body.capacity());
        self.head.capacity() + self.partial.capacity() + large + filling
    }

    /// The large body under way, if the next octets belong to one.
    pub fn large_body(&mut self) -> Option<&mut LargeBody> {
        self.filling.as_mut().filter(|large| large.missing() > 0)
    }

    /// Whether a message has begun and is not complete.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.frames > 0 && self.spent.is_none() || !self.partial.is_empty()
    }

    /// The next message or command. `None`: all of `input` was taken and more is needed.
    ///
    /// # Errors
    /// The peer broke the framing or a limit; the connection is of no use any more.
    #[inline]
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Item<'a>>, CodecError> {
        self.clear_spent();
        if self.frames == 0
            && self.partial.is_empty()
            && let Some(item) = self.whole(input)?
        {
            return Ok(Some(item));
        }
        self.assemble(input)
    }

    fn clear_spent(&mut self) {
        match self.spent.take() {
            None => {}
            Some(Spent::Command) => self.partial = Vec::new(),
            Some(Spent::Message) => {
                self.head = Vec::new();
                self.large = Vec::new();
                self.frames = 0;
                self.bytes = 0;
            }
        }
    }

    /// The fast path: the item at the front of `input` is complete, small and undivided.
    #[inline]
    fn whole<'i>(&self, input: &mut &'i [u8]) -> Result<Option<Item<'i>>, CodecError> {
        let whole: &'i [u8] = input;
        let (mut rest, mut frames, mut bytes) = (whole, 0, 0);
        while let Some(header) = Header::decode(rest)? {
            if header.command {
                let size = self.check_command(&header)?;
                let Some((body, after)) = body_of(rest, &header, size) else { break };
                if frames > 0 {
                    break;
                }
                *input = after;
                return Ok(Some(Item::Command(body)));
            }
            let size = self.check_frame(&header, frames, bytes)?;
            if size >= LARGE {
                break;
            }
            let Some((_, after)) = body_of(rest, &header, size) else { break };
            rest = after;
            frames += 1;
            bytes += size;
            if !header.more {
                let (message, after) = whole.split_at(whole.len() - rest.len());
                *input = after;
                return Ok(Some(Item::Message(Frames::new(message, &[], frames))));
            }
        }
        Ok(None)
    }

    /// The slow path: keeps what has arrived until an item is complete.
    fn assemble(&mut self, input: &mut &[u8]) -> Result<Option<Item<'_>>, CodecError> {
        loop {
            if let Some(large) = &mut self.filling {
                large.take_from(input);
                if large.missing() > 0 {
                    return Ok(None);
                }
                let more = large.more;
                self.large.push(std::mem::take(&mut large.body).freeze());
                self.filling = None;
                if !more {
                    return Ok(Some(self.message()));
                }
            }
            if self.partial.is_empty() && input.is_empty() {
                return Ok(None);
            }
            let Some(header) = self.header(input)? else {
                return Ok(None);
            };
            if header.command {
                let size = self.check_command(&header)?;
                if !self.fill_partial(input, header.len + size) {
                    return Ok(None);
                }
                self.spent = Some(Spent::Command);
                return Ok(Some(Item::Command(self.partial.get(header.len..).unwrap_or_default())));
            }
            let size = self.check_frame(&header, self.frames, self.bytes)?;
            if size < LARGE {
                if !self.fill_partial(input, header.len + size) {
                    return Ok(None);
                }
            } else {
                self.filling = Some(LargeBody { body: BytesMut::new(), size, more: header.more });
            }
            self.head.append(&mut self.partial);
            self.frames += 1;
            self.bytes += size;
            if size < LARGE && !header.more {
                return Ok(Some(self.message()));
            }
        }
    }

    /// Moves octets into `partial` until it holds a header.
    fn header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, CodecError> {
        loop {
            if let Some(header) = Header::decode(&self.partial)? {
                return Ok(Some(header));
            }
            let Some((&octet, rest)) = input.split_first() else {
                return Ok(None);
            };
            self.partial.push(octet);
            *input = rest;
        }
    }

    /// Moves octets into `partial` until it holds `len`; false if more are needed.
    fn fill_partial(&mut self, input: &mut &[u8], len: usize) -> bool {
        let wanted = len.saturating_sub(self.partial.len()).min(input.len());
        let (now, later) = input.split_at(wanted);
        self.partial.extend_from_slice(now);
        *input = later;
        self.partial.len() >= len
    }

    fn message(&mut self) -> Item<'_> {
        self.spent = Some(Spent::Message);
        Item::Message(Frames::new(&self.head, &self.large, self.frames))
    }

    #[inline]
    fn check_command(&self, header: &Header) -> Result<usize, CodecError> {
        let max = self.limits.command_bytes_max;
        match usize::try_from(header.size) {
            Ok(size) if size <= max => Ok(size),
            _ => Err(CodecError::CommandTooBig { size: header.size, max }),
        }
    }

    #[inline]
    fn check_frame(
        &self,
        header: &Header,
        frames: usize,
        bytes: usize,
    ) -> Result<usize, CodecError> {
        let limits = &self.limits;
        let size = match usize::try_from(header.size) {
            Ok(size) if size <= limits.frame_bytes_max => size,
            _ => {
                let max = limits.frame_bytes_max;
                return Err(CodecError::FrameTooBig { size: header.size, max });
            }
        };
        if frames >= limits.message_frames_max {
            return Err(CodecError::TooManyFrames { max: limits.message_frames_max });
        }
        let size_so_far = bytes.saturating_add(size);
        if size_so_far > limits.message_bytes_max {
            let max = limits.message_bytes_max;
            return Err(CodecError::MessageTooBig { size: size_so_far, max });
        }
        Ok(size)
    }
}

/// The body behind `header`, and what follows it, if all of it has arrived.
#[inline]
fn body_of<'a>(input: &'a [u8], header: &Header, size: usize) -> Option<(&'a [u8], &'a [u8])> {
    input.get(header.len..)?.split_at_checked(size)
}

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

    /// Appends frames as they stand, the last one with the flag it has.
    #[inline]
    pub fn frames(&mut self, frames: &Frames<'_>) {
        let mut rest = *frames;
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
                return;
            }
            self.large.pop_front();
        }
        self.written += count;
        if self.is_empty() {
            self.run.clear();
            self.written = 0;
        } else if self.large.is_empty() && self.written > self.run.len() / 2 {
            // A slow reader must not make us keep what it has read already.
            self.run.drain(..self.written);
            self.written = 0;
        }
    }
}
