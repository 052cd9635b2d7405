//! Core and naive broker side by side.

use std::time::Duration;

use super::model::{Expected, HEARTBEAT, Model, Role, worker_command};
use super::world::Event;
use super::{EXPIRY, INTERVAL, Scene, UNSERVED_TTL};
use crate::id::PeerId;
use crate::proto::output::CloseReason;

impl Scene {
    /// Nothing was said but what had to be, and the tables are sound.
    pub(super) fn check(&mut self) {
        self.match_expected();
        assert!(self.world.log.is_empty(), "nobody expected {:?}", self.world.log);
        self.settle();
    }

    /// Takes what was expected out of the log. The order counts peer by peer.
    fn match_expected(&mut self) {
        for expected in std::mem::take(&mut self.model.expected) {
            let at = self.world.log.iter().position(|(peer, _)| *peer == expected.peer);
            let Some(at) = at else { panic!("{expected:?} did not happen") };
            let (peer, event) = self.world.log.remove(at);
            let event = self.learn_address(&expected, event);
            assert_eq!(event, expected.event, "{peer:?}");
        }
    }

    /// The address of a request is the core's choice, and stays.
    fn learn_address(&mut self, expected: &Expected, event: Event) -> Event {
        let (Some((number, index)), Event::Send(mut frames)) = (expected.address, event.clone())
        else {
            return event;
        };
        let Some(address) = frames.get_mut(index).map(std::mem::take) else { return event };
        assert_eq!(address.len(), 8, "an address of {address:?}");
        let known = self.model.by_address(&address).map(|request| request.number);
        assert!(known.is_none_or(|known| known == number), "{address:?} is two requests");
        if let Some(request) = self.model.request(number) {
            let before = request.address.get_or_insert_with(|| address.clone());
            assert_eq!(*before, address, "request {number} has got another address");
        }
        self.addresses.push(address);
        Event::Send(frames)
    }

    /// Forgets who has gone, reads who may speak again, and audits.
    fn settle(&mut self) {
        self.peers.retain(|peer| self.model.peers.contains_key(peer));
        let resumed = std::mem::take(&mut self.world.resumed);
        self.blocked.retain(|(peer, _)| self.model.peers.contains_key(peer));
        for peer in &self.world.pinged {
            let takes = self.model.peers.get(peer).is_none_or(|peer| peer.takes_ping);
            assert!(takes, "{peer:?} does not know PING");
        }
        self.world.pinged.clear();
        if let Err(what) = self.core.audit() {
            panic!("{what}");
        }
        assert_eq!(self.world.charged, self.core.charged());
        self.compare_tables();
        for peer in resumed {
            let Some(model) = self.model.peers.get_mut(&peer) else { continue };
            model.paused = false;
            let at = self.blocked.iter().position(|(blocked, _)| *blocked == peer);
            if let Some(at) = at {
                let (_, message) = self.blocked.remove(at);
                self.deliver(peer, message);
            }
        }
    }

    fn compare_tables(&mut self) {
        let router = self.core.router();
        assert_eq!(router.open_requests(), self.model.requests.len());
        assert_eq!(router.services().count(), self.model.services.len());
        for view in router.services() {
            let name = view.name.as_bytes();
            let waiting = self.model.waiting(name);
            let in_flight =
                self.model.requests.iter().filter(|r| r.service == name).count() - waiting;
            assert_eq!(
                (view.workers, view.waiting, view.in_flight),
                (self.model.workers_of(name), waiting, in_flight),
                "{}",
                view.name
            );
        }
        let roles = |is: fn(Role) -> bool| self.model.peers.values().filter(|p| is(p.role)).count();
        let population = self.core.population();
        assert_eq!(population.unknown, roles(|role| role == Role::Unknown));
        assert_eq!(population.clients, roles(|role| matches!(role, Role::Client(_))));
        assert_eq!(population.workers, roles(|role| matches!(role, Role::Worker(_))));
    }

    /// Time has passed: the core gives up whom it likes, within reason.
    pub(super) fn tick(&mut self) {
        self.core.tick(self.now(), &mut self.world);
        self.follow(|model, id| {
            let peer = model.peers.get(&id).expect("a peer that is there");
            let silent = model.now.saturating_sub(peer.spoke);
            assert!(silent >= EXPIRY, "{id:?} was dismissed after {silent:?}");
        });
        self.expire_waiting();
        for worker in &self.model.workers {
            let idle = self.model.held(worker.peer).is_empty();
            let silent = self
                .model
                .peers
                .get(&worker.peer)
                .map_or(Duration::ZERO, |p| self.model.now - p.spoke);
            assert!(!idle || silent <= EXPIRY + INTERVAL, "an idle worker is kept for {silent:?}");
        }
        self.check();
        let room = !self.world.account_full && !self.model.draining;
        for (peer, _) in &self.blocked {
            let nothing_to_wait_for = self.model.requests.is_empty()
                && self.model.services.len() < self.model.settings.services_max;
            let is_paused = self.model.peers.get(peer).is_some_and(|peer| peer.paused);
            assert!(!(room && nothing_to_wait_for && is_paused), "{peer:?} waits for nothing");
        }
    }

    pub(super) fn dismiss_all(&mut self) {
        self.core.dismiss_all(self.now(), &mut self.world);
        self.follow(|_, _| {});
        assert!(self.model.workers.is_empty(), "somebody was left");
    }

    /// What the core began on its own, and what follows from it.
    fn follow(&mut self, may_dismiss: impl Fn(&Model, PeerId)) {
        while let Some((id, event)) = self.world.log.first().cloned() {
            let Some(peer) = self.model.peers.get(&id) else {
                panic!("{event:?} for one who has gone")
            };
            match (peer.role, &event) {
                (Role::Worker(version), Event::Send(frames))
                    if *frames == worker_command(version, HEARTBEAT) =>
                {
                    assert!(!self.world.unread.contains(&id), "a second heartbeat for {id:?}");
                    self.world.log.remove(0);
                }
                (Role::Worker(_), Event::Send(_)) => {
                    may_dismiss(&self.model, id);
                    if let Some(peer) = self.model.peers.get_mut(&id) {
                        peer.role = Role::Owed;
                    }
                    self.model.dismiss(id, &self.world);
                }
                (role, Event::Close(why)) => {
                    let named = |waits| peer.name.is_some() && peer.waits_for_name == waits;
                    assert!(
                        match why {
                            CloseReason::PingExpired => peer.ttl,
                            CloseReason::Silent => matches!(role, Role::Worker(_)),
                            CloseReason::IdentityInUse => named(true),
                            CloseReason::Replaced => named(false),
                            _ => false,
                        },
                        "{id:?} was closed: {why:?}"
                    );
                    self.world.log.remove(0);
                    self.model.remove(id, &self.world);
                }
                other => panic!("nobody expected {other:?}"),
            }
            self.match_expected();
        }
    }

    /// Requests wait for a service without workers for some time only; the core takes all that are
    /// due at once, and may be a little late.
    fn expire_waiting(&mut self) {
        let names: Vec<_> = self.model.services.iter().map(|s| s.name.clone()).collect();
        for name in names {
            let (now, policy) = (self.model.now, self.model.policy(&name));
            let Some(service) = self.model.service(&name) else { continue };
            let since = service.unserved_since;
            let (0, Some(ttl)) = (self.model.workers_of(&name), policy.unserved_ttl) else {
                continue;
            };
            let due: Vec<_> = self
                .model
                .requests
                .iter()
                .filter(|r| r.service == name && r.accepted_at.max(since) + ttl <= now)
                .map(|r| (r.number, now - ttl - r.accepted_at.max(since)))
                .collect();
            let views = self.core.router().services();
            let left: usize =
                views.filter(|v| v.name.as_bytes() == name).map(|view| view.waiting).sum();
            if left == self.model.waiting(&name) {
                let late = due.iter().map(|(_, late)| *late).max().unwrap_or_default();
                assert!(late <= UNSERVED_TTL / 8, "a request is kept {late:?} too long");
            } else {
                due.iter().for_each(|(number, _)| self.model.end(*number));
            }
        }
    }
}
