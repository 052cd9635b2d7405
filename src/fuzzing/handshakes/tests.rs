//! What came of the table.

use std::collections::BTreeSet;

use super::*;
use crate::id::Principal;

#[test]
fn every_handshake_gets_its_answer_at_the_octet_that_decides_it() {
    let cases = cases();
    let wrong = cases.iter().filter(|case| !matches!(case.end, End::Served(_))).count();
    assert!(wrong >= 500, "{wrong} of {}", cases.len());
    let mut names = BTreeSet::new();
    for case in &cases {
        assert!(names.insert(&case.name), "two cases are called {}", case.name);
    }
    for case in &cases {
        for dribble in [false, true] {
            let end = play(case, dribble, 0).end(case.ours);
            assert_eq!(end, Ok(Some(case.end.clone())), "{}, dribble: {dribble}", case.name);
        }
        let traffic = if let End::Served(left) = case.end { left } else { 0 };
        let end = play(case, false, traffic + 1).end(case.ours);
        assert_eq!(end, Ok(None), "{}, one octet less", case.name);
    }
}

#[test]
fn a_dialer_of_null_judges_wrong_octets_as_a_listener_does() {
    const NOT_SERVED: End = End::Refused("socket-type-not-served:use-REQ,DEALER,ROUTER-or-CLIENT");
    for case in null::cases().into_iter().filter(|case| case.end != NOT_SERVED) {
        let case = Case { ours: Ours::Dialer(Mechanism::Null), ..case };
        let end = play(&case, true, 0).end(case.ours);
        assert_eq!(end, Ok(Some(case.end.clone())), "{}", case.name);
        if let End::Refused(_) = case.end {
            assert!(play(&case, false, 0).result.unwrap_err().is_final(), "{}", case.name);
        }
    }
}

#[test]
fn each_peer_has_proven_what_its_mechanism_proves() {
    let mut by_old_key = 0;
    for case in cases().into_iter().filter(|case| matches!(case.end, End::Served(_))) {
        let peer = play(&case, false, 0).result.unwrap().unwrap();
        let key = |octet| Some(Principal::Key(forger::public(octet)));
        let user = Principal::User(UserName::try_from(USER.as_bytes()).unwrap());
        let expected = match case.ours {
            Ours::Listener(Mechanism::Curve) => key(ADMITTED),
            Ours::Dialer(Mechanism::Curve) => key(SERVER),
            Ours::Listener(Mechanism::Plain) => Some(user),
            Ours::Dialer(_) | Ours::Listener(Mechanism::Null) => None,
        };
        assert_eq!(peer.proven, expected, "{}", case.name);
        assert_eq!(peer.channel.is_some(), case.ours.mechanism() == Mechanism::Curve);
        by_old_key += usize::from(peer.by_old_key);
    }
    assert_eq!(by_old_key, 1);
}

#[test]
fn every_reason_has_a_label_of_its_own() {
    let mut labels = BTreeSet::new();
    for case in cases() {
        if let Err(error) = play(&case, false, 0).result {
            let label = error.label();
            assert!(crate::fuzzing::pieces::is_label(label), "{label}");
            labels.insert(label);
        }
    }
    assert!(labels.len() >= 30, "{labels:?}");
}
