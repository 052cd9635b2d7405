//! REQUEST with a key: a repeat is known as one.

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::keys::Scope;
use crate::proto::output::Output;
use crate::proto::router::Asked;
use crate::wire::message::Frames;
use crate::wire::mjp::{Digest, Request};

use super::Core;
use super::ask::native;

impl Core {
    /// A request comes that may have come before; `kept` is its header and its body.
    pub(super) fn on_keyed<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        request: &Request<'_>,
        kept: Frames<'_>,
        out: &mut O,
    ) {
        let may_be_kept = self.keeper.is_some() || request.says.level.is_some();
        if (may_be_kept || self.keeps_by_policy) && self.on_deposit(now, id, request, kept, out) {
            return;
        }
        // What the broker itself answers changes nothing, and may be asked as often as one likes.
        if self.is_for_itself(now, id, request, out) {
            return;
        }
        let Some(peer) = self.peers.get(id) else { return };
        let service = request.says.service;
        let key = request.says.key.unwrap_or_default();
        let asked = Asked {
            wanted: self.wanted(id, &request.says),
            principal: peer.principal,
            scope: Scope::of(&peer.principal, service, key),
            digest: Digest::of(request.header, request.body),
            native: native(now, request),
        };
        if let Err(why) = self.router.ask(now, id, asked, kept, out) {
            self.refuse_ask(id, request.id, why, out);
        }
    }
}
