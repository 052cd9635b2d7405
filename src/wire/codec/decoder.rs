//! Octets to messages and commands.

use bytes::Bytes;

use super::CodecError;
use super::body::LargeBody;
use crate::wire::Limits;
use crate::wire::frame::{Header, MORE};
use crate::wire::message::{Frames, LARGE};

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
    /// The message is complete, and is not handed out.
    complete: bool,
    /// The item handed out last was kept here and has to go before the next one.
    spent: Option<Spent>,
}

#[derive(Debug, Clone, Copy)]
enum Spent {
    Message,
    Command,
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
            complete: false,
            spent: None,
        }
    }

    /// Memory the decoder holds, octets.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        let large: usize = self.large.iter().map(Bytes::len).sum();
        let filling = self.filling.as_ref().map_or(0, LargeBody::bytes_held);
        self.head.capacity() + self.partial.capacity() + large + filling
    }

    /// Octets that have come of what is not complete, the headers of its frames included.
    #[must_use]
    pub fn bytes_arrived(&self) -> usize {
        let large: usize = self.large.iter().map(Bytes::len).sum();
        let filling = self.filling.as_ref().map_or(0, LargeBody::arrived);
        self.head.len() + self.partial.len() + large + filling
    }

    /// Keeps nothing any more of the item that was handed out last.
    pub fn let_go(&mut self) {
        self.clear_spent();
    }

    /// The large body under way, if the next octets belong to one.
    pub fn large_body(&mut self) -> Option<&mut LargeBody> {
        self.filling.as_mut().filter(|large| large.missing() > 0)
    }

    /// Takes out the large body that was under way, if all of it is here, it is a message by itself
    /// that was not handed out, and it has `size_min` octets or more.
    pub fn take_body(&mut self, size_min: usize) -> Option<LargeBody> {
        let alone = self.frames == 1;
        let is_whole = |large: &mut LargeBody| {
            alone && large.missing() == 0 && !large.has_more() && large.size() >= size_min
        };
        let whole = self.filling.take_if(is_whole)?;
        self.clear(Spent::Message);
        Some(whole)
    }

    /// Takes a frame that is whole, at the boundary of two; a large body is not copied.
    ///
    /// # Errors
    /// It passes a limit.
    pub fn take_whole(&mut self, more: bool, body: Bytes) -> Result<(), CodecError> {
        self.clear_spent();
        self.bytes += self.check_frame(body.len() as u64, self.frames, self.bytes)?;
        self.frames += 1;
        Header::encode(if more { MORE } else { 0 }, body.len(), &mut self.head);
        if body.len() < LARGE {
            self.head.extend_from_slice(&body);
        } else {
            self.large.push(body);
        }
        self.complete = !more;
        Ok(())
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
        if let Some(frames) = self.next_short(input) {
            return Ok(Some(Item::Message(frames)));
        }
        if input.is_empty() && self.filling.is_none() && !self.complete {
            return Ok(None);
        }
        if self.frames == 0
            && self.partial.is_empty()
            && let Some(item) = self.whole(input)?
        {
            return Ok(Some(item));
        }
        self.assemble(input)
    }

    /// The next message, if that lies whole in `input` and has frames of up to 255 octets only: the
    /// short way for almost all of them. `None`: ask [`Self::next`], which also says why.
    #[inline]
    pub fn next_short<'i>(&mut self, input: &mut &'i [u8]) -> Option<Frames<'i>> {
        self.clear_spent();
        if self.frames > 0 || !self.partial.is_empty() {
            return None;
        }
        let (mut rest, mut frames): (&'i [u8], usize) = (input, 0);
        loop {
            let (&[flags, size], body) = rest.split_first_chunk()?;
            rest = body.split_at_checked(usize::from(size))?.1;
            frames += 1;
            match flags {
                MORE => {}
                0 => break,
                _ => return None,
            }
        }
        let (message, after) = input.split_at_checked(input.len() - rest.len())?;
        let Limits { frame_bytes_max, message_bytes_max, message_frames_max, .. } = self.limits;
        if message.len() > frame_bytes_max.min(message_bytes_max) || frames > message_frames_max {
            return None;
        }
        *input = after;
        Some(Frames::new(message, &[], frames))
    }

    #[inline]
    fn clear_spent(&mut self) {
        if let Some(spent) = self.spent.take() {
            self.clear(spent);
        }
    }

    fn clear(&mut self, spent: Spent) {
        match spent {
            Spent::Command => self.partial = Vec::new(),
            Spent::Message => {
                // Its last small frame may have left a buffer behind.
                self.partial = Vec::new();
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
            let size = self.check_frame(header.size, frames, bytes)?;
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
        if std::mem::take(&mut self.complete) {
            return Ok(Some(self.message()));
        }
        loop {
            if let Some(large) = &mut self.filling {
                large.take_from(input);
                if large.missing() > 0 {
                    return Ok(None);
                }
                let more = large.has_more();
                self.large.extend(self.filling.take().map(LargeBody::into_bytes));
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
            let size = self.check_frame(header.size, self.frames, self.bytes)?;
            if size < LARGE {
                if !self.fill_partial(input, header.len + size) {
                    return Ok(None);
                }
            } else {
                self.filling = Some(LargeBody::new(size, header.more));
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
    fn check_frame(&self, size: u64, frames: usize, bytes: usize) -> Result<usize, CodecError> {
        let limits = &self.limits;
        let size = match usize::try_from(size) {
            Ok(size) if size <= limits.frame_bytes_max => size,
            _ => return Err(CodecError::FrameTooBig { size, max: limits.frame_bytes_max }),
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
