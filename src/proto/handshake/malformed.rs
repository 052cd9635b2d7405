//! Every way to get a NULL handshake wrong that we could think of, and what comes of it.
//!
//! The octets of a case end with the one that decides it, and the test holds us to that: one octet
//! less, and the handshake still waits. So nothing is refused late, and nothing early.

use super::tests::{
    DIAL, LIBZMQ_DEALER_READY, LIBZMQ_GREETING, LIBZMQ_ROUTER_READY, Outcome, shake,
};
use super::*;
use crate::wire::command::CommandError;
use crate::wire::frame::FrameError;
use crate::wire::greeting::{GREETING_LEN, GreetingError, Mechanism};

/// What a case ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// A peer; so many octets are left for the traffic.
    Served(usize),
    /// Closed without a word: for now.
    Closed(HandshakeError),
    /// Refused with this ERROR, then closed: for good.
    Refused(&'static str),
}

type Case = (&'static str, Vec<u8>, End);

/// libzmq's greeting with `octets` from offset `at` on, ending with them.
fn cut(at: usize, octets: &[u8]) -> Vec<u8> {
    [&LIBZMQ_GREETING.concat()[..at], octets].concat()
}

/// libzmq's greeting with `octets` at offset `at`, and READY.
fn changed(at: usize, octets: &[u8]) -> Vec<u8> {
    let mut greeting = LIBZMQ_GREETING.concat();
    greeting.splice(at..at + octets.len(), octets.iter().copied());
    assert_eq!(greeting.len(), GREETING_LEN);
    [&greeting[..], LIBZMQ_DEALER_READY].concat()
}

/// libzmq's greeting, and behind it `octets`.
fn greeted(octets: &[u8]) -> Vec<u8> {
    [&LIBZMQ_GREETING.concat()[..], octets].concat()
}

/// libzmq's greeting and a command with this body.
fn command(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    crate::wire::frame::Header::encode(4, body.len(), &mut frame);
    greeted(&[&frame, body].concat())
}

/// libzmq's greeting and READY with this metadata.
fn ready(metadata: &[u8]) -> Vec<u8> {
    command(&[b"\x05READY", metadata].concat())
}

/// READY of a DEALER with these properties besides.
fn dealer_and(properties: &[u8]) -> Vec<u8> {
    ready(&[b"\x0bSocket-Type\0\0\0\x06DEALER", properties].concat())
}

fn identity(octets: &[u8]) -> Vec<u8> {
    let len = u32::try_from(octets.len()).unwrap().to_be_bytes();
    [b"\x08Identity", &len[..], octets].concat()
}

fn greeting_cases() -> Vec<Case> {
    let not_zmtp = |octet| End::Closed(GreetingError::NotZmtp { octet }.into());
    let unversioned = |octet| End::Closed(GreetingError::Unversioned { octet }.into());
    let old = |major| End::Closed(GreetingError::OldVersion { major }.into());
    let differs = |at, octet| {
        End::Closed(GreetingError::MechanismDiffers { ours: Mechanism::Null, at, octet }.into())
    };
    vec![
        ("HTTP", b"G".to_vec(), not_zmtp(b'G')),
        ("SSH", b"S".to_vec(), not_zmtp(b'S')),
        ("TLS", b"\x16".to_vec(), not_zmtp(0x16)),
        ("AMQP", b"A".to_vec(), not_zmtp(b'A')),
        ("line feed", b"\n".to_vec(), not_zmtp(b'\n')),
        ("zero", b"\0".to_vec(), not_zmtp(0)),
        ("ZMTP 1.0, anonymous", b"\x01".to_vec(), not_zmtp(1)),
        ("ZMTP 1.0, identity of 4", b"\x05".to_vec(), not_zmtp(5)),
        ("signature 7f", b"\x7f".to_vec(), not_zmtp(0x7f)),
        ("signature fe", b"\xfe".to_vec(), not_zmtp(0xfe)),
        ("octet 9 is 00", cut(9, b"\0"), unversioned(0)),
        ("octet 9 is 7e", cut(9, b"\x7e"), unversioned(0x7e)),
        ("octet 9 is 80", cut(9, b"\x80"), unversioned(0x80)),
        ("octet 9 is fe", cut(9, b"\xfe"), unversioned(0xfe)),
        ("long ZMTP 1.0 frame", b"\xff\0\0\0\0\0\0\x01\0\0".to_vec(), unversioned(0)),
        ("revision 0", cut(10, b"\0"), old(0)),
        ("ZMTP 2.0", cut(10, b"\x01"), old(1)),
        ("major 2", cut(10, b"\x02"), old(2)),
        ("no mechanism", cut(12, b"\0"), differs(12, 0)),
        ("PLAIN", cut(12, b"P"), differs(12, b'P')),
        ("CURVE", cut(12, b"C"), differs(12, b'C')),
        ("GSSAPI", cut(12, b"G"), differs(12, b'G')),
        ("null", cut(12, b"n"), differs(12, b'n')),
        ("Null", cut(12, b"Nu"), differs(13, b'u')),
        ("N", cut(12, b"N\0"), differs(13, 0)),
        ("NUL", cut(12, b"NUL\0"), differs(15, 0)),
        ("NULLX", cut(12, b"NULLX"), differs(16, b'X')),
        ("NULL and a space", cut(12, b"NULL "), differs(16, b' ')),
        ("NULLNULL", cut(12, b"NULLN"), differs(16, b'N')),
        ("NULL, zero, Z", cut(12, b"NULL\0Z"), differs(17, b'Z')),
        ("zero, NULL", cut(12, b"\0"), differs(12, 0)),
        ("mechanism not padded with zeros", cut(12, b"NULL\xff"), differs(16, 0xff)),
        ("last octet of the mechanism", cut(31, b"\x01"), differs(31, 1)),
        ("padding ff", changed(1, &[0xff; 8]), End::Served(0)),
        ("octet 9 is 01", changed(9, b"\x01"), End::Served(0)),
        ("octet 9 is ff", changed(9, b"\xff"), End::Served(0)),
        ("3.0", changed(11, b"\0"), End::Served(0)),
        ("3.2", changed(11, b"\x02"), End::Served(0)),
        ("3.255", changed(11, b"\xff"), End::Served(0)),
        ("4.0", changed(10, b"\x04\0"), End::Served(0)),
        ("255.255", changed(10, b"\xff\xff"), End::Served(0)),
        ("as-server 1", changed(32, b"\x01"), End::Served(0)),
        ("as-server 2", changed(32, b"\x02"), End::Served(0)),
        ("as-server 255", changed(32, b"\xff"), End::Served(0)),
        ("filler ff", changed(33, &[0xff; 31]), End::Served(0)),
    ]
}

fn frame_cases() -> Vec<Case> {
    let closed = |error: CommandError| End::Closed(error.into());
    let message = |flags| closed(CommandError::NotACommand { flags });
    let reserved = |flags| closed(FrameError::ReservedFlags { flags }.into());
    let more = |flags| closed(FrameError::MoreOnCommand { flags }.into());
    let too_big = |size| closed(CommandError::TooBig { size, max: 4096 });
    vec![
        ("message, last frame", greeted(b"\x00"), message(0)),
        ("message with more", greeted(b"\x01"), message(1)),
        ("long message", greeted(b"\x02"), message(2)),
        ("long message with more", greeted(b"\x03"), message(3)),
        ("READY with more", greeted(b"\x05"), more(5)),
        ("long READY with more", greeted(b"\x07"), more(7)),
        ("reserved bit 3", greeted(b"\x0c"), reserved(0x0c)),
        ("reserved bit 4", greeted(b"\x14"), reserved(0x14)),
        ("reserved bit 5", greeted(b"\x24"), reserved(0x24)),
        ("reserved bit 6", greeted(b"\x44"), reserved(0x44)),
        ("reserved bit 7", greeted(b"\x84"), reserved(0x84)),
        ("reserved bit, no command", greeted(b"\x08"), reserved(8)),
        ("all bits", greeted(b"\xff"), reserved(0xff)),
        ("a second greeting", greeted(b"\xff"), reserved(0xff)),
        ("HTTP behind the greeting", greeted(b"G"), reserved(b'G')),
        ("limit and one more", greeted(b"\x06\0\0\0\0\0\0\x10\x01"), too_big(4097)),
        ("1 MiB", greeted(b"\x06\0\0\0\0\0\x10\0\0"), too_big(1 << 20)),
        ("200 MiB", greeted(b"\x06\0\0\0\0\x0c\x80\0\0"), too_big(200 << 20)),
        ("1 GiB", greeted(b"\x06\0\0\0\0\x40\0\0\0"), too_big(1 << 30)),
        ("2^31-1", greeted(b"\x06\0\0\0\0\x7f\xff\xff\xff"), too_big((1 << 31) - 1)),
        ("2^40", greeted(b"\x06\0\0\x01\0\0\0\0\0"), too_big(1 << 40)),
        ("2^63-1", greeted(b"\x06\x7f\xff\xff\xff\xff\xff\xff\xff"), too_big((1 << 63) - 1)),
        ("2^63", greeted(b"\x06\x80\0\0\0\0\0\0\0"), too_big(1 << 63)),
        ("2^64-9", greeted(b"\x06\xff\xff\xff\xff\xff\xff\xff\xf7"), too_big(u64::MAX - 8)),
        ("2^64-1", greeted(b"\x06\xff\xff\xff\xff\xff\xff\xff\xff"), too_big(u64::MAX)),
    ]
}

fn command_cases() -> Vec<Case> {
    let closed = |error: CommandError| End::Closed(error.into());
    let instead = |name: &str| End::Closed(HandshakeError::unexpected(name.as_bytes(), "READY"));
    let refused_us = |why: &str| End::Closed(HandshakeError::Refused { reason: why.into() });
    let overrun = |len, body| closed(CommandError::NameOverrun { len, body });
    let long_context = |len| closed(CommandError::ContextTooLong { len });
    let no_reason = |len| closed(CommandError::ReasonOverrun { len });
    let hello = [&b"\x05HELLO\x01\0"[..], &[0; 192]].concat();
    let longest_name = [&b"\xff"[..], &[b'N'; 255]].concat();
    vec![
        ("empty command", command(b""), closed(CommandError::NoName)),
        ("name of no octets", command(b"\0"), closed(CommandError::NoName)),
        ("name of no octets before READY", command(b"\0\x05READY"), closed(CommandError::NoName)),
        ("name longer than body", command(b"\x06READY"), overrun(6, 6)),
        ("name of 255 in a body of 1", command(b"\xff"), overrun(255, 1)),
        ("padded name", command(b"\x08READY   "), instead("READY   ")),
        ("name with its null separator", command(b"\x06READY\0"), instead("READY\\x00")),
        ("ready", command(b"\x05ready"), instead("ready")),
        ("READ", command(b"\x04READY"), instead("READ")),
        ("longest name", command(&longest_name), instead(&"N".repeat(255))),
        ("name above ASCII", command(b"\x02\xc3\xa9"), instead("\\xc3\\xa9")),
        ("HELLO of PLAIN", command(b"\x05HELLO\x01u\x01p"), instead("HELLO")),
        ("HELLO of CURVE", command(&hello), instead("HELLO")),
        ("WELCOME", command(b"\x07WELCOME"), instead("WELCOME")),
        ("INITIATE", command(b"\x08INITIATE"), instead("INITIATE")),
        ("MESSAGE", command(b"\x07MESSAGE\0\0\0\0\0\0\0\x01"), instead("MESSAGE")),
        ("SUBSCRIBE", command(b"\x09SUBSCRIBE"), instead("SUBSCRIBE")),
        ("CANCEL", command(b"\x06CANCEL"), instead("CANCEL")),
        ("JOIN", command(b"\x04JOINgroup"), instead("JOIN")),
        ("LEAVE", command(b"\x05LEAVEgroup"), instead("LEAVE")),
        ("PING", command(b"\x04PING\0\0"), instead("PING")),
        ("PONG", command(b"\x04PONG"), instead("PONG")),
        ("PING without TTL", command(b"\x04PING"), closed(CommandError::PingWithoutTtl { len: 0 })),
        (
            "PING, half a TTL",
            command(b"\x04PING\0"),
            closed(CommandError::PingWithoutTtl { len: 1 }),
        ),
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

fn metadata_cases() -> Vec<Case> {
    const BROKEN: End = End::Refused("malformed-metadata");
    const UNKNOWN: End = End::Refused("unknown-socket-type");
    const NO_TYPE: End = End::Refused("no-socket-type");
    const LONG_IDENTITY: End = End::Refused("identity-longer-than-255-octets");
    const ZERO_IDENTITY: End = End::Refused("identity-starts-with-zero");
    let big_value = [&b"\x02X-\0\0\x08\0"[..], &[b'v'; 2048]].concat();
    vec![
        ("no metadata", ready(b""), NO_TYPE),
        ("only an identity", ready(&identity(b"a")), NO_TYPE),
        ("Socket_Type", ready(b"\x0bSocket_Type\0\0\0\x06DEALER"), NO_TYPE),
        ("empty type", ready(b"\x0bSocket-Type\0\0\0\0"), UNKNOWN),
        ("dealer", ready(b"\x0bSocket-Type\0\0\0\x06dealer"), UNKNOWN),
        ("DEALER and a zero", ready(b"\x0bSocket-Type\0\0\0\x07DEALER\0"), UNKNOWN),
        ("STREAM", ready(b"\x0bSocket-Type\0\0\0\x06STREAM"), UNKNOWN),
        ("type twice", dealer_and(b"\x0bSocket-Type\0\0\0\x06DEALER"), BROKEN),
        ("type twice, other case", dealer_and(b"\x0bsocket-type\0\0\0\x03REQ"), BROKEN),
        ("identity twice", dealer_and(&[identity(b"a"), identity(b"a")].concat()), BROKEN),
        ("empty identity twice", dealer_and(&[identity(b""), identity(b"")].concat()), BROKEN),
        ("identity of 256", dealer_and(&identity(&[b'i'; 256])), LONG_IDENTITY),
        ("identity of 300", dealer_and(&identity(&[b'i'; 300])), LONG_IDENTITY),
        ("identity of 4000", dealer_and(&identity(&[b'i'; 4000])), LONG_IDENTITY),
        ("identity 0", dealer_and(&identity(b"\0")), ZERO_IDENTITY),
        ("identity of libzmq's own making", dealer_and(&identity(b"\0abcd")), ZERO_IDENTITY),
        ("name of no octets", dealer_and(b"\0\0\0\0\0"), BROKEN),
        ("name with a space", dealer_and(b"\x03X a\0\0\0\0"), BROKEN),
        ("name with a slash", dealer_and(b"\x03X/a\0\0\0\0"), BROKEN),
        ("name above ASCII", dealer_and(b"\x02X\xe9\0\0\0\0"), BROKEN),
        ("one stray octet", dealer_and(b"\x08"), BROKEN),
        ("cut in a name", dealer_and(b"\x08Iden"), BROKEN),
        ("cut behind a name", dealer_and(b"\x08Identity"), BROKEN),
        ("cut in a value's length", dealer_and(b"\x08Identity\0\0\0"), BROKEN),
        ("cut before a value", dealer_and(b"\x08Identity\0\0\0\x01"), BROKEN),
        ("value of 2^31", dealer_and(b"\x02X-\x80\0\0\0v"), BROKEN),
        ("value of 2^32-1", dealer_and(b"\x02X-\xff\xff\xff\xffv"), BROKEN),
        ("65 properties", dealer_and(&b"\x01X\0\0\0\0".repeat(64)), BROKEN),
        ("600 properties", dealer_and(&b"\x01X\0\0\0\0".repeat(600)), BROKEN),
        ("64 properties", dealer_and(&b"\x01X\0\0\0\0".repeat(63)), End::Served(0)),
        ("value of 2 KiB", dealer_and(&big_value), End::Served(0)),
        ("identity of 255", dealer_and(&identity(&[b'i'; 255])), End::Served(0)),
        ("long form of a short READY", long_form_of_ready(), End::Served(0)),
        (
            "message right behind READY",
            [dealer_and(b""), b"\0\x01m".to_vec()].concat(),
            End::Served(3),
        ),
        ("READY twice", [dealer_and(b""), LIBZMQ_DEALER_READY.to_vec()].concat(), End::Served(43)),
        ("garbage behind READY", [dealer_and(b""), b"\xff".to_vec()].concat(), End::Served(1)),
    ]
}

fn long_form_of_ready() -> Vec<u8> {
    let body = &LIBZMQ_DEALER_READY[2..];
    greeted(&[b"\x06\0\0\0\0\0\0\0\x29", body].concat())
}

fn all_cases() -> Vec<Case> {
    [greeting_cases(), frame_cases(), command_cases(), metadata_cases()].concat()
}

fn end_of(Outcome { result, sent, left }: Outcome) -> Option<End> {
    match result {
        Ok(None) => {
            assert_eq!((&sent[..], left), (&b""[..], 0));
            None
        }
        Ok(Some(peer)) => {
            assert_eq!(peer.socket_type, SocketType::Dealer);
            assert_eq!(sent, LIBZMQ_ROUTER_READY);
            Some(End::Served(left))
        }
        Err(error) => {
            let Some(reason) = error.reply() else {
                assert_eq!(sent, b"", "{error}");
                return Some(End::Closed(error));
            };
            let mut refusal = Vec::new();
            Command::Error { reason: reason.as_bytes() }.encode(&mut refusal);
            assert_eq!(sent, refusal, "{error}");
            Some(End::Refused(reason))
        }
    }
}

#[test]
fn every_wrong_handshake_gets_its_answer_at_the_octet_that_decides_it() {
    let cases = all_cases();
    assert!(cases.len() >= 130, "{}", cases.len());
    for (case, octets, expected) in cases {
        let outcome = end_of(shake(Role::Accept, [&octets[..]]));
        assert_eq!(outcome.as_ref(), Some(&expected), "{case}");
        let dribbled = end_of(shake(Role::Accept, octets.chunks(1)));
        assert_eq!(dribbled.as_ref(), Some(&expected), "{case}, one octet at a time");
        let traffic = if let End::Served(left) = expected { left } else { 0 };
        let one_less = &octets[..octets.len() - traffic - 1];
        assert_eq!(end_of(shake(Role::Accept, [one_less])), None, "{case}, one octet less");
    }
}

#[test]
fn a_dialer_judges_wrong_octets_as_an_acceptor_does() {
    for (case, octets, expected) in all_cases() {
        let outcome = shake(DIAL, octets.chunks(1));
        match (expected, outcome.result) {
            (End::Served(_), Ok(Some(_))) => {}
            (End::Closed(expected), Err(error)) => assert_eq!(error, expected, "{case}"),
            (End::Refused(reason), Err(error)) => {
                assert_eq!(error.reply(), Some(reason), "{case}");
                assert!(error.is_final(), "{case}");
            }
            (expected, result) => panic!("{case}: {result:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn every_prefix_of_a_handshake_waits_and_answers_nothing() {
    let octets = greeted(LIBZMQ_DEALER_READY);
    for len in 0..octets.len() {
        assert_eq!(end_of(shake(Role::Accept, [&octets[..len]])), None, "first {len} octets");
    }
}
