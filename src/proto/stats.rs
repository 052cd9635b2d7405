//! What is counted: plain numbers that the core adds to as it decides.

/// How an accepted request ended. Each ends exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The final reply went into the caller's outbox.
    Replied,
    /// The final reply came, but the caller had gone or could not be sent anything more.
    Unclaimed,
    /// The caller had gone before a worker took the request.
    CallerGone,
    /// The worker was lost, and the service does not deliver twice.
    WorkerLost,
    /// Lost with too many workers, and the last times alone.
    Dead,
    /// No worker offered the service in time.
    Expired,
    /// The parts of the answer were too big together for a caller that takes one message.
    AnswerTooBig,
    /// The caller's deadline passed before the answer came.
    TimedOut,
    /// The caller wanted it no more.
    Cancelled,
    /// The worker said that it failed.
    Failed,
    /// The dialect of the worker cannot say it.
    Refused,
    /// Its caller did not hold its lease any more when it could be delivered.
    StaleEpoch,
    /// Its worker wants the holder of a lease, and its caller is none.
    Unfenced,
}

impl Outcome {
    /// All outcomes, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Replied,
        Self::Unclaimed,
        Self::CallerGone,
        Self::WorkerLost,
        Self::Dead,
        Self::Expired,
        Self::AnswerTooBig,
        Self::TimedOut,
        Self::Cancelled,
        Self::Failed,
        Self::Refused,
        Self::StaleEpoch,
        Self::Unfenced,
    ];

    /// The value of the label `outcome` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Replied => "replied",
            Self::Unclaimed => "unclaimed",
            Self::CallerGone => "caller_gone",
            Self::WorkerLost => "worker_lost",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::AnswerTooBig => "answer_too_big",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::StaleEpoch => "stale_epoch",
            Self::Unfenced => "unfenced",
        }
    }
}

/// Why a worker was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// Its connection ended.
    Closed,
    /// It was silent for too long.
    Expired,
    /// It said DISCONNECT.
    Left,
    /// It said something that it may not say.
    Misbehaved,
    /// It may not serve the service any more.
    Denied,
}

impl Loss {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Closed, Self::Expired, Self::Left, Self::Misbehaved, Self::Denied];

    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Left => "left",
            Self::Misbehaved => "misbehaved",
            Self::Denied => "denied",
        }
    }
}

/// Durations in fixed buckets, from 50 microseconds to a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Observations up to each bound of [`Self::BOUNDS_US`], and beyond the last.
    pub buckets: [u64; Self::BOUNDS_US.len() + 1],
    /// All observations added up, microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Upper bounds of the buckets, microseconds.
    pub const BOUNDS_US: [u64; 20] = [
        50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 60_000_000,
    ];

    /// The first bucket that a number of so many bits can fall into. At most two more are left then.
    const FIRST: [usize; 65] = Self::first_buckets();

    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    const fn first_buckets() -> [usize; 65] {
        let mut first = [0; 65];
        let mut count = 1;
        while count < first.len() {
            let smallest = 1 << (count - 1);
            let mut bucket = first[count - 1];
            while bucket < Self::BOUNDS_US.len() && Self::BOUNDS_US[bucket] < smallest {
                bucket += 1;
            }
            first[count] = bucket;
            count += 1;
        }
        first
    }

    /// Counts one duration, in microseconds.
    #[inline]
    pub fn record(&mut self, us: u64) {
        let mut bucket = Self::FIRST.get(bits(us)).copied().unwrap_or_default();
        while Self::BOUNDS_US.get(bucket).is_some_and(|bound| *bound < us) {
            bucket += 1;
        }
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Puts each number together with the same one of another histogram.
    fn combine(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) {
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count = with(*count, more);
        }
        self.sum_us = with(self.sum_us, other.sum_us);
    }

    /// Observations in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; Self::BOUNDS_US.len() + 1], sum_us: 0 }
    }
}

/// What happened at one service, or at all that have been forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceStats {
    /// Requests accepted.
    pub accepted: u64,
    /// Requests ended, by [`Outcome`].
    pub ended: [u64; Outcome::ALL.len()],
    /// Requests given back by lost workers and to be delivered again, by [`Loss`].
    pub redelivered: [u64; Loss::ALL.len()],
    /// Requests that a worker failed for now, and that are to be delivered again.
    pub retried: u64,
    /// Workers lost, by [`Loss`].
    pub workers_lost: [u64; Loss::ALL.len()],
    /// Answers from somebody who did not hold the request any more; dropped.
    pub late_answers: u64,
    /// Time from acceptance to delivery, each delivery counted.
    pub queue_wait: Histogram,
    /// Time from delivery to the final reply.
    pub service_time: Histogram,
}

impl ServiceStats {
    /// Requests that ended with `outcome`.
    #[must_use]
    pub fn ended_with(&self, outcome: Outcome) -> u64 {
        self.ended.get(outcome as usize).copied().unwrap_or_default()
    }

    /// Counts one end.
    pub fn end(&mut self, outcome: Outcome) {
        bump(&mut self.ended, outcome as usize);
    }

    /// Counts one lost worker.
    pub fn lose_worker(&mut self, loss: Loss) {
        bump(&mut self.workers_lost, loss as usize);
    }

    /// Counts one request given back.
    pub fn redeliver(&mut self, loss: Loss) {
        bump(&mut self.redelivered, loss as usize);
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    /// Takes away what another one counted; nothing falls below zero.
    pub fn sub(&mut self, other: &Self) {
        self.combine(other, u64::saturating_sub);
    }

    /// Raises each number to that of another one.
    pub fn raise(&mut self, other: &Self) {
        self.combine(other, u64::max);
    }

    fn combine(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64 + Copy) {
        self.accepted = with(self.accepted, other.accepted);
        let pairs = [
            (&mut self.ended[..], &other.ended[..]),
            (&mut self.redelivered[..], &other.redelivered[..]),
            (&mut self.workers_lost[..], &other.workers_lost[..]),
        ];
        for (counts, more) in pairs {
            for (count, more) in counts.iter_mut().zip(more) {
                *count = with(*count, *more);
            }
        }
        self.retried = with(self.retried, other.retried);
        self.late_answers = with(self.late_answers, other.late_answers);
        self.queue_wait.combine(&other.queue_wait, with);
        self.service_time.combine(&other.service_time, with);
    }
}

/// Bits that it takes to write a number.
fn bits(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()) as usize
}

fn bump(counts: &mut [u64], index: usize) {
    if let Some(count) = counts.get_mut(index) {
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        for us in [0, 50, 51, 60_000_000, 60_000_001] {
            histogram.record(us);
        }
        assert_eq!(histogram.buckets[..2], [2, 1]);
        assert_eq!(histogram.buckets[19..], [1, 1]);
        assert_eq!((histogram.count(), histogram.sum_us), (5, 120_000_102));
        for us in (0..=100).chain(Histogram::BOUNDS_US.iter().flat_map(|b| [b - 1, *b, b + 1])) {
            let mut histogram = Histogram::default();
            histogram.record(us);
            let bucket = Histogram::BOUNDS_US.iter().take_while(|bound| **bound < us).count();
            assert_eq!(histogram.buckets[bucket], 1, "{us}");
        }
    }
}
