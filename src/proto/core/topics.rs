//! SUBSCRIBE, UNSUBSCRIBE, PUBLISH: what is published goes to all who have subscribed, at most once.

use std::borrow::Cow;

use crate::id::{Identity, PeerId};
use crate::proto::clock::Time;
use crate::proto::output::Output;
use crate::proto::rights::Verb as Right;
use crate::proto::topics::{Pattern, Refused as TableRefused, Subject, Topics};
use crate::wire::mjp::{
    AcceptedHeader, Code, FromBroker, GapHeader, News, NewsHeader, Publish, PublishedHeader,
    SUBJECT_MAX, SubscribeHeader, ToBroker,
};

use super::Core;
use super::mjp::fence::Why;
use super::rights::why_denied;

/// Octets that one publication may have the broker copy, to all its subscribers together.
const COPIED_MAX: usize = 64 << 20;
/// Octets of what the broker adds to a message, the longest subject and identity included.
const ADDED: usize = 64 + SUBJECT_MAX + Identity::LEN_MAX;
/// Frames that are not the body of a message: signature, kind and id, and two headers.
const FRAMES_BEFORE: usize = 4;

/// Why something is not done, where it is about no lease.
fn refused(code: Code, why: impl Into<Cow<'static, str>>) -> Why {
    (code, why.into(), None)
}

impl Core {
    pub(super) fn on_topic<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        said: &ToBroker<'_>,
        out: &mut O,
    ) {
        let (id, done) = match said {
            ToBroker::Subscribe { id, says } => (*id, self.subscribe(peer, *id, says, out)),
            ToBroker::Publish(publish) => {
                let done = self.publish(now, peer, publish, out);
                if done.is_err() {
                    self.topics.count_refused();
                }
                (publish.id, done)
            }
            ToBroker::Unsubscribe { id } => {
                out.release(self.topics.unsubscribe(peer, *id));
                return;
            }
            _ => return,
        };
        match done {
            // Who wants no answer is told what is wrong with what it says, and nothing else.
            Err((Code::Overloaded, ..)) if id == 0 => {}
            Err(why) => self.object_why(peer, id, &why, out),
            Ok(()) => {}
        }
    }

    fn subscribe<O: Output>(
        &mut self,
        peer: PeerId,
        id: u64,
        says: &SubscribeHeader<'_>,
        out: &mut O,
    ) -> Result<(), Why> {
        let pattern = Pattern::parse(says.subject)
            .map_err(|why| refused(Code::BadRequest, why.to_string()))?;
        if !self.may_subscribe(peer, says.subject, out) {
            let why = why_denied(Right::Subscribe, says.subject.as_bytes());
            return Err(refused(Code::Denied, why));
        }
        if self.router.is_draining() {
            return Err(refused(Code::Draining, self.why_draining()));
        }
        self.topics.check(peer, id).map_err(|why| match why {
            TableRefused::DuplicateId => {
                let why = "another subscription of this id is open on the connection";
                refused(Code::DuplicateId, why)
            }
            TableRefused::TooMany => {
                let why = "limits.subscriptions or limits.subscriptions_per_peer is reached";
                refused(Code::Overloaded, why)
            }
        })?;
        let cost = Topics::cost_of(pattern);
        if !out.charge(cost) {
            return Err(refused(Code::Overloaded, "the broker's memory is short"));
        }
        self.topics.subscribe(peer, id, pattern, cost);
        if says.ack() {
            let says = AcceptedHeader { level: "memory", repeat: None };
            self.say(peer, 64, out, |encoder| FromBroker::Accepted { id, says }.encode(encoder));
        }
        Ok(())
    }

    /// A broker that stops takes it, too: nothing of it is kept, and who works to the end may
    /// still tell of it.
    fn publish<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        publish: &Publish<'_>,
        out: &mut O,
    ) -> Result<(), Why> {
        let (header, body) = (publish.header, publish.body);
        let subject = Subject::parse(publish.says.subject)
            .map_err(|why| refused(Code::BadRequest, why.to_string()))?;
        if subject.is_reserved() {
            return Err(refused(Code::Forbidden, "what begins with `$` only the broker says"));
        }
        if !self.may(peer, Right::Publish, subject.as_str().as_bytes(), out) {
            let why = why_denied(Right::Publish, subject.as_str().as_bytes());
            return Err(refused(Code::Denied, why));
        }
        self.check_fence(now, peer, None, (publish.says.lease, publish.says.epoch))?;
        let (bytes, wire) = (ADDED + header.len() + body.bytes(), &self.settings.wire);
        if body.len() + FRAMES_BEFORE > wire.message_frames_max || bytes > wire.message_bytes_max {
            let why = "with what the broker adds it would be over limits.frames or limits.message";
            return Err(refused(Code::TooBig, why));
        }
        let mut found = Vec::new();
        self.topics.find(now, subject, &mut found).map_err(|_| {
            let why = "it would be for more than limits.fan_out subscriptions, or take as long";
            refused(Code::Overloaded, why)
        })?;
        let copied = ADDED + header.len() + body.bytes_copied();
        if copied.saturating_mul(found.len()) > COPIED_MAX {
            let why = "64 MiB and more would have to be copied; send less, or fewer small frames";
            return Err(refused(Code::TooBig, why));
        }
        self.topics.count_published();
        let identity = self.peers.get(peer).and_then(|peer| peer.identity.as_ref());
        let identity = identity.map(Identity::as_bytes);
        let (share, subject) = (self.settings.topics.outbox_bytes_max, subject.as_str());
        for number in &found {
            self.topics.deliver(now, *number, |due| {
                let says = NewsHeader { subject, seq: due.seq, missed: due.missed, identity };
                let news = News { id: due.id, says, header, body };
                out.spare(due.peer, bytes, share, |encoder| news.encode(encoder))
            });
        }
        if publish.id != 0 {
            let says = PublishedHeader { subscriptions: super::report::count(found.len()) };
            let published = FromBroker::Published { id: publish.id, says };
            self.say(peer, 64, out, |encoder| published.encode(encoder));
        }
        Ok(())
    }

    /// Tells who has missed something, and has heard nothing since.
    pub(super) fn tell_gaps<O: Output>(&mut self, now: Time, out: &mut O) {
        let share = self.settings.topics.outbox_bytes_max;
        self.topics.tell_gaps(now, |peer, id, missed| {
            let gap = FromBroker::Gap { id, says: GapHeader { missed } };
            out.spare(peer, 64, share, |encoder| gap.encode(encoder))
        });
    }
}
