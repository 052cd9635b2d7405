//! Dead letters of requests that are kept on a disk.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::retry::quick;
use super::{DISK, House};
use crate::id::PeerId;
use crate::proto::dead::{Cause, Causes, DeadLimits};
use crate::proto::depot::{DepotLimits, LETTERS, REQUESTS};
use crate::proto::durable::{Event, Order, Write};
use crate::proto::policy::{DeadPolicy, ServicePolicy};
use crate::wire::mdp::{Request, ToClient, Version};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    DeadHeader, DeadReport, ExplainReport, Fault, FromBroker, RequestHeader, Verb, encode_admin,
};

const MS: Duration = Duration::from_millis(1);

fn keeping(causes: Causes) -> ServicePolicy {
    let dead = DeadPolicy { causes, kept: Some(60_000 * MS), ..DeadPolicy::default() };
    ServicePolicy { attempts: 1, dead, ..quick() }
}

fn house() -> House {
    House::new(DepotLimits::default(), keeping(Causes::ALL))
}

impl House {
    /// Says ADMIN with that header and body.
    pub(super) fn command(&mut self, peer: PeerId, says: &DeadHeader<'_>, body: &[&str]) {
        let header = crate::wire::mjp::Packed::new(says);
        let body = Message::new(body.iter().map(|frame| frame.as_bytes().to_vec()));
        let body = if body.frames().is_empty() { Frames::default() } else { body.frames() };
        self.desk.say(peer, |out| encode_admin(78, header.octets(), &body, out));
    }

    /// What the last ADMIN was answered: the frames from the header on, or the code of an error.
    fn told(&mut self, peer: PeerId) -> Option<Result<Vec<Vec<u8>>, String>> {
        let said = self.desk.said.to.get(peer).map(Vec::as_slice).unwrap_or_default();
        let read = self.desk.read.insert(peer, said.len()).unwrap_or(0);
        let said = said[read..].last()?.clone();
        Some(match FromBroker::decode(said.frames()).unwrap() {
            FromBroker::Admin { id: 78, .. } => {
                Ok(said.frames().skip(2).map(<[u8]>::to_vec).collect())
            }
            FromBroker::Error(failure) if failure.id == 78 => {
                Err(Fault::decode(failure.header).unwrap().code.to_owned())
            }
            other => panic!("{other:?}"),
        })
    }

    /// Carries out a verb, and gives the answer, which has come when the disk is done.
    fn dlq(
        &mut self,
        peer: PeerId,
        says: &DeadHeader<'_>,
        body: &[&str],
    ) -> Result<Vec<Vec<u8>>, String> {
        self.desk.heard(peer);
        self.command(peer, says, body);
        self.work();
        self.told(peer).expect("nothing was said")
    }

    /// How many letters were changed and left, and why.
    fn change(&mut self, peer: PeerId, says: &DeadHeader<'_>) -> (u64, u64) {
        let said = self.dlq(peer, says, &[]).unwrap();
        let report = DeadReport::decode(&said[0]).unwrap();
        (report.done.unwrap(), report.left.unwrap_or(0))
    }

    fn of_space(&self, space: u8) -> usize {
        self.disk.kept.keys().filter(|key| key[0] == space).count()
    }

    /// A request of which the worker says that it failed; the caller is told.
    fn letter(&mut self, id: u64, worker: PeerId) -> PeerId {
        let client = self.desk.join();
        self.ask(client, id, DISK);
        self.desk.fail(worker, &id.to_string());
        self.work();
        assert_eq!(self.desk.heard(client), [format!("ERROR {id} no_paper")]);
        client
    }
}

fn requeue(uuid: &str) -> DeadHeader<'_> {
    DeadHeader { uuid: Some(uuid), ..DeadHeader::new(Verb::DeadRequeue) }
}

fn all(verb: Verb) -> DeadHeader<'static> {
    DeadHeader { all: Some(true), ..DeadHeader::new(verb) }
}

#[test]
fn a_request_becomes_a_letter_in_the_step_that_removes_it() {
    let mut house = house();
    let (client, operator, worker) = (house.desk.join(), house.desk.join(), house.worker(1));
    house.ask(client, 1, RequestHeader { key: Some(b"k"), ..DISK });
    house.desk.heard(client);
    house.desk.fail(worker, "1");
    assert_eq!(house.desk.letters(operator), [""; 0], "it is not stored");
    house.listen();
    let [Order::Store(batch)] = house.disk.orders.make_contiguous() else { panic!("one batch") };
    let kind = |write: &Write| match write {
        Write::Put(key, _) => format!("+{}", char::from(key.octets()[0])),
        Write::Remove(key) => format!("-{}", char::from(key.octets()[0])),
    };
    assert_eq!(batch.writes.iter().map(kind).collect::<Vec<_>>(), ["-r", "+o", "+d"]);
    house.work();
    assert_eq!(house.desk.heard(client), ["ERROR 1 no_paper"], "its caller is told as before");
    assert_eq!(house.desk.letters(operator), ["echo failed 0"]);
}

#[test]
fn letters_outlive_the_broker_with_all_that_is_told_of_them() {
    let mut house = house();
    let operator = house.desk.join();
    let worker = house.desk.named_worker("w1", 1, &[]);
    let client = house.desk.join();
    house.ask(client, 1, RequestHeader { trace: Some("00-1"), ..DISK });
    house.desk.fail_for_now(worker, "1", None);
    house.work();
    let uuid = house.desk.first_id(operator);
    let show = |house: &mut House, operator| {
        let says = DeadHeader { uuid: Some(&uuid), ..DeadHeader::new(Verb::DeadShow) };
        house.dlq(operator, &says, &[]).unwrap()
    };
    house.pass(900 * MS);
    let before = show(&mut house, operator);
    for _ in 0..2 {
        house = house.crash(500 * MS);
    }
    let operator = house.desk.join();
    let after = show(&mut house, operator);
    assert_eq!(before[1..], after[1..], "header and body");
    assert_eq!(RequestHeader::decode(&after[1]).unwrap().trace, Some("00-1"));
    assert_eq!(after[2], b"1");
    let report = DeadReport::decode(&after[0]).unwrap();
    let letter = report.letters.as_ref().unwrap()[0];
    let told = (letter.uuid, letter.cause, letter.message, letter.attempts, letter.deaths);
    assert_eq!(told, (&uuid[..], "exhausted", Some("try again"), 1, 1));
    let seen = report.seen.as_ref().unwrap()[0];
    assert_eq!((seen.worker, seen.end), ("w1", "failed"));
    assert!((1000..=2000).contains(&letter.dead) && letter.dead == seen.ago, "{letter:?}");
    let older = |ms| DeadHeader { older: Some(ms), ..DeadHeader::new(Verb::DeadList) };
    let count = |it: &DeadReport<'_>| it.letters.as_ref().unwrap().len();
    assert_eq!(house.desk.dead(operator, &older(1000), count), Ok(1));
    assert_eq!(house.desk.dead(operator, &older(9000), count), Ok(0));
    let mut house = house.crash(70_000 * MS);
    let operator = house.desk.join();
    house.pass(50 * MS);
    assert_eq!(
        (house.desk.letters(operator), house.of_space(LETTERS)),
        (Vec::new(), 0),
        "its time"
    );
}

#[test]
fn each_end_that_the_policy_names_makes_a_letter_and_no_other_does() {
    let made = |causes: Causes| {
        let limits = DepotLimits { requests_max: 2, ..DepotLimits::default() };
        let mut house = House::new(limits, keeping(causes));
        let client = house.desk.join();
        let worker = house.worker(1);
        house.ask(client, 1, DISK);
        house.desk.fail(worker, "1");
        house.work();
        house.ask(client, 2, DISK);
        house.desk.fail_for_now(worker, "2", None);
        house.work();
        // At a worker, and on the disk only.
        house.ask(client, 3, RequestHeader { timeout: Some(500), ..DISK });
        house.pass(600 * MS);
        house.desk.reply(worker, "3", true);
        house.work();
        house.ask(client, 4, RequestHeader { attempts: NonZeroU32::new(1), ..DISK });
        house.leave(worker);
        house.ask(client, 5, RequestHeader { timeout: Some(500), ..DISK });
        house.pass(600 * MS);
        house.ask(client, 6, DISK);
        house.ask(client, 7, DISK);
        house.desk.heard(client);
        assert_eq!(house.ask(client, 8, DISK), ["ERROR 8 overloaded"]);
        for _ in 0..6 {
            let worker = house.worker(1);
            house.leave(worker);
        }
        // Answered and cancelled ones are none.
        let worker = house.worker(1);
        house.ask(client, 9, DISK);
        house.reply(worker, "9");
        house.ask(client, 10, DISK);
        house.desk.mjp(client, &crate::wire::mjp::ToBroker::Cancel { id: 10 });
        house.work();
        let operator = house.desk.join();
        let letters = house.desk.letters(operator);
        assert_eq!(house.of_space(LETTERS), letters.len());
        let mut again = house.crash(Duration::ZERO);
        let operator = again.desk.join();
        assert_eq!(again.desk.letters(operator), letters, "in the order of dying");
        letters
    };
    assert_eq!(
        made(Causes::ALL),
        [
            "echo failed 0",
            "echo exhausted 1",
            "echo timeout 0",
            "echo lost 1",
            "echo timeout 0",
            "echo overflow 0",
            "echo poison 3",
            "echo poison 3",
        ]
    );
    assert_eq!(made(Causes::default()), ["echo exhausted 1", "echo poison 3", "echo poison 3"]);
    assert_eq!(made(Causes::NONE), [""; 0]);
}

#[test]
fn what_may_have_begun_before_the_broker_was_lost_is_a_letter_of_the_next_one() {
    let policy = ServicePolicy { at_most_once: true, ..keeping(Causes::ALL) };
    let mut house = House::new(DepotLimits::default(), policy);
    let client = house.desk.join();
    house.worker(1);
    house.ask(client, 1, DISK);
    let mut house = house.crash(Duration::ZERO);
    house.work();
    let operator = house.desk.join();
    assert_eq!(house.desk.letters(operator), ["echo lost 1"]);
    assert_eq!((house.of_space(LETTERS), house.of_space(REQUESTS)), (1, 0));
}

#[test]
fn a_letter_is_put_back_in_one_step_and_dies_again_under_its_name() {
    let mut house = house();
    let worker = house.worker(1);
    house.letter(1, worker);
    let operator = house.desk.join();
    let uuid = house.desk.first_id(operator);
    let dry = DeadHeader { dry: Some(true), ..requeue(&uuid) };
    assert_eq!(house.change(operator, &dry), (1, 0));
    assert_eq!(house.desk.letters(operator).len(), 1, "nothing was done");
    house.desk.heard(operator);
    house.command(operator, &requeue(&uuid), &[]);
    assert!(house.step(), "it is read");
    assert_eq!(house.told(operator), None, "it is not stored");
    house.listen();
    let [Order::Store(batch)] = house.disk.orders.make_contiguous() else { panic!("one batch") };
    assert_eq!(batch.writes.len(), 2, "one letter less, one request more");
    assert_eq!(house.desk.letters(operator), [""; 0]);
    assert_eq!(house.bodies(worker), ["1"], "nobody has it");
    house.work();
    let said = house.told(operator).unwrap().unwrap();
    assert_eq!(DeadReport::decode(&said[0]).unwrap().done, Some(1));
    assert_eq!(house.bodies(worker), ["1", "1"]);
    assert_eq!((house.of_space(LETTERS), house.of_space(REQUESTS)), (0, 1));
    assert_eq!(house.dlq(operator, &requeue(&uuid), &[]), Err("not_found".into()));
    // The next broker knows that it has died before, and how it is called.
    let mut house = house.crash(Duration::ZERO);
    let (operator, worker) = (house.desk.join(), house.worker(1));
    house.desk.fail_for_now(worker, "1", None);
    house.work();
    assert_eq!(house.desk.first_id(operator), uuid);
    let list = DeadHeader::new(Verb::DeadList);
    let told = |it: &DeadReport<'_>| {
        let letter = it.letters.as_ref().unwrap()[0];
        (letter.deaths, letter.attempts)
    };
    assert_eq!(house.desk.dead(operator, &list, told), Ok((2, 1)), "and of how many attempts");
    assert_eq!(house.change(operator, &requeue(&uuid)), (1, 0));
    house.reply(worker, "1");
    assert_eq!((house.size(), house.disk.kept.len()), (0, 0));
}

#[test]
fn many_letters_are_put_back_or_dropped_and_those_in_memory_with_them() {
    let mut house = house();
    let (client, operator, worker) = (house.desk.join(), house.desk.join(), house.worker(1));
    for id in 1..=5 {
        house.letter(id, worker);
    }
    house.desk.call(client, 6, RequestHeader { level: None, ..DISK });
    house.desk.fail(worker, "6");
    house.work();
    assert_eq!((house.desk.letters(operator).len(), house.of_space(LETTERS)), (6, 5));
    let some = DeadHeader { max: std::num::NonZeroU16::new(2), ..all(Verb::DeadDrop) };
    assert_eq!(house.change(operator, &some), (2, 0));
    assert_eq!((house.desk.letters(operator).len(), house.of_space(LETTERS)), (4, 3));
    assert_eq!(house.change(operator, &all(Verb::DeadRequeue)), (4, 0));
    assert_eq!((house.desk.letters(operator).len(), house.of_space(LETTERS)), (0, 0));
    // The one in memory is accepted at once, the others when they are stored.
    for body in ["6", "3", "4", "5"] {
        house.reply(worker, body);
    }
    assert_eq!((house.size(), house.disk.kept.len()), (0, 0));
    let stats = house.desk.core.router().dead().stats();
    assert_eq!((stats.requeued, stats.dropped), (4, 2));
}

#[test]
fn a_letter_gets_another_body_and_service_which_outlive_the_broker() {
    let mut house = house();
    let (operator, worker) = (house.desk.join(), house.worker(1));
    house.letter(1, worker);
    let uuid = house.desk.first_id(operator);
    let edit = DeadHeader { uuid: Some(&uuid), ..DeadHeader::new(Verb::DeadEdit) };
    let bad = DeadHeader { header: Some(b"\x93"), ..edit };
    assert_eq!(house.dlq(operator, &bad, &["x"]), Err("bad_request".into()));
    house.desk.heard(operator);
    house.command(operator, &DeadHeader { service: Some(b"other"), ..edit }, &["better"]);
    assert!(house.step(), "it is read");
    // Until that is stored nobody else changes it.
    let second = house.desk.join();
    house.command(second, &requeue(&uuid), &[]);
    assert_eq!(house.told(second), Some(Err("overloaded".into())));
    assert_eq!(house.told(operator), None);
    house.work();
    assert!(house.told(operator).unwrap().is_ok());
    assert_eq!(house.desk.letters(operator), ["other failed 0"]);
    let mut house = house.crash(Duration::ZERO);
    let operator = house.desk.join();
    assert_eq!(house.desk.letters(operator), ["other failed 0"]);
    let edit = DeadHeader { service: Some(b"echo"), requeue: Some(true), ..edit };
    let said = house.dlq(operator, &edit, &["best", "of all"]).unwrap();
    assert_eq!(DeadReport::decode(&said[0]).unwrap().done, Some(1));
    let worker = house.worker(1);
    assert_eq!(house.bodies(worker), ["best"]);
    assert_eq!((house.of_space(LETTERS), house.size()), (0, 1));
}

#[test]
fn the_oldest_letters_make_room_on_the_disk_too() {
    let dead = DeadPolicy { letters_max: 2, ..keeping(Causes::ALL).dead };
    let policy = ServicePolicy { dead, ..keeping(Causes::ALL) };
    let mut house = House::new(DepotLimits::default(), policy);
    let (operator, worker) = (house.desk.join(), house.worker(1));
    for id in 1..=4 {
        house.letter(id, worker);
    }
    assert_eq!((house.desk.letters(operator).len(), house.of_space(LETTERS)), (2, 2));
    // Not by memory that is short: they take little.
    house.desk.said.memory = Some(house.desk.said.charged);
    let client = house.desk.join();
    house.desk.call(client, 9, RequestHeader { level: None, ..DISK });
    house.desk.said.memory = None;
    assert_eq!(house.desk.letters(operator).len(), 2);
    house.settings.dead = DeadLimits { letters_max: 1, ..DeadLimits::default() };
    let mut house = house.crash(Duration::ZERO);
    house.work();
    let operator = house.desk.join();
    assert_eq!((house.desk.letters(operator).len(), house.of_space(LETTERS)), (1, 1));
}

#[test]
fn a_letter_for_which_there_is_no_room_comes_when_there_is_some() {
    let mut house = house();
    let (client, operator, worker) = (house.desk.join(), house.desk.join(), house.worker(1));
    house.letter(7, worker);
    let uuid = house.desk.first_id(operator);
    house.ask(client, 1, DISK);
    house.desk.heard(client);
    house.desk.fail(worker, "1");
    house.no_room();
    assert_eq!(house.desk.heard(client), [""; 0], "neither told");
    assert_eq!(house.desk.letters(operator).len(), 1, "nor dead");
    assert_eq!(house.change(operator, &requeue(&uuid)), (0, 1), "and nothing new is taken");
    assert_eq!(house.change(operator, &all(Verb::DeadDrop)), (1, 0));
    house.event(&Event::Room);
    house.work();
    assert_eq!(house.desk.heard(client), ["ERROR 1 no_paper"]);
    assert_eq!((house.desk.letters(operator).len(), house.of_space(LETTERS)), (1, 1));
}

#[test]
fn a_change_for_which_there_is_no_room_is_done_when_there_is_some() {
    let mut house = house();
    let (operator, worker) = (house.desk.join(), house.worker(1));
    house.letter(1, worker);
    house.desk.heard(operator);
    house.command(operator, &all(Verb::DeadRequeue), &[]);
    assert!(house.step(), "it is read");
    house.no_room();
    house.work();
    assert_eq!(house.told(operator), None);
    assert_eq!(house.of_space(LETTERS), 1, "whoever comes now finds it dead");
    house.event(&Event::Room);
    house.work();
    assert!(house.told(operator).unwrap().is_ok());
    assert_eq!((house.of_space(LETTERS), house.bodies(worker).len()), (0, 2));
}

#[test]
fn a_change_for_which_there_is_no_room_does_not_bring_back_a_letter_that_is_gone() {
    let dead = DeadPolicy { letters_max: 1, ..keeping(Causes::ALL).dead };
    let policy = ServicePolicy { dead, ..keeping(Causes::ALL) };
    let mut house = House::new(DepotLimits::default(), policy);
    let (operator, worker) = (house.desk.join(), house.worker(1));
    house.letter(1, worker);
    let client = house.desk.join();
    house.ask(client, 2, DISK);
    let uuid = house.desk.first_id(operator);
    house.desk.heard(operator);
    let edit = DeadHeader { uuid: Some(&uuid), ..DeadHeader::new(Verb::DeadEdit) };
    house.command(operator, &edit, &["better"]);
    assert!(house.step(), "it is read");
    house.no_room();
    house.desk.fail(worker, "2");
    house.work();
    assert_eq!(house.told(operator), None);
    house.event(&Event::Room);
    house.work();
    assert!(house.told(operator).unwrap().is_ok(), "it was edited, and has made room for another");
    assert_eq!((house.desk.letters(operator).len(), house.of_space(LETTERS)), (1, 1));
}

#[test]
fn after_a_failure_of_the_disk_no_change_is_told_to_be_done() {
    let mut house = house();
    let (operator, worker) = (house.desk.join(), house.worker(1));
    for id in 1..=2 {
        house.letter(id, worker);
    }
    house.desk.heard(operator);
    house.command(operator, &all(Verb::DeadRequeue), &[]);
    assert!(house.step(), "the first one is read");
    house.event(&Event::Failed);
    assert_eq!(house.told(operator), Some(Err("store_failed".into())));
    assert_eq!(house.change(operator, &all(Verb::DeadRequeue)), (0, 1));
    house.command(operator, &all(Verb::DeadDrop), &[]);
    assert_eq!(house.told(operator), Some(Err("store_failed".into())));
}

#[test]
fn an_operator_who_has_gone_leaves_its_change_to_be_done() {
    let mut house = house();
    let (operator, worker) = (house.desk.join(), house.worker(1));
    house.letter(1, worker);
    house.command(operator, &all(Verb::DeadRequeue), &[]);
    house.leave(operator);
    house.work();
    assert_eq!((house.bodies(worker).len(), house.of_space(LETTERS)), (2, 0));
}

#[test]
fn a_request_on_the_disk_is_called_the_same_by_every_broker() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(1));
    house.ask(client, 1, DISK);
    let id = |house: &mut House| {
        let operator = house.desk.join();
        let says = crate::wire::mjp::AdminHeader {
            service: Some(b"echo"),
            ..crate::wire::mjp::AdminHeader::new(Verb::Explain)
        };
        let admin = crate::wire::mjp::ToBroker::Admin { id: 78, says, body: Frames::default() };
        house.desk.mjp(operator, &admin);
        let said = house.told(operator).unwrap().unwrap();
        let report = ExplainReport::decode(&said[0]).unwrap();
        report.requests.as_ref().unwrap()[0].uuid.to_owned()
    };
    let before = id(&mut house);
    let says = crate::wire::mjp::AdminHeader {
        uuid: Some(before.as_bytes()),
        ..crate::wire::mjp::AdminHeader::new(Verb::Explain)
    };
    let operator = house.desk.join();
    let admin = crate::wire::mjp::ToBroker::Admin { id: 78, says, body: Frames::default() };
    house.desk.mjp(operator, &admin);
    assert!(house.told(operator).unwrap().is_ok(), "and found by that");
    house.leave(worker);
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(1);
    assert_eq!(id(&mut house), before);
    house.desk.fail(worker, "1");
    house.work();
    let operator = house.desk.join();
    assert_eq!(house.desk.first_id(operator), before);
}

#[test]
fn what_titanic_keeps_dies_too_and_its_client_is_told_as_ever() {
    let policy = ServicePolicy { at_most_once: true, ..keeping(Causes::ALL) };
    let mut house = House::new(DepotLimits::default(), policy);
    let (client, worker) = (house.desk.join(), house.worker(1));
    let titanic = |house: &mut House, client, service: &[u8], body: &[&[u8]]| {
        let body = Message::new(body.iter().map(|frame| frame.to_vec()));
        let request = Request {
            version: Version::V01,
            envelope: Frames::DELIMITER,
            service,
            body: body.frames(),
        };
        house.desk.say(client, |out| request.encode(out));
        house.work();
        let said = house.desk.said.to.remove(client).unwrap();
        let ToClient { body, .. } = ToClient::decode(said[0].frames()).unwrap();
        body.map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let client_of = |house: &mut House| house.desk.join();
    let failed = titanic(&mut house, client, b"titanic.request", &[b"echo", b"bad"]).remove(1);
    house.desk.fail(worker, "bad");
    house.work();
    let operator = house.desk.join();
    assert_eq!(house.desk.letters(operator), ["echo failed 0"]);
    let lost = titanic(&mut house, client, b"titanic.request", &[b"echo", b"lost"]).remove(1);
    assert_eq!(house.bodies(worker), ["bad", "lost"]);
    let mut house = house.crash(Duration::ZERO);
    house.work();
    let (client, operator) = (client_of(&mut house), house.desk.join());
    for uuid in [&failed, &lost] {
        let said = titanic(&mut house, client, b"titanic.reply", &[uuid]);
        assert_eq!(said, [b"500".to_vec()]);
    }
    assert_eq!(house.desk.letters(operator), ["echo failed 0", "echo lost 1"]);
    // They are put back as requests of level disk; the client of Titanic has its 500 for good.
    let worker = house.worker(2);
    assert_eq!(house.change(operator, &all(Verb::DeadRequeue)), (2, 0));
    assert_eq!(house.bodies(worker), ["bad", "lost"]);
    let given = house.desk.works(worker).remove(0);
    assert_eq!(RequestHeader::decode(&given.header).unwrap().service, b"echo");
    for body in ["bad", "lost"] {
        house.reply(worker, body);
    }
    assert_eq!(titanic(&mut house, client, b"titanic.reply", &[&failed]), [b"500".to_vec()]);
    assert_eq!((house.size(), house.of_space(LETTERS), house.of_space(REQUESTS)), (0, 0, 0));
}

#[test]
fn a_letter_that_is_too_big_is_none_and_is_counted() {
    let dead = DeadLimits { bytes_max: 100, ..DeadLimits::default() };
    let mut house = house();
    house.settings.dead = dead;
    let mut house = house.crash(Duration::ZERO);
    let (operator, worker) = (house.desk.join(), house.worker(1));
    house.letter(1, worker);
    assert_eq!((house.desk.letters(operator).len(), house.of_space(LETTERS)), (0, 0));
    assert_eq!(house.stats().unburied, 1);
    assert_eq!(house.desk.core.router().dead().stats().made[Cause::Failed as usize], 0);
}
