//! What is said, in which order, and when.

use super::*;

#[test]
fn messages_have_one_order_and_go_to_all_the_leader_or_one() {
    let mut desk = desk();
    let [a, b, c] = desk.members();
    desk.tell_all(b, 2, b"one");
    desk.group(c, 0, GroupHeader { to: Some("leader"), ..of(GroupVerb::Send) }, &[b"two"]);
    let to = GroupHeader { to: Some("member"), member: Some("c"), ..of(GroupVerb::Send) };
    desk.group(a, 3, GroupHeader { epoch: Some(1), ..to.clone() }, &[b"three"]);
    desk.group(b, 4, GroupHeader { incarnation: Some(9), ..to }, &[b"four"]);
    assert_eq!(desk.group_told(a), ["1 message b/2 all one", "1 message c/3 leader two", "3 ack"]);
    assert_eq!(desk.group_told(b), ["1 message b/2 all one", "2 ack", "4 not_member"]);
    assert_eq!(desk.group_told(c), ["1 message b/2 all one", "1 message a/1 #1 member three"]);
    // Who does not want to hear itself does not.
    let d = desk.join();
    desk.group(d, 1, GroupHeader { own: Some(false), ..joining("d", GroupType::default()) }, &[]);
    desk.group_told(d);
    desk.tell_all(d, 2, b"five");
    assert_eq!(desk.group_told(d), ["2 ack"]);
    assert_eq!(desk.group_told(a).last().unwrap(), "1 message d/4 all five");
}

#[test]
fn what_finds_no_room_is_dropped_counted_and_told_of_and_views_are_not() {
    let mut desk = desk();
    let [a, b, _] = desk.members();
    desk.said.pressed.push(b);
    desk.tell_all(a, 0, b"one");
    desk.tell_all(a, 0, b"two");
    let c = desk.member("x");
    assert_eq!(desk.group_told(b), ["1 view v4 x/4 joined"]);
    desk.said.pressed.clear();
    desk.tell_all(a, 0, b"three");
    assert_eq!(desk.group_told(b), ["1 message a/1 all missed 2 three"]);
    desk.said.pressed.push(b);
    desk.tell_all(a, 0, b"four");
    desk.said.pressed.clear();
    desk.beat_all(&[a, b, c], 1500 * MS);
    let gaps: Vec<_> = desk.group_told(b).into_iter().filter(|it| it.contains("gap")).collect();
    assert_eq!(gaps, ["1 gap missed 1"]);
    assert_eq!(desk.core.groups().counts().dropped, 3);
    // What cannot be dropped closes who does not read.
    desk.said.full.push(b);
    desk.leave(c);
    assert_eq!(desk.said.closed, [(b, CloseReason::SlowReader)]);
    assert!(desk.group_told(a).iter().any(|it| it.contains("b/2 left closed")));
}

#[test]
fn messages_of_a_timed_group_say_when_they_were_sent_and_taken() {
    let mut desk = desk();
    for (timed, expected) in [(Some(true), Some((70, 100_000))), (None, None)] {
        let peer = desk.join();
        let kind = GroupType { timed, ..GroupType::default() };
        let group = if timed.is_some() { "Timed" } else { "Other" };
        desk.group(peer, 1, GroupHeader { group: Some(group), ..joining("a", kind) }, &[]);
        if timed.is_some() {
            desk.pass(100 * MS);
        }
        desk.said.to.remove(peer);
        desk.group(peer, 2, GroupHeader { sent: Some(70), ..of(GroupVerb::Send) }, &[b"x"]);
        let said = desk.said.to.remove(peer).unwrap();
        let FromBroker::Group { header, .. } = FromBroker::decode(said[0].frames()).unwrap() else {
            panic!("{said:?}")
        };
        let says = GroupReport::decode(header).unwrap();
        assert_eq!(says.sent.zip(says.taken), expected);
    }
}

#[test]
fn a_beat_tells_the_clock_of_the_broker_that_never_stands_still() {
    let mut desk = desk();
    let [a, _] = desk.members();
    let clock = |desk: &mut Desk| {
        desk.said.to.remove(a);
        desk.group(a, 2, of(GroupVerb::Beat), &[]);
        let said = desk.said.to.remove(a).unwrap();
        let FromBroker::Group { header, .. } =
            FromBroker::decode(said.last().unwrap().frames()).unwrap()
        else {
            panic!("{said:?}")
        };
        GroupReport::decode(header).unwrap().clock.unwrap()
    };
    let before = clock(&mut desk);
    // The broker stands still for an hour.
    desk.now += 3_600_000 * MS;
    assert_eq!(clock(&mut desk), before + 3_600_000_000);
}
