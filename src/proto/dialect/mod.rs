//! Dialects: translations at the edge. Behind them there is one router for all.

mod asker;
mod fault;
pub mod mdp;
pub mod mjp;
pub mod nfp;
mod part;
mod talk;
mod voice;

use std::num::NonZeroU32;

use super::clock::Time;
use crate::wire::nfp::Era;

pub(crate) use asker::{Asker, Proof};
pub(crate) use fault::{STALE, fault, fault_of, say_accepted};
pub(crate) use part::{Part, Post, Way, progress_of};
pub(crate) use talk::{Talk, question_of};
pub(crate) use voice::{
    CallerVoice, Envelope, Keyed, Native, Reply, Revived, Shelf, Stored, Tried, Work, WorkerVoice,
};

/// What a connection has shown itself to be. Its first valid header decides for a dialect, for
/// good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Majordomo, or nothing valid yet.
    Mdp(mdp::State),
    /// MJP/1.
    Mjp(mjp::State),
    /// NorFab's protocol.
    Nfp(nfp::State),
    /// ZIO's flows: where it stands is known to the flow table.
    Zio,
}

impl State {
    /// Nothing valid was said yet.
    pub const UNKNOWN: Self = Self::Mdp(mdp::State::Unknown);

    /// Whether the peer is registered as a worker.
    #[must_use]
    pub fn is_worker(self) -> bool {
        match self {
            Self::Mdp(state) => matches!(state, mdp::State::Worker(_)),
            Self::Mjp(state) => state.is_worker(),
            Self::Nfp(state) => state == nfp::State::Worker,
            Self::Zio => false,
        }
    }

    /// The dialect in which the peer asks for services; none if it does not.
    #[must_use]
    pub fn client_of(self) -> Option<&'static str> {
        match self {
            Self::Mdp(mdp::State::Client(version)) => Some(WorkerVoice::Mdp(version).name()),
            Self::Mjp(mjp::State::Caller) => Some(WorkerVoice::Mjp.name()),
            Self::Nfp(nfp::State::Client) => Some(WorkerVoice::Nfp(Era::Current).name()),
            Self::Mdp(_) | Self::Mjp(_) | Self::Nfp(_) | Self::Zio => None,
        }
    }
}

/// What a caller demands of one request, beyond what the service has as its policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Its caller waits no longer.
    pub(crate) deadline: Option<Time>,
    /// Deliveries at most.
    pub(crate) attempts: Option<NonZeroU32>,
}
