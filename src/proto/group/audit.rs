//! The invariants of the table of groups.

use std::collections::BTreeSet;

use super::lead::may_lead;
use super::table::{Group, GroupId, Groups};
use crate::id::PeerId;
use crate::proto::router::audit::demand;

impl Groups {
    /// Memory of memberships, polls and results, octets.
    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    /// Checks that the indices say what the groups say, that no epoch and no incarnation stands
    /// twice, and that something ends whatever has to end. To be called when all is settled.
    pub(crate) fn audit(&self, is_peer: impl Fn(PeerId) -> bool) -> Result<(), String> {
        let (known, named) = (self.groups.len(), self.by_name.len());
        demand!(known == named, "{known} groups, {named} names");
        demand!(self.unsettled.is_empty(), "{:?} are not settled", self.unsettled);
        let (mut cost, mut counted) = (self.freed, [0; 4]);
        let (mut epochs, mut seats) = (BTreeSet::new(), BTreeSet::new());
        for (id, group) in &self.groups {
            let name = &group.name;
            demand!(self.by_name.get(name) == Some(&id), "{name} is not found");
            let empty = group.members.is_empty() && group.ballots.is_empty();
            demand!(!empty, "{name} has nobody and nothing");
            cost += group.cost;
            demand!(group.names.len() == group.members.len(), "{name}: names");
            for (who, member) in &group.members {
                cost += member.cost;
                demand!(*who <= self.last, "{name}: {who} is ahead");
                demand!(group.names.get(&member.name) == Some(who), "{name}: {who} has no name");
                let seat = self.seats.get(&member.peer).and_then(|own| own.get(&member.id));
                demand!(seat == Some(&(id, *who)), "{name}: {who} has seat {seat:?}");
                demand!(seats.insert((member.peer, member.id)), "{name}: {who} shares a seat");
                demand!(member.armed.is_some(), "{name}: nobody looks at {who}");
                let silent = member.suspect || member.stalled;
                demand!(!silent || self.silent.contains(&member.peer), "{name}: {who} is deaf");
            }
            self.audit_lead(group, &mut epochs)?;
            cost += self.audit_polls(id, group)?;
            counted[0] += group.members.len();
            counted[1] += usize::from(group.lead.is_some());
            counted[2] += group.ballots.open.len();
            counted[3] += group.ballots.actions.len();
        }
        let owned: usize = self.seats.values().map(std::collections::BTreeMap::len).sum();
        demand!(owned == seats.len(), "{owned} seats, {} members", seats.len());
        let stranger = self.seats.keys().find(|peer| !is_peer(**peer));
        demand!(stranger.is_none(), "{stranger:?} is a member and no peer");
        cost += self.audit_eyes(&is_peer)?;
        let counts = [self.members, self.leading, self.polling, self.acting];
        demand!(counts == counted, "{counts:?} are counted, there are {counted:?}");
        demand!(cost == self.charged, "{cost} octets, and {} charged", self.charged);
        Ok(())
    }

    /// Memory of observations.
    fn audit_eyes(&self, is_peer: impl Fn(PeerId) -> bool) -> Result<usize, String> {
        let eyes = &self.eyes;
        for ((peer, id), eye) in &eyes.eyes {
            let (who, group) = ((*peer, *id), &eye.group);
            let known = eyes.by_group.get(group).is_some_and(|others| others.contains(&who));
            demand!(known, "{group} does not know that {who:?} looks");
            demand!(is_peer(*peer), "{peer:?} looks and is no peer");
            let member = self.seats.get(peer).is_some_and(|own| own.contains_key(id));
            demand!(!member, "{who:?} looks and is a member");
        }
        let named: usize = eyes.by_group.values().map(BTreeSet::len).sum();
        demand!(named == eyes.eyes.len(), "{named} look, there are {}", eyes.eyes.len());
        demand!(eyes.late.is_empty() || eyes.again.is_some(), "nobody tells {:?}", eyes.late);
        Ok(eyes.eyes.values().map(|eye| eye.cost).sum())
    }

    fn audit_lead(&self, group: &Group, epochs: &mut BTreeSet<u64>) -> Result<(), String> {
        let (name, charter) = (&group.name, &group.charter);
        let enough = u64::try_from(group.members.len()).unwrap_or(u64::MAX) >= charter.min_size;
        match &group.lead {
            Some(lead) => {
                demand!(charter.leader && enough, "{name} has a leader");
                demand!(epochs.insert(lead.epoch), "{name}: epoch {} twice", lead.epoch);
                demand!(lead.armed.is_some(), "{name}: nobody ends {}", lead.epoch);
                let led = group.members.get(&lead.member).is_some_and(|member| member.may_lead);
                demand!(led, "{name} is led by {}, who is no member, or may not", lead.member);
            }
            None => {
                let able = charter.leader && enough && group.members.values().any(may_lead);
                demand!(!able, "{name} has no leader and could");
            }
        }
        Ok(())
    }

    /// Memory of the polls of a group.
    fn audit_polls(&self, id: GroupId, group: &Group) -> Result<usize, String> {
        let (name, ballots) = (&group.name, &group.ballots);
        let mut cost = 0;
        for (poll, open) in &ballots.open {
            cost += open.cost;
            demand!(ballots.numbers.get(&open.number) == Some(poll), "{name}: no number");
            let due = self.ends.is_armed(open.until, (id, open.number));
            demand!(due, "{name}: nobody ends {poll:?}");
            let (counts, again) = (open.ballot.counts(), open.ballot.recount());
            demand!(counts == again, "{name}: {counts:?} are counted, there are {again:?}");
            let fixed = group.lead.is_some() && open.ballot.verdict().is_some();
            demand!(!fixed, "{name}: {poll:?} is decided and goes on");
        }
        for (poll, action) in &ballots.actions {
            cost += action.cost;
            demand!(ballots.numbers.get(&action.number) == Some(poll), "{name}: no number");
            let due = self.ends.is_armed(action.until, (id, action.number));
            demand!(due, "{name}: nobody tells of {poll:?}");
            demand!(!action.awaited.is_empty(), "{name}: nobody is awaited");
            let members = action.awaited.iter().all(|who| group.members.contains_key(who));
            demand!(members, "{name}: one is awaited who has left");
        }
        let numbers = ballots.open.len() + ballots.actions.len();
        demand!(ballots.numbers.len() == numbers, "{name}: {numbers} polls");
        demand!(ballots.ages.len() == ballots.kept.len(), "{name}: ages of results");
        demand!(ballots.kept.is_empty() || ballots.armed.is_some(), "{name}: results for ever");
        Ok(cost + ballots.kept.values().map(|kept| kept.cost).sum::<usize>())
    }
}
