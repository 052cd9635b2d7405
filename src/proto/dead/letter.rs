//! A dead letter.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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

    /// The id of a request that is kept on a disk, which it has in every broker that finds it there:
    /// no request in memory has such a number, nor has a letter of one that was not accepted.
    pub(crate) fn of_kept(number: u64) -> Self {
        const LOW: u64 = u32::MAX as u64;
        // Versions of handles in use are odd.
        Self((((number >> 32) + 1) << 33) | (number & LOW))
    }

    /// The number of a request that is kept on a disk and called so.
    pub(crate) fn kept(self) -> Option<u64> {
        const LOW: u64 = u32::MAX as u64;
        let high = (self.0 >> 33).checked_sub(1).filter(|_| self.0 >> 32 & 1 == 0)?;
        Some((high << 32) | (self.0 & LOW))
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

/// A moment that may have been before this broker began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    pub(super) at: Time,
    before: Duration,
}

impl Past {
    /// So long before the beginning of broker time.
    pub(crate) fn before_us(before: Duration) -> Self {
        Self { at: Time::default(), before }
    }

    /// Time passed since then.
    #[must_use]
    pub fn ago(self, now: Time) -> Duration {
        now.since(self.at).saturating_add(self.before)
    }
}

impl From<Time> for Past {
    fn from(at: Time) -> Self {
        Self { at, before: Duration::ZERO }
    }
}

/// A letter whose octets are on a disk: what is in memory is what is told in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OnDisk {
    /// The number of its record.
    pub(crate) number: u64,
    /// Octets of that, and of the body in it.
    pub(crate) record: usize,
    pub(crate) body: usize,
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

    /// The end of that number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Lost, Self::Failed].into_iter().find(|end| *end as u8 == number)
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
    pub accepted_at: Past,
    /// When it died.
    pub died_at: Past,
    /// When it is to be forgotten.
    pub(crate) expires: Option<Time>,
    /// Its order.
    pub(crate) order: Option<Arc<[u8]>>,
    /// The caller's header, if there is one, and the body; nothing if they are on a disk.
    pub(crate) body: Message,
    /// The first frame is the caller's header.
    pub(crate) has_header: bool,
    /// Where the rest of it is, if that is on a disk.
    pub(crate) disk: Option<OnDisk>,
}

impl Letter {
    /// Longest message that is kept, octets.
    pub(crate) const MESSAGE_MAX: usize = 1024;

    /// What it counts against the limits: octets of memory, and of its record.
    pub(crate) fn cost(&self) -> usize {
        self.memory() + self.disk.map_or(0, |disk| disk.record)
    }

    /// Memory that it takes, octets.
    pub(crate) fn memory(&self) -> usize {
        // What stands in the indexes, too.
        let index = 4 * size_of::<(Time, u64)>();
        let texts = self.message.as_ref().map_or(0, |message| message.len());
        let order = self.order.as_ref().map_or(0, |order| order.len());
        let names = self.service.as_bytes().len() + self.queue.as_bytes().len();
        let seen: usize = self.seen.iter().map(Seen::bytes).sum();
        size_of::<Self>() + index + texts + order + names + seen + self.body.bytes()
    }

    /// Octets of the body.
    pub(crate) fn body_len(&self) -> usize {
        let here = || self.split().1.map(<[u8]>::len).sum();
        self.disk.map_or_else(here, |disk| disk.body)
    }

    /// The caller's header, if there is one, and the body.
    pub(crate) fn split(&self) -> (Option<&[u8]>, Frames<'_>) {
        let mut body = self.body.frames();
        let header = if self.has_header { body.take_first() } else { None };
        (header, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_what_is_kept_are_those_of_nothing_else() {
        for number in [0, 1, 7, u64::from(u32::MAX), 1 << 32, 5 << 40] {
            let id = LetterId::of_kept(number);
            assert_eq!(id.kept(), Some(number));
            assert_eq!(LetterId::from_name(&id.to_string()), Some(id));
        }
        let mut requests = slotmap::SlotMap::<RequestId, ()>::with_key();
        for _ in 0..3 {
            let id = requests.insert(());
            assert_eq!(LetterId::of(id).kept(), None);
            requests.remove(id);
        }
        assert_eq!(LetterId(9).kept(), None, "one that was not accepted");
    }

    #[test]
    fn a_moment_before_the_beginning_is_as_long_ago() {
        let second = Duration::from_secs(1);
        let now = Time::default().after(second);
        assert_eq!(Past::from(now).ago(now.after(second)), second);
        assert_eq!(Past::before_us(2 * second).ago(now), 3 * second);
    }
}
