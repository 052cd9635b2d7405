//! A worker's place at the broker around it.

use std::mem;
use std::os::unix::net::UnixStream;

use tokio::time::Interval;

use crate::broker::acceptor::Acceptor;
use crate::broker::shared::Shared;
use crate::id::Identity;
use crate::transport::session::{Session, SessionConfig, SessionError};
use crate::transport::stream::Stream;
use crate::wire::codec::Encoder;
use crate::wire::nfp::{FromWorker, ToWorker, Verb};

/// What a client asked.
#[derive(Debug)]
pub(super) struct Call {
    /// How it asked.
    pub(super) verb: Verb,
    /// The name of the client.
    pub(super) client: Vec<u8>,
    pub(super) uuid: Vec<u8>,
    pub(super) body: Result<Vec<u8>, TooLong>,
}

/// The body of a call is over [`Call::BODY_MAX`], and was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is over {} octets, the most that a service of the broker reads", Call::BODY_MAX)]
pub(super) struct TooLong;

impl Call {
    /// Longest body of a call, octets: what is kept of it, and what is made of it, is in no account.
    pub(super) const BODY_MAX: usize = 64 << 10;

    /// The client has the right `admin` for what it asks.
    pub(super) fn is_admin(&self) -> bool {
        // Only the core sends MMI to a worker, and only for that.
        self.verb == Verb::Mmi
    }
}

/// A connection to the broker around us, and the registration on it.
#[derive(Debug)]
pub(super) struct Seat {
    session: Session,
    service: &'static str,
    beat: Interval,
    calls: Vec<Call>,
    dismissed: bool,
}

impl Seat {
    /// Connects and registers.
    pub(super) async fn take(
        shared: &Shared,
        acceptor: &Acceptor,
        name: &str,
        service: &'static str,
    ) -> Result<Self, SessionError> {
        let (ours, theirs) = UnixStream::pair()?;
        theirs.set_nonblocking(true)?;
        ours.set_nonblocking(true)?;
        acceptor.admit_house(theirs);
        let stream = Stream::Unix(tokio::net::UnixStream::from_std(ours)?);
        let config = SessionConfig {
            identity: Identity::try_from(name.as_bytes()).ok(),
            limits: shared.config.wire_limits(),
            ..SessionConfig::default()
        };
        let mut session = Session::over(stream, &config).await?;
        session.send(|out| FromWorker::Ready { service: service.as_bytes() }.encode(out));
        let beat = tokio::time::interval(shared.config.nfp.keepalive);
        Ok(Self { session, service, beat, calls: Vec::new(), dismissed: false })
    }

    /// Reads and writes for a moment, and shows that we live.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn turn(&mut self) -> Result<(), SessionError> {
        let Self { session, beat, calls, dismissed, .. } = self;
        tokio::select! {
            turn = session.turn(|said| match ToWorker::decode(said) {
                Ok((_, ToWorker::Order(mut order))) => {
                    let body = order.body.take_first().unwrap_or_default();
                    let is_long = body.len() > Call::BODY_MAX;
                    calls.push(Call {
                        verb: order.verb,
                        client: order.client.to_vec(),
                        uuid: order.uuid.to_vec(),
                        body: if is_long { Err(TooLong) } else { Ok(body.to_vec()) },
                    });
                }
                Ok((_, ToWorker::Disconnect { .. })) => *dismissed = true,
                Ok((_, ToWorker::Keepalive { .. })) | Err(_) => {}
            }) => turn,
            _ = beat.tick() => {
                self.say_keepalive();
                Ok(())
            }
        }
    }

    /// Shows that we live, once it is time, while something takes long. Nothing is read: what comes
    /// meanwhile waits in the broker, which refuses what is too much.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn show_life(&mut self) -> Result<(), SessionError> {
        self.beat.tick().await;
        self.say_keepalive();
        self.session.flush().await
    }

    fn say_keepalive(&mut self) {
        let service = self.service.as_bytes();
        self.session.send(|out| FromWorker::Keepalive { service }.encode(out));
    }

    /// What came since the last call.
    pub(super) fn take_calls(&mut self) -> Vec<Call> {
        mem::take(&mut self.calls)
    }

    /// Says something.
    pub(super) fn say(&mut self, write: impl FnOnce(&mut Encoder)) {
        self.session.send(write);
    }

    /// Whether more may be said now.
    pub(super) fn has_room(&self) -> bool {
        self.session.has_room()
    }

    /// Whether the broker has sent us away; the rest of what was said is written then.
    pub(super) async fn is_over(&mut self) -> Result<bool, SessionError> {
        if self.dismissed {
            self.session.flush().await?;
        }
        Ok(self.dismissed)
    }
}
