//! The connection of groups: dialed, spoken over, lost.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::error::ConnectError;
use crate::config::{CurveFiles, MemberConfig};
use crate::id::Identity;
use crate::transport::session::{Session, SessionConfig, SessionError};
use crate::wire::Limits;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    AGENT, Fault, FromBroker, HelloLimits, Malformed, PeerHello, ToBroker, Versions,
};

/// A connection, and what the other side takes.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) session: Session,
    pub(super) limits: Limits,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Connected, ConnectError>> + Send>>;

/// How things stand with the connection.
pub(super) enum Line {
    /// It is dialed again then.
    Down(Instant),
    Dialing(Dialing),
    /// Since that moment.
    Up(Box<Session>, Instant),
}

/// What has happened to it.
pub(super) enum Turn {
    /// It is to be dialed.
    Redial,
    Connected(Box<Connected>),
    Failed(ConnectError),
    /// Something came, or there is room again.
    Talked,
    Lost(SessionError),
}

/// What the broker has said.
#[derive(Debug)]
pub(super) enum Heard {
    Group { id: u64, header: Vec<u8>, body: Message },
    Error { id: u64, code: String, message: String },
    Draining,
}

impl Line {
    pub(super) fn dial(config: &MemberConfig) -> Self {
        Self::Dialing(Box::pin(connect(config.clone())))
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match self {
            Self::Up(session, _) => Some(session),
            Self::Down(_) | Self::Dialing(_) => None,
        }
    }

    /// Whether more should be said: what waits for a connection that is down goes nowhere.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Up(session, _) => session.has_room(),
            Self::Down(_) | Self::Dialing(_) => true,
        }
    }

    /// Waits for something to happen; writes what waits. Giving it up loses nothing.
    pub(super) async fn turn(&mut self, heard: &mut Vec<Heard>) -> Turn {
        match self {
            Self::Down(at) => {
                sleep_until(*at).await;
                Turn::Redial
            }
            Self::Dialing(dialing) => match dialing.await {
                Ok(connected) => Turn::Connected(Box::new(connected)),
                Err(error) => Turn::Failed(error),
            },
            Self::Up(session, _) => match session.turn(|frames| heard.extend(hear(frames))).await {
                Ok(()) => Turn::Talked,
                Err(error) => Turn::Lost(error),
            },
        }
    }
}

/// Reads what the broker says. `None`: nothing that concerns a group.
fn hear(frames: Frames<'_>) -> Option<Heard> {
    match FromBroker::decode(frames) {
        Ok(FromBroker::Group { id, header, body }) => {
            Some(Heard::Group { id, header: header.to_vec(), body: body.to_message() })
        }
        Ok(FromBroker::Error(failure)) => {
            let (code, message) = fault(failure.header);
            Some(Heard::Error { id: failure.id, code, message })
        }
        Ok(FromBroker::Drain { .. }) => Some(Heard::Draining),
        Ok(_) => None,
        // What is new is survived.
        Err(rejected) if rejected.why == Malformed::UnknownKind => None,
        Err(rejected) => {
            let (code, message) = ("malformed_answer".to_owned(), rejected.why.to_string());
            Some(Heard::Error { id: rejected.id, code, message })
        }
    }
}

fn fault(header: &[u8]) -> (String, String) {
    match Fault::decode(header) {
        Ok(fault) => (fault.code.to_owned(), fault.message.unwrap_or_default().to_owned()),
        Err(why) => ("malformed_error".into(), why.to_string()),
    }
}

/// Dials, shakes hands, and hears what the broker takes.
pub(super) async fn connect(config: MemberConfig) -> Result<Connected, ConnectError> {
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
    let patience = config.connect_timeout.saturating_sub(begin.elapsed());
    let says = hello(&mut session, &config, patience).await?;
    let smaller = |ours: usize, theirs: Option<u64>| {
        theirs.map_or(ours, |theirs| ours.min(usize::try_from(theirs).unwrap_or(usize::MAX)))
    };
    // Signature, kind and header come before the body.
    let frames = says.frames.map(|frames| frames.saturating_sub(3));
    let limits = Limits {
        frame_bytes_max: smaller(limits.frame_bytes_max, says.frame),
        message_bytes_max: smaller(limits.message_bytes_max, says.message),
        message_frames_max: smaller(limits.message_frames_max, frames),
        ..limits
    };
    Ok(Connected { session, limits })
}

/// Says HELLO and waits for the broker's.
async fn hello(
    session: &mut Session,
    config: &MemberConfig,
    patience: Duration,
) -> Result<HelloLimits, ConnectError> {
    session.send(|out| {
        ToBroker::Hello(PeerHello { agent: Some(AGENT), versions: Versions::ONE }).encode(out);
    });
    let endpoint = || config.endpoint.to_string();
    let mut answer = None;
    let waiting = async {
        while answer.is_none() {
            let greet = |frames: Frames<'_>| {
                answer = answer.take().or_else(|| greeting(frames, &endpoint));
            };
            session.turn(greet).await?;
        }
        Ok::<_, ConnectError>(())
    };
    match timeout(patience, waiting).await {
        Ok(done) => done?,
        Err(_) => return Err(ConnectError::NoHello { endpoint: endpoint(), timeout: patience }),
    }
    answer.unwrap_or_else(|| Ok(HelloLimits::default()))
}

fn greeting(
    frames: Frames<'_>,
    endpoint: &dyn Fn() -> String,
) -> Option<Result<HelloLimits, ConnectError>> {
    match FromBroker::decode(frames) {
        Ok(FromBroker::Hello(hello)) if hello.features.contains(&"groups") => {
            Some(Ok(hello.limits.unwrap_or_default()))
        }
        Ok(FromBroker::Hello(_)) => Some(Err(ConnectError::NoGroups { endpoint: endpoint() })),
        Ok(FromBroker::Error(failure)) if failure.id == 0 => {
            let (code, message) = fault(failure.header);
            Some(Err(ConnectError::Refused { code, message }))
        }
        _ => None,
    }
}

/// Why a connection was lost, for who asks.
pub(super) fn because(error: &dyn std::fmt::Display) -> Arc<str> {
    error.to_string().into()
}
