//! Metrics as OpenMetrics text.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::proto::stats::Histogram;

use super::process::Process;

/// What [`write`] gives.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A label and its value.
pub(crate) type Label<'a> = (&'static str, &'a str);

pub(crate) const NO_LABEL: &[Label<'static>; 0] = &[];

/// The text of a scrape: what the process uses, and what there is to say besides, with our prefix.
pub(crate) fn write(ours: impl Collector) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    registry.sub_registry_with_prefix("majordomo").register_collector(Box::new(ours));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// The text as it is written, a family at a time.
pub(crate) struct Page<'e> {
    encoder: DescriptorEncoder<'e>,
}

impl<'e> Page<'e> {
    pub(crate) fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self { encoder }
    }

    /// A metric that is 1, for its labels.
    pub(crate) fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: &[Label<'_>],
    ) -> Result<(), fmt::Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(&labels)
    }

    /// What runs, and since when.
    pub(crate) fn begin(&mut self, started_at: SystemTime, help: &str) -> Result<(), fmt::Error> {
        self.info("build", "What runs.", &[("version", env!("CARGO_PKG_VERSION"))])?;
        let start = started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = [(NO_LABEL, start.as_secs_f64())];
        self.gauge("start_time", Some(Unit::Seconds), help, start)
    }

    pub(crate) fn counter<'a, L: AsRef<[Label<'a>]>>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), fmt::Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in samples {
            let labels = labels.as_ref();
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    /// A counter by reason.
    pub(crate) fn reasons(
        &mut self,
        name: &str,
        help: &str,
        counts: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> Result<(), fmt::Error> {
        let counts = counts.into_iter().map(|(reason, count)| ([("reason", reason)], count));
        self.counter(name, help, counts)
    }

    pub(crate) fn gauge<'a, L: AsRef<[Label<'a>]>>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> Result<(), fmt::Error> {
        let unit = unit.as_ref();
        let mut family = self.encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in samples {
            let labels = labels.as_ref();
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Durations.
    pub(crate) fn histogram<'a, L: AsRef<[Label<'a>]>>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, &'a Histogram)>,
    ) -> Result<(), fmt::Error> {
        const US_PER_SECOND: f64 = 1e6;
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        let mut family = self.encoder.encode_descriptor(name, help, unit, kind)?;
        let bounds = Histogram::BOUNDS_US.map(|us| us as f64 / US_PER_SECOND);
        for (labels, histogram) in samples {
            let count = histogram.count();
            if count == 0 {
                continue;
            }
            let bounds = bounds.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(histogram.buckets).collect();
            let sum = histogram.sum_us as f64 / US_PER_SECOND;
            let labels = labels.as_ref();
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}
