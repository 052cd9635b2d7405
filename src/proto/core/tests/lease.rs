//! LEASE at the desk: who holds, who is next, and who is told.

mod fence;

use super::native::ECHO;
use super::*;
use crate::id::{Identity, Principal, PublicKey, UserName};
use crate::proto::lease::LeaseLimits;
use crate::proto::rights::{Grants, Rule, Source};
use crate::wire::mjp::{
    Fault, FromBroker, LeaseHeader, LeaseReport, LeaseVerb, ReadyHeader, RequestHeader, Tally,
    Targets, ToBroker,
};

const LEADER: &str = "leader";

impl Desk {
    fn lease(&mut self, peer: PeerId, id: u64, says: LeaseHeader<'_>) {
        self.mjp(peer, &ToBroker::Lease { id, says });
    }

    fn campaign(&mut self, peer: PeerId, id: u64, name: &str) {
        self.lease(peer, id, LeaseHeader { name: Some(name), ..of(LeaseVerb::Campaign) });
    }

    /// What a peer was told since it was last asked, in words.
    fn lease_told(&mut self, peer: PeerId) -> Vec<String> {
        let said = self.said.to.remove(peer).unwrap_or_default();
        said.iter().map(|message| words(message.frames())).collect()
    }
}

fn words(frames: Frames<'_>) -> String {
    match FromBroker::decode(frames).unwrap() {
        FromBroker::Lease { id, header } => {
            let says = LeaseReport::decode(header).unwrap();
            let mut text = format!("{id} {}", says.event);
            let value = says.value.map(|value| value.escape_ascii().to_string());
            let epoch = says.epoch.map(|epoch| format!("#{epoch}"));
            let place = says.place.map(|place| format!("behind {place}"));
            let name = says.name.or(says.reason).map(str::to_owned);
            for part in [epoch, place, name, value].into_iter().flatten() {
                text = format!("{text} {part}");
            }
            for row in says.leases.into_iter().flatten() {
                let (name, waiting) = (row.name.unwrap_or("-"), row.waiting);
                text = format!("{text} {}:{name}:{waiting}:{}", row.lease, row.observers);
            }
            says.next.map(|next| format!("{text} next {next}")).unwrap_or(text)
        }
        FromBroker::Error(failure) => {
            let fault = Fault::decode(failure.header).unwrap();
            let epoch = fault.epoch.map(|epoch| format!(" #{epoch}")).unwrap_or_default();
            format!("{} {}{epoch}", failure.id, fault.code)
        }
        FromBroker::Request(request) => format!("given {}", words_of(request.body)),
        FromBroker::Final(answer) if !answer.header.is_empty() => {
            let Tally { replied, refused, .. } = Tally::decode(answer.header).unwrap();
            format!("{} replied {replied} refused {refused}", answer.id)
        }
        FromBroker::Final(answer) => format!("{} final", answer.id),
        FromBroker::Targets(targets) => format!("{} for {}", targets.id, names_of(&targets).len()),
        FromBroker::Outcome(outcome) => {
            let says = outcome.says;
            let code = says.code.map(|code| format!(" {code}")).unwrap_or_default();
            let epoch = says.epoch.map(|epoch| format!(" #{epoch}")).unwrap_or_default();
            format!("{} {}{code}{epoch}", outcome.id, says.outcome)
        }
        FromBroker::News(news) => format!("{} hears {}", news.id, words_of(news.body)),
        FromBroker::Published { id, says } => format!("{id} published {}", says.subscriptions),
        FromBroker::Admin { id, .. } => format!("{id} done"),
        other => panic!("{other:?}"),
    }
}

fn names_of(targets: &Targets<'_>) -> Vec<String> {
    targets.names().unwrap()
}

fn words_of(mut body: Frames<'_>) -> String {
    body.take_first().unwrap_or_default().escape_ascii().to_string()
}

fn of(verb: LeaseVerb) -> LeaseHeader<'static> {
    LeaseHeader::new(verb, LEADER)
}

fn with(verb: LeaseVerb, epoch: u64) -> LeaseHeader<'static> {
    LeaseHeader { epoch: Some(epoch), ..of(verb) }
}

fn desk() -> Desk {
    Desk::new(ServicePolicy::default())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn one_holds_and_the_others_wait_in_the_order_of_coming() {
    let mut desk = desk();
    let [a, b, c] = [(); 3].map(|()| desk.join());
    for (id, peer, name) in [(1, a, "a"), (2, b, "b"), (3, c, "c")] {
        desk.campaign(peer, id, name);
    }
    assert_eq!(desk.lease_told(a), ["1 held #1"]);
    assert_eq!(desk.lease_told(b), ["2 waiting behind 0"]);
    assert_eq!(desk.lease_told(c), ["3 waiting behind 1"]);
    // A closed connection frees it at once; the epoch grows.
    desk.leave(a);
    assert_eq!((desk.lease_told(b), desk.lease_told(c)), (vec!["2 held #2".to_owned()], vec![]));
    desk.lease(b, 5, with(LeaseVerb::Resign, 2));
    assert_eq!(desk.lease_told(b), ["2 lost #2 resigned", "5 resigned #2"]);
    assert_eq!(desk.lease_told(c), ["3 held #3"]);
    desk.lease(c, 4, with(LeaseVerb::Resign, 3));
    desk.lease_told(c);
    desk.campaign(b, 6, "b");
    assert_eq!(desk.lease_told(b), ["6 held #4"]);
    desk.leave(b);
    assert_eq!((desk.core.leases().population(), desk.said.charged), ((0, 0, 0), 0));
}

#[test]
fn who_does_not_renew_is_freed_and_told() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.join());
    desk.lease(a, 1, LeaseHeader { ttl: Some(1000), ..of(LeaseVerb::Campaign) });
    desk.campaign(b, 1, "b");
    for id in 2..=4 {
        desk.pass(SECOND * 9 / 10);
        desk.lease(a, id, with(LeaseVerb::Renew, 1));
    }
    assert_eq!(desk.lease_told(a), ["1 held #1", "2 renewed #1", "3 renewed #1", "4 renewed #1"]);
    desk.pass(SECOND);
    assert_eq!(desk.lease_told(a), ["1 lost #1 expired"]);
    assert_eq!(desk.lease_told(b), ["1 waiting behind 0", "1 held #2"]);
    // What it says now is refused with the epoch that holds.
    for (id, verb) in [(5, LeaseVerb::Renew), (6, LeaseVerb::Proclaim), (7, LeaseVerb::Resign)] {
        desk.lease(a, id, with(verb, 1));
    }
    assert_eq!(desk.lease_told(a), ["5 stale_epoch #2", "6 stale_epoch #2", "7 stale_epoch #2"]);
    assert_eq!(desk.core.leases().counts().stale, 3);
    assert_eq!(desk.core.leases().counts().freed, [0, 0, 0, 1, 0]);
}

#[test]
fn nobody_loses_a_lease_because_the_broker_stood_still() {
    let mut desk = desk();
    let a = desk.join();
    desk.lease(a, 1, LeaseHeader { ttl: Some(1000), ..of(LeaseVerb::Campaign) });
    desk.now += 60 * SECOND;
    desk.core.tick(desk.now, &mut desk.said);
    desk.lease(a, 2, with(LeaseVerb::Renew, 1));
    assert_eq!(desk.lease_told(a), ["1 held #1", "2 renewed #1"]);
}

#[test]
fn with_a_grace_a_holder_may_come_back_on_another_connection() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.join());
    desk.lease(a, 1, LeaseHeader { grace: Some(2000), ..of(LeaseVerb::Campaign) });
    desk.campaign(b, 1, "b");
    desk.leave(a);
    desk.pass(SECOND);
    let again = desk.join();
    desk.lease(again, 9, with(LeaseVerb::Renew, 1));
    desk.pass(3 * SECOND);
    assert_eq!(desk.lease_told(again), ["9 renewed #1"]);
    assert_eq!(desk.lease_told(b), ["1 waiting behind 0"]);
    // It is the holder's connection now.
    desk.leave(again);
    desk.pass(SECOND);
    assert_eq!(desk.lease_told(b), [""; 0]);
    desk.pass(SECOND + SECOND / 10);
    assert_eq!(desk.lease_told(b), ["1 held #2"]);
    assert_eq!(desk.core.leases().counts().freed, [0, 0, 1, 0, 0]);
}

#[test]
fn who_cannot_be_fenced_asks_for_a_quiet_time_behind_a_loss() {
    let mut desk = desk();
    let (a, b, c) = (desk.join(), desk.join(), desk.join());
    desk.lease(a, 1, LeaseHeader { lock_delay: Some(2000), ..of(LeaseVerb::Campaign) });
    desk.campaign(b, 1, "b");
    desk.leave(a);
    desk.lease(c, 1, LeaseHeader { wait: Some(0), ..of(LeaseVerb::Campaign) });
    desk.pass(SECOND);
    assert_eq!(desk.lease_told(b), ["1 waiting behind 0"]);
    assert_eq!(desk.lease_told(c), ["1 held"]);
    desk.pass(SECOND + SECOND / 10);
    assert_eq!(desk.lease_told(b), ["1 held #2"]);
    // Who resigns knows it.
    let says = LeaseHeader { lock_delay: Some(2000), ..of(LeaseVerb::Campaign) };
    desk.lease(c, 2, says);
    desk.lease(b, 3, with(LeaseVerb::Resign, 2));
    assert_eq!(desk.lease_told(c), ["2 waiting behind 0", "2 held #3"]);
    desk.mjp(c, &ToBroker::Cancel { id: 2 });
    desk.campaign(b, 4, "b");
    assert_eq!(desk.lease_told(b)[2..], ["4 held #4"]);
}

#[test]
fn a_holder_may_name_its_successor() {
    let mut desk = desk();
    let [a, b, c] = [(); 3].map(|()| desk.join());
    for (peer, name) in [(a, "a"), (b, "b"), (c, "c")] {
        desk.campaign(peer, 1, name);
    }
    desk.lease_told(a);
    let to = |to| LeaseHeader { to: Some(to), ..with(LeaseVerb::Resign, 1) };
    desk.lease(a, 2, to("nobody"));
    assert_eq!(desk.lease_told(a), ["2 not_found"]);
    desk.lease(a, 3, to("c"));
    assert_eq!(desk.lease_told(a), ["1 lost #1 resigned", "3 resigned #1"]);
    assert_eq!(desk.lease_told(c)[1..], ["1 held #2"]);
    assert_eq!(desk.lease_told(b), ["1 waiting behind 0"]);
}

#[test]
fn who_does_not_want_to_wait_is_told_at_once_and_who_has_waited_enough_later() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.join());
    desk.campaign(a, 1, "a");
    for (id, wait) in [(1, 0), (2, 1000)] {
        desk.lease(b, id, LeaseHeader { wait: Some(wait), ..of(LeaseVerb::Campaign) });
    }
    assert_eq!(desk.lease_told(b), ["1 held #1", "2 waiting behind 0"]);
    desk.pass(SECOND);
    assert_eq!(desk.lease_told(b), ["2 held #1"]);
    assert_eq!(desk.core.leases().population(), (1, 0, 0));
}

#[test]
fn observers_are_told_who_holds_and_what_it_says() {
    let mut desk = desk();
    let [a, eye] = [(); 2].map(|()| desk.join());
    desk.lease(eye, 1, of(LeaseVerb::Observe));
    desk.lease(a, 1, LeaseHeader { value: Some(b"here"), ..of(LeaseVerb::Campaign) });
    desk.lease(a, 2, LeaseHeader { value: Some(b"there"), ..with(LeaseVerb::Proclaim, 1) });
    assert_eq!(desk.lease_told(a), ["1 held #1", "2 proclaimed #1"]);
    assert_eq!(desk.lease_told(eye), ["1 free", "1 holder #1 here", "1 holder #1 there"]);
    // What there is no room for is told later, and only the newest.
    desk.said.pressed.push(eye);
    desk.campaign(a, 3, "again");
    desk.lease(a, 4, with(LeaseVerb::Resign, 1));
    desk.lease(a, 5, LeaseHeader { value: Some(b"new"), ..with(LeaseVerb::Proclaim, 2) });
    assert_eq!(desk.lease_told(eye), [""; 0]);
    desk.said.pressed.clear();
    desk.pass(SECOND);
    assert_eq!(desk.lease_told(eye), ["1 holder #2 again new"]);
    desk.mjp(eye, &ToBroker::Cancel { id: 1 });
    desk.leave(a);
    assert_eq!((desk.lease_told(eye), desk.said.charged), (vec![], 0));
}

#[test]
fn leases_are_listed_in_pages_by_name() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.join());
    for (id, lease) in ["db.one", "db.two", "web"].into_iter().enumerate() {
        let says = LeaseHeader { name: Some("a"), ..LeaseHeader::new(LeaseVerb::Campaign, lease) };
        desk.lease(a, id as u64 + 1, says);
    }
    desk.lease(b, 1, LeaseHeader::new(LeaseVerb::Campaign, "web"));
    desk.lease(b, 2, LeaseHeader::new(LeaseVerb::Observe, "db.one"));
    desk.lease_told(b);
    let list = LeaseHeader { verb: "list", ..LeaseHeader::default() };
    let max = std::num::NonZeroU16::new(2);
    desk.lease(b, 3, LeaseHeader { max, ..list });
    desk.lease(b, 4, LeaseHeader { after: Some("db.two"), ..list });
    desk.lease(b, 5, LeaseHeader { prefix: Some("db."), ..list });
    desk.lease(b, 6, LeaseHeader { prefix: Some("x"), ..list });
    assert_eq!(
        desk.lease_told(b),
        [
            "3 list db.one:a:0:1 db.two:a:0:0 next db.two",
            "4 list web:a:1:0",
            "5 list db.one:a:0:1 db.two:a:0:0",
            "6 list",
        ]
    );
}

#[test]
fn what_is_no_good_is_refused_with_a_reason() {
    let lease =
        LeaseLimits { leases_max: 2, waiters_max: 1, per_peer_max: 4, ..Default::default() };
    let lease = LeaseLimits { observers_max: 1, ..lease };
    let mut desk = Desk::with(Settings { lease, ..Settings::default() });
    let a = desk.join();
    let large = vec![0; lease.value_bytes_max + 1];
    let campaign = of(LeaseVerb::Campaign);
    let other = LeaseHeader::new(LeaseVerb::Campaign, "other");
    for (says, code) in [
        (LeaseHeader { verb: "steal", ..campaign }, "unsupported"),
        (LeaseHeader { lease: None, ..campaign }, "bad_request"),
        (of(LeaseVerb::Renew), "bad_request"),
        (LeaseHeader { ttl: Some(99), ..campaign }, "bad_request"),
        (LeaseHeader { ttl: Some(3_600_001), ..campaign }, "bad_request"),
        (LeaseHeader { grace: Some(3_600_001), ..campaign }, "bad_request"),
        (LeaseHeader { lock_delay: Some(u64::MAX), ..campaign }, "bad_request"),
        (LeaseHeader { value: Some(&large), ..campaign }, "too_big"),
        (with(LeaseVerb::Renew, 1), "stale_epoch"),
    ] {
        desk.lease(a, 1, says);
        assert_eq!(desk.lease_told(a), [format!("1 {code}")], "{says:?}");
    }
    desk.lease(a, 1, campaign);
    desk.lease(a, 1, campaign);
    desk.lease(a, 2, campaign);
    desk.lease(a, 3, campaign);
    desk.lease(a, 4, other);
    desk.lease(a, 5, LeaseHeader::new(LeaseVerb::Campaign, "third"));
    let told = ["1 held #1", "1 duplicate_id", "2 waiting behind 0", "3 overloaded"];
    assert_eq!(desk.lease_told(a), [&told[..], &["4 held #2", "5 overloaded"]].concat());
    desk.lease(a, 6, of(LeaseVerb::Observe));
    desk.lease(a, 7, LeaseHeader::new(LeaseVerb::Observe, "other"));
    assert_eq!(desk.lease_told(a), ["6 holder #1", "7 overloaded"]);
    desk.said.account_full = true;
    let b = desk.join();
    desk.lease(b, 1, LeaseHeader::new(LeaseVerb::Observe, "other"));
    assert_eq!(desk.lease_told(b), ["1 overloaded"]);
    desk.core.drain(desk.now, SECOND, &mut desk.said);
    desk.heard_drain(b);
    desk.lease(b, 2, other);
    assert_eq!(desk.lease_told(b), ["2 draining"]);
}

impl Desk {
    fn heard_drain(&mut self, peer: PeerId) {
        self.said.to.remove(peer);
    }

    fn of_key(&mut self, key: u8, rules: &[&str]) -> PeerId {
        let hello = Hello {
            principal: Principal::Key(PublicKey([key; 32])),
            grants: grants(rules),
            ..Hello::default()
        };
        self.core.join(self.now, hello, &mut self.said).0
    }

    fn call_fenced(&mut self, peer: PeerId, id: u64, epoch: u64) {
        self.call(peer, id, fenced(epoch));
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

fn fenced(epoch: u64) -> RequestHeader<'static> {
    RequestHeader { lease: Some(LEADER), epoch: Some(epoch), ..ECHO }
}

#[test]
fn a_lease_belongs_to_its_principal() {
    let mut desk = desk();
    let (a, b) = (desk.of_key(1, &["lease *", "call *"]), desk.of_key(2, &["lease *", "call *"]));
    desk.campaign(a, 1, "a");
    for (id, verb) in [(1, LeaseVerb::Renew), (2, LeaseVerb::Proclaim), (3, LeaseVerb::Resign)] {
        desk.lease(b, id, with(verb, 1));
    }
    desk.call_fenced(b, 4, 1);
    assert_eq!(desk.lease_told(b), ["1 denied", "2 denied", "3 denied", "4 denied"]);
    let also_a = desk.of_key(1, &["lease *"]);
    desk.lease(also_a, 1, with(LeaseVerb::Resign, 1));
    assert_eq!(desk.lease_told(also_a), ["1 resigned #1"]);
    assert_eq!(desk.lease_told(a), ["1 held #1", "1 lost #1 resigned"]);
    let user = Principal::User(UserName::try_from(&b"bob"[..]).unwrap());
    assert_ne!(user, Principal::Local);
}

#[test]
fn who_has_no_right_neither_holds_nor_looks() {
    let mut desk = desk();
    let a = desk.of_key(1, &["call *"]);
    for (id, says) in [(1, of(LeaseVerb::Campaign)), (2, with(LeaseVerb::Resign, 1))] {
        desk.lease(a, id, says);
    }
    desk.lease(a, 3, of(LeaseVerb::Observe));
    assert_eq!(desk.lease_told(a), ["1 denied", "2 denied", "3 free"]);
    let b = desk.of_key(2, &["lease lead*", "call mmi.leases"]);
    desk.lease(b, 1, of(LeaseVerb::Observe));
    desk.lease(b, 2, LeaseHeader { verb: "list", ..LeaseHeader::default() });
    desk.lease(b, 3, LeaseHeader::new(LeaseVerb::Campaign, "other"));
    desk.campaign(b, 4, "b");
    assert_eq!(desk.lease_told(b), ["1 denied", "2 list leader:-:0:1", "3 denied", "4 held #1"]);
    assert_eq!(
        desk.said.denied,
        ["lease leader", "lease leader", "call mmi.lease.leader", "lease other"]
    );
    // Rights that are taken away end what they allowed.
    desk.lease_told(a);
    desk.core.regrant(desk.now, |_, _| Some((grants(&["serve *"]), None)), &mut desk.said);
    desk.check();
    assert_eq!(
        (desk.lease_told(a), desk.lease_told(b)),
        (vec!["3 denied".into()], vec!["4 denied".into()])
    );
    assert_eq!(desk.core.leases().population(), (0, 0, 0));
    assert_eq!(desk.core.leases().counts().freed, [0, 0, 0, 0, 1]);
}

#[test]
fn the_name_of_a_candidate_is_its_identity_unless_it_says_another() {
    let mut desk = desk();
    let identity = Identity::try_from(&b"node-1"[..]).ok();
    let hello = Hello { identity, ..Hello::default() };
    let node = desk.core.join(desk.now, hello, &mut desk.said).0;
    desk.lease(node, 1, of(LeaseVerb::Campaign));
    let eye = desk.join();
    desk.lease(eye, 1, of(LeaseVerb::Observe));
    assert_eq!(desk.lease_told(eye), ["1 holder #1 node-1"]);
}

#[test]
fn epochs_of_an_earlier_run_do_not_come_back() {
    let mut desk = desk();
    desk.core.begin_epochs(1 << 50);
    desk.core.begin_epochs(7);
    let a = desk.join();
    desk.campaign(a, 1, "a");
    assert_eq!(desk.lease_told(a), [format!("1 held #{}", (1_u64 << 50) + 1)]);
}
