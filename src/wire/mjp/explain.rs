//! ADMIN `explain`: where a request is, and why it is not at a worker (SPEC 16.4).

use serde::{Deserialize, Serialize};

use super::dead::SeenReport;
use super::header::{octets, some_octets, some_text_or_bin, text_or_bin};
use super::malformed::Malformed;
use super::pack;

/// The answer to `explain`: of one request, or of a service and a page of its requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainReport<'a> {
    /// The request; or a page of those of the service, those at workers first.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub requests: Option<Vec<StandReport<'a>>>,
    /// Of a request: the workers that had it and have it no more, the first one first.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub seen: Option<Vec<SeenReport<'a>>>,
    /// The service.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::map"
    )]
    pub service: Option<StateReport<'a>>,
    /// The policy that holds there.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::map"
    )]
    pub policy: Option<PolicyReport<'a>>,
}

impl<'a> ExplainReport<'a> {
    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// The header is no map with text keys, or has a known key with a wrong value.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandReport<'a> {
    /// Its id: 16 hexadecimal digits.
    pub uuid: &'a str,
    /// `waiting`, `suspect`, `pinned`, `delayed`, `behind`, `running`, `ended` (its worker owes an
    /// answer) or `dead`.
    pub state: &'a str,
    /// Why it is not at a worker, for people. Absent: it is at one.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub because: Option<&'a str>,
    /// Requests of its client that go before it. Absent: it is in no queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
    /// Clients that take turns in that queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<u64>,
    /// Time until it may be delivered, ms. Absent: it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// Time until its caller waits no longer, ms. Absent: there is no deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// Time until it expires by the `ttl` of its service, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Time since it was accepted, ms.
    pub age: u64,
    /// Deliveries so far.
    pub attempts: u64,
    /// The worker that has it.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub worker: Option<&'a str>,
    /// How long that has had it, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u64>,
    /// Its order.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_octets",
        serialize_with = "some_text_or_bin"
    )]
    pub order: Option<&'a [u8]>,
    /// The id of the first request of that order, if it is another one.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub behind: Option<&'a str>,
}

impl<'a> StandReport<'a> {
    /// Of a request that nothing more is known of.
    #[must_use]
    pub fn of(uuid: &'a str, state: &'a str) -> Self {
        Self {
            uuid,
            state,
            because: None,
            ahead: None,
            clients: None,
            wait: None,
            left: None,
            expires: None,
            age: 0,
            attempts: 0,
            worker: None,
            running: None,
            order: None,
            behind: None,
        }
    }
}

/// How a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReport<'a> {
    /// Its name.
    #[serde(borrow, serialize_with = "text_or_bin", deserialize_with = "octets")]
    pub name: &'a [u8],
    /// `open`, `paused` or `draining`.
    pub state: &'a str,
    /// Why the next request is not at a worker, for people. Absent: nothing is in the way.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub because: Option<&'a str>,
    /// Workers.
    pub workers: u64,
    /// Those that take another request now.
    pub ready: u64,
    /// What they take at a time, together.
    pub credit: u64,
    /// Requests at workers.
    pub running: u64,
    /// Requests in the queue.
    pub waiting: u64,
    /// Suspects.
    pub suspects: u64,
    /// Requests that are delayed, or wait for their back-off.
    pub delayed: u64,
    /// Requests behind others of their order.
    pub behind: u64,
    /// Dead letters of the service.
    pub dead: u64,
}

/// The policy of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport<'a> {
    /// The pattern of the rule. Absent: it is the policy of all services.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<&'a str>,
    /// Where it stands, as `FILE:LINE`. Absent: not known.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub at: Option<&'a str>,
    /// Deliveries that count, at most.
    pub attempts: u64,
    /// The first back-off, ms.
    pub backoff: u64,
    /// What each further one is longer by.
    pub backoff_factor: u64,
    /// The longest, ms.
    pub backoff_max: u64,
    /// Per cent of it that may be missing.
    pub backoff_jitter: u64,
    /// Time that a request may wait, ms. Absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// What was lost with a worker is not delivered again.
    pub at_most_once: bool,
    /// Requests that may wait.
    pub queue_messages_max: u64,
    /// Memory of these, octets.
    pub queue_bytes_max: u64,
    /// Ends that make a dead letter, separated by commas.
    pub dead_letters: &'a str,
}
