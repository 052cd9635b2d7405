//! Durations, sizes and other values that a configuration writes as text with a unit.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

use super::auth::Authorized;
use super::memory::Memory;
use crate::transport::endpoint::Endpoint;

/// A value that is written as text; what `write` gives, `read` takes.
pub trait Text: Sized {
    /// How a value looks, for messages.
    const LIKE: &'static str;
    /// The value of `text`, or what is wrong with it and what to write.
    ///
    /// # Errors
    /// A sentence for the person who wrote the text.
    fn read(text: &str) -> Result<Self, String>;
    /// The text of the value.
    fn write(&self) -> String;
}

/// Units from the largest to the smallest, in nanoseconds.
const TIME: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units from the largest to the smallest, in octets.
const SIZE: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Text for Duration {
    const LIKE: &'static str = "\"5s\" or \"2500ms\"";

    fn read(text: &str) -> Result<Self, String> {
        read_units(text, &TIME, Self::LIKE).map(Self::from_nanos)
    }

    fn write(&self) -> String {
        write_units(u64::try_from(self.as_nanos()).unwrap_or(u64::MAX), &TIME, "0s")
    }
}

/// "off" is `None`.
impl Text for Option<Duration> {
    const LIKE: &'static str = "\"15m\", \"2500ms\" or \"off\"";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(None),
            _ => read_units(text, &TIME, Self::LIKE).map(|nanos| Some(Duration::from_nanos(nanos))),
        }
    }

    fn write(&self) -> String {
        self.map_or_else(|| "off".into(), |duration| duration.write())
    }
}

/// "off" is `None`.
impl Text for Option<usize> {
    const LIKE: &'static str = "\"32MiB\" or \"off\"";

    fn read(text: &str) -> Result<Self, String> {
        if text == "off" { Ok(None) } else { usize::read(text).map(Some) }
    }

    fn write(&self) -> String {
        self.as_ref().map_or_else(|| "off".into(), Text::write)
    }
}

/// A number of octets.
impl Text for usize {
    const LIKE: &'static str = "\"16MiB\" or \"64KiB\"";

    fn read(text: &str) -> Result<Self, String> {
        let octets = read_units(text, &SIZE, Self::LIKE)?;
        Self::try_from(octets)
            .map_err(|_| format!("`{text}` is more than this machine can address"))
    }

    fn write(&self) -> String {
        write_units(*self as u64, &SIZE, "0B")
    }
}

impl Text for Memory {
    const LIKE: &'static str = "\"auto\" or \"512MiB\"";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => usize::read(text).map(Self::Bytes),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Auto => "auto".into(),
            Self::Bytes(octets) => octets.write(),
        }
    }
}

/// "off" is `None`. An address, not a name: what is bound must not depend on a name server.
impl Text for Option<SocketAddr> {
    const LIKE: &'static str = "\"127.0.0.1:9464\" or \"off\"";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(None),
            _ => text.parse().map(Some).map_err(|_| {
                format!("`{text}` is no IP address with a port; write {}", Self::LIKE)
            }),
        }
    }

    fn write(&self) -> String {
        self.map_or_else(|| "off".into(), |address| address.to_string())
    }
}

/// "off" is `None`.
impl Text for Option<PathBuf> {
    const LIKE: &'static str = "\"/var/log/majordomo.log\" or \"off\"";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(None),
            "" => Err(format!("the path is empty; write {}", Self::LIKE)),
            _ => Ok(Some(text.into())),
        }
    }

    fn write(&self) -> String {
        self.as_ref().map_or_else(|| "off".into(), |path| path.display().to_string())
    }
}

/// "off" is nobody, "any" every key, and anything else a file.
impl Text for Authorized {
    const LIKE: &'static str = "\"/etc/majordomo/keys.toml\", \"any\" or \"off\"";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "any" => Ok(Self::Any),
            "" => Err(format!("the path is empty; write {}", Self::LIKE)),
            _ => Ok(Self::File(text.into())),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Off => "off".into(),
            Self::Any => "any".into(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// An address without a prefix is that address alone.
impl Text for IpNet {
    const LIKE: &'static str = "\"10.0.0.0/8\" or \"::1\"";

    fn read(text: &str) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().map(Self::from).ok();
        address
            .or_else(|| text.parse().ok())
            .ok_or_else(|| format!("`{text}` is no network; write such as {}", Self::LIKE))
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Text for Endpoint {
    const LIKE: &'static str = "\"tcp://127.0.0.1:5555\" or \"ipc:///path\"";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: crate::transport::endpoint::EndpointError| error.to_string())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

fn read_units(text: &str, units: &[(&str, u64)], like: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() || unit.starts_with('.') {
        return Err(format!("`{text}` is not a whole number with a unit; write {like}"));
    }
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit; write {like}"));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let names: Vec<_> = units.iter().rev().map(|(name, _)| *name).collect();
        return Err(format!("`{unit}` is no unit here; the units are {}", names.join(", ")));
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    number.ok_or_else(|| format!("`{text}` is too large"))
}

fn write_units(value: u64, units: &[(&str, u64)], zero: &str) -> String {
    let unit = units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    unit.map_or_else(|| zero.into(), |(name, factor)| format!("{}{name}", value / factor))
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: Text> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text such as {}", T::LIKE)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Err(E::custom(format!("`{number}` is a bare number; write text such as {}", T::LIKE)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Err(E::custom(format!("`{number}` is a bare number; write text such as {}", T::LIKE)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Err(E::custom(format!("`{number}` is a bare number; write text such as {}", T::LIKE)))
    }
}

/// Any [`Text`] inside serde.
struct AsText<T>(T);

impl<T: Text> serde::Serialize for AsText<&T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.write())
    }
}

impl<'de, T: Text> serde::Deserialize<'de> for AsText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor(PhantomData)).map(Self)
    }
}

/// `#[serde(with = "text")]`: a value.
pub(super) mod text {
    use super::{AsText, Text};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::config) fn serialize<T: Text, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        AsText(value).serialize(serializer)
    }

    pub(in crate::config) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        AsText::deserialize(deserializer).map(|text| text.0)
    }
}

/// `#[serde(with = "texts")]`: a list of values.
pub(super) mod texts {
    use super::{AsText, Text};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::config) fn serialize<T: Text, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(AsText))
    }

    pub(in crate::config) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let values = Vec::<AsText<T>>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|text| text.0).collect())
    }
}

/// `#[serde(with = "maybe")]`: a value that need not be there.
pub(super) mod maybe {
    use super::{AsText, Text};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::config) fn serialize<T: Text, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(AsText).serialize(serializer)
    }

    pub(in crate::config) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        AsText::deserialize(deserializer).map(|text| Some(text.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["0s", "1ns", "7us", "2500ms", "5s", "90s", "15m", "36h", "1d", "8d"] {
            assert_eq!(Duration::read(text).unwrap().write(), text);
        }
        assert_eq!(Duration::read("60s").unwrap().write(), "1m");
        assert_eq!(Option::<Duration>::read("off"), Ok(None));
        assert_eq!(Option::<Duration>::read("15m"), Ok(Some(Duration::from_secs(900))));
    }

    #[test]
    fn a_size_is_written_as_it_is_read() {
        for text in ["0B", "1B", "1025B", "64KiB", "16MiB", "3GiB", "1TiB"] {
            assert_eq!(usize::read(text).unwrap().write(), text);
        }
        assert_eq!(usize::read("1024KiB").unwrap().write(), "1MiB");
        assert_eq!(Memory::read("auto"), Ok(Memory::Auto));
    }

    #[test]
    fn a_text_without_a_known_unit_is_refused_with_what_to_write() {
        for (text, part) in [
            ("", "not a whole number"),
            ("s", "not a whole number"),
            ("-5s", "not a whole number"),
            ("2.5s", "not a whole number"),
            ("5", "no unit"),
            ("5 s", "the units are ns, us, ms, s, m, h, d"),
            ("5sec", "the units are"),
            ("99999999999999999999s", "too large"),
            ("999999999999d", "too large"),
        ] {
            let error = Duration::read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let error = usize::read("16MB").unwrap_err();
        assert_eq!(error, "`MB` is no unit here; the units are B, KiB, MiB, GiB, TiB");
    }
}
