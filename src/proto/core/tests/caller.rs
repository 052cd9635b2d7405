//! Callers of MJP/1: refused in words, cancelling, going away.

use super::credit::kept_for_a_suspect;
use super::native::ECHO;
use super::*;
use crate::proto::stats::Outcome;
use crate::wire::mjp::{RequestHeader, ToBroker};

#[test]
fn an_open_id_cannot_be_used_again_and_one_that_has_ended_can() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, other, worker) = (desk.join(), desk.join(), desk.native_worker(8));
    desk.call(client, 1, ECHO);
    desk.call(client, 1, ECHO);
    desk.call(other, 1, ECHO);
    assert_eq!(desk.heard(client), ["ERROR 1 duplicate_id"]);
    assert_eq!(desk.works(worker).len(), 2, "an id is its client's own");
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    desk.call(client, 1, ECHO);
    assert_eq!(desk.heard(client), ["ERROR 1 cancelled"]);
    assert_eq!(desk.works(worker).len(), 3);
}

#[test]
fn over_a_limit_a_native_caller_is_told_and_read_on() {
    let mut settings = Settings::default();
    settings.client.requests_max = 2;
    settings.services_max = 1;
    settings.policy.queue_messages_max = 2;
    let mut desk = Desk::with(settings);
    let (client, other) = (desk.join(), desk.join());
    for id in 1..=3 {
        desk.call(client, id, ECHO);
    }
    assert_eq!(desk.heard(client), ["ERROR 3 overloaded"], "its own limit");
    desk.call(other, 1, ECHO);
    desk.call(other, 2, RequestHeader { service: b"another", ..ECHO });
    desk.said.account_full = true;
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    desk.call(client, 4, ECHO);
    assert_eq!(
        desk.heard(other),
        ["ERROR 1 overloaded", "ERROR 2 overloaded"],
        "the queue is full, and there are too many services"
    );
    assert_eq!(desk.heard(client), ["ERROR 1 cancelled", "ERROR 4 overloaded"], "memory is short");
    assert!(!desk.core.router().is_paused(client) && !desk.core.router().is_paused(other));
}

#[test]
fn a_broker_that_stops_says_so() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.core.drain(desk.now, Duration::from_secs(30), &mut desk.said);
    desk.call(client, 2, ECHO);
    assert_eq!(desk.heard(client), ["DRAIN Some(30000)", "ERROR 2 draining"]);
    assert!(!desk.core.is_drained());
    desk.reply(worker, "1", true);
    assert!(desk.core.is_drained());
    desk.core.dismiss_all(desk.now, &mut desk.said);
    assert_eq!(desk.heard(worker), ["REQUEST 1", "DRAIN Some(30000)", "BYE draining"]);
}

#[test]
fn nobody_waits_at_the_end_for_an_answer_that_nobody_wants() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, _worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    assert!(desk.core.is_drained());
    assert_eq!(desk.core.router().open_requests(), 0);
}

#[test]
fn cancelling_ends_a_request_that_waits() {
    let mut desk = Desk::new(ServicePolicy::default());
    let client = desk.join();
    desk.call(client, 1, ECHO);
    desk.call(client, 2, ECHO);
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    desk.mjp(client, &ToBroker::Cancel { id: 99 });
    assert_eq!(desk.heard(client), ["ERROR 1 cancelled"]);
    let worker = desk.native_worker(8);
    assert_eq!(desk.heard(worker), ["REQUEST 2"]);
}

#[test]
fn cancelling_what_a_worker_has_asks_it_to_stop_and_keeps_its_credit() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.call(client, 2, ECHO);
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    assert_eq!(desk.heard(client), ["ERROR 1 cancelled"]);
    assert_eq!(desk.heard(worker), ["REQUEST 1", "CANCEL 1"], "its credit is not back");
    desk.reply(worker, "1", false);
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(client), [""; 0]);
    assert_eq!(desk.heard(worker), ["REQUEST 2"]);
    let view = desk.core.router().services().next().unwrap();
    assert_eq!(view.stats.ended_with(Outcome::Cancelled), 1);
    assert_eq!(view.stats.ended.iter().sum::<u64>(), 1);
}

#[test]
fn what_was_cancelled_is_not_delivered_again_when_its_worker_is_lost() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(2));
    desk.call(client, 1, ECHO);
    desk.call(client, 2, ECHO);
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    desk.leave(worker);
    let other = desk.native_worker(8);
    assert_eq!(desk.heard(other), ["REQUEST 2"]);
}

#[test]
fn cancelling_a_suspect_frees_the_worker_that_was_kept_for_it() {
    let (mut desk, suspected, worker) = kept_for_a_suspect();
    desk.mjp(suspected, &ToBroker::Cancel { id: 1 });
    assert_eq!(desk.heard(suspected), ["ERROR 1 cancelled"]);
    assert_eq!(desk.heard(worker), ["REQUEST 3"]);
}

#[test]
fn workers_are_asked_to_stop_when_their_caller_goes() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (native, stock, worker) = (desk.join(), desk.join(), desk.native_worker(8));
    desk.call(native, 2, ECHO);
    desk.call(native, 1, ECHO);
    desk.ask(stock, b"stock");
    desk.heard(worker);
    desk.leave(native);
    desk.leave(stock);
    assert_eq!(desk.heard(worker), ["CANCEL 2", "CANCEL 1", "CANCEL stock"]);
    desk.reply(worker, "1", true);
    let view = desk.core.router().services().next().unwrap();
    assert_eq!(view.stats.ended_with(Outcome::Unclaimed), 1);
}

#[test]
fn attempts_of_one_request_are_its_callers() {
    let mut desk = Desk::new(ServicePolicy::default());
    let client = desk.join();
    let attempts = std::num::NonZeroU32::new(2);
    desk.call(client, 1, RequestHeader { attempts, ..ECHO });
    for _ in 0..2 {
        let worker = desk.native_worker(1);
        assert_eq!(desk.works(worker).len(), 1);
        desk.leave(worker);
    }
    assert_eq!(desk.heard(client), ["ERROR 1 worker_lost"]);
    assert_eq!(desk.core.router().open_requests(), 0);
}

#[test]
fn every_end_without_an_answer_has_its_word() {
    let policy = |at_most_once| ServicePolicy {
        at_most_once,
        attempts: 1,
        unserved_ttl: Some(Duration::from_millis(500)),
        ..ServicePolicy::default()
    };
    let mut desk = Desk::new(policy(true));
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.leave(worker);
    assert_eq!(desk.heard(client), ["ERROR 1 worker_lost"]);

    let mut desk = Desk::new(policy(false));
    let client = desk.join();
    desk.call(client, 1, ECHO);
    for _ in 0..3 {
        let worker = desk.native_worker(1);
        desk.leave(worker);
    }
    assert_eq!(desk.heard(client), ["ERROR 1 poison"]);
    desk.call(client, 2, ECHO);
    desk.pass(Duration::from_millis(600));
    assert_eq!(desk.heard(client), ["ERROR 2 unserved"]);
}

#[test]
fn an_answer_that_is_too_big_has_its_word() {
    let mut desk = Desk::with(Settings { answer_frames_max: 1, ..Settings::default() });
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, RequestHeader { parts: Some(false), ..ECHO });
    desk.reply(worker, "1", false);
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(client), ["ERROR 1 too_big"]);
}

#[test]
fn a_caller_that_does_not_read_is_closed_and_ends_alone() {
    let mut desk = Desk::new(ServicePolicy { at_most_once: true, ..ServicePolicy::default() });
    let (client, worker) = (desk.join(), desk.native_worker(2));
    desk.call(client, 1, ECHO);
    desk.call(client, 2, ECHO);
    desk.said.full.push(client);
    desk.leave(worker);
    assert_eq!(desk.said.closed, [(client, CloseReason::SlowReader)]);
    assert_eq!(desk.core.router().open_requests(), 0);
}
