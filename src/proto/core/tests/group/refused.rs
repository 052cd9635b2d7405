//! What is refused, and why.

use super::*;

#[test]
fn a_group_without_a_leader_has_none_and_no_polls() {
    let mut desk = desk();
    let peers = ["a", "b"].map(|name| {
        let peer = desk.join();
        desk.group(peer, 1, joining(name, GroupType::default()), &[]);
        peer
    });
    let a = peers[0];
    desk.group(a, 2, GroupHeader { to: Some("leader"), ..of(GroupVerb::Send) }, &[]);
    desk.group(a, 3, polling(GroupVerb::Open, "p"), &[]);
    desk.group(a, 4, vote("p", "yes"), &[]);
    assert_eq!(
        desk.group_told(a)[2..],
        ["2 not_coordinated", "3 not_coordinated", "4 not_coordinated"]
    );
}

#[test]
fn who_has_no_right_is_no_member_and_does_not_look() {
    let mut desk = desk();
    let a = desk.of_group_key(1, &["call *"]);
    let b = desk.of_group_key(2, &["group Esc*"]);
    desk.group(a, 1, joining("a", led(1)), &[]);
    desk.group(b, 1, joining("b", led(1)), &[]);
    let info = GroupHeader { verb: "info", group: Some(NAME), ..GroupHeader::default() };
    let list = GroupHeader { verb: "list", ..GroupHeader::default() };
    for (id, says) in [(2, info), (3, list)] {
        for peer in [a, b] {
            desk.group(peer, id, says.clone(), &[]);
        }
    }
    assert_eq!(desk.group_told(a), ["1 denied", "2 info v1 #1 [b]", "3 list Escort.1:1:b"]);
    assert_eq!(
        desk.group_told(b),
        ["1 joined v1 b/1 [b]", "1 elected b/1 #1", "2 denied", "3 denied"]
    );
    desk.core.regrant(desk.now, |_, _| Some((grants(&["serve *"]), None)), &mut desk.said);
    desk.check();
    assert_eq!(desk.group_told(b), ["1 exited b/1 #1 denied", "1 denied"]);
    assert_eq!(desk.core.groups().counts().left, [0, 0, 0, 0, 1]);
}

#[test]
fn what_is_no_good_is_refused_with_a_reason() {
    let mut desk = desk();
    let [a, _] = desk.members();
    desk.group(a, 2, GroupHeader { verb: "steal", ..GroupHeader::default() }, &[]);
    desk.group(a, 0, joining("x", led(2)), &[]);
    desk.group(a, 3, of(GroupVerb::Beat), &[b"body"]);
    desk.group(a, 4, GroupHeader { seat: None, ..of(GroupVerb::Beat) }, &[]);
    desk.group(a, 5, GroupHeader { seat: Some(9), ..of(GroupVerb::Beat) }, &[]);
    desk.group(a, 6, GroupHeader { to: Some("some"), ..of(GroupVerb::Send) }, &[]);
    desk.group(a, 7, GroupHeader { to: Some("member"), ..of(GroupVerb::Send) }, &[]);
    desk.group(a, 8, of(GroupVerb::Open), &[]);
    let open = polling(GroupVerb::Open, "p");
    desk.group(a, 9, GroupHeader { kind: Some("most"), ..open.clone() }, &[]);
    desk.group(a, 10, GroupHeader { timeout: Some(0), ..open.clone() }, &[]);
    desk.group(a, 11, GroupHeader { timeout: Some(3_600_001), ..open.clone() }, &[]);
    desk.group(a, 12, vote("p", "yes"), &[]);
    desk.group(a, 13, vote("p", "maybe"), &[]);
    desk.group(a, 14, polling(GroupVerb::Vote, "p"), &[]);
    let long = "x".repeat(241);
    let name = GroupHeader { group: Some(&long), ..joining("x", led(2)) };
    desk.group(a, 15, name, &[]);
    let bad = |id: u64| format!("{id} bad_request");
    let mut expected = vec!["2 unsupported".to_owned(), bad(0), bad(3), bad(4)];
    expected.push("5 not_member".into());
    expected.extend([6, 7, 8, 9, 10, 11].map(bad));
    expected.push("12 not_found".into());
    expected.extend([13, 14, 15].map(bad));
    assert_eq!(desk.group_told(a), expected);
    desk.said.account_full = true;
    desk.group(a, 16, joining("y", led(2)), &[]);
    desk.group(a, 17, open, &[]);
    assert_eq!(desk.group_told(a), ["16 overloaded", "17 overloaded"]);
}

#[test]
fn each_limit_has_its_answer() {
    let limits = GroupLimits {
        groups_max: 1,
        per_peer_max: 1,
        message_bytes_max: 4,
        polls_max: 1,
        results_max: 1,
        ..GroupLimits::default()
    };
    let group = GroupSettings { limits, rules: Vec::new() };
    let mut desk = Desk::with(Settings { group, ..Settings::default() });
    let a = desk.join();
    desk.group(a, 1, joining("a", led(1)), &[]);
    desk.group_told(a);
    desk.group(a, 2, joining("b", led(1)), &[]);
    let b = desk.join();
    desk.group(b, 1, GroupHeader { group: Some("Other"), ..joining("b", led(1)) }, &[]);
    assert_eq!(
        (desk.group_told(a), desk.group_told(b)),
        (vec!["2 overloaded".into()], vec!["1 overloaded".into()])
    );
    desk.tell_all(a, 3, b"12345");
    desk.tell_all(a, 4, b"1234");
    desk.group(a, 5, polling(GroupVerb::Open, "p"), &[b"12345"]);
    desk.group(a, 6, polling(GroupVerb::Open, "p"), &[]);
    desk.group(a, 7, polling(GroupVerb::Open, "q"), &[]);
    let told = desk.group_told(a);
    assert_eq!(told[..4], ["3 too_big", "1 message a/1 all 1234", "4 ack", "5 too_big"]);
    assert_eq!(told[4..], ["6 opened #1", "1 poll a/1 #1 elector", "7 overloaded"]);
    desk.group(a, 0, vote("p", "yes"), &[]);
    desk.group(a, 8, polling(GroupVerb::Open, "q"), &[]);
    desk.group(a, 0, vote("q", "no"), &[]);
    desk.group_told(a);
    desk.group(a, 9, polling(GroupVerb::Result, "p"), &[]);
    desk.group(a, 10, polling(GroupVerb::Result, "q"), &[]);
    assert_eq!(desk.group_told(a), ["9 not_found", "10 result #1 no 0+1-0o/1"]);
    // A group in which nobody is any more is there as long as its results are.
    desk.leave(a);
    assert_eq!(desk.core.groups().population(), [1, 0, 0, 0]);
    desk.pass(601_000 * MS);
    assert_eq!((desk.core.groups().population(), desk.said.charged), ([0; 4], 0));
}
