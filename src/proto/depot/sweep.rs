//! Requests that are nowhere but on the disk end when their time is over, whether they would be
//! asked or not (SPEC 15.6). They are looked for service by service and piece by piece, and only
//! where one may be late.
//!
//! ```text
//!   when the first of a service may be late      the others of it, then those apart
//!   ---------------------------------------> piece -------------------------------> piece ...
//! ```

use bytes::Bytes;

use crate::id::ServiceName;
use crate::proto::clock::Time;
use crate::proto::durable::{Found, Key};
use crate::proto::stats::Outcome;
use crate::wire::message::Message;

use super::deed::Errand;
use super::entry::{About, End};
use super::record::{
    Head, Lane, apart_key, apart_lane_key, lane_key, lane_of, number_in, request_key,
};
use super::{Depot, Effect, READ_MAX};

/// Where those of a service are that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    /// One after the other.
    Line,
    /// Those with an order or a delay.
    Apart,
}

/// How far it was looked.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The next piece: of which service, where, and from which number on.
    next: Option<(ServiceName, Space, u64)>,
    /// A piece is being read.
    reading: bool,
}

impl Space {
    fn keys(self, lane: &Lane, from: u64) -> (Key, Key) {
        match self {
            Self::Line => (lane_key(lane), request_key(lane, from)),
            Self::Apart => (apart_lane_key(lane), apart_key(lane, from)),
        }
    }
}

impl Depot {
    /// A request of the service is nowhere but on the disk, and late from then on.
    pub(super) fn note_until(&mut self, service: &ServiceName, until: u64) {
        let line = self.line_of(service);
        if until >= line.late_from {
            return;
        }
        let before = std::mem::replace(&mut line.late_from, until);
        self.lates.remove(&(before, service.clone()));
        self.lates.insert((until, service.clone()));
    }

    /// Forgets a service of which nothing is kept.
    pub(crate) fn forget_if_empty(&mut self, service: &ServiceName) {
        if let Some(line) = self.lines.get(service).filter(|line| line.is_empty()) {
            self.lates.remove(&(line.late_from, service.clone()));
            self.lines.remove(service);
        }
    }

    /// Reads the next piece, if one may be late.
    pub(crate) fn sweep(&mut self, now: Time) {
        if self.sweep.reading || self.failed || self.is_busy() {
            return;
        }
        let Some((service, space, from)) = self.sweep.next.take().or_else(|| self.next_late(now))
        else {
            return;
        };
        let (prefix, from_key) = space.keys(&lane_of(&service), from);
        let errand = Errand::Sweep(service.clone());
        self.sweep = Sweep { next: Some((service, space, from)), reading: true };
        self.ledger.range(prefix, from_key, READ_MAX, errand);
    }

    /// The service of which the first one may be late.
    fn next_late(&mut self, now: Time) -> Option<(ServiceName, Space, u64)> {
        let unix = self.unix(now);
        while self.lates.first().is_some_and(|(from, _)| *from <= unix) {
            let (_, service) = self.lates.pop_first()?;
            let Some(line) = self.lines.get_mut(&service) else { continue };
            line.late_from = u64::MAX;
            if line.behind > 0 {
                return Some((service, Space::Line, 0));
            } else if !line.apart.is_empty() {
                return Some((service, Space::Apart, 0));
            }
        }
        None
    }

    /// A piece was read.
    pub(super) fn swept(&mut self, now: Time, service: &ServiceName, found: &Found) -> Vec<Effect> {
        let next = std::mem::take(&mut self.sweep).next;
        let mut some = false;
        for (key, value) in &found.records {
            let Ok(number) = number_in(key) else { continue };
            some |= self.end_if_late(now, service, number, value);
        }
        let last = found.records.last().and_then(|(key, _)| number_in(key).ok());
        let has_apart = || self.lines.get(service).is_some_and(|line| !line.apart.is_empty());
        self.sweep.next = match (next, last) {
            (Some((service, space, _)), Some(last)) if found.more => {
                Some((service, space, last + 1))
            }
            (Some((service, Space::Line, _)), _) if has_apart() => Some((service, Space::Apart, 0)),
            _ => None,
        };
        // Where some were late others may be, and each piece that is read at once has ended some.
        if some { vec![Effect::Sweep] } else { Vec::new() }
    }

    /// Ends a request that is nowhere but on the disk if its time is over. Whether it was.
    fn end_if_late(
        &mut self,
        now: Time,
        service: &ServiceName,
        number: u64,
        value: &Bytes,
    ) -> bool {
        let is_here = self.entries.contains_key(&number) || self.ending.contains(&number);
        let Some(line) = self.lines.get(service).filter(|_| !is_here) else { return false };
        // That looks at its time itself.
        if line.apart.is_being_read(number) {
            return false;
        }
        let Ok((mut head, kept)) = Head::read(value) else { return false };
        self.adjust(&mut head);
        if self.left(now, &head) > 0 {
            self.note_until(service, head.until);
            return false;
        }
        self.lift(service, number, head.hold.as_ref());
        self.end_late(now, number, head, kept, value.len() as u64);
        true
    }

    /// The time of a request is over that was read from the disk.
    pub(super) fn end_late(
        &mut self,
        now: Time,
        number: u64,
        head: Head,
        kept: Message,
        bytes: u64,
    ) {
        let unix = self.unix(now);
        let letter = self.letter_of_late(unix, number, &head, kept);
        let about = About::of(number, head, bytes);
        self.store_end(about, End { letter, ..End::by(Outcome::TimedOut) }, unix);
    }
}
