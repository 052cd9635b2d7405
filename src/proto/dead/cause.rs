//! Why a request became a dead letter.

/// Why a request became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Its worker said that it failed, and not that it is to be tried again.
    Failed,
    /// Its workers said that it is to be tried again, as often as it may.
    Exhausted,
    /// It was lost with too many workers, alone with each.
    Poison,
    /// It was lost with its worker, and may not be delivered again.
    Lost,
    /// It has waited for a worker for too long.
    Expired,
    /// The deadline of its caller has passed.
    Timeout,
    /// No worker could be given it, or its answer was too big.
    Rejected,
    /// The queue was full. It was not accepted, and its caller was told so.
    Overflow,
}

impl Cause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Failed,
        Self::Exhausted,
        Self::Poison,
        Self::Lost,
        Self::Expired,
        Self::Timeout,
        Self::Rejected,
        Self::Overflow,
    ];

    /// As on the wire, in the configuration and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Exhausted => "exhausted",
            Self::Poison => "poison",
            Self::Lost => "lost",
            Self::Expired => "expired",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::Overflow => "overflow",
        }
    }

    /// The cause of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == name)
    }
}

/// A set of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Causes(u8);

impl Causes {
    /// None.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(u8::MAX);

    /// Whether the cause is one of them.
    #[must_use]
    pub fn has(self, cause: Cause) -> bool {
        self.0 >> (cause as u8) & 1 == 1
    }

    /// The causes, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Cause> {
        Cause::ALL.into_iter().filter(move |cause| self.has(*cause))
    }
}

impl FromIterator<Cause> for Causes {
    fn from_iter<I: IntoIterator<Item = Cause>>(causes: I) -> Self {
        Self(causes.into_iter().fold(0, |set, cause| set | 1 << (cause as u8)))
    }
}

impl Default for Causes {
    /// What tells of trouble with workers, and not of what was asked.
    fn default() -> Self {
        Self::from_iter([Cause::Exhausted, Cause::Poison])
    }
}
