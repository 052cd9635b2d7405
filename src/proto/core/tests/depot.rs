//! Requests of level disk, over a disk that does what a test tells it.

mod crash;
mod held;
mod letters;
mod outcomes;
mod refused;
mod sweep;

use std::time::Duration;

use super::disk::Disk;
use super::native::ECHO;
use super::retry::quick;
use super::{Desk, Settings};
use crate::id::PeerId;
use crate::proto::depot::{APART, Depot, DepotLimits, LETTERS, MARKS, OUTCOMES, REQUESTS};
use crate::proto::durable::{Event, Order};
use crate::proto::policy::ServicePolicy;
use crate::proto::titanic::{HEADS, Titanic, TitanicLimits};
use crate::wire::message::Message;
use crate::wire::mjp::{self, Level, RequestHeader, ToBroker};

/// A request of level disk to `echo`.
const DISK: RequestHeader<'static> =
    RequestHeader { level: Some(Level::Disk), ack: Some(true), ..ECHO };

/// Time at which the first broker begins, ms since 1970.
const BEGUN: u64 = 1_795_349_873_870;

pub(super) struct House {
    pub(super) desk: Desk,
    disk: Disk,
    settings: Settings,
    limits: DepotLimits,
    /// Time at which the present broker began, ms since 1970.
    unix: u64,
}

impl House {
    pub(super) fn new(limits: DepotLimits, policy: ServicePolicy) -> Self {
        let settings = Settings { policy, ..Settings::default() };
        Self::after(Disk::default(), limits, settings, BEGUN)
    }

    /// A broker that finds what another one has stored.
    fn after(disk: Disk, limits: DepotLimits, settings: Settings, unix: u64) -> Self {
        let mut desk = Desk::with(settings.clone());
        let mut depot = Depot::new(limits, 7, unix);
        for space in [MARKS, OUTCOMES, REQUESTS, APART, LETTERS] {
            for (key, value) in disk.kept.iter().filter(|(key, _)| key[0] == space) {
                depot.recover(key, value).unwrap();
            }
        }
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&unix.to_be_bytes());
        let mut titanic = Titanic::new(TitanicLimits::default(), secret, unix);
        for (key, value) in disk.kept.iter().filter(|(key, _)| key[0] == HEADS) {
            titanic.recover(key, value).unwrap();
        }
        desk.core.keep_requests(desk.now, depot, &mut desk.said);
        desk.core.serve_titanic(desk.now, titanic, &mut desk.said);
        desk.check();
        Self { desk, disk, settings, limits, unix }
    }

    /// The broker is killed, and another one begins so much later: what was not done is lost.
    fn crash(self, down: Duration) -> Self {
        let Self { disk, settings, limits, unix, .. } = self;
        let disk = Disk { kept: disk.kept, ..Disk::default() };
        let down = u64::try_from(down.as_millis()).unwrap();
        Self::after(disk, limits, settings, unix + down)
    }

    fn event(&mut self, event: &Event) {
        self.desk.core.disk(self.desk.now, event, &mut self.desk.said);
        self.desk.check();
    }

    fn listen(&mut self) {
        self.disk.orders.extend(self.desk.core.take_orders());
    }

    /// Does the next thing that was ordered, if there is one.
    fn step(&mut self) -> bool {
        self.listen();
        let event = self.disk.step();
        event.as_ref().inspect(|event| self.event(event)).is_some()
    }

    fn work(&mut self) {
        while self.step() {}
    }

    fn pass(&mut self, time: Duration) {
        self.desk.pass(time);
        self.work();
    }

    pub(super) fn ask(&mut self, client: PeerId, id: u64, says: RequestHeader<'_>) -> Vec<String> {
        self.desk.call(client, id, says);
        self.work();
        self.desk.heard(client)
    }

    pub(super) fn worker(&mut self, credit: u16) -> PeerId {
        let worker = self.desk.native_worker(credit);
        self.work();
        worker
    }

    fn reply(&mut self, worker: PeerId, body: &str) {
        self.desk.reply(worker, body, true);
        self.work();
    }

    fn bodies(&self, worker: PeerId) -> Vec<String> {
        let works = self.desk.works(worker);
        works.into_iter().map(|given| String::from_utf8(given.body).unwrap()).collect()
    }

    fn leave(&mut self, peer: PeerId) {
        self.desk.core.leave(self.desk.now, peer, &mut self.desk.said);
        self.desk.check();
        self.work();
    }

    /// Tells the core that the disk had no room for the first of its orders.
    fn no_room(&mut self) {
        self.listen();
        let Some(Order::Store(batch)) = self.disk.orders.pop_front() else { panic!("no batch") };
        self.event(&Event::Full(Some(batch.number)));
    }

    fn stats(&self) -> crate::proto::depot::DepotStats {
        *self.desk.core.depot().unwrap().stats()
    }

    fn size(&self) -> usize {
        self.desk.core.depot().unwrap().size().0
    }
}

fn house() -> House {
    House::new(DepotLimits::default(), ServicePolicy::default())
}

#[test]
fn a_request_is_accepted_when_it_is_stored_and_not_before() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(9));
    house.desk.call(client, 1, DISK);
    assert_eq!(house.desk.heard(client), [""; 0], "nothing is stored");
    assert_eq!(house.bodies(worker), [""; 0], "and nothing is done");
    house.work();
    assert_eq!(house.desk.heard(client), ["ACCEPTED 1 disk"]);
    assert_eq!(house.bodies(worker), ["1"]);
    house.desk.reply(worker, "1", true);
    assert_eq!(house.desk.heard(client), [""; 0], "the outcome is not stored");
    house.work();
    assert_eq!(house.desk.heard(client), ["FINAL 1 answer"]);
    assert_eq!((house.size(), house.disk.kept.len()), (0, 0), "nobody can ask for it again");
}

#[test]
fn memory_level_requests_do_not_wait_for_the_disk() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(9));
    house.desk.call(client, 1, DISK);
    house.desk.call(client, 2, RequestHeader { ack: Some(true), ..ECHO });
    house.desk.reply(worker, "2", true);
    assert_eq!(house.desk.heard(client), ["ACCEPTED 2 memory", "FINAL 2 answer"]);
}

#[test]
fn the_policy_of_a_service_says_the_level_if_the_request_does_not() {
    let policy = ServicePolicy { level: Level::Disk, ..ServicePolicy::default() };
    let mut house = House::new(DepotLimits::default(), policy);
    let client = house.desk.join();
    let says = RequestHeader { ack: Some(true), ..ECHO };
    assert_eq!(house.ask(client, 1, says), ["ACCEPTED 1 disk"]);
    let says = RequestHeader { level: Some(Level::Memory), ..says };
    assert_eq!(house.ask(client, 2, says), ["ACCEPTED 2 memory"]);
}

#[test]
fn without_a_store_the_level_is_refused_and_not_lowered() {
    let mut desk = Desk::new(ServicePolicy::default());
    let client = desk.join();
    desk.call(client, 1, DISK);
    assert_eq!(desk.heard(client), ["ERROR 1 unsupported"]);
}

#[test]
fn an_accepted_request_is_carried_out_by_the_next_broker_as_it_was_asked() {
    let mut house = house();
    let client = house.desk.join();
    let says = RequestHeader { trace: Some("00-1"), timeout: Some(60_000), ..DISK };
    house.ask(client, 1, says);
    let mut house = house.crash(Duration::from_secs(20));
    let worker = house.worker(1);
    let works = house.desk.works(worker);
    assert_eq!(works[0].header, mjp::Packed::new(&says).octets());
    assert_eq!((works[0].attempt, works[0].timeout), (1, Some(40_000)), "the time went on");
    assert_eq!(house.bodies(worker), ["1"]);
    house.reply(worker, "1");
    assert_eq!((house.size(), house.stats().ended), (0, 1));
    let house = house.crash(Duration::ZERO);
    assert_eq!(house.size(), 0);
}

#[test]
fn a_clock_that_was_set_back_gives_no_more_time_than_there_was() {
    let mut house = house();
    let client = house.desk.join();
    house.ask(client, 1, RequestHeader { timeout: Some(60_000), ..DISK });
    house.unix -= 1_000_000;
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(1);
    assert_eq!(house.desk.works(worker)[0].timeout, Some(60_000));
}

#[test]
fn a_request_whose_time_was_over_is_not_carried_out() {
    let mut house = house();
    let client = house.desk.join();
    house.ask(client, 1, RequestHeader { timeout: Some(60_000), key: Some(b"k"), ..DISK });
    let mut house = house.crash(Duration::from_secs(60));
    let worker = house.worker(1);
    assert_eq!(house.bodies(worker), [""; 0]);
    assert_eq!((house.size(), house.disk.kept.len()), (0, 0));
}

#[test]
fn what_may_be_done_once_is_noted_before_and_not_done_again() {
    let policy = ServicePolicy { at_most_once: true, ..ServicePolicy::default() };
    let mut house = House::new(DepotLimits::default(), policy);
    let (client, worker) = (house.desk.join(), house.worker(1));
    let says = RequestHeader { key: Some(b"k"), ..DISK };
    house.desk.call(client, 1, says);
    assert!(house.step(), "the request");
    assert_eq!(house.bodies(worker), [""; 0], "that it begins is not stored");
    house.work();
    assert_eq!(house.bodies(worker), ["1"]);
    // A second one waits without a mark: the worker has no credit for it.
    house.ask(client, 2, DISK);
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(9);
    assert_eq!(house.bodies(worker), ["2"]);
    let client = house.desk.join();
    assert_eq!(house.ask(client, 1, says), ["ACCEPTED 1 disk again", "ERROR 1 worker_lost"]);
}

#[test]
fn a_request_with_attempts_is_not_delivered_more_often_over_a_restart() {
    let mut house = house();
    let client = house.desk.join();
    let once = RequestHeader { attempts: std::num::NonZeroU32::new(1), key: Some(b"k"), ..DISK };
    house.worker(1);
    house.ask(client, 1, once);
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(9);
    assert_eq!(house.bodies(worker), [""; 0]);
    let client = house.desk.join();
    assert_eq!(house.ask(client, 1, once), ["ACCEPTED 1 disk again", "ERROR 1 worker_lost"]);
}

#[test]
fn losses_are_counted_over_a_restart() {
    let mut house = house();
    let client = house.desk.join();
    house.ask(client, 1, DISK);
    for _ in 0..2 {
        let worker = house.worker(1);
        assert_eq!(house.bodies(worker), ["1"]);
        house.leave(worker);
    }
    assert_eq!(house.desk.core.depot().unwrap().mark_of(1).unwrap().losses, 2);
    let mut house = house.crash(Duration::ZERO);
    for attempt in 3..=5 {
        let worker = house.worker(1);
        assert_eq!(house.desk.works(worker)[0].attempt, attempt);
        house.leave(worker);
    }
    let worker = house.worker(1);
    assert_eq!((house.bodies(worker), house.size()), (Vec::new(), 0), "it is poison");
}

#[test]
fn failures_are_counted_while_nobody_offers_the_service() {
    let unserved_ttl = Some(Duration::from_secs(1));
    let policy = ServicePolicy { attempts: 2, unserved_ttl, ..quick() };
    let mut house = House::new(DepotLimits::default(), policy);
    let (client, worker) = (house.desk.join(), house.worker(1));
    house.ask(client, 1, DISK);
    house.desk.fail_for_now(worker, "1", None);
    house.leave(worker);
    house.pass(Duration::from_secs(3));
    assert_eq!(house.desk.core.depot().unwrap().in_memory(), 0, "it waits on the disk");
    let worker = house.worker(1);
    assert_eq!(house.desk.works(worker)[0].attempt, 2);
    house.desk.fail_for_now(worker, "1", None);
    house.work();
    assert_eq!(house.desk.heard(client), ["ERROR 1 busy"], "it was the last one");
}

#[test]
fn beyond_so_many_in_memory_requests_are_on_the_disk_only_and_come_in_their_order() {
    let limits = DepotLimits { in_memory_max: 8, ..DepotLimits::default() };
    let mut house = House::new(limits, ServicePolicy::default());
    let client = house.desk.join();
    let worker = house.worker(1);
    for id in 1..=100 {
        house.ask(client, id, RequestHeader { wait: Some(false), ..DISK });
    }
    assert!(house.desk.core.depot().unwrap().in_memory() <= 8);
    assert_eq!(house.size(), 100);
    let order: Vec<_> = (1..=100).map(|id| id.to_string()).collect();
    for body in &order[..40] {
        house.reply(worker, body);
    }
    assert_eq!(house.bodies(worker), order[..41]);
    let mut house = house.crash(Duration::ZERO);
    assert_eq!((house.size(), house.desk.core.depot().unwrap().in_memory()), (60, 0));
    let worker = house.worker(1);
    for body in &order[40..] {
        house.reply(worker, body);
    }
    assert_eq!(house.bodies(worker), order[40..], "from where it was");
    assert_eq!((house.size(), house.stats().missing, house.disk.kept.len()), (0, 0, 0));
}

#[test]
fn who_does_not_wait_hears_that_it_is_kept_and_no_more() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(1));
    let says = RequestHeader { wait: Some(false), ack: None, key: Some(b"k"), ..DISK };
    assert_eq!(house.ask(client, 1, says), ["ACCEPTED 1 disk"]);
    house.reply(worker, "1");
    assert_eq!(house.desk.heard(client), [""; 0]);
    let again = RequestHeader { wait: None, ack: None, ..says };
    assert_eq!(house.ask(client, 1, again), ["FINAL 1 answer"], "its id was free");
}

#[test]
fn a_caller_that_has_gone_has_its_request_carried_out() {
    let mut house = house();
    let client = house.desk.join();
    house.ask(client, 1, DISK);
    house.leave(client);
    let worker = house.worker(1);
    assert_eq!(house.bodies(worker), ["1"]);
    house.leave(worker);
    let worker = house.worker(1);
    assert_eq!(house.bodies(worker), ["1"], "again");
    house.reply(worker, "1");
    assert_eq!(house.size(), 0);
}

#[test]
fn a_timeout_ends_a_request_wherever_it_is() {
    let mut house = house();
    let client = house.desk.join();
    let says = RequestHeader { timeout: Some(1000), key: Some(b"k"), ..DISK };
    house.ask(client, 1, says);
    house.pass(Duration::from_secs(2));
    assert_eq!(house.desk.heard(client), ["ERROR 1 timeout"]);
    assert_eq!((house.size(), house.disk.kept.len()), (0, 0));
    let worker = house.worker(1);
    house.ask(client, 2, RequestHeader { key: Some(b"m"), ..says });
    house.pass(Duration::from_secs(2));
    assert_eq!(house.desk.heard(client), ["ERROR 2 timeout"]);
    assert_eq!((house.size(), house.disk.kept.len()), (0, 0));
    assert_eq!(house.desk.heard(worker), ["REQUEST 2", "CANCEL 2"]);
}

#[test]
fn a_cancel_ends_a_request_once_that_is_stored() {
    let mut house = house();
    let client = house.desk.join();
    let cancel = |house: &mut House, client, id| {
        house.desk.mjp(client, &ToBroker::Cancel { id });
        assert_eq!(house.desk.heard(client), [""; 0], "it is not stored");
        house.work();
        house.desk.heard(client)
    };
    house.ask(client, 1, DISK);
    assert_eq!(cancel(&mut house, client, 1), ["ERROR 1 cancelled"], "on the disk only");
    let worker = house.worker(1);
    house.ask(client, 2, DISK);
    assert_eq!(cancel(&mut house, client, 2), ["ERROR 2 cancelled"], "at a worker");
    house.ask(client, 3, DISK);
    assert_eq!(cancel(&mut house, client, 3), ["ERROR 3 cancelled"], "in the queue");
    house.desk.call(client, 4, DISK);
    house.desk.mjp(client, &ToBroker::Cancel { id: 4 });
    house.work();
    assert_eq!(house.desk.heard(client), ["ACCEPTED 4 disk", "ERROR 4 cancelled"]);
    house.leave(worker);
    let says = RequestHeader { key: Some(b"k"), ..DISK };
    house.ask(client, 5, says);
    let mut house = house.crash(Duration::ZERO);
    let client = house.desk.join();
    assert_eq!(house.ask(client, 5, says), ["ACCEPTED 5 disk again"]);
    assert_eq!(cancel(&mut house, client, 5), ["ERROR 5 cancelled"], "of another broker");
    assert_eq!((house.size(), house.disk.kept.len()), (0, 0));
}

#[test]
fn an_id_of_a_kept_request_is_taken() {
    let mut house = house();
    let client = house.desk.join();
    house.ask(client, 1, DISK);
    assert_eq!(house.ask(client, 1, DISK), ["ERROR 1 duplicate_id"]);
    assert_eq!(house.ask(client, 1, ECHO), ["ERROR 1 duplicate_id"]);
}

#[test]
fn limits_of_the_store_are_told() {
    let limits = DepotLimits { requests_max: 2, ..DepotLimits::default() };
    let mut house = House::new(limits, ServicePolicy::default());
    let client = house.desk.join();
    assert_eq!(house.ask(client, 1, DISK), ["ACCEPTED 1 disk"]);
    assert_eq!(house.ask(client, 2, DISK), ["ACCEPTED 2 disk"]);
    assert_eq!(house.ask(client, 3, DISK), ["ERROR 3 overloaded"]);
    assert_eq!(house.stats().refused, 1);
}

#[test]
fn a_full_disk_refuses_what_is_new_and_goes_on_with_the_rest() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(2));
    house.ask(client, 1, DISK);
    house.desk.call(client, 2, RequestHeader { key: Some(b"k"), ..DISK });
    house.listen();
    let Some(Order::Store(batch)) = house.disk.orders.pop_front() else { panic!("no batch") };
    house.event(&Event::Full(Some(batch.number)));
    house.desk.heard(worker);
    assert_eq!(house.desk.heard(client), ["ERROR 2 store_full"]);
    assert_eq!(house.ask(client, 3, DISK), ["ERROR 3 store_full"]);
    let memory = RequestHeader { level: Some(Level::Memory), ..DISK };
    assert_eq!(house.ask(client, 4, memory), ["ACCEPTED 4 memory"]);
    // What goes on goes on, as far as there is room.
    house.reply(worker, "1");
    assert_eq!(house.desk.heard(client), ["FINAL 1 answer"]);
    house.event(&Event::Room);
    house.work();
    let says = RequestHeader { key: Some(b"k"), ..DISK };
    assert_eq!(house.ask(client, 2, says), ["ACCEPTED 2 disk"], "nothing is left of it");
}

#[test]
fn an_outcome_that_found_no_room_is_told_when_it_is_stored() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(1));
    house.ask(client, 1, DISK);
    house.desk.heard(client);
    house.desk.reply(worker, "1", true);
    house.listen();
    let Some(Order::Store(batch)) = house.disk.orders.pop_front() else { panic!("no batch") };
    house.event(&Event::Full(Some(batch.number)));
    house.work();
    assert_eq!(house.desk.heard(client), [""; 0]);
    house.event(&Event::Room);
    house.work();
    assert_eq!(house.desk.heard(client), ["FINAL 1 answer"]);
}

/// A request that may be done once is noted to have begun, to have not, and to have begun again; for
/// the second of that there is no room before the third is ordered, or before it is stored.
fn begun_again(is_ordered: bool) {
    let policy = ServicePolicy { at_most_once: true, ..ServicePolicy::default() };
    let mut house = House::new(DepotLimits::default(), policy);
    let (client, worker) = (house.desk.join(), house.worker(1));
    house.desk.call(client, 1, DISK);
    assert!(house.step(), "the request");
    house.desk.core.leave(house.desk.now, worker, &mut house.desk.said);
    assert!(house.step(), "that it begins");
    let worker = if is_ordered {
        let worker = house.desk.native_worker(1);
        house.listen();
        assert!(house.disk.read_first() && house.step(), "it is read");
        house.no_room();
        worker
    } else {
        house.no_room();
        let worker = house.worker(1);
        assert_eq!(house.bodies(worker), ["1"]);
        worker
    };
    house.event(&Event::Room);
    house.work();
    assert_eq!(house.bodies(worker), ["1"]);
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(1);
    assert_eq!(house.bodies(worker), [""; 0], "{is_ordered}: it may have been carried out");
}

#[test]
fn what_found_no_room_is_not_stored_over_what_was_decided_later() {
    begun_again(false);
    begun_again(true);
}

#[test]
fn a_loss_that_found_no_room_leaves_nothing_of_a_request_that_has_ended() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(1));
    house.ask(client, 1, DISK);
    house.desk.core.leave(house.desk.now, worker, &mut house.desk.said);
    house.no_room();
    let worker = house.worker(1);
    house.reply(worker, "1");
    house.event(&Event::Room);
    house.work();
    assert_eq!((house.size(), house.disk.kept.len()), (0, 0));
}

#[test]
fn after_a_failure_nothing_is_vouched_for() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(1));
    house.ask(client, 1, DISK);
    house.desk.call(client, 2, DISK);
    house.desk.heard(client);
    house.event(&Event::Failed);
    assert_eq!(house.desk.heard(client), ["ERROR 2 store_failed"]);
    assert_eq!(house.ask(client, 3, DISK), ["ERROR 3 store_failed"]);
    house.desk.reply(worker, "1", true);
    assert_eq!(house.desk.heard(client), [""; 0], "its outcome is not stored");
    house.disk.orders.clear();
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(1);
    assert_eq!(house.bodies(worker), ["1"]);
}

#[test]
fn a_stop_leaves_what_is_kept_to_the_next_broker() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(1));
    for id in 1..=3 {
        house.ask(client, id, DISK);
    }
    house.desk.core.drain(house.desk.now, Duration::from_secs(9), &mut house.desk.said);
    house.work();
    assert!(!house.desk.core.is_drained(), "a worker has one");
    house.desk.heard(client);
    assert_eq!(house.ask(client, 4, DISK), ["ERROR 4 draining"]);
    house.reply(worker, "1");
    assert!(house.desk.core.is_drained());
    assert_eq!(house.desk.core.lost_with_the_process(), 0);
    let mut house = house.crash(Duration::ZERO);
    let worker = house.worker(9);
    assert_eq!(house.bodies(worker), ["2", "3"]);
}

#[test]
fn parts_of_an_answer_are_joined_and_stored() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(1));
    house.ask(client, 1, DISK);
    house.desk.heard(client);
    house.desk.reply(worker, "1", false);
    house.work();
    assert_eq!(house.desk.heard(client), [""; 0]);
    house.reply(worker, "1");
    let heard = house.desk.heard(client);
    assert_eq!(heard.len(), 1, "{heard:?}");
    let said = house.desk.said.to.get(client).unwrap().last().unwrap();
    let whole = Message::new([&b"answer"[..], b"answer"]);
    let frames: Vec<_> = said.frames().skip(3).map(<[u8]>::to_vec).collect();
    assert_eq!(frames, whole.frames().map(<[u8]>::to_vec).collect::<Vec<_>>());
}
