//! Rights change while peers are there.

use super::*;
use crate::proto::core::Regranted;
use crate::proto::stats::Loss;

impl Desk {
    fn keyholder(&mut self, number: u8, rules: &[&str]) -> PeerId {
        let hello = Hello { principal: key(number), grants: grants(rules), ..Hello::default() };
        self.core.join(self.now, hello, &mut self.said).0
    }

    /// Key 1 has these rights now, nobody has key 9 any more, and all others may do everything.
    fn regrant(&mut self, rules: &[&str]) -> Regranted {
        let limited = grants(rules);
        let judge = |principal: &Principal, _| match principal {
            one if *one == key(1) => Some((limited.clone(), Some(Arc::from("one")))),
            gone if *gone == key(9) => None,
            _ => Some((Grants::everything(), None)),
        };
        let done = self.core.regrant(self.now, judge, &mut self.said);
        self.check();
        done
    }
}

#[test]
fn who_has_proven_what_holds_no_more_is_closed() {
    let mut desk = desk();
    let mut enter = |proof| {
        let hello = Hello { principal: key(1), proof, ..Hello::default() };
        desk.core.join(desk.now, hello, &mut desk.said).0
    };
    let (old, new) = (enter(1), enter(2));
    let judge = |_: &Principal, proof| (proof == 2).then(|| (Grants::everything(), None));
    let done = desk.core.regrant(desk.now, judge, &mut desk.said);
    desk.check();
    assert_eq!(done.closed, 1);
    assert_eq!([old, new].map(|peer| desk.core.peers.contains_key(peer)), [false, true]);
}

#[test]
fn a_worker_that_may_not_serve_any_more_is_dismissed_in_every_dialect() {
    for dialect in ["MDP", "MJP", "NFP"] {
        let mut desk = desk();
        let (client, worker) = (desk.join(), desk.keyholder(1, &["serve echo"]));
        match dialect {
            "MDP" => {
                desk.say(worker, |out| FromWorker::Ready { service: b"echo" }.encode(V02, out))
            }
            "MJP" => desk.ready(worker, 1),
            _ => desk.work(worker, nfp::FromWorker::Ready { service: b"echo" }),
        }
        let says = Message::new([&br#"{"task":"add"}"#[..]]);
        desk.say(client, |out| {
            mdp_request(V02, Frames::default(), b"echo", says.frames()).encode(out);
        });
        assert_eq!(desk.view(b"echo"), Some((1, 0, 1)), "{dialect}");
        let done = desk.regrant(&["serve other"]);
        assert_eq!(done, Regranted { changed: 1, dismissed: 1, ..Regranted::default() });
        assert_eq!(desk.view(b"echo"), Some((0, 1, 0)), "{dialect}: its work waits again");
        match dialect {
            "MDP" => {
                let last = desk.said.to[worker].last().unwrap();
                let last = ToWorker::decode(last.frames());
                assert!(matches!(last, Ok((V02, ToWorker::Disconnect))), "{last:?}");
            }
            "MJP" => assert_eq!(desk.heard(worker).last().unwrap(), "BYE denied"),
            _ => assert_eq!(desk.disconnects(worker), 1),
        }
        assert!(desk.said.closed.is_empty(), "its connection stays");
        let stats = desk.core.router().service_named(b"echo").unwrap().stats;
        let lost = stats.workers_lost[Loss::Denied as usize];
        assert_eq!((lost, stats.redelivered[Loss::Denied as usize]), (1, 1));
        assert_eq!(desk.denials(), ["serve echo"]);
        let other = desk.native_worker(1);
        assert_eq!(desk.works(other).len(), 1, "{dialect}");
    }
}

#[test]
fn who_is_revoked_is_closed_and_its_work_goes_to_another() {
    let mut desk = desk();
    let gone = desk.keyholder(9, &["serve *", "call *"]);
    desk.ready(gone, 1);
    let client = desk.join();
    desk.call(client, 1, ECHO);
    let waiting = desk.keyholder(9, &["call *"]);
    desk.call(waiting, 1, RequestHeader { service: b"nobody", ..ECHO });
    let house = desk.enter("mmi", true);
    let other = desk.native_worker(1);
    let done = desk.regrant(&[]);
    assert_eq!(done, Regranted { closed: 2, ..Regranted::default() });
    let closed = [(gone, CloseReason::Revoked), (waiting, CloseReason::Revoked)];
    assert_eq!(desk.said.closed, closed);
    assert_eq!(desk.works(other).len(), 1);
    assert_eq!(desk.view(b"nobody"), None, "nobody waits for it any more");
    assert!(desk.core.peers.contains_key(house), "nobody is asked about the house");
}

#[test]
fn what_is_not_allowed_any_more_is_over_and_what_was_accepted_stands() {
    let mut desk = desk();
    let worker = desk.native_worker(1);
    let peer = desk.keyholder(1, &["call *", "subscribe *", "admin follow", "publish *"]);
    desk.call(peer, 1, ECHO);
    desk.call(peer, 2, ECHO);
    desk.subscribe(peer, 3, "a.b");
    desk.subscribe(peer, 4, "c.>");
    let follow = mjp::AdminHeader::new(mjp::Verb::Follow);
    desk.mjp(peer, &ToBroker::Admin { id: 5, says: follow, body: Frames::default() });
    assert_eq!(desk.heard(peer).last().unwrap(), "ADMIN 5");
    let done = desk.regrant(&["subscribe c.*"]);
    assert_eq!(done, Regranted { changed: 1, unsubscribed: 1, ..Regranted::default() });
    assert_eq!(desk.heard(peer), ["ERROR 3 denied", "ERROR 5 denied"]);
    assert_eq!(desk.core.topics().len_of(peer), 1);
    desk.call(peer, 6, ECHO);
    desk.publish(peer, 7, "a", "x");
    assert_eq!(desk.heard(peer), ["ERROR 6 denied", "ERROR 7 denied"]);
    desk.reply(worker, "1", true);
    desk.reply(worker, "2", true);
    assert_eq!(desk.heard(peer), ["FINAL 1 answer", "FINAL 2 answer"]);
    assert_eq!(desk.regrant(&["subscribe c.*"]), Regranted::default(), "nothing has changed");
    assert!(desk.heard(peer).is_empty());
    desk.regrant(&["call echo"]);
    assert_eq!(desk.heard(peer), ["ERROR 4 denied"]);
    desk.call(peer, 8, ECHO);
    assert_eq!(desk.works(worker).len(), 3, "what was denied is allowed at once");
}

#[test]
fn a_new_name_is_told_from_the_next_request_on() {
    let mut desk = desk();
    let worker = desk.native_worker(2);
    let peer = desk.keyholder(1, &["call *"]);
    desk.call(peer, 1, ECHO);
    desk.regrant(&["call *"]);
    desk.call(peer, 2, ECHO);
    let names: Vec<_> = desk.works(worker).into_iter().map(|given| given.name).collect();
    assert_eq!(names, [None, Some("one".to_owned())]);
}
