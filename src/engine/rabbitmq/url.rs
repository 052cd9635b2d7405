//! URLs with users and passwords in them.

use std::fmt;
use std::str::FromStr;

use lapin::uri::{AMQPScheme, AMQPUri};

use super::RabbitError;
use crate::engine::Secret;

/// `amqp://USER:PASSWORD@HOST:PORT/VHOST`; shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl {
    text: Secret,
    server: String,
    user: String,
    vhost: String,
}

impl AmqpUrl {
    /// The host and the port.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The virtual host.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// For the connection.
    pub(super) fn parsed(&self) -> Result<AMQPUri, RabbitError> {
        self.text.expose().parse().map_err(RabbitError::Url)
    }
}

impl FromStr for AmqpUrl {
    type Err = RabbitError;

    fn from_str(text: &str) -> Result<Self, RabbitError> {
        let parsed: AMQPUri = text.parse().map_err(|reason: String| {
            // What is wrong may be the password.
            let shown = reason.lines().next().unwrap_or_default().to_owned();
            let shown =
                if text.contains('@') && shown.contains(text) { String::new() } else { shown };
            RabbitError::Url(format!("{shown}; write amqp://USER:PASSWORD@HOST:PORT/VHOST"))
        })?;
        if parsed.scheme != AMQPScheme::AMQP {
            return Err(RabbitError::Url("only amqp:// is supported, without TLS".into()));
        }
        Ok(Self {
            text: text.to_owned().into(),
            server: format!("{}:{}", parsed.authority.host, parsed.authority.port),
            user: parsed.authority.userinfo.username,
            vhost: parsed.vhost,
        })
    }
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "amqp://{}@{}/{}", self.user, self.server, self.vhost)
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Undoes `%41`.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet == b'%' {
            let digit = |octet: u8| char::from(octet).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            octets.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            octets.push(octet);
        }
    }
    String::from_utf8(octets).ok()
}

/// Makes a part of a path of it.
pub(super) fn percent_encoded(text: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-_.~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            let _ = write!(encoded, "%{octet:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_its_password_not_shown() {
        let url: AmqpUrl = "amqp://joe:s%40crt@example.net:5673/mesh".parse().unwrap();
        assert_eq!((url.server(), url.vhost()), ("example.net:5673", "mesh"));
        assert_eq!(format!("{url} {url:?}").matches("crt").count(), 0);
        assert_eq!("amqp://localhost".parse::<AmqpUrl>().unwrap().server(), "localhost:5672");
        for wrong in ["", "http://localhost", "amqps://localhost/x", "amqp://joe:secret@[::/x"] {
            let error = wrong.parse::<AmqpUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn parts_of_paths_survive() {
        for (plain, encoded) in [("/", "%2F"), ("mesh-1", "mesh-1"), ("a b%ü", "a%20b%25%C3%BC")] {
            assert_eq!(percent_encoded(plain), encoded);
            assert_eq!(percent_decoded(encoded).as_deref(), Some(plain));
        }
        assert_eq!(percent_decoded("%4"), None);
        assert_eq!(percent_decoded("%zz"), None);
    }
}
