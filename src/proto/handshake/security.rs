//! How a connection is secured, with whatever that takes.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroize;

use super::{Authority, Fresh};
use crate::id::{NameError, PublicKey, UserName};
use crate::proto::curve::KeyPair;
use crate::wire::greeting::Mechanism;
use crate::wire::plain::CREDENTIAL_MAX;

/// How the connection is secured, with whatever keys that takes. Which side of the mechanism we
/// are has nothing to do with who dialed, but servers usually accept.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Security {
    /// Not at all.
    #[default]
    Null,
    /// PLAIN: the peer has to say a password.
    PlainServer(PlainServer),
    /// PLAIN: we say ours.
    PlainClient(PlainClient),
    /// CURVE: the peer has to know our key, and to prove its own.
    CurveServer(CurveServer),
    /// CURVE: we know the peer's key, and prove ours.
    CurveClient(CurveClient),
}

impl Security {
    /// The mechanism we announce, and demand.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::Null => Mechanism::Null,
            Self::PlainServer(_) | Self::PlainClient(_) => Mechanism::Plain,
            Self::CurveServer(_) | Self::CurveClient(_) => Mechanism::Curve,
        }
    }

    /// Whether we are the server of the mechanism. NULL has none.
    #[must_use]
    pub fn is_server(&self) -> bool {
        match self {
            Self::PlainServer(_) | Self::CurveServer(_) => true,
            Self::Null | Self::PlainClient(_) | Self::CurveClient(_) => false,
        }
    }
}

/// What a server of PLAIN needs.
#[derive(Debug)]
pub struct PlainServer {
    /// Knows the passwords.
    pub authority: Arc<dyn Authority>,
}

/// What a client of PLAIN needs.
#[derive(Debug)]
pub struct PlainClient {
    /// Who we are.
    pub user: UserName,
    /// What we know.
    pub password: Password,
}

/// A password: 0 to 255 octets, not shown, and wiped when it is dropped.
#[derive(Clone)]
pub struct Password(Box<[u8]>);

impl Password {
    /// The octets, not to be kept.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Password {
    type Error = NameError;

    fn try_from(octets: &[u8]) -> Result<Self, NameError> {
        match octets.len() {
            len if len > CREDENTIAL_MAX => Err(NameError::TooLong { len, max: CREDENTIAL_MAX }),
            _ => Ok(Self(octets.into())),
        }
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What a server of CURVE needs.
#[derive(Debug)]
pub struct CurveServer {
    /// Our long-term key.
    pub present: Arc<KeyPair>,
    /// The one before it, as long as peers may still know us by that.
    pub old: Option<Arc<KeyPair>>,
    /// The randomness of this connection.
    pub fresh: Box<Fresh>,
    /// Knows whose keys are welcome.
    pub authority: Arc<dyn Authority>,
}

/// What a client of CURVE needs.
#[derive(Debug)]
pub struct CurveClient {
    /// The server's long-term key: who does not have its secret half is none.
    pub server: PublicKey,
    /// Our long-term key.
    pub own: Arc<KeyPair>,
    /// The randomness of this connection.
    pub fresh: Box<Fresh>,
}
