//! What a holder believes, and what the table keeps of what is over.

use std::time::{Duration, Instant};

use super::*;
use crate::id::{PeerId, Principal};
use crate::proto::clock::Time;

#[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
fn epoch() -> Instant {
    Instant::now()
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_holder_counts_from_when_it_asked_and_stops_before_its_time() {
    let begin = epoch();
    let mut hold = Hold::new(1000 * MS, begin);
    assert_eq!(hold.until(), Some(begin + 950 * MS));
    assert_eq!(hold.standing(begin + 100 * MS), Standing::Holds(begin + 1000 * MS / 3));
    assert_eq!(hold.standing(begin + 400 * MS), Standing::Due);
    hold.sent(begin + 400 * MS);
    assert!(matches!(hold.standing(begin + 500 * MS), Standing::Holds(_)));
    // Nothing comes back: what counts is the renewal that was acknowledged.
    assert!(hold.holds(begin + 949 * MS) && !hold.holds(begin + 950 * MS));
    hold.acked(begin + 900 * MS, begin + 400 * MS);
    assert!(hold.holds(begin + 1349 * MS) && !hold.holds(begin + 1350 * MS));
    // An acknowledgement that is overtaken takes nothing back.
    hold.acked(begin + 901 * MS, begin);
    assert_eq!(hold.until(), Some(begin + 1350 * MS));
}

#[test]
fn a_belief_that_has_ended_does_not_begin_again() {
    let begin = epoch();
    let mut hold = Hold::new(1000 * MS, begin);
    hold.sent(begin + 500 * MS);
    hold.acked(begin + 2000 * MS, begin + 500 * MS);
    assert_eq!(hold.standing(begin + 2000 * MS), Standing::Lost);
    hold.acked(begin + 2001 * MS, begin + 2000 * MS);
    assert!(!hold.holds(begin + 2001 * MS));
    let mut told = Hold::new(1000 * MS, begin);
    told.lose();
    assert_eq!((told.holds(begin), told.standing(begin)), (false, Standing::Lost));
}

#[test]
fn what_was_waited_for_is_believed_once_it_has_been_renewed() {
    let begin = epoch();
    let mut hold = Hold::unsure(1000 * MS);
    assert_eq!((hold.holds(begin), hold.standing(begin)), (false, Standing::Due));
    hold.sent(begin);
    assert!(!hold.holds(begin + 10 * MS));
    hold.acked(begin + 20 * MS, begin);
    assert!(hold.holds(begin + 20 * MS));
}

#[test]
fn timers_of_what_is_over_do_not_add_up() {
    let mut leases = Leases::new(LeaseLimits::default());
    let (peer, now) = (PeerId::default(), Time::default());
    let terms = Terms { ttl: 3600 * 1000 * MS, grace: Duration::ZERO, lock_delay: Duration::ZERO };
    let (principal, wait) = (Principal::Local, Some(1000 * 1000 * MS));
    let one = |id| Candidacy {
        peer,
        id,
        principal: &principal,
        lease: "a",
        name: "",
        value: &[],
        terms,
        wait,
    };
    for id in 0..20_000 {
        leases.campaign(now, &one(2 * id + 1));
        leases.campaign(now, &one(2 * id + 2));
        leases.cancel(now, peer, 2 * id + 2, Freed::Cancelled);
        leases.cancel(now, peer, 2 * id + 1, Freed::Cancelled);
        while leases.pop_news().is_some() {}
        leases.take_freed();
    }
    assert!(leases.timers.len() + leases.patience.len() <= 2 * 1100);
    assert_eq!((leases.population(), leases.charged()), ((0, 0, 0), 0));
    leases.audit(|_| true).unwrap();
}
