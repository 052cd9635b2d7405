//! A lease and its fence, in every order of events at a small scope: three candidates, a network
//! that delays, loses and doubles, holders that crash or stand still, a broker that starts again.

#[path = "models/lease.rs"]
mod lease;

use lease::{Fault, Scope};
use stateright::{Checker, Model};

fn explored(scope: Scope) -> (usize, usize, Vec<&'static str>) {
    let checker = scope.checker().threads(2).spawn_bfs().join();
    let broken = checker.discoveries().into_keys();
    let always = ["one epoch is accepted at a time", "an epoch has one holder"];
    let broken = broken.filter(|name| always.contains(name)).collect();
    (checker.unique_state_count(), checker.max_depth(), broken)
}

#[test]
fn a_lease_and_its_fence_are_safe_in_every_order_of_events() {
    let checker = Scope::default().checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} transitions, depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    assert!(checker.is_done(), "all of them");
    // Among them that what must happen somewhere does.
    checker.assert_properties();
}

#[test]
fn a_broker_that_forgets_its_epochs_is_caught() {
    let (_, _, broken) = explored(Scope { fault: Some(Fault::Forgets), ..Scope::default() });
    assert!(broken.contains(&"an epoch has one holder"), "{broken:?}");
}

#[test]
fn a_broker_that_lets_old_epochs_pass_is_caught() {
    let (_, _, broken) = explored(Scope { fault: Some(Fault::Passes), ..Scope::default() });
    assert!(broken.contains(&"one epoch is accepted at a time"), "{broken:?}");
}

#[test]
fn a_broker_whose_epochs_do_not_grow_is_caught() {
    let (_, _, broken) = explored(Scope { fault: Some(Fault::Repeats), ..Scope::default() });
    assert!(broken.contains(&"an epoch has one holder"), "{broken:?}");
}
