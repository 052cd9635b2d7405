//! Octets from one peer, a turn at a time.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep};

use crate::proto::curve::{ChannelError, Opener};
use crate::wire::Limits;
use crate::wire::codec::{CodecError, Decoder};

use super::account::{Account, Charge, Ticket};
use super::lane::Lane;
use super::opening::{Opening, OpeningError};
use super::stream::ReadHalf;
use super::workbench::Workbench;

/// A large body reserves its rest against the account once this much has arrived, octets.
const BODY_FREE_BYTES: usize = 64 << 10;
/// A body that has reserved memory and does not grow for so long costs its connection.
const BODY_STALL_MAX: Duration = Duration::from_secs(10);

thread_local! {
    /// One buffer a thread, not a connection: what a turn leaves incomplete is copied out of it.
    static TURN: RefCell<Vec<u8>> = RefCell::new(vec![0; Inbound::TURN_BYTES]);
}

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboundError {
    /// The socket failed; `TimedOut` if a large body does not arrive, `Other` if the thread that opens
    /// large boxes has failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What carries the boxes of a CURVE channel breaks the framing or a limit.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A box of a CURVE channel is none, or not the next one.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

impl From<OpeningError> for InboundError {
    fn from(error: OpeningError) -> Self {
        match error {
            OpeningError::Codec(error) => Self::Codec(error),
            OpeningError::Channel(error) => Self::Channel(error),
            OpeningError::Workbench => Self::Io(io::Error::other(error)),
        }
    }
}

/// What one read gave: what the reader made of it, and how many octets it was.
pub type Turn<T> = Option<(T, usize)>;

/// The reading side of a connection.
#[derive(Debug)]
pub struct Inbound {
    reader: ReadHalf,
    /// Of what the wire carries: messages, or the boxes they are in.
    decoder: Decoder,
    opening: Option<Box<Opening>>,
    /// What came behind the handshake, until the first turn.
    early: Vec<u8>,
    limits: Limits,
    charge: Charge,
    ticket: Ticket,
    body: Body,
    lane: Lane,
    /// It has stood in the account's line since something was last taken.
    stood_in_line: bool,
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
    /// Octets read in one turn. A peer that has a thousand small requests under way should not have
    /// most of them taken in one turn: while it has nothing to do but to wait for that, so have those
    /// who serve it, and then all wait for one another.
    pub const TURN_BYTES: usize = 40 << 10;

    /// Reads from `reader`.
    #[must_use]
    pub fn new(reader: ReadHalf, limits: Limits, account: Arc<Account>) -> Self {
        let ticket = account.ticket();
        let decoder = Decoder::new(limits);
        let charge = Charge::arriving(account);
        Self {
            reader,
            decoder,
            opening: None,
            early: Vec::new(),
            limits,
            charge,
            ticket,
            body: Body::Free,
            lane: Lane::default(),
            stood_in_line: false,
            turn_bytes: Self::TURN_BYTES,
        }
    }

    /// Begins with octets that came behind the handshake.
    #[must_use]
    pub fn with_early(mut self, octets: Vec<u8>) -> Self {
        self.early = octets;
        self
    }

    /// Takes what comes from a CURVE channel. Large boxes are opened at `bench`, or without one, here.
    #[must_use]
    pub fn with_opener(mut self, opener: Opener, bench: Option<Workbench>) -> Self {
        self.decoder = Decoder::new(Opening::outer_limits(self.limits));
        self.opening = Some(Box::new(Opening::new(opener, bench, self.limits)));
        self
    }

    /// Reads at most `octets` in a turn, which is fewer than [`Self::TURN_BYTES`].
    #[must_use]
    pub fn with_turn(mut self, octets: usize) -> Self {
        self.turn_bytes = octets.clamp(1, Self::TURN_BYTES);
        self
    }

    /// Reads large bodies in turns with all others in `line`, as many at a time as it has permits.
    /// Whoever polls has to let the runtime look at the other sockets between two turns of a body.
    #[must_use]
    pub fn with_line(mut self, line: Arc<Semaphore>) -> Self {
        self.lane = Lane::new(line);
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
        self.decoder.in_message() || self.opening.as_ref().is_some_and(|o| o.in_message())
    }

    /// Whether a large body is under way.
    #[must_use]
    pub fn in_body(&mut self) -> bool {
        self.decoder.large_body().is_some()
    }

    /// Whether a large box is being opened elsewhere: nothing is read until it is.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.opening.as_ref().is_some_and(|opening| opening.is_away())
    }

    /// Octets that have come of a message that is not complete.
    #[must_use]
    pub fn arrived(&self) -> usize {
        let inner = self.opening.as_ref().map_or(0, |opening| opening.bytes_arrived());
        self.decoder.bytes_arrived() + inner
    }

    /// Whether there is no room for more of it yet.
    #[must_use]
    pub fn stands_in_line(&self) -> bool {
        matches!(self.body, Body::Asking)
    }

    /// Whether nothing is read because something of ours is not done.
    #[must_use]
    pub fn waits_for_us(&self) -> bool {
        self.is_opening() || self.stands_in_line()
    }

    /// All messages that are complete have been taken, so many: the account need do it no favour,
    /// though the next one may have begun.
    pub fn taken(&mut self, messages: usize) {
        if self.stood_in_line && (messages > 0 || !self.in_message()) {
            self.stood_in_line = false;
            self.charge.account().forget(&self.ticket);
        }
    }

    /// Decodes octets that a turn was given and did not take.
    pub fn replay<T>(&mut self, octets: &[u8], turn: impl FnOnce(&mut Decoder, &[u8]) -> T) -> T {
        let result = match &mut self.opening {
            None => turn(&mut self.decoder, octets),
            Some(opening) => turn(opening.inner(), octets),
        };
        self.settle();
        result
    }

    /// Reads once and hands the octets to `turn`, which has to decode all of them or keep the rest
    /// for [`Self::replay`]. A large body is read into its own buffer, and `turn` sees no octets.
    /// `None`: the peer has hung up.
    ///
    /// # Errors
    /// Nothing more can be read.
    pub fn poll_turn<T>(
        &mut self,
        cx: &mut Context<'_>,
        turn: impl FnOnce(&mut Decoder, &[u8]) -> T,
    ) -> Poll<Result<Turn<T>, InboundError>> {
        if self.decoder.large_body().is_some() {
            return self.poll_body(cx, turn);
        }
        if let Some(opening) = self.opening.as_mut().filter(|opening| opening.is_away()) {
            let result = ready!(opening.poll_aside(cx, turn))?;
            self.settle();
            return Poll::Ready(Ok(Some((result, 0))));
        }
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            return Poll::Ready(self.take(&early, turn).map(Some));
        }
        TURN.with_borrow_mut(|buffer| {
            let room = buffer.len().min(self.turn_bytes);
            let mut octets = ReadBuf::new(buffer.get_mut(..room).unwrap_or_default());
            ready!(Pin::new(&mut self.reader).poll_read(cx, &mut octets))?;
            if octets.filled().is_empty() {
                return Poll::Ready(Ok(None));
            }
            Poll::Ready(self.take(octets.filled(), turn).map(Some))
        })
    }

    /// Hands octets of the wire to `turn`, out of their boxes if they are in such.
    #[inline]
    fn take<T>(
        &mut self,
        octets: &[u8],
        turn: impl FnOnce(&mut Decoder, &[u8]) -> T,
    ) -> Result<(T, usize), InboundError> {
        let result = match &mut self.opening {
            None => turn(&mut self.decoder, octets),
            Some(opening) => opening.open(&mut self.decoder, octets, turn)?,
        };
        self.settle();
        Ok((result, octets.len()))
    }

    fn poll_body<T>(
        &mut self,
        cx: &mut Context<'_>,
        turn: impl FnOnce(&mut Decoder, &[u8]) -> T,
    ) -> Poll<Result<Turn<T>, InboundError>> {
        if self.poll_reserve(cx).is_pending() {
            self.lane.end_turn();
            return Poll::Pending;
        }
        // What an ordinary turn takes is read in one: only large bodies keep others waiting.
        let octets = match self.decoder.large_body() {
            Some(body) if body.missing() > Self::TURN_BYTES => ready!(self.lane.poll_turn(cx)),
            _ => {
                self.lane.end_turn();
                Self::TURN_BYTES
            }
        };
        let Some(body) = self.decoder.large_body() else {
            return Poll::Ready(self.take(&[], turn).map(Some));
        };
        let reader = Pin::new(&mut self.reader);
        let read = {
            let mut spare = body.spare().limit(octets);
            tokio_util::io::poll_read_buf(reader, cx, &mut spare)
        };
        let count = match read {
            Poll::Ready(count) => count?,
            Poll::Pending => {
                self.lane.end_turn();
                if let Body::Reserved { deadline, .. } = &mut self.body {
                    ready!(deadline.as_mut().poll(cx));
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut).into()));
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
        if let Some(opening) = &mut self.opening {
            opening.open_aside(&mut self.decoder);
        }
        if !self.in_body() {
            self.lane.end_turn();
        }
        Poll::Ready(self.take(&[], turn).map(|(result, _)| Some((result, count))))
    }

    /// Waits until the rest of the body is charged, if it is so large that it has to be.
    fn poll_reserve(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Some(body) = self.decoder.large_body() else { return Poll::Ready(()) };
        if body.arrived() < BODY_FREE_BYTES || matches!(self.body, Body::Reserved { .. }) {
            return Poll::Ready(());
        }
        let missing = body.missing();
        (self.body, self.stood_in_line) = (Body::Asking, true);
        ready!(self.charge.poll_more(cx, &self.ticket, missing));
        if self.charge.account().keeps_buffers_of(body.size()) {
            body.shelve(self.charge.account().clone());
        }
        let deadline = Box::pin(sleep(BODY_STALL_MAX));
        self.body = Body::Reserved { charge: self.charge.octets(), deadline };
        Poll::Ready(())
    }

    /// Tells the account what is held.
    fn settle(&mut self) {
        if self.decoder.large_body().is_none() {
            self.body = Body::Free;
        }
        let mut held = self.bytes_held();
        if let Body::Reserved { charge, .. } = self.body {
            held = held.max(charge);
        }
        self.charge.set(held);
    }

    fn bytes_held(&self) -> usize {
        let inner = self.opening.as_ref().map_or(0, |opening| opening.bytes_held());
        self.decoder.bytes_held() + self.early.capacity() + inner
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if self.stood_in_line {
            self.charge.account().forget(&self.ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::transport::stream::Stream;
    use crate::wire::codec::{Encoder, Item};
    use crate::wire::message::Message;

    /// Reads until so many messages were taken.
    async fn read(inbound: &mut Inbound, messages: usize) {
        let mut taken = 0;
        while taken < messages {
            let turn = std::future::poll_fn(|cx| {
                inbound.poll_turn(cx, |decoder, mut octets| {
                    let mut count = 0;
                    while let Some(item) = decoder.next(&mut octets).unwrap() {
                        count += usize::from(matches!(item, Item::Message(_)));
                    }
                    count
                })
            });
            let (count, _) = turn.await.unwrap().expect("nobody hangs up");
            taken += count;
            inbound.taken(count);
        }
    }

    #[tokio::test]
    async fn the_favour_of_the_account_ends_with_the_message_though_the_next_one_has_begun() {
        const SIZE: usize = 200 << 10;
        let account = Arc::new(Account::new(SIZE));
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let (reader, _writer) = Stream::Unix(ours).into_split();
        let mut inbound = Inbound::new(reader, Limits::default(), account.clone());
        let mut encoder = Encoder::default();
        // Its second body does not fit, and has the favour.
        encoder.frames(&Message::new([vec![1; SIZE / 2], vec![2; SIZE], vec![3; 9]]).frames());
        let mut octets = Vec::new();
        let mut slices = [io::IoSlice::new(&[]); 8];
        let filled = encoder.chunks(&mut slices);
        slices[..filled].iter().for_each(|slice| octets.extend_from_slice(slice));
        // The first octet of the next message.
        octets.push(0);
        let writer = tokio::spawn(async move {
            theirs.write_all(&octets).await.unwrap();
            theirs
        });
        read(&mut inbound, 1).await;
        let _open = writer.await.unwrap();
        assert!(inbound.in_message() && inbound.arrived() > 0);
        let (cx, other) = (Context::from_waker(std::task::Waker::noop()), account.ticket());
        assert!(
            account.poll_reserve(&cx, &other, 2 * SIZE).is_ready(),
            "it is the next one's turn"
        );
    }
}
