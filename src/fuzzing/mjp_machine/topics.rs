//! Publishing and subscribing: what a peer hears is what it has subscribed to, and nothing is
//! missing of which nothing was said.

use std::collections::BTreeMap;

use super::super::pieces::frames_written;
use super::Stage;
use crate::id::PeerId;
use crate::wire::message::Message;
use crate::wire::mjp::{FromBroker, Packed, Publish, PublishHeader, SubscribeHeader, ToBroker};

/// Ids from here on are those of subscriptions and publications.
const IDS: u64 = 1 << 20;

/// The subscriptions of a peer: publications that each was told of, those included that it missed.
#[derive(Debug, Default)]
pub(super) struct Topics {
    open: BTreeMap<u64, u64>,
    /// What it says now has this id, and it subscribes by that.
    asking: Option<u64>,
    subscribes: bool,
}

/// Something about topics, as the fuzzer likes it.
pub(super) fn script(how: u8, which: u8) -> Message {
    const SUBJECTS: [&str; 8] = ["a", "a.b", "b", "$a", "*", "a.*", ">", "a..b"];
    let id = IDS + u64::from(how % 4);
    let subject = SUBJECTS.get(usize::from(which % 8)).copied().unwrap_or_default();
    let says = PublishHeader::new(subject);
    let (header, body) = (Packed::new(&says), Message::new([vec![how], vec![7; 40]]));
    let said = match how >> 6 {
        0 => ToBroker::Unsubscribe { id },
        1 => ToBroker::Subscribe { id, says: SubscribeHeader { subject, ack: Some(how % 8 < 4) } },
        _ => {
            let (header, body) = (header.octets(), body.frames());
            let id = if how.is_multiple_of(3) { 0 } else { id };
            ToBroker::Publish(Publish { id, header, says, body })
        }
    };
    Message::new(frames_written(|out| said.encode(out)))
}

impl Topics {
    /// What the peer is about to say.
    pub(super) fn note(&mut self, said: &ToBroker<'_>) {
        self.subscribes = matches!(said, ToBroker::Subscribe { .. });
        self.asking = match said {
            ToBroker::Subscribe { id, .. } => Some(*id),
            ToBroker::Publish(publish) => Some(publish.id),
            _ => None,
        };
        if let ToBroker::Unsubscribe { id } = said {
            self.open.remove(id);
        }
    }

    /// What the broker says; false: it is about something else.
    pub(super) fn hear(&mut self, said: &FromBroker<'_>) -> bool {
        match said {
            FromBroker::News(news) => {
                let seq = self.open.get_mut(&news.id).expect("news for a subscription");
                *seq += news.says.missed.unwrap_or(0) + 1;
                assert_eq!(news.says.seq, *seq, "{news:?}");
            }
            FromBroker::Gap { id, says } => {
                let seq = self.open.get_mut(id).expect("a gap in a subscription");
                assert!(says.missed > 0);
                *seq += says.missed;
            }
            FromBroker::Published { .. } => {}
            FromBroker::Accepted { id, .. } => return self.subscribes && self.asking == Some(*id),
            // Of two refusals of one id the first is that of what is said now.
            FromBroker::Error(failure) if self.asking == Some(failure.id) => self.asking = None,
            _ => return false,
        }
        true
    }

    /// It was taken, unless it was refused.
    pub(super) fn end(&mut self) {
        if let Some(id) = self.asking.take().filter(|_| self.subscribes) {
            assert_eq!(self.open.insert(id, 0), None, "{id} was taken twice");
        }
    }
}

impl Stage {
    /// Whether what `id` has subscribed to is what the broker knows of it.
    pub(super) fn check_topics(&self, id: PeerId) {
        let known = self.core.topics().len_of(id);
        let open = self.peers.get(&id).map_or(0, |peer| peer.topics.open.len());
        assert_eq!(known, open, "the subscriptions of {id:?}");
    }
}
