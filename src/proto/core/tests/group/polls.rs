//! What polls decide, and the actions that they are about.

use super::*;

#[test]
fn a_poll_is_decided_by_its_electorate_as_soon_as_it_is_fixed() {
    let mut desk = desk();
    let [a, b, c] = desk.members();
    let open = GroupHeader { timeout: Some(500), ..polling(GroupVerb::Open, "p1") };
    desk.group(b, 2, open.clone(), &[b"north?"]);
    assert_eq!(desk.group_told(b), ["2 opened #1", "1 poll b/2 #1 elector north?"]);
    assert_eq!(desk.group_told(c), ["1 poll b/2 #1 elector north?"]);
    // Who joins now looks on.
    let d = desk.member("d");
    desk.group_told(d);
    desk.group(d, 2, vote("p1", "yes"), &[]);
    assert_eq!(desk.group_told(d), ["2 not_member"]);
    desk.group(c, 2, vote("p1", "yes"), &[]);
    desk.group(c, 3, vote("p1", "yes"), &[]);
    desk.group(c, 4, vote("p1", "no"), &[]);
    desk.group(c, 5, polling(GroupVerb::Result, "p1"), &[]);
    assert_eq!(
        desk.group_told(c)[1..],
        ["2 voted yes", "3 voted yes again", "4 vote_changed", "5 result #1 open 1+0-0o/3"]
    );
    // The same question again is the same poll, another one is none.
    desk.group(b, 3, open.clone(), &[b"north?"]);
    desk.group(b, 4, open.clone(), &[b"south?"]);
    desk.group_told(d);
    desk.group(a, 2, vote("p1", "yes"), &[]);
    let result = "result #1 yes 2+0-0o/3";
    assert_eq!(
        desk.group_told(b)[1..],
        ["3 opened #1 again", "4 key_conflict", &format!("1 {result}")]
    );
    assert_eq!(desk.group_told(d), [format!("1 {result}")]);
    desk.group(b, 5, vote("p1", "yes"), &[]);
    desk.group(b, 6, open, &[b"north?"]);
    desk.group(b, 7, polling(GroupVerb::Result, "p1"), &[]);
    let again = [format!("6 {result}"), format!("7 {result}")];
    assert_eq!(desk.group_told(b), [&["5 poll_over".to_owned()][..], &again].concat());
    // It is forgotten in time, and its memory is free.
    desk.beat_all(&[a, b, c, d], 601_000 * MS);
    desk.group_told(b);
    desk.group(b, 8, polling(GroupVerb::Result, "p1"), &[]);
    assert_eq!(desk.group_told(b).last().unwrap(), "8 not_found");
}

#[test]
fn polls_end_by_time_by_a_change_of_leader_or_for_want_of_electors() {
    let mut desk = desk();
    let [a, b, c] = desk.members();
    desk.group(b, 0, of(GroupVerb::Beat), &[]);
    let open = |poll| GroupHeader { timeout: Some(300), ..polling(GroupVerb::Open, poll) };
    desk.group(b, 2, open("late"), &[]);
    desk.pass(350 * MS);
    let unanimous = GroupHeader { kind: Some("unanimous"), ..open("gone") };
    desk.group(b, 3, unanimous, &[]);
    desk.leave(c);
    desk.group(b, 4, open("led"), &[]);
    desk.leave(a);
    let told = desk.group_told(b);
    let results: Vec<_> = told.iter().filter(|it| it.contains("result")).collect();
    assert_eq!(
        results,
        [
            "1 result #1 timeout 0+0-0o/3",
            "1 result #1 no_quorum 0+0-0o/3",
            "1 result #1 aborted leader_changed 0+0-0o/2"
        ]
    );
    desk.group(b, 5, open("alone"), &[]);
    assert_eq!(desk.group_told(b), ["5 no_leader"]);
    assert_eq!(desk.core.groups().counts().polls, [0, 0, 1, 1, 1]);
}

#[test]
fn durable_polls_go_on_under_the_next_leader_with_its_epoch() {
    let mut desk = desk();
    let kind = GroupType { polls: Some("durable"), ..led(2) };
    let members = ["a", "b", "c"].map(|name| {
        let peer = desk.join();
        desk.group(peer, 1, joining(name, kind.clone()), &[]);
        peer
    });
    let [a, b, c] = members;
    desk.group(b, 2, polling(GroupVerb::Open, "p"), &[]);
    desk.group(a, 0, vote("p", "yes"), &[]);
    desk.leave(a);
    desk.group(c, 0, vote("p", "yes"), &[]);
    assert_eq!(desk.group_told(c).last().unwrap(), "1 result #2 yes 2+0-0o/3");
    // Without a leader nothing is decided.
    desk.group(b, 3, polling(GroupVerb::Open, "q"), &[]);
    desk.group(b, 0, vote("q", "yes"), &[]);
    desk.leave(c);
    desk.pass(1600 * MS);
    assert_eq!(desk.group_told(b).last().unwrap(), "1 result #2 timeout 1+0-0o/2");
}

#[test]
fn the_electorate_may_be_larger_than_who_is_there() {
    for (kind, size) in [
        (GroupType { expected_size: Some(5), ..led(2) }, 5),
        (GroupType { voters: Some(vec!["b", "c", "x", "y"]), ..led(2) }, 4),
    ] {
        let mut desk = desk();
        let peers = ["a", "b", "c"].map(|name| {
            let peer = desk.join();
            desk.group(peer, 1, joining(name, kind.clone()), &[]);
            peer
        });
        desk.group_told(peers[0]);
        desk.group(peers[0], 2, polling(GroupVerb::Open, "p"), &[]);
        let told = desk.group_told(peers[0]);
        if size == 5 {
            assert_eq!(told, ["2 opened #1", "1 poll a/1 #1 elector"]);
            peers.iter().for_each(|peer| desk.group(*peer, 0, vote("p", "yes"), &[]));
            assert_eq!(desk.group_told(peers[0]), ["1 result #1 yes 3+0-0o/5"]);
        } else {
            // Two of four can never be more than half.
            let result = "1 result #1 no_quorum 0+0-0o/4";
            assert_eq!(told, ["2 opened #1", "1 poll a/1 #1 looks on", result]);
        }
    }
}

#[test]
fn an_action_is_announced_in_time_or_not_at_all_and_its_outcomes_are_told() {
    let mut desk = desk();
    let [a, b, c] = desk.members();
    let action = |poll, when| GroupHeader {
        timeout: Some(400),
        when: Some(when),
        error: Some(2000),
        kind: Some("unanimous"),
        ..polling(GroupVerb::Open, poll)
    };
    // The timeout and the margin of 50 ms are before it.
    desk.group(a, 2, action("early", 450_000), &[b"brake"]);
    desk.group(a, 3, action("go", 450_001), &[b"brake"]);
    assert_eq!(desk.group_told(a)[..2], ["2 too_late", "3 opened #1"]);
    let exact = |vote, error| GroupHeader { error, ..vote };
    desk.group(a, 4, exact(vote("go", "yes"), Some(2000)), &[]);
    desk.group(b, 4, exact(vote("go", "yes"), Some(10)), &[]);
    desk.group(c, 4, exact(vote("go", "yes"), Some(0)), &[]);
    assert_eq!(desk.group_told(c)[1..], ["4 voted yes", "1 result #1 yes 3+0-0o/3"]);
    let outcome =
        |outcome| GroupHeader { outcome: Some(outcome), ..polling(GroupVerb::Outcome, "go") };
    // It is waited for behind the end of the poll, and behind the moment itself.
    desk.beat_all(&[a, b, c], 750 * MS);
    let said = desk.group_told(a);
    assert!(!said.iter().any(|it| it.contains("outcomes")), "{said:?}");
    desk.group(a, 5, outcome("done"), &[]);
    desk.group(a, 6, outcome("done"), &[]);
    desk.group(a, 7, outcome("failed"), &[]);
    desk.group(b, 5, outcome("missed"), &[]);
    desk.leave(c);
    assert_eq!(
        desk.group_told(a),
        [
            "5 noted",
            "6 noted",
            "7 vote_changed",
            "1 view v4 c/3 left closed",
            "1 outcomes [a=done b=missed c=silent]"
        ]
    );
    desk.group(b, 6, outcome("missed"), &[]);
    assert_eq!(desk.group_told(b).last().unwrap(), "6 poll_over");
    // Who does not know the time well enough cannot say yes.
    desk.group(a, 8, action("again", 1_900_000), &[]);
    desk.group(b, 7, exact(vote("again", "yes"), Some(2001)), &[]);
    let told = desk.group_told(b);
    assert_eq!(told[told.len() - 2..], ["7 voted no", "1 result #1 no 0+1-0o/2"]);
}

#[test]
fn a_yes_that_comes_too_late_for_its_action_is_none() {
    let mut desk = desk();
    let [a, b] = desk.members();
    let says =
        GroupHeader { timeout: Some(400), when: Some(500_000), ..polling(GroupVerb::Open, "go") };
    desk.group(a, 2, says, &[]);
    desk.group(a, 0, vote("go", "yes"), &[]);
    // The broker stands still: its deadlines move, and the moment of the action does not.
    desk.now += 2000 * MS;
    desk.group(b, 0, vote("go", "yes"), &[]);
    let told = desk.group_told(b);
    assert_eq!(told.last().unwrap(), "1 result #1 timeout too_late 2+0-0o/2");
}

#[test]
fn whoever_has_no_name_of_its_own_opens_the_same_poll_over_the_next_connection() {
    let mut desk = desk();
    let _others: [PeerId; 2] = desk.members();
    let nameless = GroupHeader { member: None, ..joining("", led(2)) };
    let join = |desk: &mut Desk, key| {
        let peer = desk.of_group_key(key, &["group *"]);
        desk.group(peer, 1, nameless.clone(), &[]);
        desk.group_told(peer);
        peer
    };
    let open = GroupHeader { timeout: Some(5000), ..polling(GroupVerb::Open, "p") };
    let first = join(&mut desk, 7);
    desk.group(first, 2, open.clone(), &[b"north?"]);
    desk.leave(first);
    // It is another member now, of the same principal.
    let again = join(&mut desk, 7);
    desk.group(again, 2, open.clone(), &[b"north?"]);
    desk.group(again, 3, open.clone(), &[b"south?"]);
    assert_eq!(desk.group_told(again), ["2 opened #1 again", "3 key_conflict"]);
    let other = join(&mut desk, 8);
    desk.group(other, 2, open.clone(), &[b"north?"]);
    assert_eq!(desk.group_told(other), ["2 key_conflict"]);
    desk.beat_all(&[again, other], 5000 * MS);
    let ended = desk.group_told(again).into_iter().find(|it| it.contains("result")).unwrap();
    desk.group(again, 4, open, &[b"north?"]);
    let known = desk.group_told(again);
    assert_eq!(known.last(), Some(&ended.replacen('1', "4", 1)));
}

#[test]
fn an_action_so_long_from_its_opening_is_the_same_one_when_it_is_opened_again() {
    let mut desk = desk();
    let [a, b] = desk.members();
    let action = |within| GroupHeader {
        timeout: Some(400),
        within: Some(within),
        ..polling(GroupVerb::Open, "go")
    };
    desk.group(a, 2, action(450_000), &[b"brake"]);
    let both = GroupHeader { when: Some(9_000_000), ..action(450_001) };
    desk.group(a, 3, both, &[b"brake"]);
    desk.group(a, 4, action(450_001), &[b"brake"]);
    assert_eq!(desk.group_told(a)[..3], ["2 too_late", "3 bad_request", "4 opened #1"]);
    desk.pass(100 * MS);
    desk.group(a, 5, action(450_001), &[b"brake"]);
    desk.group(a, 6, action(450_002), &[b"brake"]);
    let told = desk.group_told(a);
    assert_eq!(told[told.len() - 2..], ["5 opened #1 again", "6 key_conflict"]);
    [a, b].iter().for_each(|peer| desk.group(*peer, 0, vote("go", "yes"), &[]));
    desk.pass(200 * MS);
    desk.group_told(a);
    desk.group(a, 7, action(450_001), &[b"brake"]);
    assert_eq!(desk.group_told(a), ["7 result #1 yes 2+0-0o/2"]);
    // The moment is that of the first opening: behind it all are asked what they have done.
    desk.group(
        a,
        8,
        GroupHeader { outcome: Some("done"), ..polling(GroupVerb::Outcome, "go") },
        &[],
    );
    assert_eq!(desk.group_told(a), ["8 noted"]);
}
