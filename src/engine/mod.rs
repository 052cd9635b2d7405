//! Clients of servers that others run: etcd and RabbitMQ, each behind a feature of its own.

use std::fmt;

use zeroize::Zeroizing;

#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;

/// A password or a token: never shown, and wiped from memory in the end.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// For whoever has to send it.
    #[must_use]
    pub fn expose(&self) -> &String {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
