//! Which workers a client means.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// Most different names in one target.
pub const NAMES_MAX: usize = 10_000;
/// Longest target that is one name, octets: that of a ZMTP identity.
const NAME_MAX: usize = 255;

/// Which workers a client means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// All that there are.
    All,
    /// One of them, whichever is best.
    Any,
    /// The one of this name.
    Name(&'a str),
    /// Those of these names: one or more, each once, in the order given.
    Names(Vec<Cow<'a, str>>),
    /// Nobody.
    Invalid(BadTarget),
}

/// Why a target means nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BadTarget {
    /// No UTF-8.
    #[error("is not UTF-8")]
    NotText,
    /// Nothing, or a list of nothing.
    #[error("is empty; say all, any, the name of a worker, or a list such as [\"w1\",\"w2\"]")]
    Empty,
    /// Longer than any name.
    #[error("is longer than the {NAME_MAX} octets that a worker's name has at most")]
    TooLong,
    /// Names with commas between them.
    #[error("is no list; write a JSON array of names such as [\"w1\",\"w2\"]")]
    CommaList,
    /// JSON, but no array of texts.
    #[error("is no JSON array of names such as [\"w1\",\"w2\"]")]
    NotNames,
    /// Too many names.
    #[error("has more than {NAMES_MAX} names; say all, or send several jobs")]
    TooManyNames,
}

impl<'a> Target<'a> {
    /// Reads the third frame of a client's command. Takes no more memory than [`NAMES_MAX`] names.
    #[must_use]
    pub fn parse(octets: &'a [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(octets) else {
            return Self::Invalid(BadTarget::NotText);
        };
        match text {
            "all" => Self::All,
            "any" => Self::Any,
            _ => match text.trim_ascii_start().as_bytes() {
                [] => Self::Invalid(BadTarget::Empty),
                [b'[', ..] => names(text).map_or_else(Self::Invalid, Self::Names),
                [b'{', ..] => Self::Invalid(BadTarget::NotNames),
                _ if text.contains(',') => Self::Invalid(BadTarget::CommaList),
                _ if text.len() > NAME_MAX => Self::Invalid(BadTarget::TooLong),
                _ => Self::Name(text),
            },
        }
    }
}

fn names(text: &str) -> Result<Vec<Cow<'_, str>>, BadTarget> {
    let mut too_many = false;
    let mut json = serde_json::Deserializer::from_str(text);
    let names = json.deserialize_seq(Names { too_many: &mut too_many });
    match names.and_then(|names| json.end().map(|()| names)) {
        Ok(names) if names.is_empty() => Err(BadTarget::Empty),
        Ok(names) => Ok(names),
        Err(_) if too_many => Err(BadTarget::TooManyNames),
        Err(_) => Err(BadTarget::NotNames),
    }
}

/// A text of an array, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct Names<'t> {
    too_many: &'t mut bool,
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = Vec<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        // Ordered, not hashed: what a peer sends cannot make it slow.
        let (mut names, mut known) = (Vec::new(), BTreeSet::new());
        while let Some(Name(name)) = array.next_element()? {
            if known.contains(&name) {
                continue;
            }
            if names.len() == NAMES_MAX {
                *self.too_many = true;
                return Err(A::Error::custom("too many names"));
            }
            known.insert(name.clone());
            names.push(name);
        }
        Ok(names)
    }
}
