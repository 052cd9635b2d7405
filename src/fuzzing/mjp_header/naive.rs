//! MessagePack and the tables of SPEC 9.3 by a reader that takes its time.

mod tables;

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::mjp::{DEPTH_MAX, HEADER_MAX, Labels, kind};
use tables::{DELIVERY, GROUP_TYPE, Keys, LIMITS, REQUEST, Type, keys};

/// A value of MessagePack. What no listed key can have is `Other`.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Nil,
    Bool(bool),
    /// 0 and more.
    Int(u64),
    /// A str or a bin.
    Octets(Vec<u8>),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Other,
}

impl Value {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Octets(octets) => std::str::from_utf8(octets).ok(),
            _ => None,
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn octets(&mut self, len: u64) -> Option<Vec<u8>> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken.to_vec())
    }

    fn number(&mut self, len: u64) -> Option<u64> {
        Some(self.octets(len)?.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }

    /// `depth`: levels that may still be begun.
    fn value(&mut self, depth: usize) -> Option<Value> {
        let first = self.number(1)?;
        let signed = |number: u64, bits: u32| {
            if number >> (bits - 1) == 0 { Value::Int(number) } else { Value::Other }
        };
        Some(match first {
            0x00..=0x7f => Value::Int(first),
            0xe0..=0xff => Value::Other,
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Bool(first == 0xc3),
            0xca => self.octets(4).map(|_| Value::Other)?,
            0xcb => self.octets(8).map(|_| Value::Other)?,
            0xcc..=0xcf => Value::Int(self.number(1 << (first - 0xcc))?),
            0xd0..=0xd3 => {
                let len = 1 << (first - 0xd0);
                signed(self.number(len)?, 8 * u32::try_from(len).ok()?)
            }
            0xa0..=0xbf => Value::Octets(self.octets(first - 0xa0)?),
            0xc4..=0xc6 => self.sized(1 << (first - 0xc4))?,
            0xd9..=0xdb => self.sized(1 << (first - 0xd9))?,
            0xd4..=0xd8 => {
                depth.checked_sub(1)?;
                self.octets(1 + (1 << (first - 0xd4))).map(|_| Value::Other)?
            }
            0xc7..=0xc9 => {
                depth.checked_sub(1)?;
                let len = self.number(1 << (first - 0xc7))?;
                self.octets(1 + len).map(|_| Value::Other)?
            }
            0x90..=0x9f => self.array(first - 0x90, depth)?,
            0xdc | 0xdd => {
                let len = self.number(2 << (first - 0xdc))?;
                self.array(len, depth)?
            }
            0x80..=0x8f => self.map(first - 0x80, depth)?,
            0xde | 0xdf => {
                let len = self.number(2 << (first - 0xde))?;
                self.map(len, depth)?
            }
            _ => return None,
        })
    }

    fn sized(&mut self, len: u64) -> Option<Value> {
        let size = self.number(len)?;
        self.octets(size).map(Value::Octets)
    }

    fn array(&mut self, len: u64, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        (0..len).map(|_| self.value(depth)).collect::<Option<_>>().map(Value::Array)
    }

    fn map(&mut self, len: u64, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        let entries = (0..len).map(|_| Some((self.value(depth)?, self.value(depth)?)));
        entries.collect::<Option<_>>().map(Value::Map)
    }
}

/// What needs an id of its own.
const ASKING: [u8; 6] =
    [kind::REQUEST, kind::SCATTER, kind::STATUS, kind::ADMIN, kind::SUBSCRIBE, kind::LEASE];

/// What a message says: kind, id, what its headers say, its body. `None`: it is malformed.
pub(super) fn meaning(to_broker: bool, frames: &[Vec<u8>]) -> Option<String> {
    let [signature, second, rest @ ..] = frames else { return None };
    if signature != b"MJP1" || second.len() != 9 {
        return None;
    }
    let kind = *second.first()?;
    let header = rest.first().map_or(&[][..], Vec::as_slice);
    let mut body = rest.get(1..).unwrap_or_default();
    let (listed, required) = keys(to_broker, kind)?;
    if header.len() > HEADER_MAX {
        return None;
    }
    let mut says = String::new();
    if !listed.is_empty() {
        let read = read(header, listed, required)?;
        let also = match kind {
            kind::OUTCOME => Some("outcome"),
            kind::MESSAGE => Some("seq"),
            _ => None,
        };
        if also.is_some_and(|key| !read.contains_key(key)) {
            return None;
        }
        says = format!("{read:?}");
    }
    let opaque = matches!(kind, kind::PARTIAL..=kind::TELL)
        || matches!(
            (kind, to_broker),
            (kind::REQUEST | kind::SCATTER | kind::PUBLISH | kind::FLOW | kind::LANE, _)
                | (kind::STATUS | kind::ADMIN | kind::LEASE | kind::GROUP, false)
        );
    if opaque {
        says = format!("{header:02x?} {says}");
    }
    if (kind, to_broker) == (kind::REQUEST, false) {
        let about = body.first()?;
        body = body.get(1..)?;
        says = format!("{says} {:?}", read(about, DELIVERY, true)?);
    }
    if kind == kind::MESSAGE {
        // The publisher's header.
        let own = body.first()?;
        body = body.get(1..)?;
        says = format!("{says} {own:02x?}");
    }
    if matches!(kind, kind::OUTCOME | kind::NOTE) {
        // The worker's header, and a body if there is one.
        let own = body.first().map_or(&[][..], Vec::as_slice);
        let body = body.get(1..).unwrap_or_default();
        return Some(format!("{:02x?} {says} {own:02x?}: {body:02x?}", second));
    }
    if kind == kind::TARGETS && body.len() > 1 {
        return None;
    }
    let has_body =
        matches!(kind, kind::REQUEST | kind::PARTIAL | kind::FINAL | kind::SCATTER | kind::TARGETS)
            || matches!(kind, kind::PUBLISH | kind::MESSAGE | kind::FLOW | kind::LANE);
    let id = matches!(kind, kind::REQUEST..=kind::GAP).then(|| second.get(1..)).flatten();
    let asks = to_broker && ASKING.contains(&kind) || kind == kind::LANE;
    // There may be one, and there need not.
    let may_have = matches!(kind, kind::EVENT..=kind::TELL | kind::ADMIN | kind::GROUP);
    let nameless = (asks || kind == kind::TELL) && id == Some(&[0; 8]);
    if !may_have && body.is_empty() == has_body || nameless {
        return None;
    }
    Some(format!("{kind:#x} {id:?} {says}: {body:02x?}"))
}

/// What a header says by its listed keys, in a form of which there is one for each meaning.
fn read(octets: &[u8], keys: Keys, required: bool) -> Option<BTreeMap<String, String>> {
    if octets.len() > HEADER_MAX {
        return None;
    }
    let mut reader = Reader(if octets.is_empty() { &[0x80] } else { octets });
    let value = reader.value(DEPTH_MAX)?;
    if !reader.0.is_empty() {
        return None;
    }
    let says = map(&value, keys)?;
    let (first, _) = keys.first()?;
    (!required || says.contains_key(*first)).then_some(says)
}

/// The header of a request alone.
pub(super) fn request(octets: &[u8]) -> Option<BTreeMap<String, String>> {
    read(octets, REQUEST, true)
}

fn map(value: &Value, keys: Keys) -> Option<BTreeMap<String, String>> {
    let Value::Map(entries) = value else { return None };
    let (mut says, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for (key, value) in entries {
        let key = key.text()?;
        let Some((_, kind)) = keys.iter().find(|(name, _)| *name == key) else { continue };
        if !seen.insert(key) {
            return None;
        }
        if *value != Value::Nil {
            let value = typed(value, *kind)?;
            if !value.is_empty() {
                says.insert(key.to_owned(), value);
            }
        }
    }
    Some(says)
}

/// The value in its one form, which is empty for what is as good as absent; `None` if the key cannot have it.
fn typed(value: &Value, kind: Type) -> Option<String> {
    match (kind, value) {
        (Type::Name, Value::Octets(octets)) => {
            (1..=255).contains(&octets.len()).then(|| format!("{octets:02x?}"))
        }
        (Type::Key, Value::Octets(octets)) => {
            (1..=128).contains(&octets.len()).then(|| format!("{octets:02x?}"))
        }
        (Type::Octets, Value::Octets(octets)) => Some(format!("{octets:02x?}")),
        (Type::Subject, value) => {
            let text = value.text()?;
            (1..=255).contains(&text.len()).then(|| format!("{text:?}"))
        }
        (Type::Text, value) => value.text().map(|text| format!("{text:?}")),
        (Type::Level, value) => {
            value.text().filter(|text| matches!(*text, "memory" | "disk")).map(str::to_owned)
        }
        (Type::Bool, Value::Bool(value)) => Some(value.to_string()),
        (Type::Int(from, to), Value::Int(value)) => {
            (from..=to).contains(value).then(|| value.to_string())
        }
        (Type::Versions, Value::Array(items)) => {
            let versions = items.iter().map(|item| match item {
                Value::Int(version) => Some(*version),
                _ => None,
            });
            let versions = versions.collect::<Option<BTreeSet<_>>>()?;
            let known: Vec<_> = versions.iter().filter(|version| **version < 64).collect();
            Some(if known == [&1] { String::new() } else { format!("{known:?}") })
        }
        (Type::Texts, Value::Array(items)) => {
            let texts = items.iter().map(Value::text).collect::<Option<Vec<_>>>()?;
            Some(if texts.is_empty() { String::new() } else { format!("{texts:?}") })
        }
        (Type::Labels, Value::Map(entries)) => {
            let labels = entries.iter().map(|(name, value)| Some((name.text()?, value.text()?)));
            let labels = labels.collect::<Option<Vec<_>>>()?;
            let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
            let labels: BTreeMap<_, _> = labels.into_iter().collect();
            let fits = labels.len() <= Labels::COUNT_MAX && bytes <= Labels::BYTES_MAX;
            let text = if labels.is_empty() { String::new() } else { format!("{labels:?}") };
            fits.then_some(text)
        }
        (Type::To, Value::Array(items)) => {
            let names = items.iter().map(Value::text).collect::<Option<Vec<_>>>()?;
            Some(format!("{names:?}"))
        }
        (Type::To, Value::Map(entries)) => {
            let labels = entries.iter().map(|(name, value)| Some((name.text()?, value.text()?)));
            Some(format!("{:?}", labels.collect::<Option<BTreeMap<_, _>>>()?))
        }
        (Type::To, value) => (value.text()? == "all").then(String::new),
        (Type::Names, Value::Array(items)) => {
            let names = items.iter().map(Value::text).collect::<Option<Vec<_>>>()?;
            let fit = names.iter().all(|name| (1..=255).contains(&name.len()));
            (fit && names.len() <= 1000).then(|| format!("{names:?}"))
        }
        (Type::Kind, value) => map(value, GROUP_TYPE).map(|says| format!("{says:?}")),
        (Type::Limits, value) => map(value, LIMITS).map(|limits| format!("{limits:?}")),
        (Type::What, value) => {
            let text = value.text()?;
            ["broker", "services", "workers"].contains(&text).then(|| text.to_owned())
        }
        _ => None,
    }
}
