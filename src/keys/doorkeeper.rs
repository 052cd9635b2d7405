//! The doorkeeper: asked about everybody who knocks, told by operators what to answer.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use super::pending::{Pending, Stranger};
use super::ring::approval::{Approval, Given};
use super::ring::edit::{self, EditError};
use super::ring::{Changes, KeyRing, RingError, Standing};
use super::text::public_from_text;
use crate::id::{Principal, PublicKey};
use crate::proto::handshake::{Authority, Claim, Verdict};

/// Knows the ring, and who knocked in vain.
///
/// It is asked in the middle of handshakes and answers from its tables; only what changes the file
/// or reads it again blocks.
pub struct Doorkeeper {
    ring: RwLock<Arc<KeyRing>>,
    pending: Mutex<Pending>,
    /// One change of the file after the other.
    changing: Mutex<()>,
    clock: fn() -> Instant,
}

/// What a change has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The keys that it was about.
    pub keys: Vec<PublicKey>,
    /// What is different now. Who has come in under the ring before is to be judged again, unless
    /// nothing is.
    pub changes: Changes,
}

impl Doorkeeper {
    /// One who goes by that ring. `clock` says when somebody knocks.
    #[must_use]
    pub fn new(ring: KeyRing, clock: fn() -> Instant) -> Self {
        Self {
            ring: RwLock::new(Arc::new(ring)),
            pending: Mutex::default(),
            changing: Mutex::default(),
            clock,
        }
    }

    /// The ring as it is now.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who decides about one connection. `from`: the principal that it is without a key, which is
    /// where it comes from.
    #[must_use]
    pub fn at_the_door(self: &Arc<Self>, from: Principal) -> Arc<dyn Authority> {
        Arc::new(Door { keeper: self.clone(), from })
    }

    /// What somebody may do who has come in, or is to be judged again.
    #[must_use]
    pub fn judge(&self, principal: &Principal) -> Standing {
        self.ring().judge(principal)
    }

    /// The keys that knocked in vain, the last one first.
    #[must_use]
    pub fn pending(&self) -> Vec<Stranger> {
        self.strangers().list((self.clock)())
    }

    /// Reads the file again. All of it holds from now on, or nothing has changed. It blocks.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn reload(&self) -> Result<Changes, RingError> {
        let _one = self.changing();
        self.reload_now()
    }

    /// Lets a key in, and writes that into the file. `who` is a key in Z85, or the fingerprint of
    /// one that knocked or is denied. It blocks.
    ///
    /// # Errors
    /// Nobody knows it, or the file cannot be changed.
    pub fn approve(&self, who: &str, name: Option<&str>, given: Given) -> Result<Done, EditError> {
        let _one = self.changing();
        let (path, key) = (self.file()?, self.only_one(who)?);
        let name = name.map_or_else(|| default_name(&key), str::to_owned);
        self.decided(edit::approve(&path, &Approval { key, name, given }).map(|_| vec![key]))
    }

    /// Denies keys for good, and writes that into the file. `who` is a key in Z85, the fingerprint
    /// of one that knocked or may come in, or the name of those who may. It blocks.
    ///
    /// # Errors
    /// Nobody knows it, or the file cannot be changed.
    pub fn deny(&self, who: &str, name: Option<&str>) -> Result<Done, EditError> {
        let _one = self.changing();
        let (path, keys) = (self.file()?, self.named(who)?);
        self.decided(edit::deny(&path, &keys, name).map(|_| keys))
    }

    /// Takes keys out of the file: a key in Z85, a fingerprint, or all of a name. It blocks.
    ///
    /// # Errors
    /// The file has none of them, or cannot be changed.
    pub fn revoke(&self, who: &str) -> Result<Done, EditError> {
        let _one = self.changing();
        self.decided(edit::revoke(&self.file()?, who))
    }

    fn decided(&self, written: Result<Vec<PublicKey>, EditError>) -> Result<Done, EditError> {
        let keys = match written {
            Ok(keys) => keys,
            Err(error) => {
                // The new file may be there nevertheless, and not be on the disk: what it says holds.
                if matches!(error, EditError::Ring(_)) {
                    let _ = self.reload_now();
                }
                return Err(error);
            }
        };
        let changes = self.reload_now()?;
        let ring = self.ring();
        let mut strangers = self.strangers();
        let is_known = |key: &PublicKey| ring.judge(&Principal::Key(*key)) != Standing::Unknown;
        for key in keys.iter().filter(|key| is_known(key)) {
            strangers.remove(key);
        }
        Ok(Done { keys, changes })
    }

    fn reload_now(&self) -> Result<Changes, RingError> {
        let old = self.ring();
        let new = old.read_again()?;
        let changes = old.diff(&new);
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(changes)
    }

    fn file(&self) -> Result<PathBuf, EditError> {
        self.ring().path().map(Path::to_owned).ok_or(EditError::Any)
    }

    /// The keys that go by `who`, of those that anybody knows.
    fn named(&self, who: &str) -> Result<Vec<PublicKey>, EditError> {
        if let Some(key) = public_from_text(who) {
            return Ok(vec![key]);
        }
        let known = self.ring().named(who).into_iter().filter_map(|principal| match principal {
            Principal::Key(key) => Some(key),
            _ => None,
        });
        let known: Vec<_> = known.collect();
        let stranger = || self.strangers().named(who).map(|key| vec![key]);
        Some(known).filter(|keys| !keys.is_empty()).or_else(stranger).ok_or_else(|| not_found(who))
    }

    /// The key that goes by `who`; a name of several is none.
    fn only_one(&self, who: &str) -> Result<PublicKey, EditError> {
        match self.named(who)?.as_slice() {
            [key] => Ok(*key),
            keys => Err(EditError::Wrong(format!(
                "{} keys have that name; say the fingerprint of one",
                keys.len()
            ))),
        }
    }

    fn knocked(&self, key: PublicKey, from: Principal) {
        self.strangers().note((self.clock)(), key, from);
    }

    fn strangers(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, claim: &Claim<'_>, from: Principal) -> Verdict {
        match claim {
            Claim::Key(key) => match self.judge(&Principal::Key(*key)) {
                Standing::Known(_) => Verdict::Admit,
                Standing::Denied => Verdict::Refuse,
                Standing::Unknown => {
                    self.knocked(*key, from);
                    Verdict::Later
                }
            },
            Claim::Password { user, password } => {
                match self.ring().login(user.as_bytes(), password) {
                    Some(_) => Verdict::Admit,
                    None => Verdict::Refuse,
                }
            }
        }
    }
}

fn not_found(who: &str) -> EditError {
    EditError::NotFound { who: who.chars().take(64).collect() }
}

/// The name of a key that nobody has named.
#[must_use]
pub fn default_name(key: &PublicKey) -> String {
    format!("key-{}", key.fingerprint().chars().take(9).collect::<String>())
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strangers = self.strangers().len();
        let mut shown = f.debug_struct("Doorkeeper");
        shown.field("ring", &self.ring()).field("strangers", &strangers).finish_non_exhaustive()
    }
}

/// For who does not say where somebody comes from.
impl Authority for Doorkeeper {
    fn judge(&self, claim: &Claim<'_>) -> Verdict {
        self.decide(claim, Principal::Local)
    }
}

/// The doorkeeper, asked about one connection.
#[derive(Debug)]
struct Door {
    keeper: Arc<Doorkeeper>,
    from: Principal,
}

impl Authority for Door {
    fn judge(&self, claim: &Claim<'_>) -> Verdict {
        self.keeper.decide(claim, self.from)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::error::KeyError;
    use super::super::text::text_of_public;
    use super::*;
    use crate::id::UserName;
    use crate::proto::rights::Verb;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn key(octet: u8) -> PublicKey {
        PublicKey([octet; 32])
    }

    fn client() -> Given {
        Given { roles: vec!["client".into()], ..Given::default() }
    }

    fn told(done: &Done) -> Vec<String> {
        done.changes.list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_stranger_is_remembered_approved_and_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        fs::write(&path, "# mine\n").unwrap();
        let keeper = Arc::new(Doorkeeper::new(KeyRing::read(&path).unwrap(), now));
        let from = Principal::Address([1; 16]);
        let door = keeper.at_the_door(from);
        let (claim, fingerprint) = (Claim::Key(key(1)), key(1).fingerprint());
        assert_eq!(door.judge(&claim), Verdict::Later);
        assert_eq!(door.judge(&claim), Verdict::Later);
        let [stranger] = keeper.pending()[..] else { panic!() };
        assert_eq!((stranger.key, stranger.attempts, stranger.from), (key(1), 2, from));

        let done = keeper.approve(&fingerprint, None, client()).unwrap();
        let name = format!("key-{}", &fingerprint[..9]);
        assert_eq!(told(&done), [format!("added key {name} ({fingerprint})")]);
        assert_eq!((keeper.pending().len(), door.judge(&claim)), (0, Verdict::Admit));
        let Standing::Known(known) = keeper.judge(&Principal::Key(key(1))) else { panic!() };
        assert_eq!(known.name.as_deref(), Some(&*name));
        assert!(known.grants.allows(Verb::Call, b"x"));
        let again = keeper.approve(&fingerprint, None, client()).unwrap();
        assert!(again.changes.is_empty(), "said once more, it is so already");

        let done = keeper.revoke(&name).unwrap();
        assert_eq!(told(&done), [format!("removed key {name} ({fingerprint})")]);
        assert_eq!((door.judge(&claim), keeper.pending().len()), (Verdict::Later, 1));
        let done = keeper.deny(&fingerprint, Some("mallory")).unwrap();
        assert_eq!(told(&done), [format!("added denied mallory ({fingerprint})")]);
        assert_eq!((door.judge(&claim), keeper.pending().len()), (Verdict::Refuse, 0));
        // Minds change.
        keeper.approve("mallory", Some("mal"), client()).unwrap();
        assert_eq!(door.judge(&claim), Verdict::Admit);
        keeper.deny("mal", None).unwrap();
        assert_eq!(door.judge(&claim), Verdict::Refuse);
        assert!(fs::read_to_string(&path).unwrap().starts_with("# mine\n"));
        let other = text_of_public(&key(2));
        keeper
            .approve(&other, Some("ben"), Given { services: vec!["x".into()], ..Given::default() })
            .unwrap();
        assert_eq!(door.judge(&Claim::Key(key(2))), Verdict::Admit);
    }

    #[test]
    fn what_cannot_be_done_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let two = |one, two| {
            let key =
                |key| format!("[[key]]\nname = \"twin\"\nkey = \"{}\"\n", text_of_public(&key));
            key(one) + &key(two)
        };
        fs::write(&path, two(key(1), key(2))).unwrap();
        let keeper = Arc::new(Doorkeeper::new(KeyRing::read(&path).unwrap(), now));
        let nobody = EditError::NotFound { who: "nobody".into() };
        assert_eq!(keeper.approve("nobody", None, client()), Err(nobody.clone()));
        assert_eq!(keeper.deny("nobody", None), Err(nobody.clone()));
        assert_eq!(keeper.revoke("nobody"), Err(nobody));
        let said = keeper.approve("twin", None, client()).unwrap_err();
        assert!(said.to_string().starts_with("2 keys have that name"), "{said}");
        let said = keeper.approve(&key(1).fingerprint(), Some("x"), client());
        assert_eq!(said, Err(EditError::Taken { name: "twin".into(), line: 1 }));
        fs::write(&path, "[[key]]\n").unwrap();
        assert!(matches!(keeper.reload(), Err(RingError::Content(..))));
        assert!(matches!(keeper.revoke("twin"), Err(EditError::Ring(_))));
        assert_eq!(keeper.ring().keys_len(), 2, "the last good file holds");
        fs::write(&path, two(key(1), key(3))).unwrap();
        assert_eq!(keeper.reload().unwrap().list.len(), 2);
        assert_eq!(keeper.deny("twin", None).unwrap().keys, [key(1), key(3)]);
        assert_eq!(keeper.ring().keys_len(), 0);
    }

    #[test]
    fn what_is_in_the_file_holds_though_the_change_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        edit::approve(&path, &Approval { key: key(1), name: "anna".into(), given: client() })
            .unwrap();
        let keeper = Arc::new(Doorkeeper::new(KeyRing::read(&path).unwrap(), now));
        assert_eq!(Authority::judge(&*keeper, &Claim::Key(key(1))), Verdict::Admit);
        // As if the folder could not be brought to the disk afterwards.
        edit::deny(&path, &[key(1)], None).unwrap();
        let error = KeyError::Unwritable { path, reason: "full".into() };
        assert_eq!(keeper.decided(Err(error.clone().into())), Err(error.into()));
        assert_eq!(Authority::judge(&*keeper, &Claim::Key(key(1))), Verdict::Refuse);
    }

    #[test]
    fn who_admits_every_key_has_no_file_to_change() {
        let keeper = Arc::new(Doorkeeper::new(KeyRing::any(), now));
        assert_eq!(Authority::judge(&*keeper, &Claim::Key(key(1))), Verdict::Admit);
        assert_eq!(keeper.pending(), []);
        assert!(keeper.reload().unwrap().is_empty());
        assert_eq!(keeper.revoke("x"), Err(EditError::Any));
    }

    #[test]
    fn users_come_in_by_their_password() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("pw"), "hunter2\n").unwrap();
        fs::set_permissions(at("pw"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(at("keys"), "[[user]]\nname = \"anna\"\npassword_file = \"pw\"\n").unwrap();
        let keeper = Doorkeeper::new(KeyRing::read(&at("keys")).unwrap(), now);
        let knock = |name: &str, password: &[u8]| {
            let user = UserName::try_from(name.as_bytes()).unwrap();
            Authority::judge(&keeper, &Claim::Password { user, password })
        };
        assert_eq!(knock("anna", b"hunter2"), Verdict::Admit);
        assert_eq!(knock("anna", b"hunter3"), Verdict::Refuse);
        assert_eq!(knock("ben", b"hunter2"), Verdict::Refuse);
        assert!(!format!("{keeper:?}").contains("hunter"));
    }
}
