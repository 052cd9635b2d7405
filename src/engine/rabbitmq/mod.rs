//! A client of RabbitMQ: connections over lapin that are thrown away whole when anything about them
//! breaks, publisher confirms, and the management interface over HTTP.

mod convert;
mod link;
mod management;
mod url;

use std::time::Duration;

pub use link::{Delivery, Depth, Link, Message, Published, Queue, Stream, Table};
pub use management::{
    ChannelDetails, ConsumerInfo, Management, MessageStats, QueueInfo, QueueName,
};
pub use url::AmqpUrl;

/// Where RabbitMQ is, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct RabbitConfig {
    /// The server, the user and the virtual host.
    pub url: AmqpUrl,
    /// How long a connection, or an answer of the server, may take. Default 5 s.
    pub timeout: Duration,
    /// A server that says nothing for twice as long is given up, seconds. Default 10.
    pub heartbeat: u16,
    /// What the server's listings call the connection.
    pub name: String,
    /// What else they show of it.
    pub properties: Vec<(String, String)>,
}

impl RabbitConfig {
    /// With the defaults.
    #[must_use]
    pub fn new(url: AmqpUrl) -> Self {
        let (name, properties) = ("majordomo".into(), Vec::new());
        Self { url, timeout: Duration::from_secs(5), heartbeat: 10, name, properties }
    }
}

/// Why RabbitMQ did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RabbitError {
    /// A URL cannot be read.
    #[error("the URL of RabbitMQ: {0}")]
    Url(String),
    /// There is no connection.
    #[error("RabbitMQ at {server} cannot be reached: {reason}")]
    Unreachable {
        /// The host and the port.
        server: String,
        /// What the system says.
        reason: String,
    },
    /// There was no answer in time.
    #[error("RabbitMQ has not answered within {} ms: {what}", timeout.as_millis())]
    TimedOut {
        /// What was asked.
        what: &'static str,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The connection is broken.
    #[error("the connection with RabbitMQ is broken: {0}")]
    Broken(String),
    /// The user or the password is wrong, or the user may not do that.
    #[error("RabbitMQ does not allow it: {0}")]
    NotAllowed(String),
    /// There is no such thing.
    #[error("RabbitMQ does not have it: {0}")]
    NotFound(String),
    /// There is one already, and it is another one.
    #[error("it is there already, but not as it has to be; delete it, or use its settings: {0}")]
    Differs(String),
    /// A text is too long for AMQP, or has something in it that it may not.
    #[error("`{0}` is too long for a name: 255 octets at most")]
    TooLong(String),
    /// The server could not take the message.
    #[error("RabbitMQ has not taken the message; try again")]
    NotTaken,
    /// Something else.
    #[error("RabbitMQ refuses: {0}")]
    Refused(String),
}
