//! The counting of a poll, in every order of events at a small scope: three members, a network that
//! delays, loses and doubles, members that crash and come again, a broker that starts again.

#[path = "models/poll.rs"]
mod poll;

use poll::{Fault, Scope};
use stateright::{Checker, Model};

#[test]
fn a_poll_is_counted_right_in_every_order_of_events() {
    for unanimous in [false, true] {
        let checker = Scope { unanimous, fault: None }.checker().threads(2).spawn_bfs().join();
        println!(
            "unanimous {unanimous}: {} states, {} transitions, depth {}",
            checker.unique_state_count(),
            checker.state_count(),
            checker.max_depth()
        );
        assert!(checker.is_done(), "all of them");
        // Among them that what must happen somewhere does.
        checker.assert_properties();
    }
}

fn broken(fault: Fault) -> Vec<&'static str> {
    let scope = Scope { unanimous: false, fault: Some(fault) };
    let checker = scope.checker().threads(2).spawn_bfs().join();
    checker.discoveries().into_keys().collect()
}

#[test]
fn a_broker_that_counts_a_vote_twice_is_caught() {
    let broken = broken(Fault::Twice);
    assert!(broken.contains(&"yes is the will of more than half"), "{broken:?}");
}

#[test]
fn a_broker_that_counts_votes_of_before_a_restart_is_caught() {
    let broken = broken(Fault::ByName);
    assert!(broken.contains(&"only electors count, once each"), "{broken:?}");
}
