//! Clients at a listener of NULL.

use super::greetings::{self, greeting};
use super::metadata::{self, dealer_and, of_length};
use super::{Act, Case, End, Ours, command};
use crate::proto::handshake::HandshakeError;
use crate::wire::command::CommandError;
use crate::wire::frame::FrameError;
use crate::wire::greeting::Mechanism;

/// What a DEALER of libzmq 4.3.5 sends behind its greeting.
const DEALER_READY: &[u8] = b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0";

type Row = (&'static str, Vec<u8>, End);

/// All of a good peer's octets, behind this greeting.
pub(super) fn acts(mut greeting: Vec<u8>) -> Vec<Act> {
    greeting.extend_from_slice(DEALER_READY);
    vec![Act::send(greeting)]
}

/// READY with this metadata.
fn ready(metadata: &[u8]) -> Vec<u8> {
    command(&[b"\x05READY", metadata].concat())
}

pub(super) fn cases() -> Vec<Case> {
    let mut rows = frames();
    rows.extend(commands("READY"));
    rows.extend(instead());
    rows.extend(whole());
    let mut cases = greetings::cases(Mechanism::Null);
    cases.extend(rows.into_iter().map(|(name, octets, end)| case(name, &octets, end)));
    let metadata = metadata::table();
    cases.extend(metadata.map(|(name, metadata, end)| case(&name, &ready(&metadata), end)));
    cases
}

fn case(name: &str, octets: &[u8], end: End) -> Case {
    let octets = [&greeting(Mechanism::Null)[..], octets].concat();
    Case::new(Ours::Listener(Mechanism::Null), name, vec![Act::send(octets)], end)
}

/// Frames that are no command, or too long for one: wherever a command has to come.
pub(super) fn frames() -> Vec<Row> {
    let closed = |error: CommandError| End::Closed(error.into());
    let message = |flags| closed(CommandError::NotACommand { flags });
    let reserved = |flags| closed(FrameError::ReservedFlags { flags }.into());
    let more = |flags| closed(FrameError::MoreOnCommand { flags }.into());
    let too_big = |size| closed(CommandError::TooBig { size, max: 1024 });
    let long = |size: u64| [&[6][..], &size.to_be_bytes()].concat();
    vec![
        ("message, last frame", b"\x00".to_vec(), message(0)),
        ("message with more", b"\x01".to_vec(), message(1)),
        ("long message", b"\x02".to_vec(), message(2)),
        ("long message with more", b"\x03".to_vec(), message(3)),
        ("command with more", b"\x05".to_vec(), more(5)),
        ("long command with more", b"\x07".to_vec(), more(7)),
        ("reserved bit 3", b"\x0c".to_vec(), reserved(0x0c)),
        ("reserved bit 4", b"\x14".to_vec(), reserved(0x14)),
        ("reserved bit 5", b"\x24".to_vec(), reserved(0x24)),
        ("reserved bit 6", b"\x44".to_vec(), reserved(0x44)),
        ("reserved bit 7", b"\x84".to_vec(), reserved(0x84)),
        ("reserved bit, no command", b"\x08".to_vec(), reserved(8)),
        ("all bits", b"\xff".to_vec(), reserved(0xff)),
        ("HTTP behind the greeting", b"G".to_vec(), reserved(b'G')),
        ("limit and one more", long(1025), too_big(1025)),
        ("4 KiB", long(4 << 10), too_big(4 << 10)),
        ("1,000 properties", long(6 + 22 + 6 * 999), too_big(6 + 22 + 6 * 999)),
        ("value of 64 KiB", long(6 + 22 + 7 + (64 << 10)), too_big(6 + 22 + 7 + (64 << 10))),
        ("1 MiB", long(1 << 20), too_big(1 << 20)),
        ("200 MiB", long(200 << 20), too_big(200 << 20)),
        ("1 GiB", long(1 << 30), too_big(1 << 30)),
        ("2^31-1", long((1 << 31) - 1), too_big((1 << 31) - 1)),
        ("2^32", long(1 << 32), too_big(1 << 32)),
        ("2^40", long(1 << 40), too_big(1 << 40)),
        ("2^63-1", long((1 << 63) - 1), too_big((1 << 63) - 1)),
        ("2^63", long(1 << 63), too_big(1 << 63)),
        ("2^64-9", long(u64::MAX - 8), too_big(u64::MAX - 8)),
        ("2^64-1", long(u64::MAX), too_big(u64::MAX)),
    ]
}

/// Commands that have no place in any handshake: wherever `expected` has to come.
pub(super) fn commands(expected: &'static str) -> Vec<Row> {
    let closed = |error: CommandError| End::Closed(error.into());
    let unexpected = |name: &str| {
        let name = name.into();
        End::Closed(HandshakeError::Unexpected { name, expected })
    };
    let refused_us = |why: &str| End::Closed(HandshakeError::Refused { reason: why.into() });
    let overrun = |len, body| closed(CommandError::NameOverrun { len, body });
    let long_context = |len| closed(CommandError::ContextTooLong { len });
    let no_reason = |len| closed(CommandError::ReasonOverrun { len });
    let no_ttl = |len| closed(CommandError::PingWithoutTtl { len });
    let longest_name = [&b"\xff"[..], &[b'N'; 255]].concat();
    vec![
        ("empty command", command(b""), closed(CommandError::NoName)),
        ("name of no octets", command(b"\0"), closed(CommandError::NoName)),
        ("name of no octets before READY", command(b"\0\x05READY"), closed(CommandError::NoName)),
        ("name longer than body", command(b"\x06READY"), overrun(6, 6)),
        ("name of 255 in a body of 1", command(b"\xff"), overrun(255, 1)),
        ("padded name", command(b"\x08READY   "), unexpected("READY   ")),
        ("name with its null separator", command(b"\x06READY\0"), unexpected("READY\\x00")),
        ("ready", command(b"\x05ready"), unexpected("ready")),
        ("hello", command(b"\x05hello"), unexpected("hello")),
        ("READ", command(b"\x04READY"), unexpected("READ")),
        ("longest name", command(&longest_name), unexpected(&"N".repeat(255))),
        ("name above ASCII", command(b"\x02\xc3\xa9"), unexpected("\\xc3\\xa9")),
        ("MESSAGE", command(b"\x07MESSAGE\0\0\0\0\0\0\0\x01"), unexpected("MESSAGE")),
        ("SUBSCRIBE", command(b"\x09SUBSCRIBE"), unexpected("SUBSCRIBE")),
        ("CANCEL", command(b"\x06CANCEL"), unexpected("CANCEL")),
        ("JOIN", command(b"\x04JOINgroup"), unexpected("JOIN")),
        ("LEAVE", command(b"\x05LEAVEgroup"), unexpected("LEAVE")),
        ("PING", command(b"\x04PING\0\0"), unexpected("PING")),
        ("PONG", command(b"\x04PONG"), unexpected("PONG")),
        ("PING without TTL", command(b"\x04PING"), no_ttl(0)),
        ("PING, half a TTL", command(b"\x04PING\0"), no_ttl(1)),
        ("PING, context of 17", command(b"\x04PING\0\x0001234567890123456"), long_context(17)),
        ("PONG, context of 17", command(b"\x04PONG01234567890123456"), long_context(17)),
        ("ERROR", command(b"\x05ERROR\x03400"), refused_us("400")),
        ("ERROR without reason", command(b"\x05ERROR\0"), refused_us("")),
        ("ERROR with a binary reason", command(b"\x05ERROR\x02\n\xff"), refused_us("\\n\\xff")),
        ("ERROR with octets behind", command(b"\x05ERROR\x01ab"), refused_us("a")),
        ("ERROR without length", command(b"\x05ERROR"), no_reason(0)),
        ("ERROR, reason beyond its end", command(b"\x05ERROR\xff400"), no_reason(4)),
    ]
}

/// Commands of other mechanisms where READY of NULL has to come.
fn instead() -> Vec<Row> {
    let unexpected = |name: &str| {
        let name = name.into();
        End::Closed(HandshakeError::Unexpected { name, expected: "READY" })
    };
    let hello = [&b"\x05HELLO\x01\0"[..], &[0; 192]].concat();
    vec![
        ("a second greeting", b"\xff".to_vec(), {
            End::Closed(CommandError::from(FrameError::ReservedFlags { flags: 0xff }).into())
        }),
        ("HELLO of PLAIN", command(b"\x05HELLO\x01u\x01p"), unexpected("HELLO")),
        ("HELLO of CURVE", command(&hello), unexpected("HELLO")),
        ("WELCOME", command(b"\x07WELCOME"), unexpected("WELCOME")),
        ("INITIATE", command(b"\x08INITIATE"), unexpected("INITIATE")),
        // Twenty-four octets and a box, whatever is in it.
        ("READY of CURVE", ready(&[0xaa; 59]), End::Refused("malformed-metadata")),
        ("READY as long as a command may be", ready(&of_length(1018)), {
            End::Refused("metadata-too-long")
        }),
    ]
}

/// Handshakes that are served, and what may follow them.
fn whole() -> Vec<Row> {
    let body = DEALER_READY.get(2..).unwrap_or_default();
    let long_form = [b"\x06\0\0\0\0\0\0\0\x29", body].concat();
    let dealer = ready(&dealer_and(b""));
    vec![
        ("long form of a short READY", long_form, End::Served(0)),
        ("message right behind READY", [&dealer[..], b"\0\x01m"].concat(), End::Served(3)),
        ("READY twice", [&dealer[..], DEALER_READY].concat(), End::Served(43)),
        ("HELLO behind READY", [&dealer[..], b"\x04\x08\x05HELLO\0\0"].concat(), End::Served(10)),
        ("garbage behind READY", [&dealer[..], b"\xff"].concat(), End::Served(1)),
    ]
}
