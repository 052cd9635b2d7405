//! The table of groups: who is in which, under which name, and the numbers of views.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use slotmap::SlotMap;

use super::lead::Lead;
use super::listing::Counts;
use super::news::{Change, Event, News, Outgoing};
use super::observe::Eyes;
use super::poll::Ballots;
use super::{Charter, GroupLimits};
use crate::id::{PeerId, Principal};
use crate::proto::clock::Time;
use crate::proto::lease::Leader;
use crate::proto::timers::Timers;

slotmap::new_key_type! {
    /// A group that has members, or results.
    pub(super) struct GroupId;
}

/// Why something is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The peer has a membership of that id.
    DuplicateId,
    /// The limit of this name is reached.
    TooMany(&'static str),
    /// Another member has the name.
    NameTaken,
    /// Only the broker gives such a name.
    NameReserved,
    /// There is no such member.
    NotMember,
    /// The group never has a leader.
    NotCoordinated,
    /// Nobody leads now.
    NoLeader,
    /// The member does not lead by that epoch; this one does.
    Stale(Option<u64>),
    /// Another poll has that id.
    Conflict,
    /// There is no such poll.
    NoPoll,
    /// It has ended.
    Over,
    /// Another vote was given, or another outcome.
    Changed,
    /// The action would be too early: later than this, by the broker's clock, it may be.
    TooLate(u64),
    /// The member says more than so much a second.
    TooOften(u64),
}

/// All groups of a broker.
#[derive(Debug)]
pub struct Groups {
    pub(super) limits: GroupLimits,
    pub(super) groups: SlotMap<GroupId, Group>,
    pub(super) by_name: BTreeMap<Arc<str>, GroupId>,
    pub(super) seats: BTreeMap<PeerId, BTreeMap<u64, (GroupId, u64)>>,
    /// The newest incarnation.
    pub(super) last: u64,
    pub(super) members: usize,
    pub(super) leading: usize,
    pub(super) polling: usize,
    /// Actions whose outcomes are awaited.
    pub(super) acting: usize,
    /// When a member is looked at.
    pub(super) silences: Timers<(GroupId, u64)>,
    /// When a leader has not beaten.
    pub(super) leads: Timers<GroupId>,
    /// When a poll ends, or an action has been long ago.
    pub(super) ends: Timers<(GroupId, u64)>,
    /// When results are forgotten.
    pub(super) keeps: Timers<GroupId>,
    /// When it is told what was missed.
    pub(super) gaps: Timers<(GroupId, u64)>,
    /// Peers with members that are suspect, or have lost a leadership by their silence.
    pub(super) silent: BTreeSet<PeerId>,
    /// Groups in which somebody may have to lead, or polls are to be looked at.
    pub(super) unsettled: BTreeSet<GroupId>,
    pub(super) news: Outgoing,
    pub(super) eyes: Eyes,
    /// What the fences of requests are to know of leaders: name, and who leads until when.
    pub(super) wards: VecDeque<(Arc<str>, Option<Leader>)>,
    pub(super) numbers: u64,
    pub(super) counts: Counts,
    pub(super) charged: usize,
    pub(super) freed: usize,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Arc<str>,
    pub(super) charter: Charter,
    /// By incarnation, which is the order of joining.
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) names: BTreeMap<Arc<str>, u64>,
    pub(super) view: u64,
    pub(super) seq: u64,
    pub(super) lead: Option<Lead>,
    /// Who leads next, if it was named.
    pub(super) heir: Option<u64>,
    pub(super) ballots: Ballots,
    pub(super) cost: usize,
}

/// A member of a group.
#[derive(Debug)]
pub struct Member {
    /// Whose connection it is.
    pub peer: PeerId,
    /// The id of its `join`.
    pub id: u64,
    /// What it is called.
    pub name: Arc<str>,
    /// It has been silent.
    pub suspect: bool,
    pub(super) principal: Principal,
    pub(super) own: bool,
    /// It has the right to lead.
    pub(super) may_lead: bool,
    /// When it has said as much as it may say from then on at its rate.
    pub(super) paid: Time,
    /// It has lost the leadership by its silence, and has said nothing since then.
    pub(super) stalled: bool,
    /// Its place among those who may lead.
    pub(super) rank: u64,
    pub(super) missed: u64,
    /// A timer is there that tells of it.
    pub(super) gap: bool,
    pub(super) armed: Option<Time>,
    pub(super) cost: usize,
}

impl Groups {
    /// No groups.
    #[must_use]
    pub fn new(limits: GroupLimits) -> Self {
        Self {
            limits,
            groups: SlotMap::with_key(),
            by_name: BTreeMap::new(),
            seats: BTreeMap::new(),
            last: 0,
            members: 0,
            leading: 0,
            polling: 0,
            acting: 0,
            silences: Timers::new(),
            leads: Timers::new(),
            ends: Timers::new(),
            keeps: Timers::new(),
            gaps: Timers::new(),
            silent: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            news: Outgoing::default(),
            eyes: Eyes::default(),
            wards: VecDeque::new(),
            numbers: 0,
            counts: Counts::default(),
            charged: 0,
            freed: 0,
        }
    }

    /// Every incarnation to come is above `last`.
    pub fn begin_above(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// The newest incarnation.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.last
    }

    /// What groups may take.
    #[must_use]
    pub fn limits(&self) -> &GroupLimits {
        &self.limits
    }

    /// Groups, members, leaders, and open polls.
    #[must_use]
    pub fn population(&self) -> [usize; 4] {
        [self.groups.len(), self.members, self.leading, self.polling]
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The kind of a group that has members.
    #[must_use]
    pub fn charter(&self, group: &str) -> Option<&Charter> {
        let group = self.groups.get(*self.by_name.get(group)?)?;
        (!group.members.is_empty()).then_some(&group.charter)
    }

    /// The membership that the peer has by that id, as it is called in the group.
    #[must_use]
    pub fn seat(&self, peer: PeerId, id: u64) -> Option<(&str, &Member)> {
        let (group, incarnation) = self.place(peer, id).ok()?;
        let group = self.groups.get(group)?;
        Some((&group.name, group.members.get(&incarnation)?))
    }

    /// Members of the group in which the peer is by that id.
    ///
    /// # Errors
    /// It is in none.
    pub fn size_of_group(&self, (peer, id): (PeerId, u64)) -> Result<usize, Refused> {
        let (group, _) = self.place(peer, id)?;
        Ok(self.groups.get(group).map_or(0, |group| group.members.len()))
    }

    /// The first membership of a peer, if it has one.
    #[must_use]
    pub fn first_seat_of(&self, peer: PeerId) -> Option<u64> {
        self.seats.get(&peer)?.first_key_value().map(|(id, _)| *id)
    }

    /// The memberships of a peer, and in which groups.
    pub fn seats_of(&self, peer: PeerId) -> impl Iterator<Item = (u64, &str)> {
        let own = self.seats.get(&peer).into_iter().flatten();
        own.filter_map(|(id, (group, _))| Some((*id, &*self.groups.get(*group)?.name)))
    }

    /// Whether there is nothing to be said, settled, or given back.
    #[inline]
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let said = self.news.due.is_empty() && self.news.happened.is_empty();
        let said = said && self.wards.is_empty();
        said && self.freed == 0 && self.unsettled.is_empty()
    }

    /// Takes the next thing to be said.
    pub fn pop_news(&mut self) -> Option<News> {
        self.news.due.pop_front()
    }

    /// What has happened, in which group: each once, whoever is told.
    pub fn pop_event(&mut self) -> Option<(Arc<str>, Arc<Event>)> {
        self.news.happened.pop_front()
    }

    /// What is new of who leads a group, and the name of that.
    pub fn pop_ward(&mut self) -> Option<(Arc<str>, Option<Leader>)> {
        self.wards.pop_front()
    }

    /// Memory that is free since the last call, octets.
    pub fn take_freed(&mut self) -> usize {
        let freed = std::mem::take(&mut self.freed);
        self.charged -= freed;
        freed
    }

    pub(super) fn named(&self, name: &str) -> Option<&Group> {
        self.groups.get(*self.by_name.get(name)?)
    }

    pub(super) fn place(&self, peer: PeerId, id: u64) -> Result<(GroupId, u64), Refused> {
        let own = self.seats.get(&peer).and_then(|own| own.get(&id));
        own.copied().ok_or(Refused::NotMember)
    }

    /// Forgets a group that has nobody and nothing.
    pub(super) fn tidy(&mut self, id: GroupId) {
        let empty = |group: &Group| group.members.is_empty() && group.ballots.is_empty();
        if self.groups.get(id).is_some_and(empty)
            && let Some(group) = self.groups.remove(id)
        {
            self.by_name.remove(&group.name);
            self.freed += group.cost;
        }
    }
}

impl Group {
    /// The next place in the order.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// There is another view: all members are told, and there are `more` of them then.
    pub(super) fn next_view(
        &mut self,
        change: Change,
        (member, incarnation): (&Arc<str>, u64),
        more: usize,
        news: &mut Outgoing,
    ) -> (u64, u64) {
        self.view += 1;
        let (seq, view) = (self.next_seq(), self.view);
        let (member, size) = (member.clone(), count(self.members.len() + more));
        self.tell(Event::View { seq, view, change, member, incarnation, size }, news);
        (seq, view)
    }

    /// All members are told.
    pub(super) fn tell(&self, event: Event, news: &mut Outgoing) {
        let event = Arc::new(event);
        news.happened.push_back((self.name.clone(), event.clone()));
        news.due.extend(self.members.values().map(|member| News {
            peer: member.peer,
            id: member.id,
            event: event.clone(),
        }));
    }
}

pub(super) fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
