//! The broker's side: what `broker/connection.rs` does over sockets, and the end of a run.

use std::time::Duration;

use crate::proto::clock::{Clock, Time};
use crate::proto::core::{Admission, Core, Hello, Taken};
use crate::proto::rights::Verb;
use crate::proto::witness;
use crate::wire::codec::Item;
use crate::wire::command::Command;
use crate::wire::mdp::{ToBroker, Version};
use crate::wire::message::Frames;
use crate::wire::mjp::{self, is_mjp};
use crate::wire::nfp::{self, is_nfp};
use crate::wire::zio::Shape;

use super::actor::{Act, Actor};
use super::fence::{Fence, principal_of};
use super::judge::Dialect;
use super::net::{Call, Sockets};
use super::plan::MS;
use super::repeater::is_keyed;
use super::tag::Tag;
use super::world::{Event, World};

impl World {
    /// Something happens at the broker.
    pub(super) fn broker(&mut self, event: Event) -> Result<(), String> {
        let time = self.core.time(self.instant()).since(Time::default());
        self.sockets.judge.time = u64::try_from(time.as_micros()).unwrap();
        match event {
            Event::Join(conn) => self.join(conn)?,
            Event::Up(conn) => {
                let link = &mut self.conns[conn];
                if self.now < link.up.stalled_until {
                    let at = link.up.stalled_until;
                    self.at(at, event);
                    return Ok(());
                }
                let Some(chunk) = link.up.pop().filter(|_| link.broker_has) else { return Ok(()) };
                self.read(conn, &chunk)?;
            }
            Event::FinUp(conn) => {
                let link = &self.conns[conn];
                if !link.up.is_empty() && link.reading {
                    let at = link.up.stalled_until.max(self.now + MS);
                    self.at(at, event);
                    return Ok(());
                }
                self.leave(conn);
            }
            Event::Resume(conn) => self.resume(conn)?,
            Event::Regrant => self.regrant(),
            Event::Decide(flow, yes) => self.decide(flow, yes),
            Event::Relieved(conn) => {
                if let Some(id) = self.conns[conn].id.filter(|_| self.conns[conn].broker_has) {
                    self.sockets.judge.pressed(conn, false);
                    self.core.relieved(self.instant(), id, &mut self.sockets);
                }
            }
            _ => {
                self.core.tick(self.instant(), &mut self.sockets);
                self.sockets.judge.check_deadlines();
                self.sockets.judge.check_forgotten(&self.core.router().jobs);
                let next = self.core.next_timeout();
                let wait = next.map_or(Clock::TICK_MAX, |at| {
                    let until = at.saturating_duration_since(self.instant());
                    until.clamp(Duration::from_millis(5), Clock::TICK_MAX)
                });
                self.at(self.now + u64::try_from(wait.as_micros()).unwrap(), Event::Tick);
            }
        }
        self.after_input()
    }

    /// What has to follow every input.
    pub(super) fn after_input(&mut self) -> Result<(), String> {
        for call in std::mem::take(&mut self.sockets.calls) {
            match call {
                Call::Flush(conn) => self.flush(conn),
                Call::Resume(conn) => {
                    let at = self.now + self.rng.within(1, 200);
                    self.at(at, Event::Resume(conn));
                }
                Call::Close(conn) => self.hang_up(conn),
            }
        }
        self.after_flows();
        if let Some(violation) = self.sockets.judge.violation.take() {
            return Err(violation);
        }
        let router = self.core.router();
        self.sockets.judge.step(|name| router.is_served(name));
        if let Some(violation) = self.sockets.judge.violation.take() {
            return Err(violation);
        }
        self.sockets.judge.check_jobs(&self.core.router().jobs);
        if let Some(violation) = self.sockets.judge.violation.take() {
            return Err(violation);
        }
        self.core.audit()?;
        self.check_fences()?;
        let (told, charged) = (self.sockets.charged, self.core.charged());
        if told != charged {
            return Err(format!("{told} octets were charged, the tables have {charged}"));
        }
        Ok(())
    }

    fn join(&mut self, conn: usize) -> Result<(), String> {
        let link = &self.conns[conn];
        if !link.peer_has {
            return Ok(());
        }
        let (actor, takes_ping) = (link.actor, link.takes_ping);
        let identity = link.identity.clone();
        let principal = principal_of(actor, &self.actors[actor], self.plan.nfp);
        let grants = self.fences[actor].grants();
        let shape = match &self.actors[actor] {
            Actor::FlowPeer(peer) => Some(peer.shape),
            _ => None,
        };
        // What a DEALER speaks its first message tells.
        let told = shape.filter(|shape| *shape == Shape::Single);
        let hello =
            Hello { identity, takes_ping, principal, grants, shape: told, ..Hello::default() };
        let (id, admission) = self.core.join(self.instant(), hello, &mut self.sockets);
        self.note(|| format!("{conn} joins: {admission:?}"));
        let label = match admission {
            Admission::Open => "open",
            Admission::Wait => "wait",
            Admission::Refused(_) => "refused",
        };
        witness::saw("peer", "joined", label);
        if let Admission::Refused(_) = admission {
            let at = self.conns[conn].down.end_at(self.now);
            self.at(at, Event::FinDown(conn));
            return Ok(());
        }
        self.sockets.open(id, conn);
        if matches!(self.actors[actor], Actor::FlowPeer(_) | Actor::FlowServer(_)) {
            self.sockets.judge.flows.joined(conn, id, actor, shape);
        }
        let link = &mut self.conns[conn];
        link.id = Some(id);
        link.broker_has = true;
        link.reading = admission == Admission::Open;
        if link.reading {
            self.introduce(conn, id);
        }
        self.links[actor] = Some(conn);
        let number = u32::try_from(conn).unwrap();
        self.act(actor, |who, cx| {
            match who {
                Actor::Client(client) => client.connected(number),
                Actor::Worker(worker) => worker.connected(number, cx),
                Actor::NativeClient(client) => client.connected(number, cx),
                Actor::Repeater(client) => client.connected(number),
                Actor::NativeWorker(worker) => worker.connected(number, cx),
                Actor::NfpClient(client) => client.connected(number),
                Actor::NfpWorker(worker) => worker.connected(number, cx),
                Actor::Servant(servant) => return servant.connected(cx),
                Actor::FlowPeer(peer) => peer.connected(number, cx),
                Actor::FlowServer(server) => server.connected(number, cx),
                Actor::Stranger(stranger) => stranger.connected(number, cx),
            }
            Ok(())
        })
    }

    /// Whoever is read has its name; one that waits for the name of another has none yet.
    fn introduce(&mut self, conn: usize, id: crate::id::PeerId) {
        let token = slotmap::Key::data(&id).as_ffi();
        let name = self.conns[conn].identity.as_ref().map(ToString::to_string);
        let name = name.unwrap_or_else(|| format!("~{token:016x}"));
        self.sockets.judge.joined(conn, name);
    }

    /// Octets have come: all that is in them, as one turn.
    fn read(&mut self, conn: usize, octets: &[u8]) -> Result<(), String> {
        if !self.conns[conn].reading {
            self.conns[conn].unread.extend_from_slice(octets);
            return Ok(());
        }
        let now = self.instant();
        let Self { core, sockets, conns, actors, fences, .. } = self;
        let link = &mut conns[conn];
        let Some(id) = link.id else { return Ok(()) };
        core.hear(now, id, false);
        let (mut rest, mut spoke) = (octets, false);
        let mut pongs = Vec::new();
        let (tracked, fence) = (actors[link.actor].is_client(), &fences[link.actor]);
        while let Some(item) = link.reader.next(&mut rest).map_err(|e| format!("a peer: {e}"))? {
            match item {
                Item::Message(frames) => {
                    if !std::mem::replace(&mut spoke, true) {
                        core.hear(now, id, true);
                        sockets.judge.spoke(conn);
                    }
                    let taken = tell(core, sockets, now, (conn, id), frames, (tracked, fence));
                    if taken == Taken::NotYet {
                        link.held = Some(frames.to_message());
                        link.unread = rest.to_vec();
                        link.reading = false;
                        break;
                    }
                }
                Item::Command(body) => match Command::decode(body) {
                    Ok(Command::Ping { ttl_deciseconds, context }) => {
                        Command::Pong { context }.encode(&mut pongs);
                        let ttl = Duration::from_millis(100 * u64::from(ttl_deciseconds));
                        core.pinged(now, id, ttl);
                    }
                    Ok(Command::Pong { .. }) => core.ponged(id),
                    other => return Err(format!("a peer said {other:?}")),
                },
            }
        }
        if link.reading && link.reader.in_message() {
            core.hear(now, id, true);
            sockets.judge.spoke(conn);
        }
        if !pongs.is_empty() {
            sockets.append(conn, &pongs);
        }
        self.note(|| format!("{conn} said {} octets", octets.len()));
        Ok(())
    }

    fn resume(&mut self, conn: usize) -> Result<(), String> {
        let link = &mut self.conns[conn];
        let Some(id) = link.id.filter(|_| link.broker_has) else { return Ok(()) };
        self.note(|| format!("{conn} is read again"));
        self.introduce(conn, id);
        let link = &mut self.conns[conn];
        link.reading = true;
        if let Some(message) = link.held.take() {
            let (actor, now) = (link.actor, self.instant());
            let Self { core, sockets, actors, fences, .. } = self;
            let who = (actors[actor].is_client(), &fences[actor]);
            if tell(core, sockets, now, (conn, id), message.frames(), who) == Taken::NotYet {
                let link = &mut self.conns[conn];
                link.held = Some(message);
                link.reading = false;
                return Ok(());
            }
        }
        let unread = std::mem::take(&mut self.conns[conn].unread);
        if unread.is_empty() { Ok(()) } else { self.read(conn, &unread) }
    }

    fn leave(&mut self, conn: usize) {
        let link = &mut self.conns[conn];
        if !std::mem::replace(&mut link.broker_has, false) {
            return;
        }
        link.up.kill();
        // What was not written goes with the connection.
        self.sockets.take(conn, usize::MAX);
        if let Some(id) = link.id {
            self.note(|| format!("{conn} leaves"));
            self.sockets.shut(id);
            self.sockets.judge.lost(conn);
            self.core.leave(self.instant(), id, &mut self.sockets);
        }
    }

    /// The broker has ended a connection: what waits is written, then the peer is told.
    fn hang_up(&mut self, conn: usize) {
        self.note(|| format!("the broker closes {conn}"));
        let link = &mut self.conns[conn];
        link.broker_has = false;
        link.up.kill();
        let rest = self.sockets.take(conn, usize::MAX);
        self.send_down(conn, rest);
        let at = self.conns[conn].down.end_at(self.now);
        self.conns[conn].down.dead = true;
        self.at(at, Event::FinDown(conn));
    }

    /// Writes what the connection takes.
    pub(super) fn flush(&mut self, conn: usize) {
        let link = &self.conns[conn];
        if link.vanished || !link.broker_has {
            return;
        }
        let room = link.window.saturating_sub(link.down.octets());
        let octets = self.sockets.take(conn, room);
        self.send_down(conn, octets);
        if self.sockets.is_relieved(conn) {
            self.at(self.now, Event::Relieved(conn));
        }
    }

    fn send_down(&mut self, conn: usize, octets: Vec<u8>) {
        for at in self.conns[conn].down.push(self.now, octets, &mut self.rng) {
            self.at(at, Event::Down(conn));
        }
    }

    /// Nothing goes wrong from now on.
    pub(super) fn calm_down(&mut self) -> Result<(), String> {
        self.note(|| "calm".into());
        self.calm = true;
        self.broker_until = self.now;
        self.sockets.memory = self.memory;
        self.frozen.fill(0);
        for conn in 0..self.conns.len() {
            let link = &mut self.conns[conn];
            link.window = 65_536;
            (link.up.stalled_until, link.down.stalled_until) = (0, 0);
            if link.vanished {
                self.at(self.now + MS, Event::FinUp(conn));
            } else {
                self.flush(conn);
            }
        }
        for actor in 0..self.actors.len() {
            let now = self.now;
            self.act(actor, |who, cx| {
                match who {
                    Actor::Client(client) => client.calm_down(),
                    Actor::Worker(worker) => worker.calm_down(now),
                    Actor::NativeClient(client) => client.calm_down(),
                    Actor::Repeater(client) => client.calm_down(),
                    Actor::NativeWorker(worker) => worker.calm_down(now),
                    Actor::NfpClient(client) => client.calm_down(),
                    Actor::NfpWorker(worker) => worker.calm_down(cx),
                    Actor::Servant(servant) => servant.calm_down(),
                    Actor::FlowPeer(peer) => {
                        if peer.calm_down() {
                            cx.act(Act::Close);
                        }
                    }
                    Actor::FlowServer(_) => {}
                    Actor::Stranger(stranger) => {
                        if stranger.calm_down().is_some() {
                            cx.act(Act::Close);
                        }
                    }
                }
                Ok(())
            })?;
        }
        self.at(self.now, Event::Regrant);
        if self.plan.drains {
            self.at(self.plan.calm_at + 2_050 * MS, Event::Fault);
        }
        Ok(())
    }

    /// The end: everybody goes, and nothing is left.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        let judge = &self.sockets.judge;
        if judge.accepted < Self::REQUESTS_MIN || self.faults < Self::FAULTS_MIN {
            let (accepted, faults) = (judge.accepted, self.faults);
            return Err(format!("a run of {accepted} requests and {faults} faults is too small"));
        }
        if self.draining {
            self.sockets.judge.is_over = true;
            self.core.dismiss_all(self.instant(), &mut self.sockets);
            self.after_input()?;
            if self.core.population().workers > 0 {
                return Err("workers are left after everybody was dismissed".into());
            }
        }
        for conn in 0..self.conns.len() {
            self.leave(conn);
            self.after_input()?;
        }
        // What was asked under keys waits for who might come back, until nobody serves it too long.
        for _ in 0..40 {
            self.now += 50 * MS;
            self.sockets.judge.now = self.now;
            let now = self.instant();
            self.sockets.judge.time = self.core.time(now).micros_since(Time::default());
            self.core.tick(now, &mut self.sockets);
            self.after_input()?;
        }
        let (router, open) = (self.core.router(), self.core.router().open_requests());
        if router.jobs.open() > 0 {
            return Err(format!("{} jobs are open, and everybody has gone", router.jobs.open()));
        }
        let services = self.core.router().services().count();
        // Jobs, answers and dead letters are remembered for some time.
        let charged = self.sockets.charged - self.core.router().jobs.charged();
        let charged = charged - self.core.router().keys.charged();
        let charged = charged - self.core.router().dead.charged();
        if open > 0 || services > 0 || charged > 0 {
            return Err(format!("{open} requests, {services} services, {charged} octets are left"));
        }
        let stats = self.core.router().forgotten();
        let ended: u64 = stats.ended.iter().sum();
        if stats.accepted != ended {
            return Err(format!("{} requests were accepted, {ended} ended", stats.accepted));
        }
        self.sockets.judge.close()
    }
}

/// Gives a message to the core, and tells the judge of it. What is beyond the rights of the peer the
/// judge does not hear of: to him it was never asked.
fn tell(
    core: &mut Core,
    sockets: &mut Sockets,
    now: std::time::Instant,
    peer: (usize, crate::id::PeerId),
    frames: Frames<'_>,
    (tracked, fence): (bool, &Fence),
) -> Taken {
    if sockets.judge.flows.has(peer.0) {
        sockets.judge.end_turn();
        let taken = core.message(now, peer.1, frames, sockets);
        if taken == Taken::Yes {
            sockets.judge.flows.taken(peer.0, frames);
        }
        return taken;
    }
    let denied = |core: &Core| core.denied().find(|(verb, _)| *verb == Verb::Call);
    let (beyond, before) = (fence.forbids(frames), denied(core));
    let taken = if is_mjp(frames) {
        tell_natively(core, sockets, now, peer, frames, (tracked, beyond))
    } else if is_nfp(frames) {
        tell_in_nfp(core, sockets, now, peer, frames, beyond)
    } else {
        tell_in_mdp(core, sockets, now, peer, frames, (tracked, beyond))
    };
    if !beyond && denied(core) != before {
        sockets.judge.fail(|| format!("{} was denied what it may do", peer.0));
    }
    taken
}

/// As [`tell`], of a message of Majordomo.
fn tell_in_mdp(
    core: &mut Core,
    sockets: &mut Sockets,
    now: std::time::Instant,
    (conn, id): (usize, crate::id::PeerId),
    frames: Frames<'_>,
    (tracked, beyond): (bool, bool),
) -> Taken {
    let decoded = ToBroker::decode(frames);
    let mut asked = None;
    let speaks = decoded.is_ok() && sockets.judge.speaks(conn, Dialect::Mdp);
    match &decoded {
        _ if !speaks => {}
        Ok(ToBroker::Request(request)) => {
            let tag = request.body.clone().next().and_then(Tag::decode);
            // What was read together with something that ended the peer comes to nothing.
            let counts = !request.service.starts_with(b"mmi.") && !sockets.judge.is_gone(conn);
            asked = tag.filter(|_| counts && !beyond);
            if let Some(tag) = asked {
                let streams = request.version == Version::V02;
                sockets.judge.asked(tag, request.service, streams, tracked);
            }
        }
        Ok(ToBroker::Worker(version, command)) => {
            sockets.judge.commanded(conn, *version, command);
        }
        Err(_) => {}
    }
    let taken = core.message(now, id, frames, sockets);
    match asked {
        Some(tag) if taken == Taken::NotYet => sockets.judge.refused(tag),
        Some(tag) if tracked => sockets.judge.accepted(tag),
        _ => {}
    }
    taken
}

/// As [`tell`], of a message of MJP.
fn tell_natively(
    core: &mut Core,
    sockets: &mut Sockets,
    now: std::time::Instant,
    (conn, id): (usize, crate::id::PeerId),
    frames: Frames<'_>,
    (tracked, beyond): (bool, bool),
) -> Taken {
    let decoded = mjp::ToBroker::decode(frames);
    let decides = !matches!(&decoded, Err(rejected) if rejected.why == mjp::Malformed::NoKind);
    let speaks = decides && sockets.judge.speaks(conn, Dialect::Mjp);
    let (mut asked, mut scattered) = (None, None);
    match &decoded {
        Ok(mjp::ToBroker::Scatter(scatter)) if speaks && !sockets.judge.is_gone(conn) => {
            scattered = scatter.body.clone().next().and_then(Tag::decode);
            scattered.into_iter().for_each(|tag| sockets.judge.scattered(conn, scatter, tag));
        }
        Ok(mjp::ToBroker::Request(request)) if speaks && !sockets.judge.is_gone(conn) => {
            let tag = request.body.clone().next().and_then(Tag::decode);
            if let Some(tag) = tag.filter(|tag| is_keyed(*tag)) {
                let lax = core.router().keys.stats().evicted > 0 || sockets.judge.forgets();
                sockets.judge.asked_keyed(conn, request, tag, lax);
                let running = |core: &Core| core.router().keys.len() - core.router().keys.done();
                let attached = |core: &Core| core.router().keys.stats().attached;
                let before = (running(core), attached(core));
                let taken = core.message(now, id, frames, sockets);
                let begun = running(core) > before.0;
                let counts = begun || attached(core) > before.1;
                sockets.judge.keyed_taken((conn, request.id), tag, begun, counts);
                return taken;
            }
            let counts = !request.says.service.starts_with(b"mmi.");
            asked = tag.filter(|_| counts && !beyond);
            sockets.judge.asked_natively(conn, request, asked, tracked);
        }
        Ok(mjp::ToBroker::Ready(_)) if beyond => sockets.judge.end_turn(),
        Ok(said) if speaks => sockets.judge.said_by_native(conn, said),
        Err(rejected) if speaks => sockets.judge.unreadable(conn, rejected),
        _ => sockets.judge.end_turn(),
    }
    let taken = core.message(now, id, frames, sockets);
    sockets.judge.topics_taken();
    if let Some(tag) = scattered {
        sockets.judge.scatter_taken(tag);
    } else if sockets.judge.taken_natively(asked)
        && let Some(tag) = asked.filter(|_| tracked)
    {
        sockets.judge.accepted(tag);
    }
    if taken == Taken::NotYet {
        sockets.judge.fail(|| format!("{conn} speaks MJP and is not read"));
    }
    taken
}

/// As [`tell`], of a message of NFP.
fn tell_in_nfp(
    core: &mut Core,
    sockets: &mut Sockets,
    now: std::time::Instant,
    (conn, id): (usize, crate::id::PeerId),
    frames: Frames<'_>,
    beyond: bool,
) -> Taken {
    sockets.judge.end_turn();
    if let Ok(said) = nfp::ToBroker::decode(frames)
        && sockets.judge.speaks(conn, Dialect::Nfp)
        && !sockets.judge.is_gone(conn)
    {
        if beyond {
            sockets.judge.ready_is_denied(conn);
        } else {
            sockets.judge.told_in_nfp(conn, &said, &core.router().jobs);
        }
    }
    let taken = core.message(now, id, frames, sockets);
    sockets.judge.end_turn();
    taken
}
