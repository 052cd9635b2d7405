//! Why a handshake failed, and what the peer is told.

use super::Role;
use crate::id::{NameError, Principal};
use crate::wire::command::{CommandError, MetadataError, SocketType};
use crate::wire::greeting::GreetingError;
use crate::wire::{curve, plain};

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
    #[error("the peer sent {name} where {expected} had to come")]
    Unexpected {
        /// Its name, escaped.
        name: String,
        /// The name of the command whose turn it was.
        expected: &'static str,
    },
    /// A command of PLAIN that breaks its layout.
    #[error(transparent)]
    PlainLayout(#[from] plain::LayoutError),
    /// PLAIN: a name that no user has.
    #[error("PLAIN: {0}")]
    UserName(NameError),
    /// A command of CURVE that breaks its layout.
    #[error(transparent)]
    CurveLayout(#[from] curve::LayoutError),
    /// CURVE: something is wrong in a command, or with a box.
    #[error(transparent)]
    Curve(#[from] CurveError),
    /// Whoever it is, it does not get in.
    #[error("{} is not admitted; it was told to stay away", shown(who))]
    NotAdmitted {
        /// Who it is, or says it is.
        who: Principal,
    },
    /// Whoever it is, it does not get in yet.
    #[error("{} is not admitted yet; it may come again", shown(who))]
    NotYet {
        /// Who it is, or says it is.
        who: Principal,
    },
    /// Metadata that nobody can use.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// More metadata than we read.
    #[error("metadata of {len} octets exceeds metadata_bytes_max = {max}; send less")]
    MetadataTooLong {
        /// Octets of the peer's metadata.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The peer dialed us with a type we do not serve.
    #[error("a {theirs} socket connected; connect with REQ, DEALER, ROUTER or CLIENT")]
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

/// What CURVE does not let pass. None of it is answered: who gets it wrong is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CurveError {
    /// A public key with which everybody knows the key of all boxes.
    #[error("the {whose} key is of low order, and no box made with it is secret")]
    LowOrder {
        /// `client's short-term`, `client's`, `server's short-term` or `server's`.
        whose: &'static str,
    },
    /// HELLO was made for another server, or changed.
    #[error("the box of HELLO does not open; the client knows us by another key than ours")]
    HelloForged,
    /// The box of HELLO opens, and has something else in it than zeros.
    #[error("the box of HELLO holds something else than 64 zeros")]
    HelloNotZero,
    /// WELCOME was not made by the server whose key we know.
    #[error("the box of WELCOME does not open; the server has another key than the one we know")]
    WelcomeForged,
    /// A cookie of another connection, or none of ours.
    #[error("the cookie in INITIATE was not given to this connection")]
    Cookie,
    /// INITIATE was sent before.
    #[error("INITIATE has number {number} and HELLO had {hello}; numbers have to rise")]
    InitiateNumber {
        /// Its number.
        number: u64,
        /// That of HELLO.
        hello: u64,
    },
    /// INITIATE was made with other keys, or changed.
    #[error("the box of INITIATE does not open; it was changed, or made with another key")]
    InitiateForged,
    /// The vouch was not made by the key that it stands for.
    #[error("the vouch in INITIATE does not open; the client does not have the key it shows")]
    VouchForged,
    /// The vouch is for another short-term key.
    #[error("the vouch in INITIATE is for another short-term key than this connection's")]
    VouchForAnotherKey,
    /// The vouch is for another server: somebody passes on what he was given.
    #[error("the vouch in INITIATE is for another server")]
    VouchForAnotherServer,
    /// READY was made with other keys, or changed.
    #[error("the box of READY does not open; it was changed, or made with another key")]
    ReadyForged,
}

impl CurveError {
    fn label(self) -> &'static str {
        match self {
            Self::LowOrder { .. } => "curve_low_order",
            Self::HelloForged => "curve_hello_forged",
            Self::HelloNotZero => "curve_hello_not_zero",
            Self::WelcomeForged => "curve_welcome_forged",
            Self::Cookie => "curve_cookie",
            Self::InitiateNumber { .. } => "curve_initiate_number",
            Self::InitiateForged => "curve_initiate_forged",
            Self::VouchForged => "curve_vouch_forged",
            Self::VouchForAnotherKey => "curve_vouch_for_another_key",
            Self::VouchForAnotherServer => "curve_vouch_for_another_server",
            Self::ReadyForged => "curve_ready_forged",
        }
    }
}

/// Who it is, for people.
fn shown(who: &Principal) -> String {
    match who {
        Principal::Key(key) => format!("key {key}"),
        Principal::User(user) => format!("user {user}"),
        Principal::Local | Principal::Address(_) => "the peer".into(),
    }
}

impl HandshakeError {
    pub(super) fn unexpected(name: &[u8], expected: &'static str) -> Self {
        Self::Unexpected { name: name.escape_ascii().to_string(), expected }
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
            Self::MetadataTooLong { .. } => Some("metadata-too-long"),
            Self::NotServed { .. } => {
                Some("socket-type-not-served:use-REQ,DEALER,ROUTER-or-CLIENT")
            }
            Self::Incompatible { .. } => Some("incompatible-socket-type"),
            // RFC 27: three digits, which libzmq shows to whoever watches the socket.
            Self::NotAdmitted { .. } | Self::UserName(_) => Some("400"),
            Self::Greeting(_)
            | Self::Command(_)
            | Self::Unexpected { .. }
            | Self::PlainLayout(_)
            | Self::CurveLayout(_)
            | Self::Curve(_)
            | Self::NotYet { .. }
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
            | Self::MetadataTooLong { .. }
            | Self::NotServed { .. }
            | Self::Incompatible { .. }
            | Self::NotAdmitted { .. }
            | Self::UserName(_)
            | Self::Refused { .. } => true,
            Self::Greeting(error) => matches!(
                error,
                GreetingError::MechanismDiffers { .. } | GreetingError::OldVersion { .. }
            ),
            // The key that we were given is no key.
            Self::Curve(error) => matches!(error, CurveError::LowOrder { whose: "server's" }),
            Self::Command(_)
            | Self::Unexpected { .. }
            | Self::PlainLayout(_)
            | Self::CurveLayout(_)
            | Self::NotYet { .. }
            | Self::Ended => false,
        }
    }

    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Greeting(error) => match error {
                GreetingError::NotZmtp { .. } => "not_zmtp",
                GreetingError::Unversioned { .. } => "unversioned",
                GreetingError::OldVersion { .. } => "old_version",
                GreetingError::MechanismDiffers { .. } => "mechanism_differs",
            },
            Self::Command(error) => match error {
                CommandError::Frame(_) => "broken_frame",
                CommandError::NotACommand { .. } => "not_a_command",
                CommandError::TooBig { .. } => "command_too_big",
                _ => "broken_command",
            },
            Self::Unexpected { .. } => "unexpected_command",
            Self::PlainLayout(_) => "plain_layout",
            Self::UserName(_) => "plain_user_name",
            Self::CurveLayout(curve::LayoutError::Version { .. }) => "curve_version",
            Self::CurveLayout(_) => "curve_layout",
            Self::Curve(error) => error.label(),
            Self::NotAdmitted { .. } => "not_admitted",
            Self::NotYet { .. } => "not_admitted_yet",
            Self::Metadata(error) => match error {
                MetadataError::NoSocketType => "no_socket_type",
                MetadataError::UnknownSocketType { .. } => "unknown_socket_type",
                MetadataError::Identity(_) => "bad_identity",
                _ => "malformed_metadata",
            },
            Self::MetadataTooLong { .. } => "metadata_too_long",
            Self::NotServed { .. } => "socket_type_not_served",
            Self::Incompatible { .. } => "incompatible_socket_type",
            Self::Refused { .. } => "refused_by_peer",
            Self::Ended => "ended",
        }
    }
}
