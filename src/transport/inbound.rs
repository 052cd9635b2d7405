//! Octets from one peer, a turn at a time.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::wire::Limits;
use crate::wire::codec::Decoder;

use super::account::{Account, Charge, Ticket};
use super::stream::ReadHalf;

/// A large body reserves its rest against the account once this much has arrived, octets.
const BODY_FREE_BYTES: usize = 64 << 10;
/// A body that has reserved memory and does not grow for so long costs its connection.
const BODY_STALL_MAX: Duration = Duration::from_secs(10);

thread_local! {
    /// One buffer a thread, not a connection: what a turn leaves incomplete is copied out of it.
    static TURN: RefCell<Vec<u8>> = RefCell::new(vec![0; Inbound::TURN_BYTES]);
}

/// The reading side of a connection.
#[derive(Debug)]
pub struct Inbound {
    reader: ReadHalf,
    decoder: Decoder,
    charge: Charge,
    ticket: Ticket,
    body: Body,
    /// Octets read in one turn.
    turn_bytes: usize,
}

/// What a large body under way has to do with the account.
#[derive(Debug)]
enum Body {
    /// Nothing: there is none, or it is not that large yet.
    Free,
    /// It waits until there is room.
    Asking,
    /// Its whole size is charged; it has to grow.
    Reserved { charge: usize, deadline: Pin<Box<Sleep>> },
}

impl Inbound {
    /// Octets read in one turn.
    pub const TURN_BYTES: usize = 64 << 10;

    /// Reads from `reader`.
    #[must_use]
    pub fn new(reader: ReadHalf, limits: Limits, account: Arc<Account>) -> Self {
        let ticket = account.ticket();
        let decoder = Decoder::new(limits);
        let (charge, turn_bytes) = (Charge::new(account), Self::TURN_BYTES);
        Self { reader, decoder, charge, ticket, body: Body::Free, turn_bytes }
    }

    /// Reads at most `octets` in a turn, which is fewer than [`Self::TURN_BYTES`].
    #[must_use]
    pub fn with_turn(mut self, octets: usize) -> Self {
        self.turn_bytes = octets.clamp(1, Self::TURN_BYTES);
        self
    }

    /// The socket.
    #[must_use]
    pub fn reader(&self) -> &ReadHalf {
        &self.reader
    }

    /// Whether a message has begun to come and is not complete.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.decoder.in_message()
    }

    /// Decodes octets that were read before.
    pub fn replay<T>(&mut self, octets: &[u8], turn: impl FnOnce(&mut Decoder, &[u8]) -> T) -> T {
        let result = turn(&mut self.decoder, octets);
        self.settle();
        result
    }

    /// Reads once and hands the octets to `turn`, which has to decode all of them. A large body is
    /// read into its own buffer, and `turn` sees no octets. `None`: the peer has hung up.
    ///
    /// # Errors
    /// Those of the socket; `TimedOut` if a large body does not arrive.
    pub fn poll_turn<T>(
        &mut self,
        cx: &mut Context<'_>,
        turn: impl FnOnce(&mut Decoder, &[u8]) -> T,
    ) -> Poll<io::Result<Option<T>>> {
        if self.decoder.large_body().is_some() {
            return self.poll_body(cx, turn);
        }
        TURN.with_borrow_mut(|buffer| {
            let room = buffer.len().min(self.turn_bytes);
            let mut octets = ReadBuf::new(buffer.get_mut(..room).unwrap_or_default());
            ready!(Pin::new(&mut self.reader).poll_read(cx, &mut octets))?;
            if octets.filled().is_empty() {
                return Poll::Ready(Ok(None));
            }
            let result = turn(&mut self.decoder, octets.filled());
            self.settle();
            Poll::Ready(Ok(Some(result)))
        })
    }

    fn poll_body<T>(
        &mut self,
        cx: &mut Context<'_>,
        turn: impl FnOnce(&mut Decoder, &[u8]) -> T,
    ) -> Poll<io::Result<Option<T>>> {
        ready!(self.poll_reserve(cx));
        let Some(body) = self.decoder.large_body() else {
            return Poll::Ready(Ok(Some(turn(&mut self.decoder, &[]))));
        };
        let reader = Pin::new(&mut self.reader);
        let count = match tokio_util::io::poll_read_buf(reader, cx, &mut body.spare()) {
            Poll::Ready(count) => count?,
            Poll::Pending => {
                if let Body::Reserved { deadline, .. } = &mut self.body {
                    ready!(deadline.as_mut().poll(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                return Poll::Pending;
            }
        };
        if count == 0 {
            return Poll::Ready(Ok(None));
        }
        if let Body::Reserved { deadline, .. } = &mut self.body {
            deadline.as_mut().reset(Instant::now() + BODY_STALL_MAX);
        }
        let result = turn(&mut self.decoder, &[]);
        self.settle();
        Poll::Ready(Ok(Some(result)))
    }

    /// Waits until the rest of the body is charged, if it is so large that it has to be.
    fn poll_reserve(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Some(body) = self.decoder.large_body() else { return Poll::Ready(()) };
        if body.arrived() < BODY_FREE_BYTES || matches!(self.body, Body::Reserved { .. }) {
            return Poll::Ready(());
        }
        let missing = body.missing();
        self.body = Body::Asking;
        ready!(self.charge.poll_more(cx, &self.ticket, missing));
        let deadline = Box::pin(sleep(BODY_STALL_MAX));
        self.body = Body::Reserved { charge: self.charge.octets(), deadline };
        Poll::Ready(())
    }

    /// Tells the account what is held.
    fn settle(&mut self) {
        if self.decoder.large_body().is_none() {
            self.body = Body::Free;
        }
        let mut held = self.decoder.bytes_held();
        if let Body::Reserved { charge, .. } = self.body {
            held = held.max(charge);
        }
        self.charge.set(held);
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if matches!(self.body, Body::Asking) {
            self.charge.account().forget(&self.ticket);
        }
    }
}
