//! Groups: members in numbered views, messages in one order, one leader, polls and timed actions
//! (SPEC 9.15).
//!
//! ```text
//!             join                silent                     silent until peer_timeout
//!   (nobody) ------> Member(alive) <-----> Member(suspect) ------------------------> left
//!                         |        speaks        |                                     ^
//!                         +-------- leave, close, replaced, denied -------------------+
//!
//!             min_size, the first in order             silent, resigned, left, too few
//!   (nobody) -----------------------------> Lead(epoch) ------------------------------> (nobody)
//! ```
//!
//! - [`Groups`]: the broker's table. It decides who is a member, who leads, and what polls say.
//! - [`Ballot`]: the votes of one poll, and what they decide.
//! - [`Charter`]: what kind of group it is.
//! - [`Standpoint`], [`ClockSync`]: a member's side.

#[cfg(any(test, feature = "fuzzing"))]
mod audit;
mod ballot;
mod charter;
mod depose;
mod ending;
mod lead;
mod listing;
mod membership;
mod news;
mod observe;
mod order;
mod poll;
mod silence;
#[cfg(test)]
mod simulation;
mod standpoint;
mod sync;
mod table;

use std::time::Duration;

pub use ballot::{Ballot, Counts as VoteCounts, NoVote, Rule, Verdict, Vote};
pub use charter::{Charter, Electorate, Polls, Unfit};
pub use lead::Exit;
pub use listing::{Counts, Row};
pub use membership::{Joined, Joining, UNNAMED};
pub use news::{Change, Event, Feat, Left, News, PollResult, Status};
pub use order::{Recipient, Taken, To};
pub use poll::{Asked, Given, Opened, Opening, Question};
pub use silence::Silence;
pub use standpoint::Standpoint;
pub use sync::ClockSync;
pub use table::{Groups, Member, Refused};

use super::clock::Time;

/// A moment: by the broker's time, which leaves out the times in which it stood still, and by its
/// clock, which does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// What deadlines go by.
    pub time: Time,
    /// What members are told: microseconds since the broker has started.
    pub clock: u64,
}

/// What groups may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLimits {
    /// Groups that have members, or results of polls. Default 10,000.
    pub groups_max: usize,
    /// Members of one group. Default 1,000.
    pub members_max: usize,
    /// Memberships and observations of one connection. Default 1,000.
    pub per_peer_max: usize,
    /// Observers of one group. Default 1,000.
    pub observers_max: usize,
    /// One message, or what a poll is about, octets. Default 1 MiB.
    pub message_bytes_max: usize,
    /// What waits for one peer before messages to it are dropped, octets. Default 8 MiB.
    pub queue_bytes_max: usize,
    /// Open polls of one group, and actions whose outcomes are awaited. Default 100.
    pub polls_max: usize,
    /// Results that are kept of one group. Default 1,000.
    pub results_max: usize,
    /// How long. Default 10 min.
    pub result_ttl: Duration,
    /// Longest time of a poll. Default 1 h.
    pub timeout_max: Duration,
    /// From the end of a poll to the action that it is about. Default 50 ms.
    pub action_margin: Duration,
    /// From an action to when its outcomes are told. Default 5 s.
    pub outcome_wait: Duration,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            groups_max: 10_000,
            members_max: 1_000,
            per_peer_max: 1_000,
            observers_max: 1_000,
            message_bytes_max: 1 << 20,
            queue_bytes_max: 8 << 20,
            polls_max: 100,
            results_max: 1_000,
            result_ttl: Duration::from_secs(600),
            timeout_max: Duration::from_secs(3600),
            action_margin: Duration::from_millis(50),
            outcome_wait: Duration::from_secs(5),
        }
    }
}

/// What is known of groups before they have members.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupSettings {
    /// What they may take.
    pub limits: GroupLimits,
    /// The kinds of groups by name; the first that matches holds.
    pub rules: Vec<GroupRule>,
}

/// The kind of the groups whose names match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRule {
    /// A whole name, or the beginning of names with `*` at its end.
    pub pattern: String,
    /// What kind they are.
    pub charter: Charter,
}

impl GroupSettings {
    /// The kind that the configuration gives a group of this name.
    #[must_use]
    pub fn charter_of(&self, group: &str) -> Option<&Charter> {
        let means = |rule: &&GroupRule| match rule.pattern.strip_suffix('*') {
            Some(prefix) => group.starts_with(prefix),
            None => group == rule.pattern,
        };
        self.rules.iter().find(means).map(|rule| &rule.charter)
    }
}
