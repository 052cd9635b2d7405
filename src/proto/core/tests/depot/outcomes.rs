//! Outcomes that are kept for who asks again.

use std::time::Duration;

use super::{DISK, House, house};
use crate::proto::depot::DepotLimits;
use crate::proto::policy::ServicePolicy;
use crate::wire::mjp::{Level, RequestHeader};

#[test]
fn who_asks_again_after_a_restart_waits_or_gets_the_same_octets() {
    let mut house = house();
    let client = house.desk.join();
    let says = RequestHeader { key: Some(b"k"), ..DISK };
    assert_eq!(house.ask(client, 7, says), ["ACCEPTED 7 disk"]);
    let mut house = house.crash(Duration::ZERO);
    let client = house.desk.join();
    assert_eq!(house.ask(client, 7, says), ["ACCEPTED 7 disk again"]);
    let worker = house.worker(1);
    house.reply(worker, "7");
    assert_eq!(house.desk.heard(client), ["FINAL 7 answer"]);
    for _ in 0..2 {
        house = house.crash(Duration::ZERO);
        let client = house.desk.join();
        house.worker(1);
        assert_eq!(house.ask(client, 7, says), ["ACCEPTED 7 disk again", "FINAL 7 answer"]);
    }
    assert_eq!((house.size(), house.stats().replayed), (0, 1));
}

#[test]
fn a_key_of_level_disk_is_known_to_repeats_of_any_level_and_another_request_is_refused() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(9));
    let says = RequestHeader { key: Some(b"k"), ..DISK };
    house.ask(client, 7, says);
    let other = house.desk.join();
    let memory = RequestHeader { level: Some(Level::Memory), ..says };
    assert_eq!(house.ask(other, 7, memory), ["ACCEPTED 7 disk again"]);
    assert_eq!(house.ask(other, 8, says), ["ERROR 8 key_conflict"], "its body is another one");
    house.reply(worker, "7");
    assert_eq!(house.desk.heard(client), ["FINAL 7 answer"]);
    assert_eq!(house.desk.heard(other), ["FINAL 7 answer"]);
    assert_eq!(house.bodies(worker), ["7"], "it is carried out once");
}

#[test]
fn an_error_of_a_worker_is_kept_as_it_is() {
    let mut house = house();
    let (client, worker) = (house.desk.join(), house.worker(9));
    let says = RequestHeader { key: Some(b"k"), ..DISK };
    house.ask(client, 7, says);
    house.desk.fail(worker, "7");
    house.work();
    assert_eq!(house.desk.heard(client), ["ERROR 7 no_paper"]);
    let mut house = house.crash(Duration::ZERO);
    let client = house.desk.join();
    assert_eq!(house.ask(client, 7, says), ["ACCEPTED 7 disk again", "ERROR 7 no_paper"]);
}

#[test]
fn outcomes_are_kept_for_their_time_and_not_longer() {
    let minute = Duration::from_secs(60);
    let limits = DepotLimits { outcomes_kept: minute, ..DepotLimits::default() };
    let mut house = House::new(limits, ServicePolicy::default());
    let (client, worker) = (house.desk.join(), house.worker(1));
    let says = RequestHeader { key: Some(b"k"), ..DISK };
    house.ask(client, 1, says);
    house.reply(worker, "1");
    house.desk.heard(client);
    let mut house = house.crash(minute - Duration::from_millis(1));
    let client = house.desk.join();
    assert_eq!(house.ask(client, 1, says), ["ACCEPTED 1 disk again", "FINAL 1 answer"]);
    house.pass(Duration::from_secs(2));
    assert_eq!(house.disk.kept.len(), 0, "it is forgotten");
    assert_eq!(house.ask(client, 1, says), ["ACCEPTED 1 disk"], "and asked anew");
}

#[test]
fn the_oldest_outcomes_make_room() {
    let limits = DepotLimits { outcomes_max: 3, ..DepotLimits::default() };
    let mut house = House::new(limits, ServicePolicy::default());
    let (client, worker) = (house.desk.join(), house.worker(1));
    for id in 1..=5_u64 {
        let key = [u8::try_from(id).unwrap()];
        house.ask(client, id, RequestHeader { key: Some(&key), ..DISK });
        house.reply(worker, &id.to_string());
        house.pass(Duration::from_millis(50));
    }
    house.desk.heard(client);
    assert_eq!((house.disk.kept.len(), house.stats().evicted), (3, 2));
    let third = RequestHeader { key: Some(&[3]), ..DISK };
    assert_eq!(house.ask(client, 3, third), ["ACCEPTED 3 disk again", "FINAL 3 answer"]);
    let second = RequestHeader { key: Some(&[2]), ..DISK };
    assert_eq!(house.ask(client, 2, second), ["ACCEPTED 2 disk"]);
}

#[test]
fn keys_are_those_of_a_principal() {
    use crate::id::{Principal, PublicKey};
    use crate::proto::core::Hello;
    use crate::proto::rights::Grants;
    let mut house = house();
    let worker = house.worker(9);
    let join = |house: &mut House, number: u8| {
        let principal = Principal::Key(PublicKey([number; 32]));
        let hello = Hello { principal, grants: Grants::all_but_admin(), ..Hello::default() };
        house.desk.core.join(house.desk.now, hello, &mut house.desk.said).0
    };
    let (one, other) = (join(&mut house, 1), join(&mut house, 2));
    let says = RequestHeader { key: Some(b"k"), ..DISK };
    house.ask(one, 1, says);
    house.reply(worker, "1");
    house.desk.heard(one);
    assert_eq!(house.ask(other, 1, says), ["ACCEPTED 1 disk"], "it is another's");
    assert_eq!(house.bodies(worker), ["1", "1"]);
    let again = join(&mut house, 1);
    assert_eq!(house.ask(again, 1, says), ["ACCEPTED 1 disk again", "FINAL 1 answer"]);
}
