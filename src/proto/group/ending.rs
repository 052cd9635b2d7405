//! How polls end: decided, by time, by a change of leader; and what became of actions.

use std::sync::Arc;
use std::time::Duration;

use super::Now;
use super::ballot::Verdict;
use super::news::{Event, PollResult, Status};
use super::poll::{Action, Kept, kept_cost, micros};
use super::table::{GroupId, Groups};
use crate::proto::clock::Time;

impl Groups {
    /// The leader has changed: open polls end.
    pub(super) fn abort_polls(&mut self, now: Now, id: GroupId) {
        let Some(group) = self.groups.get(id) else { return };
        let open: Vec<_> = group.ballots.open.keys().cloned().collect();
        for poll in open {
            self.close(now, id, &poll, Status::Aborted, Some("leader_changed"));
        }
    }

    /// Ends the polls whose outcome is fixed, and tells of actions of which all is known.
    pub(super) fn decide(&mut self, now: Now, id: GroupId) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let epoch = group.leader(now.time).map(|lead| lead.epoch);
        let mut fixed = Vec::new();
        // Only under a leader is anything decided; it is that one's decision then.
        if let Some(epoch) = epoch {
            for (poll, open) in &mut group.ballots.open {
                open.epoch = epoch;
                fixed.extend(open.ballot.verdict().map(|verdict| (poll.clone(), verdict)));
            }
        }
        for (poll, verdict) in fixed {
            let status = match verdict {
                Verdict::Yes => Status::Yes,
                Verdict::No => Status::No,
                Verdict::NoQuorum => Status::NoQuorum,
            };
            self.close(now, id, &poll, status, None);
        }
        let Some(group) = self.groups.get(id) else { return };
        let known = group.ballots.actions.iter().filter(|(_, action)| action.awaited.is_empty());
        let known: Vec<_> = known.map(|(poll, _)| poll.clone()).collect();
        for poll in known {
            self.finish_action(id, &poll);
        }
    }

    fn close(
        &mut self,
        now: Now,
        id: GroupId,
        poll: &[u8],
        status: Status,
        reason: Option<&'static str>,
    ) {
        let limits = self.limits;
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some((poll, open)) = group.ballots.open.remove_entry(poll) else { return };
        self.polling -= 1;
        let latest = open.when.map(|when| when.saturating_sub(micros(limits.action_margin)));
        let late = status == Status::Yes && latest.is_some_and(|latest| now.clock > latest);
        let (status, reason) =
            if late { (Status::Timeout, Some("too_late")) } else { (status, reason) };
        if let Some(count) = self.counts.polls.get_mut(status as usize) {
            *count += 1;
        }
        let (counts, electorate) = (open.ballot.counts(), open.ballot.size());
        let (rule, epoch, when) = (open.ballot.rule(), open.epoch, open.when);
        let seq = group.next_seq();
        let result = PollResult {
            poll: poll.clone(),
            rule,
            when,
            epoch,
            status,
            reason,
            counts,
            electorate,
        };
        let event = Event::Result { seq, result };
        group.tell(event.clone(), &mut self.news);
        let kept = kept_cost(&poll).min(open.cost);
        let until = now.time.after(limits.result_ttl);
        let (opener, digest) = (open.opener, open.digest);
        group.ballots.ages.insert((until, poll.clone()));
        let event = Arc::new(event);
        group.ballots.kept.insert(poll.clone(), Kept { event, opener, digest, cost: kept });
        let rest = open.cost - kept;
        match when {
            Some(when) if status == Status::Yes => {
                let present = open.names.keys().filter(|who| group.members.contains_key(who));
                let awaited = present.copied().collect();
                let outcomes = open.names.into_iter().map(|(who, name)| (who, (name, None)));
                let (number, outcomes) = (open.number, outcomes.collect());
                let wait = Duration::from_micros(when.saturating_sub(now.clock));
                let until = now.time.after(wait + limits.outcome_wait);
                let action = Action { number, when, outcomes, until, awaited, cost: rest };
                group.ballots.actions.insert(poll, action);
                self.acting += 1;
                self.arm_end(until, (id, number));
                self.unsettled.insert(id);
            }
            _ => {
                group.ballots.numbers.remove(&open.number);
                self.freed += rest;
            }
        }
        self.forget_results(id, |_, kept| kept > limits.results_max);
        self.arm_keep(id);
    }

    /// All is known of an action, or no more is waited for.
    fn finish_action(&mut self, id: GroupId, poll: &[u8]) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some((poll, action)) = group.ballots.actions.remove_entry(poll) else { return };
        group.ballots.numbers.remove(&action.number);
        self.acting -= 1;
        self.freed += action.cost;
        let outcomes = action.outcomes.into_iter().map(|(who, (name, feat))| (name, who, feat));
        let (seq, outcomes) = (group.next_seq(), outcomes.collect());
        let event = Event::Outcomes { seq, poll, when: action.when, outcomes };
        group.tell(event, &mut self.news);
    }

    /// Forgets the oldest results as long as `is_over` says so of their end and of how many there
    /// are.
    fn forget_results(&mut self, id: GroupId, is_over: impl Fn(Time, usize) -> bool) {
        let Some(group) = self.groups.get_mut(id) else { return };
        while let Some((until, _)) = group.ballots.ages.first()
            && is_over(*until, group.ballots.kept.len())
        {
            let Some((_, poll)) = group.ballots.ages.pop_first() else { break };
            if let Some(kept) = group.ballots.kept.remove(&poll) {
                self.freed += kept.cost;
            }
        }
    }

    /// Ends the polls and the actions whose time is over, and forgets old results.
    pub(super) fn tick_polls(&mut self, now: Now) {
        while let Some((_, (id, number))) = self.ends.pop_due(now.time) {
            let Some(group) = self.groups.get(id) else { continue };
            let Some(poll) = group.ballots.numbers.get(&number).cloned() else { continue };
            let open = group.ballots.open.get(&poll).map(|open| open.until);
            // Of an action there is the timer of its poll, too, which comes before it.
            let action = group.ballots.actions.get(&poll).map(|action| action.until);
            if open.is_some_and(|until| until <= now.time) {
                self.close(now, id, &poll, Status::Timeout, None);
            } else if action.is_some_and(|until| until <= now.time) {
                self.finish_action(id, &poll);
            }
            self.unsettled.insert(id);
        }
        while let Some((at, id)) = self.keeps.pop_due(now.time) {
            let Some(group) = self.groups.get_mut(id) else { continue };
            if group.ballots.armed != Some(at) {
                continue;
            }
            group.ballots.armed = None;
            self.forget_results(id, |until, _| until <= now.time);
            self.arm_keep(id);
            self.unsettled.insert(id);
        }
    }

    pub(super) fn arm_end(&mut self, at: Time, who: (GroupId, u64)) {
        self.ends.arm(at, who);
        let Self { ends, groups, polling, acting, .. } = self;
        if ends.len() > Self::TIMERS_KEPT + 4 * (*polling + *acting) {
            ends.sweep(|_, (id, number)| {
                groups.get(id).is_some_and(|group| group.ballots.numbers.contains_key(&number))
            });
        }
    }

    /// Arms the timer of the results that a group keeps.
    fn arm_keep(&mut self, id: GroupId) {
        let Some(ballots) = self.groups.get_mut(id).map(|group| &mut group.ballots) else { return };
        let first = ballots.ages.first().map(|(until, _)| *until);
        if let Some(first) = first
            && ballots.armed.is_none_or(|armed| armed > first)
        {
            ballots.armed = Some(first);
            self.keeps.arm(first, id);
        }
    }
}
