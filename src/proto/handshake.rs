//! greeting -> mechanism -> READY -> peer.
//!
//! ```text
//!             64 octets                READY
//! Greeting ---------------> Ready ---------------> Ended, with a Peer
//!    |   dialer sends READY   |   acceptor sends READY
//!    |                        |
//!    +--- wrong octet --------+--- wrong command, ERROR ---> Ended, with a HandshakeError
//! ```
//!
//! Our 64 octets go out before anything comes in: a libzmq peer sends 10 and waits. The accepting
//! side sends READY only after the peer's, so that it can answer ERROR instead and so that the type
//! it announces can follow the peer's (RFC 37 has the client speak first).
//!
//! PLAIN and CURVE are steps between `Greeting` and `Ready`: a variant of [`Security`] with its
//! keys, the commands they exchange, and READY's metadata out of their last one.

mod error;
mod step;

pub use error::HandshakeError;

use self::step::{ExpectGreeting, ExpectReady};
use crate::id::Identity;
use crate::wire::Limits;
use crate::wire::command::{Command, CommandReader, SocketType};
use crate::wire::greeting::{GreetingReader, Mechanism, Version};

/// Which side of the connection we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// We accepted it. The type we announce follows the peer's: ROUTER for REQ, DEALER and ROUTER.
    Accept,
    /// We dialed it.
    Dial {
        /// What we are.
        socket_type: SocketType,
        /// The name we give ourselves.
        identity: Option<Identity>,
    },
}

impl Role {
    /// The type we announce to such a peer, if we talk to it at all.
    fn announced_to(&self, theirs: SocketType) -> Option<SocketType> {
        match self {
            // CLIENT will get SERVER here once a dialect is spoken over it.
            Self::Accept => SocketType::Router.compatible(theirs).then_some(SocketType::Router),
            Self::Dial { socket_type, .. } => {
                socket_type.compatible(theirs).then_some(*socket_type)
            }
        }
    }
}

/// How the connection is secured, with whatever keys that takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Security {
    /// Not at all.
    #[default]
    Null,
}

impl Security {
    /// The mechanism we announce, and demand.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::Null => Mechanism::Null,
        }
    }
}

/// Our side of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Accepting or dialing.
    pub role: Role,
    /// The mechanism and its keys.
    pub security: Security,
    /// Of these only `command_bytes_max` concerns the handshake.
    pub limits: Limits,
}

/// Who is at the other end. Only a completed handshake makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// What it is.
    pub socket_type: SocketType,
    /// What we told it we are.
    pub announced: SocketType,
    /// The name it gives itself.
    pub identity: Option<Identity>,
    /// What it speaks: 3.0, or 3.1 and above.
    pub version: Version,
}

/// The handshake of one connection, fed with octets as they arrive.
///
/// ```
/// use majordomo::proto::handshake::{Handshake, Local, Role, Security};
/// use majordomo::wire::Limits;
///
/// let local = Local { role: Role::Accept, security: Security::Null, limits: Limits::default() };
/// let mut out = Vec::new();
/// let mut handshake = Handshake::new(local, &mut out);
/// assert_eq!(out.len(), 64);
///
/// let mut input = &b"GET / HTTP/1.1"[..];
/// assert!(handshake.read(&mut input, &mut out).is_err());
/// ```
#[derive(Debug)]
pub struct Handshake {
    step: Step,
}

#[derive(Debug)]
enum Step {
    Greeting(GreetingReader, ExpectGreeting),
    Ready(CommandReader, ExpectReady),
    Ended,
}

impl Handshake {
    /// Begins, and appends our whole greeting to `out`.
    #[must_use]
    pub fn new(local: Local, out: &mut Vec<u8>) -> Self {
        let reader = GreetingReader::new(local.security.mechanism());
        Self { step: Step::Greeting(reader, ExpectGreeting::start(local, out)) }
    }

    /// Takes what belongs to the handshake from the front of `input`, appends to `out` what is to
    /// be sent, and returns the peer once all is said. Until then `input` is used up; what remains
    /// in it afterwards is the peer's first traffic.
    ///
    /// # Errors
    /// The peer is to be closed, after `out` has been sent: it ends in an ERROR command if the peer
    /// is refused for good ([`HandshakeError::reply`]). The handshake is over in any case.
    pub fn read(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Peer>, HandshakeError> {
        let result = self.advance(input, out);
        if let Some(reason) = result.as_ref().err().and_then(HandshakeError::reply) {
            Command::Error { reason: reason.as_bytes() }.encode(out);
        }
        result
    }

    fn advance(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Peer>, HandshakeError> {
        loop {
            // Each step is used up by what it expects, and put back only if that has not come yet.
            self.step = match std::mem::replace(&mut self.step, Step::Ended) {
                Step::Greeting(mut reader, step) => match reader.read(input)? {
                    Some(greeting) => step.on_greeting(greeting, out),
                    None => return self.wait(Step::Greeting(reader, step)),
                },
                Step::Ready(mut reader, step) => match reader.read(input)? {
                    Some(body) => return step.on_command(&body, out).map(Some),
                    None => return self.wait(Step::Ready(reader, step)),
                },
                Step::Ended => return Err(HandshakeError::Ended),
            };
        }
    }

    fn wait(&mut self, step: Step) -> Result<Option<Peer>, HandshakeError> {
        self.step = step;
        Ok(None)
    }
}

#[cfg(test)]
mod malformed;
#[cfg(test)]
mod tests;
