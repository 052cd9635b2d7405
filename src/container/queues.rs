//! Where requests, commands, events and answers travel: what the runtime asks of a queue server.

mod broker;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::coordinate::BoxFuture;
use super::seal::Seal;
use crate::proto::container::{Reading, Tally};
use crate::wire::nuropb::{Bad, Body, Call, CallType, Event, Kind, Response};

pub use broker::BrokerQueues;
#[cfg(feature = "rabbitmq")]
pub use rabbitmq::{RabbitQueues, RabbitQueuesConfig};

/// A queue server, for one instance of a service or for a client.
pub trait Queues: fmt::Debug + Send + Sync {
    /// Makes what all instances need, if it is not there: what only the leader does.
    fn set_up(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Connects, and makes what this instance needs; answers to its requests go there.
    fn connect(&self, answers: mpsc::Sender<Reply>)
    -> BoxFuture<'_, Result<Arc<dyn Line>, String>>;
}

/// One connection.
pub trait Line: fmt::Debug + Send + Sync {
    /// Waits until it is broken, and says why.
    fn broken(&self) -> BoxFuture<'_, String>;

    /// From now on takes so many messages at a time, or none. When it is done, all that had been
    /// taken before is in the channel.
    fn tap(
        &self,
        prefetch: Option<u16>,
        to: mpsc::Sender<Incoming>,
    ) -> BoxFuture<'_, Result<(), String>>;

    /// Sends, and waits until the server has it.
    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Sent, SendError>>;

    /// Looks at the queue of the service.
    fn measure(&self) -> BoxFuture<'_, Result<Reading, String>>;

    /// Tells the instance that leads whose messages fail.
    fn tell<'a>(&'a self, leader: &'a str, tally: &'a Tally) -> BoxFuture<'a, Result<(), String>>;

    /// From now on hands over what other instances tell.
    fn hear(&self, to: mpsc::Sender<Tally>) -> BoxFuture<'_, Result<(), String>>;

    /// Ends the connections of a caller, by the name that [`Incoming::caller`] has; how many.
    fn end_caller<'a>(
        &'a self,
        caller: &'a str,
        why: &'a str,
    ) -> BoxFuture<'a, Result<usize, String>>;

    /// Ends it in good order.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What is sent; with a seal, so that only the other end can read it.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// A request or a command, good for so long.
    Call(Call, CallType, Duration, Option<Seal>),
    /// An event.
    Event(Event),
    /// An answer, to that address.
    Response(String, Response, Option<Seal>),
}

/// Makes a body one that only the other end can read, if there is a seal; and whether that is so.
fn sealed(
    body: Result<Vec<u8>, serde_json::Error>,
    seal: Option<&Seal>,
) -> Result<(Vec<u8>, bool), SendError> {
    let body = body.map_err(|error| SendError::NotSent(error.to_string()))?;
    let Some(seal) = seal else { return Ok((body, false)) };
    let body = seal.seal(&body).map_err(|error| SendError::NotSent(error.to_string()))?;
    Ok((body, true))
}

/// An answer that has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It can be read.
    Open(Response),
    /// Whoever has asked can read it.
    Sealed {
        /// That of the request.
        correlation_id: String,
        /// What only the two ends can read.
        octets: Vec<u8>,
    },
}

/// What the server has done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It has it.
    Taken,
    /// Nobody is there for it.
    Unroutable,
}

/// Why something was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may have been sent or not.
    #[error("it is not known whether the message was taken: {0}")]
    Unknown(String),
    /// It was not sent.
    #[error("{0}")]
    NotSent(String),
}

/// A message that has come.
pub struct Incoming {
    /// What it says, or why that cannot be read.
    pub body: Result<(Kind, Body), Bad>,
    /// Where the answer goes.
    pub reply_to: Option<String>,
    /// The connection that it comes from, by the name that the server knows it by.
    pub caller: Option<String>,
    /// Whether somebody had it before.
    pub redelivered: bool,
    /// The how manieth delivery it is, if the server counts them: then it can be given back as
    /// often as one likes.
    pub attempt: Option<u32>,
    /// How to get rid of it. One that is not settled comes again.
    pub settle: Box<dyn Settle>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { body, reply_to, caller, redelivered, attempt, settle: _ } = self;
        let mut debug = f.debug_struct("Incoming");
        debug.field("kind", &body.as_ref().map(|(kind, _)| kind));
        debug.field("reply_to", reply_to).field("caller", caller);
        debug.field("redelivered", redelivered);
        debug.field("attempt", attempt).finish_non_exhaustive()
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It is done.
    Done,
    /// Somebody is to try again, not before that time.
    Again {
        /// The wait.
        wait: Duration,
        /// Why it was not done.
        why: String,
    },
    /// It becomes a dead letter.
    Rejected {
        /// The class of the error.
        class: String,
        /// For people.
        text: String,
    },
}

/// The duty to say what has become of a message.
pub trait Settle: Send {
    /// Says it. An error: it could not be said, and the message comes again.
    fn settle(self: Box<Self>, how: Settlement) -> BoxFuture<'static, Result<(), String>>;
}
