//! How fast connections may come: over the rate they wait, and none is dropped.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses that are told apart at a time.
const ADDRESSES_MAX: usize = 16_384;

/// Rates of new connections, of all together and of each address. Loopback is free of them.
#[derive(Debug)]
pub(super) struct Rates {
    all: Line,
    all_gap: Duration,
    address_gap: Duration,
    addresses: HashMap<IpAddr, Line>,
}

/// When the next one would come if all came evenly.
#[derive(Debug, Clone, Copy)]
struct Line(Instant);

/// How long a newcomer has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// Until the next connection may be accepted at all.
    pub(super) accepting: Duration,
    /// Until this one may begin.
    pub(super) begin: Duration,
}

impl Line {
    /// What may come at once after a silence: the connections of so long.
    const BURST: Duration = Duration::from_secs(1);

    fn take(&mut self, now: Instant, gap: Duration) -> Duration {
        self.0 = self.0.max(now) + gap;
        self.0.saturating_duration_since(now).saturating_sub(Self::BURST)
    }
}

impl Rates {
    /// So many a second.
    pub(super) fn new(all: u32, per_address: u32, now: Instant) -> Self {
        let gap = |rate: u32| Duration::from_secs(1) / rate.max(1);
        Self {
            all: Line(now),
            all_gap: gap(all),
            address_gap: gap(per_address),
            addresses: HashMap::new(),
        }
    }

    /// A connection has come from there.
    pub(super) fn take(&mut self, now: Instant, address: Option<IpAddr>) -> Wait {
        let none = Wait { accepting: Duration::ZERO, begin: Duration::ZERO };
        let Some(address) = address.filter(|address| !address.is_loopback()) else { return none };
        let accepting = self.all.take(now, self.all_gap);
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&address) {
            // Who has been silent for long enough is as good as new.
            self.addresses.retain(|_, line| line.0 > now);
            if self.addresses.len() >= ADDRESSES_MAX {
                return Wait { accepting, ..none };
            }
        }
        let line = self.addresses.entry(address).or_insert(Line(now));
        Wait { accepting, begin: line.take(now, self.address_gap) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_second_of_connections_may_come_at_once_and_the_rest_in_its_turn() {
        let now = tokio::time::Instant::now().into_std();
        let mut rates = Rates::new(100, 10, now);
        let waits: Vec<_> = (0..12).map(|_| rates.take(now, address(1)).begin).collect();
        assert_eq!(waits[..10], [Duration::ZERO; 10]);
        assert_eq!(waits[10..], [100, 200].map(Duration::from_millis));
        // Another address does not wait for it, and later nobody does.
        assert_eq!(rates.take(now, address(2)).begin, Duration::ZERO);
        let later = now + Duration::from_secs(5);
        assert_eq!(rates.take(later, address(1)).begin, Duration::ZERO);
    }

    #[test]
    fn all_addresses_together_have_a_rate() {
        let now = tokio::time::Instant::now().into_std();
        let mut rates = Rates::new(100, 10, now);
        let waits: Vec<_> =
            (0..=100_u8).map(|last| rates.take(now, address(last)).accepting).collect();
        assert!(waits[..100].iter().all(Duration::is_zero));
        assert_eq!(waits[100], Duration::from_millis(10));
        let loopback = Some(IpAddr::from([127, 0, 0, 1]));
        let none = Wait { accepting: Duration::ZERO, begin: Duration::ZERO };
        assert_eq!((rates.take(now, loopback), rates.take(now, None)), (none, none));
    }

    #[test]
    fn a_flood_of_addresses_grows_nothing() {
        let now = tokio::time::Instant::now().into_std();
        let mut rates = Rates::new(1_000_000, 1, now);
        for number in 0..20_000_u32 {
            rates.take(now, Some(IpAddr::from(number.to_be_bytes())));
        }
        assert_eq!(rates.addresses.len(), ADDRESSES_MAX);
        rates.take(now + Duration::from_secs(2), address(1));
        assert_eq!(rates.addresses.len(), 1);
    }
}
