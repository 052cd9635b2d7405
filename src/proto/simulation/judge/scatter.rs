//! What must hold for scatters, as seen from outside: who is meant is decided once, each of them
//! has the request at most once and one outcome, the tally is right, and nothing comes behind it.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::stats::Outcome;
use crate::proto::witness;
use crate::wire::mjp::{self, Answer, Delivery, Recipients, Tally, Targets};

use super::super::plan::MIXED;
use super::super::tag::{Kind as PieceKind, Piece, Tag};
use super::{Dialect, Judge};

/// What is known of scatters.
#[derive(Debug, Default)]
pub(super) struct Scatters {
    /// The names of the peers, by connection.
    names: BTreeMap<usize, String>,
    open: BTreeMap<Tag, Scatter>,
    turn: Option<Turn>,
    /// Those that were to be cancelled in this step.
    cancelled: Vec<Tag>,
}

/// A scatter that has no tally yet.
#[derive(Debug)]
struct Scatter {
    conn: usize,
    id: u64,
    header: Vec<u8>,
    service: Vec<u8>,
    to: To,
    /// In broker time, microseconds.
    deadline: Option<u64>,
    events: bool,
    /// As TARGETS says.
    targets: Option<BTreeSet<String>>,
    parts: BTreeMap<String, Part>,
    cancelled: bool,
}

#[derive(Debug)]
enum To {
    All,
    Names(BTreeSet<String>),
    Labels,
}

/// One worker's part.
#[derive(Debug, Default)]
struct Part {
    /// The connection that it was given to.
    holder: Option<usize>,
    /// Its worker was lost.
    lost: bool,
    ended: Option<Outcome>,
    /// What the caller was told.
    told: Option<String>,
}

/// A worker answers its part, which has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Turn {
    tag: Tag,
    name: String,
    last: bool,
    error: bool,
}

impl Scatter {
    fn is_due(&self, time: u64) -> bool {
        self.deadline.is_some_and(|at| at <= time)
    }

    /// Whose part has not ended.
    fn open_parts(&self) -> impl Iterator<Item = &str> {
        let named = self.targets.iter().flatten().map(String::as_str);
        let known = self.parts.keys().map(String::as_str);
        let ended = |name: &&str| self.parts.get(*name).is_some_and(|part| part.ended.is_some());
        named.chain(known).filter(move |name| !ended(name))
    }
}

impl Scatters {
    pub(super) fn has(&self, tag: Tag) -> bool {
        self.open.contains_key(&tag)
    }

    /// Whether the caller wants to know what happens at that worker, and hears of it by this id.
    pub(super) fn wants_notes(&self, conn: usize, id: u64, tag: Tag, name: &str) -> bool {
        self.open.get(&tag).is_some_and(|scatter| {
            let open = scatter.parts.get(name).is_some_and(|part| part.ended.is_none());
            open && scatter.events && (scatter.conn, scatter.id) == (conn, id)
        })
    }

    pub(super) fn name_of(&self, conn: usize) -> String {
        self.names.get(&conn).cloned().unwrap_or_default()
    }

    /// A worker is lost, with whatever parts it has or waits for.
    pub(super) fn lose(&mut self, conn: usize) {
        let name = self.name_of(conn);
        for scatter in self.open.values_mut() {
            let meant = scatter.targets.iter().flatten().any(|target| *target == name);
            if meant || scatter.parts.contains_key(&name) {
                scatter.parts.entry(name.clone()).or_default().lost = true;
            }
        }
    }
}

impl Judge {
    /// What a peer is called from now on.
    pub(in super::super) fn joined(&mut self, conn: usize, name: String) {
        self.nfp.named(name.clone(), conn);
        self.scatters.names.insert(conn, name);
    }

    /// A scatter is about to be given to the broker.
    pub(in super::super) fn scattered(
        &mut self,
        conn: usize,
        scatter: &mjp::Scatter<'_>,
        tag: Tag,
    ) {
        self.end_turn();
        self.asking = Some((conn, scatter.id, false));
        let micros = |timeout: std::time::Duration| u64::try_from(timeout.as_micros()).unwrap();
        let to = match &scatter.says.to {
            Recipients::All => To::All,
            Recipients::Names(names) => To::Names(names.iter().map(|&it| it.to_owned()).collect()),
            Recipients::Labels(_) => To::Labels,
        };
        let known = Scatter {
            conn,
            id: scatter.id,
            header: scatter.header.to_vec(),
            service: scatter.says.service.to_vec(),
            to,
            deadline: scatter.says.timeout().map(|timeout| self.time + micros(timeout)),
            events: scatter.says.events(),
            targets: None,
            parts: BTreeMap::new(),
            cancelled: false,
        };
        self.scatters.open.insert(tag, known);
        self.sides.entry(conn).or_default().open.entry(scatter.id).or_insert(tag);
    }

    /// It has been taken, or refused.
    pub(in super::super) fn scatter_taken(&mut self, tag: Tag) {
        self.end_requests();
        let refused = self.asking.take().is_some_and(|(_, _, refused)| refused);
        // It may have come to its end already.
        let Some(scatter) = self.scatters.open.get(&tag) else { return };
        let (told, parts) = (scatter.targets.is_some(), scatter.parts.len());
        let gone = self.is_gone(scatter.conn);
        if refused {
            self.demand(!told && parts == 0, || format!("{tag:?} was refused and given out"));
        } else {
            self.demand(told || gone, || format!("{tag:?} was taken, and nobody was told"));
        }
        if !told && parts == 0 {
            self.close_scatter(tag);
        }
    }

    fn close_scatter(&mut self, tag: Tag) {
        let Some(scatter) = self.scatters.open.remove(&tag) else { return };
        let side = self.sides.entry(scatter.conn).or_default();
        if side.open.get(&scatter.id) == Some(&tag) {
            side.open.remove(&scatter.id);
        }
    }

    /// A caller says CANCEL, which may be of a scatter.
    pub(super) fn cancel_scatter(&mut self, tag: Tag) {
        if let Some(scatter) = self.scatters.open.get_mut(&tag) {
            scatter.cancelled = true;
            self.scatters.cancelled.push(tag);
        }
    }

    /// Workers of MJP that are meant, if nobody is named: of others it is not known what they take.
    fn takers(&self, service: &[u8]) -> BTreeSet<String> {
        let takes = |conn: &usize| {
            let side = self.sides.get(conn);
            side.is_some_and(|side| !side.gone && side.credit.is_some_and(|credit| credit > 0))
        };
        let offers = self.offers.iter().filter(|(_, offer)| *offer == service);
        let conns = offers.map(|(conn, _)| conn).filter(|conn| takes(conn));
        conns.map(|conn| self.scatters.name_of(*conn)).collect()
    }

    /// Nobody is meant.
    pub(super) fn told_no_target(&mut self, conn: usize, id: u64) {
        let mut scatters = self.scatters.open.values();
        let Some(scatter) = scatters.rfind(|it| (it.conn, it.id) == (conn, id)) else {
            return self.fail(|| format!("{conn} has no target for {id}, and did not scatter"));
        };
        let takers = self.takers(&scatter.service);
        let missed = match &scatter.to {
            To::All => takers,
            To::Names(names) => takers.intersection(names).cloned().collect(),
            To::Labels => BTreeSet::new(),
        };
        self.demand(missed.is_empty(), || format!("{id} of {conn} is for nobody, not {missed:?}"));
    }

    pub(super) fn told_targets(&mut self, conn: usize, targets: &Targets<'_>) {
        let tag = self.sides.entry(conn).or_default().open.get(&targets.id).copied();
        let Some((tag, scatter)) = tag.and_then(|tag| Some((tag, self.scatters.open.get(&tag)?)))
        else {
            return self.fail(|| format!("{conn} is told targets of {}", targets.id));
        };
        let names = targets.names().unwrap_or_default();
        let known: BTreeSet<_> = names.iter().cloned().collect();
        let takers = self.takers(&scatter.service);
        let native = |name: &String| {
            let conns = self.scatters.names.iter().filter(|(_, it)| *it == name);
            let sides = conns.filter_map(|(conn, _)| self.sides.get(conn));
            sides.filter(|side| !side.gone).any(|side| side.dialect == Some(Dialect::Mjp))
        };
        let wrong = known.iter().find(|name| native(name) && !takers.contains(*name)).cloned();
        let wanted = match &scatter.to {
            To::All => takers,
            To::Names(names) => {
                let strange = known.difference(names).next().is_some();
                let meant = takers.intersection(names).cloned().collect();
                if strange { BTreeSet::from(["a name that was asked for".into()]) } else { meant }
            }
            To::Labels => BTreeSet::new(),
        };
        let missing = wanted.difference(&known).next().cloned();
        let first = scatter.targets.is_none() && scatter.parts.is_empty();
        let asking = self.asking == Some((conn, targets.id, false));
        let fits = !known.is_empty() && known.len() == names.len();
        self.demand(first && asking && fits && wrong.is_none() && missing.is_none(), || {
            format!("targets of {tag:?}: {names:?}, first: {first}, not {wrong:?}, but {missing:?}")
        });
        if let Some(scatter) = self.scatters.open.get_mut(&tag) {
            scatter.targets = Some(known);
        }
    }

    /// A worker is given its part.
    pub(super) fn part_given(&mut self, conn: usize, address: Vec<u8>, tag: Tag) {
        let (name, time) = (self.scatters.name_of(conn), self.time);
        let service = self.scatters.open.get(&tag).map(|scatter| scatter.service.clone());
        self.hold_part(conn, address, tag, service);
        let Some(scatter) = self.scatters.open.get_mut(&tag) else { return };
        let due = scatter.is_due(time) || scatter.cancelled;
        let meant = scatter.targets.as_ref().is_none_or(|targets| targets.contains(&name));
        let part = scatter.parts.entry(name.clone()).or_default();
        let fresh = part.holder.replace(conn).is_none() && part.ended.is_none() && !part.lost;
        self.demand(fresh && meant && !due, || {
            format!("{name} is given {tag:?}: fresh {fresh}, meant {meant}, over {due}")
        });
    }

    /// A worker has one more part of a job, as a request: it takes its credit.
    pub(super) fn hold_part(
        &mut self,
        conn: usize,
        address: Vec<u8>,
        tag: Tag,
        service: Option<Vec<u8>>,
    ) {
        let side = self.sides.entry(conn).or_default();
        side.held.insert(address.clone(), tag);
        let (held, side_credit) = (side.held.len(), side.credit);
        let suspect = |tag: &Tag| self.records.get(tag).is_some_and(|record| record.losses >= 2);
        let alone = !side.held.values().any(suspect);
        self.addresses.insert(address, tag);
        // What a worker of MDP offers is not known here.
        let prefetch = service.map(|name| self.settings.policy_of(&name).prefetch as usize);
        let credit = side_credit.or(prefetch).unwrap_or(usize::MAX);
        self.demand(held <= credit && alone, || {
            format!("{conn} holds {held}, its credit is {credit}; no suspect there: {alone}")
        });
    }

    /// A worker of MJP is given its part, with what the broker adds.
    pub(super) fn part_given_natively(&mut self, tag: Tag, delivery: &Delivery<'_>) {
        let Some(scatter) = self.scatters.open.get(&tag) else { return };
        let left = scatter.deadline.map(|due| due.saturating_sub(self.time).div_ceil(1000));
        let same = delivery.header == scatter.header;
        let fits = delivery.says.attempt.get() == 1 && delivery.says.timeout == left && same;
        self.demand(fits, || format!("{tag:?}, left {left:?}, is given as {delivery:?}"));
    }

    /// A worker answers its part, or has answered it before.
    pub(super) fn part_answered(&mut self, conn: usize, tag: Tag, last: bool, error: bool) {
        if self.jobs.has(tag) {
            return self.stand_in_answered(conn, tag, last, error);
        }
        let name = self.scatters.name_of(conn);
        let Some(scatter) = self.scatters.open.get(&tag) else { return };
        let part = scatter.parts.get(&name);
        let open = part.is_some_and(|part| part.holder == Some(conn) && part.ended.is_none());
        self.scatters.turn = open.then_some(Turn { tag, name, last, error });
    }

    /// Takes note of the parts that have ended.
    pub(super) fn end_parts(&mut self) {
        for (body, name, outcome) in witness::take_part_ends() {
            let Some(tag) = Tag::decode(&body) else { continue };
            if self.jobs.has(tag) {
                self.stand_in_ended(tag, &name, outcome);
                continue;
            }
            if self.jobs.queued.contains_key(&tag) {
                self.queued_ended(tag, outcome);
                continue;
            }
            let Some(scatter) = self.scatters.open.get_mut(&tag) else {
                return self.fail(|| format!("{tag:?} ends at {name} as {outcome:?}, unknown"));
            };
            let answer = self
                .scatters
                .turn
                .as_ref()
                .filter(|turn| turn.tag == tag && turn.name == name && turn.last);
            let (due, cancelled) = (scatter.is_due(self.time), scatter.cancelled);
            let gone = self.sides.get(&scatter.conn).is_some_and(|side| side.gone);
            let part = scatter.parts.entry(name.clone()).or_default();
            let twice = part.ended.replace(outcome).is_some();
            let fits = match outcome {
                Outcome::Replied | Outcome::AnswerTooBig => answer.is_some_and(|it| !it.error),
                Outcome::Failed => answer.is_some_and(|it| it.error),
                Outcome::Unclaimed => answer.is_some(),
                Outcome::WorkerLost => part.lost,
                Outcome::TimedOut => due,
                Outcome::Cancelled => cancelled,
                Outcome::CallerGone => gone,
                Outcome::Refused => scatter.service == MIXED.as_bytes() && part.holder.is_none(),
                Outcome::StaleEpoch | Outcome::Unfenced => false,
                Outcome::Dead | Outcome::Expired => false,
            };
            let given_up = matches!(outcome, Outcome::TimedOut | Outcome::Cancelled);
            if let Some(holder) = part.holder.filter(|_| given_up)
                && self.sides.get(&holder).is_some_and(|side| side.credit.is_some())
            {
                self.stops_due.push((holder, tag));
            }
            self.demand(fits && !twice, || {
                format!("{tag:?} ends at {name} as {outcome:?}, twice: {twice}")
            });
        }
    }

    /// A caller is told how it went at one worker.
    pub(super) fn told_outcome(&mut self, conn: usize, outcome: &mjp::Outcome<'_>) {
        let tag = self.sides.entry(conn).or_default().open.get(&outcome.id).copied();
        let (turn, says) = (self.scatters.turn.clone(), outcome.says);
        let Some((tag, scatter)) =
            tag.and_then(|tag| Some((tag, self.scatters.open.get_mut(&tag)?)))
        else {
            return self.fail(|| format!("{conn} is told {says:?} of {}", outcome.id));
        };
        let meant = scatter.targets.iter().flatten().any(|target| target == says.target);
        let part = scatter.parts.entry(says.target.to_owned()).or_default();
        let twice = part.told.replace(says.outcome.to_owned());
        let turn = turn.filter(|it| it.tag == tag && it.name == says.target && it.last);
        let expected = match part.ended {
            None if turn.as_ref().is_some_and(|turn| turn.error) => ("failed", None),
            None if turn.is_some() => ("replied", None),
            Some(Outcome::WorkerLost) => ("lost", Some("worker_lost")),
            Some(Outcome::TimedOut) => ("timed_out", Some("timeout")),
            Some(Outcome::Cancelled) => ("cancelled", Some("cancelled")),
            Some(Outcome::AnswerTooBig) => ("failed", Some("too_big")),
            Some(Outcome::Refused) => ("refused", Some("bad_request")),
            _ => ("nothing", None),
        };
        self.demand(meant && twice.is_none() && (says.outcome, says.code) == expected, || {
            format!("{tag:?} is {says:?}, not {expected:?}, meant: {meant}, before: {twice:?}")
        });
        let whole = match says.outcome {
            "replied" => is_whole(tag, outcome.body.filter_map(Piece::decode)),
            _ => outcome.body.is_empty(),
        };
        self.demand(whole, || format!("{tag:?} has of {says:?} {:?}", outcome.body));
    }

    /// A caller is told an answer under this id: the tally, if it is that of a scatter.
    pub(super) fn told_tally(&mut self, conn: usize, answer: &Answer<'_>, more: bool) -> bool {
        let tag = self.sides.entry(conn).or_default().open.get(&answer.id).copied();
        let Some((tag, scatter)) = tag.and_then(|tag| Some((tag, self.scatters.open.get(&tag)?)))
        else {
            return false;
        };
        let mut tally = Tally::default();
        let mut whole = !more && answer.body.eq([b""]) && scatter.open_parts().count() == 0;
        for target in scatter.targets.iter().flatten() {
            let told = scatter.parts.get(target).and_then(|part| part.told.as_deref());
            match told {
                Some("replied") => tally.replied += 1,
                Some("failed") => tally.failed += 1,
                Some("refused") => tally.refused += 1,
                Some("lost") => tally.lost += 1,
                Some("timed_out") => tally.timed_out += 1,
                Some("cancelled") => tally.cancelled += 1,
                _ => whole = false,
            }
        }
        let said = Tally::decode(answer.header);
        let known = format!("{scatter:?}");
        self.demand(whole && said == Ok(tally), || {
            format!("the tally of {tag:?} is {said:?}, not {tally:?}: {known}")
        });
        self.close_scatter(tag);
        true
    }

    /// After a message: what had to end has ended.
    pub(super) fn end_scatter_turn(&mut self) {
        for tag in std::mem::take(&mut self.scatters.cancelled) {
            let open = self.scatters.open.get(&tag).filter(|it| !self.is_gone(it.conn));
            self.demand(open.is_none(), || format!("{tag:?} was cancelled and goes on"));
        }
        if let Some(turn) = self.scatters.turn.take().filter(|turn| turn.last) {
            let scatter = self.scatters.open.get(&turn.tag);
            let part = scatter.and_then(|scatter| scatter.parts.get(&turn.name));
            let open = part.is_some_and(|part| part.ended.is_none());
            self.demand(!open, || format!("{turn:?}, and it goes on"));
        }
        // Of a caller that has gone, only what a worker has may be left.
        let gone = |conn: usize| self.sides.get(&conn).is_some_and(|side| side.gone);
        let waits = |scatter: &Scatter| {
            let held = |name: &str| scatter.parts.get(name).is_some_and(|it| it.holder.is_some());
            scatter.open_parts().any(|name| !held(name))
        };
        let orphan = self.scatters.open.values().find(|it| gone(it.conn) && waits(it));
        let orphan = orphan.map(|orphan| format!("{orphan:?}"));
        let sides = &self.sides;
        let gone = |conn: usize| sides.get(&conn).is_some_and(|side| side.gone);
        self.scatters.open.retain(|_, it| !gone(it.conn) || it.open_parts().next().is_some());
        self.demand(orphan.is_none(), || format!("waits, and its caller has gone: {orphan:?}"));
    }

    /// The broker has looked at the time.
    pub(super) fn check_scatter_deadlines(&mut self) {
        let time = self.time;
        let late = |it: &&Scatter| it.is_due(time) && it.open_parts().next().is_some();
        let late = self.scatters.open.values().find(late).map(|it| format!("{it:?}"));
        self.demand(late.is_none(), || format!("at {time} this was due: {late:?}"));
    }

    /// The end of a run, when everybody has gone.
    pub(super) fn close_scatters(&self) -> Result<(), String> {
        let open = self.scatters.open.iter().next();
        open.map_or(Ok(()), |(tag, it)| Err(format!("{tag:?} has no end: {it:?}")))
    }
}

/// Parts in their order, and then the end, which counts them; a babbler has no order.
fn is_whole(tag: Tag, pieces: impl Iterator<Item = Piece>) -> bool {
    let (mut parts, mut whole, mut count) = (0, true, 0);
    for piece in pieces {
        count += 1;
        whole &= piece.tag == tag;
        match piece.kind {
            PieceKind::Part(index) => {
                whole &= index == parts;
                parts = index + 1;
            }
            PieceKind::End(ends) => whole &= ends == parts,
            PieceKind::Babble => {}
        }
    }
    whole && count > 0
}
