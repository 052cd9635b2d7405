//! What a member of groups is told before it connects.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Check, ms};
use super::curve::CurveFiles;
use super::key::Key;
use super::problem::ConfigError;
use super::units;
use crate::id::Identity;
use crate::transport::endpoint::Endpoint;
use crate::wire::Limits;

/// Everything a member of groups is told before it connects.
///
/// ```
/// use majordomo::config::MemberConfig;
///
/// let config: MemberConfig = toml::from_str("identity = \"anna\"\nbackoff_max = \"1s\"")?;
/// assert!(config.validate().is_ok());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemberConfig {
    /// Where the broker listens. Default `tcp://127.0.0.1:5555`.
    #[serde(with = "units::text")]
    pub endpoint: Endpoint,
    /// The name it gives itself, up to 255 octets: that of members, too, that are given none.
    /// Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// How long the broker may take to answer, 1 ms to 1 h. Default 5 s.
    #[serde(with = "units::text")]
    pub timeout: Duration,
    /// First wait before a lost connection is dialed again, 1 ms to 10 min. Default 50 ms. One that
    /// has lasted for a second is dialed again at once.
    #[serde(with = "units::text")]
    pub backoff_min: Duration,
    /// Longest such wait, up to 10 min. Default 2 s.
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
    /// One frame of a message, both ways, 1 KiB to 1 GiB. Default 16 MiB.
    #[serde(with = "units::text")]
    pub frame: usize,
    /// All frames of one message, both ways, `frame` to 2 GiB. Default 32 MiB.
    #[serde(with = "units::text")]
    pub message: usize,
    /// Frames of one message, both ways, 8 to 65,536. Default 1,024.
    pub frames: usize,
    /// Events of one group that may wait to be read, 2 to 1,000,000, no more than half of them
    /// messages; more are dropped and counted. Default 8,192.
    pub events_max: usize,
    /// Octets of messages of one group that may wait to be read, 4 KiB to 1 GiB; more are dropped
    /// and counted. Default 32 MiB.
    #[serde(with = "units::text")]
    pub unread: usize,
    /// What may wait to be written, 64 KiB to 1 GiB; with more of it who sends waits. Default 1 MiB.
    #[serde(with = "units::text")]
    pub outbox: usize,
    /// Our key and the broker's, if it speaks CURVE. They are read each time it connects. Default
    /// none: it speaks NULL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<CurveFiles>,
}

impl Default for MemberConfig {
    fn default() -> Self {
        let wire = Limits::default();
        Self {
            endpoint: Endpoint::Tcp(([127, 0, 0, 1], 5555).into()),
            identity: None,
            timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            frame: wire.frame_bytes_max,
            message: wire.message_bytes_max,
            frames: wire.message_frames_max,
            events_max: 8192,
            unread: 32 << 20,
            outbox: 1 << 20,
            curve: None,
        }
    }
}

impl MemberConfig {
    /// Whether a member can connect with it.
    ///
    /// # Errors
    /// Every value that cannot be accepted, with the reason and what to do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let key = |name| Key::new("member", name);
        let (kib, mib) = (1 << 10, 1 << 20);
        let mut check = Check::default();
        if let Some(Err(error)) = self.identity.as_ref().map(|it| Identity::try_from(it.as_bytes()))
        {
            check.refuse(key("identity"), error.to_string());
        }
        check.text(key("timeout"), self.timeout, ms(1)..=ms(3_600_000));
        check.text(key("backoff_min"), self.backoff_min, ms(1)..=ms(600_000));
        check.text(key("backoff_max"), self.backoff_max, self.backoff_min..=ms(600_000));
        check.text(key("connect_timeout"), self.connect_timeout, ms(10)..=ms(600_000));
        check.text(key("ping_interval"), self.ping_interval, ms(10)..=ms(600_000));
        check.text(key("frame"), self.frame, kib..=1024 * mib);
        check.text(key("message"), self.message, self.frame..=2048 * mib);
        check.count(key("frames"), self.frames, 8..=65_536);
        check.count(key("events_max"), self.events_max, 2..=1_000_000);
        check.text(key("unread"), self.unread, 4 * kib..=1024 * mib);
        check.text(key("outbox"), self.outbox, 64 * kib..=1024 * mib);
        if let Some(curve) = &self.curve {
            curve.check("member", &mut check);
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
    fn the_text_of_a_member_gives_the_member_back() {
        let config = MemberConfig { identity: Some("me".into()), ..MemberConfig::default() };
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("backoff_min = \"50ms\""), "{text}");
        assert_eq!(toml::from_str::<MemberConfig>(&text).unwrap(), config);
    }

    #[test]
    fn every_value_that_no_member_can_have_is_refused_with_its_key() {
        assert!(MemberConfig::default().validate().is_ok());
        type Change = &'static dyn Fn(&mut MemberConfig);
        let cases: [(&str, Change); 13] = [
            ("identity", &|it| it.identity = Some(String::new())),
            ("timeout", &|it| it.timeout = Duration::ZERO),
            ("backoff_min", &|it| it.backoff_min = Duration::ZERO),
            ("backoff_max", &|it| it.backoff_max = ms(49)),
            ("connect_timeout", &|it| it.connect_timeout = Duration::ZERO),
            ("ping_interval", &|it| it.ping_interval = Duration::ZERO),
            ("frame", &|it| it.frame = 1023),
            ("message", &|it| it.message = it.frame - 1),
            ("frames", &|it| it.frames = 7),
            ("events_max", &|it| it.events_max = 1),
            ("unread", &|it| it.unread = 4095),
            ("outbox", &|it| it.outbox = 1),
            ("curve.secret", &|it| {
                it.curve = toml::from_str("secret = \"\"\nserver = \"x\"").ok();
            }),
        ];
        for (key, change) in cases {
            let mut config = MemberConfig::default();
            change(&mut config);
            let said = config.validate().unwrap_err().to_string();
            assert!(said.contains(&format!("member.{key}: ")), "{key}: {said}");
        }
    }
}
