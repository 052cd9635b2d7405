//! The model. Time is not in it: a lease may expire whenever it likes to, and a holder may act
//! whenever it believes to hold, be that long over. What is left is what a fence has to see to.

use std::collections::BTreeSet;

use stateright::{Model, Property};

const NODES: usize = 3;

/// How a broken broker is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It begins with the first epoch at each start.
    Forgets,
    /// It lets pass what has an epoch that it has given before.
    Passes,
    /// It gives the epoch of the last holder to the next one.
    Repeats,
}

/// What may happen, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) fault: Option<Fault>,
    /// Holders that there may have been.
    pub(crate) epochs: u8,
    pub(crate) crashes: u8,
    pub(crate) restarts: u8,
    /// Messages under way at a time.
    pub(crate) messages: usize,
}

impl Default for Scope {
    fn default() -> Self {
        Self { fault: None, epochs: 3, crashes: 1, restarts: 1, messages: 2 }
    }
}

type Node = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Message {
    Campaign(Node),
    Held(Node, u8),
    Resign(Node, u8),
    /// Something that only a holder may do.
    Act(Node, u8),
}

/// What a candidate believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Belief {
    Idle,
    Waits,
    Holds(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct State {
    nodes: [Belief; NODES],
    /// What is under way: each may come twice, late or never.
    net: BTreeSet<Message>,
    /// The broker: the newest epoch, what its disk or its clock knows of it, and who holds.
    last: u8,
    mark: u8,
    holder: Option<(Node, u8)>,
    line: Vec<Node>,
    crashes: u8,
    restarts: u8,
    /// What has come about: the newest epoch that was given and that was accepted, whether one was
    /// given again, and whether one was accepted that did not hold.
    given: u8,
    accepted: u8,
    again: bool,
    wrong: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Campaign(Node),
    Act(Node),
    Resign(Node),
    /// It has lost its memory; its connection is there until the broker sees the end of it.
    Crash(Node),
    HearEnd(Node),
    Deliver(Message),
    /// The same comes once more, later.
    Double(Message),
    Lose(Message),
    Expire,
    Restart,
}

impl Message {
    fn renamed(self, names: [Node; NODES]) -> Self {
        match self {
            Self::Campaign(node) => Self::Campaign(names[node]),
            Self::Held(node, epoch) => Self::Held(names[node], epoch),
            Self::Resign(node, epoch) => Self::Resign(names[node], epoch),
            Self::Act(node, epoch) => Self::Act(names[node], epoch),
        }
    }
}

impl State {
    /// Candidates differ in nothing but their names: of all states that differ in those alone, one.
    fn canonical(self) -> Self {
        let names = [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let others = names.map(|names| self.renamed(names));
        others.into_iter().fold(self, Self::min)
    }

    fn renamed(&self, names: [Node; NODES]) -> Self {
        let mut nodes = self.nodes;
        for (node, belief) in self.nodes.iter().enumerate() {
            nodes[names[node]] = *belief;
        }
        Self {
            nodes,
            net: self.net.iter().map(|message| message.renamed(names)).collect(),
            holder: self.holder.map(|(node, epoch)| (names[node], epoch)),
            line: self.line.iter().map(|node| names[*node]).collect(),
            ..self.clone()
        }
    }

    fn send(&mut self, scope: &Scope, message: Message) -> Option<()> {
        (self.net.contains(&message) || self.net.len() < scope.messages).then(|| {
            self.net.insert(message);
        })
    }

    /// Gives a free lease to whoever is next. `None`: that is beyond the scope.
    fn give(&mut self, scope: &Scope) -> Option<()> {
        if self.holder.is_some() || self.line.is_empty() {
            return Some(());
        }
        let node = self.line.remove(0);
        let repeats = scope.fault == Some(Fault::Repeats) && self.last > 0;
        let epoch = if repeats { self.last } else { self.last + 1 };
        if epoch > scope.epochs {
            return None;
        }
        (self.last, self.mark) = (epoch, self.mark.max(epoch));
        self.holder = Some((node, epoch));
        self.again |= epoch <= self.given;
        self.given = self.given.max(epoch);
        self.send(scope, Message::Held(node, epoch))
    }

    fn hear(&mut self, scope: &Scope, message: Message) -> Option<()> {
        match message {
            Message::Campaign(node) => {
                let holds = self.holder.is_some_and(|(holder, _)| holder == node);
                if !holds && !self.line.contains(&node) {
                    self.line.push(node);
                }
                self.give(scope)
            }
            Message::Resign(_, epoch) => {
                if self.holder.is_some_and(|(_, holds)| holds == epoch) {
                    self.holder = None;
                }
                self.give(scope)
            }
            Message::Act(node, epoch) => {
                let passes = match scope.fault {
                    Some(Fault::Passes) => epoch <= self.last,
                    _ => self.holder.is_some_and(|(_, holds)| holds == epoch),
                };
                if passes {
                    let holds = self.holder == Some((node, epoch));
                    self.wrong |= !holds || epoch < self.accepted;
                    self.accepted = self.accepted.max(epoch);
                }
                Some(())
            }
            Message::Held(node, epoch) => {
                // One that comes twice, or behind another campaign, tells nothing new.
                if self.nodes[node] == Belief::Waits {
                    self.nodes[node] = Belief::Holds(epoch);
                }
                Some(())
            }
        }
    }
}

impl Model for Scope {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            nodes: [Belief::Idle; NODES],
            net: BTreeSet::new(),
            last: 0,
            mark: 0,
            holder: None,
            line: Vec::new(),
            crashes: 0,
            restarts: 0,
            given: 0,
            accepted: 0,
            again: false,
            wrong: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (node, belief) in state.nodes.iter().enumerate() {
            match belief {
                Belief::Idle => actions.push(Action::Campaign(node)),
                Belief::Waits => {}
                Belief::Holds(_) => actions.extend([Action::Act(node), Action::Resign(node)]),
            }
            if state.crashes < self.crashes && *belief != Belief::Idle {
                actions.push(Action::Crash(node));
            }
            let known = state.line.contains(&node) || state.holder.is_some_and(|it| it.0 == node);
            if *belief == Belief::Idle && known {
                actions.push(Action::HearEnd(node));
            }
        }
        for message in &state.net {
            let message = *message;
            actions.extend([Action::Deliver(message), Action::Double(message)]);
            actions.push(Action::Lose(message));
        }
        if state.holder.is_some() {
            actions.push(Action::Expire);
        }
        if state.restarts < self.restarts {
            actions.push(Action::Restart);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Campaign(node) => {
                state.nodes[node] = Belief::Waits;
                state.send(self, Message::Campaign(node))?;
            }
            Action::Act(node) | Action::Resign(node) => {
                let Belief::Holds(epoch) = state.nodes[node] else { return None };
                if let Action::Act(_) = action {
                    state.send(self, Message::Act(node, epoch))?;
                } else {
                    state.nodes[node] = Belief::Idle;
                    state.send(self, Message::Resign(node, epoch))?;
                }
            }
            Action::Crash(node) => {
                state.crashes += 1;
                state.nodes[node] = Belief::Idle;
            }
            Action::HearEnd(node) => {
                state.line.retain(|waits| *waits != node);
                if state.holder.is_some_and(|(holder, _)| holder == node) {
                    state.holder = None;
                }
                state.give(self)?;
            }
            Action::Deliver(message) => {
                state.net.remove(&message);
                state.hear(self, message)?;
            }
            Action::Double(message) => state.hear(self, message)?,
            Action::Lose(message) => {
                state.net.remove(&message);
            }
            Action::Expire => {
                state.holder = None;
                state.give(self)?;
            }
            Action::Restart => {
                state.restarts += 1;
                (state.holder, state.line) = (None, Vec::new());
                state.last = if self.fault == Some(Fault::Forgets) { 0 } else { state.mark };
            }
        }
        (state != *before).then(|| state.canonical())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one epoch is accepted at a time", |_, state: &State| !state.wrong),
            Property::always("an epoch has one holder", |_, state: &State| !state.again),
            Property::sometimes("an old epoch is under way", |_, state: &State| {
                let holds = state.holder.map_or(0, |(_, epoch)| epoch);
                state.net.iter().any(|it| matches!(it, Message::Act(_, epoch) if *epoch < holds))
            }),
            Property::sometimes("two holders act, one after the other", |_, state: &State| {
                state.accepted >= 2
            }),
            Property::sometimes("two believe to hold", |_, state: &State| {
                let holds = |belief: &&Belief| matches!(belief, Belief::Holds(_));
                state.nodes.iter().filter(holds).count() >= 2
            }),
            Property::sometimes("who holds behind a restart acts", |_, state: &State| {
                state.restarts > 0 && state.accepted >= 2
            }),
        ]
    }
}
