//! What a fence lets through: requests, scatters, publications, and what is asked of the broker.

use super::*;
use crate::wire::mjp::{
    AdminHeader, Packed, Publish, PublishHeader, Recipients, Scatter, ScatterHeader, Verb,
};

#[test]
fn a_request_with_an_old_epoch_is_refused_at_acceptance_and_at_dispatch() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.join());
    desk.campaign(a, 1, "a");
    desk.campaign(b, 1, "b");
    desk.call_fenced(a, 2, 1);
    desk.call_fenced(a, 3, 2);
    desk.call(a, 4, RequestHeader { epoch: None, ..fenced(1) });
    desk.call(a, 5, RequestHeader { key: Some(b"k"), ..fenced(1) });
    desk.call(a, 6, RequestHeader { service: b"mmi.service", ..fenced(9) });
    assert_eq!(desk.lease_told(a)[1..], ["3 stale_epoch #1", "4 bad_request", "6 stale_epoch #1"]);
    // It waits for a worker, and meanwhile another one holds.
    desk.lease(a, 7, with(LeaseVerb::Resign, 1));
    desk.lease_told(a);
    desk.call_fenced(b, 8, 2);
    let worker = desk.native_worker(9);
    assert_eq!(desk.lease_told(worker), ["given 8"]);
    let mut told = desk.lease_told(a);
    told.sort();
    assert_eq!(told, ["2 stale_epoch #2", "5 stale_epoch #2"]);
    assert_eq!(desk.core.leases().counts().stale, 4);
    // Given back by a lost worker it is looked at again.
    desk.lease(b, 9, with(LeaseVerb::Resign, 2));
    desk.leave(worker);
    let other = desk.native_worker(9);
    assert_eq!(desk.lease_told(other), [""; 0]);
    assert_eq!(desk.lease_told(b).last().unwrap(), "8 stale_epoch");
}

#[test]
fn a_worker_may_take_requests_of_the_holder_only() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.join());
    desk.campaign(a, 1, "a");
    desk.call(b, 1, ECHO);
    let ready = |fence| ReadyHeader { service: b"echo", fence, ..ReadyHeader::default() };
    let worker = desk.join();
    desk.mjp(worker, &ToBroker::Ready(ready(Some(LEADER))));
    // What waited is not for it, and what comes is not either.
    desk.call(b, 2, ECHO);
    desk.ask(b, b"MDP on a connection of MJP");
    let stock = desk.join();
    desk.ask(stock, b"nobody hears it");
    assert_eq!(desk.lease_told(b), ["1 fence_required", "2 fence_required"]);
    assert_eq!((desk.lease_told(stock), desk.lease_told(worker)), (vec![], vec![]));
    desk.call_fenced(a, 3, 1);
    assert_eq!(desk.lease_told(worker), ["given 3"]);
    assert_eq!(desk.core.leases().counts().unfenced, 3);
    // All workers of a service want the same, or nothing.
    let other = desk.join();
    desk.mjp(other, &ToBroker::Ready(ready(Some("another"))));
    assert_eq!(desk.lease_told(other), ["0 bad_request"]);
    desk.mjp(other, &ToBroker::Ready(ready(None)));
    desk.mjp(other, &ToBroker::Ready(ready(Some("another"))));
    assert_eq!(desk.lease_told(other), ["0 bad_request"]);
    desk.mjp(worker, &ToBroker::Ready(ready(Some("another"))));
    desk.mjp(worker, &ToBroker::Ready(ready(None)));
    desk.call(b, 4, ECHO);
    assert_eq!(desk.lease_told(other), ["given 4"]);
    desk.mjp(other, &ToBroker::Ready(ready(Some("another"))));
    desk.leave(other);
    desk.call(b, 5, ECHO);
    assert_eq!(desk.lease_told(b), [""; 0]);
}

impl Desk {
    fn scatter_fenced(&mut self, peer: PeerId, id: u64, held: (Option<&str>, Option<u64>)) {
        let (lease, epoch) = held;
        let says = ScatterHeader { lease, epoch, ..ScatterHeader::new(b"echo", Recipients::All) };
        let (header, body) = (Packed::new(&says), Message::new([id.to_string().into_bytes()]));
        let (header, body) = (header.octets(), body.frames());
        self.mjp(peer, &ToBroker::Scatter(Scatter { id, header, says, body }));
    }

    fn publish_fenced(&mut self, peer: PeerId, id: u64, held: (Option<&str>, Option<u64>)) {
        let (lease, epoch) = held;
        let says = PublishHeader { lease, epoch, ..PublishHeader::new("news") };
        let (header, body) = (Packed::new(&says), Message::new([id.to_string().into_bytes()]));
        let (header, body) = (header.octets(), body.frames());
        self.mjp(peer, &ToBroker::Publish(Publish { id, header, says, body }));
    }
}

fn by(epoch: u64) -> (Option<&'static str>, Option<u64>) {
    (Some(LEADER), Some(epoch))
}

#[test]
fn a_scatter_with_an_old_epoch_is_refused_at_acceptance_and_at_each_delivery() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.join());
    let (one, other) = (desk.native_worker(1), desk.native_worker(1));
    desk.campaign(a, 1, "a");
    desk.campaign(b, 1, "b");
    // Both workers are busy, so one part of it waits behind each of these.
    desk.call(b, 2, ECHO);
    desk.call(b, 3, ECHO);
    desk.scatter_fenced(a, 4, by(1));
    desk.scatter_fenced(a, 5, by(2));
    desk.scatter_fenced(a, 6, (Some(LEADER), None));
    desk.scatter_fenced(b, 7, by(1));
    let told = ["1 held #1", "4 for 2", "5 stale_epoch #1", "6 bad_request"];
    assert_eq!(desk.lease_told(a), told);
    // The lease is that of a principal, not of a connection, and both are the same one here.
    assert_eq!(desk.lease_told(b), ["1 waiting behind 0", "7 for 2"]);
    desk.mjp(b, &ToBroker::Cancel { id: 7 });
    desk.lease_told(b);
    desk.reply(one, "2", true);
    assert_eq!(desk.lease_told(one), ["given 2", "given 4"]);
    desk.lease(a, 8, with(LeaseVerb::Resign, 1));
    desk.lease_told(a);
    // What has been delivered is done; what comes too late is not.
    desk.reply(other, "3", true);
    assert_eq!(desk.lease_told(other), ["given 3"]);
    assert_eq!(desk.lease_told(a), ["4 refused stale_epoch #2"]);
    desk.said.to.remove(b);
    assert_eq!(desk.core.leases().counts().stale, 2);
}

#[test]
fn a_service_with_a_fence_takes_a_scatter_of_the_holder() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.join());
    desk.campaign(a, 1, "a");
    let ready = ReadyHeader { service: b"echo", fence: Some(LEADER), ..ReadyHeader::default() };
    let worker = desk.join();
    desk.mjp(worker, &ToBroker::Ready(ready));
    desk.scatter_fenced(b, 2, (None, None));
    desk.scatter_fenced(b, 3, (Some("other"), Some(1)));
    assert_eq!(desk.lease_told(b), ["2 fence_required", "3 fence_required"]);
    desk.scatter_fenced(a, 4, by(1));
    assert_eq!(desk.lease_told(worker), ["given 4"]);
    assert_eq!(desk.lease_told(a), ["1 held #1", "4 for 1"]);
    assert_eq!(desk.core.leases().counts().unfenced, 2);
    // Whoever leaves takes with it what was charged for the fence of what it has asked.
    desk.leave(a);
    desk.check();
}

#[test]
fn a_publication_with_an_old_epoch_is_heard_by_nobody() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.join());
    desk.subscribe(b, 1, "news");
    desk.campaign(a, 1, "a");
    desk.publish_fenced(a, 2, by(1));
    desk.publish_fenced(a, 3, by(7));
    desk.publish_fenced(a, 4, (None, Some(1)));
    // Who wants no answer is told that it does not hold.
    desk.publish_fenced(a, 0, by(7));
    let told = ["1 held #1", "2 published 1", "3 stale_epoch #1", "4 bad_request"];
    assert_eq!(desk.lease_told(a), [&told[..], &["0 stale_epoch #1"]].concat());
    assert_eq!(desk.lease_told(b), ["1 hears 2"]);
    assert_eq!((desk.core.leases().counts().stale, desk.core.topics().counts().refused), (2, 3));
}

#[test]
fn what_is_asked_of_the_broker_with_an_old_epoch_is_not_done() {
    let mut desk = desk();
    let (a, b) = (desk.join(), desk.guest());
    let worker = desk.native_worker(1);
    desk.campaign(a, 1, "a");
    let pause = AdminHeader { service: Some(b"echo"), ..AdminHeader::new(Verb::Pause) };
    let mut say = |peer, id, says, (lease, epoch)| {
        let says = AdminHeader { lease, epoch, ..says };
        desk.mjp(peer, &ToBroker::Admin { id, says, body: Frames::default() });
        desk.lease_told(peer)
    };
    assert_eq!(say(a, 2, pause, by(7)), ["1 held #1", "2 stale_epoch #1"]);
    assert_eq!(say(a, 3, pause, (Some(LEADER), None)), ["3 bad_request"]);
    // What only looks is refused as well, and who may not ask hears of that first.
    assert_eq!(say(a, 4, AdminHeader::new(Verb::Clients), by(7)), ["4 stale_epoch #1"]);
    assert_eq!(say(b, 5, pause, by(7)), ["5 denied"]);
    assert_eq!(say(a, 6, AdminHeader::new(Verb::Follow), by(7)), ["6 stale_epoch #1"]);
    desk.call(a, 7, ECHO);
    assert_eq!(desk.lease_told(worker), ["given 7"]);
    desk.mjp(
        a,
        &ToBroker::Admin {
            id: 8,
            says: AdminHeader { lease: Some(LEADER), epoch: Some(1), ..pause },
            body: Frames::default(),
        },
    );
    assert_eq!(desk.lease_told(a), ["8 done"]);
    assert_eq!(desk.core.leases().counts().stale, 3);
}
