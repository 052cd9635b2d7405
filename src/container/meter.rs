//! The numbers of an instance, and their text for Prometheus (SPEC 17.7).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;
use tokio::sync::watch;
use tokio::time::Instant;

use super::counts::{Connections, Counters, Counts, Fates, Kind};
use crate::http::{Label, Page};
use crate::proto::container::{Figures, Link, State, Status};

/// How often the loop of an instance says that it runs.
pub(super) const BEAT: Duration = Duration::from_millis(500);
/// A loop that has not said so for longer is stuck.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// When the loop ran last.
#[derive(Debug)]
pub(super) struct Pulse {
    since: Instant,
    ms: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), ms: AtomicU64::new(0) }
    }

    pub(super) fn beat(&self) {
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ms.store(ms, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.ms.load(Ordering::Relaxed)))
    }
}

/// How an instance stands, in numbers; from [`ServiceContainer::meter`](super::ServiceContainer),
/// and good for as long as one likes.
#[derive(Debug, Clone)]
pub struct Meter {
    pub(super) service: Arc<str>,
    pub(super) instance: Arc<str>,
    pub(super) started_at: SystemTime,
    pub(super) counters: Arc<Counters>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) figures: watch::Receiver<Option<Figures>>,
    pub(super) pulse: Arc<Pulse>,
}

impl Meter {
    /// All that the instance has counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// The same and how it stands, as OpenMetrics text, which Prometheus reads. SPEC 17.7 lists the
    /// metrics.
    ///
    /// # Errors
    /// The text cannot be written.
    pub fn text(&self) -> Result<String, fmt::Error> {
        crate::http::write(self.clone())
    }

    /// Whether its loop runs.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn live(&self) -> Result<(), String> {
        if self.status.has_changed().is_err() {
            return Err("the container has ended".into());
        }
        match self.pulse.silence() {
            silence if silence > SILENCE_MAX => {
                Err(format!("the loop has not run for {silence:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether it serves: it has begun to, has not been told to stop, and has a line to the queue
    /// server. Whoever is paused is ready, too.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn ready(&self) -> Result<(), String> {
        self.live()?;
        let status = self.status.borrow();
        match &status.queues {
            _ if !status.state.is_running() => Err(format!("it is {}", status.state.as_str())),
            Link::Up => Ok(()),
            Link::Down(why) => Err(format!("the queue server is away: {why}")),
            Link::Unused | Link::Connecting => Err("the queue server is not yet reached".into()),
        }
    }
}

impl Collector for Meter {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (status, figures) = (self.status.borrow().clone(), self.figures.borrow().clone());
        let service = ("service", &*self.service);
        let mut sheet = Sheet { page: Page::new(encoder), service };
        sheet.page.begin(self.started_at, "When the instance began, since the epoch.")?;
        let name = [service, ("name", &*self.instance)];
        sheet.page.info("container", "The instance.", &name)?;
        sheet.status(&status)?;
        sheet.messages(&self.counts())?;
        sheet.times(self)?;
        sheet.servers(&status, &self.counts())?;
        match figures {
            Some(figures) => sheet.figures(&figures),
            None => Ok(()),
        }
    }
}

/// What is written for one service.
struct Sheet<'e, 's> {
    page: Page<'e>,
    service: Label<'s>,
}

impl Sheet<'_, '_> {
    fn gauge(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        value: f64,
    ) -> Result<(), fmt::Error> {
        self.page.gauge(name, unit, help, [([self.service], value)])
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) -> Result<(), fmt::Error> {
        self.page.counter(name, help, [([self.service], count)])
    }

    fn status(&mut self, status: &Status) -> Result<(), fmt::Error> {
        let service = self.service;
        let states = State::ALL.map(|state| {
            ([service, ("state", state.as_str())], f64::from(u8::from(state == status.state)))
        });
        self.page.gauge("container_state", None, "1 for the state that it is in.", states)?;
        let leads = f64::from(u8::from(status.leading));
        self.gauge("container_leader", None, "Whether it leads.", leads)?;
        if let Some(epoch) = status.epoch {
            let help = "The epoch of whoever leads, as far as it knows.";
            self.gauge("container_epoch", None, help, epoch as f64)?;
        }
        let prefetch = status.prefetch.unwrap_or_default().into();
        let help = "Messages that it takes at a time; none while the service is paused.";
        self.gauge("container_prefetch", None, help, prefetch)
    }

    fn messages(&mut self, counts: &Counts) -> Result<(), fmt::Error> {
        let service = self.service;
        let Counts { requests, commands, events, unreadable, .. } = counts;
        let kinds = Kind::ALL.into_iter().zip([requests, commands, events, unreadable]);
        let messages = kinds.flat_map(|(kind, fates)| {
            let Fates { done, rejected, again, unsettled } = *fates;
            let fates = [
                ("done", done),
                ("rejected", rejected),
                ("again", again),
                ("unsettled", unsettled),
            ];
            fates.map(|(outcome, count)| {
                ([service, ("kind", kind.label()), ("outcome", outcome)], count)
            })
        });
        let help = "Messages that it is done with, by what has become of them: again, they were \
                    given back; unsettled, their connection broke before, or their caller has gone.";
        self.page.counter("container_messages", help, messages)?;
        let help = "Messages in work.";
        self.gauge("container_messages_in_flight", None, help, counts.in_work as f64)?;
        let help = "Further tries of messages that were not given back for them.";
        self.counter("container_retries", help, counts.retries)?;
        let help = "Answers that nobody was there for.";
        self.counter("container_answers_lost", help, counts.answers_lost)
    }

    fn times(&mut self, meter: &Meter) -> Result<(), fmt::Error> {
        let times = Kind::ALL.map(|kind| (kind.label(), meter.counters.times(kind)));
        let times = times.iter().map(|(kind, times)| ([self.service, ("kind", *kind)], times));
        let help = "Time from taking a message to being done with it.";
        self.page.histogram("container_service_time", help, times)
    }

    fn servers(&mut self, status: &Status, counts: &Counts) -> Result<(), fmt::Error> {
        let service = self.service;
        let servers = [
            ("queues", &status.queues, counts.queues),
            ("leases", &status.coordination, counts.coordination),
        ];
        let servers = servers.into_iter().filter(|(_, link, _)| **link != Link::Unused);
        let label = move |server| [service, ("server", server)];
        let up = servers
            .clone()
            .map(|(server, link, _)| (label(server), f64::from(u8::from(*link == Link::Up))));
        let help = "Whether the server answers that it has its messages or its leader from.";
        self.page.gauge("container_connected", None, help, up)?;
        let of = |count: fn(&Connections) -> u64| {
            servers.clone().map(move |(server, _, counts)| (label(server), count(&counts)))
        };
        let help = "How often it has reached the server: one more than it had to again.";
        self.page.counter("container_connections", help, of(|counts| counts.made))?;
        let help = "Tries to reach it that have failed.";
        self.page.counter("container_connections_failed", help, of(|counts| counts.failed))?;
        let help = "How often it did not answer any more.";
        self.page.counter("container_connections_lost", help, of(|counts| counts.lost))?;
        self.counter("container_terms", "How often it has begun to lead.", counts.terms)?;
        let signals = counts.signals;
        let signals = [
            ("scale_up", signals.scale_up),
            ("scale_down", signals.scale_down),
            ("dead_letters", signals.dead_letters),
            ("end_caller", signals.end_caller),
        ];
        let signals = signals.map(|(signal, count)| ([service, ("signal", signal)], count));
        self.page.counter("container_signals", "Signals that it has given as the leader.", signals)
    }

    /// What only the leader knows; what nobody knows is left out.
    fn figures(&mut self, figures: &Figures) -> Result<(), fmt::Error> {
        const MS_PER_SECOND: f64 = 1e3;
        let Figures { waiting, in_work, instances, wanted, oldest_ms, rate, dead, alarm } = figures;
        let number = |number: &u64| *number as f64;
        let age = oldest_ms.map(|ms| ms as f64 / MS_PER_SECOND);
        let seconds = Some(Unit::Seconds);
        for (name, unit, help, value) in [
            ("queue_messages", None, "Messages that wait.", Some(number(waiting))),
            ("queue_oldest_age", seconds, "How long the oldest waits.", age),
            ("queue_drain_rate", None, "Messages that leave in a second.", *rate),
            (
                "queue_in_flight",
                None,
                "Messages that instances have.",
                in_work.as_ref().map(number),
            ),
            ("instances", None, "Instances that take messages.", Some(number(instances))),
            ("instances_wanted", None, "Instances wanted.", wanted.as_ref().map(number)),
            ("dead_letters", None, "Dead letters.", dead.as_ref().map(number)),
            (
                "dead_letters_alarm",
                None,
                "Whether dead letters pile up.",
                Some(f64::from(u8::from(*alarm))),
            ),
        ] {
            if let Some(value) = value {
                self.gauge(&format!("container_{name}"), unit, help, value)?;
            }
        }
        Ok(())
    }
}
