//! What the broker decided, kept beside it, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// What is known of one poll.
#[derive(Debug)]
struct Known {
    rule: Rule,
    electors: BTreeSet<u64>,
    size: u64,
    /// When its run of the broker began, microseconds.
    start: u64,
    /// In which run.
    life: u64,
    votes: BTreeMap<u64, Vote>,
    result: Option<PollResult>,
    /// Of the same poll in runs before.
    past: Vec<PollResult>,
}

/// What was decided, over all runs of the broker.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Counts the groups of this name that there have been one behind another.
    run: u64,
    /// Counts the runs of the broker.
    life: u64,
    /// With fewer members nobody may lead.
    min_size: u64,
    /// Polls go on when the leader changes.
    durable: bool,
    /// Somebody has left, and nothing was decided since then.
    has_lost: bool,
    /// Who leads.
    leader: Option<(u64, u64)>,
    /// Who has which name.
    names: BTreeMap<Arc<str>, u64>,
    last_view: u64,
    last_seq: u64,
    views: BTreeMap<(u64, u64), (Change, u64)>,
    messages: BTreeMap<(u64, u64), u64>,
    present: BTreeSet<u64>,
    suspects: BTreeSet<u64>,
    /// Incarnations there have been, and the newest.
    newest: u64,
    given: u64,
    passed: u64,
    polls: BTreeMap<u64, Known>,
    /// What electors have said first, as it counts.
    said: BTreeMap<(u64, u64), Vote>,
    deeds: BTreeSet<(u64, u64)>,
    /// Epochs that have ended without that their leader could know.
    pub(super) unaware: BTreeSet<u64>,
    /// What must not be empty at the end of all runs.
    pub(super) seen: [u64; Self::SEEN],
}

impl Judge {
    pub(super) const SEEN: usize = 20;

    pub(super) fn new(min_size: u64, durable: bool) -> Self {
        Self { min_size, durable, ..Self::default() }
    }

    pub(super) fn restart(&mut self) {
        self.seen[2] += 1;
        self.unaware.insert(self.given);
        self.over();
        self.life += 1;
    }

    fn over(&mut self) {
        self.run += 1;
        (self.last_view, self.last_seq) = (0, 0);
        self.present.clear();
        self.suspects.clear();
        self.names.clear();
        self.leader = None;
    }

    /// A membership begins; gives the number of its group.
    pub(super) fn begins(&mut self, joined: &Joined) -> u64 {
        // The event of it is still to come.
        if joined.view == 1 && self.last_view != 0 { self.run + 1 } else { self.run }
    }

    pub(super) fn happens(&mut self, event: &Event) -> Result<(), String> {
        let seq = match event {
            Event::View { seq, view, change, member, incarnation, size } => {
                if *view == 1 && self.last_view != 0 {
                    if !self.present.is_empty() {
                        return Err(format!("a new group, and {:?} are there", self.present));
                    }
                    self.over();
                }
                self.sees((*view, *change, *incarnation))?;
                match change {
                    Change::Joined => drop(self.names.insert(member.clone(), *incarnation)),
                    Change::Left(_) => {
                        self.names.remove(member);
                        self.has_lost = true;
                    }
                    Change::Suspect | Change::Alive => {}
                }
                if usize::try_from(*size) != Ok(self.present.len()) {
                    return Err(format!("{size} members are told, {:?} are there", self.present));
                }
                *seq
            }
            Event::Elected { seq, incarnation, epoch, .. } => {
                if *epoch <= self.given || !self.present.contains(incarnation) {
                    return Err(format!("epoch {epoch} of {incarnation} behind {}", self.given));
                }
                if self.leader.is_some() || (self.present.len() as u64) < self.min_size {
                    return Err(format!("{epoch} of {:?}, {:?} leads", self.present, self.leader));
                }
                self.given = *epoch;
                self.leader = Some((*incarnation, *epoch));
                *seq
            }
            Event::Exited { seq, epoch, why, .. } => {
                self.leader = None;
                let knows = matches!(why, Exit::Silent | Exit::Resigned | Exit::Left(Left::Said));
                if !knows {
                    self.unaware.insert(*epoch);
                }
                *seq
            }
            Event::Result { seq, result } => {
                self.results(result)?;
                *seq
            }
            Event::Outcomes { seq, outcomes, .. } => {
                self.seen[8] += u64::try_from(outcomes.len()).unwrap();
                *seq
            }
        };
        if seq <= self.last_seq {
            return Err(format!("place {seq} behind {}", self.last_seq));
        }
        self.last_seq = seq;
        Ok(())
    }

    /// What could be decided is.
    pub(super) fn settled(&mut self) {
        self.has_lost = false;
    }

    fn sees(&mut self, (view, change, who): (u64, Change, u64)) -> Result<(), String> {
        let next = view == self.last_view + 1;
        let sound = match change {
            Change::Joined => {
                let fresh = who > self.newest;
                self.newest = self.newest.max(who);
                fresh && self.present.insert(who)
            }
            Change::Suspect => {
                self.seen[3] += 1;
                self.present.contains(&who) && self.suspects.insert(who)
            }
            Change::Alive => {
                self.seen[4] += 1;
                self.suspects.remove(&who)
            }
            Change::Left(why) => {
                let suspect = self.suspects.remove(&who);
                self.present.remove(&who) && (suspect || why != Left::Expired)
            }
        };
        if !next || !sound {
            return Err(format!("view {view} {change:?} of {who} behind {}", self.last_view));
        }
        self.last_view = view;
        self.views.insert((self.run, view), (change, who));
        Ok(())
    }

    /// A message is taken: with an epoch, it is that of who leads, and none older passes later.
    pub(super) fn takes(
        &mut self,
        taken: &Taken,
        epoch: Option<u64>,
        to: To<'_>,
    ) -> Result<(), String> {
        if let Some(epoch) = epoch {
            let (leader, passed) = (self.leader, self.passed);
            if leader != Some((taken.incarnation, epoch)) || epoch < passed {
                return Err(format!("{epoch} passes, {leader:?} leads, {passed} has passed"));
            }
            self.passed = epoch;
        }
        let wanted = match to {
            To::All => Some(self.present.clone()),
            To::Leader => self.leader.map(|(who, _)| BTreeSet::from([who])),
            To::Member(name, _) => self.names.get(name).map(|who| BTreeSet::from([*who])),
        };
        let meant: BTreeSet<_> = taken.recipients.iter().map(|it| it.who).collect();
        if wanted.as_ref() != Some(&meant) || meant.len() != taken.recipients.len() {
            return Err(format!("{to:?} is {meant:?}, and should be {wanted:?}"));
        }
        match to {
            To::All => {}
            To::Leader => self.seen[15] += 1,
            To::Member(..) => self.seen[16] += 1,
        }
        if taken.seq <= self.last_seq || !self.present.contains(&taken.incarnation) {
            return Err(format!("{taken:?} behind {}", self.last_seq));
        }
        self.last_seq = taken.seq;
        self.messages.insert((self.run, taken.seq), taken.incarnation);
        Ok(())
    }

    pub(super) fn opens(
        &mut self,
        poll: u64,
        rule: Rule,
        electors: BTreeSet<u64>,
        (size, start): (u64, u64),
    ) -> Result<(), String> {
        if !electors.is_subset(&self.present) {
            return Err(format!("{electors:?} vote, {:?} are there", self.present));
        }
        // A result is kept for longer than a run lasts: only a restart forgets it.
        let (life, votes, mut past) = (self.life, BTreeMap::new(), Vec::new());
        if let Some(before) = self.polls.remove(&poll) {
            if before.life == life {
                return Err(format!("{poll} is opened twice: {before:?}"));
            }
            past = before.past;
            past.extend(before.result);
        }
        let result = None;
        let known = Known { rule, electors, size, start, life, votes, result, past };
        self.polls.insert(poll, known);
        self.last_seq += 1;
        Ok(())
    }

    pub(super) fn votes(&mut self, poll: u64, who: u64, given: Given) -> Result<(), String> {
        let known = self.polls.get_mut(&poll).ok_or("a vote in no poll")?;
        let before = known.votes.insert(who, given.vote);
        let said = self.said.get(&(who, poll)) == Some(&given.vote);
        let same = said && before.is_none_or(|before| before == given.vote);
        if !known.electors.contains(&who) || !same || given.repeat != before.is_some() {
            return Err(format!("{who} votes {given:?} in {known:?}"));
        }
        if known.result.is_some() {
            return Err(format!("{who} votes in {known:?}, which has ended"));
        }
        Ok(())
    }

    /// An elector says how it votes, as that counts. What it says first holds.
    pub(super) fn says(&mut self, who: u64, poll: u64, vote: Vote) {
        self.said.entry((who, poll)).or_insert(vote);
    }

    fn results(&mut self, result: &PollResult) -> Result<(), String> {
        let poll = number_of(&result.poll);
        let known = self.polls.get_mut(&poll).ok_or("the result of no poll")?;
        let count = |vote| known.votes.values().filter(|it| **it == vote).count() as u64;
        let (yes, no, abstain) = (count(Vote::Yes), count(Vote::No), count(Vote::Abstain));
        let told = result.counts;
        if (told.yes, told.no, told.abstain, result.electorate) != (yes, no, abstain, known.size) {
            return Err(format!("{result:?} of {known:?}"));
        }
        let waits = |who: &&u64| self.present.contains(who) && !known.votes.contains_key(who);
        let pending = known.electors.iter().filter(waits).count() as u64;
        let decided = decided(known.rule, known.size, [yes, no, abstain, pending]);
        let sound = match (result.status, result.reason) {
            (Status::Yes | Status::No | Status::NoQuorum, None) => decided == Some(result.status),
            (Status::Timeout, Some("too_late")) => {
                decided == Some(Status::Yes) && result.when.is_some()
            }
            (Status::Timeout, None) => decided.is_none() || self.leader.is_none() || self.has_lost,
            (Status::Aborted, Some("leader_changed")) => !self.durable,
            _ => false,
        };
        let number = Status::ALL.iter().position(|status| *status == result.status);
        self.seen[9 + number.unwrap_or(0)] += 1;
        if !sound || known.life != self.life || result.epoch > self.given {
            return Err(format!("{result:?} of {known:?}: {decided:?}, {pending} may vote"));
        }
        match known.result.replace(result.clone()) {
            None => Ok(()),
            Some(before) => Err(format!("{result:?} behind {before:?}")),
        }
    }

    /// What a node is told of a view is what has happened.
    pub(super) fn is_view(&self, run: u64, view: u64, what: (Change, u64)) -> Result<(), String> {
        match self.views.get(&(run, view)) {
            Some(known) if *known == what => Ok(()),
            known => Err(format!("view {view} of {run} is told as {what:?}, it is {known:?}")),
        }
    }

    pub(super) fn is_message(&self, run: u64, seq: u64, from: u64) -> Result<(), String> {
        match self.messages.get(&(run, seq)) {
            Some(known) if *known == from => Ok(()),
            known => Err(format!("{from} is told to have said {seq}, and it was {known:?}")),
        }
    }

    pub(super) fn is_result(&self, result: &PollResult) -> Result<(), String> {
        let known = self.polls.get(&number_of(&result.poll));
        // One from before a restart may be under way.
        let is = |known: &&Known| known.result.iter().chain(&known.past).any(|it| it == result);
        match known.filter(is) {
            Some(_) => Ok(()),
            None => Err(format!("{result:?} is told, it is {known:?}")),
        }
    }

    /// A node does something at that moment, microseconds.
    pub(super) fn does(&mut self, who: u64, poll: u64, at: u64) -> Result<(), String> {
        let known = self.polls.get(&poll);
        let result = known.and_then(|known| known.result.as_ref());
        let wanted = result.filter(|result| result.status == Status::Yes);
        let when = wanted.and_then(|result| Some(result.when? + known?.start));
        let said = self.said.get(&(who, poll));
        let may = known.is_some_and(|known| known.electors.contains(&who));
        let early = when.is_none_or(|when| at < when);
        if early || !may || said != Some(&Vote::Yes) || !self.deeds.insert((who, poll)) {
            return Err(format!("{who} does {poll} at {at}, has said {said:?}: {known:?}"));
        }
        self.seen[5] += 1;
        Ok(())
    }

    pub(super) fn missed(&mut self) {
        self.seen[6] += 1;
    }
}

/// What so many votes decide: those for it, against it, neither, and those that may still come.
fn decided(rule: Rule, size: u64, [yes, no, abstain, pending]: [u64; 4]) -> Option<Status> {
    let there = yes + no + abstain + pending;
    let (is_yes, may_be, enough) = match rule {
        Rule::Majority => (2 * yes > size, 2 * (yes + pending) > size, 2 * there > size),
        Rule::Unanimous => {
            let all = yes + abstain == size;
            let may_be = no == 0 && there == size && 2 * (yes + pending) > size;
            (2 * yes > size && all, may_be, no > 0 || there == size)
        }
    };
    match (is_yes, may_be, enough) {
        (true, ..) => Some(Status::Yes),
        (_, true, _) => None,
        (_, _, true) => Some(Status::No),
        (_, _, false) => Some(Status::NoQuorum),
    }
}
