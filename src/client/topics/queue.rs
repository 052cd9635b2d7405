//! What has come for a subscription and was not read: bounded, and no gap is forgotten.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Lapse, Published};
use crate::client::error::CallError;

/// Messages that wait to be read, and what is missing between them.
#[derive(Debug)]
pub(super) struct Queue {
    messages_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is missing before it, and a message.
    messages: VecDeque<(Option<Gap>, Published)>,
    bytes: usize,
    /// What is missing behind the last of them.
    gap: Option<Gap>,
    ended: Option<CallError>,
    /// Nobody reads any more.
    closed: bool,
    waker: Option<Waker>,
}

/// How much is missing somewhere.
#[derive(Debug, Clone, Copy)]
enum Gap {
    Count(u64),
    Unknown,
}

impl Gap {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Count(one), Self::Count(other)) => Self::Count(one.saturating_add(other)),
            _ => Self::Unknown,
        }
    }

    fn lapse(self) -> Lapse {
        match self {
            Self::Count(count) => Lapse::Missed(count),
            Self::Unknown => Lapse::Unknown,
        }
    }
}

impl Queue {
    /// Takes so many messages and octets; if it is empty, any one message.
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { messages_max: messages_max.max(1), bytes_max, state: Mutex::default() }
    }

    /// One more message, if there is room; else one more that is missing.
    pub(super) fn push(&self, message: Published) {
        let bytes = message.subject.len() + message.body.bytes();
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let waiting = state.messages.len();
        let fits =
            waiting < self.messages_max && state.bytes.saturating_add(bytes) <= self.bytes_max;
        if waiting == 0 || fits {
            let gap = state.gap.take();
            state.bytes += bytes;
            state.messages.push_back((gap, message));
            wake(state);
        } else {
            drop(state);
            self.miss(Lapse::Missed(1));
        }
    }

    /// Something is missing behind what came last.
    pub(super) fn miss(&self, lapse: Lapse) {
        let gap = match lapse {
            Lapse::Missed(count) => Gap::Count(count),
            Lapse::Unknown => Gap::Unknown,
            Lapse::Ended(error) => return self.end(error),
        };
        let mut state = self.lock();
        state.gap = Some(state.gap.map_or(gap, |before| before.and(gap)));
        wake(state);
    }

    /// Nothing comes any more.
    pub(super) fn end(&self, error: CallError) {
        let mut state = self.lock();
        state.ended.get_or_insert(error);
        wake(state);
    }

    /// Nobody reads any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        *state = State { closed: true, ..State::default() };
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The next message, or what is missing before it, or the end.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Published, Lapse>> {
        let mut state = self.lock();
        if let Some((before, _)) = state.messages.front_mut()
            && let Some(gap) = before.take()
        {
            return Poll::Ready(Err(gap.lapse()));
        }
        if let Some((_, message)) = state.messages.pop_front() {
            state.bytes -= message.subject.len() + message.body.bytes();
            return Poll::Ready(Ok(message));
        }
        if let Some(gap) = state.gap.take() {
            return Poll::Ready(Err(gap.lapse()));
        }
        if let Some(error) = state.ended.take() {
            return Poll::Ready(Err(Lapse::Ended(error)));
        }
        match &mut state.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements: a panic elsewhere cannot harm it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the reader once, and not under the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Message;

    fn message(subject: &str) -> Published {
        let body = Message::new([&b"0123456789"[..]]);
        Published { subject: subject.into(), body, publisher: None }
    }

    fn read(queue: &Queue) -> Vec<String> {
        let cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match queue.poll(&cx) {
            Poll::Ready(Ok(message)) => Some(message.subject),
            Poll::Ready(Err(lapse)) => Some(format!("{lapse:?}")),
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn what_finds_no_room_is_told_of_where_it_is_missing() {
        let queue = Queue::new(2, 1000);
        for subject in ["a", "b", "c", "d"] {
            queue.push(message(subject));
        }
        assert_eq!(read(&queue), ["a", "b", "Missed(2)"]);
        queue.miss(Lapse::Missed(3));
        queue.push(message("e"));
        queue.miss(Lapse::Missed(1));
        queue.miss(Lapse::Unknown);
        queue.push(message("f"));
        queue.push(message("g"));
        assert_eq!(read(&queue), ["Missed(3)", "e", "Unknown", "f", "Missed(1)"]);
        queue.end(CallError::Closed);
        assert_eq!(read(&queue), ["Ended(Closed)"]);
    }

    #[test]
    fn octets_count_and_an_empty_queue_takes_any_one() {
        let queue = Queue::new(100, 5);
        queue.push(message("a"));
        queue.push(message("b"));
        assert_eq!(read(&queue), ["a", "Missed(1)"]);
        queue.push(message("c"));
        queue.close();
        queue.push(message("d"));
        assert_eq!(read(&queue), [""; 0]);
    }
}
