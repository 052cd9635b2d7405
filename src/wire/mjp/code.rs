//! The codes of errors (SPEC 9.4).

/// The errors that a broker says, and the one that a worker says if it knows no better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// Malformed, or not allowed here.
    BadRequest,
    /// The id is that of an open request of the same connection.
    DuplicateId,
    /// An unknown kind, or no common version.
    Unsupported,
    /// The answer is too big for its way back.
    TooBig,
    /// A limit of the client, the service or the broker.
    Overloaded,
    /// The broker stops.
    Draining,
    /// The deadline has passed.
    Timeout,
    /// Cancelled by its caller.
    Cancelled,
    /// Nobody offered the service in its time.
    Unserved,
    /// The worker was lost, and the request may not be delivered again.
    WorkerLost,
    /// Lost with too many workers, alone with each.
    Poison,
    /// The worker's handler failed.
    Failed,
    /// No worker is meant.
    NoTarget,
    /// Only the broker may do that.
    Forbidden,
    /// The right to do that is missing.
    Denied,
    /// The key stands for another request.
    KeyConflict,
    /// There is none of that name.
    NotFound,
    /// The caller of the request cannot be asked.
    NoCaller,
    /// Another one holds the lease.
    Held,
    /// The epoch is not that of who holds the lease.
    StaleEpoch,
    /// The service takes requests of the holder of a lease only.
    FenceRequired,
    /// The disk has no room for what is new.
    StoreFull,
    /// The disk has failed.
    StoreFailed,
    /// The group has no leader now.
    NoLeader,
    /// The group never has a leader.
    NotCoordinated,
    /// The peer, or whom it speaks to, is no member.
    NotMember,
    /// Another one has the name in the group.
    NameTaken,
    /// The group is of another kind than is expected.
    GroupConflict,
    /// Another vote was given before.
    VoteChanged,
    /// The poll has ended.
    PollOver,
    /// It would be known after the action.
    TooLate,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::BadRequest,
        Self::DuplicateId,
        Self::Unsupported,
        Self::TooBig,
        Self::Overloaded,
        Self::Draining,
        Self::Timeout,
        Self::Cancelled,
        Self::Unserved,
        Self::WorkerLost,
        Self::Poison,
        Self::Failed,
        Self::NoTarget,
        Self::Forbidden,
        Self::Denied,
        Self::KeyConflict,
        Self::NotFound,
        Self::NoCaller,
        Self::Held,
        Self::StaleEpoch,
        Self::FenceRequired,
        Self::StoreFull,
        Self::StoreFailed,
        Self::NoLeader,
        Self::NotCoordinated,
        Self::NotMember,
        Self::NameTaken,
        Self::GroupConflict,
        Self::VoteChanged,
        Self::PollOver,
        Self::TooLate,
    ];

    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::DuplicateId => "duplicate_id",
            Self::Unsupported => "unsupported",
            Self::TooBig => "too_big",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unserved => "unserved",
            Self::WorkerLost => "worker_lost",
            Self::Poison => "poison",
            Self::Failed => "failed",
            Self::NoTarget => "no_target",
            Self::Forbidden => "forbidden",
            Self::Denied => "denied",
            Self::KeyConflict => "key_conflict",
            Self::NotFound => "not_found",
            Self::NoCaller => "no_caller",
            Self::Held => "held",
            Self::StaleEpoch => "stale_epoch",
            Self::FenceRequired => "fence_required",
            Self::StoreFull => "store_full",
            Self::StoreFailed => "store_failed",
            Self::NoLeader => "no_leader",
            Self::NotCoordinated => "not_coordinated",
            Self::NotMember => "not_member",
            Self::NameTaken => "name_taken",
            Self::GroupConflict => "group_conflict",
            Self::VoteChanged => "vote_changed",
            Self::PollOver => "poll_over",
            Self::TooLate => "too_late",
        }
    }

    /// The code of this name, unless it is a worker's own.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// Whether the same request may succeed later: the broker had no part of it executed.
    #[must_use]
    pub fn may_retry(self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::Draining | Self::Unserved | Self::StoreFull | Self::NoLeader
        )
    }
}
