//! How peers prove who they are, and what they may do then.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use crate::config::{AuthSection, Authorized};
use crate::id::Principal;
use crate::keys::ring::Changes;
use crate::keys::{BrokerKeys, Doorkeeper, KeyError, KeyRing, Known, RingError, Standing};
use crate::proto::handshake::{CurveServer, Fresh, PlainServer, Security};
use crate::proto::rights::Grants;
use crate::wire::greeting::Mechanism;

/// The broker's keys, and who may come in.
#[derive(Debug)]
pub(super) struct Guard {
    auth: AuthSection,
    doorkeeper: Option<Arc<Doorkeeper>>,
    keys: RwLock<Option<Arc<BrokerKeys>>>,
    /// Read again by one after the other: what was read last holds.
    reloading: Mutex<()>,
}

/// Why nobody can be let in, or nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The broker's key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file of authorized keys cannot be used.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// What reading keys and rights again has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Keys, users and roles that came, went or changed.
    pub changes: Changes,
    /// The broker has another key.
    pub broker_key: bool,
    /// Connections that were closed, as they may not be here any more.
    pub closed: usize,
}

/// What has changed, in one line.
impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.changes.list.iter().map(ToString::to_string).collect();
        if self.broker_key {
            words.push("the broker's key".into());
        }
        f.write_str(if words.is_empty() { "nothing has changed" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

impl Guard {
    /// Reads what the configuration names. It blocks.
    pub(super) fn read(auth: &AuthSection, now: SystemTime) -> Result<Self, GuardError> {
        let ring = match &auth.authorized {
            Authorized::Off => None,
            Authorized::Any => Some(KeyRing::any()),
            Authorized::File(path) => Some(KeyRing::read(path)?),
        };
        let doorkeeper = ring.map(|ring| Arc::new(Doorkeeper::new(ring, super::shared::now)));
        let keys = RwLock::new(read_keys(auth, now)?);
        Ok(Self { auth: auth.clone(), doorkeeper, keys, reloading: Mutex::default() })
    }

    /// Reads the same files again: all of it holds from now on, or nothing has changed. It blocks.
    pub(super) fn reload(&self, now: SystemTime) -> Result<Reloaded, GuardError> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = read_keys(&self.auth, now)?;
        let changes = match &self.doorkeeper {
            Some(doorkeeper) => doorkeeper.reload()?,
            None => Changes::default(),
        };
        let mut present = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let broker_key = *present != keys;
        *present = keys;
        Ok(Reloaded { changes, broker_key, closed: 0 })
    }

    /// Who decides about keys, if there are any.
    pub(super) fn doorkeeper(&self) -> Option<&Arc<Doorkeeper>> {
        self.doorkeeper.as_ref()
    }

    /// What a connection from there has to prove at an endpoint with that mechanism. `None`: there
    /// is nothing to prove it with, or the system has no randomness.
    pub(super) fn security(
        &self,
        mechanism: Mechanism,
        from: Principal,
        now: SystemTime,
    ) -> Option<Security> {
        let authority = || self.doorkeeper.as_ref().map(|keeper| keeper.at_the_door(from));
        Some(match mechanism {
            Mechanism::Null => Security::Null,
            Mechanism::Plain => Security::PlainServer(PlainServer { authority: authority()? }),
            Mechanism::Curve => {
                let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()?;
                let old = keys.old.as_ref().filter(|(_, until)| *until > now);
                Security::CurveServer(CurveServer {
                    present: keys.present.clone(),
                    old: old.map(|(old, _)| old.clone()),
                    fresh: Fresh::filled(getrandom::fill).ok()?,
                    authority: authority()?,
                })
            }
        })
    }

    /// What somebody who is here may do; `None`: he may not be here.
    ///
    /// Without a file of keys everybody may do everything but administer, and who comes in by a
    /// file of which he is the owner may do that too.
    pub(super) fn known(&self, principal: &Principal) -> Option<Known> {
        let Some(doorkeeper) = &self.doorkeeper else {
            let local = *principal == Principal::Local;
            let grants = if local { Grants::everything() } else { Grants::all_but_admin() };
            return Some(Known { grants, name: None, proof: 0 });
        };
        match doorkeeper.judge(principal) {
            Standing::Known(known) => Some(known),
            Standing::Denied | Standing::Unknown => None,
        }
    }
}

fn read_keys(auth: &AuthSection, now: SystemTime) -> Result<Option<Arc<BrokerKeys>>, KeyError> {
    let Some(file) = &auth.secret else { return Ok(None) };
    BrokerKeys::read(file, auth.overlap, now).map(|keys| Some(Arc::new(keys)))
}
