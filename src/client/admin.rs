//! A closer look at the broker, and what an operator changes.

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::call::{Guard, Replies};
use super::error::CallError;
use super::pending::{Ask, Pending, Reply, Sink};
use super::{Client, FOREVER};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    AdminEvent, AdminHeader, AdminReport, BackupHeader, BackupReport, DeadHeader, DeadReport,
    ExplainReport, HEADER_MAX, KeyHeader, KeyReport, Packed, Verb,
};

/// What a broker answers to ADMIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    octets: Vec<u8>,
}

impl Answered {
    /// What it says: of its keys the one that was asked for is there. If `next` is, too, there is
    /// more, and comes if it is given as `after`. Of what was done there is nothing to say.
    #[must_use]
    pub fn report(&self) -> AdminReport<'_> {
        // It could be read when it came.
        AdminReport::decode(&self.octets).unwrap_or_default()
    }
}

/// What a broker answers to ADMIN about keys and rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAnswered {
    octets: Vec<u8>,
}

impl KeyAnswered {
    /// What it says: of its keys those that were asked for are there.
    #[must_use]
    pub fn report(&self) -> KeyReport<'_> {
        // It could be read when it came.
        KeyReport::decode(&self.octets).unwrap_or_default()
    }
}

/// What a broker answers to ADMIN about dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadAnswered {
    said: Message,
}

impl DeadAnswered {
    /// What it says: of its keys those that were asked for are there.
    #[must_use]
    pub fn report(&self) -> DeadReport<'_> {
        // It could be read when it came.
        DeadReport::decode(self.said.first()).unwrap_or_default()
    }

    /// Of `dlq.show`: the header of the request, if it has one, and the frames of its body.
    #[must_use]
    pub fn body(&self) -> Frames<'_> {
        let mut frames = self.said.frames();
        frames.take_first();
        frames
    }
}

/// What a broker answers to ADMIN `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    octets: Vec<u8>,
}

impl Explained {
    /// What it says.
    #[must_use]
    pub fn report(&self) -> ExplainReport<'_> {
        // It could be read when it came.
        ExplainReport::decode(&self.octets).unwrap_or_default()
    }
}

/// Something that has happened at a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    octets: Vec<u8>,
}

impl Happening {
    /// What it is.
    #[must_use]
    pub fn event(&self) -> AdminEvent<'_> {
        // It could be read when it came.
        AdminEvent::decode(&self.octets).unwrap_or_default()
    }
}

/// What happens at a broker, as it happens.
///
/// # Cancel safety
/// Dropping it tells the broker that nobody follows any more.
#[derive(Debug)]
pub struct Happenings {
    said: Replies,
}

impl Happenings {
    /// The next event. None is told twice; how many were not told before it, is in it.
    ///
    /// # Errors
    /// The connection was lost, or more came than [`ClientConfig::parts_max`] before somebody
    /// looked. Nothing comes behind an error.
    ///
    /// [`ClientConfig::parts_max`]: crate::config::ClientConfig::parts_max
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Happening, CallError>> {
        let said = self.said.next().await?;
        Some(said.and_then(|said| {
            let octets = said.into_message().first().to_vec();
            AdminEvent::decode(&octets).map_err(unreadable)?;
            Ok(Happening { octets })
        }))
    }
}

impl Client {
    /// Asks for jobs, clients or workers, or has something changed. What changes something, the
    /// broker does only for those with the right `admin`, as who comes in by an administration
    /// listener (`ipc://`) has it. Needs MJP/1.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::Client;
    /// # use majordomo::config::BrokerConfig;
    /// use majordomo::wire::mjp::{AdminHeader, Verb};
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
    /// let client = Client::connect(&endpoint).await?;
    /// let answer = client.admin(&AdminHeader::new(Verb::Clients)).await?;
    /// assert_eq!(answer.report().clients.map(|clients| clients.len()), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As a call: [`CallError::Refused`] with `denied`, `not_found`, `bad_request` or
    /// `unsupported`; [`CallError::Unsupported`] over MDP or for `follow`, and
    /// [`CallError::Convert`].
    ///
    /// # Cancel safety
    /// The question is forgotten; the broker may do what was asked all the same.
    pub async fn admin(&self, ask: &AdminHeader<'_>) -> Result<Answered, CallError> {
        if ask.verb == Verb::Follow.as_str() {
            return Err(CallError::Unsupported { what: "one answer to ADMIN `follow`" });
        }
        let octets = self.ask_admin(packed(ask)?).await?;
        AdminReport::decode(&octets).map_err(unreadable)?;
        Ok(Answered { octets })
    }

    /// Asks about keys and rights, or has them changed: with a verb of keys, `acl.test` or
    /// `admin.reload`. Needs MJP/1.
    ///
    /// # Errors
    /// As [`Self::admin`].
    ///
    /// # Cancel safety
    /// As [`Self::admin`].
    pub async fn key_admin(&self, ask: &KeyHeader<'_>) -> Result<KeyAnswered, CallError> {
        let octets = self.ask_admin(packed(ask)?).await?;
        KeyReport::decode(&octets).map_err(unreadable)?;
        Ok(KeyAnswered { octets })
    }

    /// Has the broker copy its store into a new directory of its machine, while it works. Needs MJP/1
    /// and the right `admin`; give it time (SPEC 15.7).
    ///
    /// # Errors
    /// As [`Self::admin`].
    ///
    /// # Cancel safety
    /// As [`Self::admin`]; the broker goes on with the copy.
    pub async fn back_up(&self, to: &str) -> Result<BackupReport, CallError> {
        let octets = self.ask_admin(packed(&BackupHeader::new(to))?).await?;
        BackupReport::decode(&octets).map_err(unreadable)
    }

    /// Lists dead letters, shows one, puts them back, changes or drops them. With `dlq.edit`, `body`
    /// is the new body, or none. Needs MJP/1 and the right `admin`.
    ///
    /// # Errors
    /// As [`Self::admin`].
    ///
    /// # Cancel safety
    /// As [`Self::admin`].
    pub async fn dead_admin(
        &self,
        ask: &DeadHeader<'_>,
        body: Option<Message>,
    ) -> Result<DeadAnswered, CallError> {
        let header = packed(ask)?;
        let ask = match body {
            Some(body) => Message::joined(&[header, body]),
            None => header,
        };
        let said = self.ask_all(ask).await?;
        DeadReport::decode(said.first()).map_err(unreadable)?;
        Ok(DeadAnswered { said })
    }

    /// Asks where a request is, and why it is not at a worker: the one of `ask.uuid`. Or how the
    /// service `ask.service` stands. Needs MJP/1 and the right `admin`.
    ///
    /// # Errors
    /// As [`Self::admin`].
    ///
    /// # Cancel safety
    /// As [`Self::admin`].
    pub async fn explain(&self, ask: &AdminHeader<'_>) -> Result<Explained, CallError> {
        let octets = self.ask_admin(packed(ask)?).await?;
        ExplainReport::decode(&octets).map_err(unreadable)?;
        Ok(Explained { octets })
    }

    async fn ask_admin(&self, header: Message) -> Result<Vec<u8>, CallError> {
        Ok(self.ask_all(header).await?.first().to_vec())
    }

    async fn ask_all(&self, header: Message) -> Result<Message, CallError> {
        let (to, answer) = oneshot::channel();
        let (timeout, attempts) = (self.config().timeout, self.config().attempts);
        let (ask, sink) = (Ask::Admin(header), Sink::Whole(to, Vec::new()));
        // What changes something may have been done when a connection is lost: it may be done
        // twice, which makes no difference.
        let guard =
            Guard::submit(self.clone(), attempts, Box::new(Pending { ask, timeout, sink }))?;
        let answer = answer.await.unwrap_or(Err(CallError::Closed));
        guard.ended();
        answer
    }

    /// Follows what happens at the broker, as far as its name begins with `prefix`, until the
    /// result is dropped. It needs the right `admin`, as who comes in by an administration
    /// listener has it, and MJP/1.
    ///
    /// # Errors
    /// As [`Self::admin`].
    ///
    /// # Cancel safety
    /// The broker is told that nobody follows.
    pub async fn follow(&self, prefix: &str) -> Result<Happenings, CallError> {
        let says = AdminHeader { prefix: Some(prefix), ..AdminHeader::new(Verb::Follow) };
        let ask = Ask::Follow(packed(&says)?);
        let places = self.config().parts_max.saturating_add(1);
        let (to, replies) = mpsc::channel(places);
        let pending = Pending { ask, timeout: FOREVER, sink: Sink::Parts(to) };
        let guard = Guard::submit(self.clone(), 1, Box::new(pending))?;
        let mut said = Replies::of(replies, guard);
        let timeout = self.config().timeout;
        let first = tokio::time::timeout(timeout, said.next()).await;
        match first {
            Ok(Some(Ok(Reply::Partial(_)))) => Ok(Happenings { said }),
            Ok(Some(Err(error))) => Err(error),
            Ok(Some(Ok(Reply::Final(_))) | None) => Err(CallError::Closed),
            Err(_) => Err(CallError::Timeout { after: timeout, sent: true, because: None }),
        }
    }
}

fn packed(says: &impl Serialize) -> Result<Message, CallError> {
    let octets = Packed::new(says).octets().to_vec();
    if octets.len() > HEADER_MAX {
        let (what, size, max) = ("header", octets.len(), HEADER_MAX);
        return Err(CallError::TooBig { what, size, max });
    }
    Ok(Message::from(octets))
}

fn unreadable(why: crate::wire::mjp::Malformed) -> CallError {
    CallError::Convert { what: "read the answer to ADMIN", reason: why.to_string() }
}
