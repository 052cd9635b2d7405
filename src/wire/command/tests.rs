use super::*;
use crate::wire::frame::HEADER_LEN_MAX;
use proptest::prelude::*;

// Captured from libzmq 4.3.5 (pyzmq 27.3), flags and size included.
const LIBZMQ_DEALER_READY: &[u8] =
    b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0";
const LIBZMQ_PING_TTL_15: &[u8] = b"\x04\x07\x04PING\x00\x0f";
const LIBZMQ_PONG_TO_ABCD: &[u8] = b"\x04\x09\x04PONGabcd";
const LIBZMQ_ERROR_OF_ZAP: &[u8] = b"\x04\x0a\x05ERROR\x03400";

/// Golden: the captures above, and the grammar of RFC 37. Frames read and written alike.
const VALID: &[(&str, &[u8], Command<'_>)] = &[
    (
        "READY of a libzmq DEALER",
        LIBZMQ_DEALER_READY,
        Command::Ready(b"\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"),
    ),
    ("READY without metadata", b"\x04\x06\x05READY", Command::Ready(b"")),
    ("ERROR of libzmq's ZAP", LIBZMQ_ERROR_OF_ZAP, Command::Error { reason: b"400" }),
    ("ERROR without reason", b"\x04\x07\x05ERROR\0", Command::Error { reason: b"" }),
    (
        "PING of libzmq, 1.5 s",
        LIBZMQ_PING_TTL_15,
        Command::Ping { ttl_deciseconds: 15, context: b"" },
    ),
    (
        "PING with the longest TTL and context",
        b"\x04\x17\x04PING\xff\xff0123456789abcdef",
        Command::Ping { ttl_deciseconds: 65535, context: b"0123456789abcdef" },
    ),
    (
        "PING with the TTL that overflows libzmq",
        b"\x04\x07\x04PING\x02\x90",
        Command::Ping { ttl_deciseconds: 656, context: b"" },
    ),
    ("PONG of libzmq", LIBZMQ_PONG_TO_ABCD, Command::Pong { context: b"abcd" }),
    ("PONG of go-zeromq", b"\x04\x05\x04PONG", Command::Pong { context: b"" }),
    ("unknown", b"\x04\x04\x03NEW", Command::Other { name: b"NEW" }),
    ("name of one letter", b"\x04\x02\x01A", Command::Other { name: b"A" }),
    ("names are exact", b"\x04\x05\x04ping", Command::Other { name: b"ping" }),
];

#[test]
fn valid_commands_are_read_and_written_as_captured() {
    for (case, frame, command) in VALID {
        let body = CommandReader::new(4096).read(&mut &frame[..]).unwrap().unwrap();
        assert_eq!(Command::decode(&body), Ok(*command), "{case}");
        let mut out = b"before".to_vec();
        command.encode(&mut out);
        assert_eq!(out.strip_prefix(b"before"), Some(*frame), "{case}");
    }
}

#[test]
fn commands_for_other_socket_types_say_nothing_to_us() {
    // Golden: the grammars of RFC 37, "SUBSCRIBE", "CANCEL", "JOIN", "LEAVE"; RFC 25 "MESSAGE".
    let cases: [(&[u8], &[u8]); 5] = [
        (b"\x09SUBSCRIBEtopic", b"SUBSCRIBE"),
        (b"\x06CANCELtopic", b"CANCEL"),
        (b"\x04JOINgroup", b"JOIN"),
        (b"\x05LEAVEgroup", b"LEAVE"),
        (b"\x07MESSAGE\0\0\0\0\0\0\0\x01", b"MESSAGE"),
    ];
    for (body, name) in cases {
        assert_eq!(Command::decode(body), Ok(Command::Other { name }));
    }
    let longest = [&[255][..], &[b'N'; 255]].concat();
    assert_eq!(Command::decode(&longest), Ok(Command::Other { name: &[b'N'; 255] }));
}

#[test]
fn broken_commands_are_refused_with_the_numbers() {
    use CommandError::*;
    let cases: &[(&str, &[u8], CommandError)] = &[
        ("empty", b"", NoName),
        ("name of no octets", b"\0", NoName),
        ("name of no octets, and data", b"\0READY", NoName),
        ("name longer than body", b"\x06READY", NameOverrun { len: 6, body: 6 }),
        ("name longer than a one-octet body", b"\xff", NameOverrun { len: 255, body: 1 }),
        ("ERROR without a length", b"\x05ERROR", ReasonOverrun { len: 0 }),
        ("ERROR cut in its reason", b"\x05ERROR\x0340", ReasonOverrun { len: 3 }),
        ("PING without TTL", b"\x04PING", PingWithoutTtl { len: 0 }),
        ("PING of 5 octets and one more", b"\x04PING\0", PingWithoutTtl { len: 1 }),
        ("PING, context of 17", b"\x04PING\0\x010123456789abcdefg", ContextTooLong { len: 17 }),
        ("PONG, context of 17", b"\x04PONG0123456789abcdefg", ContextTooLong { len: 17 }),
    ];
    for (case, body, expected) in cases {
        assert_eq!(Command::decode(body), Err(*expected), "{case}");
    }
    assert_eq!(
        Command::decode(b"\x05ERROR\x01ab"),
        Ok(Command::Error { reason: b"a" }),
        "an ERROR stays one with octets behind its reason"
    );
}

#[test]
fn every_cut_of_every_command_has_its_answer() {
    for (case, frame, command) in VALID {
        let body = &frame[2..];
        let name_end = 1 + usize::from(body[0]);
        for len in 0..body.len() {
            let cut = Command::decode(&body[..len]);
            let expected = match (len, command) {
                (0, _) => Err(CommandError::NoName),
                (len, _) if len < name_end => {
                    Err(CommandError::NameOverrun { len: name_end - 1, body: len })
                }
                (_, Command::Ready(metadata)) => Ok(Command::Ready(&metadata[..len - name_end])),
                (_, Command::Error { .. }) => {
                    Err(CommandError::ReasonOverrun { len: len - name_end })
                }
                (_, Command::Ping { .. }) if len < name_end + 2 => {
                    Err(CommandError::PingWithoutTtl { len: len - name_end })
                }
                (_, Command::Ping { ttl_deciseconds, context }) => Ok(Command::Ping {
                    ttl_deciseconds: *ttl_deciseconds,
                    context: &context[..len - name_end - 2],
                }),
                (_, Command::Pong { context }) => {
                    Ok(Command::Pong { context: &context[..len - name_end] })
                }
                (_, Command::Other { .. }) => unreachable!("{case} has no data"),
            };
            assert_eq!(cut, expected, "{case}, first {len} octets");
        }
    }
}

#[test]
fn what_does_not_fit_is_cut_so_that_the_frame_stays_readable() {
    let long = [b'x'; 300];
    let cases = [
        (Command::Error { reason: &long }, Command::Error { reason: &long[..255] }),
        (Command::Pong { context: &long }, Command::Pong { context: &long[..16] }),
        (
            Command::Ping { ttl_deciseconds: 1, context: &long },
            Command::Ping { ttl_deciseconds: 1, context: &long[..16] },
        ),
        (Command::Other { name: &long }, Command::Other { name: &long[..255] }),
        (Command::Ready(&long), Command::Ready(&long)),
    ];
    for (given, read) in cases {
        let mut out = Vec::new();
        given.encode(&mut out);
        let body = CommandReader::new(4096).read(&mut &out[..]).unwrap().unwrap();
        assert_eq!(Command::decode(&body), Ok(read));
    }
}

#[test]
fn a_pong_is_never_longer_than_what_its_ping_brought() {
    // libzmq 4.3.5 answers this PING with 16 octets of its heap.
    assert_eq!(Command::decode(b"\x04PING"), Err(CommandError::PingWithoutTtl { len: 0 }));
    for len in 0..=PING_CONTEXT_MAX {
        let body = [&b"\x04PING\0\0"[..], &[b'c'; PING_CONTEXT_MAX][..len]].concat();
        let Ok(Command::Ping { context, .. }) = Command::decode(&body) else { panic!("{len}") };
        let mut pong = Vec::new();
        Command::Pong { context }.encode(&mut pong);
        assert_eq!(pong.len(), 2 + body.len() - 2);
    }
}

proptest! {
    #[test]
    fn any_octets_are_a_command_or_an_error_and_a_command_comes_back(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        name in 0..6_usize,
    ) {
        let names: [&[u8]; 6] = [b"", b"\x05READY", b"\x05ERROR", b"\x04PING", b"\x04PONG", b"\x01"];
        let body = [names[name], &body].concat();
        if let Ok(command) = Command::decode(&body) {
            let mut frame = Vec::new();
            command.encode(&mut frame);
            prop_assert!(frame.len() <= body.len() + HEADER_LEN_MAX);
            let again = CommandReader::new(4096).read(&mut &frame[..]).unwrap().unwrap();
            prop_assert_eq!(Command::decode(&again), Ok(command));
        }
    }

    #[test]
    fn a_reader_does_not_care_how_octets_arrive(
        octets in proptest::collection::vec(prop_oneof![Just(4_u8), Just(0), Just(6), any::<u8>()], 0..40),
        cut in 0..40_usize,
    ) {
        let whole = CommandReader::new(16).read(&mut &octets[..]);
        let (first, second) = octets.split_at(cut.min(octets.len()));
        let mut reader = CommandReader::new(16);
        let parts = match reader.read(&mut { first }) {
            Ok(None) => reader.read(&mut { second }),
            done => done,
        };
        prop_assert_eq!(parts, whole);
    }
}
