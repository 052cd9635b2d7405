//! Who becomes a member, and who is none any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lead::Exit;
use super::news::{Change, Event, Left, News};
use super::poll::Ballots;
use super::table::{Group, GroupId, Groups, Member, Refused, count};
use super::{Charter, Now};
use crate::id::{PeerId, Principal};

/// What the names begin with that the broker gives.
pub const UNNAMED: &str = "~";

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
    /// It has the right to lead.
    pub may_lead: bool,
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

impl Groups {
    /// Memory that one more member takes, octets, or why there is none.
    ///
    /// # Errors
    /// It may not join.
    pub fn check_join(&self, one: &Joining<'_>) -> Result<usize, Refused> {
        if self.has_id(one.peer, one.id) {
            return Err(Refused::DuplicateId);
        }
        // It may be the name of one that is to come.
        if one.member.is_some_and(|name| name.starts_with(UNNAMED)) {
            return Err(Refused::NameReserved);
        }
        if self.count_of(one.peer) >= self.limits.per_peer_max {
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
            None => format!("{UNNAMED}{incarnation:016x}").into(),
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
            may_lead: one.may_lead,
            paid: now.time,
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
}
