//! What happens in a group, as a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;

use super::event::Event;
use super::member::Inner;
use super::queue::Queue;

/// What happens in a group, in the order in which all members see it. It begins with
/// [`Event::Joined`], and ends behind an [`Event::Parted`] that is final.
///
/// It is a [`Stream`], too. What is not read waits in a buffer of
/// [`MemberConfig::events_max`] events and [`MemberConfig::unread`] octets of messages; what finds
/// no room there is dropped and counted, and [`Event::Gap`] says so where it is missing. Messages
/// take half of the places at most. As long as it is there the member stays in the group.
///
/// [`MemberConfig::events_max`]: crate::config::MemberConfig::events_max
/// [`MemberConfig::unread`]: crate::config::MemberConfig::unread
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
    _member: Arc<Inner>,
}

impl Events {
    pub(super) fn new(member: Arc<Inner>) -> Self {
        Self { queue: member.shared.reader(), _member: member }
    }

    /// The next event; `None` behind the last one.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.queue.poll(cx)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.queue.poll(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.queue.close();
    }
}
