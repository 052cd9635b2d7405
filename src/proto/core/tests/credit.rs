//! Workers of MJP/1: credit that changes, leaving in peace, falling silent.

use super::native::ECHO;
use super::*;
use crate::wire::mjp::{ReadyHeader, ToBroker};

#[test]
fn credit_is_what_a_worker_says_and_changes_while_it_works() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(2));
    for id in 1..=6 {
        desk.call(client, id, ECHO);
    }
    assert_eq!(desk.heard(worker), ["REQUEST 1", "REQUEST 2"]);
    desk.mjp(worker, &ToBroker::Credit { credit: 3 });
    assert_eq!(desk.heard(worker), ["REQUEST 3"]);
    desk.mjp(worker, &ToBroker::Credit { credit: 1 });
    desk.reply(worker, "1", true);
    desk.reply(worker, "2", true);
    assert_eq!(desk.heard(worker), [""; 0], "it holds as much as it takes");
    desk.reply(worker, "3", true);
    assert_eq!(desk.heard(worker), ["REQUEST 4"]);
    desk.mjp(worker, &ToBroker::Credit { credit: 0 });
    desk.reply(worker, "4", true);
    assert_eq!(desk.heard(worker), [""; 0]);
    desk.ready(worker, 4);
    assert_eq!(desk.heard(worker), ["REQUEST 5", "REQUEST 6"]);
}

#[test]
fn credit_beyond_what_the_operator_allows_counts_as_that() {
    let mut settings = Settings::default();
    settings.mjp.credit_max = 2;
    let mut desk = Desk::with(settings);
    let (client, worker) = (desk.join(), desk.native_worker(9));
    desk.mjp(worker, &ToBroker::Credit { credit: 50 });
    for id in 1..=3 {
        desk.call(client, id, ECHO);
    }
    assert_eq!(desk.works(worker).len(), 2);
}

#[test]
fn a_worker_that_drains_gets_nothing_behind_the_echo_and_finishes() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(2));
    desk.call(client, 1, ECHO);
    desk.mjp(worker, &ToBroker::Drain);
    desk.call(client, 2, ECHO);
    desk.mjp(worker, &ToBroker::Credit { credit: 9 });
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(worker), ["REQUEST 1", "DRAIN None"]);
    assert_eq!(desk.heard(client), ["FINAL 1 answer"]);
    desk.mjp(worker, &ToBroker::Bye);
    let other = desk.native_worker(1);
    assert_eq!(desk.heard(other), ["REQUEST 2"]);
}

/// Request 1 was lost twice; a worker with credit for two that holds request 2 is emptied for it,
/// so that request 3 waits. Also the client of the first.
pub(super) fn kept_for_a_suspect() -> (Desk, PeerId, PeerId) {
    let mut desk = Desk::new(ServicePolicy::default());
    let (suspected, client) = (desk.join(), desk.join());
    let first = desk.native_worker(1);
    desk.call(suspected, 1, ECHO);
    desk.leave(first);
    let second = desk.native_worker(1);
    let worker = desk.native_worker(2);
    desk.call(client, 2, ECHO);
    desk.leave(second);
    desk.call(client, 3, ECHO);
    assert_eq!(desk.heard(worker), ["REQUEST 2"]);
    (desk, suspected, worker)
}

#[test]
fn a_worker_that_wants_no_more_is_not_kept_for_a_suspect() {
    for wish in [ToBroker::Drain, ToBroker::Credit { credit: 0 }] {
        let (mut desk, _, worker) = kept_for_a_suspect();
        desk.mjp(worker, &wish);
        desk.reply(worker, "2", true);
        assert!(!desk.heard(worker).iter().any(|said| said.starts_with("REQUEST")));
        let other = desk.native_worker(2);
        assert_eq!(desk.heard(other), ["REQUEST 1"], "alone");
        desk.reply(other, "1", true);
        assert_eq!(desk.heard(other), ["REQUEST 3"]);
    }
}

#[test]
fn what_a_worker_holds_goes_back_when_it_says_bye_and_it_may_come_again() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.mjp(worker, &ToBroker::Bye);
    desk.ready(worker, 1);
    assert_eq!(desk.heard(worker), ["REQUEST 1", "REQUEST 1"]);
    assert_eq!(desk.works(worker)[1].attempt, 2);
    desk.reply(worker, "1", true);
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(client), ["FINAL 1 answer"], "the second answer is late");
}

#[test]
fn a_worker_serves_one_service_until_it_says_bye() {
    let mut desk = Desk::new(ServicePolicy::default());
    let worker = desk.native_worker(1);
    let other = ReadyHeader { service: b"other", ..ReadyHeader::default() };
    desk.mjp(worker, &ToBroker::Ready(other.clone()));
    let own = ReadyHeader { service: b"mmi.x", ..ReadyHeader::default() };
    desk.mjp(worker, &ToBroker::Ready(own));
    assert_eq!(desk.heard(worker), ["ERROR 0 bad_request", "ERROR 0 bad_request"]);
    assert!(desk.core.router().is_served(b"echo"));
    desk.mjp(worker, &ToBroker::Bye);
    desk.mjp(worker, &ToBroker::Ready(other));
    assert!(desk.core.router().is_served(b"other"));
    assert_eq!(desk.heard(worker), [""; 0]);
}

#[test]
fn no_room_for_one_more_service_is_said() {
    let mut desk = Desk::with(Settings { services_max: 1, ..Settings::default() });
    let (_worker, second) = (desk.native_worker(1), desk.join());
    let other = ReadyHeader { service: b"other", ..ReadyHeader::default() };
    desk.mjp(second, &ToBroker::Ready(other));
    assert_eq!(desk.heard(second), ["BYE overloaded"]);
    assert_eq!(desk.core.population().workers, 1);
}

#[test]
fn a_silent_worker_is_told_bye_though_it_works_and_may_answer_late() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.pass(Duration::from_millis(7_600));
    let heard = desk.heard(worker);
    assert_eq!(heard.last().map(String::as_str), Some("BYE timeout"), "{heard:?}");
    assert!(heard.iter().filter(|said| *said == "HEARTBEAT").count() >= 2, "{heard:?}");
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(client), ["FINAL 1 answer"]);
}

#[test]
fn an_error_of_one_who_lost_the_request_does_not_end_it() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.mjp(worker, &ToBroker::Bye);
    desk.fail(worker, "1");
    assert_eq!(desk.heard(client), [""; 0]);
    desk.ready(worker, 1);
    desk.fail(worker, "1");
    assert_eq!(desk.heard(client), ["ERROR 1 no_paper"]);
}
