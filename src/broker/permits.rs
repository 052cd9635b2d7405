//! What a connection may use, and who has to go when there are too many.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// What one connection uses as long as it lives.
#[derive(Debug)]
pub(super) struct Permits {
    _connection: Option<OwnedSemaphorePermit>,
    handshake: Option<HandshakePermit>,
}

impl Permits {
    pub(super) fn new(connection: OwnedSemaphorePermit, handshake: HandshakePermit) -> Self {
        Self { _connection: Some(connection), handshake: Some(handshake) }
    }

    /// A part of the broker uses what is nobody else's.
    pub(super) fn house() -> Self {
        Self { _connection: None, handshake: None }
    }

    /// Resolves when the handshake has to make room for another one; never after it is done.
    pub(super) fn evicted(&self) -> impl Future<Output = ()> + use<> {
        let evicted = self.handshake.as_ref().map(|handshake| handshake.evicted.clone());
        async move {
            match evicted {
                Some(evicted) => evicted.cancelled_owned().await,
                None => std::future::pending().await,
            }
        }
    }

    /// The handshake is done: others may have theirs.
    pub(super) fn handshake_done(&mut self) {
        self.handshake = None;
    }
}

/// Handshakes under way, bounded in all and from one address.
///
/// When there are too many, a newcomer pushes out the oldest, unless that has only just begun: an
/// honest handshake takes a few milliseconds, and whoever holds a place in silence must not keep
/// others out.
#[derive(Debug)]
pub(super) struct Handshakes {
    places: Arc<Semaphore>,
    per_address_max: usize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// Those under way, the oldest first.
    places: BTreeMap<u64, Place>,
    begun: u64,
    /// How many come from an address; loopback is not counted.
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Place {
    since: Instant,
    evicted: CancellationToken,
}

/// One handshake's place; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct HandshakePermit {
    _place: OwnedSemaphorePermit,
    handshakes: Arc<Handshakes>,
    number: u64,
    address: Option<IpAddr>,
    evicted: CancellationToken,
}

impl Handshakes {
    /// A handshake so young is not pushed out.
    const GRACE: Duration = Duration::from_millis(250);

    pub(super) fn new(max: usize, per_address_max: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(max));
        Arc::new(Self { places, per_address_max, line: Mutex::default() })
    }

    /// A place for a connection from `address`, which may have to wait for it a little. `None`:
    /// there are too many from that address already.
    pub(super) async fn begin(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Option<HandshakePermit> {
        let address = address.filter(|address| !address.is_loopback());
        if !address.is_none_or(|address| self.count(address)) {
            return None;
        }
        let place = loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                break place;
            }
            let wait = self.evict_oldest(super::shared::now());
            let place = tokio::time::timeout(wait, self.places.clone().acquire_owned()).await;
            if let Ok(Ok(place)) = place {
                break place;
            }
        };
        let evicted = CancellationToken::new();
        let mut line = self.lock();
        let number = line.begun;
        line.begun += 1;
        let since = super::shared::now();
        line.places.insert(number, Place { since, evicted: evicted.clone() });
        Some(HandshakePermit { _place: place, handshakes: self.clone(), number, address, evicted })
    }

    /// Pushes out the oldest handshake, or says how long it is still safe.
    fn evict_oldest(&self, now: Instant) -> Duration {
        let line = self.lock();
        let oldest = line.places.values().find(|place| !place.evicted.is_cancelled());
        let Some(oldest) = oldest else { return Self::GRACE };
        let safe = Self::GRACE.saturating_sub(now.saturating_duration_since(oldest.since));
        if safe.is_zero() {
            oldest.evicted.cancel();
            return Self::GRACE;
        }
        safe
    }

    /// Counts one more from there; false if there are too many.
    fn count(&self, address: IpAddr) -> bool {
        let mut line = self.lock();
        let count = line.by_address.entry(address).or_default();
        if *count >= self.per_address_max {
            return false;
        }
        *count += 1;
        true
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Counts and places are whole between any two statements.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        let mut line = self.handshakes.lock();
        line.places.remove(&self.number);
        let Some(address) = self.address else { return };
        if let Some(count) = line.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                line.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_pushes_out_the_oldest_but_not_a_young_one() {
        let handshakes = Handshakes::new(2, 2);
        let began = tokio::time::Instant::now();
        let first = handshakes.begin(None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let second = handshakes.begin(None).await.unwrap();
        let first_goes = tokio::spawn(async move { first.evicted.clone().cancelled().await });
        let third = handshakes.begin(None).await.unwrap();
        first_goes.await.unwrap();
        assert_eq!(began.elapsed(), Handshakes::GRACE);
        assert!(!second.evicted.is_cancelled() && !third.evicted.is_cancelled());
    }

    #[tokio::test]
    async fn an_address_has_its_own_limit_and_loopback_none() {
        let handshakes = Handshakes::new(10, 1);
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        let one = handshakes.begin(address).await;
        assert!(one.is_some());
        assert!(handshakes.begin(address).await.is_none());
        let loopback = Some(IpAddr::from([127, 0, 0, 1]));
        let (a, b) = (handshakes.begin(loopback).await, handshakes.begin(loopback).await);
        assert!(a.is_some() && b.is_some());
        drop(one);
        assert!(handshakes.begin(address).await.is_some());
    }
}
