//! A closer look at the broker, and what an operator changes.

mod call;

use serde::Serialize;
use tokio::sync::mpsc;

use super::call::{Guard, Replies};
use super::error::CallError;
use super::pending::{Ask, Pending, Reply, Sink};
use super::{Client, FOREVER};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{
    AdminEvent, AdminHeader, AdminReport, BackupHeader, BackupReport, DeadHeader, DeadReport,
    ExplainReport, HEADER_MAX, KeyHeader, KeyReport, Packed, Verb,
};

pub use call::AdminCall;

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
    /// To be awaited, as a call: [`CallError::Refused`] with `denied`, `not_found`, `bad_request` or
    /// `unsupported`; [`CallError::Unsupported`] over MDP or for `follow`, and
    /// [`CallError::Convert`].
    pub fn admin(&self, ask: &AdminHeader<'_>) -> AdminCall<Answered> {
        let call = AdminCall::new(self, ask, |said| {
            let octets = said.first().to_vec();
            AdminReport::decode(&octets).map_err(unreadable)?;
            Ok(Answered { octets })
        });
        if ask.verb == Verb::Follow.as_str() {
            return call.refused(CallError::Unsupported { what: "one answer to ADMIN `follow`" });
        }
        call
    }

    /// Asks about keys and rights, or has them changed: with a verb of keys, `acl.test` or
    /// `admin.reload`. Needs MJP/1.
    ///
    /// # Errors
    /// As [`Self::admin`].
    pub fn key_admin(&self, ask: &KeyHeader<'_>) -> AdminCall<KeyAnswered> {
        AdminCall::new(self, ask, |said| {
            let octets = said.first().to_vec();
            KeyReport::decode(&octets).map_err(unreadable)?;
            Ok(KeyAnswered { octets })
        })
    }

    /// Has the broker copy its store into a new directory of its machine, while it works. Needs MJP/1
    /// and the right `admin`; give it time (SPEC 15.7). The broker goes on with the copy if nobody
    /// waits for it.
    ///
    /// # Errors
    /// As [`Self::admin`].
    pub fn back_up(&self, to: &str) -> AdminCall<BackupReport> {
        AdminCall::new(self, &BackupHeader::new(to), |said| {
            BackupReport::decode(said.first()).map_err(unreadable)
        })
    }

    /// Lists dead letters, shows one, puts them back, changes or drops them. With `dlq.edit`, `body`
    /// is the new body, or none. Needs MJP/1 and the right `admin`.
    ///
    /// # Errors
    /// As [`Self::admin`].
    pub fn dead_admin(
        &self,
        ask: &DeadHeader<'_>,
        body: Option<Message>,
    ) -> AdminCall<DeadAnswered> {
        let call = AdminCall::new(self, ask, |said| {
            DeadReport::decode(said.first()).map_err(unreadable)?;
            Ok(DeadAnswered { said })
        });
        call.body(body)
    }

    /// Asks where a request is, and why it is not at a worker: the one of `ask.uuid`. Or how the
    /// service `ask.service` stands. Needs MJP/1 and the right `admin`.
    ///
    /// # Errors
    /// As [`Self::admin`].
    pub fn explain(&self, ask: &AdminHeader<'_>) -> AdminCall<Explained> {
        AdminCall::new(self, ask, |said| {
            let octets = said.first().to_vec();
            ExplainReport::decode(&octets).map_err(unreadable)?;
            Ok(Explained { octets })
        })
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
