//! Where a target gets its choices from, and how it cuts a stream.

use std::io::IoSlice;

use crate::wire::Limits;
use crate::wire::codec::{Decoder, Encoder, Item};
use crate::wire::message::Frames;

/// Octets that decide something, taken from the front of a fuzzer's input; zeros when it ends.
#[derive(Debug, Clone)]
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(super) fn octet(&mut self) -> u8 {
        self.octets(1).first().copied().unwrap_or_default()
    }

    /// Up to `len` octets.
    pub(super) fn octets(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// How a stream arrives: lengths of its pieces, over and over.
#[derive(Debug, Clone)]
pub(super) struct Cuts<'a> {
    lengths: &'a [u8],
    turn: usize,
}

impl<'a> Cuts<'a> {
    /// Reads up to 15 lengths; with none, or only zeros, the stream comes octet by octet.
    pub(super) fn read(choices: &mut Choices<'a>) -> Self {
        let count = usize::from(choices.octet() % 16);
        Self { lengths: choices.octets(count), turn: 0 }
    }

    /// The length of the next piece. One above 200 stands for thousands, as a busy socket gives
    /// them.
    pub(super) fn length(&mut self) -> usize {
        let all_zero = self.lengths.iter().all(|length| *length == 0);
        let length = match self.lengths.get(self.turn % self.lengths.len().max(1)) {
            Some(length) if !all_zero => usize::from(*length),
            _ => 1,
        };
        self.turn += 1;
        if length > 200 { (length - 200) * 1000 } else { length }
    }

    /// Takes the next piece from the front of `stream`.
    pub(super) fn next<'s>(&mut self, stream: &mut &'s [u8]) -> &'s [u8] {
        let (piece, rest) = stream.split_at(self.length().min(stream.len()));
        *stream = rest;
        piece
    }
}

/// The frames of a message.
pub(super) fn bodies(frames: Frames<'_>) -> Vec<Vec<u8>> {
    let count = frames.len();
    let bodies: Vec<_> = frames.map(<[u8]>::to_vec).collect();
    assert_eq!(bodies.len(), count, "a view of frames that are not there");
    bodies
}

/// The octets that `write` appends.
pub(super) fn octets_written(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let (mut encoder, mut written) = (Encoder::default(), Vec::new());
    write(&mut encoder);
    while !encoder.is_empty() {
        let mut slices = [IoSlice::new(b""); 64];
        let filled = encoder.chunks(&mut slices);
        let before = written.len();
        for slice in slices.iter().take(filled) {
            written.extend_from_slice(slice);
        }
        encoder.advance(written.len() - before);
    }
    written
}

/// The frames of the one message that `write` appends.
pub(super) fn frames_written(write: impl FnOnce(&mut Encoder)) -> Vec<Vec<u8>> {
    let octets = octets_written(write);
    let (mut decoder, mut stream) = (Decoder::new(Limits::default()), &octets[..]);
    match decoder.next(&mut stream) {
        Ok(Some(Item::Message(frames))) if stream.is_empty() => bodies(frames),
        other => panic!("{other:?} was written, and {} octets behind it", stream.len()),
    }
}

/// Whether the text can be the value of a label without being escaped.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|octet| octet.is_ascii_lowercase() || b"_0123456789".contains(&octet))
}
