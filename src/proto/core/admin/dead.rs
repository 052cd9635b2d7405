//! ADMIN about dead letters (SPEC 16.3).

use std::borrow::Cow;
use std::time::Duration;

use crate::id::{Identity, PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::core::report::{LOOKED_AT, Room, count, millis};
use crate::proto::dead::{Cause, Filter, Letter, LetterId};
use crate::proto::output::Output;
use crate::proto::router::Unrevived;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    Code, DeadHeader, DeadReport, FromBroker, LetterReport, Packed, RequestHeader, SeenReport, Verb,
};

use super::Refused;
use super::letters::{Tally, What, edit_of};

/// What stands in an entry beside what an entry of a page always has, octets.
const LETTER: usize = 256;
/// Longest text of an entry: a page has to hold one.
const TEXT: usize = 1024;

/// Letters that a verb is about.
struct Meant<'a> {
    one: Option<u64>,
    filter: Filter<'a>,
}

impl Core {
    /// Carries out a verb of dead letters.
    pub(super) fn on_dead<O: Output>(
        &mut self,
        now: Time,
        (id, query): (PeerId, u64),
        verb: Verb,
        (header, body): (&[u8], Frames<'_>),
        out: &mut O,
    ) -> Result<(), Refused> {
        let says =
            DeadHeader::decode(header).map_err(|why| (Code::BadRequest, why.to_string().into()))?;
        let packed = match verb {
            Verb::DeadShow => return self.show_letter(now, (id, query), &says, out),
            Verb::DeadRequeue => self.change_letters(now, (id, query), &says, true, out)?,
            Verb::DeadDrop => self.change_letters(now, (id, query), &says, false, out)?,
            Verb::DeadEdit => self.edit_letter(now, (id, query), &says, body, out)?,
            _ => Some(self.list_letters(now, &says)?),
        };
        if let Some(packed) = packed {
            self.say_packed(id, query, &packed, out);
        }
        Ok(())
    }

    /// The letters that are meant.
    fn meant<'a>(&self, says: &DeadHeader<'a>, changes: bool) -> Result<Meant<'a>, Refused> {
        let cause = says.cause.map(|name| Cause::from_name(name).ok_or(name)).transpose();
        let cause = cause.map_err(|name| {
            let all = Cause::ALL.map(Cause::as_str).join(", ");
            let why = format!("`cause` {name} is none; there are {all}");
            (Code::BadRequest, Cow::from(why))
        })?;
        let older = says.older.map(Duration::from_millis);
        let filter = Filter { service: says.service, cause, older };
        let one = says.uuid.map(|uuid| self.letter_named(uuid)).transpose()?;
        let says_which = one.is_some() || says.all == Some(true) || says.service.is_some();
        if changes && !(says_which || cause.is_some()) {
            let why = "which letters? give `uuid`, `service`, `cause`, or `all`: true";
            return Err((Code::BadRequest, why.into()));
        }
        Ok(Meant { one, filter })
    }

    fn letter_named(&self, uuid: &str) -> Result<u64, Refused> {
        let bad = "`uuid` is no id of a dead letter: those have 16 hexadecimal digits";
        let id = LetterId::from_name(uuid).ok_or_else(|| (Code::BadRequest, Cow::from(bad)))?;
        let letter = self.router.dead.named(id).map(|(number, _)| number);
        letter.ok_or_else(|| (Code::NotFound, "no dead letter of that id is kept".into()))
    }

    fn list_letters(&self, now: Time, says: &DeadHeader<'_>) -> Result<Packed, Refused> {
        let meant = self.meant(says, false)?;
        let (mut room, mut found, mut next) = (Room::new(says.max()), Vec::new(), None);
        let from = meant.one.or(says.after).unwrap_or(0);
        for (seen, (number, letter)) in self.router.dead.from(from).enumerate() {
            let asked = match meant.one {
                Some(one) if one != number => break,
                _ => meant.filter.fits(now, letter),
            };
            if seen == LOOKED_AT || asked && !room.take(octets_of(letter)) {
                next = Some(number);
                break;
            }
            if asked {
                found.push((letter.id.to_string(), letter));
            }
        }
        let letters = found.iter().map(|(uuid, letter)| report(now, uuid, letter)).collect();
        Ok(Packed::new(&DeadReport { letters: Some(letters), next, ..DeadReport::default() }))
    }

    fn show_letter<O: Output>(
        &mut self,
        now: Time,
        (id, query): (PeerId, u64),
        says: &DeadHeader<'_>,
        out: &mut O,
    ) -> Result<(), Refused> {
        let uuid = says.uuid.ok_or_else(|| (Code::BadRequest, Cow::from("`uuid` is missing")))?;
        let number = self.letter_named(uuid)?;
        let letter = self.router.dead.get(number);
        let letter = letter.ok_or_else(|| (Code::NotFound, Cow::from("it is kept no more")))?;
        if letter.disk.is_some() {
            let one = (vec![number], Tally::default());
            return self.begin_change((id, query), What::Show, one, out);
        }
        let header = letter.split().0.map(|header| count(header.len()));
        let one = LetterReport { header, ..report(now, uuid, letter) };
        let seen = letter.seen.iter().map(|seen| seen_report(now, seen)).collect();
        let packed = Packed::new(&DeadReport {
            letters: Some(vec![one]),
            seen: Some(seen),
            ..DeadReport::default()
        });
        // A copy of it is cheap: its frames are shared.
        let body = letter.body.clone();
        let (header, body) = (packed.octets(), body.frames());
        self.say(id, header.len() + body.bytes(), out, |encoder| {
            FromBroker::Admin { id: query, header, body }.encode(encoder);
        });
        Ok(())
    }

    /// Puts letters back, or drops them: those that are meant, some at a time. Nothing is to be said
    /// now if there are some on the disk among them.
    fn change_letters<O: Output>(
        &mut self,
        now: Time,
        asked: (PeerId, u64),
        says: &DeadHeader<'_>,
        requeue: bool,
        out: &mut O,
    ) -> Result<Option<Packed>, Refused> {
        let meant = self.meant(says, true)?;
        let (mut numbers, mut next) = (Vec::new(), None);
        let from = meant.one.or(says.after).unwrap_or(0);
        for (seen, (number, letter)) in self.router.dead.from(from).enumerate() {
            if meant.one.is_some_and(|one| one != number) {
                break;
            }
            if seen == LOOKED_AT || numbers.len() == says.max() {
                next = Some(number);
                break;
            }
            if meant.filter.fits(now, letter) {
                numbers.push((number, letter.disk.is_some()));
            }
        }
        if let Some(one) = meant.one {
            self.no_other_change(one)?;
        }
        let (mut tally, mut stored) = (Tally { next, ..Tally::default() }, Vec::new());
        for (number, is_stored) in numbers {
            if says.dry == Some(true) {
                tally.done += 1;
            } else if self.is_changing(number) {
                tally.leave(Unrevived::Changing);
            } else if is_stored {
                stored.push(number);
            } else if !requeue {
                self.router.drop_letter(number, false, out);
                tally.done += 1;
            } else {
                match self.router.revive(now, number, out) {
                    Ok(()) => tally.done += 1,
                    Err(why) => tally.leave(why),
                }
            }
        }
        if stored.is_empty() {
            return Ok(Some(tally.packed()));
        }
        let what = if requeue { What::Requeue } else { What::Drop };
        self.begin_change(asked, what, (stored, tally), out)?;
        Ok(None)
    }

    fn edit_letter<O: Output>(
        &mut self,
        now: Time,
        asked: (PeerId, u64),
        says: &DeadHeader<'_>,
        body: Frames<'_>,
        out: &mut O,
    ) -> Result<Option<Packed>, Refused> {
        let uuid = says.uuid.ok_or_else(|| (Code::BadRequest, Cow::from("`uuid` is missing")))?;
        let number = self.letter_named(uuid)?;
        if let Some(header) = says.header {
            RequestHeader::decode(header)
                .map_err(|why| (Code::BadRequest, Cow::from(format!("`header`: {why}"))))?;
        }
        let service = says.service.and_then(|name| ServiceName::try_from(name).ok());
        let letter = self.router.dead.get(number);
        let letter = letter.ok_or_else(|| (Code::NotFound, Cow::from("it is kept no more")))?;
        self.no_other_change(number)?;
        let (dry, requeue) = (says.dry == Some(true), says.requeue == Some(true));
        if letter.disk.is_some() && !dry {
            let (what, tally) = (edit_of(service, says.header, body, requeue), Tally::default());
            self.begin_change(asked, what, (vec![number], tally), out)?;
            return Ok(None);
        }
        let frames = (says.header.is_some() || !body.is_empty()).then(|| {
            let (header, old) = letter.split();
            let header = says.header.or(header);
            let body = if body.is_empty() { old } else { body };
            let frames = header.into_iter().chain(body).map(<[u8]>::to_vec);
            (Message::new(frames), header.is_some())
        });
        if !dry && !self.router.edit_letter(number, service, frames, out) {
            let why = "there is no memory for more of it, or it would be over \
                       limits.dead_letters_bytes";
            return Err((Code::Overloaded, why.into()));
        }
        let mut tally = Tally { done: 1, ..Tally::default() };
        if !dry
            && requeue
            && let Err(why) = self.router.revive(now, number, out)
        {
            tally.leave(why);
        }
        Ok(Some(tally.packed()))
    }
}

/// What is told of a text that anybody may have said; a long one is not.
fn short(text: Option<&str>) -> Option<&str> {
    text.filter(|text| text.len() <= TEXT)
}

fn octets_of(letter: &Letter) -> usize {
    let says = letter.asker.says();
    let texts = [short(letter.message.as_deref()), says.fingerprint, says.name];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    let identity = letter.asker.identity.as_ref().map_or(0, |it| it.as_bytes().len());
    let order = letter.order.as_ref().map_or(0, |order| order.len());
    let names = letter.service.as_bytes().len() + letter.queue.as_bytes().len();
    LETTER + texts + identity + order + names
}

pub(super) fn report<'a>(now: Time, uuid: &'a str, letter: &'a Letter) -> LetterReport<'a> {
    let says = letter.asker.says();
    LetterReport {
        uuid,
        service: letter.service.as_bytes(),
        queue: letter.queue.as_bytes(),
        cause: letter.cause.as_str(),
        message: short(letter.message.as_deref()),
        attempts: letter.attempts.into(),
        deaths: letter.deaths.into(),
        age: millis(letter.accepted_at.ago(now)),
        dead: millis(letter.died_at.ago(now)),
        bytes: count(letter.body_len()),
        identity: letter.asker.identity.as_ref().map(Identity::as_bytes),
        fingerprint: says.fingerprint,
        name: says.name,
        order: letter.order.as_deref(),
        header: None,
    }
}

pub(super) fn seen_report(now: Time, seen: &crate::proto::dead::Seen) -> SeenReport<'_> {
    SeenReport { worker: &seen.worker, end: seen.end.as_str(), ago: millis(now.since(seen.at)) }
}
