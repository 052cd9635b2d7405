//! What must hold for EVENT, ASK and TELL: they are told while their request is open, where it is
//! open, in the turn in which they were said, and to nobody else.

use std::collections::BTreeSet;

use crate::wire::message::Frames;
use crate::wire::mjp::{Ask, Event, Note, Tell};

use super::super::tag::Tag;
use super::Judge;

/// What a request has been asked, as seen from outside.
#[derive(Debug, Default)]
pub(super) struct Asks {
    open: BTreeSet<u64>,
    /// Asked by workers that were lost.
    void: BTreeSet<u64>,
}

impl Asks {
    /// One more is asked. False: its number is taken.
    pub(super) fn opens(&mut self, ask: u64) -> bool {
        !self.void.contains(&ask) && self.open.insert(ask)
    }

    /// Whether it has been asked, and not answered.
    fn knows(&self, ask: u64) -> bool {
        self.open.contains(&ask) || self.void.contains(&ask)
    }

    pub(super) fn open_len(&self) -> usize {
        self.open.len()
    }

    /// It is answered. False: it was not open.
    pub(super) fn answer(&mut self, ask: u64) -> bool {
        self.open.remove(&ask)
    }

    /// The worker that has asked is lost.
    pub(super) fn lose(&mut self) {
        self.void.append(&mut self.open);
    }
}

/// What was just said in the middle of a request.
#[derive(Debug)]
pub(super) enum Talk {
    /// Something has happened.
    Event { worker: usize, tag: Tag, body: Vec<Vec<u8>> },
    /// A worker asks about what it calls so.
    Ask { worker: usize, token: u64, tag: Tag, ask: u64, body: Vec<Vec<u8>>, heard: bool },
    /// A caller answers that worker, or says why it does not.
    Tell {
        worker: usize,
        tag: Tag,
        ask: u64,
        body: Vec<Vec<u8>>,
        code: Option<&'static str>,
        heard: bool,
    },
}

fn frames(body: Frames<'_>) -> Vec<Vec<u8>> {
    body.map(<[u8]>::to_vec).collect()
}

impl Judge {
    fn tag_held(&self, conn: usize, token: u64) -> Option<Tag> {
        self.sides.get(&conn)?.held.get(&token.to_be_bytes()[..]).copied()
    }

    /// Something happens at a worker, or at somebody who only says so.
    pub(super) fn happened(&mut self, conn: usize, event: &Event<'_>) {
        let tag = self.tag_held(conn, event.id);
        let worker = conn;
        self.talk = tag.map(|tag| Talk::Event { worker, tag, body: frames(event.body) });
    }

    /// A worker asks, or somebody who is none of that request.
    pub(super) fn questioned(&mut self, conn: usize, question: &Ask<'_>) {
        let (worker, token, ask) = (conn, question.id, question.says.ask);
        self.talk = self.tag_held(conn, token).map(|tag| {
            let body = frames(question.body);
            Talk::Ask { worker, token, tag, ask, body, heard: false }
        });
    }

    /// A caller answers, or says that it does.
    pub(super) fn answered_question(&mut self, conn: usize, tell: &Tell<'_>) {
        let tag = self.sides.get(&conn).and_then(|side| side.open.get(&tell.id)).copied();
        let Some(record) = tag.and_then(|tag| self.records.get_mut(&tag)) else { return };
        let ask = tell.says.ask;
        if let (Some(tag), Some(worker)) = (tag, record.holder)
            && record.ended.is_none()
            && record.asks.open.remove(&ask)
        {
            let body = frames(tell.body);
            self.talk = Some(Talk::Tell { worker, tag, ask, body, code: None, heard: false });
        }
    }

    /// What a caller hears in the middle of a request: whether it is open there.
    fn is_open_at(&self, conn: usize, id: u64, tag: Tag) -> bool {
        let open = self.sides.get(&conn).and_then(|side| side.open.get(&id)) == Some(&tag);
        open && self.records.get(&tag).is_some_and(|record| record.ended.is_none())
    }

    pub(super) fn told_event(&mut self, conn: usize, event: &Event<'_>) {
        let Some(Talk::Event { tag, body, .. }) = self.talk.take() else {
            return self.fail(|| format!("{conn} hears of an event at {}: none is", event.id));
        };
        let wants = self.records.get(&tag).and_then(|it| it.terms).is_some_and(|it| it.events);
        let open = self.is_open_at(conn, event.id, tag);
        let same = body == frames(event.body);
        self.demand(wants && open && same, || {
            format!("{conn} hears of an event at {tag:?}: wanted {wants}, open {open}, {same}")
        });
    }

    /// The caller of a scatter hears of something at one of its workers.
    pub(super) fn told_note(&mut self, conn: usize, note: &Note<'_>) {
        let Some(Talk::Event { worker, tag, body }) = self.talk.take() else {
            return self.fail(|| format!("{conn} hears of an event at {}: none is", note.id));
        };
        let name = self.scatters.name_of(worker);
        let wanted = self.scatters.wants_notes(conn, note.id, tag, &name);
        let same = body == frames(note.body) && note.says.target == name;
        self.demand(wanted && same, || {
            format!("{conn} hears {note:?} of {tag:?} at {name}: wanted {wanted}, {same}")
        });
    }

    pub(super) fn told_question(&mut self, conn: usize, question: &Ask<'_>) {
        let asks_max = self.settings.mjp.asks_max;
        let Some(Talk::Ask { tag, ask, body, heard, .. }) = &mut self.talk else {
            return self.fail(|| format!("{conn} is asked, and nobody asks"));
        };
        let twice = std::mem::replace(heard, true);
        let (tag, ask) = (*tag, *ask);
        let same = *body == frames(question.body) && question.says.ask == ask;
        let open = self.is_open_at(conn, question.id, tag);
        let Some(record) = self.records.get_mut(&tag) else { return };
        let wants = record.terms.is_some_and(|terms| terms.asks);
        let fresh = !record.asks.void.contains(&ask) && record.asks.open.insert(ask);
        let fits = record.asks.open.len() <= asks_max;
        self.demand(!twice && same && open && wants && fresh && fits, || {
            format!("{conn} is asked {ask} of {tag:?}: {same} {open} {wants} {fresh} {fits}")
        });
    }

    /// A worker is told: what the caller says, or that there is none.
    pub(super) fn told_answer(&mut self, conn: usize, tell: &Tell<'_>) {
        let held = self.tag_held(conn, tell.id);
        let asks = match &self.talk {
            Some(Talk::Ask { worker, tag, ask, .. }) => {
                let (worker, tag, ask) = (*worker, *tag, *ask);
                self.asks_mut(worker, tag).map(|asks| asks.knows(ask))
            }
            Some(Talk::Event { .. } | Talk::Tell { .. }) | None => None,
        };
        let said = match &mut self.talk {
            Some(Talk::Tell { worker, tag, ask, body, code, heard }) => {
                let same = *body == frames(tell.body) && tell.says.code == *code;
                let due = !std::mem::replace(heard, true) && same;
                due && (*worker, Some(*tag), *ask) == (conn, held, tell.says.ask)
            }
            Some(Talk::Ask { worker, token, ask, heard, tag, .. }) => {
                let fits = match (tell.says.code, asks) {
                    // Its caller may have gone.
                    (Some("no_caller"), None) => true,
                    (Some("no_caller"), Some(_)) => {
                        self.sides.get(&(tag.conn as usize)).is_some_and(|it| it.gone)
                    }
                    (Some("duplicate_id"), Some(known)) => known,
                    (Some("overloaded"), Some(_)) => true,
                    _ => false,
                };
                let due = !std::mem::replace(heard, true) && fits;
                due && (*worker, *token, *ask) == (conn, tell.id, tell.says.ask)
            }
            Some(Talk::Event { .. }) | None => false,
        };
        let talk = format!("{:?}", self.talk);
        self.demand(said, || format!("{conn} is told {tell:?}: {talk}"));
    }

    /// After a message: who asked, or was answered, has heard of it.
    pub(super) fn end_talk(&mut self) {
        let (worker, heard) = match &self.talk {
            Some(Talk::Ask { worker, heard, .. } | Talk::Tell { worker, heard, .. }) => {
                (*worker, *heard)
            }
            Some(Talk::Event { .. }) | None => {
                self.talk = None;
                return;
            }
        };
        let gone = self.is_gone(worker);
        let talk = self.talk.take();
        self.demand(heard || gone, || format!("{worker} waits in vain: {talk:?}"));
    }
}
