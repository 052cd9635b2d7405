//! Events: what is published at our broker becomes a message in the queue of each service that
//! hears it.
//!
//! All instances of a service hear it, and each puts it there under the same key, so that one of
//! them is told of it once, whichever instances die meanwhile.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, FuturesUnordered, SelectAll, select_all, unfold};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{EVENTS_MAX, Taken};
use crate::client::{Call, CallError, Client, Lapse, Published, Subscription};
use crate::container::BuildError;
use crate::proto::backoff::Backoff;
use crate::proto::topics::Pattern;
use crate::wire::message::Message;
use crate::wire::mjp::{Code, Level};
use crate::wire::nuropb::{Kind, topic_matches};

/// How long an event may wait until an instance takes it.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long it is waited until a subscription that has ended is tried again: the first time, and at
/// the most.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// How often an event is put into the queue that the broker does not take.
const TRIES: u32 = 5;
/// Events that are remembered, so that one which several topics mean is told of once.
const RECENT: usize = 4_096;
/// Longest id of an event, octets.
const ID_MAX: usize = 64;

/// The patterns of our broker by which what a topic means is heard, and perhaps more: `#` may be
/// anywhere there, and here `>` at the end only, and it means one word at least.
pub(super) fn patterns(topic: &str) -> Result<Vec<String>, BuildError> {
    let words: Vec<&str> = topic.split('.').collect();
    let mut all = Vec::new();
    match words.iter().position(|word| *word == "#") {
        None => all.push(topic.to_owned()),
        Some(at) => {
            let before = words.get(..at).unwrap_or_default().join(".");
            all.push(if before.is_empty() { ">".to_owned() } else { format!("{before}.>") });
            if at + 1 == words.len() && !before.is_empty() {
                all.push(before);
            }
        }
    }
    for pattern in &all {
        Pattern::parse(pattern).map_err(|error| BuildError::Topic {
            topic: topic.chars().take(64).collect(),
            why: error.to_string(),
        })?;
    }
    Ok(all)
}

/// What is published for all who listen.
pub(super) fn publication(id: String, event: Vec<u8>) -> Message {
    Message::new([Kind::Event.as_str().as_bytes().to_vec(), event, id.into_bytes()])
}

/// Listens for the topics of a service, as long as this is there.
#[derive(Debug)]
pub(super) struct Ears {
    task: JoinHandle<()>,
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ears {
    /// Subscribes to all topics; what is published from then on is heard.
    pub(super) async fn open(
        client: Client,
        service: &str,
        topics: &[String],
        level: Option<Level>,
    ) -> Result<Self, String> {
        let mut wanted: Vec<String> = Vec::new();
        for topic in topics {
            wanted.extend(patterns(topic).map_err(|error| error.to_string())?);
        }
        wanted.sort();
        wanted.dedup();
        let mut heard = Vec::new();
        for pattern in wanted {
            let subscription = client.subscribe(&pattern).await;
            let subscription = subscription.map_err(|error| format!("{pattern}: {error}"))?;
            heard.push(over_and_over(client.clone(), pattern, subscription));
        }
        let (service, topics) = (service.to_owned(), topics.to_vec());
        let desk = Desk { client, service, topics, level };
        Ok(Self { task: tokio::spawn(desk.run(select_all(heard))) })
    }
}

/// What is published of a pattern, as it comes.
type Heard = BoxStream<'static, Result<Published, Lapse>>;

/// What a subscription hears, and when it has ended, the next one.
fn over_and_over(client: Client, pattern: String, first: Subscription) -> Heard {
    let waits = Backoff::new(AGAIN, AGAIN_MAX, 0);
    let begin = (client, pattern, Some(first), waits);
    let heard = unfold(begin, async |(client, pattern, subscription, mut waits)| {
        let next = match subscription {
            Some(mut subscription) => match subscription.next().await {
                Some(Err(Lapse::Ended(error))) => (Err(Lapse::Ended(error)), None),
                Some(next) => {
                    waits.reset();
                    (next, Some(subscription))
                }
                // It has said before that it has ended.
                None => (Err(Lapse::Unknown), None),
            },
            None => loop {
                sleep(waits.next_wait()).await;
                match client.subscribe(&pattern).await {
                    // What was published meanwhile is not known.
                    Ok(subscription) => break (Err(Lapse::Unknown), Some(subscription)),
                    Err(error) => {
                        tracing::debug!(%error, pattern, "events are not heard again yet");
                    }
                }
            },
        };
        let (next, subscription) = next;
        Some((next, (client, pattern, subscription, waits)))
    });
    heard.boxed()
}

/// Puts what is heard into the queue of the service.
struct Desk {
    client: Client,
    service: String,
    topics: Vec<String>,
    level: Option<Level>,
}

impl Desk {
    async fn run(self, mut heard: SelectAll<Heard>) {
        let (mut putting, mut recent) = (FuturesUnordered::new(), Recent::default());
        loop {
            tokio::select! {
                Some(()) = putting.next() => {}
                next = heard.next(), if putting.len() < EVENTS_MAX => match next {
                    Some(Ok(published)) => {
                        if let Some((key, body)) = self.wanted(&published, &mut recent) {
                            putting.push(self.put(key, body));
                        }
                    }
                    Some(Err(Lapse::Ended(error))) => {
                        tracing::warn!(%error, service = self.service, "events are not heard");
                    }
                    Some(Err(lapse)) => {
                        tracing::warn!(%lapse, service = self.service, "events were missed");
                    }
                    None => return,
                },
            }
        }
    }

    /// An event that the service hears, and the key under which it is put into its queue.
    fn wanted(&self, published: &Published, recent: &mut Recent) -> Option<(Vec<u8>, Message)> {
        if !self.topics.iter().any(|topic| topic_matches(topic, &published.subject)) {
            return None;
        }
        let mut frames = published.body.frames();
        let (kind, event) = (frames.take_first()?, frames.take_first()?);
        let id = frames.take_first().filter(|id| (1..=ID_MAX).contains(&id.len()));
        let Some(id) = id.filter(|_| kind == Kind::Event.as_str().as_bytes()) else {
            tracing::debug!(subject = published.subject, "a publication that is no event");
            return None;
        };
        recent.is_new(id).then(|| {
            let body = Message::new([kind.to_vec(), event.to_vec()]);
            ([b"event ", id].concat(), body)
        })
    }

    async fn put(&self, key: Vec<u8>, body: Message) {
        let mut waits = Backoff::new(Duration::from_millis(200), Duration::from_secs(5), 0);
        for _ in 0..TRIES {
            let call = self.client.call(&self.service, body.clone()).key(&key).timeout(WAIT_MAX);
            let put = match self.level {
                Some(Level::Disk) => call.hand_in().await.map(drop),
                Some(level) => carried_out(call.level(level)).await,
                None => carried_out(call).await,
            };
            match put {
                Err(error) if is_busy(&error) => sleep(waits.next_wait()).await,
                Err(error) => {
                    tracing::debug!(%error, service = self.service, "what became of an event");
                    return;
                }
                Ok(()) => return,
            }
        }
        tracing::warn!(service = self.service, "the broker does not take an event; dropped");
    }
}

/// Waits until it is done, which it is also if nobody waits.
async fn carried_out(call: Call) -> Result<(), CallError> {
    let (_, answer) = call.accepted().await?;
    Taken(Some(answer)).outcome().await.map(drop)
}

/// Whether the broker may take it later.
fn is_busy(error: &CallError) -> bool {
    match error {
        CallError::TooMany { .. } => true,
        CallError::Refused { code, .. } => matches!(
            Code::from_name(code),
            Some(Code::Overloaded | Code::Draining | Code::StoreFull)
        ),
        _ => false,
    }
}

/// Events that were heard lately.
#[derive(Default)]
struct Recent {
    known: HashSet<Box<[u8]>>,
    order: VecDeque<Box<[u8]>>,
}

impl Recent {
    fn is_new(&mut self, id: &[u8]) -> bool {
        if !self.known.insert(id.into()) {
            return false;
        }
        self.order.push_back(id.into());
        if self.order.len() > RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_heard_by_the_patterns_of_the_broker() {
        let all = |topic: &str| patterns(topic).map_err(|error| error.to_string());
        let some = |patterns: &[&str]| Ok(patterns.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(all("a.b"), some(&["a.b"]));
        assert_eq!(all("a.*"), some(&["a.*"]));
        assert_eq!(all("a.#"), some(&["a.>", "a"]));
        assert_eq!(all("#"), some(&[">"]));
        assert_eq!(all("a.#.b"), some(&["a.>"]));
        assert_eq!(all("#.b"), some(&[">"]));
        let refused = all("a b").unwrap_err();
        assert!(refused.starts_with("`a b` is nothing that can be subscribed to"), "{refused}");
    }

    #[test]
    fn what_several_topics_mean_is_told_of_once() {
        let mut recent = Recent::default();
        assert!(recent.is_new(b"1"));
        assert!(!recent.is_new(b"1"));
        for number in 0..RECENT {
            assert!(recent.is_new(format!("n{number}").as_bytes()));
        }
        assert!(recent.is_new(b"1"), "that was long ago");
    }
}
