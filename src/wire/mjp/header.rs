//! The headers of MJP/1 (SPEC 9.3): fields, types, units, defaults and ranges.
//!
//! A key whose value is nil counts as absent. A text may also come as a bin of UTF-8.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hello::{BrokerHello, PeerHello};
use super::malformed::Malformed;
use super::{Level, pack, plain};
use crate::id::ServiceName;

macro_rules! decodes {
    ($($name:ident $(: $plain:path)?),*) => {$(
        impl<'a> $name<'a> {
            /// Reads the header from the octets of its frame; an empty one is an empty map.
            ///
            /// # Errors
            /// The header is too big or nested too deep, is no map with text keys, lacks what has
            /// to be there, or has a known key with a wrong value.
            #[inline]
            pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
                $(if let Some(header) = $plain(octets) {
                    return Ok(header);
                })?
                pack::read(octets)
            }
        }
    )*};
}
decodes!(
    PeerHello,
    BrokerHello,
    RequestHeader: plain::request,
    DeliveryHeader: plain::delivery,
    StatusHeader,
    AcceptedHeader,
    Fault,
    ReadyHeader
);

/// REQUEST of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHeader<'a> {
    /// The service, 1 to 255 octets, text or bin.
    #[serde(borrow, deserialize_with = "service", serialize_with = "text_or_bin")]
    pub service: &'a [u8],
    /// Time that the caller waits, ms. Default: as long as it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Deliveries at most, 1 or more. Default: as the service has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<NonZeroU32>,
    /// Whether ACCEPTED is wanted. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<bool>,
    /// Whether parts of the answer are wanted as they come. Default: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<bool>,
    /// Whether EVENTs are wanted. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<bool>,
    /// Whether the worker may ASK. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<bool>,
    /// `traceparent` of W3C Trace Context.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub trace: Option<&'a str>,
    /// `tracestate` of W3C Trace Context.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub state: Option<&'a str>,
    /// What makes a repeat of the request known as one, 1 to 128 octets, text or bin.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::repeat::some_key",
        serialize_with = "some_text_or_bin"
    )]
    pub key: Option<&'a [u8]>,
    /// The caller holds this lease, or the request is refused; 1 to 255 octets.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::lease::some_name"
    )]
    pub lease: Option<&'a str>,
    /// With `lease`, and only with it: the epoch of the holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Requests of the service with the same one run one at a time, in the order of acceptance; 1
    /// to 255 octets, text or bin. Default: no order but that of the queue.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_service",
        serialize_with = "some_text_or_bin"
    )]
    pub order: Option<&'a [u8]>,
    /// No worker gets it before so much time has passed, ms. Default: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<u64>,
    /// What the request is to survive once it is accepted. Default: as the service has it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::level::some_level"
    )]
    pub level: Option<Level>,
    /// At level disk: whether the caller waits for the answer, too. Default: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
}

impl RequestHeader<'_> {
    /// Longest key, octets.
    pub const KEY_MAX: usize = 128;
    /// Longest name of an order, octets.
    pub const ORDER_MAX: usize = ServiceName::LEN_MAX;
    /// Longest timeout and longest delay; a longer one counts as this.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

    /// Time that the caller waits.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|ms| Duration::from_millis(ms).min(Self::TIMEOUT_MAX))
    }

    /// Time that has to pass before a worker gets it.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.delay.map(|ms| Duration::from_millis(ms).min(Self::TIMEOUT_MAX))
    }

    /// Whether there is nothing in it but what most have.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        let Self {
            trace, state, events, asks, key, lease, epoch, order, delay, level, wait, ..
        } = self;
        let talks = events.is_some() || asks.is_some();
        let fenced = lease.is_some() || epoch.is_some();
        let waits = order.is_some() || delay.is_some();
        let kept = level.is_some() || wait.is_some();
        let plain = trace.is_none() && state.is_none() && key.is_none();
        plain && !talks && !fenced && !waits && !kept
    }

    /// Whether ACCEPTED is wanted.
    #[must_use]
    pub fn ack(&self) -> bool {
        self.ack.unwrap_or(false)
    }

    /// Whether parts of the answer are wanted as they come.
    #[must_use]
    pub fn parts(&self) -> bool {
        self.parts.unwrap_or(true)
    }
}

/// What the broker says of a request that it delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryHeader<'a> {
    /// The how manieth delivery this is, from 1.
    pub attempt: NonZeroU32,
    /// Time left, ms. Absent: no deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// The caller's identity, if it has one.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none", serialize_with = "bin")]
    pub identity: Option<&'a [u8]>,
    /// The fingerprint of the key that the caller has proven to have.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<&'a str>,
    /// What the operator calls the caller, or the user that it has proven to be.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
}

impl Default for DeliveryHeader<'_> {
    fn default() -> Self {
        DeliveryHeader::FIRST
    }
}

impl DeliveryHeader<'static> {
    /// A first delivery of which there is nothing else to say: almost every one.
    pub(super) const FIRST: Self = Self {
        attempt: NonZeroU32::MIN,
        timeout: None,
        identity: None,
        fingerprint: None,
        name: None,
    };
    /// The same, encoded.
    pub(super) const FIRST_OCTETS: &'static [u8] = b"\x81\xa7attempt\x01";
}

/// STATUS of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusHeader<'a> {
    /// What is asked.
    #[serde(deserialize_with = "what")]
    pub what: What,
    /// Only this service.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_service",
        serialize_with = "some_text_or_bin"
    )]
    pub service: Option<&'a [u8]>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Entries of a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<NonZeroU16>,
}

impl StatusHeader<'_> {
    /// Entries of a page: 100 by default, and at most 1,000.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max.map_or(100, |max| usize::from(max.get()).min(1000))
    }
}

/// What STATUS asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The broker as a whole.
    Broker,
    /// Its services.
    Services,
    /// Their workers.
    Workers,
}

/// ACCEPTED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedHeader<'a> {
    /// What the request survives; `memory`: nothing but the loss of workers.
    pub level: &'a str,
    /// It is one that was asked before, by its key. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<bool>,
}

/// ERROR, and BYE of a broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault<'a> {
    /// Stable; those that a broker says are [`Code`](super::Code).
    pub code: &'a str,
    /// For people.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub message: Option<&'a str>,
    /// A retry makes sense after this time, ms. Absent: not by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u64>,
    /// The epoch of who holds the lease now. Absent: nobody does, or it is about no lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Of a worker: the request is to be delivered again, after `retry` or when the service's
    /// back-off has passed. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<bool>,
}

/// READY of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyHeader<'a> {
    /// The service, 1 to 255 octets, text or bin.
    #[serde(borrow, deserialize_with = "service", serialize_with = "text_or_bin")]
    pub service: &'a [u8],
    /// What it does for that: `worker` (it answers requests) or `flow` (it comes for flows).
    /// Default `worker`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    /// Requests, or flows, at a time. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<NonZeroU16>,
    /// For people and for listings.
    #[serde(default, borrow, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels<'a>,
    /// Of the worker's program.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub version: Option<&'a str>,
    /// Of the service.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    /// Only the holder of this lease may ask; 1 to 255 octets. Default: anybody.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::lease::some_name"
    )]
    pub fence: Option<&'a str>,
}

impl ReadyHeader<'_> {
    /// The role of a handler of flows.
    pub const FLOW: &'static str = "flow";
    /// The role of whoever answers requests.
    pub const WORKER: &'static str = "worker";

    /// Whether it comes for flows; none if it is something that this version does not know.
    #[must_use]
    pub fn is_flow(&self) -> Option<bool> {
        match self.role {
            None | Some(Self::WORKER) => Some(false),
            Some(Self::FLOW) => Some(true),
            Some(_) => None,
        }
    }

    /// Requests, or flows, at a time.
    #[must_use]
    pub fn credit(&self) -> u16 {
        self.credit.map_or(1, NonZeroU16::get)
    }
}

/// Labels of a worker: a name once, and in the order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Labels<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Labels<'a> {
    /// Most labels.
    pub const COUNT_MAX: usize = 32;
    /// Names and values together, octets.
    pub const BYTES_MAX: usize = 4 << 10;

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().map(|(name, value)| (*name, *value))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(labels: I) -> Self {
        Self(labels.into_iter().collect())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Labels<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("at most 32 texts by texts, of 4096 octets together")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Labels<'de>, E> {
                Ok(Labels::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels<'de>, A::Error> {
                let (mut labels, mut bytes) = (BTreeMap::new(), 0);
                while let Some((name, value)) = map.next_entry::<&str, &str>()? {
                    labels.insert(name, value);
                    bytes += name.len() + value.len();
                    if labels.len() > Labels::COUNT_MAX || bytes > Labels::BYTES_MAX {
                        return Err(de::Error::custom("too many labels"));
                    }
                }
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_any(Map)
    }
}

/// CREDIT of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CreditHeader {
    pub(super) credit: u16,
}

/// DRAIN of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DrainHeader {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) within: Option<u64>,
}

pub(super) fn service<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de [u8], D::Error> {
    let service = <&[u8]>::deserialize(deserializer)?;
    if (1..=ServiceName::LEN_MAX).contains(&service.len()) {
        Ok(service)
    } else {
        Err(de::Error::custom("no name of a service"))
    }
}

pub(super) fn some_service<'de, D>(deserializer: D) -> Result<Option<&'de [u8]>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    struct Service<'a>(#[serde(borrow, deserialize_with = "service")] &'a [u8]);
    Ok(Option::<Service<'_>>::deserialize(deserializer)?.map(|service| service.0))
}

fn what<'de, D: Deserializer<'de>>(deserializer: D) -> Result<What, D::Error> {
    match <&str>::deserialize(deserializer)? {
        "broker" => Ok(What::Broker),
        "services" => Ok(What::Services),
        "workers" => Ok(What::Workers),
        _ => Err(de::Error::custom("neither broker, services nor workers")),
    }
}

/// Text or bin.
pub(super) fn octets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de [u8], D::Error> {
    <&[u8]>::deserialize(deserializer)
}

/// Text or bin, or nothing.
pub(super) fn some_octets<'de, D>(deserializer: D) -> Result<Option<&'de [u8]>, D::Error>
where
    D: Deserializer<'de>,
{
    Option::<&[u8]>::deserialize(deserializer)
}

/// As text if it is one: names of services mostly are.
pub(super) fn text_or_bin<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(octets) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.serialize_bytes(octets),
    }
}

pub(super) fn some_text_or_bin<S>(octets: &Option<&[u8]>, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
{
    text_or_bin(octets.unwrap_or_default(), serializer)
}

pub(super) fn bin<S: Serializer>(octets: &Option<&[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(octets.unwrap_or_default())
}
