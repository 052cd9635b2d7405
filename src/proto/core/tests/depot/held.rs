//! Requests of level disk with an order or a delay.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::retry::quick;
use super::{BEGUN, DISK, House};
use crate::id::PeerId;
use crate::proto::dead::Causes;
use crate::proto::depot::{APART, Depot, DepotLimits, LETTERS, REQUESTS};
use crate::proto::durable::{Event, Order};
use crate::proto::policy::{DeadPolicy, ServicePolicy};
use crate::proto::titanic::RecordError;
use crate::wire::mjp::{self, DeadHeader, Level, RequestHeader, ToBroker, Verb};

const MS: Duration = Duration::from_millis(1);

fn house() -> House {
    House::new(DepotLimits::default(), quick())
}

/// A house that keeps so many of a service in memory.
fn narrow(in_memory_max: usize) -> House {
    House::new(DepotLimits { in_memory_max, ..DepotLimits::default() }, quick())
}

fn delayed(ms: u64) -> RequestHeader<'static> {
    RequestHeader { delay: Some(ms), ..DISK }
}

fn ordered(order: &'static [u8]) -> RequestHeader<'static> {
    RequestHeader { order: Some(order), ..DISK }
}

fn of_memory(says: RequestHeader<'static>) -> RequestHeader<'static> {
    RequestHeader { level: Some(Level::Memory), ..says }
}

impl House {
    fn cancel(&mut self, client: PeerId, id: u64) -> Vec<String> {
        self.desk.mjp(client, &ToBroker::Cancel { id });
        self.work();
        self.desk.heard(client)
    }

    fn fail_for_now(&mut self, worker: PeerId, body: &str, retry: Option<u64>) {
        self.desk.fail_for_now(worker, body, retry);
        self.work();
    }

    pub(super) fn in_memory(&self) -> usize {
        self.desk.core.depot().unwrap().in_memory()
    }

    /// Nothing is kept, on the disk or in memory.
    fn is_bare(&self) {
        assert_eq!((self.size(), self.disk.kept.len(), self.stats().missing), (0, 0, 0));
        assert_eq!(self.desk.core.depot().unwrap().memory(), 0, "something is remembered");
    }
}

#[test]
fn a_delayed_request_is_stored_before_it_is_told_and_not_delivered_before_its_time() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(9));
    house.desk.call(client, 1, delayed(200));
    assert_eq!(house.desk.heard(client), [""; 0], "nothing is stored");
    house.work();
    assert_eq!(house.desk.heard(client), ["ACCEPTED 1 disk"]);
    assert_eq!(house.in_memory(), 0, "it waits on the disk");
    assert_eq!(house.ask(client, 2, DISK), ["ACCEPTED 2 disk"]);
    house.pass(199 * MS);
    assert_eq!(house.bodies(worker), ["2"], "others pass it");
    house.pass(MS);
    assert_eq!(house.bodies(worker), ["2", "1"]);
    house.reply(worker, "1");
    house.reply(worker, "2");
    house.is_bare();
}

#[test]
fn a_delay_begins_with_the_next_millisecond() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(9));
    house.pass(Duration::from_micros(900));
    house.ask(client, 1, delayed(10));
    house.pass(Duration::from_micros(9_900));
    assert_eq!(house.bodies(worker), [""; 0]);
    house.pass(Duration::from_micros(200));
    assert_eq!(house.bodies(worker), ["1"]);
}

#[test]
fn a_delay_goes_on_while_there_is_no_broker() {
    let mut house = house();
    let client = house.desk.join();
    house.ask(client, 1, delayed(23_000));
    house.ask(client, 2, delayed(10_000));
    let mut house = house.crash(Duration::from_secs(20));
    let worker = house.worker(9);
    assert_eq!(house.bodies(worker), ["2"], "its time came while nobody was there");
    house.pass(2_999 * MS);
    assert_eq!(house.bodies(worker), ["2"]);
    house.pass(MS);
    assert_eq!(house.bodies(worker), ["2", "1"]);
    assert_eq!(house.desk.works(worker)[0].timeout, Some(24 * 3_600_000 - 10_000));
}

#[test]
fn a_clock_that_was_set_back_makes_nobody_wait_longer_than_at_first() {
    let mut house = house();
    let client = house.desk.join();
    house.ask(client, 1, RequestHeader { timeout: Some(60_000), ..delayed(3_000) });
    house.ask(client, 2, RequestHeader { order: Some(b"a"), ..delayed(5_000) });
    house.ask(client, 3, ordered(b"a"));
    house.unix -= 1_000_000_000;
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(9);
    house.pass(2_999 * MS);
    assert_eq!(house.bodies(worker), [""; 0], "no time had passed");
    house.pass(MS);
    assert_eq!(house.bodies(worker), ["1"]);
    assert_eq!(house.desk.works(worker)[0].timeout, Some(60_000));
    house.pass(2_000 * MS);
    assert_eq!(house.bodies(worker), ["1", "2"]);
    house.reply(worker, "2");
    house.reply(worker, "3");
    house.reply(worker, "1");
    house.is_bare();
    // And one that was set back a little counts as it is.
    let client = house.desk.join();
    house.ask(client, 4, delayed(4_000));
    house.unix += 7_000;
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(9);
    house.pass(1_999 * MS);
    assert_eq!(house.bodies(worker), [""; 0]);
    house.pass(MS);
    assert_eq!(house.bodies(worker), ["4"]);
}

#[test]
fn what_is_delayed_has_its_time_from_then_on() {
    let limits = DepotLimits { waits: Duration::from_secs(60), ..DepotLimits::default() };
    let mut house = House::new(limits, quick());
    let client = house.desk.join();
    house.ask(client, 1, delayed(3_600_000));
    let mut house = house.crash(Duration::from_secs(3600));
    let worker = house.worker(9);
    assert_eq!(house.desk.works(worker)[0].timeout, Some(60_000));
    let client = house.desk.join();
    let says = RequestHeader { timeout: Some(100), ..delayed(100) };
    assert_eq!(house.ask(client, 2, says), ["ERROR 2 bad_request"], "no worker would get it");
    assert_eq!(house.size(), 1);
}

#[test]
fn what_is_held_takes_no_place_from_others() {
    let mut house = narrow(2);
    let (client, worker) = (house.desk.join(), house.worker(9));
    for id in 1..=20 {
        house.ask(client, id, if id % 2 == 0 { delayed(60_000) } else { ordered(b"a") });
    }
    assert_eq!((house.bodies(worker), house.in_memory()), (vec!["1".into()], 1));
    house.ask(client, 30, DISK);
    house.reply(worker, "30");
    house.ask(client, 31, ordered(b"b"));
    assert_eq!(house.bodies(worker), ["1", "30", "31"]);
}

#[test]
fn requests_of_one_order_run_one_at_a_time_in_the_order_of_acceptance() {
    let mut house = narrow(3);
    let (one, two, worker) = (house.desk.join(), house.desk.join(), house.worker(9));
    for id in 1..=40 {
        let client = if id % 2 == 0 { one } else { two };
        let order = if id % 4 == 0 { b"b" } else { b"a" };
        house.ask(client, id, ordered(order));
    }
    assert_eq!(house.bodies(worker), ["1", "4"]);
    for id in (1..=16).filter(|id| id % 4 != 0) {
        house.reply(worker, &id.to_string());
    }
    let mut house = house.crash(Duration::ZERO);
    assert_eq!((house.size(), house.in_memory()), (28, 0));
    let worker = house.worker(9);
    assert_eq!(house.bodies(worker), ["4", "17"]);
    for id in (17..=40).filter(|id| id % 4 != 0) {
        house.reply(worker, &id.to_string());
    }
    for id in 1..=10 {
        house.reply(worker, &(4 * id).to_string());
    }
    let given: Vec<u64> = house.bodies(worker).iter().map(|body| body.parse().unwrap()).collect();
    for order in [0, 1] {
        let of_order = given.iter().filter(|id| (*id % 4).min(1) == order);
        assert!(of_order.is_sorted(), "{given:?}");
    }
    assert_eq!(given.len(), 28);
    house.is_bare();
}

#[test]
fn the_next_of_an_order_goes_when_the_end_of_the_first_is_stored_and_not_before() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(9));
    house.ask(client, 1, ordered(b"a"));
    house.ask(client, 2, ordered(b"a"));
    house.desk.reply(worker, "1", true);
    assert_eq!(house.bodies(worker), ["1"], "the end is not stored");
    // Killed now, the first is carried out again, and before the second.
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(9);
    assert_eq!(house.bodies(worker), ["1"]);
    house.desk.reply(worker, "1", true);
    house.listen();
    // Whatever a disk does first that has not committed.
    while house.disk.read_first() {
        house.step();
    }
    assert_eq!(house.bodies(worker), ["1"]);
    assert!(house.step(), "the end");
    assert!(house.step(), "the second is read");
    assert_eq!(house.bodies(worker), ["1", "2"]);
}

#[test]
fn an_order_holds_over_levels() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(9));
    house.ask(client, 1, ordered(b"a"));
    house.ask(client, 2, of_memory(ordered(b"a")));
    house.ask(client, 3, ordered(b"a"));
    house.ask(client, 4, of_memory(ordered(b"a")));
    house.ask(client, 5, of_memory(ordered(b"a")));
    house.ask(client, 6, ordered(b"a"));
    for id in 1..=6 {
        let body = id.to_string();
        assert_eq!(house.bodies(worker).last(), Some(&body));
        house.desk.reply(worker, &body, true);
        if matches!(id, 1 | 3) {
            assert_eq!(house.bodies(worker).last(), Some(&body), "it is not stored");
        }
        house.work();
    }
    assert_eq!(house.bodies(worker).len(), 6);
    house.is_bare();
}

#[test]
fn one_of_level_disk_goes_when_the_one_before_it_in_memory_has_ended_however() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(9));
    house.ask(client, 1, of_memory(ordered(b"a")));
    house.ask(client, 2, of_memory(RequestHeader { delay: Some(60_000), ..ordered(b"a") }));
    house.ask(client, 3, ordered(b"a"));
    house.cancel(client, 1);
    house.cancel(client, 2);
    assert_eq!(house.bodies(worker), ["1"], "the worker owes an answer");
    house.reply(worker, "1");
    assert_eq!(house.bodies(worker), ["1", "3"]);
}

#[test]
fn an_order_holds_over_losses_failures_delays_and_cancelling() {
    let mut house = house();
    let (client, first) = (house.desk.join(), house.worker(8));
    for id in 1..=5 {
        house.ask(client, id, ordered(b"a"));
    }
    house.leave(first);
    let worker = house.worker(8);
    assert_eq!(house.bodies(worker), ["1"], "what was lost stays in front");
    house.fail_for_now(worker, "1", Some(5_000));
    house.pass(4_000 * MS);
    assert_eq!(house.bodies(worker), ["1"], "those behind wait with it");
    house.pass(1_000 * MS);
    assert_eq!(house.bodies(worker), ["1", "1"]);
    // What its caller gave up may still be worked on.
    assert_eq!(house.cancel(client, 1).last().unwrap(), "ERROR 1 cancelled");
    assert_eq!(house.cancel(client, 2), ["ERROR 2 cancelled"], "on the disk only");
    assert_eq!(house.bodies(worker), ["1", "1"]);
    house.reply(worker, "1");
    assert_eq!(house.bodies(worker), ["1", "1", "3"]);
    house.leave(worker);
    let worker = house.worker(8);
    assert_eq!(house.bodies(worker), ["3"]);
    // A dead letter lets the next one go.
    let header = mjp::Packed::new(&mjp::Fault { code: "no_paper", ..mjp::Fault::default() });
    let id = house.desk.token(worker, "3");
    let failure = mjp::Failure { id, header: header.octets() };
    house.desk.mjp(worker, &ToBroker::Error(failure));
    house.work();
    assert_eq!(house.bodies(worker), ["3", "4"]);
    house.reply(worker, "4");
    house.reply(worker, "5");
    assert_eq!(house.size(), 0);
}

#[test]
fn a_timeout_of_the_first_lets_the_next_one_go() {
    let mut house = house();
    let client = house.desk.join();
    let short = RequestHeader { timeout: Some(500), ..ordered(b"a") };
    house.ask(client, 1, RequestHeader { delay: Some(400), ..short });
    house.ask(client, 2, ordered(b"a"));
    house.pass(600 * MS);
    assert_eq!(house.desk.heard(client), ["ERROR 1 timeout"], "on the disk only");
    let worker = house.worker(8);
    assert_eq!(house.bodies(worker), ["2"]);
    house.reply(worker, "2");
    house.is_bare();
    house.desk.heard(client);
    house.leave(worker);
    // Nobody waits for it, and its time is over when it is read.
    house.ask(client, 3, RequestHeader { wait: Some(false), ..short });
    house.ask(client, 4, ordered(b"a"));
    let mut house = house.crash(1_200 * MS);
    let worker = house.worker(8);
    assert_eq!(house.bodies(worker), ["4"]);
}

#[test]
fn one_that_waits_is_not_taken_for_begun() {
    let policy = ServicePolicy { at_most_once: true, ..quick() };
    let mut house = House::new(DepotLimits::default(), policy);
    let (client, worker) = (house.desk.join(), house.worker(9));
    let attempts = NonZeroU32::new(1);
    house.ask(client, 1, RequestHeader { attempts, ..ordered(b"a") });
    house.ask(client, 2, RequestHeader { attempts, ..ordered(b"a") });
    house.ask(client, 3, RequestHeader { attempts, ..delayed(1_000) });
    house.ask(client, 4, of_memory(ordered(b"b")));
    house.ask(client, 5, ordered(b"b"));
    assert_eq!(house.bodies(worker), ["1", "4"]);
    let mut house = house.crash(2_000 * MS);
    let worker = house.worker(9);
    let mut given = house.bodies(worker);
    given.sort();
    assert_eq!(given, ["2", "3", "5"], "what may have begun has ended, and the next one goes");
}

#[test]
fn a_letter_that_is_put_back_is_the_last_of_its_order_and_not_delayed() {
    let dead = DeadPolicy { causes: Causes::ALL, ..DeadPolicy::default() };
    let mut house = House::new(DepotLimits::default(), ServicePolicy { dead, ..quick() });
    let (client, worker) = (house.desk.join(), house.worker(9));
    house.ask(client, 1, RequestHeader { timeout: Some(200), delay: Some(100), ..ordered(b"a") });
    house.ask(client, 2, ordered(b"a"));
    house.leave(worker);
    house.pass(300 * MS);
    assert_eq!(house.disk.kept.keys().filter(|key| key[0] == LETTERS).count(), 1);
    let mut house = house.crash(Duration::ZERO);
    let (operator, worker) = (house.desk.join(), house.worker(9));
    let all = DeadHeader { all: Some(true), ..DeadHeader::new(Verb::DeadRequeue) };
    house.command(operator, &all, &[]);
    house.work();
    assert_eq!(house.bodies(worker), ["2"], "it is accepted now");
    house.reply(worker, "2");
    assert_eq!(house.bodies(worker), ["2", "1"]);
}

#[test]
fn what_the_full_disk_did_not_take_is_of_no_order() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(9));
    house.desk.call(client, 1, RequestHeader { delay: Some(1_000), ..ordered(b"a") });
    house.desk.call(client, 2, of_memory(ordered(b"a")));
    house.listen();
    assert_eq!(house.bodies(worker), [""; 0], "the first may be stored");
    house.disk.orders.clear();
    house.event(&Event::Full(Some(1)));
    assert_eq!(house.desk.heard(client), ["ACCEPTED 2 memory", "ERROR 1 store_full"]);
    assert_eq!(house.bodies(worker), ["2"]);
    house.event(&Event::Room);
    house.work();
    assert_eq!(house.ask(client, 3, ordered(b"a")), ["ACCEPTED 3 disk"]);
    house.reply(worker, "2");
    assert_eq!(house.bodies(worker), ["2", "3"]);
}

#[test]
fn one_that_is_not_where_it_should_be_holds_up_nobody() {
    let mut house = house();
    let client = house.desk.join();
    for id in 1..=3 {
        house.ask(client, id, ordered(b"a"));
    }
    let mut house = house.crash(Duration::ZERO);
    let first = house.disk.kept.keys().find(|key| key[0] == APART).cloned().unwrap();
    house.disk.kept.remove(&first);
    let client = house.desk.join();
    house.ask(client, 4, of_memory(ordered(b"a")));
    let worker = house.worker(9);
    for id in 2..=4 {
        house.reply(worker, &id.to_string());
    }
    assert_eq!((house.bodies(worker).len(), house.stats().missing), (3, 1));
    assert_eq!(house.size(), 0);
}

#[test]
fn one_that_is_on_the_disk_only_is_cancelled_by_who_asks_again() {
    let mut house = house();
    let client = house.desk.join();
    let says = RequestHeader { key: Some(b"k"), order: Some(b"a"), ..delayed(60_000) };
    house.ask(client, 1, says);
    house.ask(client, 2, ordered(b"a"));
    let mut house = house.crash(Duration::ZERO);
    let (client, worker) = (house.desk.join(), house.worker(9));
    assert_eq!(house.ask(client, 7, says), ["ERROR 7 key_conflict"], "it has another body");
    assert_eq!(house.ask(client, 1, says), ["ACCEPTED 1 disk again"]);
    assert_eq!(house.bodies(worker), [""; 0]);
    assert_eq!(house.cancel(client, 1), ["ERROR 1 cancelled"]);
    assert_eq!(house.bodies(worker), ["2"]);
}

#[test]
fn a_stop_leaves_what_is_held_to_the_next_broker() {
    let mut house = house();
    let client = house.desk.join();
    house.ask(client, 1, delayed(100));
    house.ask(client, 2, ordered(b"a"));
    house.ask(client, 3, ordered(b"a"));
    let worker = house.worker(1);
    assert_eq!(house.bodies(worker), ["2"]);
    house.desk.core.drain(house.desk.now, Duration::from_secs(60), &mut house.desk.said);
    house.pass(200 * MS);
    house.reply(worker, "2");
    assert_eq!((house.bodies(worker), house.size()), (vec!["2".into()], 2));
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(9);
    house.pass(100 * MS);
    assert_eq!(house.bodies(worker), ["3", "1"]);
}

#[test]
fn many_that_are_held_are_a_few_octets_each() {
    let mut house = house();
    let client = house.desk.join();
    let bare = house.desk.core.depot().unwrap().memory();
    let orders: Vec<String> = (0..500).map(|order| format!("account {order}")).collect();
    for id in 1..=1000 {
        let order = &orders[usize::try_from(id).unwrap() % orders.len()];
        let says = RequestHeader { order: Some(order.as_bytes()), wait: Some(false), ..DISK };
        house.ask(client, id, RequestHeader { delay: Some(3_600_000), ..says });
    }
    let each = (house.desk.core.depot().unwrap().memory() - bare) / 1000;
    assert!(house.in_memory() == 0 && each <= 128, "{each} octets for each");
}

#[test]
fn many_whose_time_comes_at_once_are_seen_to_in_turns() {
    let mut house = house();
    let client = house.desk.join();
    for id in 1..=1_100 {
        house.ask(client, id, RequestHeader { wait: Some(false), ..delayed(1_000) });
    }
    let left = |house: &House| house.desk.core.depot().unwrap().counts_of(DISK.service).unwrap().0;
    house.desk.pass(980 * MS);
    house.desk.now += 40 * MS;
    let mut turns = Vec::new();
    while left(&house) > 0 {
        turns.push(left(&house));
        let due = house.desk.core.next_timeout();
        assert!(due.is_some_and(|due| due <= house.desk.now), "the others are due at once");
        house.desk.core.tick(house.desk.now, &mut house.desk.said);
    }
    assert_eq!(turns, [1_100, 76]);
}

#[test]
fn records_are_where_they_belong() {
    let mut house = house();
    let client = house.desk.join();
    house.ask(client, 1, DISK);
    house.ask(client, 2, ordered(b"a"));
    house.ask(client, 3, delayed(9));
    let spaces: Vec<_> = house.disk.kept.iter().map(|(key, value)| (key[0], value[0])).collect();
    assert_eq!(spaces, [(REQUESTS, 1), (APART, 3), (APART, 3)]);
    for (key, value) in &house.disk.kept {
        let mut other = key.clone();
        other[0] = if key[0] == APART { REQUESTS } else { APART };
        let mut depot = Depot::new(DepotLimits::default(), 7, BEGUN);
        assert_eq!(depot.recover(&other, value), Err(RecordError::Malformed));
    }
    house.listen();
    let is_range = |order: &Order| matches!(order, Order::Range { .. });
    assert!(!house.disk.orders.iter().any(is_range), "nobody serves");
}

#[test]
fn a_store_of_before_is_read() {
    // The octets of a request as they were when there were no orders at level disk (SPEC 15.4).
    let mut old = vec![1];
    old.extend_from_slice(&BEGUN.to_be_bytes());
    old.extend_from_slice(&(BEGUN + 60_000).to_be_bytes());
    old.extend_from_slice(&[0; 4]);
    old.extend_from_slice(&[0; 33]);
    old.extend_from_slice(b"\x04echo\0\0\0\0");
    for frame in [&b"\x81\xa7service\xa4echo"[..], b"old"] {
        old.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_be_bytes());
        old.extend_from_slice(frame);
    }
    let lane = blake3::hash(b"echo");
    let key = [&[REQUESTS], &lane.as_bytes()[..16], &7_u64.to_be_bytes()].concat();
    let mut house = house();
    house.disk.kept.insert(key, old.into());
    let mut house = house.crash(Duration::ZERO);
    let client = house.desk.join();
    house.ask(client, 8, ordered(b"a"));
    let worker = house.worker(9);
    assert_eq!(house.bodies(worker), ["old", "8"]);
    house.desk.reply(worker, "old", true);
    house.reply(worker, "8");
    house.is_bare();
}
