//! A connection that we dialed, and that one task owns: what client and worker share.
//!
//! A session speaks ZMTP and no dialect. Its owner appends messages with [`Session::send`] and
//! calls [`Session::turn`] in its `select!` loop; a turn writes what waits and hands over all that
//! one read gave, so that messages travel in batches in both directions.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::id::{Identity, PublicKey};
use crate::proto::curve::{ChannelError, KeyPair};
use crate::proto::handshake::{CurveClient, Fresh, Local, Peer, Role, Security};
use crate::wire::Limits;
use crate::wire::codec::{CodecError, Decoder, Encoder, Item};
use crate::wire::command::{Command, CommandError, SocketType};
use crate::wire::message::Frames;

use super::account::Account;
use super::dial::{Backoff, dial};
use super::endpoint::Endpoint;
use super::greet::{GreetError, Means, greet};
use super::inbound::{Inbound, InboundError};
use super::pulse::Pulse;
use super::sealing::Sealing;
use super::stream::{Stream, WriteHalf};

/// Octets read in one turn: the owner answers in between, so that both ends work at a time.
const TURN_BYTES: usize = 16 << 10;

/// Keys for a broker that speaks CURVE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurveIdentity {
    /// Ours, which the broker has to know.
    pub own: Arc<KeyPair>,
    /// The broker's: whoever cannot prove that it has it is another one.
    pub server: PublicKey,
}

/// How to connect, and how much to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// What we are. Default DEALER.
    pub socket_type: SocketType,
    /// The name we give ourselves; types that have none do not say it. Default none.
    pub identity: Option<Identity>,
    /// Default none: the other side speaks NULL.
    pub curve: Option<CurveIdentity>,
    /// What the other side may send.
    pub limits: Limits,
    /// From the first attempt to reach the other side until its READY. Default 5 s.
    pub connect_timeout: Duration,
    /// What may wait to be written, octets; see [`Session::has_room`]. Default 1 MiB.
    pub outbox_bytes_max: usize,
    /// After so long without an octet a 3.1 peer is sent a PING, and after so long again without
    /// an answer the session ends. Default 5 s.
    pub ping_interval: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            socket_type: SocketType::Dealer,
            identity: None,
            curve: None,
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(5),
            outbox_bytes_max: 1 << 20,
            ping_interval: Duration::from_secs(5),
        }
    }
}

/// Why there is no session, or no longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Nobody listens there, or the name cannot be resolved.
    #[error("cannot connect to {endpoint}: {source}; is the broker running there?")]
    Dial {
        /// Where.
        endpoint: Endpoint,
        /// What the system says.
        source: io::Error,
    },
    /// Neither a connection nor a handshake in time.
    #[error("{endpoint} did not shake hands within {timeout:?}; is it a ZMTP endpoint?")]
    TimedOut {
        /// Where.
        endpoint: Endpoint,
        /// The time it had.
        timeout: Duration,
    },
    /// The system gives no randomness, which keys need.
    #[error("the system gives no random octets: {reason}")]
    NoRandomness {
        /// What it says.
        reason: String,
    },
    /// The handshake failed.
    #[error(transparent)]
    Greet(#[from] GreetError),
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other side hung up.
    #[error("the other side hung up")]
    HungUp,
    /// The other side answers no PING.
    #[error("the other side was silent for {silence:?} and did not answer a PING")]
    Silent {
        /// How long.
        silence: Duration,
    },
    /// The other side broke the framing or a limit.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The other side broke the CURVE channel, or somebody between us did.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The other side sent a command that cannot be read.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The other side ended the connection for good.
    #[error("the other side sent ERROR: {reason}; it will not have us as we are")]
    Refused {
        /// What it said, escaped.
        reason: String,
    },
}

impl From<InboundError> for SessionError {
    fn from(error: InboundError) -> Self {
        match error {
            InboundError::Io(error) => Self::Io(error),
            InboundError::Codec(error) => Self::Codec(error),
            InboundError::Channel(error) => Self::Channel(error),
        }
    }
}

/// A connection that we dialed, after its handshake.
///
/// ```no_run
/// use majordomo::transport::endpoint::Endpoint;
/// use majordomo::transport::session::{Session, SessionConfig};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint: Endpoint = "tcp://127.0.0.1:5555".parse()?;
/// let mut session = Session::connect(&endpoint, &SessionConfig::default()).await?;
/// session.send(|out| {
///     out.frame(b"");
///     out.frame(b"MDPC01");
///     out.frame(b"mmi.service");
///     out.last_frame(b"echo");
/// });
/// session.turn(|frames| println!("{frames:?}")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session {
    peer: Peer,
    inbound: Inbound,
    outbox: Outbox,
    pulse: Pulse,
}

impl Session {
    /// Dials once and shakes hands.
    ///
    /// # Errors
    /// [`SessionError`]: `Dial`, `TimedOut` or `Greet`.
    ///
    /// # Cancel safety
    /// The attempt is given up.
    pub async fn connect(
        endpoint: &Endpoint,
        config: &SessionConfig,
    ) -> Result<Self, SessionError> {
        let timeout = config.connect_timeout;
        let attempt = Box::pin(Self::attempt(endpoint, config));
        match tokio::time::timeout(timeout, attempt).await {
            Ok(session) => session,
            Err(_) => Err(SessionError::TimedOut { endpoint: endpoint.clone(), timeout }),
        }
    }

    /// Dials until it succeeds, however long it takes. The back-off begins anew with the next
    /// connection only if its owner says [`Backoff::reset`]: a handshake alone proves little.
    ///
    /// # Cancel safety
    /// The attempt is given up.
    pub async fn connect_until(
        endpoint: &Endpoint,
        config: &SessionConfig,
        backoff: &mut Backoff,
    ) -> Self {
        loop {
            match Self::connect(endpoint, config).await {
                Ok(session) => return session,
                Err(error) => {
                    let wait = backoff.next_wait();
                    tracing::debug!(%endpoint, %error, ?wait, "cannot connect yet");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn attempt(endpoint: &Endpoint, config: &SessionConfig) -> Result<Self, SessionError> {
        let dialed = dial(endpoint).await;
        let error = |source| SessionError::Dial { endpoint: endpoint.clone(), source };
        Self::over(dialed.map_err(error)?, config).await
    }

    /// Shakes hands over a stream that is there.
    ///
    /// # Errors
    /// Those of the handshake. Waits as long as the other side does.
    ///
    /// # Cancel safety
    /// Giving it up closes the stream.
    pub async fn over(stream: Stream, config: &SessionConfig) -> Result<Self, SessionError> {
        let (mut reader, writer) = stream.into_split();
        let identity = config.identity.clone();
        let security = match &config.curve {
            None => Security::Null,
            Some(CurveIdentity { own, server }) => {
                let fresh = Fresh::filled(getrandom::fill)
                    .map_err(|error| SessionError::NoRandomness { reason: error.to_string() })?;
                Security::CurveClient(CurveClient { server: *server, own: own.clone(), fresh })
            }
        };
        let local = Local {
            role: Role::Dial { socket_type: config.socket_type, identity },
            security,
            limits: config.limits,
        };
        let (mut peer, early) = greet(&mut reader, &writer, local, Means::default()).await?;
        // Nobody else has a say in the memory of one session: its limits are those of the wire.
        let account = Arc::new(Account::new(usize::MAX));
        let mut inbound =
            Inbound::new(reader, config.limits, account).with_turn(TURN_BYTES).with_early(early);
        let mut outbox = Outbox::new(writer, config.outbox_bytes_max);
        if let Some(channel) = peer.channel.take() {
            let (sealer, opener) = channel.split();
            inbound = inbound.with_opener(opener, None);
            outbox.sealing = Some(Box::new(Sealing::new(sealer, None)));
        }
        let pulse = Pulse::new(config.ping_interval, peer.version.has_ping());
        Ok(Self { peer, inbound, outbox, pulse })
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Appends one message, whatever waits already; the next turn writes it. `write` has to write
    /// whole frames, and the last one as the last.
    #[inline]
    pub fn send(&mut self, write: impl FnOnce(&mut Encoder)) {
        write(&mut self.outbox.encoder);
    }

    /// Whether another message should be appended: less waits than `outbox_bytes_max`. A turn
    /// ends when that comes true again.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.outbox.waiting() < self.outbox.bytes_max
    }

    /// Octets appended and not written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.outbox.waiting()
    }

    /// Writes what waits, then reads once and hands over each message that is complete, in order.
    /// PING is answered. Returns when messages came, or when the outbox has room again.
    ///
    /// # Errors
    /// The session is of no use any more; what was handed over before stands.
    ///
    /// # Cancel safety
    /// Nothing is lost: a turn that is given up has read nothing that it did not hand over.
    pub async fn turn(
        &mut self,
        mut on_message: impl FnMut(Frames<'_>),
    ) -> Result<(), SessionError> {
        poll_fn(|cx| self.poll_turn(cx, &mut on_message)).await
    }

    /// [`Self::turn`], for whoever polls by himself.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        on_message: &mut impl FnMut(Frames<'_>),
    ) -> Poll<Result<(), SessionError>> {
        if self.poll_write(cx)? {
            return Poll::Ready(Ok(()));
        }
        let mut seen = false;
        loop {
            let outbox = &mut self.outbox;
            let turn = self.inbound.poll_turn(cx, |decoder, octets| {
                take(decoder, octets, outbox, &mut seen, on_message)
            });
            match turn {
                Poll::Pending => break,
                Poll::Ready(turn) => turn?.ok_or(SessionError::HungUp)?.0?,
            }
            self.pulse.heard();
            if seen {
                return Poll::Ready(Ok(()));
            }
        }
        while let Poll::Ready(beat) = self.pulse.poll(cx) {
            self.outbox.encoder.octets(&beat?);
        }
        // An answer to a PING, or a PING.
        if self.poll_write(cx)? { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Writes all that waits. What comes meanwhile stays where it is.
    ///
    /// # Errors
    /// The session is of no use any more.
    ///
    /// # Cancel safety
    /// What was not written still waits.
    pub async fn flush(&mut self) -> Result<(), SessionError> {
        poll_fn(|cx| {
            self.poll_write(cx)?;
            if self.waiting() == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Whether a message has begun to come and is not complete.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.inbound.in_message()
    }

    /// Writes all that waits, says that nothing follows, and waits until the other side hangs up.
    /// To drop a session instead may take back what was written: a socket that is closed with
    /// octets unread is reset.
    ///
    /// # Errors
    /// The last words may not have arrived.
    ///
    /// # Cancel safety
    /// The session is closed as if dropped.
    pub async fn close(mut self) -> Result<(), SessionError> {
        self.flush().await?;
        self.outbox.writer.shutdown().await?;
        while let Some((discarded, _)) = poll_fn(|cx| self.inbound.poll_turn(cx, discard)).await? {
            discarded?;
        }
        Ok(())
    }

    /// Writes what the socket takes and asks to be woken for the rest; whether there is room
    /// again where there was none.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionError> {
        let full = !self.has_room();
        while let Poll::Ready(done) = self.outbox.poll_write(cx) {
            if done? {
                break;
            }
        }
        Ok(full && self.has_room())
    }
}

/// Takes all that one read gave, for nobody.
fn discard(decoder: &mut Decoder, mut octets: &[u8]) -> Result<(), CodecError> {
    while decoder.next(&mut octets)?.is_some() {}
    Ok(())
}

/// Takes all that one read gave.
fn take(
    decoder: &mut Decoder,
    mut octets: &[u8],
    outbox: &mut Outbox,
    seen: &mut bool,
    on_message: &mut impl FnMut(Frames<'_>),
) -> Result<(), SessionError> {
    while let Some(item) = decoder.next(&mut octets)? {
        match item {
            Item::Message(frames) => {
                *seen = true;
                on_message(frames);
            }
            Item::Command(body) => match Command::decode(body)? {
                Command::Ping { context, .. } => {
                    let mut pong = Vec::new();
                    Command::Pong { context }.encode(&mut pong);
                    outbox.pong = Some(pong);
                }
                Command::Error { reason } => {
                    let reason = reason.escape_ascii().to_string();
                    return Err(SessionError::Refused { reason });
                }
                // PONG has done its work by being heard; the rest is not for us (RFC 37).
                _ => {}
            },
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Outbox {
    writer: WriteHalf,
    encoder: Encoder,
    /// One answer a write, however many PINGs came.
    pong: Option<Vec<u8>>,
    /// On a CURVE channel: frames go through it.
    sealing: Option<Box<Sealing>>,
    bytes_max: usize,
}

impl Outbox {
    /// A larger buffer is not kept when it is empty, octets.
    const BUFFER_BYTES_MAX: usize = 256 << 10;

    fn new(writer: WriteHalf, bytes_max: usize) -> Self {
        Self { writer, encoder: Encoder::default(), pong: None, sealing: None, bytes_max }
    }

    /// Octets appended and not written.
    fn waiting(&self) -> usize {
        self.encoder.len() + self.sealing.as_ref().map_or(0, |sealing| sealing.waiting())
    }

    /// Writes once, or until nothing is left; true then.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(pong) = self.pong.take() {
            self.encoder.octets(&pong);
        }
        if self.waiting() == 0 {
            return Poll::Ready(Ok(true));
        }
        ready!(self.writer.poll_writable(cx))?;
        let done = match &mut self.sealing {
            None => self.writer.try_write_from(&self.encoder).and_then(|count| match count {
                0 => Err(ErrorKind::WriteZero.into()),
                count => {
                    self.encoder.advance(count);
                    Ok(())
                }
            }),
            Some(sealing) => {
                if sealing.wants_more() {
                    self.encoder = sealing.take(std::mem::take(&mut self.encoder));
                }
                sealing.write(&self.writer).map(|_| ())
            }
        };
        match done {
            Err(error)
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Poll::Ready(Err(error));
            }
            _ => {}
        }
        let empty = self.waiting() == 0;
        if empty && self.encoder.bytes_held() > Self::BUFFER_BYTES_MAX {
            self.encoder = Encoder::default();
        }
        Poll::Ready(Ok(empty))
    }
}
