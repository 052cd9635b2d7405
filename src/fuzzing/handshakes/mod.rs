//! Handshakes as a table: what a peer does, octet by octet, and what has to come of it.
//!
//! The same cases are played to the state machines and over sockets. A listener under test has to
//! be set up as [`local`] has it: with these keys, and with this [`Doorkeeper`].
//!
//! The octets of a case end with the one that decides it: one less, and the handshake still waits.
//! So nothing is refused late, and nothing early.

pub(super) mod curve;
mod dialer;
pub(super) mod forger;
pub(super) mod greetings;
mod metadata;
mod null;
mod plain;
mod play;

use std::fmt;
use std::sync::Arc;

use crate::id::UserName;
use crate::proto::handshake::{
    Authority, Claim, CurveClient, CurveServer, Fresh, HandshakeError, Local, Password,
    PlainClient, PlainServer, Role, Security, Verdict, same_secret,
};
use crate::wire::Limits;
use crate::wire::command::SocketType;
use crate::wire::greeting::Mechanism;

pub use play::{Played, play};

// Each secret key consists of one octet, 32 times. Those of the server and of the client that is
// admitted are those of the vectors that libsodium made.

/// The listener's present key, and that of the server which our dialer knows.
pub const SERVER: u8 = 0x11;
/// The listener's old key.
pub const OLD_SERVER: u8 = 0x12;
/// The key of a client that is admitted, and our dialer's own.
pub const ADMITTED: u8 = 0x22;
/// The key of a client that is refused for good.
pub const REFUSED: u8 = 0x23;
/// The key of a client that nobody has heard of: it may come again.
pub const UNKNOWN: u8 = 0x24;
/// A user, our dialer's too.
pub const USER: &str = "worker";
/// Its password.
pub const PASSWORD: &str = "secret";
/// A user with the same password, who may come again.
pub const PENDING_USER: &str = "newcomer";

/// Which side is put to the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ours {
    /// A listener: the case is a client.
    Listener(Mechanism),
    /// A dialing DEALER: the case is a server.
    Dialer(Mechanism),
}

impl Ours {
    /// The mechanism of both sides.
    #[must_use]
    pub fn mechanism(self) -> Mechanism {
        match self {
            Self::Listener(mechanism) | Self::Dialer(mechanism) => mechanism,
        }
    }
}

impl fmt::Display for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(mechanism) => write!(f, "{mechanism}"),
            Self::Dialer(mechanism) => write!(f, "dialed {mechanism}"),
        }
    }
}

/// What a case ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A peer; so many octets are left for the traffic. A listener has answered READY.
    Served(usize),
    /// Closed without a word: for now. The error has the label.
    Closed(HandshakeError),
    /// Refused with this reason in an ERROR, then closed: for good.
    Refused(&'static str),
}

type Answer = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// One thing that a peer does.
pub struct Act {
    /// It waits until our side has said so many octets in all.
    pub after: usize,
    answer: Box<Answer>,
}

impl Act {
    fn send(octets: Vec<u8>) -> Self {
        Self { after: 0, answer: Box::new(move |_| octets.clone()) }
    }

    fn answer(after: usize, answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { after, answer: Box::new(answer) }
    }

    /// What it sends to one who has said this much.
    #[must_use]
    pub fn octets(&self, heard: &[u8]) -> Vec<u8> {
        (self.answer)(heard)
    }
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Act").field("after", &self.after).finish_non_exhaustive()
    }
}

/// One handshake.
#[derive(Debug)]
pub struct Case {
    /// What is done, after the side that it is done to. No two cases have the same.
    pub name: String,
    /// The side under test.
    pub ours: Ours,
    /// What the peer does.
    pub acts: Vec<Act>,
    /// What comes of it.
    pub end: End,
}

impl Case {
    fn new(ours: Ours, name: &str, acts: Vec<Act>, end: End) -> Self {
        Self { name: format!("{ours}: {name}"), ours, acts, end }
    }
}

/// All of them.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = null::cases();
    cases.extend(plain::cases());
    cases.extend(curve::cases());
    cases.extend(dialer::cases());
    cases
}

/// Lets in who is in the table.
#[derive(Debug)]
pub struct Doorkeeper;

impl Authority for Doorkeeper {
    fn judge(&self, claim: &Claim<'_>) -> Verdict {
        match *claim {
            Claim::Key(key) if key == forger::public(ADMITTED) => Verdict::Admit,
            Claim::Key(key) if key == forger::public(REFUSED) => Verdict::Refuse,
            Claim::Key(_) => Verdict::Later,
            Claim::Password { password, .. } if !same_secret(password, PASSWORD.as_bytes()) => {
                Verdict::Refuse
            }
            Claim::Password { user, .. } if user.as_bytes() == USER.as_bytes() => Verdict::Admit,
            Claim::Password { user, .. } if user.as_bytes() == PENDING_USER.as_bytes() => {
                Verdict::Later
            }
            Claim::Password { .. } => Verdict::Refuse,
        }
    }
}

/// The side under test. `seed` makes the randomness of one connection another one's.
#[must_use]
pub fn local(ours: Ours, seed: u8) -> Local {
    let authority = Arc::new(Doorkeeper);
    let security = match ours {
        Ours::Listener(Mechanism::Null) | Ours::Dialer(Mechanism::Null) => Security::Null,
        Ours::Listener(Mechanism::Plain) => Security::PlainServer(PlainServer { authority }),
        Ours::Dialer(Mechanism::Plain) => Security::PlainClient(PlainClient {
            user: UserName::try_from(USER.as_bytes()).expect("it is short"),
            password: Password::try_from(PASSWORD.as_bytes()).expect("it is short"),
        }),
        Ours::Listener(Mechanism::Curve) => Security::CurveServer(CurveServer {
            present: forger::pair_of(SERVER),
            old: Some(forger::pair_of(OLD_SERVER)),
            fresh: fresh(0x44, seed),
            authority,
        }),
        Ours::Dialer(Mechanism::Curve) => Security::CurveClient(CurveClient {
            server: forger::public(SERVER),
            own: forger::pair_of(ADMITTED),
            fresh: fresh(0x33, seed),
        }),
    };
    let role = match ours {
        Ours::Listener(_) => Role::Accept,
        Ours::Dialer(_) => Role::Dial { socket_type: SocketType::Dealer, identity: None },
    };
    Local { role, security, limits: Limits::default() }
}

/// The randomness of the vectors if `seed` is 0.
fn fresh(short_term: u8, seed: u8) -> Box<Fresh> {
    let mut octets = [short_term, 0x55, 0x77, 0x66, 0x88].into_iter();
    let filled = Fresh::filled(|field| {
        field.fill(octets.next().unwrap_or_default() ^ seed);
        Ok::<_, std::convert::Infallible>(())
    });
    filled.unwrap_or_else(|never| match never {})
}

/// The name of a user and its password, as HELLO of PLAIN has them.
fn plain_hello(user: &[u8], password: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::wire::plain::Hello { user, password }.encode(&mut out);
    out
}

/// Makes that octet another one.
fn change(octets: &mut [u8], at: usize) {
    if let Some(octet) = octets.get_mut(at) {
        *octet ^= 1;
    }
}

/// A command with this body.
fn command(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    crate::wire::frame::Header::encode(crate::wire::frame::COMMAND, body.len(), &mut frame);
    frame.extend_from_slice(body);
    frame
}

#[cfg(test)]
mod cve;
#[cfg(test)]
mod tests;
