//! What ADMIN can ask for (SPEC 9.3).

/// What ADMIN can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Jobs, those that have ended a while ago included.
    Jobs,
    /// One job, and its targets.
    Job,
    /// Peers that ask for services.
    Clients,
    /// Workers, with the names by which they can be kicked.
    Workers,
    /// Flows, those that wait for a handler included.
    Flows,
    /// Peers that are ends of flows, or could be.
    Ends,
    /// End a job.
    Cancel,
    /// Let what comes for a service wait.
    Pause,
    /// Refuse what comes for a service, and finish what waits.
    Drain,
    /// End pause or drain.
    Resume,
    /// Close the connection of a peer.
    Kick,
    /// Have the leader of a group hand over.
    Resign,
    /// Be told what happens.
    Follow,
    /// Keys that knocked in vain.
    KeyPending,
    /// Let a key in.
    KeyApprove,
    /// Deny a key for good.
    KeyDeny,
    /// Take a key out again.
    KeyRevoke,
    /// Whether somebody may do something, and why.
    AclTest,
    /// Read the file of authorized keys again.
    Reload,
    /// Where a request is, and why it is not at a worker; or how a service stands.
    Explain,
    /// Dead letters.
    DeadList,
    /// One of them, with its body.
    DeadShow,
    /// Put dead letters back into their queues.
    DeadRequeue,
    /// Give a dead letter another body, header or service.
    DeadEdit,
    /// Forget dead letters.
    DeadDrop,
    /// Copy the store while the broker works.
    StoreBackup,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Jobs,
        Self::Job,
        Self::Clients,
        Self::Workers,
        Self::Flows,
        Self::Ends,
        Self::Cancel,
        Self::Pause,
        Self::Drain,
        Self::Resume,
        Self::Kick,
        Self::Resign,
        Self::Follow,
        Self::KeyPending,
        Self::KeyApprove,
        Self::KeyDeny,
        Self::KeyRevoke,
        Self::AclTest,
        Self::Reload,
        Self::Explain,
        Self::DeadList,
        Self::DeadShow,
        Self::DeadRequeue,
        Self::DeadEdit,
        Self::DeadDrop,
        Self::StoreBackup,
    ];

    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Job => "job",
            Self::Clients => "clients",
            Self::Workers => "workers",
            Self::Flows => "flows",
            Self::Ends => "ends",
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Drain => "drain",
            Self::Resume => "resume",
            Self::Kick => "kick",
            Self::Resign => "resign",
            Self::Follow => "follow",
            Self::KeyPending => "key.pending",
            Self::KeyApprove => "key.approve",
            Self::KeyDeny => "key.deny",
            Self::KeyRevoke => "key.revoke",
            Self::AclTest => "acl.test",
            Self::Reload => "admin.reload",
            Self::Explain => "explain",
            Self::DeadList => "dlq.list",
            Self::DeadShow => "dlq.show",
            Self::DeadRequeue => "dlq.requeue",
            Self::DeadEdit => "dlq.edit",
            Self::DeadDrop => "dlq.drop",
            Self::StoreBackup => "store.backup",
        }
    }

    /// The verb of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == name)
    }

    /// Whether it changes nothing: it is asked as one calls a service. The others need the right
    /// `admin`.
    #[must_use]
    pub fn only_reads(self) -> bool {
        match self {
            Self::Jobs | Self::Job | Self::Clients | Self::Workers | Self::Flows | Self::Ends => {
                true
            }
            Self::Cancel
            | Self::Pause
            | Self::Drain
            | Self::Resume
            | Self::Kick
            | Self::Resign
            | Self::Follow
            | Self::KeyPending
            | Self::KeyApprove
            | Self::KeyDeny
            | Self::KeyRevoke
            | Self::AclTest
            | Self::Reload
            | Self::Explain
            | Self::DeadList
            | Self::DeadShow
            | Self::DeadRequeue
            | Self::DeadEdit
            | Self::DeadDrop
            | Self::StoreBackup => false,
        }
    }
}
