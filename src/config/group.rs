//! `[group]`: what groups may take, and what kinds of them there are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Check, KIB, MONTH, ms};
use super::key::Key;
use super::units;
use crate::proto::group::{Charter, Electorate, GroupLimits, GroupRule, GroupSettings, Polls};
use crate::wire::mjp::GROUP_NAME_MAX;

/// `[group]`: what groups may take, and what kinds of them there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupSection {
    /// The kinds of groups, by whole name or by prefix with a final `*`. A whole name comes before
    /// a prefix, a longer prefix before a shorter one. Default none: the first member says it.
    pub types: BTreeMap<String, GroupTypeSection>,
    /// Groups that have members, or results of polls, 1 to 1,000,000. Default 10,000.
    pub groups: usize,
    /// Members of one group, 1 to 65,536. Default 1,000.
    pub members: usize,
    /// Memberships and observations of one connection, 1 to 1,000,000. Default 1,000.
    pub per_peer: usize,
    /// Observers of one group, who are no members of it, 1 to 100,000. Default 1,000.
    pub observers: usize,
    /// One message, or what a poll is about, 1 KiB to 1 GiB. Default 1 MiB.
    #[serde(with = "units::text")]
    pub message: usize,
    /// What waits for one peer before messages to it are dropped, 64 KiB to 1 GiB. Default 8 MiB.
    #[serde(with = "units::text")]
    pub queue: usize,
    /// Open polls of one group, and actions whose outcomes are awaited, 1 to 10,000. Default 100.
    pub polls: usize,
    /// Results that are kept of one group, 1 to 100,000. Default 1,000.
    pub results: usize,
    /// How long, 1 s to 30 d. Default 10 min.
    #[serde(with = "units::text")]
    pub result_ttl: Duration,
    /// Longest time of a poll, 1 s to 1 d. Default 1 h.
    #[serde(with = "units::text")]
    pub timeout_max: Duration,
    /// From the end of a poll to the action that it is about, 1 ms to 1 min. Default 50 ms.
    #[serde(with = "units::text")]
    pub action_margin: Duration,
    /// From an action to when its outcomes are told, 10 ms to 1 h. Default 5 s.
    #[serde(with = "units::text")]
    pub outcome_wait: Duration,
}

impl Default for GroupSection {
    fn default() -> Self {
        let limits = GroupLimits::default();
        Self {
            types: BTreeMap::new(),
            groups: limits.groups_max,
            members: limits.members_max,
            per_peer: limits.per_peer_max,
            observers: limits.observers_max,
            message: limits.message_bytes_max,
            queue: limits.queue_bytes_max,
            polls: limits.polls_max,
            results: limits.results_max,
            result_ttl: limits.result_ttl,
            timeout_max: limits.timeout_max,
            action_margin: limits.action_margin,
            outcome_wait: limits.outcome_wait,
        }
    }
}

/// One kind of groups: its keys and their ranges are those of `type` in SPEC 9.3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupTypeSection {
    /// One of the members leads. Default false.
    pub leader: bool,
    /// Messages say when they were sent and taken. Default false.
    pub timed: bool,
    /// With fewer members nobody leads. Default 2.
    pub min_size: u64,
    /// Who votes, by name. Default: who is there.
    pub voters: Vec<String>,
    /// So many vote, be they there or not. Default: as many as are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_size: Option<u64>,
    /// A member says something so often. Default 1 s.
    #[serde(with = "units::text")]
    pub heartbeat: Duration,
    /// Not used: the broker decides who leads. Default 1.5 s.
    #[serde(with = "units::text")]
    pub election_min: Duration,
    /// As above. Default 2 s.
    #[serde(with = "units::text")]
    pub election_max: Duration,
    /// Who says nothing for so long is no member any more. Default 3 s.
    #[serde(with = "units::text")]
    pub peer_timeout: Duration,
    /// Time of polls that say none. Default 1.5 s.
    #[serde(with = "units::text")]
    pub consensus_timeout: Duration,
    /// A leader that does not beat leads for so long. Default 1 s.
    #[serde(with = "units::text")]
    pub ttl: Duration,
    /// What becomes of open polls when the leader changes. Default aborted.
    pub polls: GroupPolls,
    /// One message, or what a poll is about, 1 B to `group.message`. Default: as that.
    #[serde(with = "units::text", skip_serializing_if = "Option::is_none")]
    pub message: Option<usize>,
    /// Messages and polls of one member a second, 1 to 1,000,000; as many at once as in a second.
    /// Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
}

/// What becomes of open polls when the leader changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupPolls {
    /// They have the result `aborted`.
    #[default]
    Aborted,
    /// They go on under the next leader.
    Durable,
}

impl Default for GroupTypeSection {
    fn default() -> Self {
        let charter = Charter::default();
        Self {
            leader: charter.leader,
            timed: charter.timed,
            min_size: charter.min_size,
            voters: Vec::new(),
            expected_size: None,
            heartbeat: charter.heartbeat,
            election_min: charter.election_min,
            election_max: charter.election_max,
            peer_timeout: charter.peer_timeout,
            consensus_timeout: charter.consensus_timeout,
            ttl: charter.ttl,
            polls: GroupPolls::Aborted,
            message: None,
            rate: None,
        }
    }
}

impl GroupTypeSection {
    fn charter(&self) -> Charter {
        let electorate = match self.expected_size {
            Some(size) => Electorate::Expected(size),
            None if self.voters.is_empty() => Electorate::Present,
            None => Electorate::Voters(self.voters.iter().cloned().collect()),
        };
        Charter {
            leader: self.leader,
            timed: self.timed,
            min_size: self.min_size,
            electorate,
            heartbeat: self.heartbeat,
            election_min: self.election_min,
            election_max: self.election_max,
            peer_timeout: self.peer_timeout,
            consensus_timeout: self.consensus_timeout,
            ttl: self.ttl,
            polls: match self.polls {
                GroupPolls::Aborted => Polls::Aborted,
                GroupPolls::Durable => Polls::Durable,
            },
            message: self.message.map(|message| u64::try_from(message).unwrap_or(u64::MAX)),
            rate: self.rate,
        }
    }
}

impl GroupSection {
    /// As the core is told; no more waits for a peer than `outbox`.
    pub(super) fn settings(&self, outbox: usize) -> GroupSettings {
        let rule = |(pattern, kind): (&String, &GroupTypeSection)| GroupRule {
            pattern: pattern.clone(),
            charter: kind.charter(),
        };
        let mut rules: Vec<_> = self.types.iter().map(rule).collect();
        rules.sort_by_key(|rule| (rule.pattern.ends_with('*'), Reverse(rule.pattern.len())));
        GroupSettings {
            limits: GroupLimits { queue_bytes_max: self.queue.min(outbox), ..self.limits() },
            rules,
        }
    }

    fn limits(&self) -> GroupLimits {
        GroupLimits {
            groups_max: self.groups,
            members_max: self.members,
            per_peer_max: self.per_peer,
            observers_max: self.observers,
            message_bytes_max: self.message,
            queue_bytes_max: self.queue,
            polls_max: self.polls,
            results_max: self.results,
            result_ttl: self.result_ttl,
            timeout_max: self.timeout_max,
            action_margin: self.action_margin,
            outcome_wait: self.outcome_wait,
        }
    }

    pub(super) fn check(&self, check: &mut Check) {
        let key = |name| Key::new("group", name);
        check.count(key("groups"), self.groups, 1..=1_000_000);
        check.count(key("members"), self.members, 1..=65_536);
        check.count(key("per_peer"), self.per_peer, 1..=1_000_000);
        check.count(key("observers"), self.observers, 1..=100_000);
        check.text(key("message"), self.message, KIB..=1 << 30);
        check.text(key("queue"), self.queue, 64 * KIB..=1 << 30);
        check.count(key("polls"), self.polls, 1..=10_000);
        check.count(key("results"), self.results, 1..=100_000);
        check.text(key("result_ttl"), self.result_ttl, ms(1000)..=MONTH);
        check.text(key("timeout_max"), self.timeout_max, ms(1000)..=ms(24 * 3_600_000));
        check.text(key("action_margin"), self.action_margin, ms(1)..=ms(60_000));
        check.text(key("outcome_wait"), self.outcome_wait, ms(10)..=ms(3_600_000));
        for (pattern, kind) in &self.types {
            let name = pattern.strip_suffix('*').unwrap_or(pattern);
            if pattern.is_empty() || pattern.len() > GROUP_NAME_MAX || name.contains('*') {
                let why = format!(
                    "{pattern:?} is no name of a group, nor the beginning of one with `*` at its end"
                );
                check.refuse(key("types"), why);
            }
            let unfit = if kind.expected_size.is_some() && !kind.voters.is_empty() {
                Err(crate::proto::group::Unfit::TwoElectorates)
            } else {
                kind.charter().check(&self.limits())
            };
            if let Err(unfit) = unfit {
                check.refuse(key("types"), format!("{pattern:?}: {unfit}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;

    fn loaded(text: &str) -> Result<BrokerConfig, String> {
        let config: BrokerConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.validate().map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_type_of_groups_is_declared_by_name_or_prefix_and_the_longest_holds() {
        let text = r#"
            [group.types."Escort.*"]
            leader = true
            heartbeat = "500ms"
            voters = ["a", "b"]
            [group.types."Escort.1"]
            polls = "durable"
            message = "4KiB"
            rate = 20
        "#;
        let settings = loaded(text).unwrap().settings().group;
        let charter = |group| settings.charter_of(group);
        assert_eq!(charter("Escort.1").unwrap().polls, Polls::Durable);
        let limits = charter("Escort.1").map(|kind| (kind.message, kind.rate));
        assert_eq!(limits, Some((Some(4096), Some(20))));
        let kind = charter("Escort.2").unwrap();
        assert_eq!((kind.leader, kind.heartbeat), (true, Duration::from_millis(500)));
        assert!(matches!(&kind.electorate, Electorate::Voters(names) if names.len() == 2));
        assert_eq!(charter("Other"), None);
    }

    #[test]
    fn what_breaks_the_rules_of_riaps_is_refused_with_a_reason() {
        for (line, why) in [
            ("heartbeat = \"2s\"", "`heartbeat` < `election_min`"),
            ("consensus_timeout = \"5s\"", "`consensus_timeout` < `election_max`"),
            ("min_size = 2000", "`min_size` is out of range"),
            ("voters = [\"a\"]\nexpected_size = 2", "two ways"),
            ("message = \"2MiB\"", "`message` is out of range: 1 to group.message = 1048576"),
            ("rate = 0", "`rate` is out of range"),
        ] {
            let error = loaded(&format!("[group.types.a]\n{line}")).unwrap_err();
            assert!(error.contains(why) && error.contains("group.types"), "{error}");
        }
        assert!(loaded("[group.types.\"a*b\"]").unwrap_err().contains("no name of a group"));
    }
}
