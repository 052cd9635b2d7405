//! Headers: one MessagePack map with text keys, bounded in size and depth.
//!
//! Unknown keys are skipped, whatever they hold. Nothing is allocated for what a header announces.

use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;

use rmp_serde::decode::Error;
use rmp_serde::{Deserializer, Serializer};
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, Deserialize, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, forward_to_deserialize_any};

use super::malformed::Malformed;

/// Longest header, octets.
pub const HEADER_MAX: usize = 16 << 10;
/// Deepest header: maps and arrays in each other, the header itself included.
pub const DEPTH_MAX: usize = 16;
/// What an empty frame stands for.
const EMPTY_MAP: &[u8] = &[0x80];

/// Reads a header; the first field of `T` is the one that has to be there, if any has.
#[inline]
pub(super) fn read<'a, T: Deserialize<'a>>(octets: &'a [u8]) -> Result<T, Malformed> {
    read_within(octets, HEADER_MAX)
}

/// As [`read`], for a map that may be longer than a header.
#[inline]
pub(super) fn read_within<'a, T: Deserialize<'a>>(
    octets: &'a [u8],
    max: usize,
) -> Result<T, Malformed> {
    if octets.len() > max {
        return Err(Malformed::HeaderTooBig);
    }
    let octets = if octets.is_empty() { EMPTY_MAP } else { octets };
    let mut input = Deserializer::from_read_ref(octets);
    // The deserializer refuses the level at which its count gets to zero.
    input.set_max_depth(DEPTH_MAX + 1);
    let mut place = Place::default();
    let map = Whole { place: &mut place, kind: PhantomData };
    let read = de::Deserializer::deserialize_map(&mut input, map);
    let header = read.map_err(|error| place.explain(&error))?;
    // A number is wanted only to see that there is nothing: not one octet more.
    match u8::deserialize(&mut input) {
        Err(Error::InvalidMarkerRead(_)) => Ok(header),
        _ => Err(Malformed::BadHeader),
    }
}

/// Reads a map in a header, as strictly as the header itself.
pub(super) fn map<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: de::Deserializer<'de>,
{
    Ok(Option::<Nested<T>>::deserialize(deserializer)?.map(|nested| nested.0))
}

/// Reads an array of such maps, without room for as many as are announced.
pub(super) fn maps<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: de::Deserializer<'de>,
{
    struct Items<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of maps")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(Nested(item)) = seq.next_element()? {
                items.push(item);
            }
            Ok(Some(items))
        }
    }
    deserializer.deserialize_any(Items(PhantomData))
}

/// A map within a header.
struct Nested<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Nested<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Whole { place: &mut Place::default(), kind: PhantomData };
        deserializer.deserialize_map(map).map(Self)
    }
}

/// Where in a header the reader is.
#[derive(Default)]
struct Place<'a> {
    at: At<'a>,
    fields: &'static [&'static str],
}

#[derive(Default)]
enum At<'a> {
    #[default]
    Start,
    Key,
    Value(&'a str),
    End,
}

impl Place<'_> {
    #[cold]
    fn explain(&self, error: &Error) -> Malformed {
        let field = |key: &str| self.fields.iter().find(|field| **field == key);
        match (error, &self.at) {
            (Error::DepthLimitExceeded, _) => Malformed::TooDeep,
            (Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_), _) => Malformed::BadHeader,
            (_, At::Value(key)) => match field(key) {
                Some(key) => Malformed::BadValue { key },
                None => Malformed::BadHeader,
            },
            (_, At::End) => match self.fields.first() {
                Some(key) => Malformed::MissingKey { key },
                None => Malformed::BadHeader,
            },
            (_, At::Start | At::Key) => Malformed::BadHeader,
        }
    }
}

/// Takes a map and nothing else: derived structs would take an array too.
struct Whole<'p, 'a, T> {
    place: &'p mut Place<'a>,
    kind: PhantomData<T>,
}

impl<'a, T: Deserialize<'a>> Visitor<'a> for Whole<'_, 'a, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with text keys")
    }

    #[inline]
    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(TextKeys { map, place: self.place })
    }
}

/// A map whose keys are texts: derived structs would take the number of a field too.
struct TextKeys<'p, 'a, A> {
    map: A,
    place: &'p mut Place<'a>,
}

impl<'de, A: MapAccess<'de>> de::Deserializer<'de> for TextKeys<'_, 'de, A> {
    type Error = A::Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.place.fields = fields;
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'a, A: MapAccess<'a>> MapAccess<'a> for TextKeys<'_, 'a, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<K>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error>
    where
        K: de::DeserializeSeed<'a>,
    {
        self.place.at = At::Key;
        let Some(key) = self.map.next_key::<&str>()? else {
            self.place.at = At::End;
            return Ok(None);
        };
        self.place.at = At::Value(key);
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    #[inline]
    fn next_value_seed<V>(&mut self, seed: V) -> Result<V::Value, A::Error>
    where
        V: de::DeserializeSeed<'a>,
    {
        self.map.next_value_seed(seed)
    }
}

/// An encoded header. Short ones, which are those of every message, take no allocation.
pub struct Packed {
    short: [u8; Self::SHORT],
    len: usize,
    long: Vec<u8>,
}

impl Packed {
    /// Room for what the broker says of a delivery, the longest identity and a fingerprint included.
    const SHORT: usize = 384;

    /// Encodes a header; its fields go by their names.
    #[must_use]
    pub fn new<T: Serialize>(header: &T) -> Self {
        let mut packed = Self::empty();
        let written = header.serialize(&mut Serializer::new(&mut packed).with_struct_map());
        debug_assert!(written.is_ok(), "a header that cannot be written: {written:?}");
        packed
    }

    pub(super) fn empty() -> Self {
        Self { short: [0; Self::SHORT], len: 0, long: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn is_short(&self) -> bool {
        self.long.is_empty()
    }

    /// The octets of the frame.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        if self.long.is_empty() {
            self.short.get(..self.len).unwrap_or_default()
        } else {
            &self.long
        }
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({})", self.octets().escape_ascii())
    }
}

impl Packed {
    #[inline]
    pub(super) fn put(&mut self, octets: &[u8]) {
        match self.short.get_mut(self.len..self.len + octets.len()) {
            Some(room) if self.long.is_empty() => {
                room.copy_from_slice(octets);
                self.len += octets.len();
            }
            _ => {
                if self.long.is_empty() {
                    self.long.extend_from_slice(self.short.get(..self.len).unwrap_or_default());
                }
                self.long.extend_from_slice(octets);
            }
        }
    }
}

impl Write for Packed {
    #[inline]
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.put(octets);
        Ok(octets.len())
    }

    #[inline]
    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        self.put(octets);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
