//! A name, and what was done under it, belongs to whoever has proven to be its owner.

use super::*;
use crate::proto::core::Admission;

fn enter(desk: &mut Desk, name: &str, principal: Principal) -> (PeerId, Admission) {
    let identity = Identity::try_from(name.as_bytes()).ok();
    let hello = Hello { identity, principal, takes_ping: true, ..Hello::default() };
    let joined = desk.core.join(desk.now, hello, &mut desk.said);
    desk.check();
    joined
}

fn stranger() -> Principal {
    Principal::Address([1; 16])
}

#[test]
fn the_same_key_has_its_name_at_once_and_its_old_work_goes_back() {
    for dialect in ["MDP", "MJP", "NFP"] {
        let mut desk = desk();
        let (old, _) = enter(&mut desk, "w1", key(1));
        let register = |desk: &mut Desk, peer| match dialect {
            "MDP" => desk.say(peer, |out| FromWorker::Ready { service: b"echo" }.encode(V02, out)),
            "MJP" => desk.ready(peer, 1),
            _ => desk.work(peer, nfp::FromWorker::Ready { service: b"echo" }),
        };
        register(&mut desk, old);
        let client = desk.join();
        let says = Message::new([&br#"{"task":"add"}"#[..]]);
        desk.say(client, |out| {
            mdp_request(V02, Frames::default(), b"echo", says.frames()).encode(out);
        });
        let (new, admission) = enter(&mut desk, "w1", key(1));
        assert_eq!(admission, Admission::Open, "{dialect}");
        assert_eq!(desk.said.closed, [(old, CloseReason::Replaced)], "{dialect}");
        assert_eq!(desk.view(b"echo"), Some((0, 1, 0)), "{dialect}");
        register(&mut desk, new);
        assert_eq!(desk.view(b"echo"), Some((1, 0, 1)), "{dialect}");
        assert_eq!(desk.core.peer_named(b"w1"), Some(new));
    }
}

#[test]
fn nobody_else_gets_a_proven_name_however_silent_its_holder_is() {
    let mut desk = desk();
    let (holder, _) = enter(&mut desk, "w1", key(1));
    let refused = Admission::Refused(CloseReason::IdentityInUse);
    for thief in [key(2), stranger(), Principal::Local] {
        assert_eq!(enter(&mut desk, "w1", thief).1, refused, "{thief}");
        desk.pass(Duration::from_secs(2));
    }
    assert_eq!(desk.core.peer_named(b"w1"), Some(holder));
    assert!(desk.said.closed.is_empty());
}

#[test]
fn a_name_that_nobody_has_proven_is_contended_for_as_before() {
    let mut desk = desk();
    let (holder, _) = enter(&mut desk, "w1", stranger());
    let (new, admission) = enter(&mut desk, "w1", key(1));
    assert_eq!(admission, Admission::Wait);
    desk.pass(Duration::from_millis(500));
    desk.core.hear(desk.now, holder, false);
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.said.closed, [(new, CloseReason::IdentityInUse)], "the holder lives");
    let (new, _) = enter(&mut desk, "w1", key(1));
    desk.pass(Duration::from_secs(2));
    assert_eq!(desk.said.closed.last(), Some(&(holder, CloseReason::Replaced)));
    assert_eq!(desk.core.peer_named(b"w1"), Some(new));
    assert_eq!(
        enter(&mut desk, "w1", stranger()).1,
        Admission::Refused(CloseReason::IdentityInUse)
    );
}

#[test]
fn a_job_is_of_who_posted_it_and_of_nobody_who_has_the_name_later() {
    let mut desk = desk();
    let worker = desk.nfp_ready("w1", "work");
    let (owner, _) = enter(&mut desk, "c1", key(1));
    desk.job(owner, nfp::Verb::Post, "work", "any", "u1");
    desk.leave(owner);
    let (thief, _) = enter(&mut desk, "c1", key(2));
    desk.said.to.remove(worker);
    desk.read.remove(worker);
    for verb in [nfp::Verb::Get, nfp::Verb::Put, nfp::Verb::Post, nfp::Verb::Delete] {
        desk.job(thief, verb, "work", "any", "u1");
        assert_eq!(desk.statuses(thief), ["400"], "{verb:?}");
    }
    assert!(desk.orders(worker).is_empty());
    // What its worker says now goes to nobody.
    let answer = |desk: &mut Desk| {
        let (kind, body) = (nfp::Kind::Event, Message::new([&b"{}"[..]]));
        let (client, uuid, status) = (&b"c1"[..], &b"u1"[..], &b"200"[..]);
        let answer = nfp::Answer { kind, client, uuid, status, body: body.frames() };
        desk.say(worker, |out| answer.encode(out));
    };
    answer(&mut desk);
    assert!(desk.told(thief).is_empty());
    desk.leave(thief);
    let (owner, _) = enter(&mut desk, "c1", key(1));
    desk.job(owner, nfp::Verb::Get, "work", "any", "u1");
    answer(&mut desk);
    assert_eq!(desk.statuses(owner), ["202", "200"], "it is back");
}

#[test]
fn a_result_that_the_broker_keeps_is_of_who_asked_for_it() {
    let mut desk = desk();
    let worker = desk.native_worker(1);
    let (owner, _) = enter(&mut desk, "c1", key(1));
    desk.job(owner, nfp::Verb::Post, "echo", "any", "u1");
    let given = desk.works(worker).remove(0);
    let body = Message::new([&b"\"secret\""[..]]);
    let answer = mjp::Answer { id: given.token, header: b"\x80", body: body.frames() };
    desk.mjp(worker, &ToBroker::Final(answer));
    desk.leave(owner);
    let (thief, _) = enter(&mut desk, "c1", stranger());
    desk.job(thief, nfp::Verb::Get, "echo", "any", "u1");
    assert_eq!(desk.statuses(thief), ["400"]);
    desk.leave(thief);
    let (owner, _) = enter(&mut desk, "c1", key(1));
    desk.job(owner, nfp::Verb::Get, "echo", "any", "u1");
    assert_eq!(desk.statuses(owner), ["202", "200"]);
}

#[test]
fn a_key_is_known_to_its_principal_by_any_connection_and_to_nobody_else() {
    let mut desk = desk();
    let worker = desk.native_worker(8);
    let (client, _) = enter(&mut desk, "c1", key(1));
    desk.keyed(client, 1, keys::KEYED, "pay");
    desk.reply(worker, "pay", true);
    desk.leave(client);
    let (thief, _) = enter(&mut desk, "c1", key(2));
    desk.keyed(thief, 1, keys::KEYED, "pay");
    assert!(desk.heard(thief).is_empty() && desk.works(worker).len() == 2, "it is another request");
    let (client, _) = enter(&mut desk, "c2", key(1));
    desk.keyed(client, 1, keys::KEYED, "pay");
    assert_eq!(desk.heard(client), ["FINAL 1 answer"]);
}
