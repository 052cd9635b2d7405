//! The task of a client: one loop over its connections, its callers and its clock.

mod standing;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::DropGuard;

use super::accepted::Accepted;
use super::error::CallError;
use super::hear::Heard;
use super::inbox::{Batch, Inbox, Phase};
use super::line::{Connected, Event, Lines};
use super::pending::{Ask, Pending, Sink};
use super::scatter::Told;
use super::topics::News;
use super::updates::{self, Asked};
use super::{after, mdp, mjp, too_big, topics};
use crate::config::ClientConfig;
use crate::proto::multiplex::{Failure, LaneId, Multiplex, Output, Settings, Terms};
use crate::wire::codec::Encoder;
use crate::wire::mdp::Version;
use crate::wire::message::{Frames, Message};
use crate::wire::{Limits, Protocol};

/// How long the last words to the broker may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// After so many answers in one turn the callers have theirs: what they ask for next is on its way
/// while the rest comes in.
const CROWD: usize = 64;
/// How far away the alarm is when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// What drives the calls of one client.
#[derive(Debug)]
pub(super) struct Task {
    core: Multiplex<Box<Pending>>,
    lines: Lines,
    inbox: Arc<Inbox>,
    batch: Batch,
    alarm: Pin<Box<Sleep>>,
    desk: Desk,
    /// Cancelled when the task ends, however it does.
    _ended: DropGuard,
}

/// What is needed besides the machine to take what comes.
#[derive(Debug)]
struct Desk {
    config: ClientConfig,
    limits: Limits,
    /// Where callers leave their answers to what they are asked.
    inbox: Arc<Inbox>,
    /// Messages heard in this turn.
    heard: usize,
    /// Why there was no connection when there was none last.
    trouble: Option<Arc<str>>,
    /// Campaigns that were won, and nobody wants what they have.
    unwanted: Vec<u64>,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Task {
    /// A task whose first connection stands.
    pub(super) fn new(
        config: ClientConfig,
        seed: u64,
        first: Connected,
        inbox: Arc<Inbox>,
        ended: DropGuard,
    ) -> Self {
        let ids = config.protocol == Protocol::Mjp;
        let settings = Settings {
            lanes: if ids { 1 } else { config.connections },
            ids,
            in_flight_max: config.in_flight_max,
            waiting_max: config.waiting_max,
            backoff_base: config.backoff_min,
            backoff_cap: config.backoff_max,
        };
        let mut lines = Lines::new(settings.lanes);
        let mut core = Multiplex::new(settings, seed);
        // Its order to dial is carried out already.
        let dialed = core.poll_output();
        debug_assert!(matches!(dialed, Some(Output::Connect(LaneId(0)))));
        core.connected(LaneId(0));
        core.limit(LaneId(0), first.in_flight_max);
        lines.put(LaneId(0), first);
        let limits = config.wire_limits();
        Self {
            core,
            lines,
            inbox: inbox.clone(),
            batch: Batch::new(),
            alarm: Box::pin(sleep(IDLE)),
            desk: Desk { config, limits, inbox, heard: 0, trouble: None, unwanted: Vec::new() },
            _ended: ended,
        }
    }

    pub(super) async fn run(mut self) {
        let mut phase = Phase::Open;
        loop {
            // In each turn, whatever wakes us: what callers ask for goes out before more is read.
            if self.inbox.take(&mut self.batch) {
                phase = self.take_batch();
            }
            self.act();
            match phase {
                Phase::Open => {}
                Phase::Closing(deadline) if self.core.open() > 0 && now() < deadline => {}
                Phase::Closing(_) | Phase::Gone => break,
            }
            self.set_alarm(phase);
            let (lines, core, desk) = (&mut self.lines, &mut self.core, &mut self.desk);
            tokio::select! {
                event = poll_fn(|cx| {
                    lines.poll(cx, |lane, frames| desk.hear(core, lane, frames))
                }) => {
                    self.on_event(event);
                    if std::mem::take(&mut self.desk.heard) >= CROWD {
                        yield_now().await;
                    }
                }
                () = poll_fn(|cx| self.inbox.poll_touched(cx)) => {}
                () = &mut self.alarm => self.core.timeout(now()),
            }
        }
        self.let_go_of_all();
        self.core.abandon();
        self.act();
        let _ = timeout(LAST_WORDS, self.lines.close()).await;
    }

    /// Sets the alarm if it would ring too late; one that rings too early does no harm.
    fn set_alarm(&mut self, phase: Phase) {
        let due = self.core.next_timeout();
        let due = match phase {
            Phase::Closing(deadline) => Some(due.map_or(deadline, |due| due.min(deadline))),
            Phase::Open | Phase::Gone => due,
        };
        let due = due.map(tokio::time::Instant::from_std);
        let set = self.alarm.deadline();
        if self.alarm.is_elapsed() {
            let idle = || tokio::time::Instant::now() + IDLE;
            self.alarm.as_mut().reset(due.unwrap_or_else(idle));
        } else if let Some(due) = due.filter(|due| *due < set) {
            self.alarm.as_mut().reset(due);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected(lane, in_flight_max) => {
                tracing::info!(endpoint = %self.desk.config.endpoint, lane = lane.0, "connected");
                self.core.connected(lane);
                self.core.limit(lane, in_flight_max);
            }
            Event::Turned(lane) => self.core.useful(lane),
            Event::Failed(lane, error) => {
                tracing::debug!(endpoint = %self.desk.config.endpoint, %error, "cannot connect yet");
                self.lose(lane, &error);
            }
            Event::Lost(lane, error) => {
                tracing::info!(endpoint = %self.desk.config.endpoint, %error, "connection lost");
                self.lose(lane, &error);
            }
        }
    }

    fn lose(&mut self, lane: LaneId, error: &dyn std::fmt::Display) {
        self.desk.trouble = Some(error.to_string().into());
        self.part();
        self.core.lost(now(), lane);
    }

    /// Takes what callers have left.
    fn take_batch(&mut self) -> Phase {
        let now = now();
        for job in self.batch.jobs.drain(..) {
            // Its cancellation may have come in an earlier batch.
            if job.pending.is_orphan() {
                continue;
            }
            if job.pending.stands() {
                self.core.stand(job.id, job.pending);
            } else {
                let terms = Terms {
                    deadline: after(now, job.pending.timeout),
                    attempts: job.attempts,
                    repeats: job.pending.repeats(),
                };
                self.core.call(now, job.id, terms, job.pending);
            }
        }
        for tell in self.batch.tells.drain(..) {
            // It is for the worker that has asked: not for one that got the call when it was sent
            // again.
            let lane = self.core.lane_of(tell.call, tell.sent);
            if let Some(line) = lane.and_then(|lane| self.lines.up(lane)) {
                let limits = line.limits;
                line.session.send(|out| mjp::encode_tell(&tell, &limits, out));
            }
        }
        for id in std::mem::take(&mut self.batch.renewals) {
            self.renew(now, id);
        }
        for id in std::mem::take(&mut self.batch.cancelled) {
            if self.core.standing(id).is_some_and(|pending| pending.is_lease()) {
                drop(self.let_go(id));
            } else {
                drop(self.core.cancel(id));
            }
        }
        if self.batch.phase != Phase::Open {
            self.core.close();
        }
        self.batch.phase
    }

    /// Does all that the machine wants.
    fn act(&mut self) {
        let now = now();
        self.let_go_of_unwanted();
        for (lane, room) in self.lines.rooms() {
            self.core.room(lane, room);
        }
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Connect(lane) => self.lines.dial(lane, &self.desk.config),
                Output::Disconnect(lane) => self.lines.hang_up(lane),
                Output::Send(lane, id) => self.send(now, lane, id),
                Output::Cancel(lane, id) => {
                    if let Some(line) = self.lines.up(lane) {
                        line.session.send(|out| mjp::encode_cancel(id, out));
                    }
                }
                Output::Stand(lane, id) => self.stand(now, lane, id),
                Output::Leave(lane, id) => {
                    if let Some(line) = self.lines.up(lane) {
                        line.session.send(|out| topics::encode_unsubscribe(id, out));
                    }
                }
                Output::Fail(pending, failure) => {
                    let error = self.desk.error_of(&pending, failure);
                    pending.fail(error);
                }
            }
        }
    }

    fn send(&mut self, now: Instant, lane: LaneId, id: u64) {
        let Some(line) = self.lines.up(lane) else { return };
        let Some((pending, left, attempts)) = self.core.get(now, id) else { return };
        let checked = too_big(&pending.ask, &line.limits).and_then(|()| match pending.key() {
            Some(_) if !line.knows.keys => Err(CallError::NoKeys),
            _ if pending.is_unfenced_by(line.knows) => Err(CallError::NoFences),
            _ if !line.knows.retry && pending.is_ordered() => Err(CallError::NoOrder),
            _ => Ok(()),
        });
        if let Err(error) = checked {
            if let Some(pending) = self.core.cancel(id) {
                pending.fail(error);
            }
            return;
        }
        let protocol = self.desk.config.protocol;
        line.session.send(|out| encode(protocol, id, pending, left, attempts, out));
        if !line.session.has_room() {
            self.core.room(lane, false);
        }
    }
}

/// With its runtime it ends between any two turns.
impl Drop for Task {
    fn drop(&mut self) {
        self.inbox.abandon();
    }
}

/// Who hears what is said in the middle of a call, and how often that was sent.
fn updates_of(
    core: &mut Multiplex<Box<Pending>>,
    lane: LaneId,
    id: u64,
) -> Option<(u32, &mut updates::Sink)> {
    let (sent, pending) = core.at_work(lane, id)?;
    Some((sent, pending.updates()?))
}

#[inline]
fn encode(
    protocol: Protocol,
    id: u64,
    pending: &Pending,
    left: Duration,
    attempts: u32,
    out: &mut Encoder,
) {
    match (protocol, &pending.ask) {
        (Protocol::Mjp, _) => mjp::encode(id, pending, left, attempts, out),
        (Protocol::Mdp01, Ask::Request(request)) => mdp::encode(Version::V01, request, out),
        (Protocol::Mdp02, Ask::Request(request)) => mdp::encode(Version::V02, request, out),
        // The handle has refused it.
        (Protocol::Mdp01 | Protocol::Mdp02, _) => {}
    }
}

impl Desk {
    /// A request is accepted, which may be all that its caller wants; or a subscription.
    fn accepted(core: &mut Multiplex<Box<Pending>>, lane: LaneId, id: u64, said: Message) {
        let Some((_, pending)) = core.at_work(lane, id) else {
            if let Some(Sink::Topic(sink)) = core.heard(lane, id).map(|it| &mut it.sink) {
                sink.hear(News::Accepted);
            }
            return;
        };
        if pending.is_handed_in() {
            if let Some(pending) = core.done(lane, Some(id)) {
                pending.finish(said);
            }
        } else if let Ask::Request(request) = &mut pending.ask
            && let Some(notice) = request.notice.take()
        {
            // Who does not wait for that may still wait for the answer.
            let _ = notice.send(said);
        }
    }

    /// Takes one message of the broker.
    #[inline]
    fn hear(&mut self, core: &mut Multiplex<Box<Pending>>, lane: LaneId, frames: Frames<'_>) {
        self.heard += 1;
        let heard = match self.config.protocol {
            Protocol::Mjp => mjp::decode(frames),
            Protocol::Mdp01 => mdp::decode(Version::V01, frames),
            Protocol::Mdp02 => mdp::decode(Version::V02, frames),
        };
        match heard {
            Some(Heard::Final { id, body }) => {
                if let Some(pending) = core.done(lane, id) {
                    pending.finish(body.to_message());
                }
            }
            Some(Heard::Part { id, body }) => self.part(core, lane, id, body),
            Some(Heard::Refused { id, code, message, retry, epoch, tried }) => {
                let again = retry.filter(|_| !tried);
                if let Some(pending) = core.refused(now(), lane, id, again) {
                    let error = match &*code {
                        "timeout" => pending.timed_out(true, None),
                        "stale_epoch" => CallError::Stale { current: epoch },
                        "held" => CallError::Held { current: epoch },
                        _ => CallError::Refused { code, message, retry },
                    };
                    pending.fail(error);
                }
            }
            Some(Heard::Lease { id, header }) => {
                self.unwanted.extend(standing::hear(core, lane, id, header));
            }
            Some(Heard::Status { id, header }) => {
                if let Some(pending) = core.done(lane, Some(id)) {
                    pending.finish(Message::from(header.to_vec()));
                }
            }
            Some(Heard::Event { id, header, body }) => {
                if let Some((_, updates)) = updates_of(core, lane, id) {
                    updates.event(header, body.to_message());
                }
            }
            Some(Heard::Question { id, header, says, body }) => {
                if let Some((sent, updates)) = updates_of(core, lane, id) {
                    let asked = Asked { call: id, sent, header, says, body: body.to_message() };
                    updates.question(asked, &self.inbox, self.limits);
                }
            }
            Some(Heard::Told { id, told }) => Self::told(core, lane, id, *told),
            Some(Heard::Admin { id, header, body }) => {
                self.administered(core, lane, id, (header, body));
            }
            Some(Heard::Published { id, subscriptions }) => {
                if let Some(pending) = core.done(lane, Some(id)) {
                    pending.finish(Message::from(subscriptions.to_be_bytes().to_vec()));
                }
            }
            Some(Heard::Accepted { id, level, repeat }) => {
                Self::accepted(core, lane, id, Accepted::pack(level, repeat));
            }
            Some(Heard::Topic { id, news }) => {
                if let Some(Sink::Topic(sink)) = core.heard(lane, id).map(|it| &mut it.sink) {
                    sink.hear(news);
                }
            }
            Some(Heard::Draining) => self.draining(core, lane),
            Some(Heard::Complaint { code, message }) => {
                tracing::warn!(endpoint = %self.config.endpoint, %code, %message, "the broker complains");
            }
            None => {}
        }
    }

    /// The broker stops: nothing new is asked over the connection.
    fn draining(&mut self, core: &mut Multiplex<Box<Pending>>, lane: LaneId) {
        tracing::info!(endpoint = %self.config.endpoint, "the broker stops");
        self.trouble = Some("the broker stops".into());
        core.draining(lane);
    }

    /// The answer to ADMIN, or something that has happened.
    fn administered(
        &self,
        core: &mut Multiplex<Box<Pending>>,
        lane: LaneId,
        id: u64,
        (header, body): (&[u8], Frames<'_>),
    ) {
        let said = Message::new([header].into_iter().chain(body).map(<[u8]>::to_vec));
        let Some((_, pending)) = core.part(lane, Some(id)) else { return };
        if matches!(pending.ask, Ask::Follow(_)) {
            self.part(core, lane, Some(id), said.frames());
        } else if let Some(pending) = core.done(lane, Some(id)) {
            pending.finish(said);
        }
    }

    fn part(
        &self,
        core: &mut Multiplex<Box<Pending>>,
        lane: LaneId,
        id: Option<u64>,
        body: Frames<'_>,
    ) {
        let Some((id, pending)) = core.part(lane, id) else { return };
        if let Err(error) = pending.part(body.to_message(), &self.limits)
            && let Some(pending) = core.cancel(id)
        {
            pending.fail(error);
        }
    }

    /// What is said of a scatter counts as a part: it is not sent again.
    #[cold]
    fn told(core: &mut Multiplex<Box<Pending>>, lane: LaneId, id: u64, told: Told) {
        let Some((id, pending)) = core.part(lane, Some(id)) else { return };
        if let Err(error) = pending.told(told)
            && let Some(pending) = core.cancel(id)
        {
            pending.fail(error);
        }
    }

    #[cold]
    fn error_of(&self, pending: &Pending, failure: Failure) -> CallError {
        match failure {
            Failure::Expired { sent } => pending.timed_out(sent, self.trouble.clone()),
            Failure::Lost => {
                let because = self.trouble.clone().unwrap_or_else(|| "it broke".into());
                CallError::Disconnected { because }
            }
            Failure::TooMany => CallError::TooMany { max: self.config.waiting_max },
            Failure::Closed => CallError::Closed,
        }
    }
}
