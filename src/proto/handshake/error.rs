//! Why a handshake failed, and what the peer is told.

use super::Role;
use crate::id::NameError;
use crate::wire::command::{CommandError, MetadataError, SocketType};
use crate::wire::greeting::GreetingError;

/// Why there is no peer. Every one of these closes the connection.
///
/// libzmq reconnects after a close and gives up after an ERROR, so ERROR is for what will not
/// change by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The greeting was refused; there is no talking to the peer.
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    /// Something else than a well-formed command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A command out of turn.
    #[error("the peer sent {name} where READY had to come")]
    Unexpected {
        /// Its name, escaped.
        name: String,
    },
    /// READY with metadata that nobody can use.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The peer dialed us with a type we do not serve.
    #[error("a {theirs} socket connected; connect with REQ, DEALER or ROUTER")]
    NotServed {
        /// The peer's type.
        theirs: SocketType,
    },
    /// We dialed a peer that our type does not talk to.
    #[error("we dialed as {ours} and found a {theirs} socket; dial another endpoint")]
    Incompatible {
        /// Our type.
        ours: SocketType,
        /// The peer's type.
        theirs: SocketType,
    },
    /// The peer sent ERROR.
    #[error("the peer refused us for good: \"{reason}\"; dialing again the same way is useless")]
    Refused {
        /// What it said, escaped.
        reason: String,
    },
    /// Our own mistake: the handshake had its outcome before.
    #[error("the handshake has ended before; make a new one for a new connection")]
    Ended,
}

impl HandshakeError {
    pub(super) fn unexpected(name: &[u8]) -> Self {
        Self::Unexpected { name: name.escape_ascii().to_string() }
    }

    pub(super) fn refused(reason: &[u8]) -> Self {
        Self::Refused { reason: reason.escape_ascii().to_string() }
    }

    pub(super) fn incompatible(role: &Role, theirs: SocketType) -> Self {
        match *role {
            Role::Accept => Self::NotServed { theirs },
            Role::Dial { socket_type: ours, .. } => Self::Incompatible { ours, theirs },
        }
    }

    /// The reason in the ERROR that refuses the peer for good; `None`: it is only closed.
    ///
    /// RFC 37 allows visible characters in a reason, and no spaces.
    #[must_use]
    pub fn reply(&self) -> Option<&'static str> {
        match self {
            Self::Metadata(error) => Some(match error {
                MetadataError::NoSocketType => "no-socket-type",
                MetadataError::UnknownSocketType { .. } => "unknown-socket-type",
                MetadataError::Identity(NameError::StartsWithZero) => "identity-starts-with-zero",
                MetadataError::Identity(_) => "identity-longer-than-255-octets",
                _ => "malformed-metadata",
            }),
            Self::NotServed { .. } => Some("socket-type-not-served:use-REQ,DEALER-or-ROUTER"),
            Self::Incompatible { .. } => Some("incompatible-socket-type"),
            Self::Greeting(_)
            | Self::Command(_)
            | Self::Unexpected { .. }
            | Self::Refused { .. }
            | Self::Ended => None,
        }
    }

    /// Whether dialing again the same way would end the same way: one side is set up wrongly.
    /// Everything else may be a broker that restarts, or a stranger that has taken its port.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Metadata(_)
            | Self::NotServed { .. }
            | Self::Incompatible { .. }
            | Self::Refused { .. } => true,
            Self::Greeting(error) => matches!(
                error,
                GreetingError::MechanismDiffers { .. } | GreetingError::OldVersion { .. }
            ),
            Self::Command(_) | Self::Unexpected { .. } | Self::Ended => false,
        }
    }
}
