//! What a scrape sees of the core, and which services it names.
//!
//! The tables are walked in pages, the core's lock released between them for [`BETWEEN`], so that
//! nobody waits long for a scrape however many services, workers and peers there are: at most
//! [`SERVICES`] services with their clients, or [`HANDLES`] workers or peers, at a time. A survey
//! of a broker with few of them is three short looks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::sleep;

use crate::proto::clock::Time;
use crate::proto::core::Population;
use crate::proto::dead::{Cause, DeadStats};
use crate::proto::depot::DepotStats;
use crate::proto::flow::{FlowCounts, FlowTable};
use crate::proto::group::Counts as GroupCounts;
use crate::proto::jobs::Progress;
use crate::proto::keys::KeyStats;
use crate::proto::lease::Counts as LeaseCounts;
use crate::proto::rights::Verb;
use crate::proto::router::{ServiceId, ServiceView, TalkStats};
use crate::proto::stats::ServiceStats;
use crate::proto::titanic::TitanicStats;
use crate::proto::topics::Counts;

use super::shared::{Shared, now};

/// Services looked at under one lock.
const SERVICES: usize = 256;
/// Workers or peers looked at under one lock.
const HANDLES: usize = 4096;
/// From one page to the next. Whoever waits for the lock would not get it from somebody who takes
/// it again at once: it is not a fair one.
const BETWEEN: Duration = Duration::from_millis(1);

/// What the core looks like.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The services that have a name of their own.
    pub(super) services: Vec<Row>,
    /// All others together, and what became of those that have been forgotten.
    pub(super) other: Row,
    /// Services in the tables.
    pub(super) services_count: usize,
    pub(super) population: Population,
    pub(super) stalls: u64,
    pub(super) invalid: BTreeMap<&'static str, u64>,
    pub(super) dropped: u64,
    /// What was denied, by right.
    pub(super) denied: Vec<(Verb, u64)>,
    /// Workers by the name of their dialect.
    pub(super) dialects: BTreeMap<&'static str, u64>,
    pub(super) jobs: Jobs,
    /// Subscriptions, and what became of what was published.
    pub(super) subscriptions: usize,
    pub(super) topics: Counts,
    pub(super) talk: TalkStats,
    pub(super) keys: Keys,
    pub(super) dead: Dead,
    /// Leases held, candidates in line, observations, and what was counted.
    pub(super) leases: ((usize, usize, usize), LeaseCounts),
    /// Groups, members, leaders, open polls, and what was counted.
    pub(super) groups: ([usize; 5], GroupCounts),
    pub(super) flows: Flows,
    /// Requests that are kept on a disk, their octets, and what became of them.
    pub(super) titanic: Option<(usize, u64, TitanicStats)>,
    /// Requests of level disk.
    pub(super) depot: Option<DepotSurvey>,
}

/// Requests of level disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct DepotSurvey {
    /// Without an outcome, and their octets.
    pub(super) waiting: (usize, u64),
    pub(super) in_memory: usize,
    /// Outcomes that are kept, and their octets.
    pub(super) outcomes: (usize, u64),
    pub(super) stats: DepotStats,
}

/// Flows, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Flows {
    pub(super) waiting: usize,
    pub(super) open: usize,
    pub(super) counts: FlowCounts,
    /// By how they ended.
    pub(super) ended: BTreeMap<&'static str, u64>,
    /// By why not.
    pub(super) refused: BTreeMap<&'static str, u64>,
    /// By what was wrong.
    pub(super) dropped: BTreeMap<&'static str, u64>,
}

/// Idempotency keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) running: usize,
    pub(super) answered: usize,
    /// Memory of the answers, octets.
    pub(super) bytes: usize,
    pub(super) stats: KeyStats,
}

/// Dead letters, by cause, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Dead {
    pub(super) counts: [usize; Cause::ALL.len()],
    /// Memory of the letters, octets.
    pub(super) bytes: usize,
    pub(super) stats: DeadStats,
}

/// What became of the jobs of NFP clients.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    pub(super) open: usize,
    /// By how they ended.
    pub(super) ended: Vec<(Progress, u64)>,
    pub(super) refused: u64,
}

/// A service, or several together.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) label: String,
    pub(super) waiting: usize,
    pub(super) waiting_bytes: usize,
    pub(super) in_flight: usize,
    pub(super) oldest: Duration,
    /// Workers that may be given another request, and those that may not.
    pub(super) ready: usize,
    pub(super) busy: usize,
    pub(super) stats: ServiceStats,
}

impl Row {
    fn add(&mut self, view: &ServiceView<'_>, now: Time) {
        self.waiting += view.waiting;
        self.waiting_bytes += view.waiting_bytes;
        self.in_flight += view.in_flight;
        let age = view.oldest.map_or(Duration::ZERO, |at| now.since(at));
        self.oldest = self.oldest.max(age);
    }
}

/// What scrapes have shown so far: it keeps counters from falling and from counting twice.
///
/// A service keeps its label until it is forgotten. What it counted before it had one stays with
/// the others; what it counted under its label does not go there when it is forgotten.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    named: HashMap<ServiceId, Named>,
    /// Services that were counted among the others.
    others: HashSet<ServiceId>,
    /// What was shown under labels that are no more.
    retired: ServiceStats,
    /// What was shown for the others.
    other: ServiceStats,
}

#[derive(Debug)]
struct Named {
    label: String,
    /// What it had counted when it got its label.
    before: ServiceStats,
    /// What was last shown under its label.
    shown: ServiceStats,
    /// Where the walk under way has put it.
    row: Option<usize>,
}

impl Ledger {
    /// Services with a label of their own.
    pub(super) const NAMED_MAX: usize = 500;
    /// Of these, services that have no worker: names that clients make up leave room for others.
    const UNSERVED_MAX: usize = Self::NAMED_MAX / 2;

    /// Looks at the core; `None` if it is too busy.
    pub(super) async fn survey(&mut self, shared: &Shared) -> Option<Survey> {
        for named in self.named.values_mut() {
            named.row = None;
        }
        let (mut survey, mut total) = (Survey::default(), ServiceStats::default());
        let mut others = HashSet::new();
        let mut from = 0;
        loop {
            let look = |core: &mut crate::proto::core::Core| {
                let time = core.time(now());
                if from == 0 {
                    // Before the services: one that is forgotten meanwhile is not counted twice.
                    total = core.router().forgotten().clone();
                }
                let mut seen = 0;
                for (slot, id, view) in core.router().services_from(from).take(SERVICES) {
                    (seen, from) = (seen + 1, slot.saturating_add(1));
                    total.add(view.stats);
                    self.enter(id, &view, time, &mut survey, &mut others);
                }
                survey.services_count += seen;
                seen == SERVICES
            };
            if !shared.look(look).await? {
                break;
            }
            sleep(BETWEEN).await;
        }
        self.count_workers(shared, &mut survey).await?;
        count_peers(shared, &mut survey).await?;
        self.settle(total, &mut survey);
        self.others = others;
        Some(survey)
    }

    /// Enters a service, under its own label if it has one or there is room for one more.
    fn enter(
        &mut self,
        id: ServiceId,
        view: &ServiceView<'_>,
        now: Time,
        survey: &mut Survey,
        others: &mut HashSet<ServiceId>,
    ) {
        let places = if view.workers > 0 { Self::NAMED_MAX } else { Self::UNSERVED_MAX };
        if !self.named.contains_key(&id) && self.named.len() < places {
            let known = self.others.contains(&id);
            let before = if known { view.stats.clone() } else { ServiceStats::default() };
            let label = label_of(view.name.as_bytes());
            let shown = ServiceStats::default();
            self.named.insert(id, Named { label, before, shown, row: None });
        }
        let Some(named) = self.named.get_mut(&id) else {
            others.insert(id);
            return survey.other.add(view, now);
        };
        named.shown = view.stats.clone();
        named.shown.sub(&named.before);
        named.row = Some(survey.services.len());
        let (label, stats) = (named.label.clone(), named.shown.clone());
        let mut row = Row { label, stats, ..Row::default() };
        row.add(view, now);
        survey.services.push(row);
    }

    async fn count_workers(&self, shared: &Shared, survey: &mut Survey) -> Option<()> {
        let mut from = 0;
        loop {
            let look = |core: &mut crate::proto::core::Core| {
                let mut seen = 0;
                for (slot, worker) in core.router().workers_at(from).take(HANDLES) {
                    (seen, from) = (seen + 1, slot.saturating_add(1));
                    let (service, free) = (worker.service(), worker.is_ready());
                    *survey.dialects.entry(worker.voice().name()).or_default() += 1;
                    let row = self.named.get(&service).and_then(|named| named.row);
                    let row = row.and_then(|row| survey.services.get_mut(row));
                    let row = row.unwrap_or(&mut survey.other);
                    *if free { &mut row.ready } else { &mut row.busy } += 1;
                }
                seen == HANDLES
            };
            if !shared.look(look).await? {
                return Some(());
            }
            sleep(BETWEEN).await;
        }
    }

    /// What the named ones did not count, now or when they still had their labels, the others did.
    fn settle(&mut self, mut total: ServiceStats, survey: &mut Survey) {
        let retired = &mut self.retired;
        self.named.retain(|_, named| {
            if named.row.is_none() {
                retired.add(&named.shown);
            }
            named.row.is_some()
        });
        total.sub(&self.retired);
        for named in self.named.values() {
            total.sub(&named.shown);
        }
        // A service forgotten in the middle of the walk may have been missed, until the next one.
        self.other.raise(&total);
        survey.other.label = "_other".into();
        survey.other.stats = self.other.clone();
    }
}

async fn count_peers(shared: &Shared, survey: &mut Survey) -> Option<()> {
    let mut next = Some(0);
    while let Some(from) = next {
        next = shared
            .look(|core| {
                (survey.stalls, survey.dropped) = (core.stalls(), core.dropped());
                survey.invalid.clone_from(core.invalid());
                survey.denied = core.denied().collect();
                survey.subscriptions = core.topics().len();
                survey.topics = core.topics().counts();
                survey.leases = (core.leases().population(), *core.leases().counts());
                let [groups, members, leaders, polls] = core.groups().population();
                let observing = core.groups().observing();
                survey.groups =
                    ([groups, members, leaders, polls, observing], *core.groups().counts());
                let jobs = &core.router().jobs;
                let (open, ended) = (jobs.open(), jobs.ended().collect());
                survey.talk = *core.router().talk();
                survey.jobs = Jobs { open, ended, refused: core.refused_jobs() };
                let keys = core.router().keys();
                survey.keys = Keys {
                    running: keys.len() - keys.done(),
                    answered: keys.done(),
                    bytes: keys.bytes(),
                    stats: keys.stats(),
                };
                let dead = core.router().dead();
                survey.dead =
                    Dead { counts: dead.counts(), bytes: dead.memory(), stats: dead.stats() };
                survey.flows = flows_of(core.flows());
                survey.titanic = core.titanic().map(|table| {
                    let (requests, bytes) = table.size();
                    (requests, bytes, *table.stats())
                });
                survey.depot = core.depot().map(|depot| DepotSurvey {
                    waiting: depot.size(),
                    in_memory: depot.in_memory(),
                    outcomes: depot.kept(),
                    stats: *depot.stats(),
                });
                core.populate(from, HANDLES, &mut survey.population)
            })
            .await?;
        if next.is_some() {
            sleep(BETWEEN).await;
        }
    }
    Some(())
}

fn flows_of(table: &FlowTable) -> Flows {
    Flows {
        waiting: table.waiting(),
        open: table.len().saturating_sub(table.waiting()),
        counts: table.counts(),
        ended: table.outcomes().clone(),
        refused: table.refused().clone(),
        dropped: table.dropped().clone(),
    }
}

/// A name as text, no two alike and none like `_other`: printable ASCII as it is, the rest escaped.
fn label_of(name: &[u8]) -> String {
    match name {
        [b'_', rest @ ..] => format!("\\x5f{}", rest.escape_ascii()),
        _ => name.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_text_and_never_that_of_the_others() {
        assert_eq!(label_of(b"billing.v1"), "billing.v1");
        assert_eq!(label_of(b"a\xff\n\"\\"), r#"a\xff\n\"\\"#);
        assert_eq!(label_of(b"_other"), r"\x5fother");
        assert_eq!(label_of(br"\x5fother"), r"\\x5fother");
    }
}
