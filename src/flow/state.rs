//! What a holder and the task of a flow share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::error::FlowError;
use super::message::FlowMessage;
use crate::config::FlowConfig;
use crate::proto::clock::Time;
use crate::proto::flow::{Endpoint, Expired, Heard, Load, Misuse, Side, State as Stands, Terms};
use crate::wire::message::Frames;
use crate::wire::zio::{Direction, FlowLabel, Kind, Shape, Zio};

/// What a holder and the task of a flow share. Nobody holds it while he waits.
#[derive(Debug)]
pub(super) struct Shared(Mutex<State>);

impl Shared {
    pub(super) fn new(state: State) -> Arc<Self> {
        Arc::new(Self(Mutex::new(state)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message on its way out, and the credit in octets that goes with it within MJP.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) message: FlowMessage,
    pub(super) bytes: Option<u64>,
}

/// One end: its machine, and what is on its way between the holder and the connection.
#[derive(Debug)]
pub(super) struct State {
    machine: Endpoint,
    epoch: Instant,
    terms: Terms,
    message_bytes_max: usize,
    outbox_bytes_max: usize,
    /// What was said and is not with the connection.
    out: Vec<Said>,
    /// Octets of that, and octets at the connection that are not written.
    queued: usize,
    unwritten: usize,
    /// DATs that nobody has taken.
    heard: VecDeque<FlowMessage>,
    /// What those have cost, octets.
    heard_octets: u64,
    /// The other end's BOT.
    answer: Option<FlowMessage>,
    /// The other end's EOT, also one that refuses.
    eot: Option<FlowMessage>,
    /// What went wrong, until somebody has been told.
    trouble: Option<FlowError>,
    failed: bool,
    /// The task has ended.
    closed: bool,
    holder: Option<Waker>,
    task: Option<Waker>,
}

impl State {
    pub(super) fn new(config: &FlowConfig, direction: Direction, credit: u32) -> Self {
        let terms = Terms {
            side: Side::Client,
            direction,
            credit,
            bytes: config.credit_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            answer_timeout: config.answer_timeout,
            end_timeout: config.end_timeout,
        };
        Self {
            machine: Endpoint::new(terms),
            epoch: Instant::now(),
            terms,
            message_bytes_max: config.message,
            outbox_bytes_max: config.outbox,
            out: Vec::new(),
            queued: 0,
            unwritten: 0,
            heard: VecDeque::new(),
            heard_octets: 0,
            answer: None,
            eot: None,
            trouble: None,
            failed: false,
            closed: false,
            holder: None,
            task: None,
        }
    }

    fn now(&self) -> Time {
        Time::default().after(self.epoch.elapsed())
    }

    pub(super) fn stands(&self) -> Stands {
        self.machine.state()
    }

    pub(super) fn total(&self) -> u64 {
        self.machine.total()
    }

    pub(super) fn held(&self) -> u64 {
        self.machine.held()
    }

    pub(super) fn octets(&self) -> Option<(u64, u64)> {
        self.machine.octets()
    }

    pub(super) fn take_answer(&mut self) -> Option<FlowMessage> {
        self.answer.take()
    }

    pub(super) fn eot(&self) -> Option<&FlowMessage> {
        self.eot.as_ref()
    }

    /// Says something; it is checked before the machine knows of it.
    pub(super) fn say(&mut self, kind: Kind, mut message: FlowMessage) -> Result<(), FlowError> {
        // Room for what the flow itself adds to the label.
        let (size, max) = (message.as_zio().encoded_len() + 64, self.message_bytes_max);
        if size > max {
            return Err(FlowError::TooBig { size, max });
        }
        // The label was read when it was made.
        if kind == Kind::Dat {
            message = message.into_dat().map_err(super::AttributeError::from)?;
        }
        let stamp = self.machine.say(self.now(), kind, message.cost()).map_err(wrong)?;
        let bytes = stamp.bytes;
        let message = message.stamped(&stamp).map_err(super::AttributeError::from)?;
        self.queued += message.as_zio().encoded_len();
        self.out.push(Said { message, bytes });
        if let Some(task) = self.task.take() {
            task.wake();
        }
        Ok(())
    }

    /// Whether a giver may give now: a message that costs so many octets, or, if none is named, any
    /// one that it may at all.
    pub(super) fn poll_give(
        &mut self,
        cx: &Context<'_>,
        cost: Option<u64>,
    ) -> Poll<Result<(), FlowError>> {
        let any = || self.machine.octets().map_or(0, |(total, _)| total / 2);
        let affords = self.machine.affords(cost.unwrap_or_else(any));
        match self.machine.state() {
            _ if self.trouble.is_some() || self.closed => Poll::Ready(Err(self.why_not())),
            Stands::Generous | Stands::Broke if matches!(affords, Err(Misuse::TooBig { .. })) => {
                Poll::Ready(affords.map_err(wrong))
            }
            Stands::Generous if affords.is_ok() && self.has_room() => Poll::Ready(Ok(())),
            Stands::Generous | Stands::Broke => self.wait(cx),
            _ => Poll::Ready(Err(self.why_not())),
        }
    }

    /// The next DAT that was heard; whoever takes it pays for another one.
    pub(super) fn poll_take(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<FlowMessage, FlowError>>> {
        if let Some(message) = self.heard.pop_front() {
            self.heard_octets = self.heard_octets.saturating_sub(message.cost());
            self.keep();
            self.pay();
            return Poll::Ready(Some(Ok(message)));
        }
        if let Some(trouble) = self.trouble.take() {
            return Poll::Ready(Some(Err(trouble)));
        }
        if self.closed { Poll::Ready(None) } else { self.wait(cx) }
    }

    /// Whether all that was said is written.
    pub(super) fn poll_flushed(&mut self, cx: &Context<'_>) -> Poll<Result<(), FlowError>> {
        if let Some(trouble) = self.trouble.take() {
            return Poll::Ready(Err(trouble));
        }
        match (self.closed, self.failed) {
            (true, true) => Poll::Ready(Err(FlowError::Closed)),
            (false, _) if self.queued + self.unwritten > 0 => self.wait(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ends the flow, and waits until it is over.
    pub(super) fn poll_end(&mut self, cx: &Context<'_>) -> Poll<Result<(), FlowError>> {
        if let Some(trouble) = self.trouble.take() {
            return Poll::Ready(Err(trouble));
        }
        if self.machine.state().is_running()
            && let Err(error) = self.say(Kind::Eot, FlowMessage::default())
        {
            return Poll::Ready(Err(error));
        }
        match (self.closed, self.machine.state().is_over()) {
            (true, true) => Poll::Ready(Ok(())),
            (true, false) => Poll::Ready(Err(FlowError::Closed)),
            (false, _) => self.wait(cx),
        }
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        match &mut self.holder {
            Some(holder) => holder.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn why_not(&mut self) -> FlowError {
        let over = if self.eot.is_some() { FlowError::Ended } else { FlowError::Closed };
        self.trouble.take().unwrap_or(over)
    }

    fn has_room(&self) -> bool {
        self.queued + self.unwritten < self.outbox_bytes_max
    }

    fn keep(&mut self) {
        let dats = u64::try_from(self.heard.len()).unwrap_or(u64::MAX);
        self.machine.keep(dats, self.heard_octets);
    }

    /// Hands out credit when it is time to.
    fn pay(&mut self) {
        if self.machine.is_due() && self.machine.state().is_running() {
            // It was asked whether there is something to pay.
            let _ = self.say(Kind::Pay, FlowMessage::default());
        }
    }

    /// Takes what the connection brings, in that shape; within MJP with the credit in octets that it
    /// says.
    pub(super) fn hear(&mut self, shape: Shape, frames: Frames<'_>, bytes: Option<u64>) {
        if self.trouble.is_some() {
            return;
        }
        let read = Zio::decode(shape, frames)
            .and_then(|zio| FlowLabel::read(zio.label).map(|label| (zio, label)));
        let (zio, label) = match read {
            Ok(read) => read,
            Err(error) => return tracing::debug!(%error, "dropped what is no message of a flow"),
        };
        let size = u64::try_from(zio.parts_len()).unwrap_or(u64::MAX);
        match self.machine.hear(self.now(), &label, Load { size, bytes }) {
            Ok(Heard::Began { credit }) => {
                tracing::debug!(credit, "the flow runs");
                self.answer = Some(FlowMessage::of(&zio));
                self.pay();
            }
            Ok(Heard::Dat) => {
                self.heard.push_back(FlowMessage::of(&zio));
                self.heard_octets += size;
                self.keep();
            }
            Ok(Heard::Ending) => {
                self.eot = Some(FlowMessage::of(&zio));
                // The state allows it.
                let _ = self.say(Kind::Eot, FlowMessage::default());
            }
            Ok(Heard::Ended | Heard::Refused) => self.eot = Some(FlowMessage::of(&zio)),
            Ok(Heard::Pay { .. } | Heard::Late | Heard::Asked { .. }) => {}
            Err(violation) => self.fail(violation.into()),
        }
    }

    /// What was said since the last time, for the connection.
    pub(super) fn take_said(&mut self, cx: &Context<'_>, said: &mut Vec<Said>) {
        match &mut self.task {
            Some(task) => task.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        std::mem::swap(&mut self.out, said);
        self.unwritten += std::mem::take(&mut self.queued);
    }

    /// So many octets wait at the connection; the holder looks whether that helps him.
    pub(super) fn turned(&mut self, unwritten: usize) {
        self.unwritten = unwritten;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(holder) = self.holder.take() {
            holder.wake();
        }
    }

    /// The flow cannot go on.
    pub(super) fn fail(&mut self, trouble: FlowError) {
        self.trouble.get_or_insert(trouble);
        self.failed = true;
        self.wake();
    }

    /// Nobody is left who would read or write.
    pub(super) fn close(&mut self) {
        self.closed = true;
        if !self.failed && !self.machine.state().is_over() {
            // The runtime has ended before the flow.
            self.fail(FlowError::Closed);
        }
        self.wake();
    }

    /// Whether the task has nothing more to do.
    pub(super) fn is_over(&self) -> bool {
        self.trouble.is_some() || self.machine.state().is_over() && self.out.is_empty()
    }

    /// When something is late.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let late = self.machine.next_timeout()?;
        self.epoch.checked_add(late.since(Time::default()))
    }

    pub(super) fn handle_timeout(&mut self) {
        let now = self.now();
        let timeout = |timeout: Option<std::time::Duration>| timeout.unwrap_or_default();
        match self.machine.handle_timeout(now) {
            Some(Expired::Answer) => {
                self.fail(FlowError::NoAnswer { timeout: timeout(self.terms.answer_timeout) });
            }
            Some(Expired::End) => {
                self.fail(FlowError::NoEnd { timeout: timeout(self.terms.end_timeout) });
            }
            None => {}
        }
    }

    pub(super) fn take_trouble(&mut self) -> Option<FlowError> {
        self.trouble.take()
    }
}

/// What the machine does not let us say, as whoever gives has to know it.
fn wrong(misuse: Misuse) -> FlowError {
    match misuse {
        Misuse::TooBig { size, max } => {
            let octets = |octets| usize::try_from(octets).unwrap_or(usize::MAX);
            FlowError::TooBig { size: octets(size), max: octets(max) }
        }
        other => other.into(),
    }
}
