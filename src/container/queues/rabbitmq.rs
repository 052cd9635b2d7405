//! RabbitMQ, in the layout of NuroPb (SPEC 17.2).

mod health;

use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use super::{Incoming, Line, Outgoing, Queues, Reply, SendError, Sent, Settle, Settlement, sealed};
use crate::container::coordinate::BoxFuture;
use crate::engine::rabbitmq::{
    Delivery, Link, Management, Message, Published, Queue, RabbitConfig, RabbitError, Stream,
};
use crate::proto::container::{Reading, Tally};
use crate::wire::nuropb::{
    Body, CONTENT_TYPE, CallType, Headers, Kind, PROTOCOL, Topology, VERSION, encode_call,
    encode_event, encode_response, header,
};

/// How long the consumer may take to end.
const CANCEL_MAX: Duration = Duration::from_secs(5);

/// Where things are on the server, and how they are sent.
#[derive(Debug, Clone)]
pub struct RabbitQueuesConfig {
    /// The server.
    pub rabbit: RabbitConfig,
    /// The management interface; with it the virtual host is made if it is not there.
    pub management: Option<Management>,
    /// The names of exchanges.
    pub topology: Topology,
    /// Whether messages survive a restart of the server. NuroPb's own do not. Default true.
    pub persistent: bool,
    /// Whether the service's queue is replicated; NuroPb's own are not, and refuse to share it.
    pub quorum: bool,
}

impl RabbitQueuesConfig {
    /// With the names of NuroPb.
    #[must_use]
    pub fn new(rabbit: RabbitConfig) -> Self {
        let topology = Topology::default();
        Self { rabbit, management: None, topology, persistent: true, quorum: false }
    }
}

/// The queues of one instance, or of a client.
#[derive(Debug, Clone)]
pub struct RabbitQueues {
    config: RabbitQueuesConfig,
    /// None for a client.
    service: Option<String>,
    response_queue: String,
    /// Topics that the service hears.
    topics: Vec<String>,
}

impl RabbitQueues {
    /// For an instance of a service, which hears these topics.
    #[must_use]
    pub fn service(
        mut config: RabbitQueuesConfig,
        service: &str,
        instance: &str,
        topics: Vec<String>,
    ) -> Self {
        config.rabbit.name = format!("{service}-{instance}");
        identify(&mut config.rabbit, service, instance);
        let response_queue = Topology::response_queue(service, instance);
        Self { config, service: Some(service.into()), response_queue, topics }
    }

    /// For a client.
    #[must_use]
    pub fn client(mut config: RabbitQueuesConfig, instance: &str) -> Self {
        let name = Topology::client_name(config.rabbit.url.vhost());
        config.rabbit.name = format!("{name}-{instance}");
        identify(&mut config.rabbit, &name, instance);
        let response_queue = Topology::response_queue(&name, instance);
        Self { config, service: None, response_queue, topics: Vec::new() }
    }

    async fn set_up_on(&self, link: &Link) -> Result<(), RabbitError> {
        let Topology { rpc_exchange, events_exchange, dl_exchange } = &self.config.topology;
        link.declare_exchange(rpc_exchange, "direct").await?;
        link.declare_exchange(events_exchange, "topic").await?;
        link.declare_exchange(dl_exchange, "fanout").await?;
        let Some(service) = &self.service else { return Ok(()) };
        let dead = Topology::dl_queue(service);
        link.declare_queue(&dead, Queue::default(), &[]).await?;
        link.bind(&dead, dl_exchange, &dead).await
    }

    async fn declare_own(&self, link: &Link) -> Result<(), RabbitError> {
        let own = Queue { durable: false, auto_delete: true };
        link.declare_queue(&self.response_queue, own, &[]).await?;
        let Some(service) = &self.service else { return Ok(()) };
        let Topology { rpc_exchange, events_exchange, dl_exchange } = &self.config.topology;
        let queue = Topology::service_queue(service);
        let shared = Queue { durable: true, auto_delete: false };
        let dead = ("x-dead-letter-exchange", dl_exchange.as_str());
        let quorum = ("x-queue-type", "quorum");
        let arguments: &[_] = if self.config.quorum { &[dead, quorum] } else { &[dead] };
        link.declare_queue(&queue, shared, arguments).await?;
        link.bind(&queue, rpc_exchange, service).await?;
        for topic in &self.topics {
            link.bind(&queue, events_exchange, topic).await?;
        }
        Ok(())
    }
}

/// What the server shows of a connection.
fn identify(rabbit: &mut RabbitConfig, name: &str, instance: &str) {
    let properties = [
        ("product", "majordomo"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("protocol", PROTOCOL),
        ("name", name),
        ("instance_id", instance),
    ];
    rabbit.properties = properties.map(|(name, value)| (name.into(), value.into())).into();
}

impl Queues for RabbitQueues {
    fn set_up(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let set_up = async {
                if let Some(management) = &self.config.management {
                    management.ensure_vhost(self.config.rabbit.url.vhost()).await?;
                }
                let link = Link::open(&self.config.rabbit).await?;
                let done = self.set_up_on(&link).await;
                link.close().await;
                done
            };
            set_up.await.map_err(|error: RabbitError| error.to_string())
        })
    }

    fn connect(
        &self,
        answers: mpsc::Sender<Reply>,
    ) -> BoxFuture<'_, Result<Arc<dyn Line>, String>> {
        Box::pin(async move {
            let connect = async {
                let link = Link::open(&self.config.rabbit).await?;
                self.declare_own(&link).await?;
                let stream = link.consume(&self.response_queue, None, true).await?;
                Ok((link, stream))
            };
            let (link, stream) = connect.await.map_err(|error: RabbitError| error.to_string())?;
            let link = Arc::new(link);
            let tallies = Arc::<Tallies>::default();
            let listening = listen(stream, answers, tallies.clone(), link.clone());
            let listening = tokio::spawn(listening);
            let queues = self.clone();
            let line = RabbitLine { link, queues, listening, tallies, tap: Mutex::new(None) };
            let line: Arc<dyn Line> = Arc::new(line);
            Ok(line)
        })
    }
}

/// Where what other instances tell goes, if somebody wants to hear it.
type Tallies = Lock<Option<mpsc::Sender<Tally>>>;

/// Answers, as they come; what is none is dropped.
async fn listen(
    mut stream: Stream,
    answers: mpsc::Sender<Reply>,
    tallies: Arc<Tallies>,
    link: Arc<Link>,
) {
    let why = loop {
        let delivery = match stream.next().await {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => break error.to_string(),
            // The queue was deleted, perhaps.
            None => break "the server has ended the consumer of answers".into(),
        };
        match read(&delivery.message) {
            Ok((_, Body::Response(told)))
                if delivery.message.correlation_id.as_deref() == Some(health::TALLY) =>
            {
                let to = tallies.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let (Some(to), Ok(tally)) = (to, serde_json::from_value(told.result)) {
                    // Nobody waits for a leader that does not look.
                    let _ = to.try_send(tally);
                }
            }
            Ok((Kind::Response, body)) => {
                let Some(reply) = reply(body, delivery.message.correlation_id) else { continue };
                if answers.send(reply).await.is_err() {
                    return;
                }
            }
            Ok(_) => tracing::warn!("a message that is no answer has come for one; dropped"),
            Err(error) => tracing::warn!(%error, "an answer cannot be read; dropped"),
        }
    };
    link.give_up(why);
}

fn reply(body: Body, id: Option<String>) -> Option<Reply> {
    match body {
        Body::Response(mut response) => {
            response.correlation_id = id.unwrap_or(response.correlation_id);
            Some(Reply::Open(response))
        }
        Body::Sealed(octets) => Some(Reply::Sealed { correlation_id: id?, octets }),
        Body::Call(_) | Body::Event(_) => None,
    }
}

fn read(message: &Message) -> Result<(Kind, Body), crate::wire::nuropb::Bad> {
    let text = |name: &str| message.headers.get(name).cloned().flatten();
    let headers = Headers {
        protocol: text(header::PROTOCOL),
        kind: text(header::TYPE),
        trace_id: text(header::TRACE_ID),
        encrypted: text(header::ENCRYPTED).as_deref() == Some("yes"),
    };
    headers.read(&message.body)
}

#[derive(Debug)]
struct RabbitLine {
    link: Arc<Link>,
    queues: RabbitQueues,
    listening: JoinHandle<()>,
    tallies: Arc<Tallies>,
    tap: Mutex<Option<Tap>>,
}

/// What is being taken.
#[derive(Debug)]
struct Tap {
    stop: mpsc::Sender<()>,
    task: JoinHandle<Result<(), String>>,
}

impl Drop for RabbitLine {
    fn drop(&mut self) {
        self.listening.abort();
        if let Some(tap) = self.tap.get_mut() {
            tap.task.abort();
        }
    }
}

impl Line for RabbitLine {
    fn broken(&self) -> BoxFuture<'_, String> {
        Box::pin(self.link.broken())
    }

    fn tap(
        &self,
        prefetch: Option<u16>,
        to: mpsc::Sender<Incoming>,
    ) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let mut current = self.tap.lock().await;
            if let Some(Tap { stop, task }) = current.take() {
                // One that has ended by itself was told of by `broken`.
                let _ = stop.send(()).await;
                let ended = tokio::time::timeout(CANCEL_MAX, task).await;
                ended
                    .map_err(|_| "the consumer does not end".to_owned())?
                    .map_err(|it| it.to_string())??;
            }
            let (Some(prefetch), Some(service)) = (prefetch, &self.queues.service) else {
                return Ok(());
            };
            let queue = Topology::service_queue(service);
            let stream = self.link.consume(&queue, Some(prefetch), false).await;
            let stream = stream.map_err(|error| error.to_string())?;
            let (stop, stopped) = mpsc::channel(1);
            let task = tokio::spawn(forward(stream, stopped, to, self.link.clone()));
            *current = Some(Tap { stop, task });
            Ok(())
        })
    }

    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Sent, SendError>> {
        Box::pin(async move {
            // Nobody waits for a call that is late; for the rest it is waited in any case.
            let wait = match &outgoing {
                Outgoing::Call(_, _, ttl, _) => *ttl,
                Outgoing::Event(_) | Outgoing::Response(..) => Duration::MAX,
            };
            let Sending { exchange, key, mandatory, message } = self.queues.sending(outgoing)?;
            let published = self.link.publish(&exchange, &key, mandatory, &message);
            let Ok(published) = tokio::time::timeout(wait, published).await else {
                return Err(SendError::Unknown("RabbitMQ has not confirmed it in time".into()));
            };
            match published {
                Ok(Published::Taken) => Ok(Sent::Taken),
                Ok(Published::Unroutable) => Ok(Sent::Unroutable),
                Err(error @ (RabbitError::TooLong(_) | RabbitError::NotTaken)) => {
                    Err(SendError::NotSent(error.to_string()))
                }
                Err(error) => Err(SendError::Unknown(error.to_string())),
            }
        })
    }

    fn measure(&self) -> BoxFuture<'_, Result<Reading, String>> {
        Box::pin(async move {
            let service = self.queues.service.as_deref().unwrap_or_default();
            self.look(service).await.map_err(|error| error.to_string())
        })
    }

    fn tell<'a>(&'a self, leader: &'a str, tally: &'a Tally) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let service = self.queues.service.as_deref().unwrap_or_default();
            let to = Topology::response_queue(service, leader);
            self.send_tally(to, tally).await.map_err(|error| error.to_string())
        })
    }

    fn hear(&self, to: mpsc::Sender<Tally>) -> BoxFuture<'_, Result<(), String>> {
        *self.tallies.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
        Box::pin(std::future::ready(Ok(())))
    }

    fn end_caller<'a>(
        &'a self,
        caller: &'a str,
        why: &'a str,
    ) -> BoxFuture<'a, Result<usize, String>> {
        Box::pin(async move {
            let ended = self.queues.end_connections(caller, why).await;
            ended.map_err(|error| error.to_string())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.link.close())
    }
}

/// Passes on what comes until it is told to stop, and then what has come already.
async fn forward(
    mut stream: Stream,
    mut stop: mpsc::Receiver<()>,
    to: mpsc::Sender<Incoming>,
    link: Arc<Link>,
) -> Result<(), String> {
    let mut cancelled = false;
    loop {
        let delivery = tokio::select! {
            biased;
            _ = stop.recv(), if !cancelled => {
                cancelled = true;
                stream.cancel().await.map_err(|error| error.to_string())?;
                continue;
            }
            delivery = stream.next() => delivery,
        };
        match delivery {
            Some(Ok(delivery)) => {
                if to.send(incoming(delivery)).await.is_err() {
                    return Ok(());
                }
            }
            Some(Err(error)) => {
                link.give_up(error.to_string());
                return Err(error.to_string());
            }
            None if cancelled => return Ok(()),
            None => {
                // The queue was deleted, perhaps.
                link.give_up("the server has ended the consumer".into());
                return Err("the server has ended the consumer".into());
            }
        }
    }
}

fn incoming(delivery: Delivery) -> Incoming {
    let mut body = read(&delivery.message);
    let message = &delivery.message;
    if let (Ok((_, Body::Call(call))), Some(id)) = (&mut body, &message.correlation_id) {
        call.correlation_id.clone_from(id);
    }
    let reply_to = message.reply_to.clone().filter(|it| !it.is_empty());
    let (caller, redelivered) = (reply_to.clone(), delivery.redelivered);
    Incoming { body, reply_to, caller, redelivered, attempt: None, settle: Box::new(delivery) }
}

impl Settle for Delivery {
    fn settle(self: Box<Self>, how: Settlement) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let settled = match how {
                Settlement::Done => self.ack().await,
                Settlement::Again { wait, .. } => {
                    // Or a lone instance would turn it around as fast as it can.
                    tokio::time::sleep(wait).await;
                    self.requeue().await
                }
                Settlement::Rejected { .. } => self.reject().await,
            };
            settled.map_err(|error| error.to_string())
        })
    }
}

/// A message, and where it goes.
#[derive(Debug, PartialEq, Eq)]
struct Sending {
    exchange: String,
    key: String,
    mandatory: bool,
    message: Message,
}

impl RabbitQueues {
    fn sending(&self, outgoing: Outgoing) -> Result<Sending, SendError> {
        let Topology { rpc_exchange, events_exchange, .. } = &self.config.topology;
        match outgoing {
            Outgoing::Call(call, kind, ttl, seal) => {
                let body = sealed(encode_call(&call, kind), seal.as_ref())?;
                let kind = match kind {
                    CallType::Request => Kind::Request,
                    CallType::Command => Kind::Command,
                };
                let mut message = self.message(kind, body, call.correlation_id, call.trace_id);
                message.reply_to = Some(self.response_queue.clone());
                message.expiration = Some(ttl.as_millis().max(1).to_string());
                let (exchange, key) = (rpc_exchange.clone(), call.service);
                Ok(Sending { exchange, key, mandatory: true, message })
            }
            Outgoing::Event(event) => {
                let body = sealed(encode_event(&event), None)?;
                let message = self.message(Kind::Event, body, event.correlation_id, event.trace_id);
                let (exchange, key) = (events_exchange.clone(), event.topic);
                Ok(Sending { exchange, key, mandatory: false, message })
            }
            Outgoing::Response(to, response, seal) => {
                let body = sealed(encode_response(&response), seal.as_ref())?;
                let (id, trace) = (response.correlation_id, response.trace_id);
                let message = self.message(Kind::Response, body, id, trace);
                // Unlike NuroPb we want to know whether anybody is there.
                Ok(Sending { exchange: String::new(), key: to, mandatory: true, message })
            }
        }
    }

    fn message(
        &self,
        kind: Kind,
        (body, encrypted): (Vec<u8>, bool),
        id: String,
        trace: Option<String>,
    ) -> Message {
        let text = |text: &str| Some(text.to_owned());
        let headers = [
            (header::PROTOCOL, text(PROTOCOL)),
            (header::VERSION, text(VERSION)),
            (header::TYPE, text(kind.as_str())),
            (header::TRACE_ID, trace),
            (header::ENCRYPTED, text(if encrypted { "yes" } else { "" })),
        ];
        Message {
            body,
            content_type: text(CONTENT_TYPE),
            correlation_id: Some(id),
            reply_to: text(""),
            expiration: None,
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
            persistent: self.config.persistent && kind != Kind::Response,
        }
    }
}
