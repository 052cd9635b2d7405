//! What may happen, and how a fuzzer says it: three octets choose what, who and how.

use std::time::Duration;

use super::model::{Peer, Role};
use super::{SERVICES, Scene};
use crate::fuzzing::pieces::{Choices, bodies};
use crate::id::{Identity, PeerId};
use crate::proto::clock::Clock;
use crate::proto::core::{Admission, Hello, Taken};
use crate::proto::rights::Grants;
use crate::wire::mdp::Version;
use crate::wire::message::{LARGE, Message};

/// Most peers at a time.
const PEERS_MAX: usize = 12;
/// How much time passes between two ticks.
const TICK: Duration = Duration::from_millis(250);

impl Scene {
    pub(super) fn step(&mut self, choices: &mut Choices<'_>) {
        let [what, who, how] = [(); 3].map(|()| choices.octet());
        let what = what % 24;
        if self.peers.is_empty() || what < 2 {
            return self.join(who, how);
        }
        let Some(&peer) = self.peers.get(usize::from(who) % self.peers.len()) else { return };
        match what {
            0..=15 => {
                let frames = self.frames(what, peer, how, choices);
                self.say(peer, frames);
            }
            16 => self.ping(peer, how),
            17 => {
                self.world.pressed.insert(peer);
            }
            18 => self.relieve(peer),
            19 => self.toggle(peer, how),
            20 => self.leave(peer),
            21..=22 => self.pass(how),
            _ => self.rarely(how),
        }
    }

    fn frames(
        &mut self,
        what: u8,
        peer: PeerId,
        how: u8,
        choices: &mut Choices<'_>,
    ) -> Vec<Vec<u8>> {
        match what {
            0..=6 => self.request_of(peer, how),
            7..=8 => self.command(peer, how, [1, 1], vec![service(how).to_vec()]),
            9..=11 => self.answer(peer, how, choices.octet(), [3, 4]),
            12 => self.answer(peer, how, choices.octet(), [9, 3]),
            13 => self.command(peer, how, [4, 5], vec![]),
            14 => self.command(peer, how, [5, 6], vec![]),
            _ => anything(how, choices),
        }
    }

    /// The version a peer spoke before, or chooses now; now and then it slips into the other.
    fn version(&self, peer: PeerId, how: u8) -> Version {
        let own = match self.model.peers.get(&peer).map(|peer| peer.role) {
            Some(Role::Client(version) | Role::Worker(version)) => version,
            _ if how & 64 == 0 => Version::V01,
            _ => Version::V02,
        };
        match (own, how >= 0xf8) {
            (Version::V01, false) | (Version::V02, true) => Version::V01,
            (Version::V02, false) | (Version::V01, true) => Version::V02,
        }
    }

    fn join(&mut self, who: u8, how: u8) {
        if self.peers.len() >= PEERS_MAX {
            return;
        }
        let name = (how >= 0xe0).then_some(b'a' + how % 2);
        let takes_ping = who.is_multiple_of(2);
        let identity = name.map(|name| Identity::try_from(&[name][..]).expect("a name"));
        let grants = Grants::all_but_admin();
        let hello = Hello { identity, takes_ping, grants, ..Hello::default() };
        let (id, admission) = self.core.join(self.now(), hello, &mut self.world);
        let mut namesakes: Vec<_> =
            self.model.peers.values().filter(|peer| name.is_some() && peer.name == name).collect();
        namesakes.sort_by_key(|peer| peer.waits_for_name);
        match (&namesakes[..], admission) {
            ([], Admission::Open) => {}
            ([holder], Admission::Wait) => assert!(holder.takes_ping && !holder.paused),
            ([holder], Admission::Refused(_)) => assert!(!holder.takes_ping || holder.paused),
            ([_, _], Admission::Refused(_)) => {}
            other => panic!("{other:?} for a newcomer"),
        }
        if !matches!(admission, Admission::Refused(_)) {
            self.peers.push(id);
            let peer = Peer {
                role: Role::Unknown,
                takes_ping,
                name,
                waits_for_name: admission == Admission::Wait,
                paused: false,
                spoke: self.model.now,
                ttl: false,
            };
            self.model.peers.insert(id, peer);
        }
        self.check();
    }

    /// A body unlike any other, now and then of several frames or of a large one.
    fn body(&mut self, how: u8) -> Vec<Vec<u8>> {
        self.bodies += 1;
        let mut body = vec![self.bodies.to_be_bytes().to_vec()];
        match how % 16 {
            13 => body.extend([vec![], b"more".to_vec()]),
            14 => body.insert(0, vec![7; LARGE]),
            15 => body.extend(vec![b"x".to_vec(); 3]),
            _ => {}
        }
        body
    }

    fn request_of(&mut self, peer: PeerId, how: u8) -> Vec<Vec<u8>> {
        let mut frames = match self.version(peer, how) {
            Version::V01 if how % 7 == 6 => vec![b"hop".to_vec(), vec![], b"MDPC01".to_vec()],
            Version::V01 => vec![vec![], b"MDPC01".to_vec()],
            Version::V02 => vec![b"MDPC02".to_vec(), vec![1]],
        };
        frames.push(service(how).to_vec());
        match service(how) {
            b"mmi.service" => frames.push(service(how >> 3).to_vec()),
            _ => frames.extend(self.body(how >> 2)),
        }
        frames
    }

    fn command(&self, peer: PeerId, how: u8, octets: [u8; 2], rest: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut frames = match self.version(peer, how) {
            Version::V01 => vec![vec![], b"MDPW01".to_vec(), vec![octets[0]]],
            Version::V02 => vec![b"MDPW02".to_vec(), vec![octets[1]]],
        };
        frames.extend(rest);
        frames
    }

    /// An answer to something that the peer holds, that somebody held once, or that nobody did.
    fn answer(&mut self, peer: PeerId, how: u8, which: u8, octets: [u8; 2]) -> Vec<Vec<u8>> {
        let held = self.model.held(peer);
        let address = match which {
            0..=199 if !held.is_empty() => {
                let number = held.get(usize::from(which) % held.len()).copied();
                number.and_then(|number| self.model.request(number)?.address.clone())
            }
            0..=239 if !self.addresses.is_empty() => {
                self.addresses.get(usize::from(which) % self.addresses.len()).cloned()
            }
            _ => Some(vec![which; usize::from(which % 16)]),
        };
        let mut rest = vec![address.unwrap_or_default(), vec![]];
        rest.extend(self.body(how));
        self.command(peer, how, octets, rest)
    }

    /// The peer says something, unless it is not read.
    fn say(&mut self, peer: PeerId, frames: Vec<Vec<u8>>) {
        let read = self.model.peers.get(&peer).is_some_and(|p| !p.paused && !p.waits_for_name);
        if read {
            self.deliver(peer, Message::new(frames));
        }
    }

    pub(super) fn deliver(&mut self, peer: PeerId, message: Message) {
        let now = self.now();
        self.core.hear(now, peer, true);
        let taken = self.core.message(now, peer, message.frames(), &mut self.world) == Taken::Yes;
        let expected = self.model.hear(peer, message.frames(), &self.world);
        assert_eq!(taken, expected, "taken: {:?}", bodies(message.frames()));
        if !taken {
            self.blocked.push((peer, message));
            if let Some(peer) = self.model.peers.get_mut(&peer) {
                peer.paused = true;
            }
        }
        self.check();
    }

    fn ping(&mut self, peer: PeerId, how: u8) {
        let now = self.now();
        let read = self.model.peers.get_mut(&peer).filter(|p| !p.paused && !p.waits_for_name);
        let Some(model) = read else { return };
        self.core.hear(now, peer, false);
        match how % 4 {
            0 => {
                let ttl = Duration::from_millis(u64::from(how) * 20);
                model.ttl = !ttl.is_zero();
                self.core.pinged(now, peer, ttl);
            }
            _ => self.core.ponged(peer),
        }
        self.check();
    }

    fn relieve(&mut self, peer: PeerId) {
        self.world.pressed.remove(&peer);
        self.core.relieved(self.now(), peer, &mut self.world);
        self.model.relieve(peer, &self.world);
        self.check();
    }

    fn toggle(&mut self, peer: PeerId, how: u8) {
        let set = if how.is_multiple_of(3) { &mut self.world.unread } else { &mut self.world.full };
        if !set.remove(&peer) {
            set.insert(peer);
        }
    }

    pub(super) fn leave(&mut self, peer: PeerId) {
        self.core.leave(self.now(), peer, &mut self.world);
        self.model.remove(peer, &self.world);
        self.check();
    }

    fn pass(&mut self, how: u8) {
        if how == 0xff {
            // A stall of our own: nobody is to suffer for it.
            self.clock += Duration::from_secs(60);
            self.model.now += Clock::TICK_MAX;
            return self.tick();
        }
        for _ in 0..=how % 32 {
            self.clock += TICK;
            self.model.now += TICK;
            self.tick();
        }
    }

    fn rarely(&mut self, how: u8) {
        match how {
            0..=7 => {
                self.core.drain(self.now(), Duration::from_secs(10), &mut self.world);
                self.model.draining = true;
            }
            8..=15 => self.dismiss_all(),
            _ => self.world.account_full = !self.world.account_full,
        }
        self.check();
    }
}

fn service(how: u8) -> &'static [u8] {
    SERVICES.get(usize::from(how % 8)).copied().unwrap_or(b"plain")
}

/// Frames as the fuzzer likes them.
fn anything(how: u8, choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
    let frame = |_| match choices.octet() {
        0xf0 => b"MDPC01".to_vec(),
        0xf1 => b"MDPC02".to_vec(),
        0xf2 => b"MDPW01".to_vec(),
        0xf3 => b"MDPW02".to_vec(),
        0xf4 => b"plain".to_vec(),
        0xf5 => vec![b's'; 256],
        len => choices.octets(usize::from(len % 16)).to_vec(),
    };
    (0..=how % 8).map(frame).collect()
}
