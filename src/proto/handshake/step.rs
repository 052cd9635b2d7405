//! The steps of a handshake: each is used up by what it waits for, and yields the next.

use super::curve::{CurveHello, CurveInitiate, CurveReady, CurveWelcome};
use super::plain::{PlainHello, PlainInitiate, PlainReady, PlainWelcome};
use super::{HandshakeError, Local, Peer, Role, Security, Step};
use crate::wire::Limits;
use crate::wire::command::{self, Command, CommandReader, Metadata, SocketType};
use crate::wire::greeting::{Greeting, Version};

/// Our greeting is out, the peer's is to come.
#[derive(Debug)]
pub(super) struct ExpectGreeting {
    local: Local,
}

impl ExpectGreeting {
    pub(super) fn start(local: Local, out: &mut Vec<u8>) -> Self {
        let mechanism = local.security.mechanism();
        // RFC 37: as-server shall be zero for NULL, on the binding side too.
        let as_server = local.security.is_server();
        let greeting = Greeting { version: Version::OURS, mechanism, as_server };
        out.extend_from_slice(&greeting.encode());
        Self { local }
    }

    /// The mechanism takes over. Who speaks first with it does so at once.
    pub(super) fn on_greeting(
        self,
        greeting: Greeting,
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        let Local { role, security, limits } = self.local;
        let Limits { handshake_command_bytes_max, metadata_bytes_max, .. } = limits;
        let reader = CommandReader::new(handshake_command_bytes_max);
        let terms = Terms { role, version: greeting.version, metadata_bytes_max };
        let step = match security {
            Security::Null => {
                if terms.role != Role::Accept {
                    Command::Ready(&terms.first_words()).encode(out);
                }
                ExpectCommand::Ready(ExpectReady { terms })
            }
            Security::PlainServer(server) => {
                ExpectCommand::PlainHello(PlainHello::start(terms, server))
            }
            Security::PlainClient(client) => {
                ExpectCommand::PlainWelcome(PlainWelcome::start(terms, client, out))
            }
            Security::CurveServer(server) => {
                ExpectCommand::CurveHello(CurveHello::start(terms, server))
            }
            Security::CurveClient(client) => {
                ExpectCommand::CurveWelcome(CurveWelcome::start(terms, client, out)?)
            }
        };
        Ok(Step::Command(reader, step))
    }
}

/// The command that has to come.
#[derive(Debug)]
pub(super) enum ExpectCommand {
    Ready(ExpectReady),
    PlainHello(PlainHello),
    PlainWelcome(PlainWelcome),
    PlainInitiate(PlainInitiate),
    PlainReady(PlainReady),
    CurveHello(CurveHello),
    CurveWelcome(CurveWelcome),
    CurveInitiate(CurveInitiate),
    CurveReady(CurveReady),
}

/// What comes after a command.
#[derive(Debug)]
pub(super) enum Next {
    Expect(ExpectCommand),
    Peer(Peer),
}

impl ExpectCommand {
    /// Takes the body of a command, in which boxes are opened where they are.
    pub(super) fn on_command(
        self,
        body: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Next, HandshakeError> {
        match self {
            Self::Ready(step) => step.on_command(body, out).map(Next::Peer),
            Self::PlainHello(step) => {
                step.on_command(body, out).map(|step| Next::Expect(Self::PlainInitiate(step)))
            }
            Self::PlainWelcome(step) => {
                step.on_command(body, out).map(|step| Next::Expect(Self::PlainReady(step)))
            }
            Self::PlainInitiate(step) => step.on_command(body, out).map(Next::Peer),
            Self::PlainReady(step) => step.on_command(body).map(Next::Peer),
            Self::CurveHello(step) => {
                step.on_command(body, out).map(|step| Next::Expect(Self::CurveInitiate(step)))
            }
            Self::CurveWelcome(step) => {
                step.on_command(body, out).map(|step| Next::Expect(Self::CurveReady(step)))
            }
            Self::CurveInitiate(step) => step.on_command(body, out).map(Next::Peer),
            Self::CurveReady(step) => step.on_command(body).map(Next::Peer),
        }
    }
}

/// NULL has no commands of its own: the peer has to say what it is.
#[derive(Debug)]
pub(super) struct ExpectReady {
    terms: Terms,
}

impl ExpectReady {
    fn on_command(self, body: &mut [u8], out: &mut Vec<u8>) -> Result<Peer, HandshakeError> {
        let peer = self.terms.peer(data_of(body, "READY")?)?;
        if self.terms.role == Role::Accept {
            Command::Ready(&self.terms.words_to(&peer)).encode(out);
        }
        Ok(peer)
    }
}

/// What a handshake keeps to its end, whatever the mechanism.
#[derive(Debug)]
pub(super) struct Terms {
    role: Role,
    version: Version,
    metadata_bytes_max: usize,
}

impl Terms {
    /// The peer that these metadata describe, which has proven nothing.
    pub(super) fn peer(&self, metadata: &[u8]) -> Result<Peer, HandshakeError> {
        let (len, max) = (metadata.len(), self.metadata_bytes_max);
        if len > max {
            return Err(HandshakeError::MetadataTooLong { len, max });
        }
        let Metadata { socket_type, identity } = Metadata::decode(metadata)?;
        let announced = self
            .role
            .announced_to(socket_type)
            .ok_or_else(|| HandshakeError::incompatible(&self.role, socket_type))?;
        Ok(Peer {
            socket_type,
            announced,
            identity,
            version: self.version,
            proven: None,
            by_old_key: false,
            channel: None,
        })
    }

    /// Our metadata for a peer that has sent its own.
    pub(super) fn words_to(&self, peer: &Peer) -> Vec<u8> {
        self.words(peer.announced)
    }

    /// Our metadata, if we are the first to say what we are.
    pub(super) fn first_words(&self) -> Vec<u8> {
        self.words(self.role.announced_first())
    }

    fn words(&self, socket_type: SocketType) -> Vec<u8> {
        let mut properties = Vec::new();
        Metadata { socket_type, identity: self.role.identity().cloned() }.encode(&mut properties);
        properties
    }
}

/// The data of a command, if it is the one whose turn it is.
pub(super) fn data_of<'a>(
    body: &'a mut [u8],
    expected: &'static str,
) -> Result<&'a mut [u8], HandshakeError> {
    let (name, data) = command::split(body)?;
    if name != expected.as_bytes() {
        return Err(match Command::decode(body)? {
            Command::Error { reason } => HandshakeError::refused(reason),
            _ => HandshakeError::unexpected(name, expected),
        });
    }
    let data_at = body.len() - data.len();
    Ok(body.get_mut(data_at..).unwrap_or_default())
}
