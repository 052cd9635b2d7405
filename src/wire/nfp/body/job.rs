//! What is in a job, and in an event about it.

use std::borrow::Cow;
use std::time::Duration;

use super::texts::{self, Value};

/// The body of a POST, as far as a broker looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobBody<'a> {
    /// What is to be done.
    pub task: Cow<'a, str>,
    /// In which time, s; none if it says none or something odd.
    pub timeout: Option<u64>,
}

/// Why a body is no job. The thread of a NorFab worker that takes jobs dies of most of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BadJob {
    /// No UTF-8.
    #[error("the body is not UTF-8")]
    NotText,
    /// No JSON object, or nested too deep.
    #[error("the body is not one whole JSON object of at most 127 levels")]
    NotObject,
    /// Nothing to do.
    #[error("the body has no `task` that is a text")]
    NoTask,
}

impl BadJob {
    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotText => "job_not_text",
            Self::NotObject => "job_not_object",
            Self::NoTask => "job_no_task",
        }
    }
}

impl<'a> JobBody<'a> {
    /// Longest time to wait for a job; a longer one counts as this.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

    /// Time that the client waits.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|seconds| Duration::from_secs(seconds).min(Self::TIMEOUT_MAX))
    }

    /// Reads the body of a POST to its end.
    ///
    /// # Errors
    /// A NorFab worker could not take this job.
    pub fn read(octets: &'a [u8]) -> Result<Self, BadJob> {
        let text = std::str::from_utf8(octets).map_err(|_| BadJob::NotText)?;
        let values = texts::read(text, ["task", "timeout"]).map_err(|_| BadJob::NotObject)?;
        match values {
            [Some(Value::Text(task)), Some(Value::Number(seconds))] => {
                Ok(Self { task, timeout: Some(seconds) })
            }
            [Some(Value::Text(task)), _] => Ok(Self { task, timeout: None }),
            _ => Err(BadJob::NoTask),
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The job goes on.
    Progress,
    /// The result can be had by GET.
    ResultReady,
    /// The worker asks the client.
    InputRequest,
    /// The worker has its answer.
    InputResponse,
    /// Something else, or no event at all.
    Other,
}

impl EventType {
    /// Reads the body of an EVENT.
    #[must_use]
    pub fn read(octets: &[u8]) -> Self {
        Event::read(octets).event_type
    }

    fn of(text: &str) -> Self {
        match text {
            "progress" => Self::Progress,
            "result_ready" => Self::ResultReady,
            "input_request" => Self::InputRequest,
            "input_response" => Self::InputResponse,
            _ => Self::Other,
        }
    }
}

/// The body of an EVENT: what is a text in it, and empty what is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// What it is about.
    pub event_type: EventType,
    /// For a person.
    pub message: Cow<'a, str>,
    /// How the job is: `running`, `completed`, `failed` and more.
    pub status: Cow<'a, str>,
    /// `INFO`, `WARNING` and more.
    pub severity: Cow<'a, str>,
    /// What is being done.
    pub task: Cow<'a, str>,
}

impl<'a> Event<'a> {
    /// Longest body that is looked into, octets.
    pub const LEN_MAX: usize = 64 << 10;

    /// Reads the body of an EVENT. What is no JSON object is an event without anything, and so is
    /// what is too long.
    #[must_use]
    pub fn read(octets: &'a [u8]) -> Self {
        let keys = ["event_type", "message", "status", "severity", "task"];
        let octets = if octets.len() > Self::LEN_MAX { &[] } else { octets };
        let values = std::str::from_utf8(octets)
            .ok()
            .and_then(|text| texts::read(text, keys).ok())
            .unwrap_or_default();
        let [event_type, message, status, severity, task] = values.map(|value| match value {
            Some(Value::Text(text)) => text,
            Some(Value::Number(_) | Value::Other) | None => Cow::Borrowed(""),
        });
        Self { event_type: EventType::of(&event_type), message, status, severity, task }
    }
}
