//! A few texts out of a JSON object of somebody else's making.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A value that was read to its end, and is kept if it is a text or a whole number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Other,
    Text(Cow<'a, str>),
    Number(u64),
}

/// The values of `keys` in the object that `text` is; `None` is not there. As in Python, the last one
/// counts if a key is there twice. Every octet is checked, lone surrogates and nesting (at most 127
/// levels) too.
pub(super) fn read<'a, const KEYS: usize>(
    text: &'a str,
    keys: [&'static str; KEYS],
) -> Result<[Option<Value<'a>>; KEYS], serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let values = json.deserialize_map(Object(keys))?;
    json.end()?;
    Ok(values)
}

/// Whether a text is JSON, checked like [`read`].
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value<'_>>(text).is_ok()
}

struct Object<const KEYS: usize>([&'static str; KEYS]);

impl<'de, const KEYS: usize> Visitor<'de> for Object<KEYS> {
    type Value = [Option<Value<'de>>; KEYS];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut values = [const { None }; KEYS];
        while let Some((key, value)) = object.next_entry::<Value<'de>, Value<'de>>()? {
            for (slot, wanted) in values.iter_mut().zip(self.0) {
                if matches!(&key, Value::Text(key) if key == wanted) {
                    *slot = Some(value);
                    break;
                }
            }
        }
        Ok(values)
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not what ignores a value: that would not look into texts.
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        while array.next_element::<Value<'de>>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        while object.next_entry::<Value<'de>, Value<'de>>()?.is_some() {}
        Ok(Value::Other)
    }
}
