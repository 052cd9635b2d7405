//! Whose messages fail: what instances tell the leader of callers, and when it has had enough of
//! one (SPEC 17.6).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::health::Signal;
use crate::proto::rights::Pattern;

/// Callers that are counted at a time, by an instance and by the leader.
pub const CALLERS_MAX: usize = 1_000;

/// Messages of one caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dealt {
    /// Those that were dealt with, in whatever way.
    pub messages: u64,
    /// Those of them that have failed for good.
    pub failed: u64,
}

impl Dealt {
    fn add(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.failed = self.failed.saturating_add(other.failed);
    }
}

/// What an instance tells the leader: what it has dealt with since it last did, by caller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally(pub BTreeMap<String, Dealt>);

impl Tally {
    /// Counts a message. A caller for which there is no room is not counted.
    pub fn count(&mut self, caller: &str, failed: bool) {
        let dealt = Dealt { messages: 1, failed: u64::from(failed) };
        if let Some(known) = self.0.get_mut(caller) {
            known.add(dealt);
        } else if self.0.len() < CALLERS_MAX {
            self.0.insert(caller.to_owned(), dealt);
        }
    }

    /// Whether there is something that the leader would want to know.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.0.values().any(|dealt| dealt.failed > 0)
    }
}

/// When the leader has had enough of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerSettings {
    /// Messages that fail of a hundred from which on it is too many, 1 to 100.
    pub percent: u8,
    /// Fewer messages than that within a window say nothing. Default 20.
    pub messages_min: u64,
    /// Callers that are never ended.
    pub exempt: Vec<Pattern>,
}

impl Default for CallerSettings {
    fn default() -> Self {
        Self { percent: 50, messages_min: 20, exempt: Vec::new() }
    }
}

/// What all instances have told of callers, in this window and the one before.
#[derive(Debug)]
pub struct Callers {
    settings: CallerSettings,
    window: Duration,
    began: Instant,
    now: BTreeMap<String, Dealt>,
    before: BTreeMap<String, Dealt>,
}

impl Callers {
    /// Nothing was told yet.
    #[must_use]
    pub fn new(now: Instant, settings: CallerSettings, window: Duration) -> Self {
        Self { settings, window, began: now, now: BTreeMap::new(), before: BTreeMap::new() }
    }

    /// An instance tells. Whoever has too many failures is forgotten with its signal, and begins
    /// anew when it comes again.
    pub fn hear(&mut self, now: Instant, tally: Tally) -> Vec<Signal> {
        let passed = now.saturating_duration_since(self.began);
        if passed >= self.window {
            let last = std::mem::take(&mut self.now);
            self.before = if passed < self.window * 2 { last } else { BTreeMap::new() };
            self.began = now;
        }
        let mut signals = Vec::new();
        for (caller, dealt) in tally.0 {
            if !self.now.contains_key(&caller) && self.now.len() >= CALLERS_MAX {
                continue;
            }
            let all = self.now.entry(caller.clone()).or_default();
            all.add(dealt);
            let mut all = *all;
            all.add(self.before.get(&caller).copied().unwrap_or_default());
            if self.is_too_much(&caller, all) {
                self.now.remove(&caller);
                self.before.remove(&caller);
                let Dealt { messages, failed } = all;
                signals.push(Signal::EndCaller { caller, messages, failed });
            }
        }
        signals
    }

    fn is_too_much(&self, caller: &str, all: Dealt) -> bool {
        let CallerSettings { percent, messages_min, exempt } = &self.settings;
        let share = all.messages.saturating_mul(u64::from(*percent));
        all.messages >= *messages_min
            && all.failed.saturating_mul(100) >= share.max(1)
            && !exempt.iter().any(|pattern| pattern.matches(caller.as_bytes()))
    }
}
