//! From the text of a file to a ring.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::document::{Document, Entry, Lists, Login, Reader, Word};
use super::problem::RingError;
use super::{ANONYMOUS, Holder, KeyRing, PASSWORD_MAX, User};
use crate::id::{PublicKey, UserName};
use crate::keys::disk;
use crate::nearest::nearest;
use crate::proto::rights::{Grants, Pattern, Rule, Source, Verb, built_in_role};

/// Roles that need not be written.
const BUILT_IN: [&str; 3] = ["client", "worker", "admin"];

pub(super) fn build(text: &str, path: &Path, salt: [u8; 32]) -> Result<KeyRing, RingError> {
    let mut reader = Reader::new(path, text);
    let Document { roles, keys, users, denied, .. } = reader.document();
    let mut builder = Builder { reader, roles: Roles::default(), shared: HashMap::new() };
    let mut ring = KeyRing { path: Some(path.into()), salt, ..KeyRing::any() };
    for role in roles {
        let place = Arc::from(format!("role {}", role.name.text));
        let rules = builder.rules(&role.lists, &place);
        ring.roles.insert(role.name.text.as_str().into(), rules);
    }
    builder.roles = Roles::of(&ring.roles);
    ring.anonymous = match ring.roles.get(ANONYMOUS) {
        None => Grants::nothing(),
        Some(rules) => Grants::new(rules.clone()).unwrap_or_else(|error| {
            builder.reader.complain(0, format!("role `{ANONYMOUS}`: {error}"));
            Grants::nothing()
        }),
    };
    let mut lines: HashMap<PublicKey, usize> = HashMap::new();
    for key in &keys {
        let holder = builder.holder(key, "key");
        builder.only_once(&mut lines, key.who, key.who_at, "is there already");
        ring.keys.insert(key.who, holder);
    }
    for key in denied {
        let why = "is there already, and is to be either denied or let in";
        builder.only_once(&mut lines, key.key, key.key_at, why);
        ring.denied.insert(key.key, key.name.map(|name| name.text.into()));
    }
    builder.users(&users, path, &mut ring);
    builder.reader.finish()?;
    Ok(ring)
}

/// The roles, written and built in.
#[derive(Default)]
struct Roles(BTreeMap<Arc<str>, Vec<Rule>>);

impl Roles {
    fn of(written: &BTreeMap<Arc<str>, Vec<Rule>>) -> Self {
        let mut roles = written.clone();
        for name in BUILT_IN {
            let place: Arc<str> = format!("role {name}, built in").into();
            roles.entry(name.into()).or_insert_with(|| {
                let named = |rule: Rule| {
                    let source = Source { place: place.clone(), line: 0 };
                    Rule { source, ..rule }
                };
                built_in_role(name).into_iter().flatten().map(named).collect()
            });
        }
        Self(roles)
    }
}

struct Builder<'t> {
    reader: Reader<'t>,
    roles: Roles,
    /// Rights of those who have roles and nothing else: most have the same ones.
    shared: HashMap<Vec<Arc<str>>, Grants>,
}

impl Builder<'_> {
    fn only_once(
        &mut self,
        lines: &mut HashMap<PublicKey, usize>,
        key: PublicKey,
        at: usize,
        why: &str,
    ) {
        match lines.entry(key) {
            Place::Vacant(place) => drop(place.insert(at)),
            Place::Occupied(place) => {
                let line = self.reader.line(*place.get());
                self.reader.complain(at, format!("this key {why}: see line {line}"));
            }
        }
    }

    /// The rules of two lists. `place`: what they belong to.
    fn rules(&mut self, lists: &Lists, place: &Arc<str>) -> Vec<Rule> {
        let lists = [(false, &lists.allow), (true, &lists.deny)];
        let words =
            lists.into_iter().flat_map(|(deny, words)| words.iter().map(move |it| (deny, it)));
        let mut rules = Vec::new();
        for (deny, word) in words {
            let source = Source { place: place.clone(), line: self.reader.line(word.at) };
            match rule(&word.text) {
                Ok((verb, pattern)) => rules.push(Rule { deny, verb, pattern, source }),
                Err(why) => self.reader.complain(word.at, why),
            }
        }
        rules
    }

    /// Somebody who is known; `kind` says what it is.
    fn holder<W>(&mut self, entry: &Entry<W>, kind: &str) -> Holder {
        let Entry { name, who_at, roles, lists, .. } = entry;
        let place: Arc<str> = format!("{kind} {}", name.text).into();
        let own = self.rules(lists, &place);
        let mut names = Vec::new();
        for role in roles {
            match self.roles.0.get_key_value(role.text.as_str()) {
                Some((name, _)) => names.push(name.clone()),
                None => self.unknown_role(role),
            }
        }
        let shared = own.is_empty().then(|| self.shared.get(&names)).flatten();
        let grants = shared.cloned().unwrap_or_else(|| {
            let rules = names.iter().filter_map(|name| self.roles.0.get(name)).flatten();
            let rules = rules.chain(&own).cloned().collect();
            Grants::new(rules).unwrap_or_else(|error| {
                self.reader.complain(*who_at, error.to_string());
                Grants::nothing()
            })
        });
        if own.is_empty() {
            self.shared.entry(names.clone()).or_insert_with(|| grants.clone());
        }
        Holder { name: name.text.as_str().into(), roles: names, own, grants }
    }

    fn unknown_role(&mut self, role: &Word) {
        let known: Vec<&str> = self.roles.0.keys().map(|name| &**name).collect();
        let hint = nearest(&role.text, &known).map_or_else(
            || format!("write [roles.{}], or use client, worker or admin", role.text),
            |name| format!("did you mean `{name}`?"),
        );
        let name = role.text.escape_debug();
        self.reader.complain(role.at, format!("there is no role `{name}`; {hint}"));
    }

    fn users(&mut self, users: &[Entry<Login>], path: &Path, ring: &mut KeyRing) {
        let mut lines: HashMap<UserName, usize> = HashMap::new();
        for user in users {
            let holder = self.holder(user, "user");
            let Login { user: name, password_file } = &user.who;
            if let Some(at) = lines.insert(*name, user.who_at) {
                let line = self.reader.line(at);
                self.reader
                    .complain(user.who_at, format!("this user is there already: see line {line}"));
            }
            match password(path, &password_file.text) {
                Ok(password) => {
                    let password = blake3::keyed_hash(&ring.salt, &password);
                    ring.users.insert(*name, User { holder, password });
                }
                Err(error) => self.reader.complain(password_file.at, error),
            }
        }
    }
}

/// A rule as it is written: `call billing.*`.
pub(in crate::keys) fn rule(text: &str) -> Result<(Verb, Pattern), String> {
    let text = text.trim();
    let Some((verb, pattern)) = text.split_once([' ', '\t']) else {
        let text = text.escape_debug();
        return Err(format!("`{text}` is no rule; write a right and a name, as `call billing.*`"));
    };
    let verb: Verb = verb.parse().map_err(|error| {
        let all = Verb::ALL.map(Verb::as_str);
        nearest(verb, &all).map_or_else(
            || format!("{error}"),
            |near| format!("`{}` is no right; did you mean `{near}`?", verb.escape_debug()),
        )
    })?;
    let pattern = Pattern::try_from(pattern.trim_start()).map_err(|error| error.to_string())?;
    Ok((verb, pattern))
}

/// The password in a file beside the ring's, without the line break at its end.
fn password(ring: &Path, file: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, String> {
    let path = ring.parent().unwrap_or(ring).join(file);
    let mut password =
        disk::read_secret(&path, PASSWORD_MAX + 2).map_err(|error| error.to_string())?;
    for end in [b'\n', b'\r'] {
        if password.last() == Some(&end) {
            password.pop();
        }
    }
    if password.is_empty() || password.len() > PASSWORD_MAX {
        let path = path.display();
        return Err(format!("{path}: a password has 1 to {PASSWORD_MAX} octets on one line"));
    }
    Ok(password)
}
