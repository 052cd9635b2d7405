//! Grants: all that one principal may do.

use std::sync::Arc;

use super::rule::{Rule, Source, Verb};

/// Most rules of one principal. They are gone through one by one.
pub const RULES_MAX: usize = 1024;

/// Too many rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a principal has {count} rules, more than {RULES_MAX}; write patterns with `*` instead")]
pub struct TooManyRules {
    /// How many.
    pub count: usize,
}

/// What was decided, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The first rule that allows it; none denies it.
    Allowed(Source),
    /// The first rule that denies it.
    Denied(Source),
    /// No rule is about it, so it is denied.
    Default,
}

/// What one principal may do. To clone it costs a counter.
///
/// ```
/// use majordomo::proto::rights::{Grants, Rule, Source, Verb};
///
/// let source = Source { place: "role clerk".into(), line: 3 };
/// let allow = Rule { deny: false, verb: Verb::Call, pattern: "billing.*".parse()?, source };
/// let deny = Rule { deny: true, pattern: "billing.refund".parse()?, ..allow.clone() };
/// let clerk = Grants::new(vec![allow, deny])?;
/// assert!(clerk.allows(Verb::Call, b"billing.invoice"));
/// assert!(!clerk.allows(Verb::Call, b"billing.refund"));
/// assert!(!clerk.allows(Verb::Serve, b"billing.invoice"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Everything,
    AllButAdmin,
    Rules(Arc<[Rule]>),
}

/// Everything: for who is not asked for rights.
impl Default for Grants {
    fn default() -> Self {
        Self::everything()
    }
}

impl Grants {
    /// All verbs with all names.
    #[must_use]
    pub const fn everything() -> Self {
        Self(Kind::Everything)
    }

    /// All verbs but `admin`, with all names.
    #[must_use]
    pub const fn all_but_admin() -> Self {
        Self(Kind::AllButAdmin)
    }

    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self(Kind::Rules(Arc::default()))
    }

    /// What these rules allow, at most [`RULES_MAX`] of them, of all roles of the principal
    /// together. Their order decides only which one is named as the reason.
    ///
    /// # Errors
    /// There are more.
    pub fn new(rules: Vec<Rule>) -> Result<Self, TooManyRules> {
        if rules.len() > RULES_MAX {
            return Err(TooManyRules { count: rules.len() });
        }
        Ok(Self(Kind::Rules(rules.into())))
    }

    /// Whether the verb is allowed with the name. What is `served`, `called` and so on has no
    /// wildcards; see [`Self::allows_subscription`].
    #[must_use]
    pub fn allows(&self, verb: Verb, name: &[u8]) -> bool {
        match &self.0 {
            Kind::Everything => true,
            Kind::AllButAdmin => verb != Verb::Admin,
            Kind::Rules(rules) => {
                let (verb, mut allowed) = (decides(rules, verb), false);
                for rule in rules.iter().filter(|rule| rule.verb == verb) {
                    if rule.pattern.matches(name) {
                        if rule.deny {
                            return false;
                        }
                        allowed = true;
                    }
                }
                allowed
            }
        }
    }

    /// Whether one may subscribe to the pattern (SPEC 9.12): all that it can mean is allowed by one
    /// rule, and nothing that it might mean is denied. What stands before its first wildcard is
    /// compared, so it may be refused though all subjects that it means are allowed.
    #[must_use]
    pub fn allows_subscription(&self, subject_pattern: &[u8]) -> bool {
        let Kind::Rules(rules) = &self.0 else { return true };
        // In a valid pattern these are whole tokens.
        let wild = subject_pattern.iter().position(|octet| matches!(octet, b'*' | b'>'));
        let Some(beginning) = wild.and_then(|at| subject_pattern.get(..at)) else {
            return self.allows(Verb::Subscribe, subject_pattern);
        };
        let mut allowed = false;
        for rule in rules.iter().filter(|rule| rule.verb == Verb::Subscribe) {
            if !rule.deny {
                allowed |= rule.pattern.covers(beginning);
            // A wildcard in the first place means no subject of the broker's own.
            } else if rule.pattern.may_meet(beginning)
                && !(beginning.is_empty() && rule.pattern.is_reserved())
            {
                return false;
            }
        }
        allowed
    }

    /// As [`Self::allows`], with the reason.
    #[must_use]
    pub fn explain(&self, verb: Verb, name: &[u8]) -> Decision {
        let rules = match &self.0 {
            Kind::AllButAdmin if verb == Verb::Admin => return Decision::Default,
            Kind::Everything | Kind::AllButAdmin => return Decision::Allowed(Source::built_in()),
            Kind::Rules(rules) => rules,
        };
        let verb = decides(rules, verb);
        let mut about = rules.iter().filter(|rule| rule.verb == verb && rule.pattern.matches(name));
        let Some(first) = about.next() else { return Decision::Default };
        let deny = std::iter::once(first).chain(about).find(|rule| rule.deny);
        match deny {
            Some(rule) => Decision::Denied(rule.source.clone()),
            None => Decision::Allowed(first.source.clone()),
        }
    }

    /// Whether some rule allows the verb with some name, whatever others deny.
    pub(crate) fn allows_some(&self, verb: Verb) -> bool {
        match &self.0 {
            Kind::Everything => true,
            Kind::AllButAdmin => verb != Verb::Admin,
            Kind::Rules(rules) => {
                let verb = decides(rules, verb);
                rules.iter().any(|rule| !rule.deny && rule.verb == verb)
            }
        }
    }

    /// Whether every verb but `admin` is allowed with every name, so that nothing else has to be
    /// asked.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.0, Kind::Rules(_))
    }
}

/// Which right is looked at: of what a member of a group may do besides that is `group` itself, for
/// who has no rule of it at all.
fn decides(rules: &[Rule], verb: Verb) -> Verb {
    let instead = verb.instead().filter(|_| rules.iter().all(|rule| rule.verb != verb));
    instead.unwrap_or(verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(rules: &[&str]) -> Grants {
        let rules = rules.iter().map(|rule| {
            let (deny, rule) = match rule.strip_prefix("deny ") {
                Some(rule) => (true, rule),
                None => (false, *rule),
            };
            let (verb, pattern) = rule.split_once(' ').unwrap();
            let (verb, pattern) = (verb.parse().unwrap(), pattern.try_into().unwrap());
            Rule { deny, verb, pattern, source: Source { place: "test".into(), line: 1 } }
        });
        Grants::new(rules.collect()).unwrap()
    }

    #[test]
    fn what_a_member_may_do_goes_by_its_own_rules_or_by_those_of_being_one() {
        for verb in [Verb::Lead, Verb::Send, Verb::Poll] {
            let own = format!("{verb} Escort.1");
            let denies = format!("deny {verb} Escort.2");
            for (rules, one, two) in [
                (vec!["group Escort.*"], true, true),
                (vec!["group Escort.*", "deny group Escort.2"], true, false),
                // As soon as there is a rule of it, what no rule allows is denied.
                (vec!["group Escort.*", &own], true, false),
                (vec!["group Escort.*", &denies], false, false),
                (vec!["group Escort.*", &own, &denies], true, false),
                (vec!["call *"], false, false),
            ] {
                let grants = grants(&rules);
                let may = |name: &str| grants.allows(verb, name.as_bytes());
                assert_eq!((may("Escort.1"), may("Escort.2")), (one, two), "{rules:?}");
                let why = matches!(grants.explain(verb, b"Escort.1"), Decision::Allowed(_));
                assert_eq!(why, one, "{rules:?}");
            }
        }
        let lead = grants(&["group *", "group.lead Escort.1"]);
        assert!(lead.allows(Verb::Send, b"Escort.2") && lead.allows(Verb::Group, b"Escort.2"));
        assert!(Grants::all_but_admin().allows(Verb::Lead, b"Escort.2"));
    }
}
