//! What an end of a flow is told before it connects.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Check, ms};
use super::curve::CurveFiles;
use super::key::Key;
use super::problem::ConfigError;
use super::units;
use crate::transport::endpoint::Endpoint;
use crate::wire::Limits;

/// Everything an end of a flow is told before it connects.
///
/// A taker holds no more than `credit` messages of up to `message` octets that nobody has taken; a
/// giver no more than `outbox` octets and one message that are not written.
///
/// ```
/// use majordomo::config::FlowConfig;
///
/// let config: FlowConfig = toml::from_str("credit = 10\nanswer_timeout = \"off\"")?;
/// assert!(config.validate().is_ok());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowConfig {
    /// Where the broker listens. Default `tcp://127.0.0.1:5555`.
    #[serde(with = "units::text")]
    pub endpoint: Endpoint,
    /// Messages that may be on their way or wait for the taker, 1 to 1,000,000. Default 100. The
    /// other end may lower it. A handler has no more than its client asked for.
    pub credit: u32,
    /// Octets of messages that may be on their way or wait for the taker, 64 KiB to 1 GiB, or off.
    /// With it the end speaks MJP/1 and is no ZIO socket; it holds if both ends are such. A message
    /// may have half of it. Default off.
    #[serde(with = "units::text")]
    pub credit_bytes: Option<usize>,
    /// From the first attempt to connect to the end of the handshake, 10 ms to 10 min. Default 5 s.
    #[serde(with = "units::text")]
    pub connect_timeout: Duration,
    /// How long the answer to BOT is waited for, 10 ms to 1 d, or off. Default 1 min.
    #[serde(with = "units::text")]
    pub answer_timeout: Option<Duration>,
    /// How long the answer to EOT is waited for, 10 ms to 1 d, or off. Default 90 s: a broker
    /// answers in the place of an end that says nothing, after 60 s.
    #[serde(with = "units::text")]
    pub end_timeout: Option<Duration>,
    /// A broker that was silent for so long is sent a PING, and given up if it is silent for as
    /// long again; 10 ms to 10 min. Default 5 s.
    #[serde(with = "units::text")]
    pub ping_interval: Duration,
    /// Octets of one message, both ways, 1 KiB to 1 GiB. Default 16 MiB.
    #[serde(with = "units::text")]
    pub message: usize,
    /// Octets that may wait to be written, 64 KiB to 1 GiB; with more of them a giver waits.
    /// Default 1 MiB.
    #[serde(with = "units::text")]
    pub outbox: usize,
    /// Our key and the broker's, if it speaks CURVE. Default none: it speaks NULL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<CurveFiles>,
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::Tcp(([127, 0, 0, 1], 5555).into()),
            credit: 100,
            credit_bytes: None,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Some(Duration::from_secs(60)),
            end_timeout: Some(Duration::from_secs(90)),
            ping_interval: Duration::from_secs(5),
            message: Limits::default().frame_bytes_max,
            outbox: 1 << 20,
            curve: None,
        }
    }
}

impl FlowConfig {
    /// Whether an end can connect with it.
    ///
    /// # Errors
    /// Every value that cannot be accepted, with the reason and what to do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let key = |name| Key::new("flow", name);
        let (kib, mib, day) = (1 << 10, 1 << 20, ms(86_400_000));
        let mut check = Check::default();
        check.count(key("credit"), self.credit, 1..=1_000_000);
        if let Some(bytes) = self.credit_bytes {
            check.text(key("credit_bytes"), bytes, 64 * kib..=1024 * mib);
        }
        check.text(key("connect_timeout"), self.connect_timeout, ms(10)..=ms(600_000));
        for (name, timeout) in
            [("answer_timeout", self.answer_timeout), ("end_timeout", self.end_timeout)]
        {
            if let Some(timeout) = timeout {
                check.text(key(name), timeout, ms(10)..=day);
            }
        }
        check.text(key("ping_interval"), self.ping_interval, ms(10)..=ms(600_000));
        check.text(key("message"), self.message, kib..=1024 * mib);
        check.text(key("outbox"), self.outbox, 64 * kib..=1024 * mib);
        if let Some(curve) = &self.curve {
            curve.check("flow", &mut check);
        }
        check.into_result()
    }

    /// What the decoder is told.
    pub(crate) fn wire_limits(&self) -> Limits {
        let message = self.message;
        Limits { frame_bytes_max: message, message_bytes_max: message, ..Limits::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_end_gives_the_end_back() {
        let config = FlowConfig {
            credit: 7,
            credit_bytes: Some(1 << 20),
            answer_timeout: None,
            message: 1 << 25,
            ..FlowConfig::default()
        };
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("answer_timeout = \"off\""), "{text}");
        assert_eq!(toml::from_str::<FlowConfig>(&text).unwrap(), config);
    }

    #[test]
    fn every_value_that_no_end_can_have_is_refused_with_its_key() {
        assert!(FlowConfig::default().validate().is_ok());
        type Change = &'static dyn Fn(&mut FlowConfig);
        let cases: [(&str, Change); 9] = [
            ("credit", &|it| it.credit = 0),
            ("credit_bytes", &|it| it.credit_bytes = Some(65_535)),
            ("connect_timeout", &|it| it.connect_timeout = Duration::ZERO),
            ("answer_timeout", &|it| it.answer_timeout = Some(ms(9))),
            ("end_timeout", &|it| it.end_timeout = Some(Duration::ZERO)),
            ("ping_interval", &|it| it.ping_interval = Duration::ZERO),
            ("message", &|it| it.message = 1023),
            ("outbox", &|it| it.outbox = 1),
            ("curve.secret", &|it| {
                it.curve = toml::from_str("secret = \"\"\nserver = \"x\"").ok();
            }),
        ];
        for (key, change) in cases {
            let mut config = FlowConfig::default();
            change(&mut config);
            let said = config.validate().unwrap_err().to_string();
            assert!(said.contains(&format!("flow.{key}: ")), "{key}: {said}");
        }
    }
}
