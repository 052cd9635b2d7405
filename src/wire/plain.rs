//! PLAIN (RFC 24): a user and a password in clear text, then metadata (SPEC 1.5).
//!
//! ```text
//! client                          server
//! HELLO user, password      --->
//!                           <---  WELCOME
//! INITIATE metadata         --->
//!                           <---  READY metadata
//! ```
//!
//! The server may answer HELLO and INITIATE with ERROR instead.

use super::command;

/// Name of the command that says who the client is.
pub const HELLO: &[u8] = b"HELLO";
/// Name of the command that lets it in.
pub const WELCOME: &[u8] = b"WELCOME";
/// Name of the command that carries the client's metadata.
pub const INITIATE: &[u8] = b"INITIATE";

/// Longest user name and password, octets.
pub const CREDENTIAL_MAX: usize = 255;

/// A command of PLAIN that breaks its layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A length in HELLO runs beyond its end, or there is none.
    #[error("the {what} in HELLO of PLAIN runs beyond its {len} octets of data")]
    Overrun {
        /// `user name` or `password`.
        what: &'static str,
        /// Octets after the name of the command.
        len: usize,
    },
    /// Octets behind the password, or in WELCOME.
    #[error("{command} of PLAIN has {len} octets behind its end")]
    Trailing {
        /// The command.
        command: &'static str,
        /// Octets too many.
        len: usize,
    },
}

/// Who a client says it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Its name, up to 255 octets.
    pub user: &'a [u8],
    /// What it knows, up to 255 octets.
    pub password: &'a [u8],
}

impl std::fmt::Debug for Hello<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hello {{ user: {}, password: .. }}", self.user.escape_ascii())
    }
}

impl<'a> Hello<'a> {
    /// Reads the data of HELLO: all of it.
    ///
    /// # Errors
    /// The lengths do not add up.
    pub fn decode(data: &'a [u8]) -> Result<Self, LayoutError> {
        let (user, rest) =
            credential(data).ok_or(LayoutError::Overrun { what: "user name", len: data.len() })?;
        let (password, rest) =
            credential(rest).ok_or(LayoutError::Overrun { what: "password", len: data.len() })?;
        if !rest.is_empty() {
            return Err(LayoutError::Trailing { command: "HELLO", len: rest.len() });
        }
        Ok(Self { user, password })
    }

    /// Appends the whole frame. What is longer than 255 octets is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (user_len, user) = command::short(self.user);
        let (password_len, password) = command::short(self.password);
        command::frame(HELLO, &[&[user_len], user, &[password_len], password], out);
    }
}

fn credential(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    octets.split_first().and_then(|(&len, rest)| rest.split_at_checked(usize::from(len)))
}

/// Appends WELCOME, which says nothing more.
pub fn encode_welcome(out: &mut Vec<u8>) {
    command::frame(WELCOME, &[], out);
}

/// Reads the data of WELCOME.
///
/// # Errors
/// There are some.
pub fn decode_welcome(data: &[u8]) -> Result<(), LayoutError> {
    match data.len() {
        0 => Ok(()),
        len => Err(LayoutError::Trailing { command: "WELCOME", len }),
    }
}

/// Appends INITIATE with this metadata.
pub fn encode_initiate(metadata: &[u8], out: &mut Vec<u8>) {
    command::frame(INITIATE, &[metadata], out);
}

/// The reason in an ERROR as a server of libzmq 4.3.5 writes it with PLAIN: `5e`, where RFC 37 has
/// `05` and an E. It is none of the commands that begin with the length of their name: that would
/// be 94 octets, of 9.
#[must_use]
pub fn libzmq_error(body: &[u8]) -> Option<&[u8]> {
    let (len, reason) = body.strip_prefix(b"\x5eRROR")?.split_first()?;
    (reason.len() == usize::from(*len) && reason.len() == 3).then_some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_rfc_24() {
        let mut out = Vec::new();
        Hello { user: b"admin", password: b"secret" }.encode(&mut out);
        assert_eq!(out, b"\x04\x13\x05HELLO\x05admin\x06secret");
        out.clear();
        encode_welcome(&mut out);
        encode_initiate(b"\x02X-\0\0\0\0", &mut out);
        assert_eq!(out, b"\x04\x08\x07WELCOME\x04\x10\x08INITIATE\x02X-\0\0\0\0");
    }

    #[test]
    fn a_hello_is_read_whole_or_not_at_all() {
        let whole = b"\x01u\x02pw";
        assert_eq!(Hello::decode(whole), Ok(Hello { user: b"u", password: b"pw" }));
        assert_eq!(Hello::decode(b"\0\0"), Ok(Hello { user: b"", password: b"" }));
        for len in 0..whole.len() {
            let what = if len < 2 { "user name" } else { "password" };
            assert_eq!(Hello::decode(&whole[..len]), Err(LayoutError::Overrun { what, len }));
        }
        let trailing = LayoutError::Trailing { command: "HELLO", len: 1 };
        assert_eq!(Hello::decode(b"\x01u\x02pw!"), Err(trailing));
        let trailing = LayoutError::Trailing { command: "WELCOME", len: 2 };
        assert_eq!((decode_welcome(b""), decode_welcome(b"\0\0")), (Ok(()), Err(trailing)));
    }

    #[test]
    fn the_longest_credentials_fit_and_longer_ones_are_cut() {
        let long = [b'a'; 300];
        for (user, password) in [(255, 255), (256, 300), (0, 255)] {
            let mut out = Vec::new();
            Hello { user: &long[..user], password: &long[..password] }.encode(&mut out);
            let header = super::super::frame::Header::decode(&out).unwrap().unwrap();
            let read = Hello::decode(&out[header.len + 6..]).unwrap();
            assert_eq!((read.user.len(), read.password.len()), (user.min(255), password.min(255)));
        }
    }

    #[test]
    fn the_error_of_libzmq_is_known() {
        // Captured from libzmq 4.3.5, whose authenticator did not know the password.
        assert_eq!(libzmq_error(b"^RROR\x03400"), Some(&b"400"[..]));
        for other in [&b"\x05ERROR\x03400"[..], b"^RROR", b"^RROR\x03", b"^RROR\x0340", b"^"] {
            assert_eq!(libzmq_error(other), None);
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Hello { user: b"me\n", password: b"canary" });
        assert_eq!(shown, "Hello { user: me\\n, password: .. }");
    }
}
