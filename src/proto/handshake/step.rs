//! The steps of a handshake: each is used up by what it waits for, and yields the next.

use super::{HandshakeError, Local, Peer, Role, Security, Step};
use crate::wire::command::{Command, CommandReader, Metadata};
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
        let greeting = Greeting { version: Version::OURS, mechanism, as_server: false };
        out.extend_from_slice(&greeting.encode());
        Self { local }
    }

    /// The mechanism takes over: NULL has no commands of its own, so READY comes at once.
    pub(super) fn on_greeting(self, greeting: Greeting, out: &mut Vec<u8>) -> Step {
        let Local { role, security, limits } = self.local;
        let reader = CommandReader::new(limits.command_bytes_max);
        match security {
            Security::Null => {
                if let Role::Dial { socket_type, identity } = &role {
                    send_ready(
                        &Metadata { socket_type: *socket_type, identity: identity.clone() },
                        out,
                    );
                }
                Step::Ready(reader, ExpectReady { role, version: greeting.version })
            }
        }
    }
}

/// The mechanism is content, the peer has to say what it is.
#[derive(Debug)]
pub(super) struct ExpectReady {
    role: Role,
    version: Version,
}

impl ExpectReady {
    pub(super) fn on_command(self, body: &[u8], out: &mut Vec<u8>) -> Result<Peer, HandshakeError> {
        let metadata = match Command::decode(body)? {
            Command::Ready(metadata) => Metadata::decode(metadata)?,
            Command::Error { reason } => return Err(HandshakeError::refused(reason)),
            Command::Ping { .. } => return Err(HandshakeError::unexpected(b"PING")),
            Command::Pong { .. } => return Err(HandshakeError::unexpected(b"PONG")),
            Command::Other { name } => return Err(HandshakeError::unexpected(name)),
        };
        let Metadata { socket_type, identity } = metadata;
        let announced = self
            .role
            .announced_to(socket_type)
            .ok_or_else(|| HandshakeError::incompatible(&self.role, socket_type))?;
        if self.role == Role::Accept {
            send_ready(&Metadata { socket_type: announced, identity: None }, out);
        }
        Ok(Peer { socket_type, announced, identity, version: self.version })
    }
}

fn send_ready(metadata: &Metadata, out: &mut Vec<u8>) {
    let mut properties = Vec::new();
    metadata.encode(&mut properties);
    Command::Ready(&properties).encode(out);
}
