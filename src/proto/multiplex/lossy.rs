//! A client over a link that breaks, loses nothing silently and answers in any order: every call
//! ends once, in time, with its own answer or with a reason that holds.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next(count) == 0
    }
}

/// One run.
struct World {
    rng: Rng,
    ids: bool,
    calls: Multiplex<u64>,
    now: Instant,
    terms: BTreeMap<u64, Terms>,
    sent: BTreeMap<u64, u32>,
    /// By lane: which calls its other side has, as long as it stands.
    lanes: Vec<Option<Vec<u64>>>,
    /// Answers that a replaced or lost lane still had: nobody may get them.
    stale: Vec<(LaneId, u64)>,
    open: BTreeSet<u64>,
    /// What is to go on, and where it was said.
    standing: BTreeSet<u64>,
    said: BTreeMap<u64, LaneId>,
    faults: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let ids = rng.one_in(2);
        let settings = Settings {
            lanes: if ids { 1 } else { 1 + usize::try_from(rng.next(4)).unwrap() },
            ids,
            in_flight_max: 1 + usize::try_from(rng.next(8)).unwrap(),
            waiting_max: 40,
            ..Settings::default()
        };
        let lanes = vec![None; settings.lanes];
        let now = tokio::time::Instant::now().into_std();
        let calls = Multiplex::new(settings, seed);
        let (terms, sent) = (BTreeMap::new(), BTreeMap::new());
        let (stale, open) = (Vec::new(), BTreeSet::new());
        let (standing, said) = (BTreeSet::new(), BTreeMap::new());
        Self { rng, ids, calls, now, terms, sent, lanes, stale, open, standing, said, faults: true }
    }

    fn step(&mut self) {
        match self.rng.next(if self.faults { 12 } else { 8 }) {
            0..=3 => self.ask(),
            4..=6 => self.answer(),
            7 => {
                self.now += Duration::from_millis(self.rng.next(80));
                self.calls.timeout(self.now);
            }
            8 => self.cancel(),
            9 if self.rng.one_in(2) => self.stand(),
            9 => self.refuse(),
            10 if self.rng.one_in(4) => self.break_lane(),
            _ => self.late_answer(),
        }
        self.settle();
    }

    fn ask(&mut self) {
        let id = 1 + u64::try_from(self.terms.len()).unwrap();
        let deadline = self.now + Duration::from_millis(1 + self.rng.next(2000));
        let attempts = 1 + u32::try_from(self.rng.next(3)).unwrap();
        let terms = Terms { deadline, attempts, repeats: false };
        self.terms.insert(id, terms);
        self.open.insert(id);
        self.calls.call(self.now, id, terms, id);
    }

    /// A lane that holds calls, and one of those.
    fn some_call(&mut self) -> Option<(LaneId, u64)> {
        let all = self.lanes.iter().enumerate();
        let all = all.flat_map(|(lane, held)| held.iter().flatten().map(move |id| (lane, *id)));
        let all: Vec<_> = all.collect();
        let count = u64::try_from(all.len()).ok().filter(|count| *count > 0)?;
        let (lane, id) = all[usize::try_from(self.rng.next(count)).unwrap()];
        Some((LaneId(lane), id))
    }

    fn answer(&mut self) {
        let Some((lane, id)) = self.some_call() else { return };
        let named = self.ids.then_some(id);
        if self.rng.one_in(4) {
            if let Some((meant, kept)) = self.calls.part(lane, named) {
                assert_eq!((meant, *kept), (id, id), "a part for another call");
            }
            return;
        }
        self.lanes[lane.0].as_mut().unwrap().retain(|held| *held != id);
        match self.calls.done(lane, named) {
            Some(kept) => {
                assert_eq!(kept, id, "an answer for another call");
                self.end(id);
            }
            None => assert!(!self.open.contains(&id), "an answer that nobody took"),
        }
    }

    /// Something is to go on from now on, or not any more, or is refused for a while.
    fn stand(&mut self) {
        let some = self.standing.iter().next_back().copied();
        match (self.rng.next(3), some) {
            (0, Some(id)) => {
                assert_eq!(self.calls.cancel(id), Some(id));
                self.standing.remove(&id);
            }
            (1, Some(id)) => {
                if let Some(lane) = self.said.remove(&id) {
                    assert_eq!(self.calls.heard(lane, id), Some(&mut id.clone()));
                    let retry = Some(Duration::from_millis(100));
                    assert_eq!(self.calls.refused(self.now, lane, id, retry), None);
                }
            }
            _ => {
                let id = 1_000_000 + self.rng.next(1_000_000_000);
                if self.standing.insert(id) {
                    self.calls.stand(id, id);
                }
            }
        }
    }

    fn refuse(&mut self) {
        let Some((lane, id)) = self.some_call().filter(|_| self.ids) else { return };
        self.lanes[lane.0].as_mut().unwrap().retain(|held| *held != id);
        let retry = self.rng.one_in(2).then_some(Duration::from_millis(100));
        if let Some(kept) = self.calls.refused(self.now, lane, id, retry) {
            assert_eq!(kept, id);
            self.end(id);
        }
    }

    fn late_answer(&mut self) {
        if let Some((lane, id)) = self.stale.pop().filter(|_| self.ids)
            && !self.lanes[lane.0].as_ref().is_some_and(|held| held.contains(&id))
        {
            assert_eq!(self.calls.done(lane, Some(id)), None, "an answer from the past");
        }
    }

    fn cancel(&mut self) {
        let Some(id) = self.open.first().copied() else { return };
        assert_eq!(self.calls.cancel(id), Some(id));
        self.end(id);
    }

    fn break_lane(&mut self) {
        let count = u64::try_from(self.lanes.len()).unwrap();
        let lane = LaneId(usize::try_from(self.rng.next(count)).unwrap());
        if let Some(held) = self.lanes[lane.0].take() {
            self.said.retain(|_, on| *on != lane);
            self.stale.extend(held.into_iter().map(|id| (lane, id)));
            self.calls.lost(self.now, lane);
        }
    }

    /// Does what the machine wants.
    fn settle(&mut self) {
        while let Some(output) = self.calls.poll_output() {
            match output {
                Output::Connect(lane) if self.faults && self.rng.one_in(3) => {
                    assert_eq!(self.lanes[lane.0], None, "dialed while it stands");
                    self.calls.lost(self.now, lane);
                }
                Output::Connect(lane) => {
                    assert_eq!(self.lanes[lane.0], None, "dialed while it stands");
                    self.lanes[lane.0] = Some(Vec::new());
                    self.calls.connected(lane);
                }
                Output::Disconnect(lane) => {
                    let held = self.lanes[lane.0].take().expect("it stands");
                    self.said.retain(|_, on| *on != lane);
                    self.stale.extend(held.into_iter().map(|id| (lane, id)));
                }
                Output::Send(lane, id) => {
                    assert!(self.open.contains(&id) && self.terms[&id].deadline > self.now);
                    let sent = self.sent.entry(id).or_default();
                    *sent += 1;
                    assert!(*sent <= self.terms[&id].attempts, "sent too often");
                    let held = self.lanes[lane.0].as_mut().expect("sent on a lane that stands");
                    held.push(id);
                    assert!(self.ids || held.len() == 1, "two at a time without ids");
                }
                Output::Cancel(lane, id) => {
                    let held = self.lanes[lane.0].as_mut().expect("said on a lane that stands");
                    held.retain(|other| *other != id);
                }
                Output::Stand(lane, id) => {
                    assert!(self.lanes[lane.0].is_some(), "said on a lane that stands");
                    assert!(self.said.insert(id, lane).is_none(), "{id} goes on already");
                }
                Output::Leave(lane, id) => {
                    assert_eq!(self.said.remove(&id), Some(lane), "{id} was not said there");
                }
                Output::Fail(id, failure) => {
                    self.check_failure(id, failure);
                    self.end(id);
                }
            }
        }
        self.calls.check();
    }

    fn check_failure(&self, id: u64, failure: Failure) {
        let sent = self.sent.get(&id).copied().unwrap_or(0);
        match failure {
            Failure::Expired { sent: was } => {
                assert!(self.terms[&id].deadline <= self.now, "too early");
                assert_eq!(was, sent > 0);
            }
            Failure::Lost => assert!(sent > 0),
            Failure::TooMany => assert!(sent == 0 && self.open.len() > 40),
            Failure::Closed => panic!("nobody closed it"),
        }
    }

    fn end(&mut self, id: u64) {
        assert!(self.open.remove(&id), "{id} ended twice");
        assert!(
            self.terms[&id].deadline + Duration::from_millis(80) >= self.now,
            "{id} ended late"
        );
    }
}

#[test]
fn every_call_ends_once_and_in_time_whatever_breaks() {
    for seed in 0..2000 {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..300 {
                world.step();
            }
            // Without faults it heals: what is asked now is answered.
            world.faults = false;
            for _ in 0..200 {
                world.now += Duration::from_millis(50);
                world.calls.timeout(world.now);
                world.settle();
            }
            assert_eq!((world.calls.open(), world.open.len()), (0, 0));
            let said: BTreeSet<_> = world.said.keys().copied().collect();
            assert_eq!(said, world.standing, "what goes on was said on a lane that stands");
            world.ask();
            world.settle();
            let asked = world.open.first().expect("it has not ended");
            let has_it = |held: &Option<Vec<u64>>| held.iter().flatten().any(|id| id == asked);
            assert!(world.lanes.iter().any(has_it), "nobody was asked");
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}
