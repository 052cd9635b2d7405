//! A worker fails a request and wants it to be delivered again: after its back-off, as often as it
//! may (SPEC 16.1).

use std::time::Duration;

use crate::id::RequestId;
use crate::proto::clock::Time;
use crate::proto::dead::SeenEnd;
use crate::proto::output::Output;
use crate::wire::mjp::Fault;

use super::Router;
use super::request::Request;
use super::worker::WorkerId;

impl Router {
    /// A worker may not have a request wait for longer than that.
    const RETRY_MAX: Duration = Duration::from_secs(24 * 3600);

    /// An error of the worker that had the request, which is in no place. True if it waits to be
    /// delivered again; else it ends by that error.
    pub(super) fn fail_for_now<O: Output>(
        &mut self,
        now: Time,
        worker: WorkerId,
        id: RequestId,
        header: &[u8],
        out: &mut O,
    ) -> bool {
        let fault = Fault::decode(header).unwrap_or_default();
        let said = fault.message.unwrap_or(fault.code);
        self.note_seen(now, worker, id, (SeenEnd::Failed, Some(said)), out);
        if fault.again != Some(true) || !self.may_fail_again(now, id) {
            return false;
        }
        let seed = self.seed;
        let Some(request) = self.requests.get_mut(id) else { return false };
        let Some(service) = self.services.get_mut(request.service) else { return false };
        let policy = &service.policy;
        let course = request.course.get_or_insert_default();
        course.failures += 1;
        let (failures, terms) = (course.failures, request.voice.terms());
        let tried = terms.attempts.is_some_and(|most| request.deliveries() >= most.get());
        if tried || request.counted() >= policy.attempts {
            if let Some(course) = &mut request.course {
                course.exhausted = true;
            }
            return false;
        }
        let wait = match fault.retry {
            Some(ms) => Duration::from_millis(ms).min(Self::RETRY_MAX),
            None => {
                let number = request.sequence.wrapping_mul(u64::from(u32::MAX));
                policy.backoff.after(failures, seed ^ number.wrapping_add(failures.into()))
            }
        };
        if let Some(course) = &mut request.course {
            course.not_before = Some(now.after(wait));
        }
        service.stats.retried += 1;
        #[cfg(test)]
        crate::proto::witness::saw("request", "failed for now", "again");
        request.void_asks(out);
        request.last_holder = None;
        out.release(std::mem::take(&mut request.parts).bytes);
        self.wait(now, id);
        true
    }

    /// Whether a request may be delivered again that a worker has failed.
    fn may_fail_again(&self, now: Time, id: RequestId) -> bool {
        let Some(request) = self.requests.get(id) else { return false };
        let Some(service) = self.services.get(request.service) else { return false };
        let policy = &service.policy;
        let wanted = match request.voice.key() {
            Some(key) => self.keys.wanted_until(key).is_some_and(|until| until > now),
            None => request.is_revived() || self.callers.contains_key(request.caller),
        };
        let is_over =
            request.is_due(now) || request.course.as_ref().is_some_and(|course| course.overdue);
        let parted = request.answering && !policy.resend_after_partial;
        wanted && !is_over && !parted && !policy.at_most_once && Self::is_repeatable(request)
    }

    /// Whether it is not for one worker alone, and has not ended.
    fn is_repeatable(request: &Request) -> bool {
        !request.is_husk() && !request.is_pinned()
    }
}
