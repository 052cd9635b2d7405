//! Memory is short: what is only remembered makes room, as far as that helps.

use super::native::ECHO;
use super::*;
use crate::proto::jobs::Job;
use crate::wire::mjp::{self, Packed, RequestHeader, ToBroker};
use crate::wire::nfp::{Kind, Verb};

const ADD: &str = r#"{"task":"add","timeout":60}"#;

/// Ended jobs, the oldest first, and answers kept for repeats.
const JOBS: [&str; 3] = ["u1", "u2", "u3"];
const KEYS: [&str; 3] = ["k1", "k2", "k3"];

/// Octets of a body that finds no room, whatever is forgotten.
const LARGE: usize = 3900;

/// A broker that remembers all of them, and whose memory is full. Its worker takes more.
struct Full {
    desk: Desk,
    nfp_client: PeerId,
    client: PeerId,
    worker: PeerId,
}

impl Full {
    fn new() -> Self {
        let mut desk = Desk::new(ServicePolicy { queue: true, ..ServicePolicy::default() });
        let (nfp_worker, nfp_client) = (desk.nfp_ready("w", "svc"), desk.enter("c", false));
        for uuid in JOBS {
            desk.job_with(nfp_client, Verb::Post, "svc", "all", uuid, ADD);
            desk.report(nfp_worker, Kind::Response, "c", uuid, "200", "{}");
        }
        let (client, worker) = (desk.join(), desk.native_worker(100));
        for key in KEYS {
            desk.asks(client, 1, key, 1);
            desk.reply(worker, "x", true);
        }
        let mut full = Self { desk, nfp_client, client, worker };
        full.fill();
        full
    }

    /// There is room for nothing.
    fn fill(&mut self) {
        self.desk.heard(self.client);
        self.desk.told(self.nfp_client);
        self.desk.said.memory = Some(self.desk.said.charged);
        assert_eq!(self.remembered(), (JOBS.to_vec(), KEYS.to_vec()));
        let router = self.desk.core.router();
        assert!(router.jobs.ended_bytes() + router.keys.done_bytes() < LARGE);
    }

    /// Of the jobs and of the keys: those that are known yet.
    fn remembered(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let router = self.desk.core.router();
        let jobs = JOBS.into_iter().filter(|uuid| router.jobs.named(uuid.as_bytes()).is_some());
        let forgotten = KEYS.len() - router.keys.done();
        (jobs.collect(), KEYS.into_iter().skip(forgotten).collect())
    }

    /// A client of MJP asks with a body of so many octets; what it hears.
    fn ask(&mut self, key: &str, octets: usize) -> Vec<String> {
        self.desk.asks(self.client, 9, key, octets);
        self.desk.heard(self.client)
    }

    /// So many octets that a request with them takes as much as so many halves of a job.
    fn halves(count: usize) -> usize {
        let mut full = Self::new();
        full.desk.said.memory = None;
        let before = full.desk.said.charged;
        full.ask("", 2);
        let fixed = full.desk.said.charged - before - 2;
        count * Job::cost_of(b"u1", 1) / 2 - fixed
    }
}

impl Desk {
    /// A request with that key, or without one.
    fn asks(&mut self, client: PeerId, id: u64, key: &str, octets: usize) {
        let key = Some(key.as_bytes()).filter(|key| !key.is_empty());
        let says = RequestHeader { key, ack: Some(octets > 1), ..ECHO };
        let (header, body) = (Packed::new(&says), Message::new([vec![b'x'; octets]]));
        let (header, body) = (header.octets(), body.frames());
        self.mjp(client, &ToBroker::Request(mjp::Request { id, header, says, body }));
    }
}

#[test]
fn no_more_is_forgotten_than_takes_the_new_one_and_the_oldest_goes_first() {
    let mut full = Full::new();
    full.desk.job_with(full.nfp_client, Verb::Post, "svc", "all", "v1", ADD);
    assert_eq!(full.desk.told(full.nfp_client)[0].3, "202");
    assert_eq!(full.remembered(), (vec!["u2", "u3"], KEYS.to_vec()), "as large as one job");

    let mut full = Full::new();
    assert_eq!(full.ask("", Full::halves(3)), ["ACCEPTED 9 memory"]);
    assert_eq!(full.remembered(), (vec!["u3"], KEYS.to_vec()), "larger than one, not than two");

    let mut full = Full::new();
    assert_eq!(full.ask("", Full::halves(7)), ["ACCEPTED 9 memory"]);
    let (jobs, keys) = full.remembered();
    assert!(jobs.is_empty(), "answers are kept longer than jobs: {jobs:?}");
    assert_eq!(keys.last(), Some(&"k3"), "and the youngest of them longest");
    assert!(keys.len() < KEYS.len());
}

#[test]
fn nothing_is_forgotten_for_what_would_not_fit_even_then() {
    let all = (JOBS.to_vec(), KEYS.to_vec());
    let mut full = Full::new();
    assert_eq!(full.ask("", LARGE), ["ERROR 9 overloaded"]);
    assert_eq!(full.remembered(), all, "a request");
    assert_eq!(full.ask("k4", LARGE), ["ERROR 9 overloaded"]);
    assert_eq!(full.remembered(), all, "its key alone would fit");

    let large = format!(r#"{{"task":"add","args":["{}"]}}"#, "x".repeat(LARGE));
    let client = full.nfp_client;
    full.desk.job_with(client, Verb::Post, "svc", "any", "v1", &large);
    assert_eq!(full.desk.told(client)[0].3, "400");
    assert_eq!(full.remembered(), all, "of a queued job, the job alone would fit");
    full.desk.job_with(client, Verb::Post, "echo", "all", "v2", &large);
    assert_eq!(full.desk.told(client)[0].3, "400");
    assert_eq!(full.remembered(), all, "of a job for a stand-in, the job alone would fit");

    let stock = full.desk.join();
    full.desk.ask(stock, b"x");
    assert_ne!(full.remembered(), all, "what fits makes room");
}

#[test]
fn nothing_is_forgotten_for_what_another_limit_refuses() {
    let mut settings = Settings::default();
    settings.client.requests_max = 1;
    let mut desk = Desk::with(settings);
    let (client, worker) = (desk.join(), desk.native_worker(100));
    desk.asks(client, 1, "k1", 1);
    desk.reply(worker, "x", true);
    desk.asks(client, 2, "", 1);
    desk.heard(client);
    desk.said.memory = Some(desk.said.charged);
    desk.asks(client, 3, "k2", 1);
    assert_eq!(desk.heard(client), ["ERROR 3 overloaded"]);
    assert_eq!(desk.core.router().keys.stats().evicted, 0);
}

#[test]
fn an_answer_that_is_kept_over_the_mark_costs_as_much_of_older_ones() {
    let mut full = Full::new();
    full.desk.said.memory = None;
    full.ask("k4", 2);
    // Nothing could make room now.
    full.desk.said.account_full = true;
    full.desk.reply(full.worker, "xx", true);
    assert_eq!(full.desk.heard(full.client), ["FINAL 9 answer"]);
    let keys = &full.desk.core.router().keys;
    assert_eq!((keys.stats().evicted, keys.done()), (1, KEYS.len()), "one for one");
}
