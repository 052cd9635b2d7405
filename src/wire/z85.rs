//! Z85 (RFC 32): octets as text, 4 as 5 characters. Keys of CURVE are written so.

/// The digits, in the order of their values.
const DIGITS: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
const OCTETS: usize = 4;
const CHARS: usize = 5;

/// Characters of a key of 32 octets.
pub const KEY_CHARS: usize = 40;

/// Octets or a text that have no counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Z85Error {
    /// Octets of another number than 4, 8, 12 and so on.
    #[error("{len} octets cannot be written in Z85, which takes them by four; add {missing}")]
    Octets {
        /// Octets given.
        len: usize,
        /// Octets missing to the next group.
        missing: usize,
    },
    /// A text of another length than 5, 10, 15 and so on.
    #[error("a text of {len} characters is no Z85, which has them by five; a key has {KEY_CHARS}")]
    Length {
        /// Characters given.
        len: usize,
    },
    /// Something else than a key of CURVE.
    #[error("a key has {KEY_CHARS} characters of Z85, and this text {len}; copy all of it")]
    Key {
        /// Characters given.
        len: usize,
    },
    /// A character that is none of the digits.
    #[error("character {at} of the text is no digit of Z85 (RFC 32); copy the text anew")]
    Character {
        /// Its place, from 0.
        at: usize,
    },
    /// Five digits that stand for more than four octets hold.
    #[error("the group at character {at} is above 2^32-1, as no Z85 is; copy the text anew")]
    Overflow {
        /// The place of its first character, from 0.
        at: usize,
    },
}

/// The text of these octets.
///
/// # Errors
/// Their number is no multiple of 4.
pub fn encode(octets: &[u8]) -> Result<String, Z85Error> {
    let (groups, rest) = octets.as_chunks::<OCTETS>();
    if !rest.is_empty() {
        return Err(Z85Error::Octets { len: octets.len(), missing: OCTETS - rest.len() });
    }
    let mut text = String::with_capacity(groups.len() * CHARS);
    for group in groups {
        push(*group, &mut text);
    }
    Ok(text)
}

/// The text of a key: 40 characters.
#[must_use]
pub fn encode_key(key: &[u8; 32]) -> String {
    let mut text = String::with_capacity(KEY_CHARS);
    for group in key.as_chunks::<OCTETS>().0 {
        push(*group, &mut text);
    }
    text
}

fn push(group: [u8; OCTETS], text: &mut String) {
    let value = u32::from_be_bytes(group);
    for power in [85 * 85 * 85 * 85, 85 * 85 * 85, 85 * 85, 85, 1] {
        let digit = (value / power % 85) as usize;
        text.push(DIGITS.get(digit).copied().map_or('0', char::from));
    }
}

/// The octets of a text.
///
/// # Errors
/// It was not written by [`encode`]: there is exactly one text for some octets.
pub fn decode(text: &str) -> Result<Vec<u8>, Z85Error> {
    let len = text.len();
    let mut octets = vec![0; len / CHARS * OCTETS];
    if !len.is_multiple_of(CHARS) {
        return Err(Z85Error::Length { len });
    }
    fill(text, &mut octets)?;
    Ok(octets)
}

/// The key of a text. It stands nowhere else afterwards.
///
/// # Errors
/// As [`decode`], and for a text of another length than 40.
pub fn decode_key(text: &str) -> Result<[u8; 32], Z85Error> {
    let mut key = [0; 32];
    if text.len() != KEY_CHARS {
        return Err(Z85Error::Key { len: text.len() });
    }
    fill(text, &mut key)?;
    Ok(key)
}

fn fill(text: &str, octets: &mut [u8]) -> Result<(), Z85Error> {
    let (groups, _) = text.as_bytes().as_chunks::<CHARS>();
    let (places, _) = octets.as_chunks_mut::<OCTETS>();
    for (index, (group, place)) in groups.iter().zip(places).enumerate() {
        let first = index * CHARS;
        let mut value = 0_u64;
        for (at, character) in group.iter().enumerate() {
            let digit = DIGITS.iter().position(|digit| digit == character);
            let digit = digit.ok_or(Z85Error::Character { at: first + at })?;
            value = value * 85 + digit as u64;
        }
        *place = u32::try_from(value).map_err(|_| Z85Error::Overflow { at: first })?.to_be_bytes();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn octets_are_written_as_rfc_32_and_libsodiums_keys_are() {
        let hello = [0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b];
        assert_eq!(encode(&hello).unwrap(), "HelloWorld");
        assert_eq!(decode("HelloWorld").unwrap(), hello);
        // The public key of the secret key 11 x 32.
        let key = [
            0x7b, 0x4e, 0x90, 0x9b, 0xbe, 0x7f, 0xfe, 0x44, 0xc4, 0x65, 0xa2, 0x20, 0x03, 0x7d,
            0x60, 0x8e, 0xe3, 0x58, 0x97, 0xd3, 0x1e, 0xf9, 0x72, 0xf0, 0x7f, 0x74, 0x89, 0x2c,
            0xb0, 0xf7, 0x3f, 0x13,
        ];
        let text = "DRPV(ZjlbI-atU=1asNq<5?U%9@f<CE@{I#U>Hu}";
        assert_eq!(encode_key(&key), text);
        assert_eq!(decode_key(text), Ok(key));
        assert_eq!((encode(b"").unwrap(), decode("").unwrap()), (String::new(), vec![]));
        assert_eq!(encode(&[0xff; 4]).unwrap(), "%nSc0");
        assert_eq!(decode("%nSc0").unwrap(), [0xff; 4]);
    }

    #[test]
    fn what_is_no_z85_is_refused_where_it_goes_wrong() {
        let key = "DRPV(ZjlbI-atU=1asNq<5?U%9@f<CE@{I#U>Hu}";
        assert_eq!(encode(&[0; 5]), Err(Z85Error::Octets { len: 5, missing: 3 }));
        for (text, error) in [
            ("Hello World", Z85Error::Length { len: 11 }),
            ("Hell", Z85Error::Length { len: 4 }),
            ("Hell ", Z85Error::Character { at: 4 }),
            ("HelloW\\rld", Z85Error::Character { at: 6 }),
            ("Hell\"", Z85Error::Character { at: 4 }),
            ("Hel\u{fc}", Z85Error::Character { at: 3 }),
            ("\0\0\0\0\0", Z85Error::Character { at: 0 }),
            // One more than 2^32-1, and the most that five digits say.
            ("00000%nSc1", Z85Error::Overflow { at: 5 }),
            ("#####", Z85Error::Overflow { at: 0 }),
        ] {
            assert_eq!(decode(text), Err(error), "{text:?}");
        }
        for len in (0..80).filter(|len| *len != KEY_CHARS) {
            assert_eq!(decode_key(&key.repeat(2)[..len]), Err(Z85Error::Key { len }));
        }
        assert_eq!(decode_key(&key.replace('(', ",")), Err(Z85Error::Character { at: 4 }));
    }

    proptest! {
        #[test]
        fn what_was_written_reads_the_same(octets in proptest::collection::vec(any::<u8>(), 0..20)) {
            let whole = &octets[..octets.len() / 4 * 4];
            let text = encode(whole).unwrap();
            prop_assert_eq!(text.len(), whole.len() / 4 * 5);
            prop_assert_eq!(decode(&text).unwrap(), whole);
        }

        #[test]
        fn there_is_one_text_for_some_octets(text in "[!-~]{0,20}") {
            if let Ok(octets) = decode(&text) {
                prop_assert_eq!(encode(&octets).unwrap(), text);
            }
        }
    }
}
