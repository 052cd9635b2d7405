//! What kind of group a member wants, or relies on.

use std::time::Duration;

use super::error::GroupError;
use super::words::millis;
use crate::proto::group::{Charter, GroupLimits, Polls, Unfit};
use crate::wire::mjp::GroupType;

/// What a member says of the kind of a group: the first one makes it so, others rely on it. What is
/// not said is as it is, or as [`Charter::default`] has it.
///
/// The five times are those of RIAPS, by their names there. They have to keep
/// `heartbeat < election_min < election_max < peer_timeout` and
/// `consensus_timeout < election_max`, and are above zero. `election_min` and `election_max` change
/// nothing, as the broker decides who leads.
///
/// ```
/// use majordomo::group::GroupKind;
///
/// let kind = GroupKind::default().leader(true).min_size(3).expected_size(5);
/// assert!(kind.validate().is_ok());
/// assert!(kind.voters(["anna", "bert"]).validate().is_err());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupKind {
    leader: Option<bool>,
    timed: Option<bool>,
    min_size: Option<u64>,
    voters: Option<Vec<String>>,
    expected_size: Option<u64>,
    heartbeat: Option<Duration>,
    election_min: Option<Duration>,
    election_max: Option<Duration>,
    peer_timeout: Option<Duration>,
    consensus_timeout: Option<Duration>,
    ttl: Option<Duration>,
    polls: Option<Polls>,
    message: Option<u64>,
    rate: Option<u64>,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $kind:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $kind) -> Self {
            self.$name = Some($name);
            self
        }
    )*};
}

impl GroupKind {
    setters! {
        /// One of the members leads; without that there are no polls either. Default no.
        leader: bool;
        /// Messages say when they were sent and taken. Default no.
        timed: bool;
        /// With fewer members nobody leads, 1 and more. Default 2.
        min_size: u64;
        /// So many vote, be they there or not; more if more are there. Not with `voters`. Default:
        /// as many as are there.
        expected_size: u64;
        /// A member shows life so often, whole ms. Default 1 s.
        heartbeat: Duration;
        /// Not used, but as a bound, whole ms. Default 1.5 s.
        election_min: Duration;
        /// Not used, but as a bound, whole ms. Default 2 s.
        election_max: Duration;
        /// Who is silent for so long is no member any more, whole ms up to 1 h. Default 3 s.
        peer_timeout: Duration;
        /// The time of polls that say none, whole ms. Default 1.5 s.
        consensus_timeout: Duration;
        /// A leader that is not heard leads for so long, 50 ms to 1 h. Default 1 s.
        ttl: Duration;
        /// What becomes of open polls when the leader changes. Default: they are aborted.
        polls: Polls;
        /// One message, or what a poll is about, octets, 1 and more. Default: as for all groups of
        /// the broker.
        message: u64;
        /// Messages and polls of one member a second, 1 to 1,000,000; as many at once as in a
        /// second. Default: any number.
        rate: u64;
    }

    /// Who votes, by name, be they there or not; 1 to 1,000, no two alike. Default: who is there.
    #[must_use]
    pub fn voters<I>(mut self, voters: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.voters = Some(voters.into_iter().map(Into::into).collect());
        self
    }

    /// Whether there can be such a kind of group, as far as that can be told without the broker:
    /// what is not said here may be said by others.
    ///
    /// # Errors
    /// [`GroupError::Invalid`]: which rule is broken.
    pub fn validate(&self) -> Result<(), GroupError> {
        let invalid = |message: String| Err(GroupError::Invalid { message });
        let times = [self.heartbeat, self.election_min, self.election_max, self.peer_timeout];
        let said: Vec<_> = times.into_iter().flatten().collect();
        if said.first().is_some_and(Duration::is_zero) || !said.is_sorted_by(|one, next| one < next)
        {
            return invalid(format!("{}; it was said {said:?}", Unfit::Times));
        }
        if let Some(time) = self.consensus_timeout
            && (time.is_zero() || self.election_max.is_some_and(|max| time >= max))
        {
            return invalid(format!("{}; it was said {time:?}", Unfit::Consensus));
        }
        let rest = Self {
            heartbeat: None,
            election_min: None,
            election_max: None,
            consensus_timeout: None,
            peer_timeout: None,
            ..self.clone()
        };
        let (members_max, message_bytes_max) = (1_000_000, usize::MAX);
        let limits = GroupLimits { members_max, message_bytes_max, ..GroupLimits::default() };
        match Charter::default().with(&rest.to_wire(), &limits) {
            Ok(_) => Ok(()),
            Err(unfit) => invalid(unfit.to_string()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn to_wire(&self) -> GroupType<'_> {
        GroupType {
            leader: self.leader,
            timed: self.timed,
            min_size: self.min_size,
            voters: self.voters.as_ref().map(|names| names.iter().map(String::as_str).collect()),
            expected_size: self.expected_size,
            heartbeat: self.heartbeat.map(millis),
            election_min: self.election_min.map(millis),
            election_max: self.election_max.map(millis),
            peer_timeout: self.peer_timeout.map(millis),
            consensus_timeout: self.consensus_timeout.map(millis),
            ttl: self.ttl.map(millis),
            polls: self.polls.map(Polls::as_str),
            message: self.message,
            rate: self.rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_said_is_checked_and_what_is_not_is_left_to_the_group() {
        let kind = GroupKind::default;
        assert!(kind().is_empty());
        // The rest may be of a group that is slow.
        assert_eq!(kind().heartbeat(ms(5000)).validate(), Ok(()));
        let wrong = [
            kind().heartbeat(ms(0)),
            kind().heartbeat(ms(2000)).election_max(ms(2000)),
            kind().election_min(ms(10)).peer_timeout(ms(10)),
            kind().election_max(ms(10)).consensus_timeout(ms(10)),
            kind().consensus_timeout(ms(0)),
            kind().ttl(ms(49)),
            kind().min_size(0),
            kind().message(0),
            kind().rate(0),
            kind().expected_size(0),
            kind().voters(["a", "a"]),
            kind().voters(["a"]).expected_size(2),
        ];
        for kind in wrong {
            assert!(matches!(kind.validate(), Err(GroupError::Invalid { .. })), "{kind:?}");
        }
    }
}
