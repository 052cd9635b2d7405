//! What a change of the file has changed.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use super::{Holder, KeyRing, User};
use crate::id::PublicKey;
use crate::proto::rights::Rule;

/// Changes that are told one by one.
const TOLD_MAX: usize = 1_000;

/// What was done with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It has other rights, or another name.
    Changed,
    /// It is gone.
    Removed,
}

impl ChangeKind {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// What it is about: `role`, `key`, `denied` or `user`.
    pub what: &'static str,
    /// Its name; empty if it has none.
    pub name: String,
    /// Of a key.
    pub fingerprint: Option<String>,
    /// What was done.
    pub kind: ChangeKind,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.what)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        self.fingerprint.as_ref().map_or(Ok(()), |fingerprint| write!(f, " ({fingerprint})"))
    }
}

/// All changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The first thousand, by kind and name.
    pub list: Vec<Change>,
    /// So many more there are.
    pub more: usize,
}

impl Changes {
    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

pub(super) fn diff(old: &KeyRing, new: &KeyRing) -> Changes {
    let mut list = Vec::new();
    let mut note = |what, name: &str, key: Option<&PublicKey>, kind| {
        let fingerprint = key.map(PublicKey::fingerprint);
        list.push(Change { what, name: name.to_owned(), fingerprint, kind });
    };
    let (before, after) =
        [old, new].map(|ring| ring.roles.iter().collect::<HashMap<_, _>>()).into();
    between(
        &before,
        &after,
        |a, b| same_rules(a, b),
        |name, _, kind| note("role", name, None, kind),
    );
    between(&old.keys, &new.keys, same_holder, |key, holder, kind| {
        note("key", &holder.name, Some(key), kind);
    });
    let same_name = |a: &_, b: &_| a == b;
    between(&old.denied, &new.denied, same_name, |key, name, kind| {
        note("denied", name.as_deref().unwrap_or_default(), Some(key), kind);
    });
    let same_user =
        |a: &User, b: &User| a.password == b.password && same_holder(&a.holder, &b.holder);
    between(&old.users, &new.users, same_user, |_, user, kind| {
        note("user", &user.holder.name, None, kind);
    });
    list.sort_unstable();
    let more = list.len().saturating_sub(TOLD_MAX);
    list.truncate(TOLD_MAX);
    Changes { list, more }
}

fn between<K: Eq + Hash, V>(
    old: &HashMap<K, V>,
    new: &HashMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
    mut note: impl FnMut(&K, &V, ChangeKind),
) {
    for (key, value) in new {
        match old.get(key) {
            None => note(key, value, ChangeKind::Added),
            Some(before) if !same(before, value) => note(key, value, ChangeKind::Changed),
            Some(_) => {}
        }
    }
    for (key, value) in old.iter().filter(|(key, _)| !new.contains_key(key)) {
        note(key, value, ChangeKind::Removed);
    }
}

fn same_holder(a: &Holder, b: &Holder) -> bool {
    a.name == b.name && a.roles == b.roles && same_rules(&a.own, &b.own)
}

/// Whether the same is written, in whichever lines.
fn same_rules(a: &[Rule], b: &[Rule]) -> bool {
    let what = |rule: &Rule| (rule.deny, rule.verb, rule.pattern.clone());
    a.iter().map(what).eq(b.iter().map(what))
}
