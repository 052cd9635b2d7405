//! What a peer says of itself, at a listener of whatever mechanism.

use super::End;

/// The metadata of a DEALER, and these properties besides.
pub(super) fn dealer_and(properties: &[u8]) -> Vec<u8> {
    [b"\x0bSocket-Type\0\0\0\x06DEALER", properties].concat()
}

fn typed(name: &[u8]) -> Vec<u8> {
    property(b"Socket-Type", name)
}

pub(super) fn property(name: &[u8], value: &[u8]) -> Vec<u8> {
    let [.., name_len] = name.len().to_be_bytes();
    let value_len = u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[name_len], name, &value_len, value].concat()
}

fn identity(octets: &[u8]) -> Vec<u8> {
    property(b"Identity", octets)
}

/// Metadata of so many octets in all, of a DEALER that says something useless.
pub(super) fn of_length(len: usize) -> Vec<u8> {
    let dealer = dealer_and(b"");
    // A name of two octets, and two lengths.
    let value = vec![b'v'; len.saturating_sub(dealer.len() + 7)];
    [dealer, property(b"X-", &value)].concat()
}

const BROKEN: End = End::Refused("malformed-metadata");
const UNKNOWN: End = End::Refused("unknown-socket-type");
const NO_TYPE: End = End::Refused("no-socket-type");
const LONG_IDENTITY: End = End::Refused("identity-longer-than-255-octets");
const ZERO_IDENTITY: End = End::Refused("identity-starts-with-zero");
const NOT_SERVED: End = End::Refused("socket-type-not-served:use-REQ,DEALER,ROUTER-or-CLIENT");
const TOO_LONG: End = End::Refused("metadata-too-long");
const SERVED: End = End::Served(0);

type Row = (&'static str, Vec<u8>, End);

/// Names, metadata, and what comes of them. None are longer than a command may be.
pub(super) fn table() -> impl Iterator<Item = (String, Vec<u8>, End)> {
    let mut table = types_and_identities();
    table.extend(properties());
    table.into_iter().map(|(name, metadata, end)| (format!("metadata, {name}"), metadata, end))
}

fn types_and_identities() -> Vec<Row> {
    vec![
        ("no metadata", vec![], NO_TYPE),
        ("only an identity", identity(b"a"), NO_TYPE),
        ("Socket_Type", property(b"Socket_Type", b"DEALER"), NO_TYPE),
        ("empty type", typed(b""), UNKNOWN),
        ("dealer", typed(b"dealer"), UNKNOWN),
        ("DEALER and a zero", typed(b"DEALER\0"), UNKNOWN),
        ("STREAM", typed(b"STREAM"), UNKNOWN),
        ("type of 255 octets", typed(&[b'T'; 255]), UNKNOWN),
        ("PUB", typed(b"PUB"), NOT_SERVED),
        ("SUB", typed(b"SUB"), NOT_SERVED),
        ("PULL", typed(b"PULL"), NOT_SERVED),
        ("REP", typed(b"REP"), NOT_SERVED),
        ("SERVER", typed(b"SERVER"), NOT_SERVED),
        ("type twice", dealer_and(&typed(b"DEALER")), BROKEN),
        ("type twice, other case", dealer_and(&property(b"socket-type", b"REQ")), BROKEN),
        ("identity twice", dealer_and(&identity(b"a").repeat(2)), BROKEN),
        ("empty identity twice", dealer_and(&identity(b"").repeat(2)), BROKEN),
        ("identity of 256", dealer_and(&identity(&[b'i'; 256])), LONG_IDENTITY),
        ("identity of 300", dealer_and(&identity(&[b'i'; 300])), LONG_IDENTITY),
        ("identity 0", dealer_and(&identity(b"\0")), ZERO_IDENTITY),
        ("identity of libzmq's own making", dealer_and(&identity(b"\0abcd")), ZERO_IDENTITY),
        ("identity of 255", dealer_and(&identity(&[b'i'; 255])), SERVED),
        ("SOCKET-TYPE", property(b"SOCKET-TYPE", b"DEALER"), SERVED),
        ("identity before the type", [identity(b"a"), dealer_and(b"")].concat(), SERVED),
    ]
}

fn properties() -> Vec<Row> {
    let one = b"\x01X\0\0\0\0";
    vec![
        ("name of no octets", dealer_and(b"\0\0\0\0\0"), BROKEN),
        ("name with a space", dealer_and(b"\x03X a\0\0\0\0"), BROKEN),
        ("name with a slash", dealer_and(b"\x03X/a\0\0\0\0"), BROKEN),
        ("name with a zero", dealer_and(b"\x03X\0a\0\0\0\0"), BROKEN),
        ("name above ASCII", dealer_and(b"\x02X\xe9\0\0\0\0"), BROKEN),
        ("name of 255 beyond the end", dealer_and(b"\xffX"), BROKEN),
        ("one stray octet", dealer_and(b"\x08"), BROKEN),
        ("cut in a name", dealer_and(b"\x08Iden"), BROKEN),
        ("cut behind a name", dealer_and(b"\x08Identity"), BROKEN),
        ("cut in a value's length", dealer_and(b"\x08Identity\0\0\0"), BROKEN),
        ("cut before a value", dealer_and(b"\x08Identity\0\0\0\x01"), BROKEN),
        ("value one octet too long", dealer_and(b"\x02X-\0\0\0\x02v"), BROKEN),
        ("value of 64 KiB announced", dealer_and(b"\x02X-\0\x01\0\0v"), BROKEN),
        ("value of 2^31", dealer_and(b"\x02X-\x80\0\0\0v"), BROKEN),
        ("value of 2^32-5", dealer_and(b"\x02X-\xff\xff\xff\xfbv"), BROKEN),
        ("value of 2^32-1", dealer_and(b"\x02X-\xff\xff\xff\xffv"), BROKEN),
        ("17 properties", dealer_and(&one.repeat(16)), BROKEN),
        ("80 properties", dealer_and(&one.repeat(79)), BROKEN),
        ("100 properties", dealer_and(&one.repeat(99)), TOO_LONG),
        ("metadata of 513", of_length(513), TOO_LONG),
        ("metadata of 760", of_length(760), TOO_LONG),
        ("metadata of 512", of_length(512), SERVED),
        ("metadata of 511", of_length(511), SERVED),
        ("16 properties", dealer_and(&one.repeat(15)), SERVED),
        ("name of 255", dealer_and(&property(&[b'N'; 255], b"v")), SERVED),
        ("Resource and X-", dealer_and(b"\x08Resource\0\0\0\x01/\x03X-a\0\0\0\0"), SERVED),
    ]
}
