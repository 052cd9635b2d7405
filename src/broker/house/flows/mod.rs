//! Flow services of the broker itself (SPEC 13.10): what is configured as `flow.handlers`.
//!
//! Each is an ordinary handler: it offers its service over one connection (READY with the role
//! `flow`), and comes for each flow over another one.

mod calls;
mod file;
mod talk;

use std::num::NonZeroU16;
use std::os::unix::net::UnixStream;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tracing::{debug, info};

use crate::broker::acceptor::Acceptor;
use crate::broker::shared::Shared;
use crate::config::{FlowHandler, HandlerKind};
use crate::proto::dialect::fault;
use crate::transport::session::{Session, SessionConfig, SessionError};
use crate::transport::stream::Stream;
use crate::wire::mjp::{Code, Failure, FromBroker, LaneHeader, Packed, ReadyHeader, ToBroker};
use crate::wire::zio::Direction;

use super::keep_up;
use calls::Calls;
use talk::{Given, Talk};

/// Why a flow is not handled, or not to its end.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// Nothing was said to its client yet: it is refused.
    #[error("{0}")]
    Declined(String),
    /// The flow runs: it is ended.
    #[error("{0}")]
    Broken(String),
    /// The client does not want it any more, or the broker does not.
    #[error("the flow is over before it began")]
    Over,
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// What has gone through a flow.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    messages: u64,
    octets: u64,
}

/// Serves all of them as long as the broker runs.
pub(super) async fn run(shared: &Shared, acceptor: &Acceptor) {
    let handlers = shared.config.flow.handlers.iter();
    let handlers = handlers.map(|(name, handler)| {
        keep_up(shared, name, async || serve(shared, acceptor, name, handler).await)
    });
    futures::future::join_all(handlers).await;
}

/// Connects to the broker around us.
async fn connect(shared: &Shared, acceptor: &Acceptor) -> Result<Session, SessionError> {
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    ours.set_nonblocking(true)?;
    acceptor.admit_house(theirs);
    let stream = Stream::Unix(tokio::net::UnixStream::from_std(ours)?);
    let config = SessionConfig { limits: shared.config.wire_limits(), ..SessionConfig::default() };
    Session::over(stream, &config).await
}

/// Offers a flow service over one connection until that ends.
async fn serve(
    shared: &Shared,
    acceptor: &Acceptor,
    name: &str,
    handler: &FlowHandler,
) -> Result<(), SessionError> {
    let mut session = connect(shared, acceptor).await?;
    let credit = u16::try_from(handler.flows).ok().and_then(NonZeroU16::new);
    let (service, role) = (name.as_bytes(), Some(ReadyHeader::FLOW));
    let ready = ReadyHeader { service, role, credit, ..ReadyHeader::default() };
    session.send(|out| ToBroker::Ready(ready).encode(out));
    let mut beat = tokio::time::interval(shared.config.mdp.heartbeat);
    let mut running = FuturesUnordered::new();
    let (mut given, mut dismissed) = (Vec::new(), false);
    loop {
        tokio::select! {
            turn = session.turn(|said| match FromBroker::decode(said) {
                Ok(FromBroker::Flow(mut flow)) => {
                    let bytes = LaneHeader::decode(flow.header).unwrap_or_default().bytes;
                    let bot = flow.body.take_first().unwrap_or_default().to_vec();
                    given.push((flow.id, Given::read(bot, bytes)));
                }
                Ok(FromBroker::Bye(_)) => dismissed = true,
                _ => {}
            }) => turn?,
            _ = beat.tick() => session.send(|out| ToBroker::Heartbeat.encode(out)),
            Some((id, ended)) = running.next(), if !running.is_empty() => {
                report(&mut session, name, id, ended);
            }
        }
        if dismissed {
            return session.flush().await;
        }
        for (id, flow) in given.drain(..) {
            running.push(async move { (id, handle(shared, acceptor, handler, flow).await) });
        }
    }
}

/// Says what became of a flow: to the broker if its client waits for that, and to people.
fn report(session: &mut Session, name: &str, id: u64, ended: Result<Tally, Failed>) {
    match ended {
        Ok(Tally { messages, octets }) => {
            debug!(service = name, flow = id, messages, octets, "a flow was handled");
        }
        Err(Failed::Declined(why)) => {
            info!(service = name, flow = id, %why, "a flow was declined");
            let header = Packed::new(&fault(Code::Failed, &why));
            let failure = Failure { id, header: header.octets() };
            session.send(|out| ToBroker::Error(failure).encode(out));
        }
        Err(error) => info!(service = name, flow = id, %error, "a flow was not handled to its end"),
    }
}

/// Comes for one flow, and handles it to its end.
async fn handle(
    shared: &Shared,
    acceptor: &Acceptor,
    handler: &FlowHandler,
    given: Option<Given>,
) -> Result<Tally, Failed> {
    let given = given.ok_or_else(|| Failed::Declined("it cannot be read".into()))?;
    let open = async || {
        let session = connect(shared, acceptor).await?;
        Talk::open(session, &given, handler.credit).await
    };
    match (handler.kind, given.direction()) {
        (HandlerKind::Dump, Direction::Inject) => dump(open().await?).await,
        (HandlerKind::Service, Direction::Inject) => {
            let service = handler.service.as_deref().unwrap_or_default();
            let calls = Calls::new(connect(shared, acceptor).await?, service, handler.credit);
            calls.run(open().await?).await
        }
        (HandlerKind::File, Direction::Inject) => {
            let writer = file::create(handler, &given).await?;
            writer.run(open().await?).await
        }
        (HandlerKind::File, Direction::Extract) => {
            let reader = file::open(handler, &given, shared.config.limits.frame).await?;
            reader.run(open().await?).await
        }
        (HandlerKind::Dump | HandlerKind::Service, Direction::Extract) => {
            Err(Failed::Declined("this service takes, and gives nothing".into()))
        }
    }
}

/// Takes what is given, and forgets it.
async fn dump(mut talk: Talk) -> Result<Tally, Failed> {
    let mut tally = Tally::default();
    loop {
        talk.pay()?;
        let taken = talk.take().await?;
        for dat in &taken.dats {
            tally.add(dat.bytes());
        }
        if taken.ended {
            talk.end().await?;
            return Ok(tally);
        }
    }
}

impl Tally {
    fn add(&mut self, octets: usize) {
        self.messages += 1;
        self.octets = self.octets.saturating_add(octets as u64);
    }
}
