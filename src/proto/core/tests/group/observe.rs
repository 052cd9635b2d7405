//! Who looks at a group without being a member.

use super::*;

fn observe(group: &str) -> GroupHeader<'_> {
    GroupHeader { verb: GroupVerb::Observe.as_str(), group: Some(group), ..GroupHeader::default() }
}

#[test]
fn an_observer_is_told_how_a_group_is_and_then_all_that_changes() {
    let mut desk = desk();
    let eye = desk.join();
    // A group need not be there to be looked at.
    desk.group(eye, 7, observe(NAME), &[]);
    assert_eq!(desk.group_told(eye), ["7 info"]);
    let [a, b] = desk.members();
    let told = ["7 view v1 a/1 joined", "7 view v2 b/2 joined", "7 elected a/1 #1"];
    assert_eq!(desk.group_told(eye), told);
    // It sees how polls end, and nothing of what was asked and said.
    desk.tell_all(a, 2, b"secret");
    desk.group(a, 3, polling(GroupVerb::Open, "p"), &[b"north?"]);
    for peer in [a, b] {
        desk.group(peer, 0, vote("p", "yes"), &[]);
    }
    assert_eq!(desk.group_told(eye), ["7 result #1 yes 2+0-0o/2"]);
    let other = desk.join();
    desk.group(other, 1, observe(NAME), &[]);
    desk.group(other, 2, observe("Other"), &[]);
    assert_eq!(desk.group_told(other), ["1 info v2 #1 [a b]", "2 info"]);
    // What members are told under the same number, and why somebody has gone.
    desk.leave(a);
    let told = ["exited a/1 #1 closed", "view v3 a/1 left closed"];
    for (peer, id) in [(eye, 7), (other, 1)] {
        assert_eq!(desk.group_told(peer), told.map(|told| format!("{id} {told}")));
    }
    desk.mjp(eye, &ToBroker::Cancel { id: 7 });
    desk.leave(b);
    assert_eq!(
        (desk.group_told(eye), desk.group_told(other)),
        (vec![], vec!["1 view v4 b/2 left closed".into()])
    );
    // It looks on, at whatever has the name next.
    desk.member("c");
    assert_eq!(desk.group_told(other), ["1 view v5 c/3 joined"]);
}

#[test]
fn an_observer_that_has_missed_something_is_told_anew_how_things_are() {
    let mut desk = desk();
    let eye = desk.join();
    desk.group(eye, 1, observe(NAME), &[]);
    desk.group_told(eye);
    desk.said.pressed.push(eye);
    let [a, b] = desk.members();
    assert_eq!(desk.group_told(eye), [""; 0]);
    desk.pass(200 * MS);
    assert_eq!(desk.group_told(eye), [""; 0]);
    desk.said.pressed.clear();
    // Not a part of what has happened meanwhile: that would be no whole.
    desk.member("c");
    assert_eq!(desk.group_told(eye), [""; 0]);
    desk.pass(200 * MS);
    assert_eq!(desk.group_told(eye), ["1 info v3 #1 missed 4 [a b c]"]);
    desk.leave(b);
    assert_eq!(desk.group_told(eye), ["1 view v4 b/2 left closed"]);
    desk.leave(a);
    desk.leave(eye);
    assert_eq!(desk.core.groups().observing(), 0);
}

#[test]
fn those_that_do_not_read_are_in_the_way_of_nobody_that_looks() {
    let mut desk = desk();
    let (deaf, others) = (desk.join(), [desk.join(), desk.join()]);
    for id in 1..=150 {
        desk.group(deaf, id, observe(NAME), &[]);
    }
    for other in others {
        desk.group(other, 1, observe(NAME), &[]);
    }
    desk.said.pressed.extend([deaf, others[0], others[1]]);
    desk.member("a");
    desk.said.pressed.retain(|peer| *peer == deaf);
    for peer in [deaf, others[0], others[1]] {
        desk.group_told(peer);
    }
    // Those before them in the line do not come to an end, and take two turns of a hundred.
    let told = |desk: &mut Desk| others.map(|other| desk.group_told(other).len());
    desk.pass(100 * MS);
    assert_eq!(told(&mut desk), [0, 0]);
    desk.pass(100 * MS);
    assert_eq!(told(&mut desk), [1, 1]);
    // When it reads, it is told all of it at last.
    desk.said.pressed.clear();
    desk.pass(100 * MS);
    assert_eq!(desk.group_told(deaf).len(), 100);
    desk.pass(100 * MS);
    assert_eq!(desk.group_told(deaf).len(), 50);
    desk.pass(100 * MS);
    assert_eq!(desk.group_told(deaf), [""; 0]);
}

#[test]
fn who_looks_needs_the_right_an_id_of_its_own_and_room() {
    let limits = GroupLimits { per_peer_max: 3, observers_max: 1, ..GroupLimits::default() };
    let group = GroupSettings { limits, rules: Vec::new() };
    let mut desk = Desk::with(Settings { group, ..Settings::default() });
    let a = desk.of_group_key(1, &["call mmi.group.Escort*", "group *"]);
    let b = desk.of_group_key(2, &["call *"]);
    desk.group(a, 1, observe("Other"), &[]);
    desk.group(a, 1, observe(NAME), &[]);
    desk.group(a, 1, joining("a", led(1)), &[]);
    desk.group(a, 1, observe("Escort.2"), &[]);
    desk.group(a, 2, joining("a", led(1)), &[]);
    desk.group(a, 2, observe("Escort.2"), &[]);
    desk.group(a, 0, observe("Escort.2"), &[]);
    let told = ["1 denied", "1 info", "1 duplicate_id", "1 duplicate_id"];
    let told = [&told[..], &["2 joined v1 a/1 [a]"]].concat();
    assert_eq!(desk.group_told(a)[..5], told);
    desk.group(b, 1, observe(NAME), &[]);
    desk.group(a, 3, observe("Escort.2"), &[]);
    desk.group(a, 4, observe("Escort.3"), &[]);
    desk.group(b, 2, GroupHeader { group: None, ..observe("") }, &[]);
    let long = "x".repeat(241);
    desk.group(b, 3, observe(&long), &[]);
    assert_eq!(desk.group_told(b), ["1 overloaded", "2 bad_request", "3 bad_request"]);
    assert_eq!(desk.group_told(a), ["3 info", "4 overloaded"]);
    desk.said.account_full = true;
    desk.group(b, 4, observe("Free"), &[]);
    assert_eq!(desk.group_told(b), ["4 overloaded"]);
    desk.said.account_full = false;
    // With the right what it allowed is over.
    desk.group(b, 5, observe("Free"), &[]);
    desk.core.regrant(desk.now, |_, _| Some((grants(&["group *"]), None)), &mut desk.said);
    desk.check();
    assert_eq!(desk.group_told(b), ["5 info", "5 denied"]);
    assert_eq!(desk.group_told(a), ["1 denied", "3 denied"]);
    desk.core.drain(desk.now, 1000 * MS, &mut desk.said);
    desk.said.to.remove(b);
    desk.leave(a);
    desk.leave(b);
    assert_eq!((desk.core.groups().observing(), desk.said.charged), (0, 0));
}
