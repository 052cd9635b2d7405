//! What tests see of the core's decisions while it takes them. Each thread has its own record.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::wire::message::Frames;

use super::stats::Outcome;

/// A transition that was taken: of which table, from where, by what.
pub(crate) type Transition = (&'static str, &'static str, &'static str);

thread_local! {
    static TRANSITIONS: RefCell<BTreeSet<Transition>> = const { RefCell::new(BTreeSet::new()) };
    static ENDS: RefCell<Vec<(Vec<u8>, Outcome)>> = const { RefCell::new(Vec::new()) };
    static PART_ENDS: RefCell<Vec<(Vec<u8>, String, Outcome)>> = const { RefCell::new(Vec::new()) };
}

/// Notes a transition.
pub(crate) fn saw(table: &'static str, from: &'static str, by: &'static str) {
    TRANSITIONS.with_borrow_mut(|seen| seen.insert((table, from, by)));
}

/// Notes the end of a request; the first frame of its body says which one it was.
pub(crate) fn ended(mut body: Frames<'_>, outcome: Outcome) {
    saw("request", "ended", outcome.label());
    let first = body.next().unwrap_or_default().to_vec();
    ENDS.with_borrow_mut(|ends| ends.push((first, outcome)));
}

/// Takes the transitions noted so far.
pub(crate) fn take_transitions() -> BTreeSet<Transition> {
    TRANSITIONS.take()
}

/// Takes the ends noted so far.
pub(crate) fn take_ends() -> Vec<(Vec<u8>, Outcome)> {
    ENDS.take()
}

/// Notes the end of a worker's part in a job.
pub(crate) fn part_ended(mut body: Frames<'_>, worker: &[u8], outcome: Outcome) {
    let first = body.next().unwrap_or_default().to_vec();
    let worker = String::from_utf8_lossy(worker).into_owned();
    PART_ENDS.with_borrow_mut(|ends| ends.push((first, worker, outcome)));
}

/// Takes the ends of parts noted so far: the first frame of the body, and the worker's name.
pub(crate) fn take_part_ends() -> Vec<(Vec<u8>, String, Outcome)> {
    PART_ENDS.take()
}
