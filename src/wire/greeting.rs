//! The first 64 octets of a connection (RFC 37, "Formal Grammar" and "Version Negotiation").
//!
//! ```text
//! 0         1          9     10     11     12          32         33        64
//! +---------+----------+-----+------+------+-----------+----------+---------+
//! | ff      | padding  | 7f  | major| minor| mechanism | as-server| filler  |
//! +---------+----------+-----+------+------+-----------+----------+---------+
//! ```

use std::fmt;

/// Octets of a greeting.
pub const GREETING_LEN: usize = 64;

/// Octets of the mechanism's name, padded with zeros.
const MECHANISM_LEN: usize = 20;

// Where the fields begin.
const SIGNATURE_END: usize = 9;
const MAJOR: usize = 10;
const MINOR: usize = 11;
const MECHANISM: usize = 12;
const AS_SERVER: usize = 32;

/// A version of ZMTP, as a greeting announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number; below 3 lies another protocol.
    pub major: u8,
    /// Second number.
    pub minor: u8,
}

impl Version {
    /// The version we speak, towards every peer that speaks it or a higher one.
    pub const OURS: Self = Self { major: 3, minor: 1 };

    /// Whether such a peer knows PING and PONG, which came with 3.1.
    #[must_use]
    pub fn has_ping(self) -> bool {
        self >= Self::OURS
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// How a connection is secured. A listener has exactly one: ZMTP does not negotiate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Neither authentication nor encryption.
    Null,
    /// User name and password in clear text (RFC 24).
    Plain,
    /// Keys, authenticated and encrypted (RFC 25).
    Curve,
}

impl Mechanism {
    /// The name as the greeting spells it, without padding.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Plain => "PLAIN",
            Self::Curve => "CURVE",
        }
    }

    fn padded(self) -> [u8; MECHANISM_LEN] {
        let mut octets = [0; MECHANISM_LEN];
        for (to, from) in octets.iter_mut().zip(self.name().bytes()) {
            *to = from;
        }
        octets
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the peer announced first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// Version of ZMTP.
    pub version: Version,
    /// Security, the same on both sides.
    pub mechanism: Mechanism,
    /// Whether the peer is the server of its mechanism. libzmq sends 0 even as CURVE server, so
    /// nothing follows from a peer's value.
    pub as_server: bool,
}

impl Greeting {
    /// The whole greeting, padding and filler zero.
    #[must_use]
    pub fn encode(&self) -> [u8; GREETING_LEN] {
        let mut octets = [0; GREETING_LEN];
        let version = [self.version.major, self.version.minor];
        let head = [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f].into_iter().chain(version);
        let fields = head.chain(self.mechanism.padded()).chain([u8::from(self.as_server)]);
        for (to, from) in octets.iter_mut().zip(fields) {
            *to = from;
        }
        octets
    }
}

/// Why the peer's greeting was refused. Always at the first octet that decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GreetingError {
    /// ZMTP 1.0, or no ZMTP at all: HTTP, TLS, SSH, a port scan.
    #[error(
        "the peer begins with octet {octet:#04x} instead of 0xff: it speaks ZMTP 1.0 or something else; use libzmq 4 or newer"
    )]
    NotZmtp {
        /// The octet received.
        octet: u8,
    },
    /// Octet 9 marks an unversioned peer.
    #[error(
        "octet 9 of the greeting is {octet:#04x}, as of an unversioned ZMTP 1.0 peer; use libzmq 4 or newer"
    )]
    Unversioned {
        /// The octet received.
        octet: u8,
    },
    /// ZMTP 2.0 and its kin.
    #[error(
        "the peer speaks ZMTP revision {major}, older than 3; use libzmq 4.0, NetMQ 4.0.1 or newer"
    )]
    OldVersion {
        /// The octet received. Revision 1 is what RFC 15 calls ZMTP 2.0.
        major: u8,
    },
    /// RFC 37: a mechanism that is not exactly ours ends the connection.
    #[error(
        "the peer's security mechanism is not {ours} (octet {at} is {octet:#04x}); set the same on both sides"
    )]
    MechanismDiffers {
        /// What we announced.
        ours: Mechanism,
        /// Offset of the first difference in the greeting.
        at: usize,
        /// The octet received there.
        octet: u8,
    },
}

/// Reads the peer's greeting as it arrives, and refuses at the earliest octet.
#[derive(Debug, Clone)]
pub struct GreetingReader {
    seen: usize,
    mechanism: Mechanism,
    version: Version,
    as_server: bool,
}

impl GreetingReader {
    /// Expects a greeting with `mechanism`, as RFC 37 demands: the one we sent.
    #[must_use]
    pub fn new(mechanism: Mechanism) -> Self {
        Self { seen: 0, mechanism, version: Version { major: 0, minor: 0 }, as_server: false }
    }

    /// Takes the greeting's octets from the front of `input` and leaves what follows them.
    /// `None` until all 64 have been seen.
    ///
    /// # Errors
    /// The first octet that no greeting we serve can have; see [`GreetingError`].
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Greeting>, GreetingError> {
        while self.seen < GREETING_LEN {
            let Some((&octet, rest)) = input.split_first() else {
                return Ok(None);
            };
            self.take(octet)?;
            *input = rest;
            self.seen += 1;
        }
        let Self { version, mechanism, as_server, .. } = *self;
        Ok(Some(Greeting { version, mechanism, as_server }))
    }

    /// Judges the octet at offset `seen`. Padding, as-server and filler are nobody's fault.
    fn take(&mut self, octet: u8) -> Result<(), GreetingError> {
        match self.seen {
            0 if octet != 0xff => Err(GreetingError::NotZmtp { octet }),
            // Bit 0 alone tells versioned from unversioned peers; libzmq looks at no other.
            SIGNATURE_END if octet & 1 == 0 => Err(GreetingError::Unversioned { octet }),
            MAJOR if octet < Version::OURS.major => Err(GreetingError::OldVersion { major: octet }),
            at @ MECHANISM..AS_SERVER => {
                let ours = self.mechanism;
                if ours.padded().get(at - MECHANISM) == Some(&octet) {
                    Ok(())
                } else {
                    Err(GreetingError::MechanismDiffers { ours, at, octet })
                }
            }
            at => {
                match at {
                    MAJOR => self.version.major = octet,
                    MINOR => self.version.minor = octet,
                    AS_SERVER => self.as_server = octet != 0,
                    _ => {}
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Captured: what a DEALER of libzmq 4.3.5 (pyzmq 27.3) sends, in its three steps of 10, 1 and
    // 53 octets. The padding ends in the length of its identity plus one.
    const LIBZMQ: &[u8; 64] = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\
        \x03\
        \x01NULL\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

    const NULL: Greeting =
        Greeting { version: Version::OURS, mechanism: Mechanism::Null, as_server: false };

    fn with(changes: &[(usize, u8)]) -> [u8; 64] {
        let mut octets = *LIBZMQ;
        for &(at, octet) in changes {
            octets[at] = octet;
        }
        octets
    }

    fn read(octets: &[u8]) -> (Result<Option<Greeting>, GreetingError>, usize) {
        let mut input = octets;
        let result = GreetingReader::new(Mechanism::Null).read(&mut input);
        (result, octets.len() - input.len())
    }

    #[test]
    fn ours_is_the_greeting_that_rfc_37_draws() {
        // Golden: RFC 37 "Formal Grammar". The RFC wants zero padding where libzmq writes a length.
        assert_eq!(NULL.encode(), with(&[(8, 0)]));
        let curve = Greeting { mechanism: Mechanism::Curve, as_server: true, ..NULL }.encode();
        assert_eq!(&curve[12..33], b"CURVE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
        let plain = Greeting { mechanism: Mechanism::Plain, ..NULL }.encode();
        assert_eq!(&plain[12..33], b"PLAIN\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn every_row_of_what_a_greeting_may_be_gets_its_answer() {
        use GreetingError::*;
        let version =
            |major, minor| Ok(Some(Greeting { version: Version { major, minor }, ..NULL }));
        let server = Ok(Some(Greeting { as_server: true, ..NULL }));
        let differs = |at, octet| Err(MechanismDiffers { ours: Mechanism::Null, at, octet });
        let filler: Vec<_> = (33..64).map(|at| (at, 0xee)).collect();
        let padding: Vec<_> = (1..9).map(|at| (at, 0xee)).collect();
        // (case, changes to libzmq's greeting, result, octets taken)
        type Row<'a> = (&'a str, &'a [(usize, u8)], Result<Option<Greeting>, GreetingError>, usize);
        let cases: &[Row<'_>] = &[
            ("libzmq 4.3.5", &[], Ok(Some(NULL)), 64),
            ("filler not zero", &filler, Ok(Some(NULL)), 64),
            ("padding not zero", &padding, Ok(Some(NULL)), 64),
            ("as-server 1", &[(32, 1)], server, 64),
            ("as-server 255", &[(32, 255)], server, 64),
            ("signature ends in 01", &[(9, 1)], Ok(Some(NULL)), 64),
            ("version 3.0 (NetMQ, go-zeromq)", &[(11, 0)], version(3, 0), 64),
            ("version 3.255", &[(11, 255)], version(3, 255), 64),
            ("version 4.0", &[(10, 4), (11, 0)], version(4, 0), 64),
            ("version 255.1", &[(10, 255)], version(255, 1), 64),
            ("first octet 00", &[(0, 0)], Err(NotZmtp { octet: 0 }), 0),
            ("first octet fe", &[(0, 0xfe)], Err(NotZmtp { octet: 0xfe }), 0),
            ("octet 9 even", &[(9, 0x7e)], Err(Unversioned { octet: 0x7e }), 9),
            ("major 0", &[(10, 0)], Err(OldVersion { major: 0 }), 10),
            ("major 1", &[(10, 1)], Err(OldVersion { major: 1 }), 10),
            ("major 2", &[(10, 2)], Err(OldVersion { major: 2 }), 10),
            ("null", &[(12, b'n')], differs(12, b'n'), 12),
            ("NULLX", &[(16, b'X')], differs(16, b'X'), 16),
            ("NULL, zero, Z", &[(17, b'Z')], differs(17, b'Z'), 17),
            ("last octet of the name", &[(31, 1)], differs(31, 1), 31),
            ("no mechanism", &[(12, 0)], differs(12, 0), 12),
        ];
        for (case, changes, expected, taken) in cases {
            assert_eq!(&read(&with(changes)), &(*expected, *taken), "{case}");
        }
    }

    #[test]
    fn other_protocols_are_refused_at_the_octet_that_gives_them_away() {
        // Golden: RFC 15 (2.0 DEALER), RFC 13 (1.0), and what browsers, TLS and SSH send first.
        use GreetingError::*;
        let cases: &[(&str, &[u8], GreetingError)] = &[
            ("HTTP", b"G", NotZmtp { octet: b'G' }),
            ("SSH", b"SSH-2.0-", NotZmtp { octet: b'S' }),
            ("TLS", b"\x16\x03\x01", NotZmtp { octet: 0x16 }),
            ("ZMTP 1.0, anonymous", b"\x01\x00", NotZmtp { octet: 1 }),
            ("ZMTP 2.0 DEALER", b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05\0\0", OldVersion { major: 1 }),
        ];
        for (case, octets, expected) in cases {
            assert_eq!(read(octets).0, Err(*expected), "{case}");
        }
        let mut plain = GreetingReader::new(Mechanism::Plain);
        let error = plain.read(&mut &LIBZMQ[..]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the peer's security mechanism is not PLAIN (octet 12 is 0x4e); set the same on both sides"
        );
    }

    #[test]
    fn a_greeting_may_arrive_octet_by_octet_and_takes_no_more_than_its_own() {
        let mut reader = GreetingReader::new(Mechanism::Null);
        for octet in &LIBZMQ[..63] {
            assert_eq!(reader.read(&mut &[*octet][..]), Ok(None));
        }
        let mut input = &b"\x00\x04\x29"[..];
        assert_eq!(reader.read(&mut input), Ok(Some(NULL)));
        assert_eq!(input, b"\x04\x29");
    }

    #[test]
    fn every_prefix_of_a_greeting_waits_for_more() {
        for len in 0..64 {
            assert_eq!(read(&LIBZMQ[..len]), (Ok(None), len));
        }
    }

    #[test]
    fn only_peers_from_3_1_on_are_pinged() {
        let cases = [((3, 0), false), ((3, 1), true), ((3, 2), true), ((4, 0), true)];
        for ((major, minor), expected) in cases {
            let version = Version { major, minor };
            assert_eq!(version.has_ping(), expected, "{version}");
        }
    }
}
