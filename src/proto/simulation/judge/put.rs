//! What must hold when an NFP client is asked by a worker for which a request stands, and for what it
//! says by PUT: an answer goes to whoever has asked, all else to a worker of NFP that has the job; what
//! reaches nobody is told, once, and ends nothing.

use serde_json::Value;

use crate::wire::nfp::{Job as Command, Order, Reply, Verb};

use super::super::tag::Tag;
use super::Judge;
use super::jobs::Asking;
use super::talk::{Asks, Talk};

/// Whom a PUT is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Put {
    /// Whoever has asked it.
    Answer,
    /// The worker of NFP that has the job.
    Worker(usize),
    /// The same, which may not read.
    Perhaps(usize),
    /// Nobody.
    Nobody,
}

impl Put {
    /// Whether that is what happened.
    pub(super) fn is_answered(self, asking: &Asking) -> bool {
        let statuses: Vec<&str> = asking.statuses.iter().map(String::as_str).collect();
        let given = |conn| asking.given.contains(&conn);
        match (self, &statuses[..]) {
            (Self::Answer, ["answered"]) | (Self::Nobody, ["warned"]) => true,
            (Self::Worker(conn) | Self::Perhaps(conn), []) => given(conn),
            (Self::Perhaps(conn), ["warned"]) => !given(conn),
            _ => false,
        }
    }
}

/// Request and number of the question that is meant by the name.
fn question_of(input: &Value) -> Option<(u64, u64)> {
    let (token, number) = input.as_str()?.split_once('-')?;
    Some((u64::from_str_radix(token, 16).ok()?, number.parse().ok()?))
}

impl Judge {
    /// What a request was asked whose caller can be, and which has not ended.
    pub(super) fn asks_mut(&mut self, worker: usize, tag: Tag) -> Option<&mut Asks> {
        if let Some(record) = self.records.get_mut(&tag) {
            let open = record.ended.is_none() && record.terms.is_some_and(|terms| terms.asks);
            return Some(&mut record.asks).filter(|_| open);
        }
        let name = self.scatters.name_of(worker);
        let (part, _) = self.jobs.part_mut(tag, &name)?;
        let own = part.conn == worker;
        let stand_in = part.stand_in.as_mut().filter(|it| own && !it.lost && it.ended.is_none());
        stand_in.map(|it| &mut it.asks)
    }

    /// An NFP client is asked what a worker has just asked.
    pub(super) fn told_input_request(&mut self, conn: usize, reply: &Reply<'_>, body: &Value) {
        let asks_max = self.settings.mjp.asks_max;
        let asked = body.pointer("/extras/input_request").cloned().unwrap_or_default();
        let named = question_of(&asked["id"]);
        let Some(Talk::Ask { worker, token, tag, ask, body: said, heard }) = &mut self.talk else {
            return self.fail(|| format!("{conn} is asked {asked}, and nobody asks"));
        };
        let twice = std::mem::replace(heard, true);
        let (worker, tag, ask) = (*worker, *tag, *ask);
        let same = match &said[..] {
            [one] => String::from_utf8(one.clone()).is_ok_and(|it| asked["metadata"]["body"] == it),
            _ => true,
        };
        let invisible = matches!(&said[..], [one] if std::str::from_utf8(one).is_err());
        let mine = tag.conn as usize == conn && named == Some((*token, ask));
        let queued = self.jobs.queued.get(&tag);
        let name = match queued {
            Some(_) => "any".to_owned(),
            None => self.scatters.name_of(worker),
        };
        let uuid = queued.or_else(|| self.jobs.tags.get(&tag));
        let about = uuid.is_some_and(|uuid| uuid == reply.uuid) && body["worker"] == *name;
        let asks = self.asks_mut(worker, tag);
        let fits = asks.is_some_and(|asks| asks.opens(ask) && asks.open_len() <= asks_max);
        self.demand(!twice && (same || invisible) && mine && about && fits, || {
            format!("{conn} is asked {asked} of {tag:?} by {worker}: {same} {mine} {about} {fits}")
        });
    }

    /// Whom a PUT is for; `None`: workers that were given the job directly.
    pub(super) fn puts(&mut self, conn: usize, job: &Command<'_>) -> Option<Put> {
        let known = self.jobs.known.get(job.uuid)?;
        let queued = known.is_queued();
        if !queued && known.parts.iter().all(|part| part.stand_in.is_none()) {
            return None;
        }
        let body = job.body.clone().next().unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some((token, ask)) = question_of(&body["input_id"]) {
            return Some(self.answers(conn, job.uuid, (token, ask), &body));
        }
        if !queued {
            return None;
        }
        let mut tags = self.jobs.queued.iter().filter(|(_, uuid)| *uuid == job.uuid);
        let holder = tags.find_map(|(tag, _)| {
            self.records.get(tag).filter(|it| it.ended.is_none()).and_then(|it| it.holder)
        });
        Some(match holder {
            Some(holder) if self.nfp.is_pressed(holder) && self.nfp.is_worker(holder) => {
                Put::Perhaps(holder)
            }
            Some(holder) if self.nfp.is_worker(holder) => Put::Worker(holder),
            _ => Put::Nobody,
        })
    }

    fn answers(&mut self, conn: usize, uuid: &[u8], question: (u64, u64), body: &Value) -> Put {
        let (token, ask) = question;
        let address = token.to_be_bytes();
        let held = |side: &super::Side| side.held.get(&address[..]).copied();
        let holder = self.sides.iter().find_map(|(worker, side)| Some((*worker, held(side)?)));
        let Some((worker, tag)) = holder else { return Put::Nobody };
        let job = self.jobs.queued.get(&tag).or_else(|| self.jobs.tags.get(&tag));
        let own = job.is_some_and(|job| job == uuid) && tag.conn as usize == conn;
        if !own || !self.asks_mut(worker, tag).is_some_and(|asks| asks.answer(ask)) {
            return Put::Nobody;
        }
        let cancel = body["cancel"] == true;
        let value = body["value"].as_str().filter(|_| !cancel).map(|it| it.as_bytes().to_vec());
        let (body, code) = (value.into_iter().collect(), cancel.then_some("declined"));
        self.talk = Some(Talk::Tell { worker, tag, ask, body, code, heard: false });
        Put::Answer
    }

    /// Whether this is how the broker speaks of a PUT; then it is noted.
    pub(super) fn told_of_put(&mut self, conn: usize, reply: &Reply<'_>, body: &Value) -> bool {
        let says = match (body["event_type"].as_str(), body["severity"].as_str()) {
            (Some("input_response"), _) => "answered",
            (Some("progress"), Some("WARNING")) => "warned",
            _ => return false,
        };
        let put = |asking: &&mut Asking| asking.conn == conn && asking.verb == Some(Verb::Put);
        let Some(asking) = self.jobs.asking.as_mut().filter(put) else { return false };
        asking.statuses.push(says.into());
        let same = reply.uuid == asking.uuid;
        self.demand(same, || format!("{conn} is told {body}, and has said PUT of another job"));
        true
    }

    /// A worker of NFP is given a PUT about a request that it has.
    pub(super) fn put_given(&mut self, conn: usize, held: Option<Tag>, order: &Order<'_>) {
        let tag = held.and_then(|tag| self.jobs.queued.get(&tag)).cloned();
        let Some(asking) = self.jobs.asking.as_mut() else {
            return self.fail(|| format!("{conn} is given {order:?}, and nobody asked"));
        };
        let about = tag.is_some_and(|uuid| uuid == asking.uuid) && asking.verb == Some(Verb::Put);
        let fits = about && order.body.eq([&asking.body[..]]) && asking.given.insert(conn);
        self.demand(fits, || format!("{conn} is given {order:?}"));
    }
}
