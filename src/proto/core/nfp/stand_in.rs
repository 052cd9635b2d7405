//! Jobs of NFP clients at workers of other dialects: a request stands for the worker's part, and the
//! broker says what a NorFab worker would.

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::dialect::{Part, Post, Terms, Way};
use crate::proto::jobs::Target as JobTarget;
use crate::proto::output::Output;
use crate::proto::router::{Worker, WorkerId};
use crate::wire::nfp::body::{self, JobBody, Target};
use crate::wire::nfp::{Job, Kind, status};

use super::super::Core;
use super::{about, text_of};

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
            self.give_part(now, id, (*worker).into(), part, job.body, out);
        }
    }

    /// The workers that do not speak NFP, had a part in the job that is asked for, and have gone: the
    /// broker has kept what they answered. One that has come back is not among them.
    pub(super) fn gone_stand_ins(&self, job: &Job<'_>, meant: &Target<'_>) -> Vec<String> {
        let Some((_, known)) = self.router.jobs.named(job.uuid) else { return Vec::new() };
        let gone = |target: &&JobTarget| {
            target.progress.is_end() && self.worker_named(target.name.as_bytes()).is_none()
        };
        let named = |name: &str| known.stand_in(name.as_bytes());
        let gone: Vec<&JobTarget> = match meant {
            Target::All => known.stand_ins().filter(gone).collect(),
            Target::Name(name) => named(name).filter(gone).into_iter().collect(),
            Target::Names(names) => {
                names.iter().filter_map(|name| named(name)).filter(gone).collect()
            }
            Target::Any | Target::Invalid(_) => Vec::new(),
        };
        gone.into_iter().map(|target| text_of(&target.name)).collect()
    }

    /// Answers GET for the workers that do not speak NFP.
    pub(super) fn say_results<O: Output>(
        &mut self,
        id: PeerId,
        job: &Job<'_>,
        workers: &[WorkerId],
        gone: &[String],
        out: &mut O,
    ) {
        for worker in workers {
            let peer = self.router.worker(*worker).map(Worker::peer);
            let Some(peer) = peer.filter(|_| !self.router.is_nfp(*worker)) else { continue };
            // It may have come back since.
            let name = text_of(&self.name_of(peer));
            self.say_result(id, job, &name, out);
        }
        for name in gone {
            self.say_result(id, job, name, out);
        }
    }

    /// Answers GET for the part of that name, whose result the broker keeps.
    pub(super) fn say_result<O: Output>(
        &mut self,
        id: PeerId,
        job: &Job<'_>,
        name: &str,
        out: &mut O,
    ) {
        let known = self.router.jobs.named(job.uuid).map(|(_, known)| known);
        let target = known.and_then(|known| known.stand_in(name.as_bytes()));
        let state = |text| body::state(name, job.service, job.uuid, text);
        let (status, answer) = match target {
            Some(target) if !target.progress.is_end() => (status::PENDING, state("STARTED")),
            Some(target) => match &target.result {
                Some(result) => (status::OK, result.to_vec()),
                None => {
                    let why = "there is no result: it was too big to be kept, or nobody was there";
                    (status::ERROR, state(why))
                }
            },
            None => (status::NOT_FOUND, state("JOB NOT FOUND")),
        };
        self.say_reply(id, Kind::Response, about(job), status, answer, out);
    }
}
