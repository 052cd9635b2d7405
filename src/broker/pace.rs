//! How often the time is looked at: seldom while nothing comes.

use std::time::Duration;

use crate::proto::clock::Clock;

/// Whether something comes.
///
/// What is due is known at each look, and only inputs make something due earlier: after a look
/// behind which none has come the next one may be later, and the first input calls it off.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// An input has come since the last look.
    busy: bool,
    /// The next look is later than usual.
    resting: bool,
}

impl Pace {
    /// An input has come. True: somebody rests, and is to be roused.
    #[inline]
    pub(super) fn note(&mut self) -> bool {
        self.busy = true;
        std::mem::take(&mut self.resting)
    }

    /// The longest time until the next look. Where something is awaited of which no input tells,
    /// there is no rest.
    pub(super) fn longest(&mut self, awaited: bool) -> Duration {
        self.resting = !std::mem::take(&mut self.busy) && !awaited;
        if self.resting { Clock::REST_MAX } else { Clock::TICK_MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hears_nothing_rests_until_something_comes() {
        let mut pace = Pace::default();
        assert!(!pace.note(), "nobody rests yet");
        assert_eq!(pace.longest(false), Clock::TICK_MAX);
        assert_eq!(pace.longest(false), Clock::REST_MAX);
        assert!(pace.note(), "the first one rouses");
        assert!(!pace.note(), "and no other one");
        assert_eq!(pace.longest(false), Clock::TICK_MAX);
        assert_eq!(pace.longest(true), Clock::TICK_MAX);
        assert!(!pace.note());
    }
}
