//! How the naive broker routes: who is served next, by whom, and what becomes of what was lost.

use super::model::{DISCONNECT, Expected, Model, Place, REQUEST, Worker, worker_command};
use super::world::{Event, World};
use crate::id::PeerId;
use crate::wire::mdp::Version;

/// Losses after which a request is delivered alone.
const SUSPECT: u32 = 2;

impl Model {
    /// The worker to be served next: fewest in flight, then longest in line.
    fn next_worker(&self, service: &[u8]) -> Option<PeerId> {
        let mine = self.workers.iter().filter(|worker| worker.service == service);
        let listed = mine.filter_map(|worker| Some((worker.listed?, worker.peer)));
        listed.min().map(|(_, peer)| peer)
    }

    /// The next request in the turn of the clients, out of its lane.
    fn next_request(&mut self, service: &[u8]) -> Option<u64> {
        let service = self.service(service)?;
        while !service.turns.is_empty() {
            let (caller, mut lane) = service.turns.remove(0);
            if lane.is_empty() {
                continue;
            }
            let number = lane.remove(0);
            if !lane.is_empty() {
                service.turns.push((caller, lane));
            }
            return Some(number);
        }
        None
    }

    fn has_queue(&self, service: &[u8]) -> bool {
        self.requests.iter().any(|r| r.service == service && r.place == Place::Waiting)
    }

    /// Gets the worker in line at the end of those with as many in flight, or out of it.
    fn line_up(&mut self, peer: PeerId) {
        let in_flight = self.held(peer).len();
        let Self { workers, settings, stamp, .. } = self;
        let Some(worker) = workers.iter_mut().find(|worker| worker.peer == peer) else { return };
        let credit = settings.policy_of(&worker.service).prefetch as usize;
        let free = !worker.congested && !worker.reserved && !worker.solo && in_flight < credit;
        let level = free.then_some(in_flight);
        if worker.listed.map(|(level, _)| level) != level {
            worker.listed = level.map(|level| (level, *stamp));
            *stamp += 1;
        }
    }

    fn deliver(&mut self, peer: PeerId, number: u64, world: &World) {
        let stamp = self.stamp;
        self.stamp += 1;
        let Some(request) = self.request(number) else { return };
        request.place = Place::At(peer, stamp);
        let body = request.body.clone();
        let Some(worker) = self.worker(peer) else { return };
        let mut frames = worker_command(worker.version, REQUEST);
        let index = frames.len();
        worker.congested |= world.pressed.contains(&peer);
        frames.extend([vec![], vec![]]);
        frames.extend(body);
        let (event, address) = (Event::Send(frames), Some((number, index)));
        self.expected.push(Expected { peer, event, address });
        self.line_up(peer);
    }

    /// A request that is in no place gets into one.
    pub(super) fn place(&mut self, number: u64, world: &World) {
        let Some(request) = self.request(number) else { return };
        let service = request.service.clone();
        match self.next_worker(&service) {
            Some(worker) if !self.has_queue_beside(&service, number) => {
                self.deliver(worker, number, world);
            }
            _ => self.wait(number),
        }
    }

    fn has_queue_beside(&self, service: &[u8], number: u64) -> bool {
        let mut mine = self.requests.iter().filter(|r| r.service == service && r.number != number);
        mine.any(|r| r.place == Place::Waiting)
    }

    fn wait(&mut self, number: u64) {
        let Some(request) = self.request(number) else { return };
        let (caller, returned) = (request.caller, request.losses > 0);
        if request.losses >= SUSPECT {
            request.place = Place::Suspect;
            return;
        }
        request.place = Place::Waiting;
        let service = request.service.clone();
        let Some(service) = self.service(&service) else { return };
        match service.turns.iter_mut().find(|(peer, _)| *peer == caller) {
            Some((_, lane)) => {
                lane.push(number);
                lane.sort_unstable();
            }
            // A request that comes back was waited for before: its client is next.
            None if returned => service.turns.insert(0, (caller, vec![number])),
            None => service.turns.push((caller, vec![number])),
        }
    }

    /// Waiting requests meet workers with credit.
    pub(super) fn dispatch(&mut self, service: &[u8], world: &World) {
        self.dispatch_suspects(service, world);
        while self.has_queue(service)
            && let Some(worker) = self.next_worker(service)
            && let Some(number) = self.next_request(service)
        {
            self.deliver(worker, number, world);
        }
    }

    pub(super) fn dispatch_all(&mut self, world: &World) {
        let names: Vec<_> = self.services.iter().map(|service| service.name.clone()).collect();
        for name in names {
            self.dispatch(&name, world);
        }
    }

    /// One worker at a time is emptied for the oldest suspect.
    fn dispatch_suspects(&mut self, service: &[u8], world: &World) {
        loop {
            let mut mine = self.workers.iter().filter(|worker| worker.service == service);
            let reserved = mine.find(|worker| worker.reserved).map(|worker| worker.peer);
            let Some(&number) = self.suspects(service).first() else {
                if let Some(peer) = reserved {
                    self.reserve(peer, false);
                }
                return;
            };
            let next = self.next_worker(service);
            // Whoever has nothing takes the place of one that is being emptied.
            let free = |peer: &PeerId| self.is_free(*peer);
            let free = reserved.filter(free).or_else(|| next.filter(free));
            let Some(peer) = free.or(reserved).or(next) else { return };
            if reserved != Some(peer) {
                self.reserve(peer, true);
                if let Some(other) = reserved {
                    self.reserve(other, false);
                }
            }
            if free.is_none() {
                return;
            }
            let Some(worker) = self.worker(peer) else { return };
            (worker.reserved, worker.solo) = (false, true);
            self.deliver(peer, number, world);
        }
    }

    fn is_free(&self, peer: PeerId) -> bool {
        let mut workers = self.workers.iter();
        let there = workers.find(|worker| worker.peer == peer).is_some_and(|it| !it.congested);
        there && self.held(peer).is_empty()
    }

    fn reserve(&mut self, peer: PeerId, reserved: bool) {
        if let Some(worker) = self.worker(peer) {
            worker.reserved = reserved;
        }
        self.line_up(peer);
    }

    pub(super) fn relieve(&mut self, peer: PeerId, world: &World) {
        let Some(worker) = self.worker(peer) else { return };
        worker.congested = false;
        let service = worker.service.clone();
        self.line_up(peer);
        self.dispatch(&service, world);
    }

    pub(super) fn register(
        &mut self,
        peer: PeerId,
        version: Version,
        service: &[u8],
        world: &World,
    ) {
        self.make_service(service);
        self.workers.push(Worker {
            peer,
            service: service.into(),
            version,
            congested: false,
            reserved: false,
            solo: false,
            listed: None,
        });
        self.line_up(peer);
        self.dispatch(service, world);
    }

    /// The holder's last answer.
    pub(super) fn finish(&mut self, peer: PeerId, number: u64, body: &[Vec<u8>], world: &World) {
        self.answer(number, true, body, world);
        self.end(number);
        let idle = self.held(peer).is_empty();
        let Some(worker) = self.worker(peer) else { return };
        worker.solo &= !idle;
        let service = worker.service.clone();
        self.line_up(peer);
        self.dispatch(&service, world);
    }

    /// A part of the holder's answer.
    pub(super) fn part(&mut self, number: u64, body: &[Vec<u8>], world: &World) {
        let max = self.settings.answer_frames_max;
        let Some(request) = self.request(number) else { return };
        if request.version == Version::V02 {
            request.answering = true;
            self.answer(number, false, body, world);
        } else if !request.overflow && request.parts.len() + body.len() < max && !world.account_full
        {
            request.parts.extend(body.iter().cloned());
        } else {
            request.parts.clear();
            request.overflow = true;
        }
    }

    /// The last answer of one who lost the request and lives.
    pub(super) fn finish_late(&mut self, peer: PeerId, number: u64, body: &[Vec<u8>], w: &World) {
        let Some(request) = self.request(number) else { return };
        if request.last_holder != Some(peer) || matches!(request.place, Place::At(..)) {
            return;
        }
        let service = request.service.clone();
        self.answer(number, true, body, w);
        self.end(number);
        self.dispatch(&service, w);
    }

    /// Says DISCONNECT to a worker and takes it out.
    pub(super) fn dismiss(&mut self, peer: PeerId, world: &World) {
        let Some(worker) = self.worker(peer) else { return };
        let frames = worker_command(worker.version, DISCONNECT);
        self.tell(peer, frames);
        self.lose(peer, world);
    }

    /// A worker is lost. What it held goes back, the newest first.
    pub(super) fn lose(&mut self, peer: PeerId, world: &World) {
        let Some(at) = self.workers.iter().position(|worker| worker.peer == peer) else { return };
        let held = self.held(peer);
        let service = self.workers.remove(at).service;
        for number in held.into_iter().rev() {
            self.give_back(peer, number);
        }
        let now = self.now;
        if self.workers_of(&service) == 0
            && let Some(service) = self.service(&service)
        {
            service.unserved_since = now;
        }
        self.dispatch(&service, world);
        self.forget_if_empty(&service);
    }

    fn give_back(&mut self, peer: PeerId, number: u64) {
        let Some(request) = self.requests.iter_mut().find(|r| r.number == number) else { return };
        let policy = self.settings.policy_of(&request.service);
        if request.losses >= SUSPECT {
            request.solo_losses += 1;
        }
        request.losses += 1;
        // An answer whose first parts are lost is not taken late.
        let said_part = request.answering || request.overflow || !request.parts.is_empty();
        request.last_holder = (!said_part).then_some(peer);
        let gone = !self.peers.contains_key(&request.caller);
        let once = policy.at_most_once || request.answering && !policy.resend_after_partial;
        if gone || once || request.solo_losses >= policy.attempts {
            self.end(number);
        } else {
            request.parts.clear();
            request.overflow = false;
            self.wait(number);
        }
    }
}
