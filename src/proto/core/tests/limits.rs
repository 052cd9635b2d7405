//! What one client may make the broker do, beyond how much it may have open.

use std::num::NonZeroU32;

use super::native::ECHO;
use super::*;
use crate::id::{Principal, PublicKey};
use crate::proto::policy::{ClientLimits, Rate};
use crate::wire::mjp::{ReadyHeader, RequestHeader, ToBroker};
use crate::wire::nfp;

fn desk(services_max: usize, rate: Option<Rate>) -> Desk {
    let client = ClientLimits { services_max, rate, ..ClientLimits::default() };
    let unserved_ttl = Some(Duration::from_millis(500));
    let policy = ServicePolicy { unserved_ttl, ..ServicePolicy::default() };
    Desk::with(Settings { client, policy, ..Settings::default() })
}

fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    let [per_second, burst] = [per_second, burst].map(|it| NonZeroU32::new(it).unwrap());
    Some(Rate { per_second, burst })
}

impl Desk {
    fn call_for(&mut self, client: PeerId, id: u64, service: &str) {
        self.call(client, id, RequestHeader { service: service.as_bytes(), ..ECHO });
    }

    /// What a message of MDP comes to, which need not be taken.
    fn offer(&mut self, client: PeerId, service: &[u8]) -> Taken {
        let body = Message::new([&b"x"[..]]);
        let said = message(|out| {
            let (envelope, body) = (Frames::default(), body.frames());
            Request { version: V02, envelope, service, body }.encode(out);
        });
        let taken = self.core.message(self.now, client, said.frames(), &mut self.said);
        self.check();
        taken
    }
}

#[test]
fn a_client_has_so_many_services_made_that_nobody_offers() {
    let mut desk = desk(2, None);
    let (client, other) = (desk.join(), desk.join());
    desk.native_worker(100);
    for (id, service) in [(1, "a"), (2, "b"), (3, "c"), (4, "b"), (5, "echo")] {
        desk.call_for(client, id, service);
    }
    assert_eq!(desk.heard(client), ["ERROR 3 overloaded"]);
    desk.call_for(other, 1, "c");
    desk.call_for(client, 6, "c");
    assert!(desk.heard(client).is_empty(), "another has had that made");
    let worker = desk.join();
    let says = ReadyHeader { service: b"a", ..ReadyHeader::default() };
    desk.mjp(worker, &ToBroker::Ready(says));
    desk.call_for(client, 7, "d");
    desk.call_for(client, 8, "e");
    assert_eq!(desk.heard(client), ["ERROR 8 overloaded"], "one of its two is offered now");
    desk.leave(worker);
    desk.leave(client);
    assert_eq!(desk.core.router().services().count(), 2, "echo and what the other asks for");
}

#[test]
fn a_client_of_majordomo_waits_until_one_of_its_services_is_forgotten() {
    let mut desk = desk(2, None);
    let client = desk.join();
    assert_eq!(desk.offer(client, b"a"), Taken::Yes);
    assert_eq!(desk.offer(client, b"b"), Taken::Yes);
    assert_eq!(desk.offer(client, b"c"), Taken::NotYet);
    desk.pass(Duration::from_millis(400));
    assert!(desk.said.resumed.is_empty());
    desk.pass(Duration::from_millis(200));
    assert_eq!(desk.said.resumed, [client]);
    assert_eq!(desk.offer(client, b"c"), Taken::Yes);
}

#[test]
fn a_peer_that_wants_less_and_less_silence_leaves_one_timer() {
    let mut desk = desk(2, None);
    let client = desk.join();
    for tenths in (1..=u32::from(u16::MAX)).rev().step_by(16) {
        desk.core.pinged(desk.now, client, tenths * Duration::from_millis(100));
    }
    desk.check();
    assert!(desk.core.timers.len() < 1_100);
    desk.pass(Duration::from_millis(1_500));
    assert_eq!(desk.said.closed, [(client, CloseReason::PingExpired)], "by the last one");
}

#[test]
fn a_principal_asks_as_often_as_it_may_over_all_its_connections() {
    let mut desk = desk(256, rate(10, 2));
    let key = |number| Principal::Key(PublicKey([number; 32]));
    let mut enter = |number| {
        let hello = Hello { principal: key(number), ..Hello::default() };
        desk.core.join(desk.now, hello, &mut desk.said).0
    };
    let [native, stock, norfab, other] = [1, 1, 1, 2].map(&mut enter);
    let worker = desk.native_worker(100);
    desk.call(native, 1, ECHO);
    desk.call(native, 2, ECHO);
    desk.call(native, 3, ECHO);
    desk.call(native, 2, ECHO);
    desk.keyed(native, 4, keys::KEYED, "pay");
    desk.scatter_to_all(native, 5);
    let refused = ["ERROR 3 overloaded", "ERROR 2 duplicate_id"];
    let refused = [&refused[..], &["ERROR 4 overloaded", "ERROR 5 overloaded"]].concat();
    assert_eq!(desk.heard(native), refused);
    desk.job(norfab, nfp::Verb::Post, "echo", "any", "u1");
    assert_eq!(desk.statuses(norfab), ["400"]);
    assert_eq!(desk.offer(stock, b"echo"), Taken::NotYet);
    desk.call(other, 1, ECHO);
    assert!(desk.heard(other).is_empty(), "others have their own");
    assert_eq!(desk.works(worker).len(), 3);
    desk.pass(Duration::from_millis(50));
    assert!(desk.said.resumed.is_empty());
    desk.pass(Duration::from_millis(50));
    assert_eq!(desk.said.resumed, [stock], "it is read when its turn comes");
    assert_eq!(desk.offer(stock, b"echo"), Taken::Yes);
    assert_eq!(desk.offer(stock, b"echo"), Taken::NotYet);
}
