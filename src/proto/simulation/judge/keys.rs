//! What must hold for requests with keys, as seen from outside: under one key one request is under
//! way at a time, at one worker at most; what was answered is not carried out again while it is
//! kept, and is said again octet by octet; another request under the key is refused; and whoever
//! asks hears exactly one end.

use std::collections::BTreeMap;

use crate::proto::stats::Outcome;
use crate::wire::mjp::{Answer, Delivery, Fault, FromBroker, Request};

use super::super::repeater::service_of;
use super::super::tag::Tag;
use super::Judge;

/// What is known of keys. A key is the number of its requests.
#[derive(Debug, Default)]
pub(super) struct Keys {
    known: BTreeMap<u32, Known>,
    /// Who waits, by connection and id.
    open: BTreeMap<(usize, u64), Open>,
    turn: Option<Turn>,
    /// Those that were to be cancelled in this step.
    cancelled: Vec<(usize, u64)>,
    /// Nothing was known under the key of the request that is being taken.
    first: bool,
    /// It was being taken when its caller was ended.
    left: Option<Open>,
    /// Answers may have been forgotten before their time.
    lax: bool,
}

/// What the broker knows under a key.
#[derive(Debug)]
struct Known {
    tag: Tag,
    /// It was answered; it runs otherwise.
    done: bool,
    attempts: Option<u32>,
    holder: Option<usize>,
    lost_by: Option<usize>,
    /// What workers call the request: one that has ended there may have been the same.
    address: Vec<u8>,
    deliveries: u32,
    losses: u32,
    /// A part of the answer was said to somebody.
    forwarded: bool,
    /// Whoever has gone would have waited until then, in broker time.
    gone: Option<u64>,
    /// What was said to those who asked.
    answer: Option<Said>,
    error: Option<String>,
}

/// The header and the body of an answer.
type Said = (Vec<u8>, Vec<Vec<u8>>);

#[derive(Debug)]
struct Open {
    tag: Tag,
    deadline: Option<u64>,
    cancelled: bool,
    attempts: Option<u32>,
    /// Something was known under the key when this was asked.
    repeat: bool,
    parts: Vec<Vec<u8>>,
}

/// A worker answers.
#[derive(Debug, Clone, Copy)]
struct Turn {
    number: u32,
    last: bool,
    /// It held the request, which has to end now.
    binding: bool,
}

impl Known {
    fn new(tag: Tag, attempts: Option<u32>) -> Self {
        Self {
            tag,
            done: false,
            attempts,
            holder: None,
            lost_by: None,
            address: Vec::new(),
            deliveries: 0,
            losses: 0,
            forwarded: false,
            gone: None,
            answer: None,
            error: None,
        }
    }
}

impl Open {
    fn until(&self) -> u64 {
        self.deadline.unwrap_or(u64::MAX)
    }
}

impl Keys {
    fn waiting(&self, number: u32) -> impl Iterator<Item = &Open> {
        self.open.values().filter(move |open| open.tag.number == number)
    }

    /// Until when somebody wants it.
    fn wanted_until(&self, number: u32) -> Option<u64> {
        let gone = self.known.get(&number).and_then(|known| known.gone);
        let tag = self.known.get(&number).map(|known| known.tag);
        let waits = self.waiting(number).filter(|open| Some(open.tag) == tag);
        waits.map(Open::until).chain(gone).max()
    }

    /// A worker is lost.
    pub(super) fn lose(&mut self, conn: usize) {
        for known in self.known.values_mut().filter(|known| known.holder == Some(conn)) {
            known.holder = None;
            known.lost_by = Some(conn);
            known.losses += 1;
        }
    }

    /// A caller has gone: what it asked goes on, if it was taken.
    pub(super) fn leave(&mut self, conn: usize, asking: Option<(usize, u64, bool)>) {
        let asking = asking.map(|(conn, id, _)| (conn, id));
        self.left = asking.filter(|key| key.0 == conn).and_then(|key| self.open.remove(&key));
        let gone: Vec<_> = self.open.keys().filter(|(on, _)| *on == conn).copied().collect();
        let gone: Vec<_> = gone.iter().filter_map(|key| self.open.remove(key)).collect();
        self.lose_callers(gone);
    }

    fn lose_callers(&mut self, gone: impl IntoIterator<Item = Open>) {
        // Who has cancelled waits for nothing, though the word for that found no room.
        for open in gone.into_iter().filter(|open| !open.cancelled) {
            if let Some(known) = self.known.get_mut(&open.tag.number)
                && known.tag == open.tag
                && !known.done
            {
                known.gone = known.gone.max(Some(open.until()));
            }
        }
    }
}

impl Judge {
    /// A request with a key is about to be given to the broker.
    pub(in super::super) fn asked_keyed(
        &mut self,
        conn: usize,
        request: &Request<'_>,
        tag: Tag,
        lax: bool,
    ) {
        self.end_turn();
        self.keys.lax = lax;
        self.asking = Some((conn, request.id, false));
        let timeout = request.says.timeout();
        let timeout = timeout.map(|timeout| u64::try_from(timeout.as_micros()).unwrap());
        let attempts = request.says.attempts.map(std::num::NonZeroU32::get);
        let repeat = self.keys.known.contains_key(&tag.number);
        self.keys.first = !repeat;
        self.keys.known.entry(tag.number).or_insert_with(|| Known::new(tag, attempts));
        let open = Open {
            tag,
            deadline: timeout.map(|timeout| self.time + timeout),
            cancelled: false,
            attempts,
            repeat,
            parts: Vec::new(),
        };
        self.keys.open.insert((conn, request.id), open);
    }

    /// It has been taken, or refused; `begun` says whether one more request runs by that, `taken`
    /// whether that or another one has one more caller.
    pub(in super::super) fn keyed_taken(
        &mut self,
        (conn, id): (usize, u64),
        tag: Tag,
        begun: bool,
        taken: bool,
    ) {
        self.end_requests();
        let refused = self.asking.take().is_some_and(|(_, _, refused)| refused);
        let number = tag.number;
        let lax = self.keys.lax;
        let first = std::mem::take(&mut self.keys.first);
        self.demand(!(refused && begun), || format!("{tag:?} was refused and runs"));
        // The word that it was refused may have found no room, and ended its caller.
        if first && !begun {
            self.keys.known.remove(&number);
        }
        let left = self.keys.left.take().filter(|_| taken);
        self.keys.lose_callers(left);
        // It may have been refused or answered.
        let Some(open) = self.keys.open.get(&(conn, id)) else { return };
        let attempts = open.attempts;
        let Some(known) = self.keys.known.get(&number) else {
            return self.fail(|| format!("{tag:?} goes on, and has ended"));
        };
        // It waits: it is the one that runs, unless what was known has been forgotten.
        let runs = !known.done && known.tag == tag;
        if !runs && lax && known.done {
            self.keys.known.insert(number, Known::new(tag, attempts));
            return;
        }
        self.demand(runs, || format!("{tag:?} waits under a key of which is known {number}"));
    }

    /// A request with a key is given to a worker.
    pub(super) fn keyed_delivered(&mut self, conn: usize, address: Vec<u8>, tag: Tag) {
        let service = service_of(tag.number);
        let policy = self.settings.policy_of(service.as_bytes()).clone();
        let side = self.sides.entry(conn).or_default();
        side.held.insert(address.clone(), tag);
        let (held, credit) = (side.held.len(), side.credit.unwrap_or(policy.prefetch as usize));
        let suspect = |held: &Tag| self.records.get(held).is_some_and(|record| record.losses >= 2);
        let alone = !side.held.values().any(suspect);
        self.addresses.insert(address.clone(), tag);
        let (lax, time) = (self.keys.lax, self.time);
        let due = self.keys.wanted_until(tag.number).is_none_or(|until| until <= time);
        let Some(known) = self.keys.known.get_mut(&tag.number) else {
            return self.fail(|| format!("{tag:?} was delivered and never asked"));
        };
        if known.done && lax {
            let asked = self.keys.open.values().find(|open| open.tag == tag);
            *known = Known::new(tag, asked.and_then(|open| open.attempts));
        }
        let fresh = known.tag == tag && !known.done && known.holder.is_none();
        let again = known.deliveries == 0
            || !policy.at_most_once
                && (!known.forwarded || policy.resend_after_partial)
                && known.attempts.is_none_or(|most| known.deliveries < most)
                && known.deliveries < 2 + policy.attempts
                && known.losses == known.deliveries;
        let solo = known.losses < 2 || held == 1;
        known.deliveries += 1;
        known.holder = Some(conn);
        known.address = address;
        let text = format!("{tag:?} goes to {conn}, which holds {held} of {credit}: {known:?}");
        self.demand(fresh && again, || format!("carried out again: {text}"));
        self.demand(held <= credit && solo && alone, || format!("not alone: {text}"));
        self.demand(!due || lax, || format!("nobody waits: {text}"));
    }

    /// What the broker adds for a worker of MJP.
    pub(super) fn keyed_delivered_natively(&mut self, tag: Tag, delivery: &Delivery<'_>) {
        let until = self.keys.wanted_until(tag.number).filter(|until| *until < u64::MAX);
        let left = until.map(|until| until.saturating_sub(self.time).div_ceil(1000));
        let deliveries = self.keys.known.get(&tag.number).map_or(0, |known| known.deliveries);
        let fits = delivery.says.timeout == left && delivery.says.attempt.get() == deliveries;
        self.demand(fits || self.keys.lax, || {
            format!("{tag:?}, {deliveries}. time, left {left:?}, is given as {:?}", delivery.says)
        });
    }

    /// A worker answers what it has, or has had.
    pub(super) fn keyed_answered(
        &mut self,
        (conn, address): (usize, &[u8]),
        tag: Tag,
        last: bool,
        error: bool,
    ) {
        let number = tag.number;
        let Some(known) = self.keys.known.get_mut(&number) else { return };
        if known.tag != tag || known.done || known.address != address {
            return;
        }
        if known.holder == Some(conn) {
            if last {
                known.holder = None;
            }
            self.keys.turn = Some(Turn { number, last, binding: last });
        } else if known.holder.is_none() && known.lost_by == Some(conn) && last && !error {
            self.keys.turn = Some(Turn { number, last, binding: false });
        }
    }

    /// A worker is asked to stop: whoever waited has cancelled, and nobody else does.
    pub(super) fn keyed_stopped(&mut self, tag: Tag) {
        let runs = self.keys.known.get(&tag.number);
        let runs = runs.is_some_and(|known| known.tag == tag && !known.done);
        self.demand(!runs, || format!("a worker is to stop {tag:?}, which goes on"));
    }

    /// A caller says CANCEL.
    pub(super) fn cancel_keyed(&mut self, conn: usize, id: u64) {
        if let Some(open) = self.keys.open.get_mut(&(conn, id)) {
            open.cancelled = true;
            self.keys.cancelled.push((conn, id));
        }
    }

    /// A request with a key has ended.
    pub(super) fn end_keyed(&mut self, tag: Tag, outcome: Outcome) {
        let number = tag.number;
        let policy = self.settings.policy_of(service_of(number).as_bytes());
        let answered = self.keys.turn.is_some_and(|turn| turn.number == number && turn.last);
        if self.keys.lax && self.keys.known.get(&number).is_some_and(|known| known.done) {
            // What was known has been forgotten, and this was asked anew.
            self.keys.known.insert(number, Known::new(tag, None));
        }
        let (time, wanted) = (self.time, self.keys.wanted_until(number));
        let goes_on = |open: &Open| open.tag == tag && !open.cancelled;
        let all_cancelled = !self.keys.waiting(number).any(goes_on);
        let Some(known) = self.keys.known.get_mut(&number).filter(|known| known.tag == tag) else {
            return self.fail(|| format!("{tag:?} ended as {outcome:?}, and did not run"));
        };
        let tried = known.attempts.is_some_and(|most| most <= known.losses);
        let (fits, kept) = match outcome {
            Outcome::Replied | Outcome::Unclaimed | Outcome::Failed | Outcome::AnswerTooBig => {
                (answered, true)
            }
            Outcome::WorkerLost => {
                let parted = known.forwarded && !policy.resend_after_partial;
                let forbidden = policy.at_most_once || tried;
                (known.losses > 0 && (forbidden || parted), forbidden)
            }
            Outcome::Dead => (known.losses == 2 + policy.attempts, true),
            Outcome::TimedOut => {
                (known.holder.is_none() && wanted.is_none_or(|until| until <= time), false)
            }
            Outcome::Cancelled => {
                (all_cancelled && known.gone.is_none_or(|until| until <= time), false)
            }
            Outcome::Expired => (known.holder.is_none(), false),
            Outcome::CallerGone | Outcome::Refused | Outcome::StaleEpoch | Outcome::Unfenced => {
                (false, false)
            }
        };
        let text = format!("{tag:?} ended as {outcome:?}: {known:?}, wanted until {wanted:?}");
        let runs = !known.done;
        if kept {
            known.done = true;
            known.holder = None;
        } else {
            self.keys.known.remove(&number);
        }
        self.demand(fits && runs, || text);
    }

    /// Something is said to a caller of a request with a key. False: it is none.
    pub(super) fn keyed_said(&mut self, conn: usize, said: &FromBroker<'_>) -> bool {
        let id = match said {
            FromBroker::Accepted { id, .. } => *id,
            FromBroker::Partial(answer) | FromBroker::Final(answer) => answer.id,
            FromBroker::Error(failure) => failure.id,
            _ => return false,
        };
        let Some(open) = self.keys.open.get_mut(&(conn, id)) else { return false };
        match said {
            FromBroker::Accepted { says, .. } => {
                let (repeat, lax) = (open.repeat, self.keys.lax);
                let asking = self.asking == Some((conn, id, false));
                let fits = asking && (says.repeat == Some(true)) == repeat;
                self.demand(fits || asking && lax, || format!("{id} of {conn} is {said:?}"));
            }
            FromBroker::Partial(answer) => {
                open.parts.extend(answer.body.map(<[u8]>::to_vec));
                let number = open.tag.number;
                let turn = self.keys.turn.is_some_and(|turn| turn.number == number && !turn.last);
                if let Some(known) = self.keys.known.get_mut(&number) {
                    known.forwarded = true;
                }
                self.demand(turn, || format!("{id} of {conn} has a part that nobody said"));
            }
            FromBroker::Final(answer) => self.keyed_final(conn, answer),
            FromBroker::Error(failure) => {
                let code = Fault::decode(failure.header).map(|fault| fault.code);
                self.keyed_error(conn, id, code.unwrap_or_default());
            }
            _ => {}
        }
        true
    }

    fn keyed_final(&mut self, conn: usize, answer: &Answer<'_>) {
        let Some(open) = self.keys.open.remove(&(conn, answer.id)) else { return };
        let (number, tag, id) = (open.tag.number, open.tag, answer.id);
        let turn = self.keys.turn.is_some_and(|turn| turn.number == number && turn.last);
        let Some(known) = self.keys.known.get_mut(&number).filter(|known| known.tag == tag) else {
            return self.fail(|| format!("{id} of {conn} got the answer to another: {tag:?}"));
        };
        let fits = known.done || turn;
        let mut body = open.parts;
        body.extend(answer.body.map(<[u8]>::to_vec));
        let said = (answer.header.to_vec(), body);
        // Who saw the parts of a worker that was lost saw more than what was answered.
        let whole = known.losses == 0;
        let same = known.answer.as_ref().is_none_or(|before| *before == said);
        let text = format!("{id} of {conn}: {said:?}, {known:?}");
        if whole {
            known.answer.get_or_insert(said);
        }
        let told = known.error.is_none() || known.error.as_deref() == Some("too_big");
        self.demand(fits && told && (same || !whole), || format!("another answer: {text}"));
    }

    fn keyed_error(&mut self, conn: usize, id: u64, code: &str) {
        let Some(open) = self.keys.open.remove(&(conn, id)) else { return };
        let (number, tag, time) = (open.tag.number, open.tag, self.time);
        let asking = matches!(self.asking, Some((on, asked, false)) if (on, asked) == (conn, id));
        let known = self.keys.known.get_mut(&number);
        let fits = match code {
            "overloaded" | "draining" => {
                self.asking = Some((conn, id, true));
                asking
            }
            "key_conflict" => {
                self.asking = Some((conn, id, true));
                asking && known.is_some_and(|known| known.tag != tag)
            }
            "timeout" => open.deadline.is_some_and(|at| at <= time),
            "cancelled" => open.cancelled,
            "unserved" => known.is_none(),
            // What a worker says, or what is kept in its stead.
            _ => known.filter(|known| known.tag == tag).is_none_or(|known| {
                let before = known.error.get_or_insert_with(|| code.into());
                *before == code && (known.answer.is_none() || code == "too_big")
            }),
        };
        self.demand(fits, || format!("{id} of {conn}, {open:?}, heard {code}"));
    }

    /// After a message: what had to end has ended.
    pub(super) fn end_keyed_turn(&mut self) {
        if let Some(turn) = self.keys.turn.take().filter(|turn| turn.binding) {
            let known = self.keys.known.get(&turn.number);
            let runs = known.is_some_and(|known| !known.done);
            let text = format!("{known:?} was answered and goes on");
            self.demand(!runs, || text);
        }
        for key in std::mem::take(&mut self.keys.cancelled) {
            let open = self.keys.open.contains_key(&key) && !self.is_gone(key.0);
            self.demand(!open, || format!("{key:?} was cancelled and waits"));
        }
    }

    /// The broker has looked at the time.
    pub(super) fn check_key_deadlines(&mut self) {
        let time = self.time;
        let late = self.keys.open.iter().find(|(_, open)| open.until() <= time);
        let late = late.map(|(key, open)| format!("{key:?}: {open:?}"));
        self.demand(late.is_none(), || format!("at {time} this was due: {late:?}"));
    }

    /// # Errors
    /// Somebody has not heard the end.
    pub(super) fn close_keys(&self) -> Result<(), String> {
        let runs = self.keys.known.values().find(|known| !known.done);
        runs.map_or(Ok(()), |known| Err(format!("{known:?} was accepted and has no end")))
    }
}
