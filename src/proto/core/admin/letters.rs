//! What an operator does with letters that are on the disk: each is read, and what becomes of it is
//! told when that is stored (SPEC 16.3).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::id::{PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::core::report::count;
use crate::proto::dead::OnDisk;
use crate::proto::depot::{Record, SeenThen};
use crate::proto::output::Output;
use crate::proto::router::Unrevived;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{Code, DeadReport, FromBroker, LetterReport, Packed, SeenReport};

use super::Refused;
use super::dead::report;

/// Changes that are on their way.
const CHANGES_MAX: usize = 64;

/// Of what a letter consists from now on, as far as that is said.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) service: Option<ServiceName>,
    pub(super) header: Option<Box<[u8]>>,
    /// No frames: as it was.
    pub(super) body: Message,
    pub(super) requeue: bool,
}

/// What is to be done with letters.
#[derive(Debug)]
pub(super) enum What {
    Show,
    Requeue,
    Drop,
    Edit(Box<Edit>),
}

/// What has become of letters so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) done: u64,
    /// Those that are dead as before, and why one of them is.
    pub(super) left: u64,
    pub(super) because: Option<Unrevived>,
    /// There are more, from that number on.
    pub(super) next: Option<u64>,
}

impl Tally {
    pub(super) fn leave(&mut self, because: Unrevived) {
        (self.left, self.because) = (self.left + 1, Some(because));
    }

    pub(super) fn packed(&self) -> Packed {
        Packed::new(&DeadReport {
            done: Some(self.done),
            left: Some(self.left).filter(|left| *left > 0),
            because: self.because.map(Unrevived::as_str),
            next: self.next,
            ..DeadReport::default()
        })
    }
}

/// Something that was asked for and is not answered.
#[derive(Debug)]
struct Change {
    peer: PeerId,
    /// Its number of the question.
    query: u64,
    what: What,
    /// The letters that come next, and the one that is being read or gets another record.
    queue: VecDeque<u64>,
    present: Option<u64>,
    /// Orders of it that are not stored.
    open: usize,
    /// One of those never is.
    failed: bool,
    tally: Tally,
}

/// What is on its way.
#[derive(Debug, Default)]
pub(in crate::proto::core) struct Changes {
    last: u64,
    open: BTreeMap<u64, Change>,
    /// Letters that are being changed.
    busy: BTreeSet<u64>,
}

impl Core {
    fn change(&mut self, id: u64) -> Option<&mut Change> {
        self.keeper.as_mut()?.changes.open.get_mut(&id)
    }

    /// Whether somebody is changing the letter.
    pub(super) fn is_changing(&self, number: u64) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.changes.busy.contains(&number))
    }

    /// Does something with letters that are on the disk, and answers when it is done.
    pub(super) fn begin_change<O: Output>(
        &mut self,
        (peer, query): (PeerId, u64),
        what: What,
        (letters, tally): (Vec<u64>, Tally),
        out: &mut O,
    ) -> Result<(), Refused> {
        let Some(keeper) = &mut self.keeper else {
            return Err((Code::NotFound, Unrevived::Gone.as_str().into()));
        };
        let changes = &mut keeper.changes;
        if changes.open.len() >= CHANGES_MAX {
            let why = "64 changes of letters are on their way already";
            return Err((Code::Overloaded, why.into()));
        }
        changes.last += 1;
        let (id, queue) = (changes.last, letters.into());
        let change =
            Change { peer, query, what, queue, present: None, open: 0, failed: false, tally };
        changes.open.insert(id, change);
        self.go_on_with(id, out);
        Ok(())
    }

    /// Has the next letters dealt with, or answers.
    fn go_on_with<O: Output>(&mut self, id: u64, out: &mut O) {
        if let Some(Change { what: What::Drop, queue, .. }) = self.change(id) {
            let letters = std::mem::take(queue);
            self.drop_stored(id, letters, out);
        }
        while self.is_next_due(id) {
            self.read_next(id);
        }
        let is_done = |it: &&mut Change| {
            it.present.is_none() && it.open == 0 && (it.queue.is_empty() || it.failed)
        };
        if self.change(id).filter(is_done).is_none() {
            return;
        }
        let done = self.keeper.as_mut().and_then(|keeper| keeper.changes.open.remove(&id));
        let Some(Change { peer, query, failed, tally, what, .. }) = done else { return };
        if failed {
            let why = "the disk has failed; nobody knows what is stored of it. Look again when the \
                       broker was started anew";
            self.object(peer, query, Code::StoreFailed, why, out);
            return;
        }
        match (what, tally.because) {
            (What::Show, Some(why)) => self.object(peer, query, Code::NotFound, why.as_str(), out),
            // It has been shown.
            (What::Show, None) => {}
            (What::Edit(_), Some(why)) if tally.done == 0 => {
                self.object(peer, query, Code::Overloaded, why.as_str(), out);
            }
            _ => self.say_packed(peer, query, &tally.packed(), out),
        }
    }

    /// Whether the next letter of a change is to be read now.
    fn is_next_due(&mut self, id: u64) -> bool {
        let busy = self.is_store_busy();
        self.change(id).is_some_and(|change| {
            change.present.is_none() && !change.queue.is_empty() && !(change.open > 0 && busy)
        })
    }

    fn is_store_busy(&self) -> bool {
        self.depot().is_some_and(crate::proto::depot::Depot::is_busy)
    }

    fn drop_stored<O: Output>(&mut self, id: u64, letters: VecDeque<u64>, out: &mut O) {
        let mut numbers = Vec::new();
        for letter in letters {
            numbers.extend(self.router.drop_letter(letter, false, out));
        }
        let Some(depot) = self.router.depot.as_mut() else { return };
        let orders = depot.unbury(&numbers, Some(id));
        if let Some(change) = self.change(id) {
            change.tally.done += count(numbers.len());
            change.open += usize::from(orders);
            change.failed |= !orders && !numbers.is_empty();
        }
    }

    /// Reads the next letter, if it is there and can be changed now.
    fn read_next(&mut self, id: u64) {
        let Some(change) = self.change(id) else { return };
        let Some(number) = change.queue.pop_front() else { return };
        let may = match change.what {
            What::Show => self.letter_on_disk(number),
            What::Requeue | What::Edit(_) | What::Drop => self.changeable(number),
        };
        let Some(keeper) = &mut self.keeper else { return };
        let Some(change) = keeper.changes.open.get_mut(&id) else { return };
        match may.and_then(|disk| Ok((disk, self.router.depot.as_mut().ok_or(Unrevived::Store)?))) {
            Ok((disk, depot)) => {
                change.present = Some(number);
                if !matches!(change.what, What::Show) {
                    keeper.changes.busy.insert(number);
                }
                depot.read_letter(disk.number, id);
            }
            Err(why) => change.tally.leave(why),
        }
    }

    fn letter_on_disk(&self, number: u64) -> Result<OnDisk, Unrevived> {
        self.router.dead.get(number).and_then(|letter| letter.disk).ok_or(Unrevived::Gone)
    }

    /// Where the letter is, if it can be changed or put back now.
    fn changeable(&self, number: u64) -> Result<OnDisk, Unrevived> {
        let disk = self.letter_on_disk(number)?;
        if self.is_changing(number) {
            return Err(Unrevived::Changing);
        }
        let room = self.depot().map(|depot| depot.has_room_for(disk.record as u64));
        if room.is_some_and(|room| room.is_ok()) { Ok(disk) } else { Err(Unrevived::Store) }
    }

    /// A letter was read, or cannot be.
    pub(in crate::proto::core) fn letter_was_read<O: Output>(
        &mut self,
        now: Time,
        id: u64,
        value: Option<Bytes>,
        out: &mut O,
    ) {
        let Some(keeper) = &mut self.keeper else { return };
        let Some(change) = keeper.changes.open.get_mut(&id) else { return };
        let Some(number) = change.present.take() else { return };
        keeper.changes.busy.remove(&number);
        let (peer, query) = (change.peer, change.query);
        let what = std::mem::replace(&mut change.what, What::Requeue);
        let record = value.and_then(|value| Record::decode(&value).ok());
        let found = self.letter_on_disk(number).ok().zip(record);
        let done = match (&what, found) {
            (What::Show, Some((_, record))) => {
                self.say_stored(now, (peer, query), number, &record, out);
                Ok(())
            }
            (What::Edit(edit), Some((disk, record))) => {
                self.edit_stored(now, id, (number, disk), record, edit, out)
            }
            (What::Requeue | What::Drop, Some((disk, record))) => {
                self.revive_stored(now, id, (number, disk), record, out)
            }
            (_, None) => Err(Unrevived::Gone),
        };
        if let Some(change) = self.change(id) {
            change.what = what;
            if let Err(why) = done {
                change.tally.leave(why);
            }
        }
        self.go_on_with(id, out);
    }

    /// Puts a letter back, of which that is the record.
    fn revive_stored<O: Output>(
        &mut self,
        now: Time,
        id: u64,
        (number, disk): (u64, OnDisk),
        record: Record,
        out: &mut O,
    ) -> Result<(), Unrevived> {
        self.router.takes_back(&record.service)?;
        self.router.align();
        let depot = self.router.depot.as_mut().ok_or(Unrevived::Store)?;
        depot.revive(now, disk.number, record, id).map_err(|_| Unrevived::Store)?;
        self.router.drop_letter(number, true, out);
        if let Some(change) = self.change(id) {
            change.tally.done += 1;
            change.open += 1;
        }
        Ok(())
    }

    /// Gives a letter another record, or puts it back as that.
    fn edit_stored<O: Output>(
        &mut self,
        now: Time,
        id: u64,
        (number, disk): (u64, OnDisk),
        record: Record,
        edit: &Edit,
        out: &mut O,
    ) -> Result<(), Unrevived> {
        let header = edit.header.as_deref().or_else(|| record.split().0);
        let body =
            if edit.body.frames().is_empty() { record.split().1 } else { edit.body.frames() };
        let frames = header.into_iter().chain(body).map(<[u8]>::to_vec);
        let (text, has_header) = (Message::new(frames), header.is_some());
        let service = edit.service.clone().unwrap_or_else(|| record.service.clone());
        let changed = Record { service, text, has_header, ..record };
        if edit.requeue && self.router.takes_back(&changed.service).is_ok() {
            return self.revive_stored(now, id, (number, disk), changed, out);
        }
        let more = changed.encode().len().saturating_sub(disk.record);
        let depot = self.router.depot.as_mut().ok_or(Unrevived::Store)?;
        if !self.router.dead.fits_more(more) || depot.has_room_for(more as u64).is_err() {
            return Err(Unrevived::Store);
        }
        let disk = depot.rewrite(disk.number, &changed, id);
        let because = self.router.takes_back(&changed.service).err();
        out.take(self.router.dead.rewrite(number, changed.service, disk));
        out.release(self.router.dead.take_freed());
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        keeper.changes.busy.insert(number);
        if let Some(change) = keeper.changes.open.get_mut(&id) {
            // It is not to be read as it was before.
            change.present = Some(number);
            change.tally.done += 1;
            change.open += 1;
            if let Some(why) = because.filter(|_| edit.requeue) {
                change.tally.leave(why);
            }
        }
        Ok(())
    }

    /// Something of a change is stored, or never is.
    pub(in crate::proto::core) fn letter_was_changed<O: Output>(
        &mut self,
        id: u64,
        done: bool,
        out: &mut O,
    ) {
        let Some(keeper) = &mut self.keeper else { return };
        let Some(change) = keeper.changes.open.get_mut(&id) else { return };
        change.open = change.open.saturating_sub(1);
        change.failed |= !done;
        if let What::Edit(_) = change.what
            && let Some(number) = change.present.take()
        {
            keeper.changes.busy.remove(&number);
        }
        self.go_on_with(id, out);
    }

    /// Shows a letter, of which that is the record.
    fn say_stored<O: Output>(
        &mut self,
        now: Time,
        (peer, query): (PeerId, u64),
        number: u64,
        record: &Record,
        out: &mut O,
    ) {
        let (Some(letter), Some(depot)) = (self.router.dead.get(number), self.depot()) else {
            return;
        };
        let uuid = letter.id.to_string();
        let header = record.split().0.map(|header| count(header.len()));
        let one = LetterReport { header, ..report(now, &uuid, letter) };
        let seen = record.seen.iter().map(|seen| {
            let SeenThen { worker, end, at } = seen;
            SeenReport { worker, end: end.as_str(), ago: depot.ago(now, *at) }
        });
        let packed = Packed::new(&DeadReport {
            letters: Some(vec![one]),
            seen: Some(seen.collect()),
            ..DeadReport::default()
        });
        let (header, body) = (packed.octets(), record.text.frames());
        self.say(peer, header.len() + body.bytes(), out, |encoder| {
            FromBroker::Admin { id: query, header, body }.encode(encoder);
        });
    }

    /// Why a letter is not touched now.
    pub(super) fn no_other_change(&self, number: u64) -> Result<(), Refused> {
        if self.is_changing(number) {
            return Err((Code::Overloaded, Cow::from(Unrevived::Changing.as_str())));
        }
        Ok(())
    }
}

/// What an operator wants a letter to be.
pub(super) fn edit_of(
    service: Option<ServiceName>,
    header: Option<&[u8]>,
    body: Frames<'_>,
    requeue: bool,
) -> What {
    let body = body.to_message();
    What::Edit(Box::new(Edit { service, header: header.map(Into::into), body, requeue }))
}
