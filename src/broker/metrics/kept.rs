//! What is kept: keys, dead letters, and what is on the disk.

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::registry::Unit;

use crate::http::{NO_LABEL, Page};
use crate::proto::dead::Cause;

use super::super::survey::DepotSurvey;
use super::Scrape;

impl Scrape {
    pub(super) fn write_keys(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let keys = &self.survey.keys;
        let states = [("running", keys.running), ("answered", keys.answered)];
        let states = states.map(|(state, count)| ([("state", state)], count as f64));
        page.gauge("keys", None, "Idempotency keys known.", states)?;
        let octets = [(NO_LABEL, keys.bytes as f64)];
        let help = "Memory of the answers that are kept for repeats.";
        page.gauge("keys_answers", Some(Unit::Bytes), help, octets)?;
        let repeats = [
            ("attached", keys.stats.attached),
            ("replayed", keys.stats.replayed),
            ("conflict", keys.stats.conflicts),
        ];
        let repeats = repeats.map(|(outcome, count)| ([("outcome", outcome)], count));
        let help = "Requests whose key was known: they waited for the answer, got the one that was \
                    kept, or were another request.";
        page.counter("keys_repeats", help, repeats)?;
        let help = "Answers forgotten before their time, to make room.";
        page.counter("keys_evicted", help, [(NO_LABEL, keys.stats.evicted)])
    }

    pub(super) fn write_dead(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let dead = &self.survey.dead;
        let causes = Cause::ALL.map(Cause::as_str);
        let letters = causes.into_iter().zip(dead.counts);
        let letters = letters.map(|(cause, count)| ([("cause", cause)], count as f64));
        page.gauge("dead_letters", None, "Requests kept that ended without an answer.", letters)?;
        let octets = [(NO_LABEL, dead.bytes as f64)];
        page.gauge("dead_letters", Some(Unit::Bytes), "Memory of dead letters.", octets)?;
        let made = causes.into_iter().zip(dead.stats.made);
        let made = made.map(|(cause, count)| ([("cause", cause)], count));
        page.counter("dead_lettered", "Requests that became dead letters.", made)?;
        let stats = &dead.stats;
        let gone = [
            ("requeued", stats.requeued),
            ("dropped", stats.dropped),
            ("evicted", stats.evicted),
            ("expired", stats.expired),
        ];
        let help = "Dead letters that were put back, dropped by an operator, forgotten to make \
                    room, or forgotten as their time was over.";
        page.reasons("dead_letters_gone", help, gone)
    }

    /// What survives the broker. Nothing, if there is no store.
    pub(super) fn write_store(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let Some(store) = self.shared.store.get() else { return Ok(()) };
        let figures = store.figures();
        let get = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let time = figures.commit_time.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let help = "Time of one commit, its synchronisation with it.";
        page.histogram("store_commit", help, [(NO_LABEL, &time)])?;
        let records = [(NO_LABEL, get(&figures.records))];
        page.counter("store_records", "Records committed.", records)?;
        let errors = [(NO_LABEL, get(&figures.errors))];
        page.counter("store_errors", "Commits and reads that failed.", errors)?;
        let octets = [(NO_LABEL, get(&figures.bytes) as f64)];
        page.gauge("store", Some(Unit::Bytes), "Octets of the file.", octets)?;
        let free = [(NO_LABEL, get(&figures.free) as f64)];
        let help = "Free octets of the file system of the store.";
        page.gauge("store_free", Some(Unit::Bytes), help, free)?;
        let full = [(NO_LABEL, get(&figures.full) as f64)];
        page.gauge("store_full", None, "1 while nothing new is taken.", full)?;
        self.write_depot(page)?;
        let Some((requests, bytes, stats)) = self.survey.titanic else { return Ok(()) };
        let kept = [(NO_LABEL, requests as f64)];
        page.gauge("titanic_kept", None, "Requests of Titanic that are kept.", kept)?;
        let help = "Octets of their bodies and answers.";
        page.gauge("titanic", Some(Unit::Bytes), help, [(NO_LABEL, bytes as f64)])?;
        let outcomes = [
            ("accepted", stats.accepted),
            ("refused", stats.refused),
            ("answered", stats.answered),
            ("failed", stats.failed),
            ("closed", stats.closed),
            ("forgotten", stats.forgotten),
        ];
        let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count));
        page.counter("titanic_requests", "What became of requests of Titanic.", outcomes)
    }

    /// Requests of level disk.
    pub(super) fn write_depot(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let Some(DepotSurvey { waiting, in_memory, outcomes, stats }) = self.survey.depot else {
            return Ok(());
        };
        let what = |what| [("what", what)];
        let kept = [
            (what("requests"), waiting.0 as f64),
            (what("in_memory"), in_memory as f64),
            (what("outcomes"), outcomes.0 as f64),
        ];
        let help = "Requests of level disk without an outcome, those of them in memory, and \
                    outcomes that are kept.";
        page.gauge("store_kept", None, help, kept)?;
        let octets = [(what("requests"), waiting.1 as f64), (what("outcomes"), outcomes.1 as f64)];
        page.gauge("store_kept", Some(Unit::Bytes), "Octets of them on the disk.", octets)?;
        let outcomes = [
            ("accepted", stats.accepted),
            ("refused", stats.refused),
            ("ended", stats.ended),
            ("replayed", stats.replayed),
            ("evicted", stats.evicted),
            ("missing", stats.missing),
            ("unburied", stats.unburied),
        ];
        let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count));
        page.counter("store_requests", "What became of requests of level disk.", outcomes)
    }
}
