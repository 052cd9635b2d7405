//! Services that are there only because somebody asks for them: a caller can have so many made.

use crate::id::{PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::output::Output;

use super::service::ServiceId;
use super::{Pause, Router};

/// The caller that had a service made, and which time it was without an open request before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Founder {
    caller: PeerId,
    idle: u64,
}

impl Router {
    /// As [`Self::service_for`], for a caller that asks for a service. With no request open it may
    /// always have one made: what is still there of those before is there for others.
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
            let entry = entry.or_default();
            if entry.requests == 0 && entry.founded > 0 {
                (entry.founded, entry.idle) = (0, entry.idle + 1);
            }
            entry.founded += 1;
            let idle = entry.idle;
            if let Some(service) = self.services.get_mut(id) {
                service.founder = Some(Founder { caller, idle });
            }
        }
        Ok(id)
    }

    /// Somebody offers the service, or it is forgotten: it is not there for that caller alone.
    pub(super) fn release_founder(&mut self, founder: Option<Founder>) {
        let Some(Founder { caller, idle }) = founder else { return };
        if let Some(caller) = self.callers.get_mut(caller).filter(|caller| caller.idle == idle) {
            caller.founded = caller.founded.saturating_sub(1);
        }
    }

    /// Checks what callers are said to have had made.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn audit_founders(&self) -> Result<(), String> {
        use super::audit::demand;
        let founders: Vec<_> = self.services.values().filter_map(|it| it.founder).collect();
        for (peer, caller) in &self.callers {
            let founder = Founder { caller: peer, idle: caller.idle };
            let made = founders.iter().filter(|it| **it == founder).count();
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
