//! A request that ended without an answer becomes a dead letter, if its service wants that.
//!
//! It leaves the tables and becomes a letter in one step of the core: it is never in both, and never
//! in neither.

use std::sync::Arc;

use crate::id::{PeerId, RequestId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dead::{Cause, Letter, LetterId};
use crate::proto::depot::Remains;
use crate::proto::dialect::{Asker, CallerVoice};
use crate::proto::output::Output;
use crate::proto::stats::Outcome;
use crate::wire::message::Frames;

use super::course::Course;
use super::fence::Wanted;
use super::request::Request;
use super::service::{Gate, ServiceId};
use super::{Pause, Router};

/// Why a request that ended so would be a dead letter.
fn cause_of(request: &Request, outcome: Outcome) -> Option<Cause> {
    if request.course.as_ref().is_some_and(|course| course.exhausted) {
        return Some(Cause::Exhausted);
    }
    match outcome {
        Outcome::Failed => Some(Cause::Failed),
        Outcome::Dead => Some(Cause::Poison),
        Outcome::WorkerLost => Some(Cause::Lost),
        Outcome::Expired => Some(Cause::Expired),
        Outcome::TimedOut => Some(Cause::Timeout),
        Outcome::Refused | Outcome::StaleEpoch | Outcome::Unfenced | Outcome::AnswerTooBig => {
            Some(Cause::Rejected)
        }
        Outcome::Replied | Outcome::Unclaimed | Outcome::CallerGone | Outcome::Cancelled => None,
    }
}

impl Router {
    /// What of a new request most do without.
    #[inline]
    pub(super) fn course_of(
        &self,
        now: Time,
        id: ServiceId,
        voice: &CallerVoice,
        wanted: &Wanted<'_>,
    ) -> Option<Box<Course>> {
        // What is kept on a disk has a timeout of its own, and waits there.
        let is_kept = matches!(voice, CallerVoice::Stored(_));
        let ttl = self.services.get(id)?.policy.ttl.filter(|_| !is_kept);
        if wanted.order.is_none() && wanted.delay.is_none() && ttl.is_none() {
            return None;
        }
        let not_before = wanted.delay.map(|delay| now.after(delay));
        let expires = ttl.map(|ttl| not_before.unwrap_or(now).after(ttl));
        let order = wanted.order.clone();
        Some(Box::new(Course { order, not_before, expires, ..Course::default() }))
    }

    /// A request has ended, and has been taken out of the tables.
    pub(super) fn bury(&mut self, id: RequestId, request: Request, outcome: Outcome) {
        let Some(cause) = cause_of(&request, outcome) else { return };
        let Some(service) = self.services.get(request.service) else { return };
        if service.house || !service.policy.dead.causes.has(cause) {
            return;
        }
        let attempts = request.deliveries();
        if let CallerVoice::Stored(stored) = &request.voice {
            let (place, has_header) = (stored.place, request.voice.has_header());
            let Course { message, seen, .. } = request.course.map(|it| *it).unwrap_or_default();
            let body = request.body;
            let left = Remains { cause, message, seen, attempts, body, has_header };
            return self.leave_remains(place, left);
        }
        let caller = self.callers.get(request.caller).map(|caller| &caller.asker);
        let (before, asker) = match &request.voice {
            CallerVoice::Revived(revived) => (Some(revived), Some(&revived.asker)),
            CallerVoice::Keyed(keyed) => (None, Some(&keyed.asker)),
            // Nobody would want it any more.
            CallerVoice::Mdp(..) | CallerVoice::Mjp(_) if caller.is_none() => return,
            CallerVoice::Mdp(..) | CallerVoice::Mjp(_) => (None, caller),
            // A part of a job ends with the job.
            CallerVoice::Part(_) | CallerVoice::Stored(_) | CallerVoice::Nobody => return,
        };
        let queue = Self::queue_of(&service.name, service.policy.dead.queue.as_ref());
        let course = request.course.map(|course| *course).unwrap_or_default();
        self.buried.push(Letter {
            id: before.map_or_else(|| LetterId::of(id), |revived| revived.id),
            service: service.name.clone(),
            queue,
            cause,
            message: course.message,
            attempts: before.map_or(0, |it| it.attempts).saturating_add(attempts),
            deaths: before.map_or(0, |it| it.deaths).saturating_add(1),
            seen: course.seen,
            asker: asker.cloned().unwrap_or_default(),
            accepted_at: before.map_or_else(|| request.accepted_at.into(), |it| it.accepted_at),
            // They are put away in the same step.
            died_at: request.accepted_at.into(),
            expires: None,
            order: course.order,
            has_header: request.voice.has_header(),
            body: request.body,
            disk: None,
        });
    }

    /// Where letters of a service are kept.
    fn queue_of(service: &ServiceName, queue: Option<&Arc<str>>) -> ServiceName {
        let named = queue.and_then(|name| ServiceName::try_from(name.as_bytes()).ok());
        named.unwrap_or_else(|| service.clone())
    }

    /// A request was not accepted, as the queue of its service is full.
    #[expect(clippy::too_many_arguments, reason = "all that there is of it")]
    pub(super) fn bury_overflow(
        &mut self,
        now: Time,
        caller: PeerId,
        id: ServiceId,
        voice: &CallerVoice,
        wanted: &Wanted<'_>,
        body: Frames<'_>,
        pause: Pause,
    ) {
        let Some(service) = self.services.get(id) else { return };
        let full = pause == Pause::Service(id) && service.gate != Gate::Draining;
        let told = matches!(voice, CallerVoice::Mjp(_) | CallerVoice::Keyed(_));
        if !full || !told || self.draining || !service.policy.dead.causes.has(Cause::Overflow) {
            return;
        }
        let asker: Option<&Asker> = self.callers.get(caller).map(|caller| &caller.asker);
        self.overflows += 1;
        self.buried.push(Letter {
            // No request has such a number.
            id: LetterId(self.overflows & u64::from(u32::MAX)),
            service: service.name.clone(),
            queue: Self::queue_of(&service.name, service.policy.dead.queue.as_ref()),
            cause: Cause::Overflow,
            message: None,
            attempts: 0,
            deaths: 1,
            seen: Vec::new(),
            asker: asker.cloned().unwrap_or_default(),
            accepted_at: now.into(),
            died_at: now.into(),
            expires: None,
            order: wanted.order.clone(),
            body: body.to_message(),
            has_header: voice.has_header(),
            disk: None,
        });
    }

    /// Puts away the letters of this step. True if there were any, or anything was moved by what
    /// ended.
    pub(crate) fn settle_down<O: Output>(&mut self, now: Time, out: &mut O) -> bool {
        let moved = !self.moved_up.is_empty();
        self.move_up(now, out);
        let buried = std::mem::take(&mut self.buried);
        let some = moved || !buried.is_empty();
        for mut letter in buried {
            letter.died_at = now.into();
            self.keep_letter(letter, out);
        }
        some
    }

    /// Keeps a letter if there is memory for it, for which older ones go.
    fn keep_letter<O: Output>(&mut self, letter: Letter, out: &mut O) {
        let cost = letter.cost();
        let policy = self.policy_for(letter.service.as_bytes()).cloned();
        let Some(policy) = policy.filter(|_| self.dead.fits(cost)) else {
            return self.dead.count_lost();
        };
        if !out.charge(cost) {
            if !out.would_take(cost, self.dead.bytes_here()) {
                return self.dead.count_lost();
            }
            loop {
                if !self.dead.evict() {
                    return self.dead.count_lost();
                }
                out.release(self.dead.take_freed());
                if out.charge(cost) {
                    break;
                }
            }
        }
        #[cfg(test)]
        crate::proto::witness::saw("letter", "dead", letter.cause.as_str());
        self.dead.put(letter, policy.dead.letters_max, policy.dead.kept);
        out.release(self.dead.take_freed());
    }

    /// Has a letter in the table that is stored by now; what is in memory of it is little.
    pub(crate) fn keep_stored_letter<O: Output>(&mut self, letter: Letter, out: &mut O) {
        let dead = &self.settings.policy_of(letter.service.as_bytes()).dead;
        let (most, kept) = (dead.letters_max, dead.kept);
        out.take(letter.memory());
        #[cfg(test)]
        crate::proto::witness::saw("letter", "dead on the disk", letter.cause.as_str());
        self.dead.put(letter, most, kept);
        out.release(self.dead.take_freed());
    }

    /// The same of a letter that an earlier broker has stored.
    pub(crate) fn keep_found_letter<O: Output>(&mut self, letter: Letter, out: &mut O) {
        let most = self.settings.policy_of(letter.service.as_bytes()).dead.letters_max;
        out.take(letter.memory());
        self.dead.take_in(letter, most);
        out.release(self.dead.take_freed());
    }
}
