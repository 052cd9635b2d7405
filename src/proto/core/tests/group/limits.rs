//! What a type of groups limits, and who may do what in one.

use super::*;
use crate::proto::policy::TopicLimits;

fn kind(says: GroupType<'static>) -> GroupType<'static> {
    GroupType { leader: Some(true), min_size: Some(1), ..says }
}

#[test]
fn a_type_limits_the_size_and_the_number_of_what_its_members_say() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.join());
    let limits = GroupType { message: Some(4), rate: Some(2), ..GroupType::default() };
    desk.group(a, 1, joining("a", kind(limits.clone())), &[]);
    desk.group(b, 1, joining("b", GroupType { message: Some(5), ..GroupType::default() }), &[]);
    desk.group(b, 1, joining("b", limits), &[]);
    let told = ["1 group_conflict", "1 joined v2 b/2 #1 [a b]"];
    assert_eq!(desk.group_told(b), told);
    desk.group_told(a);
    // What is too big is none of the two that it may say at once.
    desk.tell_all(a, 2, b"12345");
    desk.group(a, 3, polling(GroupVerb::Open, "p"), &[b"12345"]);
    desk.tell_all(a, 4, b"1234");
    desk.group(a, 5, polling(GroupVerb::Open, "p"), &[b"1234"]);
    desk.tell_all(a, 6, b"more");
    desk.group(a, 7, polling(GroupVerb::Open, "q"), &[]);
    let told = desk.group_told(a);
    let refused: Vec<_> = told.iter().filter(|told| told.contains("too_big")).collect();
    assert_eq!(refused, ["2 too_big", "3 too_big"]);
    assert_eq!(told.last_chunk(), Some(&["6 overloaded".to_owned(), "7 overloaded".to_owned()]));
    // Each member has its own share, and votes and beats are none of it.
    desk.tell_all(b, 2, b"1");
    desk.group(a, 8, vote("p", "yes"), &[]);
    desk.group(a, 9, of(GroupVerb::Beat), &[]);
    assert!(desk.group_told(b).contains(&"2 ack".to_owned()));
    let told = desk.group_told(a);
    assert!(
        ["8 voted yes", "9 beat"].iter().all(|it| told.contains(&(*it).to_owned())),
        "{told:?}"
    );
    // It grows again with time: one each half second.
    desk.beat_all(&[a, b], 500 * MS);
    desk.group_told(a);
    desk.tell_all(a, 10, b"2");
    desk.tell_all(a, 11, b"3");
    let told = desk.group_told(a);
    let said = |what: &str| told.contains(&what.to_owned());
    assert!(said("10 ack") && said("11 overloaded"), "{told:?}");
}

#[test]
fn the_configuration_limits_what_the_first_member_might_want() {
    let limits = GroupLimits { message_bytes_max: 100, ..GroupLimits::default() };
    let group = GroupSettings { limits, rules: Vec::new() };
    let mut desk = Desk::with(Settings { group, ..Settings::default() });
    let a = desk.join();
    for says in [
        GroupType { message: Some(101), ..GroupType::default() },
        GroupType { message: Some(0), ..GroupType::default() },
        GroupType { rate: Some(0), ..GroupType::default() },
        GroupType { rate: Some(1_000_001), ..GroupType::default() },
    ] {
        desk.group(a, 1, joining("a", kind(says)), &[]);
        assert_eq!(desk.group_told(a), ["1 bad_request"]);
    }
}

#[test]
fn who_may_be_a_member_need_not_lead_send_or_open_polls() {
    let mut desk = desk();
    let a = desk.of_group_key(1, &["group Esc*", "group.lead Other", "group.send Other"]);
    let b = desk.of_group_key(2, &["group *", "group.poll Other"]);
    let c = desk.of_group_key(3, &["group *", "group.lead Escort.1", "group.send Escort.1"]);
    for (peer, name) in [(a, "a"), (b, "b"), (c, "c")] {
        desk.group(peer, 1, joining(name, kind(GroupType::default())), &[]);
    }
    // The one that has been there for longest may not lead, the next one may.
    assert!(desk.group_told(a).contains(&"1 elected b/2 #1".to_owned()));
    desk.tell_all(a, 2, b"x");
    desk.group(a, 3, polling(GroupVerb::Open, "p"), &[]);
    desk.tell_all(b, 2, b"x");
    desk.group(b, 3, polling(GroupVerb::Open, "q"), &[]);
    let said = |told: Vec<String>, id: u64| {
        let begins = format!("{id} ");
        let mut about = told.into_iter().filter(move |told| told.starts_with(&begins));
        about.next().unwrap_or_default()
    };
    let (of_a, of_b) = (desk.group_told(a), desk.group_told(b));
    assert_eq!((said(of_a.clone(), 2), said(of_a, 3)), ("2 denied".into(), "3 opened #1".into()));
    assert_eq!((said(of_b.clone(), 2), said(of_b, 3)), ("2 ack".into(), "3 denied".into()));
    // It votes, and it can be no heir.
    desk.group(a, 4, vote("p", "yes"), &[]);
    assert_eq!(said(desk.group_told(a), 4), "4 voted yes");
    let hands_over = |to: &'static str| GroupHeader {
        epoch: Some(1),
        member: Some(to),
        ..of(GroupVerb::Resign)
    };
    desk.group(b, 5, hands_over("a"), &[]);
    assert_eq!(said(desk.group_told(b), 5), "5 not_member");
    desk.group(b, 6, hands_over("c"), &[]);
    assert_eq!(said(desk.group_told(b), 6), "6 resigned #1");
    assert_eq!(
        desk.said.denied,
        ["group.send Escort.1", "group.poll Escort.1"],
        "it is no denial that somebody does not lead"
    );
}

#[test]
fn the_right_to_lead_can_be_taken_away_and_given() {
    let mut desk = desk();
    let a = desk.of_group_key(1, &["group *"]);
    let b = desk.of_group_key(2, &["group *", "group.lead Other"]);
    for (peer, name) in [(a, "a"), (b, "b")] {
        desk.group(peer, 1, joining(name, kind(GroupType::default())), &[]);
        desk.group_told(peer);
    }
    let rules = |desk: &mut Desk, rules: &[&str]| {
        desk.core.regrant(desk.now, |_, _| Some((grants(rules), None)), &mut desk.said);
        desk.check();
    };
    rules(&mut desk, &["group *", "group.lead Other"]);
    assert_eq!(desk.group_told(b), ["1 exited a/1 #1 denied"]);
    desk.tell_all(a, 2, b"still a member");
    assert!(desk.group_told(a).contains(&"2 ack".to_owned()));
    rules(&mut desk, &["group *"]);
    assert!(desk.group_told(b).contains(&"1 elected a/1 #2".to_owned()));
}

#[test]
fn who_has_many_told_that_it_comes_and_goes_has_its_next_turn_behind_others() {
    let topics = TopicLimits { fan_out_max: 8, ..TopicLimits::default() };
    let mut desk = Desk::with(Settings { topics, ..Settings::default() });
    let [a, b, c] = desk.members();
    let (eye, flapping) = (desk.join(), desk.join());
    let verb = GroupVerb::Observe.as_str();
    desk.group(eye, 1, GroupHeader { verb, group: Some(NAME), ..GroupHeader::default() }, &[]);
    [a, b, c, eye].iter().for_each(|peer| drop(desk.group_told(*peer)));
    // It is another moment, in which nothing was said yet.
    desk.beat_all(&[a, b, c], 250 * MS);
    let say = |desk: &mut Desk, says: GroupHeader<'_>| {
        let group = Group { id: 1, says, body: Frames::default() };
        let said = message(|out| ToBroker::Group(group).encode(out));
        desk.core.message(desk.now, flapping, said.frames(), &mut desk.said)
    };
    let (joins, leaves) = (|| joining("d", led(2)), || of(GroupVerb::Leave));
    assert_eq!([say(&mut desk, joins()), say(&mut desk, leaves())], [Taken::Yes; 2], "eight");
    assert_eq!(say(&mut desk, joins()), Taken::NotYet);
    assert_eq!(desk.said.resumed, [flapping], "and its turn comes by itself");
    assert_eq!(say(&mut desk, joins()), Taken::Yes);
    desk.check();
    for peer in [a, b, c, eye] {
        let views = desk.group_told(peer).into_iter().filter(|told| told.contains(" d/"));
        assert_eq!(views.count(), 3, "nothing was lost by that");
    }
}
