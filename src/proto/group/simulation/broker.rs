//! The broker of a run: its tables, its clocks, and what it makes of what it hears.

use super::*;

impl World {
    /// A run of the broker begins at that time of its wall clock, microseconds.
    pub(super) fn count_from(&mut self, wall: u64) {
        let last = self.mark.map_or(wall, |mark| wall.max(mark));
        self.groups = Groups::new(*self.groups.limits());
        self.leases = Leases::new(LeaseLimits::default());
        self.groups.begin_above(last);
        self.leases.begin_above(last);
        if let Some(mark) = &mut self.mark {
            *mark = last + AHEAD;
            self.leases.keep_marks(*mark);
        }
    }

    /// The moment by the broker's clocks.
    pub(super) fn moment(&mut self) -> Now {
        let time = self.clock.at(self.begin + ms(self.now));
        Now { time, clock: self.clock.micros() }
    }

    pub(super) fn broker_hears(
        &mut self,
        now: Now,
        (line, peer): (usize, PeerId),
        word: Word,
    ) -> Result<(), String> {
        let (node, seat) = (self.lines[line].node, (peer, SEAT));
        let principal = Principal::Address([u8::try_from(node).unwrap(); 16]);
        match word {
            Word::Join => {
                let member = name(node);
                let one = Joining {
                    may_lead: true,
                    peer,
                    id: SEAT,
                    principal: &principal,
                    group: GROUP,
                    member: Some(&member),
                    charter: &self.charter,
                    own: true,
                };
                if self.groups.check_join(&one).is_err() {
                    self.say_to_peer(peer, Word::NotJoined);
                    return Ok(());
                }
                let joined = self.groups.join(now, &one);
                let roster = self.groups.members_of(GROUP).map(|(who, _)| who).collect();
                let epoch = self.groups.row(GROUP).and_then(|row| Some(row.leader?.1));
                let run = self.judge.begins(&joined);
                self.say_to_peer(peer, Word::Joined { joined, roster, epoch, run });
            }
            Word::Leave => {
                let _ = self.groups.leave_seat(now, peer, SEAT, Left::Said);
            }
            Word::Beat { id, epoch } => {
                if let Ok(ttl) = self.groups.beat(now, seat, epoch) {
                    let epoch = epoch.filter(|_| ttl.is_some());
                    self.say_to_peer(peer, Word::Beaten { id, epoch, clock: now.clock });
                }
            }
            Word::Say { to, epoch } => self.take(now, seat, to, epoch)?,
            Word::Ask { poll } => match self.groups.result(now, seat, &id_of(poll)) {
                Ok(Ok(event)) => self.answer(peer, &event),
                // The result comes when it is there.
                Ok(Err(_)) => {}
                Err(_) => self.say_to_peer(peer, Word::NotOpened { poll }),
            },
            Word::Open { poll, rule, when } => self.open(now, seat, (poll, rule, when))?,
            Word::Vote { poll, vote, error } => {
                let who = self.groups.place(peer, SEAT).map(|(_, who)| who);
                let given = self.groups.vote(seat, &id_of(poll), vote, Some(error));
                if let (Ok(who), Ok(given)) = (who, given) {
                    self.judge.votes(poll, who, given)?;
                }
            }
            Word::Outcome { poll, feat } => {
                let noted = self.groups.outcome(seat, &id_of(poll), feat).is_ok();
                self.judge.seen[7] += u64::from(noted);
            }
            Word::Resign { epoch, to } => {
                let to = to.map(name);
                let heir = to.as_deref().map(|name| (name, None));
                let resigned = self.groups.resign(now, seat, epoch, heir).is_ok();
                self.judge.seen[17] += u64::from(resigned && to.is_none());
            }
            _ => {}
        }
        Ok(())
    }

    /// A message comes.
    fn take(
        &mut self,
        now: Now,
        seat: (PeerId, u64),
        whom: Whom,
        epoch: Option<u64>,
    ) -> Result<(), String> {
        let meant = match whom {
            Whom::Member(node) => name(node),
            Whom::All | Whom::Leader => String::new(),
        };
        let to = match whom {
            Whom::All => To::All,
            Whom::Leader => To::Leader,
            Whom::Member(_) => To::Member(&meant, None),
        };
        match self.groups.send(now, seat, to, epoch) {
            Ok(taken) => {
                self.judge.takes(&taken, epoch, to)?;
                for to in taken.recipients {
                    let (seq, from) = (taken.seq, taken.incarnation);
                    self.say_to_peer(to.peer, Word::Message { seq, from, epoch });
                }
            }
            Err(Refused::Stale(_)) => self.judge.seen[1] += 1,
            Err(_) => {}
        }
        Ok(())
    }

    /// Says how a poll has ended to who asks.
    fn answer(&mut self, peer: PeerId, event: &Event) {
        if let Event::Result { result, .. } = event {
            self.say_to_peer(peer, Word::Answer { result: result.clone() });
        }
    }

    fn open(
        &mut self,
        now: Now,
        seat: (PeerId, u64),
        (poll, rule, when): (u64, Rule, Option<u64>),
    ) -> Result<(), String> {
        let id = id_of(poll);
        let error = when.map(|_| EXACT);
        let (timeout, digest, epoch) = (when.map(|_| ms(100)), [0; 32], None);
        let one = Question { poll: &id, rule, timeout, when, error, digest, epoch };
        match self.groups.check_open(now, seat, &one) {
            Ok(Asked::New(cost)) => {
                let opening = self.groups.open(now, seat, &one, cost).ok_or("no poll")?;
                let electors = opening.recipients.iter().filter(|(_, elector)| *elector);
                let electors = electors.map(|(to, _)| to.who);
                let size = (opening.opened.electorate, self.start * 1000);
                self.judge.opens(poll, rule, electors.collect(), size)?;
                for (to, elector) in opening.recipients {
                    let (seq, epoch) = (opening.seq, opening.opened.epoch);
                    let is_action = when.is_some();
                    let asks = Word::Poll { seq, poll, epoch, elector, is_action };
                    self.say_to_peer(to.peer, asks);
                }
            }
            Ok(Asked::Ended(event)) => self.answer(seat.0, &event),
            Ok(Asked::Open(_)) => {}
            Err(_) => self.say_to_peer(seat.0, Word::NotOpened { poll }),
        }
        Ok(())
    }

    /// What the table has to say goes to the judge, and to the nodes.
    pub(super) fn say(&mut self) -> Result<(), String> {
        let now = self.moment();
        self.groups.settle(now, || self.leases.next_epoch());
        if let Some(mark) = self.leases.take_mark(self.groups.newest()) {
            self.mark = Some(mark);
        }
        while let Some((group, holder)) = self.groups.pop_ward() {
            self.leases.set_ward(now.time, &group, holder);
        }
        while let Some((_, event)) = self.groups.pop_event() {
            self.judge.happens(&event)?;
        }
        self.judge.settled();
        while let Some(news) = self.groups.pop_news() {
            self.say_to_peer(news.peer, Word::Told(news.event));
        }
        self.groups.take_freed();
        Ok(())
    }
}
