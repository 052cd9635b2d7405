use std::io::IoSlice;

use proptest::prelude::*;

use super::*;
use crate::wire::Limits;
use crate::wire::frame::Header;
use crate::wire::message::{LARGE, Message};

/// What a decoder said, kept.
#[derive(Debug, Clone, PartialEq)]
enum Said {
    Message(Vec<Vec<u8>>),
    Command(Vec<u8>),
}

fn message(frames: &[&[u8]]) -> Said {
    Said::Message(frames.iter().map(|frame| frame.to_vec()).collect())
}

fn command(body: &[u8]) -> Said {
    Said::Command(body.to_vec())
}

/// Feeds the pieces one after the other, and keeps what comes until the first error.
fn decode(limits: Limits, pieces: &[&[u8]]) -> (Vec<Said>, Result<(), CodecError>) {
    let mut decoder = Decoder::new(limits);
    let mut said = Vec::new();
    let mut pieces = pieces.iter();
    let done = pieces.try_for_each(|piece| take(&mut decoder, piece, &mut said));
    (said, done)
}

fn take(decoder: &mut Decoder, mut input: &[u8], said: &mut Vec<Said>) -> Result<(), CodecError> {
    while let Some(item) = decoder.next(&mut input)? {
        said.push(match item {
            Item::Message(frames) => Said::Message(frames.map(<[u8]>::to_vec).collect()),
            Item::Command(body) => command(body),
        });
    }
    assert!(input.is_empty(), "octets left behind");
    Ok(())
}

const SMALL: Limits = Limits {
    frame_bytes_max: 300,
    message_bytes_max: 600,
    message_frames_max: 3,
    command_bytes_max: 10,
    handshake_command_bytes_max: 10,
    metadata_bytes_max: 10,
};

// Golden: RFC 37 "Framing" for the octets, and what libzmq 4.3.5 was seen to take (long form of a
// small frame, a command inside a message) for what is allowed.
#[test]
fn octets_are_messages_and_commands_as_rfc_37_draws_them() {
    use CodecError::*;
    let reserved = |flags| Err(Frame(FrameError::ReservedFlags { flags }));
    type Row<'a> = (&'a str, &'a [u8], Vec<Said>, Result<(), CodecError>);
    let cases: &[Row<'_>] = &[
        ("nothing", b"", vec![], Ok(())),
        ("one frame", b"\x00\x02hi", vec![message(&[b"hi"])], Ok(())),
        ("an empty frame", b"\x00\x00", vec![message(&[b""])], Ok(())),
        ("two frames", b"\x01\x01a\x00\x01b", vec![message(&[b"a", b"b"])], Ok(())),
        ("half a message", b"\x01\x01a\x00\x01", vec![], Ok(())),
        (
            "long form of a small frame",
            b"\x02\0\0\0\0\0\0\0\x02hi",
            vec![message(&[b"hi"])],
            Ok(()),
        ),
        (
            "a command inside a message",
            b"\x01\x01a\x04\x05\x04PING\x00\x01b",
            vec![command(b"\x04PING"), message(&[b"a", b"b"])],
            Ok(()),
        ),
        (
            "SUBSCRIBE inside a message (libzmq takes it for data)",
            b"\x01\x01a\x04\x0a\x09SUBSCRIBE\x00\x01b",
            vec![command(b"\x09SUBSCRIBE"), message(&[b"a", b"b"])],
            Ok(()),
        ),
        ("messages in a row", b"\0\x01a\0\x01b", vec![message(&[b"a"]), message(&[b"b"])], Ok(())),
        ("reserved flag", b"\0\x01a\x10", vec![message(&[b"a"])], reserved(0x10)),
        (
            "more on a command",
            b"\x05\x00",
            vec![],
            Err(Frame(FrameError::MoreOnCommand { flags: 5 })),
        ),
        (
            "size 2^64-1",
            b"\x02\xff\xff\xff\xff\xff\xff\xff\xff",
            vec![],
            Err(FrameTooBig { size: u64::MAX, max: 300 }),
        ),
        (
            "size 2^63",
            b"\x03\x80\0\0\0\0\0\0\0",
            vec![],
            Err(FrameTooBig { size: 1 << 63, max: 300 }),
        ),
        ("command too big", b"\x04\x0b", vec![], Err(CommandTooBig { size: 11, max: 10 })),
        ("a fourth frame", b"\x01\0\x01\0\x01\0\x00\0", vec![], Err(TooManyFrames { max: 3 })),
    ];
    for (case, octets, said, end) in cases {
        assert_eq!(decode(SMALL, &[octets]), (said.clone(), *end), "{case}");
        let singly: Vec<&[u8]> = octets.chunks(1).collect();
        assert_eq!(decode(SMALL, &singly), (said.clone(), *end), "{case}, octet by octet");
    }
}

fn frame(more: bool, size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    Header::encode(u8::from(more), size, &mut out);
    out.resize(out.len() + size, b'x');
    out
}

#[test]
fn limits_hold_at_their_edge() {
    for size in [299, 300, 301] {
        let (said, end) = decode(SMALL, &[&frame(false, size)]);
        match size {
            301 => assert_eq!(end, Err(CodecError::FrameTooBig { size: 301, max: 300 })),
            _ => assert_eq!(said, [message(&[&vec![b'x'; size]])]),
        }
    }
    for size in [299, 300, 301] {
        let limits = Limits { frame_bytes_max: 1000, ..SMALL };
        let octets = [frame(true, 300), frame(false, size)].concat();
        let (said, end) = decode(limits, &[&octets]);
        match size {
            301 => assert_eq!(end, Err(CodecError::MessageTooBig { size: 601, max: 600 })),
            _ => assert_eq!(said.len(), 1),
        }
    }
}

#[test]
fn an_announced_size_reserves_nothing() {
    let mut decoder = Decoder::new(Limits { frame_bytes_max: 1 << 40, ..Limits::default() });
    let mut input = &b"\x02\0\0\0\x0f\0\0\0\0some octets"[..];
    assert!(decoder.next(&mut input).is_err(), "over the limit of the message");
    let limits =
        Limits { frame_bytes_max: 1 << 40, message_bytes_max: 1 << 40, ..Limits::default() };
    let mut decoder = Decoder::new(limits);
    let mut input = &b"\x02\0\0\0\x0f\0\0\0\0some octets"[..];
    assert!(decoder.next(&mut input).unwrap().is_none());
    assert!(decoder.bytes_held() <= 20 << 10, "{}", decoder.bytes_held());
    let body = decoder.large_body().unwrap();
    assert_eq!((body.arrived(), body.missing()), (11, (15 << 32) - 11));
}

#[test]
fn a_large_body_is_kept_in_a_buffer_of_its_very_size() {
    let size = 100_000;
    let octets = frame(false, size);
    let mut decoder = Decoder::new(Limits::default());
    for (at, piece) in octets.chunks(777).enumerate() {
        let mut input = piece;
        if let Some(Item::Message(frames)) = decoder.next(&mut input).unwrap() {
            assert_eq!(frames.to_message().bytes(), 9 + size + size_of::<bytes::Bytes>());
            assert_eq!(at, octets.len() / 777);
            return;
        }
        assert!(decoder.bytes_held() <= 2 * (at + 1) * 777 + (16 << 10));
    }
    panic!("no message came");
}

/// All that an encoder holds, taken out in writes of at most `step` octets.
fn drain(encoder: &mut Encoder, step: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    while !encoder.is_empty() {
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = encoder.chunks(&mut slices);
        assert!(filled > 0, "octets wait and none is offered");
        let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        let taken = offered.len().min(step);
        octets.extend_from_slice(&offered[..taken]);
        encoder.advance(taken);
    }
    octets
}

#[test]
fn who_is_always_one_large_body_behind_holds_no_more_than_that() {
    let mut encoder = Encoder::default();
    let mut left = 0;
    for round in 0..1000 {
        for body in [&[1; LARGE - 1][..], &[2; LARGE]] {
            encoder.frames(&Message::new([body]).frames());
        }
        // All but a part of the last body is taken, in two writes that end within a frame.
        let first = (left + encoder.len()) / 3;
        encoder.advance(first);
        left = 7 + round % 100;
        encoder.advance(encoder.len() - left);
        assert!(encoder.bytes_held() < 8 * LARGE, "{round}: {}", encoder.bytes_held());
    }
    assert_eq!(drain(&mut encoder, 50), vec![2; left]);
}

#[test]
fn frames_that_another_follows_get_the_more_flag() {
    for last in [0, 5, LARGE, LARGE + 1] {
        let part = Message::new([vec![1; 3], vec![2; LARGE], vec![3; last]]);
        let mut encoder = Encoder::default();
        encoder.frames_and_more(&part.frames());
        encoder.last_frame(b"end");
        let octets = drain(&mut encoder, usize::MAX);
        let expected = message(&[&[1; 3], &[2; LARGE], &vec![3; last], b"end"]);
        assert_eq!(decode(Limits::default(), &[&octets]), (vec![expected], Ok(())), "{last}");
    }
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![4 => 0..40_usize, 1 => 250..260_usize, 1 => LARGE - 2..LARGE + 3];
    (size, any::<u8>()).prop_map(|(size, octet)| vec![octet; size])
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back_however_it_is_cut(
        bodies in prop::collection::vec(prop::collection::vec(body(), 1..5), 1..5),
        cuts in prop::collection::vec(1..600_usize, 1..50),
        step in 1..5000_usize,
    ) {
        let mut encoder = Encoder::default();
        for frames in &bodies {
            encoder.frames(&Message::new(frames.clone()).frames());
            encoder.octets(b"\x04\x05\x04PING");
        }
        let octets = drain(&mut encoder, step);
        let mut rest = &octets[..];
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let expected: Vec<Said> = bodies
            .into_iter()
            .flat_map(|frames| [Said::Message(frames), command(b"\x04PING")])
            .collect();
        prop_assert_eq!(decode(Limits::default(), &pieces), (expected, Ok(())));
    }

    #[test]
    fn any_octets_are_decoded_the_same_however_they_are_cut(
        octets in prop::collection::vec(prop_oneof![0..8_u8, any::<u8>()], 0..200),
        cut in 1..20_usize,
    ) {
        let pieces: Vec<&[u8]> = octets.chunks(cut).collect();
        prop_assert_eq!(decode(SMALL, &pieces), decode(SMALL, &[&octets]));
    }

    #[test]
    fn frames_that_are_whole_are_taken_as_their_octets_are(
        frames in prop::collection::vec((any::<bool>(), any::<bool>(), body()), 1..8),
        limits in prop_oneof![Just(SMALL), Just(Limits::default())],
    ) {
        let (mut decoder, mut said, mut all) = (Decoder::new(limits), Vec::new(), Vec::new());
        let mut outcome = Ok(());
        for (whole, more, body) in frames {
            let mut octets = Vec::new();
            Header::encode(u8::from(more), body.len(), &mut octets);
            octets.extend_from_slice(&body);
            if outcome.is_ok() {
                outcome = if whole { decoder.take_whole(more, body.into()) } else { Ok(()) };
                let rest = if whole { &[][..] } else { &octets };
                outcome = outcome.and_then(|()| take(&mut decoder, rest, &mut said));
            }
            all.push(octets);
        }
        let pieces: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        prop_assert_eq!((said, outcome), decode(limits, &pieces));
    }
}
