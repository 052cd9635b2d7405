//! What the system says about this process, read from `/proc` at each scrape. What cannot be read
//! is left out.

use std::collections::HashSet;
use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Ticks in which Linux tells times to user space (USER_HZ); 100 on every architecture that Rust
/// is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The `process_*` set.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(ticks) = field(&stat, 14).zip(field(&stat, 15)) {
            let help = "CPU time used, user and system.";
            let unit = Some(&Unit::Seconds);
            encoder
                .encode_descriptor("process_cpu", help, unit, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(
                    &((ticks.0 + ticks.1) / TICKS_PER_SECOND),
                    None,
                )?;
        }
        if let Some(start) = started(&stat) {
            let help = "When the process was started, since the epoch.";
            gauge(&mut encoder, "process_start_time", help, Some(&Unit::Seconds), start)?;
        }
        if let Some(octets) = resident() {
            let help = "Memory in RAM.";
            gauge(&mut encoder, "process_resident_memory", help, Some(&Unit::Bytes), octets)?;
        }
        if let Some(open) = descriptors() {
            let help = "File descriptors in use.";
            gauge(&mut encoder, "process_open_fds", help, None, open as f64)?;
        }
        if let Some(max) = descriptors_max() {
            let help = "File descriptors that may be in use.";
            gauge(&mut encoder, "process_max_fds", help, None, max)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> Result<(), fmt::Error> {
    encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
}

/// A field of `/proc/self/stat`, counted from 1. The second is a name in parentheses, which may
/// hold anything.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(number.checked_sub(3)?)?.parse().ok()
}

/// Seconds from the epoch to the start of this process.
fn started(stat: &str) -> Option<f64> {
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
    Some(boot + field(stat, 22)? / TICKS_PER_SECOND)
}

/// CPU time used, user and system.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Some((field(&stat, 14)? + field(&stat, 15)?) / TICKS_PER_SECOND)
}

/// Threads of this process.
pub(crate) fn threads() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

/// File descriptors in use. One more is the directory that is read.
pub(crate) fn descriptors() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// TCP sockets among them: those that stand in the tables of the system.
pub(crate) fn tcp_sockets() -> Option<usize> {
    let open = fs::read_dir("/proc/self/fd").ok()?.filter_map(|entry| {
        let target = fs::read_link(entry.ok()?.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(inode.to_owned())
    });
    let open: HashSet<String> = open.collect();
    let v4 = fs::read_to_string("/proc/self/net/tcp").ok()?;
    let v6 = fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default();
    let inodes = v4.lines().chain(v6.lines()).filter_map(|line| line.split_whitespace().nth(9));
    Some(inodes.filter(|inode| open.contains(*inode)).count())
}

/// Resident memory, octets.
pub(crate) fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0)
}

fn descriptors_max() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_parentheses_shifts_no_field() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 1300 250 13 14 15 16 17 18 777 20";
        assert_eq!([14, 15, 22].map(|n| field(stat, n)), [Some(1300.0), Some(250.0), Some(777.0)]);
        assert_eq!(field("nonsense", 14), None);
    }
}
