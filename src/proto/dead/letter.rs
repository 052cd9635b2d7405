//! A dead letter.

use std::fmt;
use std::sync::Arc;

use crate::id::{RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dialect::Asker;
use crate::wire::message::{Frames, Message};

use super::Cause;

/// What a request, and the letter that it becomes, is called by people: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId(pub(crate) u64);

impl LetterId {
    /// The id of a request.
    #[must_use]
    pub fn of(request: RequestId) -> Self {
        Self(request.token())
    }

    /// The id of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let digits = name.len() == 16 && name.bytes().all(|it| it.is_ascii_hexdigit());
        u64::from_str_radix(name, 16).ok().filter(|_| digits).map(Self)
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What became of a request at a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeenEnd {
    /// The worker was lost.
    Lost,
    /// The worker said that it failed.
    Failed,
}

impl SeenEnd {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Failed => "failed",
        }
    }
}

/// A worker that had a request, and has it no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) worker: Box<str>,
    pub(crate) end: SeenEnd,
    pub(crate) at: Time,
}

impl Seen {
    /// So many are remembered of a request: the first ones, and the last.
    pub(crate) const MAX: usize = 16;

    /// Memory that it takes, octets.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.worker.len()
    }

    /// Adds one to a list.
    pub(crate) fn note(self, list: &mut Vec<Self>) {
        if list.len() >= Self::MAX {
            list.pop();
        }
        list.push(self);
    }
}

/// A request that ended without an answer.
#[derive(Debug)]
pub struct Letter {
    /// That of the request when it was first accepted.
    pub id: LetterId,
    /// What it asked for.
    pub service: ServiceName,
    /// Where it is kept.
    pub queue: ServiceName,
    /// Why it died.
    pub cause: Cause,
    /// What the last worker said.
    pub(crate) message: Option<Box<str>>,
    /// Deliveries, those before it was last put back included.
    pub attempts: u32,
    /// Times that it has died.
    pub deaths: u32,
    /// The workers that had it.
    pub(crate) seen: Vec<Seen>,
    /// Who asked.
    pub(crate) asker: Asker,
    /// When it was first accepted.
    pub accepted_at: Time,
    /// When it died.
    pub died_at: Time,
    /// When it is to be forgotten.
    pub(crate) expires: Option<Time>,
    /// Its order.
    pub(crate) order: Option<Arc<[u8]>>,
    /// The caller's header, if there is one, and the body.
    pub(crate) body: Message,
    /// The first frame is the caller's header.
    pub(crate) has_header: bool,
}

impl Letter {
    /// Longest message that is kept, octets.
    pub(crate) const MESSAGE_MAX: usize = 1024;

    /// Memory that it takes, octets.
    pub(crate) fn cost(&self) -> usize {
        // What stands in the indexes, too.
        let index = 4 * size_of::<(Time, u64)>();
        let texts = self.message.as_ref().map_or(0, |message| message.len());
        let order = self.order.as_ref().map_or(0, |order| order.len());
        let names = self.service.as_bytes().len() + self.queue.as_bytes().len();
        let seen: usize = self.seen.iter().map(Seen::bytes).sum();
        size_of::<Self>() + index + texts + order + names + seen + self.body.bytes()
    }

    /// The caller's header, if there is one, and the body.
    pub(crate) fn split(&self) -> (Option<&[u8]>, Frames<'_>) {
        let mut body = self.body.frames();
        let header = if self.has_header { body.take_first() } else { None };
        (header, body)
    }
}
