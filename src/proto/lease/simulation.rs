//! Candidates for one lease over a network that delays and breaks, with clocks that drift, pauses,
//! and a broker that stands still and starts again: one seed, one run.
//!
//! After each step: the table is sound; no epoch is given twice or goes back, over restarts too;
//! what passes a fence has the epoch that holds, and none that is older than one that has passed;
//! who believes that it holds does, unless the end of its connection has not reached it; who is
//! named as the successor is the next holder, and nobody waits for longer than it wanted to. Without
//! faults there is one holder within three expiries.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slotmap::SlotMap;

use super::*;
use crate::id::{PeerId, Principal};
use crate::proto::clock::{Clock, Time};
use crate::proto::simulation::rng::Rng;

const LEASE: &str = "leader";
const NODES: usize = 4;
/// Milliseconds in which there are faults, and in which there are none.
const FAULTY: u64 = 20_000;
const TTLS: [u64; 3] = [400, 800, 1500];
const LOCK_DELAY: u64 = 500;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// What a node says, and is told.
#[derive(Debug, Clone, Copy)]
enum Word {
    Campaign {
        id: u64,
        terms: Terms,
        wait: Option<Duration>,
    },
    Renew {
        id: u64,
        epoch: u64,
    },
    /// For whoever is next, or for this node.
    Resign {
        epoch: u64,
        to: Option<usize>,
    },
    /// Something that only the holder may do.
    Act {
        epoch: u64,
    },
    Held {
        id: u64,
        epoch: u64,
    },
    Waiting {
        id: u64,
    },
    Renewed {
        id: u64,
    },
    Lost,
    Refused,
}

/// A node, by its own clock.
#[derive(Debug)]
struct Node {
    /// Its clock gains so many millionths.
    drift: i64,
    paused: u64,
    /// Its connection as it knows it.
    line: Option<usize>,
    next_id: u64,
    state: State,
    terms: Terms,
}

#[derive(Debug)]
enum State {
    Idle,
    Asked { id: u64, sent: Instant, waits: bool },
    Holds { hold: Hold, epoch: u64, asked: BTreeMap<u64, Instant> },
}

/// One connection: which node, when its last message comes each way, and whether each side knows of
/// its end.
#[derive(Debug)]
struct Line {
    node: usize,
    peer: Option<PeerId>,
    last: [u64; 2],
    broken: bool,
}

#[derive(Debug)]
enum Due {
    ToBroker(usize, Word),
    ToNode(usize, Word),
    BrokerHearsEnd(usize),
    NodeHearsEnd(usize),
}

struct World {
    rng: Rng,
    begin: Instant,
    now: u64,
    faults: bool,
    nodes: Vec<Node>,
    lines: Vec<Line>,
    due: BTreeMap<(u64, u64), Due>,
    sequence: u64,
    peers: SlotMap<PeerId, usize>,
    clock: Clock,
    stalled: u64,
    leases: Leases,
    /// The newest epoch given, the newest that has passed, and those freed by the end of a
    /// connection or of a run of the broker, which their holders may not know yet.
    given: u64,
    passed: u64,
    unaware: Vec<u64>,
    /// Who has been named as the next holder, and until when those wait that have a limit.
    heir: Option<usize>,
    patience: BTreeMap<(PeerId, u64), Time>,
    /// What must not be empty at the end of all runs: restarts, what was refused, what has passed,
    /// expiries, beliefs, hand-overs, resignations for one that does not wait, and ends of patience.
    seen: [u64; 8],
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
    fn new(seed: u64) -> Self {
        let (mut rng, begin) = (Rng::new(seed), Instant::now());
        let node = |rng: &mut Rng| Node {
            drift: i64::try_from(rng.within(0, 40_000)).unwrap() - 20_000,
            paused: 0,
            line: None,
            next_id: 1,
            state: State::Idle,
            terms: Terms { ttl: ms(0), grace: ms(0), lock_delay: ms(0) },
        };
        let nodes = (0..NODES).map(|_| node(&mut rng)).collect();
        let mut leases = Leases::new(LeaseLimits::default());
        leases.begin_above(1_000_000);
        Self {
            rng,
            begin,
            now: 0,
            faults: true,
            nodes,
            lines: Vec::new(),
            due: BTreeMap::new(),
            sequence: 0,
            peers: SlotMap::with_key(),
            clock: Clock::new(begin),
            stalled: 0,
            leases,
            given: 0,
            passed: 0,
            unaware: Vec::new(),
            heir: None,
            patience: BTreeMap::new(),
            seen: [0; 8],
        }
    }

    fn local(&self, node: usize) -> Instant {
        let now = i64::try_from(self.now).unwrap();
        let drifted = now * 1000 + now * self.nodes[node].drift / 1000;
        self.begin + Duration::from_micros(u64::try_from(drifted).unwrap())
    }

    fn time(&mut self) -> Time {
        self.clock.at(self.begin + ms(self.now))
    }

    fn post(&mut self, at: u64, due: Due) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), due);
    }

    /// In the order of saying, each way.
    fn send(&mut self, line: usize, way: usize, due: Due) {
        let delay = if self.faults && self.rng.one_in(20) { 700 } else { 20 };
        let delay = self.rng.within(1, delay);
        if self.lines[line].broken {
            return;
        }
        let at = (self.now + delay).max(self.lines[line].last[way]);
        self.lines[line].last[way] = at;
        self.post(at, due);
    }

    fn cut(&mut self, line: usize) {
        if std::mem::replace(&mut self.lines[line].broken, true) {
            return;
        }
        self.due.retain(
            |_, due| !matches!(due, Due::ToBroker(of, _) | Due::ToNode(of, _) if *of == line),
        );
        let [broker, node] = [(); 2].map(|()| self.now + self.rng.within(1, 2000));
        self.post(broker, Due::BrokerHearsEnd(line));
        self.post(node, Due::NodeHearsEnd(line));
    }

    fn restart(&mut self) {
        if let Some(epoch) = self.leases.current(LEASE) {
            self.unaware.push(epoch);
        }
        for line in 0..self.lines.len() {
            self.lines[line].peer = None;
            self.cut(line);
        }
        self.peers.clear();
        self.patience.clear();
        self.leases = Leases::new(LeaseLimits::default());
        // A clock that goes on: 2^-20 s are less than a millisecond.
        self.leases.begin_above(1_000_000 + self.now * 1000);
        self.clock = Clock::new(self.begin + ms(self.now));
        self.seen[0] += 1;
    }

    fn hurt(&mut self) {
        let node = self.rng.index(NODES);
        match self.rng.within(0, 99) {
            0..=39 => {
                if let Some(line) = self.nodes[node].line {
                    self.cut(line);
                }
            }
            40..=79 => self.nodes[node].paused = self.now + self.rng.within(1, 4000),
            80..=89 => self.stalled = self.now + self.rng.within(1, 3000),
            _ => self.restart(),
        }
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += 5;
        if self.faults && self.rng.one_in(60) {
            self.hurt();
        }
        while self.now >= self.stalled
            && let Some(((at, _), _)) = self.due.first_key_value()
            && *at <= self.now
        {
            let Some((_, due)) = self.due.pop_first() else { break };
            self.happen(due)?;
        }
        if self.now >= self.stalled {
            let now = self.time();
            self.leases.tick(now);
            self.say()?;
            if let Some((who, until)) = self.patience.iter().find(|(_, until)| **until <= now) {
                return Err(format!("{who:?} still waits, and wanted to until {until:?}"));
            }
        }
        for node in 0..NODES {
            if self.nodes[node].paused <= self.now {
                self.live(node);
            }
        }
        self.check()
    }

    fn happen(&mut self, due: Due) -> Result<(), String> {
        match due {
            Due::ToBroker(line, word) => self.broker_hears(line, word)?,
            Due::BrokerHearsEnd(line) => {
                if let Some(peer) = self.lines[line].peer.take() {
                    let now = self.time();
                    self.peers.remove(peer);
                    self.patience.retain(|(of, _), _| *of != peer);
                    self.leases.forget(now, peer);
                }
            }
            Due::ToNode(line, _) | Due::NodeHearsEnd(line)
                if self.nodes[self.lines[line].node].paused > self.now =>
            {
                let at = self.nodes[self.lines[line].node].paused + 1;
                self.post(at, due);
            }
            Due::ToNode(line, word) => self.node_hears(line, word),
            Due::NodeHearsEnd(line) => {
                let node = self.lines[line].node;
                if self.nodes[node].line == Some(line) {
                    self.hang_up(node);
                }
            }
        }
        self.say()
    }

    fn broker_hears(&mut self, line: usize, word: Word) -> Result<(), String> {
        let (now, node) = (self.time(), self.lines[line].node);
        let Some(peer) = self.lines[line].peer else { return Ok(()) };
        let principal = Principal::Address([u8::try_from(node).unwrap(); 16]);
        match word {
            Word::Campaign { id, terms, wait } => {
                let (lease, name, value) = (LEASE, &*node.to_string(), &[][..]);
                let principal = &principal;
                let one = Candidacy { peer, id, principal, lease, name, value, terms, wait };
                let answer = match self.leases.check_campaign(now, &one) {
                    Ok(()) => match self.leases.campaign(now, &one) {
                        Place::Holds(_) => return Ok(()),
                        Place::Waits(_) => Word::Waiting { id },
                    },
                    Err(_) => Word::Refused,
                };
                if let (Word::Waiting { .. }, Some(wait)) = (answer, wait) {
                    self.patience.insert((peer, id), now.after(wait));
                }
                self.send(line, 1, Due::ToNode(line, answer));
            }
            Word::Renew { id, epoch } => {
                let renewed = self.leases.renew(now, (peer, id), &principal, (LEASE, epoch));
                let done = matches!(renewed, Ok(Ok(_)));
                let answer = if done { Word::Renewed { id } } else { Word::Lost };
                self.send(line, 1, Due::ToNode(line, answer));
            }
            Word::Resign { epoch, to } => {
                let name = to.map(|node| node.to_string());
                match self.leases.resign(now, &principal, (LEASE, epoch), name.as_deref()) {
                    Ok(Ok(())) => self.heir = to,
                    Ok(Err(_)) if self.leases.current(LEASE) != Some(epoch) => {
                        return Err(format!("{epoch} holds no more, and nobody in its place"));
                    }
                    Ok(Err(_)) => self.seen[6] += 1,
                    Err(_) => {}
                }
            }
            Word::Act { epoch } => {
                let current = self.leases.current(LEASE);
                if self.leases.holds(now, LEASE, epoch, &principal).is_err() {
                    self.seen[1] += 1;
                } else if current != Some(epoch) || epoch < self.passed {
                    let passed = self.passed;
                    return Err(format!("{epoch} passes, {current:?} holds, {passed} has passed"));
                } else {
                    self.seen[2] += 1;
                    self.passed = epoch;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What the table has to say goes to the nodes.
    fn say(&mut self) -> Result<(), String> {
        while let Some(news) = self.leases.pop_news() {
            match news {
                News::Held { peer, id, epoch, .. } => {
                    if epoch <= self.given {
                        return Err(format!("epoch {epoch} behind {}", self.given));
                    }
                    self.given = epoch;
                    self.patience.remove(&(peer, id));
                    let line = self.peers[peer];
                    if let Some(heir) = self.heir.take() {
                        let next = self.lines[line].node;
                        if next != heir {
                            return Err(format!("{next} holds in the place of {heir}"));
                        }
                        self.seen[5] += 1;
                    }
                    self.send(line, 1, Due::ToNode(line, Word::Held { id, epoch }));
                }
                News::Freed { peer, epoch, why, .. } => {
                    if why == Freed::Closed {
                        self.unaware.push(epoch);
                    }
                    if let (Freed::Expired, Some(peer)) = (why, peer) {
                        let line = self.peers[peer];
                        self.seen[3] += 1;
                        self.send(line, 1, Due::ToNode(line, Word::Lost));
                    }
                }
                News::Patience { peer, id, .. } => {
                    if self.patience.remove(&(peer, id)).is_none() {
                        return Err(format!("{id} of {peer:?} did not wait, or for ever"));
                    }
                    self.seen[7] += 1;
                    let line = self.peers[peer];
                    self.send(line, 1, Due::ToNode(line, Word::Refused));
                }
            }
        }
        self.leases.take_freed();
        match self.heir {
            Some(heir) => Err(format!("{heir} was to hold, and does not")),
            None => Ok(()),
        }
    }

    fn hang_up(&mut self, node: usize) {
        self.nodes[node].line = None;
        let grace = !self.nodes[node].terms.grace.is_zero();
        let holds = matches!(self.nodes[node].state, State::Holds { .. });
        if !(grace && holds) {
            self.nodes[node].state = State::Idle;
        }
    }

    fn node_hears(&mut self, line: usize, word: Word) {
        let node = self.lines[line].node;
        let now = self.local(node);
        if self.nodes[node].line != Some(line) {
            return;
        }
        let it = &mut self.nodes[node];
        match (&mut it.state, word) {
            (State::Asked { id, waits, .. }, Word::Waiting { id: of }) if *id == of => {
                *waits = true;
            }
            (State::Asked { id, sent, waits }, Word::Held { id: of, epoch }) if *id == of => {
                let ttl = it.terms.ttl;
                let hold = if *waits { Hold::unsure(ttl) } else { Hold::new(ttl, *sent) };
                it.state = State::Holds { hold, epoch, asked: BTreeMap::new() };
            }
            (State::Holds { hold, asked, .. }, Word::Renewed { id }) => {
                if let Some(sent) = asked.remove(&id) {
                    hold.acked(now, sent);
                }
            }
            (State::Holds { .. }, Word::Lost) | (State::Asked { .. }, Word::Refused) => {
                it.state = State::Idle;
            }
            _ => {}
        }
    }

    fn live(&mut self, node: usize) {
        let now = self.local(node);
        let Some(line) = self.nodes[node].line else {
            if self.now >= self.stalled {
                let line = self.lines.len();
                let peer = Some(self.peers.insert(line));
                self.lines.push(Line { node, peer, last: [self.now; 2], broken: false });
                self.nodes[node].line = Some(line);
            }
            return;
        };
        let (may_act, resigns) = (self.rng.one_in(10), self.faults && self.rng.one_in(400));
        let (ttl, grace) = (self.rng.pick(&TTLS), self.rng.one_in(2));
        let delay = if self.rng.one_in(3) { LOCK_DELAY } else { 0 };
        let wait = self.rng.one_in(3).then(|| ms(self.rng.within(1, 1000)));
        let to = self.rng.one_in(2).then(|| self.rng.index(NODES));
        let it = &mut self.nodes[node];
        let id = it.next_id;
        let said = match &mut it.state {
            State::Idle => {
                let grace = if grace { ms(2 * ttl) } else { ms(0) };
                it.terms = Terms { ttl: ms(ttl), grace, lock_delay: ms(delay) };
                it.state = State::Asked { id, sent: now, waits: false };
                vec![Word::Campaign { id, terms: it.terms, wait }]
            }
            State::Asked { .. } => Vec::new(),
            State::Holds { hold, epoch, asked } => {
                let epoch = *epoch;
                // It has looked before it was stopped, and acts behind that: a fence is for this.
                let act = may_act.then_some(Word::Act { epoch });
                match hold.standing(now) {
                    Standing::Lost => {
                        it.state = State::Idle;
                        // What it had begun to say goes out, and its connection ends with it.
                        self.send(line, 0, Due::ToBroker(line, Word::Act { epoch }));
                        return self.cut(line);
                    }
                    Standing::Due => {
                        hold.sent(now);
                        asked.insert(id, now);
                        vec![Word::Renew { id, epoch }]
                    }
                    Standing::Holds(_) if resigns => {
                        it.state = State::Idle;
                        vec![Word::Resign { epoch, to }]
                    }
                    Standing::Holds(_) => act.into_iter().collect(),
                }
            }
        };
        it.next_id += u64::from(!said.is_empty());
        for word in said {
            self.send(line, 0, Due::ToBroker(line, word));
        }
    }

    /// Who believes that it holds.
    fn believers(&self) -> Vec<u64> {
        let believes = |(index, node): (usize, &Node)| match &node.state {
            State::Holds { hold, epoch, .. } if hold.holds(self.local(index)) => Some(*epoch),
            _ => None,
        };
        self.nodes.iter().enumerate().filter_map(believes).collect()
    }

    fn check(&mut self) -> Result<(), String> {
        let holder = self.leases.current(LEASE);
        self.leases.audit(|peer| self.peers.contains_key(peer))?;
        let aware: Vec<u64> =
            self.believers().into_iter().filter(|epoch| !self.unaware.contains(epoch)).collect();
        if aware.len() > 1 || aware.first().is_some_and(|epoch| Some(*epoch) != holder) {
            return Err(format!("{aware:?} believe, {holder:?} holds"));
        }
        self.seen[4] += u64::try_from(aware.len()).unwrap();
        Ok(())
    }

    fn run(&mut self) -> Result<(), String> {
        while self.now < FAULTY {
            self.step()?;
        }
        self.faults = false;
        self.stalled = 0;
        for node in &mut self.nodes {
            node.paused = 0;
        }
        let until = self.now + 3 * TTLS[2] + LOCK_DELAY;
        while self.now < until {
            self.step()?;
        }
        let (believers, holder) = (self.believers(), self.leases.current(LEASE));
        if believers.len() == 1 && believers.first() == holder.as_ref() {
            return Ok(());
        }
        Err(format!("healed, {believers:?} believe and {holder:?} holds"))
    }
}

#[test]
fn leases_of_ten_thousand_seeds_hold_every_invariant() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("MAJORDOMO_SEED").unwrap_or(0);
    let count = number("MAJORDOMO_SEEDS").unwrap_or(10_000);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let run = |thread: usize| {
        let mut seen = [0; 8];
        for seed in (first..first + count).skip(thread).step_by(threads) {
            let mut world = World::new(seed);
            if let Err(why) = world.run() {
                let at = world.now;
                panic!(
                    "MAJORDOMO_SEED={seed} MAJORDOMO_SEEDS=1 breaks an invariant at {at}: {why}"
                );
            }
            seen.iter_mut().zip(world.seen).for_each(|(sum, count)| *sum += count);
        }
        seen
    };
    let seen = std::thread::scope(|scope| {
        let run = &run;
        let runs: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        let seen = runs.into_iter().map(|run| run.join().expect("a seed breaks an invariant"));
        seen.fold([0; 8], |sum, one| std::array::from_fn(|index| sum[index] + one[index]))
    });
    assert!(count < 20 || seen.iter().all(|count| *count > 0), "{seen:?}");
}
