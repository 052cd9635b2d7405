//! Which key says what of a lease.

use std::sync::Arc;

use crate::lease::LeaseError;
use crate::wire::nuropb::KeyNames;

/// How keys are called.
#[derive(Debug, Clone)]
pub(super) enum Layout {
    /// Our own, below that root.
    Own(Arc<str>),
    /// That of NuroPb.
    Nuropb,
}

/// The keys of one lease.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// What all of them begin with.
    pub(super) prefix: String,
    /// Who holds it.
    pub(super) held: String,
    /// Whether there is a line: then the others are there, too.
    pub(super) own: bool,
}

/// What a key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Who holds the lease.
    Held,
    /// What the holder says.
    Said,
    /// Who is to hold it next.
    Heir,
    /// Somebody waits, by that id.
    Line(&'a str),
    /// A property, by that name.
    Property(&'a str),
}

impl Layout {
    const NUROPB: &str = "/nuropb/";

    pub(super) fn keys(&self, lease: &str) -> Result<Keys, LeaseError> {
        match self {
            Self::Own(root) => {
                let prefix = format!("{root}{}/", escape(lease));
                Ok(Keys { held: format!("{prefix}held"), prefix, own: true })
            }
            Self::Nuropb if lease.contains('/') => {
                let (what, range) = ("the service", "it has no `/` in its name");
                Err(LeaseError::Invalid { what, value: lease.into(), range })
            }
            Self::Nuropb => {
                let names = KeyNames::new(lease);
                let (prefix, held) = (names.prefix().to_owned(), names.leader());
                Ok(Keys { prefix, held, own: false })
            }
        }
    }

    /// What the keys of all leases begin with whose names begin with that.
    pub(super) fn beginning(&self, prefix: &str) -> String {
        match self {
            Self::Own(root) => format!("{root}{}", escape(prefix)),
            Self::Nuropb => format!("{}{prefix}", Self::NUROPB),
        }
    }

    /// The lease to which a key belongs.
    pub(super) fn lease_of(&self, key: &[u8]) -> Option<String> {
        let key = std::str::from_utf8(key).ok()?;
        match self {
            Self::Own(root) => unescape(key.strip_prefix(&**root)?.split_once('/')?.0),
            Self::Nuropb => {
                let (service, _) = key.strip_prefix(Self::NUROPB)?.split_once('/')?;
                Some(service.to_owned())
            }
        }
    }
}

impl Keys {
    pub(super) fn said(&self) -> String {
        format!("{}said", self.prefix)
    }

    pub(super) fn heir(&self) -> String {
        format!("{}heir", self.prefix)
    }

    pub(super) fn line(&self) -> String {
        format!("{}line/", self.prefix)
    }

    /// Where the owner of that lease of etcd waits.
    pub(super) fn place(&self, lease: i64) -> String {
        format!("{}{}", self.line(), id_of(lease))
    }

    pub(super) fn property(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What a key says. None: nothing of this lease, or nothing that is known.
    pub(super) fn part<'a>(&self, key: &'a [u8]) -> Option<Part<'a>> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&*self.prefix)?;
        match (self.own, rest) {
            (true, "held") | (false, "leader") => Some(Part::Held),
            (true, "said") => Some(Part::Said),
            (true, "heir") => Some(Part::Heir),
            (true, rest) => rest.strip_prefix("line/").map(Part::Line),
            (false, name) => Some(Part::Property(name)),
        }
    }
}

/// By what somebody is known who waits: the number of the lease of etcd.
pub(super) fn id_of(lease: i64) -> String {
    format!("{lease:016x}")
}

/// A name without `/`: that and `%` become `%2F` and `%25`.
fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

/// The name again; none if it was not written so.
fn unescape(text: &str) -> Option<String> {
    let name = text.replace("%2F", "/").replace("%25", "%");
    (escape(&name) == text).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_again_in_its_keys_and_no_other_begins_with_them() {
        let layout = Layout::Own("/r/".into());
        for name in ["a", "a/b", "%2F", "a%/line/x", "%", "/", "ä b"] {
            let keys = layout.keys(name).unwrap();
            for key in [&keys.held, &keys.said(), &keys.heir(), &keys.place(-1)] {
                assert_eq!(layout.lease_of(key.as_bytes()).as_deref(), Some(name), "{key}");
                assert!(keys.part(key.as_bytes()).is_some(), "{key}");
            }
            let first: String = name.chars().take(1).collect();
            assert!(keys.prefix.starts_with(&layout.beginning(&first)));
            assert_eq!(keys.prefix.matches('/').count(), 3, "{}", keys.prefix);
        }
        assert_eq!(layout.lease_of(b"/r/%2f/held"), None, "we do not write it so");
        let keys = layout.keys("a").unwrap();
        assert_eq!(keys.part(b"/r/a/line/0f"), Some(Part::Line("0f")));
        assert_eq!(keys.part(b"/r/a%2Fb/held"), None);
        assert_eq!(id_of(-1), "ffffffffffffffff");
    }

    #[test]
    fn those_of_nuropb_are_nuropbs() {
        let keys = Layout::Nuropb.keys("s").unwrap();
        assert_eq!(keys.held, "/nuropb/s/leader");
        assert_eq!(keys.part(b"/nuropb/s/leader"), Some(Part::Held));
        assert_eq!(keys.part(b"/nuropb/s/consume"), Some(Part::Property("consume")));
        assert_eq!(Layout::Nuropb.lease_of(b"/nuropb/s/hw_mark").as_deref(), Some("s"));
        assert!(matches!(Layout::Nuropb.keys("a/b"), Err(LeaseError::Invalid { .. })));
    }
}
