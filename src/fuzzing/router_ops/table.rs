//! What the naive broker does with what a peer says, in the state that the peer is in.

use super::model::{DISCONNECT, Model, Place, Request, Role, client_header, worker_command};
use super::world::World;
use crate::fuzzing::pieces::bodies;
use crate::id::PeerId;
use crate::wire::mdp::{self, Answer, FromWorker, ToBroker, Version};
use crate::wire::message::Frames;

/// Longest name of a service, octets.
const NAME_MAX: usize = 255;

impl Model {
    /// A peer says something. False: there is no room for it, and the peer is not read for now.
    pub(super) fn hear(&mut self, id: PeerId, message: Frames<'_>, world: &World) -> bool {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id) else { return true };
        peer.spoke = now;
        let taken = match ToBroker::decode(message) {
            Ok(ToBroker::Request(request)) => self.hear_request(id, &request, world),
            Ok(ToBroker::Worker(version, command)) => {
                self.hear_command(id, version, &command, world);
                true
            }
            Err(_) => true,
        };
        self.end_doomed(world);
        taken
    }

    fn role(&mut self, id: PeerId) -> Role {
        self.peers.get(&id).map_or(Role::Silent, |peer| peer.role)
    }

    fn become_role(&mut self, id: PeerId, role: Role) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.role = role;
        }
    }

    fn disconnect(&mut self, id: PeerId, version: Version, then: Role) {
        self.tell(id, worker_command(version, DISCONNECT));
        self.become_role(id, then);
    }

    fn hear_request(&mut self, id: PeerId, request: &mdp::Request<'_>, world: &World) -> bool {
        match self.role(id) {
            Role::Unknown => self.become_role(id, Role::Client(request.version)),
            Role::Client(version) if version == request.version => {}
            Role::Worker(_) => {
                self.become_role(id, Role::Owed);
                self.dismiss(id, world);
                return true;
            }
            Role::Client(_) | Role::Owed | Role::Silent => return true,
        }
        if request.service.starts_with(b"mmi.") {
            self.answer_mmi(id, request, world);
            return true;
        }
        self.accept(id, request, world)
    }

    fn answer_mmi(&mut self, id: PeerId, request: &mdp::Request<'_>, world: &World) {
        let status = match (request.service, &bodies(request.body)[..]) {
            (b"mmi.service", [name]) if self.workers_of(name) > 0 => b"200",
            (b"mmi.service", _) => b"404",
            _ => b"501",
        };
        if world.full.contains(&id) {
            self.doomed.push(id);
            return;
        }
        let mut frames = bodies(request.envelope);
        frames.extend(client_header(request.version, true));
        frames.extend([request.service.to_vec(), status.to_vec()]);
        self.tell(id, frames);
    }

    fn accept(&mut self, id: PeerId, request: &mdp::Request<'_>, world: &World) -> bool {
        let name = request.service;
        let open = self.requests.iter().filter(|r| r.caller == id).count();
        let waiting = self.waiting(name);
        let listed = self.workers.iter().any(|w| w.service == name && w.listed.is_some());
        let policy = self.policy(name);
        let has_room = waiting == 0 || waiting < policy.queue_messages_max || listed;
        if self.draining
            || world.account_full
            || open > 0 && open >= self.settings.client.requests_max
            || !has_room
            || !self.may_have_service(name)
        {
            return false;
        }
        self.make_service(name);
        let number = self.accepted;
        self.accepted += 1;
        self.requests.push(Request {
            number,
            service: name.to_vec(),
            caller: id,
            version: request.version,
            envelope: bodies(request.envelope),
            body: bodies(request.body),
            place: Place::Waiting,
            accepted_at: self.now,
            losses: 0,
            solo_losses: 0,
            answering: false,
            parts: Vec::new(),
            overflow: false,
            last_holder: None,
            address: None,
        });
        self.place(number, world);
        true
    }

    fn hear_command(
        &mut self,
        id: PeerId,
        version: Version,
        command: &FromWorker<'_>,
        world: &World,
    ) {
        match self.role(id) {
            Role::Unknown => match command {
                FromWorker::Ready { service } if serves(service) => {
                    self.become_role(id, Role::Worker(version));
                    if self.may_have_service(service) {
                        self.register(id, version, service, world);
                    } else {
                        self.disconnect(id, version, Role::Owed);
                    }
                }
                FromWorker::Disconnect => self.become_role(id, Role::Silent),
                FromWorker::Invalid(_) => self.become_role(id, Role::Owed),
                _ => self.disconnect(id, version, Role::Owed),
            },
            Role::Client(_) => match command {
                FromWorker::Disconnect => self.become_role(id, Role::Silent),
                _ => self.disconnect(id, version, Role::Owed),
            },
            Role::Worker(own) if own == version => self.hear_worker(id, command, world),
            Role::Worker(_) => {
                self.become_role(id, Role::Owed);
                self.dismiss(id, world);
            }
            Role::Owed => match command {
                FromWorker::Heartbeat | FromWorker::BadAnswer(_) => {
                    self.disconnect(id, version, Role::Silent);
                }
                FromWorker::Ready { service } if serves(service) => {
                    self.disconnect(id, version, Role::Silent);
                }
                FromWorker::Final(answer) => {
                    self.disconnect(id, version, Role::Silent);
                    self.late(id, answer, world);
                }
                FromWorker::Partial(answer) => self.late_part(id, answer),
                FromWorker::Disconnect => self.become_role(id, Role::Silent),
                _ => {}
            },
            Role::Silent => match command {
                FromWorker::Final(answer) => self.late(id, answer, world),
                FromWorker::Partial(answer) => self.late_part(id, answer),
                _ => {}
            },
        }
    }

    fn hear_worker(&mut self, id: PeerId, command: &FromWorker<'_>, world: &World) {
        let held = |model: &Self, answer: &Answer<'_>| {
            let request = model.by_address(answer.address)?;
            matches!(request.place, Place::At(peer, _) if peer == id).then_some(request.number)
        };
        match command {
            FromWorker::Heartbeat => return,
            FromWorker::Disconnect => {
                self.become_role(id, Role::Silent);
                return self.lose(id, world);
            }
            FromWorker::Final(answer) => {
                if let Some(number) = held(self, answer) {
                    return self.finish(id, number, &bodies(answer.body), world);
                }
            }
            FromWorker::Partial(answer) => {
                if let Some(number) = held(self, answer) {
                    return self.part(number, &bodies(answer.body), world);
                }
            }
            _ => {}
        }
        self.become_role(id, Role::Owed);
        self.dismiss(id, world);
    }

    /// An answer is taken late as a whole or not at all.
    fn late_part(&mut self, id: PeerId, answer: &Answer<'_>) {
        let mut requests = self.requests.iter_mut();
        let named = requests.find(|request| request.address.as_deref() == Some(answer.address));
        if let Some(request) = named.filter(|request| request.last_holder == Some(id)) {
            request.last_holder = None;
        }
    }

    fn late(&mut self, id: PeerId, answer: &Answer<'_>, world: &World) {
        if let Some(request) = self.by_address(answer.address) {
            let number = request.number;
            self.finish_late(id, number, &bodies(answer.body), world);
        }
    }
}

/// Whether a worker may offer a service of that name.
fn serves(name: &[u8]) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && !name.starts_with(b"mmi.")
}
