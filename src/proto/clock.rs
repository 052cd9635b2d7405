//! Broker time: monotonic, and without the pauses in which the broker itself did not run.

use std::time::{Duration, Instant};

/// A moment of broker time, in microseconds since the core began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// Never, as a moment to come.
    pub(crate) const MAX: Self = Self(u64::MAX);

    /// The time `later` after this one.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(later.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Time passed since `earlier`; zero if that is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros_since(earlier))
    }

    /// Microseconds passed since `earlier`; zero if that is not earlier.
    #[must_use]
    pub fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Turns the machine's clock into broker time.
///
/// Somebody has to ask it at least every [`Clock::TICK_MAX`], or [`Clock::REST_MAX`] while nothing
/// happens; a gap of [`Clock::STALL_MIN`] means that the process was stopped or starved, and that
/// peers could not be heard. The gap is left out, so that every
/// deadline moves by it and nobody expires for our own fault.
#[derive(Debug)]
pub struct Clock {
    begin: Instant,
    last: Instant,
    time: Time,
    stalls: u64,
}

impl Clock {
    /// The longest the broker goes without asking when it runs.
    pub const TICK_MAX: Duration = Duration::from_millis(50);
    /// The same while nothing comes: so far below [`Self::STALL_MIN`] that no stall is missed for it.
    pub const REST_MAX: Duration = Duration::from_millis(250);
    /// A gap from which on the broker must have been stalled.
    pub const STALL_MIN: Duration = Duration::from_secs(1);

    /// A clock that starts at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { begin: now, last: now, time: Time::default(), stalls: 0 }
    }

    /// Broker time at `now`.
    #[inline]
    pub fn at(&mut self, now: Instant) -> Time {
        // All messages of one read have one instant.
        if now == self.last {
            return self.time;
        }
        self.advance(now)
    }

    fn advance(&mut self, now: Instant) -> Time {
        let mut passed = now.saturating_duration_since(self.last);
        if passed >= Self::STALL_MIN {
            self.stalls += 1;
            passed = Self::TICK_MAX;
        }
        self.last = self.last.max(now);
        self.time = self.time.after(passed);
        self.time
    }

    /// The machine's time at which it will be `time`, if nothing stalls. A time that the machine's
    /// clock cannot say is a year away.
    #[must_use]
    pub fn instant_of(&self, time: Time) -> Instant {
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.last.checked_add(time.since(self.time)).unwrap_or_else(|| self.last + FAR)
    }

    /// Microseconds of the machine since the beginning, those of stalls included: when it was last
    /// asked.
    #[must_use]
    pub fn micros(&self) -> u64 {
        u64::try_from(self.last.duration_since(self.begin).as_micros()).unwrap_or(u64::MAX)
    }

    /// Stalls noticed so far.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.stalls
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_no_stall_and_hides_none() {
        let epoch = Instant::now();
        let mut clock = Clock::new(epoch);
        let rested = clock.at(epoch + Clock::REST_MAX);
        assert_eq!((rested.since(Time::default()), clock.stalls()), (Clock::REST_MAX, 0));
        // Stopped right behind the last look, or right before the next one.
        for into in [Duration::ZERO, Clock::REST_MAX] {
            let stalls = clock.stalls();
            let woken = clock.last + into + Clock::STALL_MIN;
            let (before, after) = (clock.time, clock.at(woken));
            assert_eq!((after.since(before), clock.stalls()), (Clock::TICK_MAX, stalls + 1));
        }
    }

    #[test]
    fn a_stall_of_our_own_does_not_pass_in_broker_time() {
        let epoch = Instant::now();
        let mut clock = Clock::new(epoch);
        let before = clock.at(epoch + Duration::from_millis(40));
        let after = clock.at(epoch + Duration::from_secs(60));
        assert_eq!(after.since(before), Clock::TICK_MAX);
        assert_eq!(clock.stalls(), 1);
        let later = clock.at(epoch + Duration::from_millis(60_100));
        assert_eq!(later.since(after), Duration::from_millis(100));
        assert_eq!(
            clock.instant_of(later.after(Duration::from_secs(1))).duration_since(epoch),
            Duration::from_millis(61_100)
        );
    }
}
