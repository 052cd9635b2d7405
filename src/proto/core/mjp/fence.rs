//! Fences: what says that its sender holds a lease is carried out only if it does (SPEC 9.14).

use std::borrow::Cow;

use crate::id::{PeerId, Principal};
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::dialect::{STALE, fault};
use crate::proto::lease::Stale;
use crate::proto::output::Output;
use crate::proto::router::{Fence, Fenced};
use crate::wire::mjp::{Code, Fault};

/// Why something is not done, and the epoch that holds if it is about one.
pub(in crate::proto::core) type Why = (Code, Cow<'static, str>, Option<u64>);

/// What a header says of a lease: its name, and the epoch of the holder.
pub(in crate::proto::core) type Said<'a> = (Option<&'a str>, Option<u64>);

impl Core {
    /// Whether what the peer wants, of that service if it is one, may be done at this moment, for
    /// its fence or without one.
    pub(in crate::proto::core) fn check_fence(
        &mut self,
        now: Time,
        peer: PeerId,
        service: Option<&[u8]>,
        said: Said<'_>,
    ) -> Result<(), Why> {
        if said.0.is_some() != said.1.is_some() {
            let why = "`lease` and `epoch` go together";
            return Err((Code::BadRequest, why.into(), None));
        }
        let fence = self.fence(peer, said);
        let checked = self.router.check_fence(now, service, fence.as_deref());
        checked.map_err(|fenced| {
            self.router.leases.count_refused(matches!(fenced, Fenced::Stale(_)));
            why_fenced(fenced)
        })
    }

    /// The fence of what the peer wants.
    #[inline]
    pub(in crate::proto::core) fn fence(
        &self,
        peer: PeerId,
        (lease, epoch): Said<'_>,
    ) -> Option<Box<Fence>> {
        let (lease, epoch) = (lease?, epoch?);
        let principal: Principal = self.peers.get(peer)?.principal;
        Some(Box::new(Fence { lease: lease.into(), epoch, principal }))
    }

    /// Says ERROR, with the epoch that holds if it is about one.
    pub(in crate::proto::core) fn object_why<O: Output>(
        &mut self,
        peer: PeerId,
        id: u64,
        (code, why, epoch): &Why,
        out: &mut O,
    ) {
        let fault = Fault { epoch: *epoch, ..fault(*code, why) };
        self.say(peer, 80 + why.len(), out, |encoder| fault.encode(id, encoder));
    }
}

/// Why something is not done for its fence, or for the lack of one.
fn why_fenced(fenced: Fenced) -> Why {
    match fenced {
        Fenced::Stale(stale) => why_stale(stale),
        Fenced::Required(lease) => {
            let lease = lease.escape_default();
            let why = format!("only the holder of the lease {lease} may ask; say `lease`, `epoch`");
            (Code::FenceRequired, why.into(), None)
        }
    }
}

pub(super) fn why_stale(stale: Stale) -> Why {
    match stale {
        Stale::Epoch(epoch) => (Code::StaleEpoch, STALE.into(), epoch),
        Stale::Stranger => {
            (Code::Denied, "another principal holds the lease by that epoch".into(), None)
        }
    }
}
