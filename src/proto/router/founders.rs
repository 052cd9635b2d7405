//! Services that are there only because somebody asks for them: a caller can have so many made.

use crate::id::{PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::output::Output;

use super::service::ServiceId;
use super::{Pause, Router};

impl Router {
    /// As [`Self::service_for`], for a caller that asks for a service. A caller that has no request
    /// open may always have one made: there will be none whose end it could wait for.
    pub(super) fn service_asked_for<O: Output>(
        &mut self,
        now: Time,
        caller: PeerId,
        name: ServiceName,
        out: &mut O,
    ) -> Result<ServiceId, Pause> {
        let most = self.settings.client.services_max;
        let is_full = |it: &super::Caller| it.requests > 0 && it.founded >= most;
        if self.callers.get(caller).is_some_and(is_full) {
            return Err(Pause::Own);
        }
        let id = self.service_for(now, name, out)?;
        if let Some(entry) = self.callers.entry(caller) {
            entry.or_default().founded += 1;
            if let Some(service) = self.services.get_mut(id) {
                service.founder = Some(caller);
            }
        }
        Ok(id)
    }

    /// Somebody offers the service, or it is forgotten: it is not there for that caller alone.
    pub(super) fn release_founder(&mut self, founder: Option<PeerId>) {
        if let Some(caller) = founder.and_then(|founder| self.callers.get_mut(founder)) {
            caller.founded = caller.founded.saturating_sub(1);
        }
    }

    /// Checks what callers are said to have had made.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn audit_founders(&self) -> Result<(), String> {
        use super::audit::demand;
        for (peer, caller) in &self.callers {
            let is_its = |service: &&super::Service| service.founder == Some(peer);
            let made = self.services.values().filter(is_its).count();
            demand!(made == caller.founded, "{peer:?} had {made} made, not {}", caller.founded);
            let most = self.settings.client.services_max.max(1);
            demand!(made <= most, "{peer:?} had {made} made, it may have {most}");
        }
        for service in self.services.values() {
            let alone = service.founder.is_none() || service.workers.is_empty();
            demand!(alone, "{} has workers and a founder", service.name);
        }
        Ok(())
    }
}
