//! The invariants of the core, beyond those of the routing tables.

use crate::proto::dialect::State;
use crate::proto::rights::Verb;
use crate::proto::router::audit::demand;

use super::Core;
use super::peer::Peer;

impl Core {
    /// Checks every invariant of the core and its tables. To be called between two inputs.
    ///
    /// # Errors
    /// The first invariant that does not hold, in words.
    pub fn audit(&self) -> Result<(), String> {
        self.router.audit()?;
        let mut workers = 0;
        for (id, peer) in &self.peers {
            workers += usize::from(peer.worker.is_some());
            let is_worker = peer.state.is_worker();
            let registered = peer.worker.is_some() != peer.handler.is_some();
            demand!(is_worker == registered, "{id:?} is {:?}: {:?}", peer.state, peer.worker);
            if let Some(worker) = peer.worker {
                let owner = self.router.peer_of(worker);
                demand!(owner == Some(id), "{worker:?} of {id:?} belongs to {owner:?}");
                demand!(peer.armed.is_some(), "nobody watches the worker {id:?}");
            }
            if let Some(at) = peer.armed {
                demand!(self.timers.is_armed(at, id), "{id:?}: {at:?} is not among the timers");
            }
            self.audit_name(id, peer)?;
            self.audit_rights(id, peer)?;
        }
        let asked: usize = self.peers.values().map(|peer| peer.asked).sum();
        demand!(asked == self.house_asked, "the house owes {asked}, not {}", self.house_asked);
        let known = self.router.workers_len();
        demand!(workers == known, "{workers} peers are workers, the tables have {known}");
        let stranger = self.router.caller_ids().find(|id| !self.peers.contains_key(*id));
        demand!(stranger.is_none(), "a caller is no peer: {stranger:?}");
        let gone = self.followers.keys().find(|id| !self.peers.contains_key(**id));
        demand!(gone.is_none(), "{gone:?} follows and is no peer");
        let mut waiting = self.titanic.iter().flat_map(|kept| kept.paused());
        let gone = waiting.find(|id| !self.peers.contains_key(*id));
        demand!(gone.is_none(), "{gone:?} waits for the disk and is no peer");
        let mut waiting = self.depot().into_iter().flat_map(|depot| depot.peers());
        let gone = waiting.find(|id| !self.peers.contains_key(*id));
        demand!(gone.is_none(), "{gone:?} waits for what is kept and is no peer");
        self.flows.table.audit()?;
        self.topics.audit(|id| self.peers.contains_key(id))?;
        self.leases().audit(|id| self.peers.contains_key(id))?;
        self.groups.audit(|id| self.peers.contains_key(id))?;
        let (leading, wards) = (self.groups.population()[2], self.leases().wards());
        demand!(leading == wards, "{leading} lead groups, {wards} are known to fences");
        self.names.audit(|id| self.peers.get(id).and_then(|peer| peer.identity.clone()))
    }

    /// Memory charged for services, open requests, the parts of answers and subscriptions, octets: what an output
    /// has been asked to charge, less what it has been given back.
    #[must_use]
    pub fn charged(&self) -> usize {
        let titanic = self.titanic.as_ref().map_or(0, |kept| kept.charged());
        let titanic = titanic + self.keeper.as_ref().map_or(0, |keeper| keeper.charged());
        let flows = self.flows.table.charged();
        let groups = self.groups.charged();
        self.router.charged() + self.topics.charged() + groups + flows + titanic
    }

    /// Nobody is what it may not be.
    fn audit_rights(&self, id: crate::id::PeerId, peer: &Peer) -> Result<(), String> {
        let grants = peer.rights.grants();
        let service = peer.worker.and_then(|worker| self.router.service_of(worker));
        let serves = service.is_none_or(|name| grants.allows(Verb::Serve, name.as_bytes()));
        demand!(serves, "{id:?} serves {service:?} and may not");
        for (_, pattern) in self.topics.patterns_of(id) {
            let hears = grants.allows_subscription(pattern.as_bytes());
            demand!(hears, "{id:?} has subscribed to {pattern} and may not");
        }
        for (_, observes, lease) in self.leases().seats_of(id) {
            let holds = observes || grants.allows(Verb::Lease, lease.as_bytes());
            demand!(holds, "{id:?} holds {lease} or waits for it, and may not");
        }
        for (_, group) in self.groups.seats_of(id) {
            let may = grants.allows(Verb::Group, group.as_bytes());
            demand!(may, "{id:?} is a member of {group} and may not");
        }
        let follows = self.followers.contains_key(&id);
        demand!(!follows || grants.allows(Verb::Admin, b"follow"), "{id:?} follows and may not");
        Ok(())
    }

    fn audit_name(&self, id: crate::id::PeerId, peer: &Peer) -> Result<(), String> {
        let Some(name) = &peer.identity else {
            demand!(peer.contest.is_none(), "{id:?} waits for no name");
            return Ok(());
        };
        let holder = self.names.holder(name);
        demand!(holder.is_some(), "{name} of {id:?} is nobody's");
        let waits = holder != Some(id);
        demand!(waits == peer.contest.is_some(), "{id:?} waits: {waits}, {:?}", peer.contest);
        demand!(!waits || peer.armed.is_some(), "nobody decides whether {id:?} gets its name");
        // A CLIENT shows what it speaks by its handshake.
        let unread = matches!(peer.state, State::UNKNOWN | State::Zio);
        demand!(!waits || unread, "{id:?} waits for its name and was read");
        Ok(())
    }
}
