//! What must hold for publications, as seen from outside: each is said at once to every subscription
//! that means it, once and in order, or is counted there as missed until that is told.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::witness;
use crate::wire::mjp::{News, ToBroker};

use super::Judge;

/// A subscription: its connection, and its id there.
type Key = (usize, u64);

/// What is known of subscriptions.
#[derive(Debug, Default)]
pub(super) struct Topics {
    open: BTreeMap<Key, Subscription>,
    turn: Option<Turn>,
}

#[derive(Debug)]
struct Subscription {
    pattern: String,
    /// Publications that it meant, and how many of them were missed and not told of.
    seq: u64,
    missed: u64,
}

/// What is being taken.
#[derive(Debug)]
enum Turn {
    Subscribe { key: Key, pattern: String, refused: bool },
    Publish(Publication),
}

#[derive(Debug)]
struct Publication {
    key: Key,
    subject: String,
    header: Vec<u8>,
    body: Vec<Vec<u8>>,
    /// Whom it is for, and who has been told.
    meant: BTreeSet<Key>,
    told: BTreeSet<Key>,
    refused: bool,
    answered: bool,
}

/// Without a thought of speed.
fn means(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([], []) | ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, subject @ ..]) => means(pattern, subject),
        ([wanted, pattern @ ..], [token, subject @ ..]) => {
            wanted == token && means(pattern, subject)
        }
        _ => false,
    }
}

fn tokens(text: &str) -> Vec<&str> {
    text.split('.').collect()
}

impl Topics {
    /// A peer has gone, and its subscriptions with it.
    pub(super) fn lost(&mut self, conn: usize) {
        self.open.retain(|(of, _), _| *of != conn);
    }
}

impl Judge {
    /// Something about topics is about to be given to the broker.
    pub(super) fn said_of_topics(&mut self, conn: usize, said: &ToBroker<'_>) {
        self.topics.turn = None;
        match said {
            ToBroker::Subscribe { id, says } => {
                let (key, pattern) = ((conn, *id), says.subject.to_owned());
                self.topics.turn = Some(Turn::Subscribe { key, pattern, refused: false });
            }
            ToBroker::Unsubscribe { id } => {
                self.topics.open.remove(&(conn, *id));
            }
            ToBroker::Publish(publish) => {
                let subject = publish.says.subject.to_owned();
                let meant = self.topics.open.iter();
                let meant = meant.filter(|(_, it)| means(&tokens(&it.pattern), &tokens(&subject)));
                let meant = meant.map(|(key, _)| *key).collect();
                self.topics.turn = Some(Turn::Publish(Publication {
                    key: (conn, publish.id),
                    subject,
                    header: publish.header.to_vec(),
                    body: publish.body.map(<[u8]>::to_vec).collect(),
                    meant,
                    told: BTreeSet::new(),
                    refused: false,
                    answered: false,
                }));
            }
            _ => {}
        }
    }

    /// It has been taken, or refused.
    pub(in super::super) fn topics_taken(&mut self) {
        match self.topics.turn.take() {
            Some(Turn::Subscribe { key, pattern, refused: false }) if !self.is_gone(key.0) => {
                let new = Subscription { pattern: pattern.clone(), seq: 0, missed: 0 };
                let before = self.topics.open.insert(key, new);
                self.demand(before.is_none(), || format!("{key:?} was taken twice: {before:?}"));
                let whole = !tokens(&pattern).contains(&"");
                self.demand(whole, || format!("{pattern} is no pattern, and was taken"));
            }
            Some(Turn::Publish(publication)) => self.published(&publication),
            _ => {}
        }
    }

    fn published(&mut self, publication: &Publication) {
        let (key, told) = (publication.key, &publication.told);
        if publication.refused || publication.subject.starts_with('$') {
            return self.demand(told.is_empty(), || format!("{key:?} was refused, and told"));
        }
        let answered = publication.answered || key.1 == 0 || self.is_gone(key.0);
        self.demand(answered, || format!("nobody was told that {key:?} was published"));
        for meant in publication.meant.difference(told) {
            if let Some(subscription) = self.topics.open.get_mut(meant) {
                subscription.seq += 1;
                subscription.missed += 1;
                witness::saw("topic", "published", "missed");
            }
        }
    }

    /// A subscriber is told what was published.
    pub(super) fn told_news(&mut self, conn: usize, news: &News<'_>) {
        let key = (conn, news.id);
        let Some(Turn::Publish(publication)) = &mut self.topics.turn else {
            return self.fail(|| format!("{key:?} is told {news:?}, and nobody published it"));
        };
        let body: Vec<_> = news.body.map(<[u8]>::to_vec).collect();
        let same = news.says.subject == publication.subject
            && news.header == publication.header
            && body == publication.body;
        let meant = publication.meant.contains(&key) && publication.told.insert(key);
        self.demand(same, || format!("{key:?} is told something else: {news:?}"));
        self.demand(meant, || format!("{key:?} does not mean {news:?}, or is told again"));
        let Some(subscription) = self.topics.open.get_mut(&key) else {
            return self.fail(|| format!("{key:?} is told {news:?} and has not subscribed"));
        };
        subscription.seq += 1;
        let missed = std::mem::take(&mut subscription.missed);
        let (seq, says) = (subscription.seq, news.says);
        let label = if missed > 0 { "told with a gap" } else { "told" };
        witness::saw("topic", "published", label);
        self.demand(says.seq == seq && says.missed.unwrap_or(0) == missed, || {
            format!("{key:?} is told {says:?}, where {seq} is due and {missed} are missing")
        });
    }

    /// A subscriber is told what is missing.
    pub(super) fn told_gap(&mut self, conn: usize, id: u64, told: u64) {
        let subscription = self.topics.open.get_mut(&(conn, id));
        let missed = subscription.map(|it| std::mem::take(&mut it.missed));
        witness::saw("topic", "published", "told of a gap");
        self.demand(told > 0 && missed == Some(told), || {
            format!("{conn} is told that {told} are missing in {id}: {missed:?}")
        });
    }

    /// A publisher is told that it was heard.
    pub(super) fn told_published(&mut self, conn: usize, id: u64, subscriptions: u64) {
        let Some(Turn::Publish(publication)) = &mut self.topics.turn else {
            return self.fail(|| format!("{conn} is told that {id} was published"));
        };
        let meant = publication.meant.len() as u64;
        let first = !std::mem::replace(&mut publication.answered, true);
        let key = publication.key;
        self.demand(first && key == (conn, id) && meant == subscriptions, || {
            format!("{conn} is told that {id} is for {subscriptions}: {key:?} is for {meant}")
        });
    }

    /// A peer is told that it has subscribed.
    pub(super) fn told_subscribed(&mut self, conn: usize, id: u64) -> bool {
        matches!(&self.topics.turn, Some(Turn::Subscribe { key, .. }) if *key == (conn, id))
    }

    /// Whether what is refused is about topics.
    pub(super) fn told_of_topics(&mut self, conn: usize, id: u64, code: &str) -> bool {
        let open = self.topics.open.contains_key(&(conn, id));
        let (key, refused) = match &mut self.topics.turn {
            Some(Turn::Subscribe { key, refused, .. }) => (*key, refused),
            Some(Turn::Publish(publication)) => (publication.key, &mut publication.refused),
            None => return false,
        };
        let ours = key == (conn, id);
        if ours {
            *refused = true;
            let wrong = code == "duplicate_id" && !open;
            self.demand(!wrong, || format!("{key:?} is not open, and {code}"));
        }
        ours
    }
}
