//! The invariants of what waits and may not be delivered yet, and of what was a dead letter.

use crate::id::RequestId;

use super::super::Router;
use super::super::request::Place;
use super::super::service::{Service, ServiceId};
use super::{Census, Places, demand};

impl Router {
    /// The requests of a service that may not be delivered yet, each with its sequence and place.
    pub(super) fn held_of(
        &self,
        id: ServiceId,
        service: &Service,
    ) -> Result<Vec<(RequestId, u64, Place)>, String> {
        let mut held = Vec::new();
        for ((at, sequence), request) in &self.delayed {
            if self.requests.get(*request).is_none_or(|request| request.service == id) {
                held.push((*request, *sequence, Place::Delayed(*at)));
            }
        }
        let delayed = held.len();
        for (order, line) in &service.lines {
            demand!(!line.is_empty(), "the line {order:?} is empty and not forgotten");
            for (at, (sequence, request_id)) in line.iter().enumerate() {
                let request = self.requests.get(*request_id);
                let own = request.and_then(|request| request.order()) == Some(order);
                demand!(own, "{request_id:?} is not of the order {order:?}");
                let is_behind = request.is_some_and(|it| it.place == Place::Behind);
                let is_first = self.is_free(id, Some(order), *sequence);
                demand!(is_behind != is_first, "{request_id:?} is number {at} of {order:?}");
                if is_behind {
                    held.push((*request_id, *sequence, Place::Behind));
                }
            }
        }
        let (told, there) = ((service.delayed, service.behind), (delayed, held.len() - delayed));
        demand!(told == there, "{told:?} are held, {there:?} are");
        Ok(held)
    }

    /// What may not be delivered yet is found when its time comes.
    pub(super) fn audit_held(&self, places: &Places, census: &Census) -> Result<(), String> {
        // Those who say so were found there, each at a place of its own.
        let (told, there) = (&self.expiring, census.expiring);
        demand!(told.len() == there, "{told:?} expire, {there} say so");
        for ((at, _), id) in &self.delayed {
            let place = places.get(*id);
            demand!(place == Some(&Place::Delayed(*at)), "{id:?} is not delayed: {place:?}");
        }
        if let Some(depot) = &self.depot {
            depot.audit(|service, digest, number| {
                let service = self.by_name.get(service).and_then(|id| self.services.get(*id));
                let mut lines = service.into_iter().flat_map(|service| &service.lines);
                lines.any(|(order, line)| {
                    depot.digest_of(order) == digest && line.range(..number).next().is_some()
                })
            })?;
        }
        demand!(self.moved_orders.is_empty(), "the disk was not told that some have ended");
        demand!(self.moved_up.is_empty(), "some have become the first and were not told");
        let (told, there) = (&self.revived, census.revived);
        demand!(told.len() == there, "{told:?} were dead letters, {there} say so");
        demand!(self.buried.is_empty(), "letters were not put away");
        Ok(())
    }
}
