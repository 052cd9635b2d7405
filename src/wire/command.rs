//! ZMTP commands: frames that are never part of a message (RFC 37, "Commands").
//!
//! A body is the length of the name, the name, and data whose layout the name decides.

mod metadata;
mod reader;
mod socket_type;

pub use metadata::{Metadata, MetadataError, PROPERTIES_MAX};
pub use reader::CommandReader;
pub use socket_type::SocketType;

use super::frame::{COMMAND, FrameError, HEADER_LEN_MAX, Header};

/// Longest context of a PING, octets (RFC 37, "Connection Heartbeating").
pub const PING_CONTEXT_MAX: usize = 16;

/// One command, borrowed from the frame that carried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// Ends the handshake; carries [`Metadata`].
    Ready(&'a [u8]),
    /// Refuses the peer for good.
    Error {
        /// Something to log; RFC 37 wants visible ASCII without spaces.
        reason: &'a [u8],
    },
    /// Asks for a PONG.
    Ping {
        /// The receiver should close if it hears nothing for this long; 0 = never.
        ttl_deciseconds: u16,
        /// Up to 16 octets, to be echoed.
        context: &'a [u8],
    },
    /// Answers a PING.
    Pong {
        /// The context of the PING.
        context: &'a [u8],
    },
    /// A command that says nothing to us: SUBSCRIBE, CANCEL, JOIN, LEAVE, or one still unknown.
    /// Encoding it writes the name without data.
    Other {
        /// Its name, 1 to 255 octets of any value.
        name: &'a [u8],
    },
}

/// A command that breaks its layout, or stands where none may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The header breaks the framing rules.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message frame where only commands are allowed.
    #[error(
        "frame flags {flags:#04x} start a message where only a command may come; wait for READY"
    )]
    NotACommand {
        /// The octet received.
        flags: u8,
    },
    /// The body would be longer than we read.
    #[error(
        "command of {size} octets exceeds {max}, the most that is read here; send less metadata"
    )]
    TooBig {
        /// Octets announced.
        size: u64,
        /// The limit.
        max: usize,
    },
    /// No name.
    #[error("the command has no name; it needs 1 to 255 letters")]
    NoName,
    /// The name is longer than the body.
    #[error("the command's name of {len} octets runs beyond its body of {body}")]
    NameOverrun {
        /// Octets announced for the name.
        len: usize,
        /// Octets of the whole body.
        body: usize,
    },
    /// The reason of an ERROR is longer than its body, or has no length.
    #[error("the reason of an ERROR runs beyond its {len} octets of data")]
    ReasonOverrun {
        /// Octets after the name.
        len: usize,
    },
    /// libzmq reads beyond such a frame and echoes foreign memory; we close.
    #[error("PING has {len} octets of data; its TTL alone takes 2")]
    PingWithoutTtl {
        /// Octets after the name.
        len: usize,
    },
    /// RFC 37: a context must not exceed 16 octets.
    #[error("context of {len} octets in PING or PONG; at most {PING_CONTEXT_MAX} are allowed")]
    ContextTooLong {
        /// Octets of the context.
        len: usize,
    },
}

impl<'a> Command<'a> {
    /// Reads the body of a command frame.
    ///
    /// # Errors
    /// A body without a name, or one that its name's layout does not allow.
    pub fn decode(body: &'a [u8]) -> Result<Self, CommandError> {
        let (name, data) = split(body)?;
        match name {
            b"READY" => Ok(Self::Ready(data)),
            b"ERROR" => decode_error(data),
            b"PING" => decode_ping(data),
            b"PONG" => Ok(Self::Pong { context: checked_context(data)? }),
            _ => Ok(Self::Other { name }),
        }
    }

    /// Appends the whole frame, header and body. What would break the layout is cut: a name or
    /// reason to 255 octets, a context to 16.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Ready(metadata) => frame(b"READY", &[metadata], out),
            Self::Error { reason } => {
                let (len, reason) = short(reason);
                frame(b"ERROR", &[&[len], reason], out);
            }
            Self::Ping { ttl_deciseconds, context } => {
                frame(b"PING", &[&ttl_deciseconds.to_be_bytes(), cut(context)], out);
            }
            Self::Pong { context } => frame(b"PONG", &[cut(context)], out),
            Self::Other { name } => frame(name, &[], out),
        }
    }
}

/// The name in the body of a command, and the data.
///
/// # Errors
/// There is no name, or it is longer than the body.
pub fn split(body: &[u8]) -> Result<(&[u8], &[u8]), CommandError> {
    let Some((&len, rest)) = body.split_first().filter(|(len, _)| **len > 0) else {
        return Err(CommandError::NoName);
    };
    let len = usize::from(len);
    rest.split_at_checked(len).ok_or(CommandError::NameOverrun { len, body: body.len() })
}

fn decode_error(data: &[u8]) -> Result<Command<'_>, CommandError> {
    // An ERROR is final whatever follows its reason, so trailing octets are let pass, as in libzmq.
    data.split_first()
        .and_then(|(&len, reason)| reason.get(..usize::from(len)))
        .map(|reason| Command::Error { reason })
        .ok_or(CommandError::ReasonOverrun { len: data.len() })
}

fn decode_ping(data: &[u8]) -> Result<Command<'_>, CommandError> {
    let Some((ttl, context)) = data.split_first_chunk() else {
        return Err(CommandError::PingWithoutTtl { len: data.len() });
    };
    let ttl_deciseconds = u16::from_be_bytes(*ttl);
    Ok(Command::Ping { ttl_deciseconds, context: checked_context(context)? })
}

fn checked_context(context: &[u8]) -> Result<&[u8], CommandError> {
    let len = context.len();
    if len > PING_CONTEXT_MAX { Err(CommandError::ContextTooLong { len }) } else { Ok(context) }
}

fn cut(context: &[u8]) -> &[u8] {
    context.get(..PING_CONTEXT_MAX).unwrap_or(context)
}

/// A string of at most 255 octets, and its length in one octet.
pub(super) fn short(octets: &[u8]) -> (u8, &[u8]) {
    match u8::try_from(octets.len()) {
        Ok(len) => (len, octets),
        Err(_) => (u8::MAX, octets.get(..usize::from(u8::MAX)).unwrap_or(octets)),
    }
}

/// Appends a command of these parts. A name is cut to 255 octets.
pub(super) fn frame(name: &[u8], data: &[&[u8]], out: &mut Vec<u8>) {
    let (len, name) = short(name);
    let size = 1 + name.len() + data.iter().map(|part| part.len()).sum::<usize>();
    // With room for all of it, no password is left behind where it grew.
    out.reserve(HEADER_LEN_MAX + size);
    Header::encode(COMMAND, size, out);
    out.push(len);
    out.extend_from_slice(name);
    for part in data {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
