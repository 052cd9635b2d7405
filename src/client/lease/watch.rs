//! Who holds a lease, as a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;

use super::of_call;
use crate::client::call::Guard;
use crate::client::error::CallError;
use crate::lease::{LeaseError, Seen};
use crate::wire::mjp::LeaseReport;

/// What waits to be read; the oldest makes room.
const SEEN_MAX: usize = 64;

/// Who holds a lease of the broker: now, and whenever that changes. It is a [`Stream`], too, and
/// goes on over lost connections: [`Seen::Unknown`] says that there is none. It ends behind an error.
///
/// Of 64 that nobody has read the oldest makes room; the newest is always there.
///
/// # Cancel safety
/// Dropping it tells the broker that nobody looks.
#[derive(Debug)]
pub struct Observation {
    queue: Arc<Queue>,
    /// Gone when it has ended.
    guard: Option<Guard>,
}

impl Observation {
    pub(super) fn new(queue: Arc<Queue>, guard: Guard) -> Self {
        Self { queue, guard: Some(guard) }
    }

    /// Who holds it now; `None` behind an error.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Seen, LeaseError>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Seen, LeaseError>>> {
        if self.guard.is_none() {
            return Poll::Ready(None);
        }
        let mut state = self.queue.lock();
        if let Some(seen) = state.seen.pop_front() {
            return Poll::Ready(Some(Ok(seen)));
        }
        if let Some(error) = state.ended.take() {
            drop(state);
            if let Some(guard) = self.guard.take() {
                guard.ended();
            }
            return Poll::Ready(Some(Err(of_call(error, ""))));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Stream for Observation {
    type Item = Result<Seen, LeaseError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
    }
}

/// What has been seen and was not read.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: VecDeque<Seen>,
    ended: Option<CallError>,
    closed: bool,
    waker: Option<Waker>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // It is whole between any two statements: a panic elsewhere cannot harm it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the task leaves what comes for an observer.
#[derive(Debug)]
pub(in crate::client) struct Sink {
    queue: Arc<Queue>,
    /// What was left last.
    last: Option<Seen>,
}

impl Sink {
    pub(super) fn new() -> (Self, Arc<Queue>) {
        let queue = Arc::new(Queue::default());
        (Self { queue: queue.clone(), last: None }, queue)
    }

    pub(in crate::client) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    pub(in crate::client) fn hear(&mut self, says: &LeaseReport<'_>) {
        let seen = match (says.event, says.epoch) {
            ("holder", Some(epoch)) => Seen::Held {
                epoch,
                name: says.name.map(str::to_owned),
                value: says.value.unwrap_or_default().to_vec(),
            },
            ("free", last) => Seen::Free { last },
            _ => return,
        };
        self.push(seen);
    }

    /// The connection is lost.
    pub(in crate::client) fn part(&mut self) {
        if self.last.is_some() {
            self.push(Seen::Unknown);
        }
    }

    fn push(&mut self, seen: Seen) {
        if self.last.as_ref() == Some(&seen) {
            return;
        }
        self.last = Some(seen.clone());
        let mut state = self.queue.lock();
        if state.seen.len() >= SEEN_MAX {
            state.seen.pop_front();
        }
        state.seen.push_back(seen);
        wake(state);
    }

    pub(in crate::client) fn end(self, error: CallError) {
        let mut state = self.queue.lock();
        state.ended.get_or_insert(error);
        wake(state);
    }
}

/// Wakes who reads, and not under the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    if let Some(waker) = state.waker.take() {
        drop(state);
        waker.wake();
    }
}
