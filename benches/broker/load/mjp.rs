//! MJP/1, as section 9 of SPEC.md has it.

use std::io;

use super::line::Line;
use super::wire::{Body, HEAD, Said, Side, Wire};
use super::zmtp::{Item, MORE, frame, header, next, on_command, shake};
use crate::outbox::Outbox;

const SIGNATURE: &[u8] = b"MJP1";
const HEARTBEAT: u8 = 0x02;
const CANCEL: u8 = 0x11;
const REQUEST: u8 = 0x10;
const FINAL: u8 = 0x22;
const READY: u8 = 0x30;
/// In the broker's header of a request that is delivered for the first time.
const FIRST: &[u8] = b"\xa7attempt\x01";

/// A client or worker of MJP/1.
#[derive(Debug)]
pub(crate) struct Mjp {
    body: Body,
    side: Side,
    /// All that comes before the id of what this side sends.
    before: Vec<u8>,
    /// All that comes between the id and the body.
    after: Vec<u8>,
    /// The key `service` and the service, as they are in a header.
    service: Vec<u8>,
}

/// A text, or key, of MessagePack.
fn text(text: &str) -> Vec<u8> {
    let size = u8::try_from(text.len()).ok().filter(|size| *size < 32).expect("a short text");
    [&[0xa0 | size], text.as_bytes()].concat()
}

/// Signature, kind, and the header of the frame that they begin.
fn opening(kind: u8) -> Vec<u8> {
    let mut opening = Vec::new();
    frame(MORE, SIGNATURE, &mut opening);
    header(MORE, 9, &mut opening);
    opening.push(kind);
    opening
}

fn ready(service: &[u8], credit: u16) -> Vec<u8> {
    let credit = [&text("credit")[..], b"\xcd", &credit.to_be_bytes()].concat();
    let mut ready = [opening(READY), [0; 8].into()].concat();
    frame(0, &[b"\x82", service, &credit].concat(), &mut ready);
    ready
}

fn contains(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

impl Wire for Mjp {
    fn open(line: &mut Line, side: Side, name: &str, credit: u16, body: Body) -> io::Result<Self> {
        shake(line)?;
        let service = [text("service"), text(name)].concat();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        match side {
            Side::Client => {
                before.extend_from_slice(&opening(REQUEST));
                frame(MORE, &[b"\x81", &service[..]].concat(), &mut after);
            }
            Side::Worker => {
                line.write_frames(&ready(&service, credit))?;
                before.extend_from_slice(&opening(FINAL));
                frame(MORE, b"", &mut after);
            }
        }
        header(0, body.size(), &mut after);
        Ok(Self { body, side, before, after, service })
    }

    fn next<'a>(&self, input: &mut &'a [u8]) -> Option<Said<'a>> {
        let (frames, count) = match next(input)? {
            Item::Command(body) => return Some(on_command(body)),
            Item::Message(frames, count) => (frames, count),
        };
        let (signature, rest) = frames[..count].split_first().expect("a message has a frame");
        assert_eq!(signature, &SIGNATURE, "not MJP/1");
        let kind_and_id = rest.split_first().and_then(|(frame, rest)| {
            let (kind, id) = frame.split_first()?;
            Some((*kind, id, rest))
        });
        let (kind, id, rest) = kind_and_id.expect("a kind");
        Some(match (self.side, kind, rest) {
            (Side::Client, FINAL, [b"", body]) => {
                // The id of a request is the sequence number in its body.
                let sequence = body.get(8..HEAD).expect("a body has a head");
                assert!(id.iter().rev().eq(sequence), "an answer by another id");
                Said::Message { back: b"", body }
            }
            (Side::Worker, REQUEST, [theirs, brokers, body]) => {
                assert!(contains(theirs, &self.service), "a request to another service");
                assert!(contains(brokers, FIRST), "a request that was delivered before");
                Said::Message { back: id, body }
            }
            // At the end the client goes, and what it asked for is cancelled.
            (Side::Worker, HEARTBEAT | CANCEL, _) => Said::Aside,
            (side, kind, _) => {
                let frames: Vec<_> =
                    rest.iter().map(|frame| frame.escape_ascii().to_string()).collect();
                panic!("unexpected on the side of a {side:?}: {kind:#04x} {frames:?}");
            }
        })
    }

    fn request(&self, head: &[u8; HEAD], out: &mut Outbox) {
        let (_, sequence) = head.split_last_chunk().expect("8 of 16");
        self.reply(&u64::from_le_bytes(*sequence).to_be_bytes(), head, out);
    }

    fn reply(&self, back: &[u8], head: &[u8; HEAD], out: &mut Outbox) {
        let run = out.run();
        run.extend_from_slice(&self.before);
        run.extend_from_slice(back);
        run.extend_from_slice(&self.after);
        self.body.append(head, out);
    }

    fn beat() -> &'static [u8] {
        b"\x01\x04MJP1\0\x09\x02\0\0\0\0\0\0\0\0"
    }
}
