//! The connections of a client: dialed, spoken over, lost.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::error::ConnectError;
use super::mjp;
use crate::config::{ClientConfig, CurveFiles};
use crate::id::Identity;
use crate::proto::multiplex::LaneId;
use crate::transport::session::{Session, SessionConfig, SessionError};
use crate::wire::message::Frames;
use crate::wire::mjp::HelloLimits;
use crate::wire::{Limits, Protocol};

/// A connection over which calls may go.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) session: Session,
    /// What the other side takes.
    pub(super) limits: Limits,
    /// What the other side can do beyond plain requests.
    pub(super) knows: Knows,
    /// Calls at a time that the other side takes.
    pub(super) in_flight_max: usize,
}

/// What a broker says to know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Knows {
    /// Idempotency keys.
    pub(super) keys: bool,
    /// Leases, and fences of requests.
    pub(super) leases: bool,
    /// Fences of all else.
    pub(super) fences: bool,
    /// Orders and delays.
    pub(super) retry: bool,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Connected, ConnectError>> + Send>>;

enum Line {
    Down,
    Dialing(Dialing),
    Up(Box<Connected>),
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Down => "Down",
            Self::Dialing(_) => "Dialing",
            Self::Up(_) => "Up",
        })
    }
}

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// It stands; the other side takes so many calls at a time.
    Connected(LaneId, usize),
    /// It could not be had.
    Failed(LaneId, ConnectError),
    /// Messages came, or there is room again.
    Turned(LaneId),
    /// It is over.
    Lost(LaneId, SessionError),
}

/// The connections, by lane.
#[derive(Debug)]
pub(super) struct Lines {
    lines: Vec<Line>,
    /// Whose turn it is to be looked at first.
    first: usize,
}

impl Lines {
    pub(super) fn new(count: usize) -> Self {
        Self { lines: std::iter::repeat_with(|| Line::Down).take(count.max(1)).collect(), first: 0 }
    }

    /// Begins to dial.
    pub(super) fn dial(&mut self, lane: LaneId, config: &ClientConfig) {
        self.set(lane, Line::Dialing(Box::pin(connect(config.clone()))));
    }

    pub(super) fn put(&mut self, lane: LaneId, connected: Connected) {
        self.set(lane, Line::Up(Box::new(connected)));
    }

    pub(super) fn hang_up(&mut self, lane: LaneId) {
        self.set(lane, Line::Down);
    }

    fn set(&mut self, lane: LaneId, line: Line) {
        if let Some(place) = self.lines.get_mut(lane.0) {
            *place = line;
        }
    }

    /// The connection of a lane, if it stands.
    #[inline]
    pub(super) fn up(&mut self, lane: LaneId) -> Option<&mut Connected> {
        match self.lines.get_mut(lane.0) {
            Some(Line::Up(connected)) => Some(connected),
            _ => None,
        }
    }

    /// Whether each lane that stands has room, by lane.
    pub(super) fn rooms(&self) -> impl Iterator<Item = (LaneId, bool)> {
        self.lines.iter().enumerate().filter_map(|(number, line)| match line {
            Line::Up(connected) => Some((LaneId(number), connected.session.has_room())),
            Line::Down | Line::Dialing(_) => None,
        })
    }

    /// Waits for something on any connection; writes what waits.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut on_message: impl FnMut(LaneId, Frames<'_>),
    ) -> Poll<Event> {
        let count = self.lines.len();
        for step in 0..count {
            let number = (self.first + step) % count;
            let Some(line) = self.lines.get_mut(number) else { continue };
            if let Poll::Ready(event) = line.poll(cx, LaneId(number), &mut on_message) {
                self.first = number + 1;
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }

    /// Writes what waits everywhere, and says goodbye.
    pub(super) async fn close(&mut self) {
        for line in std::mem::take(&mut self.lines) {
            if let Line::Up(connected) = line {
                // Whoever has gone needs no goodbye.
                let _ = connected.session.close().await;
            }
        }
    }
}

impl Line {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        lane: LaneId,
        on_message: &mut impl FnMut(LaneId, Frames<'_>),
    ) -> Poll<Event> {
        let event = match self {
            Self::Down => return Poll::Pending,
            Self::Dialing(dialing) => match ready!(dialing.as_mut().poll(cx)) {
                Ok(connected) => {
                    let in_flight_max = connected.in_flight_max;
                    *self = Self::Up(Box::new(connected));
                    return Poll::Ready(Event::Connected(lane, in_flight_max));
                }
                Err(error) => Event::Failed(lane, error),
            },
            Self::Up(connected) => {
                let mut hear = |frames: Frames<'_>| on_message(lane, frames);
                match ready!(connected.session.poll_turn(cx, &mut hear)) {
                    Ok(()) => return Poll::Ready(Event::Turned(lane)),
                    Err(error) => Event::Lost(lane, error),
                }
            }
        };
        *self = Self::Down;
        Poll::Ready(event)
    }
}

/// Dials, shakes hands, and hears what the broker takes.
pub(super) async fn connect(config: ClientConfig) -> Result<Connected, ConnectError> {
    let identity = config.identity.as_ref().map(|name| Identity::try_from(name.as_bytes()));
    let limits = config.wire_limits();
    let session_config = SessionConfig {
        // A key may be another one by now, as that of a broker after a rotation.
        curve: config.curve.as_ref().map(CurveFiles::load).transpose()?,
        // It was checked with the configuration.
        identity: identity.and_then(Result::ok),
        limits,
        connect_timeout: config.connect_timeout,
        outbox_bytes_max: config.outbox,
        ping_interval: config.ping_interval,
        ..SessionConfig::default()
    };
    let begin = Instant::now();
    let mut session = Session::connect(&config.endpoint, &session_config).await?;
    let (says, knows) = match config.protocol {
        Protocol::Mjp => {
            let patience = config.connect_timeout.saturating_sub(begin.elapsed());
            mjp::hello(&mut session, &config.endpoint, patience).await?
        }
        Protocol::Mdp01 | Protocol::Mdp02 => (HelloLimits::default(), Knows::default()),
    };
    let smaller = |ours: usize, theirs: Option<u64>| {
        theirs.map_or(ours, |theirs| ours.min(usize::try_from(theirs).unwrap_or(usize::MAX)))
    };
    // Signature, kind and header come before the body.
    let around = 3;
    Ok(Connected {
        session,
        knows,
        limits: Limits {
            frame_bytes_max: smaller(limits.frame_bytes_max, says.frame),
            message_bytes_max: smaller(limits.message_bytes_max, says.message),
            message_frames_max: smaller(
                limits.message_frames_max,
                says.frames.map(|frames| frames.saturating_sub(around)),
            ),
            ..limits
        },
        in_flight_max: smaller(config.in_flight_max, says.requests),
    })
}
