//! What all tasks of a broker share: the core behind one lock, the links, the account.

use std::fmt;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::BrokerConfig;
use crate::id::{PeerId, Principal};
use crate::keys::Known;
use crate::proto::core::{Admission, Core, Hello, Regranted};
use crate::proto::flow::FlowEvent;
use crate::proto::output::CloseReason;
use crate::store::{Store, StoreError};
use crate::transport::account::Account;
use crate::transport::endpoint::Endpoint;
use crate::transport::link::Link;
use crate::transport::workbench::Workbench;

use super::AdminRequest;
use super::counters::Counters;
use super::crowd::Crowd;
use super::guard::{Guard, GuardError, Reloaded};
use super::logs::LogRing;
use super::outboxes::{Denied, Links, Outboxes, Touched};
use super::pace::Pace;
use super::shortage::Shortage;

/// How often to look, while memory is short, for peers that keep it from others.
const SHORTAGE_LOOK: Duration = Duration::from_millis(250);

/// A core that did not tick for so long is stuck.
const LIVE_MAX: Duration = Duration::from_secs(2);

/// So many peers of a thread have their large bodies read at a time; others wait for their turn.
const BODIES_AT_ONCE: usize = 2;

/// The one clock of the shell; paused in tests that pause tokio's.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Why no peer should come now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unready {
    /// The broker is being stopped.
    Draining,
    /// It does not listen at one of its endpoints.
    Deaf,
    /// The core's loop has not run for so long.
    Stuck(Duration),
    /// The store has failed.
    Store,
    /// More memory is in use than new work may find.
    Full { used: usize, mark: usize },
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("draining: the broker is being stopped"),
            Self::Deaf => f.write_str("an endpoint cannot be listened at; see the log"),
            Self::Stuck(silence) => {
                write!(f, "stuck: the core has not run for {} ms", silence.as_millis())
            }
            Self::Store => f.write_str("the store has failed; see the log"),
            Self::Full { used, mark } => {
                write!(f, "full: {used} octets in use, over the mark of {mark}; see limits.memory")
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: BrokerConfig,
    pub(super) account: Arc<Account>,
    pub(super) counters: Counters,
    /// The house is at work: the doors may open.
    pub(super) furnished: CancellationToken,
    /// Ends the listeners.
    pub(super) accepting: CancellationToken,
    /// Ends everything.
    pub(super) running: CancellationToken,
    pub(super) started: Instant,
    /// The same moment for people.
    pub(super) started_at: SystemTime,
    /// An endpoint that was bound cannot be listened at.
    pub(super) deaf: AtomicBool,
    /// How peers prove who they are, and what they may do then.
    pub(super) guard: Guard,
    /// Connections of each key.
    pub(super) crowd: Arc<Crowd>,
    /// Where the arithmetic of CURVE's handshakes is done, if anybody speaks it.
    pub(super) bench: Option<Workbench>,
    /// Where large boxes of CURVE are made and opened, a thread for each of the broker's.
    pub(super) box_bench: Option<Workbench>,
    /// Who reads a large body has a permit of this in turns.
    pub(super) body_line: Arc<Semaphore>,
    /// Where it listens, in the order of the configuration.
    pub(super) endpoints: Vec<Endpoint>,
    /// The log records that are kept, if any are.
    pub(super) logs: Option<LogRing>,
    /// The core has something to be done outside.
    pub(super) errands: Notify,
    /// The flow factory is to be asked something.
    pub(super) questions: Notify,
    /// There is a line to the external flow factory.
    pub(super) factory_up: AtomicBool,
    /// What an administrator wants of the program around the broker.
    pub(super) asked: watch::Sender<Option<AdminRequest>>,
    /// That program has asked for it.
    pub(super) heeded: AtomicBool,
    /// What survives the broker, if anything does.
    pub(super) store: OnceLock<Store>,
    /// How that has failed.
    pub(super) store_failed: watch::Sender<Option<Arc<StoreError>>>,
    /// When the core last ticked, milliseconds after the start.
    last_tick: AtomicU64,
    /// When stuck peers were last looked for, milliseconds after the start.
    last_look: AtomicU64,
    refusals: LogGate,
    /// The time is to be looked at sooner than was said.
    roused: Notify,
    state: Mutex<State>,
}

/// At most ten lines a second.
#[derive(Debug, Default)]
struct LogGate {
    inner: Mutex<(u64, u64, u64)>,
}

impl LogGate {
    const LINES_PER_SECOND: u64 = 10;

    /// Whether one line may be written now, and how many were not since the last one; `others` are
    /// never written.
    fn take(&self, others: u64, since_start: Duration) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (second, lines, held_back) = &mut *inner;
        *held_back += others;
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
    pace: Pace,
}

impl Shared {
    pub(super) fn new(
        config: BrokerConfig,
        guard: Guard,
        seed: u64,
        flow_secret: [u8; 32],
    ) -> Self {
        let threads = config.broker.threads.max(1);
        let core = Core::new(config.settings(), seed, now()).with_flow_secret(flow_secret);
        Self {
            account: Arc::new(
                Account::new(config.limits.memory.bytes()).with_spares(config.limits.spares),
            ),
            counters: Counters::default(),
            furnished: CancellationToken::new(),
            accepting: CancellationToken::new(),
            running: CancellationToken::new(),
            started: now(),
            started_at: SystemTime::now(),
            deaf: AtomicBool::new(false),
            crowd: Crowd::new(config.auth.connections_per_key),
            guard,
            config,
            bench: None,
            box_bench: None,
            body_line: Arc::new(Semaphore::new(BODIES_AT_ONCE * threads)),
            endpoints: Vec::new(),
            logs: None,
            errands: Notify::new(),
            questions: Notify::new(),
            factory_up: AtomicBool::new(false),
            asked: watch::Sender::new(None),
            heeded: AtomicBool::new(false),
            store: OnceLock::new(),
            store_failed: watch::Sender::new(None),
            last_tick: AtomicU64::new(0),
            last_look: AtomicU64::new(0),
            refusals: LogGate::default(),
            roused: Notify::new(),
            state: Mutex::new(State { core, links: Links::new(), pace: Pace::default() }),
        }
    }

    /// Epochs of leases are above that one, and no disk knows of them.
    pub(super) fn begin_epochs(&self, above: u64) {
        self.with_core(|core, _| core.begin_epochs(above));
    }

    /// With a configuration that names no keys.
    #[cfg(test)]
    pub(super) fn for_tests(config: BrokerConfig) -> Self {
        let guard = Guard::read(&config.auth, SystemTime::UNIX_EPOCH).unwrap();
        Self::new(config, guard, 0, [0; 32])
    }

    /// The core. Whoever panicked under this lock left tables behind that nobody may trust: the
    /// process ends.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|_| process::abort())
    }

    /// Gives the core some inputs under one lock, and sends what it decided.
    pub(super) fn with_core<T>(&self, input: impl FnOnce(&mut Core, &mut Outboxes<'_>) -> T) -> T {
        let mut state = self.lock();
        let State { core, links, .. } = &mut *state;
        let mut out = Outboxes::new(links, &self.account, &self.counters);
        let result = input(core, &mut out);
        let touched = out.finish();
        self.conclude(state, touched);
        result
    }

    /// After inputs: releases the core, and has done what it has decided.
    #[inline]
    fn conclude(&self, mut state: MutexGuard<'_, State>, touched: Touched) {
        self.alert(&mut state.core);
        let rouse = state.pace.note();
        drop(state);
        self.carry_out(touched);
        // Something may be due earlier than it was when the time was last looked at.
        if rouse {
            self.roused.notify_one();
        }
    }

    /// Tells those who do what the core cannot do itself.
    #[inline]
    fn alert(&self, core: &mut Core) {
        if core.has_errands() {
            self.errands.notify_one();
        }
        if core.has_questions() {
            self.questions.notify_one();
        }
        self.pass_on(core);
    }

    /// Resolves when an input has come while [`Self::tick`] had said to rest.
    pub(super) async fn roused(&self) {
        self.roused.notified().await;
    }

    /// Tells the store what the core orders, under the core's lock: in the order of its decisions.
    #[inline]
    fn pass_on(&self, core: &mut Core) {
        if core.has_orders()
            && let Some(store) = self.store.get()
        {
            store.order(core.take_orders());
        }
    }

    /// Has the store do what was ordered, and end.
    pub(super) fn stop_store(&self) {
        if let Some(store) = self.store.get() {
            store.stop();
        }
    }

    /// A peer comes. `None`: it may not be here.
    pub(super) fn join(&self, mut hello: Hello, link: &Arc<Link>) -> Option<(PeerId, Admission)> {
        let mut state = self.lock();
        // Under the lock: its rights may be changed in this moment, for all who are here.
        if !hello.house {
            let Known { grants, name, proof } = self.guard.known(&hello.principal)?;
            (hello.grants, hello.name, hello.proof) = (grants, name, proof);
        }
        let State { core, links, .. } = &mut *state;
        let mut out = Outboxes::new(links, &self.account, &self.counters);
        let (id, admission) = core.join(now(), hello, &mut out);
        let touched = out.finish();
        if !matches!(admission, Admission::Refused(_)) {
            links.insert(id, link.clone());
        }
        if self.running.is_cancelled() {
            link.open().close(CloseReason::Shutdown);
        }
        self.conclude(state, touched);
        Some((id, admission))
    }

    /// Reads keys and rights again, and has them hold for those who are here. It blocks.
    pub(super) fn reload(&self) -> Result<Reloaded, GuardError> {
        let reloaded = self.guard.reload(SystemTime::now());
        let mut reloaded = reloaded.inspect_err(|error| error!(%error, "nothing was reloaded"))?;
        reloaded.closed = self.judge_again().closed;
        info!(%reloaded, "keys and rights were read again");
        Ok(reloaded)
    }

    /// Has the rights as they are now hold for those who are here; who may not be here is closed.
    pub(super) fn judge_again(&self) -> Regranted {
        let judge = |principal: &Principal, proof| {
            let known = self.guard.known(principal).filter(|known| known.proof == proof)?;
            Some((known.grants, known.name))
        };
        self.with_core(|core, out| core.regrant(now(), judge, out))
    }

    /// Writes what was decided, and logs what was denied.
    fn carry_out(&self, mut touched: Touched) {
        let denied = touched.take_denied();
        let flows = touched.take_flows();
        touched.kick(&self.counters);
        flows.into_iter().for_each(log_flow);
        if let Some((denied, others)) = denied {
            self.log_denied(&denied, others);
        }
    }

    #[cold]
    fn log_denied(&self, denied: &Denied, others: u64) {
        let Some(held_back) = self.refusals.take(others, self.since_start()) else { return };
        let Denied { principal, name, identity, right, what, by } = denied;
        warn!(%principal, %name, %identity, %right, %what, %by, held_back, "denied");
    }

    /// Ends everything. Connections are told by their links, so that none has to ask for a token
    /// each time it is polled; who joins later is told by [`Self::join`].
    pub(super) fn end(&self) {
        self.running.cancel();
        self.lock().links.values().for_each(|link| link.open().close(CloseReason::Shutdown));
    }

    /// A peer goes.
    pub(super) fn leave(&self, id: PeerId) {
        let mut state = self.lock();
        let State { core, links, .. } = &mut *state;
        links.remove(id);
        let mut out = Outboxes::new(links, &self.account, &self.counters);
        core.leave(now(), id, &mut out);
        let touched = out.finish();
        self.conclude(state, touched);
    }

    /// Does what is due; returns when to come back.
    pub(super) fn tick(&self) -> Duration {
        /// Deadlines within this are served together.
        const COALESCE: Duration = Duration::from_millis(5);
        let now = now();
        let mut state = self.lock();
        let State { core, links, pace } = &mut *state;
        let mut out = Outboxes::new(links, &self.account, &self.counters);
        core.tick(now, &mut out);
        let (next, longest) = (core.next_timeout(), pace.longest(core.router().awaits_memory()));
        let touched = out.finish();
        self.alert(core);
        drop(state);
        self.carry_out(touched);
        let since_start = now.saturating_duration_since(self.started).as_millis();
        let since_start = u64::try_from(since_start).unwrap_or(u64::MAX);
        self.last_tick.store(since_start, Ordering::Relaxed);
        self.account.tidy_spares(now);
        if let Some(shortage) = Shortage::of(&self.account) {
            let last_look = Duration::from_millis(self.last_look.load(Ordering::Relaxed));
            if Duration::from_millis(since_start).saturating_sub(last_look) >= SHORTAGE_LOOK {
                self.last_look.store(since_start, Ordering::Relaxed);
                self.give_up(now, &shortage);
            }
        }
        next.map_or(longest, |at| at.saturating_duration_since(now).clamp(COALESCE, longest))
    }

    /// Memory is short: whoever has not gone on for too long must not keep it from the others.
    fn give_up(&self, now: Instant, shortage: &Shortage) {
        let state = self.lock();
        let to_go = shortage.who_goes(now, state.links.iter().map(|(id, link)| (id, &**link)));
        drop(state);
        for (id, why) in to_go {
            self.with_core(|core, out| core.give_up(now, id, why, out));
        }
    }

    /// Why no peer should come now; `None`: it may.
    pub(super) fn unready(&self) -> Option<Unready> {
        let (used, mark) = (self.account.taken(), self.account.high_mark());
        if self.accepting.is_cancelled() {
            Some(Unready::Draining)
        } else if self.deaf.load(Ordering::Relaxed) {
            Some(Unready::Deaf)
        } else if let Some(silence) = self.stuck() {
            Some(Unready::Stuck(silence))
        } else if self.store_failed.borrow().is_some() {
            Some(Unready::Store)
        } else if used > mark {
            Some(Unready::Full { used, mark })
        } else {
            None
        }
    }

    /// For how long the core's loop has not run, if that is too long.
    pub(super) fn stuck(&self) -> Option<Duration> {
        Some(self.since_tick()).filter(|silence| *silence >= LIVE_MAX)
    }

    /// The core for somebody who is not urgent and must not be stuck with it: `None` if it gave no
    /// way within a second. Keeps no place in a line, so that nobody waits behind it either.
    pub(super) async fn look<T>(&self, look: impl FnOnce(&mut Core) -> T) -> Option<T> {
        const TRIES: usize = 1000;
        const PAUSE: Duration = Duration::from_millis(1);
        for _ in 0..TRIES {
            match self.state.try_lock() {
                Ok(mut state) => return Some(look(&mut state.core)),
                Err(TryLockError::Poisoned(_)) => process::abort(),
                Err(TryLockError::WouldBlock) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_quiet(&self) -> bool {
        self.lock().links.values().all(|link| link.open().is_quiet())
    }

    /// Whether a line about an unwanted peer may be logged now, and how many were held back since
    /// the last one: strangers must not fill the log.
    pub(super) fn log_refusal(&self) -> Option<u64> {
        self.refusals.take(0, self.since_start())
    }

    fn since_start(&self) -> Duration {
        now().saturating_duration_since(self.started)
    }

    /// Time since the core last ticked.
    fn since_tick(&self) -> Duration {
        let last = Duration::from_millis(self.last_tick.load(Ordering::Relaxed));
        self.since_start().saturating_sub(last)
    }
}

/// What happens to flows, for people; numbers are in the metrics.
fn log_flow(event: FlowEvent) {
    match event {
        FlowEvent::Asked { flow, .. } => debug!(flow = flow.token(), "flow_asked"),
        FlowEvent::Paired { flow, .. } => debug!(flow = flow.token(), "flow_paired"),
        FlowEvent::Idle { flow } => info!(flow = flow.token(), "flow_idle"),
        FlowEvent::Ended { flow, outcome } => {
            let (flow, outcome) = (flow.token(), outcome.label());
            debug!(flow, outcome, "flow_ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::clock::Clock;
    use crate::transport::account::Charge;

    fn shared() -> Shared {
        let mut config = BrokerConfig::default();
        config.limits.memory = crate::config::Memory::Bytes(1000);
        Shared::for_tests(config)
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_ready_says_why() {
        let shared = shared();
        assert_eq!(shared.unready(), None);
        let mut charge = Charge::new(shared.account.clone());
        charge.set(851);
        assert_eq!(shared.unready(), Some(Unready::Full { used: 851, mark: 850 }));
        charge.set(850);
        assert_eq!(shared.unready(), None);
        tokio::time::advance(LIVE_MAX).await;
        assert_eq!(shared.unready(), Some(Unready::Stuck(LIVE_MAX)));
        shared.tick();
        assert_eq!(shared.unready(), None);
        shared.deaf.store(true, Ordering::Relaxed);
        assert_eq!(shared.unready(), Some(Unready::Deaf));
        shared.accepting.cancel();
        assert_eq!(shared.unready(), Some(Unready::Draining));
    }

    #[tokio::test(start_paused = true)]
    async fn an_input_calls_a_rest_off() {
        let shared = shared();
        shared.with_core(|_, _| ());
        assert_eq!((shared.tick(), shared.tick()), (Clock::TICK_MAX, Clock::REST_MAX));
        let roused = async || tokio::time::timeout(Duration::ZERO, shared.roused()).await.is_ok();
        assert!(!roused().await);
        shared.with_core(|_, _| ());
        assert!(roused().await);
        assert_eq!(shared.tick(), Clock::TICK_MAX);
        shared.with_core(|_, _| ());
        assert!(!roused().await, "nobody rests");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_gives_up_on_a_core_that_is_held() {
        let shared = Arc::new(shared());
        let (held, hold) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let holder = std::thread::spawn({
            let shared = shared.clone();
            move || {
                let _core = shared.lock();
                held.send(()).unwrap();
                let _ = released.recv();
            }
        });
        hold.recv().unwrap();
        assert_eq!(shared.look(|core| core.stalls()).await, None);
        drop(release);
        holder.join().unwrap();
        assert_eq!(shared.look(|core| core.stalls()).await, Some(0));
    }
}
