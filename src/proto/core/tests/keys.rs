//! Requests with a key, asked again.

use std::num::NonZeroU32;

use super::native::ECHO;
use super::*;
use crate::id::{Identity, Principal};
use crate::proto::keys::{KeyLimits, KeyStats};
use crate::proto::stats::Outcome;
use crate::wire::mjp::{self, Packed, RequestHeader, ToBroker};

pub(super) const KEYED: RequestHeader<'static> = RequestHeader { key: Some(b"k"), ..ECHO };
const MS: Duration = Duration::from_millis(1);

impl Desk {
    pub(super) fn keyed(
        &mut self,
        client: PeerId,
        id: u64,
        says: RequestHeader<'_>,
        body: &'static str,
    ) {
        let (header, body) = (Packed::new(&says), Message::new([body]));
        let (header, body) = (header.octets(), body.frames());
        self.mjp(client, &ToBroker::Request(mjp::Request { id, header, says, body }));
    }

    fn with_keys(keys: KeyLimits) -> Self {
        Self::with(Settings { keys, ..Settings::default() })
    }

    fn key_stats(&self) -> KeyStats {
        self.core.router().keys.stats()
    }

    fn ended_with(&self, outcome: Outcome) -> u64 {
        self.core.router().service_named(b"echo").unwrap().stats.ended_with(outcome)
    }

    /// Nothing is left but keys that have been answered.
    fn is_idle(&self) -> bool {
        let keys = &self.core.router().keys;
        self.core.router().open_requests() == 0 && keys.done() == keys.len()
    }
}

fn timeout(ms: u64) -> RequestHeader<'static> {
    RequestHeader { timeout: Some(ms), ..KEYED }
}

#[test]
fn a_repeat_waits_for_the_answer_and_the_request_is_carried_out_once() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, other, worker) = (desk.join(), desk.join(), desk.native_worker(8));
    let ack = RequestHeader { ack: Some(true), ..KEYED };
    desk.keyed(client, 7, ack, "pay");
    desk.keyed(client, 8, ack, "pay");
    desk.keyed(other, 7, KEYED, "pay");
    assert_eq!(desk.works(worker).len(), 1);
    assert_eq!(desk.heard(client), ["ACCEPTED 7 memory", "ACCEPTED 8 memory again"]);
    desk.reply(worker, "pay", true);
    assert_eq!(desk.heard(client), ["FINAL 7 answer", "FINAL 8 answer"]);
    assert_eq!(desk.heard(other), ["FINAL 7 answer"]);
    assert_eq!(desk.ended_with(Outcome::Replied), 1, "one request was accepted, and one ended");
    assert_eq!(desk.key_stats().attached, 2);
    assert!(desk.is_idle());
}

#[test]
fn who_asks_again_later_gets_the_same_octets_until_the_time_is_over() {
    let kept = Duration::from_secs(60);
    let mut desk = Desk::with_keys(KeyLimits { kept, ..KeyLimits::default() });
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.keyed(client, 1, KEYED, "pay");
    desk.reply(worker, "pay", false);
    desk.reply(worker, "pay", true);
    assert_eq!(desk.heard(client), ["PARTIAL 1 answer", "FINAL 1 answer"]);
    desk.pass(kept - 100 * MS);
    let ack = RequestHeader { ack: Some(true), ..timeout(0) };
    desk.keyed(client, 2, ack, "pay");
    assert_eq!(desk.heard(client), ["ACCEPTED 2 memory again", "FINAL 2 answer answer"]);
    let said = desk.said.to[client].last().unwrap().frames().nth(2);
    assert_eq!(said, Some(&b"\x80"[..]), "the header is the worker's");
    desk.pass(100 * MS);
    assert_eq!(desk.core.router().keys.len(), 0, "it is forgotten");
    let worker = desk.native_worker(1);
    desk.keyed(client, 3, KEYED, "pay");
    assert_eq!(desk.works(worker).len(), 1, "and asked anew");
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(8));
    desk.keyed(client, 1, KEYED, "pay");
    desk.keyed(client, 2, KEYED, "pay twice");
    assert_eq!(desk.heard(client), ["ERROR 2 key_conflict"]);
    desk.reply(worker, "pay", true);
    desk.keyed(client, 3, KEYED, "pay twice");
    assert_eq!(desk.heard(client), ["FINAL 1 answer", "ERROR 3 key_conflict"]);
    desk.keyed(client, 4, RequestHeader { key: Some(b"l"), ..ECHO }, "pay twice");
    desk.keyed(client, 4, KEYED, "pay");
    assert_eq!(desk.heard(client), ["ERROR 4 duplicate_id"], "an open id is not used again");
    assert_eq!(desk.works(worker).len(), 2);
    assert_eq!(desk.key_stats().conflicts, 2);
}

#[test]
fn a_key_is_its_principals_and_its_services_own() {
    let mut desk = Desk::new(ServicePolicy::default());
    let client = desk.join();
    let principal = Principal::Address([7; 16]);
    let hello = Hello { principal, ..Hello::default() };
    let stranger = desk.core.join(desk.now, hello, &mut desk.said).0;
    let worker = desk.native_worker(8);
    desk.keyed(client, 1, KEYED, "pay");
    desk.keyed(stranger, 1, KEYED, "pay");
    desk.keyed(client, 2, RequestHeader { service: b"other", ..KEYED }, "pay");
    assert_eq!(desk.works(worker).len(), 2);
    assert_eq!(desk.core.router().keys.len(), 3);
}

#[test]
fn a_request_whose_caller_has_gone_goes_on_and_its_answer_is_kept() {
    let mut desk = Desk::new(ServicePolicy::default());
    let hello = Hello { identity: Identity::try_from(&b"me"[..]).ok(), ..Hello::default() };
    let client = desk.core.join(desk.now, hello, &mut desk.said).0;
    desk.keyed(client, 1, KEYED, "waits");
    desk.leave(client);
    let worker = desk.native_worker(1);
    let given = desk.works(worker).remove(0);
    assert_eq!(given.identity.as_deref(), Some(&b"me"[..]), "its worker sees who asked");
    let back = desk.join();
    desk.keyed(back, 9, KEYED, "waits");
    desk.leave(back);
    assert_eq!(desk.heard(worker), ["REQUEST waits"], "and is not told to stop");
    desk.reply(worker, "waits", true);
    assert_eq!(desk.ended_with(Outcome::Unclaimed), 1);
    let again = desk.join();
    desk.keyed(again, 1, KEYED, "waits");
    assert_eq!(desk.heard(again), ["FINAL 1 answer"]);
    assert_eq!(desk.works(worker).len(), 1);
}

#[test]
fn a_lost_worker_gives_back_what_nobody_is_there_to_wait_for() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.keyed(client, 1, timeout(60_000), "pay");
    desk.keyed(client, 2, RequestHeader { key: Some(b"l"), ..timeout(100) }, "late");
    desk.leave(client);
    desk.leave(worker);
    desk.pass(200 * MS);
    assert_eq!(desk.core.router().keys.len(), 1, "the other one would not have waited so long");
    let worker = desk.native_worker(1);
    assert_eq!(desk.heard(worker), ["REQUEST pay"]);
    assert_eq!(desk.works(worker)[0].timeout, Some(59_800));
    assert_eq!(desk.works(worker)[0].attempt, 2);
}

#[test]
fn a_timeout_is_its_callers_own() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, other) = (desk.join(), desk.join());
    desk.keyed(client, 1, timeout(100), "pay");
    desk.keyed(other, 1, timeout(1000), "pay");
    desk.keyed(other, 2, timeout(0), "pay");
    assert_eq!(desk.heard(other), ["ERROR 2 timeout"], "who waits for nothing is told so");
    desk.pass(150 * MS);
    assert_eq!(desk.heard(client), ["ERROR 1 timeout"]);
    let worker = desk.native_worker(1);
    assert_eq!(desk.works(worker)[0].timeout, Some(850));
    desk.pass(900 * MS);
    assert_eq!(desk.heard(other), ["ERROR 1 timeout"]);
    assert_eq!(desk.heard(worker), ["REQUEST pay"], "what is at a worker is not stopped by that");
    desk.reply(worker, "pay", true);
    desk.keyed(client, 2, KEYED, "pay");
    assert_eq!(desk.heard(client), ["FINAL 2 answer"]);
}

#[test]
fn what_waits_and_nobody_waits_for_ends() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, other) = (desk.join(), desk.join());
    desk.keyed(client, 1, timeout(100), "pay");
    desk.keyed(other, 1, timeout(200), "pay");
    desk.leave(other);
    desk.pass(250 * MS);
    assert_eq!(desk.heard(client), ["ERROR 1 timeout"]);
    assert!(desk.is_idle() && desk.core.router().keys.is_empty());
    // At a worker that is lost it is the same.
    let worker = desk.native_worker(1);
    desk.keyed(client, 2, timeout(100), "pay");
    desk.pass(150 * MS);
    desk.leave(worker);
    assert!(desk.is_idle() && desk.core.router().keys.is_empty());
    desk.keyed(client, 3, timeout(0), "pay");
    assert_eq!(desk.heard(client), ["ERROR 2 timeout", "ERROR 3 timeout"]);
}

#[test]
fn the_last_who_cancels_ends_the_request() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, other, worker) = (desk.join(), desk.join(), desk.native_worker(1));
    desk.keyed(client, 1, KEYED, "pay");
    desk.keyed(other, 1, KEYED, "pay");
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    assert_eq!(desk.heard(client), ["ERROR 1 cancelled"]);
    assert_eq!(desk.heard(worker), ["REQUEST pay"]);
    desk.mjp(other, &ToBroker::Cancel { id: 1 });
    assert_eq!(desk.heard(other), ["ERROR 1 cancelled"]);
    assert_eq!(desk.heard(worker), ["CANCEL pay"]);
    assert!(desk.is_idle() && desk.core.router().keys.is_empty());
    desk.reply(worker, "pay", true);
    desk.keyed(client, 1, KEYED, "pay");
    assert_eq!(desk.works(worker).len(), 2, "what was cancelled is not kept");
    // One that has gone may come back: it has not cancelled.
    desk.keyed(other, 2, KEYED, "pay");
    desk.leave(client);
    desk.mjp(other, &ToBroker::Cancel { id: 2 });
    assert_eq!(desk.heard(worker), ["REQUEST pay"]);
}

#[test]
fn who_comes_behind_the_first_part_gets_all_in_one() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, other, worker) = (desk.join(), desk.join(), desk.native_worker(1));
    desk.keyed(client, 1, KEYED, "pay");
    desk.keyed(other, 1, KEYED, "pay");
    desk.keyed(other, 2, RequestHeader { parts: Some(false), ..KEYED }, "pay");
    desk.reply(worker, "pay", false);
    desk.keyed(other, 3, KEYED, "pay");
    desk.reply(worker, "pay", false);
    desk.reply(worker, "pay", true);
    let parts = ["PARTIAL 1 answer", "PARTIAL 1 answer", "FINAL 1 answer"];
    assert_eq!(desk.heard(client), parts);
    let all = ["FINAL 2 answer answer answer", "FINAL 3 answer answer answer"];
    assert_eq!(desk.heard(other), [&parts[..], &all[..]].concat());
}

#[test]
fn an_error_of_a_worker_is_an_answer() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.keyed(client, 1, KEYED, "pay");
    desk.fail(worker, "pay");
    desk.keyed(client, 2, KEYED, "pay");
    assert_eq!(desk.heard(client), ["ERROR 1 no_paper", "ERROR 2 no_paper"]);
    assert_eq!(desk.works(worker).len(), 1);
}

#[test]
fn what_may_not_be_delivered_twice_is_not_for_who_asks_again_either() {
    let at_most_once = ServicePolicy { at_most_once: true, ..ServicePolicy::default() };
    let once = RequestHeader { attempts: NonZeroU32::new(1), ..KEYED };
    for (policy, says) in [(at_most_once, KEYED), (ServicePolicy::default(), once)] {
        let mut desk = Desk::new(policy);
        let (client, worker) = (desk.join(), desk.native_worker(1));
        desk.keyed(client, 1, says, "pay");
        desk.leave(worker);
        let worker = desk.native_worker(1);
        desk.keyed(client, 2, says, "pay");
        assert_eq!(desk.heard(client), ["ERROR 1 worker_lost", "ERROR 2 worker_lost"]);
        assert!(desk.works(worker).is_empty());
        assert_eq!(desk.core.router().forgotten().ended_with(Outcome::WorkerLost), 1);
    }
    let mut desk = Desk::new(ServicePolicy::default());
    let client = desk.join();
    desk.keyed(client, 1, KEYED, "poison");
    for _ in 0..5 {
        let worker = desk.native_worker(1);
        desk.leave(worker);
    }
    desk.keyed(client, 2, KEYED, "poison");
    assert_eq!(desk.heard(client), ["ERROR 1 poison", "ERROR 2 poison"]);
}

#[test]
fn what_ended_for_another_reason_is_carried_out_anew() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.keyed(client, 1, KEYED, "pay");
    desk.reply(worker, "pay", false);
    desk.leave(worker);
    assert_eq!(desk.heard(client), ["PARTIAL 1 answer", "ERROR 1 worker_lost"]);
    let worker = desk.native_worker(1);
    desk.keyed(client, 2, KEYED, "pay");
    assert_eq!(desk.works(worker).len(), 1);
    desk.reply(worker, "pay", true);
    assert_eq!(desk.heard(client), ["FINAL 2 answer"]);
}

#[test]
fn a_broker_that_stops_answers_repeats_and_takes_nothing_new() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.keyed(client, 1, KEYED, "pay");
    desk.core.drain(desk.now, Duration::from_secs(1), &mut desk.said);
    desk.keyed(client, 2, KEYED, "pay");
    desk.keyed(client, 3, RequestHeader { key: Some(b"l"), ..ECHO }, "pay");
    desk.reply(worker, "pay", true);
    desk.keyed(client, 4, KEYED, "pay");
    let heard = desk.heard(client);
    assert_eq!(
        heard[1..],
        ["ERROR 3 draining", "FINAL 1 answer", "FINAL 2 answer", "FINAL 4 answer"]
    );
    assert!(desk.core.is_drained());
    assert_eq!(desk.core.router().keys.len(), 1, "what was refused has no key");
}

#[test]
fn the_oldest_answers_make_room_and_what_runs_does_not() {
    let keys_per_principal_max = Some(2);
    let limits = KeyLimits { keys_max: 2, keys_per_principal_max, ..KeyLimits::default() };
    let mut desk = Desk::with_keys(limits);
    let (client, worker) = (desk.join(), desk.native_worker(8));
    let key = |key| RequestHeader { key: Some(key), ..ECHO };
    desk.keyed(client, 1, key(b"1"), "one");
    desk.keyed(client, 2, key(b"2"), "two");
    desk.keyed(client, 3, key(b"3"), "three");
    assert_eq!(desk.heard(client), ["ERROR 3 overloaded"], "both are running");
    desk.reply(worker, "one", true);
    desk.keyed(client, 4, RequestHeader { service: &[b'x'; 300], ..key(b"4") }, "four");
    assert_eq!(desk.key_stats().evicted, 0, "what was refused needs no room");
    desk.keyed(client, 3, key(b"3"), "three");
    assert_eq!(desk.key_stats().evicted, 1);
    desk.keyed(client, 1, key(b"1"), "one");
    let heard = desk.heard(client);
    assert_eq!(heard.last().unwrap(), "ERROR 1 overloaded", "its answer is forgotten: {heard:?}");
}

#[test]
fn answers_are_kept_as_far_as_there_is_room_for_them() {
    let bytes_max = 500;
    let mut desk = Desk::with_keys(KeyLimits { bytes_max, ..KeyLimits::default() });
    let (client, worker) = (desk.join(), desk.native_worker(8));
    for (id, body) in [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")] {
        let key = body.as_bytes();
        desk.keyed(client, id, RequestHeader { key: Some(key), ..ECHO }, body);
        desk.reply(worker, body, true);
    }
    let keys = &desk.core.router().keys;
    assert!(keys.bytes() <= bytes_max && keys.done() < 5, "{} octets", keys.bytes());
    let done = keys.done();
    assert_eq!(keys.stats().evicted, 5 - done as u64);
    // Memory is short: what was answered is remembered all the same.
    desk.keyed(client, 6, KEYED, "pay");
    desk.said.account_full = true;
    desk.reply(worker, "pay", true);
    assert_eq!(desk.core.router().keys.done(), done, "an older one has made room");
    desk.keyed(client, 7, KEYED, "pay");
    assert_eq!(desk.heard(client).last().unwrap(), "FINAL 7 answer");
}

#[test]
fn an_answer_that_cannot_be_kept_is_remembered_as_such() {
    let mut settings = Settings { answer_frames_max: 2, ..Settings::default() };
    settings.keys.bytes_max = 200;
    let mut desk = Desk::with(settings);
    let (client, worker) = (desk.join(), desk.native_worker(8));
    desk.keyed(client, 1, KEYED, "pay");
    desk.keyed(client, 2, RequestHeader { parts: Some(false), ..KEYED }, "pay");
    for last in [false, false, true] {
        desk.reply(worker, "pay", last);
    }
    desk.keyed(client, 3, KEYED, "pay");
    assert_eq!(
        desk.heard(client),
        [
            "PARTIAL 1 answer",
            "PARTIAL 1 answer",
            "FINAL 1 answer",
            "ERROR 2 too_big",
            "ERROR 3 too_big"
        ]
    );
    desk.keyed(client, 4, RequestHeader { key: Some(b"l"), ..ECHO }, "large");
    let answer = Message::new([vec![0; 300]]);
    let token = desk.works(worker).last().unwrap().token;
    let answer = mjp::Answer { id: token, header: &[], body: answer.frames() };
    desk.mjp(worker, &ToBroker::Final(answer));
    assert!(desk.heard(client)[0].starts_with("FINAL 4"), "who waits gets it");
    desk.keyed(client, 5, RequestHeader { key: Some(b"l"), ..ECHO }, "large");
    assert_eq!(desk.heard(client), ["ERROR 5 too_big"]);
    assert_eq!(desk.works(worker).len(), 2);
}

#[test]
fn callers_of_one_key_are_limited_and_count_as_requests() {
    let mut settings = Settings::default();
    settings.keys.callers_max = 3;
    settings.client.requests_max = 2;
    let mut desk = Desk::with(settings);
    let (client, other, third) = (desk.join(), desk.join(), desk.join());
    desk.keyed(client, 1, KEYED, "pay");
    desk.keyed(client, 2, KEYED, "pay");
    desk.keyed(client, 3, KEYED, "pay");
    assert_eq!(desk.heard(client), ["ERROR 3 overloaded"], "its own limit");
    desk.keyed(other, 1, KEYED, "pay");
    desk.keyed(third, 1, KEYED, "pay");
    assert_eq!(desk.heard(third), ["ERROR 1 overloaded"], "that of the key");
    assert_eq!(desk.core.router().requests_of(client), 2);
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    desk.keyed(third, 1, KEYED, "pay");
    assert_eq!(desk.core.router().requests_of(client), 1);
    let worker = desk.native_worker(1);
    desk.reply(worker, "pay", true);
    assert_eq!(desk.heard(third), ["FINAL 1 answer"]);
    assert_eq!(desk.core.router().requests_of(client), 0);
}

#[test]
fn who_does_not_read_is_closed_and_finds_the_answer_later() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, other, worker) = (desk.join(), desk.join(), desk.native_worker(1));
    desk.keyed(client, 1, KEYED, "pay");
    desk.keyed(other, 1, KEYED, "pay");
    desk.said.full.push(client);
    desk.reply(worker, "pay", true);
    assert_eq!(desk.said.closed, [(client, CloseReason::SlowReader)]);
    assert_eq!(desk.heard(other), ["FINAL 1 answer"]);
    let back = desk.join();
    desk.keyed(back, 1, KEYED, "pay");
    assert_eq!(desk.heard(back), ["FINAL 1 answer"]);
}

#[test]
fn a_worker_of_mdp_serves_requests_with_keys_too() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.worker());
    desk.keyed(client, 1, KEYED, "pay");
    desk.keyed(client, 2, KEYED, "pay");
    let (address, _) = desk.given(worker).remove(0);
    desk.answer(worker, &address, false);
    desk.answer(worker, &address, true);
    assert_eq!(
        desk.heard(client),
        ["PARTIAL 1 answer", "PARTIAL 2 answer", "FINAL 1 answer", "FINAL 2 answer"]
    );
}

#[test]
fn the_broker_itself_is_asked_as_ever() {
    let mut desk = Desk::new(ServicePolicy::default());
    let client = desk.join();
    desk.keyed(client, 1, RequestHeader { service: b"mmi.service", ..KEYED }, "echo");
    desk.keyed(client, 2, RequestHeader { service: b"mmi.service", ..KEYED }, "other");
    assert_eq!(desk.heard(client), ["FINAL 1 404", "FINAL 2 404"]);
    assert!(desk.core.router().keys.is_empty());
}
