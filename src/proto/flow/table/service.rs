//! Flow services: who offers them, and who waits for one.

use std::collections::{BTreeMap, BTreeSet};

use slotmap::SlotMap;

use crate::id::{PeerId, ServiceName};
use crate::proto::flow::output::End;

use super::flow::FlowId;

slotmap::new_key_type! {
    /// One offer of a flow service.
    pub struct HandlerId;
}

/// Why an offer was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// There are as many as there may be.
    #[error("{max} handlers offer flow services, which is the limit; raise flow.offers")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The broker stops.
    #[error("the broker stops")]
    Stopping,
}

#[derive(Debug)]
pub(super) struct Services {
    handlers_max: usize,
    handlers: SlotMap<HandlerId, Handler>,
    by_end: BTreeMap<End, BTreeSet<HandlerId>>,
    by_name: BTreeMap<ServiceName, Service>,
    /// Grows with each offer, and with each flow that is given or has to wait.
    clock: u64,
}

#[derive(Debug)]
pub(super) struct Handler {
    pub(super) end: End,
    pub(super) service: ServiceName,
    /// Flows that it takes at a time.
    credit: u32,
    /// Flows that it has; those for which it has not come yet among them.
    pub(super) flows: BTreeSet<FlowId>,
    /// When it was given the last one, or began.
    used: u64,
}

#[derive(Debug, Default)]
struct Service {
    offers: usize,
    /// Those with credit; who was given a flow the longest ago is first.
    ready: BTreeSet<(u64, HandlerId)>,
    /// Flows that wait, the oldest first.
    waiting: BTreeMap<u64, FlowId>,
}

impl Handler {
    fn is_ready(&self) -> bool {
        self.flows.len() < usize::try_from(self.credit).unwrap_or(usize::MAX)
    }
}

impl Services {
    pub(super) fn new(handlers_max: usize) -> Self {
        Self {
            handlers_max,
            handlers: SlotMap::with_key(),
            by_end: BTreeMap::new(),
            by_name: BTreeMap::new(),
            clock: 0,
        }
    }

    pub(super) fn offer(
        &mut self,
        end: End,
        service: ServiceName,
        credit: u32,
    ) -> Result<HandlerId, OfferError> {
        if self.handlers.len() >= self.handlers_max {
            return Err(OfferError::TooMany { max: self.handlers_max });
        }
        self.by_name.entry(service.clone()).or_default().offers += 1;
        self.clock += 1;
        let handler = Handler { end, service, credit, flows: BTreeSet::new(), used: self.clock };
        let id = self.handlers.insert(handler);
        self.by_end.entry(end).or_default().insert(id);
        self.sort(id);
        Ok(id)
    }

    /// Puts a handler where its credit has it.
    fn sort(&mut self, id: HandlerId) {
        let Some(handler) = self.handlers.get(id) else { return };
        let Some(service) = self.by_name.get_mut(&handler.service) else { return };
        if handler.is_ready() {
            service.ready.insert((handler.used, id));
        } else {
            service.ready.remove(&(handler.used, id));
        }
    }

    /// How many offers there are.
    pub(super) fn offers(&self) -> usize {
        self.handlers.len()
    }

    pub(super) fn set_credit(&mut self, id: HandlerId, credit: u32) {
        if let Some(handler) = self.handlers.get_mut(id) {
            handler.credit = credit;
            self.sort(id);
        }
    }

    pub(super) fn get(&self, id: HandlerId) -> Option<&Handler> {
        self.handlers.get(id)
    }

    /// Takes an offer back, and gives the flows that it has.
    pub(super) fn withdraw(&mut self, id: HandlerId) -> BTreeSet<FlowId> {
        let Some(handler) = self.handlers.remove(id) else { return BTreeSet::new() };
        if let Some(offers) = self.by_end.get_mut(&handler.end) {
            offers.remove(&id);
            if offers.is_empty() {
                self.by_end.remove(&handler.end);
            }
        }
        if let Some(service) = self.by_name.get_mut(&handler.service) {
            service.offers -= 1;
            service.ready.remove(&(handler.used, id));
        }
        self.forget_empty(&handler.service);
        handler.flows
    }

    /// What that end offers.
    pub(super) fn of_end(&self, end: End) -> BTreeSet<HandlerId> {
        self.by_end.get(&end).cloned().unwrap_or_default()
    }

    /// Ends of a connection that offer something.
    pub(super) fn ends_of(&self, peer: PeerId) -> Vec<End> {
        self.by_end.range(End::all_of(peer)).map(|(end, _)| *end).collect()
    }

    /// A flow waits for that service. The number is its place.
    pub(super) fn wait(&mut self, name: &ServiceName, flow: FlowId) -> u64 {
        self.clock += 1;
        self.wait_again(name, flow, self.clock);
        self.clock
    }

    /// It waits again, at its old place.
    pub(super) fn wait_again(&mut self, name: &ServiceName, flow: FlowId, number: u64) {
        self.by_name.entry(name.clone()).or_default().waiting.insert(number, flow);
    }

    pub(super) fn wait_no_more(&mut self, name: &ServiceName, number: u64) {
        if let Some(service) = self.by_name.get_mut(name) {
            service.waiting.remove(&number);
        }
        self.forget_empty(name);
    }

    /// The next flow of that service, and who is to have it.
    pub(super) fn next(&mut self, name: &ServiceName) -> Option<(FlowId, HandlerId)> {
        let service = self.by_name.get_mut(name)?;
        let (used, id) = *service.ready.first()?;
        let (_, flow) = service.waiting.pop_first()?;
        service.ready.remove(&(used, id));
        self.clock += 1;
        let handler = self.handlers.get_mut(id)?;
        handler.used = self.clock;
        handler.flows.insert(flow);
        self.sort(id);
        Some((flow, id))
    }

    /// A handler does not have that flow any more. Gives the service, which may have a free one.
    pub(super) fn give_back(&mut self, id: HandlerId, flow: FlowId) -> Option<ServiceName> {
        let handler = self.handlers.get_mut(id)?;
        handler.flows.remove(&flow);
        let name = handler.service.clone();
        self.sort(id);
        Some(name)
    }

    fn forget_empty(&mut self, name: &ServiceName) {
        let is_empty = |it: &Service| it.offers == 0 && it.waiting.is_empty();
        if self.by_name.get(name).is_some_and(is_empty) {
            self.by_name.remove(name);
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Services {
    /// Checks that the tables say the same. `state` says which flows wait for what, at which place,
    /// and who has which.
    pub(super) fn audit(
        &self,
        waiting: &BTreeMap<FlowId, (ServiceName, u64)>,
        given: &BTreeMap<FlowId, HandlerId>,
    ) -> Result<(), String> {
        use crate::proto::router::audit::demand;
        let mut seen = 0;
        for (name, service) in &self.by_name {
            let offers = self.handlers.values().filter(|it| it.service == *name).count();
            demand!(offers == service.offers, "{name}: {offers} offers, {} noted", service.offers);
            demand!(offers > 0 || !service.waiting.is_empty(), "{name} is empty");
            let free = service.ready.is_empty() || service.waiting.is_empty();
            demand!(free, "{name}: somebody waits, and somebody is free");
            for (number, flow) in &service.waiting {
                let noted = waiting.get(flow) == Some(&(name.clone(), *number));
                demand!(noted, "{flow:?} waits for {name} and does not know");
                seen += 1;
            }
        }
        demand!(seen == waiting.len(), "{seen} flows wait, {} believe so", waiting.len());
        let offers: usize = self.by_end.values().map(BTreeSet::len).sum();
        demand!(offers == self.handlers.len(), "{offers} offers of ends");
        let mut held = 0;
        for (id, handler) in &self.handlers {
            let own = self.by_end.get(&handler.end).is_some_and(|offers| offers.contains(&id));
            demand!(own, "{id:?} is not its end's");
            let service = self.by_name.get(&handler.service);
            let ready = service.is_some_and(|it| it.ready.contains(&(handler.used, id)));
            demand!(ready == handler.is_ready(), "{id:?} is noted as ready: {ready}");
            let own = handler.flows.iter().filter(|flow| given.get(flow) == Some(&id)).count();
            demand!(own == handler.flows.len(), "{id:?} has flows that are not its own");
            held += own;
        }
        let alive = given.values().filter(|id| self.handlers.contains_key(**id)).count();
        demand!(held == alive, "{held} flows are held, {alive} given");
        let ready: usize = self.by_name.values().map(|it| it.ready.len()).sum();
        demand!(ready == self.handlers.values().filter(|it| it.is_ready()).count(), "ready ones");
        Ok(())
    }
}
