//! What is told of all groups: listings, and what was counted.

use std::ops::Bound;

use super::Charter;
use super::lead::Exit;
use super::news::{Left, Status};
use super::table::{Groups, Member};

/// One group in a listing.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its name.
    pub group: &'a str,
    /// What kind it is.
    pub charter: &'a Charter,
    /// Members.
    pub size: usize,
    /// The number of its view.
    pub view: u64,
    /// Name and epoch of who leads.
    pub leader: Option<(&'a str, u64)>,
    /// Open polls.
    pub polls: usize,
}

/// What has been counted since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Members there have been.
    pub joined: u64,
    /// How their time ended, in the order of [`Left::ALL`].
    pub left: [u64; Left::ALL.len()],
    /// Members that were suspect.
    pub suspected: u64,
    /// Leaders there have been.
    pub elected: u64,
    /// How their time ended, in the order of [`Exit::ALL`].
    pub exited: [u64; Exit::ALL.len()],
    /// How polls ended, in the order of [`Status::ALL`].
    pub polls: [u64; Status::ALL.len()],
    /// Messages that were taken.
    pub messages: u64,
    /// Messages to one member that were passed on.
    pub delivered: u64,
    /// Messages to one member that found no room.
    pub dropped: u64,
    /// What was refused for its epoch.
    pub stale: u64,
}

impl Groups {
    /// Groups from behind `after` on, as far as their names begin with `prefix`.
    pub fn rows<'a>(
        &'a self,
        after: Option<&str>,
        prefix: &'a str,
    ) -> impl Iterator<Item = Row<'a>> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let names = self.by_name.range::<str, _>((from, Bound::Unbounded));
        let names = names.take_while(move |(name, _)| name.starts_with(prefix));
        names.filter_map(|(name, _)| self.row(name))
    }

    /// One group, if it has members.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<Row<'_>> {
        let group = self.named(name)?;
        let lead = group.lead.as_ref();
        let leader = lead.and_then(|it| Some((&*group.members.get(&it.member)?.name, it.epoch)));
        (!group.members.is_empty()).then_some(Row {
            group: &group.name,
            charter: &group.charter,
            size: group.members.len(),
            view: group.view,
            leader,
            polls: group.ballots.open.len(),
        })
    }

    /// The members of a group, by incarnation.
    pub fn members_of(&self, name: &str) -> impl Iterator<Item = (u64, &Member)> {
        let group = self.named(name).into_iter();
        group.flat_map(|group| group.members.iter().map(|(who, member)| (*who, member)))
    }
}
