//! One connection, one task: reads, has the core decide, writes.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::id::{PeerId, Principal};
use crate::proto::core::{Admission, Core, Hello, Taken};
use crate::proto::curve::ChannelError;
use crate::proto::handshake::Peer;
use crate::proto::output::CloseReason;
use crate::transport::account::{Account, Charge};
use crate::transport::inbound::{Inbound, InboundError};
use crate::transport::link::{Arriving, Call, Link};
use crate::wire::codec::{CodecError, Decoder, Item};
use crate::wire::command::{Command, CommandError, SocketType};
use crate::wire::message::Message;
use crate::wire::zio::Shape;

use super::entrance::Door;
use super::outboxes::Outboxes;
use super::shared::{Shared, now};

/// How often a peer that is not read is looked at: it may have hung up, and its silence may be our
/// doing.
const HANG_UP_CHECK: Duration = Duration::from_millis(500);
/// A message of which less has come is not looked at, octets.
const ARRIVING_MIN: usize = 4 << 10;
/// A message that is on its way goes on if so much more of it comes in time, octets.
const GROWTH_MIN: usize = 64 << 10;
/// How long a connection that ends may take to write what waits.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer hung up")]
    HungUp,
    #[error("the broker closed the connection: {0}")]
    Closed(CloseReason),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("the peer sent ERROR: {0}")]
    Error(String),
}

impl From<InboundError> for End {
    fn from(error: InboundError) -> Self {
        match error {
            InboundError::Io(error) => Self::Io(error),
            InboundError::Codec(error) => Self::Codec(error),
            InboundError::Channel(error) => Self::Channel(error),
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    id: PeerId,
    link: Arc<Link>,
    inbound: Inbound,
    /// The core takes messages from this peer now.
    reading: bool,
    /// It was last seen not to be read because something of ours is not done.
    waits_for_us: bool,
    held: Held,
    /// Octets that had come of the message under way when it was last seen to go on.
    seen: usize,
}

/// What was read and not taken.
#[derive(Debug)]
struct Held {
    message: Option<Message>,
    octets: Vec<u8>,
    charge: Charge,
}

impl Held {
    fn nothing(account: Arc<Account>) -> Self {
        Self { message: None, octets: Vec::new(), charge: Charge::arriving(account) }
    }

    fn keep(&mut self, message: Option<Message>, octets: Vec<u8>) {
        let bytes = message.as_ref().map_or(0, Message::bytes);
        self.charge.set(bytes + octets.capacity());
        (self.message, self.octets) = (message, octets);
    }

    fn take(&mut self) -> (Option<Message>, Vec<u8>) {
        self.charge.set(0);
        (self.message.take(), std::mem::take(&mut self.octets))
    }
}

impl Connection {
    pub(super) fn join(
        shared: Arc<Shared>,
        link: Arc<Link>,
        inbound: Inbound,
        (peer, door, principal): (&Peer, Door, Principal),
        remote: &str,
    ) -> Option<Self> {
        let hello = Hello {
            identity: peer.identity.clone(),
            takes_ping: peer.version.has_ping(),
            era: door.era,
            house: door.house,
            principal,
            shape: shape_of(peer, door),
            ..Hello::default()
        };
        let identity = peer.identity.as_ref().map(ToString::to_string).unwrap_or_default();
        let Some((id, admission)) = shared.join(hello, &link) else {
            info!(%remote, %identity, "closed: its key was taken out while it came in");
            return None;
        };
        let reading = match admission {
            Admission::Open => true,
            Admission::Wait => false,
            Admission::Refused(why) => {
                shared.counters.close(why);
                if let Some(held_back) = shared.log_refusal() {
                    warn!(%remote, %identity, %why, held_back, "peer refused for now");
                }
                return None;
            }
        };
        if door.house {
            debug!(%identity, "a service of the broker joined");
        } else {
            let (socket_type, waits) = (&peer.socket_type, !reading);
            info!(%remote, %identity, %principal, %socket_type, waits, "peer joined");
        }
        let held = Held::nothing(shared.account.clone());
        Some(Self { shared, id, link, inbound, reading, waits_for_us: false, held, seen: 0 })
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self, remote: &str) {
        let end = self.drive().await;
        match &end {
            End::HungUp | End::Closed(_) => {}
            End::Io(error) => debug!(%remote, %error, "connection broke"),
            End::Codec(error) => self.shared.counters.frames_invalid.add(error.label()),
            End::Channel(error) => self.shared.counters.frames_invalid.add(error.label()),
            End::Command(_) => self.shared.counters.frames_invalid.add("command"),
            End::Error(_) => self.shared.counters.peers_gave_up.add(1),
        }
        if self.link.is_inner() {
            debug!(reason = %end, "a part of the broker left");
        } else {
            info!(%remote, reason = %end, "peer left");
        }
        let Self { shared, id, link, inbound, held, .. } = self;
        shared.leave(id);
        // Others wait for the memory and the turns that it has.
        drop((inbound, held));
        if matches!(end, End::Closed(_)) {
            let _ = tokio::time::timeout(LAST_WRITE, write_rest(&shared, &link)).await;
        }
    }

    async fn drive(&mut self) -> End {
        // When a peer that is not read is looked at next, whatever is written to it meanwhile.
        let mut look_at = None;
        loop {
            self.waits_for_us = self.inbound.waits_for_us();
            let patient = self.waits_for_us || !self.reading;
            let event = std::future::poll_fn(|cx| self.poll_event(cx));
            let event = if patient {
                let at = *look_at.get_or_insert_with(|| Instant::now() + HANG_UP_CHECK);
                match tokio::time::timeout_at(at, event).boxed().await {
                    Ok(event) => event,
                    Err(_) => {
                        look_at = None;
                        self.look().map(|()| None)
                    }
                }
            } else {
                look_at = None;
                event.await
            };
            let done = match event {
                Ok(None) => Ok(()),
                Ok(Some(Call::Write)) => {
                    flush(&self.shared, &self.link);
                    Ok(())
                }
                Ok(Some(Call::Relieved)) => {
                    let id = self.id;
                    self.shared.with_core(|core, out| core.relieved(now(), id, out));
                    Ok(())
                }
                Ok(Some(Call::Resume)) => {
                    // Others may have waited for what it did.
                    tokio::task::yield_now().await;
                    self.resume()
                }
                Ok(Some(Call::Close(why))) => Err(End::Closed(why)),
                Ok(Some(Call::HungUp)) => Err(End::HungUp),
                Err(end) => Err(end),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// A look at a peer that is not read.
    fn look(&self) -> Result<(), End> {
        let has_hung_up = self.inbound.reader().has_hung_up();
        if self.inbound.waits_for_us() {
            // It has said something, and its silence is our doing; what is being opened is whole.
            if self.inbound.is_opening() || !has_hung_up {
                self.shared.with_core(|core, _| core.hear(now(), self.id, true));
            }
        } else if has_hung_up && !self.reading {
            return Err(End::HungUp);
        }
        Ok(())
    }

    /// Something to do besides reading, or that the peer stopped being read.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Call>, End>> {
        loop {
            if let Poll::Ready(call) = self.link.poll_call(cx) {
                return Poll::Ready(Ok(Some(call)));
            }
            if !self.reading {
                return Poll::Pending;
            }
            let (shared, id, link, held) = (&self.shared, self.id, &self.link, &mut self.held);
            let turn = self.inbound.poll_turn(cx, |decoder, octets| {
                take_turn(shared, id, link, held, decoder, octets)
            });
            if let Poll::Ready(Ok(Some((_, count)))) = &turn
                && !link.is_inner()
            {
                shared.counters.bytes_received.add(*count as u64);
            }
            self.note_arriving();
            match turn {
                Poll::Pending if self.inbound.waits_for_us() && !self.waits_for_us => {
                    return Poll::Ready(Ok(None));
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(None)) => return Poll::Ready(Err(End::HungUp)),
                Poll::Ready(Ok(Some((Err(end), _)))) => return Poll::Ready(Err(end)),
                Poll::Ready(Ok(Some((Ok(None), _)))) => {
                    self.stop_reading();
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Ok(Some((Ok(Some(messages)), count)))) => {
                    self.inbound.taken(messages);
                    // There is more, but others are to have their turn first; with a large body,
                    // those as well of whom the runtime does not know yet.
                    if self.inbound.in_body() {
                        let _ = pin!(tokio::task::yield_now()).poll(cx);
                        return Poll::Pending;
                    }
                    if count >= Inbound::TURN_BYTES {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Notes for how long a message has been on its way, for when memory is short.
    #[inline]
    fn note_arriving(&mut self) {
        let arrived = self.inbound.arrived();
        let goes_on = arrived < self.seen || arrived >= self.seen + GROWTH_MIN;
        if arrived < ARRIVING_MIN || self.inbound.waits_for_us() {
            if std::mem::take(&mut self.seen) > 0 {
                self.link.note_arriving(None);
            }
        } else if self.seen == 0 || goes_on {
            self.seen = arrived;
            let arriving = Arriving { since: now(), octets: arrived, whole: false };
            self.link.note_arriving(Some(arriving));
        }
    }

    /// The core has not taken what is held: it is not read any more.
    fn stop_reading(&mut self) {
        self.reading = false;
        self.seen = self.held.charge.octets();
        let arriving = Arriving { since: now(), octets: self.seen, whole: true };
        self.link.note_arriving(Some(arriving));
    }

    /// Goes on with what was held, and then with the socket.
    fn resume(&mut self) -> Result<(), End> {
        self.reading = true;
        // Its silence was our doing.
        self.shared.with_core(|core, _| core.hear(now(), self.id, false));
        let (message, octets) = self.held.take();
        let messages = usize::from(message.is_some());
        if let Some(message) = message {
            let id = self.id;
            let taken =
                self.shared.with_core(|core, out| core.message(now(), id, message.frames(), out));
            if taken == Taken::NotYet {
                self.reading = false;
                self.held.keep(Some(message), octets);
                return Ok(());
            }
            self.shared.counters.messages_received.add(1);
        }
        // What comes behind it has its own time.
        self.seen = 0;
        self.link.note_arriving(None);
        self.inbound.taken(messages);
        self.replay(&octets)
    }

    /// Takes octets that were read before.
    fn replay(&mut self, octets: &[u8]) -> Result<(), End> {
        let (shared, id, link, held) = (&self.shared, self.id, &self.link, &mut self.held);
        let taken = self
            .inbound
            .replay(octets, |decoder, octets| take_turn(shared, id, link, held, decoder, octets))?;
        match taken {
            Some(messages) => self.inbound.taken(messages),
            None => self.stop_reading(),
        }
        Ok(())
    }
}

fn flush(shared: &Shared, link: &Link) {
    let written = link.flush();
    if !link.is_inner() {
        shared.counters.bytes_sent.add(written);
    }
}

async fn write_rest(shared: &Shared, link: &Link) {
    while link.waiting() > 0 {
        if std::future::poll_fn(|cx| link.poll_writable(cx)).await.is_err() {
            return;
        }
        let before = link.waiting();
        flush(shared, link);
        if link.waiting() == before {
            tokio::task::yield_now().await;
        }
    }
}

/// The shape of the messages of a peer that can only be an end of flows.
fn shape_of(peer: &Peer, door: Door) -> Option<Shape> {
    match peer.announced {
        SocketType::Server => Some(Shape::Single),
        _ => door.flows_only.then_some(Shape::Multipart),
    }
}

/// Decodes all that one read gave and has the core decide, under one lock. Returns how many messages
/// it took, or `None`: it has not taken the last one, which is held with what comes behind it.
#[inline]
fn take_turn(
    shared: &Shared,
    id: PeerId,
    link: &Link,
    held: &mut Held,
    decoder: &mut Decoder,
    mut octets: &[u8],
) -> Result<Option<usize>, End> {
    shared.with_core(|core, out| {
        let now = now();
        core.hear(now, id, false);
        let (mut spoke, mut messages) = (false, 0);
        let count = |messages: usize| {
            if messages > 0 && !link.is_inner() {
                shared.counters.messages_received.add(messages as u64);
            }
        };
        loop {
            let frames = match decoder.next_short(&mut octets) {
                Some(frames) => frames,
                None => match decoder.next(&mut octets)? {
                    Some(Item::Message(frames)) => frames,
                    Some(Item::Command(body)) => {
                        take_command(core, id, body, out)?;
                        continue;
                    }
                    None => break,
                },
            };
            if !std::mem::replace(&mut spoke, true) {
                core.hear(now, id, true);
            }
            if core.message(now, id, frames, out) == Taken::NotYet {
                held.keep(Some(frames.to_message()), octets.to_vec());
                decoder.let_go();
                count(messages);
                return Ok(None);
            }
            messages += 1;
        }
        count(messages);
        if decoder.in_message() {
            core.hear(now, id, true);
        }
        Ok(Some(messages))
    })
}

fn take_command(
    core: &mut Core,
    id: PeerId,
    body: &[u8],
    out: &mut Outboxes<'_>,
) -> Result<(), End> {
    match Command::decode(body)? {
        Command::Ping { ttl_deciseconds, context } => {
            let mut pong = Vec::new();
            Command::Pong { context }.encode(&mut pong);
            out.pong(id, &pong);
            core.pinged(now(), id, Duration::from_millis(100 * u64::from(ttl_deciseconds)));
        }
        Command::Pong { .. } => core.ponged(id),
        Command::Error { reason } => return Err(End::Error(reason.escape_ascii().to_string())),
        // SUBSCRIBE, CANCEL, JOIN, LEAVE and whatever may come: not for us (RFC 37).
        _ => {}
    }
    Ok(())
}
