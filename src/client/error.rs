//! What can go wrong, and what a caller can do about it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::ConfigError;
use crate::id::NameError;
use crate::keys::KeyError;
use crate::proto::topics::SubjectError;
use crate::transport::endpoint::EndpointError;
use crate::transport::session::SessionError;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The endpoint cannot be read.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No broker could be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No seed from the system.
    #[error("the system gives no random seed: {0}")]
    Seed(String),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No connection, or one that broke.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Our key, or that of the broker, cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Whoever listens does not speak MJP/1.
    #[error(
        "{endpoint} did not answer HELLO within {timeout:?}; if it is a broker without MJP/1, call \
         it by MDP/0.1 or MDP/0.2"
    )]
    NoHello {
        /// Where.
        endpoint: String,
        /// The time it had.
        timeout: Duration,
    },
    /// The broker does not want to speak with this client.
    #[error("the broker refused HELLO: {code}: {message}")]
    Refused {
        /// What is wrong, by name.
        code: String,
        /// The same for people.
        message: String,
    },
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No answer within its time. Whether the request was executed nobody knows, unless it was
    /// not sent.
    #[error("no answer within {after:?}: {}", timed_out(*.sent, .because.as_deref()))]
    Timeout {
        /// The time that it had.
        after: Duration,
        /// Whether the request was sent at all.
        sent: bool,
        /// What kept it from being sent, if that is known.
        because: Option<Arc<str>>,
    },
    /// The broker, or the worker's handler, said no.
    #[error("{code}: {message}")]
    Refused {
        /// What is wrong, by name: one of [`Code`](crate::wire::mjp::Code), or the worker's own.
        code: String,
        /// The same for people.
        message: String,
        /// The same request may succeed after this time.
        retry: Option<Duration>,
    },
    /// The connection was lost with the request on its way, and it may not be sent again: no
    /// attempt was left, or a part of the answer had come. Whether it was executed nobody knows.
    #[error("the connection to the broker was lost with the request on its way: {because}")]
    Disconnected {
        /// How the connection was lost.
        because: Arc<str>,
    },
    /// Too many calls of this client wait already. Nothing was sent.
    #[error("{max} calls wait already; make fewer at a time, or raise waiting_max")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The request is larger than may be sent. Nothing was sent.
    #[error(
        "the request has {what} = {size}, more than {max}; send less, or raise the limit on both sides"
    )]
    TooBig {
        /// What is too large: `frame` or `message` octets, or `frames`.
        what: &'static str,
        /// How large.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The parts of the answer are too large together, and this protocol has them joined here. The
    /// request was given up.
    #[error(
        "the answer has {what} = {size} so far, more than {max}; raise the limit, or read it as a stream"
    )]
    AnswerTooBig {
        /// What is too large: `message` octets.
        what: &'static str,
        /// How large.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// More parts of the answer came than were read. The request was cancelled.
    #[error("more than {max} parts of the answer wait to be read; read faster, or raise parts_max")]
    Overrun {
        /// The limit.
        max: usize,
    },
    /// No key can have that length. Nothing was sent.
    #[error("the key has {len} octets; give it 1 to {max}")]
    Key {
        /// Octets given.
        len: usize,
        /// Longest key allowed.
        max: usize,
    },
    /// The broker is one that knows no keys: the request could be carried out twice. Nothing was
    /// sent.
    #[error("the broker knows no keys, and could carry the request out twice; call without one")]
    NoKeys,
    /// No order can have a name of that length. Nothing was sent.
    #[error("the order has {len} octets; give it 1 to {max}")]
    Order {
        /// Octets given.
        len: usize,
        /// Longest name allowed.
        max: usize,
    },
    /// The broker is one that knows neither orders nor delays. Nothing was sent.
    #[error("the broker knows neither orders nor delays; call without, or take a newer broker")]
    NoOrder,
    /// The lease of its fence is not held by that epoch any more: no worker has seen the request, no
    /// subscriber the publication, and nothing of what was asked of the broker is done.
    #[error("the epoch is old: {}", holder(*.current))]
    Stale {
        /// The epoch of who holds the lease. None: nobody does.
        current: Option<u64>,
    },
    /// Another one holds the lease.
    #[error("the lease is taken: {}", holder(*.current))]
    Held {
        /// The epoch of who holds it. None: it is nobody's for a while.
        current: Option<u64>,
    },
    /// No lease can have a name of that length. Nothing was sent.
    #[error("the name of the lease has {len} octets; give it 1 to {max}")]
    LeaseName {
        /// Octets given.
        len: usize,
        /// Longest name allowed.
        max: usize,
    },
    /// The broker is one that knows no leases, or no fences but those of requests: what was asked
    /// would not be fenced. Nothing was sent.
    #[error("the broker knows no fences here, and would do what comes too late; ask another one")]
    NoFences,
    /// No service can have that name. Nothing was sent.
    #[error("the service: {0}")]
    Service(#[from] NameError),
    /// That is no subject, or no pattern of subjects. Nothing was sent.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The client was closed.
    #[error("the client is closed; connect a new one")]
    Closed,
    /// The protocol of this client has no word for that.
    #[error("{what} needs MJP/1; connect without another protocol")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
    /// The argument of a typed call cannot be written, or its answer cannot be read.
    #[error("cannot {what}: {reason}")]
    Convert {
        /// What was tried.
        what: &'static str,
        /// What the format says.
        reason: String,
    },
}

fn holder(current: Option<u64>) -> String {
    current.map_or_else(|| "nobody holds it".into(), |epoch| format!("{epoch} holds it"))
}

fn timed_out(sent: bool, because: Option<&str>) -> String {
    match (sent, because) {
        (true, _) => "the request was sent, and may have been executed".into(),
        (false, Some(because)) => format!("the request was not sent: {because}"),
        (false, None) => "the request was not sent, as others were before it".into(),
    }
}
