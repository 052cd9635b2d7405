//! What was asked lately and is allowed.

use super::grants::Grants;
use super::rule::Verb;

/// The last few things that were allowed, so that who says the same again costs no look at the
/// rules. It belongs to one [`Grants`]: with others it begins anew.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    names: Vec<(Verb, Box<[u8]>)>,
    /// Which one makes room.
    next: usize,
}

impl Recent {
    /// How many.
    pub(crate) const KEPT: usize = 8;

    /// As [`Grants::allows`].
    pub(crate) fn allows(&mut self, grants: &Grants, verb: Verb, name: &[u8]) -> bool {
        let is_it = |(of, known): &(Verb, Box<[u8]>)| *of == verb && **known == *name;
        if self.names.iter().any(is_it) {
            return true;
        }
        let allowed = grants.allows(verb, name);
        if allowed {
            match self.names.get_mut(self.next) {
                Some(oldest) => *oldest = (verb, name.into()),
                None => self.names.push((verb, name.into())),
            }
            self.next = (self.next + 1) % Self::KEPT;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::super::built_in_role;
    use super::*;

    #[test]
    fn the_last_names_are_known_and_what_is_denied_is_not() {
        let worker = Grants::new(built_in_role("worker").unwrap()).unwrap();
        let mut recent = Recent::default();
        for round in 0..3 {
            for name in 0..20 {
                let name = format!("s{name}");
                assert!(recent.allows(&worker, Verb::Serve, name.as_bytes()), "{round}");
                assert!(!recent.allows(&worker, Verb::Call, name.as_bytes()), "{round}");
            }
            assert_eq!(recent.names.len(), Recent::KEPT);
        }
        let known: Vec<_> = recent.names.iter().map(|(_, name)| name.escape_ascii()).collect();
        let known: Vec<_> = known.into_iter().map(|name| name.to_string()).collect();
        assert!((12..20).all(|name| known.contains(&format!("s{name}"))), "{known:?}");
        let nothing = Grants::nothing();
        assert!(recent.allows(&nothing, Verb::Serve, b"s19"), "it is for one and the same");
        assert!(!Recent::default().allows(&nothing, Verb::Serve, b"s19"));
    }
}
