//! Everybody, and what happens next.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use slotmap::SlotMap;

use crate::id::{PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::core::Taken;
use crate::proto::flow::output::End;
use crate::proto::flow::policy::FlowSettings;
use crate::proto::flow::rules::{FlowRule, Target};
use crate::proto::flow::table::{Decision, FlowId, FlowTable, HandlerId};
use crate::proto::simulation::rng::Rng;
use crate::wire::zio::{Shape, Zio};

use crate::wire::message::Message;

use super::Seen;
use super::judge::Judge;
use super::party::Party;
use super::shell::{Link, Parcel, QUEUE, Shell};
use super::stranger::Stranger;

/// Microseconds of a millisecond.
pub(super) const MS: u64 = 1000;
pub(super) const SECOND: u64 = 1000 * MS;
/// When faults end, when strangers leave, and when everybody has to be done.
pub(super) const CALM: u64 = 12 * SECOND;
pub(super) const ALONE: u64 = 70 * SECOND;
const END: u64 = 400 * SECOND;
const TRACE_MAX: usize = 300;
/// An outbox that no honest end within MJP fills.
pub(super) const ROOMY: usize = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The broker reads the next message of a link.
    Up(usize),
    /// A peer reads the next message of a link.
    Down(usize),
    Act(usize),
    /// The factory answers: yes, no, or names the service.
    Decide(FlowId, u8),
    /// A handler comes for a flow.
    Send(FlowId),
    Offer,
    Fault,
    MemoryBack,
    Stop,
    Tick,
}

/// Who speaks on a link.
#[derive(Debug)]
pub(super) enum Actor {
    /// An honest client with as many flows to come.
    Client {
        link: usize,
        party: Option<Party>,
        left: u64,
    },
    Handler {
        party: Party,
        over: bool,
    },
    Stranger(Stranger),
}

pub(super) struct World {
    pub(super) table: FlowTable,
    /// What may wait for an end whose partner cannot be made to wait.
    pub(super) outbox: usize,
    pub(super) shell: Shell,
    pub(super) judge: Judge,
    pub(super) rng: Rng,
    pub(super) now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    pub(super) actors: Vec<Actor>,
    pub(super) acting: BTreeSet<usize>,
    /// Which actor speaks on a link.
    pub(super) by_link: Vec<usize>,
    pub(super) peers: SlotMap<PeerId, ()>,
    /// BOTs for handlers that were not sent yet.
    pub(super) bots: Vec<(FlowId, String, u64)>,
    pub(super) offers: Vec<(End, HandlerId)>,
    pub(super) flows: u64,
    tick: Option<Time>,
    seen: Seen,
    pub(super) trace: Option<VecDeque<String>>,
}

pub(super) fn service() -> ServiceName {
    ServiceName::try_from(&b"writer"[..]).unwrap()
}

fn settings(rng: &mut Rng) -> FlowSettings {
    let rule = |glob: &str, target| FlowRule {
        direction: None,
        attributes: vec![("stream".into(), glob.into())],
        target,
    };
    FlowSettings {
        rules: vec![rule("s1", Target::Service(service())), rule("s3", Target::Refuse)],
        otherwise: Target::Factory,
        decision_timeout: Duration::from_secs(2),
        handler_timeout: Duration::from_secs(4),
        end_timeout: Duration::from_secs(20),
        idle_after: Some(Duration::from_secs(3)),
        queue_bytes_max: QUEUE,
        lanes_max: rng.pick(&[1, 3, 100]),
        lane_bytes_max: rng.pick(&[1_500, 5_000, 1 << 20]),
        outbox_bytes_max: rng.pick(&[ROOMY, ROOMY, 300]),
        waiting_max: rng.pick(&[2, 4, 100]),
        ..FlowSettings::default()
    }
}

impl World {
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&seed.to_le_bytes());
        let settings = settings(&mut rng);
        let outbox = settings.outbox_bytes_max;
        let table = FlowTable::new(settings, secret);
        let mut world = Self {
            table,
            outbox,
            shell: Shell { memory: usize::MAX, outbox, ..Shell::default() },
            judge: Judge::default(),
            rng,
            now: 0,
            events: BinaryHeap::new(),
            count: 0,
            actors: Vec::new(),
            acting: BTreeSet::new(),
            by_link: Vec::new(),
            peers: SlotMap::with_key(),
            bots: Vec::new(),
            offers: Vec::new(),
            flows: 0,
            tick: None,
            seen: Seen::new(),
            trace: traced.then(VecDeque::new),
        };
        for _ in 0..world.rng.within(1, 3) {
            let left = world.rng.within(1, 4);
            let link = world.connect();
            world.enter(link, |link| Actor::Client { link, party: None, left });
        }
        for _ in 0..world.rng.pick(&[0, 0, 1, 2]) {
            let link = world.connect();
            world.enter(link, |link| Actor::Stranger(Stranger::new(link)));
        }
        for _ in 0..world.rng.within(2, 6) {
            let at = world.rng.within(0, CALM);
            world.at(at, Event::Fault);
        }
        world.at(0, Event::Offer);
        world.at(CALM, Event::Offer);
        if world.rng.one_in(4) {
            let at = world.rng.within(0, CALM + 5 * SECOND);
            world.at(at, Event::Stop);
        }
        world
    }

    pub(super) fn at(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    pub(super) fn after(&mut self, low: u64, high: u64, event: Event) {
        let at = self.now + self.rng.within(low, high);
        self.at(at, event);
    }

    pub(super) fn time(&self) -> Time {
        Time::default().after(Duration::from_micros(self.now))
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_MAX {
                trace.pop_front();
            }
            trace.push_back(format!("{:>9} {}", self.now / MS, text()));
        }
    }

    pub(super) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// What has happened, with what the table has counted.
    pub(super) fn seen(&self) -> Seen {
        let mut seen = self.seen.clone();
        let counted =
            self.table.dropped().iter().chain(self.table.refused()).chain(self.table.outcomes());
        counted.for_each(|(what, times)| *seen.entry(what).or_default() += times);
        *seen.entry("held").or_default() += self.shell.refusals;
        seen
    }

    pub(super) fn party_of(&self, end: End) -> Option<&Party> {
        let link = self.shell.by_end.get(&end)?;
        match self.actors.get(*self.by_link.get(*link)?)? {
            Actor::Client { party, .. } => party.as_ref(),
            Actor::Handler { party, .. } => Some(party),
            Actor::Stranger(_) => None,
        }
    }

    pub(super) fn is_honest(&self, end: End) -> bool {
        let link = self.shell.links.iter().position(|link| link.end == end);
        let actor = link.and_then(|link| self.by_link.get(link));
        !actor.is_some_and(|actor| matches!(self.actors[*actor], Actor::Stranger(_)))
    }

    pub(super) fn connect(&mut self) -> usize {
        let peer = self.peers.insert(());
        let end = if self.rng.one_in(2) { End { peer, lane: 1 } } else { End::of(peer) };
        self.connect_as(end)
    }

    pub(super) fn connect_as(&mut self, end: End) -> usize {
        let shape = match self.rng.within(0, 3) {
            _ if end.is_lane() => Shape::Bare,
            0 => Shape::Multipart,
            _ => Shape::Single,
        };
        let link = self.shell.links.len();
        self.shell.links.push(Link::new(end, shape));
        self.shell.by_end.insert(end, link);
        // A lane comes to be when it says something.
        assert!(end.is_lane() || self.table.join(end, shape));
        link
    }

    pub(super) fn enter(&mut self, link: usize, actor: impl FnOnce(usize) -> Actor) -> usize {
        let at = self.actors.len();
        self.actors.push(actor(link));
        self.by_link.resize(link + 1, usize::MAX);
        self.by_link[link] = at;
        self.soon(at);
        at
    }

    /// The actor acts, some time from now.
    pub(super) fn soon(&mut self, actor: usize) {
        if self.acting.insert(actor) {
            let slow = self.rng.one_in(20);
            self.after(MS, if slow { 4 * SECOND } else { 150 * MS }, Event::Act(actor));
        }
    }

    pub(super) fn run(&mut self) -> Result<(), String> {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > END {
                break;
            }
            self.now = at;
            self.note(|| format!("{event:?}"));
            self.step(event)?;
            self.settle();
            self.judge()?;
        }
        for (at, actor) in self.actors.iter().enumerate() {
            let (done, what) = match actor {
                Actor::Client { party, left, .. } => (*left == 0 && party.is_none(), "client"),
                Actor::Handler { over, .. } => (*over, "handler"),
                Actor::Stranger(_) => (true, "stranger"),
            };
            if !done {
                return Err(format!("{what} {at} has not ended: {actor:?}"));
            }
        }
        let left = (self.table.len(), self.shell.charged);
        if left == (0, 0) { Ok(()) } else { Err(format!("{left:?} is left behind")) }
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        let now = self.time();
        match event {
            Event::Up(link) => self.read(link),
            Event::Down(link) => return self.deliver(link),
            Event::Act(actor) => return self.act(actor),
            Event::Decide(flow, how) => {
                let decision = match how {
                    0 => Decision::Refuse,
                    1 => Decision::Service(service()),
                    _ => Decision::Accept,
                };
                self.table.decided(now, flow, decision, &mut self.shell);
            }
            Event::Send(flow) => self.send(flow),
            Event::Offer => self.offer(),
            Event::Fault => self.fault(),
            Event::MemoryBack => self.shell.memory = usize::MAX,
            Event::Stop => {
                self.judge.stopping = true;
                self.table.stop(now, Duration::from_secs(10), &mut self.shell);
            }
            Event::Tick => {
                self.tick = None;
                self.table.tick(now, &mut self.shell);
            }
        }
        Ok(())
    }

    /// Carries out what the table has said.
    fn settle(&mut self) {
        for (flow, bot) in std::mem::take(&mut self.shell.decide) {
            let (label, origin) = read(&bot);
            self.bots.push((flow, label, origin));
            // Yes, no, or the service; sometimes too late, and sometimes nobody comes.
            let how = self.rng.pick(&[0, 1, 2, 2, 2, 2, 2, 2]);
            let slow = self.rng.one_in(4);
            self.after(0, if slow { 2_200 * MS } else { 300 * MS }, Event::Decide(flow, how));
            if how == 2 && !self.rng.one_in(6) {
                self.after(0, if slow { 3 * SECOND } else { 400 * MS }, Event::Send(flow));
            }
        }
        for (_, flow, bot) in std::mem::take(&mut self.shell.assigned) {
            let (label, origin) = read(&bot);
            self.bots.retain(|(other, ..)| *other != flow);
            self.bots.push((flow, label, origin));
            match self.rng.within(0, 7) {
                0 => {
                    let now = self.time();
                    self.table.declined(now, flow, &mut self.shell);
                }
                1 => {}
                _ => self.after(0, SECOND, Event::Send(flow)),
            }
        }
        while let Some(link) = self.shell.deaf.pop() {
            self.saw("deaf");
            if self.shell.links[link].alive {
                self.cut(link);
            }
        }
        for link in std::mem::take(&mut self.shell.resumed) {
            self.shell.links[link].held = false;
            self.read_soon(link);
        }
        for link in std::mem::take(&mut self.shell.touched) {
            self.deliver_soon(link);
        }
        let due = self.table.next_timeout();
        if due != self.tick
            && let Some(due) = due
        {
            self.tick = Some(due);
            let at = u64::try_from(due.since(Time::default()).as_micros()).unwrap();
            self.at(at.max(self.now), Event::Tick);
        }
    }

    fn read_soon(&mut self, link: usize) {
        let it = &mut self.shell.links[link];
        if it.alive && !it.reading && !it.held && !it.up.is_empty() {
            it.reading = true;
            self.after(0, 40 * MS, Event::Up(link));
        }
    }

    fn deliver_soon(&mut self, link: usize) {
        let it = &mut self.shell.links[link];
        if it.alive && !it.delivering && !it.down.is_empty() {
            it.delivering = true;
            let from = it.stalled.saturating_sub(self.now);
            let slow = if self.rng.one_in(25) { SECOND } else { 40 * MS };
            self.after(from, from + slow, Event::Down(link));
        }
    }

    fn read(&mut self, link: usize) {
        let now = self.time();
        let it = &mut self.shell.links[link];
        it.reading = false;
        if !it.alive || it.held {
            return;
        }
        let (end, Some(parcel)) = (it.end, it.up.pop_front()) else { return };
        let message = parcel.message.clone();
        if end.is_lane() {
            self.table.lane(now, end, message.frames(), parcel.bytes, &mut self.shell);
            return self.read_soon(link);
        }
        match self.table.message(now, end, message.frames(), &mut self.shell) {
            Taken::Yes => {}
            Taken::NotYet => {
                let it = &mut self.shell.links[link];
                it.up.push_front(parcel);
                it.held = true;
            }
        }
        self.read_soon(link);
    }

    fn deliver(&mut self, link: usize) -> Result<(), String> {
        let now = self.time();
        let it = &mut self.shell.links[link];
        it.delivering = false;
        if !it.alive || it.stalled > self.now {
            self.deliver_soon(link);
            return Ok(());
        }
        let (end, shape) = (it.end, it.shape);
        let Some(parcel) = it.down.pop_front() else { return Ok(()) };
        it.bytes -= parcel.message.frames().bytes();
        let relieved = it.pressed && it.bytes <= QUEUE / 2;
        it.pressed &= !relieved;
        if relieved {
            self.table.relieved(end.peer, &mut self.shell);
        }
        self.deliver_soon(link);
        let actor = self.by_link[link];
        let party = match &mut self.actors[actor] {
            Actor::Client { party, .. } => party.as_mut(),
            Actor::Handler { party, .. } => Some(party),
            Actor::Stranger(_) => return Ok(()),
        };
        match party {
            Some(party) => party.hear(now, &parcel.message, shape, parcel.bytes)?,
            None => return Err(format!("actor {actor} is told something after its flow")),
        }
        self.soon(actor);
        Ok(())
    }

    pub(super) fn push(&mut self, link: usize, message: Message, bytes: Option<u64>) {
        let it = &mut self.shell.links[link];
        if it.alive {
            let bytes = bytes.filter(|_| it.end.is_lane());
            it.up.push_back(Parcel::new(message, bytes, it.shape));
            self.read_soon(link);
        }
    }
}

fn read(bot: &Message) -> (String, u64) {
    let zio = Zio::decode(Shape::Single, bot.frames()).unwrap();
    (zio.label.to_owned(), zio.coordinates.origin)
}
