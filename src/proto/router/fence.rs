//! Fences: a request is taken and delivered only while its caller holds a lease (SPEC 9.14).

use std::sync::Arc;
use std::time::Duration;

use crate::id::{Principal, RequestId};
use crate::proto::clock::Time;
use crate::proto::lease::Stale;
use crate::proto::stats::Outcome;

use super::Router;
use super::course::Course;
use super::request::Request;
use super::service::{Service, ServiceId};
use super::worker::WorkerId;

/// The lease that a caller says to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) lease: Box<str>,
    pub(crate) epoch: u64,
    pub(crate) principal: Principal,
}

/// Why a request is not taken, or not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fenced {
    /// Its lease is not held so.
    Stale(Stale),
    /// The service wants the holder of this lease.
    Required(Box<str>),
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) service: &'a [u8],
    pub(crate) fence: Option<Box<Fence>>,
    /// Requests of the service with the same one run one at a time.
    pub(crate) order: Option<Arc<[u8]>>,
    /// No worker gets it before so much time has passed.
    pub(crate) delay: Option<Duration>,
    /// Its place in the order of acceptance, if it has been accepted before.
    pub(crate) place: Option<u64>,
}

impl<'a> From<&'a [u8]> for Wanted<'a> {
    fn from(service: &'a [u8]) -> Self {
        Self { service, fence: None, order: None, delay: None, place: None }
    }
}

impl Fence {
    /// Memory that it takes, octets.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.lease.len()
    }
}

impl Wanted<'_> {
    /// Memory of all that, octets.
    pub(crate) fn bytes(&self) -> usize {
        let fence = self.fence.as_ref().map_or(0, |fence| fence.bytes());
        let held = self.order.is_some() || self.delay.is_some();
        fence + if held { Course::bytes(self.order.as_ref()) } else { 0 }
    }
}

impl Router {
    /// Whether any worker wants a fence.
    #[inline]
    pub(crate) fn has_fences(&self) -> bool {
        self.fenced_workers > 0
    }

    /// Whether a service takes at this moment what is asked under that fence; or whether what is for
    /// no service may be done.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn check_fence(
        &self,
        now: Time,
        service: Option<&[u8]>,
        fence: Option<&Fence>,
    ) -> Result<(), Fenced> {
        if fence.is_none() && !self.has_fences() {
            return Ok(());
        }
        let wanted =
            service.and_then(|name| self.service_id(name)).and_then(|id| self.fence_of(id));
        self.check_fences(now, wanted, fence)
    }

    pub(super) fn check_fences(
        &self,
        now: Time,
        wanted: Option<&str>,
        fence: Option<&Fence>,
    ) -> Result<(), Fenced> {
        if let Some(wanted) = wanted
            && fence.is_none_or(|fence| &*fence.lease != wanted)
        {
            return Err(Fenced::Required(wanted.into()));
        }
        let Some(Fence { lease, epoch, principal }) = fence else { return Ok(()) };
        self.leases.holds(now, lease, *epoch, principal).map_err(Fenced::Stale)
    }

    /// The lease whose holder alone may ask for the service.
    pub(crate) fn fence_of(&self, id: ServiceId) -> Option<&str> {
        self.services.get(id)?.fence.as_ref().map(|(lease, _)| &**lease)
    }

    /// How a request ends that may not be delivered now for its fence, or for the lack of one.
    #[inline]
    pub(super) fn fenced_out(&mut self, now: Time, id: RequestId) -> Option<Outcome> {
        let request = self.requests.get(id)?;
        if request.fence.is_none() && !self.has_fences() {
            return None;
        }
        let wanted = self.services.get(request.service)?.fence.as_ref();
        if request.fence.is_none() && wanted.is_none() {
            return None;
        }
        let wanted = wanted.map(|(lease, _)| &**lease);
        let stale = match self.check_fences(now, wanted, request.fence.as_deref()) {
            Ok(()) => return None,
            Err(fenced) => matches!(fenced, Fenced::Stale(_)),
        };
        self.leases.count_refused(stale);
        Some(if stale { Outcome::StaleEpoch } else { Outcome::Unfenced })
    }

    /// The epoch that a caller is told whose request has lost its fence.
    pub(super) fn epoch_for(&self, request: &Request, outcome: Outcome) -> Option<u64> {
        let fence = request.fence.as_ref().filter(|_| outcome == Outcome::StaleEpoch)?;
        self.leases.current(&fence.lease)
    }

    /// Whether a worker of the service may want that fence: no other worker wants another one.
    pub(crate) fn may_fence(&self, service: &[u8], own: Option<WorkerId>, lease: &str) -> bool {
        let service = self.service_id(service).and_then(|id| self.services.get(id));
        let Some((wanted, count)) = service.and_then(|service| service.fence.as_ref()) else {
            return true;
        };
        let own = own.and_then(|own| self.workers.get(own)).is_some_and(|own| own.fenced);
        &**wanted == lease || *count <= usize::from(own)
    }

    /// From now on the worker wants that fence, or none; [`Self::may_fence`] has allowed it.
    pub(crate) fn set_fence(&mut self, id: WorkerId, lease: Option<&str>) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        let Some(service) = self.services.get_mut(worker.service) else { return };
        self.fenced_workers += usize::from(lease.is_some());
        if std::mem::replace(&mut worker.fenced, lease.is_some()) {
            self.fenced_workers -= 1;
            service.drop_fence();
        }
        match (&mut service.fence, lease) {
            (Some((_, count)), Some(_)) => *count += 1,
            (none, Some(lease)) => *none = Some((lease.into(), 1)),
            (_, None) => {}
        }
    }
}

impl Service {
    /// A worker that wanted the fence does not any more.
    pub(super) fn drop_fence(&mut self) {
        if let Some((_, count)) = &mut self.fence {
            *count -= 1;
            if *count == 0 {
                self.fence = None;
            }
        }
    }
}
