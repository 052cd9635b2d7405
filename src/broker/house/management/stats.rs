//! `get_stats`, `get_status`, `show_broker`, `show_broker_version`, `show_broker_inventory`.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use serde_json::{Value, json};

use crate::broker::shared::{Shared, now};
use crate::config::BrokerConfig;
use crate::http::process;
use crate::inventory::Inventory;
use crate::transport::endpoint::Endpoint;

use super::super::clock;
use super::listing::Listing;
use super::tables::{self, BUSY, tenths, walk_workers};
use super::{NAME, ROLE};

/// CPU time seen so far, for how much was used since then.
#[derive(Debug)]
pub(super) struct Cpu {
    seen_at: Instant,
    seconds: f64,
}

impl Cpu {
    pub(super) fn new() -> Self {
        Self { seen_at: now(), seconds: process::cpu_seconds().unwrap_or_default() }
    }

    /// Percent of one CPU since the last call.
    fn percent(&mut self) -> f64 {
        let last = std::mem::replace(self, Self::new());
        let wall = self.seen_at.saturating_duration_since(last.seen_at).as_secs_f64();
        if wall <= 0.0 {
            return 0.0;
        }
        ((self.seconds - last.seconds) / wall * 1000.0).round() / 10.0
    }
}

fn is_active(shared: &Shared) -> &'static str {
    if shared.accepting.is_cancelled() { "stopping" } else { "active" }
}

/// Where NorFab's peers connect: the first endpoint that is not for administration.
fn endpoint(shared: &Shared) -> String {
    let endpoints = &shared.endpoints;
    let open = endpoints.iter().find(|endpoint| !matches!(endpoint, Endpoint::Ipc(_)));
    open.or_else(|| endpoints.first()).map(Endpoint::to_string).unwrap_or_default()
}

fn millis(config: &BrokerConfig) -> u64 {
    u64::try_from(config.nfp.keepalive.as_millis()).unwrap_or(u64::MAX)
}

/// NorFab's monitoring, which takes no other keys and no other types.
pub(super) async fn stats(shared: &Shared, cpu: &mut Cpu, max: usize) -> Result<Vec<u8>, String> {
    /// Everything but the workers, octets.
    const REST: usize = 1024;
    let mut listing = Listing::new(max.saturating_sub(REST + endpoint(shared).len()));
    let mut worker_count = 0;
    let list = |row: crate::proto::core::WorkerRow| {
        worker_count += 1;
        listing.push(&json!({
            "name": tables::text(&row.name),
            "service": tables::service(&row.service),
            "status": "alive",
            "holdtime_seconds": tenths(row.hold_left),
            "uptime_seconds": row.registered.as_secs(),
            "keepalives_sent": row.beats_sent,
            "keepalives_received": row.beats_heard,
        }));
    };
    walk_workers(shared, list).await?;
    let look = |core: &mut crate::proto::core::Core| {
        let invalid: u64 = core.invalid().values().sum();
        (core.router().services_len(), core.worker_events(), invalid + core.dropped())
    };
    let (services, events, bad) = shared.look(look).await.ok_or(BUSY)?;
    let counters = &shared.counters;
    let broken: u64 = counters.frames_invalid.get().values().sum();
    let head = json!({
        "schema_version": "1.0",
        "collected_at": format!("{}Z", clock::written(SystemTime::now())),
        "name": NAME,
        "role": ROLE,
        "status": is_active(shared),
        "process": {
            "cpu_percent": cpu.percent(),
            "memory_rss_mbyte": process::resident().unwrap_or_default() / f64::from(1 << 20),
            "uptime_seconds": now().saturating_duration_since(shared.started).as_secs(),
            "open_file_descriptors": process::descriptors(),
            "tcp_sockets": process::tcp_sockets(),
            "threads": process::threads().unwrap_or(1),
        },
        "messaging": {
            "sent": counters.messages_sent.get(),
            "received": counters.messages_received.get(),
            "events_received": events,
            "send_failures": counters.slow_readers.get(),
            "receive_failures": bad + broken,
        },
        "endpoint": endpoint(shared),
        "worker_count": worker_count,
        "service_count": services,
        "keepalive_interval_ms": millis(&shared.config),
        "keepalive_multiplier": shared.config.nfp.multiplier,
    });
    let mut octets = super::super::written(&head);
    octets.pop();
    octets.extend_from_slice(b",\"workers\":");
    octets.extend_from_slice(&listing.finish(None));
    octets.push(b'}');
    Ok(octets)
}

/// The folder of the inventory, which is NorFab's base, or else the one we run in.
fn base(shared: &Shared) -> String {
    let inventory = shared.config.nfp.inventory.as_deref().and_then(Path::parent);
    let inventory = inventory.filter(|folder| !folder.as_os_str().is_empty());
    let here = || std::env::current_dir().unwrap_or_default();
    inventory.map_or_else(here, Path::to_owned).to_string_lossy().into_owned()
}

pub(super) fn status(shared: &Shared) -> Value {
    let base = base(shared);
    json!({
        "name": NAME,
        "role": ROLE,
        "status": is_active(shared),
        "endpoint": endpoint(shared),
        "directories": {
            "base_dir": base,
            "broker_base_dir": base,
            "private_keys_dir": null,
            "public_keys_dir": null,
        },
        "security": {
            "broker_private_key_file": null,
            "broker_public_key_file": null,
            "zmq_auth": false,
            "ip_allowlist": ["*"],
        },
    })
}

/// What peers up to 0.22 ask for instead.
pub(super) async fn broker(shared: &Shared) -> Result<Value, String> {
    let mut workers = 0;
    walk_workers(shared, |_| workers += 1).await?;
    let services = shared.look(|core| core.router().services_len()).await.ok_or(BUSY)?;
    Ok(json!({
        "endpoint": endpoint(shared),
        "status": is_active(shared),
        "keepalives": {
            "interval": millis(&shared.config),
            "multiplier": shared.config.nfp.multiplier,
        },
        "workers count": workers,
        "services count": services,
        "directories": {
            "base-dir": base(shared),
            "private-keys-dir": null,
            "public-keys-dir": null,
        },
        "security": {
            "broker-private-key-file": null,
            "broker-public-key-file": null,
            "zmq-auth": false,
            "ip-allowlist": ["*"],
        },
    }))
}

/// NorFab's keys; a package that is not there has an empty text, as with NorFab.
pub(super) fn version() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "norfab": format!("{} {version}", env!("CARGO_PKG_NAME")),
        "majordomo": version,
        "pyyaml": "",
        "pyzmq": "",
        "psutil": "",
        "pydantic": "",
        "tornado": "",
        "jinja2": "",
        "python": "",
        "platform": std::env::consts::OS,
    })
}

/// The sections of the inventory, with the broker's own configuration in the first.
pub(super) fn inventory(shared: &Shared, inventory: Option<&Inventory>) -> Value {
    let mut view = inventory.map_or_else(no_inventory, Inventory::broker_view);
    let configuration = masked(serde_json::to_value(&shared.config).unwrap_or_default());
    if let Some(broker) = view.get_mut("broker").and_then(Value::as_object_mut) {
        broker.insert(env!("CARGO_PKG_NAME").into(), configuration);
    }
    view
}

fn no_inventory() -> Value {
    let sections = ["broker", "workers", "topology", "logging", "client", "hooks", "plugins"];
    sections.into_iter().map(|name| (name, json!({}))).collect()
}

/// The same without what has the name of a secret.
fn masked(value: Value) -> Value {
    const SECRETS: [&str; 6] = ["password", "secret", "token", "private", "credential", "_key"];
    let is_secret = |name: &str| SECRETS.iter().any(|secret| name.contains(secret));
    match value {
        Value::Object(object) => {
            let shown = object.into_iter().map(|(name, value)| {
                let hidden = is_secret(&name.to_ascii_lowercase()) && !value.is_null();
                let value = if hidden { "********".into() } else { masked(value) };
                (name, value)
            });
            Value::Object(shown.collect())
        }
        Value::Array(values) => values.into_iter().map(masked).collect(),
        other => other,
    }
}

/// Asks the program around the broker for something.
pub(super) fn ask(shared: &Shared, what: crate::broker::AdminRequest) -> Result<(), String> {
    if !shared.heeded.load(Ordering::Relaxed) {
        return Err("the program that this broker is a part of does not take such requests".into());
    }
    shared.asked.send_replace(Some(what));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_name_of_a_secret_is_not_shown() {
        let value = json!({"a": [{"API_Token": "x", "b": 1}], "shared_key": {"c": "x"}, "k": "v"});
        let shown = json!({"a": [{"API_Token": "********", "b": 1}], "shared_key": "********",
                           "k": "v"});
        assert_eq!(masked(value), shown);
    }

    #[test]
    fn the_cpu_time_of_this_test_is_seen() {
        let mut cpu = Cpu { seen_at: now() - std::time::Duration::from_secs(10), seconds: -1.0 };
        let percent = cpu.percent();
        assert!((10.0..100_000.0).contains(&percent), "{percent}");
    }
}
