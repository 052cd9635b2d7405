//! A group as one sees it who is no member.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;

use super::error::GroupError;
use super::event::Event;
use super::groups::{Command, Groups};
use super::seat::event_of;
use super::survey::{GroupInfo, info_of};
use crate::wire::message::Message;
use crate::wire::mjp::{GROUP_NAME_MAX, GroupReport};

/// What is seen of a group from outside.
#[expect(clippy::large_enum_variant, reason = "most of what is seen is an event")]
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Sight {
    /// How things are; `None`: the group has no members. It comes first, and again whenever
    /// something was missed or there was no connection.
    Info(Option<Box<GroupInfo>>),
    /// What has happened behind that: members come, are silent and leave, leaders change, polls end
    /// and outcomes are known. Nothing is seen of messages, and of what is asked in polls.
    Event(Event),
    /// The connection is lost: what was seen last may be so or not. It goes on by itself.
    Unknown,
}

/// A group as it is, and all that changes in it, for who is no member. It is a [`Stream`], too, and
/// goes on over lost connections. It ends behind an error.
///
/// Of what is not read [`MemberConfig::events_max`] wait; when there is more they are dropped, and
/// [`Sight::Info`] comes in their place.
///
/// [`MemberConfig::events_max`]: crate::config::MemberConfig::events_max
///
/// # Cancel safety
/// Dropping it tells the broker that nobody looks.
#[derive(Debug)]
pub struct Observation {
    queue: Arc<Queue>,
    groups: Groups,
}

impl Observation {
    /// What is seen next; `None` behind an error.
    ///
    /// # Errors
    /// [`GroupError::Denied`], [`GroupError::Overloaded`], [`GroupError::Closed`], and
    /// [`GroupError::Refused`] of a broker that cannot do that.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Sight, GroupError>> {
        std::future::poll_fn(|cx| self.queue.poll(cx)).await
    }
}

impl Stream for Observation {
    type Item = Result<Sight, GroupError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll(cx)
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        *state = State { closed: true, ..State::default() };
        drop(state);
        self.groups.channel().desk.waiting.notify_one();
    }
}

impl Groups {
    /// Looks at a group, 1 to 240 octets, without being a member of it, be there members or not.
    /// Needs the right to look.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::config::BrokerConfig;
    /// use majordomo::group::{Event, Groups, Sight};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(run())
    /// # }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut config = BrokerConfig::default();
    /// # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
    /// # let broker = Broker::bind(config)?;
    /// # let endpoint = broker.local_addrs()[0].to_string();
    /// # let groups = Groups::connect(&endpoint).await?;
    /// let mut seen = groups.observe("Escort.1").await?;
    /// assert!(matches!(seen.next().await, Some(Ok(Sight::Info(None)))));
    ///
    /// let anna = groups.group("Escort.1").member("anna").join().await?;
    /// let Some(Ok(Sight::Event(Event::MemberJoined { member, .. }))) = seen.next().await else {
    ///     unreachable!("nothing else has happened");
    /// };
    /// assert_eq!(member.name(), "anna");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`GroupError::Invalid`], [`GroupError::Closed`].
    ///
    /// # Cancel safety
    /// Nobody looks then.
    pub async fn observe(&self, group: &str) -> Result<Observation, GroupError> {
        super::builder::check("the name of a group", group, GROUP_NAME_MAX)?;
        let queue = Arc::new(Queue::new(self.config().events_max));
        // It is there first: given up while it waits, it tells nobody that there was one.
        let observation = Observation { queue: queue.clone(), groups: self.clone() };
        let command = Command::Observe { group: group.to_owned(), queue };
        self.channel().commands.send(command).await.map_err(|_| GroupError::Closed)?;
        Ok(observation)
    }
}

/// One that looks, as the task has it.
#[derive(Debug)]
pub(super) struct Eye {
    pub(super) group: String,
    pub(super) queue: Arc<Queue>,
}

impl Eye {
    /// The broker has said something. False: more has come than was read, and it is to be asked
    /// anew how things are.
    pub(super) fn hear(&self, header: &[u8], body: &Message) -> bool {
        let Ok(report) = GroupReport::decode(header) else { return false };
        let sight = match report.event {
            "info" => match info_of(&self.group, &report, body) {
                Ok(info) => Sight::Info(info.map(Box::new)),
                Err(_) => return false,
            },
            // What is new is survived.
            _ => match event_of(&report, body) {
                Some(event) => Sight::Event(event),
                None => return true,
            },
        };
        self.queue.push(sight)
    }
}

/// What was seen and was not read.
#[derive(Debug)]
pub(super) struct Queue {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: VecDeque<Sight>,
    ended: Option<GroupError>,
    over: bool,
    closed: bool,
    waker: Option<Waker>,
}

impl Queue {
    fn new(max: usize) -> Self {
        Self { max: max.max(2), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // It is whole between any two statements: a panic elsewhere cannot harm it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// One more. False: there was no room, and nothing waits any more.
    pub(super) fn push(&self, sight: Sight) -> bool {
        let mut state = self.lock();
        if state.closed {
            return true;
        }
        let fits = state.seen.len() < self.max;
        if fits {
            state.seen.push_back(sight);
        } else {
            state.seen.clear();
        }
        wake(state);
        fits
    }

    pub(super) fn end(&self, error: GroupError) {
        let mut state = self.lock();
        state.ended.get_or_insert(error);
        wake(state);
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Result<Sight, GroupError>>> {
        let mut state = self.lock();
        if let Some(sight) = state.seen.pop_front() {
            return Poll::Ready(Some(Ok(sight)));
        }
        if let Some(error) = state.ended.take() {
            state.over = true;
            return Poll::Ready(Some(Err(error)));
        }
        if state.over {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Wakes who reads, and not under the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    if let Some(waker) = state.waker.take() {
        drop(state);
        waker.wake();
    }
}

/// Those that look over one connection, by the ids under which the broker knows them.
#[derive(Debug, Default)]
pub(super) struct Eyes(BTreeMap<u64, Eye>);

impl Eyes {
    pub(super) fn insert(&mut self, id: u64, eye: Eye) {
        self.0.insert(id, eye);
    }

    pub(super) fn get(&self, id: u64) -> Option<&Eye> {
        self.0.get(&id)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Eye> {
        self.0.remove(&id)
    }

    /// Takes all of them, for another connection.
    pub(super) fn take(&mut self) -> Vec<Eye> {
        std::mem::take(&mut self.0).into_values().collect()
    }

    /// Takes the ids of those that nobody reads any more.
    pub(super) fn take_closed(&mut self) -> Vec<u64> {
        let closed = self.0.iter().filter(|(_, eye)| eye.queue.is_closed());
        let closed: Vec<u64> = closed.map(|(id, _)| *id).collect();
        self.0.retain(|id, _| !closed.contains(id));
        closed
    }

    /// The connection is lost.
    pub(super) fn part(&self) {
        for eye in self.0.values() {
            eye.queue.push(Sight::Unknown);
        }
    }

    pub(super) fn end(&mut self, error: &GroupError) {
        for eye in self.take() {
            eye.queue.end(error.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_in_time_makes_room_for_how_things_are() {
        let queue = Queue::new(2);
        assert!(queue.push(Sight::Info(None)) && queue.push(Sight::Unknown));
        assert!(!queue.push(Sight::Unknown), "it is to be asked anew");
        assert!(queue.push(Sight::Info(None)));
        queue.end(GroupError::Closed);
        let cx = Context::from_waker(Waker::noop());
        assert!(matches!(queue.poll(&cx), Poll::Ready(Some(Ok(Sight::Info(None))))));
        assert!(matches!(queue.poll(&cx), Poll::Ready(Some(Err(GroupError::Closed)))));
        assert!(matches!(queue.poll(&cx), Poll::Ready(None)));
    }
}
