//! Who decides whether somebody who has proven a key, or says a password, gets in.

use std::fmt;

use crate::id::{PublicKey, UserName};

/// What a peer has to show for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim<'a> {
    /// It has the secret key that belongs to this one: that is proven.
    Key(PublicKey),
    /// It says that it knows the password of this user: that is to be found out, with
    /// [`same_secret`].
    Password {
        /// Who it says it is.
        user: UserName,
        /// What it says, up to 255 octets.
        password: &'a [u8],
    },
}

/// A password is not shown.
impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "Key({key})"),
            Self::Password { user, .. } => write!(f, "Password {{ user: {user}, .. }}"),
        }
    }
}

/// What comes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It gets in.
    Admit,
    /// It does not, and never will like this: it is told so with ERROR, and a peer of libzmq gives
    /// up.
    Refuse,
    /// Not now: the connection is closed without a word, and the peer comes again. For a key that
    /// somebody has to approve.
    Later,
}

/// Decides about those who knock at a listener.
///
/// It is asked in the middle of a handshake and has to answer at once: from tables, without waiting
/// for anything.
pub trait Authority: Send + Sync + fmt::Debug {
    /// Whether they get in.
    fn judge(&self, claim: &Claim<'_>) -> Verdict;
}

/// Whether two secrets are the same. How long that takes says nothing of where they differ.
#[must_use]
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    // Of digests, so that the length of a secret does not show either; and they are compared to
    // the end, so that nobody can look for a digest octet by octet.
    let [one, other] = [one, other].map(blake3::hash);
    let octets = one.as_bytes().iter().zip(other.as_bytes());
    std::hint::black_box(octets.fold(0, |differs, (one, other)| differs | (one ^ other))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_the_same_if_each_octet_is() {
        for secret in [&b""[..], b"a", b"secret", &[7; 300]] {
            assert!(same_secret(secret, secret));
            for at in 0..secret.len() {
                let mut other = secret.to_vec();
                other[at] ^= 0x80;
                assert!(!same_secret(secret, &other), "octet {at}");
                assert!(!same_secret(secret, &secret[..at]), "{at} octets");
            }
            assert!(!same_secret(secret, &[secret, b"\0"].concat()));
        }
    }

    #[test]
    fn a_claim_shows_no_password() {
        let user = UserName::try_from(&b"me"[..]).unwrap();
        let shown = format!("{:?}", Claim::Password { user, password: b"canary" });
        assert_eq!(shown, "Password { user: me, .. }");
    }
}
