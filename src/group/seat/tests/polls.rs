//! Polls that were opened here, and actions that were agreed to.

use super::*;
use crate::group::event::{Outcome, Status};
use crate::group::words::Reading;

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
fn who_agrees_when_it_was_decided_already_acts_as_the_others_do() {
    let wanted = |when| GroupReport { when: Some(when), ..result("yes") };
    let mut bench = Bench::joined();
    let when = bench.clock() + 500_000;
    bench.happen(wanted(when));
    assert!(bench.outputs().is_empty(), "it has not agreed");
    assert_eq!(bench.agree(when, None).get(), Ok(()));
    assert!(matches!(bench.outputs().as_slice(), [Output::Act { .. }]));
    assert_eq!(bench.agree(when, None).get(), Err(GroupError::PollOver), "and not twice");

    // Its yes was on its way.
    let mut bench = Bench::joined();
    let when = bench.clock() + 500_000;
    let agreed = bench.agree(when, None);
    let (id, _) = bench.one();
    bench.happen(wanted(when));
    assert!(matches!(bench.outputs().as_slice(), [Output::Act { .. }]));
    bench.seat.hear_error(bench.now, id, "poll_over", "");
    assert_eq!(agreed.get(), Ok(()));

    // Too late it is, and says so.
    let mut bench = Bench::joined();
    let when = bench.clock() + 500_000;
    bench.happen(wanted(when));
    bench.now += 700 * MS;
    assert_eq!(bench.agree(when, None).get(), Ok(()));
    let (_, say) = bench.one();
    assert_eq!(say, Say::Outcome { poll: id_of(), outcome: Outcome::Missed });
    assert!(bench.outputs().is_empty());
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
fn an_action_so_long_from_now_is_the_same_one_later() {
    let mut bench = Bench::joined();
    let open = |bench: &mut Bench, time| {
        let opened = Opened {
            poll: id_of(),
            rule: Rule::Unanimous,
            timeout: Some(500 * MS),
            when: Some(When::In(time)),
            error: None,
            topic: Message::from("brake"),
        };
        bench.wish(|reply| Wish::Open { opened, reply })
    };
    let one = open(&mut bench, 900 * MS);
    let (_, say) = bench.one();
    assert!(matches!(&say, Say::Open(open) if open.when == Some(When::In(900 * MS))), "{say:?}");
    bench.now += 100 * MS;
    let other = open(&mut bench, 900 * MS);
    assert_eq!(open(&mut bench, 800 * MS).get(), Err(GroupError::PollTaken));
    assert!(bench.said().is_empty());
    bench.result("yes");
    assert!(one.get().unwrap().is_yes() && other.get().unwrap().is_yes());
    // Over the next connection it is not begun anew, at a later moment: its result is asked for.
    let lost = open(&mut bench, 900 * MS);
    bench.said();
    bench.lose();
    bench.seat.connected(bench.now);
    let join = bench.join_id();
    bench.answer_join(join, 12);
    let (id, say) = bench.one();
    assert_eq!(say, Say::Result(id_of()));
    bench.answer(id, &result("no"));
    assert_eq!(lost.get().unwrap().status, Status::No);
}
