//! `[auth]`: who may come in, and how they prove who they are.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::check::{Check, ms, open};
use super::key::Key;
use super::{BrokerConfig, units};
use crate::transport::endpoint::Endpoint;
use crate::wire::greeting::Mechanism;

/// `[auth]`: who may come in, and how they prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSection {
    /// File with the broker's secret key of CURVE. With one, all TCP endpoints speak CURVE, but
    /// those of `plain` and `null`. Default off.
    #[serde(with = "units::text")]
    pub secret: Option<PathBuf>,
    /// Whose keys and passwords are good, and what they may do. Default off.
    #[serde(with = "units::text")]
    pub authorized: Authorized,
    /// Endpoints of `broker.bind` that speak PLAIN. Default none.
    #[serde(with = "units::texts")]
    pub plain: Vec<Endpoint>,
    /// Endpoints of `broker.bind` that speak NULL although there is a key; those of `ipc://` do
    /// anyway. Default none.
    #[serde(with = "units::texts")]
    pub null: Vec<Endpoint>,
    /// How long the broker's key before the present one is still good after a rotation, 0 s to
    /// 365 d. Default 7 d.
    #[serde(with = "units::text")]
    pub overlap: Duration,
    /// Networks that peers may come from, over TCP; none: from everywhere. Default none.
    #[serde(with = "units::texts")]
    pub networks: Vec<IpNet>,
    /// Connections of one key, 1 to 1,000,000. Default 1,024.
    pub connections_per_key: usize,
}

impl Default for AuthSection {
    fn default() -> Self {
        Self {
            secret: None,
            authorized: Authorized::Off,
            plain: Vec::new(),
            null: Vec::new(),
            overlap: Duration::from_secs(7 * 86_400),
            networks: Vec::new(),
            connections_per_key: 1024,
        }
    }
}

/// Whose keys and passwords are good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Authorized {
    /// Nobody's.
    #[default]
    Off,
    /// Every key that speaks CURVE, for everything but administration.
    Any,
    /// Those of this file, for what it says.
    File(PathBuf),
}

impl BrokerConfig {
    /// The mechanism that peers have to speak at an endpoint of `broker.bind`.
    #[must_use]
    pub fn mechanism_at(&self, endpoint: &Endpoint) -> Mechanism {
        if self.auth.plain.contains(endpoint) {
            Mechanism::Plain
        } else if self.auth.secret.is_none()
            || self.auth.null.contains(endpoint)
            || matches!(endpoint, Endpoint::Ipc(_))
        {
            Mechanism::Null
        } else {
            Mechanism::Curve
        }
    }

    /// Whether other machines reach that endpoint, and what they say there is not encrypted.
    #[must_use]
    pub fn is_open(&self, endpoint: &Endpoint) -> bool {
        !endpoint.is_loopback() && self.mechanism_at(endpoint) != Mechanism::Curve
    }

    pub(super) fn check_auth(&self, check: &mut Check) {
        let key = |name| Key::new("auth", name);
        let auth = &self.auth;
        check.text(key("overlap"), auth.overlap, Duration::ZERO..=ms(365 * 86_400_000));
        check.count(key("connections_per_key"), auth.connections_per_key, 1..=1_000_000);
        if auth.secret.is_some() && auth.authorized == Authorized::Off {
            check.refuse(
                key("authorized"),
                "nobody could come in; name a file of keys (--authorized-keys FILE), or say \
                 \"any\" to admit every key"
                    .into(),
            );
        }
        let file = matches!(auth.authorized, Authorized::File(_));
        if !auth.plain.is_empty() && !file {
            let reason = "PLAIN needs users; name the file that has them";
            check.refuse(key("authorized"), reason.into());
        }
        if auth.secret.is_none() && auth.authorized == Authorized::Any {
            let reason = "\"any\" is about keys, and the broker has none; set auth.secret \
                          (--curve-secret FILE), made by majordomo key new broker";
            check.refuse(key("authorized"), reason.into());
        }
        for (name, endpoints) in [("plain", &auth.plain), ("null", &auth.null)] {
            for endpoint in endpoints.iter().filter(|it| !self.broker.bind.contains(it)) {
                let reason = format!("{endpoint} is not one of broker.bind; bind it there too");
                check.refuse(key(name), reason);
            }
        }
        for both in auth.plain.iter().filter(|endpoint| auth.null.contains(endpoint)) {
            check.refuse(key("null"), format!("{both} stands in auth.plain too; remove one"));
        }
        for endpoint in &self.broker.bind {
            if !self.broker.insecure && self.is_open(endpoint) {
                check.refuse(Key::new("broker", "bind"), open(endpoint, "tcp://127.0.0.1:5555"));
            }
        }
    }
}
