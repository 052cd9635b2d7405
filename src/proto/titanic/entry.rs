//! One request that is kept.

use crate::id::{Principal, RequestId, ServiceName};
use crate::proto::dialect::{Asker, Tried};
use crate::wire::message::Message;

use super::record::{Head, Progress};

/// How far a request has come.
///
/// ```text
/// Storing -> Waiting -> [Fetching] -> [Beginning] -> Asked -> Ending -> Answered | Failed
///               ^------------------------------------'
/// any but Storing -> Closing -> gone
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is being stored; its client does not know its name.
    Storing,
    /// In the backlog of its service.
    Waiting,
    /// Its body is being read.
    Fetching,
    /// It is being noted that it may have been given to a worker.
    Beginning,
    /// Among the requests of its service.
    Asked(Option<RequestId>),
    /// Its end is being stored.
    Ending,
    /// Its answer is stored.
    Answered,
    /// It is stored that there is none.
    Failed,
    /// It is being removed.
    Closing,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) head: Head,
    pub(super) stage: Stage,
    /// The body, as long as there is room for it.
    pub(super) body: Option<Message>,
    /// Who asks, as workers see it.
    pub(super) asker: Asker,
    /// Deliveries that have ended, as far as this broker knows.
    pub(super) tried: Tried,
}

impl Entry {
    /// Memory that one takes beside its body, octets, about.
    pub(super) const COST: usize = 2 * size_of::<Self>() + 256;
    /// Octets on the disk beside the bodies, about.
    const OVERHEAD: u64 = 256;

    pub(super) fn recovered(head: Head) -> Self {
        let stage = match head.progress {
            Progress::Waiting => Stage::Waiting,
            Progress::Begun => Stage::Ending,
            Progress::Answered => Stage::Answered,
            Progress::Failed => Stage::Failed,
        };
        Self::new(head, stage)
    }

    pub(super) fn new(head: Head, stage: Stage) -> Self {
        let (asker, tried) = (Asker::default(), Tried::default());
        Self { head, stage, body: None, asker, tried }
    }

    pub(super) fn service(&self) -> &ServiceName {
        &self.head.service
    }

    /// It is not among those of its service any more, after these deliveries; returns that, if it
    /// was.
    pub(super) fn was_asked(&mut self, tried: Tried) -> Option<ServiceName> {
        if !matches!(self.stage, Stage::Asked(_)) {
            return None;
        }
        self.tried = tried;
        Some(self.service().clone())
    }

    /// Whether `who` may know of it.
    pub(super) fn is_of(&self, who: &Principal) -> bool {
        self.head.owner == *who && self.stage != Stage::Storing
    }

    /// Octets that it takes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.head.request_bytes + self.head.answer_bytes + Self::OVERHEAD
    }
}
