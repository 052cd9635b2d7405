//! Titanic: what its clients say, and what the disk does, carried out (SPEC 15).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::id::{PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dead::Cause;
use crate::proto::depot::{Burial, Remains};
use crate::proto::dialect::{Asker, CallerVoice, Proof, Reply, Shelf, Stored, Terms};
use crate::proto::durable::{Event, Order};
use crate::proto::mmi;
use crate::proto::output::{CloseReason, Output};
use crate::proto::rights::Verb as Right;
use crate::proto::router::EndOfStored;
use crate::proto::titanic::{CLOSE, Effect, Next, REPLY, REQUEST, Status, Titanic, Uuid, Waiter};
use crate::wire::message::{Frames, Message};

use super::{Core, Hello, Taken};

/// What stands before the names of Titanic's services.
const PREFIX: &[u8] = b"titanic.";

/// How often services are looked at that had no room for a request, and how many of them.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_SERVICES: usize = 256;

/// What the core has of Titanic.
#[derive(Debug)]
pub(super) struct Kept {
    table: Titanic,
    /// In whose name requests are asked.
    caller: PeerId,
    /// Memory that the table was charged, octets.
    charged: usize,
    /// Services that may take more.
    awake: Vec<ServiceName>,
    /// Peers that are not read until the disk has caught up.
    paused: BTreeSet<PeerId>,
    /// When to look again, and behind which service.
    retry: Time,
    retried: Option<ServiceName>,
}

impl Kept {
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn paused(&self) -> impl Iterator<Item = PeerId> {
        self.paused.iter().copied()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn charged(&self) -> usize {
        self.charged
    }

    /// Whether the disk has done all that it was to do.
    pub(super) fn is_quiet(&self) -> bool {
        self.table.is_quiet()
    }

    pub(super) fn has_orders(&self) -> bool {
        self.table.has_orders()
    }

    pub(super) fn take_orders(&mut self) -> Vec<Order> {
        self.table.take_orders()
    }
}

impl Core {
    /// Serves Titanic from now on: to be called before the first peer comes.
    pub fn serve_titanic<O: Output>(&mut self, now: Instant, mut table: Titanic, out: &mut O) {
        let (caller, _) = self.join(now, Hello { house: true, ..Hello::default() }, out);
        self.router.free_of_limits(caller);
        let now = self.clock.at(now);
        let depot = &self.router.depot;
        let buries = |service: &_| depot.as_ref().is_some_and(|it| it.buries(service, Cause::Lost));
        table.end_begun(buries);
        let kept = Kept {
            table,
            caller,
            charged: 0,
            awake: Vec::new(),
            paused: BTreeSet::new(),
            retry: now,
            retried: None,
        };
        self.titanic = Some(Box::new(kept));
        self.settle_titanic(out);
    }

    /// What is kept for Titanic's clients, if that is served.
    #[must_use]
    pub fn titanic(&self) -> Option<&Titanic> {
        self.titanic.as_ref().map(|kept| &kept.table)
    }

    /// The disk has done something for Titanic.
    pub(super) fn disk_for_titanic<O: Output>(&mut self, now: Time, event: &Event, out: &mut O) {
        let Some(kept) = &mut self.titanic else { return };
        let effects = match event {
            Event::Stored(up_to) => kept.table.stored(*up_to),
            Event::Loaded(ticket, value) => {
                kept.table.loaded(*ticket, value.as_ref()).into_iter().collect()
            }
            Event::Full(dropped) => kept.table.disk_is_full(*dropped),
            Event::Room => {
                kept.table.disk_has_room();
                Vec::new()
            }
            Event::Failed => kept.table.disk_failed(),
            // It reads records one by one.
            Event::Ranged(..) => Vec::new(),
        };
        for effect in effects {
            match effect {
                Effect::Say(waiter, status, rest) => {
                    self.say_status(waiter.to(), status, &rest, out)
                }
                Effect::Wake(service) => self.wake_titanic(&service),
                Effect::Offer(uuid) => self.offer_stored(now, uuid, out),
                Effect::Bury(letter) => self.router.keep_stored_letter(*letter, out),
                Effect::Lost(uuid, body) => self.end_lost(now, uuid, body),
            }
        }
        self.resume_titanic(out);
    }

    /// Whether the name is one of Titanic's, and that is served here.
    #[inline]
    pub(super) fn is_titanic(&self, service: &[u8]) -> bool {
        self.titanic.is_some() && service.starts_with(PREFIX)
    }

    /// A client asks Titanic for something.
    pub(super) fn on_titanic<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        voice: CallerVoice,
        (service, body): (&[u8], Frames<'_>),
        out: &mut O,
    ) -> Taken {
        let Some(kept) = &mut self.titanic else { return Taken::Yes };
        // Until the end of this broker: the next one takes it.
        if service == REQUEST && self.router.is_draining() {
            return Taken::NotYet;
        }
        if kept.table.is_busy() {
            kept.paused.insert(id);
            return Taken::NotYet;
        }
        let waiter = |voice, service| Box::new(Waiter { peer: id, voice, service });
        match service {
            REQUEST => self.keep_request(now, id, waiter(voice, REQUEST), body, out),
            REPLY => self.tell_answer(id, waiter(voice, REPLY), body, out),
            CLOSE => self.close_stored(now, id, waiter(voice, CLOSE), body, out),
            // A service that nobody offers, and nobody may.
            _ => self.say_status((id, &voice, service), Status::Unknown, &Message::default(), out),
        }
        Taken::Yes
    }

    fn keep_request<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        waiter: Box<Waiter>,
        mut body: Frames<'_>,
        out: &mut O,
    ) {
        let name = body.take_first().unwrap_or_default();
        let own = name.starts_with(mmi::PREFIX) || name.starts_with(PREFIX);
        let service = ServiceName::try_from(name).ok().filter(|_| !own && !body.is_empty());
        let Some(service) = service.filter(|_| self.may(id, Right::Call, name, out)) else {
            return self.say_status(waiter.to(), Status::Unknown, &Message::default(), out);
        };
        let Some(peer) = self.peers.get(id) else { return };
        let owner = peer.principal;
        let proof = Proof::of(&owner, peer.name.as_ref());
        let asker = Asker { identity: peer.identity.clone(), proof };
        let Some(kept) = &mut self.titanic else { return };
        // The body is held twice for a moment: for the disk, and for the worker.
        let fits = out.would_take(2 * body.bytes(), 0);
        let refused = if fits {
            kept.table.accept(now, (owner, asker), service, body, waiter).err()
        } else {
            Some(waiter)
        };
        if let Some(waiter) = refused {
            self.say_status(waiter.to(), Status::Error, &Message::default(), out);
        }
        self.settle_titanic(out);
    }

    fn tell_answer<O: Output>(
        &mut self,
        id: PeerId,
        waiter: Box<Waiter>,
        body: Frames<'_>,
        out: &mut O,
    ) {
        let Some(who) = self.peers.get(id).map(|peer| peer.principal) else { return };
        let Some(kept) = &mut self.titanic else { return };
        let told = match uuid_of(body) {
            Some(uuid) => kept.table.look(uuid, &who, waiter),
            None => Some((waiter, Status::Unknown)),
        };
        if let Some((waiter, status)) = told {
            self.say_status(waiter.to(), status, &Message::default(), out);
        }
    }

    fn close_stored<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        waiter: Box<Waiter>,
        body: Frames<'_>,
        out: &mut O,
    ) {
        let Some(who) = self.peers.get(id).map(|peer| peer.principal) else { return };
        let Some(kept) = &mut self.titanic else { return };
        let closed = match uuid_of(body) {
            Some(uuid) => kept.table.close(uuid, &who, waiter),
            None => Err((waiter, Status::Ok)),
        };
        match closed {
            Ok(asked) => {
                if let Some(request) = asked {
                    self.router.recall(now, request, out);
                }
            }
            Err((waiter, status)) => self.say_status(waiter.to(), status, &Message::default(), out),
        }
        self.settle_titanic(out);
    }

    /// Answers: the status, and what follows it.
    fn say_status<O: Output>(
        &mut self,
        (peer, voice, service): (PeerId, &CallerVoice, &[u8]),
        status: Status,
        rest: &Message,
        out: &mut O,
    ) {
        let status = Message::from(status.octets());
        let body = if rest.frames().is_empty() {
            status
        } else {
            Message::joined(&[status, rest.clone()])
        };
        let fits = out.offer(peer, body.bytes(), |encoder| {
            let reply = Reply::Final(&[], body.frames());
            voice.answer(service, &[], &reply, encoder);
        });
        if !fits && self.peers.contains_key(peer) {
            self.router.doom(peer, CloseReason::SlowReader);
        }
    }

    /// A service may take more of what is kept.
    pub(super) fn wake_titanic(&mut self, service: &ServiceName) {
        if let Some(kept) = &mut self.titanic
            && !kept.awake.contains(service)
        {
            kept.awake.push(service.clone());
        }
    }

    /// Notes how requests that are kept have ended, and has others asked. Returns whether there
    /// was something to do.
    pub(super) fn see_to_titanic<O: Output>(&mut self, now: Time, out: &mut O) -> bool {
        if self.titanic.is_none() {
            return false;
        }
        let mut some = false;
        while let Some(end) = self.router.pop_end_of_stored() {
            some = true;
            let EndOfStored { uuid, outcome, answer, tried, remains } = end;
            let burial = remains.and_then(|remains| self.burial(now, uuid, *remains));
            let Some(kept) = &mut self.titanic else { break };
            if let Some(service) =
                kept.table.ended(now, uuid, (outcome, tried), (answer.as_ref(), burial))
                && !kept.awake.contains(&service)
            {
                kept.awake.push(service);
            }
        }
        while let Some(service) = self.titanic.as_mut().and_then(|kept| kept.awake.pop()) {
            some = true;
            self.pump_titanic(now, &service, out);
        }
        self.settle_titanic(out);
        some
    }

    /// The dead letter of a request that ends; it is put back as a request of level disk.
    fn burial(&mut self, now: Time, uuid: Uuid, remains: Remains) -> Option<Burial> {
        let whose = self.titanic.as_ref()?.table.deceased(uuid)?;
        self.router.depot.as_mut()?.letter_at(now, &whose, remains)
    }

    /// A request that may have begun before the broker did ends, and that was its body.
    fn end_lost(&mut self, now: Time, uuid: Uuid, body: Message) {
        let (cause, message, seen) = (Cause::Lost, None, Vec::new());
        let remains = Remains { cause, message, seen, attempts: 1, body, has_header: false };
        let burial = self.burial(now, uuid, remains);
        if let Some(kept) = &mut self.titanic {
            kept.table.end_lost(uuid, burial);
        }
    }

    /// Has as many requests asked as the service takes; none if nobody offers it.
    fn pump_titanic<O: Output>(&mut self, now: Time, service: &ServiceName, out: &mut O) {
        if self.router.is_draining() || !self.router.is_served(service.as_bytes()) {
            return;
        }
        let once = self.router.is_once(service.as_bytes());
        while let Some(next) = self.titanic.as_mut().and_then(|kept| kept.table.next(service, once))
        {
            match next {
                Next::Offer(uuid) => {
                    if !self.ask_stored(now, uuid, out) {
                        break;
                    }
                }
                Next::Disk => {}
            }
        }
    }

    /// A request that waited for the disk can be asked.
    fn offer_stored<O: Output>(&mut self, now: Time, uuid: Uuid, out: &mut O) {
        let Some(kept) = &mut self.titanic else { return };
        let Some(service) = kept.table.service_of(uuid).cloned() else { return };
        let once = self.router.is_once(service.as_bytes());
        if self.titanic.as_mut().is_some_and(|kept| kept.table.begin(uuid, once)) {
            self.ask_stored(now, uuid, out);
        }
    }

    /// Asks a request; whether it was taken.
    fn ask_stored<O: Output>(&mut self, now: Time, uuid: Uuid, out: &mut O) -> bool {
        let Some(kept) = &mut self.titanic else { return false };
        let Some((service, asker, tried, body)) = kept.table.take(uuid) else { return false };
        let (place, terms) = (Shelf::Titanic(uuid), Terms::default());
        let voice = CallerVoice::Stored(Box::new(Stored { place, asker, terms, tried }));
        let caller = kept.caller;
        let wanted = service.as_bytes().into();
        let asked = self.router.accept(now, caller, voice, wanted, body.frames(), out);
        let Some(kept) = &mut self.titanic else { return false };
        match asked {
            Ok(request) => kept.table.asked(uuid, request),
            Err(_) => kept.table.put_back(uuid, Some(body)),
        }
        asked.is_ok()
    }

    /// Looks from time to time at services that had no room, and forgets what is too old.
    pub(super) fn tick_titanic<O: Output>(&mut self, now: Time, out: &mut O) {
        let Some(kept) = &mut self.titanic else { return };
        if kept.retry > now {
            return;
        }
        kept.retry = now.after(RETRY);
        let services = kept.table.backlogs_after(kept.retried.as_ref(), RETRY_SERVICES);
        kept.retried = services.last().filter(|_| services.len() == RETRY_SERVICES).cloned();
        let old = kept.table.forget_old(now);
        for service in services {
            self.wake_titanic(&service);
        }
        for request in old {
            self.router.recall(now, request, out);
        }
        self.resume_titanic(out);
    }

    /// Reads those again that had to wait for the disk.
    fn resume_titanic<O: Output>(&mut self, out: &mut O) {
        let Some(kept) = &mut self.titanic else { return };
        if !kept.table.is_busy() {
            for peer in std::mem::take(&mut kept.paused) {
                out.resume(peer);
            }
        }
    }

    /// The peer has gone.
    pub(super) fn forget_paused(&mut self, id: PeerId) {
        if let Some(kept) = &mut self.titanic {
            kept.paused.remove(&id);
        }
    }

    /// Whether the peer is not read because the disk has to catch up.
    pub(super) fn waits_for_disk(&self, id: PeerId) -> bool {
        self.titanic.as_ref().is_some_and(|kept| kept.paused.contains(&id))
    }

    /// Requests that are kept and are to be asked later rather than now.
    pub(super) fn recall_titanic<O: Output>(&mut self, now: Time, out: &mut O) {
        if let Some(caller) = self.titanic.as_ref().map(|kept| kept.caller) {
            self.router.recall_waiting(caller, out);
            self.see_to_titanic(now, out);
        }
    }

    /// Accepted requests that have not ended and are nowhere but in memory.
    #[must_use]
    pub fn lost_with_the_process(&self) -> usize {
        let kept = self.titanic.as_ref().map(|kept| self.router.requests_of(kept.caller));
        let kept = kept.unwrap_or(0) + self.asked_by_depot();
        self.router.open_requests().saturating_sub(kept)
    }

    /// Has the disk know how far epochs of leases and incarnations of members may go, if there is
    /// one.
    pub(super) fn keep_mark<O: Output>(&mut self, out: &mut O) {
        if let Some(mark) = self.router.leases.take_mark(self.groups.newest())
            && let Some(kept) = &mut self.titanic
        {
            kept.table.keep_mark(mark);
            self.settle_titanic(out);
        }
    }

    /// Charges what the table has grown by.
    fn settle_titanic<O: Output>(&mut self, out: &mut O) {
        let Some(kept) = &mut self.titanic else { return };
        let memory = kept.table.memory();
        match memory.checked_sub(kept.charged) {
            Some(more) => out.take(more),
            None => out.release(kept.charged - memory),
        }
        kept.charged = memory;
    }
}

/// The UUID that is asked about.
fn uuid_of(mut body: Frames<'_>) -> Option<Uuid> {
    let text = body.take_first()?;
    if body.is_empty() { Uuid::read(text) } else { None }
}
