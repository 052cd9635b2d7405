//! The table of groups: who is in which, under which name, and the numbers of views.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use slotmap::SlotMap;

use super::lead::{Exit, Lead};
use super::news::{Change, Event, Left, News, Outgoing, Status};
use super::poll::Ballots;
use super::{Charter, GroupLimits, Now};
use crate::id::{PeerId, Principal};
use crate::proto::clock::Time;
use crate::proto::timers::Timers;

slotmap::new_key_type! {
    /// A group that has members, or results.
    pub(super) struct GroupId;
}

/// Somebody who wants to be a member.
#[derive(Debug, Clone, Copy)]
pub struct Joining<'a> {
    /// Whose connection it is.
    pub peer: PeerId,
    /// What the peer calls it.
    pub id: u64,
    /// On whose behalf it speaks.
    pub principal: &'a Principal,
    /// Which group.
    pub group: &'a str,
    /// What the member calls itself. `None`: the broker gives it a name.
    pub member: Option<&'a str>,
    /// What kind of group it is, if this is its first member.
    pub charter: &'a Charter,
    /// What it sends to all comes back to it.
    pub own: bool,
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
}

/// A membership that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Which one of that name.
    pub incarnation: u64,
    /// What it is called.
    pub member: Arc<str>,
    /// The view in which it is.
    pub view: u64,
    /// The place of that in the order.
    pub seq: u64,
}

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
    /// What the fences of requests are to know of leaders: name, and who leads until when.
    pub(super) wards: VecDeque<(Arc<str>, Option<(u64, Principal, Time)>)>,
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

    /// Memory that one more member takes, octets, or why there is none.
    ///
    /// # Errors
    /// It may not join.
    pub fn check_join(&self, one: &Joining<'_>) -> Result<usize, Refused> {
        let own = self.seats.get(&one.peer);
        if own.is_some_and(|own| own.contains_key(&one.id)) {
            return Err(Refused::DuplicateId);
        }
        if own.is_some_and(|own| own.len() >= self.limits.per_peer_max) {
            return Err(Refused::TooMany("group.per_peer"));
        }
        let (member, group) = self.costs(one);
        let cost = member + group;
        let Some(group) = self.named(one.group) else {
            let full = self.groups.len() >= self.limits.groups_max;
            return if full { Err(Refused::TooMany("group.groups")) } else { Ok(cost) };
        };
        if let Some(old) = one.member.and_then(|name| group.names.get(name))
            && let Some(old) = group.members.get(old)
        {
            let same = old.principal == *one.principal;
            if !same || !(one.principal.is_proven() || old.suspect) {
                return Err(Refused::NameTaken);
            }
        } else if group.members.len() >= self.limits.members_max {
            return Err(Refused::TooMany("group.members"));
        }
        Ok(cost)
    }

    /// Memory of the member, and of its group as far as that is new, octets.
    fn costs(&self, one: &Joining<'_>) -> (usize, usize) {
        /// Of entries in trees whose nodes are half full, and in the timers.
        const MEMBER: usize = 2 * size_of::<(Member, Arc<str>, [u64; 16])>();
        const GROUP: usize = 2 * size_of::<(Group, Arc<str>, GroupId, [u64; 8])>();
        let member = MEMBER + one.member.map_or(17, str::len);
        let group = match self.named(one.group) {
            None => GROUP + one.group.len() + one.charter.bytes(),
            Some(group) if group.members.is_empty() => one.charter.bytes(),
            Some(_) => 0,
        };
        (member, group)
    }

    /// A membership begins; [`Self::check_join`] has allowed it, and what it said was charged.
    pub fn join(&mut self, now: Now, one: &Joining<'_>) -> Joined {
        let (cost, more) = self.costs(one);
        self.charged += cost + more;
        self.last += 1;
        self.counts.joined += 1;
        let incarnation = self.last;
        let id = self.group_for(one.group, one.charter, more);
        let old = one.member.and_then(|name| self.groups.get(id)?.names.get(name).copied());
        if let Some(old) = old {
            self.leave(now, id, old, Left::Replaced);
        }
        let name: Arc<str> = match one.member {
            Some(name) => name.into(),
            None => format!("~{incarnation:016x}").into(),
        };
        self.seats.entry(one.peer).or_default().insert(one.id, (id, incarnation));
        self.members += 1;
        let member = Member {
            peer: one.peer,
            id: one.id,
            name: name.clone(),
            suspect: false,
            principal: *one.principal,
            own: one.own,
            stalled: false,
            rank: incarnation,
            missed: 0,
            gap: false,
            armed: None,
            cost,
        };
        if let Some(group) = self.groups.get_mut(id) {
            group.names.insert(name.clone(), incarnation);
            // It is told with its view, and those of the view before of it.
            let (seq, view) =
                group.next_view(Change::Joined, (&name, incarnation), 1, &mut self.news);
            group.members.insert(incarnation, member);
            self.watch(now.time, id, incarnation, now.time);
            self.unsettled.insert(id);
            return Joined { incarnation, member: name, view, seq };
        }
        Joined { incarnation, member: name, view: 0, seq: 0 }
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

    /// A membership ends.
    ///
    /// # Errors
    /// There is none.
    pub fn leave_seat(
        &mut self,
        now: Now,
        peer: PeerId,
        id: u64,
        why: Left,
    ) -> Result<(), Refused> {
        let (group, incarnation) = self.place(peer, id)?;
        self.leave(now, group, incarnation, why);
        Ok(())
    }

    pub(super) fn leave(&mut self, now: Now, id: GroupId, incarnation: u64, why: Left) {
        let leads = self.groups.get(id).and_then(|group| group.lead.as_ref());
        if leads.is_some_and(|lead| lead.member == incarnation) {
            self.exit(now, id, Exit::Left(why));
        }
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(member) = group.members.remove(&incarnation) else { return };
        group.names.remove(&member.name);
        group.heir = group.heir.filter(|heir| *heir != incarnation);
        self.freed += member.cost;
        self.members -= 1;
        if let Some(count) = self.counts.left.get_mut(why as usize) {
            *count += 1;
        }
        if let Some(own) = self.seats.get_mut(&member.peer) {
            own.remove(&member.id);
            if own.is_empty() {
                self.silent.remove(&member.peer);
                self.seats.remove(&member.peer);
            }
        }
        let who = (&member.name, incarnation);
        let (seq, view) = group.next_view(Change::Left(why), who, 0, &mut self.news);
        // Who is told that it has left has not said so itself.
        if matches!(why, Left::Expired | Left::Replaced) {
            let size = count(group.members.len());
            let (change, name) = (Change::Left(why), member.name.clone());
            let event = Event::View { seq, view, change, member: name, incarnation, size };
            self.news.due.push_back(News { peer: member.peer, id: member.id, event: event.into() });
        }
        self.lose_elector(id, incarnation);
        self.unsettled.insert(id);
    }

    /// Groups from behind `after` on, as far as their names begin with `prefix`.
    pub fn rows<'a>(
        &'a self,
        after: Option<&str>,
        prefix: &'a str,
    ) -> impl Iterator<Item = Row<'a>> {
        use std::ops::Bound;
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

    /// What is new of who leads a group: its name, and epoch, principal and end of the leader.
    pub fn pop_ward(&mut self) -> Option<(Arc<str>, Option<(u64, Principal, Time)>)> {
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

    fn group_for(&mut self, name: &str, charter: &Charter, cost: usize) -> GroupId {
        if let Some(id) = self.by_name.get(name).copied() {
            // Nobody was in it: what was said of it before does not hold any more.
            if let Some(group) = self.groups.get_mut(id)
                && group.members.is_empty()
            {
                let before = group.charter.bytes();
                group.charter = charter.clone();
                group.cost = group.cost + cost - before;
                self.freed += before;
            }
            return id;
        }
        let name: Arc<str> = name.into();
        let id = self.groups.insert(Group {
            name: name.clone(),
            charter: charter.clone(),
            members: BTreeMap::new(),
            names: BTreeMap::new(),
            view: 0,
            seq: 0,
            lead: None,
            heir: None,
            ballots: Ballots::default(),
            cost,
        });
        self.by_name.insert(name, id);
        id
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
