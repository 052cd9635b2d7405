//! Who is silent: suspect first, and no member any more later.

use super::Now;
use super::news::{Change, Left};
use super::table::{GroupId, Groups};
use crate::id::PeerId;
use crate::proto::clock::Time;

/// A member that may have been silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    group: GroupId,
    who: u64,
    /// Whose connection it is.
    pub peer: PeerId,
}

impl Groups {
    /// So many timers nobody believes in are left alone, and as many as others.
    pub(super) const TIMERS_KEPT: usize = 1024;

    /// The peer has said something about a group: what was believed of its silence is over.
    pub fn heard(&mut self, now: Now, peer: PeerId) {
        if !self.silent.remove(&peer) {
            return;
        }
        let Some(own) = self.seats.get(&peer) else { return };
        let silent = |(id, who): &&(GroupId, u64)| {
            let member = self.groups.get(*id).and_then(|group| group.members.get(who));
            member.is_some_and(|member| member.suspect || member.stalled)
        };
        let silent: Vec<(GroupId, u64)> = own.values().filter(silent).copied().collect();
        for (id, who) in silent {
            self.revive(now, id, who);
        }
    }

    fn revive(&mut self, now: Now, id: GroupId, who: u64) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(member) = group.members.get_mut(&who) else { return };
        member.stalled = false;
        let (name, suspect) = (member.name.clone(), std::mem::replace(&mut member.suspect, false));
        if suspect {
            group.next_view(Change::Alive, (&name, who), 0, &mut self.news);
            self.watch(now.time, id, who, now.time);
        }
        self.unsettled.insert(id);
    }

    /// Takes the next member that is to be looked at: somebody knows when its peer last spoke.
    pub fn pop_silence(&mut self, now: Now) -> Option<Silence> {
        while let Some((at, (group, who))) = self.silences.pop_due(now.time) {
            let found = self.groups.get_mut(group);
            if let Some(member) = found.and_then(|found| found.members.get_mut(&who))
                && member.armed == Some(at)
            {
                member.armed = None;
                return Some(Silence { group, who, peer: member.peer });
            }
        }
        None
    }

    /// Looks at a member whose peer last spoke at `spoke`.
    pub fn look_at(&mut self, now: Now, one: Silence, spoke: Time) {
        let (id, who) = (one.group, one.who);
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(member) = group.members.get_mut(&who) else { return };
        let suspect = member.suspect;
        if spoke.after(group.charter.suspicion()) > now.time {
            return if suspect {
                self.revive(now, id, who);
            } else {
                self.watch(now.time, id, who, spoke);
            };
        }
        if !suspect {
            member.suspect = true;
            self.silent.insert(member.peer);
            let name = member.name.clone();
            self.counts.suspected += 1;
            group.next_view(Change::Suspect, (&name, who), 0, &mut self.news);
            self.unsettled.insert(id);
        }
        if spoke.after(group.charter.peer_timeout) <= now.time {
            self.leave(now, id, who, Left::Expired);
        } else {
            self.watch(now.time, id, who, spoke);
        }
    }

    /// Does what is due besides; [`Self::settle`] is to follow.
    pub fn tick(&mut self, now: Now) {
        self.tick_leads(now);
        self.tick_polls(now);
    }

    /// Arms the timer of a member that spoke last at `spoke`.
    pub(super) fn watch(&mut self, now: Time, id: GroupId, who: u64, spoke: Time) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let charter = &group.charter;
        let Some(member) = group.members.get_mut(&who) else { return };
        // Who is suspect is looked at often: the others want to know that it lives.
        let at = if member.suspect {
            spoke.after(charter.peer_timeout).min(now.after(charter.heartbeat / 2))
        } else {
            spoke.after(charter.suspicion())
        };
        if member.armed.is_none_or(|armed| armed > at) {
            member.armed = Some(at);
            self.silences.arm(at, (id, who));
        }
        let Self { silences, groups, members, .. } = self;
        if silences.len() > Self::TIMERS_KEPT + 2 * *members {
            silences.sweep(|at, (id, who)| {
                let member = groups.get(id).and_then(|group| group.members.get(&who));
                member.is_some_and(|member| member.armed == Some(at))
            });
        }
    }

    /// When something is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let silences = [self.silences.next(), self.leads.next(), self.ends.next()];
        let rest = [self.keeps.next(), self.gaps.next(), self.eyes.again];
        silences.into_iter().chain(rest).flatten().min()
    }
}
