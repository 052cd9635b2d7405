//! What all tasks of a broker share: the core behind one lock, the links, the account.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::BrokerConfig;
use crate::id::PeerId;
use crate::proto::core::{Admission, Core, Hello};
use crate::proto::output::CloseReason;
use crate::transport::account::Account;
use crate::transport::link::Link;

use super::counters::Counters;
use super::outboxes::{Links, Outboxes};

/// While memory is short, a peer that reads nothing for so long is given up.
const STUCK_MAX: Duration = Duration::from_secs(10);
/// How often to look for such peers.
const STUCK_LOOK: Duration = Duration::from_secs(1);

/// A core that did not tick for so long is stuck.
pub(super) const LIVE_MAX: Duration = Duration::from_secs(2);

/// The one clock of the shell; paused in tests that pause tokio's.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: BrokerConfig,
    pub(super) account: Arc<Account>,
    pub(super) counters: Counters,
    /// Ends the listeners.
    pub(super) accepting: CancellationToken,
    /// Ends everything.
    pub(super) running: CancellationToken,
    pub(super) started: Instant,
    /// When the core last ticked, milliseconds after the start.
    last_tick: AtomicU64,
    /// When stuck peers were last looked for, milliseconds after the start.
    last_look: AtomicU64,
    refusals: LogGate,
    state: Mutex<State>,
}

/// At most ten lines a second.
#[derive(Debug, Default)]
struct LogGate {
    inner: Mutex<(u64, u64, u64)>,
}

impl LogGate {
    const LINES_PER_SECOND: u64 = 10;

    fn take(&self, since_start: Duration) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (second, lines, held_back) = &mut *inner;
        if *second != since_start.as_secs() {
            (*second, *lines) = (since_start.as_secs(), 0);
        }
        if *lines >= Self::LINES_PER_SECOND {
            *held_back += 1;
            return None;
        }
        *lines += 1;
        Some(std::mem::take(held_back))
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    pub(super) links: Links,
}

impl Shared {
    pub(super) fn new(config: BrokerConfig, seed: u64) -> Self {
        let core = Core::new(config.settings(), seed, now());
        Self {
            account: Arc::new(Account::new(config.limits.memory.bytes())),
            config,
            counters: Counters::default(),
            accepting: CancellationToken::new(),
            running: CancellationToken::new(),
            started: now(),
            last_tick: AtomicU64::new(0),
            last_look: AtomicU64::new(0),
            refusals: LogGate::default(),
            state: Mutex::new(State { core, links: Links::new() }),
        }
    }

    /// The core. Whoever panicked under this lock left tables behind that nobody may trust: the
    /// process ends.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|_| process::abort())
    }

    /// Gives the core some inputs under one lock, and sends what it decided.
    pub(super) fn with_core<T>(&self, input: impl FnOnce(&mut Core, &mut Outboxes<'_>) -> T) -> T {
        let mut state = self.lock();
        let State { core, links } = &mut *state;
        let mut out = Outboxes::new(links, &self.account, &self.counters);
        let result = input(core, &mut out);
        let touched = out.finish();
        drop(state);
        touched.kick();
        result
    }

    /// A peer comes.
    pub(super) fn join(&self, hello: Hello, link: &Arc<Link>) -> (PeerId, Admission) {
        let mut state = self.lock();
        let State { core, links } = &mut *state;
        let mut out = Outboxes::new(links, &self.account, &self.counters);
        let (id, admission) = core.join(now(), hello, &mut out);
        let touched = out.finish();
        if !matches!(admission, Admission::Refused(_)) {
            links.insert(id, link.clone());
        }
        drop(state);
        touched.kick();
        (id, admission)
    }

    /// A peer goes.
    pub(super) fn leave(&self, id: PeerId) {
        let mut state = self.lock();
        let State { core, links } = &mut *state;
        links.remove(id);
        let mut out = Outboxes::new(links, &self.account, &self.counters);
        core.leave(now(), id, &mut out);
        let touched = out.finish();
        drop(state);
        touched.kick();
    }

    /// Does what is due; returns when to come back.
    pub(super) fn tick(&self) -> Duration {
        /// Deadlines within this are served together.
        const COALESCE: Duration = Duration::from_millis(5);
        let now = now();
        let next = self.with_core(|core, out| {
            core.tick(now, out);
            core.next_timeout()
        });
        let since_start = now.saturating_duration_since(self.started).as_millis();
        let since_start = u64::try_from(since_start).unwrap_or(u64::MAX);
        self.last_tick.store(since_start, Ordering::Relaxed);
        let last_look = Duration::from_millis(self.last_look.load(Ordering::Relaxed));
        if self.account.used() > self.account.high_mark()
            && Duration::from_millis(since_start).saturating_sub(last_look) >= STUCK_LOOK
        {
            self.last_look.store(since_start, Ordering::Relaxed);
            self.give_up_stuck(now);
        }
        let tick_max = crate::proto::clock::Clock::TICK_MAX;
        next.map_or(tick_max, |at| at.saturating_duration_since(now).clamp(COALESCE, tick_max))
    }

    /// Memory is short: whoever has not read for too long must not keep it from the others.
    fn give_up_stuck(&self, now: Instant) {
        let state = self.lock();
        let stuck = state.links.iter().filter(|(_, link)| link.is_stuck(now, STUCK_MAX));
        let stuck: Vec<PeerId> = stuck.map(|(id, _)| id).collect();
        drop(state);
        for id in stuck {
            self.with_core(|core, out| core.give_up(now, id, CloseReason::Stuck, out));
        }
    }

    /// Whether peers should come: the loop runs, requests are accepted, memory is there.
    pub(super) fn is_ready(&self) -> bool {
        !self.accepting.is_cancelled()
            && self.since_tick() < LIVE_MAX
            && self.account.used() <= self.account.high_mark()
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_quiet(&self) -> bool {
        self.lock().links.values().all(|link| link.is_quiet())
    }

    /// Whether a line about an unwanted peer may be logged now, and how many were held back since
    /// the last one: strangers must not fill the log.
    pub(super) fn log_refusal(&self) -> Option<u64> {
        self.refusals.take(now().saturating_duration_since(self.started))
    }

    /// Time since the core last ticked.
    pub(super) fn since_tick(&self) -> Duration {
        let last = Duration::from_millis(self.last_tick.load(Ordering::Relaxed));
        now().saturating_duration_since(self.started).saturating_sub(last)
    }
}
