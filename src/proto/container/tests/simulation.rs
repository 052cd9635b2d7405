//! Many instances, one store and one queue server, all of which fail; on a seed.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::*;

const STEP: Duration = Duration::from_millis(50);

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// The store: leases with a deadline by its own clock, one key, one flag.
#[derive(Default)]
struct Store {
    revision: u64,
    leases: BTreeMap<u64, Instant>,
    next_lease: u64,
    /// Instance, epoch, lease.
    leader: Option<(usize, u64, u64)>,
    configured: bool,
    down: bool,
}

impl Store {
    fn expire(&mut self, now: Instant) {
        self.leases.retain(|_, until| *until > now);
        if let Some((_, _, lease)) = self.leader
            && !self.leases.contains_key(&lease)
        {
            self.leader = None;
            self.revision += 1;
        }
    }

    fn seat(&self, lease: u64) -> Seat {
        match self.leader {
            None => Seat::Vacant { after: self.revision },
            Some((by, epoch, holder)) => {
                Seat::Held { by: by.to_string(), epoch, ours: holder == lease }
            }
        }
    }
}

struct Instance {
    machine: Machine,
    /// Sessions by number: their lease.
    sessions: BTreeMap<Op, u64>,
    session: Option<Op>,
    line: Option<Op>,
    frozen_until: Option<Instant>,
    seen: Option<Seat>,
    /// What comes later: answers, with their time.
    later: VecDeque<(Instant, Input)>,
}

struct World {
    now: Instant,
    dice: Dice,
    store: Store,
    queues_down: bool,
    instances: Vec<Instance>,
    faults: bool,
    set_ups: u64,
}

impl World {
    fn new(seed: u64, count: usize) -> Self {
        let now = tokio::time::Instant::now().into_std();
        let instance = |number| {
            let mut machine = Machine::new(now, Settings::default(), seed ^ number);
            machine.handle(now, Input::Start);
            let (sessions, later) = (BTreeMap::new(), VecDeque::new());
            let (session, line, frozen_until, seen) = (None, None, None, None);
            Instance { machine, sessions, session, line, frozen_until, seen, later }
        };
        let instances = (0..count as u64).map(instance).collect();
        let (dice, store) = (Dice(seed), Store::default());
        Self { now, dice, store, queues_down: false, instances, faults: true, set_ups: 0 }
    }

    fn turn(&mut self) {
        self.now += STEP;
        self.store.expire(self.now);
        if self.faults {
            self.break_something();
        }
        for at in 0..self.instances.len() {
            if self.instances[at].frozen_until.is_some_and(|until| until > self.now) {
                continue;
            }
            self.instances[at].frozen_until = None;
            self.hear(at);
            self.instances[at].machine.handle_timeout(self.now);
            self.carry_out(at);
        }
    }

    fn break_something(&mut self) {
        if self.dice.one_in(400) {
            self.store.down = !self.store.down;
        }
        if self.dice.one_in(400) {
            self.queues_down = !self.queues_down;
        }
        if self.dice.one_in(300) {
            let at = usize::try_from(self.dice.below(self.instances.len() as u64)).unwrap();
            let frozen = Duration::from_millis(self.dice.below(40_000));
            self.instances[at].frozen_until = Some(self.now + frozen);
        }
    }

    /// What is due for an instance: answers, and what it watches.
    fn hear(&mut self, at: usize) {
        let now = self.now;
        let instance = &mut self.instances[at];
        if let (Some(line), true) = (instance.line, self.queues_down) {
            instance.line = None;
            instance.machine.handle(now, Input::Disconnected(line, "down".into()));
        }
        while instance.later.front().is_some_and(|(time, _)| *time <= now) {
            let Some((_, input)) = instance.later.pop_front() else { break };
            if let Input::Opened(op, Ok(_)) = &input {
                instance.session = Some(*op);
                instance.seen = None;
            }
            if let Input::Connected(op, Ok(())) = &input {
                instance.line = Some(*op);
            }
            instance.machine.handle(now, input);
        }
        let Some(session) = instance.session.filter(|_| !self.store.down) else { return };
        let lease = instance.sessions.get(&session).copied().unwrap_or_default();
        let seat = self.store.seat(lease);
        if instance.seen.as_ref() != Some(&seat) {
            instance.seen = Some(seat.clone());
            instance.machine.handle(now, Input::Seen(session, seat));
        }
        instance.machine.handle(now, Input::SeenConfigured(session, self.store.configured));
    }

    fn carry_out(&mut self, at: usize) {
        while let Some(output) = self.instances[at].machine.poll_output() {
            let answer = self.answer(at, output);
            if let Some(input) = answer {
                let late = Duration::from_millis(self.dice.below(400));
                self.instances[at].later.push_back((self.now + late, input));
            }
        }
    }

    fn answer(&mut self, at: usize, output: Output) -> Option<Input> {
        let now = self.now;
        let lost = self.store.down || (self.faults && self.dice.one_in(50));
        let failed = || Refusal::Failed("lost".into());
        let ttl = Settings::default().ttl;
        let store = &mut self.store;
        let instance = &mut self.instances[at];
        let lease = instance.session.and_then(|it| instance.sessions.get(&it)).copied();
        match output {
            Output::Open(op) if lost => Some(Input::Opened(op, Err("lost".into()))),
            Output::Open(op) => {
                store.next_lease += 1;
                store.leases.insert(store.next_lease, now + ttl);
                instance.sessions.insert(op, store.next_lease);
                Some(Input::Opened(op, Ok(ttl)))
            }
            Output::Campaign(op) => {
                let Some(lease) = lease.filter(|it| store.leases.contains_key(it)) else {
                    return Some(Input::Campaigned(op, Err(Refusal::Gone)));
                };
                // Either way around: the question is lost, or the answer.
                let question_lost = lost && self.dice.one_in(2);
                if !question_lost && !store.down && store.leader.is_none() {
                    store.revision += 1;
                    store.leader = Some((at, store.revision, lease));
                }
                let seat = if lost { Err(failed()) } else { Ok(store.seat(lease)) };
                Some(Input::Campaigned(op, seat))
            }
            Output::Renew(op) if lost => Some(Input::Renewed(op, Err(failed()))),
            Output::Renew(op) => {
                let until = lease.and_then(|lease| store.leases.get_mut(&lease));
                let outcome = until.map(|until| *until = now + ttl).ok_or(Refusal::Gone);
                Some(Input::Renewed(op, outcome))
            }
            Output::DropSession(op) => {
                let lease = instance.sessions.remove(&op);
                instance.session.take_if(|it| *it == op);
                if let Some(lease) = lease.filter(|_| !lost) {
                    store.leases.remove(&lease);
                }
                None
            }
            Output::SetUp(op, _) if self.queues_down => Some(Input::SetUp(op, Err("down".into()))),
            Output::SetUp(op, _) => {
                self.set_ups += 1;
                Some(Input::SetUp(op, Ok(())))
            }
            Output::Signal(op, _) if lost => Some(Input::Signalled(op, Err(failed()))),
            Output::Signal(op, epoch) => {
                let holds = store.leader.is_some_and(|(by, held, _)| by == at && held == epoch);
                store.configured |= holds;
                Some(Input::Signalled(op, if holds { Ok(()) } else { Err(Refusal::Gone) }))
            }
            Output::Connect(op) if self.queues_down || self.set_ups == 0 => {
                Some(Input::Connected(op, Err("down".into())))
            }
            Output::Connect(op) => Some(Input::Connected(op, Ok(()))),
            Output::Tap(op, _) => Some(Input::Tapped(op, Ok(()))),
            Output::DropLine(op) => {
                instance.line.take_if(|it| *it == op);
                None
            }
            Output::Resign(op) => Some(Input::Resigned(op)),
            Output::Drain(op) => Some(Input::Drained(op)),
            Output::Status(_) | Output::Finished => None,
        }
    }

    /// Of those that run, one at most believes to lead; a frozen one does nothing with its belief.
    fn check(&self, seed: u64) {
        let awake = self.instances.iter().filter(|it| it.frozen_until.is_none());
        let leading: Vec<_> = awake.map(|it| it.machine.status()).filter(|it| it.leading).collect();
        assert!(leading.len() <= 1, "seed {seed}: {leading:#?}");
    }

    fn healed(&self) -> bool {
        let states: Vec<_> = self.instances.iter().map(|it| it.machine.status()).collect();
        let leaders = states.iter().filter(|it| it.state == State::RunningLeader).count();
        leaders == 1
            && states.iter().all(|it| {
                it.state.is_running()
                    && it.queues == Link::Up
                    && it.coordination == Link::Up
                    && it.prefetch.is_some()
                    && it.epoch == states.iter().find_map(|it| it.epoch)
            })
    }
}

#[test]
fn whatever_fails_there_are_never_two_leaders_and_afterwards_there_is_one() {
    let seeds = std::env::var("MAJORDOMO_SEEDS").ok().and_then(|it| it.parse().ok());
    let seeds: u64 = seeds.unwrap_or(1_000).min(1_000);
    let mut led = 0;
    for seed in 0..seeds / 4 {
        let mut world = World::new(seed, 3);
        let mut holder: BTreeMap<u64, usize> = BTreeMap::new();
        for _ in 0..4000 {
            world.turn();
            world.check(seed);
            for (at, instance) in world.instances.iter().enumerate() {
                if let Some(epoch) = instance.machine.epoch() {
                    let by = *holder.entry(epoch).or_insert(at);
                    assert_eq!(by, at, "seed {seed}: two instances led in epoch {epoch}");
                }
            }
        }
        led += holder.len();
        world.faults = false;
        (world.store.down, world.queues_down) = (false, false);
        for instance in &mut world.instances {
            instance.frozen_until = None;
        }
        let began = world.now;
        while !world.healed() {
            world.turn();
            world.check(seed);
            let status: Vec<_> = world.instances.iter().map(|it| it.machine.status()).collect();
            let took = world.now - began;
            assert!(took < Duration::from_secs(60), "seed {seed} does not heal: {status:#?}");
        }
    }
    assert!(led as u64 > seeds, "leaders have to change for this to show anything: {led}");
}
