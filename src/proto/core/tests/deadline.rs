//! Deadlines: what is due ends, and is given to nobody.

use super::native::ECHO;
use super::*;
use crate::proto::stats::Outcome;
use crate::wire::mjp::{RequestHeader, ToBroker};

fn within(ms: u64) -> RequestHeader<'static> {
    RequestHeader { timeout: Some(ms), ..ECHO }
}

#[test]
fn a_request_that_is_due_while_it_waits_ends_and_its_neighbours_do_not() {
    let mut desk = Desk::new(ServicePolicy::default());
    let client = desk.join();
    desk.call(client, 1, within(300));
    desk.call(client, 2, ECHO);
    desk.call(client, 3, within(900));
    desk.pass(Duration::from_millis(299));
    assert_eq!(desk.heard(client), [""; 0]);
    desk.pass(Duration::from_millis(1));
    assert_eq!(desk.heard(client), ["ERROR 1 timeout"]);
    let worker = desk.native_worker(8);
    assert_eq!(desk.heard(worker), ["REQUEST 2", "REQUEST 3"]);
    let times: Vec<_> = desk.works(worker).iter().map(|given| given.timeout).collect();
    assert_eq!(times, [None, Some(600)], "what is left");
}

#[test]
fn a_request_that_is_due_is_not_dispatched_though_no_timer_has_fired() {
    let mut desk = Desk::new(ServicePolicy::default());
    let client = desk.join();
    desk.call(client, 1, within(30));
    desk.call(client, 2, ECHO);
    desk.now += Duration::from_millis(40);
    let worker = desk.native_worker(8);
    assert_eq!(desk.heard(worker), ["REQUEST 2"]);
    assert_eq!(desk.heard(client), ["ERROR 1 timeout"]);
}

#[test]
fn a_suspect_that_is_due_is_not_dispatched() {
    let mut desk = Desk::new(ServicePolicy::default());
    let client = desk.join();
    desk.call(client, 1, within(30));
    for _ in 0..2 {
        let worker = desk.native_worker(1);
        desk.leave(worker);
    }
    desk.now += Duration::from_millis(40);
    let worker = desk.native_worker(1);
    assert_eq!(desk.heard(worker), [""; 0]);
    assert_eq!(desk.heard(client), ["ERROR 1 timeout"]);
}

#[test]
fn no_time_at_all_is_over_at_once() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, RequestHeader { ack: Some(true), ..within(0) });
    assert_eq!(desk.heard(client), ["ACCEPTED 1 memory", "ERROR 1 timeout"]);
    assert_eq!(desk.heard(worker), [""; 0]);
}

#[test]
fn a_request_that_is_due_at_a_worker_ends_there_too() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, within(200));
    desk.call(client, 2, within(60_000));
    desk.pass(Duration::from_millis(200));
    assert_eq!(desk.heard(client), ["ERROR 1 timeout"]);
    assert_eq!(desk.heard(worker), ["REQUEST 1", "CANCEL 1"]);
    desk.fail(worker, "1");
    assert_eq!(desk.heard(worker), ["REQUEST 2"]);
    assert_eq!(desk.heard(client), [""; 0]);
    let view = desk.core.router().services().next().unwrap();
    assert_eq!(view.stats.ended_with(Outcome::TimedOut), 1);
    assert_eq!(view.stats.ended_with(Outcome::Failed), 0);
}

#[test]
fn a_request_answered_in_time_leaves_no_error_behind() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, within(200));
    desk.reply(worker, "1", true);
    // The same id, and perhaps the same place in the tables, with more time.
    desk.call(client, 1, within(60_000));
    desk.pass(Duration::from_millis(400));
    assert_eq!(desk.heard(client), ["FINAL 1 answer"]);
}

#[test]
fn deadlines_that_came_to_nothing_are_forgotten() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    for id in 1..5_000 {
        desk.call(client, id, within(3_600_000));
        desk.reply(worker, &id.to_string(), true);
        desk.said.to.clear();
    }
    assert!(desk.core.router().deadlines_kept() < 2_100);
}

#[test]
fn of_a_deadline_that_is_moved_there_and_back_one_is_left_when_all_are_swept() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, other) = (desk.join(), desk.join());
    let keyed = |ms| RequestHeader { key: Some(b"k"), ..within(ms) };
    desk.keyed(client, 0, keyed(60_000), "pay");
    for id in 1..1200 {
        desk.keyed(other, id, keyed(3_600_000), "pay");
        desk.mjp(other, &ToBroker::Cancel { id });
        desk.said.to.clear();
    }
    // Twelve hundred were armed again, and swept when there were a thousand.
    assert!(desk.core.router().deadlines_kept() < 200);
}

#[test]
fn a_stall_of_our_own_is_not_the_callers_time() {
    let mut desk = Desk::new(ServicePolicy::default());
    let client = desk.join();
    desk.call(client, 1, within(500));
    desk.now += Duration::from_secs(30);
    desk.core.tick(desk.now, &mut desk.said);
    assert_eq!(desk.heard(client), [""; 0]);
    desk.pass(Duration::from_millis(500));
    assert_eq!(desk.heard(client), ["ERROR 1 timeout"]);
}
