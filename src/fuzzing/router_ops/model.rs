//! A naive broker: lists that are searched from end to end, and the rules in their plainest form.
//!
//! It predicts what every peer is told, in its order. It does not know when a silent peer is given
//! up: it is told, and predicts what follows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{Event, World};
use crate::id::PeerId;
use crate::proto::output::CloseReason;
use crate::proto::policy::{ServicePolicy, Settings};
use crate::wire::mdp::Version;

/// What a peer has shown itself to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Unknown,
    Client(Version),
    Worker(Version),
    /// Dismissed; one more DISCONNECT may follow.
    Owed,
    /// Dismissed; nothing may follow.
    Silent,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) role: Role,
    pub(super) takes_ping: bool,
    pub(super) name: Option<u8>,
    pub(super) waits_for_name: bool,
    pub(super) paused: bool,
    /// When it was last heard to say something.
    pub(super) spoke: Duration,
    pub(super) ttl: bool,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) peer: PeerId,
    pub(super) service: Vec<u8>,
    pub(super) version: Version,
    pub(super) congested: bool,
    pub(super) reserved: bool,
    pub(super) solo: bool,
    /// How many it had in flight when it last got in line, and when that was.
    pub(super) listed: Option<(usize, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) name: Vec<u8>,
    /// Clients in the order of their turns, with the numbers of their waiting requests.
    pub(super) turns: Vec<(PeerId, Vec<u64>)>,
    pub(super) unserved_since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Waiting,
    Suspect,
    /// At a worker, with the moment of its delivery.
    At(PeerId, u64),
}

#[derive(Debug)]
pub(super) struct Request {
    /// Its place in the order of acceptance.
    pub(super) number: u64,
    pub(super) service: Vec<u8>,
    pub(super) caller: PeerId,
    pub(super) version: Version,
    pub(super) envelope: Vec<Vec<u8>>,
    pub(super) body: Vec<Vec<u8>>,
    pub(super) place: Place,
    pub(super) accepted_at: Duration,
    pub(super) losses: u32,
    pub(super) solo_losses: u32,
    pub(super) answering: bool,
    pub(super) parts: Vec<Vec<u8>>,
    pub(super) overflow: bool,
    pub(super) last_holder: Option<PeerId>,
    /// The address under which workers know it, once one was given it.
    pub(super) address: Option<Vec<u8>>,
}

/// Something that has to be said or done to a peer.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) peer: PeerId,
    pub(super) event: Event,
    /// The number of the request whose address stands in the frame of that index.
    pub(super) address: Option<(u64, usize)>,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) settings: Settings,
    pub(super) now: Duration,
    pub(super) draining: bool,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    /// Registered workers; a peer is one at most.
    pub(super) workers: Vec<Worker>,
    pub(super) services: Vec<Service>,
    pub(super) requests: Vec<Request>,
    pub(super) accepted: u64,
    pub(super) stamp: u64,
    pub(super) expected: Vec<Expected>,
    pub(super) doomed: Vec<PeerId>,
}

impl Model {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: Duration::ZERO,
            draining: false,
            peers: BTreeMap::new(),
            workers: Vec::new(),
            services: Vec::new(),
            requests: Vec::new(),
            accepted: 0,
            stamp: 0,
            expected: Vec::new(),
            doomed: Vec::new(),
        }
    }

    pub(super) fn tell(&mut self, peer: PeerId, frames: Vec<Vec<u8>>) {
        self.expected.push(Expected { peer, event: Event::Send(frames), address: None });
    }

    pub(super) fn policy(&self, service: &[u8]) -> ServicePolicy {
        self.settings.policy_of(service).clone()
    }

    pub(super) fn service(&mut self, name: &[u8]) -> Option<&mut Service> {
        self.services.iter_mut().find(|service| service.name == name)
    }

    pub(super) fn worker(&mut self, peer: PeerId) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.peer == peer)
    }

    pub(super) fn request(&mut self, number: u64) -> Option<&mut Request> {
        self.requests.iter_mut().find(|request| request.number == number)
    }

    pub(super) fn by_address(&self, address: &[u8]) -> Option<&Request> {
        self.requests.iter().find(|request| request.address.as_deref() == Some(address))
    }

    /// What a worker holds, in the order of delivery.
    pub(super) fn held(&self, peer: PeerId) -> Vec<u64> {
        let mut held: Vec<_> = self
            .requests
            .iter()
            .filter_map(|request| match request.place {
                Place::At(holder, stamp) if holder == peer => Some((stamp, request.number)),
                _ => None,
            })
            .collect();
        held.sort_unstable();
        held.into_iter().map(|(_, number)| number).collect()
    }

    pub(super) fn suspects(&self, service: &[u8]) -> Vec<u64> {
        let mine = self.requests.iter().filter(|r| r.service == service);
        let mut suspects: Vec<_> =
            mine.filter(|r| r.place == Place::Suspect).map(|r| r.number).collect();
        suspects.sort_unstable();
        suspects
    }

    pub(super) fn waiting(&self, service: &[u8]) -> usize {
        let mine = self.requests.iter().filter(|request| request.service == service);
        mine.filter(|request| !matches!(request.place, Place::At(..))).count()
    }

    pub(super) fn workers_of(&self, service: &[u8]) -> usize {
        self.workers.iter().filter(|worker| worker.service == service).count()
    }

    pub(super) fn make_service(&mut self, name: &[u8]) {
        if self.service(name).is_none() {
            let unserved_since = self.now;
            self.services.push(Service { name: name.into(), turns: Vec::new(), unserved_since });
        }
    }

    /// Whether the service is there or may be made.
    pub(super) fn may_have_service(&mut self, name: &[u8]) -> bool {
        let room = self.services.len() < self.settings.services_max;
        self.service(name).is_some() || room
    }

    pub(super) fn forget_if_empty(&mut self, name: &[u8]) {
        let asked = self.requests.iter().any(|request| request.service == name);
        if !asked && self.workers_of(name) == 0 {
            self.services.retain(|service| service.name != name);
        }
    }

    /// Says an answer, or a part of it, to the caller.
    pub(super) fn answer(&mut self, number: u64, last: bool, body: &[Vec<u8>], world: &World) {
        let max = self.settings.answer_frames_max;
        let Some(request) = self.requests.iter().find(|request| request.number == number) else {
            return;
        };
        let caller = request.caller;
        if !self.peers.contains_key(&caller)
            || request.overflow
            || request.parts.len() + body.len() > max
        {
            return;
        }
        if world.full.contains(&caller) {
            self.doomed.push(caller);
            return;
        }
        let mut frames = request.envelope.clone();
        frames.extend(client_header(request.version, last));
        frames.push(request.service.clone());
        frames.extend(request.parts.iter().chain(body).cloned());
        self.tell(caller, frames);
    }

    pub(super) fn end(&mut self, number: u64) {
        let Some(at) = self.requests.iter().position(|request| request.number == number) else {
            return;
        };
        let request = self.requests.remove(at);
        self.leave_lane(&request.service, request.caller, number);
        self.forget_if_empty(&request.service);
    }

    pub(super) fn leave_lane(&mut self, service: &[u8], caller: PeerId, number: u64) {
        /// So many clients keep their turns without a request; beyond that all of them lose it.
        const TURNS_KEPT: usize = 64;
        let Some(service) = self.service(service) else { return };
        let turns = &mut service.turns;
        if let Some((_, lane)) = turns.iter_mut().find(|(peer, _)| *peer == caller) {
            lane.retain(|other| *other != number);
            let waiting: usize = turns.iter().map(|(_, lane)| lane.len()).sum();
            if turns.len() > TURNS_KEPT + 2 * waiting {
                turns.retain(|(_, lane)| !lane.is_empty());
            }
        }
    }

    /// A peer has gone, for whatever reason.
    pub(super) fn remove(&mut self, peer: PeerId, world: &World) {
        let Some(gone) = self.peers.remove(&peer) else { return };
        self.lose(peer, world);
        let mine = |r: &&Request| r.caller == peer && !matches!(r.place, Place::At(..));
        let waiting: Vec<_> = self.requests.iter().filter(mine).map(|r| r.number).collect();
        for number in waiting {
            self.end(number);
        }
        self.dispatch_all(world);
        if let (Some(name), false) = (gone.name, gone.waits_for_name) {
            let mut others = self.peers.values_mut();
            if let Some(heir) = others.find(|other| other.name == Some(name)) {
                heir.waits_for_name = false;
            }
        }
    }

    /// Ends the peers that could not be told something, the last one first.
    pub(super) fn end_doomed(&mut self, world: &World) {
        while let Some(peer) = self.doomed.pop() {
            if self.peers.contains_key(&peer) {
                let event = Event::Close(CloseReason::SlowReader);
                self.expected.push(Expected { peer, event, address: None });
                self.remove(peer, world);
            }
        }
    }
}

/// The frames before the service in an answer, behind the envelope.
pub(super) fn client_header(version: Version, last: bool) -> Vec<Vec<u8>> {
    match version {
        Version::V01 => vec![b"MDPC01".to_vec()],
        Version::V02 => vec![b"MDPC02".to_vec(), vec![if last { 3 } else { 2 }]],
    }
}

/// A command for a worker, as RFC 7 and RFC 18 number them.
pub(super) fn worker_command(version: Version, octets: [u8; 2]) -> Vec<Vec<u8>> {
    match version {
        Version::V01 => vec![vec![], b"MDPW01".to_vec(), vec![octets[0]]],
        Version::V02 => vec![b"MDPW02".to_vec(), vec![octets[1]]],
    }
}

pub(super) const REQUEST: [u8; 2] = [2, 2];
pub(super) const HEARTBEAT: [u8; 2] = [4, 5];
pub(super) const DISCONNECT: [u8; 2] = [5, 6];
