//! What stands in the bodies that a broker writes or has to look into: JSON, in UTF-8.

mod complete;
mod job;
mod object;
mod question;
mod result;
mod talk;
mod target;
mod texts;

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

pub use complete::completed;
pub use job::{BadJob, Event, EventType, JobBody};
pub use question::Answered;
pub use result::{entry, result, result_ready};
pub use talk::{Asked, Happened, told};
pub use target::{BadTarget, NAMES_MAX, Target};

use super::UUID_MAX;

/// The body of a RESPONSE with status 202: the job was sent to `workers`.
#[must_use]
pub fn dispatched(workers: &[impl AsRef<str>], job: About<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a, W> {
        workers: W,
        #[serde(flatten)]
        job: Named<'a>,
    }
    let workers: Vec<&str> = workers.iter().map(AsRef::as_ref).collect();
    written(&Body { workers, job: job.named("DISPATCHED") })
}

/// The body of a RESPONSE with status 400: the job was sent to nobody. NorFab's client shows its
/// user what is in `error`. Peers of the old era get the bare text of `why` instead.
#[must_use]
pub fn failed(job: About<'_>, why: &impl fmt::Display) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        workers: (),
        #[serde(flatten)]
        job: Named<'a>,
        errors: [&'a str; 1],
        error: &'a str,
    }
    let why = why.to_string();
    written(&Body { workers: (), job: job.named("FAILED"), errors: [&why], error: &why })
}

/// The text of the answer to a command that is not supported.
#[must_use]
pub fn unsupported(command: &[u8]) -> String {
    format!("NFPBroker - Unsupported client command {}", Shown(command))
}

/// The body of a worker's RESPONSE that is no result: status 201 with `ACCEPTED`, 300 with
/// `PENDING` or `STARTED`, 404 with `JOB NOT FOUND`.
#[must_use]
pub fn state(worker: &str, service: &[u8], uuid: &[u8], status: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        worker: &'a str,
        uuid: Cow<'a, str>,
        status: &'a str,
        service: Cow<'a, str>,
    }
    let (uuid, service) = (String::from_utf8_lossy(uuid), String::from_utf8_lossy(service));
    written(&Body { worker, uuid, status, service })
}

/// What a client asked for, as it said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// The name of the service.
    pub service: &'a [u8],
    /// Which workers.
    pub target: &'a [u8],
    /// The name of the job.
    pub uuid: &'a [u8],
}

#[derive(Serialize)]
struct Named<'a> {
    uuid: Cow<'a, str>,
    target: Cow<'a, str>,
    status: &'a str,
    service: Cow<'a, str>,
}

impl<'a> About<'a> {
    fn named(self, status: &'a str) -> Named<'a> {
        Named {
            uuid: String::from_utf8_lossy(self.uuid),
            target: String::from_utf8_lossy(self.target),
            status,
            service: String::from_utf8_lossy(self.service),
        }
    }
}

fn written(body: &impl Serialize) -> Vec<u8> {
    // All keys are texts: there is nothing that JSON could not say.
    serde_json::to_vec(body).unwrap_or_default()
}

/// Why a job was sent to nobody, for the person who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent<'a> {
    /// The service has no worker.
    #[error(
        "service {} has no worker: start one, or ask mmi.service.broker show_workers who is there",
        Shown(service)
    )]
    NoWorker {
        /// The name of the service.
        service: &'a [u8],
    },
    /// The service has workers, but none that is meant.
    #[error(
        "no worker of service {} is meant by target {}: use all, any, or names that \
         mmi.service.broker show_workers lists for this service",
        Shown(service),
        Shown(target)
    )]
    NoMatch {
        /// The name of the service.
        service: &'a [u8],
        /// Which workers, as given.
        target: &'a [u8],
    },
    /// The named workers are there, but of another service, and the operator does not allow that.
    #[error(
        "target {} names a worker of another service than {}: name that service, or set \
         nfp.cross_service = true at the broker",
        Shown(target),
        Shown(service)
    )]
    OtherService {
        /// The name of the service.
        service: &'a [u8],
        /// Which workers, as given.
        target: &'a [u8],
    },
    /// The target means nothing.
    #[error("target {} of service {} {why}", Shown(target), Shown(service))]
    BadTarget {
        /// The name of the service.
        service: &'a [u8],
        /// Which workers, as given.
        target: &'a [u8],
        /// What is wrong.
        why: BadTarget,
    },
    /// The body of the job would harm a worker.
    #[error("job for service {}: {why}", Shown(service))]
    BadJob {
        /// The name of the service.
        service: &'a [u8],
        /// What is wrong.
        why: BadJob,
    },
}

/// What a peer said, for a person: quoted, and cut where it is long.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, rest) = self.0.split_at_checked(UUID_MAX).unwrap_or((self.0, b""));
        let end = if rest.is_empty() { "" } else { "..." };
        write!(f, "'{}{end}'", String::from_utf8_lossy(start).escape_debug())
    }
}

#[cfg(test)]
mod tests;
