//! Requests of level disk: what their callers say, and what the disk does, carried out (SPEC 15.6).

mod offers;

use std::sync::Arc;
use std::time::Instant;

use crate::id::{PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::depot::{Cancel, Deposit, Depot, Effect, Known, Name, Refused, Told, Waiter};
use crate::proto::dialect::{Native, fault_of, say_accepted};
use crate::proto::durable::{Event, Found};
use crate::proto::keys::Scope;
use crate::proto::mmi;
use crate::proto::output::Output;
use crate::proto::router::{Refusal, say_kept};
use crate::proto::stats::Outcome;
use crate::wire::message::Frames;
use crate::wire::mjp::{Code, Digest, Fault, Level, Request};

use super::admin::Changes;
use super::ask::{native, said};
use super::{Core, Hello};

/// Octets of an ERROR, or of ACCEPTED, about.
const WORD: usize = 256;

/// What the core has of the depot beside the table.
#[derive(Debug)]
pub(super) struct Keeper {
    /// In whose name requests are asked.
    caller: PeerId,
    /// Memory that the table was charged, octets.
    charged: usize,
    /// Services that may take more.
    awake: Vec<ServiceName>,
    /// When to look again, and behind which service.
    retry: Time,
    retried: Option<ServiceName>,
    /// What operators change of dead letters.
    pub(super) changes: Changes,
}

impl Keeper {
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn charged(&self) -> usize {
        self.charged
    }
}

impl Core {
    /// Takes requests of level disk from now on: to be called before the first peer comes.
    pub fn keep_requests<O: Output>(&mut self, now: Instant, mut depot: Depot, out: &mut O) {
        let (caller, _) = self.join(now, Hello { house: true, ..Hello::default() }, out);
        self.router.free_of_limits(caller);
        depot.abide_by(self.settings.clone());
        for letter in depot.take_found() {
            self.router.keep_found_letter(letter, out);
        }
        let retry = self.clock.at(now);
        self.router.depot = Some(Box::new(depot));
        let changes = Changes::default();
        let keeper =
            Keeper { caller, charged: 0, awake: Vec::new(), retry, retried: None, changes };
        self.keeper = Some(Box::new(keeper));
        self.forget_letters();
        self.router.follow_depot();
        self.settle_depot(out);
    }

    /// Requests of level disk, if there is a disk.
    #[must_use]
    pub fn depot(&self) -> Option<&Depot> {
        self.router.depot.as_deref()
    }

    /// Deals with a request that is of level disk, or that is known there under its key; `kept` is
    /// its header and its body. False: it is of level memory.
    pub(super) fn on_deposit<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        request: &Request<'_>,
        kept: Frames<'_>,
        out: &mut O,
    ) -> bool {
        let says = &request.says;
        let service = says.service;
        let level = says.level.unwrap_or_else(|| self.settings.policy_of(service).level);
        let keyed = says.key.is_some() && self.router.depot.is_some();
        if level == Level::Memory && !keyed || service.starts_with(mmi::PREFIX) {
            return false;
        }
        let Some(peer) = self.peers.get(id) else { return true };
        let name = says.key.map(|key| Name {
            scope: Scope::of(&peer.principal, service, key),
            digest: Digest::of(request.header, request.body),
        });
        let known = match (&self.router.depot, &name) {
            (Some(depot), Some(name)) => depot.look(name),
            _ => Known::New,
        };
        let in_memory = || name.is_some_and(|name| self.router.keys.has(&name.scope));
        if known == Known::New && (level == Level::Memory || in_memory()) {
            return false;
        }
        if self.is_for_itself(now, id, request, out) {
            return true;
        }
        let native = native(now, request);
        if self.router.is_open(id, native.id) {
            self.refuse_ask(id, native.id, Refusal::DuplicateId, out);
            return true;
        }
        let stays = says.wait.unwrap_or(true);
        let waiter = Waiter {
            peer: id,
            id: native.id,
            ack: native.ack || !stays,
            stays,
            repeat: known != Known::New,
            deadline: native.terms.deadline.filter(|_| stays),
        };
        match known {
            Known::Other => self.refuse_ask(id, native.id, Refusal::Conflict, out),
            Known::New => self.deposit(now, (request, &native), (name, waiter), kept, out),
            Known::Running(number) => self.attach_deposit(number, waiter, service, out),
            Known::Done(number) => self.replay_deposit(number, waiter, out),
        }
        self.settle_depot(out);
        true
    }

    fn deposit<O: Output>(
        &mut self,
        now: Time,
        (request, native): (&Request<'_>, &Native),
        (name, waiter): (Option<Name>, Waiter),
        kept: Frames<'_>,
        out: &mut O,
    ) {
        let says = &request.says;
        let Ok(service) = ServiceName::try_from(says.service) else { return };
        let closed = self.router.is_draining() || self.router.is_closed(says.service);
        if closed {
            return self.refuse_ask(waiter.peer, native.id, Refusal::Draining, out);
        }
        // Header and body are held twice for a moment: for the disk, and for the worker.
        let fits = out.would_take(2 * kept.bytes(), 0) && self.may_wait(waiter.peer);
        let fence = self.fence(waiter.peer, said(says));
        self.router.align();
        let Some(peer) = self.peers.get(waiter.peer) else { return };
        let Some(depot) = &mut self.router.depot else {
            let why = "this broker has no store (store.path), and keeps nothing on a disk";
            return self.object(waiter.peer, native.id, Code::Unsupported, why, out);
        };
        let deposit = Deposit {
            service,
            owner: peer.principal,
            identity: peer.identity.clone(),
            called: peer.name.clone(),
            name,
            fence,
            terms: native.terms,
            order: says.order.map(Arc::from),
            delay: says.delay().filter(|delay| !delay.is_zero()),
        };
        let taken =
            if fits { depot.accept(now, deposit, kept, waiter) } else { Err(Refused::Overloaded) };
        if let Err(why) = taken {
            self.refuse_deposit(&waiter, why, out);
        }
    }

    /// Whether a caller may wait for one more.
    fn may_wait(&self, peer: PeerId) -> bool {
        let open = self.depot().map_or(0, |depot| depot.open_of(peer));
        open + self.router.requests_of(peer) < self.settings.client.requests_max.max(1)
    }

    fn attach_deposit<O: Output>(
        &mut self,
        number: u64,
        waiter: Waiter,
        service: &[u8],
        out: &mut O,
    ) {
        let may = self.may_wait(waiter.peer);
        let Ok(service) = ServiceName::try_from(service) else { return };
        let most = self.settings.keys.callers_max;
        let Some(depot) = &mut self.router.depot else { return };
        if !may || depot.waiting_for(number) >= most {
            return self.refuse_deposit(&waiter, Refused::Overloaded, out);
        }
        if depot.attach(number, waiter, &service) && waiter.ack {
            self.accept_deposit(&waiter, out);
        }
    }

    fn replay_deposit<O: Output>(&mut self, number: u64, waiter: Waiter, out: &mut O) {
        let Some(depot) = &mut self.router.depot else { return };
        if waiter.stays {
            if depot.is_busy() {
                return self.refuse_deposit(&waiter, Refused::Overloaded, out);
            }
            depot.replay(number, waiter);
        }
        if waiter.ack {
            self.accept_deposit(&waiter, out);
        }
    }

    fn accept_deposit<O: Output>(&mut self, waiter: &Waiter, out: &mut O) {
        self.say(waiter.peer, WORD, out, |encoder| {
            say_accepted(waiter.id, Level::Disk, waiter.repeat, encoder);
        });
    }

    fn refuse_deposit<O: Output>(&mut self, waiter: &Waiter, why: Refused, out: &mut O) {
        let (code, message) = match why {
            Refused::Overloaded => (
                Code::Overloaded,
                "a limit of the client or of the store (store.requests, store.bytes) is reached, \
                 or the disk has to catch up",
            ),
            Refused::Full => {
                (Code::StoreFull, "the disk has no room (store.min_free); nothing was accepted")
            }
            Refused::Failed => (
                Code::StoreFailed,
                "the disk has failed; nobody knows whether the request is kept. Ask again when \
                 the broker was started anew",
            ),
        };
        self.object(waiter.peer, waiter.id, code, message, out);
    }

    /// A caller wants a request no more.
    pub(super) fn cancel_deposit<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        request: u64,
        out: &mut O,
    ) {
        let Some(depot) = &mut self.router.depot else { return };
        match depot.cancel(now, id, request) {
            Cancel::Unknown | Cancel::Later => {}
            Cancel::Told(waiter) => {
                self.tell_deposit(&waiter, &Told::Outcome(Outcome::Cancelled, None), out);
            }
            Cancel::Recall(request) => self.router.recall(now, request, out),
        }
        self.settle_depot(out);
    }

    /// A caller has gone. Its requests go on.
    pub(super) fn leave_depot<O: Output>(&mut self, id: PeerId, out: &mut O) {
        if let Some(depot) = &mut self.router.depot
            && depot.open_of(id) > 0
        {
            depot.leave(id);
            self.settle_depot(out);
        }
    }

    /// Says how a request ended.
    fn tell_deposit<O: Output>(&mut self, waiter: &Waiter, told: &Told, out: &mut O) {
        match told {
            Told::Said(said) => {
                self.say(waiter.peer, said.bytes(), out, |encoder| {
                    say_kept(said, waiter.id, encoder);
                });
            }
            Told::Outcome(outcome, epoch) => {
                if let Some(fault) = fault_of(*outcome) {
                    let fault = Fault { epoch: *epoch, ..fault };
                    self.say(waiter.peer, WORD, out, |encoder| fault.encode(waiter.id, encoder));
                }
            }
        }
    }

    /// The disk has done something for the depot.
    pub(super) fn disk_for_depot<O: Output>(&mut self, now: Time, event: &Event, out: &mut O) {
        let Some(depot) = &mut self.router.depot else { return };
        let effects = match event {
            Event::Stored(up_to) => depot.stored(*up_to),
            Event::Loaded(ticket, value) => depot.loaded(now, *ticket, value.as_ref()),
            Event::Full(dropped) => depot.disk_is_full(*dropped),
            Event::Room => {
                depot.disk_has_room();
                Vec::new()
            }
            Event::Failed => depot.disk_failed(),
            Event::Ranged(..) => Vec::new(),
        };
        self.carry_out_deposits(now, effects, out);
    }

    /// Requests of a service were read from the disk.
    pub(super) fn depot_was_read<O: Output>(
        &mut self,
        now: Time,
        ticket: u64,
        found: &Found,
        out: &mut O,
    ) {
        let Some(depot) = &mut self.router.depot else { return };
        let effects = depot.ranged(now, ticket, found);
        self.carry_out_deposits(now, effects, out);
    }

    fn carry_out_deposits<O: Output>(&mut self, now: Time, effects: Vec<Effect>, out: &mut O) {
        for effect in effects {
            match effect {
                Effect::Accepted(waiter) => self.accept_deposit(&waiter, out),
                Effect::Refuse(waiter, why) => self.refuse_deposit(&waiter, why, out),
                Effect::Tell(waiter, told) => self.tell_deposit(&waiter, &told, out),
                Effect::Offer(number) => self.offer_deposit(now, number, out),
                Effect::Wake(service) => self.wake_depot(&service),
                Effect::Sweep => self.sweep_depot(now),
                Effect::MovedUp(service, order) => {
                    self.router.let_go_on(service.as_bytes(), order.as_deref());
                }
                Effect::Bury(letter) => self.router.keep_stored_letter(*letter, out),
                Effect::Read(change, value) => self.letter_was_read(now, change, value, out),
                Effect::Changed(change, done) => self.letter_was_changed(change, done, out),
            }
        }
        self.settle_depot(out);
    }

    /// Requests that are kept and that no worker has are to be asked later rather than now.
    pub(super) fn recall_depot<O: Output>(&mut self, now: Time, out: &mut O) {
        if let Some(caller) = self.keeper.as_ref().map(|keeper| keeper.caller) {
            self.router.recall_waiting(caller, out);
            self.see_to_depot(now, out);
        }
    }

    /// Requests that are kept and among those of their services.
    pub(super) fn asked_by_depot(&self) -> usize {
        self.keeper.as_ref().map_or(0, |keeper| self.router.requests_of(keeper.caller))
    }

    /// Charges what the table has grown by.
    fn settle_depot<O: Output>(&mut self, out: &mut O) {
        let Some(keeper) = &mut self.keeper else { return };
        let memory = self.router.depot.as_ref().map_or(0, |depot| depot.memory());
        match memory.checked_sub(keeper.charged) {
            Some(more) => out.take(more),
            None => out.release(keeper.charged - memory),
        }
        keeper.charged = memory;
    }
}
