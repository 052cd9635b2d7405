//! Messages: for whom they are, their place in the order, and what members have missed.

use std::sync::Arc;
use std::time::Duration;

use super::Now;
use super::table::{GroupId, Groups, Refused};
use crate::id::PeerId;

/// For whom a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To<'a> {
    /// All members.
    All,
    /// Who leads.
    Leader,
    /// The member of that name, or only that incarnation of it.
    Member(&'a str, Option<u64>),
}

/// A message that has its place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The place.
    pub seq: u64,
    /// Who has said it.
    pub member: Arc<str>,
    /// Which one of that name.
    pub incarnation: u64,
    /// Messages of the group say when they were sent and taken.
    pub timed: bool,
    /// For whom it is.
    pub recipients: Vec<Recipient>,
}

/// One that a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient {
    pub(super) group: GroupId,
    pub(super) who: u64,
    /// Whose connection it is.
    pub peer: PeerId,
    /// The id of its `join`.
    pub id: u64,
}

impl Groups {
    /// From a message that was dropped to when it is told, if none comes behind it.
    const GAP: Duration = Duration::from_secs(1);
    /// From when there was no room for that to the next time.
    const AGAIN: Duration = Duration::from_millis(250);

    /// The largest body of a message or a poll in the group of a member, octets.
    ///
    /// # Errors
    /// There is no such member.
    pub fn message_bytes_max(&self, (peer, id): (PeerId, u64)) -> Result<usize, Refused> {
        let (group, _) = self.place(peer, id)?;
        let own = self.groups.get(group).and_then(|group| group.charter.message);
        let own = own.and_then(|own| usize::try_from(own).ok()).unwrap_or(usize::MAX);
        Ok(own.min(self.limits.message_bytes_max))
    }

    /// A member says something: whether that is not too often.
    ///
    /// # Errors
    /// It is, or there is no such member.
    pub fn take_turn(&mut self, now: Now, (peer, id): (PeerId, u64)) -> Result<(), Refused> {
        const SECOND: Duration = Duration::from_secs(1);
        let (group, who) = self.place(peer, id)?;
        let Some(group) = self.groups.get_mut(group) else { return Ok(()) };
        let Some(rate) = group.charter.rate else { return Ok(()) };
        let Some(member) = group.members.get_mut(&who) else { return Ok(()) };
        let each = SECOND / u32::try_from(rate).unwrap_or(u32::MAX).max(1);
        // As much as in a second it may say at once.
        if member.paid.since(now.time) + each > SECOND {
            return Err(Refused::TooOften(rate));
        }
        member.paid = member.paid.max(now.time).after(each);
        Ok(())
    }

    /// Takes a message. With an epoch its sender has to lead by it.
    ///
    /// # Errors
    /// Nothing was taken.
    pub fn send(
        &mut self,
        now: Now,
        seat: (PeerId, u64),
        to: To<'_>,
        epoch: Option<u64>,
    ) -> Result<Taken, Refused> {
        let (id, who) = self.place(seat.0, seat.1)?;
        self.check_epoch(now, id, who, epoch)?;
        let Some(group) = self.groups.get_mut(id) else { return Err(Refused::NotMember) };
        let meant = match to {
            To::All => None,
            To::Leader if !group.charter.leader => return Err(Refused::NotCoordinated),
            To::Leader => Some(group.leader(now.time).ok_or(Refused::NoLeader)?.member),
            To::Member(name, which) => Some(group.find((name, which)).ok_or(Refused::NotMember)?),
        };
        let seq = group.next_seq();
        let is_meant = |(other, own): (u64, bool)| match meant {
            Some(meant) => other == meant,
            None => other != who || own,
        };
        let recipients = group.members.iter().filter(|(it, member)| is_meant((**it, member.own)));
        let recipients = recipients
            .map(|(who, member)| Recipient {
                group: id,
                who: *who,
                peer: member.peer,
                id: member.id,
            })
            .collect();
        let Some(member) = group.members.get(&who).map(|member| member.name.clone()) else {
            return Err(Refused::NotMember);
        };
        self.counts.messages += 1;
        let timed = group.charter.timed;
        Ok(Taken { seq, member, incarnation: who, timed, recipients })
    }

    /// Passes a message on to one that it is for: `say` is given how many it has missed, and says
    /// whether there was room.
    pub fn deliver(&mut self, now: Now, to: Recipient, say: impl FnOnce(Option<u64>) -> bool) {
        let Some(group) = self.groups.get_mut(to.group) else { return };
        let Some(member) = group.members.get_mut(&to.who) else { return };
        if say(Some(member.missed).filter(|missed| *missed > 0)) {
            member.missed = 0;
            self.counts.delivered += 1;
            return;
        }
        member.missed += 1;
        self.counts.dropped += 1;
        if !std::mem::replace(&mut member.gap, true) {
            self.gaps.arm(now.time.after(Self::GAP), (to.group, to.who));
        }
    }

    /// Tells who has missed something, and has heard no message since.
    pub fn tell_gaps(&mut self, now: Now, mut say: impl FnMut(PeerId, u64, u64) -> bool) {
        while let Some((_, (id, who))) = self.gaps.pop_due(now.time) {
            let group = self.groups.get_mut(id);
            let Some(member) = group.and_then(|group| group.members.get_mut(&who)) else {
                continue;
            };
            member.gap = false;
            if member.missed == 0 {
                continue;
            }
            if say(member.peer, member.id, member.missed) {
                member.missed = 0;
            } else {
                member.gap = true;
                self.gaps.arm(now.time.after(Self::AGAIN), (id, who));
            }
        }
    }
}
