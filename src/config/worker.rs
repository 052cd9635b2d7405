//! What a worker is told before it starts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Check, ms};
use super::curve::CurveFiles;
use super::key::Key;
use super::problem::ConfigError;
use super::units;
use crate::id::{Identity, ServiceName};
use crate::proto::policy::Keepalive;
use crate::transport::endpoint::Endpoint;
use crate::wire::mjp::LEASE_NAME_MAX;
use crate::wire::{Limits, Protocol};

/// Everything a worker is told before it starts.
///
/// ```
/// use majordomo::config::WorkerConfig;
///
/// let config: WorkerConfig = toml::from_str("service = \"echo\"\ncredit = 16")?;
/// assert!(config.validate().is_ok());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// Where the broker listens. Default `tcp://127.0.0.1:5555`.
    #[serde(with = "units::text")]
    pub endpoint: Endpoint,
    /// The service that it offers, 1 to 255 octets. It has no default.
    pub service: String,
    /// How it speaks. Default MJP/1.
    pub protocol: Protocol,
    /// Requests that it handles at a time, 1 to 65,535. Default 1. An MDP broker decides by
    /// itself how many it sends; what is too many waits at the worker.
    pub credit: u16,
    /// The name it gives itself, up to 255 octets. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// For people and for listings, at most 32 and 4 KiB together. MDP does not say them.
    pub labels: BTreeMap<String, String>,
    /// Of the worker's program, up to 255 octets. MDP does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Of the service, up to 4 KiB. MDP does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The lease whose holder alone may ask, 1 to 255 octets. Default none: anybody. MJP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<String>,
    /// Time between heartbeats, both ways, 10 ms to 10 min. Default 2500 ms. An MJP broker says
    /// what it wants.
    #[serde(with = "units::text")]
    pub heartbeat: Duration,
    /// Heartbeats missed until the broker counts as gone, 1 to 100. Default 3.
    pub liveness: u32,
    /// From the first attempt to connect to the end of the handshake, 10 ms to 10 min. Default 5 s.
    #[serde(with = "units::text")]
    pub connect_timeout: Duration,
    /// First wait before it connects again, 1 ms to 10 min. Default 100 ms.
    #[serde(with = "units::text")]
    pub reconnect_min: Duration,
    /// Longest wait before it connects again, up to 10 min. Default 5 s.
    #[serde(with = "units::text")]
    pub reconnect_max: Duration,
    /// Body of one frame that is taken, 1 KiB to 1 GiB. Default 16 MiB.
    #[serde(with = "units::text")]
    pub frame: usize,
    /// Bodies of all frames of one message that is taken, `frame` to 2 GiB. Default 32 MiB.
    #[serde(with = "units::text")]
    pub message: usize,
    /// Frames of one message that is taken, 8 to 65,536. Default 1,024.
    pub frames: usize,
    /// Answers that may wait to be written, 64 KiB to 1 GiB; with more of them handlers wait.
    /// Default 1 MiB.
    #[serde(with = "units::text")]
    pub outbox: usize,
    /// Our key and the broker's, if it speaks CURVE. They are read each time it connects. Default
    /// none: it speaks NULL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<CurveFiles>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        let (wire, Keepalive { interval, liveness }) = (Limits::default(), Keepalive::default());
        Self {
            endpoint: Endpoint::Tcp(([127, 0, 0, 1], 5555).into()),
            service: String::new(),
            protocol: Protocol::default(),
            credit: 1,
            identity: None,
            labels: BTreeMap::new(),
            version: None,
            description: None,
            fence: None,
            heartbeat: interval,
            liveness,
            connect_timeout: Duration::from_secs(5),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(5),
            frame: wire.frame_bytes_max,
            message: wire.message_bytes_max,
            frames: wire.message_frames_max,
            outbox: 1 << 20,
            curve: None,
        }
    }
}

impl WorkerConfig {
    /// Whether a worker can start with it.
    ///
    /// # Errors
    /// Every value that cannot be accepted, with the reason and what to do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let key = |name| Key::new("worker", name);
        let (kib, mib) = (1 << 10, 1 << 20);
        let mut check = Check::default();
        if let Err(error) = ServiceName::try_from(self.service.as_bytes()) {
            check.refuse(key("service"), error.to_string());
        } else if self.service.starts_with("mmi.") {
            let reason = "names that begin with `mmi.` are the broker's own; choose another one";
            check.refuse(key("service"), reason.into());
        }
        if let Some(Err(error)) = self.identity.as_ref().map(|it| Identity::try_from(it.as_bytes()))
        {
            check.refuse(key("identity"), error.to_string());
        }
        self.check_texts(&mut check);
        check.count(key("credit"), self.credit, 1..=u16::MAX);
        check.count(key("liveness"), self.liveness, 1..=100);
        check.text(key("heartbeat"), self.heartbeat, ms(10)..=ms(600_000));
        check.text(key("connect_timeout"), self.connect_timeout, ms(10)..=ms(600_000));
        check.text(key("reconnect_min"), self.reconnect_min, ms(1)..=ms(600_000));
        check.text(key("reconnect_max"), self.reconnect_max, self.reconnect_min..=ms(600_000));
        check.text(key("frame"), self.frame, kib..=1024 * mib);
        check.text(key("message"), self.message, self.frame..=2048 * mib);
        check.count(key("frames"), self.frames, 8..=65_536);
        check.text(key("outbox"), self.outbox, 64 * kib..=1024 * mib);
        if let Some(curve) = &self.curve {
            curve.check("worker", &mut check);
        }
        check.into_result()
    }

    fn check_texts(&self, check: &mut Check) {
        let key = |name| Key::new("worker", name);
        let count = self.labels.len();
        if count > 32 {
            check.refuse(key("labels"), format!("{count} labels; at most 32 are taken"));
        }
        let octets = self.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        check.text::<usize>(key("labels"), octets, 0..=4 << 10);
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        check.text::<usize>(key("version"), len(&self.version), 0..=255);
        check.text::<usize>(key("description"), len(&self.description), 0..=4 << 10);
        if let Some(fence) = &self.fence {
            check.text::<usize>(key("fence"), fence.len(), 1..=LEASE_NAME_MAX);
            if self.protocol != Protocol::Mjp {
                check.refuse(key("fence"), "MDP has no fences; leave it out, or speak MJP".into());
            }
        }
    }

    /// What the decoder is told.
    pub(crate) fn wire_limits(&self) -> Limits {
        Limits {
            frame_bytes_max: self.frame,
            message_bytes_max: self.message,
            message_frames_max: self.frames,
            ..Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> WorkerConfig {
        WorkerConfig { service: "echo".into(), ..WorkerConfig::default() }
    }

    #[test]
    fn the_text_of_a_worker_gives_the_worker_back() {
        let mut config = config();
        config.labels.insert("zone".into(), "a".into());
        config.protocol = Protocol::Mdp02;
        config.identity = Some("me".into());
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("protocol = \"mdp02\""), "{text}");
        assert_eq!(toml::from_str::<WorkerConfig>(&text).unwrap(), config);
    }

    #[test]
    fn every_value_that_no_worker_can_have_is_refused_with_its_key() {
        let refused = |change: &dyn Fn(&mut WorkerConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().map_or_else(|error| error.to_string(), |()| "taken".into())
        };
        assert_eq!(refused(&|_| {}), "taken");
        type Change = &'static dyn Fn(&mut WorkerConfig);
        let cases: [(&str, Change); 16] = [
            ("service", &|it| it.service.clear()),
            ("service", &|it| it.service = "mmi.service".into()),
            ("identity", &|it| it.identity = Some("\0".into())),
            ("credit", &|it| it.credit = 0),
            ("liveness", &|it| it.liveness = 0),
            ("heartbeat", &|it| it.heartbeat = Duration::ZERO),
            ("connect_timeout", &|it| it.connect_timeout = Duration::ZERO),
            ("reconnect_min", &|it| it.reconnect_min = Duration::ZERO),
            ("reconnect_max", &|it| it.reconnect_max = Duration::from_millis(99)),
            ("frame", &|it| it.frame = 1023),
            ("message", &|it| it.message = it.frame - 1),
            ("outbox", &|it| it.outbox = 1),
            ("fence", &|it| it.fence = Some(String::new())),
            ("fence", &|it| {
                (it.fence, it.protocol) = (Some("billing".into()), Protocol::Mdp02);
            }),
            ("labels", &|it| drop(it.labels.insert("x".into(), "y".repeat(4096)))),
            ("labels", &|it| it.labels.extend((0..33).map(|n| (n.to_string(), String::new())))),
        ];
        for (key, change) in cases {
            let said = refused(change);
            assert!(said.contains(&format!("worker.{key}: ")), "{key}: {said}");
        }
    }
}
