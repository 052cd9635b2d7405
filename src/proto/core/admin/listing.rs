//! Pages of jobs, clients and workers.

use crate::id::{Identity, PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::core::report::{LOOKED_AT, Room, count, millis};
use crate::proto::core::roster::{ClientRow, WorkerRow};
use crate::proto::core::{Core, Page};
use crate::proto::jobs::{Job, Progress};
use crate::proto::output::Output;
use crate::wire::mjp::{
    AdminHeader, AdminReport, ClientReport, Code, JobReport, Packed, RegistrationReport,
    TargetReport,
};

use super::Refused;

/// Where jobs stand.
#[derive(Debug, Clone, Copy)]
enum Standing {
    Any,
    Open,
    Ended,
    At(Progress),
}

impl Standing {
    fn read(state: Option<&str>) -> Result<Self, Refused> {
        const OPEN: [Progress; 4] =
            [Progress::Dispatched, Progress::Accepted, Progress::Started, Progress::Waiting];
        match state {
            None => Ok(Self::Any),
            Some("open") => Ok(Self::Open),
            Some("ended") => Ok(Self::Ended),
            Some(name) => {
                let all = OPEN.into_iter().chain(Progress::ENDS);
                let at = all.into_iter().find(|progress| progress.label() == name);
                at.map(Self::At)
                    .ok_or_else(|| (Code::BadRequest, "`state` is none that a job has".into()))
            }
        }
    }

    fn is_that_of(self, job: &Job) -> bool {
        match self {
            Self::Any => true,
            Self::Open => job.ended_at.is_none(),
            Self::Ended => job.ended_at.is_some(),
            Self::At(progress) => job.progress() == progress,
        }
    }
}

impl Core {
    /// A page of the jobs.
    pub(super) fn say_jobs<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        query: u64,
        says: &AdminHeader<'_>,
        out: &mut O,
    ) -> Result<(), Refused> {
        let standing = Standing::read(says.state)?;
        let (mut room, mut jobs, mut next) = (Room::new(says.max()), Vec::new(), None);
        for (seen, (slot, job)) in self.router.jobs.from(cursor(says)).enumerate() {
            let owned = says.owner.is_none_or(|owner| owner.as_bytes() == job.owner.as_bytes());
            let asked = owned && standing.is_that_of(job);
            if seen == LOOKED_AT || asked && !room.take(octets_of(job)) {
                next = Some(u64::from(slot));
                break;
            }
            if asked {
                jobs.push(job_report(now, job));
            }
        }
        let report = AdminReport { jobs: Some(jobs), next, ..AdminReport::default() };
        let packed = Packed::new(&report);
        self.say_packed(id, query, &packed, out);
        Ok(())
    }

    /// One job, and a page of its targets.
    pub(super) fn say_job<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        query: u64,
        says: &AdminHeader<'_>,
        out: &mut O,
    ) -> Result<(), Refused> {
        let uuid = says.uuid.ok_or_else(|| (Code::BadRequest, "`uuid` is missing".into()))?;
        let job = self.router.jobs.named(uuid).map(|(_, job)| job);
        let job = job.ok_or_else(|| (Code::NotFound, "no job of that uuid is known".into()))?;
        let (mut room, mut targets, mut next) = (Room::new(says.max()), Vec::new(), None);
        room.take(octets_of(job));
        room.put_back_entry();
        let from = usize::try_from(says.after.unwrap_or(0)).unwrap_or(usize::MAX);
        for (index, target) in job.targets.iter().enumerate().skip(from) {
            if !room.take(target.name.as_bytes().len()) {
                next = Some(u64::try_from(index).unwrap_or(u64::MAX));
                break;
            }
            let state = target.progress.label();
            targets.push(TargetReport { name: text(&target.name), state });
        }
        let jobs = Some(vec![job_report(now, job)]);
        let report = AdminReport { jobs, targets: Some(targets), next, ..AdminReport::default() };
        let packed = Packed::new(&report);
        self.say_packed(id, query, &packed, out);
        Ok(())
    }

    /// A page of the clients.
    pub(super) fn say_clients<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        query: u64,
        says: &AdminHeader<'_>,
        out: &mut O,
    ) {
        let page = match says.name {
            Some(name) => {
                let peer = self.peer_named(name.as_bytes());
                let peer = peer.and_then(|id| Some((id, self.peers.get(id)?)));
                let row = peer.and_then(|(id, peer)| self.client_row(now, id, peer));
                Page { rows: row.into_iter().collect(), next: None }
            }
            None => self.clients_page(now, cursor(says), says.max()),
        };
        let (mut room, mut clients, mut next) = (Room::new(says.max()), Vec::new(), page.next);
        for row in &page.rows {
            if !room.take(row.name.as_bytes().len()) {
                next = Some(row.slot);
                break;
            }
            clients.push(client_report(row));
        }
        let next = next.map(u64::from);
        let report = AdminReport { clients: Some(clients), next, ..AdminReport::default() };
        self.say_report(id, query, &report, out);
    }

    /// A page of the workers.
    pub(super) fn say_workers<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        query: u64,
        says: &AdminHeader<'_>,
        out: &mut O,
    ) {
        let (mut room, mut rows, mut next) = (Room::new(says.max()), Vec::new(), None);
        let mut take = |row: WorkerRow| {
            let octets = row.name.as_bytes().len() + row.service.as_bytes().len();
            let fits = room.take(octets);
            rows.extend(Some(row).filter(|_| fits));
            fits
        };
        if let Some(name) = says.name {
            let worker = self.worker_named(name.as_bytes());
            let worker = worker.and_then(|worker| self.router.worker(worker));
            let row = worker.and_then(|worker| self.worker_row(now, worker));
            if row.is_some_and(|row| !take(row)) {
                // One always fits.
                next = None;
            }
        } else {
            for (seen, (slot, worker)) in self.router.workers_at(cursor(says)).enumerate() {
                let service = self.router.name_of(worker.service());
                let service = service.map(ServiceName::as_bytes);
                let asked = says.service.is_none_or(|asked| service == Some(asked));
                let row = Some(worker).filter(|_| asked);
                let row = row.and_then(|worker| self.worker_row(now, worker));
                if seen == LOOKED_AT || row.is_some_and(|row| !take(row)) {
                    next = Some(u64::from(slot));
                    break;
                }
            }
        }
        let workers = Some(rows.iter().map(registration_report).collect());
        let report = AdminReport { workers, next, ..AdminReport::default() };
        self.say_report(id, query, &report, out);
    }
}

/// The slot to go on from. What is no slot is behind all of them.
pub(super) fn cursor(says: &AdminHeader<'_>) -> u32 {
    u32::try_from(says.after.unwrap_or(0)).unwrap_or(u32::MAX)
}

/// Names of peers that are shown are text.
pub(super) fn text(name: &Identity) -> &str {
    std::str::from_utf8(name.as_bytes()).unwrap_or_default()
}

fn octets_of(job: &Job) -> usize {
    let names = job.uuid.len() + job.owner.as_bytes().len() + job.service.as_bytes().len();
    names + job.task.len()
}

fn job_report(now: Time, job: &Job) -> JobReport<'_> {
    JobReport {
        uuid: &job.uuid,
        owner: text(&job.owner),
        service: job.service.as_bytes(),
        task: &job.task,
        state: job.progress().label(),
        age: millis(now.since(job.created_at)),
        ended: job.ended_at.map(|at| millis(now.since(at))),
        targets: count(job.targets.len()),
        open: count(job.targets.iter().filter(|target| !target.progress.is_end()).count()),
    }
}

fn client_report(row: &ClientRow) -> ClientReport<'_> {
    ClientReport {
        name: text(&row.name),
        dialect: row.dialect,
        connected: millis(row.connected),
        silent: millis(row.silent),
        requests: count(row.requests),
        jobs: count(row.jobs),
        subscriptions: count(row.subscriptions),
        admin: row.admin,
    }
}

fn registration_report(row: &WorkerRow) -> RegistrationReport<'_> {
    RegistrationReport {
        name: text(&row.name),
        service: row.service.as_bytes(),
        dialect: row.dialect,
        registered: millis(row.registered),
        hold_left: millis(row.hold_left),
        beats_sent: row.beats_sent.into(),
        beats_heard: row.beats_heard.into(),
    }
}
