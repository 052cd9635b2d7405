//! One line to our broker: calls, events, and the worker that takes messages.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::taking::{Answered, frames, read, serve};
use super::{BrokerQueues, Taken, events, health};
use crate::client::{CallError, Client};
use crate::container::client::fresh_id;
use crate::container::coordinate::BoxFuture;
use crate::container::queues::{Incoming, Line, Outgoing, Reply, SendError, Sent, sealed};
use crate::container::seal::Seal;
use crate::proto::container::{Reading, Tally};
use crate::wire::message::Message;
use crate::wire::mjp::Level;
use crate::wire::nuropb::{
    Body, Call, CallType, ErrorBody, Event, Kind, Response, encode_call, encode_event,
    encode_response,
};
use crate::worker::{Report, Request, Worker, WorkerBuilder};

/// How long the worker may take to register, or to say that it takes no more.
const TURN_MAX: Duration = Duration::from_secs(5);
/// What was taken when it was told to take no more is settled within that time.
const FINISH_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long the last words may take.
const CLOSE_MAX: Duration = Duration::from_millis(1500);

#[derive(Debug)]
pub(super) struct BrokerLine {
    queues: BrokerQueues,
    client: Client,
    answers: mpsc::Sender<Reply>,
    answered: Arc<Answered>,
    tap: Mutex<Tap>,
    /// Listens to what other instances tell.
    hearing: Mutex<Option<AbortOnDropHandle<()>>>,
    broken: watch::Sender<Option<String>>,
}

/// What is being taken.
#[derive(Debug, Default)]
struct Tap {
    open: Option<Taking>,
    /// Those that take no more, and finish what they have.
    closing: Vec<JoinHandle<Report>>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.closing.iter().for_each(JoinHandle::abort);
    }
}

#[derive(Debug)]
struct Taking {
    worker: Worker,
    watching: Watching,
}

/// Looks whether the worker is registered, as long as this is there.
#[derive(Debug)]
struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl BrokerLine {
    pub(super) fn new(queues: BrokerQueues, client: Client, answers: mpsc::Sender<Reply>) -> Self {
        let (answered, tap, hearing) = (Arc::default(), Mutex::default(), Mutex::default());
        let broken = watch::Sender::new(None);
        Self { queues, client, answers, answered, tap, hearing, broken }
    }

    /// Begins to take messages, so many at a time.
    async fn open(
        &self,
        service: &str,
        credit: u16,
        to: mpsc::Sender<Incoming>,
    ) -> Result<Taking, String> {
        let mut config = self.queues.home.worker(service, credit);
        config.labels.insert("instance".into(), self.queues.instance.clone());
        let answered = self.answered.clone();
        let handler = move |request: Request| serve(request, to.clone(), answered.clone());
        let worker = WorkerBuilder::from(config).start(handler);
        let worker = worker.map_err(|error| error.to_string())?;
        let mut registered = worker.registration();
        if timeout(TURN_MAX, registered.wait_for(|registered| *registered)).await.is_err() {
            return Err("the broker does not take the worker".into());
        }
        let broken = self.broken.clone();
        let watching = tokio::spawn(async move {
            let _ = registered.wait_for(|registered| !registered).await;
            broken.send_replace(Some("the broker is lost".into()));
        });
        Ok(Taking { worker, watching: Watching(watching) })
    }

    async fn request(
        &self,
        call: Call,
        wait: Duration,
        seal: Option<Seal>,
    ) -> Result<Sent, SendError> {
        if !self.is_known(&call.service, wait).await? {
            return Ok(Sent::Unroutable);
        }
        let id = call.correlation_id.clone();
        let made = self.client.call(&call.service, body(&call, CallType::Request, seal)?);
        let made = made.key(&id).timeout(wait);
        let answers = self.answers.clone();
        self.queues.calls.spawn(async move {
            if let Some(reply) = reply(id, made.await) {
                let _ = answers.send(reply).await;
            }
        });
        Ok(Sent::Taken)
    }

    async fn command(
        &self,
        call: Call,
        wait: Duration,
        seal: Option<Seal>,
    ) -> Result<Sent, SendError> {
        if !self.is_known(&call.service, wait).await? {
            return Ok(Sent::Unroutable);
        }
        let made = self.client.call(&call.service, body(&call, CallType::Command, seal)?);
        let made = made.key(&call.correlation_id).timeout(wait);
        let made = match self.queues.home.level {
            Some(Level::Disk) => {
                made.hand_in().await.map_err(|error| unsent(&error))?;
                return Ok(Sent::Taken);
            }
            Some(level) => made.level(level),
            None => made,
        };
        let (_, answer) = made.accepted().await.map_err(|error| unsent(&error))?;
        let taken = Taken(Some(answer));
        self.queues.calls.spawn(async move {
            if let Err(error) = taken.outcome().await {
                tracing::debug!(%error, "what became of a command");
            }
        });
        Ok(Sent::Taken)
    }

    async fn event(&self, event: Event) -> Result<Sent, SendError> {
        let body = encode_event(&event).map_err(|error| SendError::NotSent(error.to_string()))?;
        let publication = events::publication(fresh_id(), body);
        let published = self.client.publish(&event.topic, publication).await;
        published.map(|_| Sent::Taken).map_err(|error| unsent(&error))
    }

    /// The service; a client has none, and looks after none.
    fn service(&self) -> &str {
        self.queues.service.as_deref().unwrap_or_default()
    }

    async fn is_known(&self, service: &str, wait: Duration) -> Result<bool, SendError> {
        let known = self.queues.is_known(&self.client, service, wait).await;
        // Nothing was sent yet but a question.
        known.map_err(|error| SendError::NotSent(error.to_string()))
    }
}

/// Takes no more; what has been taken goes on.
async fn shut(taking: Taking) -> JoinHandle<Report> {
    let Taking { worker, watching } = taking;
    drop(watching);
    let mut registered = worker.registration();
    let stop = tokio::spawn(worker.stop(FINISH_MAX));
    // It is none any more when the broker has confirmed that it sends nothing more.
    let _ = timeout(TURN_MAX, registered.wait_for(|registered| !registered)).await;
    stop
}

fn body(call: &Call, kind: CallType, seal: Option<Seal>) -> Result<Message, SendError> {
    let (octets, encrypted) = sealed(encode_call(call, kind), seal.as_ref())?;
    let kind = match kind {
        CallType::Request => Kind::Request,
        CallType::Command => Kind::Command,
    };
    Ok(frames(kind, octets, encrypted))
}

/// What it means that something was not said.
fn unsent(error: &CallError) -> SendError {
    match error {
        CallError::Timeout { sent: true, .. } | CallError::Disconnected { .. } => {
            SendError::Unknown(error.to_string())
        }
        _ => SendError::NotSent(error.to_string()),
    }
}

/// What the caller is told. None: nothing, its own time is up as well.
fn reply(correlation_id: String, answer: Result<Message, CallError>) -> Option<Reply> {
    let (class, text) = match answer {
        Ok(message) => match read(&message) {
            Ok((Kind::Response, Body::Response(response))) => {
                return Some(Reply::Open(Response { correlation_id, ..response }));
            }
            Ok((Kind::Response, Body::Sealed(octets))) => {
                return Some(Reply::Sealed { correlation_id, octets });
            }
            Ok(_) => ("malformed_answer".into(), "it is none of a service container".into()),
            Err(error) => ("malformed_answer".into(), error.to_string()),
        },
        Err(CallError::Timeout { .. }) => return None,
        Err(CallError::Refused { code, message, .. }) => (code, message),
        Err(error) => ("failed".into(), error.to_string()),
    };
    Some(Reply::Open(Response {
        result: serde_json::Value::Null,
        error: Some(ErrorBody { error: class, description: text }),
        warning: None,
        correlation_id,
        trace_id: None,
        context: serde_json::Map::new(),
        reply_to: String::new(),
    }))
}

impl Line for BrokerLine {
    fn broken(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            let mut broken = self.broken.subscribe();
            match broken.wait_for(Option::is_some).await.map(|why| why.clone()) {
                Ok(Some(why)) => why,
                // The sender is ours.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        })
    }

    fn tap(
        &self,
        prefetch: Option<u16>,
        to: mpsc::Sender<Incoming>,
    ) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let mut tap = self.tap.lock().await;
            tap.closing.retain(|closing| !closing.is_finished());
            match (tap.open.take(), prefetch, &self.queues.service) {
                (Some(taking), Some(credit), _) => {
                    taking.worker.set_credit(credit).await;
                    tap.open = Some(taking);
                }
                (Some(taking), None, _) => {
                    let closing = shut(taking).await;
                    tap.closing.push(closing);
                }
                (None, Some(credit), Some(service)) => {
                    tap.open = Some(self.open(service, credit, to).await?);
                }
                (None, _, _) => {}
            }
            Ok(())
        })
    }

    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Sent, SendError>> {
        Box::pin(async move {
            match outgoing {
                Outgoing::Call(call, CallType::Request, wait, seal) => {
                    self.request(call, wait, seal).await
                }
                Outgoing::Call(call, CallType::Command, wait, seal) => {
                    self.command(call, wait, seal).await
                }
                Outgoing::Event(event) => self.event(event).await,
                Outgoing::Response(to, response, seal) => {
                    let (octets, encrypted) = sealed(encode_response(&response), seal.as_ref())?;
                    self.answered.put(&to, frames(Kind::Response, octets, encrypted));
                    Ok(Sent::Taken)
                }
            }
        })
    }

    fn measure(&self) -> BoxFuture<'_, Result<Reading, String>> {
        Box::pin(async move { health::measure(&self.client, self.service()).await })
    }

    fn tell<'a>(&'a self, _: &'a str, tally: &'a Tally) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(health::tell(&self.client, self.service(), tally))
    }

    fn hear(&self, to: mpsc::Sender<Tally>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let hearing = health::hear(&self.client, self.service(), to).await?;
            *self.hearing.lock().await = Some(hearing);
            Ok(())
        })
    }

    fn end_caller<'a>(
        &'a self,
        caller: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<usize, String>> {
        Box::pin(health::end_caller(&self.client, caller))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut tap = self.tap.lock().await;
            let mut closing = std::mem::take(&mut tap.closing);
            if let Some(Taking { worker, watching }) = tap.open.take() {
                drop(watching);
                closing.push(tokio::spawn(worker.stop(Duration::ZERO)));
            }
            let aborts: Vec<_> = closing.iter().map(JoinHandle::abort_handle).collect();
            let _ = timeout(CLOSE_MAX, futures::future::join_all(closing)).await;
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        })
    }
}
