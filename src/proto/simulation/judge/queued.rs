//! What must hold for jobs of NFP clients that wait for any worker: to the client the broker is their
//! one worker; for everybody else they are requests like others, and have records of their own.

use crate::proto::jobs::Progress;
use crate::proto::stats::Outcome;
use crate::wire::nfp::body::{JobBody, Target};
use crate::wire::nfp::{Job as Command, Reply, Verb};

use super::super::tag::Tag;
use super::Judge;
use super::jobs::{Asking, Jobs};
use super::native::Terms;
use super::parts::{Job, Part, ended_as};
use super::stand_in::StandIn;

/// The name of the worker that the broker is.
const ANY: &str = "any";

/// A command about such a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queued {
    /// What comes by it, if it is taken.
    pub(super) comes: Option<Tag>,
    /// Some limit may be reached.
    may_refuse: bool,
}

impl Queued {
    /// Whether that is how the broker answers.
    pub(super) fn is_answered(self, asking: &Asking, short: bool) -> bool {
        let statuses: Vec<&str> = asking.statuses.iter().map(String::as_str).collect();
        match (asking.verb, &statuses[..]) {
            (Some(Verb::Post), ["202", "201"]) | (Some(Verb::Get), ["202", _]) => true,
            (Some(Verb::Post), ["400"]) => self.comes.is_some() && (short || self.may_refuse),
            _ => false,
        }
    }
}

impl Job {
    pub(super) fn is_queued(&self) -> bool {
        self.parts.iter().any(|part| part.name == ANY)
    }
}

impl Jobs {
    pub(super) fn is_queued(&self, uuid: &[u8]) -> bool {
        self.known.get(uuid).is_some_and(Job::is_queued)
    }
}

impl Judge {
    /// Whether a command is about a job that waits for any worker, or is to.
    pub(super) fn is_for_queue(&self, job: &Command<'_>) -> bool {
        let post = job.verb == Verb::Post;
        match self.jobs.known.get(job.uuid) {
            Some(known) if known.ended_at.is_none() || !post => known.is_queued(),
            _ => {
                let queues = self.settings.policy_of(job.service).queue && job.service != b"all";
                post && queues && Target::parse(job.target) == Target::Any
            }
        }
    }

    /// What is to be answered; `None`: it is refused.
    pub(super) fn queues(&self, job: &Command<'_>) -> Option<Queued> {
        let open = self.jobs.known.get(job.uuid).is_some_and(|known| known.ended_at.is_none());
        if open || job.verb != Verb::Post {
            return Some(Queued { comes: None, may_refuse: false });
        }
        let body = job.body.clone().next().unwrap_or_default();
        let tag = Tag::decode(body).filter(|_| !self.is_draining);
        let in_vain = timeout_of(body) == Some(0);
        let (settings, policy) = (&self.settings, self.settings.policy_of(job.service));
        let (jobs, client) = (&settings.nfp.jobs, &settings.client);
        let counts = [
            jobs.jobs_max,
            jobs.open_per_client_max,
            client.requests_max,
            policy.queue_messages_max,
            settings.services_max,
        ];
        let octets = [client.bytes_max, policy.queue_bytes_max];
        let may_refuse =
            counts.iter().any(|it| *it < 1000) || octets.iter().any(|it| *it < 1 << 20);
        tag.filter(|_| !in_vain).map(|tag| Queued { comes: Some(tag), may_refuse })
    }

    /// A job is about to be given to the broker: a worker may have it before its client knows.
    pub(super) fn job_queued(&mut self, conn: usize, tag: Tag, job: &Command<'_>) {
        self.asked(tag, job.service, false, true);
        let timeout = timeout_of(job.body.clone().next().unwrap_or_default());
        let terms = Terms::of_job(conn, timeout.map(|timeout| self.time.saturating_add(timeout)));
        if let Some(record) = self.records.get_mut(&tag) {
            record.terms = Some(terms);
        }
    }

    /// It was taken, or refused.
    pub(super) fn queued_taken(&mut self, tag: Tag, asking: &Asking) {
        if asking.statuses.first().is_some_and(|status| status == "202") {
            self.accepted(tag);
        } else {
            self.refused(tag);
        }
    }

    /// The client is told something of it.
    pub(super) fn told_of_queued(
        &mut self,
        asking: &Asking,
        queued: Queued,
        reply: &Reply<'_>,
        body: &serde_json::Value,
    ) {
        let before: Vec<&str> = asking.statuses.iter().map(String::as_str).collect();
        let fits = match (asking.verb, &before[..], reply.status) {
            (Some(Verb::Post | Verb::Get), [], b"202") => {
                let says = body["status"] == "DISPATCHED" && reply.service == asking.service;
                says && body["workers"] == serde_json::json!([ANY])
            }
            (Some(Verb::Post), ["202"], b"201") => body["worker"] == ANY,
            (Some(Verb::Get), ["202"], b"200" | b"300" | b"500") => true,
            (Some(Verb::Post), [], b"400") => body["workers"].is_null(),
            _ => false,
        };
        let conn = asking.conn;
        self.demand(fits, || format!("{conn} is told {reply:?} to {asking:?}"));
        match (asking.verb, reply.status) {
            (Some(Verb::Post), b"202") => {
                if let Some(tag) = queued.comes {
                    self.note_queued(conn, &asking.uuid, tag);
                }
            }
            (Some(Verb::Get), b"200" | b"300" | b"500") => {
                self.check_result(&asking.uuid, ANY, reply.status, &body[ANY]);
            }
            _ => {}
        }
    }

    fn note_queued(&mut self, conn: usize, uuid: &[u8], tag: Tag) {
        let (name, progress) = (ANY.to_owned(), Progress::Dispatched);
        let stand_in = Some(StandIn::new(tag, None));
        // No connection has that number.
        let part = Part { conn: usize::MAX, epoch: 0, name, progress, stand_in };
        let (owner, parts) = (self.scatters.name_of(conn), vec![part]);
        let job = Job { owner, parts, due: None, ended_at: None, deleted: false };
        self.jobs.known.insert(uuid.to_vec(), job);
        self.jobs.queued.insert(tag, uuid.to_vec());
        self.jobs.touched.insert(uuid.to_vec());
    }

    /// The client wants it no more.
    pub(super) fn cancel_queued(&mut self, uuid: &[u8]) {
        let parts = self.jobs.known.get(uuid).into_iter().flat_map(|job| &job.parts);
        let stand_in = parts.filter(|part| part.name == ANY).find_map(|it| it.stand_in.as_ref());
        let Some(tag) = stand_in.filter(|it| it.ended.is_none()).map(|it| it.tag) else { return };
        if let Some(record) = self.records.get_mut(&tag) {
            record.cancelled = true;
            self.cancelled.push(tag);
        }
    }

    /// Its request has ended.
    pub(super) fn queued_ended(&mut self, tag: Tag, outcome: Outcome) {
        let time = self.time;
        if let Some((part, uuid)) = self.jobs.part_mut(tag, ANY) {
            part.progress = ended_as(outcome);
            if let Some(stand_in) = &mut part.stand_in {
                stand_in.ended = Some(outcome);
                stand_in.kept = outcome != Outcome::CallerGone;
            }
            if let Some(job) = self.jobs.known.get_mut(&uuid) {
                job.settle(time);
            }
            self.jobs.touched.insert(uuid);
            self.jobs.ended_now.push((tag, ANY.to_owned()));
        }
        let Some(record) = self.records.get_mut(&tag) else {
            return self.fail(|| format!("{tag:?} ends as {outcome:?}, and was refused"));
        };
        let before = record.ended.replace(outcome);
        self.demand(before.is_none(), || format!("{tag:?} ended as {before:?} and {outcome:?}"));
        self.check_outcome(tag, outcome);
    }

    /// Its client is told that it has ended, well or not.
    pub(super) fn told_queued_ready(&mut self, conn: usize, uuid: &[u8], body: &serde_json::Value) {
        let parts = self.jobs.known.get_mut(uuid).map(|job| &mut job.parts);
        let stand_in = parts.into_iter().flatten().find_map(|part| part.stand_in.as_mut());
        let Some(stand_in) = stand_in.filter(|it| it.tag.conn as usize == conn) else {
            return self.fail(|| format!("{conn} is told {body}, and asked for nothing"));
        };
        stand_in.ready = true;
        let tag = stand_in.tag;
        let heard = u32::from(!self.sides.get(&conn).is_some_and(|side| side.full));
        let turn = self.turn.filter(|turn| turn.tag == tag && turn.last);
        let Some(record) = self.records.get_mut(&tag) else { return };
        // What a worker has answered is said before the request ends, all else behind that.
        let done = record.ended.is_none() && turn.is_some_and(|turn| !turn.error);
        record.replies += if done { heard } else { 0 };
        record.errors += if done { 0 } else { heard };
        let (replies, errors, ended) = (record.replies, record.errors, record.ended);
        let says = (body["event_type"].as_str(), body["worker"].as_str(), body["status"].as_str());
        let status = if done { "completed" } else { "failed" };
        let fits = says == (Some("result_ready"), Some(ANY), Some(status));
        let due = ended.is_some() || turn.is_some();
        self.demand(fits && due && replies + errors == heard, || {
            format!("{conn} is told {body} of {tag:?}: {ended:?}, {turn:?}, {status}")
        });
    }
}

/// Microseconds.
fn timeout_of(body: &[u8]) -> Option<u64> {
    let timeout = JobBody::read(body).ok().and_then(|body| body.timeout())?;
    Some(u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX / 2))
}
