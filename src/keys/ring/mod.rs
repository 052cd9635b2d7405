//! The key ring: who may come in, and with which rights, from a file of the operator.
//!
//! ```toml
//! [roles.billing]             # client, worker and admin need not be written
//! allow = ["serve billing.*", "call audit.*"]
//! deny = ["serve billing.secret"]
//!
//! [[key]]
//! name = "billing-1"          # two keys of one name: one of them is to go soon
//! key = "DRPV(ZjlbI-atU=1asNq<5?U%9@f<CE@{I#U>Hu}"
//! roles = ["billing"]
//! allow = ["call extra"]
//!
//! [[denied]]
//! key = "52%qr^UILDE[BDc)P]RkMRI.k0GGw*P#tn7CVLy#"
//!
//! [[user]]                    # PLAIN
//! name = "legacy"
//! password_file = "legacy.password"
//! roles = ["client"]
//! ```
//!
//! All of the file holds, or nothing of it.

pub mod approval;
mod build;
mod diff;
mod document;
pub mod edit;
mod explain;
mod problem;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk;
use super::error::KeyError;
use super::text::public_from_text;
use crate::id::{Principal, PublicKey, UserName};
use crate::proto::rights::{Grants, Rule};

pub use diff::{Change, ChangeKind, Changes};
pub use explain::Explanation;
pub use problem::{RingError, RingProblem};

/// Octets of a file of authorized keys.
pub const RING_MAX: usize = 16 << 20;
/// Keys, denied keys and users of one file.
pub const KEYS_MAX: usize = 100_000;
/// Roles of one file.
pub const ROLES_MAX: usize = 1_000;
/// Octets of a name of a key, a user or a role.
pub const NAME_MAX: usize = 255;
/// Octets of a password (RFC 24).
pub const PASSWORD_MAX: usize = 255;

/// The role of who comes in without a key or a password. As long as it is not written, it allows
/// nothing.
pub const ANONYMOUS: &str = "anonymous";

/// The file of authorized keys of mode `rw-rw-rw-` would let everybody in.
const EVERYBODY_WRITES: u32 = 0o002;

/// Who may come in, and what they may do.
pub struct KeyRing {
    /// `None`: every key is known.
    path: Option<PathBuf>,
    roles: BTreeMap<Arc<str>, Vec<Rule>>,
    anonymous: Grants,
    keys: HashMap<PublicKey, Holder>,
    users: HashMap<UserName, User>,
    denied: HashMap<PublicKey, Option<Arc<str>>>,
    /// What passwords are hashed with.
    salt: [u8; 32],
}

/// Somebody who is known.
#[derive(Debug, Clone)]
struct Holder {
    name: Arc<str>,
    roles: Vec<Arc<str>>,
    own: Vec<Rule>,
    grants: Grants,
}

#[derive(Debug, Clone)]
struct User {
    holder: Holder,
    password: blake3::Hash,
}

/// What is known of somebody who wants to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It may come in.
    Known(Known),
    /// It may not, and will not.
    Denied,
    /// Nobody has decided yet.
    Unknown,
}

/// Somebody who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What it may do.
    pub grants: Grants,
    /// The name that the operator has given it.
    pub name: Option<Arc<str>>,
    /// Which password it has proven to know, as a number that says nothing about it; 0 for who has
    /// none. Who has come in by another one is not known any more.
    pub proof: u64,
}

impl KeyRing {
    /// Every key is known, and may do everything but administer.
    #[must_use]
    pub fn any() -> Self {
        Self {
            path: None,
            roles: BTreeMap::new(),
            anonymous: Grants::all_but_admin(),
            keys: HashMap::new(),
            users: HashMap::new(),
            denied: HashMap::new(),
            salt: [0; 32],
        }
    }

    /// Reads a file of authorized keys, and the files of passwords that it names. It blocks.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub fn read(path: &Path) -> Result<Self, RingError> {
        Self::parse(&Self::text(path)?, path)
    }

    /// Reads the same file once more. What [`Self::diff`] says of the two includes passwords.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_again(&self) -> Result<Self, RingError> {
        let Some(path) = &self.path else { return Ok(Self::any()) };
        Self::parse_with(&Self::text(path)?, path, self.salt)
    }

    fn text(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, KeyError> {
        let (file, metadata) = disk::open_file(path)?;
        let mode = disk::mode_of(&metadata);
        if mode & EVERYBODY_WRITES != 0 {
            return Err(KeyError::Writable { path: path.into(), mode });
        }
        disk::read_from(&file, path, RING_MAX)
    }

    /// Reads the text of such a file. Passwords are read from the files that it names, which stand
    /// beside `path`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, RingError> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)
            .map_err(|error| KeyError::NoRandomness { reason: error.to_string() })?;
        Self::parse_with(text, path, salt)
    }

    fn parse_with(text: &[u8], path: &Path, salt: [u8; 32]) -> Result<Self, RingError> {
        let text = std::str::from_utf8(text).map_err(|error| {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|octet| **octet == b'\n').count();
            let (path, line) = (path.to_owned(), u32::try_from(line).unwrap_or(u32::MAX));
            let what = "is no UTF-8; write it anew".into();
            RingError::Content(vec![RingProblem { path, line, column: 1, what }], 0)
        })?;
        build::build(text, path, salt)
    }

    /// Whether every key is known.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.path.is_none()
    }

    /// The file, unless every key is known.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Keys that may come in.
    #[must_use]
    pub fn keys_len(&self) -> usize {
        self.keys.len()
    }

    /// Users that may come in.
    #[must_use]
    pub fn users_len(&self) -> usize {
        self.users.len()
    }

    /// What is known of somebody. Processes of this machine that come in by a Unix domain socket
    /// were let in by the system, and may do everything.
    #[must_use]
    pub fn judge(&self, principal: &Principal) -> Standing {
        let known = |grants, name| Standing::Known(Known { grants, name, proof: 0 });
        let holder = |holder: &Holder| known(holder.grants.clone(), Some(holder.name.clone()));
        let user = |User { holder, password }: &User| {
            let proof =
                password.as_bytes().first_chunk().map_or(0, |octets| u64::from_le_bytes(*octets));
            let (grants, name) = (holder.grants.clone(), Some(holder.name.clone()));
            Standing::Known(Known { grants, name, proof })
        };
        match principal {
            Principal::Local => known(Grants::everything(), None),
            Principal::Address(_) => known(self.anonymous.clone(), None),
            Principal::Key(_) if self.is_any() => known(Grants::all_but_admin(), None),
            Principal::Key(key) if self.denied.contains_key(key) => Standing::Denied,
            Principal::Key(key) => self.keys.get(key).map_or(Standing::Unknown, holder),
            Principal::User(name) => self.users.get(name).map_or(Standing::Denied, user),
        }
    }

    /// The user of that name, if that is its password. It takes as long whether the user is there
    /// or not, and however much of the password is right.
    #[must_use]
    pub fn login(&self, name: &[u8], password: &[u8]) -> Option<UserName> {
        let given = blake3::keyed_hash(&self.salt, password);
        let name = UserName::try_from(name).ok();
        let user = name.and_then(|name| self.users.get(&name));
        let none = blake3::Hash::from_bytes([0; 32]);
        // The hashes are compared in constant time, by their crate.
        let same = user.map_or(none, |user| user.password) == given;
        name.filter(|_| same && user.is_some())
    }

    /// All that go by `who`: a fingerprint, a key in Z85, or the name of keys or a user.
    #[must_use]
    pub fn named(&self, who: &str) -> Vec<Principal> {
        let asked = public_from_text(who);
        let is_asked = |key: &PublicKey, name: Option<&str>| {
            name == Some(who) || asked == Some(*key) || key.fingerprint() == who
        };
        let keys = self.keys.iter().map(|(key, holder)| (key, Some(&*holder.name)));
        let denied = self.denied.iter().map(|(key, name)| (key, name.as_deref()));
        let keys = keys.chain(denied).filter(|(key, name)| is_asked(key, *name));
        let mut found: Vec<_> = keys.map(|(key, _)| Principal::Key(*key)).collect();
        let users = self.users.iter().filter(|(_, user)| &*user.holder.name == who);
        found.extend(users.map(|(user, _)| Principal::User(*user)));
        found.sort_unstable();
        found
    }

    /// What is different in `new`.
    #[must_use]
    pub fn diff(&self, new: &Self) -> Changes {
        diff::diff(self, new)
    }
}

/// How many of what; neither keys nor passwords.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("path", &self.path)
            .field("roles", &self.roles.len())
            .field("keys", &self.keys.len())
            .field("users", &self.users.len())
            .field("denied", &self.denied.len())
            .finish_non_exhaustive()
    }
}

/// Whether a key, a user or a role may have that name: it is shown to people and to workers.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("a name has 1 to {NAME_MAX} octets, this one {}", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err("a name has no control characters".into());
    }
    if is_fingerprint(name) || public_from_text(name).is_some() {
        return Err("a name that looks as a key or a fingerprint may be taken for one; use \
                    another"
            .into());
    }
    Ok(())
}

/// Whether a text looks as a fingerprint does.
fn is_fingerprint(text: &str) -> bool {
    let mut groups = 0;
    let all = text.split('-').all(|group| {
        groups += 1;
        group.len() == 4 && group.bytes().all(|octet| octet.is_ascii_alphanumeric())
    });
    all && groups == 4
}
