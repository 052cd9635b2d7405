//! A connection over which groups are joined.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::builder::{GroupsBuilder, Join};
use super::error::{ConnectError, GroupError};
use super::member::{Group, Inner};
use super::observe::Queue as Sights;
use super::seat::{Reply, Wants, Wish};
use super::shared::{Shared, Standing};
use super::survey::{Answer, Survey};
use crate::config::MemberConfig;
use crate::transport::endpoint::Endpoint;
use crate::wire::Limits;
use crate::wire::message::Message;
use crate::wire::mjp::HEADER_MAX;

/// A connection over which groups are joined, any number of them. A clone is the same one. It
/// connects again whenever the connection is lost, and ends when neither it nor a membership of a
/// group is held any more.
#[derive(Debug, Clone)]
pub struct Groups {
    channel: Arc<Channel>,
}

/// How the holders of groups reach the task.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) config: MemberConfig,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) desk: Arc<Desk>,
    memberships: Mutex<Memberships>,
    /// The task has ended.
    pub(super) ended: CancellationToken,
}

/// What the task looks at as well.
#[derive(Debug)]
pub(super) struct Desk {
    /// Seats that nobody holds any more.
    abandoned: Mutex<Vec<u32>>,
    pub(super) waiting: Notify,
    /// What the broker takes.
    limits: Mutex<Limits>,
    /// The task is to end.
    pub(super) closing: CancellationToken,
}

/// Those that are held, by group and name.
#[derive(Debug, Default)]
struct Memberships {
    last: u32,
    held: HashMap<Place, Weak<Inner>>,
}

/// Group, and what the member calls itself.
type Place = (Box<str>, Option<Box<str>>);

/// What the task is asked for.
pub(super) enum Command {
    Join { seat: u32, wants: Wants, shared: Arc<Shared>, group: Weak<Inner> },
    Wish { seat: u32, wish: Wish },
    Survey { survey: Survey, reply: Reply<Answer> },
    Observe { group: String, queue: Arc<Sights> },
}

impl Groups {
    /// Connects to a broker, and from then on again whenever the connection is lost. Has to be
    /// called in a tokio runtime.
    ///
    /// # Errors
    /// As [`GroupsBuilder::connect`], and [`ConnectError::Endpoint`].
    ///
    /// # Cancel safety
    /// The attempt is given up.
    pub async fn connect(endpoint: &str) -> Result<Self, ConnectError> {
        Self::builder(endpoint)?.connect().await
    }

    /// A connection that is yet to be told how to behave.
    ///
    /// # Errors
    /// [`ConnectError::Endpoint`].
    pub fn builder(endpoint: &str) -> Result<GroupsBuilder, ConnectError> {
        let endpoint: Endpoint = endpoint.parse()?;
        Ok(MemberConfig { endpoint, ..MemberConfig::default() }.into())
    }

    pub(super) fn new(channel: Channel) -> Self {
        Self { channel: Arc::new(channel) }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// A group that is to be joined, 1 to 240 octets: by convention its type, a `.` and its
    /// instance. Nothing happens before [`Join::join`].
    pub fn group(&self, name: impl Into<String>) -> Join {
        Join::new(self.clone(), name.into())
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &MemberConfig {
        &self.channel.config
    }

    /// Leaves all groups, says so to the broker, and ends. What is asked from now on fails as
    /// [`GroupError::Closed`].
    ///
    /// # Cancel safety
    /// It closes all the same.
    pub async fn close(&self) {
        self.channel.desk.closing.cancel();
        self.channel.ended.cancelled().await;
    }

    /// The membership of that name, if it is held; or else a new one, and the task is asked to
    /// join.
    pub(super) async fn membership(&self, wants: Wants) -> Result<Group, GroupError> {
        let channel = &self.channel;
        // The place is there first: between looking and asking nobody else looks.
        let place = channel.commands.reserve().await.map_err(|_| GroupError::Closed)?;
        let mut memberships = lock(&channel.memberships);
        let key = (wants.group.clone(), wants.member.clone());
        let held = memberships.held.get(&key).and_then(Weak::upgrade);
        let is_over = |inner: &Arc<Inner>| {
            matches!(*inner.shared.standing.borrow(), Standing::Refused(_) | Standing::Over)
        };
        if let Some(inner) = held.filter(|inner| !is_over(inner)) {
            return Ok(Group { inner });
        }
        memberships.held.retain(|_, inner| inner.strong_count() > 0);
        // So many over one connection that a number comes again are not held at a time.
        memberships.last = memberships.last.checked_add(1).unwrap_or(1);
        let seat = memberships.last;
        let config = &channel.config;
        let shared = Arc::new(Shared::new(config.events_max, config.unread));
        let inner = Arc::new(Inner {
            name: wants.group.clone(),
            own: wants.own,
            number: seat,
            shared: shared.clone(),
            channel: channel.clone(),
        });
        let group = Arc::downgrade(&inner);
        memberships.held.insert(key, group.clone());
        place.send(Command::Join { seat, wants, shared, group });
        Ok(Group { inner })
    }
}

impl Channel {
    pub(super) fn new(
        config: MemberConfig,
        commands: mpsc::Sender<Command>,
        desk: Arc<Desk>,
        ended: CancellationToken,
    ) -> Self {
        Self { config, commands, desk, memberships: Mutex::default(), ended }
    }

    /// Nobody holds that seat any more.
    pub(super) fn abandon(&self, seat: u32) {
        lock(&self.desk.abandoned).push(seat);
        self.desk.waiting.notify_one();
    }

    /// Whether it may be sent: what is too large would cost the connection.
    pub(super) fn check(&self, body: &Message) -> Result<(), GroupError> {
        let limits = *lock(&self.desk.limits);
        let checked = |what, size, max| {
            if size > max { Err(GroupError::TooBig { what, size, max }) } else { Ok(()) }
        };
        let frames = body.frames();
        checked("frames", frames.len(), limits.message_frames_max)?;
        let max = limits.message_bytes_max.saturating_sub(HEADER_MAX).max(HEADER_MAX);
        checked("message", frames.bytes(), max)?;
        frames.map(<[u8]>::len).try_for_each(|len| checked("frame", len, limits.frame_bytes_max))
    }
}

impl Desk {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            abandoned: Mutex::default(),
            waiting: Notify::new(),
            limits: Mutex::new(limits),
            closing: CancellationToken::new(),
        }
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        *lock(&self.limits) = limits;
    }

    pub(super) fn abandoned(&self) -> Vec<u32> {
        std::mem::take(&mut lock(&self.abandoned))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is whole between any two statements: a panic elsewhere cannot harm it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
