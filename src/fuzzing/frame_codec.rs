//! `frame_codec`: a stream that arrives in pieces says what it says in one piece.

use bytes::BufMut;

use super::pieces::{Choices, Cuts, bodies, is_label};
use crate::wire::Limits;
use crate::wire::codec::{CodecError, Decoder, Encoder, Item};
use crate::wire::command::Command;
use crate::wire::frame::Header;
use crate::wire::message::LARGE;

/// What a peer said, standing on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Message(Vec<Vec<u8>>),
    Command(Vec<u8>),
}

/// All of a stream: what was said, and what ended it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    said: Vec<Said>,
    error: Option<CodecError>,
}

/// The first octet chooses the limits, the next ones the cuts; the rest is the stream.
pub fn frame_codec(input: &[u8]) {
    let mut choices = Choices::new(input);
    let limits = limits(choices.octet());
    let cuts = Cuts::read(&mut choices);
    let stream = choices.rest();

    let expected = naive(limits, stream);
    assert_eq!(at_once(limits, stream), expected, "in one piece");
    assert_eq!(in_pieces(limits, stream, cuts.clone()), expected, "in pieces");
    assert_eq!(in_frames(limits, stream, cuts.clone()), expected, "in frames");
    if let Some(error) = expected.error {
        assert!(is_label(error.label()));
    }
    for said in &expected.said {
        match said {
            Said::Message(frames) => round_trip(frames, cuts.clone()),
            Said::Command(body) => command(body),
        }
    }
}

fn limits(choice: u8) -> Limits {
    match choice % 3 {
        0 => Limits::default(),
        1 => Limits {
            frame_bytes_max: 300,
            message_bytes_max: 500,
            message_frames_max: 4,
            command_bytes_max: 64,
            ..Limits::default()
        },
        _ => Limits {
            frame_bytes_max: 3 * LARGE,
            message_bytes_max: 4 * LARGE,
            message_frames_max: 8,
            command_bytes_max: 300,
            ..Limits::default()
        },
    }
}

/// The same rules with no state between the frames: the whole stream lies before it.
fn naive(limits: Limits, mut stream: &[u8]) -> Told {
    let (mut said, mut frames, mut bytes) = (Vec::new(), Vec::<Vec<u8>>::new(), 0_usize);
    let error = loop {
        let header = match Header::decode(stream) {
            Ok(Some(header)) => header,
            Ok(None) => break None,
            Err(error) => break Some(error.into()),
        };
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        let sum = bytes.saturating_add(size);
        if header.command && size > limits.command_bytes_max {
            let max = limits.command_bytes_max;
            break Some(CodecError::CommandTooBig { size: header.size, max });
        } else if !header.command && size > limits.frame_bytes_max {
            let max = limits.frame_bytes_max;
            break Some(CodecError::FrameTooBig { size: header.size, max });
        } else if !header.command && frames.len() == limits.message_frames_max {
            break Some(CodecError::TooManyFrames { max: limits.message_frames_max });
        } else if !header.command && sum > limits.message_bytes_max {
            let max = limits.message_bytes_max;
            break Some(CodecError::MessageTooBig { size: sum, max });
        }
        let Some(body) = stream.get(header.len..).and_then(|after| after.get(..size)) else {
            break None;
        };
        stream = stream.get(header.len + size..).unwrap_or_default();
        if header.command {
            said.push(Said::Command(body.to_vec()));
        } else {
            frames.push(body.to_vec());
            bytes = sum;
            if !header.more {
                bytes = 0;
                said.push(Said::Message(std::mem::take(&mut frames)));
            }
        }
    };
    Told { said, error }
}

fn own(item: Item<'_>) -> Said {
    match item {
        Item::Command(body) => Said::Command(body.to_vec()),
        Item::Message(frames) => Said::Message(bodies(frames)),
    }
}

fn at_once(limits: Limits, mut stream: &[u8]) -> Told {
    let (mut decoder, mut said) = (Decoder::new(limits), Vec::new());
    let error = loop {
        match decoder.next(&mut stream) {
            Ok(Some(item)) => said.push(own(item)),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    Told { said, error }
}

/// Feeds piece after piece, octets of a large body straight into its buffer where a connection
/// would do so, and watches the memory.
fn in_pieces(limits: Limits, stream: &[u8], mut cuts: Cuts<'_>) -> Told {
    let (mut decoder, mut said, mut left) = (Decoder::new(limits), Vec::new(), stream);
    // Octets that the decoder may still have to keep: nothing that it has handed out.
    let mut kept = 0;
    while !left.is_empty() {
        let mut piece = cuts.next(&mut left);
        if let Some(large) = decoder.large_body() {
            let (arrived, missing) = (large.arrived(), large.missing());
            let mut spare = large.spare();
            let (now, later) = piece.split_at(piece.len().min(spare.remaining_mut()));
            spare.put_slice(now);
            drop(spare);
            assert_eq!(
                (large.arrived(), large.missing()),
                (arrived + now.len(), missing - now.len())
            );
            kept += now.len();
            piece = later;
            // As a box is taken that has come whole.
            if let Some(body) = decoder.take_body(LARGE + 10) {
                said.push(Said::Message(vec![body.into_bytes().to_vec()]));
                kept = 0;
            }
        }
        loop {
            let before = piece.len();
            match decoder.next(&mut piece) {
                Ok(Some(item)) => {
                    said.push(own(item));
                    if !decoder.in_message() {
                        kept = 0;
                    }
                }
                Ok(None) => {
                    assert!(piece.is_empty(), "octets were left lying");
                    kept += before;
                    break;
                }
                Err(error) => return Told { said, error: Some(error) },
            }
            kept += before - piece.len();
        }
        // Buffers double, and a large one begins with 16 KiB; an announced size counts nothing.
        let held = decoder.bytes_held();
        assert!(held <= 4 * kept + (17 << 10), "{held} octets held for {kept} that came");
        let cap = limits.message_bytes_max + limits.command_bytes_max;
        let headers = 9 * limits.message_frames_max;
        assert!(held <= 2 * (cap + headers) + (17 << 10), "{held} octets held");
    }
    Told { said, error: None }
}

/// Hands over some of the frames as they are, and of all others their octets.
fn in_frames(limits: Limits, mut stream: &[u8], mut cuts: Cuts<'_>) -> Told {
    let (mut decoder, mut said) = (Decoder::new(limits), Vec::new());
    while !stream.is_empty() {
        let header = Header::decode(stream).ok().flatten();
        let size = header.map_or(usize::MAX, |it| usize::try_from(it.size).unwrap_or(usize::MAX));
        let end = size.saturating_add(header.map_or(0, |header| header.len)).min(stream.len());
        let (mut frame, rest) = stream.split_at(end);
        stream = rest;
        if let Some(header) = header.filter(|header| !header.command)
            && let Some(body) = frame.get(header.len..).filter(|body| body.len() == size)
            && cuts.length().is_multiple_of(2)
        {
            if let Err(error) = decoder.take_whole(header.more, body.to_vec().into()) {
                return Told { said, error: Some(error) };
            }
            frame = &[];
        }
        loop {
            match decoder.next(&mut frame) {
                Ok(Some(item)) => said.push(own(item)),
                Ok(None) => break,
                Err(error) => return Told { said, error: Some(error) },
            }
        }
    }
    Told { said, error: None }
}

/// Encodes a message and writes it in pieces; what was written decodes to the same message.
fn round_trip(frames: &[Vec<u8>], mut cuts: Cuts<'_>) {
    let message = crate::wire::message::Message::new(frames.to_vec());
    assert_eq!(bodies(message.frames()), frames);

    let mut encoder = Encoder::with_buffer(vec![1, 2, 3]);
    encoder.frames_and_more(&message.frames());
    encoder.frames(&message.frames());
    assert!(encoder.bytes_held() >= encoder.len());
    for body in frames.iter().chain(frames) {
        assert_eq!(encoder.next_body_len(), body.len());
        let taken = match cuts.length() % 2 {
            0 => encoder.take_frame(|flags, body| (flags, body.to_vec())),
            _ => encoder.take_frame_shared().map(|(flags, body)| (flags, body.to_vec())),
        };
        assert_eq!(taken.map(|(_, body)| body).as_ref(), Some(body));
    }
    assert!(encoder.is_empty());
    encoder.frames_and_more(&message.frames());
    encoder.frames(&message.frames());
    let written = write(&mut encoder, &mut cuts);
    assert_eq!(encoder.take_buffer(), b"");

    let twice: Vec<_> = frames.iter().chain(frames).cloned().collect();
    let limits = Limits {
        frame_bytes_max: usize::MAX,
        message_bytes_max: usize::MAX,
        message_frames_max: usize::MAX,
        command_bytes_max: 0,
        ..Limits::default()
    };
    let told = at_once(limits, &written);
    assert_eq!(told, Told { said: vec![Said::Message(twice)], error: None });
}

/// Writes all that waits, as a socket does that takes what it likes.
fn write(encoder: &mut Encoder, cuts: &mut Cuts<'_>) -> Vec<u8> {
    let mut written = Vec::new();
    while !encoder.is_empty() {
        let (before, mut room) = (encoder.len(), cuts.length());
        let mut slices = [std::io::IoSlice::new(b""); 3];
        let filled = encoder.chunks(&mut slices);
        let mut taken = 0;
        for slice in slices.iter().take(filled) {
            let part = slice.get(..room.min(slice.len())).unwrap_or_default();
            written.extend_from_slice(part);
            taken += part.len();
            room -= part.len();
        }
        encoder.advance(taken);
        assert_eq!(encoder.len(), before - taken);
    }
    written
}

/// A command that can be read reads the same after it has been written.
fn command(body: &[u8]) {
    let Ok(command) = Command::decode(body) else { return };
    let mut written = Vec::new();
    command.encode(&mut written);
    let told = at_once(Limits { command_bytes_max: body.len(), ..Limits::default() }, &written);
    match &told.said[..] {
        [Said::Command(body)] => assert_eq!(Command::decode(body), Ok(command)),
        other => panic!("{command:?} was written as {other:?}"),
    }
}
