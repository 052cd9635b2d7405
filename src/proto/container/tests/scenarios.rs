use std::time::{Duration, Instant};

use super::super::*;

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(15);

struct Stage {
    machine: Machine,
    now: Instant,
    out: Vec<Output>,
}

impl Stage {
    fn new(settings: Settings) -> Self {
        let now = tokio::time::Instant::now().into_std();
        Self { machine: Machine::new(now, settings, 7), now, out: Vec::new() }
    }

    fn started() -> Self {
        let mut stage = Self::new(Settings::default());
        stage.give(Input::Start);
        stage
    }

    fn give(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            self.out.push(output);
        }
    }

    /// Time passes, with a stop at each thing that is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.machine.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.machine.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.machine.handle_timeout(end);
        self.drain();
    }

    /// Time passes until that comes out.
    fn until<T>(&mut self, mut wanted: impl FnMut(&Output) -> Option<T>) -> T {
        for _ in 0..1000 {
            if let Some(found) = self.take(&mut wanted) {
                return found;
            }
            let next = self.machine.next_timeout();
            let next = next.unwrap_or_else(|| panic!("nothing is due: {:?}", self.machine));
            self.now = self.now.max(next);
            self.machine.handle_timeout(self.now);
            self.drain();
        }
        panic!("it does not come: {:?}", self.machine);
    }

    /// The first such output, if it is there; those before it are gone.
    fn take<T>(&mut self, mut wanted: impl FnMut(&Output) -> Option<T>) -> Option<T> {
        let (at, found) =
            self.out.iter().enumerate().find_map(|(at, it)| wanted(it).map(|it| (at, it)))?;
        self.out.drain(..=at);
        Some(found)
    }

    fn open(&mut self) -> Op {
        let op = self.until(|it| if let Output::Open(op) = it { Some(*op) } else { None });
        self.give(Input::Opened(op, Ok(TTL)));
        op
    }

    fn campaign(&mut self, seat: Seat) {
        let op = self.until(|it| if let Output::Campaign(op) = it { Some(*op) } else { None });
        self.give(Input::Campaigned(op, Ok(seat)));
    }

    fn set_up(&mut self, outcome: Result<(), String>) -> Option<u64> {
        let (op, epoch) =
            self.until(|it| if let Output::SetUp(op, it) = it { Some((*op, *it)) } else { None });
        self.give(Input::SetUp(op, outcome));
        epoch
    }

    fn signal(&mut self) -> u64 {
        let (op, epoch) =
            self.until(|it| if let Output::Signal(op, it) = it { Some((*op, *it)) } else { None });
        self.give(Input::Signalled(op, Ok(())));
        epoch
    }

    fn connect(&mut self) -> Op {
        let op = self.until(|it| if let Output::Connect(op) = it { Some(*op) } else { None });
        self.give(Input::Connected(op, Ok(())));
        op
    }

    fn tap(&mut self) -> Option<u16> {
        let (op, taken) =
            self.until(|it| if let Output::Tap(op, it) = it { Some((*op, *it)) } else { None });
        self.give(Input::Tapped(op, Ok(())));
        taken
    }

    fn state(&self) -> State {
        self.machine.status().state
    }

    fn step(&self) -> Step {
        self.machine.status().step
    }

    fn leader() -> (Self, Op) {
        let mut stage = Self::started();
        let session = stage.open();
        stage.campaign(ours(10));
        assert_eq!(stage.set_up(Ok(())), Some(10));
        assert_eq!(stage.signal(), 10);
        stage.connect();
        assert_eq!(stage.tap(), Some(5));
        assert_eq!(stage.state(), State::RunningLeader);
        (stage, session)
    }

    fn follower() -> (Self, Op) {
        let mut stage = Self::started();
        let session = stage.open();
        stage.give(Input::SeenConfigured(session, true));
        stage.campaign(theirs(10));
        stage.connect();
        assert_eq!(stage.tap(), Some(10));
        assert_eq!(stage.state(), State::RunningFollower);
        (stage, session)
    }

    /// A renewal is due within a third of the lease.
    fn renewal(&mut self) -> Op {
        let before = self.now;
        let op = self.until(|it| if let Output::Renew(op) = it { Some(*op) } else { None });
        assert!(self.now - before <= TTL / 3 + SECOND, "{:?}", self.now - before);
        op
    }
}

fn ours(epoch: u64) -> Seat {
    Seat::Held { by: "me".into(), epoch, ours: true }
}

fn theirs(epoch: u64) -> Seat {
    Seat::Held { by: "other".into(), epoch, ours: false }
}

fn any(output: &Output) -> Option<()> {
    (!matches!(output, Output::Status(_))).then_some(())
}

#[test]
fn a_start_without_a_leader_goes_through_all_steps_in_order() {
    let mut stage = Stage::new(Settings::default());
    assert_eq!((stage.state(), stage.step()), (State::Startup, Step::New));
    stage.give(Input::Start);
    assert_eq!((stage.state(), stage.step()), (State::StartupLeaderElection, Step::Coordinate));
    stage.open();
    assert_eq!((stage.state(), stage.step()), (State::StartupLeaderElection, Step::Campaign));
    stage.campaign(ours(10));
    assert_eq!((stage.state(), stage.step()), (State::StartupLeaderDecided, Step::SetUp));
    assert_eq!(stage.set_up(Ok(())), Some(10));
    assert_eq!((stage.state(), stage.step()), (State::StartupLeaderDecided, Step::Signal));
    assert_eq!(stage.signal(), 10);
    assert_eq!((stage.state(), stage.step()), (State::StartupLeaderDecided, Step::Connect));
    stage.connect();
    assert_eq!((stage.state(), stage.step()), (State::StartupLeaderDecided, Step::Consume));
    assert_eq!(stage.tap(), Some(5), "the leader takes less");
    assert_eq!((stage.state(), stage.step()), (State::RunningLeader, Step::Serve));
    let status = stage.machine.status();
    assert!(status.leading && status.configured);
    assert_eq!((status.leader.as_deref(), status.epoch), (Some("me"), Some(10)));
    assert_eq!((status.coordination, status.queues), (Link::Up, Link::Up));
}

#[test]
fn a_start_with_a_leader_waits_for_its_signal() {
    let mut stage = Stage::started();
    let session = stage.open();
    stage.campaign(theirs(10));
    stage.take(any);
    assert_eq!((stage.state(), stage.step()), (State::StartupLeaderDecided, Step::WaitForReady));
    // However long that takes; the lease is kept meanwhile.
    for _ in 0..10 {
        let op = stage.renewal();
        stage.give(Input::Renewed(op, Ok(())));
        assert!(stage.take(|it| matches!(it, Output::Connect(_)).then_some(())).is_none());
    }
    stage.give(Input::SeenConfigured(session, true));
    stage.connect();
    assert_eq!(stage.tap(), Some(10));
    assert_eq!((stage.state(), stage.step()), (State::RunningFollower, Step::Serve));
    assert!(stage.take(|it| matches!(it, Output::SetUp(..)).then_some(())).is_none());
}

#[test]
fn without_coordination_it_sets_up_and_serves_alone() {
    let mut stage = Stage::new(Settings { coordinated: false, ..Settings::default() });
    stage.give(Input::Start);
    assert_eq!((stage.state(), stage.step()), (State::Startup, Step::SetUp));
    assert_eq!(stage.set_up(Ok(())), None);
    stage.connect();
    assert_eq!(stage.tap(), Some(10));
    assert_eq!((stage.state(), stage.step()), (State::RunningStandalone, Step::Serve));
    assert_eq!(stage.machine.status().coordination, Link::Unused);
    assert_eq!(stage.machine.next_timeout(), None);
}

#[test]
fn a_leader_that_gets_no_renewal_stops_to_lead_before_the_store_frees_the_seat() {
    let (mut stage, session) = Stage::leader();
    let began = stage.now;
    let failed = || Err(Refusal::Failed("no answer".into()));
    loop {
        let wanted = |it: &Output| match it {
            Output::Renew(op) => Some(Some(*op)),
            Output::DropSession(op) => {
                Some(Some(*op)).filter(|it| *it == Some(session)).map(|_| None)
            }
            _ => None,
        };
        match stage.until(wanted) {
            Some(op) => stage.give(Input::Renewed(op, failed())),
            None => break,
        }
        assert_eq!(stage.state(), State::RunningLeader);
        assert_eq!(stage.machine.status().coordination, Link::Down("no answer".into()));
    }
    let led = stage.now - began;
    assert!(led < TTL && led >= TTL - TTL / 15 - SECOND / 5, "{led:?}");
    // It serves on, with the prefetch of the others.
    assert_eq!(stage.state(), State::RunningFollower);
    assert_eq!(stage.machine.status().leader, None);
    assert_eq!(stage.tap(), Some(10));
    // And tries for ever.
    for _ in 0..20 {
        let op = stage.until(|it| if let Output::Open(op) = it { Some(*op) } else { None });
        stage.give(Input::Opened(op, Err("connection refused".into())));
        let down = Link::Down("connection refused".into());
        assert_eq!(stage.machine.status().coordination, down);
    }
    stage.open();
    stage.campaign(ours(20));
    assert_eq!(stage.state(), State::TakingLeadership);
    assert_eq!(stage.set_up(Ok(())), Some(20));
    assert_eq!(stage.signal(), 20);
    assert_eq!(stage.state(), State::RunningLeader);
}

#[test]
fn a_renewal_counts_from_when_it_was_asked_for() {
    let (mut stage, _) = Stage::leader();
    let op = stage.renewal();
    let asked = stage.now;
    stage.pass(4 * SECOND);
    stage.give(Input::Renewed(op, Ok(())));
    let next = stage.renewal();
    assert_eq!(stage.now, asked + TTL / 3);
    assert_ne!(op, next);
    stage.until(|it| matches!(it, Output::DropSession(_)).then_some(()));
    assert_eq!(stage.now, asked + (TTL - TTL / 15));
}

#[test]
fn an_instance_that_was_frozen_leads_no_more_whatever_comes_first() {
    let (mut stage, session) = Stage::leader();
    stage.now += Duration::from_secs(60);
    stage.out.clear();
    stage.give(Input::SeenConsume(session, true));
    assert_eq!(stage.out.first(), Some(&Output::DropSession(session)));
    assert!(!stage.machine.status().leading);
}

#[test]
fn a_lease_that_is_gone_is_replaced_and_the_seat_asked_for_again() {
    let (mut stage, _) = Stage::leader();
    let op = stage.renewal();
    stage.give(Input::Renewed(op, Err(Refusal::Gone)));
    assert_eq!(stage.state(), State::RunningFollower);
    stage.open();
    stage.campaign(theirs(11));
    assert_eq!(stage.machine.status().leader.as_deref(), Some("other"));
}

#[test]
fn a_follower_takes_over_when_the_seat_is_free() {
    let (mut stage, session) = Stage::follower();
    let began = stage.now;
    stage.give(Input::Seen(session, Seat::Vacant { after: 12 }));
    stage.campaign(ours(13));
    assert!(stage.now - began <= Duration::from_millis(100));
    assert_eq!((stage.state(), stage.step()), (State::TakingLeadership, Step::SetUp));
    stage.set_up(Ok(()));
    assert_eq!(stage.tap(), Some(5));
    stage.signal();
    assert_eq!(stage.state(), State::RunningLeader);
}

#[test]
fn a_leader_whose_seat_is_taken_away_steps_down_at_once() {
    let (mut stage, session) = Stage::leader();
    stage.give(Input::Seen(session, theirs(20)));
    assert_eq!(stage.state(), State::RunningFollower);
    assert_eq!(stage.tap(), Some(10));
    let (mut stage, session) = Stage::leader();
    stage.give(Input::Seen(session, Seat::Vacant { after: 20 }));
    assert_eq!(stage.state(), State::RunningFollower);
    stage.campaign(ours(21));
    assert_eq!(stage.state(), State::TakingLeadership);
}

#[test]
fn what_is_seen_late_changes_nothing() {
    let (mut stage, session) = Stage::leader();
    stage.give(Input::Seen(session, Seat::Vacant { after: 9 }));
    stage.give(Input::Seen(session, theirs(8)));
    assert_eq!(stage.state(), State::RunningLeader);
    stage.give(Input::Seen(Op(999), Seat::Vacant { after: 99 }));
    assert_eq!(stage.state(), State::RunningLeader);
    // The deletion is seen before the answer that names the deleted holder.
    let mut stage = Stage::started();
    let session = stage.open();
    let op = stage.until(|it| if let Output::Campaign(op) = it { Some(*op) } else { None });
    stage.give(Input::Seen(session, Seat::Vacant { after: 12 }));
    stage.give(Input::Campaigned(op, Ok(theirs(10))));
    stage.campaign(ours(13));
    assert!(stage.machine.status().leading);
}

#[test]
fn coordination_that_is_down_at_the_start_is_tried_until_it_is_there() {
    let mut stage = Stage::started();
    for _ in 0..10 {
        let op = stage.until(|it| if let Output::Open(op) = it { Some(*op) } else { None });
        stage.give(Input::Opened(op, Err("connection refused".into())));
        assert_eq!((stage.state(), stage.step()), (State::StartupLeaderElection, Step::Coordinate));
        let down = Link::Down("connection refused".into());
        assert_eq!(stage.machine.status().coordination, down);
    }
    stage.open();
    assert_eq!(stage.step(), Step::Campaign);
}

#[test]
fn a_follower_serves_on_while_coordination_is_away() {
    let (mut stage, session) = Stage::follower();
    stage.out.clear();
    stage.give(Input::Broken(session, "the stream ended".into()));
    assert_eq!(stage.state(), State::RunningFollower);
    stage.pass(SECOND);
    assert!(stage.take(|it| matches!(it, Output::Tap(..)).then_some(())).is_none());
}

#[test]
fn a_leader_that_cannot_set_up_makes_room_and_comes_back() {
    let mut stage = Stage::started();
    stage.open();
    stage.campaign(ours(10));
    let began = stage.now;
    let refused = || Err("connection refused".to_owned());
    loop {
        let wanted = |it: &Output| match it {
            Output::SetUp(op, _) => Some(Some(Ok(*op))),
            Output::Renew(op) => Some(Some(Err(*op))),
            Output::DropSession(_) => Some(None),
            _ => None,
        };
        match stage.until(wanted) {
            Some(Ok(op)) => stage.give(Input::SetUp(op, refused())),
            Some(Err(op)) => stage.give(Input::Renewed(op, Ok(()))),
            None => break,
        }
        let status = stage.machine.status();
        assert_eq!((status.state, status.step), (State::StartupLeaderDecided, Step::SetUp));
        assert_eq!(status.set_up_error.as_deref(), Some("connection refused"));
    }
    assert!(stage.now - began <= TTL);
    stage.open();
    let made_room = stage.now;
    let wanted = |it: &Output| match it {
        Output::Renew(op) => Some(Err(*op)),
        Output::Campaign(op) => Some(Ok(*op)),
        _ => None,
    };
    let campaign = loop {
        match stage.until(wanted) {
            Ok(op) => break op,
            Err(op) => stage.give(Input::Renewed(op, Ok(()))),
        }
    };
    stage.give(Input::Campaigned(campaign, Ok(ours(20))));
    assert!(stage.now - made_room > TTL - 2 * SECOND, "{:?}", stage.now - made_room);
    assert_eq!(stage.set_up(Ok(())), Some(20));
}

#[test]
fn a_leader_whose_queue_server_is_away_sets_up_again_before_it_connects() {
    let (mut stage, _) = Stage::leader();
    let line = stage.machine.line_op();
    stage.out.clear();
    stage.give(Input::Disconnected(line, "reset by peer".into()));
    assert_eq!(stage.out.first(), Some(&Output::DropLine(line)), "{:?}", stage.out);
    let status = stage.machine.status();
    assert_eq!(status.queues, Link::Down("reset by peer".into()));
    assert_eq!((status.state, status.prefetch), (State::RunningLeader, None));
    assert_eq!(stage.set_up(Ok(())), Some(10));
    // The others were told in this epoch.
    stage.connect();
    assert_eq!(stage.tap(), Some(5));
    assert_eq!(stage.machine.status().queues, Link::Up);
}

#[test]
fn a_follower_whose_queue_server_is_away_tries_until_it_is_back() {
    let (mut stage, _) = Stage::follower();
    let line = stage.machine.line_op();
    stage.give(Input::Disconnected(line, "reset by peer".into()));
    for _ in 0..3 {
        let op = stage.until(|it| if let Output::Connect(op) = it { Some(*op) } else { None });
        stage.give(Input::Connected(op, Err("connection refused".into())));
        assert_eq!(stage.state(), State::RunningFollower);
    }
    stage.connect();
    assert_eq!(stage.tap(), Some(10));
}

#[test]
fn consume_stops_and_resumes_every_instance() {
    for (mut stage, session) in [Stage::leader(), Stage::follower()] {
        let state = stage.state();
        let taken = stage.machine.status().prefetch;
        stage.give(Input::SeenConsume(session, false));
        assert_eq!(stage.tap(), None);
        assert_eq!((stage.state(), stage.machine.status().prefetch), (state, None));
        stage.give(Input::SeenConsume(session, true));
        assert_eq!(stage.tap(), taken);
    }
}

#[test]
fn a_stop_hands_over_at_once_and_finishes_what_is_in_work() {
    let (mut stage, session) = Stage::leader();
    stage.out.clear();
    stage.give(Input::Stop(10 * SECOND));
    assert_eq!((stage.state(), stage.step()), (State::Stopping, Step::StopConsuming));
    let now = stage.now;
    assert_eq!(stage.tap(), None);
    assert_eq!(stage.now, now);
    let (mut resign, mut drain) = (None, None);
    for output in stage.out.drain(..) {
        match output {
            Output::Resign(op) => resign = Some(op),
            Output::Drain(op) => drain = Some(op),
            _ => {}
        }
    }
    stage.give(Input::Resigned(resign.unwrap_or(Op(0))));
    let drain = drain.unwrap_or(Op(0));
    assert_eq!(stage.step(), Step::Drain);
    stage.pass(5 * SECOND);
    assert_eq!(stage.state(), State::Stopping);
    stage.give(Input::Drained(drain));
    assert_eq!((stage.state(), stage.step()), (State::Shutdown, Step::Done));
    assert_eq!(stage.out.last(), Some(&Output::Finished));
    assert!(stage.out.contains(&Output::DropSession(session)));
}

#[test]
fn a_stop_ends_at_its_deadline_even_if_nobody_answers() {
    let (mut stage, _) = Stage::leader();
    stage.give(Input::Stop(3 * SECOND));
    stage.pass(2 * SECOND);
    assert_eq!(stage.state(), State::Stopping);
    stage.pass(SECOND);
    assert_eq!(stage.state(), State::Shutdown);
    assert_eq!(stage.machine.next_timeout(), None);
}

#[test]
fn a_stop_in_each_step_ends() {
    let paths: [fn(&mut Stage); 8] = [
        |_| {},
        |stage| stage.give(Input::Start),
        |stage| {
            stage.give(Input::Start);
            stage.open();
        },
        |stage| {
            stage.give(Input::Start);
            stage.open();
            stage.campaign(theirs(10));
        },
        |stage| {
            stage.give(Input::Start);
            stage.open();
            stage.campaign(ours(10));
        },
        |stage| {
            stage.give(Input::Start);
            stage.open();
            stage.campaign(ours(10));
            stage.set_up(Ok(()));
        },
        |stage| {
            stage.give(Input::Start);
            stage.open();
            stage.campaign(ours(10));
            stage.set_up(Ok(()));
            stage.signal();
        },
        |stage| {
            stage.give(Input::Start);
            stage.open();
            stage.campaign(ours(10));
            stage.set_up(Ok(()));
            stage.signal();
            stage.connect();
        },
    ];
    for (number, path) in paths.into_iter().enumerate() {
        let mut stage = Stage::new(Settings::default());
        path(&mut stage);
        stage.out.clear();
        stage.give(Input::Stop(SECOND));
        // Whatever still comes in has been asked for before.
        stage.give(Input::Opened(Op(1), Ok(TTL)));
        if let Some(op) = stage.take(|it| if let Output::Drain(op) = it { Some(*op) } else { None })
        {
            stage.give(Input::Drained(op));
        }
        stage.pass(SECOND);
        assert_eq!(stage.state(), State::Shutdown, "{number}");
        let again: Vec<_> = stage
            .out
            .iter()
            .filter(|it| matches!(it, Output::Open(_) | Output::Campaign(_) | Output::Connect(_)))
            .collect();
        assert!(again.is_empty(), "{number}: {again:?}");
        assert_eq!(stage.machine.next_timeout(), None);
    }
}

#[test]
fn an_answer_that_nobody_waits_for_is_given_back() {
    let (mut stage, _) = Stage::leader();
    stage.out.clear();
    stage.give(Input::Opened(Op(900), Ok(TTL)));
    stage.give(Input::Connected(Op(901), Ok(())));
    stage.give(Input::Opened(Op(902), Err("late".into())));
    assert_eq!(stage.out, [Output::DropSession(Op(900)), Output::DropLine(Op(901))]);
    assert_eq!(stage.state(), State::RunningLeader);
}
