//! What can be seen of services and workers from outside.

use crate::id::{ServiceName, slot_of};
use crate::proto::clock::Time;
use crate::proto::stats::ServiceStats;

use super::Router;
use super::service::{Gate, Service, ServiceId};
use super::worker::Worker;

/// A service, as it is seen from outside.
#[derive(Debug, Clone, Copy)]
pub struct ServiceView<'a> {
    /// Its name.
    pub name: &'a ServiceName,
    /// Workers registered.
    pub workers: usize,
    /// Requests waiting.
    pub waiting: usize,
    /// Memory of those, octets.
    pub waiting_bytes: usize,
    /// Requests at workers. Those that have ended there are not counted.
    pub in_flight: usize,
    /// When the oldest waiting request was accepted.
    pub oldest: Option<Time>,
    /// Dead letters in the queue that its policy names.
    pub dead: usize,
    /// What an operator lets it do.
    pub gate: Gate,
    /// What happened so far.
    pub stats: &'a ServiceStats,
}

impl Router {
    /// The services, in no particular order. Those of the house are not among them.
    pub fn services(&self) -> impl Iterator<Item = ServiceView<'_>> {
        let services = self.services.values().filter(|service| !service.house);
        services.map(|service| self.view(service))
    }

    /// The services from the slot `from` on, each with its slot: a listing takes some, lets
    /// others have the tables, and goes on behind the last one.
    pub fn services_from(
        &self,
        from: u32,
    ) -> impl Iterator<Item = (u32, ServiceId, ServiceView<'_>)> {
        let rest = self.services.iter().skip_while(move |(id, _)| slot_of(*id) < from);
        rest.filter(|(_, service)| !service.house)
            .map(|(id, service)| (slot_of(id), id, self.view(service)))
    }

    /// The workers from the slot `from` on, each with its slot.
    pub(crate) fn workers_at(&self, from: u32) -> impl Iterator<Item = (u32, &Worker)> {
        let rest = self.workers.iter().skip_while(move |(id, _)| slot_of(*id) < from);
        let is_house = |worker: &Worker| self.service(worker.service).is_some_and(|s| s.house);
        rest.filter(move |(_, worker)| !is_house(worker)).map(|(id, worker)| (slot_of(id), worker))
    }

    /// The service of that name.
    pub(crate) fn service_named(&self, name: &[u8]) -> Option<ServiceView<'_>> {
        let service = self.services.get(*self.by_name.get(name)?)?;
        Some(self.view(service))
    }

    fn view<'a>(&'a self, service: &'a Service) -> ServiceView<'a> {
        let oldest = service.oldest().filter_map(|id| Some(self.requests.get(id)?.accepted_at));
        ServiceView {
            name: &service.name,
            workers: service.workers.len(),
            waiting: service.waiting(),
            waiting_bytes: service.waiting_bytes,
            in_flight: service.in_flight - service.husks,
            oldest: oldest.min(),
            dead: self.dead.in_queue(service.dead_queue()),
            gate: service.gate,
            stats: &service.stats,
        }
    }
}
