use super::*;
use crate::id::Principal;
use crate::wire::message::Message;

fn keys(keys_max: usize) -> Keys {
    let hasher = Hasher::with_seed(7, foldhash::SharedSeed::global_fixed());
    Keys::new(KeyLimits { keys_max, ..KeyLimits::default() }, hasher)
}

fn scope(key: usize) -> Scope {
    Scope::of(&Principal::Local, b"echo", &key.to_be_bytes())
}

fn digest() -> Digest {
    Digest::of(b"", Message::from("body").frames())
}

fn waiter(id: u64, deadline: Option<Time>) -> Waiter {
    Waiter { peer: PeerId::default(), id, parts: true, deadline, cost: 1, owner: true }
}

fn at(seconds: u64) -> Time {
    Time::default().after(Duration::from_secs(seconds))
}

#[test]
fn whose_key_it_is_cannot_be_made_up() {
    let of = |principal: &Principal| Scope::of(principal, b"echo", b"k");
    assert_ne!(of(&Principal::Address([7; 16])), of(&Principal::Address([8; 16])));
    assert_ne!(of(&Principal::Address([0; 16])), of(&Principal::Local));
    let local = |service, key| Scope::of(&Principal::Local, service, key);
    assert_ne!(local(b"echo", b"k"), local(b"ech", b"ok"));
}

#[test]
fn deadlines_of_who_waits_no_more_do_not_pile_up() {
    let mut keys = keys(10);
    let first = waiter(0, None);
    let key = keys.begin((Principal::Local, scope(0)), digest(), first);
    for id in 1..100_000 {
        keys.attach(key, waiter(id, Some(at(1000 + id))));
        keys.detach(key, PeerId::default(), id, false);
    }
    assert!(keys.due.len() < 2 * Keys::STALE_KEPT, "{} deadlines", keys.due.len());
    assert_eq!(keys.wanted_until(key), Some(Time::MAX));
    keys.audit().unwrap();
}

#[test]
fn who_has_gone_counts_as_long_as_it_would_have_waited() {
    let mut keys = keys(10);
    let key = keys.begin((Principal::Local, scope(0)), digest(), waiter(1, Some(at(5))));
    keys.attach(key, waiter(2, Some(at(9))));
    keys.detach(key, PeerId::default(), 2, true);
    keys.detach(key, PeerId::default(), 1, true);
    assert_eq!(keys.wanted_until(key), Some(at(9)));
    assert!(keys.pop_due(at(5)).is_some_and(|(_, _, late)| late.is_empty()));
    assert_eq!(keys.wanted_until(key), Some(at(9)));
    assert!(keys.pop_due(at(9)).is_some());
    assert_eq!(keys.wanted_until(key), None);
}

#[test]
fn answers_go_in_the_order_of_their_age() {
    let mut keys = keys(3);
    for key in 0..3 {
        let id = keys.begin((Principal::Local, scope(key)), digest(), waiter(1, None));
        keys.keep(at(key as u64), id, Kept::Error(b"\x80"[..].into()));
    }
    assert_eq!(keys.next_due(), Some(at(600)));
    keys.forget_old(at(600));
    assert_eq!((keys.done(), keys.next_due()), (2, Some(at(601))));
    assert!(keys.evict());
    assert_eq!(keys.look(at(601), &scope(1), digest()), Known::New);
    assert!(matches!(keys.look(at(601), &scope(2), digest()), Known::Done(_)));
    assert_eq!(keys.look(at(602), &scope(2), digest()), Known::New);
    assert_eq!((keys.len(), keys.bytes()), (0, 0));
    assert_eq!(keys.take_freed(), 3 * (Keys::ENTRY + 1));
}

#[test]
fn a_principal_makes_room_for_its_new_keys_and_not_others() {
    let hasher = Hasher::with_seed(7, foldhash::SharedSeed::global_fixed());
    let limits = KeyLimits { keys_max: 8, keys_per_principal_max: Some(3), ..KeyLimits::default() };
    let mut keys = Keys::new(limits, hasher);
    let (one, other) = (Principal::Address([1; 16]), Principal::Address([2; 16]));
    let ask = |keys: &mut Keys, who: Principal, number: usize| {
        if !keys.has_room(&who) {
            return None;
        }
        let scope = Scope::of(&who, b"echo", &number.to_be_bytes());
        let id = keys.begin((who, scope), digest(), waiter(1, None));
        keys.trim(&who);
        keys.take_freed();
        keys.audit().unwrap();
        Some(id)
    };
    let answer = |keys: &mut Keys, id: KeyId| {
        keys.keep(at(1), id, Kept::Error(b"".to_vec().into()));
        keys.audit().unwrap();
    };
    let known = |keys: &mut Keys, who: Principal, number: usize| {
        keys.look(at(1), &Scope::of(&who, b"echo", &number.to_be_bytes()), digest()) != Known::New
    };
    let first = ask(&mut keys, other, 0).unwrap();
    answer(&mut keys, first);
    for number in 0..5000 {
        let id = ask(&mut keys, one, number).unwrap();
        answer(&mut keys, id);
    }
    assert!(known(&mut keys, other, 0), "what another one asked is still known");
    // As long as there is room it has what nobody else needs.
    assert!(!known(&mut keys, one, 4992) && (4993..5000).all(|n| known(&mut keys, one, n)));
    assert_eq!((keys.len(), keys.stats().evicted), (8, 4993));
    for number in 6000..6003 {
        assert!(ask(&mut keys, one, number).is_some());
    }
    assert_eq!(ask(&mut keys, one, 6003), None, "it has so many under way as it may");
    // Others have the oldest answer of all forgotten, as long as they have not their share.
    assert!(ask(&mut keys, other, 1).is_some() && !known(&mut keys, other, 0));
    assert!(ask(&mut keys, other, 2).is_some() && ask(&mut keys, other, 3).is_some());
    assert!((4998..5000).all(|n| known(&mut keys, one, n)) && !known(&mut keys, one, 4997));
    keys.forget_old(at(100_000_000));
    assert_eq!(keys.len(), 6);
    keys.take_freed();
    keys.audit().unwrap();
}
