//! What the broker tells about itself, in pages from the tables.

use std::time::Duration;

use crate::id::{Identity, PeerId};
use crate::proto::clock::Time;
use crate::proto::depot::Depot;
use crate::proto::output::{Memory, Output};
use crate::proto::router::{ServiceView, Worker};
use crate::proto::stats::Outcome;
use crate::wire::mjp::{
    AGENT, BrokerReport, FlowsReport, FromBroker, HEADER_MAX, MemoryReport, Packed, ReadyHeader,
    Report, ServiceReport, StatusHeader, What, WorkerReport,
};

use super::Core;

/// Rows looked at for one page at most: others wait for the tables meanwhile.
pub(super) const LOOKED_AT: usize = 4096;
/// Octets of an entry without what is of no fixed length, at most.
const ENTRY: usize = 160;
/// Of what a worker says of itself more is not repeated: a page holds at least one entry.
const ABOUT: usize = HEADER_MAX / 2;

/// What of a page is full: entries, or octets.
pub(super) struct Room {
    entries: usize,
    octets: usize,
}

impl Room {
    pub(super) fn new(entries: usize) -> Self {
        Self { entries, octets: HEADER_MAX - ENTRY }
    }

    /// Takes the room of one more entry, if there is so much.
    pub(super) fn take(&mut self, octets: usize) -> bool {
        let octets = octets + ENTRY;
        let fits = self.entries > 0 && octets <= self.octets;
        if fits {
            self.entries -= 1;
            self.octets -= octets;
        }
        fits
    }

    /// What was taken last counts as no entry.
    pub(super) fn put_back_entry(&mut self) {
        self.entries += 1;
    }
}

impl Core {
    /// Answers STATUS.
    pub(super) fn report<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        query: u64,
        says: &StatusHeader<'_>,
        out: &mut O,
    ) {
        let report = match says.what {
            What::Broker => {
                Report { broker: Some(self.broker_report(now, out.memory())), ..Report::default() }
            }
            What::Services => self.services_page(now, says),
            What::Workers => self.workers_page(says),
        };
        let packed = Packed::new(&report);
        let header = packed.octets();
        self.say(id, header.len(), out, |encoder| {
            FromBroker::Status { id: query, header }.encode(encoder);
        });
    }

    fn broker_report(&self, now: Time, memory: Memory) -> BrokerReport<'static> {
        let Memory { limit, taken, tables, arriving } = memory;
        let dead = &self.router.dead;
        let remembered = self.router.keys.bytes() + self.router.jobs.ended_bytes() + dead.memory();
        BrokerReport {
            agent: AGENT,
            uptime: millis(now.since(Time::default())),
            draining: self.router.is_draining(),
            peers: count(self.peers.len() - self.household),
            services: count(self.router.services_len()),
            workers: count(self.router.workers_len().saturating_sub(self.house_workers)),
            open: count(self.router.open_requests()),
            subscriptions: count(self.topics.len()),
            keys: count(self.router.keys.len()),
            leases: count(self.router.leases.population().0),
            groups: count(self.groups.population()[0]),
            dead: Some(count(dead.len())).filter(|dead| *dead > 0),
            flows: Some(FlowsReport {
                open: count(self.flows.table.len() - self.flows.table.waiting()),
                waiting: count(self.flows.table.waiting()),
                handlers: count(self.flows.table.handlers()),
            }),
            insecure: self.settings.insecure,
            store: self.depot().map(Depot::report),
            memory: (limit > 0).then(|| MemoryReport {
                limit: count(limit),
                used: count(taken + arriving),
                requests: count(tables.saturating_sub(remembered)),
                remembered: count(remembered.min(tables)),
                connections: count((taken + arriving).saturating_sub(tables)),
            }),
        }
    }

    fn services_page(&self, now: Time, says: &StatusHeader<'_>) -> Report<'_> {
        if let Some(name) = says.service {
            let service = self.router.service_named(name);
            let services = service.iter().map(|view| service_report(now, view)).collect();
            return Report { services: Some(services), ..Report::default() };
        }
        let (mut room, mut services) = (Room::new(says.max()), Vec::new());
        let mut next = None;
        for (slot, _, view) in self.router.services_from(cursor(says)) {
            if !room.take(view.name.as_bytes().len()) {
                next = Some(u64::from(slot));
                break;
            }
            services.push(service_report(now, &view));
        }
        Report { services: Some(services), next, ..Report::default() }
    }

    fn workers_page(&self, says: &StatusHeader<'_>) -> Report<'_> {
        let (mut room, mut workers) = (Room::new(says.max()), Vec::new());
        let mut next = None;
        for (seen, (slot, worker)) in self.router.workers_at(cursor(says)).enumerate() {
            let Some(name) = self.router.name_of(worker.service()) else { continue };
            let asked = says.service.is_none_or(|asked| asked == name.as_bytes());
            let identity = self.peers.get(worker.peer()).and_then(|peer| peer.identity.as_ref());
            let named = identity.map_or(0, |identity| identity.as_bytes().len());
            let octets = name.as_bytes().len() + named + worker.about().len().min(ABOUT);
            if seen == LOOKED_AT || asked && !room.take(octets) {
                next = Some(u64::from(slot));
                break;
            }
            if asked {
                workers.push(worker_report(worker, name.as_bytes(), identity));
            }
        }
        Report { workers: Some(workers), next, ..Report::default() }
    }
}

fn service_report<'a>(now: Time, view: &ServiceView<'a>) -> ServiceReport<'a> {
    let ended: u64 = view.stats.ended.iter().sum();
    let replied = view.stats.ended_with(Outcome::Replied);
    ServiceReport {
        service: view.name.as_bytes(),
        workers: count(view.workers),
        waiting: count(view.waiting),
        in_flight: count(view.in_flight),
        oldest: view.oldest.map(|at| millis(now.since(at))),
        accepted: view.stats.accepted,
        replied,
        failed: ended.saturating_sub(replied),
        dead: Some(count(view.dead)).filter(|dead| *dead > 0),
        state: view.gate.label(),
    }
}

fn worker_report<'a>(
    worker: &'a Worker,
    service: &'a [u8],
    identity: Option<&'a Identity>,
) -> WorkerReport<'a> {
    let about = Some(worker.about()).filter(|about| (1..=ABOUT).contains(&about.len()));
    let about = about.and_then(|about| ReadyHeader::decode(about).ok()).unwrap_or_default();
    WorkerReport {
        service,
        identity: identity.map(Identity::as_bytes),
        dialect: worker.voice().name(),
        credit: count(worker.credit()),
        in_flight: count(worker.in_flight()),
        ready: worker.is_ready(),
        labels: about.labels,
        version: about.version,
        description: about.description,
    }
}

/// The slot to go on from. What is no slot is behind all of them.
fn cursor(says: &StatusHeader<'_>) -> u32 {
    u32::try_from(says.after.unwrap_or(0)).unwrap_or(u32::MAX)
}

pub(super) fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
