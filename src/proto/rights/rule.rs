//! Rules: one line of what is allowed or denied.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::pattern::Pattern;

/// What can be done with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Send requests to the service.
    Call,
    /// Be a worker of the service.
    Serve,
    /// Publish something about the subject.
    Publish,
    /// Hear what is published about the subject.
    Subscribe,
    /// Have the command of administration carried out.
    Admin,
    /// Be a member of the group.
    Group,
    /// Hold the lease.
    Lease,
    /// Open flows of the flow service.
    Flow,
    /// Have files of the name. Nothing asks for it yet.
    File,
    /// As a member, lead the group.
    Lead,
    /// As a member, say something in the group.
    Send,
    /// As a member, open polls in the group.
    Poll,
}

/// What is no verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is no right; write call, serve, publish, subscribe, admin, group, group.lead, \
     group.send, group.poll, lease, flow or file"
)]
pub struct UnknownVerb {
    /// What was written.
    pub given: String,
}

impl Verb {
    /// All verbs, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Call,
        Self::Serve,
        Self::Publish,
        Self::Subscribe,
        Self::Admin,
        Self::Group,
        Self::Lease,
        Self::Flow,
        Self::File,
        Self::Lead,
        Self::Send,
        Self::Poll,
    ];

    /// As it is written, and the value of the label `right` in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Serve => "serve",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Admin => "admin",
            Self::Group => "group",
            Self::Lease => "lease",
            Self::Flow => "flow",
            Self::File => "file",
            Self::Lead => "group.lead",
            Self::Send => "group.send",
            Self::Poll => "group.poll",
        }
    }

    /// The right that counts for who has no rule of this one at all.
    #[must_use]
    pub(super) fn instead(self) -> Option<Self> {
        match self {
            Self::Lead | Self::Send | Self::Poll => Some(Self::Group),
            Self::Call
            | Self::Serve
            | Self::Publish
            | Self::Subscribe
            | Self::Admin
            | Self::Group
            | Self::Lease
            | Self::Flow
            | Self::File => None,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Verb {
    type Err = UnknownVerb;

    fn from_str(text: &str) -> Result<Self, UnknownVerb> {
        let unknown = || UnknownVerb { given: text.chars().take(64).collect() };
        Self::ALL.into_iter().find(|verb| verb.as_str() == text).ok_or_else(unknown)
    }
}

/// Where a rule is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// What it belongs to, for people: `role worker`, `key billing-1`, `built in`.
    pub place: Arc<str>,
    /// The line of the file, from 1 on; 0 if it is in no file.
    pub line: u32,
}

impl Source {
    /// It is in no file.
    pub(super) fn built_in() -> Self {
        Self { place: "built in".into(), line: 0 }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if self.line == 0 { Ok(()) } else { write!(f, ", line {}", self.line) }
    }
}

/// Allows or denies something for the names that a pattern means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    /// It denies, and beats all rules that allow.
    pub deny: bool,
    /// What.
    pub verb: Verb,
    /// For which names.
    pub pattern: Pattern,
    /// Where it is written.
    pub source: Source,
}

/// `allow call billing.*`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allow = if self.deny { "deny" } else { "allow" };
        write!(f, "{allow} {} {}", self.verb, self.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_written_in_lower_case() {
        for verb in Verb::ALL {
            assert_eq!(verb.to_string().parse(), Ok(verb));
            assert_eq!(Verb::ALL.get(verb as usize), Some(&verb));
        }
        let wrong = "Call".parse::<Verb>().unwrap_err().to_string();
        assert!(wrong.starts_with("`Call` is no right; write call, "), "{wrong}");
    }
}
