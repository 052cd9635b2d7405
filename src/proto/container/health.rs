//! The health of a service, as its leader sees it (SPEC 17.6): whether it wants more instances or
//! fewer, and whether its dead letters pile up.
//!
//! ```text
//!                 too much waits, for `hold`            more are wanted
//! as it should be --------------------------> scale up ----------------> (cool-down)
//!                 little waits and is in work,          one fewer is
//!                 for `calm`                            wanted
//! as it should be --------------------------> scale down --------------> (cool-down)
//! ```
//!
//! It looks at readings of the queue and decides; what comes of that is up to whoever listens.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use serde::Serialize;

/// When a service is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// Time between two looks. Default 1 s, 100 ms to 1 min.
    pub interval: Duration,
    /// Messages waiting above which more instances are wanted. None, the default: however many.
    pub hw_mark: Option<u64>,
    /// Messages waiting up to which fewer may do. Default: a quarter of `hw_mark`.
    pub lw_mark: Option<u64>,
    /// Age of the oldest waiting message above which more instances are wanted. None, the default:
    /// however old.
    pub age_max: Option<Duration>,
    /// Too much has to wait for so long before more are wanted. Default 5 s.
    pub hold: Duration,
    /// Little has to wait for so long before fewer are wanted. Default 1 min.
    pub calm: Duration,
    /// Time from one signal to the next of the same kind. Default 30 s.
    pub cool_down: Duration,
    /// The fewest and the most instances that are ever wanted. Default 1 to 8.
    pub instances: RangeInclusive<u64>,
    /// Messages that an instance has in work at a time, at the most. Default 10; a container has its
    /// own here.
    pub prefetch: u64,
    /// Dead letters within a `window` that are too many. Default 10; none: however many.
    pub dead_max: Option<u64>,
    /// Time over which dead letters and failures are counted. Default 1 min.
    pub window: Duration,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            hw_mark: None,
            lw_mark: None,
            age_max: None,
            hold: Duration::from_secs(5),
            calm: Duration::from_secs(60),
            cool_down: Duration::from_secs(30),
            instances: 1..=8,
            prefetch: 10,
            dead_max: Some(10),
            window: Duration::from_secs(60),
        }
    }
}

/// The queue of a service at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that instances have, if the server tells. Without it fewer instances are never
    /// wanted.
    pub in_work: Option<u64>,
    /// Instances that take messages.
    pub instances: u64,
    /// How long the oldest of those that wait has waited, if the server knows.
    pub oldest: Option<Duration>,
    /// Messages that have left the queue for good since some moment, if the server knows.
    pub done: Option<u64>,
    /// Dead letters of the service, if the server tells.
    pub dead: Option<u64>,
}

/// What is to be done about the health of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
pub enum Signal {
    /// More instances are wanted; so many in all.
    ScaleUp {
        /// Instances wanted.
        wanted: u64,
    },
    /// Fewer instances do; so many in all.
    ScaleDown {
        /// Instances wanted.
        wanted: u64,
    },
    /// Dead letters pile up.
    DeadLetters {
        /// Dead letters there are.
        dead: u64,
        /// How many more than there were within the window.
        grown: u64,
    },
    /// Too many messages of a caller fail, and its connection is to be ended.
    EndCaller {
        /// What the queue server calls it.
        caller: String,
        /// Its messages that instances have dealt with, in the window.
        messages: u64,
        /// How many of those have failed.
        failed: u64,
    },
}

impl Signal {
    /// Its name, as in the topic of its event.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ScaleUp { .. } => "scale_up",
            Self::ScaleDown { .. } => "scale_down",
            Self::DeadLetters { .. } => "dead_letters",
            Self::EndCaller { .. } => "end_caller",
        }
    }
}

/// What the leader says of the health of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that instances have, as far as it is known.
    pub in_work: Option<u64>,
    /// Instances that take messages.
    pub instances: u64,
    /// Instances that are wanted; none if nobody has said when it is too much.
    pub wanted: Option<u64>,
    /// How long the oldest waits, ms, as far as it is known or can be reckoned.
    pub oldest_ms: Option<u64>,
    /// Messages that leave the queue for good, in a second.
    pub rate: Option<f64>,
    /// Dead letters.
    pub dead: Option<u64>,
    /// Dead letters pile up.
    pub alarm: bool,
}

/// Decides what a service wants. One that leads has it, from the moment at which it began to lead.
#[derive(Debug)]
pub struct Health {
    settings: HealthSettings,
    wanted: Option<u64>,
    /// Since when too much waits.
    over_since: Option<Instant>,
    /// Since when little waits.
    calm: Option<Calm>,
    up_at: Option<Instant>,
    down_at: Option<Instant>,
    /// Since when messages have waited and none has left.
    stuck_since: Option<Instant>,
    done: VecDeque<(Instant, u64)>,
    dead: VecDeque<(Instant, u64)>,
    alarmed_at: Option<Instant>,
    figures: Figures,
}

/// A time in which little has waited.
#[derive(Debug)]
struct Calm {
    since: Instant,
    /// Messages in work, of all looks together.
    in_work: u64,
    looks: u64,
}

/// Time over which the rate is taken.
const RATE_OVER: Duration = Duration::from_secs(10);
/// Readings that are kept of such a time, about.
const READINGS: u32 = 100;

impl Health {
    /// So many instances were wanted by whoever led before.
    #[must_use]
    pub fn new(settings: HealthSettings, wanted: Option<u64>) -> Self {
        Self {
            settings,
            wanted,
            over_since: None,
            calm: None,
            up_at: None,
            down_at: None,
            stuck_since: None,
            done: VecDeque::new(),
            dead: VecDeque::new(),
            alarmed_at: None,
            figures: Figures::default(),
        }
    }

    /// What there is to say of it.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Somebody wants another mark from now on.
    pub fn set_hw_mark(&mut self, messages: u64) {
        self.settings.hw_mark = Some(messages);
    }

    /// Looks at the queue.
    pub fn look(&mut self, now: Instant, reading: Reading) -> Vec<Signal> {
        let rate = self.rate(now, reading.done);
        let age = self.age(now, reading, rate);
        let mut signals = Vec::new();
        if self.settings.hw_mark.is_some() || self.settings.age_max.is_some() {
            signals.extend(self.scale(now, reading, age));
        }
        let alarm = self.pile(now, reading.dead, &mut signals);
        self.figures = Figures {
            waiting: reading.waiting,
            in_work: reading.in_work,
            instances: reading.instances,
            wanted: self.wanted,
            oldest_ms: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            rate: rate.map(|rate| (rate * 10.0).round() / 10.0),
            dead: reading.dead,
            alarm,
        };
        signals
    }

    /// Messages that have left in a second, over the last ten.
    fn rate(&mut self, now: Instant, done: Option<u64>) -> Option<f64> {
        let done = done?;
        if self.done.back().is_some_and(|(_, before)| *before > done) {
            // The server has begun to count anew.
            self.done.clear();
        }
        remember(&mut self.done, now, RATE_OVER, done);
        let (first, before) = *self.done.front()?;
        let seconds = now.saturating_duration_since(first).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
        let left = done.saturating_sub(before) as f64;
        (seconds > 0.0).then(|| left / seconds)
    }

    /// How long the oldest waits. A server that does not know it leaves it to what one that comes
    /// now would have to wait, or since when nothing moves.
    fn age(&mut self, now: Instant, reading: Reading, rate: Option<f64>) -> Option<Duration> {
        if reading.waiting == 0 {
            self.stuck_since = None;
            return None;
        }
        if reading.oldest.is_some() {
            return reading.oldest;
        }
        match rate {
            Some(rate) if rate > 0.0 => {
                self.stuck_since = None;
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let seconds = reading.waiting as f64 / rate;
                Duration::try_from_secs_f64(seconds).ok()
            }
            _ => {
                let since = *self.stuck_since.get_or_insert(now);
                Some(now.saturating_duration_since(since))
            }
        }
    }

    fn scale(&mut self, now: Instant, reading: Reading, age: Option<Duration>) -> Option<Signal> {
        let range = self.settings.instances.clone();
        let wanted = within(self.wanted.unwrap_or(reading.instances), &range);
        self.wanted = Some(wanted);
        let above = self.settings.hw_mark.is_some_and(|mark| reading.waiting > mark)
            || self.settings.age_max.is_some_and(|max| age > Some(max))
            || reading.instances < *range.start();
        if above {
            self.calm = None;
            let since = *self.over_since.get_or_insert(now);
            let more = self.more(reading);
            if now.saturating_duration_since(since) < self.settings.hold
                || !self.cooled(now, self.up_at)
                || more <= reading.instances
            {
                return None;
            }
            (self.wanted, self.up_at) = (Some(more), Some(now));
            return Some(Signal::ScaleUp { wanted: more });
        }
        self.over_since = None;
        let Some(in_work) = reading.in_work.filter(|_| self.is_little(reading, age)) else {
            self.calm = None;
            return None;
        };
        let calm = self.calm.get_or_insert(Calm { since: now, in_work: 0, looks: 0 });
        calm.in_work = calm.in_work.saturating_add(in_work);
        calm.looks += 1;
        // The others could do what there was twice over.
        let fewer = reading.instances.saturating_sub(1);
        let room = fewer.saturating_mul(self.settings.prefetch).saturating_mul(calm.looks);
        if now.saturating_duration_since(calm.since) < self.settings.calm
            || calm.in_work.saturating_mul(2) > room
            || fewer < *range.start()
            || !self.cooled(now, self.up_at)
            || !self.cooled(now, self.down_at)
        {
            return None;
        }
        (self.wanted, self.down_at, self.calm) = (Some(fewer), Some(now), None);
        Some(Signal::ScaleDown { wanted: fewer })
    }

    /// As many as would have what waits back at the mark, one more at the least and twice as many
    /// at the most.
    fn more(&self, reading: Reading) -> u64 {
        let there = reading.instances.max(1);
        let by_mark = self
            .settings
            .hw_mark
            .map_or(0, |mark| there.saturating_mul(reading.waiting).div_ceil(mark.max(1)));
        let more = by_mark.clamp(there.saturating_add(1), there.saturating_mul(2));
        let range = &self.settings.instances;
        let more = if reading.instances < *range.start() { *range.start() } else { more };
        within(more, range)
    }

    fn is_little(&self, reading: Reading, age: Option<Duration>) -> bool {
        let HealthSettings { hw_mark, lw_mark, .. } = self.settings;
        let mark = lw_mark.or_else(|| hw_mark.map(|mark| mark / 4));
        mark.is_none_or(|mark| reading.waiting <= mark)
            && self.settings.age_max.is_none_or(|max| age <= Some(max / 4))
    }

    fn cooled(&self, now: Instant, last: Option<Instant>) -> bool {
        last.is_none_or(|last| now.saturating_duration_since(last) >= self.settings.cool_down)
    }

    /// Whether dead letters pile up.
    fn pile(&mut self, now: Instant, dead: Option<u64>, signals: &mut Vec<Signal>) -> bool {
        let (Some(dead), Some(max)) = (dead, self.settings.dead_max) else { return false };
        remember(&mut self.dead, now, self.settings.window, dead);
        let fewest = self.dead.iter().map(|(_, dead)| *dead).min().unwrap_or(dead);
        let grown = dead.saturating_sub(fewest);
        let alarm = grown >= max.max(1);
        if alarm && self.cooled(now, self.alarmed_at) {
            self.alarmed_at = Some(now);
            signals.push(Signal::DeadLetters { dead, grown });
        }
        alarm
    }
}

/// The nearest number that may be wanted.
fn within(wanted: u64, range: &RangeInclusive<u64>) -> u64 {
    wanted.min(*range.end()).max(*range.start())
}

/// Keeps a number, of those that come close to one another the smallest, and forgets what is older
/// than that, but for one to compare with.
fn remember(kept: &mut VecDeque<(Instant, u64)>, now: Instant, over: Duration, number: u64) {
    let passed = |at: &Instant| now.saturating_duration_since(*at);
    match kept.back_mut().filter(|(at, _)| passed(at) < over / READINGS) {
        Some((_, last)) => *last = number.min(*last),
        None => kept.push_back((now, number)),
    }
    while kept.get(1).is_some_and(|(at, _)| passed(at) >= over) {
        kept.pop_front();
    }
}
