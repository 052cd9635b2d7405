//! What a client is told before it starts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Check, ms};
use super::curve::CurveFiles;
use super::key::Key;
use super::problem::ConfigError;
use super::units;
use crate::id::Identity;
use crate::transport::endpoint::Endpoint;
use crate::wire::{Limits, Protocol};

/// Everything a client is told before it starts.
///
/// ```
/// use majordomo::config::ClientConfig;
///
/// let config: ClientConfig = toml::from_str("timeout = \"2s\"\nattempts = 1")?;
/// assert!(config.validate().is_ok());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Where the broker listens. Default `tcp://127.0.0.1:5555`.
    #[serde(with = "units::text")]
    pub endpoint: Endpoint,
    /// How it speaks. Default MJP/1.
    pub protocol: Protocol,
    /// Connections of an MDP client, 1 to 1,024, each with one request in flight. Default 1. MJP
    /// has one.
    pub connections: usize,
    /// The name it gives itself, up to 255 octets. Default none. With several connections all of
    /// them give it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Calls in flight on an MJP connection, 1 to 1,000,000. Default 1,000. If the broker takes
    /// fewer at a time, so many.
    pub in_flight_max: usize,
    /// Calls that wait for their turn behind those, 1 to 10,000,000; one more fails at once.
    /// Default 100,000.
    pub waiting_max: usize,
    /// How long a call may take, 1 ms to 30 d. Default 30 s.
    #[serde(with = "units::text")]
    pub timeout: Duration,
    /// How often a call may be sent, 1 to 100. Default 3. With 1 the broker delivers it once at
    /// most, too.
    pub attempts: u32,
    /// First wait before a call or a connection is tried again, 1 ms to 10 min. Default 100 ms.
    #[serde(with = "units::text")]
    pub backoff_min: Duration,
    /// Longest such wait, up to 10 min. Default 5 s.
    #[serde(with = "units::text")]
    pub backoff_max: Duration,
    /// From the first attempt to connect until the broker has said who it is, 10 ms to 10 min.
    /// Default 5 s.
    #[serde(with = "units::text")]
    pub connect_timeout: Duration,
    /// A broker that was silent for so long is sent a PING, and given up if it is silent for as
    /// long again; 10 ms to 10 min. Default 5 s.
    #[serde(with = "units::text")]
    pub ping_interval: Duration,
    /// Body of one frame, both ways, 1 KiB to 1 GiB. Default 16 MiB.
    #[serde(with = "units::text")]
    pub frame: usize,
    /// Bodies of all frames of one message, both ways, `frame` to 2 GiB. Default 32 MiB.
    #[serde(with = "units::text")]
    pub message: usize,
    /// Frames of one message, both ways, 8 to 65,536. Default 1,024.
    pub frames: usize,
    /// Parts of one answer that may wait for a stream to be read, 1 to 1,000,000; a call with more
    /// of them fails. Default 1,024.
    pub parts_max: usize,
    /// Octets of published messages that may wait in one subscription to be read, 4 KiB to 1 GiB;
    /// more are dropped and counted. An empty one takes any one message. Default 32 MiB.
    #[serde(with = "units::text")]
    pub unread: usize,
    /// Requests that may wait to be written, 64 KiB to 1 GiB; with more of them calls wait for
    /// their turn. Default 1 MiB.
    #[serde(with = "units::text")]
    pub outbox: usize,
    /// Our key and the broker's, if it speaks CURVE. They are read each time it connects. Default
    /// none: it speaks NULL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<CurveFiles>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        let wire = Limits::default();
        Self {
            endpoint: Endpoint::Tcp(([127, 0, 0, 1], 5555).into()),
            protocol: Protocol::default(),
            connections: 1,
            identity: None,
            in_flight_max: 1000,
            waiting_max: 100_000,
            timeout: Duration::from_secs(30),
            attempts: 3,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            frame: wire.frame_bytes_max,
            message: wire.message_bytes_max,
            frames: wire.message_frames_max,
            parts_max: 1024,
            unread: 32 << 20,
            outbox: 1 << 20,
            curve: None,
        }
    }
}

impl ClientConfig {
    /// Whether a client can start with it.
    ///
    /// # Errors
    /// Every value that cannot be accepted, with the reason and what to do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let key = |name| Key::new("client", name);
        let (kib, mib) = (1 << 10, 1 << 20);
        let mut check = Check::default();
        if let Some(Err(error)) = self.identity.as_ref().map(|it| Identity::try_from(it.as_bytes()))
        {
            check.refuse(key("identity"), error.to_string());
        }
        check.count(key("connections"), self.connections, 1..=1024);
        check.count(key("in_flight_max"), self.in_flight_max, 1..=1_000_000);
        check.count(key("waiting_max"), self.waiting_max, 1..=10_000_000);
        check.count(key("attempts"), self.attempts, 1..=100);
        check.text(key("timeout"), self.timeout, ms(1)..=ms(30 * 24 * 3_600_000));
        check.text(key("backoff_min"), self.backoff_min, ms(1)..=ms(600_000));
        check.text(key("backoff_max"), self.backoff_max, self.backoff_min..=ms(600_000));
        check.text(key("connect_timeout"), self.connect_timeout, ms(10)..=ms(600_000));
        check.text(key("ping_interval"), self.ping_interval, ms(10)..=ms(600_000));
        check.text(key("frame"), self.frame, kib..=1024 * mib);
        check.text(key("message"), self.message, self.frame..=2048 * mib);
        check.count(key("frames"), self.frames, 8..=65_536);
        check.count(key("parts_max"), self.parts_max, 1..=1_000_000);
        check.text(key("unread"), self.unread, 4 * kib..=1024 * mib);
        check.text(key("outbox"), self.outbox, 64 * kib..=1024 * mib);
        if let Some(curve) = &self.curve {
            curve.check("client", &mut check);
        }
        check.into_result()
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

    #[test]
    fn the_text_of_a_client_gives_the_client_back() {
        let config = ClientConfig {
            protocol: Protocol::Mdp01,
            identity: Some("me".into()),
            ..ClientConfig::default()
        };
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("timeout = \"30s\""), "{text}");
        assert_eq!(toml::from_str::<ClientConfig>(&text).unwrap(), config);
    }

    #[test]
    fn every_value_that_no_client_can_have_is_refused_with_its_key() {
        let refused = |change: &dyn Fn(&mut ClientConfig)| {
            let mut config = ClientConfig::default();
            change(&mut config);
            config.validate().map_or_else(|error| error.to_string(), |()| "taken".into())
        };
        assert_eq!(refused(&|_| {}), "taken");
        type Change = &'static dyn Fn(&mut ClientConfig);
        let cases: [(&str, Change); 17] = [
            ("identity", &|it| it.identity = Some(String::new())),
            ("connections", &|it| it.connections = 0),
            ("in_flight_max", &|it| it.in_flight_max = 0),
            ("waiting_max", &|it| it.waiting_max = 0),
            ("attempts", &|it| it.attempts = 0),
            ("timeout", &|it| it.timeout = Duration::ZERO),
            ("backoff_min", &|it| it.backoff_min = Duration::ZERO),
            ("backoff_max", &|it| it.backoff_max = ms(99)),
            ("connect_timeout", &|it| it.connect_timeout = Duration::ZERO),
            ("ping_interval", &|it| it.ping_interval = Duration::ZERO),
            ("frame", &|it| it.frame = 1023),
            ("message", &|it| it.message = it.frame - 1),
            ("frames", &|it| it.frames = 7),
            ("parts_max", &|it| it.parts_max = 0),
            ("unread", &|it| it.unread = 4095),
            ("outbox", &|it| it.outbox = 1),
            ("curve.secret", &|it| {
                it.curve = toml::from_str("secret = \"\"\nserver = \"x\"").ok();
            }),
        ];
        for (key, change) in cases {
            let said = refused(change);
            assert!(said.contains(&format!("client.{key}: ")), "{key}: {said}");
        }
    }
}
