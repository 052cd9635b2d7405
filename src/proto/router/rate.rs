//! How often one principal may ask, over all its connections.

use std::time::Duration;

use hashbrown::HashMap;

use crate::id::{PeerId, Principal};
use crate::proto::clock::Time;
use crate::proto::output::Output;
use crate::proto::policy::Rate;
use crate::proto::timers::Timers;

use super::{Hasher, Pause, Router};

/// What each principal has asked lately: a bucket that fills with time, and from which each request
/// takes one. Of a bucket that is full nothing has to be known.
#[derive(Debug)]
pub(super) struct Rates {
    rate: Rate,
    /// When the bucket will be full again.
    full_at: HashMap<Principal, Time, Hasher>,
    /// So many are looked through for full ones.
    sweep_at: usize,
    /// Who is not read until then.
    waiting: Timers<PeerId>,
}

impl Rates {
    /// So many are kept without a look.
    const KEPT: usize = 1024;

    pub(super) fn new(rate: Rate, hasher: Hasher) -> Self {
        let full_at = HashMap::with_hasher(hasher);
        Self { rate, full_at, sweep_at: Self::KEPT, waiting: Timers::new() }
    }

    /// Takes one, or says when there will be one.
    fn take(&mut self, now: Time, principal: &Principal) -> Result<(), Time> {
        let step = self.rate.interval();
        let most = step.saturating_mul(self.rate.burst.get().saturating_sub(1));
        let full_at = self.full_at.get(principal).copied().unwrap_or_default().max(now);
        let lacking = full_at.since(now);
        if lacking > most {
            return Err(now.after(lacking.saturating_sub(most)));
        }
        self.full_at.insert(*principal, full_at.after(step));
        if self.full_at.len() >= self.sweep_at {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.sweep_at = Self::KEPT.max(2 * self.full_at.len());
        }
        Ok(())
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.waiting.next()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn is_armed(&self, at: Time, peer: PeerId) -> bool {
        self.waiting.is_armed(at, peer)
    }
}

impl Router {
    /// Whether the principal may ask once more now; if not, the time until it may.
    #[inline]
    pub(crate) fn take_turn(&mut self, now: Time, principal: &Principal) -> Result<(), Duration> {
        match &mut self.rates {
            None => Ok(()),
            Some(rates) => rates.take(now, principal).map_err(|at| at.since(now)),
        }
    }

    /// Does not read a caller for so long.
    pub(crate) fn pause_for(&mut self, now: Time, peer: PeerId, time: Duration) {
        let at = now.after(time);
        let Some(rates) = &mut self.rates else { return };
        if let Some(entry) = self.callers.entry(peer) {
            entry.or_default().paused = Some(Pause::Rate(at));
            rates.waiting.arm(at, peer);
            #[cfg(test)]
            crate::proto::witness::saw("caller", "paused", Pause::Rate(at).label());
        }
    }

    /// Reads the callers again that may ask now.
    pub(crate) fn resume_rated<O: Output>(&mut self, now: Time, out: &mut O) {
        let Some(rates) = &mut self.rates else { return };
        while let Some((at, peer)) = rates.waiting.pop_due(now) {
            if let Some(caller) = self.callers.get_mut(peer)
                && caller.paused == Some(Pause::Rate(at))
                && !self.draining
            {
                caller.paused = None;
                out.resume(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rates(per_second: u32, burst: u32) -> Rates {
        let [per_second, burst] = [per_second, burst].map(|it| NonZeroU32::new(it).unwrap());
        let hasher = Hasher::with_seed(7, foldhash::SharedSeed::global_fixed());
        Rates::new(Rate { per_second, burst }, hasher)
    }

    #[test]
    fn a_bucket_gives_a_burst_and_then_as_fast_as_it_fills() {
        let mut rates = rates(10, 3);
        let (one, other) = (Principal::Local, Principal::Address([1; 16]));
        let at = |ms| Time::default().after(Duration::from_secs(60) + Duration::from_millis(ms));
        let mut take = |ms, who: &Principal| rates.take(at(ms), who);
        for _ in 0..3 {
            assert_eq!(take(0, &one), Ok(()));
        }
        assert_eq!(take(0, &one), Err(at(100)));
        assert_eq!(take(0, &other), Ok(()), "each has its own");
        assert_eq!(take(99, &one), Err(at(100)), "what was refused took nothing");
        assert_eq!(take(100, &one), Ok(()));
        assert_eq!(take(100, &one), Err(at(200)));
        for _ in 0..3 {
            assert_eq!(take(5000, &one), Ok(()), "it is full again, and no fuller");
        }
        assert_eq!(take(5000, &one), Err(at(5100)));
    }

    #[test]
    fn who_has_asked_nothing_lately_is_forgotten() {
        let mut rates = rates(1_000, 1);
        for number in 0..100_000_u32 {
            let now = Time::default().after(Duration::from_millis(number.into()));
            let mut address = [0; 16];
            address[..4].copy_from_slice(&number.to_be_bytes());
            assert_eq!(rates.take(now, &Principal::Address(address)), Ok(()));
            assert!(rates.full_at.len() <= Rates::KEPT);
        }
    }
}
