//! The steps of PLAIN (RFC 24), of both sides.

use super::step::{Terms, data_of};
use super::{Claim, HandshakeError, Peer, PlainClient, PlainServer, Verdict};
use crate::id::{Principal, UserName};
use crate::wire::command::Command;
use crate::wire::plain::{self, Hello};

/// The client has to say who it is.
#[derive(Debug)]
pub(super) struct PlainHello {
    terms: Terms,
    server: PlainServer,
}

impl PlainHello {
    pub(super) fn start(terms: Terms, server: PlainServer) -> Self {
        Self { terms, server }
    }

    pub(super) fn on_command(
        self,
        body: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<PlainInitiate, HandshakeError> {
        let Hello { user, password } = Hello::decode(data_of(body, "HELLO")?)?;
        let user = UserName::try_from(user).map_err(HandshakeError::UserName)?;
        let verdict = self.server.authority.judge(&Claim::Password { user, password });
        admitted(verdict, Principal::User(user))?;
        plain::encode_welcome(out);
        Ok(PlainInitiate { terms: self.terms, user })
    }
}

/// Whoever has been judged goes on only if it is admitted.
pub(super) fn admitted(verdict: Verdict, who: Principal) -> Result<(), HandshakeError> {
    match verdict {
        Verdict::Admit => Ok(()),
        Verdict::Refuse => Err(HandshakeError::NotAdmitted { who }),
        Verdict::Later => Err(HandshakeError::NotYet { who }),
    }
}

/// The client was let in, and has to say what it is.
#[derive(Debug)]
pub(super) struct PlainInitiate {
    terms: Terms,
    user: UserName,
}

impl PlainInitiate {
    pub(super) fn on_command(
        self,
        body: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Peer, HandshakeError> {
        let peer = self.terms.peer(data_of(body, "INITIATE")?)?;
        Command::Ready(&self.terms.words_to(&peer)).encode(out);
        Ok(Peer { proven: Some(Principal::User(self.user)), ..peer })
    }
}

/// We have said our password, and the server has to let us in.
#[derive(Debug)]
pub(super) struct PlainWelcome {
    terms: Terms,
}

impl PlainWelcome {
    pub(super) fn start(terms: Terms, client: PlainClient, out: &mut Vec<u8>) -> Self {
        let PlainClient { user, password } = client;
        Hello { user: user.as_bytes(), password: password.as_bytes() }.encode(out);
        Self { terms }
    }

    pub(super) fn on_command(
        self,
        body: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<PlainReady, HandshakeError> {
        plain::decode_welcome(from_server(body, "WELCOME")?)?;
        plain::encode_initiate(&self.terms.first_words(), out);
        Ok(PlainReady { terms: self.terms })
    }
}

/// The data of the server's command, if it is not an ERROR of libzmq.
fn from_server<'a>(
    body: &'a mut [u8],
    expected: &'static str,
) -> Result<&'a mut [u8], HandshakeError> {
    match plain::libzmq_error(body) {
        Some(reason) => Err(HandshakeError::refused(reason)),
        None => data_of(body, expected),
    }
}

/// We are in, and the server has to say what it is.
#[derive(Debug)]
pub(super) struct PlainReady {
    terms: Terms,
}

impl PlainReady {
    pub(super) fn on_command(self, body: &mut [u8]) -> Result<Peer, HandshakeError> {
        self.terms.peer(from_server(body, "READY")?)
    }
}
