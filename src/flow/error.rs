//! What can go wrong with a flow.

use std::time::Duration;

use super::message::FlowMessage;
use crate::config::ConfigError;
use crate::id::NameError;
use crate::keys::KeyError;
use crate::proto::flow::{Misuse, Violation};
use crate::transport::endpoint::EndpointError;
use crate::transport::session::SessionError;
use crate::wire::zio::Malformed;

/// Why there is no flow, or no longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// The endpoint cannot be read.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Our key, or that of the broker, cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// No flow service can have that name.
    #[error("the flow service: {0}")]
    Service(#[from] NameError),
    /// No connection, or whoever listens is no SERVER.
    #[error(transparent)]
    Connect(SessionError),
    /// The flow was refused: by a rule, the factory, or a limit of the broker, or as no handler
    /// came.
    #[error("the flow was refused{}", because(.reason.as_deref()))]
    Refused {
        /// The attribute `reason` of the EOT, if whoever refused has said one.
        reason: Option<String>,
        /// The EOT that it was refused with: its label is that of our BOT, if the broker said it.
        eot: Box<FlowMessage>,
    },
    /// Neither yes nor no in time.
    #[error("BOT was not answered within {timeout:?}; does a handler come for such a flow?")]
    NoAnswer {
        /// The time it had.
        timeout: Duration,
    },
    /// The connection was lost. What was under way may have arrived, or not.
    #[error("the connection was lost, and the flow with it: {0}")]
    Lost(SessionError),
    /// The broker does not take what an end within MJP says.
    #[error("the broker says {code}{}", because(Some(.message.as_str()).filter(|it| !it.is_empty())))]
    Rejected {
        /// Its code (SPEC 9.4).
        code: String,
        /// What it says about it.
        message: String,
    },
    /// The other end broke the protocol.
    #[error("the other end broke the rules of the flow: {0}")]
    Violated(#[from] Violation),
    /// The other end has not answered EOT. What was given may have arrived, or not.
    #[error("EOT was not answered within {timeout:?}")]
    NoEnd {
        /// The time it had.
        timeout: Duration,
    },
    /// The taker wants no more.
    #[error("the other end has ended the flow; nothing more is taken")]
    Ended,
    /// The flow is over.
    #[error("the flow is over; open a new one")]
    Closed,
    /// The message is larger than may be sent. Nothing was sent, and the flow goes on.
    #[error("the message takes {size} octets, more than {max}; send less, or raise the limits")]
    TooBig {
        /// How large, label and coordinates included.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The message cannot be said now: `poll_ready` has not said so. The flow goes on.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// An attribute cannot be said.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
}

/// Why a label cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The protocol writes it.
    #[error("the attribute `{name}` is the protocol's; choose another name")]
    Reserved {
        /// Its name.
        name: String,
    },
    /// Its name cannot be written as it is.
    #[error("the attribute `{name}` needs escapes; leave quotes, `\\` and control characters out")]
    Name {
        /// Its name, escaped.
        name: String,
    },
    /// Its value cannot be JSON.
    #[error("the value cannot be JSON: {reason}")]
    Value {
        /// What the format says.
        reason: String,
    },
    /// The label is none.
    #[error(transparent)]
    Label(#[from] Malformed),
}

/// Why a message assigns no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignmentError {
    /// It is no message of a flow.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is no BOT.
    #[error("an assignment is a BOT")]
    NoBot,
    /// Its `cid` is missing, or cannot be one.
    #[error("the BOT has no `cid` that says which client waits")]
    NoCid,
    /// It does not say what the handler is to do.
    #[error("the BOT has no `direction`")]
    NoDirection,
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}
