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
        let (mut workers, mut asked) = (0, 0);
        let mut armed = Vec::new();
        for (id, peer) in &self.peers {
            asked += peer.asked;
            workers += usize::from(peer.worker.is_some());
            let is_worker = peer.state.is_worker();
            let registered = peer.worker.is_some() != peer.handler.is_some();
            demand!(is_worker == registered, "{id:?} is {:?}: {:?}", peer.state, peer.worker);
            if let Some(worker) = peer.worker {
                let owner = self.router.peer_of(worker);
                demand!(owner == Some(id), "{worker:?} of {id:?} belongs to {owner:?}");
                demand!(peer.armed.is_some(), "nobody watches the worker {id:?}");
            }
            armed.extend(peer.armed.map(|at| (at, id)));
            self.audit_rights(id, peer)?;
        }
        let missing = self.timers.missing(armed);
        demand!(missing.is_none(), "{missing:?} is not among the timers");
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
        self.audit_names()
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
        for (_, group) in self.groups.observed_by(id) {
            let may = grants.allows(Verb::Call, ["mmi.group.", group].concat().as_bytes());
            demand!(may, "{id:?} looks at {group} and may not");
        }
        let follows = self.followers.contains_key(&id);
        demand!(!follows || grants.allows(Verb::Admin, b"follow"), "{id:?} follows and may not");
        Ok(())
    }

    /// Each name has one who has it and at most one who waits. As each of them is a peer of that
    /// name, and they are as many as the peers with names, nobody's name is without a holder.
    fn audit_names(&self) -> Result<(), String> {
        let mut counted = [0; 2];
        for (id, peer) in &self.peers {
            let waits = peer.contest.is_some();
            if let Some(count) = counted.get_mut(usize::from(waits)) {
                *count += usize::from(peer.identity.is_some());
            }
            if !waits {
                continue;
            }
            demand!(peer.identity.is_some(), "{id:?} waits for no name");
            demand!(peer.armed.is_some(), "nobody decides whether {id:?} gets its name");
            // A CLIENT shows what it speaks by its handshake.
            let unread = matches!(peer.state, State::UNKNOWN | State::Zio);
            demand!(unread, "{id:?} waits for its name and was read");
        }
        let told = self.names.audit(|id| {
            let peer = self.peers.get(id)?;
            Some((peer.identity.as_ref()?, peer.contest.is_some()))
        })?;
        demand!(told == counted, "{told:?} have names or wait, {counted:?} peers say so");
        Ok(())
    }
}
