//! Credit in octets, within MJP (SPEC 13.11).

use crate::wire::zio::Kind;

use super::{Misuse, Violation};

/// Credit in octets, as `total`, `held` and `kept` are in messages.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Octets {
    pub(super) total: u64,
    pub(super) held: u64,
    pub(super) kept: u64,
}

/// What a message is, apart from its label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Load {
    /// Octets of all its parts.
    pub size: u64,
    /// The credit in octets that it says, of BOT and PAY.
    pub bytes: Option<u64>,
}

impl Octets {
    /// More of it is held.
    pub(super) fn gain(&mut self, kind: Kind, size: u64) -> Result<(), Violation> {
        let Self { held, total, .. } = *self;
        if size > total - held {
            return Err(Violation::Octets { kind, size, held, total });
        }
        self.held += size;
        Ok(())
    }

    /// Whether a message can be given now.
    pub(super) fn affords(self, size: u64) -> Result<(), Misuse> {
        let Self { total, held, .. } = self;
        if size > total / 2 {
            return Err(Misuse::TooBig { size, max: total / 2 });
        }
        if size > held { Err(Misuse::NoOctets { size, held, total }) } else { Ok(()) }
    }
}
