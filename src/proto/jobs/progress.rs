//! How far a worker is with its part of a job.

/// How far a worker is with its part of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// It was sent the job.
    Dispatched,
    /// It has said that it has it.
    Accepted,
    /// It works at it.
    Started,
    /// It waits for an answer of the client.
    Waiting,
    /// It has the result, or has said it.
    Replied,
    /// It cannot do it, or knows nothing of it.
    Failed,
    /// Its dialect cannot say it.
    Refused,
    /// It was lost before it was done.
    Lost,
    /// The time of the job is over.
    TimedOut,
    /// The client wants the job no more.
    Cancelled,
}

impl Progress {
    /// All ends.
    pub const ENDS: [Self; 6] =
        [Self::Replied, Self::Failed, Self::Refused, Self::Lost, Self::TimedOut, Self::Cancelled];

    /// Whether nothing more is expected.
    #[must_use]
    pub fn is_end(self) -> bool {
        self >= Self::Replied
    }

    /// In listings.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Dispatched => "dispatched",
            Self::Accepted => "accepted",
            Self::Started => "started",
            Self::Waiting => "waiting",
            Self::Replied => "replied",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }
}
