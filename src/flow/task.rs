//! The task of a flow: it moves octets, and answers PINGs while nobody gives or takes.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep_until, timeout};

use super::error::FlowError;
use super::state::{Said, Shared, State};
use super::wire::Wire;
use crate::transport::session::Session;

/// How long the broker may take to hang up after the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The connection of a flow.
#[derive(Debug)]
pub(super) struct Line {
    shared: Arc<Shared>,
    session: Session,
    wire: Wire,
    /// A buffer that is kept.
    said: Vec<Said>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Whoever waits is told when the task ends, in whatever way.
#[derive(Debug)]
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.lock().close();
    }
}

impl Line {
    pub(super) fn new(shared: Arc<Shared>, session: Session, wire: Wire) -> Self {
        Self { shared, session, wire, said: Vec::new(), timer: None }
    }

    /// Runs the flow to its end, and hangs up.
    pub(super) async fn run(mut self) {
        let guard = Guard(self.shared.clone());
        poll_fn(|cx| self.poll_until(cx, State::is_over)).await;
        if guard.0.lock().stands().is_over() {
            // Whoever has gone needs no goodbye.
            let _ = timeout(LAST_WORDS, self.session.close()).await;
        }
    }

    /// Moves octets until something has come true.
    pub(super) fn poll_until(
        &mut self,
        cx: &mut Context<'_>,
        is_done: impl Fn(&State) -> bool,
    ) -> Poll<()> {
        loop {
            let (done, late) = {
                let mut state = self.shared.lock();
                state.take_said(cx, &mut self.said);
                (is_done(&state), state.next_timeout())
            };
            for said in self.said.drain(..) {
                self.session.send(|out| self.wire.write(&said, out));
            }
            if done {
                return Poll::Ready(());
            }
            let timer = late.map(|late| {
                let mut timer = self.timer.take().unwrap_or_else(|| Box::pin(sleep_until(late)));
                if timer.deadline() != late {
                    timer.as_mut().reset(late);
                }
                timer
            });
            self.timer = timer;
            if self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                self.timer = None;
                self.shared.lock().handle_timeout();
                continue;
            }
            let (shared, wire) = (&self.shared, self.wire);
            let turn =
                self.session.poll_turn(cx, &mut |frames| wire.hear(frames, &mut shared.lock()));
            let waiting = self.session.waiting();
            self.shared.lock().turned(waiting);
            match turn {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.shared.lock().fail(FlowError::Lost(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
