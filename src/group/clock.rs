//! The broker's clock, as far as a member knows it (SPEC 9.15).

use std::time::{Duration, Instant};

use super::words::{BrokerTime, Reading, micros};

/// What a member knows of the broker's clock, by its own monotonic one.
///
/// An answer to what was sent at `sent` and came back at `heard` says what the clock was somewhere
/// between the two, so in the middle of them it is wrong by half of the way at most, however the
/// two ways differ. From then on the clocks may drift apart.
#[derive(Debug, Clone, Default)]
pub(super) struct BrokerClock {
    best: Option<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// In the middle of the way.
    at: Instant,
    clock: u64,
    /// Half of the way.
    half: Duration,
}

impl BrokerClock {
    /// Two clocks go apart by one part in so many at most: each of them is wrong by 100 ppm.
    const DRIFT: u32 = 5_000;

    /// The broker's clock said `clock` on the way from `sent` to `heard`. The better one of what is
    /// known and this is kept.
    pub(super) fn sample(&mut self, sent: Instant, heard: Instant, clock: u64) {
        let half = heard.saturating_duration_since(sent) / 2;
        let new = Sample { at: sent + half, clock, half };
        if self.best.is_none_or(|best| new.error(heard) <= best.error(heard)) {
            self.best = Some(new);
        }
    }

    /// Nothing is known any more: it may be another broker.
    pub(super) fn forget(&mut self) {
        self.best = None;
    }

    /// What it says at `now`, and by how much that may be wrong.
    pub(super) fn reading(&self, now: Instant) -> Option<Reading> {
        let best = self.best?;
        let now_there = match now.checked_duration_since(best.at) {
            Some(since) => best.clock.saturating_add(micros(since)),
            None => best.clock.saturating_sub(micros(best.at - now)),
        };
        Some(Reading { now: BrokerTime(now_there), error: best.error(now) })
    }

    /// By how much it may be wrong at that moment.
    pub(super) fn error(&self, at: Instant) -> Duration {
        self.best.map_or(Duration::MAX, |best| best.error(at))
    }

    /// The first moment at which the broker's clock has come to `when` for sure.
    pub(super) fn not_before(&self, when: BrokerTime) -> Option<Instant> {
        let best = self.best?;
        let nominal = match when.0.checked_sub(best.clock) {
            Some(ahead) => best.at.checked_add(Duration::from_micros(ahead))?,
            None => best.at.checked_sub(Duration::from_micros(best.clock - when.0))?,
        };
        // What is behind the nominal moment drifts as well, by next to nothing.
        nominal.checked_add(best.error(nominal) * (Self::DRIFT + 2) / Self::DRIFT)
    }
}

impl Sample {
    /// A microsecond, as the clock counts whole ones, half of the way, and the drift since then.
    fn error(&self, at: Instant) -> Duration {
        let since = at.checked_duration_since(self.at).unwrap_or_else(|| self.at - at);
        Duration::from_micros(1) + self.half + since / BrokerClock::DRIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The moment at which a clock that is `offset` ahead and goes `ppm` too fast says `when`.
    fn truth(epoch: Instant, ppm: i64, when: u64) -> Instant {
        let drift = i64::try_from(when).unwrap() * ppm / 1_000_000;
        epoch + Duration::from_micros(when) - Duration::from_micros(0).max(MS * 0)
            + if drift < 0 { Duration::from_micros(drift.unsigned_abs()) } else { Duration::ZERO }
            - if drift > 0 { Duration::from_micros(drift.unsigned_abs()) } else { Duration::ZERO }
    }

    fn there(epoch: Instant, ppm: i64, at: Instant) -> u64 {
        let since = i64::try_from((at - epoch).as_micros()).unwrap();
        u64::try_from(since + since * ppm / 1_000_000).unwrap()
    }

    #[test]
    fn the_error_covers_what_is_true_however_lopsided_the_way_is() {
        let epoch = Instant::now();
        for (there_ms, back_ms) in [(0, 0), (1, 1), (0, 30), (30, 0), (1000, 2)] {
            for ppm in [-90, 0, 90] {
                let sent = epoch + 5000 * MS;
                let taken = sent + there_ms * MS;
                let heard = taken + back_ms * MS;
                let mut clock = BrokerClock::default();
                clock.sample(sent, heard, there(epoch, ppm, taken));
                for later in [0, 1, 1000, 60_000] {
                    let now = heard + later * MS;
                    let reading = clock.reading(now).unwrap();
                    let is = there(epoch, ppm, now);
                    let off = reading.now.0.abs_diff(is);
                    assert!(off <= micros(reading.error), "{off} µs at {reading:?}");
                    // Not early, and late by no more than twice the error.
                    let when = is + 500_000;
                    let at = clock.not_before(BrokerTime(when)).unwrap();
                    let true_at = truth(epoch, ppm, when);
                    assert!(at + Duration::from_micros(1) >= true_at, "{there_ms} {back_ms} {ppm}");
                    let late = at.saturating_duration_since(true_at);
                    assert!(late <= 2 * clock.error(at) + Duration::from_micros(2), "{late:?}");
                }
            }
        }
    }

    #[test]
    fn the_best_answer_is_kept_until_it_is_older_than_it_is_good() {
        let start = Instant::now();
        let mut clock = BrokerClock::default();
        assert_eq!((clock.reading(start), clock.error(start)), (None, Duration::MAX));
        clock.sample(start, start + 2 * MS, 1_000_000);
        clock.sample(start + 10 * MS, start + 60 * MS, 9_000_000);
        let reading = clock.reading(start + 101 * MS).unwrap();
        assert_eq!(reading.now, BrokerTime(1_100_000));
        // An hour later any answer is better.
        let later = start + Duration::from_secs(3600);
        clock.sample(later, later + 50 * MS, 77);
        assert_eq!(clock.reading(later + 25 * MS).unwrap().now, BrokerTime(77));
        clock.forget();
        assert_eq!(clock.reading(later), None);
    }
}
