//! Members of one group over a network that delays, cuts one way and breaks, with clocks that
//! drift, pauses, churn, and a broker that stands still and starts again, with a disk and without one,
//! and with one by a wall clock that was set: one seed, one run.
//!
//! After each step: the table is sound; what members were told is checked by the judge against what
//! the broker decided; who believes that it leads does, unless it could not know. Without faults
//! all are in one view with one leader within three expiries, and all polls have been answered.

mod agenda;
mod broker;
mod judge;
mod node;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slotmap::SlotMap;

use super::*;
use crate::id::{PeerId, Principal};
use crate::proto::clock::{Clock, Time};
use crate::proto::lease::mark::AHEAD;
use crate::proto::lease::{LeaseLimits, Leases};
use crate::proto::simulation::rng::Rng;
use crate::wire::mjp::GroupType;
use judge::Judge;
use node::Node;

const GROUP: &str = "Escort.1";
const NODES: usize = 4;
/// Milliseconds of a step, of the time with faults, and of one expiry.
const STEP: u64 = 10;
const FAULTY: u64 = 6_000;
const EXPIRY: u64 = 600;
/// How long it takes at most that one end of a connection hears of its end.
const DEAF: u64 = 800;
/// What the broker's wall clock shows at first, microseconds.
const WALL: u64 = 1_000_000;
/// How wrong the clock of who acts may be, microseconds.
const EXACT: u64 = 50_000;
/// The id of a membership.
const SEAT: u64 = 1;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// What a node says, and is told.
#[derive(Debug, Clone)]
enum Word {
    Join,
    Leave,
    Beat { id: u64, epoch: Option<u64> },
    Say { to: Whom, epoch: Option<u64> },
    Open { poll: u64, rule: Rule, when: Option<u64> },
    Vote { poll: u64, vote: Vote, error: u64 },
    Outcome { poll: u64, feat: Feat },
    Ask { poll: u64 },
    Resign { epoch: u64, to: Option<usize> },
    Joined { joined: Joined, roster: Vec<u64>, epoch: Option<u64>, run: u64 },
    NotJoined,
    Told(Arc<Event>),
    Message { seq: u64, from: u64, epoch: Option<u64> },
    Poll { seq: u64, poll: u64, epoch: u64, elector: bool, is_action: bool },
    NotOpened { poll: u64 },
    Answer { result: PollResult },
    Beaten { id: u64, epoch: Option<u64>, clock: u64 },
}

/// For whom a node says something.
#[derive(Debug, Clone, Copy)]
enum Whom {
    All,
    Leader,
    Member(usize),
}

/// One connection: which node, when its last message comes each way, until when nothing comes each
/// way, and whether it has ended.
#[derive(Debug)]
struct Line {
    node: usize,
    peer: Option<PeerId>,
    last: [u64; 2],
    held: [u64; 2],
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
    charter: Charter,
    nodes: Vec<Node>,
    lines: Vec<Line>,
    due: BTreeMap<(u64, u64), Due>,
    sequence: u64,
    polls: u64,
    peers: SlotMap<PeerId, usize>,
    spoke: BTreeMap<PeerId, Time>,
    clock: Clock,
    /// When this run of the broker began.
    start: u64,
    stalled: u64,
    groups: Groups,
    leases: Leases,
    /// Up to where epochs and incarnations are reserved on the broker's disk, if it has one.
    mark: Option<u64>,
    judge: Judge,
}

fn name(node: usize) -> String {
    format!("n{node}")
}

fn id_of(poll: u64) -> [u8; 8] {
    poll.to_be_bytes()
}

fn number_of(poll: &[u8]) -> u64 {
    u64::from_be_bytes(poll.try_into().expect("8 octets"))
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
    fn new(seed: u64) -> Self {
        let (mut rng, begin) = (Rng::new(seed), Instant::now());
        let limits = GroupLimits { outcome_wait: ms(200), ..GroupLimits::default() };
        let says = GroupType {
            leader: Some(true),
            min_size: Some(rng.within(1, 3)),
            expected_size: rng.one_in(3).then_some(3),
            voters: rng.one_in(4).then(|| vec!["n0", "n1", "n2"]),
            heartbeat: Some(200),
            election_min: Some(250),
            election_max: Some(500),
            peer_timeout: Some(EXPIRY),
            consensus_timeout: Some(300),
            ttl: Some(300),
            polls: Some(if rng.one_in(2) { "durable" } else { "aborted" }),
            ..GroupType::default()
        };
        let says = GroupType {
            expected_size: says.expected_size.filter(|_| says.voters.is_none()),
            ..says
        };
        let charter = Charter::default().with(&says, &limits).expect("a kind of group");
        let mark = rng.one_in(2).then_some(0);
        let judge = Judge::new(charter.min_size, charter.polls == Polls::Durable);
        let nodes = (0..NODES).map(|_| Node::new(&mut rng)).collect();
        let mut world = Self {
            rng,
            begin,
            now: 0,
            faults: true,
            charter,
            nodes,
            lines: Vec::new(),
            due: BTreeMap::new(),
            sequence: 0,
            polls: 0,
            peers: SlotMap::with_key(),
            spoke: BTreeMap::new(),
            clock: Clock::new(begin),
            start: 0,
            stalled: 0,
            groups: Groups::new(limits),
            leases: Leases::new(LeaseLimits::default()),
            mark,
            judge,
        };
        world.count_from(WALL);
        world
    }

    fn post(&mut self, at: u64, due: Due) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), due);
    }

    /// In the order of saying, each way.
    fn send(&mut self, line: usize, way: usize, due: Due) {
        let delay = if self.faults && self.rng.one_in(20) { 300 } else { 12 };
        let delay = self.rng.within(1, delay);
        let it = &mut self.lines[line];
        if it.broken {
            return;
        }
        let at = (self.now + delay).max(it.last[way]).max(it.held[way]);
        it.last[way] = at;
        self.post(at, due);
    }

    fn say_to_broker(&mut self, line: usize, word: Word) {
        self.send(line, 0, Due::ToBroker(line, word));
    }

    fn say_to_peer(&mut self, peer: PeerId, word: Word) {
        if let Some(line) = self.peers.get(peer).copied() {
            self.send(line, 1, Due::ToNode(line, word));
        }
    }

    fn cut(&mut self, line: usize) {
        if std::mem::replace(&mut self.lines[line].broken, true) {
            return;
        }
        self.due.retain(
            |_, due| !matches!(due, Due::ToBroker(of, _) | Due::ToNode(of, _) if *of == line),
        );
        let [broker, node] = [(); 2].map(|()| self.now + self.rng.within(1, DEAF));
        self.post(broker, Due::BrokerHearsEnd(line));
        self.post(node, Due::NodeHearsEnd(line));
    }

    fn restart(&mut self) {
        for line in 0..self.lines.len() {
            self.lines[line].peer = None;
            self.cut(line);
        }
        self.peers.clear();
        self.spoke.clear();
        // Without a disk the wall clock has to go on; with one it may have been set back, and on.
        let wall = WALL + self.now * 1000;
        let set = if self.mark.is_some() { self.rng.index(3) } else { 0 };
        self.judge.seen[14] += u64::from(set > 0);
        self.count_from([wall, WALL / 2, wall + WALL][set]);
        self.clock = Clock::new(self.begin + ms(self.now));
        self.start = self.now;
        self.judge.restart();
    }

    fn hurt(&mut self) {
        let node = self.rng.index(NODES);
        let line = self.nodes[node].line;
        match (self.rng.within(0, 99), line) {
            (0..=29, Some(line)) => self.cut(line),
            (30..=54, Some(line)) => {
                let way = self.rng.index(2);
                self.lines[line].held[way] = self.now + self.rng.within(1, 1500);
            }
            (0..=84, _) => self.nodes[node].paused = self.now + self.rng.within(1, 2000),
            (85..=92, _) => self.stalled = self.now + self.rng.within(1, 1800),
            (93..=96, _) => self.restart(),
            _ => {
                if let Some(line) = line
                    && self.nodes[node].seat.take().is_some()
                {
                    // Who leaves waits for nothing any more.
                    self.nodes[node].asked.clear();
                    self.say_to_broker(line, Word::Leave);
                }
            }
        }
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += STEP;
        if self.faults && self.rng.one_in(25) {
            self.hurt();
        }
        while self.now >= self.stalled
            && let Some(((at, _), _)) = self.due.first_key_value()
            && *at <= self.now
        {
            let Some(((_, number), due)) = self.due.pop_first() else { break };
            self.happen(number, due)?;
        }
        if self.now >= self.stalled {
            let now = self.moment();
            while let Some(silence) = self.groups.pop_silence(now) {
                let spoke = self.spoke.get(&silence.peer).copied().unwrap_or(now.time);
                self.groups.look_at(now, silence, spoke);
            }
            self.groups.tick(now);
            self.say()?;
        }
        for node in 0..NODES {
            if self.nodes[node].paused <= self.now {
                self.live(node)?;
            }
        }
        self.check()
    }

    fn happen(&mut self, number: u64, due: Due) -> Result<(), String> {
        match due {
            Due::ToBroker(line, word) => {
                let Some(peer) = self.lines[line].peer else { return Ok(()) };
                let now = self.moment();
                self.spoke.insert(peer, now.time);
                self.groups.heard(now, peer);
                self.say()?;
                self.broker_hears(now, (line, peer), word)?;
            }
            Due::BrokerHearsEnd(line) => {
                if let Some(peer) = self.lines[line].peer.take() {
                    let now = self.moment();
                    self.peers.remove(peer);
                    self.spoke.remove(&peer);
                    while let Some(id) = self.groups.first_seat_of(peer) {
                        let _ = self.groups.leave_seat(now, peer, id, Left::Closed);
                    }
                }
            }
            Due::ToNode(line, _) | Due::NodeHearsEnd(line)
                if self.nodes[self.lines[line].node].paused > self.now =>
            {
                // In its old place among those of its connection.
                self.due.insert((self.now + 1, number), due);
                return Ok(());
            }
            Due::ToNode(line, word) => self.node_hears(line, word)?,
            Due::NodeHearsEnd(line) => {
                let node = self.lines[line].node;
                if self.nodes[node].line == Some(line) {
                    self.nodes[node].hang_up();
                }
            }
        }
        self.say()
    }

    fn check(&mut self) -> Result<(), String> {
        self.groups.audit(|peer| self.peers.contains_key(peer))?;
        let row = self.groups.row(GROUP);
        let leader = row.as_ref().and_then(|row| Some(row.leader?.1));
        let size = row.map_or(0, |row| row.size as u64);
        if leader.is_some() && size < self.charter.min_size {
            return Err(format!("{leader:?} leads {size} of {}", self.charter.min_size));
        }
        let aware: Vec<u64> = self.believers();
        let aware: Vec<u64> =
            aware.into_iter().filter(|epoch| !self.judge.unaware.contains(epoch)).collect();
        if aware.len() > 1 || aware.first().is_some_and(|epoch| Some(*epoch) != leader) {
            return Err(format!("{aware:?} believe, {leader:?} leads"));
        }
        self.judge.seen[0] += u64::try_from(aware.len()).unwrap();
        Ok(())
    }

    /// Who believes that it leads.
    fn believers(&self) -> Vec<u64> {
        let nodes = self.nodes.iter();
        let leads = nodes.filter_map(|node| {
            let now = self.begin + node.local(self.now);
            node.seat.as_ref()?.stand.leads(now)
        });
        leads.collect()
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
        for line in &mut self.lines {
            line.held = [0; 2];
        }
        let until = self.now + 3 * EXPIRY + DEAF;
        while self.now < until {
            self.step()?;
        }
        self.is_healed()
    }

    fn is_healed(&self) -> Result<(), String> {
        let row = self.groups.row(GROUP).ok_or("healed, and nobody is there")?;
        let members: Vec<u64> = self.groups.members_of(GROUP).map(|(who, _)| who).collect();
        let (leader, believers) = (row.leader.map(|(_, epoch)| epoch), self.believers());
        if members.len() != NODES || believers.len() != 1 || believers.first().copied() != leader {
            return Err(format!("healed: {members:?}, {believers:?} believe, {leader:?} leads"));
        }
        for node in &self.nodes {
            let seat = node.seat.as_ref().ok_or("healed, and one is no member")?;
            let roster: Vec<u64> = seat.roster.iter().copied().collect();
            if roster != members || seat.stand.view() != row.view {
                return Err(format!("healed: {roster:?} are seen, {members:?} are there"));
            }
            if let Some((poll, it)) = node.asked.iter().find(|(_, it)| it.at + 1000 < self.now) {
                return Err(format!("poll {poll} was never answered: {it:?}"));
            }
        }
        Ok(())
    }
}

#[test]
fn groups_of_twenty_thousand_seeds_hold_every_invariant() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("MAJORDOMO_SEED").unwrap_or(0);
    let count = number("MAJORDOMO_SEEDS").unwrap_or(20_000);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let run = |thread: usize| {
        let mut seen = [0; Judge::SEEN];
        for seed in (first..first + count).skip(thread).step_by(threads) {
            let mut world = World::new(seed);
            if let Err(why) = world.run() {
                let at = world.now;
                panic!(
                    "MAJORDOMO_SEED={seed} MAJORDOMO_SEEDS=1 breaks an invariant at {at}: {why}"
                );
            }
            seen.iter_mut().zip(world.judge.seen).for_each(|(sum, count)| *sum += count);
        }
        seen
    };
    let seen = std::thread::scope(|scope| {
        let run = &run;
        let runs: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        let seen = runs.into_iter().map(|run| run.join().expect("a seed breaks an invariant"));
        seen.fold([0; Judge::SEEN], |sum, one| std::array::from_fn(|it| sum[it] + one[it]))
    });
    // Beliefs, what was refused, restarts, suspects, those that were alive, deeds, those that were
    // missed, outcomes that were said and told, polls of each result, wall clocks that were set,
    // messages to leaders and to members, resignations to nobody, polls that were asked for again,
    // and those of them whose results were kept.
    assert!(count < 100 || seen.iter().all(|count| *count > 0), "{seen:?}");
}
