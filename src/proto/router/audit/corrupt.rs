//! What must not be: each corruption of the tables that the audit has to find, and what it says.

use crate::id::RequestId;
use crate::proto::clock::Time;
use crate::proto::timers::Timers;

use super::super::Router;
use super::super::callers::Caller;
use super::super::request::{Place, Request};
use super::super::service::Service;
use super::super::worker::{Worker, WorkerId};

/// A corruption of the tables.
pub(crate) type Corruption = fn(&mut Router);

/// What the audit says, and of what. There has to be a request in flight and, of another client,
/// one that waits, both with ids of their own and deadlines, and a service with two idle workers.
pub(crate) const CORRUPTIONS: [(&str, Corruption); 17] = [
    ("believes in", |it| it.in_flight().place = Place::Waiting),
    ("is not of this service", |it| {
        let busy = it.workers.values().find(|worker| worker.in_flight > 0).unwrap().service;
        it.idle().1.service = busy;
    }),
    ("does not know it", |it| {
        let (id, worker) = it.idle();
        worker.listed = None;
        let service = worker.service;
        let service = &mut it.services[service];
        service.workers.remove(&id);
        service.ready.remove(&mut it.workers, id, 0);
    }),
    ("workers are ready", |it| {
        let (id, worker) = it.idle();
        let service = worker.service;
        it.services[service].ready.remove(&mut it.workers, id, 0);
    }),
    ("belongs to None", |it| {
        let (_, worker) = it.idle();
        (worker.congested, worker.listed) = (true, None);
    }),
    ("reserved: true", |it| {
        it.workers.values_mut().find(|worker| worker.in_flight > 0).unwrap().reserved = true;
    }),
    ("in_flight", |it| it.served().in_flight += 1),
    ("workers want a fence", |it| it.idle().1.fenced = true),
    ("husks are counted", |it| it.husks += 1),
    ("husks are counted", |it| it.served().husks += 1),
    ("deadlines are counted", |it| it.timed += 1),
    ("is not among the timers", |it| it.deadlines = Timers::new()),
    ("expire, 0 say so", |it| {
        it.expiring.insert((Time::default(), 0), RequestId::default());
    }),
    ("requests told", |it| it.asker().requests += 1),
    ("octets told", |it| it.asker().bytes += 1),
    ("0 are listed, 1 of its requests wait", |it| {
        let (id, request) = it.requests.iter().find(|(_, it)| it.place == Place::Waiting).unwrap();
        let caller = request.caller;
        it.callers[caller].waiting.remove(&mut it.requests, id);
    }),
    ("which is None", |it| it.asker().named = None),
];

impl Router {
    fn in_flight(&mut self) -> &mut Request {
        let there = |request: &Request| matches!(request.place, Place::InFlight(_));
        self.requests.values_mut().map(|it| &mut **it).find(|it| there(it)).unwrap()
    }

    fn idle(&mut self) -> (WorkerId, &mut Worker) {
        self.workers.iter_mut().find(|(_, worker)| worker.listed == Some(0)).unwrap()
    }

    fn served(&mut self) -> &mut Service {
        self.services.values_mut().find(|service| !service.workers.is_empty()).unwrap()
    }

    fn asker(&mut self) -> &mut Caller {
        self.callers.values_mut().find(|caller| caller.requests > 0).unwrap()
    }
}
