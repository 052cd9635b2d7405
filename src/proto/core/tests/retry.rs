//! Requests that are delivered again, later, or one at a time.

use std::num::NonZeroU32;

use super::native::ECHO;
use super::*;
use crate::proto::policy::Backoff;
use crate::proto::stats::Outcome;
use crate::wire::mjp::{Failure, Fault, Packed, RequestHeader, ToBroker};

const MS: Duration = Duration::from_millis(1);

/// Failures wait for 100 ms, 200 ms, 400 ms.
pub(super) fn quick() -> ServicePolicy {
    let backoff = Backoff { base: 100 * MS, factor: 2, max: 400 * MS, jitter: 0 };
    ServicePolicy { attempts: 4, backoff, ..ServicePolicy::default() }
}

pub(super) fn ordered(order: &'static [u8]) -> RequestHeader<'static> {
    RequestHeader { order: Some(order), ..ECHO }
}

fn delayed(ms: u64) -> RequestHeader<'static> {
    RequestHeader { delay: Some(ms), ..ECHO }
}

impl Desk {
    /// The worker fails what it was last given of that body, and wants it to be delivered again.
    pub(super) fn fail_for_now(&mut self, worker: PeerId, body: &str, retry: Option<u64>) {
        let fault = Fault {
            code: "busy",
            message: Some("try again"),
            retry,
            again: Some(true),
            ..Fault::default()
        };
        let (id, header) = (self.token(worker, body), Packed::new(&fault));
        self.mjp(worker, &ToBroker::Error(Failure { id, header: header.octets() }));
    }

    fn asked_for(&self, worker: PeerId) -> Vec<String> {
        let works = self.works(worker);
        works.into_iter().map(|given| String::from_utf8(given.body).unwrap()).collect()
    }

    fn ended(&self, outcome: Outcome) -> u64 {
        self.core.router().service_named(b"echo").unwrap().stats.ended_with(outcome)
    }
}

#[test]
fn what_a_worker_fails_for_now_waits_for_its_back_off_and_goes_again() {
    let mut desk = Desk::new(quick());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    for (attempt, wait) in [(2, 100), (3, 200), (4, 400)] {
        desk.fail_for_now(worker, "1", None);
        // It is in nobody's way meanwhile.
        desk.call(client, 10 + attempt, ECHO);
        desk.reply(worker, &(10 + attempt).to_string(), true);
        desk.pass((wait - 1) * MS);
        assert_eq!(desk.works(worker).len() as u64, 2 * attempt - 2, "not before {wait} ms");
        desk.pass(MS);
        let given = desk.works(worker).pop().unwrap();
        assert_eq!((given.body.as_slice(), u64::from(given.attempt)), (&b"1"[..], attempt));
    }
    desk.heard(client);
    desk.fail_for_now(worker, "1", None);
    assert_eq!(desk.heard(client), ["ERROR 1 busy"], "four deliveries are all that it has");
    assert_eq!(desk.ended(Outcome::Failed), 1);
    let stats = desk.core.router().service_named(b"echo").unwrap().stats;
    assert_eq!(stats.retried, 3);
}

#[test]
fn a_worker_may_say_how_long_and_a_caller_how_often() {
    let mut desk = Desk::new(quick());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, RequestHeader { attempts: NonZeroU32::new(2), ..ECHO });
    desk.fail_for_now(worker, "1", Some(30));
    desk.pass(29 * MS);
    assert_eq!(desk.works(worker).len(), 1);
    desk.pass(MS);
    assert_eq!(desk.works(worker).len(), 2);
    desk.fail_for_now(worker, "1", Some(30));
    assert_eq!(desk.heard(client), ["ERROR 1 busy"]);
}

#[test]
fn what_may_not_be_done_twice_or_has_been_answered_in_part_does_not_go_again() {
    for at_most_once in [true, false] {
        let mut desk = Desk::new(ServicePolicy { at_most_once, ..quick() });
        let (client, worker) = (desk.join(), desk.native_worker(1));
        desk.call(client, 1, ECHO);
        if !at_most_once {
            desk.reply(worker, "1", false);
            assert_eq!(desk.heard(client), ["PARTIAL 1 answer"]);
        }
        desk.fail_for_now(worker, "1", None);
        assert_eq!(desk.heard(client), ["ERROR 1 busy"]);
    }
}

#[test]
fn nobody_has_it_done_again_who_does_not_wait_any_more() {
    let mut desk = Desk::new(quick());
    let (client, gone, worker) = (desk.join(), desk.join(), desk.native_worker(2));
    desk.call(client, 1, RequestHeader { timeout: Some(50), ..ECHO });
    desk.call(gone, 2, ECHO);
    desk.leave(gone);
    desk.fail_for_now(worker, "2", None);
    assert_eq!(desk.core.router().open_requests(), 1);
    desk.fail_for_now(worker, "1", None);
    desk.pass(60 * MS);
    assert_eq!(desk.heard(client), ["ERROR 1 timeout"], "the deadline wins");
    desk.pass(200 * MS);
    assert_eq!(desk.works(worker).len(), 2);
}

#[test]
fn losses_and_failures_count_together() {
    let mut desk = Desk::new(ServicePolicy { attempts: 2, ..quick() });
    let client = desk.join();
    desk.call(client, 1, ECHO);
    for _ in 0..2 {
        let worker = desk.native_worker(1);
        desk.leave(worker);
    }
    let worker = desk.native_worker(1);
    desk.fail_for_now(worker, "1", None);
    desk.pass(100 * MS);
    assert_eq!(desk.works(worker).pop().unwrap().attempt, 4);
    desk.leave(worker);
    assert_eq!(desk.heard(client), ["ERROR 1 poison"]);
}

#[test]
fn a_delayed_request_is_not_delivered_before_and_others_pass_it() {
    let mut desk = Desk::new(quick());
    let (client, worker) = (desk.join(), desk.native_worker(4));
    desk.call(client, 1, delayed(300));
    desk.call(client, 2, delayed(100));
    desk.call(client, 3, ECHO);
    assert_eq!(desk.asked_for(worker), ["3"]);
    desk.pass(99 * MS);
    assert_eq!(desk.asked_for(worker), ["3"]);
    desk.pass(MS);
    assert_eq!(desk.asked_for(worker), ["3", "2"]);
    desk.pass(200 * MS);
    assert_eq!(desk.asked_for(worker), ["3", "2", "1"]);
}

#[test]
fn a_delayed_request_is_cancelled_counts_in_the_queue_and_goes_with_its_caller() {
    let mut desk = Desk::new(ServicePolicy { queue_messages_max: 2, ..quick() });
    let (client, worker) = (desk.join(), desk.native_worker(4));
    desk.call(client, 1, delayed(100));
    desk.call(client, 2, delayed(100));
    desk.call(client, 3, delayed(100));
    assert_eq!(desk.heard(client), ["ERROR 3 overloaded"]);
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    assert_eq!(desk.heard(client), ["ERROR 1 cancelled"]);
    desk.leave(client);
    desk.pass(200 * MS);
    assert_eq!(desk.works(worker).len(), 0);
    assert_eq!(desk.core.router().open_requests(), 0);
}

#[test]
fn a_delay_that_is_not_shorter_than_the_timeout_is_refused() {
    let mut desk = Desk::new(quick());
    let client = desk.join();
    desk.call(client, 1, RequestHeader { timeout: Some(100), ..delayed(100) });
    assert_eq!(desk.heard(client), ["ERROR 1 bad_request"]);
}

#[test]
fn requests_of_one_order_run_one_at_a_time_in_the_order_of_acceptance() {
    let mut desk = Desk::new(quick());
    let (one, two, worker) = (desk.join(), desk.join(), desk.native_worker(8));
    desk.call(one, 1, ordered(b"a"));
    desk.call(two, 2, ordered(b"a"));
    desk.call(one, 3, ordered(b"a"));
    desk.call(one, 4, ordered(b"b"));
    desk.call(one, 5, ECHO);
    assert_eq!(desk.asked_for(worker), ["1", "4", "5"]);
    desk.reply(worker, "4", true);
    assert_eq!(desk.asked_for(worker), ["1", "4", "5"]);
    desk.reply(worker, "1", true);
    desk.reply(worker, "2", true);
    assert_eq!(desk.asked_for(worker), ["1", "4", "5", "2", "3"]);
}

#[test]
fn an_order_holds_over_losses_failures_delays_and_cancelling() {
    let mut desk = Desk::new(quick());
    let (client, first) = (desk.join(), desk.native_worker(8));
    for id in 1..=4 {
        desk.call(client, id, ordered(b"a"));
    }
    desk.leave(first);
    let worker = desk.native_worker(8);
    assert_eq!(desk.asked_for(worker), ["1"], "what was lost stays in front");
    desk.fail_for_now(worker, "1", None);
    assert_eq!(desk.asked_for(worker), ["1"], "those behind wait with it");
    desk.pass(100 * MS);
    assert_eq!(desk.asked_for(worker), ["1", "1"]);
    // What its caller gave up may still be worked on.
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    desk.mjp(client, &ToBroker::Cancel { id: 2 });
    assert_eq!(desk.asked_for(worker), ["1", "1"]);
    desk.reply(worker, "1", true);
    assert_eq!(desk.asked_for(worker), ["1", "1", "3"]);
    desk.leave(worker);
    let worker = desk.native_worker(8);
    assert_eq!(desk.asked_for(worker), ["3"]);
    desk.reply(worker, "3", true);
    assert_eq!(desk.asked_for(worker), ["3", "4"]);
}

#[test]
fn the_delay_of_the_first_holds_up_its_order_and_nothing_else() {
    let mut desk = Desk::new(quick());
    let (client, worker) = (desk.join(), desk.native_worker(8));
    desk.call(client, 1, RequestHeader { delay: Some(200), ..ordered(b"a") });
    desk.call(client, 2, ordered(b"a"));
    desk.call(client, 3, ordered(b"b"));
    assert_eq!(desk.asked_for(worker), ["3"]);
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    assert_eq!(desk.asked_for(worker), ["3", "2"], "nothing holds it up any more");
}

#[test]
fn a_request_may_wait_no_longer_than_its_service_allows() {
    let ttl = Some(300 * MS);
    let mut desk = Desk::new(ServicePolicy { ttl, ..quick() });
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.call(client, 2, ECHO);
    desk.call(client, 3, delayed(200));
    desk.pass(300 * MS);
    assert_eq!(desk.heard(client), ["ERROR 2 unserved"], "what is at a worker does not wait");
    desk.pass(200 * MS);
    assert_eq!(desk.heard(client), ["ERROR 3 unserved"], "its delay does not count");
    desk.fail_for_now(worker, "1", None);
    assert_eq!(desk.heard(client), ["ERROR 1 busy"], "its time is over");
}

#[test]
fn nobody_offers_the_service_when_the_delay_is_over() {
    let unserved_ttl = Some(200 * MS);
    let mut desk = Desk::new(ServicePolicy { unserved_ttl, ..quick() });
    let client = desk.join();
    desk.call(client, 1, RequestHeader { delay: Some(500), ..ordered(b"a") });
    desk.call(client, 2, ordered(b"a"));
    desk.pass(600 * MS);
    assert_eq!(desk.heard(client), [""; 0], "it has waited for 100 ms");
    desk.pass(150 * MS);
    assert_eq!(desk.heard(client), ["ERROR 1 unserved", "ERROR 2 unserved"]);
    assert_eq!(desk.core.router().services_len(), 0);
}

#[test]
fn a_flood_that_is_held_costs_nothing_per_dispatch() {
    let mut settings = Settings { policy: quick(), ..Settings::default() };
    settings.client.requests_max = 10_000;
    let mut desk = Desk::with(settings);
    let (flood, client, worker) = (desk.join(), desk.join(), desk.native_worker(1));
    for id in 1..=300 {
        let says = if id % 2 == 0 { delayed(60_000) } else { ordered(b"a") };
        desk.call(flood, id, says);
    }
    assert_eq!(desk.asked_for(worker), ["1"]);
    desk.call(client, 900, ECHO);
    desk.reply(worker, "1", true);
    desk.reply(worker, "900", true);
    assert_eq!(desk.asked_for(worker), ["1", "900", "3"]);
}
