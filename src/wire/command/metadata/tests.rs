use super::*;
use proptest::prelude::*;

// Captured: metadata in READY of libzmq 4.3.5 (pyzmq 27.3) sockets.
const DEALER: &[u8] = b"\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0";
const DEALER_NAMED: &[u8] = b"\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x08worker-1";
const REQ: &[u8] = b"\x0bSocket-Type\0\0\0\x03REQ\x08Identity\0\0\0\0";
const ROUTER: &[u8] = b"\x0bSocket-Type\0\0\0\x06ROUTER\x08Identity\0\0\0\0";
const SUB: &[u8] = b"\x0bSocket-Type\0\0\0\x03SUB";
const DEALER_WITH_X: &[u8] =
    b"\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0\x06X-Role\0\0\0\x04test";

fn metadata(socket_type: SocketType, identity: &[u8]) -> Metadata {
    Metadata { socket_type, identity: Identity::try_from(identity).ok() }
}

fn property(name: &[u8], value: &[u8]) -> Vec<u8> {
    let name_len = [u8::try_from(name.len()).unwrap()];
    let value_len = u32::try_from(value.len()).unwrap().to_be_bytes();
    [&name_len, name, &value_len, value].concat()
}

fn dealer_and(more: &[u8]) -> Vec<u8> {
    [DEALER_TYPE, more].concat()
}

const DEALER_TYPE: &[u8] = b"\x0bSocket-Type\0\0\0\x06DEALER";

#[test]
fn metadata_of_libzmq_is_read_and_written_alike() {
    let cases = [
        (DEALER, metadata(SocketType::Dealer, b"")),
        (DEALER_NAMED, metadata(SocketType::Dealer, b"worker-1")),
        (REQ, metadata(SocketType::Req, b"")),
        (ROUTER, metadata(SocketType::Router, b"")),
        (SUB, metadata(SocketType::Sub, b"")),
    ];
    for (octets, expected) in cases {
        assert_eq!(Metadata::decode(octets), Ok(expected.clone()));
        let mut out = Vec::new();
        expected.encode(&mut out);
        assert_eq!(out, octets);
    }
}

#[test]
fn what_rfc_37_allows_is_accepted() {
    let dealer = || metadata(SocketType::Dealer, b"");
    let longest = [7; 255];
    let cases: [(&str, Vec<u8>, Metadata); 10] = [
        ("X- properties of libzmq", DEALER_WITH_X.to_vec(), dealer()),
        ("no Identity, as the RFC's own example", dealer_and(b""), dealer()),
        (
            "names in other case",
            b"\x0bsocket-TYPE\0\0\0\x03REQ\x08IDENTITY\0\0\0\x01a".to_vec(),
            metadata(SocketType::Req, b"a"),
        ),
        (
            "Identity first",
            b"\x08Identity\0\0\0\x01a\x0bSocket-Type\0\0\0\x03REQ".to_vec(),
            metadata(SocketType::Req, b"a"),
        ),
        (
            "longest identity",
            dealer_and(&property(b"Identity", &longest)),
            metadata(SocketType::Dealer, &longest),
        ),
        (
            "binary identity",
            dealer_and(&property(b"Identity", b"\xff\0\n")),
            metadata(SocketType::Dealer, b"\xff\0\n"),
        ),
        ("Resource", dealer_and(&property(b"Resource", b"a/b")), dealer()),
        ("longest name", dealer_and(&property(&[b'n'; 255], b"")), dealer()),
        ("every character of a name", dealer_and(&property(b"aZ09-_.+", b"\0")), dealer()),
        (
            "RFC 37: the Identity of other types shall be ignored",
            [SUB, &property(b"Identity", &[0; 300])].concat(),
            metadata(SocketType::Sub, b""),
        ),
    ];
    for (case, octets, expected) in cases {
        assert_eq!(Metadata::decode(&octets), Ok(expected), "{case}");
    }
}

#[test]
fn what_libzmq_lets_pass_and_rfc_37_forbids_is_refused() {
    use MetadataError::*;
    let unknown = |name: &str| UnknownSocketType { name: name.into() };
    let typed = |value: &[u8]| property(b"Socket-Type", value);
    let cases: [(&str, Vec<u8>, MetadataError); 21] = [
        ("nothing", vec![], NoSocketType),
        ("only an Identity", property(b"Identity", b"a"), NoSocketType),
        ("dealer", typed(b"dealer"), unknown("dealer")),
        ("no type", typed(b""), unknown("")),
        ("binary type", typed(b"\0\xff"), unknown("\\x00\\xff")),
        ("type of 1 KiB, cut in the log", typed(&[b'T'; 1024]), unknown(&"T".repeat(32))),
        ("type twice", dealer_and(SUB), Repeated { name: "Socket-Type" }),
        (
            "type twice, other case",
            dealer_and(&property(b"socket-type", b"DEALER")),
            Repeated { name: "Socket-Type" },
        ),
        (
            "identity twice",
            [DEALER, &property(b"identity", b"a")].concat(),
            Repeated { name: "Identity" },
        ),
        (
            "identity of 256",
            dealer_and(&property(b"Identity", &[1; 256])),
            Identity(NameError::TooLong { len: 256, max: 255 }),
        ),
        (
            "identity of 300",
            dealer_and(&property(b"Identity", &[1; 300])),
            Identity(NameError::TooLong { len: 300, max: 255 }),
        ),
        (
            "identity as libzmq makes them for itself",
            dealer_and(&property(b"Identity", b"\0\x6b\x8b\x45\x67")),
            Identity(NameError::StartsWithZero),
        ),
        ("name of no octets", dealer_and(&property(b"", b"v")), Name { index: 1 }),
        ("name with a space", dealer_and(&property(b"X A", b"")), Name { index: 1 }),
        ("name with a zero", dealer_and(&property(b"X\0", b"")), Name { index: 1 }),
        ("name above ASCII", dealer_and(&property("Xé".as_bytes(), b"")), Name { index: 1 }),
        ("one stray octet", dealer_and(b"\x01"), Overrun { index: 1 }),
        ("name beyond the end", dealer_and(b"\xffX-"), Overrun { index: 1 }),
        ("no value", dealer_and(b"\x02X-"), Overrun { index: 1 }),
        ("value one beyond the end", dealer_and(b"\x02X-\0\0\0\x02v"), Overrun { index: 1 }),
        ("value of 2^32-1", dealer_and(b"\x02X-\xff\xff\xff\xffv"), Overrun { index: 1 }),
    ];
    for (case, octets, expected) in cases {
        assert_eq!(Metadata::decode(&octets), Err(expected), "{case}");
    }
}

#[test]
fn the_number_of_properties_is_limited_at_its_edge() {
    for count in [PROPERTIES_MAX - 1, PROPERTIES_MAX, PROPERTIES_MAX + 1, 1000] {
        let octets = dealer_and(&property(b"X", b"").repeat(count - 1));
        let expected = if count <= PROPERTIES_MAX {
            Ok(metadata(SocketType::Dealer, b""))
        } else {
            Err(MetadataError::TooMany)
        };
        assert_eq!(Metadata::decode(&octets), expected, "{count}");
    }
}

#[test]
fn every_cut_of_metadata_is_refused_unless_a_property_ends_there() {
    for len in 0..DEALER_NAMED.len() {
        let expected = match len {
            0 => Err(MetadataError::NoSocketType),
            22 => Ok(metadata(SocketType::Dealer, b"")),
            _ => Err(MetadataError::Overrun { index: usize::from(len > 22) }),
        };
        assert_eq!(Metadata::decode(&DEALER_NAMED[..len]), expected, "first {len} octets");
    }
}

proptest! {
    #[test]
    fn metadata_comes_back_from_what_it_wrote(
        which in 0..SocketType::ALL.len(),
        identity in proptest::collection::vec(any::<u8>(), 0..=255),
    ) {
        let socket_type = SocketType::ALL[which];
        let identity = if socket_type.has_identity() { &identity[..] } else { b"" };
        let metadata = metadata(socket_type, identity);
        let mut octets = Vec::new();
        metadata.encode(&mut octets);
        prop_assert_eq!(Metadata::decode(&octets), Ok(metadata));
    }

    #[test]
    fn any_octets_are_metadata_or_an_error(
        octets in proptest::collection::vec(prop_oneof![0..3_u8, any::<u8>()], 0..200),
    ) {
        // Nothing random names a socket type, so only the way through the properties is at stake.
        prop_assert!(Metadata::decode(&octets).is_err());
    }
}
