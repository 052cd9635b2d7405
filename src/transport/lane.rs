//! How large bodies are read: a few at a time, so that who has little to say does not wait for all.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// The place of one connection in the line of those who read a large body.
///
/// A turn is over when the next one is asked for, not when it has been used: the runtime can look at
/// all other sockets in between.
#[derive(Debug, Default)]
pub(super) struct Lane {
    line: Option<PollSemaphore>,
    turn: Option<OwnedSemaphorePermit>,
    /// It was not its turn when it asked.
    waited: bool,
}

impl Lane {
    /// Octets that may be read in a turn,
    const TURN_BYTES: usize = 1 << 20;
    /// and if it had to wait for it.
    const TURN_BYTES_IN_LINE: usize = 32 << 10;

    /// A place in that line, which has a permit for each that reads at a time.
    pub(super) fn new(line: Arc<Semaphore>) -> Self {
        Self { line: Some(PollSemaphore::new(line)), turn: None, waited: false }
    }

    /// Waits for its next turn: octets that may be read in it. Without a line it always is.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.turn = None;
        let Some(line) = &mut self.line else { return Poll::Ready(Self::TURN_BYTES) };
        match line.poll_acquire(cx) {
            Poll::Pending => {
                self.waited = true;
                Poll::Pending
            }
            Poll::Ready(turn) => {
                self.turn = turn;
                let waited = std::mem::take(&mut self.waited);
                Poll::Ready(if waited { Self::TURN_BYTES_IN_LINE } else { Self::TURN_BYTES })
            }
        }
    }

    /// Nothing can be read, or the body is here.
    pub(super) fn end_turn(&mut self) {
        self.turn = None;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn who_finds_the_line_full_waits_behind_the_others_and_reads_less() {
        let mut cx = Context::from_waker(Waker::noop());
        let line = Arc::new(Semaphore::new(1));
        let (mut first, mut second) = (Lane::new(line.clone()), Lane::new(line.clone()));
        let (alone, in_line) = (Lane::TURN_BYTES, Lane::TURN_BYTES_IN_LINE);
        assert_eq!(first.poll_turn(&mut cx), Poll::Ready(alone));
        assert_eq!(first.poll_turn(&mut cx), Poll::Ready(alone), "nobody else is there");
        assert!(second.poll_turn(&mut cx).is_pending());
        // It asks again, and that is the end of its turn.
        assert!(first.poll_turn(&mut cx).is_pending());
        assert_eq!(second.poll_turn(&mut cx), Poll::Ready(in_line));
        second.end_turn();
        assert_eq!(first.poll_turn(&mut cx), Poll::Ready(in_line));
        assert!(second.poll_turn(&mut cx).is_pending());
        drop(first);
        drop(second);
        assert_eq!(line.available_permits(), 1, "who leaves is in nobody's way");
        assert_eq!(Lane::default().poll_turn(&mut cx), Poll::Ready(alone));
    }
}
