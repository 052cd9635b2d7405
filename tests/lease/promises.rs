//! What every store of leases promises: the same questions to each.

use std::time::Duration;

use futures::StreamExt;
use majordomo::lease::{Coordinator, Granted, Held, Lease, LeaseError, Lost, Row, Seat, Seen};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub(crate) const SOON: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_millis(1500);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it comes soon")
}

/// Asks a store: `connect` gives one more of its clients, and all names begin with `prefix`.
pub(crate) async fn every_store_keeps_them<C: Coordinator>(
    connect: impl AsyncFn() -> C,
    prefix: &str,
) {
    let name = |what: &str| format!("{prefix}.{what}");
    let stores = [connect().await, connect().await, connect().await];
    one_holds_and_the_others_wait_in_the_order_of_coming(&stores, &name("order")).await;
    who_does_not_want_to_wait_is_told_who_holds(&stores, &name("wait")).await;
    a_holder_goes_on_as_long_as_it_lives(&stores, &name("renew")).await;
    who_does_not_renew_is_freed_in_time(&stores, &name("expiry")).await;
    a_holder_may_name_its_successor(&stores, &name("heir")).await;
    who_resigns_in_the_moment_of_winning_is_answered(&stores, &name("moment")).await;
    who_gives_up_waiting_is_passed_over(&stores, &name("patience")).await;
    observers_see_each_holder_and_what_it_says(&stores, &name("observe")).await;
    leases_are_listed_by_name(&stores, &name("list")).await;
}

fn lease<C: Coordinator>(store: &C, name: &str) -> Lease<C> {
    Lease::new(store.clone(), name).ttl(TTL)
}

type Campaign<S> = JoinHandle<Result<Held<S>, LeaseError>>;

/// In line behind `before` others.
async fn in_line<C: Coordinator>(store: &C, lease: Lease<C>, before: u64) -> Campaign<C::Seat> {
    let name = lease.candidacy().lease.clone();
    let campaign = tokio::spawn(async move { lease.campaign().await });
    wait_for_line(store, &name, before + 1).await;
    campaign
}

pub(crate) async fn row<C: Coordinator>(store: &C, name: &str) -> Option<Row> {
    let page = soon(store.list(name, None)).await.unwrap();
    page.rows.into_iter().find(|row| row.lease == name)
}

/// Waits until so many wait for a lease.
pub(crate) async fn wait_for_line<C: Coordinator>(store: &C, name: &str, count: u64) {
    let is_there = async {
        while row(store, name).await.is_none_or(|row| row.waiting < count) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon(is_there).await;
}

async fn one_holds_and_the_others_wait_in_the_order_of_coming<C: Coordinator>(
    [one, two, three]: &[C; 3],
    name: &str,
) {
    let first = soon(lease(one, name).campaign()).await.unwrap();
    assert!(first.holds());
    assert_eq!(first.lease(), name);
    let second = in_line(one, lease(two, name), 0).await;
    let third = in_line(one, lease(three, name), 1).await;
    assert!(!second.is_finished() && !third.is_finished());
    let epoch = first.epoch();
    soon(first.resign()).await.unwrap();
    let second = soon(second).await.unwrap().unwrap();
    assert!(second.epoch() > epoch, "{} behind {epoch}", second.epoch());
    assert!(!third.is_finished());
    assert_eq!(first.standing(), Err(Lost::Resigned));
    let epoch = second.epoch();
    // Who is dropped lets go as well.
    drop(second);
    let third = soon(third).await.unwrap().unwrap();
    assert!(third.epoch() > epoch, "{} behind {epoch}", third.epoch());
    let epoch = third.epoch();
    soon(third.resign()).await.unwrap();
    // Nobody wants it, and it is free: for whoever comes.
    let again = soon(lease(one, name).campaign()).await.unwrap();
    assert!(again.epoch() > epoch, "{} behind {epoch}", again.epoch());
}

async fn who_does_not_want_to_wait_is_told_who_holds<C: Coordinator>(
    [one, two, _]: &[C; 3],
    name: &str,
) {
    let at_once = |store| lease(store, name).wait(Duration::ZERO);
    let held = soon(at_once(one).campaign()).await.unwrap();
    let refused = soon(at_once(two).campaign()).await.unwrap_err();
    assert_eq!(refused, LeaseError::Held { current: Some(held.epoch()) });
    soon(held.resign()).await.unwrap();
    assert!(soon(at_once(two).campaign()).await.unwrap().holds());
}

async fn a_holder_goes_on_as_long_as_it_lives<C: Coordinator>([one, two, _]: &[C; 3], name: &str) {
    let held = soon(lease(one, name).campaign()).await.unwrap();
    let next = in_line(one, lease(two, name), 0).await;
    let begin = held.standing().unwrap();
    assert!(timeout(3 * TTL, held.lost()).await.is_err());
    let until = held.standing().expect("it holds");
    assert!(until > begin + TTL, "it has renewed");
    assert!(until <= Instant::now().into_std() + TTL, "and believes no longer than that");
    assert!(!next.is_finished());
    drop(held);
    soon(next).await.unwrap().unwrap();
}

async fn who_does_not_renew_is_freed_in_time<C: Coordinator>([one, two, _]: &[C; 3], name: &str) {
    let candidacy = lease(one, name).candidacy().clone();
    let begin = Instant::now();
    let Granted { seat, news, .. } = soon(one.campaign(&candidacy)).await.unwrap();
    // Nobody keeps it.
    let next = soon(lease(two, name).campaign()).await.unwrap();
    let took = begin.elapsed();
    assert!(took >= TTL, "it was freed after {took:?}");
    assert!(next.epoch() > seat.epoch());
    let late = soon(seat.proclaim(b"late")).await.unwrap_err();
    assert_eq!(late, LeaseError::Stale { current: Some(next.epoch()) });
    let late = soon(seat.resign(None)).await.unwrap_err();
    assert_eq!(late, LeaseError::Stale { current: Some(next.epoch()) });
    assert!(next.holds());
    drop((seat, news));
}

async fn a_holder_may_name_its_successor<C: Coordinator>([one, two, three]: &[C; 3], name: &str) {
    let held = soon(lease(one, name).campaign()).await.unwrap();
    let second = in_line(one, lease(two, name).name("two"), 0).await;
    let third = in_line(one, lease(three, name).name("three"), 1).await;
    let nobody = soon(held.resign_to("four")).await.unwrap_err();
    assert_eq!(nobody, LeaseError::NoCandidate { name: "four".into() });
    assert!(held.holds(), "it goes on");
    soon(held.resign_to("three")).await.unwrap();
    assert!(!held.holds());
    let third = soon(third).await.unwrap().unwrap();
    assert!(!second.is_finished(), "it is passed over");
    drop(third);
    soon(second).await.unwrap().unwrap();
}

async fn who_resigns_in_the_moment_of_winning_is_answered<C: Coordinator>(
    [one, ..]: &[C; 3],
    name: &str,
) {
    // The task that renews has hardly begun: it must not let go before the store has answered.
    for _ in 0..20 {
        let held = soon(lease(one, name).campaign()).await.unwrap();
        assert_eq!(soon(held.resign()).await, Ok(()));
    }
}

async fn who_gives_up_waiting_is_passed_over<C: Coordinator>(
    [one, two, three]: &[C; 3],
    name: &str,
) {
    let held = soon(lease(one, name).campaign()).await.unwrap();
    let patience = Duration::from_millis(300);
    let begin = Instant::now();
    let impatient = in_line(one, lease(two, name).wait(patience), 0).await;
    let gone = in_line(one, lease(two, name), 1).await;
    let next = in_line(one, lease(three, name), 2).await;
    let refused = soon(impatient).await.unwrap().unwrap_err();
    assert_eq!(refused, LeaseError::Held { current: Some(held.epoch()) });
    assert!(begin.elapsed() >= patience);
    gone.abort();
    let _ = gone.await;
    let is_out = async {
        while row(one, name).await.is_none_or(|row| row.waiting > 1) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon(is_out).await;
    drop(held);
    soon(next).await.unwrap().unwrap();
}

async fn observers_see_each_holder_and_what_it_says<C: Coordinator>(
    [one, two, three]: &[C; 3],
    name: &str,
) {
    let mut seen = lease(three, name).observe().unwrap();
    let mut look = async || soon(seen.next()).await.expect("it goes on").unwrap();
    let Seen::Free { .. } = look().await else { panic!("nobody holds") };
    let held = lease(one, name).name("one").value("at 1").campaign().await.unwrap();
    let holder = |epoch, name: &str, value: &str| Seen::Held {
        epoch,
        name: Some(name.into()),
        value: value.as_bytes().to_vec(),
    };
    assert_eq!(look().await, holder(held.epoch(), "one", "at 1"));
    soon(held.proclaim("at 2")).await.unwrap();
    assert_eq!(look().await, holder(held.epoch(), "one", "at 2"));
    let next = in_line(one, lease(two, name).name("two"), 0).await;
    let epoch = held.epoch();
    soon(held.resign()).await.unwrap();
    let next = soon(next).await.unwrap().unwrap();
    // There may be a moment in which nobody holds.
    let mut after = look().await;
    if let Seen::Free { last } = after {
        assert!(last.is_none_or(|last| last == epoch));
        after = look().await;
    }
    assert_eq!(after, holder(next.epoch(), "two", ""));
    let epoch = next.epoch();
    drop(next);
    let free = look().await;
    assert!(
        matches!(free, Seen::Free { last } if last.is_none_or(|last| last == epoch)),
        "{free:?}"
    );
}

async fn leases_are_listed_by_name<C: Coordinator>([one, two, _]: &[C; 3], name: &str) {
    let names = ["a", "b", "c"].map(|end| format!("{name}.{end}"));
    let mut held = Vec::new();
    for name in &names {
        held.push(soon(lease(one, name).name("one").campaign()).await.unwrap());
    }
    let _next = in_line(one, lease(two, &names[1]), 0).await;
    let page = soon(two.list(name, None)).await.unwrap();
    let listed: Vec<_> = page.rows.iter().map(|row| row.lease.clone()).collect();
    assert_eq!(listed, names);
    for (row, held) in page.rows.iter().zip(&held) {
        assert_eq!(row.epoch, Some(held.epoch()));
        assert_eq!(row.name.as_deref(), Some("one"));
        assert!(row.left.is_none_or(|left| left <= TTL), "{row:?}");
    }
    assert_eq!(page.rows[1].waiting, 1);
    let behind = soon(two.list(name, Some(&names[0]))).await.unwrap();
    assert_eq!(behind.rows.len(), 2);
    assert_eq!(behind.rows[0].lease, names[1]);
}
