//! The way to one peer: a bounded outbox, and the socket behind it.

mod opened;
mod outbox;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::proto::curve::Sealer;
use crate::proto::output::CloseReason;

use super::account::{Account, Charge};
use super::sealing::{Aside, Sealing};
use super::stream::WriteHalf;
use super::workbench::Workbench;
pub use opened::Opened;
use outbox::{Outbox, give_buffer};

/// How much may wait in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Octets of answers that may wait; an empty outbox takes any one message.
    pub bytes_max: usize,
}

impl OutboxLimits {
    /// From here on a worker gets no more work: a quarter of the limit.
    fn high_mark(self) -> usize {
        self.bytes_max / 4
    }

    /// Down here a worker gets work again: an eighth.
    fn low_mark(self) -> usize {
        self.bytes_max / 8
    }
}

/// What the task of a connection is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Write: the outbox has something and the socket takes it.
    Write,
    /// Go on reading.
    Resume,
    /// Tell the core that the outbox, once under pressure, has emptied.
    Relieved,
    /// End the connection, for that reason.
    Close(CloseReason),
    /// The socket takes nothing any more: the peer has hung up.
    HungUp,
}

/// The way to one peer. Everybody may append; its own task writes, or anybody when much waits.
#[derive(Debug)]
pub struct Link {
    writer: WriteHalf,
    limits: OutboxLimits,
    /// The other end is in this process.
    inner: bool,
    outbox: Mutex<Outbox>,
    /// On a CURVE channel: frames go through it. It is locked before the outbox.
    seal: Option<Box<Mutex<Seal>>>,
}

#[derive(Debug)]
struct Seal {
    sealing: Sealing,
    charge: Charge,
}

/// A message of the peer that is not taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arriving {
    /// When it last went on.
    pub since: Instant,
    /// Octets of it that are here.
    pub octets: usize,
    /// Nothing of it is missing: it waits until it is taken.
    pub whole: bool,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The outbox is over the mark for work.
    pub pressed: bool,
    /// The task of the link has to be told, once, when all has been appended.
    pub wake: bool,
}

impl Link {
    /// Much waits: it is written at once.
    const FLUSH_AT: usize = 64 << 10;
    /// Where so many outboxes are touched at once, more is likely to come for each: they are written
    /// when the sockets were asked once more, and again as long as that brings more for them.
    const CROWD: usize = 4;

    /// A link that writes to `writer`.
    #[must_use]
    pub fn new(writer: WriteHalf, limits: OutboxLimits, account: Arc<Account>) -> Self {
        let outbox = Mutex::new(Outbox::new(account));
        Self { writer, limits, inner: false, outbox, seal: None }
    }

    /// The same link, over a CURVE channel. Large boxes are made at `bench`, or without one, by
    /// whoever writes.
    #[must_use]
    pub fn with_sealer(mut self, sealer: Sealer, bench: Option<Workbench>) -> Self {
        let account = self.lock().charge.account().clone();
        let aside = bench.map(|bench| Aside { bench, shelf: account.clone() });
        let (sealing, charge) = (Sealing::new(sealer, aside), Charge::new(account));
        self.seal = Some(Box::new(Mutex::new(Seal { sealing, charge })));
        self
    }

    /// The same link, to a part of this process: what it carries is nobody's traffic.
    #[must_use]
    pub fn within_process(mut self, inner: bool) -> Self {
        self.inner = inner;
        self
    }

    /// Whether the other end is a part of this process.
    #[must_use]
    pub fn is_inner(&self) -> bool {
        self.inner
    }

    /// What was appended is complete for now: writes at once if much waits, or else tells the
    /// task, which comes to it when all that is ready now has been read. `touched` outboxes got
    /// something at once, this one among them. Returns the octets written.
    pub fn kick(&self, touched: usize) -> u64 {
        let mut outbox = self.lock();
        // Boxes are made by the task of the link: others would wait for it.
        let much = outbox.encoder.len() >= Self::FLUSH_AT && self.seal.is_none();
        let written = if much { self.write_some(&mut outbox) } else { 0 };
        if outbox.waiting() > 0 || outbox.broken {
            if touched >= Self::CROWD {
                outbox.join_crowd();
            }
            outbox.wake();
        } else {
            outbox.touched = false;
        }
        written
    }

    /// Waits for something to do besides reading.
    pub fn poll_call(&self, cx: &mut Context<'_>) -> Poll<Call> {
        let made = self.poll_made(cx);
        let mut outbox = self.lock();
        outbox.at_bench = made.is_pending();
        match &mut outbox.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
        if let Some(why) = outbox.close {
            return Poll::Ready(Call::Close(why));
        }
        if outbox.broken {
            return Poll::Ready(Call::HungUp);
        }
        if std::mem::take(&mut outbox.resume) {
            return Poll::Ready(Call::Resume);
        }
        if std::mem::take(&mut outbox.relieved) {
            return Poll::Ready(Call::Relieved);
        }
        if outbox.waiting() == 0 {
            outbox.touched = false;
            return Poll::Pending;
        }
        ready!(made);
        let _writable = ready!(self.writer.poll_writable(cx));
        if outbox.put_off(Self::FLUSH_AT) {
            // Wakes this task when the runtime has asked the system what is ready to be read.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        Poll::Ready(Call::Write)
    }

    /// Writes what the socket takes; returns the octets.
    pub fn flush(&self) -> u64 {
        match &self.seal {
            None => self.write_some(&mut self.lock()),
            Some(seal) => self.write_sealed(&mut lock_seal(seal)),
        }
    }

    /// Waits until the socket takes something, and what waits is ready to be written.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_made(cx));
        self.writer.poll_writable(cx)
    }

    /// Waits for a box that is made elsewhere.
    fn poll_made(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.seal {
            None => Poll::Ready(()),
            Some(seal) => lock_seal(seal).sealing.poll_made(cx),
        }
    }

    /// The socket, for the end: what waits has to be written before.
    #[must_use]
    pub fn writer(&self) -> &WriteHalf {
        &self.writer
    }

    /// Whether the peer has taken nothing of what waits for so long. The time counts from the first
    /// look that found something waiting, and not while what waits is put into a box elsewhere.
    pub fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        let mut outbox = self.lock();
        let sent = outbox.sent;
        if outbox.waiting() == 0 || outbox.at_bench {
            outbox.seen = None;
            return false;
        }
        match outbox.seen {
            Some((seen, since)) if seen == sent => now.saturating_duration_since(since) >= patience,
            _ => {
                outbox.seen = Some((sent, now));
                false
            }
        }
    }

    /// Notes what there is of a message that is not taken.
    pub fn note_arriving(&self, arriving: Option<Arriving>) {
        self.lock().arriving = arriving;
    }

    /// What there is of a message that is not taken, as it was noted.
    #[must_use]
    pub fn arriving(&self) -> Option<Arriving> {
        self.lock().arriving
    }

    /// Octets appended and not written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    /// Puts what waits into boxes and writes them, a batch after the other. The outbox is free
    /// meanwhile.
    fn write_sealed(&self, seal: &mut Seal) -> u64 {
        let Seal { sealing, charge } = seal;
        let mut total = 0;
        loop {
            let mut outbox = self.lock();
            if outbox.broken {
                break;
            }
            if sealing.wants_more() {
                let plain = std::mem::take(&mut outbox.encoder);
                outbox.sealing += plain.len();
                outbox.settle();
                give_buffer(sealing.take(plain).take_buffer());
            }
            drop(outbox);
            let written = match sealing.write(&self.writer) {
                Ok(written) if written.octets == 0 => break,
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.lock().break_off();
                    break;
                }
            };
            total += written.octets as u64;
            let mut outbox = self.lock();
            outbox.sent += written.octets as u64;
            outbox.sealing -= written.plain;
            outbox.written += written.plain as u64;
            outbox.relieve();
        }
        charge.set(sealing.bytes_held());
        total
    }

    fn write_some(&self, outbox: &mut Outbox) -> u64 {
        let before = outbox.written;
        while !outbox.encoder.is_empty() && !outbox.broken {
            match self.writer.try_write_from(&outbox.encoder) {
                Ok(0) => outbox.broken = true,
                Ok(count) => {
                    outbox.encoder.advance(count);
                    outbox.written += count as u64;
                    outbox.sent = outbox.written;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => outbox.broken = true,
            }
        }
        outbox.relieve();
        if outbox.broken {
            outbox.break_off();
        } else if outbox.encoder.is_empty() {
            give_buffer(outbox.encoder.take_buffer());
        }
        outbox.settle();
        outbox.written - before
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        // A panic while appending may leave half a message behind: nothing may be sent then.
        self.outbox.lock().unwrap_or_else(|poisoned| {
            let mut outbox = PoisonError::into_inner(poisoned);
            outbox.broken = true;
            outbox
        })
    }
}

/// A panic while boxes are made breaks the outbox as well: the task has ended.
fn lock_seal(seal: &Mutex<Seal>) -> MutexGuard<'_, Seal> {
    seal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes all of `octets` to a socket that nobody else writes to.
///
/// # Errors
/// Those of the socket.
pub async fn write_all(writer: &WriteHalf, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        std::future::poll_fn(|cx| writer.poll_writable(cx)).await?;
        match writer.try_write(octets) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => octets = octets.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::stream::Stream;

    #[tokio::test]
    async fn a_peer_is_stuck_only_if_it_takes_nothing_of_what_waits() {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let (_reader, writer) = Stream::Unix(ours).into_split();
        let limits = OutboxLimits { bytes_max: 1 << 20 };
        let link = Link::new(writer, limits, Arc::new(Account::new(1 << 30)));
        let now = tokio::time::Instant::now().into_std();
        let at = |seconds| now + Duration::from_secs(seconds);
        let patience = Duration::from_secs(10);
        assert!(!link.is_stuck(at(0), patience), "nothing waits");
        // More than a socket takes, so that some of it waits.
        link.open().append(|encoder| encoder.octets(&[0; 4 << 20]));
        assert!(!link.is_stuck(at(20), patience), "it may have come just now");
        link.flush();
        assert!(!link.is_stuck(at(40), patience), "some of it was taken");
        assert!(link.waiting() > 0 && !link.is_stuck(at(49), patience));
        assert!(link.is_stuck(at(50), patience));
        drop(theirs);
    }

    #[tokio::test]
    async fn a_link_that_breaks_while_others_append_calls_its_task() {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let (_reader, writer) = Stream::Unix(ours).into_split();
        let limits = OutboxLimits { bytes_max: 1 << 20 };
        let link = Arc::new(Link::new(writer, limits, Arc::new(Account::new(1 << 30))));
        let task = link.clone();
        let call = tokio::spawn(std::future::poll_fn(move |cx| task.poll_call(cx)));
        tokio::task::yield_now().await;
        drop(theirs);
        link.open().append(|encoder| encoder.octets(&[0; Link::FLUSH_AT]));
        link.kick(1);
        let call = tokio::time::timeout(Duration::from_secs(5), call).await;
        assert_eq!(call.expect("it is called").unwrap(), Call::HungUp);
    }

    /// Messages of all sizes, with a command between two frames, through boxes and back.
    #[tokio::test]
    async fn what_goes_through_boxes_comes_out_as_it_went_in() {
        through_boxes(None).await;
        through_boxes(Some(Workbench::start_modest("test-boxes", 2, 1).unwrap())).await;
    }

    async fn through_boxes(bench: Option<Workbench>) {
        use crate::proto::curve::{Channel, SharedKey, Side};
        use crate::transport::inbound::Inbound;
        use crate::wire::Limits;
        use crate::wire::codec::Item;
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let channel =
            |side| Channel { side, key: SharedKey::new([7; 32]), sent: 2, received: 2 }.split();
        let account = Arc::new(Account::new(1 << 30));
        let (_reader, writer) = Stream::Unix(ours).into_split();
        let limits = OutboxLimits { bytes_max: 64 << 20 };
        let link = Link::new(writer, limits, account.clone());
        let link = Arc::new(link.with_sealer(channel(Side::Client).0, bench.clone()));
        let sizes = [0, 1, 255, 256, 4095, 4096, 70_000, 3 << 20, 5];
        let body = |size: usize| bytes::Bytes::from(vec![size.to_le_bytes()[0]; size]);
        for round in 0..50 {
            link.open().append(|encoder| encoder.frame(&body(round)));
            link.open().ping(b"\x04\x07\x04PING\0\0");
            for size in sizes.into_iter().filter(|size| *size < 5000 || round == 7) {
                let message = crate::wire::message::Message::new([body(size), body(round)]);
                link.open().append(|encoder| encoder.frames_and_more(&message.frames()));
            }
            link.open().append(|encoder| encoder.last_frame(b"end"));
        }
        let sender = tokio::spawn({
            let link = link.clone();
            async move {
                while link.waiting() > 0 {
                    std::future::poll_fn(|cx| link.poll_writable(cx)).await.unwrap();
                    link.flush();
                }
            }
        });
        let (reader, _writer) = Stream::Unix(theirs).into_split();
        let mut inbound = Inbound::new(reader, Limits::default(), account.clone())
            .with_opener(channel(Side::Server).1, bench);
        let (mut messages, mut commands) = (Vec::new(), 0);
        while messages.len() < 50 {
            let turn = std::future::poll_fn(|cx| {
                inbound.poll_turn(cx, |decoder, mut octets| {
                    while let Some(item) = decoder.next(&mut octets).unwrap() {
                        match item {
                            Item::Message(frames) => messages.push(frames.to_message()),
                            Item::Command(_) => commands += 1,
                        }
                    }
                })
            });
            turn.await.unwrap().expect("nobody hangs up");
        }
        sender.await.unwrap();
        assert!((1..=50).contains(&commands));
        for (round, message) in messages.iter().enumerate() {
            let mut frames = message.frames();
            assert_eq!(frames.next(), Some(&body(round)[..]), "{round}");
            for size in sizes.into_iter().filter(|size| *size < 5000 || round == 7) {
                assert!(frames.next() == Some(&body(size)[..]), "{round} {size}");
                assert_eq!(frames.next(), Some(&body(round)[..]));
            }
            assert_eq!((frames.next(), frames.next()), (Some(&b"end"[..]), None));
        }
        assert_eq!(link.waiting(), 0);
        drop((link, inbound, messages));
        assert_eq!(account.used(), 0);
    }
}
