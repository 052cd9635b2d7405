//! Requests with orders and delays, over workers that fail, fail for now and die, and an operator who
//! puts dead letters back and drops them: one seed, one run.
//!
//! After each step: the tables are sound; each request that was accepted is in exactly one place,
//! open, dead or done; none was delivered more often than it may be, before its time, or while
//! another one of its order was at a worker; and those of one order began in the order of acceptance.
//! When nothing goes wrong any more, all of them come to an end.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::native::ECHO;
use super::*;
use crate::proto::dead::{Causes, DeadLimits};
use crate::proto::policy::{Backoff, DeadPolicy};
use crate::proto::simulation::rng::Rng;
use crate::wire::mjp::{
    Answer, DeadHeader, Failure, Fault, FromBroker, Packed, Request as Asking, RequestHeader,
    ToBroker, Verb, encode_admin,
};

const STEPS: u64 = 120;
const MS: Duration = Duration::from_millis(1);

/// A worker, as the judge sees it, and what it has.
struct Hand {
    peer: PeerId,
    read: usize,
    held: BTreeMap<u64, Held>,
}

/// Under which number a worker has a request, and the place it had in the order of acceptance: who
/// has one that died, and was put back since then, has nothing to say of it any more.
#[derive(Clone, Copy)]
struct Held {
    token: u64,
    sequence: u64,
}

struct Caller {
    peer: PeerId,
    read: usize,
    /// Its open requests, by id.
    open: BTreeMap<u64, u64>,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// Its caller waits; or it was put back, and nobody does.
    Open,
    Dead,
    /// It was answered, or nobody wants it any more.
    Done,
}

/// A request, from outside.
#[derive(Debug)]
struct Seen {
    order: Option<&'static [u8]>,
    attempts: Option<u32>,
    /// It ends each worker that has it.
    poison: bool,
    at: Where,
    /// Nobody waits for it: it was put back.
    revived: bool,
    /// Its place in the order of acceptance.
    sequence: u64,
    deliveries: u32,
    /// It may not be delivered before.
    not_before: Instant,
    /// Another one of its order may not pass it.
    began: bool,
}

struct World {
    desk: Desk,
    rng: Rng,
    policy: ServicePolicy,
    operator: PeerId,
    hands: Vec<Hand>,
    callers: Vec<Caller>,
    seen: BTreeMap<u64, Seen>,
    sequence: u64,
    /// What came up: failures for now, dead letters, revivals, orders that waited, delays.
    counts: [u64; 5],
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let backoff = Backoff {
            base: rng.pick(&[5, 20, 80]) * MS,
            factor: rng.pick(&[1, 2, 3]),
            max: 200 * MS,
            jitter: rng.pick(&[0, 50]),
        };
        let dead = DeadPolicy { causes: Causes::ALL, kept: None, ..DeadPolicy::default() };
        let policy = ServicePolicy {
            attempts: rng.pick(&[1, 2, 3]),
            ttl: rng.pick(&[None, None, Some(400 * MS)]),
            unserved_ttl: Some(rng.pick(&[300, 60_000]) * MS),
            queue_messages_max: rng.pick(&[3, 1000]),
            backoff,
            dead,
            ..ServicePolicy::default()
        };
        let dead = DeadLimits { letters_max: 100_000, ..DeadLimits::default() };
        let settings = Settings { policy: policy.clone(), dead, ..Settings::default() };
        let mut desk = Desk::with(settings);
        let operator = desk.join();
        let mut world = Self {
            desk,
            rng,
            policy,
            operator,
            hands: Vec::new(),
            callers: Vec::new(),
            seen: BTreeMap::new(),
            sequence: 0,
            counts: [0; 5],
        };
        for _ in 0..2 {
            let peer = world.desk.join();
            world.callers.push(Caller { peer, read: 0, open: BTreeMap::new() });
            world.hire();
        }
        world
    }

    fn hire(&mut self) {
        let credit = u16::try_from(self.rng.within(1, 4)).unwrap();
        let peer = self.desk.join();
        self.hands.push(Hand { peer, read: 0, held: BTreeMap::new() });
        self.desk.ready(peer, credit);
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            match self.rng.within(0, 13) {
                0..=4 => self.ask()?,
                5..=8 => self.work(true)?,
                9 => self.desk.pass(Duration::from_millis(self.rng.within(1, 60))),
                10 if self.hands.len() < 4 => self.hire(),
                11 => self.dismiss(),
                12 => self.operate()?,
                _ => self.give_up()?,
            }
            self.look()?;
        }
        self.heal()
    }

    /// Nothing goes wrong any more: all that is open comes to an end.
    fn heal(&mut self) -> Result<(), String> {
        self.seen.values_mut().for_each(|seen| seen.poison = false);
        for _ in 0..400 {
            if self.hands.is_empty() {
                self.hire();
            }
            self.look()?;
            while self.hands.iter().any(|hand| !hand.held.is_empty()) {
                self.work(false)?;
                self.look()?;
            }
            if self.desk.core.router().open_requests() == 0 {
                return Ok(());
            }
            self.desk.pass(25 * MS);
        }
        Err(format!("{} requests do not end", self.desk.core.router().open_requests()))
    }

    fn ask(&mut self) -> Result<(), String> {
        let (at, tag) = (self.rng.index(self.callers.len()), self.sequence);
        self.sequence += 1;
        let order = self.rng.pick(&[None, Some(&b"a"[..]), Some(&b"b"[..])]);
        let delay = self.rng.pick(&[None, None, Some(10), Some(90)]);
        let attempts = self.rng.pick(&[None, None, Some(1), Some(2)]);
        let timeout = self.rng.pick(&[None, None, Some(120)]);
        let says = RequestHeader {
            order,
            delay,
            timeout,
            attempts: attempts.and_then(NonZeroU32::new),
            ..ECHO
        };
        let not_before = self.desk.now + Duration::from_millis(delay.unwrap_or(0));
        let poison = self.rng.one_in(6);
        let seen = Seen {
            order,
            attempts,
            poison,
            at: Where::Open,
            revived: false,
            sequence: tag,
            deliveries: 0,
            not_before,
            began: false,
        };
        self.counts[4] += u64::from(delay.is_some());
        self.seen.insert(tag, seen);
        self.callers[at].open.insert(tag + 1, tag);
        let (header, body) = (Packed::new(&says), Message::new([tag.to_string().into_bytes()]));
        let (header, body, peer) = (header.octets(), body.frames(), self.callers[at].peer);
        self.desk.mjp(peer, &ToBroker::Request(Asking { id: tag + 1, header, says, body }));
        self.look()
    }

    /// A worker does something with what it has; if anything may go wrong, it does now and then.
    fn work(&mut self, faulty: bool) -> Result<(), String> {
        let busy: Vec<_> =
            (0..self.hands.len()).filter(|at| !self.hands[*at].held.is_empty()).collect();
        if busy.is_empty() {
            return Ok(());
        }
        let at = self.rng.pick(&busy);
        let tags: Vec<u64> = self.hands[at].held.keys().copied().collect();
        let tag = self.rng.pick(&tags);
        if self.seen[&tag].poison {
            self.lose(at);
            return Ok(());
        }
        let peer = self.hands[at].peer;
        let held = self.hands[at].held.remove(&tag).unwrap();
        match self.rng.within(0, 5) {
            0 if faulty => self.say_error(peer, tag, held, None),
            1 | 2 if faulty => {
                let retry = self.rng.pick(&[None, Some(0), Some(40)]);
                self.say_error(peer, tag, held, Some(retry));
            }
            _ => {
                let body = Message::new(["done"]);
                // Who waits is told; who does not has it done.
                let seen = &self.seen[&tag];
                if seen.revived && seen.at == Where::Open && seen.sequence == held.sequence {
                    self.end(tag, Where::Done);
                }
                let answer = Answer { id: held.token, header: b"\x80", body: body.frames() };
                self.desk.mjp(peer, &ToBroker::Final(answer));
            }
        }
        self.look()
    }

    /// The worker fails a request, and perhaps wants it to be delivered again.
    fn say_error(&mut self, peer: PeerId, tag: u64, held: Held, again: Option<Option<u64>>) {
        let retry = again.flatten();
        let fault = Fault { code: "busy", retry, again: again.map(|_| true), ..Fault::default() };
        let seen = self.seen.get_mut(&tag).unwrap();
        if again.is_some() && seen.at == Where::Open && seen.sequence == held.sequence {
            let least = self.policy.backoff.base / 100 * (100 - self.policy.backoff.jitter);
            let wait = retry.map_or(least, |retry| u32::try_from(retry).unwrap() * MS);
            seen.not_before = seen.not_before.max(self.desk.now + wait);
            self.counts[0] += 1;
        }
        let header = Packed::new(&fault);
        self.desk.mjp(peer, &ToBroker::Error(Failure { id: held.token, header: header.octets() }));
    }

    fn dismiss(&mut self) {
        if !self.hands.is_empty() {
            let at = self.rng.index(self.hands.len());
            self.lose(at);
        }
    }

    fn lose(&mut self, at: usize) {
        let hand = self.hands.remove(at);
        self.desk.leave(hand.peer);
    }

    /// A caller cancels something, or goes, and another one comes.
    fn give_up(&mut self) -> Result<(), String> {
        let at = self.rng.index(self.callers.len());
        if self.rng.one_in(4) {
            let peer = self.desk.join();
            let gone = std::mem::replace(
                &mut self.callers[at],
                Caller { peer, read: 0, open: BTreeMap::new() },
            );
            for tag in gone.open.into_values() {
                self.end(tag, Where::Done);
            }
            self.desk.leave(gone.peer);
            return Ok(());
        }
        let open: Vec<u64> = self.callers[at].open.keys().copied().collect();
        if !open.is_empty() {
            let (id, peer) = (self.rng.pick(&open), self.callers[at].peer);
            self.desk.mjp(peer, &ToBroker::Cancel { id });
        }
        self.look()
    }

    /// The operator puts letters back, or drops them.
    fn operate(&mut self) -> Result<(), String> {
        let requeue = !self.rng.one_in(3);
        let verb = if requeue { Verb::DeadRequeue } else { Verb::DeadDrop };
        let dead = || self.seen.iter().filter(|(_, seen)| seen.at == Where::Dead);
        let tags: Vec<u64> = dead().map(|(tag, _)| *tag).collect();
        if tags.is_empty() {
            return Ok(());
        }
        let tag = self.rng.pick(&tags);
        let body = tag.to_string();
        let mut letters = self.desk.core.router().dead().from(0);
        let named = letters.find(|(_, letter)| letter.split().1.next() == Some(body.as_bytes()));
        let uuid = named.map(|(_, letter)| letter.id.to_string());
        drop(letters);
        let uuid = uuid.ok_or_else(|| format!("{tag} is no letter"))?;
        let before = self.desk.said.to.get(self.operator).map_or(0, Vec::len);
        let says = DeadHeader { uuid: Some(&uuid), ..DeadHeader::new(verb) };
        let header = Packed::new(&says);
        if requeue {
            // It is accepted anew, behind all others of its order.
            let seen = self.seen.get_mut(&tag).unwrap();
            (seen.at, seen.revived, seen.sequence) = (Where::Open, true, self.sequence);
            (seen.deliveries, seen.began, seen.attempts) = (0, false, None);
            seen.not_before = self.desk.now;
            self.sequence += 1;
        }
        self.desk.say(self.operator, |out| {
            encode_admin(7, header.octets(), &Frames::default(), out);
        });
        let said = self.desk.said.to.get(self.operator).unwrap()[before].clone();
        let FromBroker::Admin { header, .. } = FromBroker::decode(said.frames()).unwrap() else {
            return Err(format!("{verb:?} of {tag} was refused"));
        };
        let report = crate::wire::mjp::DeadReport::decode(header).unwrap();
        if requeue && report.done == Some(0) {
            self.seen.get_mut(&tag).unwrap().at = Where::Dead;
        } else if !requeue {
            self.seen.get_mut(&tag).unwrap().at = Where::Done;
        }
        self.counts[2] += u64::from(requeue);
        self.look()
    }

    fn end(&mut self, tag: u64, at: Where) {
        self.seen.get_mut(&tag).unwrap().at = at;
    }

    /// Reads what was said, and judges it.
    fn look(&mut self) -> Result<(), String> {
        for at in 0..self.callers.len() {
            self.hear_caller(at)?;
        }
        self.mourn();
        for at in 0..self.hands.len() {
            self.hear_worker(at)?;
        }
        self.judge_places()
    }

    /// What was put back dies without anybody being told.
    fn mourn(&mut self) {
        for (_, letter) in self.desk.core.router().dead().from(0) {
            let body = letter.split().1.next().unwrap_or_default();
            let tag = std::str::from_utf8(body).ok().and_then(|text| text.parse::<u64>().ok());
            let seen = tag.and_then(|tag| self.seen.get_mut(&tag));
            if let Some(seen) = seen.filter(|seen| seen.revived && seen.at == Where::Open) {
                seen.at = Where::Dead;
            }
        }
    }

    fn hear_caller(&mut self, at: usize) -> Result<(), String> {
        let caller = &mut self.callers[at];
        let said = self.desk.said.to.get(caller.peer).map(Vec::as_slice).unwrap_or_default();
        let new: Vec<Message> = said[caller.read..].to_vec();
        caller.read = said.len();
        for message in new {
            let (id, error) = match FromBroker::decode(message.frames()).unwrap() {
                FromBroker::Final(answer) => (answer.id, None),
                FromBroker::Error(failure) => {
                    let fault = Fault::decode(failure.header).unwrap();
                    (failure.id, Some(fault.code.to_owned()))
                }
                _ => continue,
            };
            let Some(tag) = self.callers[at].open.remove(&id) else {
                return Err(format!("{id} has ended and was answered again"));
            };
            let dies = error.as_deref().is_some_and(|code| code != "cancelled");
            self.counts[1] += u64::from(dies);
            self.end(tag, if dies { Where::Dead } else { Where::Done });
        }
        Ok(())
    }

    fn hear_worker(&mut self, at: usize) -> Result<(), String> {
        let hand = &mut self.hands[at];
        let said = self.desk.said.to.get(hand.peer).map(Vec::as_slice).unwrap_or_default();
        let new: Vec<Message> = said[hand.read..].to_vec();
        hand.read = said.len();
        for message in new {
            let Ok(FromBroker::Request(mut given)) = FromBroker::decode(message.frames()) else {
                continue;
            };
            let body = given.body.take_first().unwrap_or_default();
            let tag: u64 = std::str::from_utf8(body).unwrap().parse().unwrap();
            self.judge_delivery(tag, given.says.attempt.get())?;
            let held = Held { token: given.id, sequence: self.seen[&tag].sequence };
            self.hands[at].held.insert(tag, held);
        }
        Ok(())
    }

    fn judge_delivery(&mut self, tag: u64, attempt: u32) -> Result<(), String> {
        let now = self.desk.now;
        let most = self.policy.attempts + 2;
        let order = self.seen[&tag].order;
        let busy = self.hands.iter().flat_map(|hand| hand.held.keys());
        let rival = busy.copied().find(|other| order.is_some() && self.seen[other].order == order);
        let sequence = self.seen[&tag].sequence;
        let mut earlier = self.seen.iter().filter(|(_, other)| {
            let before = other.sequence < sequence && other.at == Where::Open;
            order.is_some() && other.order == order && before
        });
        let passed = earlier.next().map(|(tag, _)| *tag);
        let seen = self.seen.get_mut(&tag).unwrap();
        seen.deliveries += 1;
        seen.began = true;
        let (deliveries, attempts) = (seen.deliveries, seen.attempts);
        let early = seen.not_before.saturating_duration_since(now);
        if attempt != deliveries {
            return Err(format!("{tag} is delivered for the {deliveries}. time as {attempt}"));
        } else if deliveries > attempts.unwrap_or(most).min(most) {
            return Err(format!("{tag} is delivered {deliveries} times: {seen:?}"));
        } else if !early.is_zero() {
            return Err(format!("{tag} is delivered {early:?} before its time: {seen:?}"));
        } else if let Some(rival) = rival.filter(|rival| *rival != tag) {
            return Err(format!("{tag} is delivered while {rival} of its order is at a worker"));
        } else if let Some(passed) = passed {
            return Err(format!("{tag} begins before {passed} of its order has ended"));
        }
        Ok(())
    }

    /// Each request is in exactly one place.
    fn judge_places(&mut self) -> Result<(), String> {
        let router = self.desk.core.router();
        let mut places = BTreeMap::<u64, (u32, u32)>::new();
        let tag_of = |body: Frames<'_>| {
            let body = body.clone().next().unwrap_or_default();
            std::str::from_utf8(body).ok().and_then(|text| text.parse::<u64>().ok())
        };
        for body in router.open_bodies() {
            places.entry(tag_of(body).ok_or("no tag")?).or_default().0 += 1;
        }
        for (_, letter) in router.dead().from(0) {
            places.entry(tag_of(letter.split().1).ok_or("no tag")?).or_default().1 += 1;
        }
        let behind = router.service_id(b"echo").and_then(|id| router.situation(id));
        self.counts[3] += behind.map_or(0, |it| it.behind as u64);
        for (tag, seen) in &self.seen {
            let place = places.get(tag).copied().unwrap_or_default();
            let expected: &[(u32, u32)] = match seen.at {
                Where::Open => &[(1, 0)],
                Where::Dead => &[(0, 1)],
                // A request whose caller has gone is open while a worker has it.
                Where::Done => &[(0, 0), (1, 0)],
            };
            if !expected.contains(&place) {
                return Err(format!("{tag} is open and dead {place:?} times: {seen:?}"));
            }
        }
        Ok(())
    }
}

#[test]
fn retries_orders_and_dead_letters_of_ten_thousand_seeds_hold_every_invariant() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("MAJORDOMO_SEED").unwrap_or(0);
    let count = number("MAJORDOMO_SEEDS").unwrap_or(10_000).min(2_000);
    let mut counts = [0; 5];
    for seed in first..first + count {
        // The desk itself fails when the tables are not sound.
        let run = std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            world.run().map(|()| world.counts)
        });
        let seen = std::panic::catch_unwind(run).unwrap_or_else(|_| Err("of the tables".into()));
        let seen = seen.unwrap_or_else(|why| {
            panic!("MAJORDOMO_SEED={seed} MAJORDOMO_SEEDS=1 breaks an invariant: {why}")
        });
        counts.iter_mut().zip(seen).for_each(|(sum, one)| *sum += one);
    }
    // Failures for now, dead letters, revivals, orders that waited, delays.
    assert!(count < 20 || counts.iter().all(|count| *count > 0), "{counts:?}");
}
