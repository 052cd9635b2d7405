//! Greetings, of whatever protocol.

use super::{Act, Case, End, Ours, curve, null, plain};
use crate::wire::greeting::{GREETING_LEN, GreetingError, Mechanism};

/// What a peer of libzmq 4.3.5 sends: as-server is 0 whatever it is.
pub(in crate::fuzzing) fn greeting(mechanism: Mechanism) -> Vec<u8> {
    let name = mechanism.name().as_bytes();
    let padding = [0; 20];
    let padding = padding.get(name.len()..).unwrap_or_default();
    [b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01", name, padding, &[0; 32]].concat()
}

/// The greeting with `octets` from offset `at` on, ending with them.
fn cut(mechanism: Mechanism, at: usize, octets: &[u8]) -> Vec<u8> {
    let mut greeting = greeting(mechanism);
    greeting.truncate(at);
    greeting.extend_from_slice(octets);
    greeting
}

/// The greeting with `octets` at offset `at`.
fn changed(mechanism: Mechanism, at: usize, octets: &[u8]) -> Vec<u8> {
    let mut greeting = greeting(mechanism);
    greeting.splice(at..at + octets.len(), octets.iter().copied());
    assert_eq!(greeting.len(), GREETING_LEN);
    greeting
}

/// All that may come first at a listener of this mechanism.
pub(super) fn cases(mechanism: Mechanism) -> Vec<Case> {
    let mut cases = refused(mechanism);
    cases.extend(names(mechanism));
    cases.extend(served(mechanism));
    cases
}

/// What is no greeting of ZMTP 3, or of an older one.
fn refused(mechanism: Mechanism) -> Vec<Case> {
    let not_zmtp = |octet| GreetingError::NotZmtp { octet };
    let unversioned = |octet| GreetingError::Unversioned { octet };
    let old = |major| GreetingError::OldVersion { major };
    let cut = |at, octets| cut(mechanism, at, octets);
    let table = [
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
    ];
    let ours = Ours::Listener(mechanism);
    table
        .into_iter()
        .map(|(name, octets, error)| {
            Case::new(ours, name, vec![Act::send(octets)], End::Closed(error.into()))
        })
        .collect()
}

/// Every mechanism but ours, and whatever looks like it.
fn names(ours: Mechanism) -> Vec<Case> {
    let own = ours.name().as_bytes();
    let lower = own.to_ascii_lowercase();
    let capital = [own.get(..1).unwrap_or_default(), lower.get(1..).unwrap_or_default()].concat();
    let table = [
        ("no mechanism", b"".to_vec()),
        ("mechanism NULL", b"NULL".to_vec()),
        ("mechanism PLAIN", b"PLAIN".to_vec()),
        ("mechanism CURVE", b"CURVE".to_vec()),
        ("mechanism GSSAPI", b"GSSAPI".to_vec()),
        ("mechanism in lower case", lower.clone()),
        ("mechanism with a capital", capital),
        ("first letter of the mechanism", own.get(..1).unwrap_or_default().to_vec()),
        ("mechanism without its end", own.get(..own.len() - 1).unwrap_or_default().to_vec()),
        ("mechanism and X", [own, b"X"].concat()),
        ("mechanism and a space", [own, b" "].concat()),
        ("mechanism twice", own.repeat(2)),
        ("mechanism, zero, Z", [own, b"\0Z"].concat()),
        ("zero, mechanism", [b"\0", own].concat()),
        ("mechanism padded with ff", [own, b"\xff"].concat()),
        ("mechanism ends in 01", [own, &vec![0; 19 - own.len()], b"\x01"].concat()),
    ];
    let mut cases = Vec::new();
    for (name, mut octets) in table {
        octets.resize(20, 0);
        let own = own.iter().chain(std::iter::repeat(&0));
        // It ends with the first octet that is not ours.
        let differs = octets.iter().zip(own).position(|(theirs, ours)| theirs != ours);
        let Some(at) = differs else { continue };
        octets.truncate(at + 1);
        let octet = octets.last().copied().unwrap_or_default();
        let error = GreetingError::MechanismDiffers { ours, at: 12 + at, octet };
        let acts = vec![Act::send(cut(ours, 12, &octets))];
        cases.push(Case::new(Ours::Listener(ours), name, acts, End::Closed(error.into())));
    }
    cases
}

/// What nobody minds.
fn served(mechanism: Mechanism) -> Vec<Case> {
    let changed = |at, octets: &[u8]| changed(mechanism, at, octets);
    let table = [
        ("padding ff", changed(1, &[0xff; 8])),
        ("octet 9 is 01", changed(9, b"\x01")),
        ("octet 9 is ff", changed(9, b"\xff")),
        ("3.0", changed(11, b"\0")),
        ("3.2", changed(11, b"\x02")),
        ("3.255", changed(11, b"\xff")),
        ("4.0", changed(10, b"\x04\0")),
        ("255.255", changed(10, b"\xff\xff")),
        ("as-server 1", changed(32, b"\x01")),
        ("as-server 2", changed(32, b"\x02")),
        ("as-server 255", changed(32, b"\xff")),
        ("filler ff", changed(33, &[0xff; 31])),
    ];
    table
        .into_iter()
        .map(|(name, greeting)| {
            let acts = match mechanism {
                Mechanism::Null => null::acts(greeting),
                Mechanism::Plain => plain::acts(greeting),
                Mechanism::Curve => curve::acts(greeting),
            };
            Case::new(Ours::Listener(mechanism), name, acts, End::Served(0))
        })
        .collect()
}
