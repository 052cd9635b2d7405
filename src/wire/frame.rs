//! The header of a frame: flags and size (RFC 37, "Framing"; SPEC 2).

/// Another frame of the same message follows.
pub const MORE: u8 = 0x01;
/// The size takes eight octets instead of one.
pub const LONG: u8 = 0x02;
/// The body is a command, not part of a message.
pub const COMMAND: u8 = 0x04;

/// Longest encoded header: flags and eight octets of size.
pub const HEADER_LEN_MAX: usize = 9;

/// A header that breaks the framing rules, whatever follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// RFC 37: flag bits 7-3 must be zero.
    #[error("frame flags {flags:#04x} set reserved bits; only MORE, LONG and COMMAND exist")]
    ReservedFlags {
        /// The octet received.
        flags: u8,
    },
    /// RFC 37: a command is never followed by another frame of its own.
    #[error("frame flags {flags:#04x} put MORE on a command, which has one frame")]
    MoreOnCommand {
        /// The octet received.
        flags: u8,
    },
}

/// Flags and size of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Another frame of this message follows.
    pub more: bool,
    /// The frame is a command.
    pub command: bool,
    /// Octets of the body, as announced and not yet believed.
    pub size: u64,
    /// Octets of the header itself: 2 or 9.
    pub len: usize,
}

impl Header {
    /// Reads a header from the front of `input`; `None` until it is complete.
    ///
    /// # Errors
    /// Wrong flags are found at their first octet, before the size has arrived.
    #[inline]
    pub fn decode(input: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some((&flags, rest)) = input.split_first() else {
            return Ok(None);
        };
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(FrameError::ReservedFlags { flags });
        }
        let more = flags & MORE != 0;
        let command = flags & COMMAND != 0;
        if more && command {
            return Err(FrameError::MoreOnCommand { flags });
        }
        let (size, len) = if flags & LONG == 0 {
            let Some(&size) = rest.first() else {
                return Ok(None);
            };
            (u64::from(size), 2)
        } else {
            let Some(size) = rest.first_chunk::<8>() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*size), HEADER_LEN_MAX)
        };
        Ok(Some(Self { more, command, size, len }))
    }

    /// Appends the header of a body of `size` octets, in the short form where it fits.
    #[inline]
    pub fn encode(flags: u8, size: usize, out: &mut Vec<u8>) {
        if let Ok(short) = u8::try_from(size) {
            out.extend_from_slice(&[flags, short]);
        } else {
            out.push(flags | LONG);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Golden: RFC 37 "Framing" (short, long, MORE, COMMAND), and facts of libzmq 4.3.5 for the
    // long form of a small frame.
    #[test]
    fn headers_decode_as_rfc_37_draws_them() {
        let header = |more, command, size, len| Ok(Some(Header { more, command, size, len }));
        type Row<'a> = (&'a str, &'a [u8], Result<Option<Header>, FrameError>);
        let cases: &[Row<'_>] = &[
            ("nothing yet", b"", Ok(None)),
            ("flags only", b"\x00", Ok(None)),
            ("empty last frame", b"\x00\x00", header(false, false, 0, 2)),
            ("short with more", b"\x01\xff", header(true, false, 255, 2)),
            ("long, incomplete", b"\x02\x00\x00\x00\x00\x00\x00\x01", Ok(None)),
            ("long", b"\x02\x00\x00\x00\x00\x00\x00\x01\x00", header(false, false, 256, 9)),
            ("long form of 5", b"\x03\x00\x00\x00\x00\x00\x00\x00\x05", header(true, false, 5, 9)),
            ("command", b"\x04\x29", header(false, true, 41, 2)),
            ("long command", b"\x06\0\0\0\0\0\0\x01\x24", header(false, true, 292, 9)),
            ("2^64-1", b"\x02\xff\xff\xff\xff\xff\xff\xff\xff", header(false, false, u64::MAX, 9)),
            ("more on command", b"\x05", Err(FrameError::MoreOnCommand { flags: 5 })),
            ("long more command", b"\x07", Err(FrameError::MoreOnCommand { flags: 7 })),
            ("reserved bit", b"\x08", Err(FrameError::ReservedFlags { flags: 8 })),
            ("http", b"GET", Err(FrameError::ReservedFlags { flags: b'G' })),
        ];
        for (case, octets, expected) in cases {
            assert_eq!(&Header::decode(octets), expected, "{case}");
        }
    }

    #[test]
    fn sizes_up_to_255_take_the_short_form() {
        let mut out = Vec::new();
        Header::encode(MORE, 255, &mut out);
        Header::encode(0, 256, &mut out);
        assert_eq!(out, b"\x01\xff\x02\0\0\0\0\0\0\x01\0");
    }
}
