//! Where a request is, and why it is not at a worker (SPEC 16.4).

use std::sync::Arc;
use std::time::Duration;

use crate::id::RequestId;
use crate::proto::clock::Time;
use crate::proto::dead::{LetterId, Seen};
use crate::proto::depot::Held;
use crate::proto::dialect::{CallerVoice, Shelf};
use crate::proto::policy::{ServicePolicy, ServiceRule};

use super::Router;
use super::request::{Place, Request};
use super::service::{Service, ServiceId};
use super::worker::WorkerId;

/// Where a request stands.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) id: LetterId,
    pub(crate) state: &'static str,
    /// Why it is not at a worker.
    pub(crate) because: Option<String>,
    /// Requests of its client that go before it, and clients that take turns.
    pub(crate) ahead: Option<(usize, usize)>,
    /// Time until it may be delivered.
    pub(crate) wait: Option<Duration>,
    /// Time until its caller waits no longer.
    pub(crate) left: Option<Duration>,
    /// Time until it expires.
    pub(crate) expires: Option<Duration>,
    pub(crate) age: Duration,
    pub(crate) attempts: u32,
    /// The worker that has it, and for how long.
    pub(crate) worker: Option<(Box<str>, Duration)>,
    pub(crate) order: Option<Arc<[u8]>>,
    /// The first one of that order, if it is another one.
    pub(crate) behind: Option<LetterId>,
}

/// How a service stands.
#[derive(Debug, Default)]
pub(crate) struct Situation {
    pub(crate) state: &'static str,
    /// Why the next request is not at a worker.
    pub(crate) because: Option<String>,
    pub(crate) workers: usize,
    pub(crate) ready: usize,
    pub(crate) credit: usize,
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) suspects: usize,
    pub(crate) delayed: usize,
    pub(crate) behind: usize,
}

impl Router {
    /// Requests that are looked at for one answer, at most.
    const LOOKED_AT: usize = 4096;
    const DELAYED: &str = "its caller wants it to be delayed";

    /// What a request is called by people.
    pub(super) fn called(&self, id: RequestId) -> LetterId {
        match self.requests.get(id).map(|request| &request.voice) {
            Some(CallerVoice::Revived(revived)) => revived.id,
            Some(CallerVoice::Stored(stored)) => match (stored.place, &self.depot) {
                (Shelf::Depot(number), Some(depot)) => depot.id_of(number),
                _ => LetterId::of(id),
            },
            _ => LetterId::of(id),
        }
    }

    /// The open request that is called so.
    pub(crate) fn request_called(&self, id: LetterId) -> Option<RequestId> {
        let kept = || self.depot.as_ref().and_then(|depot| depot.asked_as(id));
        let revived = self.revived.get(&id).copied().or_else(kept);
        let found = revived.or_else(|| RequestId::from_token(id.0))?;
        self.requests.contains_key(found).then_some(found)
    }

    /// The service that a request asks for.
    pub(crate) fn asked_of(&self, id: RequestId) -> Option<ServiceId> {
        Some(self.requests.get(id)?.service)
    }

    /// The workers that had a request and have it no more.
    pub(crate) fn seen_by(&self, id: RequestId) -> &[Seen] {
        let course = self.requests.get(id).and_then(|request| request.course.as_ref());
        course.map(|course| &*course.seen).unwrap_or_default()
    }

    /// The rule that holds for a service, if one does, and its policy.
    pub(crate) fn rule_of(&self, name: &[u8]) -> (Option<&ServiceRule>, &ServicePolicy) {
        let rule = self.settings.rules.iter().find(|rule| rule.matches(name));
        (rule, self.settings.policy_of(name))
    }

    /// Where a request is, and why it is not at a worker.
    pub(crate) fn standing(&self, now: Time, id: RequestId) -> Option<Standing> {
        let request = self.requests.get(id)?;
        let service = self.services.get(request.service)?;
        let worker = match request.place {
            Place::InFlight(worker) | Place::Pinned(worker) => Some(self.name_of_worker(worker)),
            _ => None,
        };
        let first = request.order().and_then(|order| self.before(service, order, request.sequence));
        let until = |at: Option<Time>| at.map(|at| at.since(now));
        Some(Standing {
            id: self.called(id),
            state: state_of(request),
            because: self.because(now, request, service, first),
            ahead: match request.place {
                Place::Waiting => service.queue.place_of(request.caller, request.sequence),
                _ => None,
            },
            wait: until(request.not_before()).filter(|wait| !wait.is_zero()),
            left: until(request.terms().deadline),
            expires: until(request.expires()),
            age: now.since(request.accepted_at),
            attempts: request.deliveries() + u32::from(matches!(request.place, Place::InFlight(_))),
            worker: worker.map(|name| (name, now.since(request.delivered_at))),
            order: request.order().cloned(),
            behind: first,
        })
    }

    /// Where a request is that is on the disk only, and how it is called.
    pub(crate) fn standing_on_disk(&self, service: &[u8], held: Held) -> Standing {
        let lets_go =
            held.order.as_ref().is_none_or(|order| self.lets_go(service, order, held.number));
        let (state, because) = match (held.state, held.first) {
            ("waiting", _) if !lets_go => ("behind", "its order is busy".into()),
            ("waiting", _) => ("waiting", "it is on the disk, and read when it is its turn".into()),
            (state, None) => (state, Self::DELAYED.into()),
            (state, Some(first)) => (state, Self::behind(first)),
        };
        Standing {
            id: held.id,
            state,
            because: Some(because),
            ahead: None,
            wait: Some(held.wait).filter(|wait| !wait.is_zero()),
            left: None,
            expires: None,
            age: Duration::ZERO,
            attempts: 0,
            worker: None,
            order: held.order,
            behind: held.first,
        }
    }

    fn behind(first: LetterId) -> String {
        format!("its order is busy: {first} is before it and has not ended")
    }

    /// What the first of an order is called, if that is before the one with that place.
    fn before(&self, service: &Service, order: &[u8], sequence: u64) -> Option<LetterId> {
        let first = self.first_of(service, order).filter(|first| *first < sequence)?;
        let here = service.lines.get(order).and_then(|line| line.get(&first));
        let on_disk = || self.depot.as_ref().map(|depot| depot.id_of(first));
        here.map(|here| self.called(*here)).or_else(on_disk)
    }

    fn because(
        &self,
        now: Time,
        request: &Request,
        service: &Service,
        first: Option<LetterId>,
    ) -> Option<String> {
        let wanted = service.fence.as_ref().map(|(lease, _)| &**lease);
        let fenced = self.check_fences(now, wanted, request.fence.as_deref()).is_err();
        match request.place {
            Place::InFlight(_) => None,
            Place::Behind => Some(first.map_or_else(|| "its order is busy".into(), Self::behind)),
            Place::Delayed(_) => Some(match request.failures() {
                0 => Self::DELAYED.into(),
                failures => {
                    format!("workers failed it {failures} times: it waits for its back-off")
                }
            }),
            _ if fenced => {
                Some("its lease is not held: it will be refused when its turn comes".into())
            }
            Place::Pinned(_) => Some("it is for this worker alone, which is busy".into()),
            Place::Suspect => Some(match self.in_the_way(service) {
                Some(why) => why,
                None => format!(
                    "it was lost with {} workers: it waits until one holds nothing else",
                    request.losses
                ),
            }),
            Place::Waiting => {
                self.in_the_way(service).or_else(|| Some("others have their turn first".into()))
            }
        }
    }

    /// Why nothing of a service is given to a worker now.
    fn in_the_way(&self, service: &Service) -> Option<String> {
        let (workers, running) = (service.workers.len(), service.in_flight);
        if service.is_paused() {
            return Some("the service is paused: `service resume` lets it go on".into());
        } else if workers == 0 {
            return Some("no worker offers the service".into());
        } else if service.ready.first().is_some() {
            return None;
        }
        let mine =
            || service.workers.iter().take(Self::LOOKED_AT).filter_map(|id| self.workers.get(*id));
        let credit: usize = mine().map(|worker| worker.credit).sum();
        let congested = mine().filter(|worker| worker.congested).count();
        let slow = if congested == 0 {
            String::new()
        } else {
            format!(", and {congested} of them do not read what waits for them")
        };
        Some(format!(
            "no worker has credit left: {running} requests are at {workers} workers that take \
             {credit}{slow}"
        ))
    }

    /// How a service of that name stands, if it is asked for or offered.
    pub(crate) fn situation_of(&self, name: &[u8]) -> Option<Situation> {
        if let Some(id) = self.service_id(name) {
            return self.situation(id);
        }
        let (delayed, behind) = self.depot.as_ref()?.counts_of(name)?;
        let because = Some("no worker offers the service".into());
        Some(Situation { state: "open", because, delayed, behind, ..Situation::default() })
    }

    /// How a service stands.
    pub(crate) fn situation(&self, id: ServiceId) -> Option<Situation> {
        let service = self.services.get(id)?;
        let mine =
            || service.workers.iter().take(Self::LOOKED_AT).filter_map(|id| self.workers.get(*id));
        let because = self.in_the_way(service).filter(|_| service.waiting() > 0);
        let held = service.deliverable() == 0 && service.waiting() > 0;
        let depot = self.depot.as_ref();
        let (delayed, behind) =
            depot.and_then(|depot| depot.counts_of(service.name.as_bytes())).unwrap_or_default();
        Some(Situation {
            state: service.gate.label().unwrap_or("open"),
            because: because.or_else(|| {
                held.then(|| "what waits is delayed, or behind another one of its order".into())
            }),
            workers: service.workers.len(),
            ready: mine().filter(|worker| worker.is_ready()).count(),
            credit: mine().map(|worker| worker.credit).sum(),
            running: service.in_flight - service.husks,
            waiting: service.queue.len(),
            suspects: service.suspects.len(),
            delayed: service.delayed + delayed,
            behind: service.behind + behind,
        })
    }

    /// Some requests of a service: at workers, suspects, in the queue, behind, and then delayed.
    pub(crate) fn some_requests(&self, id: ServiceId, max: usize) -> Vec<RequestId> {
        let Some(service) = self.services.get(id) else { return Vec::new() };
        let mut found = Vec::new();
        for worker in &service.workers {
            self.held_by(*worker, max, &mut found);
        }
        let is_behind =
            |it: &RequestId| self.requests.get(*it).is_some_and(|it| it.place == Place::Behind);
        let behind = service.lines.values().flat_map(|line| line.values().copied());
        let behind = behind.filter(is_behind);
        let delayed = self.delayed.values().take(Self::LOOKED_AT).copied();
        let delayed =
            delayed.filter(|it| self.requests.get(*it).is_some_and(|it| it.service == id));
        let waiting = service.suspects.values().copied();
        let waiting = waiting.chain(service.queue.lanes().flatten()).chain(behind).chain(delayed);
        found.extend(waiting.take(max.saturating_sub(found.len())));
        found
    }

    fn held_by(&self, worker: WorkerId, max: usize, found: &mut Vec<RequestId>) {
        let mut next = self.workers.get(worker).and_then(|worker| worker.held.first());
        while let Some(id) = next.filter(|_| found.len() < max) {
            found.push(id);
            next = self.requests.get(id).and_then(|request| request.links.next());
        }
    }
}

fn state_of(request: &Request) -> &'static str {
    match request.place {
        _ if request.is_husk() => "ended",
        Place::Waiting => "waiting",
        Place::Suspect => "suspect",
        Place::Delayed(_) => "delayed",
        Place::Behind => "behind",
        Place::Pinned(_) => "pinned",
        Place::InFlight(_) => "running",
    }
}
