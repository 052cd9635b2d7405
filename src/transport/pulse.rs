//! Whether the other side of a session still lives, by PING and PONG (RFC 37, "Connection
//! Heartbeating").

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::wire::command::Command;

use super::session::SessionError;

/// Listens for a sign of life, and asks for one.
#[derive(Debug)]
pub(super) struct Pulse {
    interval: Duration,
    heard: Instant,
    asked: bool,
    /// `None`: the peer knows no PING, and its silence says nothing.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pulse {
    pub(super) fn new(interval: Duration, has_ping: bool) -> Self {
        let timer = has_ping.then(|| Box::pin(sleep(interval)));
        Self { interval, heard: Instant::now(), asked: false, timer }
    }

    /// An octet came. The timer finds out by itself when it fires.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
        self.asked = false;
    }

    /// Waits until a PING has to be sent, which is given.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, SessionError>> {
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        loop {
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if self.asked {
                return Poll::Ready(Err(SessionError::Silent { silence: now - self.heard }));
            }
            let due = self.heard + self.interval;
            if due > now {
                timer.as_mut().reset(due);
                continue;
            }
            self.asked = true;
            timer.as_mut().reset(now + self.interval);
            let mut ping = Vec::new();
            Command::Ping { ttl_deciseconds: 0, context: b"" }.encode(&mut ping);
            return Poll::Ready(Ok(ping));
        }
    }
}
