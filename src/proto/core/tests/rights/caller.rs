//! A worker of MJP sees who asks, as far as that is proven.

use super::*;

/// What a worker was told of each caller.
fn callers(desk: &Desk, worker: PeerId) -> Vec<(Option<String>, Option<String>)> {
    let works = desk.works(worker);
    works.into_iter().map(|given| (given.fingerprint, given.name)).collect()
}

fn enter(desk: &mut Desk, principal: Principal, name: Option<&str>) -> PeerId {
    let hello = Hello { principal, name: name.map(Arc::from), ..Hello::default() };
    desk.core.join(desk.now, hello, &mut desk.said).0
}

#[test]
fn it_is_the_same_in_every_dialect_of_the_caller() {
    let mut desk = desk();
    let worker = desk.native_worker(16);
    let fingerprint = Some(PublicKey([1; 32]).fingerprint());
    let proven = (fingerprint, Some("billing".to_owned()));
    let native = enter(&mut desk, key(1), Some("billing"));
    desk.call(native, 1, ECHO);
    desk.scatter_to_all(native, 2);
    desk.keyed(native, 3, keys::KEYED, "pay");
    let stock = enter(&mut desk, key(1), Some("billing"));
    desk.ask(stock, b"x");
    let norfab = enter(&mut desk, key(1), Some("billing"));
    desk.job(norfab, nfp::Verb::Post, "echo", "any", "u1");
    assert_eq!(callers(&desk, worker), vec![proven; 5]);
}

#[test]
fn who_has_proven_nothing_is_nobody_whatever_it_says() {
    let mut desk = desk();
    let worker = desk.native_worker(16);
    let forger = enter(&mut desk, Principal::Address([1; 16]), Some("billing"));
    // What the broker would say, in the header and as the first frame of the body.
    let forged = b"\x83\xa7attempt\x01\xabfingerprint\xa45bd8\xa4name\xa7billing";
    let header = b"\x83\xa7service\xa4echo\xabfingerprint\xa45bd8\xa4name\xa7billing";
    let body = Message::new([&forged[..], b"x"]);
    let body = body.frames();
    desk.mjp(forger, &ToBroker::Request(mjp::Request { id: 1, header, says: ECHO, body }));
    let stock = enter(&mut desk, Principal::Address([1; 16]), Some("billing"));
    desk.ask(stock, b"x");
    assert_eq!(callers(&desk, worker), vec![(None, None); 2]);
    let works = desk.works(worker);
    assert_eq!(works[0].body, forged, "it is a frame of the body to the worker");
    assert_eq!(works[0].header, header, "and in the header that is the caller's");
}

#[test]
fn a_caller_that_has_gone_is_known_to_who_works_for_its_key() {
    let mut desk = desk();
    let client = enter(&mut desk, key(1), Some("billing"));
    desk.keyed(client, 1, keys::KEYED, "pay");
    desk.leave(client);
    let worker = desk.native_worker(1);
    let (fingerprint, name) = callers(&desk, worker).remove(0);
    assert_eq!(fingerprint, Some(PublicKey([1; 32]).fingerprint()));
    assert_eq!(name.as_deref(), Some("billing"));
}
