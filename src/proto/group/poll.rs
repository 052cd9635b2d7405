//! Polls: opened, voted in, decided, kept for who asks again; and what became of actions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ballot::{Ballot, Counts, NoVote, Rule, Vote};
use super::news::{Event, Feat};
use super::order::Recipient;
use super::table::{GroupId, Groups, Refused, count};
use super::{Electorate, Now};
use crate::id::{PeerId, Principal};
use crate::proto::clock::Time;

/// A poll that somebody wants to open.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What it is called, 1 to 128 octets.
    pub poll: &'a [u8],
    /// What makes a yes.
    pub rule: Rule,
    /// It ends after this. `None`: as the group has it.
    pub timeout: Option<Duration>,
    /// It is about an action at that moment.
    pub when: Option<u64>,
    /// How wrong the clock of who acts may be.
    pub error: Option<u64>,
    /// Of what is asked: two with the same are the same.
    pub digest: [u8; 32],
    /// Who opens it leads, by this epoch.
    pub epoch: Option<u64>,
}

/// What there is to be done for a poll that may be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It is new, and takes so much memory, octets.
    New(usize),
    /// It is open.
    Open(Opened),
    /// It has ended.
    Ended(Arc<Event>),
}

/// A poll that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Who leads.
    pub epoch: u64,
    /// Time that is left.
    pub timeout: Duration,
    /// So many votes there could be.
    pub electorate: u64,
}

/// A poll that has just been opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// As who opened is told.
    pub opened: Opened,
    /// Its place in the order.
    pub seq: u64,
    /// Who has opened it.
    pub member: Arc<str>,
    /// Which one of that name.
    pub incarnation: u64,
    /// Who is told, and whether it may vote.
    pub recipients: Vec<(Recipient, bool)>,
}

/// A vote that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// As it counts.
    pub vote: Vote,
    /// It was given before.
    pub repeat: bool,
}

/// The polls of one group.
#[derive(Debug, Default)]
pub(super) struct Ballots {
    pub(super) open: BTreeMap<Arc<[u8]>, Open>,
    pub(super) actions: BTreeMap<Arc<[u8]>, Action>,
    pub(super) kept: BTreeMap<Arc<[u8]>, Kept>,
    /// The numbers of those that are open or awaited.
    pub(super) numbers: BTreeMap<u64, Arc<[u8]>>,
    /// When kept ones are forgotten.
    pub(super) ages: BTreeSet<(Time, Arc<[u8]>)>,
    pub(super) armed: Option<Time>,
}

impl Ballots {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.actions.is_empty() && self.kept.is_empty()
    }
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) ballot: Ballot,
    /// Of the electors, for what is told when they have left.
    pub(super) names: BTreeMap<u64, Arc<str>>,
    pub(super) number: u64,
    pub(super) opener: Principal,
    pub(super) digest: [u8; 32],
    pub(super) when: Option<u64>,
    pub(super) error: Option<u64>,
    pub(super) epoch: u64,
    pub(super) until: Time,
    pub(super) cost: usize,
}

#[derive(Debug)]
pub(super) struct Action {
    pub(super) number: u64,
    pub(super) when: u64,
    pub(super) outcomes: BTreeMap<u64, (Arc<str>, Option<Feat>)>,
    /// Then it is told, whoever has not said anything.
    pub(super) until: Time,
    /// Electors that may still say something.
    pub(super) awaited: BTreeSet<u64>,
    pub(super) cost: usize,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) event: Arc<Event>,
    pub(super) opener: Principal,
    pub(super) digest: [u8; 32],
    pub(super) cost: usize,
}

/// Memory of a result that is kept, octets.
pub(super) fn kept_cost(poll: &[u8]) -> usize {
    2 * size_of::<(Kept, Event, [u64; 8])>() + 2 * poll.len()
}

impl Groups {
    /// Whether a poll may be opened, or was opened before.
    ///
    /// # Errors
    /// It may not.
    pub fn check_open(
        &mut self,
        now: Now,
        seat: (PeerId, u64),
        one: &Question<'_>,
    ) -> Result<Asked, Refused> {
        /// Of an elector: its vote, its name, its outcome, and nodes that are half full.
        const ELECTOR: usize = 2 * size_of::<([u64; 8], Arc<str>, Option<Feat>)>();
        let (id, who) = self.place(seat.0, seat.1)?;
        self.check_epoch(now, id, who, one.epoch)?;
        let limits = self.limits;
        let Some(group) = self.groups.get(id) else { return Err(Refused::NotMember) };
        if !group.charter.leader {
            return Err(Refused::NotCoordinated);
        }
        // Not by its name: one that was found for it is another one on the next connection.
        let asker = group.members.get(&who).map(|member| &member.principal);
        let same =
            |opener: &Principal, digest: &[u8; 32]| Some(opener) == asker && *digest == one.digest;
        if let Some(open) = group.ballots.open.get(one.poll) {
            let same = same(&open.opener, &open.digest);
            return if same { Ok(Asked::Open(open.told(now))) } else { Err(Refused::Conflict) };
        }
        if let Some(kept) = group.ballots.kept.get(one.poll) {
            let same = same(&kept.opener, &kept.digest);
            return if same {
                Ok(Asked::Ended(kept.event.clone()))
            } else {
                Err(Refused::Conflict)
            };
        }
        if group.ballots.actions.contains_key(one.poll) {
            return Err(Refused::Conflict);
        }
        if group.leader(now.time).is_none() {
            return Err(Refused::NoLeader);
        }
        if group.ballots.open.len() + group.ballots.actions.len() >= limits.polls_max {
            return Err(Refused::TooMany("group.polls"));
        }
        let timeout = one.timeout.unwrap_or(group.charter.consensus_timeout);
        let earliest = now.clock.saturating_add(micros(timeout + limits.action_margin));
        if one.when.is_some_and(|when| when <= earliest) {
            return Err(Refused::TooLate(earliest));
        }
        let names: usize = group.names.keys().map(|name| name.len()).sum();
        let electors = ELECTOR * group.members.len() + names;
        Ok(Asked::New(kept_cost(one.poll) + 2 * size_of::<(Open, [u64; 8])>() + electors))
    }

    /// Opens a poll; [`Self::check_open`] has allowed it, and `cost` was charged.
    pub fn open(
        &mut self,
        now: Now,
        seat: (PeerId, u64),
        one: &Question<'_>,
        cost: usize,
    ) -> Option<Opening> {
        let (id, who) = self.place(seat.0, seat.1).ok()?;
        let group = self.groups.get_mut(id)?;
        let epoch = group.leader(now.time)?.epoch;
        let asker = group.members.get(&who)?;
        let (member, opener) = (asker.name.clone(), asker.principal);
        let timeout = one.timeout.unwrap_or(group.charter.consensus_timeout);
        let (size, voters) = match &group.charter.electorate {
            Electorate::Present => (0, None),
            Electorate::Expected(size) => (*size, None),
            Electorate::Voters(names) => (count(names.len()), Some(names)),
        };
        let votes = |name: &str| voters.is_none_or(|names| names.contains(name));
        let electors = group.members.iter().filter(|(_, member)| votes(&member.name));
        let names: BTreeMap<u64, Arc<str>> =
            electors.map(|(who, member)| (*who, member.name.clone())).collect();
        let ballot = Ballot::new(one.rule, size, names.keys().copied());
        let recipients = group.members.iter().map(|(who, member)| {
            let to = Recipient { group: id, who: *who, peer: member.peer, id: member.id };
            (to, ballot.is_elector(*who))
        });
        let recipients = recipients.collect();
        let seq = group.next_seq();
        self.numbers += 1;
        self.charged += cost;
        self.polling += 1;
        let open = Open {
            ballot,
            names,
            number: self.numbers,
            opener,
            digest: one.digest,
            when: one.when,
            error: one.error,
            epoch,
            until: now.time.after(timeout),
            cost,
        };
        let opened = open.told(now);
        let (until, poll): (_, Arc<[u8]>) = (open.until, one.poll.into());
        group.ballots.numbers.insert(open.number, poll.clone());
        group.ballots.open.insert(poll, open);
        self.arm_end(until, (id, self.numbers));
        self.unsettled.insert(id);
        Some(Opening { opened, seq, member, incarnation: who, recipients })
    }

    /// A vote. With `error` its voter says how wrong its clock may be.
    ///
    /// # Errors
    /// It does not count.
    pub fn vote(
        &mut self,
        seat: (PeerId, u64),
        poll: &[u8],
        vote: Vote,
        error: Option<u64>,
    ) -> Result<Given, Refused> {
        let (id, who) = self.place(seat.0, seat.1)?;
        let Some(group) = self.groups.get_mut(id) else { return Err(Refused::NotMember) };
        if !group.charter.leader {
            return Err(Refused::NotCoordinated);
        }
        let Some(open) = group.ballots.open.get_mut(poll) else {
            let known = group.ballots.kept.contains_key(poll);
            return Err(if known { Refused::Over } else { Refused::NoPoll });
        };
        // Who does not know well enough when it would be cannot say yes to it.
        let exact = open.error.is_none_or(|max| error.is_some_and(|error| error <= max));
        let vote = if vote == Vote::Yes && !exact { Vote::No } else { vote };
        let counted = open.ballot.vote(who, vote).map_err(|no| match no {
            NoVote::Stranger => Refused::NotMember,
            NoVote::Changed(_) => Refused::Changed,
        })?;
        // Whoever says the same again decides nothing.
        if counted {
            self.unsettled.insert(id);
        }
        Ok(Given { vote, repeat: !counted })
    }

    /// How a poll has ended, or that it is open.
    ///
    /// # Errors
    /// Nothing is known of it.
    pub fn result(
        &self,
        now: Now,
        seat: (PeerId, u64),
        poll: &[u8],
    ) -> Result<Result<Arc<Event>, (Opened, Counts)>, Refused> {
        let (id, _) = self.place(seat.0, seat.1)?;
        let Some(group) = self.groups.get(id) else { return Err(Refused::NotMember) };
        if let Some(kept) = group.ballots.kept.get(poll) {
            return Ok(Ok(kept.event.clone()));
        }
        let open = group.ballots.open.get(poll).ok_or(Refused::NoPoll)?;
        Ok(Err((open.told(now), open.ballot.counts())))
    }

    /// An elector says what became of an action.
    ///
    /// # Errors
    /// It was not wanted, or another outcome was given.
    pub fn outcome(&mut self, seat: (PeerId, u64), poll: &[u8], feat: Feat) -> Result<(), Refused> {
        let (id, who) = self.place(seat.0, seat.1)?;
        let Some(group) = self.groups.get_mut(id) else { return Err(Refused::NotMember) };
        let Some(action) = group.ballots.actions.get_mut(poll) else {
            let known =
                group.ballots.open.contains_key(poll) || group.ballots.kept.contains_key(poll);
            return Err(if known { Refused::Over } else { Refused::NoPoll });
        };
        match action.outcomes.get_mut(&who) {
            None => return Err(Refused::NotMember),
            Some((_, Some(given))) if *given != feat => return Err(Refused::Changed),
            Some((_, given)) => *given = Some(feat),
        }
        action.awaited.remove(&who);
        self.unsettled.insert(id);
        Ok(())
    }

    /// An elector is no member any more.
    pub(super) fn lose_elector(&mut self, id: GroupId, who: u64) {
        let Some(group) = self.groups.get_mut(id) else { return };
        for open in group.ballots.open.values_mut() {
            open.ballot.leave(who);
        }
        for action in group.ballots.actions.values_mut() {
            action.awaited.remove(&who);
        }
    }
}

impl Open {
    fn told(&self, now: Now) -> Opened {
        let (epoch, electorate) = (self.epoch, self.ballot.size());
        Opened { epoch, timeout: self.until.since(now.time), electorate }
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Charter, GroupLimits, Joining};
    use super::*;

    #[test]
    fn a_vote_that_is_repeated_leaves_nothing_to_be_settled() {
        let mut groups = Groups::new(GroupLimits::default());
        let (now, peer) = (Now::default(), PeerId::default());
        let charter = Charter { leader: true, ..Charter::default() };
        let principal = Principal::default();
        for id in 1..=3 {
            let (group, member, own, may_lead) = ("g", None, true, true);
            let charter = &charter;
            let principal = &principal;
            let one = Joining { peer, id, principal, group, member, charter, own, may_lead };
            assert!(groups.check_join(&one).is_ok());
            groups.join(now, &one);
        }
        let settle = |groups: &mut Groups| {
            groups.settle(now, || 1);
            while groups.pop_news().is_some() || groups.pop_event().is_some() {}
            while groups.pop_ward().is_some() {}
            groups.take_freed();
        };
        settle(&mut groups);
        let (rule, digest) = (Rule::Majority, [0; 32]);
        let (timeout, when, error, epoch) = (None, None, None, None);
        let one = Question { poll: b"p", rule, timeout, when, error, digest, epoch };
        assert!(groups.open(now, (peer, 1), &one, kept_cost(b"p")).is_some());
        settle(&mut groups);
        for repeat in [false, true] {
            let given = groups.vote((peer, 1), b"p", Vote::Yes, None);
            assert_eq!(given, Ok(Given { vote: Vote::Yes, repeat }));
            assert_eq!(groups.is_quiet(), repeat);
            settle(&mut groups);
        }
        groups.audit(|_| true).unwrap();
    }
}
