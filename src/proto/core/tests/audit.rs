//! The audit bites: each corruption of the tables is found, and is what it says.

use super::native::ECHO;
use super::*;
use crate::id::Identity;
use crate::proto::router::audit::CORRUPTIONS;
use crate::proto::timers::Timers;
use crate::wire::mjp::RequestHeader;

fn name() -> Identity {
    Identity::try_from(&b"printer"[..]).unwrap()
}

/// Each of two clients has asked, and one of them waits. A service has two idle workers, and a peer
/// has a name.
fn desk() -> Desk {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, other) = (desk.join(), desk.join());
    desk.native_worker(1);
    desk.call(client, 1, RequestHeader { timeout: Some(900), ..ECHO });
    desk.call(other, 2, RequestHeader { timeout: Some(900), ..ECHO });
    for _ in 0..2 {
        let peer = desk.join();
        desk.say(peer, |out| FromWorker::Ready { service: b"idle" }.encode(V02, out));
    }
    let hello = Hello { identity: Some(name()), ..Hello::default() };
    desk.core.join(desk.now, hello, &mut desk.said);
    desk.check();
    desk
}

#[test]
fn each_corruption_of_the_routing_tables_is_found() {
    for (number, (says, corrupt)) in CORRUPTIONS.into_iter().enumerate() {
        let mut desk = desk();
        corrupt(&mut desk.core.router);
        let found = desk.core.audit().expect_err(says);
        assert!(found.contains(says), "{number}: {found:?} does not say {says:?}");
    }
}

#[test]
fn each_corruption_of_the_table_of_peers_is_found() {
    type Corruption = (&'static str, fn(&mut Core));
    let corruptions: [Corruption; 6] = [
        ("is not among the timers", |core| core.timers = Timers::new()),
        ("the house owes 0, not 1", |core| core.house_asked += 1),
        ("[0, 0] have names or wait, [1, 0] peers say so", |core| {
            let holder = core.names.holder(&name()).unwrap();
            assert_eq!(core.names.release(&name(), holder), None);
        }),
        ("has the name other and is not that", |core| {
            let holder = core.names.holder(&name()).unwrap();
            core.names.claim(Identity::try_from(&b"other"[..]).unwrap(), holder);
        }),
        ("has a claim to the name printer and is not that", |core| {
            let peer = core.peers.iter().find(|(_, peer)| peer.identity.is_none()).unwrap().0;
            core.names.claim(name(), peer);
        }),
        ("waits for no name", |core| {
            let peer = core.peers.values_mut().find(|peer| peer.identity.is_none());
            peer.unwrap().contest = Some(Default::default());
        }),
    ];
    for (says, corrupt) in corruptions {
        let mut desk = desk();
        corrupt(&mut desk.core);
        let found = desk.core.audit().expect_err(says);
        assert!(found.contains(says), "{found:?} does not say {says:?}");
    }
}
