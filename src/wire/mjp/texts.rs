//! Lists of texts in headers.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};

/// Texts of 1 to 255 octets, 1,000 at most, without room for as many as are announced.
pub(super) fn some_texts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<&'de str>>, D::Error> {
    /// Most texts.
    const COUNT_MAX: usize = 1000;
    struct Texts;
    impl<'de> Visitor<'de> for Texts {
        type Value = Option<Vec<&'de str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("at most 1,000 texts of 1 to 255 octets")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = seq.next_element::<&str>()? {
                if texts.len() == COUNT_MAX || !(1..=255).contains(&text.len()) {
                    return Err(de::Error::custom("too many texts, or too long"));
                }
                texts.push(text);
            }
            Ok(Some(texts))
        }
    }
    deserializer.deserialize_any(Texts)
}
