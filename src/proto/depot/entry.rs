//! A request that is in memory, and its way from the disk to a worker and back.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::id::{RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dialect::Terms;
use crate::proto::durable::Write;
use crate::proto::keys::Kept;
use crate::proto::stats::Outcome;
use crate::wire::message::Message;

use super::bury::{Burial, Remains};
use super::{
    Asking, Deed, Depot, Ending, Errand, Head, Hold, Name, OutcomeHead, READ_MAX, key_of, lane_key,
    lane_of, mark_key, outcome_key, request_key,
};

/// How far a request in memory has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is being stored, and nobody was told.
    Storing,
    /// It is stored, and could be asked.
    Read,
    /// It is being noted that it may have been given to a worker.
    Marking,
    /// Among the requests of its service.
    Asked(Option<RequestId>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) head: Head,
    pub(super) stage: Stage,
    /// Header and body, until it is asked.
    pub(super) kept: Option<Message>,
    /// Octets of its record.
    pub(super) bytes: u64,
    /// Its caller wants it no more.
    pub(super) cancelled: bool,
}

impl Entry {
    /// Memory that one takes beside header and body, octets, about.
    pub(super) const COST: usize = 2 * size_of::<(u64, Self)>() + 512;

    pub(super) fn new(head: Head, stage: Stage, kept: Message, bytes: u64) -> Self {
        Self { head, stage, kept: Some(kept), bytes, cancelled: false }
    }

    /// Whether it counts as one of those that its service has been asked.
    fn is_asked(&self) -> bool {
        matches!(self.stage, Stage::Marking | Stage::Asked(_))
    }
}

/// How a request ends.
#[derive(Debug)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    /// The epoch that a stale caller is told.
    pub(super) epoch: Option<u64>,
    /// What was said, if that was not by the broker itself.
    pub(super) said: Option<Kept>,
    /// The dead letter that it becomes.
    pub(super) letter: Option<Burial>,
}

impl End {
    pub(super) fn by(outcome: Outcome) -> Self {
        Self { outcome, epoch: None, said: None, letter: None }
    }
}

/// What stands in the record of a request that ends, as far as that has to be known.
#[derive(Debug)]
pub(super) struct About {
    pub(super) number: u64,
    pub(super) service: ServiceName,
    pub(super) name: Option<Name>,
    pub(super) bytes: u64,
    pub(super) hold: Option<Hold>,
}

impl About {
    pub(super) fn of(number: u64, head: Head, bytes: u64) -> Self {
        let Head { service, name, hold, .. } = head;
        Self { number, service, name, bytes, hold }
    }
}

impl Depot {
    /// The service of a request that could be asked.
    pub(crate) fn service_of(&self, number: u64) -> Option<&ServiceName> {
        self.entries.get(&number).map(|entry| &entry.head.service)
    }

    /// Whether so many of the service may be asked; `most` limits them further.
    pub(crate) fn has_room(&self, service: &ServiceName, most: usize) -> bool {
        let most = most.min(self.limits.in_memory_max);
        self.lines.get(service).is_none_or(|line| line.asked < most)
    }

    /// Whether the request says how often it may be delivered.
    pub(crate) fn is_limited(&self, number: u64) -> bool {
        self.entries.get(&number).is_some_and(|entry| entry.head.attempts > 0)
    }

    /// Whether it was being noted that the request may have been given to a worker.
    pub(crate) fn is_marking(&self, number: u64) -> bool {
        self.entries.get(&number).is_some_and(|entry| entry.stage == Stage::Marking)
    }

    /// Whether a request can be asked now; one that may be asked once is noted first.
    pub(crate) fn begin(&mut self, number: u64, once: bool) -> bool {
        let Some(entry) = self.entries.get_mut(&number) else { return false };
        let mut mark = self.marks.get(&number).copied().unwrap_or_default();
        if !once || mark.begun {
            return !matches!(entry.stage, Stage::Asked(_));
        }
        if entry.stage == Stage::Marking {
            return false;
        }
        entry.stage = Stage::Marking;
        let service = entry.head.service.clone();
        let line = self.line_of(&service);
        line.asked += 1;
        let lane = line.lane;
        mark.begun = true;
        self.marks.insert(number, mark);
        let writes = vec![Write::Put(mark_key(&lane, number), mark.encode())];
        self.ledger.store(Deed::Mark(number), writes);
        false
    }

    /// A request as it is to be asked. Header and body are not held any more.
    pub(crate) fn take(&mut self, now: Time, number: u64) -> Option<Asking> {
        let left = self.left(now, &self.entries.get(&number)?.head);
        let until = now.after(Duration::from_millis(left));
        let entry = self.entries.get_mut(&number)?;
        let kept = entry.kept.take()?;
        self.held = self.held.saturating_sub(kept.bytes());
        let counts = entry.stage == Stage::Marking;
        entry.stage = Stage::Asked(None);
        let head = &entry.head;
        let asking = Asking {
            service: head.service.clone(),
            asker: head.asker(),
            terms: Terms { deadline: Some(until), attempts: NonZeroU32::new(head.attempts) },
            tried: self.marks.get(&number).copied().unwrap_or_default().tried(),
            fence: head.fence.clone(),
            order: head.hold.as_ref().and_then(|hold| hold.order.clone()),
            kept,
        };
        self.line_of(&asking.service).asked += usize::from(!counts);
        Some(asking)
    }

    /// Time that a request has, ms. Whoever set the clock back has it wait as long as at first.
    pub(super) fn left(&self, now: Time, head: &Head) -> u64 {
        head.until.saturating_sub(self.unix(now).max(head.accepted))
    }

    /// The request was accepted among those of its service.
    pub(crate) fn asked(&mut self, number: u64, id: RequestId) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.stage = Stage::Asked(Some(id));
        }
    }

    /// The request is not carried out now: it is on the disk, and nowhere else.
    pub(crate) fn put_back(&mut self, number: u64) {
        let Some(entry) = self.entries.remove(&number) else { return };
        let was_asked = entry.is_asked();
        self.drop_kept(&entry);
        let Head { service, hold, until, .. } = &entry.head;
        self.note_until(service, *until);
        if let Some(hold) = hold {
            self.lay_apart(service, number, hold);
        } else {
            self.line_of(service).lay_down(number);
        }
        let line = self.line_of(service);
        line.asked -= usize::from(was_asked);
        let lane = line.lane;
        if let Some(mark) = self.marks.get_mut(&number)
            && mark.begun
        {
            // No worker had it.
            mark.begun = false;
            let writes = vec![Write::Put(mark_key(&lane, number), mark.encode())];
            self.ledger.store(Deed::Clean, writes);
        }
    }

    /// The service does not take the request now: it is put back, and others are not read only to
    /// be refused as well.
    pub(crate) fn refused(&mut self, number: u64) {
        let service = self.service_of(number).cloned();
        self.put_back(number);
        if let Some(line) = service.and_then(|service| self.lines.get_mut(&service)) {
            line.full = Some(line.asked);
        }
    }

    /// The service may take more than when it refused a request.
    pub(crate) fn try_again(&mut self, service: &ServiceName) {
        if let Some(line) = self.lines.get_mut(service) {
            line.full = None;
        }
    }

    /// The request is not carried out now, as one of level memory is before it in its order.
    pub(crate) fn set_aside(&mut self, number: u64) {
        let service = self.service_of(number).cloned();
        self.put_back(number);
        if let Some(line) = service.and_then(|service| self.lines.get_mut(&service)) {
            line.apart.lift(number);
        }
    }

    fn drop_kept(&mut self, entry: &Entry) {
        self.held = self.held.saturating_sub(entry.kept.as_ref().map_or(0, Message::bytes));
    }

    /// A request was lost with its worker, and waits again.
    pub(crate) fn lost(&mut self, number: u64, losses: u32, solo_losses: u32) {
        let Some(entry) = self.entries.get(&number) else { return };
        let lane = lane_of(&entry.head.service);
        let mark = self.marks.entry(number).or_default();
        (mark.losses, mark.solo_losses) = (losses, solo_losses);
        let writes = vec![Write::Put(mark_key(&lane, number), mark.encode())];
        if !self.failed {
            self.ledger.store(Deed::Requeue, writes);
        }
    }

    /// Workers have failed a request so often and wanted it again, which counts when it is put back.
    pub(crate) fn failed_before(&mut self, number: u64, failures: u32) {
        if self.entries.contains_key(&number) {
            self.marks.entry(number).or_default().failures = failures;
        }
    }

    /// A request that was asked has ended; returns its service, if that has room for another one.
    /// What is left of it becomes a dead letter.
    pub(crate) fn ended(
        &mut self,
        now: Time,
        number: u64,
        (outcome, epoch, said): (Outcome, Option<u64>, Option<Kept>),
        remains: Option<Box<Remains>>,
    ) -> Option<ServiceName> {
        let entry = self.entries.get(&number)?;
        if !matches!(entry.stage, Stage::Asked(_)) || self.failed {
            return None;
        }
        let service = entry.head.service.clone();
        match outcome {
            Outcome::Cancelled if !entry.cancelled => self.put_back(number),
            Outcome::Unclaimed | Outcome::CallerGone | Outcome::Expired => self.put_back(number),
            Outcome::Replied
            | Outcome::WorkerLost
            | Outcome::Dead
            | Outcome::AnswerTooBig
            | Outcome::TimedOut
            | Outcome::Cancelled
            | Outcome::Failed
            | Outcome::Refused
            | Outcome::StaleEpoch
            | Outcome::Unfenced => {
                let letter = remains.and_then(|remains| {
                    let (unix, head) = (self.unix(now), self.entries.get(&number)?.head.clone());
                    self.letter_of(unix, number, &head, *remains)
                });
                self.end(now, number, End { outcome, epoch, said, letter });
            }
        }
        Some(service)
    }

    /// Orders the end of a request to be stored, wherever it is. False: its record has to be read
    /// first.
    pub(super) fn end(&mut self, now: Time, number: u64, end: End) -> bool {
        let about = match self.entries.remove(&number) {
            Some(entry) => {
                let was_asked = entry.is_asked();
                self.drop_kept(&entry);
                if let Some(line) = self.lines.get_mut(&entry.head.service) {
                    line.asked -= usize::from(was_asked);
                }
                About::of(number, entry.head, entry.bytes)
            }
            None => {
                let Some(awaited) = self.waiters.awaited(number) else { return false };
                let Some((name, bytes, hold)) = awaited.record.clone() else { return false };
                let service = awaited.service.clone();
                self.lift(&service, number, hold.as_ref());
                About { number, service, name, bytes, hold }
            }
        };
        let unix = self.unix(now);
        self.store_end(about, end, unix);
        true
    }

    pub(super) fn store_end(&mut self, about: About, end: End, ended: u64) {
        let (number, name) = (about.number, about.name);
        let End { outcome, epoch, said, letter } = end;
        let lane = lane_of(&about.service);
        let mut writes = vec![Write::Remove(key_of(&lane, number, about.hold.as_ref()))];
        if self.marks.remove(&number).is_some() {
            writes.push(Write::Remove(mark_key(&lane, number)));
        }
        let mut kept = None;
        if let (Some(name), true) = (name, is_kept(outcome)) {
            let value = match &said {
                Some(said) => OutcomeHead::encode(ended, name, said),
                None => OutcomeHead::encode(ended, name, &said_by_us(outcome, epoch)),
            };
            kept = Some(value.len() as u64);
            writes.push(Write::Put(outcome_key(number), value));
        }
        self.ending.insert(number);
        let (letter, write) = letter.map(|it| (it.letter, it.write)).unzip();
        writes.extend(write);
        let ending = Ending { about, outcome, said, epoch, ended, kept, letter };
        self.ledger.store(Deed::End(Box::new(ending)), writes);
    }

    /// Reads some more requests of a service from the disk, if there are any and room for them;
    /// `most` limits these further.
    pub(crate) fn read_more(&mut self, service: &ServiceName, most: usize) {
        let most = most.min(self.limits.in_memory_max);
        self.forget_if_empty(service);
        let Some(line) = self.lines.get_mut(service) else { return };
        if self.failed || line.full.is_some_and(|full| line.asked >= full) {
            return;
        }
        // Not one by one: when half of them are gone.
        let is_low = line.asked <= most / 2;
        let has_more = is_low && line.behind > 0 && !line.loading;
        // No more than took the place of others before, while nothing else is known.
        let most = line.full.map_or(most, |full| most.min(full));
        // Those apart are read one by one in any case.
        let room = most.saturating_sub(line.asked).max(usize::from(line.asked == 0));
        let first = line.apart.first_ready().filter(|_| room > 0 && !line.apart.is_reading());
        if first.is_some_and(|first| !has_more || line.is_beyond(first)) {
            return self.fetch(service, room);
        } else if !has_more {
            return;
        }
        let (count, bytes) = READ_MAX;
        let count = count.min(most.saturating_sub(line.asked)).max(1);
        let lane = line.lane;
        let from = request_key(&lane, line.start_reading());
        let errand = Errand::Line(service.clone());
        self.ledger.range(lane_key(&lane), from, (count, bytes), errand);
    }

    /// Some services of which requests are on the disk only, behind that one.
    pub(crate) fn lines_after(&self, last: Option<&ServiceName>, max: usize) -> Vec<ServiceName> {
        use std::ops::Bound;
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let lines = self.lines.range::<ServiceName, _>((from, Bound::Unbounded));
        lines.map(|(service, _)| service.clone()).take(max).collect()
    }

    /// The mark of a request, for tests.
    #[cfg(test)]
    pub(crate) fn mark_of(&self, number: u64) -> Option<super::Mark> {
        self.marks.get(&number).copied()
    }
}

/// Whether who asks again gets what was said, and not a request anew (SPEC 9.13).
fn is_kept(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Replied
        | Outcome::Failed
        | Outcome::AnswerTooBig
        | Outcome::WorkerLost
        | Outcome::Dead => true,
        Outcome::Unclaimed
        | Outcome::CallerGone
        | Outcome::Expired
        | Outcome::TimedOut
        | Outcome::Cancelled
        | Outcome::Refused
        | Outcome::StaleEpoch
        | Outcome::Unfenced => false,
    }
}

/// What the broker says of an outcome.
fn said_by_us(outcome: Outcome, epoch: Option<u64>) -> Kept {
    use crate::proto::dialect::fault_of;
    use crate::wire::mjp::{Fault, Packed};
    let fault = fault_of(outcome).map(|fault| Fault { epoch, ..fault });
    Kept::Error(fault.map_or_else(Box::default, |fault| Packed::new(&fault).octets().into()))
}
