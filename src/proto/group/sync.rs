//! What a member knows of the broker's clock, and how well.

use std::time::{Duration, Instant};

/// What one exchange has shown.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Half way between question and answer, by the own clock.
    at: Instant,
    /// The broker's clock then, microseconds.
    clock: u64,
    /// Half of the time between them: the answer may have been given at any moment of it.
    error: Duration,
}

/// The broker's clock as a member knows it: by its own monotonic clock, with an error bound.
#[derive(Debug, Clone, Default)]
pub struct ClockSync {
    best: Option<Sample>,
}

impl ClockSync {
    /// Two clocks go apart by no more than one part in so many: 500 millionths.
    pub const DRIFT: u32 = 2000;

    /// A question that was sent at `sent` was answered with the broker's `clock`, and the answer
    /// came at `now`.
    pub fn answered(&mut self, sent: Instant, now: Instant, clock: u64) {
        let error = now.saturating_duration_since(sent) / 2;
        let sample = Sample { at: sent + error, clock, error };
        if self.error(now).is_none_or(|known| error <= known) {
            self.best = Some(sample);
        }
    }

    /// How wrong it may be at `now`. `None`: nothing is known.
    #[must_use]
    pub fn error(&self, now: Instant) -> Option<Duration> {
        let sample = self.best?;
        Some(sample.error + now.saturating_duration_since(sample.at) / Self::DRIFT)
    }

    /// The broker's clock at `now`, microseconds, as it is known.
    #[must_use]
    pub fn clock(&self, now: Instant) -> Option<u64> {
        let sample = self.best?;
        let passed = now.saturating_duration_since(sample.at).as_micros();
        Some(sample.clock.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// The first moment at which the broker's clock is surely not before `when`.
    #[must_use]
    pub fn not_before(&self, when: u64) -> Option<Instant> {
        let sample = self.best?;
        let left = Duration::from_micros(when.saturating_sub(sample.clock));
        sample.at.checked_add(left + left / Self::DRIFT + sample.error)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_offset_of_a_second_and_a_delay_of_one_way_stay_within_the_bound() {
        let begin = Instant::now();
        // The broker is a second ahead, and all of the delay is on the way back, or there.
        for (there, back) in [(0, 40), (40, 0), (20, 20)] {
            let mut sync = ClockSync::default();
            assert_eq!((sync.error(begin), sync.clock(begin)), (None, None));
            let clock = |at: Duration| 1_000_000 + u64::try_from(at.as_micros()).unwrap();
            sync.answered(begin, begin + (there + back) * MS, clock(there * MS));
            let later = 1000 * MS;
            let (told, error) = (sync.clock(begin + later), sync.error(begin + later).unwrap());
            assert!(error >= 20 * MS && error < 21 * MS, "{error:?}");
            let off = told.unwrap().abs_diff(clock(later));
            assert!(Duration::from_micros(off) <= error, "{off} µs");
            let act = sync.not_before(clock(later)).unwrap();
            assert!(act >= begin + later && act <= begin + later + 2 * error, "{act:?}");
        }
    }

    #[test]
    fn the_best_answer_counts_until_drift_makes_it_worse_than_another() {
        let begin = Instant::now();
        let mut sync = ClockSync::default();
        sync.answered(begin, begin + 2 * MS, 0);
        sync.answered(begin + 10 * MS, begin + 50 * MS, 30_000);
        assert!(sync.error(begin + 50 * MS).unwrap() < 2 * MS);
        let late = begin + 60_000 * MS;
        assert!(sync.error(late).unwrap() > 30 * MS);
        sync.answered(late, late + 20 * MS, 60_010_000);
        assert!(sync.error(late + 20 * MS).unwrap() < 11 * MS);
    }
}
