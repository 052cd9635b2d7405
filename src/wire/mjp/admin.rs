//! ADMIN: looking at a broker more closely, and changing how it runs (SPEC 9.3).

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::header::{octets, some_octets, some_service, some_text_or_bin, text_or_bin};
use super::malformed::Malformed;
use super::{Verb, pack};

/// ADMIN of a client: a verb, and what it needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminHeader<'a> {
    /// What is to be done, see [`Verb`].
    pub verb: &'a str,
    /// Of `pause`, `drain`, `resume`; with `workers` only those of this service.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_service",
        serialize_with = "some_text_or_bin"
    )]
    pub service: Option<&'a [u8]>,
    /// The job of `job` and `cancel`.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_octets",
        serialize_with = "some_text_or_bin"
    )]
    pub uuid: Option<&'a [u8]>,
    /// The peer of `kick`, the group of `resign`; with `workers` and `clients` only this one.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// With `jobs` only those of this client; of `resign` who is to lead.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'a str>,
    /// With `jobs` only those that stand there: `open`, `ended`, or a state.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub state: Option<&'a str>,
    /// With `follow` only events that begin so.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<&'a str>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Entries of a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<NonZeroU16>,
    /// The asker holds this lease, or nothing is done; 1 to 255 octets.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::lease::some_name"
    )]
    pub lease: Option<&'a str>,
    /// With `lease`, and only with it: the epoch of the holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

impl<'a> AdminHeader<'a> {
    /// A verb that needs nothing, or nothing yet.
    #[must_use]
    pub fn new(verb: Verb) -> Self {
        Self { verb: verb.as_str(), ..Self::default() }
    }

    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// The header is no map with text keys, lacks the verb, or has a known key with a wrong value.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }

    /// Entries of a page: 100 by default, and at most 1,000.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max.map_or(100, |max| usize::from(max.get()).min(1000))
    }
}

/// The answer to ADMIN: what was asked is there, the rest is not. Of what was done there is
/// nothing to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminReport<'a> {
    /// A page of jobs; one with `job`.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub jobs: Option<Vec<JobReport<'a>>>,
    /// A page of the targets of one job.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub targets: Option<Vec<TargetReport<'a>>>,
    /// A page of clients.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub clients: Option<Vec<ClientReport<'a>>>,
    /// A page of workers.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub workers: Option<Vec<RegistrationReport<'a>>>,
    /// A page of flows.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub flows: Option<Vec<FlowReport<'a>>>,
    /// A page of ends of flows.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub ends: Option<Vec<EndReport<'a>>>,
    /// `after` of the next page. Absent: this was the last one. A page may be empty and not the
    /// last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

impl<'a> AdminReport<'a> {
    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// The header is no map with text keys, or has a known key with a wrong value.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

/// A job: an NFP job, or an open scatter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport<'a> {
    /// Its name.
    #[serde(borrow, serialize_with = "text_or_bin", deserialize_with = "octets")]
    pub uuid: &'a [u8],
    /// The client.
    pub owner: &'a str,
    /// The service asked.
    #[serde(borrow, serialize_with = "text_or_bin", deserialize_with = "octets")]
    pub service: &'a [u8],
    /// What is to be done, as far as it was said; shortened.
    pub task: &'a str,
    /// The least advanced target that has not ended, or the worst end.
    pub state: &'a str,
    /// Time since it came, ms.
    pub age: u64,
    /// Time since it ended, ms. Absent: it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Workers that it was given to.
    pub targets: u64,
    /// Those that have not ended.
    pub open: u64,
}

/// One worker's part of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetReport<'a> {
    /// The worker.
    pub name: &'a str,
    /// How far it is.
    pub state: &'a str,
}

/// A peer that asks for services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientReport<'a> {
    /// Its identity if that is text, or one made of its handle.
    pub name: &'a str,
    /// What it speaks.
    pub dialect: &'a str,
    /// Time since its handshake, ms.
    pub connected: u64,
    /// Time since it last said something, ms.
    pub silent: u64,
    /// Requests accepted and not ended.
    pub requests: u64,
    /// Jobs posted and not ended.
    pub jobs: u64,
    /// Subscriptions.
    #[serde(default)]
    pub subscriptions: u64,
    /// It may change how the broker runs.
    pub admin: bool,
}

/// A worker that is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationReport<'a> {
    /// Its identity if that is text, or one made of its handle.
    pub name: &'a str,
    /// What it offers.
    #[serde(borrow, serialize_with = "text_or_bin", deserialize_with = "octets")]
    pub service: &'a [u8],
    /// What it speaks.
    pub dialect: &'a str,
    /// Time since it registered, ms.
    pub registered: u64,
    /// Time until it counts as gone if it says nothing, ms. One that works may be silent longer.
    pub hold_left: u64,
    /// Keepalives sent to it since it registered.
    pub beats_sent: u64,
    /// Keepalives heard from it since it registered.
    pub beats_heard: u64,
}

/// A flow, from its client's BOT on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowReport<'a> {
    /// Its number.
    pub flow: u64,
    /// The flow service that was asked. Absent: the factory was, and has named none.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_service",
        serialize_with = "some_text_or_bin"
    )]
    pub service: Option<&'a [u8]>,
    /// The name of the client.
    pub client: &'a str,
    /// The name of the handler. Absent: it has not come.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub handler: Option<&'a str>,
    /// What the client does: `extract` or `inject`.
    pub direction: &'a str,
    /// How far it is: `deciding`, `queued`, `coming`, `open` or `ending`.
    pub state: &'a str,
    /// The agreed credit, messages; 0 before there is one.
    pub credit: u64,
    /// The same in octets. Absent: there is none, as not both ends are within MJP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Messages forwarded.
    pub messages: u64,
    /// Octets of them.
    pub octets: u64,
    /// Time since the client's BOT, ms.
    pub age: u64,
    /// Time since something was last forwarded, ms.
    pub silent: u64,
}

/// A peer that is an end of a flow, or could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndReport<'a> {
    /// Its identity if that is text, or one made of its handle.
    pub name: &'a str,
    /// Its socket: `CLIENT` or `DEALER`; or `MJP`, for all ends within one connection.
    pub socket: &'a str,
    /// Where it stands: `idle`, `waiting`, `early`, `open`, `closed` or `told`; `lanes` within MJP.
    pub state: &'a str,
    /// Ends within its connection. Absent: it is a ZIO socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<u64>,
    /// The number of its flow. Absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    /// Time since its handshake, ms.
    pub connected: u64,
}

/// Something that has happened: what ADMIN tells who follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminEvent<'a> {
    /// What: `following` first, then such as `worker.lost`.
    pub event: &'a str,
    /// So many were not told before this one, as there was no room for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// The peer.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// The service.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_service",
        serialize_with = "some_text_or_bin"
    )]
    pub service: Option<&'a [u8]>,
    /// The job.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_octets",
        serialize_with = "some_text_or_bin"
    )]
    pub uuid: Option<&'a [u8]>,
    /// The client of the job.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'a str>,
    /// How far the job is.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub state: Option<&'a str>,
    /// What the worker speaks.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<&'a str>,
    /// The lease.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub lease: Option<&'a str>,
    /// The group.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub group: Option<&'a str>,
    /// By which the lease is held, or was, or the group is led.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

impl<'a> AdminEvent<'a> {
    /// The first one: nothing has happened, but from now on all is told.
    pub const FOLLOWING: &'static str = "following";

    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// The header is no map with text keys, lacks the event, or has a known key with a wrong value.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}
