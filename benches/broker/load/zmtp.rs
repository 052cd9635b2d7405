//! ZMTP 3.1 with NULL, as RFC 23 and RFC 37 have it, and what is said over it: MDP/0.1 (RFC 7) to
//! a broker, bare bodies to a proxy.

use std::io::{self, Read, Write};

use super::line::Line;
use super::wire::{Body, HEAD, SERVICE, Said, Side, Wire};
use crate::outbox::Outbox;

pub(super) const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;
const FRAMES_MAX: usize = 8;
/// The HEARTBEAT of a worker, and to one.
pub(crate) const BEAT: &[u8] = b"\x01\0\x01\x06MDPW01\0\x01\x04";

/// What a peer said on this level.
pub(super) enum Item<'a> {
    Message([&'a [u8]; FRAMES_MAX], usize),
    Command(&'a [u8]),
}

/// What both sides say first.
pub(crate) fn greeting() -> [u8; 64] {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10], greeting[11]) = (0xff, 0x7f, 3, 1);
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

/// The command READY of a socket type of 6 octets, without an identity.
pub(crate) fn ready(socket_type: &[u8; 6]) -> Vec<u8> {
    let head = b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06";
    [head, &socket_type[..], b"\x08Identity\0\0\0\0"].concat()
}

/// Greeting and READY, both ways, or CURVE.
pub(super) fn shake(line: &mut Line) -> io::Result<()> {
    if line.shake_by_curve()? { Ok(()) } else { shake_as(line, b"DEALER") }
}

/// Greeting and READY, both ways.
pub(super) fn shake_as(line: &mut Line, socket_type: &[u8; 6]) -> io::Result<()> {
    let stream = line.stream();
    stream.write_all(&greeting())?;
    let mut theirs = [0; 64];
    stream.read_exact(&mut theirs)?;
    assert_eq!((theirs[0], theirs[10], &theirs[12..17]), (0xff, 3, &b"NULL\0"[..]), "greeting");
    stream.write_all(&ready(socket_type))?;
    let mut header = [0; 2];
    stream.read_exact(&mut header)?;
    assert_eq!(header[0], COMMAND, "READY is a short command");
    let mut body = vec![0; header[1].into()];
    stream.read_exact(&mut body)?;
    assert!(body.starts_with(b"\x05READY"), "not READY: {}", body.escape_ascii());
    Ok(())
}

pub(super) fn next<'a>(input: &mut &'a [u8]) -> Option<Item<'a>> {
    let mut rest = *input;
    let mut frames = [&[][..]; FRAMES_MAX];
    let mut count = 0;
    loop {
        let (&flags, after) = rest.split_first()?;
        let (size, after) = if flags & LONG == 0 {
            let (&size, after) = after.split_first()?;
            (usize::from(size), after)
        } else {
            let (size, after) = after.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*size)).expect("64 bits"), after)
        };
        let (body, after) = after.split_at_checked(size)?;
        rest = after;
        if flags & COMMAND != 0 {
            assert_eq!(count, 0, "a command between the frames of a message");
            *input = rest;
            return Some(Item::Command(body));
        }
        frames[count] = body;
        count += 1;
        if flags & MORE == 0 {
            *input = rest;
            return Some(Item::Message(frames, count));
        }
    }
}

pub(super) fn on_command<'a>(body: &[u8]) -> Said<'a> {
    match body.strip_prefix(b"\x04PING") {
        // Two octets time to live, then the context that PONG carries back.
        Some(ping) => {
            let context = ping.get(2..).expect("PING has a time to live");
            let size = u8::try_from(5 + context.len()).expect("a context has 16 octets at most");
            Said::Ask([&[COMMAND, size], &b"\x04PONG"[..], context].concat())
        }
        None if body.starts_with(b"\x05ERROR") => panic!("refused: {}", body.escape_ascii()),
        None => Said::Aside,
    }
}

/// Appends a frame header.
pub(super) fn header(flags: u8, size: usize, out: &mut Vec<u8>) {
    match u8::try_from(size) {
        Ok(size) => out.extend_from_slice(&[flags, size]),
        Err(_) => {
            out.push(flags | LONG);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
}

pub(super) fn frame(flags: u8, body: &[u8], out: &mut Vec<u8>) {
    header(flags, body.len(), out);
    out.extend_from_slice(body);
}

/// A Majordomo client or worker.
#[derive(Debug)]
pub(crate) struct Mdp {
    body: Body,
    /// All that comes before the body of a request, or before the address of a reply.
    before: Vec<u8>,
    side: Side,
    service: Vec<u8>,
}

impl Wire for Mdp {
    fn open(line: &mut Line, side: Side, name: &str, _: u16, body: Body) -> io::Result<Self> {
        shake(line)?;
        let mut before = Vec::new();
        frame(MORE, b"", &mut before);
        if side == Side::Client {
            frame(MORE, b"MDPC01", &mut before);
            frame(MORE, name.as_bytes(), &mut before);
            header(0, body.size(), &mut before);
        } else {
            frame(MORE, b"MDPW01", &mut before);
            let mut ready = before.clone();
            frame(MORE, b"\x01", &mut ready);
            frame(0, name.as_bytes(), &mut ready);
            line.write_frames(&ready)?;
            frame(MORE, b"\x03", &mut before);
        }
        Ok(Self { body, before, side, service: name.into() })
    }

    fn next<'a>(&self, input: &mut &'a [u8]) -> Option<Said<'a>> {
        let (frames, count) = match next(input)? {
            Item::Command(body) => return Some(on_command(body)),
            Item::Message(frames, count) => (frames, count),
        };
        Some(match (self.side, &frames[..count]) {
            (Side::Client, [b"", b"MDPC01", service, body]) => {
                assert_eq!(service, &self.service, "a reply from another service");
                Said::Message { back: b"", body }
            }
            (Side::Worker, [b"", b"MDPW01", b"\x02", back, b"", body]) => {
                Said::Message { back, body }
            }
            (Side::Worker, [b"", b"MDPW01", b"\x04"]) => Said::Aside,
            (side, frames) => panic!("unexpected on the side of a {side:?}: {frames:?}"),
        })
    }

    fn request(&self, head: &[u8; HEAD], out: &mut Outbox) {
        out.run().extend_from_slice(&self.before);
        self.body.append(head, out);
    }

    fn reply(&self, back: &[u8], head: &[u8; HEAD], out: &mut Outbox) {
        let run = out.run();
        run.extend_from_slice(&self.before);
        frame(MORE, back, run);
        frame(MORE, b"", run);
        header(0, self.body.size(), run);
        self.body.append(head, out);
    }

    fn beat() -> &'static [u8] {
        BEAT
    }
}

/// A DEALER before or behind libzmq's proxy, which adds one address frame on its way to a worker.
#[derive(Debug)]
pub(crate) struct Plain {
    body: Body,
    side: Side,
}

impl Wire for Plain {
    fn open(line: &mut Line, side: Side, name: &str, _: u16, body: Body) -> io::Result<Self> {
        assert_eq!(name, SERVICE, "a proxy has one service");
        shake(line)?;
        Ok(Self { body, side })
    }

    fn next<'a>(&self, input: &mut &'a [u8]) -> Option<Said<'a>> {
        let (frames, count) = match next(input)? {
            Item::Command(body) => return Some(on_command(body)),
            Item::Message(frames, count) => (frames, count),
        };
        Some(match (self.side, &frames[..count]) {
            (Side::Client, [body]) => Said::Message { back: b"", body },
            (Side::Worker, [back, body]) => Said::Message { back, body },
            (side, frames) => panic!("unexpected on the side of a {side:?}: {frames:?}"),
        })
    }

    fn request(&self, head: &[u8; HEAD], out: &mut Outbox) {
        header(0, self.body.size(), out.run());
        self.body.append(head, out);
    }

    fn reply(&self, back: &[u8], head: &[u8; HEAD], out: &mut Outbox) {
        frame(MORE, back, out.run());
        header(0, self.body.size(), out.run());
        self.body.append(head, out);
    }
}

/// As [`Plain`], with as many frames as MDP/0.1 has on its whole way through a broker: 4 and 5 on
/// the way there, 6 and 5 on the way back.
#[derive(Debug)]
pub(crate) struct Padded(Plain);

impl Wire for Padded {
    fn open(line: &mut Line, side: Side, name: &str, credit: u16, body: Body) -> io::Result<Self> {
        Plain::open(line, side, name, credit, body).map(Self)
    }

    fn next<'a>(&self, input: &mut &'a [u8]) -> Option<Said<'a>> {
        let (frames, count) = match next(input)? {
            Item::Command(body) => return Some(on_command(body)),
            Item::Message(frames, count) => (frames, count),
        };
        Some(match (self.0.side, &frames[..count]) {
            (Side::Client, [b"", b"MDPC01", b"", b"bench", body]) => {
                Said::Message { back: b"", body }
            }
            (Side::Worker, [back, b"", b"MDPC01", b"bench", body]) => Said::Message { back, body },
            (side, frames) => panic!("unexpected on the side of a {side:?}: {frames:?}"),
        })
    }

    fn request(&self, head: &[u8; HEAD], out: &mut Outbox) {
        frame(MORE, b"", out.run());
        frame(MORE, b"MDPC01", out.run());
        frame(MORE, SERVICE.as_bytes(), out.run());
        self.0.request(head, out);
    }

    fn reply(&self, back: &[u8], head: &[u8; HEAD], out: &mut Outbox) {
        for part in [back, b"", b"MDPC01", b"", SERVICE.as_bytes()] {
            frame(MORE, part, out.run());
        }
        self.0.request(head, out);
    }
}
