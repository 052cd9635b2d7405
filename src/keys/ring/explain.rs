//! Why somebody may do something, or may not.

use std::sync::Arc;

use super::edit::EditError;
use super::{KeyRing, Standing, build};
use crate::id::{Principal, PublicKey};
use crate::keys::text::public_from_text;
use crate::proto::rights::{Decision, Grants, Rule, Verb};
use crate::wire::mjp::DecisionReport;

/// Whether somebody may do something, and which line decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Of a key.
    pub fingerprint: Option<String>,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Whether it may.
    pub allowed: bool,
    /// Why: `role billing`, `no rule allows it`.
    pub because: String,
    /// The line of the file that decides, if one does.
    pub line: Option<u32>,
    /// The rule that stands there.
    pub rule: Option<String>,
}

impl Explanation {
    /// As it is told.
    #[must_use]
    pub fn report(&self) -> DecisionReport<'_> {
        DecisionReport {
            allowed: self.allowed,
            fingerprint: self.fingerprint.as_deref(),
            name: self.name.as_deref(),
            because: &self.because,
            line: self.line,
            rule: self.rule.as_deref(),
        }
    }
}

impl KeyRing {
    /// Whether all that go by `who` may do something, as `call billing.invoice`; `who` is a
    /// fingerprint, a key in Z85, or the name of keys or a user.
    ///
    /// # Errors
    /// Nobody goes by that, or that is nothing that can be done.
    pub fn test(&self, who: &str, what: &str) -> Result<Vec<Explanation>, EditError> {
        let (verb, pattern) = build::rule(what).map_err(EditError::Wrong)?;
        let name = pattern.to_string();
        if name.ends_with('*') {
            let why = format!("`{name}` is no name; test what is done with one name, without `*`");
            return Err(EditError::Wrong(why));
        }
        let key = public_from_text(who).map(Principal::Key);
        let mut found = self.named(who);
        if found.is_empty() {
            // Here all keys are the same.
            let any = self.is_any().then_some(Principal::Key(PublicKey([0; PublicKey::LEN])));
            found.extend(key.or(any));
        }
        if found.is_empty() {
            return Err(EditError::NotFound { who: who.chars().take(64).collect() });
        }
        Ok(found.iter().map(|principal| self.explain(principal, verb, name.as_bytes())).collect())
    }

    fn explain(&self, principal: &Principal, verb: Verb, name: &[u8]) -> Explanation {
        let none = PublicKey([0; PublicKey::LEN]);
        let mut why = Explanation {
            fingerprint: match principal {
                Principal::Key(key) if *key != none => Some(key.fingerprint()),
                _ => None,
            },
            name: None,
            allowed: false,
            because: String::new(),
            line: None,
            rule: None,
        };
        match self.judge(principal) {
            Standing::Known(known) => {
                why.name = known.name;
                self.decide(&mut why, principal, &known.grants, (verb, name));
            }
            Standing::Denied => why.because = "the key is denied".into(),
            Standing::Unknown => why.because = "nobody has approved the key".into(),
        }
        why
    }

    fn decide(
        &self,
        why: &mut Explanation,
        principal: &Principal,
        grants: &Grants,
        (verb, name): (Verb, &[u8]),
    ) {
        let (allowed, source) = match grants.explain(verb, name) {
            Decision::Allowed(source) => (true, source),
            Decision::Denied(source) => (false, source),
            Decision::Default => {
                why.because = "no rule allows it".into();
                return;
            }
        };
        why.allowed = allowed;
        why.because = source.place.to_string();
        why.line = (source.line > 0).then_some(source.line);
        if why.line.is_some() {
            let own = match principal {
                Principal::Key(key) => self.keys.get(key).map(|holder| &holder.own),
                Principal::User(user) => self.users.get(user).map(|user| &user.holder.own),
                _ => None,
            };
            let mut rules = own.into_iter().flatten().chain(self.roles.values().flatten());
            let is_it = |rule: &&Rule| {
                rule.source == source && rule.verb == verb && rule.pattern.matches(name)
            };
            why.rule = rules.find(is_it).map(ToString::to_string);
        }
    }
}
