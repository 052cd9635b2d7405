use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::group::event::{Ack, Outcome, PollResult, Status, To};
use crate::group::queue::Queue;
use crate::group::words::{BrokerTime, Reading, Recipient};
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
fn a_leader_believes_it_from_the_first_answer_until_its_lease_is_over() {
    let mut bench = Bench::joined();
    bench.led("elected", "anna", 9, 41);
    bench.says("leader", None);
    let (first, _) = bench.one();
    // Nobody knows yet when it was elected, and nobody is told.
    assert_eq!((bench.believes(), bench.events()), (None, vec![]));
    bench.now += 10 * MS;
    bench.beaten(first, Some(41));
    assert_eq!(bench.believes(), Some(41));
    assert_eq!(bench.events(), ["elected anna#9 41", "Leader None"]);
    // It beats three times within its lease.
    let due = bench.seat.next_timeout().unwrap();
    assert!((due - bench.now) < 334 * MS, "{:?}", due - bench.now);
    bench.later(330 * MS);
    let (second, beat) = bench.one();
    assert_eq!(beat, Say::Beat { epoch: Some(41) });
    bench.now += 600 * MS;
    assert_eq!(bench.believes(), Some(41));
    bench.now += 20 * MS;
    // 0.95 s behind the first beat, whatever has not been heard.
    assert_eq!(bench.believes(), None);
    bench.beaten(second, Some(41));
    bench.later(MS);
    assert_eq!(bench.events(), ["exited anna#9 41 silent"]);
    // The broker says it as well, and it is told once.
    bench.led("exited", "anna", 9, 41);
    bench.led("elected", "anna", 9, 42);
    assert_eq!(bench.believes(), None);
    assert_eq!(bench.events(), [""; 0]);
}

#[test]
fn a_leader_that_hears_nothing_is_told_of_it_in_a_while() {
    let mut bench = Bench::joined();
    bench.led("elected", "anna", 9, 41);
    bench.later(999 * MS);
    assert_eq!(bench.events(), [""; 0]);
    bench.later(2 * MS);
    assert_eq!((bench.believes(), bench.events()), (None, vec!["elected anna#9 41".into()]));
}

#[test]
fn a_beat_with_an_old_epoch_ends_the_belief() {
    let mut bench = Bench::leads(41);
    bench.later(400 * MS);
    let (beat, _) = bench.one();
    bench.seat.hear_error(bench.now, beat, "stale_epoch", "41 is old");
    assert_eq!((bench.believes(), bench.events()), (None, vec!["exited anna#9 41 silent".into()]));
}

#[test]
fn who_resigns_leads_no_more_unless_there_is_nobody_to_hand_over_to() {
    let mut bench = Bench::leads(41);
    let to = Some(Recipient::from("cleo"));
    let mut waiting = bench.wish(|reply| Wish::Resign { epoch: None, to, reply });
    assert!(waiting.is_open());
    assert_eq!(bench.believes(), None);
    let (id, _) = bench.one();
    bench.seat.hear_error(bench.now, id, "not_member", "cleo is none");
    assert!(matches!(waiting.get(), Err(GroupError::NotMember { .. })));
    assert_eq!(bench.believes(), Some(41));
    let wrong = bench.wish(|reply| Wish::Resign { epoch: Some(40), to: None, reply });
    assert_eq!(wrong.get(), Err(GroupError::NotLeading));
    let waiting = bench.wish(|reply| Wish::Resign { epoch: Some(41), to: None, reply });
    let (id, say) = bench.one();
    assert_eq!(say, Say::Resign { epoch: 41, to: None });
    bench.led("exited", "anna", 9, 41);
    bench.answer(id, &GroupReport { event: "resigned", ..GroupReport::default() });
    assert_eq!(waiting.get(), Ok(()));
    assert_eq!(bench.believes(), None);
}

#[test]
fn a_leader_says_its_epoch_as_long_as_it_believes_it() {
    let mut bench = Bench::leads(41);
    let ack = bench.send(To::All, None);
    let (first, say) = bench.one();
    assert!(matches!(&say, Say::Send(send) if send.epoch == Some(41)), "{say:?}");
    let answer = GroupReport { event: "ack", seq: Some(8), size: Some(2), ..Default::default() };
    bench.answer(first, &answer);
    assert_eq!(ack.get(), Ok(Ack { seq: 8, size: 2 }));
    bench.now += 2000 * MS;
    let mut late = bench.send(To::All, None);
    let mut leading = bench.send(To::Member, Some(41));
    let said = bench.said();
    assert!(matches!(&said[0].1, Say::Send(send) if send.epoch.is_none()), "{said:?}");
    // Who has said by which epoch is refused by the broker.
    assert!(matches!(&said[1].1, Say::Send(send) if send.epoch == Some(41)), "{said:?}");
    bench.seat.hear_error(bench.now, said[1].0, "stale_epoch", "41 is old");
    assert_eq!(leading.0.try_recv().unwrap(), Err(GroupError::NotLeading));
    assert!(late.is_open());
    bench.later(ANSWER);
    assert_eq!(late.get(), Err(GroupError::NoAnswer { after: ANSWER }));
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
fn the_result_of_a_poll_goes_to_all_who_have_opened_it() {
    let mut bench = Bench::joined();
    let mut one = bench.open("north?");
    let (first, _) = bench.one();
    let other = bench.open("north?");
    assert_eq!(bench.open("south?").get(), Err(GroupError::PollTaken));
    assert!(bench.said().is_empty());
    bench.answer(first, &GroupReport { event: "opened", poll: Some(b"p"), ..Default::default() });
    bench.poll(None, None);
    assert!(one.is_open());
    bench.result("yes");
    assert_eq!(one.get().unwrap().status, Status::Yes);
    assert!(other.get().unwrap().is_yes());
    assert_eq!(bench.events(), ["ask p", "result p Yes"]);
    // The broker may know it already.
    let again = bench.open("north?");
    let (id, _) = bench.one();
    bench.answer(id, &result("no"));
    assert_eq!(again.get().unwrap().status, Status::No);
}

#[test]
fn who_opens_a_poll_always_has_an_answer() {
    let mut bench = Bench::joined();
    let refused = bench.open("north?");
    let (id, _) = bench.one();
    bench.seat.hear_error(bench.now, id, "no_leader", "");
    assert_eq!(refused.get(), Err(GroupError::NoLeader));
    let mut unheard = bench.open("north?");
    bench.said();
    bench.lose();
    // Over the next connection it is opened again, with the time that is left.
    bench.now += 200 * MS;
    bench.seat.connected(bench.now);
    let id = bench.join_id();
    bench.answer_join(id, 12);
    let (_, say) = bench.one();
    assert!(matches!(&say, Say::Open(open) if open.timeout == Some(300 * MS)), "{say:?}");
    bench.lose();
    bench.seat.connected(bench.now);
    let id = bench.join_id();
    bench.now += 400 * MS;
    bench.answer_join(id, 13);
    let (id, say) = bench.one();
    assert!(matches!(say, Say::Result(_)), "{say:?}");
    bench.answer(id, &GroupReport { status: Some("open"), ..result("open") });
    assert!(unheard.is_open());
    bench.later(ANSWER - 101 * MS);
    assert!(unheard.is_open());
    bench.later(2 * MS);
    assert_eq!(unheard.get(), Err(GroupError::NoResult { after: 5500 * MS }));
}

#[test]
fn an_action_is_begun_at_its_moment_by_a_clock_that_is_a_second_ahead() {
    let mut bench = Bench::joined();
    let when = bench.clock() + 500_000;
    bench.poll(Some(when), Some(5_000));
    // The clock is measured anew.
    let (beat, _) = bench.one();
    bench.now += MS;
    bench.beaten(beat, None);
    let agreed = bench.agree(when, Some(5 * MS));
    let (id, say) = bench.one();
    let Say::Vote { vote: Vote::Yes, error: Some(error), .. } = say else { panic!("{say:?}") };
    assert!(error <= MS, "{error:?}");
    bench.answer(id, &GroupReport { event: "voted", vote: Some("yes"), ..Default::default() });
    assert_eq!(agreed.get(), Ok(()));
    // Whoever agrees twice is asked to act once.
    bench.agree(when, Some(5 * MS));
    bench.said();
    bench.result("yes");
    let outputs = bench.outputs();
    let [Output::Act { at, until, .. }] = outputs.as_slice() else { panic!("{}", outputs.len()) };
    let true_moment = bench.start + Duration::from_micros(when - 1_000_000);
    assert!(*at >= true_moment && *at <= true_moment + 2 * error + MS, "{error:?}");
    assert_eq!(*until, *at + 100 * MS);
    bench.seat.acted(*at, id_of(), Outcome::Done);
    let (zero, say) = bench.one();
    assert_eq!((zero, say), (0, Say::Outcome { poll: id_of(), outcome: Outcome::Done }));
    // Never twice.
    let when = bench.clock() + 500_000;
    assert_eq!(bench.agree(when, None).get(), Err(GroupError::PollOver));
    let told = bench.events();
    assert_eq!(told[1..], ["result p Yes", "acted p Done"]);
}

fn id_of() -> PollId {
    id("p")
}

#[test]
fn one_way_delay_is_within_the_error_and_a_clock_that_is_worse_votes_no() {
    let mut bench = Bench::joined();
    // Another connection, whose answers come late.
    bench.lose();
    bench.seat.connected(bench.now);
    let join = bench.join_id();
    let clock = bench.clock();
    bench.now += 40 * MS;
    let reading = {
        let rows = [MemberRow { member: "anna", incarnation: 12, ..MemberRow::default() }];
        let roster = GroupRoster { members: Some(rows.to_vec()) };
        let body = Message::from(rmp_serde::to_vec_named(&roster).unwrap());
        let report = GroupReport {
            event: "joined",
            seq: Some(bench.seq),
            view: Some(2),
            member: Some("anna"),
            incarnation: Some(12),
            kind_of_group: Some(GroupType::default()),
            clock: Some(clock),
            ..GroupReport::default()
        };
        bench.seat.hear(bench.now, join, &report, body);
        Reading::of(&bench.shared.known().clock, bench.now).unwrap()
    };
    let off = Duration::from_micros(reading.now.0.abs_diff(bench.clock()));
    assert!(off <= reading.error && reading.error <= 21 * MS, "{off:?} {reading:?}");
    let when = bench.clock() + 500_000;
    bench.poll(Some(when), Some(5_000));
    bench.said();
    let refused = bench.agree(when, Some(5 * MS)).get();
    assert!(matches!(refused, Err(GroupError::Clock { error, .. }) if error > 20 * MS));
    let (zero, say) = bench.one();
    assert!(matches!(say, Say::Vote { vote: Vote::No, error: Some(_), .. }), "{say:?}");
    assert_eq!(zero, 0);
    bench.result("yes");
    assert!(bench.outputs().is_empty(), "nobody acts who has not agreed");
}

#[test]
fn without_a_yes_and_too_late_nothing_is_done() {
    let mut bench = Bench::joined();
    let when = bench.clock() + 500_000;
    bench.agree(when, None);
    bench.said();
    bench.result("no");
    assert!(bench.outputs().is_empty());
    bench.agree(when, None);
    bench.said();
    bench.now += 700 * MS;
    bench.result("yes");
    let (_, say) = bench.one();
    assert_eq!(say, Say::Outcome { poll: id_of(), outcome: Outcome::Missed });
    let over = bench.agree(bench.clock() - 1, None);
    assert_eq!(over.get(), Err(GroupError::PollOver));
}

#[test]
fn a_yes_that_is_heard_over_the_next_connection_counts() {
    let mut bench = Bench::joined();
    let when = bench.clock() + 500_000;
    let lost = bench.agree(when, None);
    bench.said();
    bench.lose();
    assert!(matches!(lost.get(), Err(GroupError::Lost { .. })));
    bench.seat.connected(bench.now);
    let join = bench.join_id();
    bench.answer_join(join, 12);
    let (id, say) = bench.one();
    assert_eq!(say, Say::Result(id_of()));
    bench.answer(id, &result("yes"));
    assert!(matches!(bench.outputs().as_slice(), [Output::Act { .. }]));
    // A broker that does not know it will not say yes.
    let mut bench = Bench::joined();
    let when = bench.clock() + 500_000;
    bench.agree(when, None);
    bench.lose();
    bench.seat.connected(bench.now);
    let join = bench.join_id();
    bench.answer_join(join, 12);
    let (id, _) = bench.one();
    bench.seat.hear_error(bench.now, id, "not_found", "");
    bench.result("yes");
    assert!(bench.outputs().is_empty());
}

#[test]
fn a_vote_that_counts_as_another_one_is_told_so() {
    let mut bench = Bench::joined();
    let vote = bench.wish(|reply| Wish::Vote { poll: id_of(), vote: Vote::Yes, reply });
    let (id, say) = bench.one();
    assert_eq!(say, Say::Vote { poll: id_of(), vote: Vote::Yes, error: None });
    bench.answer(id, &GroupReport { event: "voted", vote: Some("no"), ..Default::default() });
    assert_eq!(vote.get(), Err(GroupError::NeedsAction));
    for (code, error) in
        [("vote_changed", GroupError::VoteChanged), ("poll_over", GroupError::PollOver)]
    {
        let vote = bench.wish(|reply| Wish::Vote { poll: id_of(), vote: Vote::No, reply });
        let (id, _) = bench.one();
        bench.seat.hear_error(bench.now, id, code, "");
        assert_eq!(vote.get(), Err(error));
    }
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
