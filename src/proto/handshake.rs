//! greeting -> mechanism -> READY -> peer.
//!
//! ```text
//!              NULL                                       READY
//! Greeting -------------------------------------> Ready -----------> Ended, with a Peer
//!     |  PLAIN, CURVE, server      HELLO             INITIATE
//!     +-----------------------> Hello --------> Initiate ----------> Ended, with a Peer
//!     |  PLAIN, CURVE, client      WELCOME           READY
//!     +-----------------------> Welcome ------> Ready -------------> Ended, with a Peer
//!
//! any of them --- a wrong octet, command or box; ERROR ------------> Ended, with a HandshakeError
//! ```
//!
//! Our 64 octets go out before anything comes in: a libzmq peer sends 10 and waits. The accepting
//! side of NULL sends READY only after the peer's, so that it can answer ERROR instead and so that
//! the type it announces can follow the peer's (RFC 37 has the client speak first). With PLAIN and
//! CURVE ([`Security`]) the peer's metadata come in INITIATE, and READY answers it.
//!
//! Each step is a type that is used up by the command it waits for: what is out of turn, or comes
//! twice, finds nobody who would take it. Only the last one makes a [`Peer`].

mod authority;
mod curve;
mod error;
mod fresh;
mod plain;
mod security;
mod step;

pub use authority::{Authority, Claim, Verdict, same_secret};
pub use error::{CurveError, HandshakeError};
pub use fresh::Fresh;
pub use security::{CurveClient, CurveServer, Password, PlainClient, PlainServer, Security};

use zeroize::Zeroize;

use self::step::{ExpectCommand, ExpectGreeting, Next};
use super::curve::Channel;
use crate::id::{Identity, Principal};
use crate::wire::Limits;
use crate::wire::command::{Command, CommandReader, SocketType};
use crate::wire::greeting::{GreetingReader, Version};

/// Which side of the connection we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// We accepted it. The type we announce follows the peer's: ROUTER for REQ, DEALER and ROUTER,
    /// SERVER for CLIENT.
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
            Self::Accept => {
                let ours = [SocketType::Router, SocketType::Server];
                ours.into_iter().find(|ours| ours.compatible(theirs))
            }
            Self::Dial { socket_type, .. } => {
                socket_type.compatible(theirs).then_some(*socket_type)
            }
        }
    }

    /// The type we announce to a peer that has not said yet what it is.
    fn announced_first(&self) -> SocketType {
        match self {
            Self::Accept => SocketType::Router,
            Self::Dial { socket_type, .. } => *socket_type,
        }
    }

    fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Accept => None,
            Self::Dial { identity, .. } => identity.as_ref(),
        }
    }
}

/// Our side of a handshake.
#[derive(Debug)]
pub struct Local {
    /// Accepting or dialing.
    pub role: Role,
    /// The mechanism and its keys.
    pub security: Security,
    /// Of these only `handshake_command_bytes_max` and `metadata_bytes_max` concern the handshake.
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
    /// Who it has proven to be: a key with CURVE, on both sides; a user with PLAIN, if we are the
    /// server. `None` with NULL.
    pub proven: Option<Principal>,
    /// CURVE: it knows us by our old key, and should learn the present one.
    pub by_old_key: bool,
    /// CURVE: what all that follows goes through.
    pub channel: Option<Channel>,
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
    Command(CommandReader, ExpectCommand),
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
                    Some(greeting) => step.on_greeting(greeting, out)?,
                    None => return self.wait(Step::Greeting(reader, step)),
                },
                Step::Command(mut reader, step) => match reader.read(input)? {
                    Some(mut body) => {
                        let next = step.on_command(&mut body, out);
                        // It may have been a password.
                        body.zeroize();
                        match next? {
                            Next::Expect(step) => Step::Command(reader, step),
                            Next::Peer(peer) => return Ok(Some(peer)),
                        }
                    }
                    None => return self.wait(Step::Command(reader, step)),
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
mod tests;
