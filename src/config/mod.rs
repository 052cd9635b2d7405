//! What an operator can set: one plain struct, its defaults, its check.
//!
//! ```
//! use majordomo::config::BrokerConfig;
//!
//! let config: BrokerConfig = toml::from_str("[mdp]\nheartbeat = \"1s\"")?;
//! assert!(config.validate().is_ok());
//! assert_eq!(config.mdp.liveness, 3);
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! [`Sources`] puts a configuration together from files, environment and flags and remembers where
//! each value came from. `default.toml` beside this file names every key with its unit, default
//! and range; a test holds it to the structs and to [`BrokerConfig::validate`].

mod auth;
mod check;
mod client;
mod curve;
mod flow;
mod flow_end;
mod group;
mod key;
mod layers;
mod lease;
mod member;
mod memory;
mod nfp;
mod problem;
mod service;
mod store;
mod units;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use auth::{AuthSection, Authorized};
pub use client::ClientConfig;
pub use curve::{CurveFiles, ServerKey};
pub use flow::{FlowDirection, FlowHandler, FlowRuleSection, FlowSection, HandlerKind, Otherwise};
pub use flow_end::FlowConfig;
pub use group::{GroupPolls, GroupSection, GroupTypeSection};
pub use key::Key;
pub use layers::{Flag, Loaded, Sources};
pub use lease::LeaseSection;
pub use member::MemberConfig;
pub use memory::Memory;
pub use nfp::NfpSection;
pub use problem::{ConfigError, Origin, Problem};
pub use service::ServicePatch;
pub use store::StoreSection;
pub use units::Text;
pub use worker::WorkerConfig;

use crate::proto::dead::DeadLimits;
use crate::proto::depot::DepotLimits;
use crate::proto::jobs::JobLimits;
use crate::proto::keys::KeyLimits;
use crate::proto::policy::{
    ClientLimits, Keepalive, MjpLimits, Rate, ServicePolicy, Settings, TopicLimits,
};
use crate::transport::endpoint::Endpoint;
use crate::wire::Limits;

/// The configuration file with every key at its default, as comments to be uncommented.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// Everything a broker is told before it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    /// Where it listens and how it runs.
    pub broker: BrokerSection,
    /// Who may come in, and how they prove who they are.
    pub auth: AuthSection,
    /// What a connection may cost before its handshake is done.
    pub handshake: HandshakeSection,
    /// What peers may make grow.
    pub limits: LimitsSection,
    /// Heartbeats of the Majordomo dialects.
    pub mdp: MdpSection,
    /// NorFab's protocol.
    pub nfp: NfpSection,
    /// Flows of ZIO.
    pub flow: FlowSection,
    /// What one client may have accepted and unanswered.
    pub client: ClientSection,
    /// What leases may take, and how long they may last.
    pub lease: LeaseSection,
    /// What groups may take, and what kinds of them there are.
    pub group: GroupSection,
    /// The policy of services that no pattern names.
    #[serde(with = "service")]
    pub service: ServicePolicy,
    /// By whole name or by prefix with a final `*`: what differs from `service`. A whole name
    /// comes before a prefix, a longer prefix before a shorter one.
    pub services: BTreeMap<String, ServicePatch>,
    /// What survives the broker.
    pub store: StoreSection,
    /// The log of the process; the library itself only emits events.
    pub log: LogSection,
}

/// `[broker]`: where it listens and how it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerSection {
    /// Endpoints, 1 to 64. Default `tcp://127.0.0.1:5555`.
    #[serde(with = "units::texts")]
    pub bind: Vec<Endpoint>,
    /// Listen beyond this machine although nobody is authenticated. Default false.
    pub insecure: bool,
    /// Address of `/livez`, `/readyz` and `/metrics`. Default off.
    #[serde(with = "units::text")]
    pub http: Option<SocketAddr>,
    /// Threads that carry connections, 1 to 256. Default 1.
    pub threads: usize,
    /// How long a stop waits for requests in flight, 0 s to 1 h. Default 30 s.
    #[serde(with = "units::text")]
    pub drain: Duration,
}

impl Default for BrokerSection {
    fn default() -> Self {
        Self {
            bind: vec![Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 5555)))],
            insecure: false,
            http: None,
            threads: 1,
            drain: Duration::from_secs(30),
        }
    }
}

/// `[handshake]`: what a connection may cost before its handshake is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HandshakeSection {
    /// From accept to the peer's READY, 100 ms to 1 min. Default 5 s.
    #[serde(with = "units::text")]
    pub timeout: Duration,
    /// Silence of the peer before that, 100 ms to 1 min. Default 2 s.
    #[serde(with = "units::text")]
    pub silence: Duration,
    /// Connections whose handshake is not done, 1 to 65,536. Default 1,024.
    pub unfinished_max: usize,
    /// The same from one address; loopback is free of it. Default 64.
    pub unfinished_per_address_max: usize,
    /// New connections a second, 1 to 1,000,000; those over it wait. Loopback is free of it.
    /// Default 500.
    pub connects: u32,
    /// The same from one address. Default 50.
    pub connects_per_address: u32,
    /// Of those, connections that begin with a handshake of CURVE, 1 to 1,000,000. Default 300.
    pub hellos: u32,
    /// The same from one address. Default 20.
    pub hellos_per_address: u32,
    /// Handshakes of CURVE whose arithmetic waits for its turn, 1 to 65,536. Default 256.
    pub curve_queue: usize,
    /// Body of one command of the handshake, 1 KiB to 4 KiB. Default 1 KiB.
    #[serde(with = "units::text")]
    pub command: usize,
    /// Metadata in it, 128 B to half of `command`. Default 512 B.
    #[serde(with = "units::text")]
    pub metadata: usize,
}

impl Default for HandshakeSection {
    fn default() -> Self {
        let wire = Limits::default();
        Self {
            timeout: Duration::from_secs(5),
            silence: Duration::from_secs(2),
            unfinished_max: 1024,
            unfinished_per_address_max: 64,
            connects: 500,
            connects_per_address: 50,
            hellos: 300,
            hellos_per_address: 20,
            curve_queue: 256,
            command: wire.handshake_command_bytes_max,
            metadata: wire.metadata_bytes_max,
        }
    }
}

/// `[limits]`: what peers may make grow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// Body of one frame, 1 KiB to 1 GiB. Default 16 MiB.
    #[serde(with = "units::text")]
    pub frame: usize,
    /// Bodies of all frames of one message, `frame` to 2 GiB. Default 32 MiB.
    #[serde(with = "units::text")]
    pub message: usize,
    /// Frames of one message, 8 to 65,536. Default 1,024.
    pub frames: usize,
    /// Body of one ZMTP command behind the handshake, 512 B to 64 KiB. Default 4 KiB.
    #[serde(with = "units::text")]
    pub command: usize,
    /// Header of one MJP message, 1 KiB to 16 KiB. Default 16 KiB.
    #[serde(with = "units::text")]
    pub mjp_header: usize,
    /// Requests that one MJP worker may take at a time, 1 to 65,535; one that says more is given no
    /// more. Default 65,535.
    pub credit: usize,
    /// Questions of a worker that are open in one request, 1 to 1,024. Default 16.
    pub asks: usize,
    /// Requests of level disk of one service that are in memory; the others are on the disk only, 1
    /// to 1,000,000. Default 10,000.
    pub stored_in_memory: usize,
    /// What waits to be written to one peer, 64 KiB to 1 GiB; an empty outbox always takes one
    /// message. Default 64 MiB.
    #[serde(with = "units::text")]
    pub outbox: usize,
    /// Connections, 1 to 1,000,000. Default 16,384.
    pub connections: usize,
    /// Services that somebody offers or asks for, 1 to 10,000,000. Default 65,536.
    pub services: usize,
    /// Jobs remembered, open and ended ones, 1 to 10,000,000. Default 100,000.
    pub jobs: usize,
    /// Open jobs and scatters of one principal, 1 to 10,000,000. Default 10,000.
    pub jobs_per_client: usize,
    /// Workers of one job of NorFab's protocol, each registration counted, 1 to 1,000,000. Default
    /// 16,384.
    pub job_targets: usize,
    /// Memory of jobs and scatters that have ended and are remembered, 64 KiB to 1 TiB. Default
    /// 64 MiB.
    #[serde(with = "units::text")]
    pub jobs_ended: usize,
    /// Subscriptions of all peers, 1 to 10,000,000. Default 100,000.
    pub subscriptions: usize,
    /// Subscriptions of one peer, 1 to 10,000,000. Default 10,000.
    pub subscriptions_per_peer: usize,
    /// What waits to be written to a subscriber when the next message for it is dropped, 4 KiB to
    /// 1 GiB, and never more than `outbox`; an empty outbox always takes one. Default 8 MiB.
    #[serde(with = "units::text")]
    pub subscriber_outbox: usize,
    /// Subscriptions that one publication may be for, 1 to 1,000,000. Default 10,000.
    pub fan_out: usize,
    /// Idempotency keys known, of running and of answered requests, 1 to 10,000,000. Default 10,000.
    pub keys: usize,
    /// Those of running requests of one principal, and its share of all when they are in use, 0 to
    /// 10,000,000; 0: a quarter of `keys`. Default 0.
    pub keys_per_principal: usize,
    /// Memory of the answers kept for repeats, 64 KiB to 1 TiB; the oldest make room. Default
    /// 64 MiB.
    #[serde(with = "units::text")]
    pub keys_bytes: usize,
    /// How long an answer is kept for repeats, 1 s to 30 d. Default 10 min.
    #[serde(with = "units::text")]
    pub key_ttl: Duration,
    /// Callers that wait for the answer to one key, 1 to 10,000. Default 16.
    pub key_callers: usize,
    /// Dead letters of all queues, 0 to 10,000,000. Default 100,000.
    pub dead_letters: usize,
    /// Octets of those, in memory and on the disk, 64 KiB to 1 TiB. Default 1 GiB.
    #[serde(with = "units::text")]
    pub dead_letters_bytes: usize,
    /// Buffers of large bodies that are kept for the next ones, while less than half of `memory` is
    /// in use, 0 B to 1 GiB. Default 32 MiB.
    #[serde(with = "units::text")]
    pub spares: usize,
    /// Memory of all that is accepted or waits to be written, 16 MiB to 1 TiB. Default auto.
    #[serde(with = "units::text")]
    pub memory: Memory,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let (wire, mjp) = (Limits::default(), MjpLimits::default());
        let topics = TopicLimits::default();
        let keys = KeyLimits::default();
        let dead = DeadLimits::default();
        Self {
            frame: wire.frame_bytes_max,
            message: wire.message_bytes_max,
            frames: wire.message_frames_max,
            command: wire.command_bytes_max,
            mjp_header: mjp.header_bytes_max,
            credit: mjp.credit_max,
            asks: mjp.asks_max,
            stored_in_memory: DepotLimits::default().in_memory_max,
            outbox: 64 << 20,
            connections: 16_384,
            services: Settings::default().services_max,
            jobs: JobLimits::default().jobs_max,
            jobs_per_client: JobLimits::default().open_per_client_max,
            job_targets: JobLimits::default().targets_max,
            jobs_ended: JobLimits::default().ended_bytes_max,
            subscriptions: topics.subscriptions_max,
            subscriptions_per_peer: topics.per_peer_max,
            subscriber_outbox: topics.outbox_bytes_max,
            fan_out: topics.fan_out_max,
            keys: keys.keys_max,
            keys_per_principal: 0,
            keys_bytes: keys.bytes_max,
            key_ttl: keys.kept,
            key_callers: keys.callers_max,
            dead_letters: dead.letters_max,
            dead_letters_bytes: dead.bytes_max,
            spares: 32 << 20,
            memory: Memory::Auto,
        }
    }
}

/// `[mdp]`: heartbeats of the Majordomo dialects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MdpSection {
    /// Time between heartbeats, both ways, 10 ms to 10 min. Default 2500 ms.
    #[serde(with = "units::text")]
    pub heartbeat: Duration,
    /// Heartbeats missed until a peer counts as gone, 1 to 100. Default 3.
    pub liveness: u32,
}

impl Default for MdpSection {
    fn default() -> Self {
        let Keepalive { interval, liveness } = Keepalive::default();
        Self { heartbeat: interval, liveness }
    }
}

/// `[client]`: what one client may have accepted and unanswered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSection {
    /// Requests, 1 to 10,000,000. Default 1,024.
    pub requests_max: usize,
    /// Memory of those requests, 1 KiB to 1 TiB; an idle client may always send one. Default
    /// 32 MiB.
    #[serde(with = "units::text")]
    pub bytes_max: usize,
    /// Services without a worker that are there because one client asks for them, 1 to 65,536; an
    /// idle client may always ask for one. Default 256.
    pub services_max: usize,
    /// Requests that a principal (a key, a user, or an address) may make in a second, over all its
    /// connections, 0 to 1,000,000; 0: as many as it likes. Default 0.
    pub rate: u32,
    /// With `rate`: requests that it may make at once after a pause, 1 to 1,000,000. Default 100.
    pub burst: u32,
}

impl Default for ClientSection {
    fn default() -> Self {
        let ClientLimits { requests_max, bytes_max, services_max, .. } = ClientLimits::default();
        Self { requests_max, bytes_max, services_max, rate: 0, burst: 100 }
    }
}

impl ClientSection {
    fn rate(&self) -> Option<Rate> {
        let burst = NonZeroU32::new(self.burst).unwrap_or(NonZeroU32::MIN);
        NonZeroU32::new(self.rate).map(|per_second| Rate { per_second, burst })
    }
}

/// `[log]`: the log of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// `off`, `error`, `warn`, `info`, `debug`, `trace`, or such as `info,majordomo::wire=trace`.
    /// Default `info`.
    pub level: String,
    /// How a record looks. Default auto.
    pub format: LogFormat,
    /// File to append to, instead of standard error. Default off.
    #[serde(with = "units::text")]
    pub file: Option<PathBuf>,
    /// Records kept in memory for who asks for them, 0 to 1,000,000. Default 10,000.
    pub ring: usize,
    /// Memory of those records, 64 KiB to 1 GiB. Default 8 MiB.
    #[serde(with = "units::text")]
    pub ring_bytes: usize,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Auto,
            file: None,
            ring: 10_000,
            ring_bytes: 8 << 20,
        }
    }
}

/// How a log record looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl BrokerConfig {
    /// What the core is told.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            mdp: Keepalive { interval: self.mdp.heartbeat, liveness: self.mdp.liveness },
            rules: service::rules(&self.services, &self.service),
            policy: self.service.clone(),
            client: ClientLimits {
                requests_max: self.client.requests_max,
                bytes_max: self.client.bytes_max,
                services_max: self.client.services_max,
                rate: self.client.rate(),
            },
            mjp: MjpLimits {
                header_bytes_max: self.limits.mjp_header,
                credit_max: self.limits.credit,
                asks_max: self.limits.asks,
            },
            keys: KeyLimits {
                keys_max: self.limits.keys,
                keys_per_principal_max: Some(self.limits.keys_per_principal).filter(|max| *max > 0),
                bytes_max: self.limits.keys_bytes,
                kept: self.limits.key_ttl,
                callers_max: self.limits.key_callers,
            },
            dead: DeadLimits {
                letters_max: self.limits.dead_letters,
                bytes_max: self.limits.dead_letters_bytes,
            },
            nfp: self.nfp.settings(&self.limits),
            flow: self.flow.settings(self.limits.outbox),
            topics: TopicLimits {
                subscriptions_max: self.limits.subscriptions,
                per_peer_max: self.limits.subscriptions_per_peer,
                outbox_bytes_max: self.limits.subscriber_outbox.min(self.limits.outbox),
                fan_out_max: self.limits.fan_out,
            },
            lease: self.lease.limits(),
            group: self.group.settings(self.limits.outbox),
            wire: self.wire_limits(),
            services_max: self.limits.services,
            answer_frames_max: self.limits.frames,
            answer_bytes_max: self.limits.message,
            insecure: self.broker.bind.iter().any(|endpoint| self.is_open(endpoint)),
        }
    }

    /// What the decoder is told.
    #[must_use]
    pub fn wire_limits(&self) -> Limits {
        Limits {
            frame_bytes_max: self.limits.frame,
            message_bytes_max: self.limits.message,
            message_frames_max: self.limits.frames,
            command_bytes_max: self.limits.command,
            handshake_command_bytes_max: self.handshake.command,
            metadata_bytes_max: self.handshake.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_configuration_gives_the_configuration_back() {
        let mut config = BrokerConfig::default();
        config.broker.http = Some(SocketAddr::from(([127, 0, 0, 1], 9464)));
        config.service.busy_timeout = None;
        config.limits.memory = Memory::Bytes(1 << 30);
        let patch = ServicePatch { busy_timeout: Some(None), ..ServicePatch::default() };
        config.services.insert("billing.*".into(), patch);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<BrokerConfig>(&text).unwrap(), config);
    }

    #[test]
    fn the_core_and_the_decoder_get_the_defaults_they_name_themselves() {
        assert_eq!(BrokerConfig::default().settings(), Settings::default());
        assert_eq!(BrokerConfig::default().wire_limits(), Limits::default());
        assert!(BrokerConfig::default().validate().is_ok());
    }

    #[test]
    fn whole_names_come_before_prefixes_and_long_prefixes_before_short_ones() {
        let text = r#"
            [service]
            attempts = 7
            [services."*"]
            prefetch = 2
            [services."a.*"]
            prefetch = 3
            [services."a.b.*"]
            prefetch = 4
            busy_timeout = "off"
            [services."a.b.c"]
            prefetch = 5
        "#;
        let settings = toml::from_str::<BrokerConfig>(text).unwrap().settings();
        let prefetch = |name: &[u8]| settings.policy_of(name).prefetch;
        assert_eq!(
            [b"a.b.c" as &[u8], b"a.b.cc", b"a.b", b"z"].map(prefetch),
            [5, 4, 3, 2],
            "{settings:?}"
        );
        let policy = settings.policy_of(b"a.b.x");
        assert_eq!((policy.busy_timeout, policy.attempts), (None, 7));
    }
}
