mod leader;
mod polls;

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::group::event::{Ack, PollResult, To};
use crate::group::queue::Queue;
use crate::group::words::{BrokerTime, Recipient};
use crate::proto::group::{Rule, Vote};
use crate::wire::message::Message;
use crate::wire::mjp::{GroupReport, GroupRoster, GroupType, MemberRow};

const MS: Duration = Duration::from_millis(1);
const ANSWER: Duration = Duration::from_secs(5);

/// A member, and the broker's end of it.
struct Bench {
    seat: Seat,
    shared: Arc<Shared>,
    reader: Arc<Queue>,
    start: Instant,
    now: Instant,
    seq: u64,
    view: u64,
}

impl Bench {
    fn new() -> Self {
        let shared = Arc::new(Shared::new(100, 1 << 20));
        let now = Instant::now();
        let wants = Wants {
            group: "Escort.1".into(),
            member: Some("anna".into()),
            own: true,
            kind: GroupKind::default(),
        };
        let backoff = Backoff::new(100 * MS, 1000 * MS, 7);
        let seat = Seat::new(1, wants, ANSWER, backoff, shared.clone(), Weak::new(), now);
        let reader = shared.reader();
        Self { seat, shared, reader, start: now, now, seq: 2, view: 2 }
    }

    /// A member whose connection stands, and that has joined as the second one.
    fn joined() -> Self {
        let mut bench = Self::new();
        bench.seat.connected(bench.now);
        let id = bench.join_id();
        bench.now += 2 * MS;
        bench.answer_join(id, 9);
        assert_eq!(bench.events(), ["joined anna#9 of 2"]);
        bench
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.seat.poll_output()).collect()
    }

    /// What was said, with its ids.
    fn said(&mut self) -> Vec<(u64, Say)> {
        let said = |output| match output {
            Output::Say { id, say, .. } => Some((id, say)),
            _ => None,
        };
        self.outputs().into_iter().filter_map(said).collect()
    }

    fn join_id(&mut self) -> u64 {
        match self.said().as_slice() {
            [.., (id, Say::Join)] => *id,
            other => panic!("no join in {other:?}"),
        }
    }

    /// The one that was said.
    fn one(&mut self) -> (u64, Say) {
        let mut said = self.said();
        assert_eq!(said.len(), 1, "{said:?}");
        said.remove(0)
    }

    fn answer_join(&mut self, id: u64, incarnation: u64) {
        let rows = [
            MemberRow { member: "bert", incarnation: 7, ..MemberRow::default() },
            MemberRow { member: "anna", incarnation, ..MemberRow::default() },
        ];
        let roster = GroupRoster { members: Some(rows.to_vec()) };
        let body = Message::from(rmp_serde::to_vec_named(&roster).unwrap());
        let kind = GroupType { leader: Some(true), ..GroupType::default() };
        let report = GroupReport {
            event: "joined",
            seq: Some(self.seq),
            view: Some(self.view),
            member: Some("anna"),
            incarnation: Some(incarnation),
            kind_of_group: Some(kind),
            clock: Some(self.clock()),
            ..GroupReport::default()
        };
        self.seat.hear(self.now, id, &report, body);
    }

    /// The broker's clock: a second ahead of ours.
    fn clock(&self) -> u64 {
        1_000_000 + u64::try_from((self.now - self.start).as_micros()).unwrap()
    }

    fn seat_id(&self) -> u64 {
        match &self.seat.phase {
            Phase::Member(inside) => inside.id,
            _ => panic!("no member"),
        }
    }

    /// Something that has happened.
    fn happen(&mut self, report: GroupReport<'_>) {
        self.seq += 1;
        let (id, seq) = (self.seat_id(), Some(self.seq));
        self.seat.hear(self.now, id, &GroupReport { seq, ..report }, Message::from("body"));
    }

    fn viewed(&mut self, change: &'static str, member: &'static str, incarnation: u64) {
        self.view += 1;
        self.happen(GroupReport {
            event: "view",
            view: Some(self.view),
            change: Some(change),
            member: Some(member),
            incarnation: Some(incarnation),
            ..GroupReport::default()
        });
    }

    fn led(&mut self, event: &'static str, member: &'static str, incarnation: u64, epoch: u64) {
        self.happen(GroupReport {
            event,
            member: Some(member),
            incarnation: Some(incarnation),
            epoch: Some(epoch),
            ttl: Some(1000),
            ..GroupReport::default()
        });
    }

    fn says(&mut self, to: &'static str, epoch: Option<u64>) {
        self.happen(GroupReport {
            event: "message",
            member: Some("bert"),
            incarnation: Some(7),
            to: Some(to),
            epoch,
            ..GroupReport::default()
        });
    }

    fn answer(&mut self, id: u64, report: &GroupReport<'_>) {
        self.seat.hear(self.now, id, report, Message::default());
    }

    /// Answers the beat of that id.
    fn beaten(&mut self, id: u64, epoch: Option<u64>) {
        let clock = Some(self.clock());
        self.answer(id, &GroupReport { event: "beat", epoch, clock, ..GroupReport::default() });
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
        self.seat.handle_timeout(self.now);
    }

    /// Elected by that epoch, and sure of it.
    fn leads(epoch: u64) -> Self {
        let mut bench = Self::joined();
        bench.led("elected", "anna", 9, epoch);
        let (id, beat) = bench.one();
        assert_eq!(beat, Say::Beat { epoch: Some(epoch) });
        bench.now += MS;
        bench.beaten(id, Some(epoch));
        assert_eq!(bench.events(), [format!("elected anna#9 {epoch}")]);
        bench
    }

    fn believes(&self) -> Option<u64> {
        self.shared.known().leads(self.now)
    }

    fn poll(&mut self, when: Option<u64>, error: Option<u64>) {
        self.happen(GroupReport {
            event: "poll",
            member: Some("bert"),
            incarnation: Some(7),
            poll: Some(b"p"),
            kind: Some("unanimous"),
            timeout: Some(500),
            elector: Some(true),
            electorate: Some(2),
            when,
            error,
            ..GroupReport::default()
        });
    }

    fn result(&mut self, status: &'static str) {
        self.happen(GroupReport { event: "result", ..result(status) });
    }

    fn wish<T>(&mut self, wish: impl FnOnce(Reply<T>) -> Wish) -> Waiting<T> {
        let (reply, answer) = oneshot::channel();
        self.seat.wish(self.now, wish(reply));
        Waiting(answer)
    }

    fn agree(&mut self, when: u64, wanted: Option<Duration>) -> Waiting<()> {
        let agreed = Box::new(Agreed {
            poll: id("p"),
            when: BrokerTime(when),
            wanted,
            lateness: 100 * MS,
            action: Box::new(|| Box::pin(async { Ok(()) })),
        });
        self.wish(|reply| Wish::Agree { agreed, reply })
    }

    fn open(&mut self, topic: &'static str) -> Waiting<PollResult> {
        let opened = Opened {
            poll: id("p"),
            rule: Rule::Majority,
            timeout: Some(500 * MS),
            when: None,
            error: None,
            topic: Message::from(topic),
        };
        self.wish(|reply| Wish::Open { opened, reply })
    }

    fn send(&mut self, to: To, epoch: Option<u64>) -> Waiting<Ack> {
        let member = (to == To::Member).then(|| Recipient::from("bert"));
        let send = Box::new(Send { to, member, epoch, sent: None, body: Message::from("x") });
        self.wish(|reply| Wish::Send { send, reply })
    }

    fn lose(&mut self) {
        self.seat.disconnected(self.now, &"it broke".into());
    }

    fn events(&self) -> Vec<String> {
        let cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match self.reader.poll(&cx) {
            Poll::Ready(event) => event.map(|event| short(&event)),
            Poll::Pending => None,
        })
        .collect()
    }
}

struct Waiting<T>(oneshot::Receiver<Result<T, GroupError>>);

impl<T> Waiting<T> {
    fn is_open(&mut self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Empty))
    }

    fn get(mut self) -> Result<T, GroupError> {
        self.0.try_recv().expect("an answer")
    }
}

fn id(poll: &str) -> PollId {
    PollId::new(poll).unwrap()
}

fn result(status: &'static str) -> GroupReport<'static> {
    GroupReport {
        event: "result",
        poll: Some(b"p"),
        kind: Some("majority"),
        status: Some(status),
        yes: Some(2),
        electorate: Some(2),
        ..GroupReport::default()
    }
}

fn short(event: &Event) -> String {
    match event {
        Event::Joined(view) => format!("joined {} of {}", view.own, view.members.len()),
        Event::Parted(parted) => format!("parted {parted}"),
        Event::MemberJoined { member, view, .. } => format!("{view} +{member}"),
        Event::MemberSuspect { member, view } => format!("{view} ?{member}"),
        Event::MemberAlive { member, view } => format!("{view} !{member}"),
        Event::MemberLeft { member, reason, view, .. } => format!("{view} -{member} {reason}"),
        Event::LeaderElected(leader) => format!("elected {} {}", leader.member, leader.epoch),
        Event::LeaderExited { leader, reason } => {
            format!("exited {} {} {reason}", leader.member, leader.epoch)
        }
        Event::Message(message) => format!("{:?} {:?}", message.to, message.epoch),
        Event::Gap(gap) => format!("gap {}", gap.messages),
        Event::VoteRequest(ballot) => format!("ask {}", ballot.id()),
        Event::ActionVoteRequest(ballot) => format!("ask {} at {}", ballot.id(), ballot.when()),
        Event::VoteResult(result) => format!("result {} {:?}", result.poll, result.status),
        Event::Acted { poll, outcome } => format!("acted {poll} {outcome:?}"),
        Event::Outcomes(outcomes) => format!("outcomes {}", outcomes.poll),
    }
}

#[test]
fn views_are_told_in_their_order_and_a_gap_in_them_ends_the_connection() {
    let mut bench = Bench::joined();
    bench.viewed("joined", "cleo", 10);
    bench.viewed("suspect", "bert", 7);
    bench.viewed("alive", "bert", 7);
    bench.viewed("left", "bert", 7);
    assert_eq!(bench.events(), ["3 +cleo#10", "4 ?bert#7", "5 !bert#7", "6 -bert#7 unknown"]);
    let view = bench.shared.known().view.clone().unwrap();
    let names: Vec<_> = view.members.iter().map(|peer| peer.member.to_string()).collect();
    assert_eq!((view.number, names), (6, vec!["anna#9".into(), "cleo#10".to_owned()]));
    assert!(bench.outputs().is_empty());
    bench.view += 1;
    bench.viewed("joined", "dora", 11);
    assert!(matches!(bench.outputs().as_slice(), [Output::Dead { .. }]));
}

#[test]
fn what_a_former_leader_says_is_dropped() {
    let mut bench = Bench::joined();
    bench.led("elected", "bert", 7, 40);
    bench.says("all", Some(40));
    bench.says("member", None);
    bench.led("exited", "bert", 7, 40);
    bench.led("elected", "anna", 9, 41);
    let (beat, _) = bench.one();
    bench.beaten(beat, Some(41));
    bench.says("all", Some(40));
    let told = ["elected bert#7 40", "All Some(40)", "Member None", "exited bert#7 40 unknown"];
    assert_eq!(bench.events(), [&told[..], &["elected anna#9 41"]].concat());
}

#[test]
fn what_is_refused_has_a_kind_that_can_be_acted_on() {
    let mut bench = Bench::joined();
    for (code, error) in [
        ("no_leader", GroupError::NoLeader),
        ("not_coordinated", GroupError::NotCoordinated),
        ("not_member", GroupError::NotMember { message: "why".into() }),
        ("overloaded", GroupError::Overloaded { message: "why".into() }),
        ("strange", GroupError::Refused { code: "strange".into(), message: "why".into() }),
    ] {
        let waiting = bench.send(To::Leader, None);
        let (id, _) = bench.one();
        bench.seat.hear_error(bench.now, id, code, "why");
        assert_eq!(waiting.get(), Err(error));
    }
    bench.lose();
    let apart = bench.send(To::Leader, None).get();
    assert_eq!(apart, Err(GroupError::Apart { because: "it broke".into() }));
}

#[test]
fn a_lost_connection_ends_the_incarnation_and_another_one_begins_the_next() {
    let mut bench = Bench::leads(41);
    let sent = bench.send(To::All, None);
    bench.said();
    bench.lose();
    assert_eq!(sent.get(), Err(GroupError::Lost { because: "it broke".into() }));
    assert_eq!((bench.believes(), bench.shared.known().view.clone()), (None, None));
    assert_eq!(bench.events(), ["parted the connection was lost: it broke"]);
    assert_eq!(bench.seat.next_timeout(), None);
    bench.seat.connected(bench.now);
    // The old connection has its name for a while.
    let id = bench.join_id();
    bench.seat.hear_error(bench.now, id, "name_taken", "anna is there");
    let at = bench.seat.next_timeout().unwrap();
    assert!((at - bench.now) <= 100 * MS);
    bench.later(100 * MS);
    let id = bench.join_id();
    bench.answer_join(id, 15);
    assert_eq!(bench.events(), ["joined anna#15 of 2"]);
}

#[test]
fn who_is_taken_for_dead_joins_again_and_who_is_replaced_does_not() {
    let mut bench = Bench::joined();
    bench.viewed("suspect", "anna", 9);
    bench.happen(GroupReport {
        event: "view",
        view: Some(4),
        change: Some("left"),
        member: Some("anna"),
        incarnation: Some(9),
        reason: Some("expired"),
        ..GroupReport::default()
    });
    assert_eq!(bench.events(), ["3 ?anna#9", "parted the broker took this member for dead"]);
    let id = bench.join_id();
    bench.view = 5;
    bench.answer_join(id, 12);
    bench.events();
    bench.happen(GroupReport {
        event: "view",
        view: Some(6),
        change: Some("left"),
        member: Some("anna"),
        incarnation: Some(12),
        reason: Some("replaced"),
        ..GroupReport::default()
    });
    let told = bench.events();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(matches!(bench.outputs().as_slice(), [Output::Over]));
    assert_eq!(*bench.shared.standing.borrow(), Standing::Over);
}

#[test]
fn the_first_refusal_of_a_join_is_final() {
    let mut bench = Bench::new();
    bench.seat.connected(bench.now);
    let id = bench.join_id();
    bench.seat.hear_error(bench.now, id, "name_taken", "anna is there");
    let refused = GroupError::NameTaken { message: "anna is there".into() };
    assert_eq!(*bench.shared.standing.borrow(), Standing::Refused(refused));
    assert!(matches!(bench.outputs().as_slice(), [Output::Over]));
}

#[test]
fn a_broker_that_answers_nothing_is_given_up() {
    let mut bench = Bench::joined();
    for _ in 0..4 {
        bench.later(1000 * MS);
    }
    let dead = |output: &Output| matches!(output, Output::Dead { .. });
    assert_eq!(bench.outputs().iter().filter(|output| dead(output)).count(), 1);
    let mut bench = Bench::new();
    bench.seat.connected(bench.now);
    bench.later(ANSWER);
    assert!(bench.outputs().iter().any(dead));
}

#[test]
fn who_leaves_has_left_when_the_broker_says_so_or_the_connection_is_lost() {
    let mut bench = Bench::joined();
    let left = bench.wish(|reply| Wish::Leave { reply });
    let (id, _) = bench.one();
    bench.answer(id, &GroupReport { event: "left", ..GroupReport::default() });
    assert_eq!(left.get(), Ok(()));
    assert_eq!(bench.events(), ["parted it has left"]);
    assert_eq!(bench.send(To::All, None).get(), Err(GroupError::Left));
    let mut bench = Bench::joined();
    let left = bench.wish(|reply| Wish::Leave { reply });
    bench.lose();
    assert_eq!(left.get(), Ok(()));
    assert_eq!(bench.events(), ["parted it has left"]);
    let mut bench = Bench::joined();
    bench.seat.abandon(bench.now, Parted::Left);
    assert!(matches!(bench.said().as_slice(), [(0, Say::Cancel)]));
}
