//! Who takes part besides the broker, and what they can do.

use crate::wire::codec::Encoder;
use crate::wire::message::Message;

use super::client::Client;
use super::flow_peer::FlowPeer;
use super::flow_server::FlowServer;
use super::native_client::NativeClient;
use super::native_worker::NativeWorker;
use super::nfp_client::NfpClient;
use super::nfp_worker::NfpWorker;
use super::repeater::Repeater;
use super::rng::Rng;
use super::servant::Servant;
use super::stranger::Stranger;
use super::tag::Tag;
use super::worker::Worker;

/// Who takes part besides the broker.
#[derive(Debug)]
pub(super) enum Actor {
    Client(Client),
    Worker(Worker),
    NativeClient(NativeClient),
    Repeater(Repeater),
    NativeWorker(NativeWorker),
    NfpClient(NfpClient),
    NfpWorker(NfpWorker),
    Servant(Box<Servant>),
    FlowPeer(Box<FlowPeer>),
    FlowServer(FlowServer),
    Stranger(Stranger),
}

impl Actor {
    /// Whether all that it asks counts. What a stranger asks may be dropped.
    pub(super) fn is_client(&self) -> bool {
        matches!(self, Self::Client(_) | Self::NativeClient(_) | Self::Repeater(_))
    }

    /// The service that it is there for, if it is a worker whose rights may change.
    pub(super) fn offers(&self) -> Option<&'static str> {
        match self {
            Self::Worker(worker) => Some(worker.service),
            Self::NativeWorker(worker) => Some(worker.service),
            Self::NfpWorker(worker) => Some(worker.service),
            _ => None,
        }
    }

    /// Whether it has a name of its own. Peers of NFP always have one.
    pub(super) fn is_named(&self) -> bool {
        matches!(self, Self::NfpClient(_) | Self::NfpWorker(_))
    }
}

/// What an actor does.
#[derive(Debug)]
pub(super) enum Act {
    Connect,
    Say(Vec<u8>),
    /// It closes, and does not care whether what it said arrives.
    Close,
    /// It closes when what it said has arrived.
    Finish,
    /// It is gone, and its end of the connection with it; the broker is not told.
    Vanish,
}

/// What an actor knows when it acts, and what it does.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) now: u64,
    pub(super) rng: &'a mut Rng,
    pub(super) calm: bool,
    /// What somebody holds, for those who answer as others.
    pub(super) gossip: Option<(Vec<u8>, Tag)>,
    /// A job of NFP, and whose it is.
    pub(super) gossip_of_jobs: Option<(Vec<u8>, String)>,
    pub(super) flows: FlowNews,
    pub(super) acts: Vec<Act>,
    /// The actor was told to go, or heard nothing for too long.
    pub(super) dismissed: bool,
    pub(super) deaf: bool,
}

/// What those who have flows know and tell.
#[derive(Debug, Default)]
pub(super) struct FlowNews {
    /// Ids of clients that have a handler.
    pub(super) cids: Vec<u32>,
    /// How much was given and taken in flows of these numbers.
    pub(super) gave: Option<(u64, u64)>,
    pub(super) took: Option<(u64, u64)>,
    /// Flows that a worker was given, and their BOTs.
    pub(super) given: Vec<(u64, Message)>,
}

impl Context<'_> {
    pub(super) fn act(&mut self, act: Act) {
        self.acts.push(act);
    }
}

/// What `write` writes.
pub(super) fn encoded(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::default();
    write(&mut encoder);
    let mut octets = Vec::with_capacity(encoder.len());
    while !encoder.is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        let filled = encoder.chunks(&mut slices);
        let before = octets.len();
        slices[..filled].iter().for_each(|slice| octets.extend_from_slice(slice));
        encoder.advance(octets.len() - before);
    }
    octets
}
