//! Who leads, and by which epoch.

use super::*;

#[test]
fn below_min_size_nobody_leads_and_who_did_is_told_why() {
    let mut desk = desk();
    let join = |desk: &mut Desk, name| {
        let peer = desk.join();
        desk.group(peer, 1, joining(name, led(3)), &[]);
        peer
    };
    let [a, b] = ["a", "b"].map(|name| join(&mut desk, name));
    desk.group(a, 2, GroupHeader { to: Some("leader"), ..of(GroupVerb::Send) }, &[b"x"]);
    assert_eq!(desk.group_told(a).last().unwrap(), "2 no_leader");
    let c = join(&mut desk, "c");
    desk.group_told(a);
    desk.leave(c);
    assert_eq!(desk.group_told(a), ["1 view v4 c/3 left closed", "1 exited a/1 #1 too_few"]);
    assert_eq!(desk.group_told(b).last().unwrap(), "1 exited a/1 #1 too_few");
    let d = join(&mut desk, "d");
    assert_eq!(desk.group_told(d), ["1 joined v5 d/4 [a b d]", "1 elected a/1 #2"]);
}

#[test]
fn who_leads_and_does_not_beat_leads_no_more_and_what_it_says_is_refused() {
    let mut desk = desk();
    let [a, b, c] = desk.members();
    let beat = |epoch| GroupHeader { epoch: Some(epoch), ..of(GroupVerb::Beat) };
    for id in 2..4 {
        desk.beat_all(&[b, c], 750 * MS);
        [b, c].iter().for_each(|peer| drop(desk.group_told(*peer)));
        desk.group(a, id, beat(1), &[]);
        assert_eq!(desk.group_told(a), [format!("{id} beat #1")]);
    }
    desk.beat_all(&[b, c], 1000 * MS);
    desk.pass(50 * MS);
    let change = ["1 exited a/1 #1 silent", "1 elected b/2 #2"];
    let told = desk.group_told(c);
    assert_eq!(told.iter().filter(|it| !it.contains("heartbeat")).collect::<Vec<_>>(), change);
    assert_eq!(desk.group_told(a), change);
    // It was stopped, and goes on as if it led.
    desk.group(a, 5, GroupHeader { epoch: Some(1), ..of(GroupVerb::Send) }, &[b"go"]);
    desk.group(a, 6, beat(1), &[]);
    let open = GroupHeader { epoch: Some(1), ..polling(GroupVerb::Open, "p") };
    desk.group(a, 7, open, &[b"?"]);
    desk.group(a, 8, GroupHeader { epoch: Some(1), ..of(GroupVerb::Resign) }, &[]);
    let refused: Vec<_> = (5..9).map(|id| format!("{id} stale_epoch #2")).collect();
    assert_eq!(desk.group_told(a), refused);
    assert_eq!((desk.group_told(c), desk.core.groups().counts().stale), (vec![], 4));
    // The leader's own go through, with its epoch.
    desk.group(b, 2, GroupHeader { epoch: Some(2), ..of(GroupVerb::Send) }, &[b"go"]);
    assert_eq!(desk.group_told(c), ["1 message b/2 #2 all go"]);
}

#[test]
fn a_leader_names_its_successor_or_the_next_one_leads() {
    let mut desk = desk();
    let [a, b, c] = desk.members();
    let resign =
        |epoch, member| GroupHeader { epoch: Some(epoch), member, ..of(GroupVerb::Resign) };
    desk.group(a, 2, resign(1, Some("nobody")), &[]);
    desk.group(a, 3, resign(1, Some("a")), &[]);
    desk.group(a, 4, resign(1, Some("c")), &[]);
    assert_eq!(
        desk.group_told(a),
        [
            "2 not_member",
            "3 not_member",
            "1 exited a/1 #1 resigned",
            "1 elected c/3 #2",
            "4 resigned #1"
        ]
    );
    desk.group(c, 2, resign(2, None), &[]);
    desk.group(b, 2, resign(3, None), &[]);
    // Who has resigned is the last in the order.
    let led: Vec<_> = desk.group_told(b).into_iter().filter(|it| it.contains("elected")).collect();
    assert_eq!(led, ["1 elected c/3 #2", "1 elected b/2 #3", "1 elected a/1 #4"]);
    desk.group(b, 3, GroupHeader { epoch: None, ..of(GroupVerb::Resign) }, &[]);
    assert_eq!(desk.group_told(b), ["3 bad_request"]);
}

#[test]
fn a_leader_holds_a_lease_that_fences_requests() {
    let mut desk = desk();
    let [a, b] = desk.members();
    let says = |epoch| RequestHeader { lease: Some("$group.Escort.1"), epoch: Some(epoch), ..ECHO };
    desk.call(a, 2, says(2));
    desk.call(a, 3, says(1));
    assert_eq!(desk.group_told(a), ["2 stale_epoch #1"]);
    desk.group(a, 4, GroupHeader { epoch: Some(1), ..of(GroupVerb::Resign) }, &[]);
    desk.group_told(a);
    desk.call(a, 5, says(1));
    assert_eq!(desk.group_told(a), ["5 stale_epoch #2"]);
    desk.leave(b);
    desk.group_told(a);
    desk.call(a, 6, says(2));
    assert_eq!(desk.group_told(a), ["6 stale_epoch"]);
}

#[test]
fn the_lease_of_a_leader_is_seen_as_any_other_and_nobody_else_has_a_say_in_it() {
    let mut desk = desk();
    let [a, b] = desk.members();
    let eye = desk.join();
    let lease = |desk: &mut Desk, peer, id, says: LeaseHeader<'static>| {
        desk.mjp(peer, &ToBroker::Lease { id, says });
    };
    let of_group = |verb| LeaseHeader::new(verb, "$group.Escort.1");
    lease(&mut desk, eye, 1, of_group(LeaseVerb::Observe));
    lease(&mut desk, eye, 2, LeaseHeader::new(LeaseVerb::Observe, "$group.None"));
    assert_eq!(desk.group_told(eye), ["1 holder #1 a", "2 free"]);
    // In their order among the others, once each.
    for (id, name) in [(3, "$first"), (4, "zero")] {
        let campaign =
            LeaseHeader { name: Some("n"), ..LeaseHeader::new(LeaseVerb::Campaign, name) };
        lease(&mut desk, eye, id, campaign);
    }
    desk.group_told(eye);
    let list = LeaseHeader { verb: "list", ..LeaseHeader::default() };
    lease(&mut desk, eye, 5, list);
    lease(&mut desk, eye, 6, LeaseHeader { prefix: Some("$group."), ..list });
    let max = std::num::NonZeroU16::new(1);
    lease(&mut desk, eye, 7, LeaseHeader { max, after: Some("$first"), ..list });
    assert_eq!(
        desk.group_told(eye),
        [
            "5 list $first:2:n:0 $group.Escort.1:1:a:1 $group.None:0:-:1 zero:3:n:0",
            "6 list $group.Escort.1:1:a:1 $group.None:0:-:1",
            "7 list $group.Escort.1:1:a:1 next $group.Escort.1",
        ]
    );
    // A beat is no news; who leads now, and that nobody does, is.
    desk.group(a, 2, GroupHeader { epoch: Some(1), ..of(GroupVerb::Beat) }, &[]);
    assert_eq!(desk.group_told(eye), [""; 0]);
    desk.group(a, 3, GroupHeader { epoch: Some(1), ..of(GroupVerb::Resign) }, &[]);
    assert_eq!(desk.group_told(eye), ["1 holder #4 b"]);
    for (id, verb) in (10..).zip(["campaign", "renew", "proclaim", "resign"]) {
        let says = LeaseHeader { verb, epoch: Some(4), value: Some(b"x"), ..list };
        lease(&mut desk, b, id, LeaseHeader { lease: Some("$group.Escort.1"), ..says });
    }
    desk.leave(a);
    let told = desk.group_told(b);
    let refused: Vec<_> = told.iter().filter(|it| it.contains("forbidden")).collect();
    assert_eq!(refused, ["10 forbidden", "11 forbidden", "12 forbidden", "13 forbidden"]);
    assert_eq!(desk.group_told(eye), ["1 free #4"]);
    desk.leave(b);
    lease(&mut desk, eye, 8, list);
    let left = "8 list $first:2:n:0 $group.Escort.1:0:-:1 $group.None:0:-:1 zero:3:n:0";
    assert_eq!(desk.group_told(eye), [left]);
}

#[test]
fn of_members_that_leave_with_one_connection_none_leads_after_another() {
    let mut desk = desk();
    let [a, b] = [desk.member("a"), desk.join()];
    for (id, name) in [(2, "a2"), (3, "a3")] {
        desk.group(a, id, joining(name, led(2)), &[]);
    }
    for (id, name) in [(1, "b"), (2, "b2")] {
        desk.group(b, id, joining(name, led(2)), &[]);
    }
    desk.group_told(b);
    desk.leave(a);
    let told = desk.group_told(b);
    let of_one = told.iter().filter(|told| told.starts_with("1 "));
    let expected = [
        "1 exited a/1 #1 closed",
        "1 view v6 a/1 left closed",
        "1 view v7 a2/2 left closed",
        "1 view v8 a3/3 left closed",
        "1 elected b/4 #2",
    ];
    assert_eq!(of_one.collect::<Vec<_>>(), expected);
}
