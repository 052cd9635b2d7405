//! The task of a connection for groups: one loop over it, its memberships and its clock.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::DropGuard;
use tracing::{Instrument, debug, info, info_span, warn};

use super::action::act;
use super::error::GroupError;
use super::event::{Outcome, Parted};
use super::groups::{Command, Desk};
use super::line::{Connected, Heard, Line, Turn, because};
use super::observe::{Eye, Eyes};
use super::seat::{Output, Reply, Seat};
use super::survey::{Answer, Survey};
use super::words::PollId;
use crate::config::MemberConfig;
use crate::proto::backoff::Backoff;
use crate::wire::mjp::{GroupReport, ToBroker};

/// What is taken of the holders in one turn.
const BATCH: usize = 256;
/// How long the last words to the broker may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Without anything to do the loop looks again then.
const IDLE: Duration = Duration::from_secs(3600);
/// A connection that has lasted for so long was of use: the next one is dialed at once.
const OF_USE: Duration = Duration::from_secs(1);

/// What drives the memberships of one connection.
pub(super) struct Task {
    config: MemberConfig,
    seed: u64,
    commands: mpsc::Receiver<Command>,
    desk: Arc<Desk>,
    line: Line,
    backoff: Backoff,
    /// Why there was no connection when there was none last.
    trouble: Arc<str>,
    /// Failed attempts to connect in a row.
    failures: u32,
    seats: BTreeMap<u32, Seat>,
    /// When each of them is due.
    due: BTreeSet<(Instant, u32)>,
    dues: BTreeMap<u32, Instant>,
    surveys: BTreeMap<u64, (Instant, Reply<Answer>)>,
    eyes: Eyes,
    surveyed: u32,
    actions: JoinSet<(u32, PollId, Outcome)>,
    /// Cancelled when the task ends, however it does.
    _ended: DropGuard,
}

/// What one round of the loop brings.
enum Round {
    Line(Turn),
    Asked(usize),
    Abandoned,
    Acted(Option<Result<(u32, PollId, Outcome), tokio::task::JoinError>>),
    Time,
    Closed,
}

impl Task {
    /// A task whose first connection stands.
    pub(super) fn new(
        config: MemberConfig,
        seed: u64,
        first: Connected,
        commands: mpsc::Receiver<Command>,
        desk: Arc<Desk>,
        ended: DropGuard,
    ) -> Self {
        let backoff = Backoff::new(config.backoff_min, config.backoff_max, seed);
        Self {
            config,
            seed,
            commands,
            desk,
            line: Line::Up(Box::new(first.session), Instant::now()),
            backoff,
            trouble: "it has not been dialed".into(),
            failures: 0,
            seats: BTreeMap::new(),
            due: BTreeSet::new(),
            dues: BTreeMap::new(),
            surveys: BTreeMap::new(),
            eyes: Eyes::default(),
            surveyed: 0,
            actions: JoinSet::new(),
            _ended: ended,
        }
    }

    /// Runs until it is closed, or nobody holds a group of it any more.
    pub(super) async fn run(self) {
        let span = info_span!("groups", endpoint = %self.config.endpoint);
        self.drive().instrument(span).await;
    }

    async fn drive(mut self) {
        let (mut heard, mut asked) = (Vec::new(), Vec::with_capacity(BATCH));
        let desk = self.desk.clone();
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            let next = self.next_timeout();
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            let has_room = self.line.has_room();
            let busy = !self.actions.is_empty();
            let round = tokio::select! {
                turn = self.line.turn(&mut heard) => Round::Line(turn),
                count = self.commands.recv_many(&mut asked, BATCH), if has_room => {
                    Round::Asked(count)
                }
                () = desk.waiting.notified() => Round::Abandoned,
                acted = self.actions.join_next(), if busy => Round::Acted(acted),
                () = &mut timer => Round::Time,
                () = desk.closing.cancelled() => Round::Closed,
            };
            for heard in heard.drain(..) {
                self.hear(heard);
            }
            // Before whoever joins under the same name.
            for seat in desk.abandoned() {
                self.at(seat, |seat| seat.abandon(now(), Parted::Left));
            }
            match round {
                Round::Line(turn) => self.turned(turn),
                Round::Asked(0) | Round::Closed => return self.part().await,
                Round::Asked(_) => {
                    for command in asked.drain(..) {
                        self.command(command);
                    }
                }
                Round::Abandoned => self.look_away(),
                Round::Acted(acted) => {
                    if let Some(Ok((seat, poll, outcome))) = acted {
                        self.at(seat, |seat| seat.acted(now(), poll, outcome));
                    }
                }
                Round::Time => self.on_time(),
            }
        }
    }

    fn next_timeout(&self) -> Instant {
        let seats = self.due.first().map(|(at, _)| *at);
        // All of them have the same time, so the first one is due first.
        let surveys = self.surveys.first_key_value().map(|(_, (until, _))| *until);
        let next = [seats, surveys].into_iter().flatten().min();
        next.unwrap_or_else(|| Instant::now() + IDLE)
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        while let Some((at, seat)) = self.due.first().copied()
            && at <= now
        {
            self.at(seat, |seat| seat.handle_timeout(now.into_std()));
            if self.due.contains(&(at, seat)) {
                // It is due at once again, and has its turn with the others.
                break;
            }
        }
        while let Some(survey) = self.surveys.first_entry()
            && survey.get().0 <= now
        {
            let (_, reply) = survey.remove();
            let _ = reply.send(Err(GroupError::NoAnswer { after: self.config.timeout }));
        }
    }

    /// Has a seat take something, and does what follows from that.
    fn at(&mut self, number: u32, take: impl FnOnce(&mut Seat)) {
        let Some(seat) = self.seats.get_mut(&number) else { return };
        take(seat);
        let (mut dead, mut over) = (None, false);
        while let Some(output) = seat.poll_output() {
            match output {
                Output::Say { id, seat: join, say } => {
                    if let Some(session) = self.line.session() {
                        session.send(|out| say.encode(id, join, &seat.wants, out));
                    }
                }
                Output::Act { poll, at, until, action } => {
                    self.actions.spawn(async move {
                        let outcome = act(at, until, action).await;
                        (number, poll, outcome)
                    });
                }
                Output::Dead { because } => dead = Some(because),
                Output::Over => over = true,
            }
        }
        let next = seat.next_timeout().map(Instant::from_std).filter(|_| !over);
        let before = match next {
            Some(next) => self.dues.insert(number, next),
            None => self.dues.remove(&number),
        };
        if before != next {
            before.map(|before| self.due.remove(&(before, number)));
            self.due.extend(next.map(|next| (next, number)));
        }
        if over {
            self.seats.remove(&number);
        }
        if let Some(why) = dead {
            self.lose(why.into());
        }
    }

    fn each(&mut self, mut take: impl FnMut(&mut Seat)) {
        let seats: Vec<_> = self.seats.keys().copied().collect();
        for seat in seats {
            self.at(seat, &mut take);
        }
    }

    fn turned(&mut self, turn: Turn) {
        match turn {
            Turn::Talked => {}
            Turn::Redial => self.line = Line::dial(&self.config),
            Turn::Connected(connected) => {
                if self.failures > 0 {
                    info!(failures = self.failures, "connected again");
                }
                self.failures = 0;
                self.desk.set_limits(connected.limits);
                self.line = Line::Up(Box::new(connected.session), Instant::now());
                self.each(|seat| seat.connected(now()));
                for eye in self.eyes.take() {
                    self.look(eye);
                }
            }
            Turn::Failed(error) => {
                // The first of a row is news; the rest of it is not.
                if self.failures == 0 {
                    warn!(%error, "no connection; trying again");
                } else {
                    debug!(%error, failures = self.failures, "no connection yet");
                }
                self.failures = self.failures.saturating_add(1);
                self.trouble = because(&error);
                self.line = Line::Down(Instant::now() + self.backoff.next_wait());
            }
            Turn::Lost(error) => self.lose(because(&error)),
        }
    }

    /// The connection is of no use any more: all members have left.
    fn lose(&mut self, why: Arc<str>) {
        let Line::Up(_, since) = &self.line else { return };
        warn!(because = %why, "the broker is lost; connecting again");
        let wait = if since.elapsed() >= OF_USE {
            self.backoff.reset();
            Duration::ZERO
        } else {
            self.backoff.next_wait()
        };
        self.line = Line::Down(Instant::now() + wait);
        self.trouble = why;
        let trouble = self.trouble.clone();
        let lost = GroupError::Lost { because: trouble.clone() };
        for (_, (_, reply)) in std::mem::take(&mut self.surveys) {
            let _ = reply.send(Err(lost.clone()));
        }
        self.each(|seat| seat.disconnected(now(), &trouble));
        self.eyes.part();
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Group { id, header, body } => match (Seat::number_of(id), id) {
                (0, id) => {
                    if let Some((_, reply)) = self.surveys.remove(&id) {
                        let _ = reply.send(Ok((header, body)));
                    } else if self.eyes.get(id).is_some_and(|eye| !eye.hear(&header, &body))
                        && let Some(eye) = self.eyes.remove(id)
                    {
                        self.cancel(id);
                        self.look(eye);
                    }
                }
                (seat, id) => match GroupReport::decode(&header) {
                    Ok(report) => self.at(seat, |seat| seat.hear(now(), id, &report, body)),
                    Err(why) => self.lose(because(&why)),
                },
            },
            Heard::Error { id: 0, code, message } => {
                debug!(%code, %message, "the broker complains");
            }
            Heard::Error { id, code, message } => match Seat::number_of(id) {
                0 => {
                    if let Some((_, reply)) = self.surveys.remove(&id) {
                        let _ = reply.send(Err(GroupError::of(&code, &message)));
                    } else if let Some(eye) = self.eyes.remove(id) {
                        eye.queue.end(GroupError::of(&code, &message));
                    }
                }
                seat => self.at(seat, |seat| seat.hear_error(now(), id, &code, &message)),
            },
            Heard::Draining => info!("the broker stops"),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Join { seat: number, wants, shared, group } => {
                let config = &self.config;
                let seed = self.seed ^ u64::from(number);
                let backoff = Backoff::new(config.backoff_min, config.backoff_max, seed);
                let seat = Seat::new(number, wants, config.timeout, backoff, shared, group, now());
                self.seats.insert(number, seat);
                if self.line.session().is_some() {
                    self.at(number, |seat| seat.connected(now()));
                } else {
                    let trouble = self.trouble.clone();
                    self.at(number, |seat| seat.disconnected(now(), &trouble));
                }
            }
            Command::Wish { seat, wish } => {
                if self.seats.contains_key(&seat) {
                    self.at(seat, |seat| seat.wish(now(), wish));
                } else {
                    wish.fail(GroupError::Left);
                }
            }
            Command::Survey { survey, reply } => self.survey(&survey, reply),
            Command::Observe { group, queue } => self.look(Eye { group, queue }),
        }
    }

    /// Has the broker tell how a group is, and what changes; or, without a connection, later.
    fn look(&mut self, eye: Eye) {
        let id = self.next_id();
        if let Some(session) = self.line.session() {
            let survey = Survey::Observe { group: eye.group.clone() };
            session.send(|out| survey.encode(id, out));
        }
        self.eyes.insert(id, eye);
    }

    /// Tells the broker of those that look no more.
    fn look_away(&mut self) {
        for id in self.eyes.take_closed() {
            self.cancel(id);
        }
    }

    fn cancel(&mut self, id: u64) {
        if let Some(session) = self.line.session() {
            session.send(|out| ToBroker::Cancel { id }.encode(out));
        }
    }

    /// 0 stands for no id; and seats are above all of these.
    fn next_id(&mut self) -> u64 {
        self.surveyed = self.surveyed.checked_add(1).unwrap_or(1);
        u64::from(self.surveyed)
    }

    fn survey(&mut self, survey: &Survey, reply: Reply<Answer>) {
        let id = self.next_id();
        let Some(session) = self.line.session() else {
            let _ = reply.send(Err(GroupError::Apart { because: self.trouble.clone() }));
            return;
        };
        session.send(|out| survey.encode(id, out));
        self.surveys.insert(id, (Instant::now() + self.config.timeout, reply));
    }

    /// The end: all members leave, what was said is written, then the connection ends.
    async fn part(mut self) {
        self.commands.close();
        self.each(|seat| seat.abandon(now(), Parted::Closed));
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Join { .. } => {}
                Command::Wish { wish, .. } => wish.fail(GroupError::Closed),
                Command::Survey { reply, .. } => drop(reply.send(Err(GroupError::Closed))),
                Command::Observe { queue, .. } => queue.end(GroupError::Closed),
            }
        }
        self.eyes.end(&GroupError::Closed);
        if let Line::Up(session, _) = self.line {
            // Whoever has gone needs no goodbye.
            let _ = timeout(LAST_WORDS, session.close()).await;
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
