//! Errands: what an operator wants that takes a file, and so is done outside.
//!
//! The core says who may have it done, and passes on what was said; whoever does it brings the
//! answer.

use crate::id::PeerId;
use crate::proto::core::Core;
use crate::proto::output::Output;
use crate::wire::message::Frames;
use crate::wire::mjp::{Code, FromBroker, Packed, Verb};

use super::Refused;

/// Errands that wait or are being run.
const ERRANDS_MAX: usize = 64;

/// Something that is to be done outside, for a peer that may have it done.
#[derive(Debug)]
pub struct Errand {
    /// Who wants it.
    peer: PeerId,
    /// Its number of the question.
    query: u64,
    /// What is to be done.
    pub verb: Verb,
    /// The header of ADMIN: a [`KeyHeader`](crate::wire::mjp::KeyHeader).
    pub header: Box<[u8]>,
}

/// Errands that were not answered yet.
#[derive(Debug, Default)]
pub(in crate::proto::core) struct Errands {
    waiting: Vec<Errand>,
    /// Those that were taken.
    running: usize,
}

impl Core {
    /// Notes an errand, to be answered later.
    pub(super) fn send_out(
        &mut self,
        peer: PeerId,
        query: u64,
        verb: Verb,
        header: &[u8],
    ) -> Result<(), Refused> {
        let Errands { waiting, running } = &mut self.errands;
        if waiting.len() + *running >= ERRANDS_MAX {
            return Err((Code::Overloaded, "64 changes are on their way already".into()));
        }
        waiting.push(Errand { peer, query, verb, header: header.into() });
        Ok(())
    }

    /// Whether there is something to be done outside.
    #[inline]
    #[must_use]
    pub fn has_errands(&self) -> bool {
        !self.errands.waiting.is_empty()
    }

    /// What is to be done outside, in this order. Each is to be answered.
    #[must_use]
    pub fn take_errands(&mut self) -> Vec<Errand> {
        let taken = std::mem::take(&mut self.errands.waiting);
        self.errands.running += taken.len();
        taken
    }

    /// An errand is done, or cannot be. Its peer is told, if it is still there.
    pub fn answer_errand<O: Output>(
        &mut self,
        errand: &Errand,
        answer: Result<&Packed, (Code, &str)>,
        out: &mut O,
    ) {
        self.errands.running = self.errands.running.saturating_sub(1);
        let Errand { peer, query, .. } = *errand;
        match answer {
            Ok(report) => {
                let header = report.octets();
                self.say(peer, header.len(), out, |encoder| {
                    FromBroker::Admin { id: query, header, body: Frames::default() }
                        .encode(encoder);
                });
            }
            Err((code, why)) => self.object(peer, query, code, why, out),
        }
    }
}
