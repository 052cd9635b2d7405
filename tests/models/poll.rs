//! The model: what members, the network and the broker may do, with the ballot of the library.

use std::collections::{BTreeMap, BTreeSet};

use majordomo::proto::group::{Ballot, Rule, Verdict, Vote};
use stateright::{Model, Property};

/// Members; a poll is opened when all are there.
const MEMBERS: u64 = 3;
/// An incarnation is the member, how often it has come again, and in which run of the broker.
const AGAIN: u64 = 10;
const RUN: u64 = 100;

/// How a broken broker is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It counts whatever comes, and not by whom.
    Twice,
    /// It knows members by their names, and what one said before a restart is its vote behind that.
    ByName,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope {
    /// The rule of the poll.
    pub(crate) unanimous: bool,
    pub(crate) fault: Option<Fault>,
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
    /// By the deadline of who asked: the broker has not said anything.
    Unknown,
}

/// All there is at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// None behind a restart, until the poll is asked for again under its id.
    ballot: Option<Ballot>,
    electors: Vec<u64>,
    /// Votes that came, as a broker counts that does not look by whom.
    came: [u64; 3],
    /// Which incarnation of each member is there.
    present: Vec<u64>,
    /// Votes under way. None is taken out: a network doubles, and loses what it never delivers.
    net: BTreeSet<(u64, Vote)>,
    /// The vote of each incarnation that came first, kept beside the ballot.
    first: BTreeMap<u64, Vote>,
    /// Of the poll as it was asked for last.
    ends: Vec<End>,
    /// What its requester has been told, or has told itself.
    heard: Option<End>,
    restarted: bool,
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
    /// The requester hears of the end, or waits no longer.
    Hear,
    GiveUp,
    /// The broker starts again: it knows nothing, and all come again.
    Restart,
    AskAgain,
}

const VOTES: [Vote; 3] = [Vote::Yes, Vote::No, Vote::Abstain];

impl Scope {
    fn rule(self) -> Rule {
        if self.unanimous { Rule::Unanimous } else { Rule::Majority }
    }

    /// What the broker goes by.
    fn verdict(self, world: &World) -> Option<Verdict> {
        let ballot = world.ballot.as_ref()?;
        if self.fault != Some(Fault::Twice) {
            return ballot.verdict();
        }
        let [yes, no, _] = world.came;
        let half = ballot.threshold();
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
            ballot: Some(Ballot::new(self.rule(), MEMBERS, 0..MEMBERS)),
            electors: (0..MEMBERS).collect(),
            came: [0; 3],
            present: (0..MEMBERS).collect(),
            net: BTreeSet::new(),
            first: BTreeMap::new(),
            ends: Vec::new(),
            heard: None,
            restarted: false,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        // Who has heard of an end does not ask again.
        if world.heard.is_some() {
            return;
        }
        steps.push(Step::GiveUp);
        if world.ballot.is_none() {
            return steps.push(Step::AskAgain);
        }
        if !world.restarted && self.fault != Some(Fault::Twice) {
            steps.push(Step::Restart);
        }
        // Behind the end nothing counts: the ballot is not there any more.
        if !world.ends.is_empty() {
            return steps.push(Step::Hear);
        }
        let crashes = world.present.iter().filter(|who| !world.electors.contains(who)).count();
        for (index, who) in world.present.iter().enumerate() {
            let sent = world.net.iter().filter(|(from, _)| from == who).count();
            if !world.electors.contains(who) {
                if sent == 0 {
                    steps.push(Step::Send(*who, Vote::Yes));
                }
                continue;
            }
            // A changed vote is looked at in the first run alone: there are states enough.
            if sent < if world.restarted { 1 } else { 2 } {
                steps.extend(VOTES.iter().map(|vote| Step::Send(*who, *vote)));
            }
            if crashes < 2 && !world.restarted {
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
                world.ballot.as_mut()?.leave(*who);
                *who += AGAIN;
            }
            Step::Deliver(who, vote) => {
                let of = |one: &&u64| **one % AGAIN == who % AGAIN;
                let as_whom = match self.fault {
                    Some(Fault::ByName) => *world.present.iter().find(of)?,
                    _ => who,
                };
                // A vote of a connection that has ended does not come.
                if !world.present.contains(&as_whom) {
                    return None;
                }
                if world.ballot.as_mut()?.vote(as_whom, vote) == Ok(true) {
                    world.first.insert(who, vote);
                }
                let came = world.came.get_mut(vote as usize)?;
                *came = (*came + 1).min(MEMBERS);
            }
            Step::Hear => world.heard = world.ends.first().copied(),
            Step::GiveUp => world.heard = Some(End::Unknown),
            Step::Restart => {
                world.restarted = true;
                world.ballot = None;
                world.ends.clear();
                world.first.clear();
                world.came = [0; 3];
                for who in &mut world.present {
                    *who += RUN;
                }
                // What is still under way is of no use to anybody, but what would help a "yes".
                world.net.retain(|(_, vote)| *vote == Vote::Yes);
            }
            Step::AskAgain => {
                world.electors.clone_from(&world.present);
                let electors = world.electors.iter().copied();
                world.ballot = Some(Ballot::new(self.rule(), MEMBERS, electors));
            }
            Step::Timeout => world.ends.push(End::Timeout),
            Step::LeaderChanges => world.ends.push(End::Aborted),
        }
        if world.ends.is_empty() {
            world.ends.extend(self.verdict(&world).map(End::Decided));
        }
        if self.fault != Some(Fault::Twice) {
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
                let Some(ballot) = &world.ballot else { return true };
                let counts = ballot.counts();
                let first = u64::try_from(world.first.len()).unwrap_or(u64::MAX);
                let electors = world.first.keys().all(|who| world.electors.contains(who));
                let twice = scope.fault == Some(Fault::Twice);
                twice || electors && counts.yes + counts.no + counts.abstain == first
            }),
            Property::always(
                "no result can still be another one",
                |scope: &Self, world: &World| {
                    // Whatever those say who have not: a "no" stays one.
                    let Some(ballot) = &world.ballot else { return true };
                    let counts = ballot.counts();
                    let refused = world
                        .ends
                        .iter()
                        .any(|end| matches!(end, End::Decided(Verdict::No | Verdict::NoQuorum)));
                    let can = 2 * (counts.yes + counts.pending) > MEMBERS;
                    let can = can && (!scope.unanimous || counts.no == 0);
                    let gone = counts.yes + counts.no + counts.abstain + counts.pending < MEMBERS;
                    let twice = scope.fault == Some(Fault::Twice);
                    twice || !refused || !can || scope.unanimous && gone
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
                let left = world.present.iter().any(|who| !world.electors.contains(who));
                left && world.ends.contains(&End::Decided(Verdict::Yes))
            }),
            Property::sometimes("asked again behind a restart, and yes", |_, world: &World| {
                world.restarted && world.heard == Some(End::Decided(Verdict::Yes))
            }),
        ]
    }
}
