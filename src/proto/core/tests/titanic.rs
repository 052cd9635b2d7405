//! Titanic over a disk that does what a test tells it.

use std::time::Duration;

use bytes::Bytes;

use super::disk::Disk;
use super::{Desk, Settings};
use crate::id::{PeerId, Principal, PublicKey};
use crate::proto::core::{Hello, Taken};
use crate::proto::durable::{Event, Order};
use crate::proto::lease::mark::{self, AHEAD, BLOCK};
use crate::proto::policy::ServicePolicy;
use crate::proto::rights::Grants;
use crate::proto::titanic::{HEADS, Titanic, TitanicLimits};
use crate::wire::mdp::{Answer, FromWorker, Request, ToClient, ToWorker, Version};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{Group, GroupHeader, GroupVerb, LeaseHeader, LeaseVerb, ToBroker};

use Version::V01;

struct Titan {
    desk: Desk,
    disk: Disk,
}

fn key(number: u8) -> Principal {
    Principal::Key(PublicKey([number; 32]))
}

impl Titan {
    fn new(limits: TitanicLimits, policy: ServicePolicy) -> Self {
        Self::after(Disk::default(), limits, policy)
    }

    /// A broker that finds what another one has stored.
    fn after(disk: Disk, limits: TitanicLimits, policy: ServicePolicy) -> Self {
        let mut desk = Desk::with(Settings { policy, ..Settings::default() });
        let mut table = Titanic::new(limits, [u8::try_from(disk.kept.len() % 200).unwrap(); 32], 0);
        for (key, value) in disk.kept.iter().filter(|(key, _)| key[0] == HEADS) {
            table.recover(key, value).unwrap();
        }
        desk.core.serve_titanic(desk.now, table, &mut desk.said);
        desk.check();
        Self { desk, disk }
    }

    fn event(&mut self, event: &Event) {
        self.desk.core.disk(self.desk.now, event, &mut self.desk.said);
        self.desk.check();
    }

    fn listen(&mut self) {
        self.disk.orders.extend(self.desk.core.take_orders());
    }

    /// Does all that was ordered.
    fn work(&mut self) {
        self.listen();
        while !self.disk.orders.is_empty() {
            while let Some(event) = self.disk.step() {
                self.event(&event);
            }
            self.listen();
        }
    }

    fn client(&mut self, principal: Principal) -> PeerId {
        let hello = Hello { principal, grants: Grants::all_but_admin(), ..Hello::default() };
        self.desk.core.join(self.desk.now, hello, &mut self.desk.said).0
    }

    fn say(&mut self, client: PeerId, what: &str, body: &[&[u8]]) {
        let body = Message::new(body.iter().map(|frame| Bytes::copy_from_slice(frame)));
        let service = format!("titanic.{what}");
        let (envelope, service) = (Frames::DELIMITER, service.as_bytes());
        self.desk.say(client, |out| {
            Request { version: V01, envelope, service, body: body.frames() }.encode(out);
        });
    }

    /// What the peer was told and no test has looked at.
    fn heard(&mut self, peer: PeerId) -> Vec<Message> {
        let said = self.desk.said.to.get_mut(peer).map(std::mem::take);
        said.unwrap_or_default()
    }

    fn statuses(&mut self, client: PeerId) -> Vec<Vec<Vec<u8>>> {
        let heard = self.heard(client);
        let body = heard.iter().map(|message| {
            let ToClient { body, .. } = ToClient::decode(message.frames()).unwrap();
            body.map(<[u8]>::to_vec).collect()
        });
        body.collect()
    }

    fn ask(&mut self, client: PeerId, what: &str, body: &[&[u8]]) -> Vec<Vec<u8>> {
        self.say(client, what, body);
        self.work();
        let mut said = self.statuses(client);
        assert_eq!(said.len(), 1, "{said:?}");
        said.remove(0)
    }

    fn request(&mut self, client: PeerId, body: &[u8]) -> Vec<u8> {
        let mut said = self.ask(client, "request", &[b"echo", body]);
        assert_eq!((said.len(), &said[0][..]), (2, &b"200"[..]));
        said.remove(1)
    }

    fn worker(&mut self) -> PeerId {
        let worker = self.client(Principal::Local);
        self.desk.say(worker, |out| FromWorker::Ready { service: b"echo" }.encode(V01, out));
        self.work();
        worker
    }

    /// What the worker was given: address and body.
    fn given(&mut self, worker: PeerId) -> Vec<(Vec<u8>, Vec<u8>)> {
        let heard = self.heard(worker);
        let given = heard.iter().filter_map(|message| match ToWorker::decode(message.frames()) {
            Ok((_, ToWorker::Request(mut work))) => {
                Some((work.address.to_vec(), work.body.take_first()?.to_vec()))
            }
            _ => None,
        });
        given.collect()
    }

    fn finish(&mut self, worker: PeerId, address: &[u8], body: &'static [u8]) {
        let body = Message::from(body);
        let answer = Answer { address, body: body.frames() };
        self.desk.say(worker, |out| FromWorker::Final(answer).encode(V01, out));
    }
}

fn titan() -> Titan {
    Titan::new(TitanicLimits::default(), ServicePolicy::default())
}

fn status(text: &str) -> Vec<Vec<u8>> {
    vec![text.as_bytes().to_vec()]
}

#[test]
fn nothing_is_said_before_it_is_stored() {
    let mut titan = titan();
    let (client, worker) = (titan.client(key(1)), titan.worker());
    titan.say(client, "request", &[b"echo", b"x"]);
    titan.listen();
    assert!(titan.statuses(client).is_empty(), "it is not stored");
    assert!(titan.given(worker).is_empty(), "and nobody works on it");
    titan.work();
    let uuid = titan.statuses(client).remove(0).remove(1);
    let (address, body) = titan.given(worker).remove(0);
    assert_eq!(body, b"x");
    titan.finish(worker, &address, b"y");
    titan.say(client, "reply", &[&uuid]);
    assert_eq!(titan.statuses(client), [status("300")], "the answer is not stored");
    titan.work();
    assert_eq!(titan.ask(client, "reply", &[&uuid]), [b"200", &b"y"[..]]);
    titan.say(client, "close", &[&uuid]);
    titan.listen();
    assert!(titan.statuses(client).is_empty());
    titan.work();
    assert_eq!(titan.statuses(client), [status("200")]);
    assert!(titan.disk.kept.is_empty());
    assert_eq!(titan.ask(client, "reply", &[&uuid]), status("400"));
}

#[test]
fn losses_are_counted_while_nobody_offers_the_service() {
    let unserved_ttl = Some(Duration::from_secs(1));
    let policy = ServicePolicy { attempts: 1, unserved_ttl, ..ServicePolicy::default() };
    let mut titan = Titan::new(TitanicLimits::default(), policy);
    let client = titan.client(key(1));
    let uuid = titan.request(client, b"poison");
    for _ in 0..3 {
        assert_eq!(titan.ask(client, "reply", &[&uuid]), status("300"));
        let worker = titan.worker();
        assert_eq!(titan.given(worker).len(), 1);
        titan.desk.leave(worker);
        titan.desk.pass(Duration::from_secs(3));
        titan.work();
    }
    assert_eq!(titan.ask(client, "reply", &[&uuid]), status("500"), "it is dead");
}

#[test]
fn whoever_comes_after_the_broker_finds_all_of_it() {
    let mut first = titan();
    let client = first.client(key(1));
    let waiting = first.request(client, b"waits");
    let worker = first.worker();
    let answered = first.request(client, b"answered");
    for (address, body) in first.given(worker) {
        if body == b"waits" {
            first.finish(worker, &address, b"never stored");
        }
    }
    // The answer was ordered to be stored, and was not when the broker died.
    let (limits, policy) = (TitanicLimits::default(), ServicePolicy::default());
    let mut second =
        Titan::after(Disk { kept: first.disk.kept, ..Disk::default() }, limits, policy);
    let client = second.client(key(1));
    let worker = second.worker();
    for uuid in [&waiting, &answered] {
        assert_eq!(second.ask(client, "reply", &[uuid]), status("300"));
    }
    let (address, body) = second.given(worker).remove(0);
    assert_eq!(body, b"waits", "in the order of acceptance");
    second.finish(worker, &address, b"again");
    second.work();
    assert_eq!(second.ask(client, "reply", &[&waiting]), [b"200", &b"again"[..]]);
    assert_eq!(second.given(worker)[0].1, b"answered");
}

#[test]
fn what_is_kept_is_its_owners() {
    let mut titan = titan();
    let (mine, other) = (titan.client(key(1)), titan.client(key(2)));
    let uuid = titan.request(mine, b"x");
    assert_eq!(titan.ask(other, "reply", &[&uuid]), status("400"));
    assert_eq!(titan.ask(other, "close", &[&uuid]), status("200"));
    let again = titan.client(key(1));
    assert_eq!(titan.ask(again, "reply", &[&uuid]), status("300"), "by any connection");
}

#[test]
fn what_titanic_does_not_have_is_answered_at_once() {
    let mut titan = titan();
    let client = titan.client(key(1));
    titan.say(client, "other", &[b"x"]);
    assert_eq!(titan.statuses(client), [status("400")]);
}

#[test]
fn who_may_not_call_the_service_may_not_have_it_called() {
    let mut titan = titan();
    let hello = Hello { principal: key(1), grants: Grants::nothing(), ..Hello::default() };
    let client = titan.desk.core.join(titan.desk.now, hello, &mut titan.desk.said).0;
    assert_eq!(titan.ask(client, "request", &[b"echo", b"x"]), status("400"));
    assert_eq!(titan.desk.said.denied, ["call echo"]);
    assert!(titan.disk.kept.is_empty());
}

#[test]
fn a_request_that_is_closed_is_worked_on_no_more() {
    let mut titan = titan();
    let (client, worker) = (titan.client(key(1)), titan.worker());
    let first = titan.request(client, b"first");
    let second = titan.request(client, b"second");
    let (address, _) = titan.given(worker).remove(0);
    for uuid in [&first, &second] {
        assert_eq!(titan.ask(client, "close", &[uuid]), status("200"));
    }
    titan.finish(worker, &address, b"late");
    titan.work();
    assert!(titan.given(worker).is_empty(), "the second was not begun");
    assert!(titan.disk.kept.is_empty());
    assert_eq!(titan.desk.core.titanic().unwrap().size(), (0, 0));
}

#[test]
fn a_full_disk_refuses_what_is_new_and_keeps_what_was_accepted() {
    let mut titan = titan();
    let (client, worker) = (titan.client(key(1)), titan.worker());
    let uuid = titan.request(client, b"old");
    let (address, _) = titan.given(worker).remove(0);
    titan.finish(worker, &address, b"answer");
    titan.say(client, "request", &[b"echo", b"new"]);
    titan.listen();
    titan.disk.orders.clear();
    titan.event(&Event::Full(Some(3)));
    assert_eq!(titan.statuses(client), [status("500")]);
    assert_eq!(titan.ask(client, "request", &[b"echo", b"newer"]), status("500"));
    assert_eq!(titan.ask(client, "reply", &[&uuid]), status("300"), "its answer is not stored");
    titan.event(&Event::Room);
    titan.work();
    assert_eq!(titan.ask(client, "reply", &[&uuid]), [b"200", &b"answer"[..]]);
    assert_eq!(titan.disk.kept.len(), 2, "head and answer of the one that was accepted");
    titan.request(client, b"newest");
}

#[test]
fn what_found_no_room_does_not_bring_back_a_request_that_is_closed() {
    let once = ServicePolicy { at_most_once: true, ..ServicePolicy::default() };
    for policy in [ServicePolicy::default(), once] {
        let is_once = policy.at_most_once;
        let mut titan = Titan::new(TitanicLimits::default(), policy);
        let client = titan.client(key(1));
        let uuid = titan.request(client, b"x");
        if is_once {
            // That it begins is not stored.
            let worker = titan.client(Principal::Local);
            titan.desk.say(worker, |out| FromWorker::Ready { service: b"echo" }.encode(V01, out));
        } else {
            let worker = titan.worker();
            let (address, _) = titan.given(worker).remove(0);
            titan.finish(worker, &address, b"answer");
        }
        titan.listen();
        let Some(Order::Store(batch)) = titan.disk.orders.pop_front() else { panic!("no batch") };
        titan.event(&Event::Full(Some(batch.number)));
        assert_eq!(titan.ask(client, "close", &[&uuid]), status("200"));
        titan.event(&Event::Room);
        titan.work();
        assert!(titan.disk.kept.is_empty(), "once: {is_once}");
        assert_eq!(titan.desk.core.titanic().unwrap().size(), (0, 0));
    }
}

#[test]
fn epochs_are_reserved_ahead_and_a_full_disk_gets_the_newest_of_them_later() {
    let mut titan = titan();
    titan.work();
    let before = titan.disk.kept.len();
    titan.desk.core.keep_epochs(1000, 1000 + AHEAD);
    let node = titan.client(key(1));
    let hold = |titan: &mut Titan, count| {
        for _ in 0..count {
            let says = LeaseHeader::new(LeaseVerb::Campaign, "leader");
            titan.desk.mjp(node, &ToBroker::Lease { id: 1, says });
            titan.desk.mjp(node, &ToBroker::Cancel { id: 1 });
        }
        titan.listen();
        titan.disk.orders.len()
    };
    assert_eq!(hold(&mut titan, BLOCK - 1), 0, "nothing is written for one holder");
    assert_eq!(hold(&mut titan, 1), 1);
    titan.work();
    let mark = |titan: &Titan| mark::read(&titan.disk.kept[&[&b"e"[..], &[0; 16]].concat()]);
    assert_eq!(mark(&titan), Ok(1000 + BLOCK + AHEAD));
    assert_eq!(titan.disk.kept.len(), before + 1);
    // There is no room for the next two; whoever holds does not wait for that.
    assert_eq!(hold(&mut titan, 2 * BLOCK), 2);
    titan.disk.orders.clear();
    titan.event(&Event::Full(Some(u64::MAX)));
    assert_eq!(hold(&mut titan, BLOCK), 1);
    titan.disk.orders.clear();
    titan.event(&Event::Full(Some(u64::MAX)));
    assert_eq!(mark(&titan), Ok(1000 + BLOCK + AHEAD));
    titan.event(&Event::Room);
    titan.work();
    assert_eq!(mark(&titan), Ok(1000 + 4 * BLOCK + AHEAD));
}

#[test]
fn incarnations_of_members_are_reserved_as_epochs_are() {
    let mut titan = titan();
    titan.work();
    titan.desk.core.keep_epochs(1000, 1000 + AHEAD);
    let node = titan.client(key(1));
    for _ in 0..BLOCK {
        let says = GroupHeader { verb: "join", group: Some("crew"), ..GroupHeader::default() };
        let body = Frames::default();
        titan.desk.mjp(node, &ToBroker::Group(Group { id: 1, says, body }));
        let (says, body) = (GroupHeader::new(GroupVerb::Leave, 1), Frames::default());
        titan.desk.mjp(node, &ToBroker::Group(Group { id: 2, says, body }));
    }
    titan.listen();
    assert_eq!(titan.disk.orders.len(), 1);
    titan.work();
    let mark = mark::read(&titan.disk.kept[&[&b"e"[..], &[0; 16]].concat()]);
    assert_eq!(mark, Ok(1000 + BLOCK + AHEAD));
}

#[test]
fn a_failed_disk_vouches_for_nothing() {
    let mut titan = titan();
    let client = titan.client(key(1));
    let uuid = titan.request(client, b"x");
    titan.say(client, "request", &[b"echo", b"y"]);
    titan.event(&Event::Failed);
    assert_eq!(titan.statuses(client), [status("500")]);
    for what in ["reply", "close"] {
        assert_eq!(titan.ask(client, what, &[&uuid]), status("500"));
    }
    assert_eq!(titan.ask(client, "request", &[b"echo", b"z"]), status("500"));
    titan.worker();
    assert!(titan.desk.core.is_drained());
}

#[test]
fn what_may_be_done_once_is_noted_before_it_is_begun() {
    let once = ServicePolicy { at_most_once: true, ..ServicePolicy::default() };
    let mut first = Titan::new(TitanicLimits::default(), once.clone());
    let client = first.client(key(1));
    let uuid = first.request(client, b"x");
    let worker = first.client(Principal::Local);
    first.desk.say(worker, |out| FromWorker::Ready { service: b"echo" }.encode(V01, out));
    first.listen();
    assert!(first.given(worker).is_empty(), "not before it is stored");
    first.work();
    assert_eq!(first.given(worker).len(), 1);
    let disk = Disk { kept: first.disk.kept, ..Disk::default() };
    let mut second = Titan::after(disk, TitanicLimits::default(), once);
    let (client, worker) = (second.client(key(1)), second.worker());
    assert!(second.given(worker).is_empty());
    assert_eq!(second.ask(client, "reply", &[&uuid]), status("500"));
}

/// Hands in requests until the client is not read any more; returns how many were taken.
fn fill(titan: &mut Titan, client: PeerId) -> usize {
    let body = Message::new([&b"echo"[..], b"x"]);
    let mut written = 0;
    loop {
        let said = super::message(|out| {
            let (envelope, service) = (Frames::DELIMITER, &b"titanic.request"[..]);
            Request { version: V01, envelope, service, body: body.frames() }.encode(out);
        });
        let taken =
            titan.desk.core.message(titan.desk.now, client, said.frames(), &mut titan.desk.said);
        if taken == Taken::NotYet {
            return written;
        }
        written += 1;
        assert!(written < 10_000, "nothing stops it");
    }
}

#[test]
fn clients_wait_while_the_disk_does_not_keep_up() {
    let mut titan = titan();
    let client = titan.client(key(1));
    let written = fill(&mut titan, client);
    assert!(written > 1000);
    titan.work();
    assert_eq!(titan.desk.said.resumed, [client]);
    assert_eq!(titan.statuses(client).len(), written);
}

#[test]
fn who_goes_while_the_disk_does_not_keep_up_is_forgotten() {
    let mut titan = titan();
    let client = titan.client(key(1));
    fill(&mut titan, client);
    titan.desk.core.leave(titan.desk.now, client, &mut titan.desk.said);
    titan.desk.check();
    titan.work();
    assert!(titan.desk.said.resumed.is_empty());
}

#[test]
fn a_stop_leaves_what_nobody_has_begun_for_the_next_broker() {
    let mut titan = titan();
    let (client, worker) = (titan.client(key(1)), titan.worker());
    titan.request(client, b"begun");
    titan.request(client, b"waits");
    let (address, _) = titan.given(worker).remove(0);
    let Titan { desk, .. } = &mut titan;
    desk.core.drain(desk.now, Duration::from_secs(1), &mut desk.said);
    assert!(!titan.desk.core.is_drained());
    assert_eq!(titan.desk.core.lost_with_the_process(), 0);
    titan.finish(worker, &address, b"done");
    assert!(!titan.desk.core.is_drained(), "the answer is not stored");
    titan.work();
    assert!(titan.desk.core.is_drained());
    assert!(titan.given(worker).is_empty());
    assert_eq!(titan.disk.kept.len(), 4, "an answer and a request, each with its head");
}

#[test]
fn what_is_old_is_forgotten() {
    let limits = TitanicLimits { kept: Duration::from_secs(3), ..TitanicLimits::default() };
    let mut titan = Titan::new(limits, ServicePolicy::default());
    let client = titan.client(key(1));
    let uuid = titan.request(client, b"x");
    titan.desk.pass(Duration::from_secs(2));
    assert_eq!(titan.ask(client, "reply", &[&uuid]), status("300"));
    titan.desk.pass(Duration::from_secs(3));
    titan.work();
    assert_eq!(titan.ask(client, "reply", &[&uuid]), status("400"));
    assert!(titan.disk.kept.is_empty());
}

#[test]
fn bodies_beyond_the_window_are_read_when_they_are_needed() {
    let limits = TitanicLimits { window_bytes_max: 0, ..TitanicLimits::default() };
    let mut titan = Titan::new(limits, ServicePolicy::default());
    let client = titan.client(key(1));
    let uuids: Vec<_> = (0..5).map(|_| titan.request(client, b"x")).collect();
    let worker = titan.worker();
    for uuid in uuids {
        let (address, body) = titan.given(worker).remove(0);
        assert_eq!(body, b"x");
        titan.finish(worker, &address, b"y");
        titan.work();
        assert_eq!(titan.ask(client, "reply", &[&uuid]), [b"200", &b"y"[..]]);
    }
}
