//! The way from callers to the client's task: all that has come is taken at once.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::pending::{Pending, Sink};
use crate::wire::message::Message;

/// What a caller wants.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) attempts: u32,
    /// Boxed: it is handed on from here to there.
    pub(super) pending: Box<Pending>,
}

/// What a caller answers to what its worker has asked.
#[derive(Debug)]
pub(super) struct Tell {
    pub(super) call: u64,
    /// How often the call had been sent when it was asked.
    pub(super) sent: u32,
    pub(super) ask: u64,
    pub(super) code: Option<Cow<'static, str>>,
    pub(super) message: Option<Box<str>>,
    pub(super) body: Message,
}

/// Whether the client goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// What was called is finished until then.
    Closing(Instant),
    /// Nobody holds the client any more.
    Gone,
}

/// What has come.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) jobs: Vec<Job>,
    /// Calls that nobody waits for any more.
    pub(super) cancelled: Vec<u64>,
    /// One for each question at most, of which a broker limits the number.
    pub(super) tells: Vec<Tell>,
    /// Leases that are to be renewed: each is asked for once in a third of its time to live.
    pub(super) renewals: Vec<u64>,
    pub(super) phase: Phase,
}

/// What callers have left for the task.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    jobs_max: usize,
}

#[derive(Debug)]
struct State {
    batch: Batch,
    last_id: u64,
    /// The task has something to look at.
    touched: bool,
    waker: Option<Waker>,
}

impl Batch {
    pub(super) fn new() -> Self {
        let (jobs, cancelled, tells) = (Vec::new(), Vec::new(), Vec::new());
        Self { jobs, cancelled, tells, renewals: Vec::new(), phase: Phase::Open }
    }
}

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    Closed,
}

impl Inbox {
    /// Takes at most `jobs_max` before the task looks.
    pub(super) fn new(jobs_max: usize) -> Self {
        let batch = Batch::new();
        let state = State { batch, last_id: 0, touched: false, waker: None };
        Self { state: Mutex::new(state), jobs_max }
    }

    /// Leaves a call whose answer goes to `sink`, and gives its id.
    pub(super) fn call(
        &self,
        attempts: u32,
        mut pending: Box<Pending>,
        sink: Sink,
    ) -> Result<u64, Refusal> {
        let mut state = self.lock();
        if state.batch.phase != Phase::Open {
            return Err(Refusal::Closed);
        }
        if state.batch.jobs.len() >= self.jobs_max {
            return Err(Refusal::Full);
        }
        pending.sink = sink;
        state.last_id += 1;
        let id = state.last_id;
        state.batch.jobs.push(Job { id, attempts, pending });
        touch(state);
        Ok(id)
    }

    /// Nobody waits for that call any more.
    pub(super) fn cancel(&self, id: u64) {
        let mut state = self.lock();
        state.batch.cancelled.push(id);
        touch(state);
    }

    /// A caller answers.
    pub(super) fn tell(&self, tell: Tell) {
        let mut state = self.lock();
        if state.batch.phase != Phase::Gone {
            state.batch.tells.push(tell);
            touch(state);
        }
    }

    /// The lease that the campaign of that id has won is to be renewed.
    pub(super) fn renew(&self, id: u64) {
        let mut state = self.lock();
        if state.batch.phase != Phase::Gone {
            state.batch.renewals.push(id);
            touch(state);
        }
    }

    /// Ends the client: `Closing`, or `Gone`.
    pub(super) fn end(&self, phase: Phase) {
        let mut state = self.lock();
        state.batch.phase = phase;
        touch(state);
    }

    /// The task has ended, however it did: what it has not taken fails, and no more is taken.
    pub(super) fn abandon(&self) {
        let gone = Batch { phase: Phase::Gone, ..Batch::new() };
        let left = std::mem::replace(&mut self.lock().batch, gone);
        // Whoever waits is woken, and not under the lock.
        drop(left);
    }

    /// Waits until there is something.
    pub(super) fn poll_touched(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.touched {
            return Poll::Ready(());
        }
        match &mut state.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Takes all that there is; false if there is nothing. `batch`, which is empty, is left in its
    /// place.
    pub(super) fn take(&self, batch: &mut Batch) -> bool {
        let mut state = self.lock();
        if !std::mem::take(&mut state.touched) {
            return false;
        }
        batch.phase = state.batch.phase;
        std::mem::swap(batch, &mut state.batch);
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The vectors are whole between any two statements: a panic elsewhere cannot harm them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the task once, and not under the lock.
fn touch(mut state: MutexGuard<'_, State>) {
    if !std::mem::replace(&mut state.touched, true)
        && let Some(waker) = state.waker.take()
    {
        drop(state);
        waker.wake();
    }
}
