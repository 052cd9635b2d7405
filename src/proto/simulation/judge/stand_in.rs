//! Where a worker does not speak NFP a request stands for its part in a job, and the broker says what
//! a NorFab worker would: one event when it ends, and the result to who fetches it.

use std::collections::BTreeSet;

use crate::proto::stats::Outcome;
use crate::wire::nfp::Reply;

use super::super::tag::{Piece, Tag};
use super::Judge;
use super::parts::{Part, ended_as};
use super::talk::{Asks, Talk};

/// A request that stands for it.
#[derive(Debug)]
pub(super) struct StandIn {
    pub(super) tag: Tag,
    pub(super) deadline: Option<u64>,
    /// The worker has it.
    pub(super) given: bool,
    pub(super) lost: bool,
    pub(super) asks: Asks,
    pub(super) ended: Option<Outcome>,
    /// Its client was told that there is a result; there may have been no memory for it.
    pub(super) ready: bool,
    pub(super) kept: bool,
}

impl StandIn {
    pub(super) fn new(tag: Tag, deadline: Option<u64>) -> Self {
        let (given, lost, ready) = (false, false, false);
        let (asks, ended) = (Asks::default(), None);
        Self { tag, deadline, given, lost, asks, ended, ready, kept: true }
    }
}

/// A worker answers a request that stands for its part.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) tag: Tag,
    pub(super) name: String,
    pub(super) last: bool,
    pub(super) error: bool,
}

impl Judge {
    /// The workers that have a part for which a request of this body stands.
    pub(super) fn stand_ins_of(&self, uuid: &[u8], tag: Option<Tag>) -> BTreeSet<usize> {
        let parts = self.jobs.known.get(uuid).into_iter().flat_map(|job| &job.parts);
        let mine = |part: &&Part| part.stand_in.as_ref().is_some_and(|it| Some(it.tag) == tag);
        parts.filter(mine).map(|part| part.conn).collect()
    }

    /// A worker of another dialect is given its part as a request.
    pub(super) fn stand_in_given(&mut self, conn: usize, address: Vec<u8>, tag: Tag) {
        let (name, time) = (self.scatters.name_of(conn), self.time);
        self.hold_part(conn, address, tag, None);
        let Some((part, uuid)) = self.jobs.part_mut(tag, &name) else {
            return self.fail(|| format!("{name} is given a part of a job, and was not named"));
        };
        let own = part.conn == conn && !part.progress.is_end();
        let Some(stand_in) = &mut part.stand_in else { return };
        let twice = std::mem::replace(&mut stand_in.given, true);
        let over = stand_in.lost || stand_in.deadline.is_some_and(|due| due <= time);
        let deleted = self.jobs.known.get(&uuid).is_some_and(|job| job.deleted);
        self.demand(own && !twice && !over && !deleted, || {
            format!("{name} is given {tag:?}: twice {twice}, over {over}, deleted {deleted}")
        });
    }

    /// It answers.
    pub(super) fn stand_in_answered(&mut self, conn: usize, tag: Tag, last: bool, error: bool) {
        let name = self.scatters.name_of(conn);
        let part = self.jobs.part_mut(tag, &name).map(|(part, _)| part);
        let stand_in = part.filter(|it| it.conn == conn).and_then(|it| it.stand_in.as_ref());
        let open = stand_in.is_some_and(|it| it.given && !it.lost && it.ended.is_none());
        self.jobs.turn = open.then_some(Turn { tag, name, last, error });
    }

    /// The request that stands for a part has ended.
    pub(super) fn stand_in_ended(&mut self, tag: Tag, name: &str, outcome: Outcome) {
        let time = self.time;
        let gone = self.is_gone(tag.conn as usize);
        let unheard = gone || self.sides.get(&(tag.conn as usize)).is_some_and(|side| side.full);
        let answer = self.jobs.turn.clone().filter(|it| it.tag == tag && it.name == name);
        let answer = answer.filter(|it| it.last);
        let uuid = self.jobs.tags.get(&tag).cloned().unwrap_or_default();
        let job = self.jobs.known.get(&uuid);
        let deleted = job.is_some_and(|job| job.deleted);
        let job_due = job.is_some_and(|job| job.is_due(time));
        let Some((part, uuid)) = self.jobs.part_mut(tag, name) else {
            return self.fail(|| format!("{tag:?} ends at {name} as {outcome:?}, unknown"));
        };
        let (conn, over) = (part.conn, part.progress.is_end());
        let Some(stand_in) = &mut part.stand_in else { return };
        let due = job_due || stand_in.deadline.is_some_and(|due| due <= time);
        let fits = match outcome {
            Outcome::Replied | Outcome::AnswerTooBig => answer.is_some_and(|it| !it.error),
            Outcome::Failed => answer.is_some_and(|it| it.error),
            Outcome::Unclaimed => answer.is_some() && unheard,
            Outcome::WorkerLost => stand_in.lost,
            Outcome::TimedOut => due,
            Outcome::Cancelled => deleted,
            Outcome::CallerGone => gone,
            Outcome::Dead | Outcome::Expired | Outcome::Refused => false,
            Outcome::StaleEpoch | Outcome::Unfenced => false,
        };
        stand_in.ended = Some(outcome);
        stand_in.kept = outcome != Outcome::CallerGone;
        let given = stand_in.given && !stand_in.lost;
        part.progress = ended_as(outcome);
        if let Some(job) = self.jobs.known.get_mut(&uuid) {
            job.settle(time);
        }
        self.jobs.touched.insert(uuid);
        let given_up = matches!(outcome, Outcome::TimedOut | Outcome::Cancelled);
        let told = self.sides.get(&conn).is_some_and(|side| side.credit.is_some());
        if given_up && given && told {
            self.stops_due.push((conn, tag));
        }
        self.jobs.ended_now.push((tag, name.to_owned()));
        self.demand(fits && !over, || {
            format!("{tag:?} ends at {name} as {outcome:?}, which had ended: {over}")
        });
    }

    /// A client is told what has just happened at a worker that has a part.
    fn told_progress(&mut self, conn: usize, uuid: &[u8], name: &str) {
        let Some(Talk::Event { tag, .. }) = self.talk.take() else {
            return self.fail(|| format!("{conn} hears of an event at {name}: none is"));
        };
        let parts = self.jobs.known.get(uuid).map(|job| &job.parts);
        let open = parts.into_iter().flatten().filter(|part| part.name == name).any(|part| {
            part.stand_in.as_ref().is_some_and(|it| it.tag == tag && it.ended.is_none())
        });
        let mine = tag.conn as usize == conn;
        self.demand(open && mine, || {
            format!("{conn} hears of an event at {name}, its own: {mine}, open: {open}")
        });
    }

    /// A client is told that it can fetch what became of a part.
    pub(super) fn told_ready(&mut self, conn: usize, reply: &Reply<'_>) {
        let body = reply.body.clone().next().unwrap_or_default();
        let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let name = body["worker"].as_str().unwrap_or_default().to_owned();
        if self.told_of_put(conn, reply, &body) {
            return;
        }
        if body["event_type"] == "input_request" {
            return self.told_input_request(conn, reply, &body);
        }
        if body["event_type"] == "progress" {
            return self.told_progress(conn, reply.uuid, &name);
        }
        if self.jobs.is_queued(reply.uuid) {
            return self.told_queued_ready(conn, reply.uuid, &body);
        }
        let turn = self.jobs.turn.clone().filter(|turn| turn.last && turn.name == name);
        let parts = self.jobs.known.get_mut(reply.uuid).map(|job| &mut job.parts);
        let found = parts.into_iter().flatten().filter(|part| part.name == name).find_map(|part| {
            // The worker may have had a part before, which ended with a connection of the client.
            let stand_in = part.stand_in.as_mut().filter(|it| it.tag.conn as usize == conn)?;
            let now = turn.as_ref().filter(|turn| turn.tag == stand_in.tag);
            (!stand_in.ready && (stand_in.ended.is_some() || now.is_some())).then_some(stand_in)
        });
        let Some(stand_in) = found else {
            return self.fail(|| format!("{conn} is told {body}, and nothing has ended"));
        };
        stand_in.ready = true;
        let done = match stand_in.ended {
            None => turn.is_some_and(|turn| !turn.error),
            Some(_) => false,
        };
        let says = (body["event_type"].as_str(), body["status"].as_str());
        let status = if done { "completed" } else { "failed" };
        self.demand(says == (Some("result_ready"), Some(status)), || {
            format!("{conn} is told {body}, not {status}")
        });
    }

    /// Whether a worker of that name had a part which has ended, and for which the broker stood.
    pub(super) fn was_stand_in(&self, uuid: &[u8], name: &str) -> bool {
        self.ended_stand_ins(uuid).any(|part| part.name == name)
    }

    /// Whether any had.
    pub(super) fn has_ended_stand_ins(&self, uuid: &[u8]) -> bool {
        self.ended_stand_ins(uuid).next().is_some()
    }

    fn ended_stand_ins(&self, uuid: &[u8]) -> impl Iterator<Item = &Part> {
        let parts = self.jobs.known.get(uuid).into_iter().flat_map(|job| &job.parts);
        parts.filter(|part| part.stand_in.is_some() && part.progress.is_end())
    }

    /// What GET says of a part of a worker that does not speak NFP.
    pub(super) fn check_result(
        &mut self,
        uuid: &[u8],
        name: &str,
        status: &[u8],
        entry: &serde_json::Value,
    ) {
        let parts = self.jobs.known.get(uuid).into_iter().flat_map(|job| &job.parts);
        let parts = parts.rev().filter(|part| part.name == name);
        let stand_in = parts.filter_map(|part| part.stand_in.as_ref()).next();
        let fits = match stand_in {
            None => status == b"404",
            Some(StandIn { ended: None, .. }) => status == b"300",
            Some(StandIn { kept: false, .. }) => matches!(status, b"200" | b"500"),
            Some(StandIn { ended: Some(Outcome::Replied | Outcome::Unclaimed), tag, .. }) => {
                status == b"200" && (entry["failed"] == true || has_answer(&entry["result"], *tag))
            }
            Some(_) => status == b"200" && entry["failed"] == true,
        };
        let known = if fits { String::new() } else { format!("{stand_in:?}") };
        self.demand(fits, || {
            let status = String::from_utf8_lossy(status);
            format!("the result of {uuid:?} is {status} {entry}, and it is {known}")
        });
    }
}

/// Whether a frame of the result is a piece of the answer to this.
fn has_answer(result: &serde_json::Value, tag: Tag) -> bool {
    let frames = result.as_array().map_or_else(|| std::slice::from_ref(result), Vec::as_slice);
    let mut pieces = frames.iter().filter_map(|it| Piece::decode(it.as_str()?.as_bytes()));
    pieces.any(|piece| piece.tag == tag)
}
