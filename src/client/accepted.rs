//! A call that is handed in, and whose answer is for later.

use tokio::sync::oneshot;

use super::call::{Answer, Guard};
use super::error::CallError;
use super::pending::Sink;
use super::{Call, Message};
use crate::wire::Protocol;
use crate::wire::mjp::Level;

/// The broker has taken a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// What it survives.
    pub level: Level,
    /// The same had been asked before under its key.
    pub repeat: bool,
    /// The key by which the answer can be asked for, for as long as the broker keeps it.
    pub key: Box<[u8]>,
}

impl Accepted {
    /// As the task tells it.
    pub(super) fn pack(level: &str, repeat: bool) -> Message {
        Message::new([level.as_bytes().to_vec(), vec![1; usize::from(repeat)]])
    }

    fn unpack(said: &Message, key: Box<[u8]>) -> Self {
        let mut frames = said.frames();
        let level = std::str::from_utf8(frames.take_first().unwrap_or_default());
        // A level that is not known is at least that of memory.
        let level = level.ok().and_then(Level::from_name).unwrap_or_default();
        let repeat = frames.take_first().is_some_and(|frame| !frame.is_empty());
        Self { level, repeat, key }
    }
}

impl Call {
    /// What the request is to survive once the broker has accepted it. Default: as the service has
    /// it. A broker that cannot keep it refuses it.
    ///
    /// With [`Level::Disk`] the request and its answer survive the end of the broker, and the answer
    /// comes when it is on the broker's disk. The request is carried out within its
    /// [`timeout`](Self::timeout), whatever becomes of this client. Unless it has a
    /// [`key`](Self::key), it is given one that nobody else has, and so is sent again whenever the
    /// connection is lost. MJP only.
    pub fn level(mut self, level: Level) -> Self {
        if let Some(request) = self.request() {
            request.level = Some(level);
        }
        self
    }

    /// Hands the request in at [`Level::Disk`], and does not wait for its answer: returns when the
    /// broker has stored the request. Whoever makes the same call under the same key later, from
    /// this machine or with the same credentials, waits for the answer or gets the one that was
    /// kept. MJP only.
    ///
    /// # Errors
    /// As the call: `unsupported` if the broker has no store, `store_full` if that has no room.
    ///
    /// # Cancel safety
    /// Whoever drops it does not know whether the request was accepted.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use majordomo::client::{CallError, Client};
    /// # async fn run(client: Client) -> Result<(), CallError> {
    /// let day = Duration::from_secs(24 * 3600);
    /// let accepted = client.call("pay", ["order 7"]).key("order-7").timeout(day).hand_in().await?;
    /// // Now this program, the broker and the machine may end.
    /// let paid = client.call("pay", ["order 7"]).key(&accepted.key).timeout(day).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn hand_in(self) -> Result<Accepted, CallError> {
        let mut call = self.level(Level::Disk);
        if let Some(request) = call.request() {
            request.handed_in = true;
        }
        call.choose_key();
        let key = call.request().and_then(|request| request.key.clone()).unwrap_or_default();
        let (to, accepted) = oneshot::channel();
        let guard: Guard = call.make(Sink::Whole(to, Vec::new()))?;
        let said = accepted.await.unwrap_or(Err(CallError::Closed));
        guard.ended();
        Ok(Accepted::unpack(&said?, key))
    }

    /// Makes the call, and returns when the broker has accepted it, at whatever level, with what its
    /// answer is to be awaited by. To drop that gives the call up. MJP only.
    ///
    /// # Errors
    /// As the call, if it was refused or nobody knows whether it was accepted.
    ///
    /// # Cancel safety
    /// The call is given up.
    ///
    /// ```
    /// # use majordomo::broker::Broker;
    /// # use majordomo::client::Client;
    /// # use majordomo::config::BrokerConfig;
    /// # use majordomo::worker::{Failure, Request, Worker};
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
    /// // Nobody offers it yet, and it waits.
    /// let (accepted, answer) = client.call("pay", ["order 7"]).key("order-7").accepted().await?;
    /// assert!(!accepted.repeat);
    /// # let echo = |request: Request| async move { Ok::<_, Failure>(request.body) };
    /// # let worker = Worker::builder(&endpoint, "pay")?.start(echo)?;
    /// assert_eq!(answer.await?.first(), b"order 7");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn accepted(mut self) -> Result<(Accepted, Answer), CallError> {
        if self.protocol() != Protocol::Mjp {
            return Err(CallError::Unsupported { what: "to hear that a call is accepted" });
        }
        self.choose_key();
        let (notice, accepted) = oneshot::channel();
        let Some(request) = self.request() else { return Err(self.refusal()) };
        request.notice = Some(notice);
        let key = request.key.clone().unwrap_or_default();
        let (to, answer) = oneshot::channel();
        let mut answer = Answer::of(answer, self.make(Sink::Whole(to, Vec::new()))?);
        match accepted.await {
            Ok(said) => Ok((Accepted::unpack(&said, key), answer)),
            // It has ended without: by a refusal.
            Err(_) => match (&mut answer).await {
                Err(error) => Err(error),
                Ok(_) => Err(CallError::Convert {
                    what: "hear that the call is accepted",
                    reason: "the broker has answered without".into(),
                }),
            },
        }
    }

    /// A request that is to survive the broker has a key, so that a repeat is known as one.
    pub(super) fn choose_key(&mut self) {
        let Some(request) = self.request() else { return };
        let mut octets = [0; 16];
        if request.level != Some(Level::Disk)
            || request.key.is_some()
            || getrandom::fill(&mut octets).is_err()
        {
            return;
        }
        let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        request.key = Some(text.into_bytes().into());
    }
}
