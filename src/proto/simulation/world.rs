//! The run: peers and the broker, one event after the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use crate::id::{Identity, PeerId};
use crate::proto::core::Core;
use crate::proto::flow::FlowId;
use crate::wire::Limits;
use crate::wire::codec::{Decoder, Item};
use crate::wire::command::Command;
use crate::wire::message::Message;

use super::actor::{Act, Actor, Context};
use super::fence::Fence;
use super::flow_peer::Role;
use super::judge::Judge;
use super::net::{Pipe, Sockets};
use super::plan::{MS, Plan};
use super::rng::Rng;

/// What happens, at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Join(usize),
    /// Octets reach the broker, or the peer.
    Up(usize),
    Down(usize),
    /// The end of the connection reaches the broker, or the peer.
    FinUp(usize),
    FinDown(usize),
    Resume(usize),
    Relieved(usize),
    Tick,
    /// An actor has something to do.
    Wake(usize),
    Fault,
    /// Rights change.
    Regrant,
    MemoryBack,
    /// The factory answers.
    Decide(FlowId, bool),
    /// A handler comes for a flow.
    Come(FlowId),
    Calm,
    Settled,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) actor: usize,
    pub(super) id: Option<PeerId>,
    pub(super) identity: Option<Identity>,
    pub(super) takes_ping: bool,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    /// The broker's side: what it reads with, and what it has not taken.
    pub(super) reader: Decoder,
    pub(super) reading: bool,
    pub(super) held: Option<Message>,
    pub(super) unread: Vec<u8>,
    pub(super) window: usize,
    ears: Decoder,
    /// Who still knows of it.
    pub(super) broker_has: bool,
    pub(super) peer_has: bool,
    pub(super) vanished: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: u64,
    epoch: Instant,
    seq: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    pub(super) core: Core,
    pub(super) sockets: Sockets,
    pub(super) conns: Vec<Conn>,
    pub(super) actors: Vec<Actor>,
    /// What they may do.
    pub(super) fences: Vec<Fence>,
    /// Their connection, when they are to be woken, until when their process stands still.
    pub(super) links: Vec<Option<usize>>,
    armed: Vec<Option<u64>>,
    pub(super) frozen: Vec<u64>,
    /// The broker does not run before that.
    pub(super) broker_until: u64,
    pub(super) memory: usize,
    /// BOTs of flows that somebody is to be sent for.
    pub(super) bots: BTreeMap<FlowId, Message>,
    pub(super) calm: bool,
    pub(super) settled: bool,
    pub(super) draining: bool,
    pub(super) faults: u32,
    pub(super) plan: Plan,
    /// The last events, if they are to be shown.
    pub(super) trace: Option<VecDeque<String>>,
}

impl World {
    /// Events at one moment.
    const AT_ONCE_MAX: u32 = 100_000;
    pub(super) const REQUESTS_MIN: u32 = 50;
    pub(super) const FAULTS_MIN: u32 = 5;

    #[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::draw(&mut rng);
        let actors = std::mem::take(&mut plan.actors);
        let epoch = Instant::now();
        let judge = Judge::new(plan.settings.clone());
        let mut world = Self {
            core: Core::new(plan.settings.clone(), seed, epoch),
            sockets: Sockets::new(judge, plan.outbox_max, plan.memory),
            rng,
            now: 0,
            epoch,
            seq: 0,
            events: BinaryHeap::new(),
            conns: Vec::new(),
            links: vec![None; actors.len()],
            armed: vec![None; actors.len()],
            frozen: vec![0; actors.len()],
            fences: vec![Fence::default(); actors.len()],
            actors,
            broker_until: 0,
            memory: plan.memory,
            bots: BTreeMap::new(),
            calm: false,
            settled: false,
            draining: false,
            faults: 0,
            plan,
            trace: traced.then(VecDeque::new),
        };
        for at in world.plan.faults.clone() {
            world.at(at, Event::Fault);
        }
        world.at(world.plan.calm_at, Event::Calm);
        world.at(world.plan.calm_at + 2_000 * MS, Event::Settled);
        world.at(0, Event::Tick);
        for actor in 0..world.actors.len() {
            world.fences[actor] = world.fence_of(actor);
            world.rearm(actor);
        }
        world
    }

    pub(super) fn at(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.events.push(Reverse((at, self.seq, event)));
    }

    pub(super) fn instant(&self) -> Instant {
        self.epoch + Duration::from_micros(self.now)
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        const LINES: usize = 60;
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            if trace.len() == LINES {
                trace.pop_front();
            }
            let (s, us) = (now / 1_000_000, now % 1_000_000);
            trace.push_back(format!("{s}.{us:06} {}", what()));
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// What did not hold.
    pub(super) fn run(&mut self) -> Result<(), String> {
        // A client of MDP/0.1 gives up one request after the other, if their answers are too big.
        let deadline = self.plan.calm_at + 60_000 * MS;
        let mut at_once = 0;
        while !self.is_done() || self.asks_more() {
            let Some(Reverse((at, _, event))) = self.events.pop() else { break };
            at_once = if at > self.now { 0 } else { at_once + 1 };
            self.now = self.now.max(at);
            self.sockets.judge.now = self.now;
            if at_once > Self::AT_ONCE_MAX {
                let actors: Vec<_> = self.actors.iter().zip(&self.links).collect();
                return Err(format!("time stands still at {event:?}\n{actors:#?}"));
            }
            if self.now > deadline {
                let open = self.core.router().open_requests();
                let actors: Vec<_> = self.actors.iter().zip(&self.links).collect();
                return Err(format!("does not drain: {open} requests are open\n{actors:#?}"));
            }
            self.take(event)?;
            if let Some(violation) = self.sockets.judge.violation.take() {
                return Err(violation);
            }
        }
        self.finish()
    }

    fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Up(_)
            | Event::FinUp(_)
            | Event::Join(_)
            | Event::Tick
            | Event::Resume(_)
            | Event::Relieved(_)
            | Event::Regrant
            | Event::Decide(..)
                if self.now < self.broker_until =>
            {
                self.at(self.broker_until, event);
                Ok(())
            }
            Event::Down(conn) => self.reach_peer(conn),
            Event::FinDown(conn) => self.end_at_peer(conn),
            Event::Wake(actor) => self.wake(actor),
            Event::Fault => self.fault(),
            Event::Come(flow) => self.come(flow),
            Event::MemoryBack => {
                self.sockets.memory = self.memory;
                Ok(())
            }
            Event::Calm => self.calm_down(),
            Event::Settled => {
                self.settled = true;
                self.sockets.judge.settled = true;
                let now = self.now;
                for actor in 0..self.actors.len() {
                    match &mut self.actors[actor] {
                        Actor::FlowPeer(peer) => peer.hurry(now),
                        Actor::Client(client) => client.probe(0),
                        Actor::NativeClient(client) => client.probe(0),
                        Actor::NfpClient(client) => client.probe(),
                        _ => {}
                    }
                    self.rearm(actor);
                }
                Ok(())
            }
            _ => self.broker(event),
        }
    }

    /// Everything was asked and has ended.
    fn is_done(&self) -> bool {
        let done = |actor: &Actor| match actor {
            Actor::Client(client) => client.is_done(),
            Actor::NativeClient(client) => client.is_done(),
            Actor::NfpClient(client) => client.is_done(),
            Actor::Repeater(client) => client.is_done(),
            Actor::FlowPeer(peer) => peer.is_done(),
            _ => true,
        };
        if self.draining {
            return self.core.is_drained();
        }
        self.settled
            && self.actors.iter().all(done)
            && self.core.router().open_requests() == 0
            && self.now > self.plan.calm_at + 2_100 * MS
    }

    /// Requests may have been refused and given up: more are asked, until the run has its size.
    fn asks_more(&mut self) -> bool {
        let more = Self::REQUESTS_MIN.saturating_sub(self.sockets.judge.accepted);
        if more == 0 {
            return false;
        }
        for actor in 0..self.actors.len() {
            match &mut self.actors[actor] {
                Actor::Client(client) => client.probe(more),
                Actor::NativeClient(client) => client.probe(more),
                _ => {}
            }
            self.rearm(actor);
        }
        true
    }

    // The peers.

    pub(super) fn rearm(&mut self, actor: usize) {
        let next = match &self.actors[actor] {
            Actor::Client(client) => client.next_wake(),
            Actor::Worker(worker) => worker.next_wake(),
            Actor::NativeClient(client) => client.next_wake(),
            Actor::Repeater(client) => client.next_wake(),
            Actor::NativeWorker(worker) => worker.next_wake(),
            Actor::NfpClient(client) => client.next_wake(),
            Actor::NfpWorker(worker) => worker.next_wake(),
            Actor::Servant(servant) => servant.next_wake(),
            Actor::FlowPeer(peer) => peer.next_wake(),
            Actor::FlowServer(server) => server.next_wake(),
            Actor::Stranger(stranger) => stranger.next_wake(),
        };
        let next = next.map(|at| at.max(self.now).max(self.frozen[actor]));
        if let Some(at) = next
            && self.armed[actor].is_none_or(|armed| armed > at || armed < self.now)
        {
            self.armed[actor] = Some(at);
            self.at(at, Event::Wake(actor));
        }
    }

    fn wake(&mut self, actor: usize) -> Result<(), String> {
        if self.armed[actor] == Some(self.now) {
            self.armed[actor] = None;
        }
        if self.now < self.frozen[actor] {
            self.rearm(actor);
            return Ok(());
        }
        self.act(actor, |who, cx| {
            match who {
                Actor::Client(client) => client.woken(cx),
                Actor::Worker(worker) => worker.woken(cx),
                Actor::NativeClient(client) => client.woken(cx),
                Actor::Repeater(client) => client.woken(cx),
                Actor::NativeWorker(worker) => worker.woken(cx),
                Actor::NfpClient(client) => client.woken(cx),
                Actor::NfpWorker(worker) => worker.woken(cx),
                Actor::Servant(servant) => return servant.woken(cx),
                Actor::FlowPeer(peer) => peer.woken(cx),
                Actor::FlowServer(server) => server.woken(cx),
                Actor::Stranger(stranger) => stranger.woken(cx),
            }
            Ok(())
        })
    }

    /// Has an actor do something, and does what it wants done.
    pub(super) fn act(
        &mut self,
        actor: usize,
        what: impl FnOnce(&mut Actor, &mut Context<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let asks = self.actors[actor].is_client();
        let gossips = !asks && !self.calm;
        let gossip = if gossips { self.sockets.judge.gossip(&mut self.rng) } else { None };
        let knows = gossips && self.sockets.judge.has_jobs();
        let gossip_of_jobs =
            if knows { self.sockets.judge.gossip_of_jobs(&mut self.rng) } else { None };
        let flows = self.flow_news(actor);
        let mut cx = Context {
            now: self.now,
            rng: &mut self.rng,
            calm: self.calm,
            gossip,
            gossip_of_jobs,
            flows,
            acts: Vec::new(),
            dismissed: false,
            deaf: false,
        };
        what(&mut self.actors[actor], &mut cx)?;
        let Context { acts, dismissed, deaf, flows, .. } = cx;
        self.sockets.judge.flows.judge.given.extend(flows.gave);
        self.sockets.judge.flows.judge.taken.extend(flows.took);
        flows.given.iter().for_each(|(token, bot)| self.given_flow(*token, bot));
        // A service may find no room where memory is short; its workers are sent away then.
        let room = self.memory > 1 << 20;
        if self.settled && room && (dismissed || deaf) {
            return Err(format!("healthy worker {actor} was dismissed ({dismissed}) or unheard"));
        }
        for act in acts {
            self.carry_out(actor, act);
        }
        self.rearm(actor);
        Ok(())
    }

    fn carry_out(&mut self, actor: usize, act: Act) {
        match act {
            Act::Connect => self.connect(actor),
            Act::Say(octets) => {
                if let Some(conn) = self.links[actor] {
                    self.sockets.judge.flows.sent(conn, &octets);
                    self.send_up(conn, octets);
                }
            }
            Act::Close | Act::Finish => {
                if let Some(conn) = self.links[actor].take() {
                    self.note(|| format!("actor {actor} closes {conn}"));
                    let lossy = matches!(act, Act::Close) && self.rng.one_in(2);
                    let link = &mut self.conns[conn];
                    link.peer_has = false;
                    link.down.kill();
                    if lossy {
                        link.up.cut(&mut self.rng);
                    }
                    link.up.dead = true;
                    let at = link.up.end_at(self.now);
                    self.at(at, Event::FinUp(conn));
                }
            }
            Act::Vanish => {
                if let Some(conn) = self.links[actor] {
                    self.vanish(conn);
                }
            }
        }
    }

    pub(super) fn vanish(&mut self, conn: usize) {
        self.note(|| format!("connection {conn} is half open"));
        let link = &mut self.conns[conn];
        link.peer_has = false;
        link.vanished = true;
        link.up.kill();
        link.down.kill();
        let actor = link.actor;
        if self.links[actor] == Some(conn) {
            self.links[actor] = None;
        }
    }

    fn connect(&mut self, actor: usize) {
        let conn = self.conns.len();
        let latency = self.rng.pick(&[MS / 10, MS, 20 * MS]);
        let stranger = match &self.actors[actor] {
            Actor::FlowPeer(peer) => matches!(peer.role, Role::Stranger(_)),
            other => matches!(other, Actor::Stranger(_)),
        };
        let name = match actor % 3 {
            _ if self.actors[actor].is_named() => Some(actor),
            _ if stranger && self.rng.one_in(3) => Some(self.rng.index(self.actors.len())),
            0 => Some(actor),
            _ => None,
        };
        let name = name.map(|name| format!("actor{name}"));
        self.conns.push(Conn {
            actor,
            id: None,
            identity: name.and_then(|name| Identity::try_from(name.as_bytes()).ok()),
            takes_ping: actor % 4 != 3,
            up: Pipe::new(latency),
            down: Pipe::new(latency),
            reader: Decoder::new(Limits::default()),
            reading: false,
            held: None,
            unread: Vec::new(),
            window: match &self.actors[actor] {
                Actor::FlowPeer(_) => self.rng.pick(&[120, 120, 65_536]),
                _ => self.rng.pick(&[200, 65_536, 65_536]),
            },
            ears: Decoder::new(Limits::default()),
            broker_has: false,
            peer_has: true,
            vanished: false,
        });
        self.sockets.add();
        self.note(|| format!("actor {actor} connects as {conn}"));
        self.at(self.now + latency, Event::Join(conn));
    }

    pub(super) fn send_up(&mut self, conn: usize, octets: Vec<u8>) {
        for at in self.conns[conn].up.push(self.now, octets, &mut self.rng) {
            self.at(at, Event::Up(conn));
        }
    }

    /// Octets have come to a peer.
    fn reach_peer(&mut self, conn: usize) -> Result<(), String> {
        let link = &mut self.conns[conn];
        let actor = link.actor;
        let not_before = link.down.stalled_until.max(self.frozen[actor]);
        if self.now < not_before {
            self.at(not_before, Event::Down(conn));
            return Ok(());
        }
        let Some(chunk) = link.down.pop() else { return Ok(()) };
        let mut ears = std::mem::replace(&mut link.ears, Decoder::new(Limits::default()));
        let mut rest = &chunk[..];
        while self.conns[conn].peer_has {
            let item = ears.next(&mut rest).map_err(|e| format!("the broker said {e}"))?;
            match item {
                None => break,
                Some(Item::Message(message)) => {
                    self.sockets.judge.flows.taken(conn, message);
                    self.act(actor, |who, cx| match who {
                        Actor::Client(client) => client.heard(message),
                        Actor::Worker(worker) => worker.heard(message, cx),
                        Actor::NativeClient(client) => client.heard(message),
                        Actor::Repeater(client) => client.heard(message),
                        Actor::NativeWorker(worker) => worker.heard(message, cx),
                        Actor::NfpClient(client) => client.heard(message, cx),
                        Actor::NfpWorker(worker) => worker.heard(message, cx),
                        Actor::Servant(servant) => servant.heard(message, cx),
                        Actor::FlowPeer(peer) => peer.heard(message, cx),
                        Actor::FlowServer(server) => server.heard(message, cx),
                        Actor::Stranger(stranger) => {
                            stranger.heard(message);
                            Ok(())
                        }
                    })?;
                }
                Some(Item::Command(body)) => {
                    let ping = Command::decode(body).map_err(|e| format!("the broker: {e}"))?;
                    if let Command::Ping { context, .. } = ping {
                        let takes = self.conns[conn].takes_ping;
                        if !takes {
                            return Err("a PING to a peer that knows none".into());
                        }
                        let mut pong = Vec::new();
                        Command::Pong { context }.encode(&mut pong);
                        self.send_up(conn, pong);
                    }
                }
            }
        }
        if ears.in_message()
            && let Actor::Servant(servant) = &mut self.actors[actor]
        {
            servant.hearing(self.now);
        }
        self.conns[conn].ears = ears;
        self.flush(conn);
        Ok(())
    }

    fn end_at_peer(&mut self, conn: usize) -> Result<(), String> {
        let link = &self.conns[conn];
        let actor = link.actor;
        let not_before = link.down.stalled_until.max(self.frozen[actor]);
        if self.now < not_before || !link.down.is_empty() {
            self.at(not_before.max(self.now + MS), Event::FinDown(conn));
            return Ok(());
        }
        if !std::mem::replace(&mut self.conns[conn].peer_has, false) {
            return Ok(());
        }
        self.note(|| format!("actor {actor} lost {conn}"));
        self.links[actor] = None;
        self.actor_lost(actor)
    }

    pub(super) fn actor_lost(&mut self, actor: usize) -> Result<(), String> {
        self.act(actor, |who, cx| {
            match who {
                Actor::Client(client) => client.lost(cx),
                Actor::Worker(worker) => worker.lost(cx),
                Actor::NativeClient(client) => client.lost(cx),
                Actor::Repeater(client) => client.lost(cx),
                Actor::NativeWorker(worker) => worker.lost(cx),
                Actor::NfpClient(client) => client.lost(cx),
                Actor::NfpWorker(worker) => worker.lost(cx),
                Actor::Servant(servant) => return servant.lost(cx),
                Actor::FlowPeer(peer) => peer.lost(cx),
                Actor::FlowServer(server) => server.lost(cx),
                Actor::Stranger(stranger) => stranger.lost(cx),
            }
            Ok(())
        })
    }
}
