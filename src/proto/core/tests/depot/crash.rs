//! Brokers that are killed after any step of the disk: nothing acknowledged is lost, nobody sees two
//! different answers to one request, and what ended without an answer is one dead letter, or one
//! request again, and never both. What has an order is given to a worker when all before it have
//! ended, which is on the disk, and what is delayed not before its time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{BEGUN, DISK, House};
use crate::id::PeerId;
use crate::proto::dead::Causes;
use crate::proto::depot::{APART, DepotLimits, Head, LETTERS, REQUESTS, Record};
use crate::proto::policy::{Backoff, DeadPolicy, ServicePolicy};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{self, DeadHeader, FromBroker, RequestHeader, ToBroker, Verb};

/// Numbers that a seed gives.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

/// What was seen from outside, over all brokers.
#[derive(Default)]
struct Seen {
    /// Requests, by their keys, that were acknowledged.
    acknowledged: BTreeSet<u64>,
    /// What was said of them in the end: FINAL, and ERRORs that are kept.
    said: BTreeMap<u64, Vec<u8>>,
    /// How often they were delivered, and put back at most.
    delivered: BTreeMap<u64, usize>,
    requeued: BTreeMap<u64, usize>,
    /// When they were first asked, and how many were given to a worker that have an order or a delay.
    asked: BTreeMap<u64, u64>,
    held: [usize; 2],
    /// Answers that workers have given, so that each is another one.
    answers: u64,
}

struct Play {
    house: Option<House>,
    seen: Seen,
    once: bool,
    client: PeerId,
    worker: Option<PeerId>,
    /// How much of what was said to each of the two was looked at.
    read: [usize; 2],
    /// What the worker has and has not answered: token and key.
    held: Vec<(u64, u64)>,
    /// The key of the last request.
    last: u64,
    /// Time that passed with the brokers before, ms, and since when there is the present one.
    passed: u64,
    since: Instant,
    /// So much the clock is behind, ms.
    back: u64,
}

/// The requests of level memory have keys from there on.
const OF_MEMORY: u64 = 1 << 40;

/// The order of a request, and its delay in ms.
fn hold_of(key: u64) -> (Option<u64>, u64) {
    let order = Some(key % 3).filter(|_| !key.is_multiple_of(4));
    let delay = if key.is_multiple_of(5) && key < OF_MEMORY { 1 + key % 60 } else { 0 };
    (order, delay)
}

impl Play {
    fn new(once: bool, in_memory: usize) -> Self {
        let limits = DepotLimits { in_memory_max: in_memory, ..DepotLimits::default() };
        let dead = DeadPolicy { causes: Causes::ALL, ..DeadPolicy::default() };
        let backoff = Backoff { base: Duration::from_millis(10), ..Backoff::default() };
        let policy =
            ServicePolicy { at_most_once: once, dead, backoff, ..ServicePolicy::default() };
        let mut house = House::new(limits, policy);
        let client = house.desk.join();
        let since = house.desk.now;
        Self {
            passed: 0,
            since,
            back: 0,
            house: Some(house),
            seen: Seen::default(),
            once,
            client,
            worker: None,
            read: [0; 2],
            held: Vec::new(),
            last: 0,
        }
    }

    fn house(&mut self) -> &mut House {
        self.house.as_mut().unwrap()
    }

    /// Time since the first broker began, ms; that which has begun counts.
    fn time(&self) -> u64 {
        let here = self.house.as_ref().unwrap().desk.now.duration_since(self.since);
        self.passed + u64::try_from(here.as_micros().div_ceil(1000)).unwrap()
    }

    /// Asks by a key, which is the id as well.
    fn ask(&mut self, key: u64) {
        let (client, octets) = (self.client, key.to_be_bytes());
        let (order, delay) = hold_of(key);
        let order = order.map(u64::to_be_bytes);
        let says = RequestHeader {
            order: order.as_ref().map(|order| &order[..]),
            delay: Some(delay).filter(|delay| *delay > 0),
            ..DISK
        };
        let says = if key < OF_MEMORY {
            RequestHeader { key: Some(&octets), ..says }
        } else {
            RequestHeader { level: None, ..says }
        };
        let time = self.time();
        self.seen.asked.entry(key).or_insert(time);
        self.house().desk.call(client, key, says);
    }

    /// What is given to a worker may be.
    fn judge(&mut self, key: u64) {
        let (order, delay) = hold_of(key);
        let (time, asked) = (self.time(), self.seen.asked[&key]);
        assert!(time >= asked + delay, "{key} is delivered {} ms too early", asked + delay - time);
        self.seen.held[1] += usize::from(delay > 0);
        let Some(order) = order else { return };
        self.seen.held[0] += 1;
        let mut held = self.held.iter().map(|(_, other)| *other);
        let other = held.find(|other| hold_of(*other).0 == Some(order));
        assert!(other.is_none(), "{key} is delivered, and {other:?} of its order is not done");
        if key >= OF_MEMORY {
            return;
        }
        let first = self.requests().find(|other| hold_of(*other).0 == Some(order));
        assert_eq!(first, Some(key), "it is delivered, and is not the first of its order");
    }

    /// The keys of the requests on the disk, each kind of them in the order of acceptance.
    fn requests(&self) -> impl Iterator<Item = u64> {
        let kept = &self.house.as_ref().unwrap().disk.kept;
        let requests = kept.iter().filter(|(key, _)| matches!(key[0], REQUESTS | APART));
        requests.map(|(_, value)| {
            let (_, kept) = Head::read(value).unwrap();
            let mut body = kept.frames();
            body.take_first();
            key_in(body)
        })
    }

    /// Looks at what was said since it was last looked at.
    fn look(&mut self) {
        let client = self.client;
        let house = self.house.as_mut().unwrap();
        let said = house.desk.said.to.get(client).cloned().unwrap_or_default();
        for message in &said[std::mem::replace(&mut self.read[0], said.len())..] {
            match FromBroker::decode(message.frames()).unwrap() {
                FromBroker::Accepted { id, .. } if id >= OF_MEMORY => {}
                FromBroker::Accepted { id, .. } => {
                    self.seen.acknowledged.insert(id);
                }
                FromBroker::Final(answer) if answer.id >= OF_MEMORY => {}
                FromBroker::Error(failure) if failure.id >= OF_MEMORY => {}
                FromBroker::Final(answer) => {
                    let body = answer.body.flatten().copied().collect();
                    let before = self.seen.said.insert(answer.id, body);
                    let now = &self.seen.said[&answer.id];
                    assert!(before.as_ref().is_none_or(|it| it == now), "two answers: {before:?}");
                }
                FromBroker::Error(failure) => {
                    let fault = mjp::Fault::decode(failure.header).unwrap();
                    // Another one of that id is open, or nothing was accepted.
                    if !matches!(fault.code, "duplicate_id" | "overloaded") {
                        let code = fault.code.as_bytes().to_vec();
                        let before = self.seen.said.insert(failure.id, code.clone());
                        assert!(before.is_none_or(|it| it == code), "two ends: {}", fault.code);
                    }
                }
                _ => {}
            }
        }
        let Some(worker) = self.worker else { return };
        let works = house.desk.works(worker);
        for given in &works[std::mem::replace(&mut self.read[1], works.len())..] {
            let key = String::from_utf8_lossy(&given.body).parse().unwrap();
            self.judge(key);
            if key >= OF_MEMORY {
                self.held.push((given.token, key));
                continue;
            }
            let times = self.seen.delivered.entry(key).or_default();
            *times += 1;
            let may = 1 + self.seen.requeued.get(&key).copied().unwrap_or(0);
            assert!(!self.once || *times <= may, "{key} is delivered again");
            self.held.push((given.token, key));
        }
    }

    fn answer(&mut self, which: u64) {
        if self.held.is_empty() {
            return;
        }
        let which = usize::try_from(which).unwrap() % self.held.len();
        let (token, key) = self.held.remove(which);
        self.seen.answers += 1;
        let body = format!("{key} {}", self.seen.answers);
        let body = Message::new([body.into_bytes()]);
        let answer = mjp::Answer { id: token, header: b"\x80", body: body.frames() };
        let worker = self.worker.unwrap();
        self.house().desk.mjp(worker, &ToBroker::Final(answer));
    }

    /// The worker fails something, for now or for good.
    fn fail(&mut self, which: u64, again: bool) {
        if self.held.is_empty() {
            return;
        }
        let which = usize::try_from(which).unwrap() % self.held.len();
        let (id, _) = self.held.remove(which);
        let fault = mjp::Fault { code: "no_paper", again: Some(again), ..mjp::Fault::default() };
        let header = mjp::Packed::new(&fault);
        let worker = self.worker.unwrap();
        let failure = mjp::Failure { id, header: header.octets() };
        self.house().desk.mjp(worker, &ToBroker::Error(failure));
    }

    /// The letters on the disk: the id of each, and of what request it is.
    fn letters(&self) -> Vec<(String, u64)> {
        let kept = &self.house.as_ref().unwrap().disk.kept;
        let letters = kept.iter().filter(|(key, _)| key[0] == LETTERS);
        let letter = |(_, value)| {
            let record = Record::decode(value).unwrap();
            (record.id.to_string(), key_in(record.split().1))
        };
        letters.map(letter).collect()
    }

    /// Nothing on the disk is in two places.
    fn places(&self) -> BTreeMap<u64, usize> {
        let mut places = BTreeMap::<_, usize>::new();
        for key in self.requests().chain(self.letters().into_iter().map(|it| it.1)) {
            *places.entry(key).or_default() += 1;
        }
        for (key, places) in &places {
            assert_eq!(*places, 1, "{key} is in two places");
        }
        places
    }

    /// An operator puts a letter back, and does not wait until that is done.
    fn requeue(&mut self, which: u64) {
        let letters = self.letters();
        if letters.is_empty() {
            return;
        }
        let (id, key) = &letters[usize::try_from(which).unwrap() % letters.len()];
        *self.seen.requeued.entry(*key).or_default() += 1;
        let says = DeadHeader { uuid: Some(id), ..DeadHeader::new(Verb::DeadRequeue) };
        let header = mjp::Packed::new(&says);
        let house = self.house();
        let operator = house.desk.join();
        house.desk.say(operator, |out| {
            mjp::encode_admin(78, header.octets(), &Frames::default(), out);
        });
    }

    fn hire(&mut self) {
        if self.worker.is_none() {
            self.worker = Some(self.house().desk.native_worker(3));
            self.read[1] = 0;
        }
    }

    fn lose_worker(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.held.clear();
            let house = self.house();
            house.desk.core.leave(house.desk.now, worker, &mut house.desk.said);
            house.desk.check();
        }
    }

    fn crash(&mut self) {
        self.places();
        self.passed = self.time();
        let mut house = self.house.take().unwrap();
        // Somebody sets the clock back from time to time.
        self.back += if self.passed.is_multiple_of(4) { 10_000 } else { 0 };
        house.unix = BEGUN + self.passed - self.back;
        let mut house = house.crash(Duration::from_millis(7));
        self.passed += 7;
        self.since = house.desk.now;
        self.client = house.desk.join();
        self.house = Some(house);
        (self.worker, self.read) = (None, [0; 2]);
        self.held.clear();
    }

    fn turn(&mut self, dice: &mut Dice) {
        match dice.below(26) {
            23 => {
                self.last += 1;
                self.ask(OF_MEMORY + self.last);
            }
            24 => self.house().desk.pass(Duration::from_micros(100 + dice.below(30_000))),
            20 => self.fail(dice.below(9), false),
            21 => self.fail(dice.below(9), true),
            22 => self.requeue(dice.below(9)),
            0..6 => {
                self.last += 1;
                self.ask(self.last);
            }
            // Somebody asks again.
            6..8 if self.last > 0 => self.ask(1 + dice.below(self.last)),
            8 => self.hire(),
            9 => self.lose_worker(),
            10..13 => self.answer(dice.below(9)),
            13 if dice.below(4) == 0 => self.crash(),
            25 => {
                let house = self.house();
                house.listen();
                if house.disk.read_first() {
                    house.step();
                }
            }
            _ => {
                self.house().step();
            }
        }
        self.look();
    }

    fn answer_all(&mut self) {
        for _ in 0..2000 {
            self.house().work();
            self.look();
            if self.held.is_empty() && self.house().size() == 0 {
                break;
            }
            self.answer(0);
            self.house().pass(Duration::from_millis(50));
        }
    }

    /// Who was told an error has left a letter, unless that was put back; nobody else has.
    fn each_is_dead_once_or_answered(&self, seed: u64) {
        let places = self.places();
        for (key, said) in &self.seen.said {
            if self.seen.requeued.contains_key(key) {
                continue;
            }
            let failed = matches!(&said[..], b"no_paper" | b"worker_lost" | b"dead");
            let letters = places.get(key).copied().unwrap_or(0);
            let said = String::from_utf8_lossy(said);
            assert_eq!(letters, usize::from(failed), "seed {seed}: {key} was told {said}");
        }
    }

    /// In the end there is a worker that answers all, and everybody asks for what it was promised.
    fn heal(&mut self, seed: u64) {
        self.crash();
        for key in self.seen.acknowledged.clone() {
            self.ask(key);
        }
        self.hire();
        self.answer_all();
        self.each_is_dead_once_or_answered(seed);
        // What is dead is put back, and answered.
        for _ in 0..self.letters().len() {
            self.requeue(0);
            self.answer_all();
        }
        assert_eq!(self.letters(), [], "seed {seed}: they were put back");
        for key in &self.seen.acknowledged {
            assert!(self.seen.said.contains_key(key), "seed {seed}: {key} is lost");
            let done = self.seen.delivered.contains_key(key);
            assert!(done || self.once, "seed {seed}: {key} was never carried out");
        }
        let house = self.house();
        assert_eq!((house.size(), house.stats().missing), (0, 0), "seed {seed}");
        let depot = house.desk.core.depot().unwrap();
        assert_eq!(depot.kept().0, house.disk.kept.len(), "seed {seed}: something is left");
    }
}

/// The key of a request is its body.
fn key_in(mut body: Frames<'_>) -> u64 {
    std::str::from_utf8(body.take_first().unwrap()).unwrap().parse().unwrap()
}

#[test]
fn brokers_that_are_killed_at_any_step_lose_nothing_and_say_nothing_twice() {
    let seeds = std::env::var("MAJORDOMO_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let (mut crowds, mut put_back, mut held) = (0, 0, [0; 2]);
    for seed in 0..seeds.unwrap_or(2000_u64) / 4 {
        let mut dice = Dice(seed);
        let in_memory = [2, 5, 1000][usize::try_from(dice.below(3)).unwrap()];
        let mut play = Play::new(dice.below(3) == 0, in_memory);
        for _ in 0..dice.below(200) {
            play.turn(&mut dice);
        }
        play.heal(seed);
        crowds += usize::from(play.seen.acknowledged.len() > 20);
        put_back += play.seen.requeued.len();
        held = [held[0] + play.seen.held[0], held[1] + play.seen.held[1]];
    }
    assert!(held.iter().all(|some| *some > 20), "no orders or no delays: {held:?}");
    assert!(put_back > 0, "nothing died");
    assert!(crowds > 0, "the plays are too short");
}

#[test]
fn a_broker_that_is_killed_after_each_of_its_steps_loses_nothing() {
    for once in [false, true] {
        for steps in 0..60 {
            let mut play = Play::new(once, 2);
            play.hire();
            for key in 1..=6 {
                play.ask(key);
            }
            play.last = 6;
            for step in 0..steps {
                if !play.house().step() || step % 3 == 2 {
                    play.answer(0);
                }
                play.look();
            }
            play.heal(steps);
        }
    }
}
