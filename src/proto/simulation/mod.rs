//! A seeded simulation of a whole broker: the real core, clients, workers and strangers around it,
//! and a network that delays, cuts and falls silent.
//!
//! Octets really pass: what a peer says is encoded, cut into pieces, delayed, decoded, decided, and
//! so is what comes back. After each input the tables are audited, and a [`judge`] with a model of
//! its own compares what was said. After the faults everything has to drain.
//!
//! `MAJORDOMO_SEEDS=n` sets how many seeds run, `MAJORDOMO_SEED=s` the first one.

mod actor;
mod client;
mod coverage;
mod faults;
mod fence;
mod flow_peer;
mod flow_server;
mod flows;
mod judge;
mod listener;
mod native_client;
mod native_worker;
mod net;
mod nfp_client;
mod nfp_stranger;
mod nfp_worker;
mod plan;
mod repeater;
pub(super) mod rng;
mod scattered;
mod servant;
mod shell;
mod stranger;
mod tag;
mod worker;
mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::witness::{self, Transition};
use world::World;

/// Runs one seed; on failure again, to show the last events.
fn run(seed: u64) -> Result<(), String> {
    attempt(seed, false).map_err(|(violation, _)| {
        let trace = attempt(seed, true).err().map(|(_, trace)| trace).unwrap_or_default();
        format!(
            "seed {seed} breaks an invariant: {violation}\n{trace}\nagain: MAJORDOMO_SEED={seed} \
             MAJORDOMO_SEEDS=1 cargo test --lib ten_thousand_seeds"
        )
    })
}

fn attempt(seed: u64, traced: bool) -> Result<(), (String, String)> {
    witness::take_ends();
    witness::take_part_ends();
    let mut world = World::new(seed, traced);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match result {
        Ok(Ok(())) => return Ok(()),
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

#[test]
fn ten_thousand_seeds_hold_every_invariant() {
    let first = number("MAJORDOMO_SEED").unwrap_or(0);
    let count = number("MAJORDOMO_SEEDS").unwrap_or(10_000);
    let next = AtomicU64::new(first);
    let failed = AtomicBool::new(false);
    let seen = Mutex::new(BTreeSet::<Transition>::new());
    let failures = Mutex::new(Vec::<(u64, String)>::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    if let Err(failure) = run(seed) {
                        failures.lock().unwrap().push((seed, failure));
                        failed.store(true, Ordering::Relaxed);
                    }
                }
                seen.lock().unwrap().extend(witness::take_transitions());
            });
        }
    });
    if let Some((_, failure)) = failures.into_inner().unwrap().into_iter().min() {
        panic!("{failure}");
    }
    if count >= 1_000 {
        coverage::check(&seen.into_inner().unwrap());
    }
}
