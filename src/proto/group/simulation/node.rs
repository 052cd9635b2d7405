//! A member, by its own clock.

use std::collections::{BTreeMap, BTreeSet};

use super::agenda::{Agenda, Due as Deed};
use super::*;

/// A node: at most one connection, and at most one membership on it.
#[derive(Debug)]
pub(super) struct Node {
    /// Its clock gains so many millionths.
    drift: i64,
    pub(super) paused: u64,
    pub(super) line: Option<usize>,
    next_id: u64,
    joining: bool,
    /// When it joins again, if that is refused.
    retry: u64,
    pub(super) seat: Option<Seat>,
    /// Polls that it has opened and knows no result of, over all its connections.
    pub(super) asked: BTreeMap<u64, Opened>,
}

/// A poll that a node has opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    pub(super) at: u64,
    rule: Rule,
    when: Option<u64>,
}

/// A membership, as its node knows it.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) stand: Standpoint,
    pub(super) roster: BTreeSet<u64>,
    run: u64,
    sync: ClockSync,
    agenda: Agenda,
    beats: BTreeMap<u64, Instant>,
    beat: Option<Instant>,
    /// Polls on actions to which it has said yes.
    agreed: BTreeSet<u64>,
}

impl Node {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            drift: i64::try_from(rng.within(0, 400)).unwrap() - 200,
            paused: 0,
            line: None,
            next_id: 1,
            joining: false,
            retry: 0,
            seat: None,
            asked: BTreeMap::new(),
        }
    }

    /// Its clock when it is `now`.
    pub(super) fn local(&self, now: u64) -> Duration {
        let now = i64::try_from(now).unwrap();
        let drifted = now * 1000 + now * self.drift / 1000;
        Duration::from_micros(u64::try_from(drifted).unwrap())
    }

    pub(super) fn hang_up(&mut self) {
        (self.line, self.joining, self.seat) = (None, false, None);
    }
}

impl World {
    pub(super) fn node_hears(&mut self, line: usize, word: Word) -> Result<(), String> {
        let index = self.lines[line].node;
        if self.nodes[index].line != Some(line) {
            return Ok(());
        }
        let now = self.begin + self.nodes[index].local(self.now);
        match word {
            Word::NotJoined => {
                self.nodes[index].joining = false;
                self.nodes[index].retry = self.now + 100;
                return Ok(());
            }
            Word::Joined { joined, roster, epoch, run } => {
                self.nodes[index].joining = false;
                self.nodes[index].seat = Some(Seat {
                    stand: Standpoint::new(joined.incarnation, joined.view, joined.seq, epoch),
                    roster: roster.into_iter().collect(),
                    run,
                    sync: ClockSync::default(),
                    agenda: Agenda::default(),
                    beats: BTreeMap::new(),
                    beat: None,
                    agreed: BTreeSet::new(),
                });
                self.ask_again(index, line);
                return Ok(());
            }
            _ => {}
        }
        let Some(mut seat) = self.nodes[index].seat.take() else { return Ok(()) };
        let said = self.member_hears(index, &mut seat, now, word)?;
        let own = seat.stand.incarnation();
        // One that is told of its own leaving is no member.
        if seat.roster.contains(&own) {
            self.nodes[index].seat = Some(seat);
        }
        for word in said {
            self.say_to_broker(line, word);
        }
        Ok(())
    }

    /// On a new connection it opens its polls on values again, as long as they would go on, and asks
    /// for what has become of the others.
    fn ask_again(&mut self, index: usize, line: usize) {
        let asked: Vec<_> = self.nodes[index].asked.iter().map(|(poll, it)| (*poll, *it)).collect();
        for (poll, Opened { at, rule, when }) in asked {
            self.judge.seen[18] += 1;
            let goes_on = when.is_none() && self.now < at + 300;
            let again = if goes_on { Word::Open { poll, rule, when } } else { Word::Ask { poll } };
            self.say_to_broker(line, again);
        }
    }

    /// It is asked, and votes: again, and otherwise, too.
    fn votes(&mut self, seat: &mut Seat, now: Instant, poll: u64, is_action: bool) -> Vec<Word> {
        let vote = match self.rng.within(0, 99) {
            0..=74 => Vote::Yes,
            75..=84 => Vote::No,
            85..=92 => Vote::Abstain,
            _ => return Vec::new(),
        };
        let error = seat.sync.error(now).map_or_else(|| u128::MAX, |it| it.as_micros());
        let error = u64::try_from(error).unwrap_or(u64::MAX);
        // Who says yes to an action, and does not know the time, is taken to say no.
        let exact = !is_action || error <= EXACT;
        let counts = if vote == Vote::Yes && !exact { Vote::No } else { vote };
        self.judge.says(seat.stand.incarnation(), poll, counts);
        if is_action && counts == Vote::Yes {
            seat.agreed.insert(poll);
        }
        let vote = Word::Vote { poll, vote, error };
        let again = if self.rng.one_in(5) { 2 } else { 1 };
        let other = Word::Vote { poll, vote: Vote::No, error };
        let mut said = vec![vote; again];
        said.extend(self.rng.one_in(10).then_some(other));
        said
    }

    fn member_hears(
        &mut self,
        index: usize,
        seat: &mut Seat,
        now: Instant,
        word: Word,
    ) -> Result<Vec<Word>, String> {
        let fresh = |seat: &mut Seat, seq, epoch| {
            if seat.stand.hears(seq, epoch) {
                Ok(())
            } else {
                Err(format!("place {seq}, epoch {epoch:?}: {:?} has heard newer", seat.stand))
            }
        };
        match word {
            Word::Told(event) => self.member_is_told(index, seat, &event)?,
            Word::Message { seq, from, epoch } => {
                fresh(seat, seq, epoch)?;
                self.judge.is_message(seat.run, seq, from)?;
                if !seat.roster.contains(&from) {
                    return Err(format!("a message of {from}, who is in no view"));
                }
            }
            Word::Poll { seq, poll, epoch, elector, is_action } => {
                fresh(seat, seq, Some(epoch))?;
                if elector {
                    return Ok(self.votes(seat, now, poll, is_action));
                }
            }
            Word::NotOpened { poll } => {
                self.nodes[index].asked.remove(&poll);
            }
            Word::Answer { result } => {
                self.judge.is_result(&result)?;
                self.judge.seen[19] += 1;
                self.nodes[index].asked.remove(&number_of(&result.poll));
            }
            Word::Beaten { id, epoch, clock } => {
                if let Some(sent) = seat.beats.remove(&id) {
                    seat.sync.answered(sent, now, clock);
                    if let Some(epoch) = epoch {
                        seat.stand.beaten(now, sent, epoch);
                    }
                }
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    fn member_is_told(
        &mut self,
        index: usize,
        seat: &mut Seat,
        event: &Event,
    ) -> Result<(), String> {
        let (seq, epoch) = match event {
            Event::View { seq, .. } | Event::Outcomes { seq, .. } => (*seq, None),
            Event::Exited { seq, .. } => (*seq, None),
            Event::Elected { seq, epoch, .. } => (*seq, Some(*epoch)),
            Event::Result { seq, .. } => (*seq, None),
        };
        if !seat.stand.hears(seq, epoch) {
            return Err(format!("{event:?}: {:?} has heard newer", seat.stand));
        }
        match event {
            Event::View { view, change, incarnation, .. } => {
                self.judge.is_view(seat.run, *view, (*change, *incarnation))?;
                let sound = match change {
                    Change::Joined => seat.roster.insert(*incarnation),
                    Change::Suspect | Change::Alive => seat.roster.contains(incarnation),
                    Change::Left(_) => seat.roster.remove(incarnation),
                };
                if !seat.stand.sees(*view) || !sound {
                    return Err(format!("{event:?} is not the next of {:?}", seat.stand));
                }
            }
            Event::Elected { incarnation, epoch, ttl, .. } => {
                seat.stand.elected(*incarnation, *epoch, *ttl);
            }
            Event::Exited { epoch, .. } => seat.stand.exited(*epoch),
            Event::Result { result, .. } => {
                self.judge.is_result(result)?;
                let poll = number_of(&result.poll);
                self.nodes[index].asked.remove(&poll);
                if let Some(when) = result.when
                    && result.status == Status::Yes
                    && seat.agreed.contains(&poll)
                {
                    seat.agenda.wanted(&result.poll, when, Some(EXACT));
                }
            }
            Event::Outcomes { .. } => {}
        }
        Ok(())
    }

    /// A node that is not paused does what it does.
    pub(super) fn live(&mut self, index: usize) -> Result<(), String> {
        let now = self.begin + self.nodes[index].local(self.now);
        let Some(line) = self.nodes[index].line else {
            if self.now >= self.stalled {
                let line = self.lines.len();
                let peer = self.peers.insert(line);
                let (last, held) = ([self.now; 2], [0; 2]);
                self.lines.push(Line { node: index, peer: Some(peer), last, held, broken: false });
                let time = self.moment().time;
                self.spoke.insert(peer, time);
                self.nodes[index].line = Some(line);
            }
            return Ok(());
        };
        let Some(mut seat) = self.nodes[index].seat.take() else {
            let node = &mut self.nodes[index];
            if !node.joining && self.now >= node.retry {
                node.joining = true;
                self.say_to_broker(line, Word::Join);
            }
            return Ok(());
        };
        let said = self.act(index, &mut seat, now);
        self.nodes[index].seat = Some(seat);
        for word in said? {
            self.say_to_broker(line, word);
        }
        Ok(())
    }

    fn act(&mut self, index: usize, seat: &mut Seat, now: Instant) -> Result<Vec<Word>, String> {
        let mut said = Vec::new();
        let due = match seat.stand.standing(now) {
            // A third of the time to live, or the beat of a member.
            Some(crate::proto::lease::Standing::Due) => true,
            _ => seat.beat.is_none_or(|beat| now >= beat),
        };
        if due {
            let id = self.nodes[index].next_id;
            self.nodes[index].next_id += 1;
            let epoch = seat.stand.beats(now);
            seat.beats.insert(id, now);
            seat.beat = Some(now + ms(200));
            said.push(Word::Beat { id, epoch });
        }
        // It has looked before it was stopped, and acts behind that: a fence is for this.
        if self.rng.one_in(20) {
            said.push(Word::Say { to: Whom::All, epoch: seat.stand.leads(now) });
        } else if self.rng.one_in(100) {
            said.push(Word::Say { to: Whom::All, epoch: Some(seat.stand.epoch()) });
        } else if self.rng.one_in(50) {
            said.push(Word::Say { to: Whom::Leader, epoch: None });
        } else if self.rng.one_in(50) {
            let to = Whom::Member(self.rng.index(NODES));
            said.push(Word::Say { to, epoch: seat.stand.leads(now) });
        }
        if self.rng.one_in(60) {
            self.polls += 1;
            let (poll, ahead) = (self.polls, self.rng.within(160, 400) * 1000);
            let when = self.rng.one_in(2).then(|| seat.sync.clock(now)).flatten();
            let when = when.map(|clock| clock + ahead);
            let rule = if self.rng.one_in(2) { Rule::Majority } else { Rule::Unanimous };
            self.nodes[index].asked.insert(poll, Opened { at: self.now, rule, when });
            said.push(Word::Open { poll, rule, when });
        }
        if self.faults
            && self.rng.one_in(300)
            && let Some(epoch) = seat.stand.leads(now)
        {
            let to = self.rng.one_in(2).then(|| self.rng.index(NODES));
            // It does not lead any more from when it says so.
            seat.stand.exited(epoch);
            said.push(Word::Resign { epoch, to });
        }
        while let Some(deed) = seat.agenda.pop(now, &seat.sync, ms(40)) {
            let (poll, feat) = match deed {
                Deed::Act(poll) => {
                    let who = seat.stand.incarnation();
                    self.judge.does(who, number_of(&poll), self.now * 1000)?;
                    (poll, Feat::Done)
                }
                Deed::Missed(poll) => {
                    self.judge.missed();
                    (poll, Feat::Missed)
                }
            };
            said.push(Word::Outcome { poll: number_of(&poll), feat });
        }
        Ok(said)
    }
}
