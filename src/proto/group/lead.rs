//! Who leads a group, by which epoch, and until when.

use super::news::{Event, Left};
use super::table::{Group, GroupId, Groups, Member, Refused, count};
use super::{Now, Polls};
use crate::id::PeerId;
use crate::proto::clock::Time;

/// Why one leads no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It is no member any more.
    Left(Left),
    /// It said so.
    Resigned,
    /// It did not beat in time.
    Silent,
    /// There are fewer members than there have to be.
    TooFew,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Left(Left::Said),
        Self::Left(Left::Closed),
        Self::Left(Left::Expired),
        Self::Left(Left::Replaced),
        Self::Left(Left::Denied),
        Self::Resigned,
        Self::Silent,
        Self::TooFew,
    ];

    /// As on the wire, and the value of the label `reason` in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left(left) => left.as_str(),
            Self::Resigned => "resigned",
            Self::Silent => "silent",
            Self::TooFew => "too_few",
        }
    }
}

/// One that leads.
#[derive(Debug)]
pub(super) struct Lead {
    pub(super) member: u64,
    pub(super) epoch: u64,
    pub(super) expires: Time,
    pub(super) armed: Option<Time>,
}

impl Groups {
    /// Has somebody lead where somebody should, ends what is decided, and forgets what is empty.
    /// `epoch` gives one that is larger than all before.
    pub fn settle(&mut self, now: Now, mut epoch: impl FnMut() -> u64) {
        while let Some(id) = self.unsettled.pop_first() {
            let Some(group) = self.groups.get(id) else { continue };
            let enough = count(group.members.len()) >= group.charter.min_size;
            if group.lead.is_some() && !enough {
                self.exit(now, id, Exit::TooFew);
            }
            if enough {
                self.elect(now, id, &mut epoch);
            }
            self.decide(now, id);
            self.tidy(id);
        }
    }

    /// Gives a group a leader, if it has none and somebody may lead.
    fn elect(&mut self, now: Now, id: GroupId, epoch: &mut impl FnMut() -> u64) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if !group.charter.leader || group.lead.is_some() {
            return;
        }
        let heir = group.heir.take().filter(|heir| group.members.get(heir).is_some_and(may_lead));
        let first = || {
            let able = group.members.iter().filter(|(_, member)| may_lead(member));
            able.min_by_key(|(_, member)| member.rank).map(|(who, _)| *who)
        };
        let Some(who) = heir.or_else(first) else { return };
        let Some((member, principal)) =
            group.members.get(&who).map(|member| (member.name.clone(), member.principal))
        else {
            return;
        };
        let (epoch, ttl, seq) = (epoch(), group.charter.ttl, group.next_seq());
        let expires = now.time.after(ttl);
        group.lead = Some(Lead { member: who, epoch, expires, armed: None });
        let elected = member.clone();
        let event = Event::Elected { seq, member: elected, incarnation: who, epoch, ttl };
        group.tell(event, &mut self.news);
        let leader = (epoch, principal, member, expires);
        self.wards.push_back((group.name.clone(), Some(leader)));
        self.counts.elected += 1;
        self.leading += 1;
        self.arm_lead(id);
    }

    /// The leader leads no more.
    pub(super) fn exit(&mut self, now: Now, id: GroupId, why: Exit) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(Lead { member: incarnation, epoch, .. }) = group.lead.take() else { return };
        self.leading -= 1;
        self.wards.push_back((group.name.clone(), None));
        let number = Exit::ALL.iter().position(|exit| *exit == why);
        if let Some(count) = number.and_then(|number| self.counts.exited.get_mut(number)) {
            *count += 1;
        }
        if let Some(member) = group.members.get(&incarnation).map(|member| member.name.clone()) {
            let seq = group.next_seq();
            group.tell(Event::Exited { seq, member, incarnation, epoch, why }, &mut self.news);
        }
        let durable = group.charter.polls == Polls::Durable;
        if !durable {
            self.abort_polls(now, id);
        }
        self.unsettled.insert(id);
    }

    /// The member lives; with an epoch, it goes on leading. Gives until when, if it leads by it.
    ///
    /// # Errors
    /// There is no such member, or it does not lead by that epoch.
    pub fn beat(
        &mut self,
        now: Now,
        seat: (PeerId, u64),
        epoch: Option<u64>,
    ) -> Result<Option<std::time::Duration>, Refused> {
        let (id, who) = self.place(seat.0, seat.1)?;
        let Some(epoch) = epoch else { return Ok(None) };
        self.check_epoch(now, id, who, Some(epoch))?;
        let Some(group) = self.groups.get_mut(id) else { return Ok(None) };
        let (ttl, name) = (group.charter.ttl, group.name.clone());
        let member = group.members.get(&who).map(|member| (member.principal, member.name.clone()));
        let Some(lead) = &mut group.lead else { return Ok(None) };
        lead.expires = now.time.after(ttl);
        let leader = member.map(|(principal, member)| (epoch, principal, member, lead.expires));
        self.wards.push_back((name, leader));
        self.arm_lead(id);
        Ok(Some(ttl))
    }

    /// The member wants to lead no more; the one of the name `to` does then, or who is next.
    ///
    /// # Errors
    /// It does not lead by that epoch, or there is no such member that may, and it goes on leading.
    pub fn resign(
        &mut self,
        now: Now,
        seat: (PeerId, u64),
        epoch: u64,
        to: Option<(&str, Option<u64>)>,
    ) -> Result<(), Refused> {
        let (id, who) = self.place(seat.0, seat.1)?;
        self.check_epoch(now, id, who, Some(epoch))?;
        let next = self.last + 1;
        let Some(group) = self.groups.get_mut(id) else { return Err(Refused::NotMember) };
        let heir = match to {
            None => None,
            Some(to) => {
                let heir = group.find(to).filter(|heir| *heir != who);
                let able = |heir: &u64| group.members.get(heir).is_some_and(may_lead);
                Some(heir.filter(able).ok_or(Refused::NotMember)?)
            }
        };
        group.heir = heir;
        // Behind all that are there, and before all that come.
        let last = group.members.values().map(|member| member.rank).max().unwrap_or(next);
        if let Some(member) = group.members.get_mut(&who) {
            member.rank = last.max(next);
            self.last = self.last.max(member.rank);
        }
        self.exit(now, id, Exit::Resigned);
        Ok(())
    }

    /// From now on the member has the right to lead, or has it no more: then it does not.
    pub fn set_may_lead(&mut self, now: Now, peer: PeerId, id: u64, may_lead: bool) {
        let Ok((group, who)) = self.place(peer, id) else { return };
        let Some(known) = self.groups.get_mut(group) else { return };
        let Some(member) = known.members.get_mut(&who) else { return };
        if std::mem::replace(&mut member.may_lead, may_lead) == may_lead {
            return;
        }
        if !may_lead && known.lead.as_ref().is_some_and(|lead| lead.member == who) {
            self.exit(now, group, Exit::Left(Left::Denied));
        }
        self.unsettled.insert(group);
    }

    /// Whether the member leads by that epoch at this moment, if it says one.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check_epoch(
        &mut self,
        now: Now,
        id: GroupId,
        who: u64,
        epoch: Option<u64>,
    ) -> Result<(), Refused> {
        let Some(epoch) = epoch else { return Ok(()) };
        let lead = self.groups.get(id).and_then(|group| group.lead.as_ref());
        let lead = lead.filter(|lead| lead.expires > now.time);
        if lead.is_some_and(|lead| lead.epoch == epoch && lead.member == who) {
            return Ok(());
        }
        let current = lead.map(|lead| lead.epoch);
        self.counts.stale += 1;
        Err(Refused::Stale(current))
    }

    /// Ends the time of leaders that have not beaten.
    pub(super) fn tick_leads(&mut self, now: Now) {
        while let Some((at, id)) = self.leads.pop_due(now.time) {
            let Some(group) = self.groups.get_mut(id) else { continue };
            let Some(lead) = group.lead.as_mut().filter(|lead| lead.armed == Some(at)) else {
                continue;
            };
            lead.armed = None;
            if lead.expires > now.time {
                self.arm_lead(id);
                continue;
            }
            if let Some(member) = group.members.get_mut(&lead.member) {
                member.stalled = true;
                self.silent.insert(member.peer);
            }
            self.exit(now, id, Exit::Silent);
        }
    }

    fn arm_lead(&mut self, id: GroupId) {
        let Some(lead) = self.groups.get_mut(id).and_then(|group| group.lead.as_mut()) else {
            return;
        };
        if lead.armed.is_none_or(|armed| armed > lead.expires) {
            lead.armed = Some(lead.expires);
            self.leads.arm(lead.expires, id);
        }
        let Self { leads, groups, leading, .. } = self;
        if leads.len() > Self::TIMERS_KEPT + 2 * *leading {
            leads.sweep(|at, id| {
                let lead = groups.get(id).and_then(|group| group.lead.as_ref());
                lead.is_some_and(|lead| lead.armed == Some(at))
            });
        }
    }
}

pub(super) fn may_lead(member: &Member) -> bool {
    member.may_lead && !member.suspect && !member.stalled
}

impl Group {
    /// The member of that name, if it is that incarnation or any is meant.
    pub(super) fn find(&self, (name, incarnation): (&str, Option<u64>)) -> Option<u64> {
        let who = self.names.get(name).copied()?;
        incarnation.is_none_or(|wanted| wanted == who).then_some(who)
    }

    /// Who leads at this moment.
    pub(super) fn leader(&self, now: Time) -> Option<&Lead> {
        self.lead.as_ref().filter(|lead| lead.expires > now)
    }
}
