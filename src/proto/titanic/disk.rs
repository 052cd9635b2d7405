//! What the disk has done, or has not.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::{RequestId, ServiceName};
use crate::proto::depot::{Burial, Deceased};
use crate::wire::message::Message;

use super::deed::{Deed, Errand, Waiter};
use super::entry::{Entry, Stage};
use super::record::{Progress, answer_key, body_key, decode_body, encode_body, head_key};
use super::{Effect, Status, Titanic, Uuid};
use crate::proto::durable::Write;
use crate::proto::lease::mark;

fn say(waiter: Box<Waiter>, status: Status) -> Effect {
    Effect::Say(waiter, status, Message::default())
}

impl Titanic {
    /// All batches up to that number are stored.
    pub(crate) fn stored(&mut self, up_to: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(deed) = self.ledger.pop_stored(up_to) {
            match deed {
                Deed::Accept(uuid, waiter) => {
                    self.stats.accepted += 1;
                    if let Some(entry) = self.entries.get(&uuid) {
                        effects.push(Effect::Wake(entry.service().clone()));
                        self.wait(uuid);
                    }
                    let name = Message::from(uuid.to_string());
                    effects.push(Effect::Say(waiter, Status::Ok, name));
                }
                Deed::Begin(uuid) => {
                    let stage = self.entries.get(&uuid).map(|entry| entry.stage);
                    if stage == Some(Stage::Beginning) {
                        effects.push(Effect::Offer(uuid));
                    }
                }
                Deed::End(uuid, letter) => {
                    effects.extend(letter.map(Effect::Bury));
                    self.have_ended(uuid);
                }
                Deed::Close(uuid, waiter) => {
                    self.stats.closed += u64::from(self.drop_entry(uuid));
                    effects.push(say(waiter, Status::Ok));
                }
                Deed::Forget(uuid) => self.stats.forgotten += u64::from(self.drop_entry(uuid)),
                Deed::Clean | Deed::Mark => {}
            }
        }
        effects
    }

    /// Something beside the requests is to be kept: how far epochs of leases have been reserved.
    pub(crate) fn keep_mark(&mut self, mark: u64) {
        self.ledger.store(Deed::Mark, vec![mark::note(mark)]);
    }

    /// There is no room for what is new; of the batches that were not stored, those up to the
    /// number are dropped, if there is one.
    pub(crate) fn disk_is_full(&mut self, dropped: Option<u64>) -> Vec<Effect> {
        self.full = true;
        let mut effects = Vec::new();
        while let Some((deed, writes)) = dropped.and_then(|up_to| self.ledger.pop(up_to)) {
            match deed {
                Deed::Accept(uuid, waiter) => {
                    self.stats.refused += 1;
                    self.drop_entry(uuid);
                    // It may have been stored nevertheless.
                    let writes = vec![Write::Remove(head_key(uuid)), Write::Remove(body_key(uuid))];
                    self.ledger.put_aside(Deed::Clean, writes);
                    effects.push(say(waiter, Status::Error));
                }
                Deed::Close(uuid, waiter) => {
                    self.ledger.put_aside(Deed::Forget(uuid), writes);
                    effects.push(say(waiter, Status::Error));
                }
                Deed::Begin(_) | Deed::End(..) | Deed::Forget(_) | Deed::Clean | Deed::Mark => {
                    self.ledger.put_aside(deed, writes);
                }
            }
        }
        effects
    }

    /// There is room again.
    pub(crate) fn disk_has_room(&mut self) {
        if std::mem::take(&mut self.full) {
            self.ledger.try_again();
        }
    }

    /// Nothing is stored any more, and nothing is vouched for.
    pub(crate) fn disk_failed(&mut self) -> Vec<Effect> {
        self.failed = true;
        let mut effects = Vec::new();
        while let Some((deed, _)) = self.ledger.pop(u64::MAX) {
            if let Deed::Accept(_, waiter) | Deed::Close(_, waiter) = deed {
                effects.push(say(waiter, Status::Error));
            }
        }
        for errand in self.ledger.take_loads().into_values() {
            if let Errand::Answer(waiter) = errand {
                effects.push(say(waiter, Status::Error));
            }
        }
        effects
    }

    /// Something was read from the disk, or could not be.
    pub(crate) fn loaded(&mut self, ticket: u64, value: Option<&Bytes>) -> Option<Effect> {
        let body = value.and_then(decode_body);
        match (self.ledger.take_load(ticket)?, body) {
            (Errand::Answer(waiter), Some(body)) => Some(Effect::Say(waiter, Status::Ok, body)),
            (Errand::Answer(waiter), None) => Some(say(waiter, Status::Error)),
            (Errand::Body(uuid), Some(body)) => {
                let entry = self.entries.get(&uuid)?;
                if entry.stage != Stage::Fetching {
                    return None;
                }
                self.hold_body(uuid, body);
                Some(Effect::Offer(uuid))
            }
            (Errand::Lost(uuid), Some(body)) => Some(Effect::Lost(uuid, body)),
            (Errand::Lost(uuid), None) => {
                self.end_lost(uuid, None);
                None
            }
            // Whoever has closed it meanwhile needs it no more; otherwise it is tried again.
            (Errand::Body(uuid), None) => {
                self.put_back(uuid, None);
                None
            }
        }
    }

    /// Puts a request into the backlog of its service.
    pub(super) fn wait(&mut self, uuid: Uuid) {
        let Some(entry) = self.entries.get_mut(&uuid) else { return };
        entry.stage = Stage::Waiting;
        let backlog = self.backlogs.entry(entry.head.service.clone()).or_default();
        backlog.waiting.insert(entry.head.sequence, uuid);
    }

    /// Takes a request out of the backlog of its service; returns what it was asked as.
    pub(super) fn leave(&mut self, uuid: Uuid) -> Option<RequestId> {
        let entry = self.entries.get_mut(&uuid)?;
        let service = &entry.head.service;
        let backlog = self.backlogs.get_mut(service)?;
        let mut asked = None;
        match entry.stage {
            Stage::Waiting => {
                backlog.waiting.remove(&entry.head.sequence);
            }
            Stage::Fetching | Stage::Beginning => backlog.asked -= 1,
            Stage::Asked(id) => {
                backlog.asked -= 1;
                asked = id;
            }
            Stage::Storing | Stage::Ending | Stage::Answered | Stage::Failed | Stage::Closing => {
                return None;
            }
        }
        if backlog.asked == 0 && backlog.waiting.is_empty() {
            self.backlogs.remove(service);
        }
        asked
    }

    /// Orders the end of a request to be stored.
    pub(super) fn store_end(
        &mut self,
        uuid: Uuid,
        unix: u64,
        answer: Option<&Message>,
        burial: Option<Burial>,
    ) {
        let Some(entry) = self.entries.get(&uuid) else { return };
        let before = (self.due_of(&entry.head), entry.bytes());
        let Some(entry) = self.entries.get_mut(&uuid) else { return };
        let answer = answer.map(|answer| encode_body(answer.frames()));
        entry.stage = Stage::Ending;
        entry.head.progress = if answer.is_some() { Progress::Answered } else { Progress::Failed };
        entry.head.ended = unix;
        entry.head.request_bytes = 0;
        entry.head.answer_bytes = answer.as_ref().map_or(0, |answer| answer.len() as u64);
        let mut writes =
            vec![Write::Put(head_key(uuid), entry.head.encode()), Write::Remove(body_key(uuid))];
        writes.extend(answer.map(|answer| Write::Put(answer_key(uuid), answer)));
        let (head, bytes) = (entry.head.clone(), entry.bytes());
        let body = entry.body.take();
        self.window = self.window.saturating_sub(body.map_or(0, |body| body.bytes()));
        self.bytes = self.bytes.saturating_add(bytes).saturating_sub(before.1);
        self.due.remove(&(before.0, uuid));
        self.due.insert((self.due_of(&head), uuid));
        let (letter, write) = burial.map(|burial| (burial.letter, burial.write)).unzip();
        writes.extend(write);
        self.ledger.store(Deed::End(uuid, letter), writes);
    }

    /// Ends what may have begun before the broker did and may not again; of those whose service
    /// wants dead letters the bodies are read first. To be called before the first request comes.
    pub(crate) fn end_begun(&mut self, buries: impl Fn(&ServiceName) -> bool) {
        for uuid in std::mem::take(&mut self.begun) {
            if self.entries.get(&uuid).is_some_and(|entry| buries(entry.service())) {
                self.ledger.load(body_key(uuid), Errand::Lost(uuid));
            } else {
                self.end_lost(uuid, None);
            }
        }
    }

    /// Ends one of those.
    pub(crate) fn end_lost(&mut self, uuid: Uuid, burial: Option<Burial>) {
        let is_ending = self.entries.get(&uuid).is_some_and(|it| it.stage == Stage::Ending);
        if is_ending && !self.failed {
            self.store_end(uuid, self.wall.unix, None, burial);
        }
    }

    /// Whose request ends without an answer, if that is so.
    pub(crate) fn deceased(&self, uuid: Uuid) -> Option<Deceased<'_>> {
        let Entry { head, asker, stage, .. } = self.entries.get(&uuid)?;
        if self.failed || !matches!(stage, Stage::Asked(_) | Stage::Ending) {
            return None;
        }
        Some(Deceased {
            number: None,
            before: None,
            accepted: head.accepted,
            service: &head.service,
            owner: head.owner,
            identity: asker.identity.as_ref(),
            called: asker.says().name.map(Arc::from),
        })
    }

    fn have_ended(&mut self, uuid: Uuid) {
        let Some(entry) = self.entries.get_mut(&uuid) else { return };
        let answered = entry.head.progress == Progress::Answered;
        *(if answered { &mut self.stats.answered } else { &mut self.stats.failed }) += 1;
        if entry.stage == Stage::Ending {
            entry.stage = if answered { Stage::Answered } else { Stage::Failed };
        }
    }

    /// Orders a request to be removed; returns what it was asked as.
    pub(super) fn remove(&mut self, uuid: Uuid, deed: Deed) -> Option<RequestId> {
        let asked = self.leave(uuid);
        if let Some(entry) = self.entries.get_mut(&uuid) {
            entry.stage = Stage::Closing;
        }
        let keys = [head_key(uuid), body_key(uuid), answer_key(uuid)];
        self.ledger.store(deed, keys.map(Write::Remove).into());
        asked
    }

    /// Whether it was there.
    fn drop_entry(&mut self, uuid: Uuid) -> bool {
        let Some(entry) = self.entries.remove(&uuid) else { return false };
        self.bytes = self.bytes.saturating_sub(entry.bytes());
        self.window = self.window.saturating_sub(entry.body.map_or(0, |body| body.bytes()));
        self.due.remove(&(self.due_of(&entry.head), uuid));
        true
    }

    /// Keeps a body in memory if there is room for it.
    pub(super) fn keep_body(&mut self, uuid: Uuid, body: Message) {
        if self.window + body.bytes() <= self.limits.window_bytes_max {
            self.hold_body(uuid, body);
        }
    }

    fn hold_body(&mut self, uuid: Uuid, body: Message) {
        if let Some(entry) = self.entries.get_mut(&uuid) {
            self.window += body.bytes();
            let before = entry.body.replace(body);
            self.window = self.window.saturating_sub(before.map_or(0, |body| body.bytes()));
        }
    }
}
