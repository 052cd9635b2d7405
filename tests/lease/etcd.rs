//! Leases in a real etcd.

#[path = "../common/etcd.rs"]
mod server;

use std::time::Duration;

use futures::StreamExt;
use majordomo::engine::etcd::{Etcd, EtcdConfig, Leases, Txn};
use majordomo::lease::{Coordinator, Fence, Lease, LeaseError, Lost, Seen};
use tokio::time::Instant;

use super::promises::{self, SOON, soon};
use server::EtcdServer;

/// The shortest that etcd has.
const TTL: Duration = Duration::from_secs(2);

fn etcd(server: &EtcdServer) -> Etcd {
    Etcd::new(EtcdConfig::new(server.url())).unwrap()
}

fn lease(server: &EtcdServer, name: &str) -> Lease<Leases> {
    Lease::new(Leases::new(etcd(server)), name).ttl(TTL)
}

#[tokio::test]
async fn etcd_keeps_what_every_store_promises() {
    let server = EtcdServer::start().await;
    promises::every_store_keeps_them(async || Leases::new(etcd(&server)), "in/etcd").await;
    let left = etcd(&server).prefix(Leases::ROOT).await.unwrap();
    let held: Vec<_> = left.kvs.iter().filter(|kv| kv.key.ends_with(b"/held")).collect();
    assert!(held.len() <= 3, "those of the last question are being given up: {held:?}");
}

#[tokio::test]
async fn a_holder_stops_before_etcd_frees_and_a_candidate_waits_over_its_restart() {
    let mut server = EtcdServer::start().await;
    let held = soon(lease(&server, "a").campaign()).await.unwrap();
    let store = Leases::new(etcd(&server));
    let next = lease(&server, "a");
    let next = tokio::spawn(async move { (next.campaign().await, Instant::now()) });
    promises::wait_for_line(&store, "a", 1).await;
    let mut seen = lease(&server, "a").observe().unwrap();
    assert!(matches!(soon(seen.next()).await, Some(Ok(Seen::Held { .. }))));
    server.kill();
    assert_eq!(soon(seen.next()).await, Some(Ok(Seen::Unknown)));
    let before = held.epoch();
    assert_eq!(soon(held.lost()).await, Lost::Expired);
    let stopped = Instant::now();
    server.start_again().await;
    let (next, began) = tokio::time::timeout(3 * SOON, next).await.unwrap().unwrap();
    let next = next.unwrap();
    assert!(stopped <= began && next.epoch() > before, "{} behind {before}", next.epoch());
    let holder = |seen: &Seen| matches!(seen, Seen::Held { epoch, .. } if *epoch == next.epoch());
    while !holder(&soon(seen.next()).await.unwrap().unwrap()) {}
}

#[tokio::test]
async fn an_etcd_that_stands_still_is_waited_for_and_nobody_holds_meanwhile() {
    let server = EtcdServer::start().await;
    let held = soon(lease(&server, "a").campaign()).await.unwrap();
    let epoch = held.epoch();
    let next = lease(&server, "a");
    let next = tokio::spawn(async move { next.campaign().await });
    promises::wait_for_line(&Leases::new(etcd(&server)), "a", 1).await;
    server.signal("STOP");
    assert_eq!(soon(held.lost()).await, Lost::Expired);
    assert!(!next.is_finished());
    server.signal("CONT");
    let next = tokio::time::timeout(3 * SOON, next).await.unwrap().unwrap().unwrap();
    assert!(next.holds() && next.epoch() > epoch);
}

#[tokio::test]
async fn what_a_holder_does_in_etcd_is_fenced_by_etcd() {
    let server = EtcdServer::start().await;
    let (etcd, store) = (etcd(&server), Leases::new(etcd(&server)));
    let held = soon(lease(&server, "a").campaign()).await.unwrap();
    let old = Fence::from(&held);
    let put = |fence: &Fence, value: &[u8]| {
        store.fenced(fence.clone()).unwrap().then_put("/work", value, 0)
    };
    assert!(etcd.txn(put(&old, b"1")).await.unwrap().succeeded);
    soon(held.resign()).await.unwrap();
    assert!(!etcd.txn(put(&old, b"2")).await.unwrap().succeeded, "nobody holds");
    let next = soon(lease(&server, "a").campaign()).await.unwrap();
    assert!(!etcd.txn(put(&old, b"2")).await.unwrap().succeeded, "another one holds");
    assert!(etcd.txn(put(&Fence::from(&next), b"3")).await.unwrap().succeeded);
    assert!(!etcd.txn(put(&Fence::new("a", u64::MAX), b"4")).await.unwrap().succeeded);
    assert_eq!(etcd.get("/work").await.unwrap().unwrap().value, b"3");
}

#[tokio::test]
async fn a_key_that_is_deleted_by_hand_is_lost_with_the_next_renewal() {
    let server = EtcdServer::start().await;
    let (etcd, held) = (etcd(&server), soon(lease(&server, "a").campaign()).await.unwrap());
    assert!(etcd.delete("/majordomo/leases/a/held").await.unwrap());
    assert_eq!(soon(held.lost()).await, Lost::Expired);
    let candidate = lease(&server, "a");
    let first = soon(candidate.campaign()).await.unwrap();
    let waits = tokio::spawn(async move { candidate.campaign().await });
    let store = Leases::new(etcd.clone());
    promises::wait_for_line(&store, "a", 1).await;
    let line = etcd.prefix("/majordomo/leases/a/line/").await.unwrap();
    let place = String::from_utf8(line.kvs[0].key.clone()).unwrap();
    assert!(etcd.delete(&place).await.unwrap());
    promises::wait_for_line(&store, "a", 1).await;
    drop(first);
    assert!(soon(waits).await.unwrap().unwrap().holds(), "it got in line again");
}

#[tokio::test]
async fn an_heir_that_dies_before_it_takes_over_keeps_nobody_out() {
    let server = EtcdServer::start().await;
    let (etcd, held) = (etcd(&server), soon(lease(&server, "a").campaign()).await.unwrap());
    // It is in line, and never takes what it is given.
    let dead = etcd.grant(2 * TTL).await.unwrap();
    let place = format!("/majordomo/leases/a/line/{:016x}", dead.id);
    etcd.put(&place, b"dead", dead.id).await.unwrap();
    let next = lease(&server, "a");
    let next = tokio::spawn(async move { next.campaign().await });
    promises::wait_for_line(&Leases::new(etcd.clone()), "a", 2).await;
    soon(held.resign_to("dead")).await.unwrap();
    let impatient = lease(&server, "a").wait(Duration::ZERO);
    assert_eq!(soon(impatient.campaign()).await.unwrap_err(), LeaseError::Held { current: None });
    let next = soon(next).await.unwrap().unwrap();
    assert!(next.epoch() > held.epoch());
}

#[tokio::test]
async fn what_etcd_cannot_do_is_said() {
    let server = EtcdServer::start().await;
    let delayed = lease(&server, "a").lock_delay(TTL);
    let refused = soon(delayed.campaign()).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Invalid { what: "lock_delay", .. }), "{refused}");
    // A grace is what every lease of etcd has.
    let held = soon(lease(&server, "a").grace(SOON).campaign()).await.unwrap();
    assert!(held.holds());
    let nowhere = Leases::new(Etcd::new(EtcdConfig::new("http://127.0.0.1:1")).unwrap());
    let nowhere = Lease::new(nowhere, "a").wait(Duration::ZERO);
    let refused = soon(nowhere.campaign()).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Unreachable { .. }), "{refused}");
}

/// As NuroPb's own instances do it, with its keys.
#[tokio::test]
async fn with_the_keys_of_nuropb_its_instances_and_ours_compete() {
    let server = EtcdServer::start().await;
    let (etcd, store) = (etcd(&server), Leases::nuropb(etcd(&server)));
    let theirs = etcd.grant(TTL).await.unwrap();
    let take = |lease: i64| {
        let txn = Txn::default().if_missing("/nuropb/s/leader");
        txn.then_put("/nuropb/s/leader", b"theirs", lease).else_get("/nuropb/s/leader")
    };
    let taken = etcd.txn(take(theirs.id)).await.unwrap();
    assert!(taken.succeeded);
    let ours = Lease::new(store.clone(), "s").name("ours").ttl(TTL);
    let refused = soon(ours.clone().wait(Duration::ZERO).campaign()).await.unwrap_err();
    let epoch = u64::try_from(taken.revision).unwrap();
    assert_eq!(refused, LeaseError::Held { current: Some(epoch) });
    let mut seen = ours.observe().unwrap();
    let mut look = async || soon(seen.next()).await.unwrap().unwrap();
    let holder = |epoch, name: &str, value: &str| {
        let (name, value) = (Some(name.into()), value.as_bytes().to_vec());
        Seen::Held { epoch, name, value }
    };
    assert_eq!(look().await, holder(epoch, "theirs", "{}"));
    etcd.revoke(theirs.id).await.unwrap();
    assert_eq!(look().await, Seen::Free { last: Some(epoch) });
    let held = soon(ours.campaign()).await.unwrap();
    assert_eq!(etcd.get("/nuropb/s/leader").await.unwrap().unwrap().value, b"ours");
    assert!(!etcd.txn(take(0)).await.unwrap().succeeded);
    assert_eq!(look().await, holder(held.epoch(), "ours", "{}"));
    held.proclaim(r#"{"hw_mark":"9"}"#).await.unwrap();
    held.proclaim(r#"{"consume":"False"}"#).await.unwrap();
    assert_eq!(look().await, holder(held.epoch(), "ours", r#"{"hw_mark":"9"}"#));
    let both = r#"{"consume":"False","hw_mark":"9"}"#;
    assert_eq!(look().await, holder(held.epoch(), "ours", both));
    for wrong in ["x", "{\"leader\":\"x\"}", "{\"a/b\":\"x\"}", "{\"a\":1}"] {
        let refused = held.proclaim(wrong).await.unwrap_err();
        assert!(matches!(refused, LeaseError::Invalid { .. }), "{wrong}: {refused}");
    }
    let listed = soon(store.list("s", None)).await.unwrap();
    assert_eq!(listed.rows[0].name.as_deref(), Some("ours"));
    soon(held.resign()).await.unwrap();
    assert_eq!(etcd.get("/nuropb/s/leader").await.unwrap(), None);
    assert_eq!(etcd.get("/nuropb/s/hw_mark").await.unwrap().unwrap().value, b"9", "it stays");
}
