//! GROUP at the desk: who is a member, what is said in which order, who leads, what polls decide.

use super::native::ECHO;
use super::*;
use crate::id::{Identity, Principal, PublicKey};
use crate::proto::group::{GroupLimits, GroupRule, GroupSettings};
use crate::proto::rights::{Rule, Source};
use crate::wire::mjp::{
    AdminEvent, AdminHeader, Fault, FromBroker, Group, GroupHeader, GroupReport, GroupRoster,
    GroupType, GroupVerb, LeaseHeader, RequestHeader, ToBroker,
};

const NAME: &str = "Escort.1";
const MS: Duration = Duration::from_millis(1);

impl Desk {
    fn group(&mut self, peer: PeerId, id: u64, says: GroupHeader<'_>, body: &[&'static [u8]]) {
        let body = Message::new(body.to_vec());
        self.core.hear(self.now, peer, true);
        self.mjp(peer, &ToBroker::Group(Group { id, says, body: body.frames() }));
    }

    /// Joins under that name, by id 1.
    fn member(&mut self, name: &str) -> PeerId {
        let peer = self.join();
        self.group(peer, 1, joining(name, led(2)), &[]);
        peer
    }

    /// So many members of a group with a leader, and nothing has been said yet.
    fn members<const N: usize>(&mut self) -> [PeerId; N] {
        let names = ["a", "b", "c", "d", "e", "f"];
        let members = std::array::from_fn(|index| self.member(names[index]));
        members.iter().for_each(|member| drop(self.group_told(*member)));
        members
    }

    fn tell_all(&mut self, peer: PeerId, id: u64, body: &'static [u8]) {
        self.group(peer, id, of(GroupVerb::Send), &[body]);
    }

    fn group_told(&mut self, peer: PeerId) -> Vec<String> {
        let said = self.said.to.remove(peer).unwrap_or_default();
        said.iter().map(|message| words(message.frames())).collect()
    }

    /// Each says something in time.
    fn beat_all(&mut self, peers: &[PeerId], time: Duration) {
        for _ in 0..time.as_millis() / 250 {
            self.pass(250 * MS);
            for peer in peers {
                self.mjp(*peer, &ToBroker::Heartbeat);
                let now = self.now;
                self.core.hear(now, *peer, true);
            }
        }
    }
}

fn words(frames: Frames<'_>) -> String {
    match FromBroker::decode(frames).unwrap() {
        FromBroker::Group { id, header, mut body } => {
            let says = GroupReport::decode(header).unwrap();
            let mut text = format!("{id} {}", says.event);
            let who = says.member.map(|name| format!("{name}/{}", says.incarnation.unwrap_or(0)));
            let epoch = says.epoch.map(|epoch| format!("#{epoch}"));
            let view = says.view.map(|view| format!("v{view}"));
            let counts = says.yes.zip(says.no).zip(says.abstain);
            let counts = counts.map(|((yes, no), abstain)| {
                format!("{yes}+{no}-{abstain}o/{}", says.electorate.unwrap_or(0))
            });
            let elector = says.elector.map(|elector| if elector { "elector" } else { "looks on" });
            let own = [says.change, says.to, says.vote, says.status, says.reason, elector];
            let own = own.into_iter().flatten().map(str::to_owned);
            let missed = says.missed.map(|missed| format!("missed {missed}"));
            let repeat = says.repeat.map(|_| "again".to_owned());
            let parts = view.into_iter().chain(who).chain(epoch).chain(own).chain(counts);
            for part in parts.chain(missed).chain(repeat) {
                text = format!("{text} {part}");
            }
            for row in says.groups.into_iter().flatten() {
                text = format!("{text} {}:{}:{}", row.group, row.size, row.leader.unwrap_or("-"));
            }
            if let Some(next) = says.next {
                text = format!("{text} next {next}");
            }
            match body.take_first() {
                None => text,
                Some(body) if ["joined", "info", "outcomes"].contains(&says.event) => {
                    let members = GroupRoster::decode(body).unwrap().members.unwrap();
                    let members = members.iter().map(|row| {
                        let suspect = row.suspect.map_or("", |_| "?");
                        let outcome = row.outcome.map(|it| format!("={it}")).unwrap_or_default();
                        format!("{}{suspect}{outcome}", row.member)
                    });
                    format!("{text} [{}]", members.collect::<Vec<_>>().join(" "))
                }
                Some(body) => format!("{text} {}", body.escape_ascii()),
            }
        }
        FromBroker::Error(failure) => {
            let fault = Fault::decode(failure.header).unwrap();
            let epoch = fault.epoch.map(|epoch| format!(" #{epoch}")).unwrap_or_default();
            format!("{} {}{epoch}", failure.id, fault.code)
        }
        FromBroker::Heartbeat => "heartbeat".into(),
        FromBroker::Admin { header, .. } => {
            let says = AdminEvent::decode(header).unwrap();
            let [name, state] = [says.name, says.state].map(Option::unwrap_or_default);
            format!("{} {} {name} {state}", says.event, says.group.unwrap_or_default())
        }
        other => panic!("{other:?}"),
    }
}

fn of(verb: GroupVerb) -> GroupHeader<'static> {
    GroupHeader::new(verb, 1)
}

/// A group with a leader from so many members on.
fn led(min_size: u64) -> GroupType<'static> {
    GroupType { leader: Some(true), min_size: Some(min_size), ..GroupType::default() }
}

fn joining<'a>(name: &'a str, kind: GroupType<'a>) -> GroupHeader<'a> {
    GroupHeader {
        verb: "join",
        group: Some(NAME),
        member: Some(name),
        kind_of_group: Some(kind),
        ..GroupHeader::default()
    }
}

fn polling(verb: GroupVerb, poll: &'static str) -> GroupHeader<'static> {
    GroupHeader { poll: Some(poll.as_bytes()), ..of(verb) }
}

fn vote(poll: &'static str, vote: &'static str) -> GroupHeader<'static> {
    GroupHeader { vote: Some(vote), ..polling(GroupVerb::Vote, poll) }
}

fn desk() -> Desk {
    Desk::new(ServicePolicy::default())
}

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

impl Desk {
    fn of_group_key(&mut self, key: u8, rules: &[&str]) -> PeerId {
        let principal = Principal::Key(PublicKey([key; 32]));
        let hello = Hello { principal, grants: grants(rules), ..Hello::default() };
        self.core.join(self.now, hello, &mut self.said).0
    }
}

fn grants(rules: &[&str]) -> Grants {
    let rules = rules.iter().map(|rule| {
        let (verb, pattern) = rule.split_once(' ').unwrap();
        let source = Source { place: "test".into(), line: 1 };
        let (verb, pattern) = (verb.parse().unwrap(), pattern.try_into().unwrap());
        Rule { deny: false, verb, pattern, source }
    });
    Grants::new(rules.collect::<Vec<_>>()).unwrap()
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
    desk.core.regrant(desk.now, |_| Some((grants(&["serve *"]), None)), &mut desk.said);
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
    // Nobody else can hold it.
    let campaign = LeaseHeader::new(crate::wire::mjp::LeaseVerb::Campaign, "$group.Escort.1");
    desk.mjp(a, &ToBroker::Lease { id: 7, says: campaign });
    assert_eq!(desk.group_told(a), ["7 forbidden"]);
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
