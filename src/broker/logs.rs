//! The last log records of the process, kept for whoever asks the broker for them.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::id::beginning;

/// How much is kept. What is over it goes, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Records. `log.ring` of the configuration.
    pub records_max: usize,
    /// Memory of all of them, octets. `log.ring_bytes` of the configuration.
    pub bytes_max: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { records_max: 10_000, bytes_max: 8 << 20 }
    }
}

/// The last log records of this process: a layer for `tracing_subscriber`, and what
/// [`Broker::bind_around`](super::Broker::bind_around) answers `get_logs` from. Clones share what they
/// keep.
///
/// ```
/// use majordomo::broker::{LogLimits, LogRing};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let ring = LogRing::new(LogLimits::default());
/// let subscriber = tracing_subscriber::registry().with(ring.clone());
/// tracing::subscriber::with_default(subscriber, || tracing::info!("kept"));
/// assert_eq!(ring.len(), 1);
/// ```
#[derive(Debug, Clone, Default)]
pub struct LogRing {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    limits: LogLimits,
    records: VecDeque<Arc<LogRecord>>,
    bytes: usize,
}

/// One record.
#[derive(Debug)]
pub(super) struct LogRecord {
    pub(super) at: SystemTime,
    pub(super) about: &'static Metadata<'static>,
    pub(super) thread: Option<Box<str>>,
    pub(super) message: String,
    pub(super) fields: Map<String, Value>,
    /// Memory it takes, octets.
    bytes: usize,
}

impl LogRing {
    /// A ring that keeps so much.
    #[must_use]
    pub fn new(limits: LogLimits) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { limits, ..Inner::default() })) }
    }

    /// Records kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records, the oldest first.
    pub(super) fn records(&self) -> Vec<Arc<LogRecord>> {
        self.lock().records.iter().cloned().collect()
    }

    fn keep(&self, mut record: LogRecord) {
        let mut inner = self.lock();
        // Under the lock, so that records stand in the order of their times.
        record.at = SystemTime::now();
        inner.bytes += record.bytes;
        inner.records.push_back(Arc::new(record));
        while inner.records.len() > inner.limits.records_max || inner.bytes > inner.limits.bytes_max
        {
            let Some(oldest) = inner.records.pop_front() else { break };
            inner.bytes -= oldest.bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for LogRing {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let thread = std::thread::current().name().map(Box::from);
        let bytes = size_of::<LogRecord>() + size_of::<Arc<LogRecord>>() + said.bytes();
        let Said { message, fields } = said;
        let (at, about) = (SystemTime::now(), event.metadata());
        self.keep(LogRecord { at, about, thread, message, fields, bytes });
    }
}

/// What an event says, each text cut to [`Self::TEXT_MAX`].
#[derive(Default)]
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Said {
    /// Longest text of a message or a field, octets.
    const TEXT_MAX: usize = 4096;
    /// Octets of a field beside its name and its text, about.
    const FIELD: usize = 96;

    fn bytes(&self) -> usize {
        let field = |(name, value): (&String, &Value)| {
            Self::FIELD + name.len() + value.as_str().map_or(0, str::len)
        };
        self.message.len() + self.fields.iter().map(field).sum::<usize>()
    }

    fn put(&mut self, field: &Field, value: Value) {
        self.fields.insert(field.name().into(), value);
    }

    fn text(&mut self, field: &Field, text: &str) {
        let text = beginning(text, Self::TEXT_MAX);
        if field.name() == "message" {
            self.message = text.into();
        } else {
            self.put(field, text.into());
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // What a value makes of itself may be an error; what was written until then is kept.
        let _ = write!(text, "{value:?}");
        self.text(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

impl LogRecord {
    /// The level as Python's logging calls it.
    pub(super) fn level(&self) -> &'static str {
        match *self.about.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG => "DEBUG",
            Level::TRACE => "TRACE",
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;
    use tracing::{info, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn with_ring(limits: LogLimits, say: impl FnOnce()) -> LogRing {
        let ring = LogRing::new(limits);
        with_default(tracing_subscriber::registry().with(ring.clone()), say);
        ring
    }

    #[test]
    fn a_record_is_kept_with_its_fields() {
        let ring = with_ring(LogLimits::default(), || {
            warn!(number = 7, name = %"x", text = "t", yes = true, half = 0.5, "said {}", 1);
        });
        let records = ring.records();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.level(), &record.message[..]), ("WARNING", "said 1"));
        let fields = Value::Object(record.fields.clone());
        let expected = serde_json::json!({
            "number": 7, "name": "x", "text": "t", "yes": true, "half": 0.5
        });
        assert_eq!(fields, expected);
        assert_eq!(record.about.target(), "majordomo::broker::logs::tests");
    }

    #[test]
    fn the_oldest_records_go_when_there_are_too_many_or_they_are_too_big() {
        let few = LogLimits { records_max: 3, ..LogLimits::default() };
        let ring = with_ring(few, || (0..10).for_each(|number| info!("{number}")));
        let messages = |ring: &LogRing| {
            ring.records().iter().map(|record| record.message.clone()).collect::<Vec<_>>()
        };
        assert_eq!(messages(&ring), ["7", "8", "9"]);
        let small = LogLimits { bytes_max: 10_000, ..LogLimits::default() };
        let long = "x".repeat(100_000);
        let ring = with_ring(small, || (0..10).for_each(|number| info!("{number}{long}")));
        let kept = messages(&ring);
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(kept[1].starts_with("9x") && kept[1].len() <= Said::TEXT_MAX);
        assert!(ring.lock().bytes <= 10_000);
        let none = LogLimits { records_max: 0, ..LogLimits::default() };
        assert!(with_ring(none, || info!("not kept")).is_empty());
    }
}
