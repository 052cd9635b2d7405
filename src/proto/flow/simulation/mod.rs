//! A seeded simulation of flows: the real table, the real ends, and between them connections that
//! delay, fill up and break; a factory that takes its time or lies; and strangers who say anything.
//!
//! After every step the table is audited and the judge compares: credit is neither lost nor made,
//! every direction is in order and without a gap, nobody hears what the protocol does not allow,
//! memory is bounded. In the end there are no faults, and every end has ended.
//!
//! `MAJORDOMO_SEEDS=n` sets how many seeds run, `MAJORDOMO_SEED=s` the first one.

mod acting;
mod faults;
pub(in crate::proto) mod judge;
pub(in crate::proto) mod party;
mod shell;
pub(in crate::proto) mod stranger;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(in crate::proto) use shell::Counts;
use world::World;

/// What has happened in a run, and how often.
type Seen = BTreeMap<&'static str, u64>;

/// Runs one seed; on failure again, to show the last events.
fn run(seed: u64) -> Result<Seen, String> {
    attempt(seed, false).map_err(|(violation, _)| {
        let trace = attempt(seed, true).err().map(|(_, trace)| trace).unwrap_or_default();
        format!(
            "seed {seed} breaks an invariant: {violation}\n{trace}\nagain: MAJORDOMO_SEED={seed} \
             MAJORDOMO_SEEDS=1 cargo test --lib flows_of_ten_thousand_seeds"
        )
    })
}

fn attempt(seed: u64, traced: bool) -> Result<Seen, (String, String)> {
    let mut world = World::new(seed, traced);
    let violation = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(Ok(())) => return Ok(world.seen()),
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("a panic: {}", text.unwrap_or("of no text"))
        }
    };
    let trace: Vec<String> = world.trace.take().unwrap_or_default().into();
    Err((violation, trace.join("\n")))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// A run in which nothing goes wrong proves nothing.
const WHAT_HAPPENS: [&str; 41] = [
    "finished",
    "refused",
    "given_up",
    "lost",
    "no_answer",
    "abandoned",
    "violated",
    "stopped",
    "rule",
    "factory",
    "no_decision",
    "no_handler",
    "unknown_cid",
    "bad_cid",
    "bad_direction",
    "bad_credit",
    "same_direction",
    "too_many",
    "stopping",
    "no_memory",
    "bot_in_flow",
    "before_answer",
    "after_end",
    "after_eot",
    "eot_without_flow",
    "without_flow",
    "bad_json",
    "no_flow",
    "part_cut",
    "frame_count",
    "held",
    "early",
    "whole",
    "credit",
    "idle",
    "reused",
    "lanes",
    "octets",
    "overrun",
    "no_lane",
    "deaf",
];

#[test]
fn flows_of_ten_thousand_seeds_hold_every_invariant() {
    let first = number("MAJORDOMO_SEED").unwrap_or(0);
    let count = number("MAJORDOMO_SEEDS").unwrap_or(10_000);
    let next = AtomicU64::new(first);
    let failed = AtomicBool::new(false);
    let seen = Mutex::new(Seen::new());
    let failures = Mutex::new(Vec::<(u64, String)>::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = Seen::new();
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    match run(seed) {
                        Ok(more) => more.iter().for_each(|(what, times)| {
                            *own.entry(*what).or_default() += times;
                        }),
                        Err(failure) => {
                            failures.lock().unwrap().push((seed, failure));
                            failed.store(true, Ordering::Relaxed);
                        }
                    }
                }
                for (what, times) in own {
                    *seen.lock().unwrap().entry(what).or_default() += times;
                }
            });
        }
    });
    if let Some((_, failure)) = failures.into_inner().unwrap().into_iter().min() {
        panic!("{failure}");
    }
    let seen = seen.into_inner().unwrap();
    if count >= 1_000 {
        for what in WHAT_HAPPENS {
            assert!(seen.get(what).is_some_and(|times| *times >= 5), "{what} was hardly seen");
        }
    }
}
