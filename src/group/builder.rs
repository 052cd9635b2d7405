//! A connection for groups before it connects, and a group before it is joined.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::{ConnectError, GroupError};
use super::groups::{Channel, Desk, Groups};
use super::kind::GroupKind;
use super::line::connect;
use super::member::Group;
use super::seat::Wants;
use super::task::Task;
use crate::config::MemberConfig;
use crate::wire::mjp::GROUP_NAME_MAX;

/// What may wait for the task; whoever has more waits for a place.
const COMMANDS: usize = 1024;

/// A connection for groups before it connects.
#[derive(Debug, Clone)]
pub struct GroupsBuilder {
    config: MemberConfig,
}

impl From<MemberConfig> for GroupsBuilder {
    fn from(config: MemberConfig) -> Self {
        Self { config }
    }
}

impl GroupsBuilder {
    /// The name it gives itself, up to 255 octets: that of members, too, that are given none.
    /// Default none.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.config.identity = Some(identity.into());
        self
    }

    /// How long the broker may take to answer, 1 ms to 1 h. Default 5 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// First and longest wait before a lost connection is dialed again. Default 50 ms and 2 s.
    #[must_use]
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        (self.config.backoff_min, self.config.backoff_max) = (min, max);
        self
    }

    /// Everything else.
    pub fn config(&mut self) -> &mut MemberConfig {
        &mut self.config
    }

    /// Connects, and goes on connecting by itself whenever the connection is lost. Has to be
    /// called in a tokio runtime, in which the task of the connection runs from then on.
    ///
    /// # Errors
    /// [`ConnectError`]: no broker can be reached now, or it knows no groups.
    ///
    /// # Cancel safety
    /// The attempt is given up.
    pub async fn connect(self) -> Result<Groups, ConnectError> {
        let config = self.config;
        config.validate()?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| ConnectError::Seed(error.to_string()))?;
        let first = connect(config.clone()).await?;
        let (sender, commands) = mpsc::channel(COMMANDS);
        let desk = Arc::new(Desk::new(first.limits));
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let seed = u64::from_ne_bytes(seed);
        let task = Task::new(config.clone(), seed, first, commands, desk.clone(), guard);
        tokio::spawn(task.run());
        Ok(Groups::new(Channel::new(config, sender, desk, ended)))
    }
}

/// A group before it is joined.
#[derive(Debug, Clone)]
#[must_use = "a group is joined by `join`"]
pub struct Join {
    groups: Groups,
    group: String,
    member: Option<String>,
    own: bool,
    kind: GroupKind,
}

impl Join {
    pub(super) fn new(groups: Groups, group: String) -> Self {
        Self { groups, group, member: None, own: true, kind: GroupKind::default() }
    }

    /// What the member calls itself, 1 to 255 octets, of which the first is no `~`. Default: the
    /// identity of the connection, or a name that the broker finds.
    pub fn member(mut self, name: impl Into<String>) -> Self {
        self.member = Some(name.into());
        self
    }

    /// What kind of group it is: the first member makes it so, others rely on it. Default: whatever
    /// it is, and for the first one [`Charter::default`](super::Charter::default).
    pub fn kind(mut self, kind: GroupKind) -> Self {
        self.kind = kind;
        self
    }

    /// What this member sends to all comes back to it. Default yes.
    pub fn own_messages(mut self, own: bool) -> Self {
        self.own = own;
        self
    }

    /// Joins. Whoever joins the same group under the same name over the same connection has the
    /// same membership.
    ///
    /// # Errors
    /// [`GroupError::Invalid`], [`GroupError::Conflict`] if the group is of another kind, or the
    /// membership is held with other [`Self::own_messages`],
    /// [`GroupError::NameTaken`], [`GroupError::Denied`], [`GroupError::Overloaded`],
    /// [`GroupError::NoAnswer`].
    ///
    /// # Cancel safety
    /// It leaves, if nobody else holds the membership.
    pub async fn join(self) -> Result<Group, GroupError> {
        let Self { groups, group, member, own, kind } = self;
        check("the name of a group", &group, GROUP_NAME_MAX)?;
        member.iter().try_for_each(|name| check("the name of a member", name, 255))?;
        kind.validate()?;
        let wants = Wants {
            group: group.into_boxed_str(),
            member: member.map(String::into_boxed_str),
            own,
            kind: kind.clone(),
        };
        let after = groups.config().timeout;
        let joined = async {
            let group = groups.membership(wants).await?;
            group.inner.joined().await?;
            Ok(group)
        };
        let group = match tokio::time::timeout(after, joined).await {
            Ok(group) => group?,
            Err(_) => return Err(GroupError::NoAnswer { after }),
        };
        // It may have been joined before, by somebody who expects something else.
        if group.inner.own != own {
            let message = format!("the membership is held with own_messages({})", !own);
            return Err(GroupError::Conflict { message });
        }
        let conflict = group.kind().and_then(|is| is.conflict(&kind.to_wire()));
        match conflict {
            Some(key) => Err(GroupError::Conflict { message: format!("`{key}` is not so") }),
            None => Ok(group),
        }
    }
}

pub(super) fn check(what: &str, name: &str, max: usize) -> Result<(), GroupError> {
    let len = name.len();
    if (1..=max).contains(&len) {
        return Ok(());
    }
    let message = format!("{what} has {len} octets; give it 1 to {max}");
    Err(GroupError::Invalid { message })
}
