//! Who follows what happens, and what is told: at most once, with a count of what was missed.

use std::collections::BTreeMap;

use crate::id::{PeerId, ServiceName};
use crate::proto::core::Core;
use crate::proto::core::peer::Peer;
use crate::proto::flow::FlowEvent;
use crate::proto::output::Output;
use crate::proto::rights::{Grants, Verb as Right};
use crate::proto::router::WorkerId;
use crate::wire::message::Frames;
use crate::wire::mjp::{AdminEvent, AdminHeader, Code, FromBroker, Packed, Verb};

use super::Refused;

/// Peers that may follow at a time: whatever happens is said to each of them.
const FOLLOWERS_MAX: usize = 64;
/// Longest prefix, octets.
const PREFIX_MAX: usize = 64;

/// Those who follow, by their connection.
pub(in crate::proto::core) type Followers = BTreeMap<PeerId, Follower>;

/// One who follows.
#[derive(Debug)]
pub(in crate::proto::core) struct Follower {
    /// What it calls that.
    id: u64,
    /// It is told what begins so.
    prefix: Box<str>,
    /// Events that found no room since the last one that did.
    missed: u64,
}

impl Core {
    /// From now on the peer is told what happens, by this id and no other.
    pub(super) fn follow<O: Output>(
        &mut self,
        id: PeerId,
        query: u64,
        says: &AdminHeader<'_>,
        out: &mut O,
    ) -> Result<(), Refused> {
        let prefix = says.prefix.unwrap_or_default();
        if prefix.len() > PREFIX_MAX {
            return Err((Code::BadRequest, "`prefix` is longer than 64 octets".into()));
        }
        if self.router.is_open(id, query) || self.is_scattering(id, query) {
            return Err((
                Code::DuplicateId,
                "a request of this id is open on the connection".into(),
            ));
        }
        if self.followers.len() >= FOLLOWERS_MAX && !self.followers.contains_key(&id) {
            return Err((Code::Overloaded, "64 others follow already".into()));
        }
        let follower = Follower { id: query, prefix: prefix.into(), missed: 0 };
        self.followers.insert(id, follower);
        self.router.jobs.keep_news(true);
        let first = AdminEvent { event: AdminEvent::FOLLOWING, ..AdminEvent::default() };
        let packed = Packed::new(&first);
        let header = packed.octets();
        self.say(id, header.len(), out, |encoder| {
            FromBroker::Admin { id: query, header, body: Frames::default() }.encode(encoder);
        });
        Ok(())
    }

    /// Whether the peer follows by that id.
    #[inline]
    pub(in crate::proto::core) fn is_following(&self, id: PeerId, query: u64) -> bool {
        self.followers.get(&id).is_some_and(|follower| follower.id == query)
    }

    /// The peer wants no more of what it calls `query`, if it follows by that id.
    pub(in crate::proto::core) fn unfollow(&mut self, id: PeerId, query: u64) {
        if self.is_following(id, query) {
            self.forget_follower(id);
        }
    }

    /// The peer has other rights now: it may not be told any more.
    pub(in crate::proto::core) fn regrant_follower<O: Output>(
        &mut self,
        id: PeerId,
        grants: &Grants,
        out: &mut O,
    ) {
        let Some(query) = self.followers.get(&id).map(|follower| follower.id) else { return };
        if !grants.allows(Right::Admin, Verb::Follow.as_str().as_bytes()) {
            self.forget_follower(id);
            let why = "the right `admin` for follow has been taken away";
            self.object(id, query, Code::Denied, why, out);
        }
    }

    /// The peer has gone, or wants no more.
    pub(in crate::proto::core) fn forget_follower(&mut self, id: PeerId) {
        self.followers.remove(&id);
        self.router.jobs.keep_news(!self.followers.is_empty());
    }

    /// Tells all who follow.
    pub(in crate::proto::core) fn announce<O: Output>(
        &mut self,
        event: &AdminEvent<'_>,
        out: &mut O,
    ) {
        for (peer, follower) in &mut self.followers {
            if !event.event.starts_with(&*follower.prefix) {
                continue;
            }
            let missed = Some(follower.missed).filter(|missed| *missed > 0);
            let packed = Packed::new(&AdminEvent { missed, ..*event });
            let (id, header) = (follower.id, packed.octets());
            let fits = out.offer(*peer, header.len(), |encoder| {
                FromBroker::Admin { id, header, body: Frames::default() }.encode(encoder);
            });
            follower.missed = if fits { 0 } else { follower.missed.saturating_add(1) };
        }
    }

    /// A peer has come or goes.
    pub(in crate::proto::core) fn announce_peer<O: Output>(
        &mut self,
        event: &'static str,
        id: PeerId,
        out: &mut O,
    ) {
        let is_guest = self.peers.get(id).is_some_and(|peer| !peer.house);
        if self.followers.is_empty() || !is_guest {
            return;
        }
        let name = self.name_of(id);
        let name = std::str::from_utf8(name.as_bytes()).ok();
        self.announce(&AdminEvent { event, name, ..AdminEvent::default() }, out);
    }

    /// A worker has registered, or is none any more.
    pub(in crate::proto::core) fn announce_worker<O: Output>(
        &mut self,
        event: &'static str,
        id: PeerId,
        worker: WorkerId,
        out: &mut O,
    ) {
        let is_guest = self.peers.get(id).is_some_and(|peer: &Peer| !peer.house);
        if self.followers.is_empty() || !is_guest {
            return;
        }
        let name = self.name_of(id);
        let service = self.router.service_of(worker).cloned();
        let dialect = self.router.worker(worker).map(|worker| worker.voice().name());
        let event = AdminEvent {
            event,
            name: std::str::from_utf8(name.as_bytes()).ok(),
            service: service.as_ref().map(ServiceName::as_bytes),
            dialect,
            ..AdminEvent::default()
        };
        self.announce(&event, out);
    }

    /// Something has happened to a flow.
    pub(in crate::proto::core) fn announce_flow<O: Output>(
        &mut self,
        event: FlowEvent,
        out: &mut O,
    ) {
        if self.followers.is_empty() {
            return;
        }
        let (event, flow, state) = match event {
            FlowEvent::Asked { flow, .. } => ("flow.asked", flow, None),
            FlowEvent::Paired { flow, .. } => ("flow.paired", flow, None),
            FlowEvent::Idle { flow } => ("flow.idle", flow, None),
            FlowEvent::Ended { flow, outcome } => ("flow.ended", flow, Some(outcome.label())),
        };
        let uuid = flow.token().to_string();
        let uuid = Some(uuid.as_bytes());
        self.announce(&AdminEvent { event, uuid, state, ..AdminEvent::default() }, out);
    }

    /// Tells of jobs that have begun or ended during this input.
    pub(in crate::proto::core) fn announce_jobs<O: Output>(&mut self, out: &mut O) {
        for (id, ended) in self.router.jobs.take_news() {
            // One that is forgotten in the same moment had no time to be of interest.
            let Some(job) = self.router.jobs.get(id) else { continue };
            let (uuid, owner, service) = (job.uuid.clone(), job.owner.clone(), job.service.clone());
            let event = AdminEvent {
                event: if ended { "job.ended" } else { "job.started" },
                uuid: Some(&uuid),
                owner: std::str::from_utf8(owner.as_bytes()).ok(),
                service: Some(service.as_bytes()),
                state: Some(job.progress().label()),
                ..AdminEvent::default()
            };
            self.announce(&event, out);
        }
    }
}
