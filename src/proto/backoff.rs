//! Waits between attempts.

use std::time::Duration;

/// Waits between attempts: doubling, with jitter, so that many peers do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
    seed: u64,
}

impl Backoff {
    /// Waits from `base` to `cap`; the seed decides the jitter.
    #[must_use]
    pub fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        Self { base, cap, attempt: 0, seed }
    }

    /// The next wait: between half of the nominal one and all of it.
    pub fn next_wait(&mut self) -> Duration {
        let attempt = self.attempt;
        self.attempt = attempt.saturating_add(1);
        self.wait_after(attempt)
    }

    /// The wait after so many attempts of somebody else, who counts for himself.
    pub fn wait_after(&mut self, attempt: u32) -> Duration {
        let nominal = self.base.saturating_mul(1 << attempt.min(16)).min(self.cap);
        // splitmix64: enough to spread peers over time.
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let thousandth = u32::try_from((mixed >> 33) % 1000).unwrap_or(0);
        nominal / 2 + nominal / 2 * thousandth / 1000
    }

    /// A connection was of use: the next wait is short again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

impl Default for Backoff {
    /// From 100 ms to 5 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_differ_between_peers() {
        let waits = |seed| {
            let mut backoff =
                Backoff::new(Duration::from_millis(100), Duration::from_secs(1), seed);
            (0..6).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        for (wait, nominal) in waits(7).iter().zip([100, 200, 400, 800, 1000, 1000]) {
            let nominal = Duration::from_millis(nominal);
            assert!(*wait >= nominal / 2 && *wait <= nominal, "{wait:?} of {nominal:?}");
        }
        assert_ne!(waits(7), waits(8));
    }
}
