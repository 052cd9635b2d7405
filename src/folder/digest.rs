//! Digests of files, with a buffer and no more.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use md5::{Digest as _, Md5};

/// Octets that are read at a time.
const BUFFER: usize = 128 << 10;

/// What a file holds, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Octets that the digests are over.
    pub size: u64,
    /// MD5, 32 hexadecimal digits: for NorFab's peers. It proves nothing against malice.
    pub md5: String,
    /// BLAKE3, 64 hexadecimal digits.
    pub blake3: String,
}

/// Reads all of it, unless nobody waits for the answer any more.
pub(super) fn details(mut from: impl Read, given_up: &AtomicBool) -> io::Result<Details> {
    let (mut md5, mut blake3, mut size) = (Md5::new(), blake3::Hasher::new(), 0);
    let mut buffer = vec![0; BUFFER];
    loop {
        if given_up.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "nobody waits for it"));
        }
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let Some(octets) = buffer.get(..read).filter(|octets| !octets.is_empty()) else { break };
        md5.update(octets);
        blake3.update(octets);
        size += octets.len() as u64;
    }
    Ok(Details { size, md5: hex(&md5.finalize()), blake3: blake3.finalize().to_hex().to_string() })
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_their_authors() {
        // RFC 1321, appendix 5; the test vectors of BLAKE3.
        let details = |octets: &[u8]| details(octets, &AtomicBool::new(false)).unwrap();
        let empty = details(b"");
        assert_eq!((empty.size, empty.md5.as_str()), (0, "d41d8cd98f00b204e9800998ecf8427e"));
        assert_eq!(
            empty.blake3,
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        let abc = details(b"abc");
        assert_eq!((abc.size, abc.md5.as_str()), (3, "900150983cd24fb0d6963f7d28e17f72"));
        let counted: Vec<u8> = (0..=250).cycle().take(31_744).collect();
        assert_eq!(
            details(&counted).blake3,
            "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"
        );
        assert_eq!(details(&vec![7; 3 * BUFFER + 5]).size, 3 * BUFFER as u64 + 5);
    }

    #[test]
    fn work_that_nobody_waits_for_ends() {
        let error = details(io::repeat(0), &AtomicBool::new(true)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
