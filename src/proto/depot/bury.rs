//! Dead letters on the disk: a request becomes one in the step that removes it, and a letter that is
//! put back becomes a request in the step that removes the letter (SPEC 16.2).
//!
//! The table of letters knows those that are stored, and of each what is told in a list; the rest is
//! read when somebody wants it. All changes of letters are orders of this table, so that they are
//! done in the order in which they were decided; those of Titanic are only put by it.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::{Identity, Principal, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dead::{Cause, Letter, LetterId, OnDisk, Past, Seen};
use crate::proto::dialect::{Asker, Proof};
use crate::proto::durable::Write;
use crate::proto::policy::Settings;
use crate::proto::stats::Outcome;
use crate::proto::titanic::RecordError;
use crate::wire::message::{Frames, Message};

use super::deed::{Deed, Errand};
use super::entry::{About, End, Entry, Stage};
use super::letter::{Record, SeenThen};
use super::record::{Before, Head, Hold, key_of, letter_key};
use super::{Depot, Mark, Refused, millis};

/// What the routing tables know of a request that has died.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) cause: Cause,
    /// What the last worker said.
    pub(crate) message: Option<Box<str>>,
    pub(crate) seen: Vec<Seen>,
    /// Deliveries.
    pub(crate) attempts: u32,
    /// The caller's header, if there is one, and the body.
    pub(crate) body: Message,
    pub(crate) has_header: bool,
}

impl Remains {
    /// Of a request of which nobody knows more than what is on the disk.
    fn bare(cause: Cause, mark: Mark, body: Message) -> Self {
        let attempts = mark.losses.saturating_add(u32::from(mark.begun));
        Self { cause, message: None, seen: Vec::new(), attempts, body, has_header: true }
    }
}

/// Whose request has died.
#[derive(Debug)]
pub(crate) struct Deceased<'a> {
    /// The number that makes its id; `None`: it had none.
    pub(crate) number: Option<u64>,
    pub(crate) before: Option<Before>,
    /// ms since 1970.
    pub(crate) accepted: u64,
    pub(crate) service: &'a ServiceName,
    pub(crate) owner: Principal,
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) called: Option<Arc<str>>,
}

impl<'a> Deceased<'a> {
    fn of(number: u64, head: &'a Head) -> Self {
        Self {
            number: Some(number),
            before: head.before,
            accepted: head.accepted,
            service: &head.service,
            owner: head.owner,
            identity: head.identity.as_ref(),
            called: head.called.clone(),
        }
    }
}

/// A letter that is to be stored: what the table of letters is told then, and its octets.
#[derive(Debug)]
pub(crate) struct Burial {
    pub(crate) letter: Box<Letter>,
    pub(crate) write: Write,
}

impl Depot {
    /// What operators have decided of letters: to be called before the first request comes.
    /// Requests that may have begun and may not again have ended by now.
    pub(crate) fn abide_by(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
        for (number, value) in std::mem::take(&mut self.begun) {
            let Ok((mut head, kept)) = Head::read(&value) else { continue };
            self.adjust(&mut head);
            let unix = self.wall.unix;
            let mark = self.marks.get(&number).copied().unwrap_or_default();
            let remains = Remains::bare(Cause::Lost, mark, kept);
            let letter = self.letter(unix, &Deceased::of(number, &head), remains);
            self.lift(&head.service, number, head.hold.as_ref());
            let about = About::of(number, head, value.len() as u64);
            self.store_end(about, End { letter, ..End::by(Outcome::WorkerLost) }, unix);
        }
    }

    /// Letters that were found when the broker began, in the order of dying.
    pub(crate) fn take_found(&mut self) -> Vec<Letter> {
        std::mem::take(&mut self.found)
    }

    /// A letter that was kept.
    pub(super) fn recover_letter(&mut self, number: u64, value: &[u8]) -> Result<(), RecordError> {
        let octets = Bytes::copy_from_slice(value);
        let record = Record::decode(&octets)?;
        let letter = self.index(&record, number, value.len());
        self.found.push(letter);
        Ok(())
    }

    /// Whether the end of a request of the service makes a letter.
    pub(crate) fn buries(&self, service: &ServiceName, cause: Cause) -> bool {
        let policy = self.settings.policy_of(service.as_bytes());
        policy.dead.causes.has(cause) && self.settings.dead.letters_max > 0
    }

    /// The letter of a request that has died, if there is to be one; to be stored in the step in
    /// which the request is removed.
    fn letter(&mut self, unix: u64, whose: &Deceased<'_>, remains: Remains) -> Option<Burial> {
        if !self.buries(whose.service, remains.cause) {
            return None;
        }
        let dead = &self.settings.policy_of(whose.service.as_bytes()).dead;
        let queue = dead.queue.as_ref();
        let queue = queue.and_then(|name| ServiceName::try_from(name.as_bytes()).ok());
        let expires = dead.kept.map_or(0, |kept| unix.saturating_add(millis(kept)));
        let number = self.sequence + 1;
        let before = whose.before;
        let id = before.map(|before| LetterId(before.id));
        let seen = remains.seen.into_iter().map(|seen| {
            let Seen { worker, end, at } = seen;
            SeenThen { worker, end, at: self.unix(at) }
        });
        let record = Record {
            cause: remains.cause,
            id: id.unwrap_or_else(|| LetterId::of_kept(whose.number.unwrap_or(number))),
            accepted: before.map_or(whose.accepted, |before| before.accepted),
            died: unix,
            expires,
            attempts: before.map_or(0, |it| it.attempts).saturating_add(remains.attempts),
            deaths: before.map_or(0, |it| it.deaths).saturating_add(1),
            owner: whose.owner,
            identity: whose.identity.cloned(),
            called: whose.called.clone(),
            service: whose.service.clone(),
            queue: queue.unwrap_or_else(|| whose.service.clone()),
            message: remains.message.filter(|message| !message.is_empty()),
            seen: seen.collect(),
            has_header: remains.has_header,
            text: remains.body,
        };
        let value = record.encode();
        let letter = self.index(&record, number, value.len());
        if letter.cost() > self.settings.dead.bytes_max {
            self.stats.unburied += 1;
            return None;
        }
        self.sequence = number;
        Some(Burial { letter: Box::new(letter), write: Write::Put(letter_key(number), value) })
    }

    /// The letter of a request that dies now.
    pub(crate) fn letter_at(
        &mut self,
        now: Time,
        whose: &Deceased<'_>,
        remains: Remains,
    ) -> Option<Burial> {
        self.letter(self.unix(now), whose, remains)
    }

    /// The letter of a request of level disk.
    pub(super) fn letter_of(
        &mut self,
        unix: u64,
        number: u64,
        head: &Head,
        remains: Remains,
    ) -> Option<Burial> {
        self.letter(unix, &Deceased::of(number, head), remains)
    }

    /// The letter of a request whose time was over on the disk.
    pub(super) fn letter_of_late(
        &mut self,
        unix: u64,
        number: u64,
        head: &Head,
        kept: Message,
    ) -> Option<Burial> {
        let mark = self.marks.get(&number).copied().unwrap_or_default();
        self.letter_of(unix, number, head, Remains::bare(Cause::Timeout, mark, kept))
    }

    /// A request was not accepted, as there are too many.
    pub(super) fn bury_overflow(&mut self, unix: u64, head: &Head, kept: Frames<'_>) {
        if !self.buries(&head.service, Cause::Overflow) {
            return;
        }
        let whose = Deceased { number: None, ..Deceased::of(0, head) };
        let remains = Remains::bare(Cause::Overflow, Mark::default(), kept.to_message());
        if let Some(Burial { letter, write }) = self.letter(unix, &whose, remains) {
            self.ledger.store(Deed::Overflow(letter), vec![write]);
        }
    }

    /// What is told of a letter in a list.
    fn index(&self, record: &Record, number: u64, len: usize) -> Letter {
        let proof = Proof::of(&record.owner, record.called.as_ref());
        let expires = Some(record.expires).filter(|at| *at > 0);
        Letter {
            id: record.id,
            service: record.service.clone(),
            queue: record.queue.clone(),
            cause: record.cause,
            message: record.message.clone(),
            attempts: record.attempts,
            deaths: record.deaths,
            seen: Vec::new(),
            asker: Asker { identity: record.identity.clone(), proof },
            accepted_at: self.past(record.accepted),
            died_at: self.past(record.died),
            expires: expires.map(|at| self.time_of(at)),
            order: record.order(),
            body: Message::default(),
            has_header: record.has_header,
            disk: Some(OnDisk { number, record: len, body: record.body_len() }),
        }
    }

    fn past(&self, unix: u64) -> Past {
        match unix.checked_sub(self.wall.unix) {
            Some(_) => self.time_of(unix).into(),
            None => Past::before_us(std::time::Duration::from_millis(self.wall.unix - unix)),
        }
    }

    pub(super) fn time_of(&self, unix: u64) -> Time {
        let ahead = unix.saturating_sub(self.wall.unix);
        self.wall.at.after(std::time::Duration::from_millis(ahead))
    }

    /// How long ago that was, ms.
    pub(crate) fn ago(&self, now: Time, unix: u64) -> u64 {
        self.unix(now).saturating_sub(unix)
    }

    /// Reads a letter for a change of that number.
    pub(crate) fn read_letter(&mut self, number: u64, change: u64) {
        self.ledger.load(letter_key(number), Errand::Letter(change));
    }

    /// Puts a letter back, as a request that is accepted now: nobody waits for it, and it is known
    /// by no key. It is done when the change of that number is.
    ///
    /// # Errors
    /// Why it is not; then it is dead as before.
    pub(crate) fn revive(
        &mut self,
        now: Time,
        number: u64,
        record: Record,
        change: u64,
    ) -> Result<(), Refused> {
        let accepted = self.unix(now);
        let (kept, before) = (record.kept(), Some(record.before()));
        let order = record.order();
        let hold = order.is_some().then_some(Hold { order, not_before: 0 });
        let head = Head {
            accepted,
            until: accepted.saturating_add(millis(self.limits.waits)),
            attempts: 0,
            owner: record.owner,
            identity: record.identity,
            called: record.called,
            service: record.service,
            name: None,
            fence: None,
            before,
            hold: hold.clone(),
        };
        let value = head.encode(kept.frames());
        self.has_room_for(value.len() as u64)?;
        self.sequence += 1;
        let request = self.sequence;
        if let Some(hold) = &hold {
            self.set_apart((accepted, &head.service), request, hold);
        }
        let lane = self.line_of(&head.service).lane;
        let key = key_of(&lane, request, hold.as_ref());
        let bytes = value.len() as u64;
        self.held += kept.bytes();
        self.requests += 1;
        self.bytes += bytes;
        self.entries.insert(request, Entry::new(head, Stage::Storing, kept, bytes));
        let put = Write::Put(key, value);
        let writes = vec![Write::Remove(letter_key(number)), put];
        self.ledger.store(Deed::Revive(request, change), writes);
        Ok(())
    }

    /// Another record of a letter is to be stored, which is done when the change of that number is.
    pub(crate) fn rewrite(&mut self, number: u64, record: &Record, change: u64) -> OnDisk {
        let value = record.encode();
        let disk = OnDisk { number, record: value.len(), body: record.body_len() };
        self.ledger.store(Deed::Rewrite(change), vec![Write::Put(letter_key(number), value)]);
        disk
    }

    /// Letters are not kept any more. If that is a change of that number, it is done when that is.
    /// False: there is nothing to do, or nothing is done any more.
    pub(crate) fn unbury(&mut self, numbers: &[u64], change: Option<u64>) -> bool {
        if self.failed || numbers.is_empty() {
            return false;
        }
        let removed = numbers.iter().map(|number| Write::Remove(letter_key(*number)));
        self.ledger.store(Deed::Unbury(change), removed.collect());
        true
    }

    /// The id of a request, by which it is called as a letter, too.
    pub(crate) fn id_of(&self, number: u64) -> LetterId {
        let before = self.entries.get(&number).and_then(|entry| entry.head.before);
        before.map_or_else(|| LetterId::of_kept(number), |before| LetterId(before.id))
    }

    /// The request among those of its service that is called so.
    pub(crate) fn asked_as(&self, id: LetterId) -> Option<crate::id::RequestId> {
        let is_it = |entry: &&Entry| entry.head.before.is_some_and(|it| it.id == id.0);
        let entry = id.kept().and_then(|number| self.entries.get(&number));
        let entry = entry.filter(|entry| entry.head.before.is_none());
        match entry.or_else(|| self.entries.values().find(is_it))?.stage {
            Stage::Asked(request) => request,
            Stage::Storing | Stage::Read | Stage::Marking => None,
        }
    }
}
