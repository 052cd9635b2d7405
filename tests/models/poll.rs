//! The model: what members, the network and the broker may do, with the ballot of the library.

use std::collections::{BTreeMap, BTreeSet};

use majordomo::proto::group::{Ballot, Rule, Verdict, Vote};
use stateright::{Model, Property};

/// Members; a poll is opened when all are there.
const MEMBERS: u64 = 3;
/// An incarnation is the member and how often it has come again.
const AGAIN: u64 = 10;

/// What is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope {
    /// The rule of the poll.
    pub(crate) unanimous: bool,
    /// A broker that counts whatever comes, and not by whom.
    pub(crate) twice: bool,
}

/// How the poll ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// By votes.
    Decided(Verdict),
    /// By time.
    Timeout,
    /// By a change of leader.
    Aborted,
}

/// All there is at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    ballot: Ballot,
    /// Votes that came, as a broker counts that does not look by whom.
    came: [u64; 3],
    /// Which incarnation of each member is there.
    present: Vec<u64>,
    /// Votes under way. None is taken out: a network doubles, and loses what it never delivers.
    net: BTreeSet<(u64, Vote)>,
    /// The vote of each incarnation that came first, kept beside the ballot.
    first: BTreeMap<u64, Vote>,
    ends: Vec<End>,
}

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A member sends a vote, also one that it has not sent before.
    Send(u64, Vote),
    /// One that is under way comes.
    Deliver(u64, Vote),
    /// A member is lost, and comes again as another incarnation.
    Crash(usize),
    /// The time is over.
    Timeout,
    /// Another one leads.
    LeaderChanges,
}

const VOTES: [Vote; 3] = [Vote::Yes, Vote::No, Vote::Abstain];

impl Scope {
    fn rule(self) -> Rule {
        if self.unanimous { Rule::Unanimous } else { Rule::Majority }
    }

    /// What the broker goes by.
    fn verdict(self, world: &World) -> Option<Verdict> {
        if !self.twice {
            return world.ballot.verdict();
        }
        let [yes, no, _] = world.came;
        let half = world.ballot.threshold();
        match (yes >= half, no >= half) {
            (true, _) => Some(Verdict::Yes),
            (_, true) => Some(Verdict::No),
            _ => None,
        }
    }
}

impl Model for Scope {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            ballot: Ballot::new(self.rule(), MEMBERS, 0..MEMBERS),
            came: [0; 3],
            present: (0..MEMBERS).collect(),
            net: BTreeSet::new(),
            first: BTreeMap::new(),
            ends: Vec::new(),
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        // Behind the end nothing counts: the ballot is not there any more.
        if !world.ends.is_empty() {
            return;
        }
        let crashes = world.present.iter().filter(|who| **who >= AGAIN).count();
        for (index, who) in world.present.iter().enumerate() {
            let sent = world.net.iter().filter(|(from, _)| from == who).count();
            if *who < AGAIN && sent < 2 {
                steps.extend(VOTES.iter().map(|vote| Step::Send(*who, *vote)));
            } else if *who >= AGAIN && sent == 0 {
                steps.push(Step::Send(*who, Vote::Yes));
            }
            if *who < AGAIN && crashes < 2 {
                steps.push(Step::Crash(index));
            }
        }
        steps.extend(world.net.iter().map(|(who, vote)| Step::Deliver(*who, *vote)));
        steps.extend([Step::Timeout, Step::LeaderChanges]);
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Send(who, vote) => {
                world.net.insert((who, vote));
            }
            Step::Crash(index) => {
                let who = world.present.get_mut(index)?;
                world.ballot.leave(*who);
                *who += AGAIN;
            }
            // A vote of a connection that has ended does not come.
            Step::Deliver(who, vote) => {
                if !world.present.contains(&who) {
                    return None;
                }
                let counted = world.ballot.vote(who, vote) == Ok(true);
                if counted {
                    world.first.insert(who, vote);
                }
                let came = world.came.get_mut(vote as usize)?;
                *came = (*came + 1).min(MEMBERS);
            }
            Step::Timeout => world.ends.push(End::Timeout),
            Step::LeaderChanges => world.ends.push(End::Aborted),
        }
        if world.ends.is_empty() {
            world.ends.extend(self.verdict(&world).map(End::Decided));
        }
        if !self.twice {
            world.came = [0; 3];
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one result", |_, world: &World| world.ends.len() <= 1),
            Property::always("yes is the will of more than half", |scope: &Self, world: &World| {
                let count = |vote| world.first.values().filter(|it| **it == vote).count();
                let (yes, no, abstain) = (count(Vote::Yes), count(Vote::No), count(Vote::Abstain));
                let all = usize::try_from(MEMBERS).unwrap_or(usize::MAX);
                let wanted = 2 * yes > all && (!scope.unanimous || no == 0 && yes + abstain == all);
                wanted || !world.ends.contains(&End::Decided(Verdict::Yes))
            }),
            Property::always("only electors count, once each", |scope: &Self, world: &World| {
                let counts = world.ballot.counts();
                let first = u64::try_from(world.first.len()).unwrap_or(u64::MAX);
                let electors = world.first.keys().all(|who| *who < MEMBERS);
                scope.twice || electors && counts.yes + counts.no + counts.abstain == first
            }),
            Property::always(
                "no result can still be another one",
                |scope: &Self, world: &World| {
                    // Whatever those say who have not: a "no" stays one.
                    let counts = world.ballot.counts();
                    let refused = world
                        .ends
                        .iter()
                        .any(|end| matches!(end, End::Decided(Verdict::No | Verdict::NoQuorum)));
                    let can = 2 * (counts.yes + counts.pending) > MEMBERS;
                    let can = can && (!scope.unanimous || counts.no == 0);
                    let gone = counts.yes + counts.no + counts.abstain + counts.pending < MEMBERS;
                    scope.twice || !refused || !can || scope.unanimous && gone
                },
            ),
            Property::sometimes("yes", |_, world: &World| {
                world.ends.contains(&End::Decided(Verdict::Yes))
            }),
            Property::sometimes("no", |_, world: &World| {
                world.ends.contains(&End::Decided(Verdict::No))
            }),
            Property::sometimes("no quorum", |_, world: &World| {
                world.ends.contains(&End::Decided(Verdict::NoQuorum))
            }),
            Property::sometimes("yes, and a voter has left", |_, world: &World| {
                let left = world.present.iter().any(|who| *who >= AGAIN);
                left && world.ends.contains(&End::Decided(Verdict::Yes))
            }),
        ]
    }
}
