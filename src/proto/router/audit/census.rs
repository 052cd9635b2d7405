//! What the requests say, each looked at once.

use slotmap::{Key, SecondaryMap};

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::CallerVoice;
use crate::proto::keys::KeyId;

use super::super::Router;
use super::super::request::{Place, Request};
use super::super::service::ServiceId;
use super::{Places, demand};

/// What the requests of a caller are together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Open {
    pub(super) requests: usize,
    pub(super) bytes: usize,
    pub(super) waiting: usize,
}

/// What all requests are together.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// By caller, of those that are there.
    pub(super) open: SecondaryMap<PeerId, Open>,
    pub(super) husks: usize,
    pub(super) husks_of: SecondaryMap<ServiceId, usize>,
    pub(super) deadlines: Vec<(Time, RequestId)>,
    pub(super) keyed: Vec<(KeyId, RequestId)>,
    /// Those whose waiting will be over at some time, each found among them.
    pub(super) expiring: usize,
    /// Those that were dead letters, each found among them.
    pub(super) revived: usize,
}

impl Census {
    /// Whether a request has not ended, and no worker has it.
    pub(super) fn waits(request: &Request) -> bool {
        !request.is_husk() && !matches!(request.place, Place::InFlight(_))
    }
}

impl Router {
    /// Looks at each request, which has to be where it believes to be.
    pub(super) fn census(&self, places: &Places) -> Result<Census, String> {
        let mut census = Census::default();
        for (id, request) in &self.requests {
            let (told, found) = (request.place, places.get(id));
            demand!(found == Some(&told), "{id:?} believes in {told:?} and is in {found:?}");
            if let Some(asks) = &request.asks {
                let waits = !matches!(told, Place::InFlight(_));
                asks.audit(waits, self.settings.mjp.asks_max)?;
            }
            if request.is_husk() {
                demand!(matches!(told, Place::InFlight(_)), "{id:?} has ended and is {told:?}");
                demand!(request.body.frames().is_empty(), "{id:?} has ended and keeps its body");
                census.husks += 1;
                if let Some(entry) = census.husks_of.entry(request.service) {
                    *entry.or_default() += 1;
                }
            } else {
                self.audit_owner(id, request, &mut census)?;
            }
            census.deadlines.extend(request.terms().deadline.map(|at| (at, id)));
            census.keyed.extend(request.voice.key().map(|key| (key, id)));
            self.audit_finding(id, request, &mut census)?;
        }
        Ok(census)
    }

    /// Of callers that have gone, only what is in flight may be left.
    fn audit_owner(
        &self,
        id: RequestId,
        request: &Request,
        census: &mut Census,
    ) -> Result<(), String> {
        let (caller, waits) = (request.caller, Census::waits(request));
        if caller.is_null() {
            // What is nobody's is accounted for with its key.
            return Ok(());
        }
        if !self.callers.contains_key(caller) {
            demand!(!waits, "its caller has gone and {id:?} waits");
            return Ok(());
        }
        if let Some(entry) = census.open.entry(caller) {
            let open = entry.or_default();
            open.requests += 1;
            open.bytes += request.cost;
            open.waiting += usize::from(waits);
        }
        if let Some(name) = request.voice.id() {
            let named = self.named(caller, name);
            demand!(named == Some(id), "{id:?} is called {name}, which is {named:?}");
        }
        Ok(())
    }

    /// Whoever looks for a request by its time, its order or the letter that it was finds it.
    fn audit_finding(
        &self,
        id: RequestId,
        request: &Request,
        census: &mut Census,
    ) -> Result<(), String> {
        if let Some(at) = request.expires() {
            let found = self.expiring.get(&(at, request.sequence)) == Some(&id);
            demand!(found, "{id:?} expires at {at:?}, and is not among those that do");
            census.expiring += 1;
        }
        if let Some(order) = request.order() {
            let service = self.services.get(request.service);
            let line = service.and_then(|service| service.lines.get(order));
            let found = line.and_then(|line| line.get(&request.sequence)) == Some(&id);
            demand!(found, "{id:?} is not in the line of its order");
        }
        if let CallerVoice::Revived(revived) = &request.voice {
            let found = self.revived.get(&revived.id) == Some(&id);
            demand!(found, "{id:?} was a dead letter, and is not among those");
            census.revived += 1;
        }
        Ok(())
    }
}
