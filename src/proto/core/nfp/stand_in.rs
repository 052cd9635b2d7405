//! Jobs of NFP clients at workers of other dialects: a request stands for the worker's part, and the
//! broker says what a NorFab worker would.

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::dialect::{Part, Post, Terms, Way};
use crate::proto::output::Output;
use crate::proto::router::WorkerId;
use crate::wire::nfp::body::{self, JobBody};
use crate::wire::nfp::{Job, Kind, status};

use super::super::Core;
use super::about;

impl Core {
    /// Gives the workers that do not speak NFP their parts of a job, which has been recorded.
    pub(super) fn give_parts<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        job: &Job<'_>,
        says: &JobBody<'_>,
        workers: &[WorkerId],
        out: &mut O,
    ) {
        let Some((known, _)) = self.router.jobs.named(job.uuid) else { return };
        let deadline = says.timeout().map(|timeout| now.after(timeout));
        let era = self.era_of(id);
        for worker in workers {
            let Some(index) =
                self.router.jobs.part_of(*worker, known).filter(|_| !self.router.is_nfp(*worker))
            else {
                continue;
            };
            let Some(target) = self.router.jobs.target_mut(known, index) else { continue };
            // A job that is said again is not done again.
            if target.child.is_some() {
                continue;
            }
            let name = target.name.clone();
            let text = String::from_utf8_lossy(name.as_bytes());
            let accepted = body::state(&text, job.service, job.uuid, "ACCEPTED");
            self.say_reply(id, Kind::Response, about(job), status::ACCEPTED, accepted, out);
            let (uuid, task) = (job.uuid.into(), says.task.as_ref().into());
            let way = Way::Post(Post { uuid, task, era, queued: false });
            let terms = Terms { deadline, attempts: None };
            let part = Part { job: known, index, name, terms, way };
            self.give_part(now, id, *worker, part, job.body, out);
        }
    }

    /// Answers GET for the workers that do not speak NFP.
    pub(super) fn say_results<O: Output>(
        &mut self,
        id: PeerId,
        job: &Job<'_>,
        workers: &[WorkerId],
        out: &mut O,
    ) {
        for worker in workers {
            let peer = self.router.worker(*worker).map(crate::proto::router::Worker::peer);
            let Some(peer) = peer.filter(|_| !self.router.is_nfp(*worker)) else { continue };
            let name = self.name_of(peer);
            let name = String::from_utf8_lossy(name.as_bytes());
            self.say_result(id, job, &name, Some(*worker), out);
        }
    }

    /// Answers GET for one part of a job whose result the broker keeps.
    pub(super) fn say_result<O: Output>(
        &mut self,
        id: PeerId,
        job: &Job<'_>,
        name: &str,
        worker: Option<WorkerId>,
        out: &mut O,
    ) {
        let known = self.router.jobs.named(job.uuid).map(|(_, known)| known);
        let target = known.and_then(|known| known.targets.iter().find(|t| t.worker == worker));
        let state = |text| body::state(name, job.service, job.uuid, text);
        let (status, answer) = match target {
            Some(target) if !target.progress.is_end() => (status::PENDING, state("STARTED")),
            Some(target) => match &target.result {
                Some(result) => (status::OK, result.to_vec()),
                None => (status::ERROR, state("the result was too big to be kept")),
            },
            None => (status::NOT_FOUND, state("JOB NOT FOUND")),
        };
        self.say_reply(id, Kind::Response, about(job), status, answer, out);
    }
}
