//! Collects one command frame from a stream of octets.

use zeroize::Zeroizing;

use super::super::frame::{COMMAND, Header};
use super::CommandError;

/// Reads one command after the other, as the handshake needs it: messages are not allowed, and
/// memory grows with the octets that arrive, never with a size that was announced. What it has read
/// may be a password: nothing of that stays in memory that it gives back.
#[derive(Clone)]
pub struct CommandReader {
    frame: Zeroizing<Vec<u8>>,
    bytes_max: usize,
}

/// What has arrived is not shown: it may be half a password.
impl std::fmt::Debug for CommandReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { frame, bytes_max } = self;
        write!(f, "CommandReader {{ {} octets, bytes_max: {bytes_max} }}", frame.len())
    }
}

impl CommandReader {
    /// Reads commands with bodies of at most `bytes_max` octets.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { frame: Zeroizing::default(), bytes_max }
    }

    /// Takes one command from the front of `input`, leaves what follows it, and returns its body,
    /// which is to be wiped if it may be a password; `None` until it is complete.
    ///
    /// # Errors
    /// Wrong flags and a message frame at their first octet, a size over the limit as soon as it
    /// is known.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, CommandError> {
        loop {
            let missing = match self.header()? {
                None => 1,
                Some((header_len, size)) => {
                    let missing = header_len.saturating_add(size) - self.frame.len();
                    if missing == 0 {
                        self.frame.drain(..header_len);
                        return Ok(Some(std::mem::take(&mut *self.frame)));
                    }
                    missing
                }
            };
            let (taken, rest) = input.split_at(missing.min(input.len()));
            if taken.is_empty() {
                return Ok(None);
            }
            self.append(taken);
            *input = rest;
        }
    }

    /// Where the frame grows, what it leaves behind is wiped.
    fn append(&mut self, octets: &[u8]) {
        let len = self.frame.len() + octets.len();
        if len > self.frame.capacity() {
            let mut larger = Vec::with_capacity(len.max(2 * self.frame.capacity()));
            larger.extend_from_slice(&self.frame);
            self.frame = Zeroizing::new(larger);
        }
        self.frame.extend_from_slice(octets);
    }

    /// Octets of the header and of the body, once they are known.
    fn header(&self) -> Result<Option<(usize, usize)>, CommandError> {
        let header = Header::decode(&self.frame)?;
        if let Some(&flags) = self.frame.first().filter(|flags| **flags & COMMAND == 0) {
            return Err(CommandError::NotACommand { flags });
        }
        let Some(header) = header else {
            return Ok(None);
        };
        let max = self.bytes_max;
        match usize::try_from(header.size) {
            Ok(size) if size <= max => Ok(Some((header.len, size))),
            _ => Err(CommandError::TooBig { size: header.size, max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::FrameError;

    fn read(octets: &[u8], max: usize) -> (Result<Option<Vec<u8>>, CommandError>, usize) {
        let mut input = octets;
        let result = CommandReader::new(max).read(&mut input);
        (result, octets.len() - input.len())
    }

    #[test]
    fn headers_get_their_answer_at_the_earliest_octet() {
        use CommandError::*;
        let reserved = |flags| Err(Frame(FrameError::ReservedFlags { flags }));
        let more = |flags| Err(Frame(FrameError::MoreOnCommand { flags }));
        // (case, octets, result, octets taken)
        type Row<'a> = (&'a str, &'a [u8], Result<Option<Vec<u8>>, CommandError>, usize);
        let cases: &[Row<'_>] = &[
            ("nothing", b"", Ok(None), 0),
            ("flags", b"\x04", Ok(None), 1),
            ("half a body", b"\x04\x02\x01", Ok(None), 3),
            ("whole, and more behind", b"\x04\x02\x01A\x00", Ok(Some(b"\x01A".to_vec())), 4),
            ("no body", b"\x04\x00\x01", Ok(Some(vec![])), 2),
            ("long form", b"\x06\0\0\0\0\0\0\0\x02\x01A", Ok(Some(b"\x01A".to_vec())), 11),
            ("long form, cut", b"\x06\0\0\0\0\0\0\0", Ok(None), 8),
            ("message", b"\x00", Err(NotACommand { flags: 0 }), 1),
            ("message with more", b"\x01\x00", Err(NotACommand { flags: 1 }), 1),
            ("long message", b"\x02\0", Err(NotACommand { flags: 2 }), 1),
            ("more on a command", b"\x05", more(5), 1),
            ("reserved bit", b"\x0c\x01", reserved(0x0c), 1),
            (
                "2^64-1",
                b"\x06\xff\xff\xff\xff\xff\xff\xff\xff\0",
                Err(TooBig { size: u64::MAX, max: 4 }),
                9,
            ),
            ("2^63", b"\x06\x80\0\0\0\0\0\0\0\0", Err(TooBig { size: 1 << 63, max: 4 }), 9),
        ];
        for (case, octets, expected, taken) in cases {
            assert_eq!(read(octets, 4), (expected.clone(), *taken), "{case}");
        }
    }

    #[test]
    fn the_limit_holds_at_its_edge_in_both_forms() {
        for max in [3_usize, 254, 255, 256, 4096] {
            for size in [max - 1, max, max + 1] {
                let mut frame = Vec::new();
                Header::encode(COMMAND, size, &mut frame);
                frame.resize(frame.len() + size, b'x');
                let (result, _) = read(&frame, max);
                if size <= max {
                    assert_eq!(result, Ok(Some(vec![b'x'; size])), "{size} of {max}");
                } else {
                    let size = size as u64;
                    assert_eq!(result, Err(CommandError::TooBig { size, max }), "{size} of {max}");
                }
            }
        }
    }

    #[test]
    fn an_announced_size_allocates_nothing() {
        let mut reader = CommandReader::new(usize::MAX);
        let mut input = &b"\x06\x7f\xff\xff\xff\xff\xff\xff\xff\x05READY"[..];
        assert_eq!(reader.read(&mut input), Ok(None));
        assert!(reader.frame.capacity() <= 64, "{}", reader.frame.capacity());
    }

    #[test]
    fn one_reader_reads_command_after_command() {
        let mut reader = CommandReader::new(9);
        let mut input = &b"\x04\x02\x01A\x04\x03\x01BC"[..];
        assert_eq!(reader.read(&mut input), Ok(Some(b"\x01A".to_vec())));
        assert_eq!(reader.read(&mut input), Ok(Some(b"\x01BC".to_vec())));
        assert_eq!(reader.read(&mut input), Ok(None));
    }
}
