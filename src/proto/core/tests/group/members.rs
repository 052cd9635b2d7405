//! Who is a member, under which name, and who is told.

use super::*;

#[test]
fn members_see_the_same_views_and_the_longest_leads() {
    let mut desk = desk();
    let [a, b] = [desk.member("a"), desk.member("b")];
    assert_eq!(
        desk.group_told(a),
        ["1 joined v1 a/1 [a]", "1 view v2 b/2 joined", "1 elected a/1 #1"]
    );
    assert_eq!(desk.group_told(b), ["1 joined v2 b/2 [a b]", "1 elected a/1 #1"]);
    let c = desk.member("c");
    assert_eq!(desk.group_told(c), ["1 joined v3 c/3 #1 [a b c]"]);
    desk.leave(a);
    let seen = ["1 exited a/1 #1 closed", "1 view v4 a/1 left closed", "1 elected b/2 #2"];
    assert_eq!(desk.group_told(c), seen);
    assert_eq!(desk.group_told(b), [&["1 view v3 c/3 joined"][..], &seen].concat());
    // Who leaves says so, and is told.
    desk.group(b, 5, of(GroupVerb::Leave), &[]);
    assert_eq!(desk.group_told(b), ["1 exited b/2 #2 said", "5 left"]);
    assert_eq!(desk.group_told(c), ["1 exited b/2 #2 said", "1 view v5 b/2 left said"]);
    desk.mjp(c, &ToBroker::Cancel { id: 1 });
    assert_eq!((desk.group_told(c), desk.core.groups().population()), (vec![], [0; 4]));
    assert_eq!(desk.said.charged, 0);
}

#[test]
fn a_member_is_suspect_before_it_is_dead_and_alive_when_it_speaks() {
    let mut desk = desk();
    let [a, b, c] = desk.members();
    desk.beat_all(&[a, b], 2250 * MS);
    let lead =
        |told: Vec<String>| told.into_iter().filter(|it| it.contains("view")).collect::<Vec<_>>();
    assert_eq!(lead(desk.group_told(a)), ["1 view v4 c/3 suspect"]);
    desk.group(c, 0, of(GroupVerb::Beat), &[]);
    let now = desk.now;
    desk.core.hear(now, c, true);
    assert_eq!(lead(desk.group_told(a)), ["1 view v5 c/3 alive"]);
    desk.beat_all(&[a, b], 3250 * MS);
    let gone = ["1 view v6 c/3 suspect", "1 view v7 c/3 left expired"];
    assert_eq!(lead(desk.group_told(a)), gone);
    // It is told, as its connection is there, and may come again.
    assert_eq!(lead(desk.group_told(c)).last().unwrap(), "1 view v7 c/3 left expired");
    desk.group(c, 1, joining("c", led(2)), &[]);
    assert_eq!(lead(desk.group_told(b)).last().unwrap(), "1 view v8 c/4 joined");
    assert_eq!(desk.core.groups().counts().left, [0, 0, 1, 0, 0]);
}

#[test]
fn the_configuration_says_what_a_group_is_or_its_first_member_does() {
    let charter = crate::proto::group::Charter { leader: true, ..Default::default() };
    let rules = vec![GroupRule { pattern: "Escort.*".into(), charter }];
    let group =
        GroupSettings { limits: GroupLimits { members_max: 2, ..Default::default() }, rules };
    let mut desk = Desk::with(Settings { group, ..Settings::default() });
    let a = desk.join();
    desk.group(a, 1, joining("a", led(1)), &[]);
    desk.group(a, 1, joining("a", led(2)), &[]);
    desk.group(a, 1, joining("b", GroupType::default()), &[]);
    desk.group(a, 2, joining("a", GroupType::default()), &[]);
    desk.group(a, 3, joining("b", GroupType::default()), &[]);
    desk.group(a, 4, joining("c", GroupType::default()), &[]);
    assert_eq!(
        desk.group_told(a),
        [
            "1 group_conflict",
            "1 joined v1 a/1 [a]",
            "1 duplicate_id",
            "2 name_taken",
            "3 joined v2 b/2 [a b]",
            "1 view v2 b/2 joined",
            "1 elected a/1 #1",
            "3 elected a/1 #1",
            "4 overloaded"
        ]
        .map(String::from)
    );
    let other = GroupHeader { group: Some("Other"), ..joining("a", led(1)) };
    desk.group(a, 5, other.clone(), &[]);
    desk.group(a, 6, GroupHeader { kind_of_group: Some(led(2)), member: Some("b"), ..other }, &[]);
    let bad = GroupType { heartbeat: Some(2000), ..GroupType::default() };
    desk.group(a, 7, GroupHeader { group: Some("Third"), ..joining("a", bad) }, &[]);
    assert_eq!(
        desk.group_told(a),
        ["5 joined v1 a/3 [a]", "5 elected a/3 #2", "6 group_conflict", "7 bad_request"]
    );
}

#[test]
fn a_name_belongs_to_its_principal_which_may_replace_itself() {
    let mut desk = desk();
    let [a, b] = [1, 2].map(|key| desk.of_group_key(key, &["group Esc*"]));
    desk.group(a, 1, joining("a", led(2)), &[]);
    desk.group(b, 1, joining("a", led(2)), &[]);
    desk.group(b, 1, joining("b", led(2)), &[]);
    assert_eq!(desk.group_told(b)[0], "1 name_taken");
    // It comes again before its old connection is known to have ended.
    let again = desk.of_group_key(1, &["group Esc*"]);
    desk.group_told(a);
    desk.group(again, 1, joining("a", led(2)), &[]);
    assert_eq!(desk.group_told(a), ["1 exited a/1 #1 replaced", "1 view v3 a/1 left replaced"]);
    assert_eq!(desk.group_told(again), ["1 joined v4 a/3 [b a]", "1 elected b/2 #2"]);
}

#[test]
fn who_follows_is_told_of_groups() {
    let mut desk = desk();
    let eye = desk.join();
    let follow = AdminHeader { verb: "follow", prefix: Some("group."), ..AdminHeader::default() };
    desk.mjp(eye, &ToBroker::Admin { id: 1, says: follow, body: Frames::default() });
    let [a, b] = desk.members();
    desk.group(a, 2, polling(GroupVerb::Open, "p"), &[]);
    desk.leave(b);
    let told = desk.group_told(eye);
    assert_eq!(
        told.iter().map(|it| it.trim_end()).collect::<Vec<_>>()[1..],
        [
            "group.joined Escort.1 a",
            "group.joined Escort.1 b",
            "group.elected Escort.1 a",
            "group.left Escort.1 b closed",
            "group.exited Escort.1 a too_few",
            "group.result Escort.1  aborted",
        ]
    );
}

#[test]
fn a_member_is_called_by_its_identity_unless_it_says_another_name() {
    let mut desk = desk();
    let identity = Identity::try_from(&b"node-1"[..]).ok();
    let hello = Hello { identity, ..Hello::default() };
    let node = desk.core.join(desk.now, hello, &mut desk.said).0;
    let says = GroupHeader { member: None, ..joining("", led(2)) };
    desk.group(node, 1, says.clone(), &[]);
    assert_eq!(desk.group_told(node), ["1 joined v1 node-1/1 [node-1]"]);
    let other = desk.join();
    desk.group(other, 1, says, &[]);
    assert_eq!(
        desk.group_told(other)[0],
        "1 joined v2 ~0000000000000002/2 [node-1 ~0000000000000002]"
    );
}

#[test]
fn a_name_that_the_broker_may_give_to_another_one_is_no_members_own() {
    let mut desk = desk();
    let next = "~0000000000000002";
    let identity = Identity::try_from(next.as_bytes()).ok();
    let hello = Hello { identity, ..Hello::default() };
    let a = desk.core.join(desk.now, hello, &mut desk.said).0;
    desk.group(a, 1, joining(next, led(2)), &[]);
    // Nor by its identity.
    let unnamed = GroupHeader { member: None, ..joining("", led(2)) };
    desk.group(a, 2, unnamed.clone(), &[]);
    let own = "2 joined v1 ~0000000000000001/1 [~0000000000000001]";
    assert_eq!(desk.group_told(a), ["1 bad_request", own]);
    let b = desk.join();
    desk.group(b, 1, unnamed, &[]);
    let both = "1 joined v2 ~0000000000000002/2 [~0000000000000001 ~0000000000000002]";
    assert_eq!(desk.group_told(b)[0], both);
}

#[test]
fn a_broker_that_stops_takes_no_new_members() {
    let mut desk = desk();
    let [a, b] = desk.members();
    let now = desk.now;
    desk.core.drain(now, 1000 * MS, &mut desk.said);
    desk.said.to.clear();
    desk.group(b, 2, joining("x", led(2)), &[]);
    desk.tell_all(a, 2, b"still");
    assert_eq!(desk.group_told(b), ["2 draining", "1 message a/1 all still"]);
}
