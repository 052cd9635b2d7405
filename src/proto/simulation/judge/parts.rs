//! What becomes of each worker's part in a job of an NFP client, as seen from outside: one end, and
//! the same in the broker's own table.

use std::collections::BTreeSet;

use crate::proto::jobs::Progress;
use crate::proto::stats::Outcome;
use crate::wire::nfp::body::{EventType, JobBody};
use crate::wire::nfp::{Kind, Report};

use super::super::rng::Rng;
use super::super::tag::Tag;
use super::Judge;
use super::stand_in::StandIn;

pub(super) use crate::proto::jobs::Jobs as Table;

/// A job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) owner: String,
    pub(super) parts: Vec<Part>,
    /// In broker time, microseconds.
    pub(super) due: Option<u64>,
    pub(super) ended_at: Option<u64>,
    pub(super) deleted: bool,
}

/// One worker's part.
#[derive(Debug)]
pub(super) struct Part {
    /// The worker's connection, and its how manieth registration there.
    pub(super) conn: usize,
    pub(super) epoch: u32,
    pub(super) name: String,
    pub(super) progress: Progress,
    pub(super) stand_in: Option<StandIn>,
}

impl Job {
    pub(super) fn is_due(&self, time: u64) -> bool {
        self.due.is_some_and(|due| due <= time)
    }

    pub(super) fn settle(&mut self, time: u64) {
        if self.ended_at.is_none() && self.parts.iter().all(|part| part.progress.is_end()) {
            self.ended_at = Some(time);
        }
    }
}

impl super::jobs::Jobs {
    pub(super) fn owner_of(&self, uuid: &[u8]) -> Option<&str> {
        self.known.get(uuid).map(|job| &job.owner[..])
    }

    pub(super) fn has(&self, tag: Tag) -> bool {
        self.tags.contains_key(&tag)
    }

    /// A part for which a request of this body stands, at the worker of that name.
    pub(super) fn part_mut(&mut self, tag: Tag, name: &str) -> Option<(&mut Part, Vec<u8>)> {
        let uuid = self.tags.get(&tag).or_else(|| self.queued.get(&tag))?;
        let mut parts = self.known.get_mut(uuid)?.parts.iter_mut();
        let is_it = |it: &Part| it.stand_in.as_ref().is_some_and(|it| it.tag == tag);
        let part = parts.find(|part| part.name == name && is_it(part))?;
        Some((part, uuid.clone()))
    }
}

impl Judge {
    /// The broker is about to look for a job: it knows those that are open, and whose they are.
    pub(super) fn look_up(&mut self, uuid: &[u8], table: &Table) {
        let (time, limits) = (self.time, self.settings.nfp.jobs);
        let there = table.named(uuid).map(|(_, job)| job);
        let Some(job) = self.jobs.known.get(uuid) else {
            let strange = there.is_some_and(|job| job.scatter.is_none());
            // A scatter that has ended is remembered, too.
            let strange = strange && !uuid.starts_with(b"~");
            return self.demand(!strange, || format!("nobody posted {uuid:?}: {there:?}"));
        };
        let Some(there) = there else {
            let kept = u64::try_from(limits.kept.as_micros()).unwrap_or(u64::MAX);
            let over = job.ended_at.is_some_and(|at| at.saturating_add(kept) <= time);
            let few = limits.jobs_max < 1000 || limits.ended_bytes_max < 1 << 20;
            let may = job.ended_at.is_some() && (few || over || self.jobs.was_short);
            let known = format!("{job:?}");
            self.demand(may, || format!("the broker has forgotten {known}"));
            self.jobs.known.remove(uuid);
            return;
        };
        let mut parts: Vec<(&[u8], Progress)> =
            there.targets.iter().map(|it| (it.name.as_bytes(), it.progress)).collect();
        let mut known: Vec<(&[u8], Progress)> =
            job.parts.iter().map(|it| (it.name.as_bytes(), it.progress)).collect();
        parts.sort_unstable();
        known.sort_unstable();
        let same = parts == known;
        let owner = there.owner.as_bytes() == job.owner.as_bytes();
        let ended = there.ended_at.is_some() == job.ended_at.is_some();
        let fits = same && owner && ended;
        let known = if fits { String::new() } else { format!("{job:?}") };
        self.demand(fits, || {
            format!("the table has {:?}, {there:?}, and this happened: {known}", there.progress())
        });
    }

    /// After an input: the table has what happened.
    pub(in super::super) fn check_jobs(&mut self, table: &Table) {
        for uuid in std::mem::take(&mut self.jobs.touched) {
            self.look_up(&uuid, table);
        }
    }

    /// A job was said to be given to these.
    pub(super) fn job_dispatched(
        &mut self,
        client: usize,
        uuid: &[u8],
        body: &[u8],
        named: &BTreeSet<usize>,
        tag: Option<Tag>,
    ) {
        let time = self.time;
        let timeout = JobBody::read(body).ok().and_then(|body| body.timeout());
        let due = timeout.map(|it| time + u64::try_from(it.as_micros()).unwrap_or(u64::MAX / 2));
        let owner = self.scatters.name_of(client);
        let open = self.jobs.known.remove(uuid).filter(|job| job.ended_at.is_none());
        let (parts, ended_at, deleted) = (Vec::new(), None, false);
        let mut job = open.unwrap_or(Job { owner, parts, due, ended_at, deleted });
        for conn in named.iter().copied() {
            let epoch = self.epoch_of(conn);
            if job.parts.iter().any(|part| (part.conn, part.epoch) == (conn, epoch)) {
                continue;
            }
            let stand_in = tag.filter(|_| !self.nfp.is_worker(conn));
            let stand_in = stand_in.map(|tag| StandIn::new(tag, due));
            let (name, progress) = (self.scatters.name_of(conn), Progress::Dispatched);
            job.parts.push(Part { conn, epoch, name, progress, stand_in });
        }
        if let Some(tag) = tag {
            self.jobs.tags.insert(tag, uuid.to_vec());
        }
        self.jobs.known.insert(uuid.to_vec(), job);
        self.jobs.touched.insert(uuid.to_vec());
    }

    fn epoch_of(&self, conn: usize) -> u32 {
        self.sides.get(&conn).map_or(0, |side| side.epoch)
    }

    /// The workers of NFP that have an open part.
    pub(super) fn workers_of(&self, uuid: &[u8]) -> BTreeSet<usize> {
        let parts = self.jobs.known.get(uuid).into_iter().flat_map(|job| &job.parts);
        let open = |part: &&Part| part.stand_in.is_none() && !part.progress.is_end();
        parts.filter(open).map(|part| part.conn).collect()
    }

    /// So much a worker of NFP has to do.
    pub(super) fn open_parts_of(&self, conn: usize) -> usize {
        let open =
            |part: &&Part| part.conn == conn && part.stand_in.is_none() && !part.progress.is_end();
        self.jobs.known.values().flat_map(|job| &job.parts).filter(open).count()
    }

    /// A client wants its job no more.
    pub(super) fn note_deleted(&mut self, uuid: &[u8]) {
        if let Some(job) = self.jobs.known.get_mut(uuid) {
            job.deleted = true;
        }
        self.cancel_queued(uuid);
        self.end_direct(uuid, Progress::Cancelled, |_| true);
    }

    /// Ends the parts that workers of NFP have.
    fn end_direct(&mut self, uuid: &[u8], progress: Progress, which: impl Fn(&Part) -> bool) {
        let time = self.time;
        let Some(job) = self.jobs.known.get_mut(uuid) else { return };
        let open = |part: &&mut Part| part.stand_in.is_none() && !part.progress.is_end();
        for part in job.parts.iter_mut().filter(open).filter(|part| which(part)) {
            part.progress = progress;
        }
        job.settle(time);
        self.jobs.touched.insert(uuid.to_vec());
    }

    /// A worker of NFP says something about a job.
    pub(super) fn part_reported(&mut self, conn: usize, report: &Report<'_>) {
        let progress = match (report.kind, report.status) {
            (Kind::Response, b"200") => Progress::Replied,
            (Kind::Response, b"201" | b"202") => Progress::Accepted,
            (Kind::Response, b"300") => Progress::Started,
            (Kind::Response, b"102") => Progress::Waiting,
            (Kind::Response, _) => Progress::Failed,
            (Kind::Event, _) => match EventType::read(report.body().next().unwrap_or_default()) {
                EventType::ResultReady => Progress::Replied,
                EventType::InputRequest => Progress::Waiting,
                EventType::Progress | EventType::InputResponse => Progress::Started,
                EventType::Other => return,
            },
            (Kind::Stream | Kind::Mmi, _) => Progress::Started,
        };
        let epoch = self.epoch_of(conn);
        self.end_direct(report.uuid, progress, |part| (part.conn, part.epoch) == (conn, epoch));
    }

    /// A worker is lost with the parts that it has.
    pub(super) fn lose_parts(&mut self, conn: usize) {
        let side = self.sides.entry(conn).or_default();
        let epoch = side.epoch;
        side.epoch += 1;
        let mut lost = Vec::new();
        for (uuid, job) in &mut self.jobs.known {
            let mine = |part: &&mut Part| (part.conn, part.epoch) == (conn, epoch);
            for part in job.parts.iter_mut().filter(mine).filter(|part| !part.progress.is_end()) {
                match &mut part.stand_in {
                    Some(stand_in) => stand_in.lost = true,
                    None => lost.push(uuid.clone()),
                }
            }
        }
        for uuid in lost {
            self.end_direct(&uuid, Progress::Lost, |it| (it.conn, it.epoch) == (conn, epoch));
        }
    }

    /// After a message: who waits for what has ended knows of it.
    pub(super) fn end_parts_turn(&mut self) {
        if let Some(turn) = self.jobs.turn.take().filter(|turn| turn.last) {
            let part = self.jobs.part_mut(turn.tag, &turn.name).map(|(part, _)| part);
            let ended = part.is_none_or(|part| part.progress.is_end());
            self.demand(ended, || format!("{turn:?}, and it goes on"));
        }
        for (tag, name) in std::mem::take(&mut self.jobs.ended_now) {
            let gone = self.is_gone(tag.conn as usize);
            let short = self.jobs.short;
            let part = self.jobs.part_mut(tag, &name).map(|(part, _)| part);
            let stand_in = part.and_then(|part| part.stand_in.as_mut());
            let ready = stand_in.is_none_or(|it| {
                it.kept &= !short;
                it.ready
            });
            self.demand(ready || gone, || format!("{tag:?} has ended at {name}, nobody said so"));
        }
    }

    /// The broker has looked at the time: what was due has ended, and is forgotten after a while.
    pub(super) fn check_job_deadlines(&mut self) {
        let time = self.time;
        let due = self.jobs.known.iter().filter(|(_, job)| job.ended_at.is_none());
        let due: Vec<_> =
            due.filter(|(_, job)| job.is_due(time)).map(|(it, _)| it.clone()).collect();
        for uuid in due {
            self.end_direct(&uuid, Progress::TimedOut, |_| true);
            let open = self.jobs.known.get(&uuid).filter(|job| job.ended_at.is_none());
            let open = open.map(|job| format!("{job:?}"));
            self.demand(open.is_none(), || format!("at {time} this was due: {open:?}"));
        }
        let kept = u64::try_from(self.settings.nfp.jobs.kept.as_micros()).unwrap_or(u64::MAX);
        let over = |job: &Job| job.ended_at.is_some_and(|at| at.saturating_add(kept) <= time);
        let Self { jobs, .. } = self;
        jobs.over.extend(jobs.known.iter().filter(|(_, it)| over(it)).map(|(it, _)| it.clone()));
    }

    /// After the broker has looked at the time: what ended long ago is forgotten.
    pub(in super::super) fn check_forgotten(&mut self, table: &Table) {
        for uuid in std::mem::take(&mut self.jobs.over) {
            let there = table.named(&uuid).is_some();
            self.demand(!there, || format!("{uuid:?} ended long ago and is remembered"));
            self.jobs.known.remove(&uuid);
        }
    }

    /// The end of a run, when everybody has gone.
    pub(super) fn close_jobs(&self) -> Result<(), String> {
        let open = self.jobs.known.iter().find(|(_, job)| job.ended_at.is_none());
        open.map_or(Ok(()), |(uuid, job)| Err(format!("{uuid:?} has no end: {job:?}")))
    }

    /// Some job that the broker may know, and whose it is.
    pub(in super::super) fn gossip_of_jobs(&self, rng: &mut Rng) -> Option<(Vec<u8>, String)> {
        let count = self.jobs.known.len();
        let (uuid, job) = self.jobs.known.iter().nth(rng.index(count.max(1)))?;
        Some((uuid.clone(), job.owner.clone()))
    }
}

pub(super) fn ended_as(outcome: Outcome) -> Progress {
    match outcome {
        Outcome::Replied | Outcome::Unclaimed => Progress::Replied,
        Outcome::Failed | Outcome::AnswerTooBig => Progress::Failed,
        Outcome::Refused | Outcome::StaleEpoch | Outcome::Unfenced => Progress::Refused,
        Outcome::WorkerLost | Outcome::Dead | Outcome::Expired => Progress::Lost,
        Outcome::TimedOut => Progress::TimedOut,
        Outcome::CallerGone | Outcome::Cancelled => Progress::Cancelled,
    }
}
