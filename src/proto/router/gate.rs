//! An operator pauses a service, drains it, and lets it go on.

use crate::proto::clock::Time;
use crate::proto::output::Output;

use super::Router;
use super::service::{Gate, ServiceId};
use super::worker::WorkerId;

impl Router {
    /// What an operator lets a service do.
    pub(crate) fn gate_of(&self, id: ServiceId) -> Gate {
        self.services.get(id).map_or(Gate::Open, |service| service.gate)
    }

    /// Whether the service of that name takes nothing new.
    pub(crate) fn is_closed(&self, name: &[u8]) -> bool {
        self.service_id(name).is_some_and(|id| self.gate_of(id) == Gate::Draining)
    }

    /// Whether the worker may not be given anything directly now. What would wait for another's
    /// answer can wait while its service is paused, too.
    pub(crate) fn is_shut(&self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get(id) else { return true };
        match self.gate_of(worker.service) {
            Gate::Open => false,
            Gate::Paused { .. } => self.is_nfp(id),
            Gate::Draining => true,
        }
    }

    /// Says what a service may do. What waits is given to its workers as far as that is allowed
    /// now, and callers that were not read are read again.
    pub(crate) fn set_gate<O: Output>(
        &mut self,
        now: Time,
        id: ServiceId,
        gate: Gate,
        out: &mut O,
    ) {
        let Some(service) = self.services.get_mut(id) else { return };
        let was_paused = service.is_paused();
        // Paused twice it is paused since the first time.
        if !(was_paused && matches!(gate, Gate::Paused { .. })) {
            service.gate = gate;
        }
        if was_paused && !service.is_paused() {
            for worker in service.workers.clone() {
                self.serve_pinned(now, worker, out);
            }
            self.dispatch(now, id, out);
        }
        self.resume_waiters(id, out);
        self.forget_if_empty(id, out);
    }
}
