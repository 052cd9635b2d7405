//! A call whose caller hears what happens while it is worked on, and can be asked.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use tokio::sync::mpsc;

use super::call::Guard;
use super::error::CallError;
use super::inbox::{Inbox, Tell};
use crate::wire::Limits;
use crate::wire::message::Message;
use crate::wire::mjp::{AskHeader, EventHeader};

/// What comes of a call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Update {
    /// A part of the answer; more follows.
    Partial(Message),
    /// Something that happens.
    Event(Event),
    /// The worker asks.
    Question(Question),
    /// The last of the answer.
    Final(Message),
}

/// Something that happens while a request is worked on. What its worker does not say, or says in
/// a way of its own, is not there.
///
/// It is told at most once a delivery: a request that is delivered again, because its worker was
/// lost, may have the same events again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// For people.
    pub message: Option<String>,
    /// `debug`, `info`, `warning`, `error` or `critical`.
    pub severity: Option<String>,
    /// How the work stands: `running` and the like.
    pub status: Option<String>,
    /// How much of the work is done, percent.
    pub progress: Option<u64>,
    /// What it is about.
    pub resource: Option<String>,
    /// What is being done.
    pub task: Option<String>,
    /// The header as it came, MessagePack: it may say more than this.
    pub header: Vec<u8>,
    /// No frame or more.
    pub body: Message,
    /// Events before this one that this client had no room for. The broker may have dropped others.
    pub missed: u64,
}

impl Event {
    pub(super) fn new(header: &[u8], body: Message, missed: u64) -> Self {
        let says = EventHeader::decode(header).unwrap_or_default();
        let own = |text: Option<&str>| text.map(str::to_owned);
        Self {
            message: own(says.message),
            severity: own(says.severity),
            status: own(says.status),
            progress: says.progress,
            resource: own(says.resource),
            task: own(says.task),
            header: header.to_vec(),
            body,
            missed,
        }
    }
}

/// What the worker of a call asks. Dropped, it is declined, so that the worker need not wait.
#[derive(Debug)]
pub struct Question {
    /// For people.
    pub message: Option<String>,
    /// The header as it came, MessagePack: it may say more than this.
    pub header: Vec<u8>,
    /// No frame or more.
    pub body: Message,
    reply: Option<ReplyTo>,
    limits: Limits,
}

/// Where an answer goes: to what was asked when the call was sent for the `sent`th time.
#[derive(Debug)]
struct ReplyTo {
    inbox: Arc<Inbox>,
    call: u64,
    sent: u32,
    ask: u64,
}

impl Question {
    /// Answers it: no frame or more. If the worker does not wait any more, the answer goes nowhere.
    ///
    /// # Errors
    /// [`CallError::TooBig`]: nothing is said, and the question is declined.
    pub fn answer(mut self, body: impl Into<Message>) -> Result<(), CallError> {
        let body = body.into();
        super::check_body(0, &body, &self.limits)?;
        self.tell(None, "", body);
        Ok(())
    }

    /// Says that there is no answer, and why: a code for programs, and a sentence for people.
    pub fn decline(mut self, code: impl Into<Cow<'static, str>>, message: &str) {
        self.tell(Some(code.into()), message, Message::default());
    }

    fn tell(&mut self, code: Option<Cow<'static, str>>, message: &str, body: Message) {
        let Some(ReplyTo { inbox, call, sent, ask }) = self.reply.take() else { return };
        let message = code.is_some().then(|| crate::id::beginning(message, 1 << 10).into());
        inbox.tell(Tell { call, sent, ask, code, message, body });
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.tell(Some("declined".into()), "the caller does not answer", Message::default());
    }
}

/// Where updates go. A place is kept free for the end.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) to: mpsc::Sender<Result<Update, CallError>>,
    missed: u64,
}

/// A question as it came, and how often its call had been sent.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) call: u64,
    pub(super) sent: u32,
    pub(super) header: &'a [u8],
    pub(super) says: AskHeader<'a>,
    pub(super) body: Message,
}

impl Sink {
    /// Something happens. Half of the places are for what must not be missed.
    pub(super) fn event(&mut self, header: &[u8], body: Message) {
        if self.to.capacity() <= self.to.max_capacity() / 2 {
            self.missed += 1;
            return;
        }
        let event = Event::new(header, body, std::mem::take(&mut self.missed));
        // A caller who has gone says so by itself.
        let _ = self.to.try_send(Ok(Update::Event(event)));
    }

    /// The worker asks. Without room, and without a caller, it is declined.
    pub(super) fn question(&self, asked: Asked<'_>, inbox: &Arc<Inbox>, limits: Limits) {
        let Asked { call, sent, header, says, body } = asked;
        let reply = ReplyTo { inbox: inbox.clone(), call, sent, ask: says.ask };
        let message = says.message.map(str::to_owned);
        let reply = Some(reply);
        let question = Question { message, header: header.to_vec(), body, reply, limits };
        if self.to.capacity() > 1 {
            let _ = self.to.try_send(Ok(Update::Question(question)));
        } else {
            question.decline("overloaded", "the caller has no room for the question");
        }
    }
}

/// A call as it goes on.
///
/// # Cancel safety
/// Dropping it gives the call up.
#[derive(Debug)]
pub struct Updates {
    updates: mpsc::Receiver<Result<Update, CallError>>,
    guard: Option<Guard>,
}

impl Updates {
    /// `places` for what comes, and the way to make the call.
    pub(super) fn of(
        places: usize,
        make: impl FnOnce(super::pending::Sink) -> Result<Guard, CallError>,
    ) -> Self {
        let (to, updates) = mpsc::channel(places);
        // A refusal at once is an item, too: the channel is new and has room.
        let refused = to.clone();
        let sink = super::pending::Sink::Updates(Box::new(Sink { to, missed: 0 }));
        let guard = make(sink).map_err(|error| drop(refused.try_send(Err(error))));
        Self { updates, guard: guard.ok() }
    }

    /// What comes next; `None` behind the last. An error is the last, too.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Update, CallError>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Update, CallError>>> {
        let update = ready!(self.updates.poll_recv(cx));
        if matches!(update, None | Some(Ok(Update::Final(_)) | Err(_)))
            && let Some(guard) = self.guard.take()
        {
            guard.ended();
        }
        Poll::Ready(update)
    }
}

impl Stream for Updates {
    type Item = Result<Update, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}
