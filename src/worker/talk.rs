//! What a handler says in the middle of a request: events, and questions to its caller.

use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use crate::id::beginning;
use crate::proto::serve::words::{Talk, Told};
use crate::wire::Protocol;
use crate::wire::message::Message;
use crate::wire::mjp::{AskHeader, Code, EventHeader, Packed};

use super::limits::TooBig;
use super::request::{PartError, Request, Said};

/// So much of each text goes into a header, octets; the end of a longer one is cut off.
const TEXT_MAX: usize = 2 << 10;

/// Something that happens while a request is worked on. All of it is optional; a text alone is its
/// message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// For people, up to 2 KiB as each text here.
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
    /// For programs: no frame or more.
    pub body: Message,
}

impl<T: Into<String>> From<T> for Event {
    fn from(message: T) -> Self {
        Self { message: Some(message.into()), ..Self::default() }
    }
}

/// What a handler asks its caller. A text alone is its message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// For people, up to 2 KiB.
    pub message: Option<String>,
    /// For programs: no frame or more.
    pub body: Message,
}

impl<T: Into<String>> From<T> for Question {
    fn from(message: T) -> Self {
        Self { message: Some(message.into()), ..Self::default() }
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The caller cannot be asked, or did not say that it can. Do without.
    #[error("the caller cannot be asked: {message}")]
    NoCaller {
        /// What the broker says.
        message: String,
    },
    /// It was not asked, or does not answer; `overloaded`, `declined`, or a code of its own.
    #[error("the question has no answer: {code}: {message}")]
    Refused {
        /// For programs.
        code: String,
        /// For people.
        message: String,
    },
    /// Nobody wants the answer to the request any more. Stop working on it.
    #[error("nobody wants the answer any more")]
    Cancelled,
    /// The broker would not take it.
    #[error(transparent)]
    TooBig(#[from] TooBig),
    /// MDP has no questions, and nor has a broker that is older.
    #[error("neither MDP nor an older broker has questions to a caller; ask in another request")]
    Unsupported,
}

impl Request {
    /// Says what happens, to a caller that wants to know; whether this one does is not known here.
    /// It is no part of the answer: it may be missed, and nobody hears it over MDP. Waits while
    /// more than `outbox` octets wait for the broker.
    ///
    /// ```no_run
    /// use majordomo::worker::{Event, Failure, Request, Worker};
    ///
    /// async fn copy(request: Request) -> Result<String, Failure> {
    ///     request.event("looking for the file").await?;
    ///     for percent in [25, 50, 75] {
    ///         // ... a part of the work ...
    ///         request.event(Event { progress: Some(percent), ..Event::default() }).await?;
    ///     }
    ///     Ok("done".into())
    /// }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # Worker::builder("tcp://127.0.0.1:5555", "copy")?.serve(copy).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PartError::Cancelled`], [`PartError::TooBig`].
    ///
    /// # Cancel safety
    /// The event is said whole or not at all.
    pub async fn event(&self, event: impl Into<Event>) -> Result<(), PartError> {
        if self.cancelled.is_cancelled() {
            return Err(PartError::Cancelled);
        }
        if !self.can_talk() {
            return Ok(());
        }
        let Event { message, severity, status, progress, resource, task, body } = event.into();
        let header = Packed::new(&EventHeader {
            message: text(message.as_deref()),
            severity: text(severity.as_deref()),
            status: text(status.as_deref()),
            progress,
            resource: text(resource.as_deref()),
            task: text(task.as_deref()),
        });
        let talk = self.talk(&header, body)?;
        let said = Said::Event(self.job, talk);
        self.said.send(said).await.map_err(|_| PartError::Cancelled)
    }

    /// Asks the caller, and waits for its answer: no frame or more. Up to `limits.asks` (16) of a
    /// request may be open at a time.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::{Client, Update};
    /// # use majordomo::config::BrokerConfig;
    /// use majordomo::worker::{Failure, Request, Worker};
    ///
    /// async fn delete(request: Request) -> Result<String, Failure> {
    ///     let answer = request.ask("delete 3 files?").await?;
    ///     Ok(if answer.first() == b"yes" { "deleted" } else { "left alone" }.to_owned())
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(run())
    /// # }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut config = BrokerConfig::default();
    /// # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
    /// # let broker = Broker::bind(config)?;
    /// # let endpoint = broker.local_addrs()[0].to_string();
    /// let worker = Worker::builder(&endpoint, "delete")?.start(delete)?;
    /// let client = Client::connect(&endpoint).await?;
    /// let mut updates = client.call("delete", ["old"]).updates();
    /// while let Some(update) = updates.next().await {
    ///     match update? {
    ///         Update::Question(question) => {
    ///             assert_eq!(question.message.as_deref(), Some("delete 3 files?"));
    ///             question.answer("yes")?;
    ///         }
    ///         Update::Final(reply) => assert_eq!(reply.first(), b"deleted"),
    ///         _ => {}
    ///     }
    /// }
    /// // A caller that cannot be asked: the handler fails with that.
    /// assert!(client.call("delete", ["old"]).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AskError`].
    ///
    /// # Cancel safety
    /// Dropped, the answer goes nowhere; the question stays open until it comes.
    pub async fn ask(&self, question: impl Into<Question>) -> Result<Message, AskError> {
        if !self.can_talk() {
            return Err(AskError::Unsupported);
        }
        let Question { message, body } = question.into();
        // Each delivery of a request has numbers of its own: an answer to what an earlier worker
        // has asked is none to this.
        let count = self.asked.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let ask = u64::from(self.attempt) << 32 | u64::from(count);
        let header = Packed::new(&AskHeader { ask, message: text(message.as_deref()) });
        let talk = self.talk(&header, body)?;
        let (to, told) = oneshot::channel();
        let said = Said::Ask(self.job, ask, talk, to);
        let asking = async {
            self.said.send(said).await.map_err(|_| AskError::Cancelled)?;
            told.await.map_err(|_| AskError::Cancelled).and_then(|told| answer(*told))
        };
        tokio::select! {
            biased;
            answer = asking => answer,
            () = self.cancelled.cancelled() => Err(AskError::Cancelled),
        }
    }

    /// MDP has no words for it, and nor has a broker that is older.
    fn can_talk(&self) -> bool {
        self.protocol == Protocol::Mjp && self.limits.takes_talk()
    }

    fn talk(&self, header: &Packed, body: Message) -> Result<Box<Talk>, TooBig> {
        self.limits.check_header(header.octets().len())?;
        self.limits.check(&body)?;
        Ok(Box::new(Talk { header: header.octets().into(), body }))
    }
}

fn answer(told: Told) -> Result<Message, AskError> {
    let Told { code, message, body, .. } = told;
    let message = message.map(String::from).unwrap_or_default();
    match code {
        None => Ok(body),
        Some(code) if *code == *Code::NoCaller.as_str() => Err(AskError::NoCaller { message }),
        Some(code) => Err(AskError::Refused { code: code.into(), message }),
    }
}

fn text(text: Option<&str>) -> Option<&str> {
    text.map(|text| beginning(text, TEXT_MAX))
}
