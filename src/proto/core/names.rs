//! Which peer has which identity, and who waits for it.
//!
//! Who has proven who it is has its name for itself: it may come back and take it at once, and
//! nobody else gets it as long as its connection is there.

use std::collections::HashMap;

use crate::id::{Identity, PeerId, Principal};
use crate::proto::clock::Time;
use crate::proto::dialect::{Asker, Proof};
use crate::proto::output::{CloseReason, Output};

use super::Core;
use super::peer::Peer;

/// Identities in use. The map hashes with the standard library's keyed hash: strangers choose
/// the names.
#[derive(Debug, Default)]
pub(super) struct Names {
    seats: HashMap<Identity, Seat>,
}

#[derive(Debug)]
struct Seat {
    holder: PeerId,
    contender: Option<PeerId>,
}

/// What a newcomer gets for its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The name is its own.
    Holder,
    /// Another one has the name; the newcomer waits.
    Contender {
        /// Who has it.
        holder: PeerId,
    },
    /// Another one has the name, and a third waits for it.
    Refused,
}

/// What a newcomer has to do with the peer whose name it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kinship {
    /// Both have proven to be the same.
    Same,
    /// The holder has proven to be somebody else.
    Other,
    /// Nobody can tell.
    Unproven,
}

impl Kinship {
    fn between(holder: &Principal, newcomer: &Principal) -> Self {
        match (holder.is_proven(), holder == newcomer) {
            (true, true) => Self::Same,
            (true, false) => Self::Other,
            (false, _) => Self::Unproven,
        }
    }

    #[cfg(test)]
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Other => "other",
            Self::Unproven => "unproven",
        }
    }
}

impl Core {
    /// A newcomer with a taken name has waited long enough: whoever lives keeps the name.
    pub(super) fn decide_contest<O: Output>(&mut self, now: Time, id: PeerId, out: &mut O) {
        let Some(peer) = self.peers.get(id) else { return };
        let Some(since) = peer.contest else { return };
        let until = since.after(Peer::CONTEST);
        if until > now {
            return self.arm(id, until);
        }
        let holder = peer.identity.as_ref().and_then(|name| self.names.holder(name));
        match holder.and_then(|holder| Some((holder, self.peers.get(holder)?))) {
            Some((holder, incumbent)) if incumbent.heard > since || self.is_unread(holder) => {
                self.end(now, id, CloseReason::IdentityInUse, out);
            }
            // Ending the holder admits the newcomer.
            Some((holder, _)) => self.end(now, holder, CloseReason::Replaced, out),
            None => {}
        }
    }

    /// What a newcomer has to do with whoever has the name.
    pub(super) fn kinship(&self, claim: Claim, newcomer: PeerId) -> Kinship {
        let Claim::Contender { holder } = claim else { return Kinship::Unproven };
        let principal = |id| self.peers.get(id).map(|peer| &peer.principal);
        let pair = principal(holder).zip(principal(newcomer));
        let kinship = pair.map_or(Kinship::Unproven, |(a, b)| Kinship::between(a, b));
        #[cfg(test)]
        crate::proto::witness::saw("name", "kinship", kinship.label());
        kinship
    }

    /// Workers that can be told will see who asks.
    pub(super) fn introduce(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let proof = Proof::of(&peer.principal, peer.name.as_ref());
        let asker = Asker { identity: peer.identity.clone(), proof };
        if asker != Asker::default() {
            self.router.introduce(id, asker);
        }
    }
}

#[cfg(test)]
impl Claim {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Holder => "holder",
            Self::Contender { .. } => "contender",
            Self::Refused => "refused",
        }
    }
}

impl Names {
    pub(super) fn claim(&mut self, name: Identity, peer: PeerId) -> Claim {
        let mut claim = Claim::Holder;
        self.seats
            .entry(name)
            .and_modify(|seat| {
                claim = match seat.contender {
                    Some(_) => Claim::Refused,
                    None => Claim::Contender { holder: seat.holder },
                };
                seat.contender.get_or_insert(peer);
            })
            .or_insert(Seat { holder: peer, contender: None });
        claim
    }

    /// Who has the name of these octets.
    pub(super) fn holder_of(&self, name: &[u8]) -> Option<PeerId> {
        self.seats.get(name).map(|seat| seat.holder)
    }

    pub(super) fn holder(&self, name: &Identity) -> Option<PeerId> {
        self.seats.get(name).map(|seat| seat.holder)
    }

    /// A peer with that name has gone. Returns the newcomer that has the name now, if one waited.
    pub(super) fn release(&mut self, name: &Identity, peer: PeerId) -> Option<PeerId> {
        let seat = self.seats.get_mut(name)?;
        if seat.holder == peer {
            match seat.contender.take() {
                Some(heir) => {
                    seat.holder = heir;
                    return Some(heir);
                }
                None => {
                    self.seats.remove(name);
                }
            }
        } else if seat.contender == Some(peer) {
            seat.contender = None;
        }
        None
    }

    /// Checks that whoever has a seat is a peer of that name that waits for none, and whoever awaits
    /// one a peer that does; `claim_of` gives a peer's name and whether it waits for it. Returns how
    /// many have a name and how many wait.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn audit<'a>(
        &self,
        claim_of: impl Fn(PeerId) -> Option<(&'a Identity, bool)>,
    ) -> Result<[usize; 2], String> {
        let mut contenders = 0;
        for (name, seat) in &self.seats {
            if claim_of(seat.holder) != Some((name, false)) {
                return Err(format!("{:?} has the name {name} and is not that", seat.holder));
            }
            let Some(peer) = seat.contender else { continue };
            if claim_of(peer) != Some((name, true)) {
                return Err(format!("{peer:?} has a claim to the name {name} and is not that"));
            }
            contenders += 1;
        }
        Ok([self.seats.len(), contenders])
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn one_newcomer_at_a_time_waits_for_a_name() {
        let mut peers = SlotMap::<PeerId, ()>::with_key();
        let [old, new, third] = [(); 3].map(|()| peers.insert(()));
        let name = Identity::try_from(&b"printer"[..]).unwrap();
        let mut names = Names::default();
        assert_eq!(names.claim(name.clone(), old), Claim::Holder);
        assert_eq!(names.claim(name.clone(), new), Claim::Contender { holder: old });
        assert_eq!(names.claim(name.clone(), third), Claim::Refused);
        assert_eq!(names.release(&name, third), None);
        assert_eq!(names.release(&name, old), Some(new));
        assert_eq!(names.holder(&name), Some(new));
        assert_eq!(names.release(&name, new), None);
        assert_eq!(names.claim(name, third), Claim::Holder);
    }
}
