//! Believing in leading.

use super::*;

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
