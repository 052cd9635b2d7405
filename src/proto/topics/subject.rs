//! Subjects: what a publication is about; patterns: what a subscriber wants to hear of.
//!
//! A subject is tokens with a `.` between them, such as `weather.oslo.wind`. In a pattern a token
//! may be `*`, which stands for any one token, and the last may be `>`, which stands for any one or
//! more. What begins with `$` is the broker's: a wildcard in the first place does not mean it.

use std::fmt;

use crate::wire::mjp::SUBJECT_MAX;

/// Most tokens of a subject or a pattern.
pub const TOKENS_MAX: usize = 32;

/// What stands in no other token.
const WILD: [char; 2] = ['*', '>'];
/// Any one token.
pub(super) const ANY: &str = "*";
/// Any one token or more, at the end.
pub(super) const REST: &str = ">";

/// Why a text is no subject, or no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// It has no octets, or too many.
    #[error("a subject has 1 to {SUBJECT_MAX} octets, this one {len}")]
    Length {
        /// How many it has.
        len: usize,
    },
    /// A `.` at the beginning, at the end, or behind another one.
    #[error("a subject has no empty tokens: no `.` at its ends, and none beside another")]
    EmptyToken,
    /// It has too many tokens.
    #[error("a subject has {TOKENS_MAX} tokens at most")]
    TooManyTokens,
    /// White space or a control character.
    #[error("a subject has no white space and no control characters")]
    BadCharacter,
    /// `*` or `>` in what is published, or as a part of a token.
    #[error("`*` and `>` stand for whole tokens in what is subscribed to, `>` at its end only")]
    Wildcard,
}

/// What a publication is about.
///
/// ```
/// use majordomo::proto::topics::{Pattern, Subject};
///
/// let wind = Subject::parse("weather.oslo.wind")?;
/// assert!(Pattern::parse("weather.*.wind")?.matches(wind));
/// assert!(Pattern::parse("weather.>")?.matches(wind));
/// assert!(!Pattern::parse("weather.*")?.matches(wind));
/// # Ok::<(), majordomo::proto::topics::SubjectError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject<'a>(&'a str);

/// Subjects that are subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern<'a>(&'a str);

impl<'a> Subject<'a> {
    /// The subject of this text.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &'a str) -> Result<Self, SubjectError> {
        check(text)?;
        if text.contains(WILD) { Err(SubjectError::Wildcard) } else { Ok(Self(text)) }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Its tokens; there is at least one.
    pub fn tokens(self) -> impl Iterator<Item = &'a str> {
        self.0.split('.')
    }

    /// Whether nobody but the broker may publish it.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        self.0.starts_with('$')
    }
}

impl<'a> Pattern<'a> {
    /// The pattern of this text.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &'a str) -> Result<Self, SubjectError> {
        check(text)?;
        let mut ended = false;
        for token in text.split('.') {
            let whole = token == ANY || token == REST;
            if ended || !whole && token.contains(WILD) {
                return Err(SubjectError::Wildcard);
            }
            ended = token == REST;
        }
        Ok(Self(text))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Its tokens, wildcards among them; there is at least one.
    pub fn tokens(self) -> impl Iterator<Item = &'a str> {
        self.0.split('.')
    }

    /// Whether the subject is one of those that are meant.
    #[must_use]
    pub fn matches(self, subject: Subject<'_>) -> bool {
        let (mut wanted, mut given) = (self.tokens(), subject.tokens());
        let mut reserved = subject.is_reserved();
        loop {
            match (wanted.next(), given.next()) {
                (Some(ANY | REST), Some(_)) if reserved => return false,
                (Some(REST), Some(_)) | (None, None) => return true,
                (Some(ANY), Some(_)) => {}
                (Some(token), Some(other)) if token == other => {}
                (Some(_), _) | (None, Some(_)) => return false,
            }
            reserved = false;
        }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for Pattern<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What holds for both.
fn check(text: &str) -> Result<(), SubjectError> {
    if !(1..=SUBJECT_MAX).contains(&text.len()) {
        return Err(SubjectError::Length { len: text.len() });
    }
    if text.split('.').any(str::is_empty) {
        return Err(SubjectError::EmptyToken);
    }
    if text.split('.').count() > TOKENS_MAX {
        return Err(SubjectError::TooManyTokens);
    }
    if text.contains(|char: char| char.is_control() || char.is_whitespace()) {
        return Err(SubjectError::BadCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use SubjectError::{BadCharacter, EmptyToken, Length, TooManyTokens, Wildcard};

    use super::*;

    #[test]
    fn a_text_is_a_subject_a_pattern_or_wrong_for_a_reason() {
        let long = "a".repeat(256);
        let deep = ["a"; 33].join(".");
        type Verdict = Result<(), SubjectError>;
        let cases: &[(&str, Verdict, Verdict)] = &[
            ("a", Ok(()), Ok(())),
            ("a.b.c", Ok(()), Ok(())),
            ("$broker.up", Ok(()), Ok(())),
            ("räksmörgås.❄", Ok(()), Ok(())),
            (&long[..255], Ok(()), Ok(())),
            (&deep[..63], Ok(()), Ok(())),
            ("*", Err(Wildcard), Ok(())),
            (">", Err(Wildcard), Ok(())),
            ("a.*.b.>", Err(Wildcard), Ok(())),
            (">.a", Err(Wildcard), Err(Wildcard)),
            (">.>", Err(Wildcard), Err(Wildcard)),
            ("a*", Err(Wildcard), Err(Wildcard)),
            ("a.>b", Err(Wildcard), Err(Wildcard)),
            ("**", Err(Wildcard), Err(Wildcard)),
            ("", Err(Length { len: 0 }), Err(Length { len: 0 })),
            (&long, Err(Length { len: 256 }), Err(Length { len: 256 })),
            (".", Err(EmptyToken), Err(EmptyToken)),
            ("a.", Err(EmptyToken), Err(EmptyToken)),
            (".a", Err(EmptyToken), Err(EmptyToken)),
            ("a..b", Err(EmptyToken), Err(EmptyToken)),
            (&deep, Err(TooManyTokens), Err(TooManyTokens)),
            ("a b", Err(BadCharacter), Err(BadCharacter)),
            ("a\n", Err(BadCharacter), Err(BadCharacter)),
            ("a\u{2003}b", Err(BadCharacter), Err(BadCharacter)),
        ];
        for (text, subject, pattern) in cases {
            assert_eq!(Subject::parse(text).map(|_| ()), *subject, "{text}");
            assert_eq!(Pattern::parse(text).map(|_| ()), *pattern, "{text}");
        }
    }

    #[test]
    fn a_pattern_means_the_subjects_that_it_says() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.b", "a", false),
            ("a.b", "a.b.c", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("*.*", "a.b", true),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.d", false),
            (">", "a", true),
            (">", "a.b.c", true),
            ("a.>", "a", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.*.>", "a.b", false),
            ("a.*.>", "a.b.c", true),
            (">", "$a", false),
            ("*.b", "$a.b", false),
            ("$a.*", "$a.b", true),
            ("$a.>", "$a.$b.c", true),
            ("a.*", "a.$b", true),
        ];
        for (pattern, subject, expected) in cases {
            let (wanted, given) =
                (Pattern::parse(pattern).unwrap(), Subject::parse(subject).unwrap());
            assert_eq!(wanted.matches(given), expected, "{pattern} {subject}");
        }
    }
}
