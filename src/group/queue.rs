//! What has happened and was not read: bounded, and no gap is forgotten.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::event::{Event, Gap};

/// Events that wait to be read, and what is missing between them.
///
/// Messages take no more than half of the places, so that a flood of them leaves room for what is
/// said of members, leaders and polls.
#[derive(Debug)]
pub(super) struct Queue {
    events_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is missing before it, its octets, and what has happened.
    events: VecDeque<(Option<Gap>, usize, Event)>,
    bytes: usize,
    /// What is missing behind the last of them.
    gap: Option<Gap>,
    ended: bool,
    /// Nobody reads any more.
    closed: bool,
    waker: Option<Waker>,
}

impl Queue {
    /// Takes so many events, and messages of so many octets; if it is empty, any one message.
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Self {
        Self { events_max: events_max.max(2), bytes_max, state: Mutex::default() }
    }

    /// One more, if there is room; else one more that is missing.
    pub(super) fn push(&self, event: &Event) {
        let mut state = self.lock();
        if state.closed || state.ended {
            return;
        }
        let waiting = state.events.len();
        let (bytes, fits) = match event {
            Event::Message(message) => {
                let bytes = message.body.bytes();
                let room = waiting < self.events_max / 2
                    && state.bytes.saturating_add(bytes) <= self.bytes_max;
                (bytes, waiting == 0 || room)
            }
            // The broker has dropped messages here.
            Event::Gap(gap) => {
                let before = state.gap.unwrap_or_default();
                state.gap = Some(before.and(*gap));
                return wake(state);
            }
            _ => (0, waiting < self.events_max),
        };
        if fits {
            let gap = state.gap.take();
            state.bytes += bytes;
            state.events.push_back((gap, bytes, event.clone()));
        } else {
            let more = match event {
                Event::Message(_) => Gap { messages: 1, others: 0 },
                _ => Gap { messages: 0, others: 1 },
            };
            state.gap = Some(state.gap.unwrap_or_default().and(more));
        }
        wake(state);
    }

    /// Nothing comes any more, behind `last`, which always finds room.
    pub(super) fn end(&self, last: Option<Event>) {
        let mut state = self.lock();
        if state.closed || state.ended {
            return;
        }
        if let Some(last) = last {
            let gap = state.gap.take();
            state.events.push_back((gap, 0, last));
        }
        state.ended = true;
        wake(state);
    }

    /// Nobody reads any more.
    pub(super) fn close(&self) {
        *self.lock() = State { closed: true, ..State::default() };
    }

    /// The next event, or what is missing before it; `None` behind the end.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.lock();
        if let Some((before, ..)) = state.events.front_mut()
            && let Some(gap) = before.take()
        {
            return Poll::Ready(Some(Event::Gap(gap)));
        }
        if let Some((_, bytes, event)) = state.events.pop_front() {
            state.bytes -= bytes;
            return Poll::Ready(Some(event));
        }
        if let Some(gap) = state.gap.take() {
            return Poll::Ready(Some(Event::Gap(gap)));
        }
        if state.ended || state.closed {
            return Poll::Ready(None);
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

impl Gap {
    fn and(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            others: self.others.saturating_add(other.others),
        }
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
    use super::super::event::{GroupMessage, Parted, To};
    use super::super::words::MemberId;
    use super::*;
    use crate::wire::message::Message;

    fn message(seq: u64) -> Event {
        Event::Message(GroupMessage {
            from: MemberId::new("anna", 1),
            to: To::All,
            epoch: None,
            body: Message::from("0123456789"),
            seq,
            sent: None,
            taken: None,
            received: None,
        })
    }

    fn joined(view: u64) -> Event {
        Event::MemberJoined { member: MemberId::new("bert", view), view, size: 2 }
    }

    fn read(queue: &Queue) -> Vec<String> {
        let cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match queue.poll(&cx) {
            Poll::Ready(Some(Event::Message(message))) => Some(format!("m{}", message.seq)),
            Poll::Ready(Some(Event::MemberJoined { view, .. })) => Some(format!("v{view}")),
            Poll::Ready(Some(Event::Gap(gap))) => {
                Some(format!("gap {} {}", gap.messages, gap.others))
            }
            Poll::Ready(Some(Event::Parted(parted))) => Some(parted.to_string()),
            Poll::Ready(other) => other.map(|event| format!("{event:?}")),
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn what_finds_no_room_is_told_of_where_it_is_missing() {
        let queue = Queue::new(4, 1000);
        for seq in 1..=4 {
            queue.push(&message(seq));
        }
        // A flood of messages leaves room for the rest.
        queue.push(&joined(5));
        queue.push(&joined(6));
        queue.push(&joined(7));
        assert_eq!(read(&queue), ["m1", "m2", "gap 2 0", "v5", "v6", "gap 0 1"]);
        queue.push(&Event::Gap(Gap { messages: 3, others: 0 }));
        queue.push(&message(8));
        assert_eq!(read(&queue), ["gap 3 0", "m8"]);
    }

    #[test]
    fn octets_count_and_an_empty_queue_takes_any_one() {
        let queue = Queue::new(100, 5);
        queue.push(&message(1));
        queue.push(&message(2));
        assert_eq!(read(&queue), ["m1", "gap 1 0"]);
        queue.push(&message(3));
        queue.end(Some(Event::Parted(Parted::Left)));
        queue.push(&message(4));
        assert_eq!(read(&queue), ["m3", "it has left"]);
        let cx = Context::from_waker(Waker::noop());
        assert!(matches!(queue.poll(&cx), Poll::Ready(None)));
    }
}
