//! A peer: one connection, and what it has shown itself to be.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{Identity, Principal};
use crate::proto::clock::Time;
use crate::proto::dialect::State;
use crate::proto::rights::Grants;
use crate::proto::router::WorkerId;
use crate::wire::nfp::Era;
use crate::wire::zio::Shape;

use super::flow::Handler;
use super::rights::Rights;

/// What a handshake found out about a peer.
#[derive(Debug, Clone, Default)]
pub struct Hello {
    /// The name it gave itself.
    pub identity: Option<Identity>,
    /// It announced ZMTP 3.1, which knows PING.
    pub takes_ping: bool,
    /// Which header it expects of a broker, if it speaks NFP.
    pub era: Era,
    /// All that it says is of flows, in messages of that shape: it is a CLIENT, or came in where
    /// nothing else is spoken. Otherwise its first message decides.
    pub shape: Option<Shape>,
    /// It is a part of the broker and may serve the broker's own names.
    pub house: bool,
    /// On whose behalf it speaks.
    pub principal: Principal,
    /// What that one may do. A part of the broker is not asked.
    pub grants: Grants,
    /// What that one is called by whoever gave it its rights.
    pub name: Option<Arc<str>>,
    /// Which of the secrets that it may have had it has proven to know.
    pub proof: u64,
}

/// One connection after its handshake.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) identity: Option<Identity>,
    pub(super) takes_ping: bool,
    pub(super) era: Era,
    pub(super) house: bool,
    pub(super) principal: Principal,
    pub(super) proof: u64,
    /// The verified name of that one.
    pub(super) name: Option<Arc<str>>,
    pub(super) rights: Rights,
    /// When its handshake was done.
    pub(super) joined: Time,
    pub(super) state: State,
    /// Its registration, while it is a worker.
    pub(super) worker: Option<WorkerId>,
    /// The flow service that it offers, if it does.
    pub(super) handler: Option<Handler>,
    /// When it registered, and how often it and the broker have shown one another since then that
    /// they live.
    pub(super) registered: Time,
    pub(super) beats_heard: u32,
    pub(super) beats_sent: u32,
    /// What clients asked of it, a part of the broker, and it has not answered.
    pub(super) asked: usize,
    /// When octets of a message last came.
    pub(super) spoke: Time,
    /// When any octets last came.
    pub(super) heard: Time,
    /// When it last answered a request.
    pub(super) answered: Time,
    pub(super) has_ponged: bool,
    pub(super) pings_open: u32,
    pub(super) beats_while_busy: bool,
    /// It wants to be closed after that much silence.
    pub(super) ttl: Option<Duration>,
    /// Since when it waits for the name that another peer has.
    pub(super) contest: Option<Time>,
    /// The one deadline that counts.
    pub(super) armed: Option<Time>,
}

impl Peer {
    /// How long the holder of a name has to show that it lives.
    pub(super) const CONTEST: Duration = Duration::from_secs(1);

    pub(super) fn new(hello: Hello, now: Time) -> Self {
        Self {
            identity: hello.identity,
            takes_ping: hello.takes_ping,
            era: hello.era,
            house: hello.house,
            principal: hello.principal,
            proof: hello.proof,
            name: hello.name,
            rights: Rights::new(if hello.house { Grants::everything() } else { hello.grants }),
            joined: now,
            state: State::UNKNOWN,
            worker: None,
            handler: None,
            registered: now,
            beats_heard: 0,
            beats_sent: 0,
            asked: 0,
            spoke: now,
            heard: now,
            answered: now,
            has_ponged: false,
            pings_open: 0,
            beats_while_busy: false,
            ttl: None,
            contest: None,
            armed: None,
        }
    }
}
