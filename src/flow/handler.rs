//! Who comes for flows of a flow service.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::assignment::{Assignment, Opened};
use super::builder::FlowBuilder;
use super::end::session_config;
use super::error::FlowError;
use crate::config::FlowConfig;
use crate::id::ServiceName;
use crate::proto::backoff::Backoff;
use crate::transport::session::Session;
use crate::wire::codec::Encoder;
use crate::wire::command::SocketType;
use crate::wire::message::Frames;
use crate::wire::mjp::{
    AGENT, Code, Failure, Fault, FromBroker, LaneHeader, Packed, PeerHello, ReadyHeader, ToBroker,
};

/// Between signs of life, if the broker does not say how often it wants them.
const HEARTBEAT: Duration = Duration::from_millis(2500);
/// The most often that it does.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);

/// A handler of a flow service: it is given flows by the rules of the broker, as long as it lives.
///
/// It registers over MJP/1, and again whenever its connection is lost. Each flow then has a
/// connection of its own, which outlives the handler. Dropping it withdraws the offer.
///
/// ```no_run
/// use majordomo::flow::{FlowBuilder, Opened};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let mut handler = FlowBuilder::new("tcp://127.0.0.1:5555")?.handle("writers", 16)?;
/// while let Some(offered) = handler.next().await {
///     tokio::spawn(async move {
///         match offered.open().await {
///             Ok(Opened::Takes(mut taker)) => while let Some(Ok(_)) = taker.next().await {},
///             Ok(Opened::Gives(giver)) => drop(giver.finish().await),
///             Err(error) => eprintln!("{error}"),
///         }
///     });
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Handler {
    offered: mpsc::Receiver<Offered>,
    task: JoinHandle<()>,
}

/// A flow that a handler was given. To drop it declines it, and its client is refused.
#[derive(Debug)]
pub struct Offered {
    assignment: Assignment,
    builder: FlowBuilder,
    /// On which connection it was given, and its number there.
    given: (u64, u64),
    declined: Option<mpsc::Sender<(u64, u64)>>,
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        if let Some(declined) = self.declined.take() {
            // Where there is no room, the broker's own time limit refuses the client.
            let _ = declined.try_send(self.given);
        }
    }
}

impl Handler {
    /// The next flow; `None` if the runtime has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Offered> {
        self.offered.recv().await
    }
}

impl Offered {
    /// What is asked for.
    #[must_use]
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// Comes for the flow, with attributes and credit of the handler's builder.
    ///
    /// # Errors
    /// As [`FlowBuilder::open`]; the flow is declined then.
    ///
    /// # Cancel safety
    /// The flow is declined.
    pub async fn open(mut self) -> Result<Opened, FlowError> {
        let opened = self.builder.clone().open(&self.assignment).await;
        if opened.is_ok() {
            self.declined = None;
        }
        opened
    }
}

impl FlowBuilder {
    /// Offers a flow service, of which `flows` are handled at a time. Has to be called in a tokio
    /// runtime; it connects by itself, now or when there is a broker.
    ///
    /// # Errors
    /// [`FlowError::Config`], [`FlowError::Service`], [`FlowError::Keys`].
    pub fn handle(self, service: &str, flows: u16) -> Result<Handler, FlowError> {
        let service = ServiceName::try_from(service.as_bytes())?;
        self.peek().validate()?;
        // What is wrong from the start is said at once.
        session_config(self.peek(), SocketType::Dealer)?;
        let flows = flows.max(1);
        let (to, offered) = mpsc::channel(flows.into());
        let (declined, declines) = mpsc::channel(flows.into());
        let offer = Offer { builder: self, service, flows, to, declined, number: 0 };
        let task = tokio::spawn(offer.keep(declines));
        Ok(Handler { offered, task })
    }
}

/// What is offered, for as long as somebody takes what is given.
struct Offer {
    builder: FlowBuilder,
    service: ServiceName,
    flows: u16,
    to: mpsc::Sender<Offered>,
    declined: mpsc::Sender<(u64, u64)>,
    /// Of the connection.
    number: u64,
}

/// What one turn brought.
#[derive(Default)]
struct Turn {
    given: Vec<(u64, Result<Assignment, String>)>,
    heartbeat: Option<Duration>,
    dismissed: Option<String>,
}

impl Offer {
    async fn keep(mut self, mut declines: mpsc::Receiver<(u64, u64)>) {
        let mut backoff = Backoff::default();
        loop {
            self.number += 1;
            let why = match self.connect().await {
                Ok(session) => self.serve(session, &mut declines, &mut backoff).await,
                Err(error) => error.to_string(),
            };
            let wait = backoff.next_wait();
            warn!(service = %self.service, %why, ?wait, "no flows are given; connecting again");
            sleep(wait).await;
        }
    }

    async fn connect(&self) -> Result<Session, FlowError> {
        let FlowConfig { endpoint, .. } = self.builder.peek();
        let config = session_config(self.builder.peek(), SocketType::Dealer)?;
        let mut session = Session::connect(endpoint, &config).await.map_err(FlowError::Connect)?;
        let ready = ReadyHeader {
            service: self.service.as_bytes(),
            role: Some(ReadyHeader::FLOW),
            credit: self.flows.try_into().ok(),
            ..ReadyHeader::default()
        };
        // Its answer says how often it wants a sign of life.
        let hello = PeerHello { agent: Some(AGENT), ..PeerHello::default() };
        session.send(|out| {
            ToBroker::Hello(hello).encode(out);
            ToBroker::Ready(ready).encode(out);
        });
        Ok(session)
    }

    /// Says why it has ended.
    async fn serve(
        &self,
        mut session: Session,
        declines: &mut mpsc::Receiver<(u64, u64)>,
        backoff: &mut Backoff,
    ) -> String {
        let mut interval = HEARTBEAT;
        let mut beat = Instant::now() + interval;
        loop {
            let mut turn = Turn::default();
            let turned = tokio::select! {
                turned = session.turn(|frames| turn.hear(frames)) => turned,
                Some((number, id)) = declines.recv() => {
                    if number == self.number {
                        session.send(|out| decline(id, "the handler declined", out));
                    }
                    Ok(())
                }
                () = sleep_until(beat) => {
                    session.send(|out| ToBroker::Heartbeat.encode(out));
                    beat += interval;
                    Ok(())
                }
            };
            if let Some(said) = turn.heartbeat {
                interval = said.max(HEARTBEAT_MIN);
                beat = beat.min(Instant::now() + interval);
            }
            for (id, given) in turn.given {
                backoff.reset();
                if let Err(why) = given.and_then(|assignment| self.give(id, assignment)) {
                    debug!(id, %why, "declined a flow");
                    session.send(|out| decline(id, &why, out));
                }
            }
            match (turn.dismissed, turned) {
                (Some(why), _) => return why,
                (None, Err(error)) => return error.to_string(),
                (None, Ok(())) => {}
            }
        }
    }

    fn give(&self, id: u64, assignment: Assignment) -> Result<(), String> {
        let offered = Offered {
            assignment,
            builder: self.builder.clone(),
            given: (self.number, id),
            declined: Some(self.declined.clone()),
        };
        self.to.try_send(offered).map_err(|refused| {
            let (mpsc::error::TrySendError::Full(mut offered)
            | mpsc::error::TrySendError::Closed(mut offered)) = refused;
            offered.declined = None;
            "the handler has its hands full".into()
        })
    }
}

impl Turn {
    fn hear(&mut self, frames: Frames<'_>) {
        match FromBroker::decode(frames) {
            Ok(FromBroker::Flow(flow)) => {
                let says = LaneHeader::decode(flow.header).map_err(|error| error.to_string());
                let assignment = says.and_then(|LaneHeader { bytes }| {
                    let read = Assignment::of(flow.body).map_err(|error| error.to_string());
                    read.map(|assignment| assignment.with_credit_bytes(bytes))
                });
                self.given.push((flow.id, assignment));
            }
            Ok(FromBroker::Hello(hello)) => {
                self.heartbeat = hello.heartbeat.map(Duration::from_millis);
            }
            Ok(FromBroker::Bye(why)) => {
                let said = why.message.unwrap_or(why.code);
                self.dismissed = Some(format!("the broker sent us away: {said}"));
            }
            Ok(FromBroker::Error(failure)) if failure.id == 0 => {
                let fault = Fault::decode(failure.header);
                let why = fault.map_or_else(
                    |why| why.to_string(),
                    |fault| fault.message.unwrap_or(fault.code).to_owned(),
                );
                self.dismissed = Some(format!("the broker refused us: {why}"));
            }
            Ok(_) => {}
            Err(error) => debug!(%error, "dropped what no broker says to a handler"),
        }
    }
}

fn decline(id: u64, why: &str, out: &mut Encoder) {
    let fault = Fault { code: Code::Failed.as_str(), message: Some(why), ..Fault::default() };
    let header = Packed::new(&fault);
    ToBroker::Error(Failure { id, header: header.octets() }).encode(out);
}
