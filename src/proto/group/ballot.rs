//! The votes of one poll: who may give one, who has, and what that decides.

use std::collections::{BTreeMap, BTreeSet};

/// What makes a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// More than half of the electorate say yes.
    Majority,
    /// Nobody says no, and all who do not abstain say yes: more than half of the electorate.
    Unanimous,
}

impl Rule {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Majority => "majority",
            Self::Unanimous => "unanimous",
        }
    }

    /// The rule of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Majority, Self::Unanimous].into_iter().find(|rule| rule.as_str() == name)
    }
}

/// One vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vote {
    /// For it.
    Yes,
    /// Against it.
    No,
    /// Neither.
    Abstain,
}

impl Vote {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Abstain => "abstain",
        }
    }

    /// The vote of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Yes, Self::No, Self::Abstain].into_iter().find(|vote| vote.as_str() == name)
    }
}

/// What votes decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is wanted.
    Yes,
    /// It cannot become wanted any more, for what was voted.
    No,
    /// It cannot, for want of electors.
    NoQuorum,
}

/// Why a vote does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoVote {
    /// Who gives it is no elector.
    Stranger,
    /// Another one was given before.
    Changed(Vote),
}

/// How many votes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Counts {
    /// Votes for it.
    pub yes: u64,
    /// Votes against it.
    pub no: u64,
    /// Votes that are neither.
    pub abstain: u64,
    /// Electors that are there and have not voted.
    pub pending: u64,
}

impl Counts {
    fn of(&mut self, vote: Vote) -> &mut u64 {
        match vote {
            Vote::Yes => &mut self.yes,
            Vote::No => &mut self.no,
            Vote::Abstain => &mut self.abstain,
        }
    }
}

/// The votes of one poll. The electorate is a set of incarnations, fixed at the beginning; it may
/// count more than are there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ballot {
    rule: Rule,
    size: u64,
    electors: BTreeMap<u64, Option<Vote>>,
    gone: BTreeSet<u64>,
    /// Of the electors: they are many, and what is decided is asked after each vote.
    counts: Counts,
}

impl Ballot {
    /// No votes yet. The electorate counts `size`, and no fewer than there are electors.
    #[must_use]
    pub fn new(rule: Rule, size: u64, electors: impl IntoIterator<Item = u64>) -> Self {
        let electors: BTreeMap<_, _> = electors.into_iter().map(|who| (who, None)).collect();
        let there = u64::try_from(electors.len()).unwrap_or(u64::MAX);
        let counts = Counts { pending: there, ..Counts::default() };
        Self { rule, size: size.max(there), electors, gone: BTreeSet::new(), counts }
    }

    /// What makes a yes.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// So many votes there could be.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Who may vote.
    pub fn electors(&self) -> impl Iterator<Item = u64> {
        self.electors.keys().copied()
    }

    /// Whether that one may vote.
    #[must_use]
    pub fn is_elector(&self, who: u64) -> bool {
        self.electors.contains_key(&who)
    }

    /// A vote; false: the same was given before, and counts once.
    ///
    /// # Errors
    /// It does not count.
    pub fn vote(&mut self, who: u64, vote: Vote) -> Result<bool, NoVote> {
        match self.electors.get_mut(&who) {
            None => Err(NoVote::Stranger),
            Some(Some(given)) if *given == vote => Ok(false),
            Some(Some(given)) => Err(NoVote::Changed(*given)),
            Some(given) => {
                *given = Some(vote);
                *self.counts.of(vote) += 1;
                self.counts.pending -= u64::from(!self.gone.contains(&who));
                Ok(true)
            }
        }
    }

    /// An elector is no member any more. A vote that it has given stays.
    pub fn leave(&mut self, who: u64) {
        if self.electors.get(&who) == Some(&None) && self.gone.insert(who) {
            self.counts.pending -= 1;
        }
    }

    /// How many votes there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The same, counted anew.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn recount(&self) -> Counts {
        let mut counts = Counts::default();
        for (who, vote) in &self.electors {
            match vote {
                Some(vote) => *counts.of(*vote) += 1,
                None => counts.pending += u64::from(!self.gone.contains(who)),
            }
        }
        counts
    }

    /// More than half of the electorate.
    #[must_use]
    pub fn threshold(&self) -> u64 {
        self.size / 2 + 1
    }

    /// What is decided, as soon as no vote can change it.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        let Counts { yes, no, abstain, pending } = self.counts();
        let (half, there) = (self.threshold(), yes + no + abstain + pending);
        match self.rule {
            Rule::Majority if yes >= half => Some(Verdict::Yes),
            Rule::Majority if yes + pending >= half => None,
            Rule::Majority if there < half => Some(Verdict::NoQuorum),
            Rule::Majority => Some(Verdict::No),
            Rule::Unanimous if no > 0 => Some(Verdict::No),
            Rule::Unanimous if there < self.size => Some(Verdict::NoQuorum),
            Rule::Unanimous if yes + pending < half => Some(Verdict::No),
            Rule::Unanimous if pending > 0 => None,
            Rule::Unanimous => Some(Verdict::Yes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ballot with so many votes of each kind, and so many electors that have left.
    fn ballot(rule: Rule, size: u64, electors: u64, votes: &[Vote], gone: u64) -> Ballot {
        let mut ballot = Ballot::new(rule, size, 0..electors);
        for (who, vote) in (0..).zip(votes) {
            assert_eq!(ballot.vote(who, *vote), Ok(true));
        }
        (electors - gone..electors).for_each(|who| ballot.leave(who));
        ballot
    }

    #[test]
    fn a_poll_is_decided_as_soon_as_no_vote_can_change_it() {
        use Rule::{Majority, Unanimous};
        use Verdict::{No, NoQuorum, Yes};
        const Y: Vote = Vote::Yes;
        const N: Vote = Vote::No;
        const A: Vote = Vote::Abstain;
        type Case = (Rule, u64, u64, &'static [Vote], u64, Option<Verdict>);
        let table: [Case; 20] = [
            (Majority, 3, 3, &[Y], 0, None),
            (Majority, 3, 3, &[Y, Y], 0, Some(Yes)),
            (Majority, 3, 3, &[N, N], 0, Some(No)),
            (Majority, 3, 3, &[N, A], 0, Some(No)),
            (Majority, 4, 4, &[Y, Y], 0, None),
            (Majority, 4, 4, &[Y, Y, N], 1, Some(No)),
            (Majority, 5, 2, &[], 0, Some(NoQuorum)),
            (Majority, 5, 3, &[Y, Y], 0, None),
            (Majority, 5, 3, &[Y, Y], 1, Some(NoQuorum)),
            (Majority, 5, 3, &[Y, Y, Y], 0, Some(Yes)),
            // An elector that has left takes its vote not with it.
            (Majority, 3, 3, &[Y, Y, Y], 3, Some(Yes)),
            (Majority, 1, 1, &[], 1, Some(NoQuorum)),
            (Unanimous, 3, 3, &[Y, Y], 0, None),
            (Unanimous, 3, 3, &[Y, Y, Y], 0, Some(Yes)),
            (Unanimous, 3, 3, &[Y, Y, A], 0, Some(Yes)),
            (Unanimous, 3, 3, &[A, A], 0, Some(No)),
            (Unanimous, 3, 3, &[N], 0, Some(No)),
            (Unanimous, 3, 3, &[Y, Y], 1, Some(NoQuorum)),
            (Unanimous, 4, 3, &[], 0, Some(NoQuorum)),
            (Unanimous, 1, 1, &[Y], 0, Some(Yes)),
        ];
        for (rule, size, electors, votes, gone, verdict) in table {
            let ballot = ballot(rule, size, electors, votes, gone);
            assert_eq!(ballot.verdict(), verdict, "{ballot:?}");
            assert_eq!(ballot.counts(), ballot.recount(), "{ballot:?}");
        }
    }

    #[test]
    fn a_vote_counts_once_and_is_not_changed_and_strangers_have_none() {
        let mut ballot = Ballot::new(Rule::Majority, 0, [1, 2, 3]);
        assert_eq!(ballot.vote(1, Vote::Yes), Ok(true));
        assert_eq!(ballot.vote(1, Vote::Yes), Ok(false));
        assert_eq!(ballot.vote(1, Vote::No), Err(NoVote::Changed(Vote::Yes)));
        assert_eq!(ballot.vote(4, Vote::Yes), Err(NoVote::Stranger));
        assert_eq!(ballot.counts(), Counts { yes: 1, no: 0, abstain: 0, pending: 2 });
        assert_eq!((ballot.size(), ballot.verdict()), (3, None));
    }

    #[test]
    fn an_elector_that_leaves_is_waited_for_no_more_and_what_it_has_voted_stays() {
        let mut ballot = Ballot::new(Rule::Majority, 0, [1, 2, 3]);
        assert_eq!(ballot.vote(1, Vote::No), Ok(true));
        // After its vote, without one, twice, and one that is no elector.
        [1, 2, 2, 4].into_iter().for_each(|who| ballot.leave(who));
        assert_eq!(ballot.counts(), Counts { yes: 0, no: 1, abstain: 0, pending: 1 });
        assert_eq!(ballot.vote(2, Vote::Yes), Ok(true));
        assert_eq!(ballot.counts(), Counts { yes: 1, no: 1, abstain: 0, pending: 1 });
        assert_eq!(ballot.counts(), ballot.recount());
    }
}
