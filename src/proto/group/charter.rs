//! What kind of group it is: what its first member or the configuration says of it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::GroupLimits;
use crate::wire::mjp::GroupType;

/// Who votes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Electorate {
    /// Whoever is a member when the poll opens.
    #[default]
    Present,
    /// As many at least, be they there or not.
    Expected(u64),
    /// Those of these names, be they there or not.
    Voters(BTreeSet<String>),
}

/// What becomes of open polls when the leader changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Polls {
    /// They have the result `aborted`.
    #[default]
    Aborted,
    /// They go on under the next leader.
    Durable,
}

impl Polls {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Durable => "durable",
        }
    }
}

/// What kind of group it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charter {
    /// One of the members leads.
    pub leader: bool,
    /// Messages say when they were sent and taken.
    pub timed: bool,
    /// With fewer members nobody leads.
    pub min_size: u64,
    /// Who votes.
    pub electorate: Electorate,
    /// A member says something so often.
    pub heartbeat: Duration,
    /// Not used: the broker decides who leads.
    pub election_min: Duration,
    /// As above.
    pub election_max: Duration,
    /// Who says nothing for so long is no member any more.
    pub peer_timeout: Duration,
    /// Time of polls that say none.
    pub consensus_timeout: Duration,
    /// A leader that does not beat leads for so long.
    pub ttl: Duration,
    /// What becomes of open polls when the leader changes.
    pub polls: Polls,
    /// One message, or what a poll is about, octets. `None`: as for all groups.
    pub message: Option<u64>,
    /// Messages and polls of one member a second. `None`: any number.
    pub rate: Option<u64>,
}

impl Default for Charter {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            leader: false,
            timed: false,
            min_size: 2,
            electorate: Electorate::Present,
            heartbeat: ms(1000),
            election_min: ms(1500),
            election_max: ms(2000),
            peer_timeout: ms(3000),
            consensus_timeout: ms(1500),
            ttl: ms(1000),
            polls: Polls::Aborted,
            message: None,
            rate: None,
        }
    }
}

/// Why there is no such kind of group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The first four of the five times of RIAPS.
    #[error("0 < `heartbeat` < `election_min` < `election_max` < `peer_timeout` must hold")]
    Times,
    /// The fifth.
    #[error("0 < `consensus_timeout` < `election_max` must hold")]
    Consensus,
    /// A time is too long.
    #[error("`peer_timeout` is longer than 1 h")]
    Silence,
    /// The time of the leader.
    #[error("`ttl` is out of range: 50 to 3600000 ms")]
    Ttl,
    /// The size from which on there is a leader.
    #[error("`min_size` is out of range: 1 to group.members = {0}")]
    MinSize(usize),
    /// The size of the electorate.
    #[error("`expected_size` is out of range: 1 to group.members = {0}")]
    ExpectedSize(usize),
    /// Both ways to say who votes.
    #[error("`voters` and `expected_size` are two ways to say the same; give one")]
    TwoElectorates,
    /// The names of who votes.
    #[error("`voters` has no name, one twice, or more than group.members = {0}")]
    Voters(usize),
    /// What becomes of polls.
    #[error("`polls` is neither aborted nor durable")]
    Polls,
    /// The size of messages.
    #[error("`message` is out of range: 1 to group.message = {0}")]
    Message(usize),
    /// How many of them.
    #[error("`rate` is out of range: 1 to 1000000")]
    Rate,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Charter {
    /// What of it is said and changes nothing.
    pub const UNUSED: [&'static str; 2] = ["election_min", "election_max"];

    /// Largest `rate`: the clock counts microseconds.
    pub const RATE_MAX: u64 = 1_000_000;

    /// From how much silence on a member is suspect: two beats, or half of what is left of its
    /// time behind one.
    #[must_use]
    pub fn suspicion(&self) -> Duration {
        (2 * self.heartbeat).min((self.heartbeat + self.peer_timeout) / 2)
    }

    /// Memory of it, octets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        /// Of an entry in a tree whose nodes are half full.
        const ENTRY: usize = 2 * size_of::<String>();
        match &self.electorate {
            Electorate::Voters(names) => names.iter().map(|name| ENTRY + name.len()).sum(),
            Electorate::Present | Electorate::Expected(_) => 0,
        }
    }

    /// This one, with what `says` says.
    ///
    /// # Errors
    /// There is no such kind of group.
    pub fn with(mut self, says: &GroupType<'_>, limits: &GroupLimits) -> Result<Self, Unfit> {
        let set = |to: &mut Duration, ms: Option<u64>| {
            *to = ms.map_or(*to, Duration::from_millis);
        };
        set(&mut self.heartbeat, says.heartbeat);
        set(&mut self.election_min, says.election_min);
        set(&mut self.election_max, says.election_max);
        set(&mut self.peer_timeout, says.peer_timeout);
        set(&mut self.consensus_timeout, says.consensus_timeout);
        set(&mut self.ttl, says.ttl);
        self.leader = says.leader.unwrap_or(self.leader);
        self.timed = says.timed.unwrap_or(self.timed);
        self.min_size = says.min_size.unwrap_or(self.min_size);
        self.message = says.message.or(self.message);
        self.rate = says.rate.or(self.rate);
        self.polls = match says.polls {
            None => self.polls,
            Some(name) => polls_of(name).ok_or(Unfit::Polls)?,
        };
        match (&says.voters, says.expected_size) {
            (Some(_), Some(_)) => return Err(Unfit::TwoElectorates),
            (Some(names), None) => {
                let set: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
                if set.len() != names.len() {
                    return Err(Unfit::Voters(limits.members_max));
                }
                self.electorate = Electorate::Voters(set);
            }
            (None, Some(size)) => self.electorate = Electorate::Expected(size),
            (None, None) => {}
        }
        self.check(limits)?;
        Ok(self)
    }

    /// Whether there is such a kind of group.
    ///
    /// # Errors
    /// There is none, and this is why.
    pub fn check(&self, limits: &GroupLimits) -> Result<(), Unfit> {
        let times = [
            Duration::ZERO,
            self.heartbeat,
            self.election_min,
            self.election_max,
            self.peer_timeout,
        ];
        if !times.is_sorted_by(|one, next| one < next) {
            return Err(Unfit::Times);
        }
        if self.consensus_timeout.is_zero() || self.consensus_timeout >= self.election_max {
            return Err(Unfit::Consensus);
        }
        if self.peer_timeout > HOUR {
            return Err(Unfit::Silence);
        }
        if !(Duration::from_millis(50)..=HOUR).contains(&self.ttl) {
            return Err(Unfit::Ttl);
        }
        let max = limits.members_max;
        let fits = |size: u64| (1..=u64::try_from(max).unwrap_or(u64::MAX)).contains(&size);
        if !fits(self.min_size) {
            return Err(Unfit::MinSize(max));
        }
        let largest = u64::try_from(limits.message_bytes_max).unwrap_or(u64::MAX);
        if self.message.is_some_and(|message| !(1..=largest).contains(&message)) {
            return Err(Unfit::Message(limits.message_bytes_max));
        }
        if self.rate.is_some_and(|rate| !(1..=Self::RATE_MAX).contains(&rate)) {
            return Err(Unfit::Rate);
        }
        match &self.electorate {
            Electorate::Expected(size) if !fits(*size) => Err(Unfit::ExpectedSize(max)),
            Electorate::Voters(names) if names.is_empty() || names.len() > max => {
                Err(Unfit::Voters(max))
            }
            _ => Ok(()),
        }
    }

    /// The first key of what `says` says that is not so.
    #[must_use]
    pub fn conflict(&self, says: &GroupType<'_>) -> Option<&'static str> {
        let is = self.to_wire();
        let voters = match (&self.electorate, &says.voters) {
            (_, None) => true,
            (Electorate::Voters(own), Some(names)) => {
                own.len() == names.len() && names.iter().all(|name| own.contains(*name))
            }
            (Electorate::Present | Electorate::Expected(_), Some(_)) => false,
        };
        let same = [
            ("leader", says.leader.is_none() || says.leader == is.leader),
            ("timed", says.timed.is_none() || says.timed == is.timed),
            ("min_size", says.min_size.is_none() || says.min_size == is.min_size),
            ("voters", voters),
            (
                "expected_size",
                says.expected_size.is_none() || says.expected_size == is.expected_size,
            ),
            ("heartbeat", says.heartbeat.is_none() || says.heartbeat == is.heartbeat),
            ("election_min", says.election_min.is_none() || says.election_min == is.election_min),
            ("election_max", says.election_max.is_none() || says.election_max == is.election_max),
            ("peer_timeout", says.peer_timeout.is_none() || says.peer_timeout == is.peer_timeout),
            (
                "consensus_timeout",
                says.consensus_timeout.is_none() || says.consensus_timeout == is.consensus_timeout,
            ),
            ("ttl", says.ttl.is_none() || says.ttl == is.ttl),
            ("polls", says.polls.is_none() || says.polls == is.polls),
            ("message", says.message.is_none() || says.message == is.message),
            ("rate", says.rate.is_none() || says.rate == is.rate),
        ];
        same.into_iter().find(|(_, same)| !same).map(|(key, _)| key)
    }

    /// As members are told.
    #[must_use]
    pub fn to_wire(&self) -> GroupType<'_> {
        let ms = |time: Duration| Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let (voters, expected_size) = match &self.electorate {
            Electorate::Present => (None, None),
            Electorate::Expected(size) => (None, Some(*size)),
            Electorate::Voters(names) => (Some(names.iter().map(String::as_str).collect()), None),
        };
        GroupType {
            leader: Some(self.leader),
            timed: Some(self.timed),
            min_size: Some(self.min_size),
            voters,
            expected_size,
            heartbeat: ms(self.heartbeat),
            election_min: ms(self.election_min),
            election_max: ms(self.election_max),
            peer_timeout: ms(self.peer_timeout),
            consensus_timeout: ms(self.consensus_timeout),
            ttl: ms(self.ttl),
            polls: Some(self.polls.as_str()),
            message: self.message,
            rate: self.rate,
        }
    }
}

fn polls_of(name: &str) -> Option<Polls> {
    [Polls::Aborted, Polls::Durable].into_iter().find(|polls| polls.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(says: GroupType<'_>) -> Result<Charter, Unfit> {
        Charter::default().with(&says, &GroupLimits::default())
    }

    #[test]
    fn the_times_of_riaps_are_checked_as_riaps_does() {
        let none = GroupType::default();
        assert_eq!(with(none.clone()), Ok(Charter::default()));
        for says in [
            GroupType { heartbeat: Some(0), ..none.clone() },
            GroupType { heartbeat: Some(1500), ..none.clone() },
            GroupType { election_min: Some(2000), ..none.clone() },
            GroupType { election_max: Some(3000), ..none.clone() },
        ] {
            assert_eq!(with(says.clone()), Err(Unfit::Times), "{says:?}");
        }
        let late = GroupType { consensus_timeout: Some(2000), ..none.clone() };
        assert_eq!(with(late), Err(Unfit::Consensus));
        let both = GroupType { voters: Some(vec!["a"]), expected_size: Some(3), ..none.clone() };
        assert_eq!(with(both), Err(Unfit::TwoElectorates));
        let twice = GroupType { voters: Some(vec!["a", "a"]), ..none };
        assert_eq!(with(twice), Err(Unfit::Voters(1000)));
    }

    #[test]
    fn limits_of_messages_are_within_those_of_all_groups() {
        let none = GroupType::default();
        for (message, fits) in [(0, false), (1, true), (1 << 20, true), ((1 << 20) + 1, false)] {
            let says = GroupType { message: Some(message), ..none.clone() };
            assert_eq!(with(says).is_ok(), fits, "{message} octets");
        }
        for (rate, fits) in [(0, false), (1, true), (1_000_000, true), (1_000_001, false)] {
            let says = GroupType { rate: Some(rate), ..none.clone() };
            assert_eq!(with(says).is_ok(), fits, "{rate} a second");
        }
        let is = with(GroupType { message: Some(10), rate: Some(5), ..none.clone() }).unwrap();
        assert_eq!(is.conflict(&is.to_wire()), None);
        assert_eq!(is.conflict(&GroupType { message: Some(9), ..none.clone() }), Some("message"));
        assert_eq!(is.conflict(&GroupType { rate: Some(6), ..none }), Some("rate"));
        assert_eq!(Charter::default().conflict(&is.to_wire()), Some("message"));
    }

    #[test]
    fn suspicion_comes_before_death_and_not_for_one_late_beat() {
        for (heartbeat, rest) in [(1000, [1500, 2000, 3000]), (1000, [1001, 1002, 1003])] {
            let [election_min, election_max, peer_timeout] = rest.map(Some);
            let times = GroupType { heartbeat: Some(heartbeat), ..GroupType::default() };
            let one = with(GroupType {
                election_min,
                election_max,
                peer_timeout,
                consensus_timeout: Some(100),
                ..times
            });
            let one = one.unwrap();
            let suspicion = one.suspicion();
            assert!(one.heartbeat < suspicion && suspicion < one.peer_timeout, "{suspicion:?}");
        }
    }

    #[test]
    fn what_is_expected_is_compared_with_what_is() {
        let is = with(GroupType {
            leader: Some(true),
            voters: Some(vec!["b", "a"]),
            ..GroupType::default()
        });
        let is = is.unwrap();
        assert_eq!(is.conflict(&is.to_wire()), None);
        let other = GroupType { min_size: Some(5), ..GroupType::default() };
        assert_eq!(is.conflict(&other), Some("min_size"));
        let voters = GroupType { voters: Some(vec!["a", "c"]), ..GroupType::default() };
        assert_eq!(is.conflict(&voters), Some("voters"));
    }
}
