//! ADMIN before it is said.

use std::pin::Pin;

use tokio::sync::oneshot;

use super::packed;
use crate::client::Client;
use crate::client::call::{Guard, checked};
use crate::client::error::CallError;
use crate::client::pending::{Ask, Pending, Sink};
use crate::lease::Fence;
use crate::wire::message::Message;
use crate::wire::mjp::{HEADER_MAX, fenced};

/// What is asked of a broker, and has not been said yet: `.await` it.
///
/// # Cancel safety
/// The question is forgotten; the broker may do what was asked all the same.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited"]
pub struct AdminCall<T> {
    client: Client,
    asked: Result<Asked, CallError>,
    read: fn(Message) -> Result<T, CallError>,
}

#[derive(Debug)]
struct Asked {
    header: Message,
    body: Option<Message>,
    fence: Option<Box<Fence>>,
}

impl<T> AdminCall<T> {
    /// A header, and how its answer is read.
    pub(super) fn new(
        client: &Client,
        says: &impl serde::Serialize,
        read: fn(Message) -> Result<T, CallError>,
    ) -> Self {
        let asked = packed(says).map(|header| Asked { header, body: None, fence: None });
        Self { client: client.clone(), asked, read }
    }

    /// It is not said, for that reason.
    pub(super) fn refused(mut self, error: CallError) -> Self {
        self.asked = Err(error);
        self
    }

    pub(super) fn body(mut self, body: Option<Message>) -> Self {
        if let Ok(asked) = &mut self.asked {
            asked.body = body;
        }
        self
    }

    /// The asker says that it holds a lease: `&held` of a [`Held`](crate::client::Held), or a
    /// [`Fence`]. If that epoch does not hold when the broker reads it, it is [`CallError::Stale`],
    /// and nothing is done. So two operators, of which one was stopped for a while, do not undo what
    /// the other does.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::{CallError, Client};
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
    /// # let client = Client::connect(&endpoint).await?;
    /// let held = client.lease("operator").campaign().await?;
    /// let clients = AdminHeader::new(Verb::Clients);
    /// client.admin(&clients).fence(&held).await?;
    ///
    /// held.resign().await?;
    /// let late = client.admin(&clients).fence(&held).await;
    /// assert_eq!(late, Err(CallError::Stale { current: None }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fence(mut self, fence: impl Into<Fence>) -> Self {
        match (checked(fence.into()), &mut self.asked) {
            (Ok(fence), Ok(asked)) => asked.fence = Some(fence),
            (Err(error), Ok(_)) => self.asked = Err(error),
            (_, Err(_)) => {}
        }
        self
    }

    async fn ask(self) -> Result<T, CallError> {
        let Asked { mut header, body, fence } = self.asked?;
        if let Some(fence) = &fence {
            let octets = fenced(header.first(), fence.lease(), fence.epoch());
            if octets.len() > HEADER_MAX {
                let (what, size, max) = ("header", octets.len(), HEADER_MAX);
                return Err(CallError::TooBig { what, size, max });
            }
            header = Message::from(octets);
        }
        let says = match body {
            Some(body) => Message::joined(&[header, body]),
            None => header,
        };
        let (to, answer) = oneshot::channel();
        let (timeout, attempts) = (self.client.config().timeout, self.client.config().attempts);
        let ask = Ask::Admin { says, fenced: fence.is_some() };
        let pending = Box::new(Pending { ask, timeout, sink: Sink::Whole(to, Vec::new()) });
        // What changes something may have been done when a connection is lost: it may be done
        // twice, which makes no difference.
        let guard = Guard::submit(self.client, attempts, pending)?;
        let answer = answer.await.unwrap_or(Err(CallError::Closed));
        guard.ended();
        (self.read)(answer?)
    }
}

impl<T: 'static> IntoFuture for AdminCall<T> {
    type Output = Result<T, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}
