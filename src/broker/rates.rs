//! How fast connections may come: over the rate they wait, and none is dropped.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::HandshakeSection;
use crate::wire::greeting::Mechanism;

/// Addresses that are told apart at a time.
const ADDRESSES_MAX: usize = 16_384;

/// Rates of new connections and of handshakes by CURVE, of all together and of each address.
/// Loopback is free of them.
#[derive(Debug)]
pub(super) struct Rates {
    all: Lines,
    all_gaps: Gaps,
    address_gaps: Gaps,
    addresses: HashMap<IpAddr, Lines>,
}

/// Times between two connections, and between two of them that begin with a HELLO of CURVE.
#[derive(Debug, Clone, Copy)]
struct Gaps {
    connect: Duration,
    hello: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Lines {
    connects: Line,
    hellos: Line,
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

impl Gaps {
    fn new(connects: u32, hellos: u32) -> Self {
        let gap = |rate: u32| Duration::from_secs(1) / rate.max(1);
        Self { connect: gap(connects), hello: gap(hellos) }
    }
}

impl Lines {
    fn new(now: Instant) -> Self {
        Self { connects: Line(now), hellos: Line(now) }
    }

    /// How long one that has come now has to wait.
    fn take(&mut self, now: Instant, gaps: Gaps, mechanism: Mechanism) -> Duration {
        let wait = self.connects.take(now, gaps.connect);
        match mechanism {
            Mechanism::Curve => wait.max(self.hellos.take(now, gaps.hello)),
            Mechanism::Null | Mechanism::Plain => wait,
        }
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.connects.0.max(self.hellos.0) <= now
    }
}

impl Rates {
    /// Those of the configuration.
    pub(super) fn new(limits: &HandshakeSection, now: Instant) -> Self {
        Self {
            all: Lines::new(now),
            all_gaps: Gaps::new(limits.connects, limits.hellos),
            address_gaps: Gaps::new(limits.connects_per_address, limits.hellos_per_address),
            addresses: HashMap::new(),
        }
    }

    /// A connection has come from there, to an endpoint with that mechanism.
    pub(super) fn take(
        &mut self,
        now: Instant,
        address: Option<IpAddr>,
        mechanism: Mechanism,
    ) -> Wait {
        let none = Wait { accepting: Duration::ZERO, begin: Duration::ZERO };
        let Some(address) = address.filter(|address| !address.is_loopback()) else { return none };
        let accepting = self.all.take(now, self.all_gaps, mechanism);
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&address) {
            // Who has been silent for long enough is as good as new.
            self.addresses.retain(|_, lines| !lines.is_idle(now));
            if self.addresses.len() >= ADDRESSES_MAX {
                return Wait { accepting, ..none };
            }
        }
        let lines = self.addresses.entry(address).or_insert_with(|| Lines::new(now));
        Wait { accepting, begin: lines.take(now, self.address_gaps, mechanism) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn rates(connects: u32, connects_per_address: u32, now: Instant) -> Rates {
        let (hellos, hellos_per_address) = (50, 5);
        let limits = HandshakeSection {
            connects,
            connects_per_address,
            hellos,
            hellos_per_address,
            ..HandshakeSection::default()
        };
        Rates::new(&limits, now)
    }

    #[test]
    fn a_second_of_connections_may_come_at_once_and_the_rest_in_its_turn() {
        let now = tokio::time::Instant::now().into_std();
        let mut rates = rates(100, 10, now);
        let mut come = |last, now, mechanism| rates.take(now, address(last), mechanism).begin;
        let waits: Vec<_> = (0..12).map(|_| come(1, now, Mechanism::Null)).collect();
        assert_eq!(waits[..10], [Duration::ZERO; 10]);
        assert_eq!(waits[10..], [100, 200].map(Duration::from_millis));
        // Another address does not wait for it, and later nobody does.
        assert_eq!(come(2, now, Mechanism::Null), Duration::ZERO);
        assert_eq!(come(1, now + Duration::from_secs(5), Mechanism::Null), Duration::ZERO);
        // What takes arithmetic has a rate of its own.
        let waits: Vec<_> = (0..7).map(|_| come(3, now, Mechanism::Curve)).collect();
        assert_eq!(waits[..5], [Duration::ZERO; 5]);
        assert_eq!(waits[5..], [200, 400].map(Duration::from_millis));
    }

    #[test]
    fn all_addresses_together_have_a_rate() {
        let now = tokio::time::Instant::now().into_std();
        let mut rates = rates(100, 10, now);
        let mut come = |address| rates.take(now, address, Mechanism::Plain);
        let waits: Vec<_> = (0..=100_u8).map(|last| come(address(last)).accepting).collect();
        assert!(waits[..100].iter().all(Duration::is_zero));
        assert_eq!(waits[100], Duration::from_millis(10));
        let loopback = Some(IpAddr::from([127, 0, 0, 1]));
        let none = Wait { accepting: Duration::ZERO, begin: Duration::ZERO };
        assert_eq!((come(loopback), come(None)), (none, none));
    }

    #[test]
    fn a_flood_of_addresses_grows_nothing() {
        let now = tokio::time::Instant::now().into_std();
        let mut rates = rates(1_000_000, 1, now);
        for number in 0..20_000_u32 {
            rates.take(now, Some(IpAddr::from(number.to_be_bytes())), Mechanism::Null);
        }
        assert_eq!(rates.addresses.len(), ADDRESSES_MAX);
        rates.take(now + Duration::from_secs(2), address(1), Mechanism::Null);
        assert_eq!(rates.addresses.len(), 1);
    }
}
