//! What happens between peers, said in messages.

mod admin;
mod audit;
mod between;
mod caller;
mod credit;
mod dead;
mod deadline;
mod depot;
mod disk;
mod explain;
mod flow;
mod group;
mod keys;
mod late;
mod lease;
mod limits;
mod memory;
mod native;
mod nfp;
mod retried;
mod retry;
mod rights;
mod roster;
mod scatter;
mod status;
mod talk;
mod titanic;
mod topics;

use std::time::{Duration, Instant};

use slotmap::SecondaryMap;

use super::{Core, Denial, Hello, Taken};
use crate::id::PeerId;
use crate::proto::output::{CloseReason, Output, Pressure};
use crate::proto::policy::{ServicePolicy, Settings};
use crate::proto::rights::Grants;
use crate::wire::Limits;
use crate::wire::codec::{Decoder, Encoder, Item};
use crate::wire::mdp::{Answer, FromWorker, Request, ToClient, ToWorker, Version};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::is_mjp;

use Version::V02;

/// Keeps what is said to each peer.
#[derive(Default)]
struct Said {
    to: SecondaryMap<PeerId, Vec<Message>>,
    charged: usize,
    /// Their outboxes take no answer.
    full: Vec<PeerId>,
    /// Nobody takes an answer of more octets, if that is said.
    room: Option<usize>,
    /// Much waits in their outboxes.
    pressed: Vec<PeerId>,
    closed: Vec<(PeerId, CloseReason)>,
    resumed: Vec<PeerId>,
    /// The memory account takes no new work.
    account_full: bool,
    /// What was denied: the right, and for what.
    denied: Vec<String>,
    /// The memory account takes new work up to so many octets, if that is said.
    memory: Option<usize>,
}

impl Output for Said {
    fn send(&mut self, peer: PeerId, write: impl FnOnce(&mut Encoder)) -> Pressure {
        let message = message(write);
        self.to.entry(peer).unwrap().or_default().push(message);
        Pressure::Low
    }

    fn offer(&mut self, peer: PeerId, bytes: usize, write: impl FnOnce(&mut Encoder)) -> bool {
        let fits = self.room.is_none_or(|room| bytes <= room) && !self.full.contains(&peer);
        fits && self.send(peer, write) == Pressure::Low
    }

    fn spare(
        &mut self,
        peer: PeerId,
        bytes: usize,
        _: usize,
        write: impl FnOnce(&mut Encoder),
    ) -> bool {
        let fits = !self.account_full && !self.pressed.contains(&peer);
        fits && self.offer(peer, bytes, write)
    }

    fn pass(
        &mut self,
        peer: PeerId,
        bytes: usize,
        _: usize,
        write: impl FnOnce(&mut Encoder),
    ) -> bool {
        self.offer(peer, bytes, write)
    }

    fn is_full(&mut self, peer: PeerId, _: usize) -> bool {
        self.full.contains(&peer)
    }

    fn is_quiet(&mut self, _: PeerId) -> bool {
        true
    }

    fn ping(&mut self, _: PeerId) {}

    fn resume(&mut self, peer: PeerId) {
        self.resumed.push(peer);
    }

    fn close(&mut self, peer: PeerId, why: CloseReason) {
        self.closed.push((peer, why));
    }

    fn charge(&mut self, bytes: usize) -> bool {
        let fits = self.would_take(bytes, 0);
        self.charged += if fits { bytes } else { 0 };
        fits
    }

    fn would_take(&self, bytes: usize, freed: usize) -> bool {
        !self.account_full
            && self.memory.is_none_or(|memory| self.charged + bytes <= memory + freed)
    }

    fn take(&mut self, bytes: usize) {
        self.charged += bytes;
    }

    fn release(&mut self, bytes: usize) {
        self.charged -= bytes;
    }

    fn has_room(&self) -> bool {
        !self.account_full
    }

    fn denied(&mut self, _: PeerId, denial: &Denial<'_>) {
        self.denied.push(format!("{} {}", denial.verb, denial.what.escape_ascii()));
    }
}

fn message(write: impl FnOnce(&mut Encoder)) -> Message {
    let mut encoder = Encoder::default();
    write(&mut encoder);
    let octets = encoder.take_buffer();
    let mut decoder = Decoder::new(Limits::default());
    match decoder.next(&mut &octets[..]) {
        Ok(Some(Item::Message(frames))) => frames.to_message(),
        other => panic!("no message: {other:?}"),
    }
}

/// A broker in which no time passes.
struct Desk {
    core: Core,
    said: Said,
    now: Instant,
    /// How much of what was said to each peer a test has looked at.
    read: SecondaryMap<PeerId, usize>,
}

impl Desk {
    fn new(policy: ServicePolicy) -> Self {
        Self::with(Settings { policy, ..Settings::default() })
    }

    #[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
    fn with(settings: Settings) -> Self {
        let now = Instant::now();
        let core = Core::new(settings, 0, now);
        Self { core, said: Said::default(), now, read: SecondaryMap::new() }
    }

    fn say(&mut self, peer: PeerId, write: impl FnOnce(&mut Encoder)) {
        let said = message(write);
        let mut taken = self.core.message(self.now, peer, said.frames(), &mut self.said);
        // Who speaks MJP only waits for its turn.
        while taken == Taken::NotYet && is_mjp(said.frames()) {
            assert_eq!(self.said.resumed.pop(), Some(peer), "its turn comes by itself");
            taken = self.core.message(self.now, peer, said.frames(), &mut self.said);
        }
        self.check();
    }

    /// The tables are sound, and what was charged is what they have.
    fn check(&self) {
        self.core.audit().unwrap();
        assert_eq!(self.said.charged, self.core.charged());
    }

    /// Time passes; nobody stalls.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = until.min(self.now + Duration::from_millis(50));
            self.core.tick(self.now, &mut self.said);
            self.check();
        }
    }

    fn join(&mut self) -> PeerId {
        self.core.join(self.now, Hello::default(), &mut self.said).0
    }

    /// A peer that may do what it likes to, but for administration.
    fn guest(&mut self) -> PeerId {
        let hello = Hello { grants: Grants::all_but_admin(), ..Hello::default() };
        self.core.join(self.now, hello, &mut self.said).0
    }

    fn leave(&mut self, peer: PeerId) {
        self.core.leave(self.now, peer, &mut self.said);
        self.check();
    }

    fn worker(&mut self) -> PeerId {
        let peer = self.join();
        self.say(peer, |out| FromWorker::Ready { service: b"echo" }.encode(V02, out));
        peer
    }

    fn ask(&mut self, client: PeerId, body: &'static [u8]) {
        let body = Message::new([body]);
        let envelope = Frames::default();
        self.say(client, |out| {
            Request { version: V02, envelope, service: b"echo", body: body.frames() }.encode(out);
        });
    }

    fn answer(&mut self, worker: PeerId, address: &[u8], last: bool) {
        let body = Message::new([&b"answer"[..]]);
        let answer = Answer { address, body: body.frames() };
        let command = if last { FromWorker::Final(answer) } else { FromWorker::Partial(answer) };
        self.say(worker, |out| command.encode(V02, out));
    }

    /// A second READY: the worker is sent away, and its connection stays.
    fn dismiss(&mut self, worker: PeerId) {
        self.say(worker, |out| FromWorker::Ready { service: b"echo" }.encode(V02, out));
    }

    /// The requests a worker was given: addresses and bodies.
    fn given(&self, worker: PeerId) -> Vec<(Vec<u8>, Vec<u8>)> {
        let said = self.said.to.get(worker).into_iter().flatten();
        said.filter_map(|message| match ToWorker::decode(message.frames()) {
            Ok((_, ToWorker::Request(mut request))) => {
                Some((request.address.to_vec(), request.body.take_first()?.to_vec()))
            }
            _ => None,
        })
        .collect()
    }

    /// The answers a client was given: whether each is the last.
    fn answered(&self, client: PeerId) -> Vec<bool> {
        let said = self.said.to.get(client).into_iter().flatten();
        said.map(|message| ToClient::decode(message.frames()).unwrap().last).collect()
    }
}
