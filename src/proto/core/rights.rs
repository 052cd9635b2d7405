//! Rights: whether a peer may do what it wants to, in every dialect; and what becomes of it when
//! its rights change (SPEC 12).

use std::sync::Arc;
use std::time::{Duration, Instant};

use slotmap::SlotMap;

use crate::id::{Identity, PeerId, Principal, ServiceName};
use crate::proto::clock::Time;
use crate::proto::output::{CloseReason, Output};
use crate::proto::rights::{Decision, Grants, Recent, Verb};
use crate::wire::mjp::Code;

use super::Core;
use super::peer::Peer;

/// What stands before the names of what the broker answers about itself: to ask that is a call.
const ITSELF: &str = "mmi.";

/// What was wanted and might not be done, by the number of the verb.
pub(super) type Denied = [u64; Verb::ALL.len()];

/// What a peer may do, and what of it has been asked lately.
#[derive(Debug)]
pub(super) struct Rights {
    grants: Grants,
    recent: Recent,
}

impl Rights {
    pub(super) fn new(grants: Grants) -> Self {
        Self { grants, recent: Recent::default() }
    }

    pub(super) fn grants(&self) -> &Grants {
        &self.grants
    }

    #[inline]
    fn allows(&mut self, verb: Verb, name: &[u8]) -> bool {
        if self.grants.is_open() {
            verb != Verb::Admin || self.grants.allows(verb, name)
        } else {
            self.recent.allows(&self.grants, verb, name)
        }
    }
}

/// Something that a peer may not do.
#[derive(Debug, Clone, Copy)]
pub struct Denial<'a> {
    /// On whose behalf the peer speaks.
    pub principal: &'a Principal,
    /// The verified name of that one.
    pub name: Option<&'a str>,
    /// What the peer calls itself.
    pub identity: Option<&'a Identity>,
    /// What it wants to do.
    pub verb: Verb,
    /// With what.
    pub what: &'a [u8],
    grants: &'a Grants,
}

impl Denial<'_> {
    /// Which rule decided so, if one did. Pattern of a subscription: none is named.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match self.grants.explain(self.verb, self.what) {
            // A pattern may be denied though no rule is about it as if it were a subject.
            Decision::Allowed(_) => Decision::Default,
            decision => decision,
        }
    }
}

/// What new rights have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Regranted {
    /// Peers whose rights or names are others than before.
    pub changed: usize,
    /// Peers that may not be here any more.
    pub closed: usize,
    /// Workers that may not serve what they served.
    pub dismissed: usize,
    /// Subscriptions that are over.
    pub unsubscribed: usize,
}

impl Core {
    /// Whether the peer may do that. If not, it is counted and can be logged; what is said to the
    /// peer is up to the dialect.
    #[inline]
    pub(super) fn may<O: Output>(
        &mut self,
        id: PeerId,
        verb: Verb,
        name: &[u8],
        out: &mut O,
    ) -> bool {
        may(&mut self.peers, &mut self.denied, id, verb, name, out)
    }

    /// Whether the principal of the peer may ask once more now; if not, the time until it may.
    #[inline]
    pub(super) fn take_turn(&mut self, now: Time, id: PeerId) -> Result<(), Duration> {
        let Some(peer) = self.peers.get(id) else { return Ok(()) };
        self.router.take_turn(now, &peer.principal)
    }

    /// Whether the peer may ask the broker for that about itself.
    pub(super) fn may_look<O: Output>(&mut self, id: PeerId, what: &str, out: &mut O) -> bool {
        let is_open = self.peers.get(id).is_some_and(|peer| peer.rights.grants.is_open());
        is_open || self.may(id, Verb::Call, [ITSELF, what].concat().as_bytes(), out)
    }

    /// Whether the peer may subscribe to that.
    pub(super) fn may_subscribe<O: Output>(
        &mut self,
        id: PeerId,
        pattern: &str,
        out: &mut O,
    ) -> bool {
        let Some(peer) = self.peers.get(id) else { return false };
        let allowed = peer.rights.grants.allows_subscription(pattern.as_bytes());
        if !allowed {
            self.deny(id, Verb::Subscribe, pattern.as_bytes(), out);
        }
        allowed
    }

    /// Notes that a peer may not do what it wanted to.
    #[cold]
    pub(super) fn deny<O: Output>(&mut self, id: PeerId, verb: Verb, what: &[u8], out: &mut O) {
        if let Some(peer) = self.peers.get(id) {
            deny(peer, &mut self.denied, id, verb, what, out);
        }
    }

    /// What peers wanted to do and might not, by verb.
    pub fn denied(&self) -> impl Iterator<Item = (Verb, u64)> {
        Verb::ALL.into_iter().zip(self.denied)
    }

    /// Gives all peers that are no parts of the broker the rights and the verified names that
    /// `judge` has for their principals and proofs. Who has none any more is closed, and what it held
    /// goes back as if its connection had broken. What is not allowed any more ends at once: a worker
    /// is dismissed, and its work goes back; a subscription is over, and the subscriber is told. What
    /// was accepted before stands.
    pub fn regrant<O: Output>(
        &mut self,
        now: Instant,
        mut judge: impl FnMut(&Principal, u64) -> Option<(Grants, Option<Arc<str>>)>,
        out: &mut O,
    ) -> Regranted {
        let now = self.clock.at(now);
        let mut done = Regranted::default();
        let guests = self.peers.iter().filter(|(_, peer)| !peer.house);
        let guests: Vec<_> = guests.map(|(id, peer)| (id, peer.principal, peer.proof)).collect();
        for (id, principal, proof) in guests {
            match judge(&principal, proof) {
                Some((grants, name)) => self.regrant_one(now, id, grants, name, &mut done, out),
                None => {
                    done.closed += usize::from(self.peers.contains_key(id));
                    self.end(now, id, CloseReason::Revoked, out);
                }
            }
        }
        self.see_to_leftovers(now, out);
        done
    }

    fn regrant_one<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        grants: Grants,
        name: Option<Arc<str>>,
        done: &mut Regranted,
        out: &mut O,
    ) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let (renamed, changed) = (peer.name != name, *peer.rights.grants() != grants);
        done.changed += usize::from(renamed || changed);
        if renamed {
            peer.name = name;
            self.introduce(id);
        }
        if !changed {
            return;
        }
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.rights = Rights::new(grants.clone());
        let handled = peer.handler.as_ref().map(|handler| &handler.service);
        let service = peer.worker.and_then(|worker| self.router.service_of(worker)).or(handled);
        let may_serve = |name: &ServiceName| grants.allows(Verb::Serve, name.as_bytes());
        if let Some(service) = service.filter(|name| !may_serve(name)).cloned() {
            done.dismissed += 1;
            self.deny(id, Verb::Serve, service.as_bytes(), out);
            self.expire(now, id, Code::Denied, out);
        }
        let over = self.topics.patterns_of(id);
        let over = over.filter(|(_, pattern)| !grants.allows_subscription(pattern.as_bytes()));
        let over: Vec<u64> = over.map(|(number, _)| number).collect();
        for number in over {
            done.unsubscribed += 1;
            out.release(self.topics.unsubscribe(id, number));
            let why = "the right `subscribe` has been taken away; the subscription is over";
            self.object(id, number, Code::Denied, why, out);
        }
        self.regrant_leases(now, id, &grants, out);
        self.regrant_groups(now, id, &grants, out);
        self.regrant_follower(id, &grants, out);
        self.regrant_flows(now, id, out);
    }
}

/// As [`Core::may`], where nothing else of the core can be reached.
#[inline]
pub(super) fn may<O: Output>(
    peers: &mut SlotMap<PeerId, Peer>,
    denied: &mut Denied,
    id: PeerId,
    verb: Verb,
    name: &[u8],
    out: &mut O,
) -> bool {
    let Some(peer) = peers.get_mut(id) else { return false };
    let allowed = peer.rights.allows(verb, name);
    if !allowed {
        deny(peer, denied, id, verb, name, out);
    }
    allowed
}

#[cold]
fn deny<O: Output>(
    peer: &Peer,
    denied: &mut Denied,
    id: PeerId,
    verb: Verb,
    what: &[u8],
    out: &mut O,
) {
    if let Some(count) = denied.get_mut(verb as usize) {
        *count += 1;
    }
    let denial = Denial {
        principal: &peer.principal,
        name: peer.name.as_deref(),
        identity: peer.identity.as_ref(),
        verb,
        what,
        grants: &peer.rights.grants,
    };
    out.denied(id, &denial);
}

/// What is said to a peer that asks too often.
pub(super) const TOO_OFTEN: &str = "requests come faster than client.rate; ask again later";

/// What is said to a peer that may not do something.
pub(super) fn why_denied(verb: Verb, what: &[u8]) -> String {
    /// More of a name than this is not repeated, octets.
    const SHOWN: usize = 255;
    let shown = what.get(..SHOWN).unwrap_or(what).escape_ascii();
    format!("the right `{verb}` for {shown} is missing; ask the operator of the broker for it")
}
