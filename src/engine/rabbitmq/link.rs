//! One connection with its channels: one to publish on, with confirms, and one for each queue that
//! is taken from. Anything that breaks breaks all of it, and whoever owns it makes a new one.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions,
    BasicPublishOptions, BasicQosOptions, BasicRejectOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Acker, Channel, Connection, ConnectionProperties, Consumer, Event, ExchangeKind};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::convert::{explain, message, properties, short};
use super::{RabbitConfig, RabbitError};

/// Headers of a message, as far as they are text; nothing is nothing.
pub type Table = BTreeMap<String, Option<String>>;

/// A message, as AMQP has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The octets.
    pub body: Vec<u8>,
    /// What they are.
    pub content_type: Option<String>,
    /// What the sender calls it.
    pub correlation_id: Option<String>,
    /// Where an answer goes.
    pub reply_to: Option<String>,
    /// Life in a queue, ms, as text.
    pub expiration: Option<String>,
    /// Headers.
    pub headers: Table,
    /// Whether it survives the server, in a queue that does.
    pub persistent: bool,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The server has it, in each queue that wants it.
    Taken,
    /// No queue wants it; it is said only if it was asked for.
    Unroutable,
}

/// What a queue is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// It survives the server.
    pub durable: bool,
    /// It is gone when nobody takes from it any more.
    pub auto_delete: bool,
}

/// A queue at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Messages that wait.
    pub messages: u64,
    /// Who takes from it.
    pub consumers: u64,
}

/// A message that has come, and has to be settled; one that is not comes again.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Whether it was given to somebody before.
    pub redelivered: bool,
    acker: Option<Acker>,
    /// A channel that nobody has any more is closed, and what is not settled comes again.
    _channel: Channel,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    connection: Connection,
    publishing: Channel,
    /// Channels with nothing on them: see [`Link::publish`].
    idle: Mutex<Vec<Channel>>,
    alone: Semaphore,
    timeout: Duration,
    broken: Arc<watch::Sender<Option<String>>>,
    listening: JoinHandle<()>,
}

/// Messages at a time that RabbitMQ is asked to return if nobody wants them.
const MANDATORY_MAX: usize = 32;

/// What comes from one queue.
#[derive(Debug)]
pub struct Stream {
    channel: Channel,
    consumer: Consumer,
    tag: String,
    timeout: Duration,
    acked: bool,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses.
    pub async fn open(config: &RabbitConfig) -> Result<Self, RabbitError> {
        let mut uri = config.url.parsed()?;
        uri.query.heartbeat = Some(config.heartbeat);
        let timeout = config.timeout;
        uri.query.connection_timeout = u64::try_from(timeout.as_millis()).ok();
        let mut properties = ConnectionProperties::default()
            .with_connection_name(LongString::from(config.name.as_str()));
        for (name, value) in &config.properties {
            let value = LongString::from(value.as_str());
            properties = properties.with_client_property(short(name)?, value);
        }
        let server = config.url.server();
        let open = async {
            let connection = Connection::connect_uri(uri, properties).await?;
            let publishing = connection.create_channel().await?;
            publishing.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok((connection, publishing))
        };
        let (connection, publishing) = match within(timeout, "the connection", open).await {
            Ok(both) => both,
            Err(RabbitError::Broken(reason)) => {
                return Err(RabbitError::Unreachable { server: server.into(), reason });
            }
            Err(error) => return Err(error),
        };
        let broken = Arc::new(watch::Sender::new(None));
        let mut events = Box::pin(connection.events_listener());
        let listener = broken.clone();
        let listening = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Event::Error(error) = event {
                    fail(&listener, error.to_string());
                }
            }
            fail(&listener, "the connection has ended".into());
        });
        let (idle, alone) = (Mutex::default(), Semaphore::new(MANDATORY_MAX));
        Ok(Self { connection, publishing, idle, alone, timeout, broken, listening })
    }

    /// Waits until the connection is broken, and says why.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn broken(&self) -> String {
        let mut broken = self.broken.subscribe();
        match broken.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the connection has ended".into(),
        }
    }

    /// Whether it is not yet known to be broken.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.broken.borrow().is_none() && self.connection.status().connected()
    }

    /// It is of no use any more, says somebody who knows.
    pub fn give_up(&self, why: String) {
        fail(&self.broken, why);
    }

    /// Declares an exchange that survives the server.
    ///
    /// # Errors
    ///
    /// [`RabbitError::Differs`], or the connection is broken. It is of no use after an error.
    pub async fn declare_exchange(&self, name: &str, kind: &str) -> Result<(), RabbitError> {
        let kind = match kind {
            "direct" => ExchangeKind::Direct,
            "topic" => ExchangeKind::Topic,
            "fanout" => ExchangeKind::Fanout,
            other => return Err(RabbitError::Refused(format!("no exchange is {other}"))),
        };
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let table = FieldTable::default();
        let declare = self.publishing.exchange_declare(short(name)?, kind, options, table);
        self.settle(within(self.timeout, "an exchange", declare).await)
    }

    /// Declares a queue, its dead letters to go to that exchange.
    ///
    /// # Errors
    ///
    /// [`RabbitError::Differs`], or the connection is broken. It is of no use after an error.
    pub async fn declare_queue(
        &self,
        name: &str,
        queue: Queue,
        arguments: &[(&str, &str)],
    ) -> Result<(), RabbitError> {
        let Queue { durable, auto_delete } = queue;
        let options =
            QueueDeclareOptions { durable, auto_delete, ..QueueDeclareOptions::default() };
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert(short(name)?, AMQPValue::LongString(LongString::from(*value)));
        }
        let declare = self.publishing.queue_declare(short(name)?, options, table);
        self.settle(within(self.timeout, "a queue", declare).await.map(|_| ()))
    }

    /// How much waits in a queue, and how many take from it; none if there is no such queue.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub async fn depth(&self, name: &str) -> Result<Option<Depth>, RabbitError> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = short(name)?;
        let ask = async {
            // A channel of its own: the server closes it if there is no such queue.
            let channel = self.connection.create_channel().await?;
            let queue = channel.queue_declare(name, options, FieldTable::default()).await?;
            // One that cannot be closed is dropped.
            let _ = channel.close(200, ShortString::from("seen")).await;
            let (messages, consumers) = (queue.message_count(), queue.consumer_count());
            Ok(Depth { messages: messages.into(), consumers: consumers.into() })
        };
        match within(self.timeout, "a queue", ask).await {
            Ok(depth) => Ok(Some(depth)),
            Err(RabbitError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Binds a queue to an exchange.
    ///
    /// # Errors
    ///
    /// [`RabbitError::NotFound`]: one of them is not there; or the connection is broken. It is of
    /// no use after an error.
    pub async fn bind(&self, queue: &str, exchange: &str, key: &str) -> Result<(), RabbitError> {
        let (options, table) = (QueueBindOptions::default(), FieldTable::default());
        let (queue, exchange, key) = (short(queue)?, short(exchange)?, short(key)?);
        let bind = self.publishing.queue_bind(queue, exchange, key, options, table);
        self.settle(within(self.timeout, "a binding", bind).await)
    }

    /// Publishes, and waits for the confirmation, for as long as the server says that it takes
    /// nothing for want of memory or disk.
    ///
    /// What is returned says of which message it is only by coming before that message's
    /// confirmation, and confirmations of several messages may come as one. So a message that is to
    /// be returned has a channel to itself until it is confirmed.
    ///
    /// # Errors
    ///
    /// [`RabbitError::TimedOut`] and [`RabbitError::Broken`]: it may have been taken or not.
    ///
    /// # Cancel safety
    ///
    /// A message whose confirmation is not waited for may have been taken or not.
    pub async fn publish(
        &self,
        exchange: &str,
        key: &str,
        mandatory: bool,
        message: &Message,
    ) -> Result<Published, RabbitError> {
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let (exchange, key, properties) = (short(exchange)?, short(key)?, properties(message)?);
        let publish = async {
            let _alone = if mandatory { self.alone.acquire().await.ok() } else { None };
            let channel =
                if mandatory { self.idle_channel().await? } else { self.publishing.clone() };
            let sent = channel.basic_publish(exchange, key, options, &message.body, properties);
            let confirmation = sent.await?.await?;
            // One that is not waited for to the end takes its channel with it.
            if mandatory {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
            }
            Ok(confirmation)
        };
        let confirmation = self.settle(self.confirmed(publish).await)?;
        if confirmation.is_nack() {
            return Err(RabbitError::NotTaken);
        }
        match confirmation.take_message() {
            Some(_) => Ok(Published::Unroutable),
            None => Ok(Published::Taken),
        }
    }

    /// A confirmation within the time limit; what the server holds up for want of memory or disk,
    /// and says so, has as long as that takes: over a new connection it would be the same.
    async fn confirmed<T>(
        &self,
        publish: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, RabbitError> {
        let (mut publish, mut told) = (pin!(publish), false);
        loop {
            let was_held_up = self.connection.status().blocked();
            match within(self.timeout, "a confirmation", publish.as_mut()).await {
                Err(RabbitError::TimedOut { .. })
                    if was_held_up || self.connection.status().blocked() =>
                {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("RabbitMQ takes nothing for want of memory or disk");
                    }
                }
                confirmed => return confirmed,
            }
        }
    }

    async fn idle_channel(&self) -> lapin::Result<Channel> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(channel) = idle {
            return Ok(channel);
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// Takes from a queue: `prefetch` messages at a time that have to be settled, or all that come,
    /// which are settled by being sent.
    ///
    /// # Errors
    ///
    /// There is no such queue, somebody has it for himself, or the connection is broken.
    pub async fn consume(
        &self,
        queue: &str,
        prefetch: Option<u16>,
        exclusive: bool,
    ) -> Result<Stream, RabbitError> {
        let timeout = self.timeout;
        let queue_name = short(queue)?;
        let consume = async {
            let channel = self.connection.create_channel().await?;
            if let Some(prefetch) = prefetch {
                channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            }
            let no_ack = prefetch.is_none();
            let options =
                BasicConsumeOptions { no_ack, exclusive, ..BasicConsumeOptions::default() };
            let (tag, table) = (ShortString::default(), FieldTable::default());
            let consumer = channel.basic_consume(queue_name, tag, options, table).await?;
            Ok((channel, consumer))
        };
        let (channel, consumer) = within(timeout, "a consumer", consume).await?;
        let tag = consumer.tag().as_str().to_owned();
        Ok(Stream { channel, consumer, tag, timeout, acked: prefetch.is_some() })
    }

    /// Ends the connection in good order.
    pub async fn close(&self) {
        let close = self.connection.close(200, ShortString::from("bye"));
        // One that cannot be closed is dropped.
        let _ = within(self.timeout, "the end", close).await;
        fail(&self.broken, "it was closed".into());
    }

    /// A channel that the server has closed is of no use any more.
    fn settle<T>(&self, outcome: Result<T, RabbitError>) -> Result<T, RabbitError> {
        if let Err(error) = &outcome {
            fail(&self.broken, error.to_string());
        }
        outcome
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Stream {
    /// Waits for a message; nothing: there will be no more, by [`Stream::cancel`].
    ///
    /// # Errors
    ///
    /// The connection, or the channel, is broken.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Delivery, RabbitError>> {
        let delivery = self.consumer.next().await?;
        Some(delivery.map_err(|error| explain(&error)).map(|delivery| Delivery {
            message: message(&delivery.properties, delivery.data),
            redelivered: delivery.redelivered,
            acker: self.acked.then_some(delivery.acker),
            _channel: self.channel.clone(),
        }))
    }

    /// No more messages; what has come already is still to be settled.
    ///
    /// # Errors
    ///
    /// The connection, or the channel, is broken.
    pub async fn cancel(&self) -> Result<(), RabbitError> {
        let (tag, options) = (short(&self.tag)?, BasicCancelOptions::default());
        within(self.timeout, "the end of a consumer", self.channel.basic_cancel(tag, options)).await
    }
}

impl Delivery {
    /// It is done.
    ///
    /// # Errors
    ///
    /// The channel is broken: it will come again.
    pub async fn ack(self) -> Result<(), RabbitError> {
        match &self.acker {
            Some(acker) => settled(acker.ack(BasicAckOptions::default()).await),
            None => Ok(()),
        }
    }

    /// It is to come again, to anybody.
    ///
    /// # Errors
    ///
    /// The channel is broken: it will come again.
    pub async fn requeue(self) -> Result<(), RabbitError> {
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        match &self.acker {
            Some(acker) => settled(acker.nack(options).await),
            None => Ok(()),
        }
    }

    /// It is not to come again; it becomes a dead letter.
    ///
    /// # Errors
    ///
    /// The channel is broken: it will come again.
    pub async fn reject(self) -> Result<(), RabbitError> {
        match &self.acker {
            Some(acker) => settled(acker.reject(BasicRejectOptions::default()).await),
            None => Ok(()),
        }
    }
}

fn settled(outcome: lapin::Result<bool>) -> Result<(), RabbitError> {
    match outcome {
        Ok(true) => Ok(()),
        Ok(false) => Err(RabbitError::Broken("the channel is gone".into())),
        Err(error) => Err(explain(&error)),
    }
}

/// The first reason is the one that is told.
fn fail(broken: &watch::Sender<Option<String>>, why: String) {
    broken.send_if_modified(|known| {
        let first = known.is_none();
        known.get_or_insert(why);
        first
    });
}

async fn within<T>(
    timeout: Duration,
    what: &'static str,
    work: impl Future<Output = lapin::Result<T>>,
) -> Result<T, RabbitError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(outcome) => outcome.map_err(|error| explain(&error)),
        Err(_) => Err(RabbitError::TimedOut { what, timeout }),
    }
}
