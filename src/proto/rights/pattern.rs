//! Patterns: names of services, subjects or commands that a rule is about.

use std::fmt;
use std::str::FromStr;

/// Stands at the end of a pattern for whatever may follow.
const STAR: u8 = b'*';

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It has no octets.
    #[error("the pattern is empty; write `*` for every name")]
    Empty,
    /// It is longer than any name.
    #[error("the pattern has {len} octets, more than {max}; shorten it", max = Pattern::LEN_MAX)]
    TooLong {
        /// Octets given.
        len: usize,
    },
    /// A `*` that is not the last character.
    #[error("the pattern has `*` at octet {at}; it may stand at the end only, for any rest")]
    StarInside {
        /// Octets before it.
        at: usize,
    },
    /// No name that people write has one.
    #[error("the pattern has a control character at octet {at}; take it out")]
    Control {
        /// Octets before it.
        at: usize,
    },
}

/// A whole name, or the beginning of names with `*` at its end; `*` alone is every name.
///
/// The `*` stands for any octets, none and `.` among them: `billing.*` is every name that begins
/// with `billing.`, whatever follows. A name with a `*` in it cannot be written whole.
///
/// ```
/// use majordomo::proto::rights::Pattern;
///
/// let billing: Pattern = "billing.*".parse()?;
/// assert!(billing.matches(b"billing.invoice.print"));
/// assert!(!billing.matches(b"billing"));
/// # Ok::<(), majordomo::proto::rights::PatternError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    /// The name, or what names begin with.
    literal: Box<str>,
    /// Whether anything may follow.
    open: bool,
}

impl Pattern {
    /// Longest pattern, octets, with its `*`.
    pub const LEN_MAX: usize = 255;

    /// Whether the name is one of those that are meant.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let literal = self.literal.as_bytes();
        if self.open { name.starts_with(literal) } else { name == literal }
    }

    /// Whether every name that begins so is meant.
    pub(super) fn covers(&self, beginning: &[u8]) -> bool {
        self.open && beginning.starts_with(self.literal.as_bytes())
    }

    /// Whether a name that begins so may be meant.
    pub(super) fn may_meet(&self, beginning: &[u8]) -> bool {
        self.covers(beginning) || self.literal.as_bytes().starts_with(beginning)
    }

    /// Whether it means nothing but names of the broker's own subjects.
    pub(super) fn is_reserved(&self) -> bool {
        self.literal.starts_with('$')
    }
}

impl TryFrom<&str> for Pattern {
    type Error = PatternError;

    fn try_from(text: &str) -> Result<Self, PatternError> {
        let literal = text.strip_suffix(char::from(STAR));
        let (literal, open) = literal.map_or((text, false), |literal| (literal, true));
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > Self::LEN_MAX {
            return Err(PatternError::TooLong { len: text.len() });
        }
        if let Some(at) = literal.bytes().position(|octet| octet == STAR) {
            return Err(PatternError::StarInside { at });
        }
        if let Some(at) = literal.find(char::is_control) {
            return Err(PatternError::Control { at });
        }
        Ok(Self { literal: literal.into(), open })
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::try_from(text)
    }
}

/// As it was written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.literal)?;
        if self.open { f.write_str("*") } else { Ok(()) }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_pattern_or_wrong_for_a_reason() {
        let long = "a".repeat(256);
        let cases = [
            ("a", Ok(())),
            ("*", Ok(())),
            ("a.*", Ok(())),
            ("räksmörgås*", Ok(())),
            (&long[..255], Ok(())),
            ("", Err(PatternError::Empty)),
            (&long, Err(PatternError::TooLong { len: 256 })),
            ("**", Err(PatternError::StarInside { at: 0 })),
            ("a*b", Err(PatternError::StarInside { at: 1 })),
            ("a*.*", Err(PatternError::StarInside { at: 1 })),
            ("ab\n", Err(PatternError::Control { at: 2 })),
        ];
        for (text, verdict) in cases {
            let pattern = text.parse::<Pattern>();
            assert_eq!(pattern.as_ref().map(|_| ()), verdict.as_ref().copied(), "{text:?}");
            if let Ok(pattern) = pattern {
                assert_eq!(pattern.to_string(), text);
            }
        }
    }

    #[test]
    fn a_pattern_means_one_name_or_all_that_begin_so() {
        let cases: [(&str, &[u8], bool); 10] = [
            ("a", b"a", true),
            ("a", b"ab", false),
            ("a", b"", false),
            ("a*", b"a", true),
            ("a*", b"a.b.c", true),
            ("a*", b"b", false),
            ("a.*", b"a", false),
            ("a.*", b"a.", true),
            ("*", b"", true),
            ("*", b"\xff\x00", true),
        ];
        for (text, name, expected) in cases {
            assert_eq!(Pattern::try_from(text).unwrap().matches(name), expected, "{text} {name:?}");
        }
    }
}
