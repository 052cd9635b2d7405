//! Who is who in a group, and when.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::GroupError;
use crate::proto::group::ClockSync;

/// A member: its name, and the incarnation that no other member of the broker has, nor had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    name: Arc<str>,
    incarnation: u64,
}

impl MemberId {
    /// The member of that name, 1 to 255 octets, and incarnation.
    pub fn new(name: impl Into<Arc<str>>, incarnation: u64) -> Self {
        Self { name: name.into(), incarnation }
    }

    /// What it calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who joins again is another one, with a larger number.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.incarnation)
    }
}

/// For whom a message is: a member by its name, whichever incarnation there is, or only that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    pub(super) name: Arc<str>,
    pub(super) incarnation: Option<u64>,
}

impl From<&MemberId> for Recipient {
    fn from(member: &MemberId) -> Self {
        Self { name: member.name.clone(), incarnation: Some(member.incarnation) }
    }
}

impl From<&str> for Recipient {
    fn from(name: &str) -> Self {
        Self { name: name.into(), incarnation: None }
    }
}

impl From<String> for Recipient {
    fn from(name: String) -> Self {
        Self { name: name.into(), incarnation: None }
    }
}

/// A poll, 1 to 128 octets. Whoever opens it chooses them; the same poll is opened once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PollId(Arc<[u8]>);

impl PollId {
    /// Longest, octets.
    pub const LEN_MAX: usize = 128;

    /// The poll that is called so.
    ///
    /// # Errors
    /// [`GroupError::Invalid`].
    pub fn new(octets: impl AsRef<[u8]>) -> Result<Self, GroupError> {
        let octets = octets.as_ref();
        if (1..=Self::LEN_MAX).contains(&octets.len()) {
            return Ok(Self(octets.into()));
        }
        let message = format!("a poll of {} octets; give it 1 to {}", octets.len(), Self::LEN_MAX);
        Err(GroupError::Invalid { message })
    }

    /// A poll that nobody else has: 16 random octets.
    ///
    /// # Errors
    /// [`GroupError::Invalid`]: the system gives none.
    pub fn random() -> Result<Self, GroupError> {
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).map_err(|error| GroupError::Invalid {
            message: format!("the system gives no random octets: {error}"),
        })?;
        Ok(Self(octets.as_slice().into()))
    }

    /// What the broker has called so.
    pub(super) fn heard(octets: &[u8]) -> Self {
        Self(octets.into())
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// As it is, if it is text without control characters, or else in hexadecimal digits.
impl fmt::Display for PollId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}")),
        }
    }
}

impl fmt::Debug for PollId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PollId({self})")
    }
}

/// A moment of the broker's clock: microseconds since it has started. Another run of the broker
/// has another clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerTime(pub u64);

impl BrokerTime {
    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(micros(time)))
    }

    /// How much later this is than `earlier`; nothing if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for BrokerTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whole milliseconds, as the wire has them.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How well the broker's clock is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What it says now.
    pub now: BrokerTime,
    /// By how much that may be wrong, in either direction.
    pub error: Duration,
}

impl Reading {
    /// What is known of the broker's clock at that moment.
    pub(super) fn of(sync: &ClockSync, now: Instant) -> Option<Self> {
        let (clock, error) = (sync.clock(now)?, sync.error(now)?);
        Some(Self { now: BrokerTime(clock), error })
    }
}

/// Who leads, and by which epoch: larger than that of any leader before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The member.
    pub member: MemberId,
    /// It leads by that one.
    pub epoch: u64,
}

/// One member of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub member: MemberId,
    /// It has been silent for too long, and leaves if it goes on like that.
    pub suspect: bool,
}

/// Who is in a group. All members see the same views under the same numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// It grows by one with every change.
    pub number: u64,
    /// This member itself.
    pub own: MemberId,
    /// All members, in the order in which they have joined.
    pub members: Vec<Peer>,
    /// Who leads now.
    pub leader: Option<Leader>,
}

/// Why somebody has left, or leads no more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It has said so.
    Said,
    /// Its connection has ended.
    Closed,
    /// It was silent for `peer_timeout`.
    Expired,
    /// The same principal has joined anew under its name.
    Replaced,
    /// It has lost the right to be a member.
    Denied,
    /// It has resigned.
    Resigned,
    /// It did not renew its leadership within `ttl`.
    Silent,
    /// There are fewer members than `min_size`.
    TooFew,
    /// The leader has changed.
    LeaderChanged,
    /// It would be known too late.
    TooLate,
    /// The broker stops.
    Draining,
    /// Another one, that a newer broker gives.
    Other(Arc<str>),
}

impl Reason {
    const KNOWN: [Self; 11] = [
        Self::Said,
        Self::Closed,
        Self::Expired,
        Self::Replaced,
        Self::Denied,
        Self::Resigned,
        Self::Silent,
        Self::TooFew,
        Self::LeaderChanged,
        Self::TooLate,
        Self::Draining,
    ];

    /// As on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Said => "said",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
            Self::Denied => "denied",
            Self::Resigned => "resigned",
            Self::Silent => "silent",
            Self::TooFew => "too_few",
            Self::LeaderChanged => "leader_changed",
            Self::TooLate => "too_late",
            Self::Draining => "draining",
            Self::Other(name) => name,
        }
    }

    pub(super) fn of(name: Option<&str>) -> Self {
        let name = name.unwrap_or("unknown");
        let known = Self::KNOWN.into_iter().find(|reason| reason.as_str() == name);
        known.unwrap_or_else(|| Self::Other(name.into()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_shown_as_text_where_they_are_text() {
        assert_eq!(PollId::new("north?").unwrap().to_string(), "north?");
        assert_eq!(PollId::new([0, 255]).unwrap().to_string(), "00ff");
        assert!(PollId::new("").is_err());
        assert!(PollId::new([1; 129]).is_err());
        assert_ne!(PollId::random().unwrap(), PollId::random().unwrap());
    }

    #[test]
    fn reasons_have_the_names_of_the_wire() {
        for reason in Reason::KNOWN {
            assert_eq!(Reason::of(Some(reason.as_str())), reason);
        }
        assert_eq!(Reason::of(Some("new")), Reason::Other("new".into()));
    }

    #[test]
    fn moments_are_counted_in_microseconds() {
        let moment = BrokerTime(1_500_000).after(Duration::from_millis(2));
        assert_eq!(moment.to_string(), "1.502000 s");
        assert_eq!(moment.since(BrokerTime(1_500_000)), Duration::from_millis(2));
        assert_eq!(BrokerTime(1).since(moment), Duration::ZERO);
    }
}
