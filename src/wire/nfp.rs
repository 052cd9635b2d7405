//! NorFab's protocol (NFP) as of 0.25.0, and the reply headers of its old era, both ends (SPEC 10).
//!
//! Every message is an empty frame, a header of six octets that says who speaks, and a command of
//! four ASCII characters: the text `0x04`, not the octet 4. What follows is not looked into here:
//! workers' messages are forwarded with all their remaining frames as they came.

pub mod body;
mod client;
mod malformed;
mod worker;

pub use client::{Forward, FromClient, Job, Refused, Reply, ToClient};
pub use malformed::Malformed;
pub use worker::{Answer, FromWorker, Order, Report, ToWorker};

use super::codec::Encoder;
use super::message::Frames;

/// Longest name of a job, octets. NorFab's are 32 hex digits.
pub const UUID_MAX: usize = 255;
/// Longest name of a client, octets: that of a ZMTP identity.
pub const CLIENT_MAX: usize = 255;

/// Commands, as on the wire.
pub mod command {
    /// From a client; means nothing.
    pub const OPEN: &[u8; 4] = b"0x00";
    /// From a worker.
    pub const READY: &[u8; 4] = b"0x01";
    /// From a worker, and to it.
    pub const KEEPALIVE: &[u8; 4] = b"0x02";
    /// From any peer, and to a worker.
    pub const DISCONNECT: &[u8; 4] = b"0x03";
    /// From a client, and to a worker.
    pub const POST: &[u8; 4] = b"0x04";
    /// From a worker, and to a client.
    pub const RESPONSE: &[u8; 4] = b"0x05";
    /// From a client, and to a worker.
    pub const GET: &[u8; 4] = b"0x06";
    /// From a client, and to a worker.
    pub const DELETE: &[u8; 4] = b"0x07";
    /// From a worker, and to a client.
    pub const EVENT: &[u8; 4] = b"0x08";
    /// From a worker, and to a client.
    pub const STREAM: &[u8; 4] = b"0x09";
    /// From a client, and to a worker. The text does not go on counting in hexadecimal.
    pub const PUT: &[u8; 4] = b"0x10";
    /// From a client, and back.
    pub const MMI: &[u8; 4] = b"0x11";
}

/// Status of an answer, three digits as on the wire.
pub mod status {
    /// A worker waits for input of the client.
    pub const WAITING: &[u8; 3] = b"102";
    /// The result; also of every event, part of a stream and management answer.
    pub const OK: &[u8; 3] = b"200";
    /// A worker has stored the job.
    pub const ACCEPTED: &[u8; 3] = b"201";
    /// The broker has sent the job to workers.
    pub const DISPATCHED: &[u8; 3] = b"202";
    /// A worker has not finished the job.
    pub const PENDING: &[u8; 3] = b"300";
    /// The broker knows no worker for the job, or refuses it.
    pub const FAILED: &[u8; 3] = b"400";
    /// The client may not do that; as `FAILED` otherwise.
    pub const DENIED: &[u8; 3] = b"403";
    /// The worker does not know the job.
    pub const NOT_FOUND: &[u8; 3] = b"404";
    /// The worker cannot say how the job is.
    pub const ERROR: &[u8; 3] = b"500";
}

const CLIENT: &[u8; 6] = b"NFPC01";
const WORKER: &[u8; 6] = b"NFPW01";
const BROKER: &[u8; 6] = b"NFPB01";

/// Which header the peer expects of a broker. Nothing in the traffic of a peer announces it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// 0.15.0 and later: the broker says NFPB01.
    #[default]
    Current,
    /// Up to 0.14.0: it says NFPC01 to clients and NFPW01 to workers, NFPB01 in keepalives.
    Old,
}

impl Era {
    fn to_client(self) -> &'static [u8; 6] {
        match self {
            Self::Current => BROKER,
            Self::Old => CLIENT,
        }
    }

    fn to_worker(self) -> &'static [u8; 6] {
        match self {
            Self::Current => BROKER,
            Self::Old => WORKER,
        }
    }
}

/// What a client wants, of the broker or of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// A job.
    Post,
    /// The result of a job.
    Get,
    /// An end to a job.
    Delete,
    /// Input for a job.
    Put,
    /// Management.
    Mmi,
}

impl Verb {
    /// As on the wire.
    #[must_use]
    pub fn command(self) -> &'static [u8; 4] {
        match self {
            Self::Post => command::POST,
            Self::Get => command::GET,
            Self::Delete => command::DELETE,
            Self::Put => command::PUT,
            Self::Mmi => command::MMI,
        }
    }

    fn read(octets: &[u8]) -> Option<Self> {
        [Self::Post, Self::Get, Self::Delete, Self::Put, Self::Mmi]
            .into_iter()
            .find(|verb| verb.command() == octets)
    }
}

/// What is said to a client about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An answer, see [`status`].
    Response,
    /// Progress.
    Event,
    /// A part of a file; its body is no JSON.
    Stream,
    /// The broker's answer to a management call. Workers cannot say this.
    Mmi,
}

impl Kind {
    /// As on the wire.
    #[must_use]
    pub fn command(self) -> &'static [u8; 4] {
        match self {
            Self::Response => command::RESPONSE,
            Self::Event => command::EVENT,
            Self::Stream => command::STREAM,
            Self::Mmi => command::MMI,
        }
    }

    fn read(octets: &[u8]) -> Option<Self> {
        [Self::Response, Self::Event, Self::Stream, Self::Mmi]
            .into_iter()
            .find(|kind| kind.command() == octets)
    }
}

/// Whether a message is of this dialect, right or wrong: an empty frame, then `NFP` and three more
/// octets.
#[inline]
#[must_use]
pub fn is_nfp(mut message: Frames<'_>) -> bool {
    message.take_first() == Some(b"")
        && matches!(message.take_first(), Some([b'N', b'F', b'P', _, _, _]))
}

/// What a peer says to a broker.
#[derive(Debug, Clone, Copy)]
pub enum ToBroker<'a> {
    /// A client speaks.
    Client(FromClient<'a>),
    /// A worker speaks.
    Worker(FromWorker<'a>),
}

impl<'a> ToBroker<'a> {
    /// Reads what a peer says to a broker. What is wrong with a command that somebody said is in
    /// [`FromClient::Refused`] and in [`FromWorker::Invalid`].
    ///
    /// # Errors
    /// Neither a client nor a worker says this.
    #[inline]
    pub fn decode(message: Frames<'a>) -> Result<Self, Malformed> {
        let mut rest = message;
        if rest.take_first() != Some(b"") {
            return Err(Malformed::NoHeader);
        }
        match rest.take_first() {
            Some(b"NFPC01") => Ok(Self::Client(FromClient::decode(rest))),
            Some(b"NFPW01") => Ok(Self::Worker(FromWorker::decode(rest))),
            Some(b"NFPB01") => Err(Malformed::BrokerHeader),
            Some([b'N', b'F', b'P', b'B' | b'C' | b'W', _, _]) => Err(Malformed::OtherVersion),
            _ => Err(Malformed::NoHeader),
        }
    }
}

/// Writes what every message begins with.
#[inline]
fn open(header: &[u8; 6], command: &[u8; 4], out: &mut Encoder) {
    let [a, b, c, d, e, f] = *header;
    let [w, x, y, z] = *command;
    out.octets(&[1, 0, 1, 6, a, b, c, d, e, f, 1, 4, w, x, y, z]);
}

/// Writes the frames that a message ends with; none at all would leave it open, so then an empty
/// one.
#[inline]
fn close(rest: &Frames<'_>, out: &mut Encoder) {
    if rest.is_empty() {
        out.last_frame(b"");
    } else {
        out.frames(rest);
    }
}

fn is_text(octets: &[u8]) -> bool {
    std::str::from_utf8(octets).is_ok()
}

#[cfg(test)]
mod tests;
