//! Requests of level disk that are nowhere but there end in time, if nobody asks them, too.

use std::time::Duration;

use super::{DISK, House, house};
use crate::id::PeerId;
use crate::proto::dead::Causes;
use crate::proto::depot::{DepotLimits, LETTERS};
use crate::proto::policy::{DeadPolicy, ServicePolicy};
use crate::wire::mjp::RequestHeader;

/// Of those nobody waits for the answer.
fn left(timeout: u64) -> RequestHeader<'static> {
    RequestHeader { timeout: Some(timeout), wait: Some(false), ..DISK }
}

impl House {
    fn ask_all(&mut self, ids: impl IntoIterator<Item = u64>, says: RequestHeader<'_>) -> PeerId {
        let client = self.desk.join();
        for id in ids {
            self.ask(client, id, says);
        }
        client
    }

    /// Time passes, and the disk does what it is told at once.
    fn go_on(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.pass(Duration::from_millis(50));
        }
    }

    /// So many are kept, and records of them.
    fn keeps(&self, requests: usize) {
        assert_eq!((self.size(), self.disk.kept.len()), (requests, requests));
    }
}

#[test]
fn requests_of_a_service_that_nobody_offers_end_in_time() {
    let mut house = house();
    house.ask_all([1], left(3000));
    house.ask_all([2, 3], RequestHeader { order: Some(b"o"), ..left(3000) });
    house.ask_all([4], RequestHeader { delay: Some(1000), ..left(4000) });
    house.ask_all([5], RequestHeader { key: Some(b"k"), ..left(60_000) });
    let client = house.ask_all([6], RequestHeader { wait: None, ..left(3000) });
    house.leave(client);
    house.keeps(6);
    house.go_on(2900);
    house.keeps(6);
    house.go_on(1000);
    house.keeps(2);
    house.go_on(2000);
    house.keeps(1);
    let worker = house.worker(9);
    assert_eq!(house.bodies(worker), ["5"], "it is not over");
}

#[test]
fn what_has_ended_of_a_service_that_nobody_offers_is_forgotten_at_all() {
    let mut house = house();
    house.ask_all(1..=3, left(1000));
    house.go_on(3000);
    house.keeps(0);
    let depot = house.desk.core.depot().unwrap();
    assert_eq!((depot.memory(), depot.lines_after(None, 9)), (0, Vec::new()));
}

#[test]
fn time_that_was_over_before_the_broker_began_is_noticed() {
    let mut house = house();
    house.ask_all(1..=3, left(60_000));
    house.ask_all([4], left(90_000));
    house.ask_all(5..=6, RequestHeader { order: Some(b"o"), ..left(60_000) });
    let mut house = house.crash(Duration::from_secs(60));
    house.keeps(6);
    house.go_on(1000);
    house.keeps(1);
    house.go_on(32_000);
    house.keeps(0);
}

#[test]
fn it_is_looked_for_piece_by_piece_and_at_once_where_some_are_late() {
    let mut house = house();
    house.ask_all(1..=1100, left(10_000));
    house.ask_all(1101..=1102, left(1000));
    house.go_on(2500);
    assert_eq!(house.size(), 1102, "two pieces were read of three");
    house.go_on(1000);
    assert_eq!(house.size(), 1100);
    house.go_on(7000);
    house.keeps(0);
}

#[test]
fn the_place_of_those_whose_time_is_over_is_free_again() {
    let limits =
        DepotLimits { requests_max: 2, waits: Duration::from_secs(5), ..DepotLimits::default() };
    let mut house = House::new(limits, ServicePolicy::default());
    let client = house.ask_all(1..=2, RequestHeader { timeout: None, ..left(0) });
    assert_eq!(house.ask(client, 3, DISK), ["ERROR 3 overloaded"]);
    house.go_on(7000);
    assert_eq!(house.ask(client, 4, DISK), ["ACCEPTED 4 disk"]);
}

#[test]
fn who_waits_behind_a_full_window_ends_in_time() {
    let limits = DepotLimits { in_memory_max: 2, ..DepotLimits::default() };
    let mut house = House::new(limits, ServicePolicy::default());
    let worker = house.worker(1);
    house.ask_all(1..=2, left(60_000));
    house.ask_all(3..=9, left(1000));
    house.go_on(3000);
    house.keeps(2);
    house.reply(worker, "1");
    house.reply(worker, "2");
    assert_eq!(house.bodies(worker), ["1", "2"]);
    house.keeps(0);
}

#[test]
fn who_is_late_where_nobody_looks_becomes_a_dead_letter() {
    let dead = DeadPolicy { causes: Causes::ALL, ..DeadPolicy::default() };
    let policy = ServicePolicy { dead, ..ServicePolicy::default() };
    let mut house = House::new(DepotLimits::default(), policy);
    house.ask_all(1..=2, left(1000));
    house.ask_all([3], RequestHeader { order: Some(b"o"), ..left(1000) });
    house.go_on(3000);
    assert_eq!((house.size(), house.disk.kept.len()), (0, 3));
    assert!(house.disk.kept.keys().all(|key| key[0] == LETTERS));
}

#[test]
fn a_broker_that_stops_leaves_them_to_the_next_one() {
    let mut house = house();
    house.ask_all(1..=3, left(1000));
    house.desk.core.drain(house.desk.now, Duration::from_secs(9), &mut house.desk.said);
    house.go_on(3000);
    house.keeps(3);
    assert!(house.desk.core.is_drained());
}
