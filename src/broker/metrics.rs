//! `/metrics`: what the broker has counted, as OpenMetrics text.
//!
//! The counters are plain numbers of our own, read when somebody asks: no metric costs anything
//! while messages pass. Of a service, outcomes and reasons that never came up and histograms
//! without an observation are left out.

mod kept;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use crate::http::{Label, NO_LABEL, Page};
use crate::proto::group::{Exit, Left, Status};
use crate::proto::lease::Freed;
use crate::proto::stats::{Loss, Outcome, ServiceStats};
use crate::wire::greeting::Mechanism;

use super::shared::Shared;
use super::survey::{Row, Survey};

/// The text of a scrape.
pub(super) fn write(shared: Arc<Shared>, survey: Survey) -> Result<String, fmt::Error> {
    crate::http::write(Scrape { shared, survey })
}

#[derive(Debug)]
struct Scrape {
    shared: Arc<Shared>,
    survey: Survey,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut page = Page::new(encoder);
        self.write_process(&mut page)?;
        self.write_connections(&mut page)?;
        self.write_requests(&mut page)?;
        self.write_queues(&mut page)?;
        self.write_workers(&mut page)?;
        self.write_jobs(&mut page)?;
        self.write_topics(&mut page)?;
        self.write_leases(&mut page)?;
        self.write_groups(&mut page)?;
        self.write_keys(&mut page)?;
        self.write_dead(&mut page)?;
        self.write_flows(&mut page)?;
        self.write_rights(&mut page)?;
        self.write_store(&mut page)
    }
}

impl Scrape {
    fn write_process(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        page.begin(self.shared.started_at, "When the broker began, since the epoch.")?;
        let account = &self.shared.account;
        let (limit, taken) = (account.limit(), account.taken());
        let help = "Memory that peers may make the broker hold.";
        page.gauge("memory_limit", Some(Unit::Bytes), help, [(NO_LABEL, limit as f64)])?;
        let help =
            "Memory that is accepted, waits to be written, arrives, or waits to be used again.";
        let tables = account.tables().min(taken);
        let parts = [
            ("tables", tables),
            ("leaving", taken - tables),
            ("arriving", account.arriving()),
            ("spare", account.spare()),
        ];
        let parts = parts.map(|(part, octets)| ([("part", part)], octets as f64));
        page.gauge("memory_accounted", Some(Unit::Bytes), help, parts)?;
        let help = "Pauses of a second or more in which the broker itself did not run.";
        page.counter("loop_stalls", help, [(NO_LABEL, self.survey.stalls)])
    }

    fn write_connections(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let counters = &self.shared.counters;
        let mechanism = ("mechanism", Mechanism::Null.name());
        let population = self.survey.population;
        let roles = [
            ("unknown", population.unknown),
            ("client", population.clients),
            ("worker", population.workers),
            ("dismissed", population.dismissed),
            ("flow", population.ends),
        ];
        let roles = roles.map(|(role, count)| ([("role", role), mechanism], count as f64));
        page.gauge("connections", None, "Peers connected, by what they are.", roles)?;
        let accepted = [(NO_LABEL, counters.accepted.get())];
        page.counter("connections_accepted", "Connections accepted.", accepted)?;
        let rejected = [
            ("address_limit", counters.rejected_address.get()),
            ("network", counters.rejected_network.get()),
            ("key_limit", counters.rejected_key.get()),
            ("identity_in_use", counters.identity_in_use.get()),
            ("flow_ends", counters.too_many_ends.get()),
        ];
        page.reasons("connections_rejected", "Newcomers turned away.", rejected)?;
        let closed = [
            ("slow_reader", counters.slow_readers.get()),
            ("halted", counters.halted.get()),
            ("silent", counters.silent.get()),
            ("ping_expired", counters.ping_expired.get()),
            ("replaced", counters.replaced.get()),
            ("disconnected", counters.disconnected.get()),
            ("revoked", counters.revoked.get()),
            ("peer_error", counters.peers_gave_up.get()),
        ];
        page.reasons("connections_closed", "Peers closed for something they did.", closed)?;
        let errors = [(NO_LABEL, counters.accept_errors.get())];
        page.counter("accept_errors", "Failures to accept a connection.", errors)?;
        let outcomes = [Mechanism::Null, Mechanism::Plain, Mechanism::Curve].into_iter();
        let outcomes = outcomes.flat_map(|mechanism| {
            let label = ("mechanism", mechanism.name());
            let outcomes = counters.handshakes(mechanism).outcomes().into_iter();
            outcomes.map(move |(outcome, count)| ([label, ("outcome", outcome)], count))
        });
        page.counter("handshakes", "Handshakes ended.", outcomes)?;
        let old = [(NO_LABEL, counters.by_old_key.get())];
        page.counter("handshakes_by_old_key", "Done with the key before the present one.", old)?;
        let received = [(NO_LABEL, counters.messages_received.get())];
        page.counter("messages_received", "Messages read, of every dialect.", received)?;
        let sent = [(NO_LABEL, counters.messages_sent.get())];
        page.counter("messages_sent", "Messages said, of every dialect.", sent)?;
        let received = [(NO_LABEL, counters.bytes_received.get())];
        page.counter("bytes_received", "Octets read after handshakes.", received)?;
        let sent = [(NO_LABEL, counters.bytes_sent.get())];
        page.counter("bytes_sent", "Octets written after handshakes.", sent)?;
        let invalid = counters.frames_invalid.get();
        let help = "Connections closed because of octets that are no valid frame or command.";
        page.reasons("frames_invalid", help, invalid)
    }

    fn write_requests(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let invalid = self.survey.invalid.iter();
        let invalid = invalid.map(|(reason, count)| (*reason, *count));
        page.reasons(
            "messages_invalid",
            "Messages that were of no dialect, or malformed.",
            invalid,
        )?;
        let help = "Valid messages dropped because the peer might not say them.";
        page.counter("messages_dropped", help, [(NO_LABEL, self.survey.dropped)])?;
        let talk = &self.survey.talk;
        let events = [
            ([("outcome", "told")], talk.events),
            ([("outcome", "unwanted")], talk.events_unwanted),
            ([("outcome", "missed")], talk.events_missed),
        ];
        let help = "Events of workers in the middle of requests; missed: their caller had no room.";
        page.counter("events", help, events)?;
        let asks =
            [([("outcome", "asked")], talk.asks), ([("outcome", "refused")], talk.asks_refused)];
        page.counter("questions", "Questions of workers to callers of their requests.", asks)?;
        let help = "Answers to questions that were passed on to their workers.";
        page.counter("question_answers", help, [(NO_LABEL, talk.tells)])?;
        let services = [(NO_LABEL, self.survey.services_count as f64)];
        page.gauge("services", None, "Services offered or asked for.", services)?;
        let count = |count: fn(&ServiceStats) -> u64| {
            self.rows().map(move |row| ([service(row)], count(&row.stats)))
        };
        page.counter("requests_accepted", "Requests accepted.", count(|stats| stats.accepted))?;
        let ended = self.rows().flat_map(|row| {
            let came_up =
                |outcome| row.stats.ended_with(outcome) > 0 || outcome == Outcome::Replied;
            Outcome::ALL.into_iter().filter(move |outcome| came_up(*outcome)).map(move |outcome| {
                ([service(row), ("outcome", outcome.label())], row.stats.ended_with(outcome))
            })
        });
        page.counter("requests", "Accepted requests ended, each once.", ended)?;
        let given_back = self.rows().flat_map(|row| {
            let counts = Loss::ALL.into_iter().zip(row.stats.redelivered);
            counts
                .filter(|(_, count)| *count > 0)
                .map(move |(loss, count)| ([service(row), ("reason", loss.label())], count))
        });
        let help = "Requests given back by lost workers, to be delivered again.";
        page.counter("redeliveries", help, given_back)?;
        let help = "Answers dropped because the request had ended or another worker had it.";
        page.counter("late_answers", help, count(|stats| stats.late_answers))?;
        let help = "Requests that a worker failed for now, to be delivered again.";
        page.counter("requests_retried", help, count(|stats| stats.retried))
    }

    fn write_queues(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let measure =
            |measure: fn(&Row) -> f64| self.rows().map(move |row| ([service(row)], measure(row)));
        let in_flight = measure(|row| row.in_flight as f64);
        page.gauge("requests_in_flight", None, "Requests at workers.", in_flight)?;
        let waiting = measure(|row| row.waiting as f64);
        page.gauge("queue_messages", None, "Requests waiting.", waiting)?;
        let octets = measure(|row| row.waiting_bytes as f64);
        page.gauge("queue", Some(Unit::Bytes), "Memory of requests waiting.", octets)?;
        let age = measure(|row| row.oldest.as_secs_f64());
        let help = "Time since the oldest waiting request was accepted.";
        page.gauge("queue_oldest_age", Some(Unit::Seconds), help, age)?;
        let help = "Time from acceptance to each delivery.";
        let waits = self.rows().map(|row| ([service(row)], &row.stats.queue_wait));
        page.histogram("queue_wait", help, waits)?;
        let help = "Time from the last delivery to the final reply.";
        let times = self.rows().map(|row| ([service(row)], &row.stats.service_time));
        page.histogram("service_time", help, times)
    }

    fn write_workers(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let states = self.rows().flat_map(|row| {
            let states = [("ready", row.ready), ("busy", row.busy)];
            states.map(|(state, count)| ([service(row), ("state", state)], count as f64))
        });
        let help = "Workers registered; ready: another request may be given to them.";
        page.gauge("workers", None, help, states)?;
        let expired = self.rows().map(|row| {
            let expired = row.stats.workers_lost.get(Loss::Expired as usize);
            ([service(row)], expired.copied().unwrap_or_default())
        });
        page.counter("worker_expired", "Workers lost because they fell silent.", expired)?;
        let dialects = self.survey.dialects.iter();
        let dialects = dialects.map(|(dialect, count)| ([("dialect", *dialect)], *count as f64));
        page.gauge("dialect_workers", None, "Workers registered, by their dialect.", dialects)
    }

    fn write_jobs(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let jobs = &self.survey.jobs;
        let open = [(NO_LABEL, jobs.open as f64)];
        page.gauge("jobs_open", None, "Jobs of NFP clients that have not ended.", open)?;
        let ended = jobs.ended.iter();
        let ended = ended.map(|(end, count)| ([("outcome", end.label())], *count));
        page.counter("jobs", "Jobs of NFP clients ended, each once, by their worst end.", ended)?;
        let refused = [(NO_LABEL, jobs.refused)];
        page.counter("jobs_refused", "Commands of NFP clients that went to nobody.", refused)
    }

    fn write_topics(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let subscriptions = [(NO_LABEL, self.survey.subscriptions as f64)];
        page.gauge("subscriptions", None, "Subscriptions of all peers.", subscriptions)?;
        let topics = &self.survey.topics;
        let outcomes = [("published", topics.published), ("refused", topics.refused)];
        let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count));
        page.counter("publications", "Publications that came.", outcomes)?;
        let outcomes = [("delivered", topics.delivered), ("dropped", topics.dropped)];
        let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count));
        let help = "Publications by subscription; dropped: there was no room at the subscriber.";
        page.counter("publication_messages", help, outcomes)
    }

    fn write_leases(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let ((held, waiting, observing), counts) = &self.survey.leases;
        let one = |count: &usize| [(NO_LABEL, *count as f64)];
        page.gauge("leases_held", None, "Leases that somebody holds.", one(held))?;
        page.gauge("lease_waiters", None, "Candidates in line for leases.", one(waiting))?;
        page.gauge("lease_observers", None, "Observations of leases.", one(observing))?;
        let granted = [(NO_LABEL, counts.granted)];
        page.counter("leases_granted", "Holders that leases have had.", granted)?;
        let freed = Freed::ALL.into_iter().zip(counts.freed);
        let freed = freed.map(|(why, count)| (why.as_str(), count));
        page.reasons("leases_freed", "How the time of holders ended.", freed)?;
        let refused = [("stale_epoch", counts.stale), ("fence_required", counts.unfenced)];
        let help = "What was refused for its epoch, or because it had none.";
        page.reasons("lease_refused", help, refused)
    }

    fn write_groups(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let ([groups, members, leaders, polls, observing], counts) = &self.survey.groups;
        let one = |count: &usize| [(NO_LABEL, *count as f64)];
        page.gauge("groups", None, "Groups that have members, or results of polls.", one(groups))?;
        page.gauge("group_members", None, "Members of groups.", one(members))?;
        page.gauge("group_leaders", None, "Groups that have a leader.", one(leaders))?;
        page.gauge("group_polls_open", None, "Polls that are open.", one(polls))?;
        page.gauge("group_observers", None, "Observations of groups.", one(observing))?;
        let joined = [(NO_LABEL, counts.joined)];
        page.counter("group_members_joined", "Members that groups have had.", joined)?;
        let left = Left::ALL.into_iter().zip(counts.left);
        let left = left.map(|(why, count)| (why.as_str(), count));
        page.reasons("group_members_left", "How their time ended.", left)?;
        let suspected = [(NO_LABEL, counts.suspected)];
        page.counter("group_members_suspected", "Members that were silent.", suspected)?;
        let elected = [(NO_LABEL, counts.elected)];
        page.counter("group_leaders_elected", "Leaders that groups have had.", elected)?;
        let exited = Exit::ALL.into_iter().zip(counts.exited);
        let exited = exited.map(|(why, count)| (why.as_str(), count));
        page.reasons("group_leaders_exited", "How the time of leaders ended.", exited)?;
        let polls = Status::ALL.into_iter().zip(counts.polls);
        let polls = polls.map(|(status, count)| ([("status", status.as_str())], count));
        page.counter("group_polls", "Polls that have ended, by their results.", polls)?;
        let outcomes = [
            ("taken", counts.messages),
            ("delivered", counts.delivered),
            ("dropped", counts.dropped),
            ("stale_epoch", counts.stale),
        ];
        let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count));
        let help = "Messages in groups, taken and for each receiver, and what was refused for its \
                    epoch.";
        page.counter("group_messages", help, outcomes)
    }

    fn write_flows(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let flows = &self.survey.flows;
        let states = [("waiting", flows.waiting), ("open", flows.open)];
        let states = states.map(|(state, count)| ([("state", state)], count as f64));
        page.gauge("flows", None, "Flows, by whether a handler has come.", states)?;
        let ended = flows.ended.iter().map(|(outcome, count)| ([("outcome", *outcome)], *count));
        page.counter("flows_ended", "Flows ended, each once.", ended)?;
        let refused = flows.refused.iter().map(|(reason, count)| (*reason, *count));
        page.reasons("flows_refused", "BOTs answered by EOT.", refused)?;
        let messages = [(NO_LABEL, flows.counts.dats)];
        page.counter("flow_messages", "DATs forwarded.", messages)?;
        let octets = [(NO_LABEL, flows.counts.bytes)];
        page.counter("flow_bytes_forwarded", "Octets of DATs forwarded.", octets)?;
        let dropped = flows.dropped.iter().map(|(reason, count)| (*reason, *count));
        page.reasons("flow_messages_dropped", "Messages of ends of flows dropped.", dropped)?;
        let up = self.shared.factory_up.load(Ordering::Relaxed);
        let up = [(NO_LABEL, if up { 1.0 } else { 0.0 })];
        let help = "Whether there is a line to the external flow factory.";
        page.gauge("flow_factory_connected", None, help, up)
    }

    fn write_rights(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let denied = self.survey.denied.iter().map(|(right, count)| (right.as_str(), *count));
        page.reasons("auth_denied", "What peers had no right to do, by the right.", denied)
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.survey.services.iter().chain([&self.survey.other])
    }
}

fn service(row: &Row) -> Label<'_> {
    ("service", &row.label)
}
