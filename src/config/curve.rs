//! The keys of a client or a worker whose broker speaks CURVE.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::key::Key;
use super::units::{self, Text};
use crate::id::PublicKey;
use crate::keys::{KeyError, public_from_text, read_public, read_secret, text_of_public};
use crate::proto::curve::KeyPair;
use crate::transport::session::CurveIdentity;

/// The keys of a client or a worker whose broker speaks CURVE, by the names of their files.
///
/// ```
/// use majordomo::config::{ClientConfig, ServerKey};
///
/// let config: ClientConfig = toml::from_str(
///     "[curve]\nsecret = \"anna.secret\"\nserver = \"DRPV(ZjlbI-atU=1asNq<5?U%9@f<CE@{I#U>Hu}\"",
/// )?;
/// assert!(matches!(config.curve.map(|curve| curve.server), Some(ServerKey::Key(_))));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurveFiles {
    /// Our certificate with its secret key, a file that nobody else can read; `majordomo key new`
    /// makes one.
    pub secret: PathBuf,
    /// The key of the broker: whoever cannot prove that it has it is another one.
    #[serde(with = "units::text")]
    pub server: ServerKey,
}

/// The public key of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerKey {
    /// The key itself.
    Key(PublicKey),
    /// A file that has it: a certificate, or 40 characters of Z85.
    File(PathBuf),
}

impl CurveFiles {
    /// Reads the files. It blocks.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn load(&self) -> Result<CurveIdentity, KeyError> {
        let path = &self.secret;
        let secret = read_secret(path)?.secret;
        let secret = secret.ok_or_else(|| KeyError::NoSecretKey { path: path.clone() })?;
        let server = match &self.server {
            ServerKey::Key(key) => *key,
            ServerKey::File(path) => read_public(path)?.public,
        };
        Ok(CurveIdentity { own: Arc::new(KeyPair::new(secret)), server })
    }

    pub(super) fn check(&self, section: &str, check: &mut Check) {
        if self.secret.as_os_str().is_empty() {
            let key = Key::new(section, "curve.secret");
            check.refuse(
                key,
                "the path is empty; name a file that `majordomo key new` wrote".into(),
            );
        }
    }
}

/// 40 characters that are a key are one, and anything else is a file.
impl Text for ServerKey {
    const LIKE: &'static str = "\"broker.pub\" or a key of 40 characters";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "" => Err(format!("the path is empty; write {}", Self::LIKE)),
            _ => Ok(public_from_text(text).map_or_else(|| Self::File(text.into()), Self::Key)),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Key(key) => text_of_public(key),
            Self::File(path) => path.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::write_pair;

    #[test]
    fn keys_are_read_from_the_files_that_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (anna, secret, public) = write_pair(dir.path(), "anna").unwrap();
        let (broker, _, file) = write_pair(dir.path(), "broker").unwrap();
        let text = text_of_public(&broker.public);
        for server in [file.to_str().unwrap(), &text] {
            let server = ServerKey::read(server).unwrap();
            let files = CurveFiles { secret: secret.clone(), server };
            let keys = files.load().unwrap();
            assert_eq!((keys.own.public(), keys.server), (anna.public, broker.public));
            let written = toml::to_string(&files).unwrap();
            assert_eq!(toml::from_str::<CurveFiles>(&written).unwrap(), files);
        }
        assert!(ServerKey::read("").is_err());
        let server = ServerKey::Key(broker.public);
        let wrong = CurveFiles { secret: public, server };
        assert!(matches!(wrong.load(), Err(KeyError::Exposed { .. })));
    }
}
