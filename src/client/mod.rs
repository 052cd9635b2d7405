//! The client role: many calls at a time over one connection.
//!
//! ```
//! use std::time::Duration;
//!
//! use majordomo::broker::Broker;
//! use majordomo::client::Client;
//! use majordomo::config::BrokerConfig;
//! use majordomo::worker::{Failure, Request, Worker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(run())
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut config = BrokerConfig::default();
//! # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
//! # let broker = Broker::bind(config)?;
//! # let endpoint = broker.local_addrs()[0].to_string();
//! # let echo = |request: Request| async move { Ok::<_, Failure>(request.body) };
//! # let worker = Worker::builder(&endpoint, "echo")?.start(echo)?;
//! let client = Client::connect(&endpoint).await?;
//! let reply = client.call("echo", ["hello"]).await?;
//! assert_eq!(reply.first(), b"hello");
//!
//! // Within two seconds or not at all, and never twice.
//! let careful = client.call("echo", ["once"]).timeout(Duration::from_secs(2)).attempts(1);
//! assert_eq!(careful.await?.first(), b"once");
//!
//! // A clone is the same client: any number of tasks may call over its one connection.
//! let other = client.clone();
//! let task = tokio::spawn(async move { other.call("echo", ["from a task"]).await });
//! assert_eq!(task.await??.first(), b"from a task");
//! client.close(Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # When something goes wrong
//!
//! A call ends with an answer or with a [`CallError`], within its time. A connection that is lost
//! is dialed again, with back-off and jitter; calls that were under way are sent again, as often
//! as they may be (`attempts`, 3 by default), unless a part of their answer has come. So a request
//! may be executed more than once; `attempts(1)` says that it must not be. Errors of the broker
//! that may pass (`overloaded`, `draining`, `unserved`) are retried in the same way.
//!
//! With [`Call::key`] the broker knows a request that is sent again, and its worker gets it once.
//!
//! # Without async
//!
//! ```
//! # use majordomo::broker::Broker;
//! # use majordomo::config::BrokerConfig;
//! # use majordomo::client::Client;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut config = BrokerConfig::default();
//! # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
//! # let broker = Broker::bind(config)?;
//! # let endpoint = broker.local_addrs()[0].to_string();
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! let client = runtime.block_on(Client::connect(&endpoint))?;
//! let reply = runtime.block_on(async { client.call("mmi.service", ["echo"]).await })?;
//! assert_eq!(reply.first(), b"404");
//! # Ok(())
//! # }
//! ```
//!
//! # Values instead of octets
//!
//! [`Client::call_json`] and [`Client::call_msgpack`] take and give what serde can write and read,
//! as [`worker::json`](crate::worker::json) and [`worker::msgpack`](crate::worker::msgpack) do on
//! the other side.
//!
//! # Publishing and subscribing
//!
//! [`Client::publish`] tells all who have subscribed to a subject; [`Client::subscribe`] gives what
//! is published as a stream, which goes on over lost connections and says where something is
//! missing.
//!
//! # Leases
//!
//! [`Client::lease`] is a name that one holds at a time: see [`lease`](crate::lease).
//!
//! # Majordomo
//!
//! With [`Protocol::Mdp01`](crate::wire::Protocol) and `Mdp02` it calls by way of any Majordomo
//! broker. MDP has no ids, so there is one request in flight on a connection;
//! [`ClientBuilder::connections`] opens several. MDP has no errors either: what fails there is
//! silence until the timeout.

mod accepted;
mod admin;
mod builder;
mod call;
mod error;
mod hear;
mod inbox;
mod lease;
mod line;
mod mdp;
mod mjp;
mod pending;
mod scatter;
mod status;
mod task;
mod topics;
mod typed;
mod updates;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use accepted::Accepted;
pub use admin::{AdminCall, Answered, DeadAnswered, Explained, Happening, Happenings, KeyAnswered};
pub use builder::ClientBuilder;
pub use call::{Answer, Call, Replies};
pub use error::{CallError, ClientError, ConnectError};
pub use lease::{ClientSeat, Held, Observation};
pub use pending::Reply;
pub use scatter::{Miss, Outcome, Scatter, ScatterCall, ScatterUpdate, TargetError, To};
pub use status::Status;
pub use topics::{Lapse, PublishCall, Published, Subscription};
pub use updates::{Event, Question, Update, Updates};

pub use crate::wire::mjp::Level;

use crate::config::ClientConfig;
use crate::transport::endpoint::Endpoint;
use crate::wire::message::Message;
use crate::wire::{Limits, Protocol};
use inbox::{Inbox, Phase, Refusal};
use pending::{Ask, Pending, Sink};

/// The longest that anybody waits: a time that no clock can hold is cut to it.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A client of a broker. A clone is the same client; with the last one its task ends.
#[derive(Debug, Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    config: ClientConfig,
    inbox: Arc<Inbox>,
    ended: CancellationToken,
    task: JoinHandle<()>,
}

impl Client {
    /// Connects to a broker by MJP/1, and from then on again whenever the connection is lost. Has
    /// to be called in a tokio runtime.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`], and [`ClientError::Endpoint`].
    ///
    /// # Cancel safety
    /// The attempt is given up.
    pub async fn connect(endpoint: &str) -> Result<Self, ClientError> {
        Self::builder(endpoint)?.connect().await
    }

    /// A client that is yet to be told how to behave.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`].
    pub fn builder(endpoint: &str) -> Result<ClientBuilder, ClientError> {
        let endpoint: Endpoint = endpoint.parse()?;
        Ok(ClientConfig { endpoint, ..ClientConfig::default() }.into())
    }

    /// Calls a service, named by 1 to 255 octets. The body is one frame or more: a text, octets, or
    /// an array of them. Nothing happens before the [`Call`] is awaited.
    pub fn call(&self, service: impl AsRef<[u8]>, body: impl Into<Message>) -> Call {
        Call::new(self.clone(), service.as_ref(), body.into())
    }

    /// Calls a service that takes and gives JSON, each in one frame.
    ///
    /// # Errors
    /// As a call, and [`CallError::Convert`].
    ///
    /// # Cancel safety
    /// As [`Call`].
    pub async fn call_json<A, T>(
        &self,
        service: impl AsRef<[u8]>,
        argument: &A,
    ) -> Result<T, CallError>
    where
        A: Serialize,
        T: DeserializeOwned,
    {
        self.call(service, typed::json(argument)?).json().await
    }

    /// Calls a service that takes and gives MessagePack, each in one frame; structs are maps with
    /// the names of their fields.
    ///
    /// # Errors
    /// As a call, and [`CallError::Convert`].
    ///
    /// # Cancel safety
    /// As [`Call`].
    pub async fn call_msgpack<A, T>(
        &self,
        service: impl AsRef<[u8]>,
        argument: &A,
    ) -> Result<T, CallError>
    where
        A: Serialize,
        T: DeserializeOwned,
    {
        self.call(service, typed::msgpack(argument)?).msgpack().await
    }

    /// What the client was told.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.handle.config
    }

    /// Takes no more calls, waits until those under way have ended, or `deadline` is over, and
    /// ends. Calls that are left fail as [`CallError::Closed`]. Every clone is closed by that.
    ///
    /// # Cancel safety
    /// The client closes all the same.
    pub async fn close(&self, deadline: Duration) {
        let now = tokio::time::Instant::now().into_std();
        self.handle.inbox.end(Phase::Closing(after(now, deadline)));
        self.handle.ended.cancelled().await;
    }

    /// Whether it has been closed, or its runtime has ended: every call fails then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.task.is_finished()
    }

    fn check(&self, pending: &Pending) -> Result<(), CallError> {
        match (&pending.ask, self.config().protocol) {
            (Ask::Status(_), Protocol::Mdp01 | Protocol::Mdp02) => {
                return Err(CallError::Unsupported { what: "STATUS" });
            }
            (Ask::Scatter(_), Protocol::Mdp01 | Protocol::Mdp02) => {
                return Err(CallError::Unsupported { what: "SCATTER" });
            }
            (Ask::Admin { .. } | Ask::Follow(_), Protocol::Mdp01 | Protocol::Mdp02) => {
                return Err(CallError::Unsupported { what: "ADMIN" });
            }
            (Ask::Subscribe(_) | Ask::Publish(_), Protocol::Mdp01 | Protocol::Mdp02) => {
                return Err(CallError::Unsupported { what: "PUBLISH and SUBSCRIBE" });
            }
            (
                Ask::Lease(_) | Ask::Campaign(_) | Ask::Observe(_),
                Protocol::Mdp01 | Protocol::Mdp02,
            ) => {
                return Err(CallError::Unsupported { what: "LEASE" });
            }
            (Ask::Request(request), Protocol::Mdp01 | Protocol::Mdp02)
                if request.fence.is_some() =>
            {
                return Err(CallError::Unsupported { what: "a fence" });
            }
            (Ask::Request(request), Protocol::Mdp01 | Protocol::Mdp02) if request.key.is_some() => {
                return Err(CallError::Unsupported { what: "a key" });
            }
            (Ask::Request(_), Protocol::Mdp01 | Protocol::Mdp02) if pending.is_ordered() => {
                return Err(CallError::Unsupported { what: "an order or a delay" });
            }
            (Ask::Request(_), _) | (_, Protocol::Mjp) => {}
        }
        too_big(&pending.ask, &self.config().wire_limits())
    }

    fn leave(&self, attempts: u32, pending: Box<Pending>, sink: Sink) -> Result<u64, CallError> {
        if self.is_closed() {
            return Err(CallError::Closed);
        }
        self.handle.inbox.call(attempts, pending, sink).map_err(|refusal| match refusal {
            Refusal::Full => CallError::TooMany { max: self.config().waiting_max },
            Refusal::Closed => CallError::Closed,
        })
    }

    fn cancel(&self, id: u64) {
        self.handle.inbox.cancel(id);
    }
}

/// The moment in which so much time has passed.
fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now + FOREVER)
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inbox.end(Phase::Gone);
    }
}

/// Whether a request is too large for whoever has such limits: it would cost the connection, and
/// with it all other calls.
fn too_big(ask: &Ask, limits: &Limits) -> Result<(), CallError> {
    // Almost every one: nothing but a body that is small enough whatever is around it.
    if let Ask::Request(request) = ask
        && request.trace.is_none()
        && request.state.is_none()
        && request.body.frames().len() <= limits.message_frames_max
        && request.body.bytes() <= limits.frame_bytes_max
        && request.body.bytes().saturating_add(HEADER_REST) <= limits.message_bytes_max
    {
        return Ok(());
    }
    let (texts, body) = match ask {
        Ask::Request(request) => {
            let texts = [&request.trace, &request.state];
            let texts = texts.iter().filter_map(|text| text.as_ref()).map(|text| text.len());
            (texts.sum(), &request.body)
        }
        Ask::Scatter(scatter) => (scatter.texts(), &scatter.body),
        Ask::Publish(publication) => (publication.subject.len(), &publication.body),
        Ask::Status(_)
        | Ask::Admin { .. }
        | Ask::Follow(_)
        | Ask::Subscribe(_)
        | Ask::Lease(_)
        | Ask::Campaign(_)
        | Ask::Observe(_) => return Ok(()),
    };
    check_body(texts, body, limits)
}

/// What may be in a header besides texts that are counted.
const HEADER_REST: usize = 1 << 10;

/// The same for a body, with so many octets of texts in the header.
fn check_body(texts: usize, body: &Message, limits: &Limits) -> Result<(), CallError> {
    let checked = |what, size, max| {
        if size > max { Err(CallError::TooBig { what, size, max }) } else { Ok(()) }
    };
    checked("header", texts, crate::wire::mjp::HEADER_MAX - HEADER_REST)?;
    let body = body.frames();
    checked("frames", body.len(), limits.message_frames_max)?;
    // Around the body go a signature, kind and id, the header or the name of the service.
    let around = texts + HEADER_REST;
    checked("message", body.bytes() + around, limits.message_bytes_max.max(around))?;
    if body.bytes() > limits.frame_bytes_max {
        for frame in body {
            checked("frame", frame.len(), limits.frame_bytes_max)?;
        }
    }
    Ok(())
}
